"""Apple Mail's .partial.emlx: a message whose attachments Mail took out, and how to put them back.

    part    = *field "X-Apple-Content-Length: " octets *field LF [LF] delimiter        its body is missing
    octets  = those of the body as the message had it, encoded, with LF line ends
    outside = Attachments/NUMBER/PART/NAME   the decoded content; PART as IMAP counts them (RFC 3501 §6.4.5): "2.4"
            / NUMBER.PART.emlxpart           the body as the message had it (Mac OS X 10.4 and 10.5)

The field is Mail's own; it goes with the gap. A decoded file has one encoding of these many octets for 7bit, 8bit and
binary, and one for base64 once the length of its lines is found. What was quoted-printable can be encoded in many
ways: its content is sure, its lines are not. Seen in base64: with and without the last line end.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..model import HEADER_LIMIT
from .header import first, values

_FIELD = re.compile(rb"^x-apple-content-length[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*\n", re.IGNORECASE | re.MULTILINE)
_BOUNDARY = re.compile(rb';\s*boundary\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))', re.IGNORECASE)
_LINE_OCTETS = 1000  # of a delimiter
_LINES = (76, 72, 64, 60)  # of base64
_LEVELS_MAX = 100
_IDENTITY = (b"", b"7bit", b"8bit", b"binary")


@dataclass(frozen=True, slots=True)
class Gap:
    """Where the body of a part was. ``header``: of the part, as it stands; ``restored``: without Mail's field."""

    part: str
    encoding: bytes  # Content-Transfer-Encoding in small letters
    octets: int
    header: bytes
    restored: bytes


class Gaps:
    """Finds the gaps of a message with LF line ends, in blocks cut anywhere. What comes out is the message."""

    def __init__(self) -> None:
        self._line = b""
        self._is_whole = True  # the line that is held began at a line's beginning
        self._header: list[bytes] | None = []
        self._header_octets = 0
        self._open: list[tuple[bytes, int]] = []  # delimiter of each multipart around, and which of its parts this is
        self._gap: Gap | None = None
        self._blank = b""  # empty lines behind a gap

    def update(self, block: bytes) -> Iterator[bytes | Gap]:
        lines = (self._line + block).split(b"\n")
        self._line = lines.pop()
        for line in lines:
            yield from self._take(line + b"\n")
        if len(self._line) > (_LINE_OCTETS if self._header is None else HEADER_LIMIT):
            line, self._line = self._line, b""
            yield from self._take(line)

    def finish(self) -> Iterator[bytes | Gap]:
        if self._line:
            yield from self._take(self._line)
        if self._header is not None:
            yield b"".join(self._header)
        if self._gap is not None:
            yield self._gap
            yield self._blank

    def _take(self, line: bytes) -> Iterator[bytes | Gap]:
        is_beginning, self._is_whole = self._is_whole, line.endswith(b"\n")
        if self._header is not None:
            self._header.append(line)
            self._header_octets += len(line)
            if not line.strip(b"\r\n") or self._header_octets > HEADER_LIMIT:
                yield from self._end_header(b"".join(self._header))
            return
        is_delimiter = is_beginning and line.startswith(b"--") and self._delimits(line.rstrip())
        if self._gap is not None:
            if not is_delimiter and not line.strip(b"\r\n") and len(self._blank) < _LINE_OCTETS:
                self._blank += line
                return
            # A body that is there was not taken out, whatever the header says.
            yield self._gap if is_delimiter else self._gap.header
            yield self._blank
            self._gap, self._blank = None, b""
        yield line

    def _end_header(self, header: bytes) -> Iterator[bytes | Gap]:
        self._header, self._header_octets = None, 0
        kind = first(header, b"content-type") or b""
        if kind.lower().startswith(b"multipart/") and len(self._open) < _LEVELS_MAX:
            boundary = _BOUNDARY.search(kind)
            if boundary is not None:
                text = boundary[2] or re.sub(rb"\\(.)", rb"\1", boundary[1])
                self._open.append((b"--" + text.rstrip(), 0))
        told = [
            int(value) for value in values(header, b"x-apple-content-length") if re.fullmatch(rb"[0-9]{1,15}", value)
        ]
        if told and told[0]:
            encoding = (first(header, b"content-transfer-encoding") or b"").lower()
            number = ".".join(str(count) for _, count in self._open) or "1"
            self._gap = Gap(number, encoding, told[0], header, _FIELD.sub(b"", header))
        else:
            yield header

    def _delimits(self, line: bytes) -> bool:
        """Whether the line is a delimiter of a multipart around; then what is inside of it is over."""
        for depth in range(len(self._open) - 1, -1, -1):
            delimiter, count = self._open[depth]
            if line == delimiter:
                del self._open[depth + 1 :]
                self._open[depth] = (delimiter, count + 1)
                self._header = []
                return True
            if line == delimiter + b"--":
                del self._open[depth:]
                return True
        return False


# --- what was outside -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Way:
    """How the octets of a file become those of the body. ``is_exact``: they are as many as the message had."""

    name: str  # "as it is", "lines", "base64", "quoted-printable"
    line: int = 0  # octets of a line of base64
    is_ended: bool = False  # the last one ends in LF
    is_exact: bool = True


def way_of(gap: Gap, octets: int, crlf: int, quoted: int) -> Way | None:
    """How a decoded file of so many octets fills the gap; None where it is not what was taken out.

    ``crlf``: how many of its lines end in CRLF; ``quoted``: how many octets it has as ``quoted_printable`` writes it.
    """
    if gap.encoding in _IDENTITY:
        if octets == gap.octets:
            return Way("as it is")
        return Way("lines") if octets - crlf == gap.octets else None
    if gap.encoding == b"base64":
        return _base64_way(gap.octets, -(-octets // 3) * 4)
    if gap.encoding == b"quoted-printable" and abs(quoted - gap.octets) * 10 <= gap.octets:
        return Way("quoted-printable", is_exact=quoted == gap.octets)
    return None


def _base64_way(wanted: int, letters: int) -> Way | None:
    """The length of lines with which so many letters are so many octets, of those that mail programs write."""
    if letters == wanted:
        return Way("base64", line=max(4, letters))
    for line in _LINES:
        lines = -(-letters // line)
        if letters + lines - 1 == wanted or letters + lines == wanted:
            return Way("base64", line=line, is_ended=letters + lines == wanted)
    return None


def encoded(blocks: Iterable[bytes], way: Way) -> Iterator[bytes]:
    """The body that a file becomes in that way."""
    match way.name:
        case "base64":
            yield from _base64(blocks, way)
        case "quoted-printable":
            yield from quoted_printable(blocks)
        case "lines":
            yield from _with_lf(blocks)
        case _:
            yield from blocks


def _base64(blocks: Iterable[bytes], way: Way) -> Iterator[bytes]:
    size = way.line // 4 * 3
    held, end = b"", b""
    for block in blocks:
        held += block
        # The last line is kept back: it may get no line end.
        cut = (len(held) - 1) // size * size
        if cut > 0:
            lines = [binascii.b2a_base64(held[at : at + size]) for at in range(0, cut, size)]
            yield b"".join(lines)
            held = held[cut:]
    if held:
        end = binascii.b2a_base64(held)
        yield end if way.is_ended else end[:-1]


def _with_lf(blocks: Iterable[bytes]) -> Iterator[bytes]:
    held = b""
    for block in blocks:
        block = held + block
        held = b"\r" if block.endswith(b"\r") else b""
        yield block[: len(block) - len(held)].replace(b"\r\n", b"\n")
    yield held


_LITERAL = [bytes((octet,)) if 32 < octet < 127 and octet != 0x3D else b"=%02X" % octet for octet in range(256)]
_SPACES = {32: b" ", 9: b"\t"}
_QP_LINE = 75  # and "=" behind it


def quoted_printable(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The octets as quoted-printable (RFC 2045 §6.7), in lines of 76 at most. LF and CRLF end a line."""
    column, held = 0, b""  # held: white space that is written otherwise at the end of a line, or a CR
    for block in blocks:
        out: list[bytes] = []
        for octet in block:
            if octet == 10:
                out += [_LITERAL[held[0]], b"\n"] if held not in (b"", b"\r") else [b"\n"]
                column, held = 0, b""
                continue
            tokens = [_SPACES.get(held[0]) or _LITERAL[held[0]]] if held else []
            held = bytes((octet,)) if octet in _SPACES or octet == 13 else b""
            for token in tokens if held else [*tokens, _LITERAL[octet]]:
                if column + len(token) > _QP_LINE:
                    out.append(b"=\n")
                    column = 0
                out.append(token)
                column += len(token)
        yield b"".join(out)
    yield _LITERAL[held[0]] if held else b""
