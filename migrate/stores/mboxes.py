"""The messages of an mbox file that any program may have written."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice, takewhile
from typing import Protocol

from ..model import DateSource, Flags, InternalDate
from ..wire.foreign import BOM, Quoting, Separators, begins_header, is_expunged, quoting_of
from ..wire.header import first
from ..wire.mbox import date_of
from .gauge import Gauge

_SLACK = 4  # octets of empty lines between the end of a message, as its length tells it, and the next From_ line
_PENDING = 500  # messages that one may claim to hold


class Readable(Protocol):
    """The octets of one mbox file, by place. Whoever opened it closes it."""

    @property
    def size(self) -> int | None:
        """Where the octets end; None where that is not known before they were read."""

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The octets between, in blocks; fewer where there are fewer."""

    def again(self) -> Readable:
        """The same file, to be read beside this."""

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Found:
    """One message of a file: its stored octets from ``start`` up to ``end``."""

    start: int
    end: int
    octets: int
    digest: bytes
    header: bytes = field(repr=False)
    quoting: Quoting = Quoting.UNKNOWN
    flags: Flags | None = None
    date: InternalDate | None = None
    line: bytes = b""  # the From_ line, which ends at ``start``
    stop: int = 0  # where the next message begins: behind the empty line that is of the format


@dataclass(frozen=True, slots=True)
class Told:
    """What is worth a line for people; with ``is_fault`` something could not be read, and the run says so."""

    what: str
    is_fault: bool = False


Scan = Iterator[Found | Told | None]  # None: nothing yet, a good moment to do something else
# What is known of the quoting of a message, by the offset of its From_ line, that line and the header.
Known = Callable[[int, bytes, bytes], Quoting]


def nothing_known(at: int, line: bytes, header: bytes) -> Quoting:
    """For a file with nothing beside it that would tell."""
    return Quoting.UNKNOWN


@dataclass(slots=True)
class _Segment:
    """The octets from one From_ line up to the next."""

    line: bytes  # the From_ line, empty where the file begins without one
    at: int  # of the From_ line
    start: int
    gauge: Gauge
    is_last: bool = False
    known: Quoting = Quoting.UNKNOWN

    @property
    def end(self) -> int:
        return self.start + self.gauge.length

    @property
    def empty_line(self) -> int:
        """The octets of the empty line behind it that is of the format: not in a file that is one message."""
        return self.gauge.empty_line if self.line or not self.is_last else 0

    @property
    def length_told(self) -> int | None:
        """Content-Length: the octets of the body (mboxcl, mboxcl2)."""
        digits = first(self.gauge.header, b"content-length") or b""
        return int(digits) if len(digits) < 16 and digits.isdigit() else None

    @property
    def claimed(self) -> int | None:
        """Where its body would end by that, if that is behind its end."""
        if (length := self.length_told) is None:
            return None
        claimed = self.start + len(self.gauge.header) + length
        return claimed if claimed > self.end else None

    def ends_at(self, place: int) -> bool:
        """Whether its last octet stands there, but for empty lines."""
        gap = self.end - place
        return 0 <= gap <= _SLACK and not self.gauge.tail[len(self.gauge.tail) - gap :].strip(b"\r\n")


@dataclass(slots=True)
class _Sums:
    """What is told of the whole file."""

    expunged: list[int] = field(default_factory=list)
    quoted: int = 0
    quoted_at: int = 0


def mbox(
    stream: Readable, *, start: int = 0, known: Known = nothing_known, flags: dict[int, Flags] | None = None
) -> Scan:
    """Every message of the file from ``start`` on. ``known`` and ``flags`` (by the offset of the From_ line) are what
    stands beside it."""
    sums = _Sums()
    for segment in _settled(stream, start, known):
        yield None if segment is None else _found(segment, flags or {}, sums)
    if sums.expunged:
        yield Told(
            "messages that Thunderbird had deleted, and not yet removed from the file, are left out: "
            f"{len(sums.expunged):,} (the first at offset {sums.expunged[0]:,})"
        )
    if sums.quoted:
        yield Told(
            f'lines that begin with ">From " stay as they are: {sums.quoted:,} (the first in the message at offset '
            f'{sums.quoted_at:,}); nothing proves that a ">" was added'
        )


def _found(segment: _Segment, flags: dict[int, Flags], sums: _Sums) -> Found | Told | None:
    gauge = segment.gauge
    if not segment.line and not gauge.is_blank and not begins_header(gauge.header):
        what = f"{gauge.length:,} octets at offset {segment.at:,} are no message; they are left out"
        return Told(what, is_fault=True)
    if gauge.is_blank:
        what = f"the From_ line at offset {segment.at:,} has no message behind it"
        return Told(what) if segment.line else None
    if is_expunged(segment.line, gauge.header):
        sums.expunged.append(segment.at)
        return None
    quoting = _proven(segment)
    quoted = gauge.quoted_in_header + gauge.quoted
    if quoted and not quoting:
        sums.quoted_at = sums.quoted_at if sums.quoted else segment.at
        sums.quoted += quoted
    when = date_of(segment.line)
    return Found(
        start=segment.start,
        end=segment.end - segment.empty_line,
        octets=gauge.octets - (2 if segment.empty_line else 0) - (quoted if quoting else 0),
        digest=gauge.digest,
        header=gauge.header,
        quoting=quoting,
        flags=flags.get(segment.at),
        date=None if when is None else InternalDate(when, DateSource.FROM_LINE),
        line=segment.line,
        stop=segment.end,
    )


def _proven(segment: _Segment) -> Quoting:
    """What was quoted, as far as the message proves it.

    By its From_ line, where no line of the body contradicts; or by a Content-Length that is right once every quoted
    line has lost one ">": so many octets it had before it was quoted. Or it is known, where none contradicts.
    """
    gauge = segment.gauge
    if gauge.bare:
        return Quoting.UNKNOWN
    if segment.known:
        return segment.known
    told = segment.length_told
    is_body_alone = gauge.quoted and not gauge.quoted_in_header
    if is_body_alone and told in (gauge.body - gauge.quoted, gauge.body_on_the_wire - gauge.quoted):
        return Quoting.MBOXRD
    return quoting_of(segment.line)


# --- Content-Length ---------------------------------------------------------------------------


def _settled(stream: Readable, start: int, known: Known) -> Iterator[_Segment | None]:
    """The messages: segments, or several of them as one where the first has a Content-Length that reaches exactly
    to the end of the last, since mboxcl2 quotes nothing. A length that does not is passed over."""
    pending: deque[_Segment] = deque()
    with closing(_Again(stream)) as again:
        for segment in _segments(stream, start):
            if segment is None:
                yield None
                continue
            segment.known = known(segment.at, segment.line, segment.gauge.header)
            pending.append(segment)
            yield from _settle(stream, again, pending, is_last=False)
        yield from _settle(stream, again, pending, is_last=True)


def _settle(stream: Readable, again: _Again, pending: deque[_Segment], *, is_last: bool) -> Iterator[_Segment]:
    while pending:
        claimed = pending[0].claimed
        count = 1
        if claimed is not None:
            is_possible = stream.size is None or claimed <= stream.size
            if is_possible and not is_last and pending[-1].end <= claimed and len(pending) < _PENDING:
                return  # it may be right: what follows tells
            # Where quoting is known, nothing but the beginning of a message looks like one.
            inside = takewhile(lambda one: not one.known, islice(pending, 1, None))
            fits = (number for number, one in enumerate(inside, 2) if one.ends_at(claimed))
            count = next(fits, 1)
        yield pending[0] if count == 1 else again.joined(pending[0], pending[count - 1].end)
        for _ in range(count):
            pending.popleft()


class _Again:
    """The same file, read a second time where messages are joined: ever further on, so that none is unpacked twice."""

    def __init__(self, first: Readable) -> None:
        self._first = first
        self._stream: Readable | None = None

    def joined(self, segment: _Segment, end: int) -> _Segment:
        """The segment with what its Content-Length says to be its own."""
        self._stream = self._stream or self._first.again()
        gauge = Gauge()
        for block in self._stream.blocks(segment.start, end):
            gauge.update(block)
        gauge.finish()
        return _Segment(segment.line, segment.at, segment.start, gauge)

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()


def _segments(stream: Readable, start: int) -> Iterator[_Segment | None]:
    separators = Separators()
    segment = _Segment(b"", start, start, Gauge())
    at = start
    for block in and_end(stream.blocks(start)):
        for is_beginning, piece in separators.finish() if block is None else separators.update(block):
            line = b""
            if is_beginning:
                segment.gauge.finish()
                yield segment
                line = piece[: piece.find(b"\n") + 1] or piece
                segment = _Segment(line, at, at + len(line), Gauge())
            octets = piece[len(line) :]
            at += len(piece)
            if not segment.line and not segment.gauge.length:
                octets = octets.removeprefix(BOM).lstrip(b"\r\n")  # in front of a first message without From_ line
                segment.at = segment.start = at - len(octets)
            segment.gauge.update(octets)
        yield None
    segment.gauge.finish()
    segment.is_last = True
    yield segment


def and_end(blocks: Iterator[bytes]) -> Iterator[bytes | None]:
    """The blocks, and None behind the last."""
    yield from blocks
    yield None
