"""imaplib and IMAPClient over our link, by the methods that they let a subclass override; neither holds a socket.

They do what is not worth code of our own: the login, LIST, CREATE, SELECT. All calls block.
"""

from __future__ import annotations

import imaplib
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Any, TypeVar

from imapclient import IMAPClient

from ...errors import StoreError
from ...model import display
from ...wire.imap import CRLF, Quirk, Status, Tagged, broken, parse_status, quoted, said_goodbye
from .link import Link

T = TypeVar("T")

# What imaplib and IMAPClient let out when a server misbehaves: their own, and whatever their parsers meet.
FOREIGN = (
    imaplib.IMAP4.error,
    OSError,
    ValueError,
    LookupError,
    AttributeError,
    TypeError,
    ArithmeticError,
    RecursionError,
    MemoryError,
)
_BARE = re.compile(rb"([A-P]+[0-9]+) (OK|NO|BAD) ?\Z")
_TAGGED = re.compile(rb"[A-P]+[0-9]+ ((?:OK|NO|BAD)(?: .*)?)\Z", re.DOTALL)
_EXISTS = re.compile(rb"\* +([0-9]{1,10}) +EXISTS\b", re.IGNORECASE)
_HARMLESS = re.compile(rb"[A-P]+[0-9]+ (?:CAPABILITY\r\n|AUTHENTICATE PLAIN(?: |\r\n))")  # before the login
_APPLE = "XAPPLEPUSHSERVICE"


class Refused(Exception):
    """The server said NO or BAD to a blocking call. Never leaves this package."""

    def __init__(self, answer: Tagged) -> None:
        super().__init__(display(answer.said))
        self.answer = answer


class _Wire(imaplib.IMAP4):
    """imaplib's side of the connection: every octet goes through the link."""

    def __init__(self, link: Link, host: str, greeting: bytes, told: tuple[str, ...]) -> None:
        self._link = link
        self._greeting = greeting
        self._told = told
        super().__init__(host)

    def _get_capabilities(self) -> None:
        if self._told:
            self.capabilities = self._told
        else:
            super()._get_capabilities()  # type: ignore[misc]

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:
        self.host = host
        self.port = port

    def readline(self) -> bytes:
        greeting, self._greeting = self._greeting, b""
        line = greeting or self._link.read_line(is_login=self.state == "NONAUTH")
        self._link.trace("S", line)
        tagged = _TAGGED.match(line)
        if tagged:
            self._link.answer = Tagged(*parse_status(tagged[1]), tag=b"")
        elif line[:5].upper() == b"* BYE":
            self._link.goodbye = Status(*parse_status(line[2:]))
        elif exists := _EXISTS.match(line):
            self._link.exists = int(exists[1])
        if _BARE.match(line):
            self._link.quirk(Quirk.NO_TEXT, line)
            line = line.rstrip() + b" ."  # imaplib ends the session at an answer without text
        return line + CRLF

    def read(self, size: int) -> bytes:
        octets = self._link.read_octets(size)
        self._link.trace("S", b"<%d octets>" % size)
        return octets

    def send(self, data: Any) -> None:
        octets = bytes(data)
        shown = len(octets)
        if self.state == "NONAUTH":
            harmless = _HARMLESS.match(octets)
            shown = harmless.end() if harmless else 0
        secret = b"<%d octets of credentials>" % (len(octets) - shown) if shown < len(octets) else b""
        self._link.trace("C", octets[:shown].removesuffix(b"\r\n") + secret)
        self._link.send(octets)

    def shutdown(self) -> None:
        """Leaves the connection to its owner, the session."""

    def login(self, user: str, password: str) -> Any:
        # imaplib sends the user unquoted and cannot send either in UTF-8.
        name, word = (quoted(text.encode("utf-8")) for text in (user, password))
        kind, data = self.xatom("LOGIN", name, word)  # type: ignore[arg-type]
        if kind == "OK":
            self.state = "AUTH"
        return kind, data

    def authenticate(self, mechanism: str, authobject: Any) -> Any:
        if "SASL-IR" not in self.capabilities:
            return super().authenticate(mechanism, authobject)
        # RFC 4959: the first response goes with the command. PLAIN has no other.
        self.literal = self._give_up  # type: ignore[assignment]
        response = b64encode(authobject(b"").encode("utf-8")).decode("ascii")
        kind, data = self.xatom("AUTHENTICATE", mechanism, response)
        if kind == "OK":
            self.state = "AUTH"
        return kind, data

    def _give_up(self, challenge: bytes) -> bytes:
        return b"*"

    def select(self, mailbox: str = "INBOX", readonly: bool = False) -> Any:
        self._link.exists = None  # that was another mailbox
        return super().select(mailbox, readonly)


class Client(IMAPClient):  # type: ignore[misc]
    """IMAPClient over a link."""

    def __init__(self, link: Link, host: str, greeting: bytes, told: tuple[str, ...]) -> None:
        self._link = link
        self._greeting = greeting
        self._told = told
        super().__init__(host, ssl=False)
        self._imap.debug = 0  # costs four fifths of the time, and keeps what was sent in memory

    def _create_IMAP4(self) -> imaplib.IMAP4:
        return _Wire(self._link, self.host, self._greeting, self._told)

    def _set_read_timeout(self) -> None:
        """The link has the deadline."""

    def ask_capabilities(self) -> frozenset[str]:
        """What the server can do, asked anew: what it said before TLS or before login does not count."""
        kind, answers = self._imap.capability()
        self._checkok("CAPABILITY", kind, answers)
        return self._keep(listed(answers[-1]))

    def told_capabilities(self) -> frozenset[str]:
        """What the answer to the login said that the server can do; empty where it did not, or must be asked."""
        told = self._imap.untagged_responses.get("CAPABILITY", [b""])[-1]
        words = listed(told) if told.isascii() else ()
        # iCloud's proxy writes this word into whatever looks like it, even messages, until CAPABILITY was asked
        # after the login (a note in isync's source).
        if "IMAP4REV1" not in words or any(_APPLE in known for known in (words, self._imap.capabilities)):
            return frozenset()
        return self._keep(words)

    def _keep(self, words: tuple[str, ...]) -> frozenset[str]:
        self._cached_capabilities = tuple(word.encode("ascii") for word in words)
        return frozenset(words)

    def offers(self, capability: str) -> bool:
        """Whether the server had this capability when the connection began."""
        return capability in self._imap.capabilities


def listed(octets: bytes) -> tuple[str, ...]:
    """The words of a capability list, in capitals. ValueError for octets beyond ASCII."""
    return tuple(octets.decode("ascii").upper().split())


def call(link: Link, what: str, action: Callable[[], T]) -> T:
    """What the action gives; it may speak with the server. Refused for a NO or BAD, else StoreError.

    No foreign exception is chained to what is raised: its text may hold the password.
    """
    link.begin()
    try:
        return action()
    except StoreError:
        if link.goodbye is None:
            raise
        answer = None
    except FOREIGN:
        answer = link.answer
    if link.goodbye is not None:
        raise said_goodbye(link.goodbye)
    if answer is not None and answer.status != b"OK":
        raise Refused(answer)
    raise broken(f"its answer cannot be understood ({what})", answer.said if answer else b"")
