"""zip: members, each behind a local header, and their directory at the end. PKWARE APPNOTE 6.3.10, §4.3 and §4.5.

    archive   = *( local [data] [descriptor] ) *central [end64 locator64] end
    local     = "PK" 3 4 version flags method time date crc csize size name-length extra-length name extra
    central   = "PK" 1 2 made-by version flags method time date crc csize size lengths(3) disk attributes(2) offset
                name extra comment
    end       = "PK" 5 6 disk disk entries entries size offset comment-length comment
    extra     = *( id length data )       1: 64-bit sizes and offset; 0x5455: times in UTC; 0x7075: the name in UTF-8

All numbers are little-endian. Flag 1: encrypted; flag 8: crc and sizes stand behind the data (descriptor) and may be
zero in the local header; flag 0x800: the name is UTF-8, else it is that or code page 437, by the program.
The offset of an archive that something was put in front of (a self-extracting one) is too small by that much.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

LOCAL, CENTRAL, END = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END_OCTETS = 22 + 65535  # at most
END64_OCTETS = 56

_LOCAL = struct.Struct("<4xHHHHHIIIHH")
_CENTRAL = struct.Struct("<4xHHHHHHIIIHHHHHII")
_END = struct.Struct("<4xHHHHIIH")
_LOCATOR = struct.Struct("<4sIQI")
_DESCRIBES = b"PK\x07\x08"
_DESCRIPTOR, _DESCRIPTOR64 = struct.Struct("<4sIII"), struct.Struct("<4sIQQ")
_END64 = struct.Struct("<4s20xQQQQ")
_ENCRYPTED, _DESCRIBED, _UTF8 = 0x1, 0x8, 0x800
_NO_16, _NO_32 = 0xFFFF, 0xFFFFFFFF

NAME_AT = _LOCAL.size  # in a local header
LOCAL_OCTETS = _LOCAL.size + 2 * 65535  # at most
CENTRAL_OCTETS = _CENTRAL.size + 3 * 65535


@dataclass(frozen=True, slots=True)
class Entry:
    """What a header says of a member. ``offset``: where its local header should be; None in a local header."""

    name: bytes
    method: int
    crc: int
    packed: int  # octets of its data as they stand in the archive
    size: int
    mtime: int  # seconds since the epoch, where it is told in UTC; else 0
    length: int  # octets of this header
    is_encrypted: bool
    is_described: bool  # what stands in the local header of crc and sizes is nothing
    is_utf8: bool
    offset: int | None = None

    @property
    def is_file(self) -> bool:
        return not self.name.endswith((b"/", b"\\"))


@dataclass(frozen=True, slots=True)
class End:
    """Where the directory is: so many octets, in front of ``at``."""

    entries: int
    size: int
    offset: int
    at: int


def entry_of(octets: bytes, at: int = 0) -> Entry | None:
    """The entry of the directory that stands there; None where none does."""
    if len(octets) - at < _CENTRAL.size or not octets.startswith(CENTRAL, at):
        return None
    _, _, flags, method, _, _, crc, packed, size, *lengths, _, _, _, offset = _CENTRAL.unpack_from(octets, at)
    length = _CENTRAL.size + sum(lengths)
    if len(octets) - at < length:
        return None
    name_at = at + _CENTRAL.size
    extra_at = name_at + lengths[0]
    name = octets[name_at:extra_at]
    extra = _extra(octets[extra_at : extra_at + lengths[1]])
    packed, size, offset = _wide(extra.get(1, b""), packed, size, offset)
    return _entry(name, flags, method, crc, packed, size, length, extra, offset)


def local_of(octets: bytes) -> Entry | None:
    """The local header that the octets begin with; None where they do not. Its signature is not asked for."""
    if len(octets) < _LOCAL.size:
        return None
    _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(octets)
    length = _LOCAL.size + name_length + extra_length
    if len(octets) < length:
        return None
    extra = _extra(octets[_LOCAL.size + name_length : length])
    packed, size, _ = _wide(extra.get(1, b""), packed, size, 0)
    name = octets[_LOCAL.size : _LOCAL.size + name_length]
    return _entry(name, flags, method, crc, packed, size, length, extra, None)


def _entry(
    name: bytes,
    flags: int,
    method: int,
    crc: int,
    packed: int,
    size: int,
    length: int,
    extra: dict[int, bytes],
    offset: int | None,
) -> Entry:
    times = extra.get(0x5455, b"")
    mtime = int.from_bytes(times[1:5], "little", signed=True) if len(times) >= 5 and times[0] & 1 else 0
    better = extra.get(0x7075, b"")
    return Entry(
        name=better[5:] if len(better) > 5 and better[0] == 1 else name,
        method=method,
        crc=crc,
        packed=packed,
        size=size,
        mtime=max(0, mtime),
        length=length,
        is_encrypted=bool(flags & _ENCRYPTED),
        is_described=bool(flags & _DESCRIBED),
        is_utf8=bool(flags & _UTF8) or bool(better),
        offset=offset,
    )


def _extra(octets: bytes) -> dict[int, bytes]:
    fields: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(octets):
        number, length = struct.unpack_from("<HH", octets, at)
        fields.setdefault(number, octets[at + 4 : at + 4 + length])
        at += 4 + length
    return fields


def _wide(extra: bytes, packed: int, size: int, offset: int) -> tuple[int, int, int]:
    """The sizes and the offset, those that are too large for 32 bits from the extra field; in its order."""
    numbers = [int.from_bytes(extra[at : at + 8], "little") for at in range(0, len(extra) - 7, 8)]
    size = numbers.pop(0) if size == _NO_32 and numbers else size
    packed = numbers.pop(0) if packed == _NO_32 and numbers else packed
    offset = numbers.pop(0) if offset == _NO_32 and numbers else offset
    return packed, size, offset


def described(entry: Entry, tail: bytes, room: int) -> Entry:
    """The member with what its descriptor says, if one ends the room behind its header, as ``tail`` does."""
    for form in (_DESCRIPTOR, _DESCRIPTOR64):
        if len(tail) >= form.size:
            magic, crc, packed, size = form.unpack(tail[-form.size :])
            if magic == _DESCRIBES and packed == room - form.size:
                return replace(entry, crc=crc, packed=packed, size=size, is_described=False)
    return entry


def end_of(octets: bytes, at: int) -> End | None:
    """The end of the directory in the last octets of the archive, which stand there from ``at`` on."""
    place = octets.rfind(END)
    while place >= 0 and len(octets) - place < _END.size:
        place = octets.rfind(END, 0, place)
    if place < 0:
        return None
    _, _, _, entries, size, offset, _ = _END.unpack_from(octets, place)
    return End(entries, size, offset, at + place)


def end64_at(octets: bytes, end: End) -> int | None:
    """Where the 64-bit end of the directory is, by the locator in the 20 octets in front of the end."""
    if end.entries != _NO_16 and end.size != _NO_32 and end.offset != _NO_32:
        return None
    if len(octets) != _LOCATOR.size:
        return None
    magic, _, place, _ = _LOCATOR.unpack(octets)
    return place if magic == b"PK\x06\x07" else None


def end64_of(octets: bytes, at: int) -> End | None:
    if len(octets) < _END64.size or not octets.startswith(b"PK\x06\x06"):
        return None
    _, _, entries, size, offset = _END64.unpack_from(octets)
    return End(entries, size, offset, at)


def name_text(name: bytes, *, is_utf8: bool) -> str:
    """The name as text. Programs that do not say so write UTF-8 (macOS) or code page 437 (DOS)."""
    try:
        return name.decode("utf-8")
    except UnicodeDecodeError:
        return name.decode("utf-8", "surrogateescape") if is_utf8 else name.decode("cp437")
