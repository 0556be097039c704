"""The members of an archive, zip or tar, read where it is. Names in it are labels, and never paths on this disk.

A tar file is walked from the front; a header that is damaged costs at most its own member. Of a zip file the directory
at its end is believed where every entry of it leads to a member; else what is found from the front is taken too.
"""

from __future__ import annotations

import bz2
import lzma
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from ...model import BLOCK
from ...wire import tar
from ...wire import zip as zips
from ..mboxes import Told
from .octets import XZ_MEMORY, Checked, Damaged, Decoder, Octets, Part, Unpacked, deflated, zstandard

MEMBERS_MAX = 1_000_000
_STEP = 16 * BLOCK  # so much is unpacked in one go
_STORED = 0
_METHODS: dict[int, Callable[[], Decoder]] = {
    8: deflated,
    12: bz2.BZ2Decompressor,
    93: zstandard,
    95: lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY),
}
_CUT = "it is cut: the end of the archive is missing"


class Member(NamedTuple):
    """One file in an archive."""

    name: str  # with "/" between levels, as whoever packed it liked
    start: int  # of its data
    packed: int  # octets of them, or more where what is compressed tells its end itself
    method: int = _STORED
    crc: int | None = None
    mtime: int = 0  # seconds since the epoch, 0: not told in UTC
    trouble: str = ""  # why it cannot be read


Members = Iterator[Member | Told | None]  # None: nothing yet, a good moment to do something else


def octets_of(archive: Octets, member: Member) -> Octets:
    """What the member holds, unpacked as it is read. Closing it leaves the archive open."""
    part: Octets = Part(archive, member.start, member.packed)
    if member.method != _STORED:
        part = Unpacked(part, _METHODS[member.method], is_one=True)
    return part if member.crc is None else Checked(part, member.crc)


def members_of(archive: Octets, kind: str) -> Members:
    """Every file in it. ``kind``: "zip" or "tar"."""
    count = 0
    try:
        for found in _zip(archive) if kind == "zip" else _tar(archive):
            yield found
            count += isinstance(found, Member)
            if count >= MEMBERS_MAX:
                yield Told(f"it has more than {MEMBERS_MAX:,} members; the others are not read", is_fault=True)
                return
    except Damaged as damage:
        yield Told(f"damaged ({damage}); what stands before is read", is_fault=True)


def _all(octets: Octets, start: int, count: int) -> bytes:
    """So many octets, fewer where they end."""
    found = b""
    while len(found) < count and (more := octets.read(start + len(found), count - len(found))):
        found += more
    return found


# --- tar --------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Ahead:
    """What special members say about the next one."""

    name: bytes = b""
    size: int | None = None
    is_sparse: bool = False

    def take(self, kind: bytes, octets: bytes) -> None:
        if kind == b"L":
            self.name = octets.partition(b"\0")[0]
        elif kind == b"x":
            fields = tar.pax_fields(octets)
            self.name = fields.get(b"path", self.name)
            size = fields.get(b"size", b"")
            self.size = int(size) if size.isdigit() and len(size) < 19 else None
            self.is_sparse = any(name.startswith(b"GNU.sparse.") for name in fields)


def _tar(octets: Octets) -> Members:
    at, has_end, ahead = 0, False, _Ahead()
    while len(block := _all(octets, at, tar.BLOCK)) == tar.BLOCK:
        header = tar.header_of(block)
        data = at + tar.BLOCK
        if header is None:
            has_end, at = True, data  # archives behind one another have such blocks between them
            continue
        has_end = False
        if not header.is_sound:
            yield Told(f"the header at offset {at:,} is damaged; what stands behind it is read as it is", is_fault=True)
            header = replace(header, size=_true_size(octets, data, header))
        elif ahead.size is not None:
            header = replace(header, size=ahead.size)
        at = data + header.padded
        if header.kind in (b"L", b"x", b"g", b"K", b"X"):
            ahead.take(header.kind, _all(octets, data, header.size) if header.size <= tar.EXTRA_OCTETS else b"")
        else:
            is_sparse = ahead.is_sparse or header.kind == b"S"
            name = (ahead.name or header.name).decode("utf-8", "surrogateescape")
            if is_sparse or (header.is_file and not name.endswith("/")):
                trouble = "its empty parts were left out (sparse); it is not read" if is_sparse else ""
                yield Member(name, data, header.size, mtime=header.mtime, trouble=trouble)
            ahead = _Ahead()
        if octets.size is None:
            yield from _pass(octets, data, at)
    if not has_end:
        yield Told(_CUT, is_fault=True)


def _pass(octets: Octets, start: int, end: int) -> Iterator[None]:
    """Unpacks as far as there, and not in one go."""
    for place in range(start, end, _STEP):
        if not octets.read(place, 1):
            return
        yield None


def _true_size(octets: Octets, data: int, header: tar.Header) -> int:
    """How many octets stand behind a damaged header: up to a whole one, without zeros that fill up the last block.

    Its size is believed as far as it agrees with that.
    """
    at = end = data
    limit = data + header.padded if header.size >= 0 else None
    while block := _all(octets, at, tar.BLOCK):
        found = tar.header_of(block)
        if (found is not None and found.is_sound) or (at == limit and found is None):
            break
        end = at + len(block.rstrip(b"\0")) if found is not None else end
        at += tar.BLOCK
    return max(end - data, header.size if at == limit else 0)


# --- zip --------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """A member as far as its headers tell. ``at``: of the local header; ``data``: behind it."""

    at: int
    data: int
    entry: zips.Entry
    local: zips.Entry


def _zip(octets: Octets) -> Members:
    size = _length(octets)
    entries, end, is_whole = _directory(octets, size)
    places: list[_Place] = []
    for entry in sorted(entries, key=lambda one: one.offset or 0):
        place = _place(octets, entry, end, is_sure=is_whole)
        if place is None or (places and places[-1].at == place.at):
            is_whole = False
        else:
            places.append(place)
        yield None
    if not is_whole:
        what = "its directory is damaged, or its end is missing; what can be found without is read"
        yield Told(what, is_fault=True)
        places = _found(octets, places, end)
    for number, place in enumerate(places, 1):
        behind = places[number].at if number < len(places) else end
        if place.entry.is_file:
            yield _member(place, behind - place.data)


def _place(octets: Octets, entry: zips.Entry, end: int, *, is_sure: bool) -> _Place | None:
    """The member that an entry of the directory leads to. ``is_sure``: the directory is whole, as far as was seen."""
    at = entry.offset or 0
    local = _local(octets, at, is_signed=False) if 0 <= at < end else None
    if local is None:
        return None
    is_named = local.name == entry.name
    if not is_named and is_sure and _all(octets, at + zips.NAME_AT, len(entry.name)) == entry.name:
        local = replace(local, name=entry.name, length=local.length - len(local.name) + len(entry.name))
        is_named = True
    return _Place(at, at + local.length, entry, local) if is_named or _local(octets, at) is not None else None


def _member(place: _Place, room: int) -> Member:
    entry, local = place.entry, place.local
    method = entry.method if entry.method in (*_METHODS, _STORED) else local.method
    packed = room
    if method == _STORED:
        sizes = [one.packed for one in (entry, local) if not (one is local and local.is_described)]
        packed = max((size for size in sizes if size <= room), default=room)
    trouble = ""
    if entry.is_encrypted and local.is_encrypted:
        trouble = "it is encrypted; unpack it first"
    elif method not in (*_METHODS, _STORED):
        trouble = f"it is compressed in a way that is not read here ({method}); unpack it first"
    name = zips.name_text(entry.name, is_utf8=entry.is_utf8)
    name = name if "/" in name else name.replace("\\", "/")
    is_told = entry.offset is not None or not entry.is_described
    return Member(name, place.data, packed, method, entry.crc if is_told else None, entry.mtime or local.mtime, trouble)


def _length(octets: Octets) -> int:
    if octets.size is not None:
        return octets.size
    size = 0
    while block := octets.read(size, BLOCK):
        size += len(block)
    return size


def _directory(octets: Octets, size: int) -> tuple[list[zips.Entry], int, bool]:
    """The entries with their true offsets, where the members end, and whether nothing is missing."""
    tail_at = max(0, size - zips.END_OCTETS)
    end = zips.end_of(_all(octets, tail_at, size - tail_at), tail_at)
    if end is None:
        return [], size, False
    place = zips.end64_at(_all(octets, max(0, end.at - 20), 20), end)
    if place is not None:
        end = zips.end64_of(_all(octets, place, zips.END64_OCTETS), place) or end
    start = end.at - end.size
    if start < 0:
        return [], size, False
    entries: list[zips.Entry] = []
    held, held_at, at = b"", start, start
    while at < end.at and len(entries) <= MEMBERS_MAX:
        if held_at + len(held) - at < zips.CENTRAL_OCTETS and held_at + len(held) < end.at:
            held, held_at = _all(octets, at, min(8 * zips.CENTRAL_OCTETS, end.at - at)), at
        entry = zips.entry_of(held, at - held_at)
        if entry is None:
            return entries, size, False
        assert entry.offset is not None
        entries.append(replace(entry, offset=entry.offset + start - end.offset))
        at += entry.length
    return entries, start, len(entries) > MEMBERS_MAX or len(entries) & 0xFFFF == end.entries & 0xFFFF


def _local(octets: Octets, at: int, *, is_signed: bool = True) -> zips.Entry | None:
    head = _all(octets, at, 1024)
    if is_signed and not head.startswith(zips.LOCAL):
        return None
    return zips.local_of(head) or zips.local_of(_all(octets, at, zips.LOCAL_OCTETS))


def _found(octets: Octets, known: list[_Place], end: int) -> list[_Place]:
    """Those that are known, and between them what has a local header."""
    offsets = [place.at for place in known]
    places: list[_Place] = []
    at = 0
    while at < end:
        number = bisect_right(offsets, at) - 1
        if number >= 0 and offsets[number] == at:
            place = known[number]
            places.append(place)
            behind = place.data + place.entry.packed
            room = offsets[number + 1] if number + 1 < len(offsets) else end
            is_right = place.data < behind <= room and _all(octets, behind, 2) == b"PK"
            at = behind if is_right else _signature(octets, place.data, room)
            continue
        limit = offsets[number + 1] if number + 1 < len(offsets) else end
        local = _local(octets, at)
        if local is None:
            at = _signature(octets, at + 1, limit)
            continue
        data = at + local.length
        behind = data + local.packed
        is_right = not local.is_described and (behind == limit or _all(octets, behind, 2) == b"PK")
        if not is_right or behind > limit:
            behind = _signature(octets, data, limit)
            local = zips.described(local, _all(octets, max(data, behind - 24), min(24, behind - data)), behind - data)
        places.append(_Place(at, data, local, local))
        at = behind
    return places


def _signature(octets: Octets, start: int, end: int) -> int:
    """Where the next header of either kind begins; ``end`` where none does."""
    at = start
    while at < end:
        block = _all(octets, at, min(BLOCK, end - at))
        found = [place for magic in (zips.LOCAL, zips.CENTRAL) if (place := block.find(magic)) >= 0]
        if found:
            return at + min(found)
        if len(block) < 4 or at + len(block) >= end:
            return end
        at += len(block) - 3
    return end
