"""tar: members one behind the other, each with a header of 512 octets in front, in whatever dialect.

    archive = *( member / zeros )                     blocks of 512 octets (POSIX.1-1988 ustar, POSIX.1-2001 pax, GNU)
    member  = header data zeros                       data is filled up to a whole block
    header  = name(100) mode uid gid size(12) mtime(12) checksum(8) type(1) linkname(100) magic(6) ... prefix(155)
    number  = octal, ended by NUL or space / 0x80 and 11 octets, big-endian (GNU, for what octal cannot hold)
    pax     = *( length SP keyword "=" value LF )     the data of a member of type x about the next; of type g about all
    long    = name NUL                                the data of a member of type L (GNU), about the next

The checksum is the sum of the header's octets with spaces in its own place. A header without a right one is damaged, or
is none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

BLOCK = 512
EXTRA_OCTETS = 1024 * 1024  # of a name or of pax fields; a longer one is none

_MAGIC = b"ustar"
_FILE_TYPES = (b"0", b"\0", b"7")
_PAX = re.compile(rb"([0-9]{1,7}) ([^=\n]+)=")
_SIZE_MAX = 1 << 60


@dataclass(frozen=True, slots=True)
class Header:
    """What stands in front of a member's data. ``is_sound``: its checksum is right; else all of it is a guess."""

    name: bytes
    size: int  # -1 where no number stands
    mtime: int
    kind: bytes
    is_sound: bool

    @property
    def is_file(self) -> bool:
        """Old programs write a directory as a file whose (whole) name ends in "/"."""
        return self.kind in _FILE_TYPES

    @property
    def padded(self) -> int:
        """Octets of its data with what fills up the last block."""
        return -(-self.size // BLOCK) * BLOCK


def header_of(block: bytes) -> Header | None:
    """The header that the block is, or was; None where nothing but zeros stands there, or less than a block."""
    if len(block) < BLOCK or not block.strip(b"\0"):
        return None
    size, mtime = number_of(block[124:136]), number_of(block[136:148])
    if size is None or not 0 <= size < _SIZE_MAX:
        size = -1
    name, kind = block[:100].partition(b"\0")[0], block[156:157]
    is_ustar = block[257:262] == _MAGIC
    if is_ustar and block[262:263] != b" " and (prefix := block[345:500].partition(b"\0")[0]):
        name = prefix + b"/" + name
    is_sound = size >= 0 and block[:1] != b"\0" and number_of(block[148:156]) in _sums(block)
    return Header(name, size, mtime if mtime is not None and mtime > 0 else 0, kind, is_sound)


def is_tar(beginning: bytes) -> bool:
    """Whether an archive begins so, perhaps with a damaged header."""
    header = header_of(beginning[:BLOCK])
    has_magic = beginning[257:262] == _MAGIC and b"\0" in beginning[:257]
    return header is not None and (header.is_sound or has_magic)


def _sums(block: bytes) -> tuple[int, int]:
    """Its checksum; some old programs took the octets as signed."""
    rest = block[:148] + b" " * 8 + block[156:BLOCK]
    total = sum(rest)
    return total, total - 256 * sum(octet > 127 for octet in rest)


def number_of(octets: bytes) -> int | None:
    """A number as a header has it; None where there is none."""
    if octets[:1] in (b"\x80", b"\xff"):
        value = int.from_bytes(octets[1:], "big")
        return value if octets[:1] == b"\x80" else value - (1 << 8 * (len(octets) - 1))
    digits = octets.strip(b" \0")
    if not digits:
        return 0
    return int(digits, 8) if re.fullmatch(rb"[0-7]+", digits) else None


def pax_fields(octets: bytes) -> dict[bytes, bytes]:
    """The fields of an extended header, as far as they are right."""
    fields = {}
    at = 0
    while found := _PAX.match(octets, at):
        end = at + int(found[1])
        if end <= found.end() or octets[end - 1 : end] != b"\n":
            break
        fields[found[2]] = octets[found.end() : end - 1]
        at = end
    return fields
