"""Octets of an IMAP server -> events (RFC 3501 §9, erratum-free parts only).

    response      = continue-req / "*" SP response-data CRLF / tag SP resp-cond-state CRLF
    continue-req  = "+" [SP text] CRLF               the space is missing on some servers
    literal       = ["~"] "{" number ["+"] "}" CRLF *OCTET        RFC 3516, RFC 7888

Only CRLF ends a line. Literals occur in untagged data, never in a status
text, which may well end in "{5}". The sizes of lines, literals and whole
responses are bounded before anything is stored, by limits that the caller
sets for what it is waiting for. Every departure from the grammar is a
StoreError, or a named Quirk where it was seen on a server people use.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from ...errors import Cause, Retry, StoreError

LINE_LIMIT = 64 * 1024
LITERAL_LIMIT = 64 * 1024

_STATUS = re.compile(rb"(OK|NO|BAD|BYE|PREAUTH)(?: (.*))?\Z", re.IGNORECASE | re.DOTALL)
_TAGGED = re.compile(
    rb"([^\s+*(){%\"\\\]\x00-\x1f\x7f-\xff]{1,64}) ((?:OK|NO|BAD)(?: .*)?)\Z", re.IGNORECASE | re.DOTALL
)
_CODE = re.compile(rb"\[([^\s\]]+)(?: ([^\]]*))?\] ?", re.DOTALL)
_DATA = re.compile(rb" *(?:([0-9]{1,10}) +)?([A-Za-z][A-Za-z0-9.-]*)(?: |\Z)")
_LITERAL = re.compile(rb"~?\{([^{}\s]*)\}\Z")

# What most servers answer to FETCH (UID RFC822.SIZE): all of it is read at once.
_SIZE = rb"\* [0-9]{1,10} FETCH \(UID ([0-9]{1,9}) RFC822\.SIZE ([0-9]{1,18})\)\r\n"
_SIZES = re.compile(rb"(?:%b)+" % _SIZE)
_EACH_SIZE = re.compile(_SIZE)


class Quirk(Enum):
    """What servers were seen to do against the RFCs and is let pass: the value says it for people."""

    # Seen: iCloud ends a tagged answer after the status word.
    NO_TEXT = "the server's answer had no text behind its status"
    # Seen: the OK of AUTHENTICATE with "\n" alone behind it (GNU Mailutils 3.15).
    BARE_LF = "the server ended its answer to the login with a bare line feed"
    # Seen: "[APPENDUID 1 ]", another mailbox's UIDVALIDITY, the UID of an older message.
    APPENDUID = "the server's APPENDUID made no sense and was not used"
    # Seen: "* SEARCH" to "UID SEARCH UID 1:*" in a mailbox with messages (GNU Mailutils 3.15).
    SEARCH_RANGE = "the server found nothing up to its last message, so it was asked for all of them"
    # Seen: UIDVALIDITY 0, or a number beyond 32 bits.
    UIDVALIDITY = "the server gave no usable UIDVALIDITY"


@dataclass(frozen=True, slots=True)
class Status:
    """An untagged OK, NO, BAD, BYE or PREAUTH. ``code`` is in capitals, without brackets, or empty."""

    status: bytes
    code: bytes
    args: bytes
    text: bytes

    @property
    def said(self) -> bytes:
        """The words of the server as they were, but for spaces."""
        code = b"[%s] " % (self.code + b" " + self.args).strip() if self.code else b""
        return (self.status + b" " + code + self.text).strip()


@dataclass(frozen=True, slots=True)
class Tagged(Status):
    """The end of the command with that tag: OK, NO or BAD."""

    tag: bytes


@dataclass(frozen=True, slots=True)
class Continuation:
    """The server waits for the rest of a command."""

    text: bytes


@dataclass(frozen=True, slots=True)
class Data:
    """Untagged data: ``* [number] name parts[0]``, where parts[1], [3] ... are literals between texts."""

    name: bytes
    number: int | None
    parts: tuple[bytes, ...]


Event = Tagged | Status | Continuation | Data


def broken(what: str, said: bytes = b"") -> StoreError:
    """The error for a server that does not keep to the protocol."""
    return StoreError(
        f"the IMAP server does not keep to the protocol: {what}",
        cause=Cause.UNUSABLE,
        retry=Retry.LATER,
        said=said[:200],
        hint="If that comes back with the next run, the provider has to look at it.",
    )


class Reader:
    """Gives the events of a stream, however the octets were cut into pieces."""

    def __init__(self, line_limit: int = LINE_LIMIT, literal_limit: int = LITERAL_LIMIT) -> None:
        self.line_limit = line_limit
        self.literal_limit = literal_limit
        self.quirks: list[tuple[Quirk, bytes]] = []
        self._buffer = bytearray()
        self._scanned = 0  # octets of the buffer known to hold no CRLF
        self._parts: list[bytes] = []  # of the response that has begun
        self._held = 0  # octets in _parts
        self._literal: list[bytes] = []
        self._missing = -1  # octets of the literal still to come; -1: no literal

    @property
    def is_between(self) -> bool:
        """Whether no response has begun, but for a part of its first line."""
        return not self._parts and self._missing < 0

    @property
    def rest(self) -> int:
        """How many octets were fed and not given out."""
        return len(self._buffer)

    def feed(self, octets: bytes) -> None:
        """Takes in what came from the server."""
        if self._missing > 0 and not self._buffer:
            octets = self._add_literal(octets)
        self._buffer += octets

    def next_event(self) -> Event | None:
        """The next event, or None when more octets are needed. StoreError when it is none."""
        while True:
            if self._missing >= 0 and not self._end_literal():
                return None
            line = self.take_line()
            if line is None:
                return None
            event = self._read_text(line) if self._parts else self._read_line(line)
            if event is not None:
                return event

    def take_sizes(self) -> list[tuple[int, int]]:
        """Uid and size of the messages of which the next lines say nothing else; ``next_event`` has all others.

        A listing of many is read in an eighth of the time.
        """
        match = _SIZES.match(self._buffer) if self.is_between else None
        if match is None:
            return []
        sizes = [(int(uid), int(octets)) for uid, octets in _EACH_SIZE.findall(match[0])]
        self._take(match.end(), 0)
        return sizes

    def take_line(self) -> bytes | None:
        """The next line without its CRLF, raw, or None. Only for who speaks for himself between responses."""
        end = self._buffer.find(b"\r\n", self._scanned)
        length = end if end >= 0 else len(self._buffer) - 1  # the last octet may be the CR
        if length > self.line_limit:
            raise broken("a line without end", bytes(self._buffer[:200]))
        if end < 0:
            self._scanned = max(0, length)
            return None
        return self._take(end, 2)

    def take_bare_answer(self) -> bytes | None:
        """A tagged answer that a bare LF ends, without it, when nothing else is there; else None.

        Only for who waits for the answer to a login: anywhere else a bare LF is part of a line.
        """
        end = self._buffer.find(b"\n")
        if end < 0 or end + 1 < len(self._buffer) or not _TAGGED.match(self._buffer, 0, end):
            return None
        line = self._take(end, 1)
        self.quirks.append((Quirk.BARE_LF, line))
        return line

    def take_octets(self, count: int) -> bytes | None:
        """So many octets, raw, or None when they have not all come."""
        if len(self._buffer) < count:
            return None
        return self._take(count, 0)

    def _take(self, count: int, skipped: int) -> bytes:
        octets = bytes(memoryview(self._buffer)[:count])
        del self._buffer[: count + skipped]
        self._scanned = 0
        return octets

    def _read_line(self, line: bytes) -> Event | None:
        if line.startswith(b"* "):
            status = _STATUS.match(line, 2)
            if status:
                return Status(*parse_status(line[2:]))
            return self._read_text(line[2:])
        if line.startswith(b"+"):
            return Continuation(line[1:].removeprefix(b" "))
        tagged = _TAGGED.match(line)
        if not tagged:
            raise broken("a line that is no answer", line)
        event = Tagged(*parse_status(tagged[2]), tag=tagged[1])
        if b" " not in tagged[2]:
            self.quirks.append((Quirk.NO_TEXT, line))
        return event

    def _read_text(self, text: bytes) -> Data | None:
        literal = _LITERAL.search(text) if text.endswith(b"}") else None
        self._held += len(text)
        if self._held > self.line_limit + 2 * self.literal_limit:
            raise broken("an answer without end", text)
        if literal:
            self._begin_literal(literal[1].removesuffix(b"+"), text)
            self._parts.append(text[: literal.start()])
            return None
        parts, self._parts, self._held = (*self._parts, text), [], 0
        head = _DATA.match(parts[0])
        if not head:
            raise broken("an untagged line that is no answer", parts[0])
        number = int(head[1]) if head[1] else None
        return Data(head[2].upper(), number, (parts[0][head.end() :], *parts[1:]))

    def _begin_literal(self, size: bytes, text: bytes) -> None:
        # Checked before anything is stored: "{-1}", "{3e9}" and numbers of twenty digits were tried.
        if not size.isdigit() or len(size) > 18:
            raise broken("a literal of impossible size", text)
        if int(size) > self.literal_limit:
            raise broken(f"a literal of {int(size)} octets where at most {self.literal_limit} can come", text)
        self._missing = int(size)
        self._held += self._missing

    def _add_literal(self, octets: bytes) -> bytes:
        taken = octets[: self._missing]
        self._literal.append(taken)
        self._missing -= len(taken)
        return octets[len(taken) :]

    def _end_literal(self) -> bool:
        if self._missing > 0 and self._buffer:
            count = min(self._missing, len(self._buffer))
            self._missing -= count
            self._literal.append(self._take(count, 0))
        if self._missing > 0:
            return False
        self._parts.append(b"".join(self._literal))
        self._literal.clear()
        self._missing = -1
        return True


def parse_status(line: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """Status, response code, its arguments and the text of ``OK [CODE args] text`` (RFC 3501 §7.1)."""
    status, _, text = line.partition(b" ")
    code = _CODE.match(text)
    if not code:
        return status.upper(), b"", b"", text
    return status.upper(), code[1].upper(), code[2] or b"", text[code.end() :]
