"""The index in a Maildir: which uid each message has, and the proof of what its file holds.

    index = head *( entry / guest / mark )     sealed lines (stores.record), only ever appended to
    head  = mailbox, uidvalidity
    entry = uid, name of the file as it was delivered, length and SHA-256 of the file; octets and SHA-256 of the
            message; internal date, flags, how its lines ended
    guest = uid and name of a file that somebody else delivered
    mark  = the entries so far are delivered, but for those called void; no uid up to here is given again; SHA-256 of
            the index in front of this line, where all of it is good

The entries of a batch are on the disk before its first file has a name in new/ or cur/, the mark comes when its last
one has: what a crash left behind the last mark is known by name and octets before it is looked at.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from pathlib import Path
from typing import Any

from ...model import DateSource, Flags, InternalDate, MailboxName
from ...wire.maildir import unique_of
from ...wire.mbox import LineEnds
from ..record import LINE_LIMIT, SealedIndex, sealed, unsealed

INDEX = "popferry.index"
VERSION = 1
LINE_AT_LEAST = 64  # octets of the shortest line that gives a uid

# The lines of an index that is proven, but for those with a name that has an escape in it.
_PROVEN = re.compile(
    rb'\n\{"(?:uid":([0-9]{1,18}),"name":"([^"\\\x80-\xff]*)",'
    rb'(?:"check":|"length":[0-9]+,"stored":"[0-9a-f]{64}","octets":([0-9]{1,18}),)'
    rb'|end":([0-9]{1,18})(?:,"before":"[0-9a-f]{64}")?(?:,"void":\[([0-9,]*)\])?,"check":)'
)
_LENGTH = re.compile(rb'\{"uid":[0-9]+,"name":"[^"]*","length":([0-9]{1,18}),')


@dataclass(frozen=True, slots=True)
class Head:
    """The first line."""

    mailbox: MailboxName
    uidvalidity: int

    def line(self) -> bytes:
        levels = list(self.mailbox.levels)
        return sealed({"popferry": VERSION, "maildir": levels, "uidvalidity": self.uidvalidity})


@dataclass(frozen=True, slots=True)
class Entry:
    """A message that a run stored. ``name`` is that of its file below the folder when it was delivered."""

    uid: int
    name: str
    length: int
    stored: bytes  # SHA-256 of the file
    octets: int
    exact: bytes  # SHA-256 of the message
    internaldate: InternalDate
    flags: Flags
    line_ends: LineEnds

    @property
    def base(self) -> str:
        """The name of the file without its letters."""
        return Path(self.name).name.partition(":")[0]

    def line(self) -> bytes:
        return sealed(
            {
                "uid": self.uid,
                "name": self.name,
                "length": self.length,
                "stored": self.stored.hex(),
                "octets": self.octets,
                "sha256": self.exact.hex(),
                "internaldate": self.internaldate.when.isoformat(),
                "flags": sorted(self.flags.names),
                "line-ends": self.line_ends.value,
            }
        )


@dataclass(frozen=True, slots=True)
class Guest:
    """A message that somebody else delivered."""

    uid: int
    name: str

    def line(self) -> bytes:
        return sealed({"uid": self.uid, "name": self.name})


@dataclass(frozen=True, slots=True)
class Mark:
    """Every entry so far is delivered, but for ``void``; ``end`` is the highest uid that is given."""

    end: int
    void: tuple[int, ...] = ()
    before: bytes = b""  # SHA-256 of the index in front of this line; nothing where a line of it is damaged

    def line(self) -> bytes:
        before = {"before": self.before.hex()} if self.before else {}
        return sealed({"end": self.end} | before | ({"void": list(self.void)} if self.void else {}))


Record = Head | Entry | Guest | Mark


def parse(line: bytes) -> Record | None:
    """What a line says; None when it is damaged."""
    said = unsealed(line)
    try:
        return None if said is None else _record(said)
    except (ValueError, KeyError, TypeError):
        return None  # written by a program that we are not


def _record(said: dict[str, Any]) -> Record | None:
    if "popferry" in said:
        return Head(MailboxName(tuple(said["maildir"])), said["uidvalidity"]) if said["popferry"] == VERSION else None
    if "uid" not in said:
        return Mark(said["end"], tuple(said.get("void", ())), bytes.fromhex(said.get("before", "")))
    if "stored" not in said:
        return Guest(said["uid"], said["name"])
    return Entry(
        uid=said["uid"],
        name=said["name"],
        length=said["length"],
        stored=bytes.fromhex(said["stored"]),
        octets=said["octets"],
        exact=bytes.fromhex(said["sha256"]),
        internaldate=InternalDate(datetime.fromisoformat(said["internaldate"]), DateSource.STORE),
        flags=Flags(frozenset(said["flags"])),
        line_ends=LineEnds(said["line-ends"]),
    )


def lengths(path: Path) -> list[int]:
    """About what an index has stored: the octets of each file, without a look at the rest."""
    with path.open("rb") as stream:
        lines = iter(lambda: stream.readline(LINE_LIMIT), b"")
        return [int(found[1]) for found in map(_LENGTH.match, lines) if found]


class Kind(IntEnum):
    """What is known of a message of the index."""

    OPEN = 0  # an entry behind the last mark: delivered or not
    STORED = 1
    VOID = 2  # never delivered
    GUEST = 3


class Index(SealedIndex[Record]):
    """What an index says, with its names and a few octets held for each message: the rest is read when asked for."""

    def _clear(self) -> None:
        super()._clear()
        self.head: Head | None = None
        self.uniques: list[str] = []
        self.octets = array("Q")  # of the message, 0 of a guest
        self._kinds = bytearray()
        self._open = 0  # no entry before this place is open
        self._given = 0
        self.places: dict[str, int] = {}  # by the unique part of the name

    def _parse(self, line: bytes) -> Record | None:
        return parse(line)

    def _hold(self, record: Record, start: int) -> None:
        match record:
            case Head() if self.head is None:
                self.head = record
            case Entry():
                self._add(record.uid, record.name, Kind.OPEN, record.octets, start)
            case Guest():
                self._add(record.uid, record.name, Kind.GUEST, 0, start)
            case Mark():
                self._close(record.end, record.void)

    def _hold_many(self, text: bytes, place: int) -> int:
        found = 0
        for match in _PROVEN.finditer(text):
            found += 1
            uid, name, octets, end, void = match.groups()
            if end is not None:
                self._close(int(end), map(int, void.split(b",")) if void else ())
            else:
                kind = Kind.GUEST if octets is None else Kind.OPEN
                self._add(int(uid), name.decode("ascii"), kind, int(octets or 0), place + match.start() + 1)
        return found

    def _add(self, uid: int, name: str, kind: Kind, octets: int, start: int) -> None:
        unique = unique_of(name.rpartition("/")[2])
        self.places[unique] = len(self.uids)
        self.uniques.append(unique)
        self.uids.append(uid)
        self.octets.append(octets)
        self._kinds.append(kind)
        self._lines.append(start)

    def _close(self, end: int, void: Iterable[int]) -> None:
        """Every entry up to here is delivered, but for those."""
        self._given = max(self._given, end)
        undelivered = set(void)
        for place in self.open_places():
            self._kinds[place] = Kind.VOID if self.uids[place] in undelivered else Kind.STORED
        self._open = len(self.uids)

    def mark(self, end: int, void: Iterable[int] = ()) -> Mark:
        """The mark that is written next, behind what stands there."""
        return Mark(end, tuple(void), self.digest())

    def kind(self, place: int) -> Kind:
        return Kind(self._kinds[place])

    def open_places(self) -> list[int]:
        """The entries that no mark covers."""
        return [place for place in range(self._open, len(self.uids)) if self._kinds[place] == Kind.OPEN]

    def place(self, uid: int) -> int | None:
        """Where a uid stands; None when it is not there."""
        at = bisect_left(self.uids, uid)
        return at if at < len(self.uids) and self.uids[at] == uid else None

    @property
    def last(self) -> int:
        """The highest uid that may have been given, as far as this index knows; a line that was lost may have some."""
        return max(self._given, self.uids[-1] if self.uids else 0) + -(-self.torn // LINE_AT_LEAST)

    def entry(self, place: int) -> Entry | None:
        """The entry at that place; None when it is a guest, or its line cannot be read any more."""
        return next(self.entries(place))[1]

    def entries(self, start: int = 0) -> Iterator[tuple[int, Entry | None]]:
        """Place and entry of each one from that place on."""
        with self.path.open("rb") as stream:
            for place in range(start, len(self.uids)):
                if self._kinds[place] == Kind.GUEST:
                    yield place, None
                    continue
                if stream.tell() != self._lines[place]:
                    stream.seek(self._lines[place])
                record = parse(stream.readline(LINE_LIMIT))
                yield place, record if isinstance(record, Entry) else None
