"""Apple Mail's .emlx files, and what Mail took out of them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from ...model import BLOCK, display
from ...wire.emlx import COUNT_OCTETS, PLIST_OCTETS, count_of, flags_of, plist_at, received_at
from ...wire.partial import Gap, Gaps, Way, encoded, quoted_printable, way_of
from ..gauge import Gauge
from ..mboxes import Found, Scan, Told
from .formats import stored
from .octets import Damaged, Octets
from .stream import Stream

RAW_SUFFIX = ".emlxpart"


class Outside(NamedTuple):
    """A file that Mail put a part into. ``opens`` may raise OSError."""

    part: str
    name: str  # for people
    opens: Callable[[], Octets]

    @property
    def is_raw(self) -> bool:
        """Whether its octets are those of the message, encoded as they were."""
        return self.name.lower().endswith(RAW_SUFFIX)


def emlx(stream: Stream, outside: list[Outside] | None = None) -> Scan:
    """The one message of the file, with the flags and the date that its property list tells.

    ``outside``: where Mail put what it took out; None where it took nothing out.
    """
    counted = count_of(stream.head[:COUNT_OCTETS])
    frame = None
    if counted is not None:
        # From the front to the end, as a compressed archive is read best.
        frame = _Frame(counted[0], sum(counted), b"")
        gauge, restored = yield from _measured(stream, frame, outside)
        frame = _frame_behind(stream, frame)
    if frame is None:
        frame = _frame_before_plist(stream, 0 if counted is None else counted[0])
        yield Told("its length is missing or wrong; the message is what stands before its property list")
        gauge, restored = yield from _measured(stream, frame, outside)
    if not frame.plist:
        yield Told("its property list is missing: flags and date come from the header")
    if gauge.is_blank:
        yield Told("no message in it: expected a length, a message and a property list", is_fault=True)
        return
    if restored is not None:
        yield from restored.told()
    date, flags = stored(received_at(frame.plist)), flags_of(frame.plist)
    yield Found(frame.start, frame.end, gauge.octets, gauge.digest, gauge.header, flags=flags, date=date)


class _Frame(NamedTuple):
    """Where the message stands, and its property list."""

    start: int
    end: int
    plist: bytes


def _frame_behind(stream: Stream, frame: _Frame) -> _Frame | None:
    """The frame with the property list that is behind the message; None where its length is wrong."""
    if stream.size is not None and frame.end > stream.size:
        return None
    rest = b"".join(stream.blocks(frame.end, frame.end + PLIST_OCTETS))
    if not rest and stream.size is None and not b"".join(stream.blocks(frame.end - 1, frame.end)):
        return None
    at = plist_at(rest)
    gap = rest if at is None else rest[:at]
    return None if gap.strip() else frame._replace(plist=rest[len(gap) :])


def _frame_before_plist(stream: Stream, start: int) -> _Frame:
    """The message from there up to the property list at the end, if one is there."""
    size = stream.measured()
    tail_at = max(0, size - PLIST_OCTETS)
    tail = b"".join(stream.blocks(tail_at, size))
    at = plist_at(tail)
    return _Frame(start, size if at is None else tail_at + at, b"" if at is None else tail[at:])


def _measured(
    stream: Stream, frame: _Frame, outside: list[Outside] | None
) -> Generator[None, None, tuple[Gauge, Restored | None]]:
    gauge = Gauge()
    restored = None if outside is None else Restored(stream, frame.start, frame.end, outside)
    for block in stream.blocks(frame.start, frame.end) if restored is None else restored.blocks():
        gauge.update(block)
        yield None
    gauge.finish()
    return gauge, restored


@dataclass(frozen=True, slots=True)
class _Filling:
    """What fills a gap."""

    outside: Outside
    way: Way


class Restored:
    """The message of a .partial.emlx with everything in its place that is there. What is not stays out, and is told."""

    def __init__(self, stream: Stream, start: int, end: int, outside: list[Outside]) -> None:
        self._stream, self._start, self._end = stream, start, end
        self._outside = outside
        self._missing: list[str] = []
        self._anew: list[str] = []
        self._gaps = 0

    def blocks(self) -> Iterator[bytes]:
        gaps = Gaps()
        for block in self._stream.blocks(self._start, self._end):
            for piece in gaps.update(block):
                yield from self._filled(piece)
        for piece in gaps.finish():
            yield from self._filled(piece)

    def told(self) -> Iterator[Told]:
        """What a person has to know, once all blocks were read."""
        if not self._gaps:
            yield Told(
                "Mail has taken something out of it, and does not say where; it is copied as it is", is_fault=True
            )
        if self._missing:
            yield Told(f"copied without what Mail took out of it: {'; '.join(self._missing)}", is_fault=True)
        if self._anew:
            parts = ", ".join(self._anew)
            yield Told(f"what Mail took out is back, but how its lines were broken is not known: part {parts}")

    def _filled(self, piece: bytes | Gap) -> Iterator[bytes]:
        if isinstance(piece, bytes):
            yield piece
            return
        self._gaps += 1
        filling = self._filling(piece)
        if isinstance(filling, str):
            self._missing.append(f"part {piece.part} ({filling})")
            yield piece.header
            return
        if not filling.way.is_exact:
            self._anew.append(piece.part)
        yield piece.restored
        yield from encoded(_read(filling.outside), filling.way)

    def _filling(self, gap: Gap) -> _Filling | str:
        """What fills the gap, or why nothing does."""
        why = "it is not in Attachments"
        for outside in self._outside:
            if outside.part != gap.part:
                continue
            name = display(outside.name, 1000)
            try:
                way = _way(gap, outside)
            except (OSError, Damaged) as error:
                why = f'"{name}" cannot be read: {error}'
                continue
            if way is not None:
                return _Filling(outside, way)
            how = display(gap.encoding) or "7bit"
            why = f'"{name}" is not what was taken out, which had {gap.octets:,} octets in {how}'
        return why


def _way(gap: Gap, outside: Outside) -> Way | None:
    octets = crlf = 0
    last = b""
    for block in _read(outside):
        octets += len(block)
        crlf += block.count(b"\r\n") + (last == b"\r" and block[:1] == b"\n")
        last = block[-1:]
    if outside.is_raw:
        return Way("lines") if octets - crlf == gap.octets else None
    quoted = 0
    if gap.encoding == b"quoted-printable" and octets <= gap.octets:
        quoted = sum(map(len, quoted_printable(_read(outside))))
    return way_of(gap, octets, crlf, quoted)


def _read(outside: Outside) -> Iterator[bytes]:
    """The octets of the file. OSError; Damaged."""
    octets = outside.opens()
    try:
        at = 0
        while block := octets.read(at, BLOCK):
            at += len(block)
            yield block
    finally:
        octets.close()
