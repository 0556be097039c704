"""What a backup has lost and has again: a message that is missing is no fault where a later one is the same.

Later: in a later file of the folder, or in a Maildir under a higher uid. The same: whole, with the same SHA-256. Each
stands for one that is missing, so that of two messages that were the same, none goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .base import Finding, StoredAgain


@dataclass(slots=True)
class Missing:
    """A message that is not there, or not as one of the index."""

    exact: bytes  # SHA-256 that it had
    finding: Finding
    is_again: bool = False


@dataclass(slots=True)
class Gone:
    """What is missing from one file."""

    file: str
    messages: list[Missing] = field(default_factory=list)
    lines: list[Finding] = field(default_factory=list)  # of the index; nothing is lost by them but these messages
    is_whole_file: bool = False  # named once, however many they are

    def told(self) -> Iterator[Finding | StoredAgain]:
        """What is to be said of it, when everything later was read."""
        left = [one.finding for one in self.messages if not one.is_again]
        again = [one.finding for one in self.messages if one.is_again]
        if left and self.is_whole_file:
            uids = [one.finding.uid for one in self.messages]
            what = f"missing: the whole file, messages in it: {len(uids):,}, uids {uids[0]} to {uids[-1]}"
            what += f"; {len(again):,} of them were stored again" if again else ""
            yield Finding(self.file, None, left[0].uid, "", what)
        elif left:
            yield from left
        if left or not again:
            yield from self.lines
        if again:
            yield StoredAgain(self.file, len(again), again[0].uid)


class Lost:
    """What is missing from one folder, until all of it was read."""

    def __init__(self) -> None:
        self._gone: list[Gone] = []
        self._wanted: dict[bytes, list[Missing]] = {}

    def __bool__(self) -> bool:
        """Whether a message that is whole may be one of them."""
        return bool(self._wanted)

    def add(self, gone: Gone) -> None:
        """From now on, what is found is later than this."""
        self._gone.append(gone)
        for one in gone.messages:
            self._wanted.setdefault(one.exact, []).append(one)

    def found(self, exact: bytes) -> None:
        """A message with this SHA-256 is whole."""
        if same := self._wanted.get(exact):
            same.pop(0).is_again = True
            if not same:
                del self._wanted[exact]

    def told(self) -> Iterator[Finding | StoredAgain]:
        for gone in self._gone:
            yield from gone.told()
