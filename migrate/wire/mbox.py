"""mboxrd: many messages in one file of lines, each exactly as it was once a small note is at hand.

    mbox      = *message                                     RFC 4155 (media type), appendix A ("default" mbox)
    message   = from-line *( *octet LF ) LF                  an empty line ends every message
    from-line = "From " sender " " asctime LF                asctime in UTC: "Thu Nov 26 00:00:00 2026"
    quoted    = ">" *">" "From " *octet LF                   one ">" more than the message has (mboxrd, qmail mbox(5))

A line ends in LF; CRLF becomes LF where *every* line of the message ends in CRLF. A message whose line ends are
mixed keeps each CR in front of its LF: the lines that end otherwise are seen in the file itself, and no note can
grow with the message. A message that does not end in LF gets one. Bare CR, NUL and 8-bit octets stay as they are.

``Note`` says which of this was done. RFC 4155 does not quote ">From "; that cannot be undone, so it is not followed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from .header import first

FROM = b"From "

_DAYS = b"Mon Tue Wed Thu Fri Sat Sun".split()
_MONTHS = b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split()
_ADDRESS = re.compile(rb"<?([A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,128}@[A-Za-z0-9.-]{1,253})>?")
_FROM_LINE = re.compile(
    rb"From (?:\S+ +)?(?:%s) +(%s) +([0-9]{1,2}) +([0-9]{2}):([0-9]{2})(?::([0-9]{2}))? (?:[^\n]*[^0-9])??([0-9]{4})\b"
    % (b"|".join(_DAYS), b"|".join(_MONTHS))
)
_TO_QUOTE = re.compile(rb"\n(>*From )")
_TO_UNQUOTE = re.compile(rb"\n>(>*From )")
# The beginning of a line that the next octets may make one that is quoted.
_UNDECIDED = re.compile(rb"(>*)(?:From|Fro|Fr|F|)")


class LineEnds(Enum):
    """How the lines of a message end."""

    CRLF = "crlf"  # all of them, or there is none; stored as LF
    LF = "lf"  # all of them
    MIXED = "mixed"  # stored as they are


@dataclass(frozen=True, slots=True)
class Note:
    """What has to be known, beside the stored octets, to have the message back."""

    line_ends: LineEnds = LineEnds.CRLF
    is_ended: bool = True  # the message has the final LF


class Survey:
    """Finds the Note of a message, given in blocks cut anywhere."""

    def __init__(self) -> None:
        self._lf = self._crlf = 0
        self._last = b""

    def update(self, block: bytes) -> None:
        if block:
            self._lf += block.count(b"\n")
            self._crlf += block.count(b"\r\n") + (self._last == b"\r" and block[:1] == b"\n")
            self._last = block[-1:]

    def finish(self) -> Note:
        kind = LineEnds.CRLF if self._lf == self._crlf else LineEnds.LF if not self._crlf else LineEnds.MIXED
        return Note(kind, self._last == b"\n")


def survey(blocks: Iterable[bytes]) -> Note:
    """The Note of a message."""
    found = Survey()
    for block in blocks:
        found.update(block)
    return found.finish()


# --- the line in front ------------------------------------------------------------------------


def sender_of(header: bytes) -> bytes:
    """The envelope sender, where the topmost Return-Path is a plain address; else MAILER-DAEMON."""
    plain = _ADDRESS.fullmatch(first(header, b"return-path") or b"")
    return plain[1] if plain else b"MAILER-DAEMON"


def from_line(sender: bytes, when: datetime) -> bytes:
    """The line in front of a message, without a locale: asctime of C, in UTC."""
    utc = when.astimezone(UTC)
    words = (_DAYS[utc.weekday()], _MONTHS[utc.month - 1], utc.day, utc.hour, utc.minute, utc.second, utc.year)
    return b"From %s %s %s %2d %02d:%02d:%02d %04d\n" % (sender, *words)


def date_of(line: bytes) -> datetime | None:
    """The date of a From_ line, whoever wrote it; None when there is none, or none that mail can have.

    Zone names and offsets that some programs write before or behind the year are not believed: it is read as UTC.
    """
    found = _FROM_LINE.match(line)
    if found is None:
        return None
    month, day, hour, minute, second, year = found.groups()
    if not 1970 <= int(year) < 2100:
        return None
    try:
        return datetime(
            int(year), _MONTHS.index(month) + 1, int(day), int(hour), int(minute), min(int(second or 0), 59), tzinfo=UTC
        )
    except ValueError:
        return None


# --- the lines of a message -------------------------------------------------------------------


class Lines:
    """Gives octets on in whole decisions: what the next block may change is held back, a few octets at most.

    ``_before`` is the last octet that was given on; a message begins as after an LF.
    """

    def __init__(self) -> None:
        self._before = b"\n"
        self._held = b""

    def _take(self, block: bytes) -> bytes:
        """What is decided, with the octet before it in front; the rest is held."""
        octets = self._before + self._held + block
        start = octets.rfind(b"\n") + 1
        if octets.endswith(b"\r"):
            cut = len(octets) - 1  # it may be half of a CRLF
            self._before = octets[cut - 1 : cut]
        elif start and (line := _UNDECIDED.fullmatch(octets, start)):
            # Of a row of ">" one is enough: what becomes of the line is the same with more in front.
            cut = start + max(0, len(line[1]) - 1)
            self._before = b"\n"
        else:
            cut = len(octets)
            self._before = octets[-1:]
        self._held = octets[cut:]
        return octets[:cut]

    def _rest(self) -> bytes:
        """What was held to the end, with the octet before it in front."""
        octets, self._held = self._before + self._held, b""
        return octets


class Encoder(Lines):
    """Message octets to stored lines. ``note`` must be the one that ``survey`` gives for them."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note

    def update(self, block: bytes) -> bytes:
        return self._stored(self._take(block))

    def finish(self) -> bytes:
        return self._stored(self._rest()) + (b"" if self._note.is_ended else b"\n")

    def _stored(self, octets: bytes) -> bytes:
        if FROM in octets:
            octets = _TO_QUOTE.sub(rb"\n>\1", octets)
        octets = octets[1:]
        return octets.replace(b"\r\n", b"\n") if self._note.line_ends is LineEnds.CRLF else octets


class Decoder(Lines):
    """Stored lines to the octets of the message."""

    def __init__(self, note: Note) -> None:
        super().__init__()
        self._note = note
        self._final = b""  # an LF that may be the one that was added

    def update(self, block: bytes) -> bytes:
        return self._original(self._take(block))

    def finish(self) -> bytes:
        return self._original(self._rest())

    def _original(self, octets: bytes) -> bytes:
        if FROM in octets:
            octets = _TO_UNQUOTE.sub(rb"\n\1", octets)
        octets = octets[1:]
        if not self._note.is_ended and octets:
            octets, self._final = self._final + octets, b""
            if octets.endswith(b"\n"):
                octets, self._final = octets[:-1], b"\n"
        return octets.replace(b"\n", b"\r\n") if self._note.line_ends is LineEnds.CRLF else octets


def encode(blocks: Iterable[bytes], note: Note) -> Iterator[bytes]:
    """The stored lines of a message, in blocks."""
    encoder = Encoder(note)
    for block in blocks:
        yield encoder.update(block)
    yield encoder.finish()


def decode(blocks: Iterable[bytes], note: Note) -> Iterator[bytes]:
    """The octets of a message, in blocks, from its stored lines."""
    decoder = Decoder(note)
    for block in blocks:
        yield decoder.update(block)
    yield decoder.finish()


def frame(line: bytes, blocks: Iterable[bytes], note: Note) -> Iterator[bytes]:
    """A whole message as it stands in the file: the From_ line, its stored lines, the empty line."""
    yield line
    yield from encode(blocks, note)
    yield b"\n"


# --- without a note ---------------------------------------------------------------------------


def foreign_note(found: Note) -> Note:
    """The Note of stored lines that came without one, from the ``survey`` of them.

    Mail has CRLF line ends on every way it travels; lines that have them in the file too are left as they are.
    """
    return Note(LineEnds.CRLF if found.line_ends is LineEnds.LF else LineEnds.MIXED, is_ended=True)
