"""Messages -> the segments of an APPEND (RFC 3501 §6.3.11, RFC 3502, RFC 7888).

    append    = "APPEND" SP mailbox 1*append-message
    append-message = [SP flag-list] [SP date-time] SP literal      exactly one space each (RFC 3502 §6.3.11)
    date-time = DQUOTE date-day-fixed "-" date-month "-" 4DIGIT SP 2DIGIT ":" 2DIGIT ":" 2DIGIT SP zone DQUOTE

The octets of a message go out as they are; nothing is added or rewritten.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import Enum
from functools import lru_cache
from typing import Protocol

from ...errors import Exit, StateError
from ...model import Flags, InternalDate, Message

CRLF = b"\r\n"
MINUS_LIMIT = 4096  # RFC 7888 §5
# A server that will not take a message of this size can say so before the octets are sent, instead of
# closing the connection (RFC 7888 §4, choice 2). Costs one round trip for such a message.
PLUS_LIMIT = 16 * 1024 * 1024

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Literals(Enum):
    """Which literals may be sent without waiting for the server."""

    SYNC = "none"
    MINUS = "up to 4096 octets"
    PLUS = "all"

    def may_run_on(self, octets: int) -> bool:
        """Whether a literal of that size may follow its line at once."""
        if self is Literals.PLUS:
            return octets <= PLUS_LIMIT
        return self is Literals.MINUS and octets <= MINUS_LIMIT


class Pause(Enum):
    """Where sending stops until the server asks for more."""

    CONTINUATION = "+"


Segment = bytes | Message | Pause


class Upload(Protocol):
    """A message with what APPEND sends beside it (commands.Letter)."""

    @property
    def message(self) -> Message: ...
    @property
    def flags(self) -> Flags: ...
    @property
    def internaldate(self) -> InternalDate: ...


def append_segments(tag: bytes, mailbox: bytes, uploads: Sequence[Upload], literals: Literals) -> list[Segment]:
    """The command in the order it is sent. ``mailbox`` is encoded and quoted already."""
    segments: list[Segment] = []
    text = tag + b" APPEND " + mailbox
    for upload in uploads:
        octets = upload.message.octets
        runs_on = literals.may_run_on(octets)
        flags = f" ({upload.flags})" if upload.flags.names else ""
        mark = f'{flags} "{internaldate_text(upload.internaldate.when)}" {{{octets}{"+" if runs_on else ""}}}\r\n'
        segments.append(text + mark.encode("ascii"))
        if not runs_on:
            segments.append(Pause.CONTINUATION)
        segments.append(upload.message)
        text = b""
    segments.append(CRLF)
    return segments


def exact_blocks(message: Message) -> Iterator[bytes]:
    """The octets of a message, exactly as many as were announced. StateError when they are not there.

    An octet too many would be read as the next command.
    """
    left = message.octets
    try:
        for block in message.blocks():
            left -= len(block)
            if left < 0:
                break
            yield block
    except OSError as error:
        raise _changed(message, error.strerror or "") from error
    if left:
        raise _changed(message, "its size is not what it was")


def _changed(message: Message, why: str) -> StateError:
    return StateError(
        f"the stored octets of a message of {message.octets} octets cannot be read: {why}",
        exit=Exit.STATE_UNWRITABLE,
        hint="Something else removed or changed our temporary files. Run the same command again.",
    )


def internaldate_text(when: datetime) -> str:
    """The instant as date-time, without quotes; with its own offset where servers take it, else in UTC."""
    zone = _zone(when.utcoffset() or timedelta())
    if not zone:
        when, zone = when.astimezone(UTC), "+0000"
    return (
        f"{when.day:2d}-{_MONTHS[when.month - 1]}-{when.year:04d} {when.hour:02d}:{when.minute:02d}:{when.second:02d} "
        f"{zone}"
    )


@lru_cache(maxsize=256)
def _zone(offset: timedelta) -> str:
    """What is written for the offset; empty where some server does not take it."""
    # Seen: NO to an offset of twelve hours and more (GNU Mailutils 3.15). The instant is the same in UTC.
    if abs(offset) >= timedelta(hours=12) or offset % timedelta(minutes=1):
        return ""
    minutes = abs(offset) // timedelta(minutes=1)
    return f"{'-' if offset < timedelta() else '+'}{minutes // 60:02d}{minutes % 60:02d}"


def quoted(octets: bytes) -> bytes:
    """The octets as a quoted string. ValueError for those that none can hold (RFC 3501 §9 quoted)."""
    if any(octet in b"\r\n\0" for octet in octets):
        raise ValueError("a line end or NUL cannot be quoted")
    return b'"' + octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
