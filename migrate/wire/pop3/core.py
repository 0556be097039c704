"""POP3 client core: commands in, octets out; octets in, events out (RFC 1939, 2449, 2595, 5034, 6856).

    greeting    = status CRLF                                          RFC 1939 §4
    command     = keyword *(SP argument) CRLF     no CTL inside        RFC 2449 §4
    status      = ("+OK" / "-ERR") [SP [code] text]                    RFC 1939 §3
    code        = "[" level *("/" level) [SP *OCTET] "]"               RFC 2449 §8, RFC 3206
    multi-line  = status CRLF *(line CRLF) "." CRLF                    only after +OK
    line        = *OCTET    a "." in front of a line that begins with "." is taken away
    challenge   = "+" SP [base64] CRLF            only during AUTH     RFC 5034 §4

Commands may be sent ahead (RFC 2449 §6.6); replies come in their order. Only
CRLF ends a status and only CRLF "." CRLF ends a multi-line reply: a "." line
between bare LFs is mail. A reply counts as ended only when nothing follows it,
or what can begin the next reply that is owed: octets that nobody asked for
mean that both sides count differently, and nothing of such a session counts.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from dataclasses import dataclass
from enum import Enum
from typing import Final, NamedTuple

from ...errors import Cause, Retry, StoreError
from .quirks import Quirk

LINE_LIMIT = 64 * 1024  # octets of a status line
BLOCK_LEAST = 64 * 1024  # octets that a block has unless the reply ends in it

_CTL = re.compile(rb"[\x00-\x1f\x7f]")
_CODE = re.compile(rb"\[([A-Za-z0-9/_.-]+)(?:[ \t][^\]]*)?\]")
_STATUS = re.compile(rb"(\+OK|-ERR)(?![A-Za-z0-9])[ \t]*(.*)\Z", re.DOTALL)
# A compiled expression finds these faster than bytes.find.
_DOT = re.compile(rb"\r\n\.(\r\n)?")
_WHOLE = re.compile(rb"\r\n\.\r\n")
_HELD = (b"\r\n.\r", b"\r\n.", b"\r\n", b"\r")  # what may be the beginning of the end

# What other services say first, and what to do about it.
_STRANGERS = (
    (b"\x15\x03", "a server that wants TLS from the first octet", "Write pop3s:// for this port."),
    (b"HTTP/", "a web server", "Check host and port: POP3 is at 995, or at 110 with STLS."),
    (b"* ", "an IMAP server", "Check the port: POP3 is at 995, or at 110 with STLS."),
    (b"220", "a mail or file transfer server", "Check the port: POP3 is at 995, or at 110 with STLS."),
)


class _Shape(Enum):
    LINE = "one line"
    LINES = "one line, and more after +OK"
    SASL = "challenges, then one line"


# RFC 1939 §5-7, RFC 2449 §5: the replies that go on after +OK, with and without argument.
_LONG_ALWAYS = frozenset({b"CAPA", b"RETR", b"TOP"})
_LONG_BARE = frozenset({b"UIDL", b"LIST", b"LANG"})


class Reply(NamedTuple):
    """A status line. ``code`` is in capitals, without brackets and arguments, or empty; ``line`` is all of it."""

    is_ok: bool
    code: bytes
    text: bytes
    line: bytes


@dataclass(slots=True)
class Block:
    """Octets of a multi-line reply in order, dots already taken away, cut anywhere."""

    octets: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The multi-line reply is complete."""


END: Final = End()


@dataclass(frozen=True, slots=True)
class Challenge:
    """The server waits for ``respond``."""

    text: bytes


Event = Reply | Block | End | Challenge


def broken(what: str, said: bytes = b"", *, retry: Retry = Retry.NOW, hint: str = "") -> StoreError:
    """The error for a server that does not keep to the protocol."""
    return StoreError(
        f"the POP3 server is not understood: {what}",
        cause=Cause.UNUSABLE,
        retry=retry,
        said=said[:300],
        hint=hint or "If that comes back with the next run, the provider has to look at it.",
    )


class Pop3Wire:
    """One connection's protocol state. After a StoreError it is of no use any more."""

    def __init__(self) -> None:
        self.quirks: Counter[Quirk] = Counter()
        self._owed: deque[_Shape] = deque([_Shape.LINE])  # the greeting
        self._is_greeted = False
        self._data = b""
        self._at = 0
        # Inside a multi-line reply ``_at`` stands at a line's end: the status line's own CRLF at first, so
        # that "." and ".." look the same in the first line as in every other.
        self._in_body = False
        self._skip = 0  # octets at ``_at`` that are not part of the body
        self._seen = 0  # up to here there is no end of the reply
        self._has_dots = False  # a line from ``_at`` on begins with a dot
        self._is_ended = False

    # Out -----------------------------------------------------------------------------------
    def send(self, command: bytes) -> bytes:
        """The octets of a command; its reply is owed from now on. ValueError for a control character inside."""
        if _CTL.search(command):
            raise ValueError("a command may not hold control characters")
        keyword, _, argument = command.partition(b" ")
        keyword = keyword.upper()
        if keyword in _LONG_ALWAYS or (keyword in _LONG_BARE and not argument):
            self._owed.append(_Shape.LINES)
        else:
            self._owed.append(_Shape.SASL if keyword == b"AUTH" else _Shape.LINE)
        return command + b"\r\n"

    def respond(self, text: bytes) -> bytes:
        """The octets that answer a challenge (RFC 5034 §4): base64, or ``*`` to give up."""
        if _CTL.search(text):
            raise ValueError("a response may not hold control characters")
        return text + b"\r\n"

    # In ------------------------------------------------------------------------------------
    @property
    def in_body(self) -> bool:
        """Whether a multi-line reply has begun and not ended."""
        return self._in_body

    @property
    def unread(self) -> int:
        """Octets received and not yet told as events."""
        return len(self._data) - self._at

    def receive_data(self, data: bytes) -> None:
        """Takes in what came. Call ``next_event`` until it gives None afterwards."""
        if self._at == len(self._data):
            self._data = data
        else:
            self._data = self._data[self._at :] + data
        self._seen = max(0, self._seen - self._at)
        self._at = 0

    def next_event(self) -> Event | None:
        """The next event, None when more octets are needed. StoreError for what is not POP3."""
        return self._body() if self._in_body else self._status()

    def _status(self) -> Event | None:
        data, at = self._data, self._at
        if at == len(data):
            return None
        if not self._owed and data.startswith(b"-ERR", at):
            raise _goodbye(data[at:].partition(b"\r\n")[0])
        self._check_start(at)
        end = data.find(b"\r\n", at, at + LINE_LIMIT + 2)
        if end < 0:
            if len(data) - at > LINE_LIMIT:
                raise broken(f"a line of more than {LINE_LIMIT} octets", data[at : at + 300])
            if data.find(b"\n", at) >= 0:
                raise broken("a line that ends in LF without CR", data[at : at + 300])
            return None
        line = data[at:end]
        if b"\n" in line:
            raise broken("a line that ends in LF without CR", line)
        shape = self._owed[0]
        if shape is _Shape.SASL and line[:1] == b"+" and line[:3] != b"+OK":
            self._at = end + 2
            return Challenge(line[1:].removeprefix(b" "))
        reply = _parse_status(line)
        if shape is _Shape.LINES and reply.is_ok:
            self._at = self._seen = end
            self._skip = 2
            self._in_body = True
        else:
            self._complete(end + 2)
        self._is_greeted = True
        return reply

    def _body(self) -> Event | None:
        data, at = self._data, self._at
        if self._is_ended:
            self._is_ended = self._in_body = False
            self._complete(at)
            return END
        end = self._find_end()
        if end >= 0:
            begin = at + self._skip
            self._at = end + 5
            if begin >= end + 2:
                self._in_body = False
                self._complete(end + 5)
                return END
            self._is_ended = True
            return Block(self._unstuffed(at, end + 2))
        self._seen = len(data)
        if len(data) - at < BLOCK_LEAST:
            return None
        hold = len(data) - next((len(tail) for tail in _HELD if data.endswith(tail)), 0)
        block = Block(self._unstuffed(at, hold))
        self._at = hold
        self._skip = 0
        return block

    def _find_end(self) -> int:
        """Where the CRLF of the final CRLF "." CRLF begins, -1 when it has not come."""
        begin = max(self._at, self._seen - 4)
        if not self._has_dots:
            # One pass tells both where the reply ends and that there is no dot to take away before.
            match = _DOT.search(self._data, begin)
            if match is None:
                return -1
            if match.lastindex:
                return match.start()
            self._has_dots = True
            begin = match.start()
        match = _WHOLE.search(self._data, begin)
        return match.start() if match else -1

    def _unstuffed(self, at: int, end: int) -> bytes:
        """The body's octets from ``at`` to ``end``, one dot of each two at the beginning of a line taken away."""
        if not self._has_dots:
            return self._data[at + self._skip : end]
        self._has_dots = False
        region = self._data[at:end]
        if single := region.count(b"\r\n.") - region.count(b"\r\n.."):
            self.quirks[Quirk.NOT_STUFFED] += single
        return region.replace(b"\r\n..", b"\r\n.")[self._skip :]

    def _complete(self, at: int) -> None:
        """Ends the reply that was owed first, if what follows at ``at`` allows it."""
        self._owed.popleft()
        self._at = at
        if at < len(self._data):
            self._check_start(at)

    def _check_start(self, at: int) -> None:
        """StoreError unless the octets at ``at`` begin a reply that is owed."""
        data = self._data
        if not self._owed:
            # The octets are not shown: they may be mail.
            raise broken(f"{len(data) - at} octets that nobody asked for")
        if data.startswith((b"+OK", b"-ERR"), at):
            return
        head = data[at : at + 4]
        is_sasl = self._owed[0] is _Shape.SASL and head[:1] == b"+" and head[1:2] in (b"", b" ", b"\r")
        if is_sasl or b"+OK".startswith(head) or b"-ERR".startswith(head):
            return
        if self._is_greeted:
            raise broken("an answer that is neither +OK nor -ERR")
        said = data[at : at + 300].partition(b"\r\n")[0]
        for begin, what, hint in _STRANGERS:
            if said.startswith(begin):
                raise StoreError(
                    f"there is no POP3 server, but {what}",
                    cause=Cause.UNUSABLE,
                    retry=Retry.NEVER,
                    said=said,
                    hint=hint,
                )
        raise broken("its greeting is not that of a POP3 server", said, retry=Retry.LATER, hint="Check host and port.")


def _goodbye(line: bytes) -> StoreError:
    # Seen: Dovecot says "-ERR Disconnected for inactivity." before it hangs up.
    return StoreError("the POP3 server ended the session", said=line)


def _parse_status(line: bytes) -> Reply:
    match = _STATUS.match(line)
    if match is None:
        raise broken("an answer that is neither +OK nor -ERR", line)
    text = match[2]
    code = _CODE.match(text) if text[:1] == b"[" else None
    return Reply(match[1] == b"+OK", code[1].upper() if code else b"", text, line)
