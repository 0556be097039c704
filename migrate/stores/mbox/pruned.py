"""What was deleted from a mailbox on a person's word: the record beside its files, without which it would be lost.

DIR/INBOX/pruned.index    one sealed line (stores.record) for each file, written before the file goes

A file that stands there is gone, or may be: a kill between its line and its end leaves all of it, or its index
without it. The line says of each uid of it that nobody has to look for it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .. import disk
from ..record import LINE_LIMIT, sealed, unsealed

NAME = "pruned.index"


@dataclass(frozen=True, slots=True)
class Pruned:
    """One file that was deleted. Its messages had the uids from ``first`` to ``last``, every one."""

    pruned: str  # the name of the mbox file
    uidvalidity: int
    first: int
    last: int  # first - 1: it had none
    after: int  # as its head said: the last uid before it
    octets: int  # of the file
    on: str  # the day, UTC

    @property
    def messages(self) -> int:
        return self.last - self.first + 1

    def line(self) -> bytes:
        return sealed(asdict(self))


class Record:
    """The record of one directory, read once. ``bad``: numbers of its lines that are damaged."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / NAME
        self.all: list[Pruned] = []
        self.bad: list[int] = []
        self._lines: list[bytes] = []
        try:
            with self.path.open("rb") as stream:
                self._lines = stream.readlines()
        except FileNotFoundError:
            return
        for number, line in enumerate(self._lines, 1):
            one = _parse(line)
            if one is None:
                self.bad.append(number)
            else:
                self.all.append(one)
        self.all.sort(key=lambda one: (one.first, one.last))

    def names(self, name: str) -> bool:
        """Whether that mbox file was deleted, or is about to be."""
        return any(one.pruned == name for one in self.all)

    def add(self, one: Pruned) -> None:
        """Makes it durable that the file goes. Under the run lock of the directory."""
        if any(replace(other, on=one.on) == one for other in self.all):
            return  # by a prune that was killed before it went
        lines = [line.removesuffix(b"\n") + b"\n" for line in self._lines] + [one.line()]
        disk.replace(self.path, b"".join(lines))
        self._lines = lines
        self.all.append(one)

    def without(self, uids: Iterable[int], uidvalidity: int) -> Iterator[int]:
        """Those uids that were not in a file that was deleted."""
        gone = sorted((one.first, one.last) for one in self.all if one.uidvalidity == uidvalidity and one.messages)
        firsts = [first for first, _ in gone]
        for uid in uids:
            at = bisect_right(firsts, uid) - 1
            if at < 0 or uid > gone[at][1]:
                yield uid


def _parse(line: bytes) -> Pruned | None:
    said = unsealed(line) if len(line) <= LINE_LIMIT else None
    try:
        one = Pruned(**(said or {}))
    except TypeError:
        return None  # written by a program that we are not
    numbers = (one.uidvalidity, one.first, one.last, one.after, one.octets)
    is_name = isinstance(one.pruned, str) and "/" not in one.pruned and "\0" not in one.pruned
    return one if is_name and all(isinstance(number, int) for number in numbers) else None
