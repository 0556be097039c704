"""The messages of a file that no entry of its index covers: what another program appended, or what lost its entry.

Octets of ours that lost their entry stand in front of the last mark; of what stands behind it, or in a file without an
index, the From_ line tells: ours is made of the header alone (wire.mbox.from_line). Of those it is known how they were
quoted. All others are read as every file of another program is (stores.mboxes).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ...model import DateSource, InternalDate
from ...wire.foreign import Quoting, Separators, original
from ...wire.mbox import FROM, date_of, decode, foreign_note, from_line, sender_of, survey
from ..mboxes import Found, Known, Readable, Told, and_end, mbox
from .part import Part, body

_LINE_OCTETS = 1000  # of a From_ line


@dataclass(frozen=True, slots=True)
class Stranger:
    """Where one stands: from its From_ line up to the end. ``quoting`` is None for one of ours."""

    at: int
    end: int
    quoting: Quoting | None

    def blocks(self, part: Part) -> Iterator[bytes]:
        """The octets of the message."""
        if self.quoting is None:
            return ours(part, self.at, self.end)
        return original(part.read(self.at + len(self._line(part)), self.end), self.quoting)

    def date(self, part: Part) -> InternalDate | None:
        """The date of its From_ line. In ours it is the internal date; elsewhere local time of nobody knows where."""
        when = date_of(self._line(part))
        return None if when is None else InternalDate(when, _SOURCE[self.quoting is None])

    def _line(self, part: Part) -> bytes:
        line, found, _ = next(part.read(self.at, min(self.end, self.at + _LINE_OCTETS)), b"").partition(b"\n")
        return line + found if line.startswith(FROM) else b""


_SOURCE = {True: DateSource.STORE, False: DateSource.FROM_LINE}


def strangers(part: Part, size: int) -> Iterator[tuple[Stranger, bytes] | Told]:
    """Each one of the first ``size`` octets with its stored header, and what is worth a line for people."""
    known = _known_of(part)
    for start, end in part.strangers(size):
        for found in mbox(_Range(part, end), start=start, known=known):
            if isinstance(found, Found):
                at = found.start - len(found.line)
                is_ours = bool(found.line) and found.quoting is known(at, found.line, found.header) is Quoting.MBOXRD
                stranger = Stranger(at, found.stop, None) if is_ours else Stranger(at, found.end, found.quoting)
                yield stranger, found.header
            elif found is not None:
                yield found


def _known_of(part: Part) -> Known:
    reached = part.index.reached if part.has_index else 0

    def known(at: int, line: bytes, header: bytes) -> Quoting:
        when = date_of(line)
        # A message without any LF was given one: its fields are told apart by CR, as when its From_ line was made.
        is_ours = when is not None and line == from_line(sender_of(header.rstrip(b"\n")), when)
        return Quoting.MBOXRD if is_ours or at < reached else Quoting.UNKNOWN

    return known


@dataclass(frozen=True, slots=True)
class _Range:
    """A file up to a place."""

    part: Part
    size: int

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        return self.part.read(start, self.size if end is None else min(end, self.size))

    def again(self) -> Readable:
        return self

    def close(self) -> None:
        pass


def pieces(part: Part, start: int, end: int) -> Iterator[tuple[int, int]]:
    """Offset and end of each message in that range. Octets in front of the first one are given as one, too."""
    separators = Separators()
    place = at = start
    for block in and_end(part.read(start, end)):
        for is_beginning, piece in separators.finish() if block is None else separators.update(block):
            if is_beginning and at > place:
                yield place, at
                place = at
            at += len(piece)
    yield place, end


def ours(part: Part, at: int, end: int) -> Iterator[bytes]:
    """The octets of a message of ours that lost its entry, with the line ends that mail has."""
    # The empty line behind it is of the format; the last message of a file may lack it.
    last = b"".join(part.read(max(at, end - 2), end))
    stop = end - 1 if last == b"\n\n" else end
    note = foreign_note(survey(body(part.read(at, stop))))
    return decode(body(part.read(at, stop)), note)
