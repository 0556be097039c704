"""The messages of mbox files as a source lists them: a few octets held for each, however many they are."""

from __future__ import annotations

from array import array
from typing import NamedTuple

from ...model import MessageRef
from ...wire.foreign import Quoting
from ...wire.refs import Refs
from .part import Part
from .strangers import Stranger

_OURS = -1


class Place(NamedTuple):
    """Where one message stands: the place of its entry in the index, or octets that it does not know."""

    part: Part
    entry: int | Stranger


class Listing(Refs):
    """Every message, in the order in which they were added; a MessageRef is made on demand."""

    def __init__(self) -> None:
        self._parts: list[Part] = []
        self._part = array("L")
        self._entry = array("Q")  # place in the index, or the offset in the file
        self._end = array("Q")  # 0: it has an entry
        self._quoting = array("b")  # of one without; _OURS: it is ours
        self._octets = array("Q")
        self._uids: dict[int, bytes] = {}  # of those without an entry
        self._faults: dict[int, str] = {}  # of what is no message, and why it is not read
        self.octets = 0

    def add_entry(self, part: Part, entry: int, octets: int) -> None:
        self._add(part, entry, 0, _OURS, octets)

    def add_stranger(self, part: Part, stranger: Stranger, uid: bytes, octets: int) -> None:
        self._uids[len(self)] = uid
        quoting = _OURS if stranger.quoting is None else stranger.quoting
        self._add(part, stranger.at, stranger.end, quoting, octets)

    def add_fault(self, name: bytes, what: str) -> None:
        """Something below the root that is not read, named by its path."""
        self._uids[len(self)] = b"unreadable;" + name
        self._faults[len(self)] = what
        self._add(None, 0, 0, _OURS, 0)

    def _add(self, part: Part | None, entry: int, end: int, quoting: int, octets: int) -> None:
        if part is not None and (not self._parts or self._parts[-1] is not part):
            self._parts.append(part)
        self._part.append(max(0, len(self._parts) - 1))
        self._entry.append(entry)
        self._end.append(end)
        self._quoting.append(quoting)
        self._octets.append(octets)
        self.octets += octets

    def place(self, ref: MessageRef) -> Place | str | None:
        """Where the message stands, or why it cannot be read; None when it is none of these."""
        at = ref.number - 1
        if not 0 <= at < len(self) or self._ref(at).uid != ref.uid:
            return None
        if at in self._faults:
            return self._faults[at]
        part = self._parts[self._part[at]]
        if not self._end[at]:
            return Place(part, self._entry[at])
        quoting = None if self._quoting[at] == _OURS else Quoting(self._quoting[at])
        return Place(part, Stranger(self._entry[at], self._end[at], quoting))

    def __len__(self) -> int:
        return len(self._part)

    def _ref(self, at: int) -> MessageRef:
        uid = self._uids.get(at)
        if uid is None:
            part = self._parts[self._part[at]]
            place = (
                b"%b;UIDVALIDITY=%d" % (str(part.head.mailbox).encode(), part.head.uidvalidity) if part.head else b""
            )
            uid = b"%b;UID=%d" % (place, part.index.uids[self._entry[at]])
        is_fault = at in self._faults
        return MessageRef(uid, at + 1, None if is_fault else self._octets[at], is_fault=is_fault)
