"""A server that lies: the embedded server, with habits given as a table.

A habit is said for a command, by its name in small letters (``uid_fetch`` for UID FETCH, ``pass``, ``retr``):

    instead   these octets are the whole answer         before, after   they come around the usual answer
    hangs     no answer, ever                           closes          the connection ends where the answer was due
    leaves    the connection ends behind the answer     floods          these octets, again and again
    trickles  the answer comes an octet at a time

In IMAP ``$t`` stands for the tag. ``greeting`` is said as it is. Octets of a habit may also be made by a
function of the session, which may do anything a server can.
"""

from __future__ import annotations

import atexit
import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from ssl import PEM_cert_to_DER_cert
from typing import Any, ClassVar, Self

from tests.support.embedded import Embedded
from tests.support.embedded.session import House, ServerSession

PACE_S = 0.2  # between two octets of a trickle
AUDIENCE_S = 60.0  # a flood goes on for so long at most

Octets = bytes | Callable[[Any], bytes]


class Gone(EOFError):
    """The session is over: the server hung up, or the client did."""


class Liar(ServerSession):
    """What lying sessions of both protocols share."""

    greeting: ClassVar[bytes] = b""
    instead: ClassVar[Mapping[str, Octets]] = {}
    before: ClassVar[Mapping[str, Octets]] = {}
    after: ClassVar[Mapping[str, Octets]] = {}
    floods: ClassVar[Mapping[str, bytes]] = {}
    hangs: ClassVar[str] = ""
    closes: ClassVar[str] = ""
    leaves: ClassVar[str] = ""
    trickles: ClassVar[str] = ""

    def __init__(self, house: House, connection: socket.socket) -> None:
        super().__init__(house, connection)
        self._is_trickling = False

    def octets_of(self, habit: Octets) -> bytes:
        return habit if isinstance(habit, bytes) else habit(self)

    def greet(self) -> None:
        if self.greeting:
            self.send(self.greeting)
        self.misbehave("greeting")

    def misbehave(self, name: str) -> None:
        """What ends the session, or fills it, when this command is due."""
        if name in self.floods:
            self.flood(self.floods[name])
        if name in self.hangs.split():
            self.hang()
        if name in self.closes.split():
            raise Gone

    def hang(self) -> None:
        """Says nothing until the client has gone."""
        with contextlib.suppress(OSError):
            while self._stream.readline():
                continue
        raise Gone

    def flood(self, octets: bytes) -> None:
        """Says the same until the client has gone."""
        block = octets * max(1, 65536 // len(octets))
        self._connection.settimeout(AUDIENCE_S)
        while True:
            self._connection.sendall(block)

    def send(self, octets: bytes) -> None:
        if not self._is_trickling:
            super().send(octets)
            return
        for octet in octets:
            super().send(bytes([octet]))
            _NEVER.wait(PACE_S)


_NEVER = threading.Event()


class Stage(Embedded):
    """A server for one act after the other: ``cast`` says which sessions play from now on."""

    def __init__(self, password: str, pop3: type[ServerSession], imap: type[ServerSession]) -> None:
        super().__init__(password=password, pop3=pop3, imap=imap)

    def cast(self, pop3: type[ServerSession], imap: type[ServerSession]) -> None:
        self._kinds.update(pop3=pop3, pop3s=pop3, imap=imap, imaps=imap)

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def make_certificate(self) -> None:
        for name in ("ca.pem", "cert.pem", "key.pem"):
            shutil.copy(certificate() / name, self.directory / name)

    def octets_in(self, user: str, mailbox: str) -> list[bytes]:
        """The truth about a mailbox."""
        with self._house.lock:
            there = self._house.account(user).mailboxes.get(mailbox)
            return [] if there is None else [mail.octets for mail in there.mails]

    def everything_of(self, user: str) -> list[bytes]:
        """Every message in any mailbox of a user but INBOX."""
        with self._house.lock:
            boxes = self._house.account(user).mailboxes
            return [mail.octets for name, box in boxes.items() if name != "INBOX" for mail in box.mails]


@cache
def certificate() -> Path:
    """A directory with one certificate for all stages of this process."""
    place = Path(tempfile.mkdtemp(prefix="pf-stage-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    made = Embedded()
    made.directory = place
    made.make_certificate()
    return place


@cache
def pin() -> bytes:
    """The fingerprint of that certificate: whoever pins it trusts every stage."""
    pem = (certificate() / "cert.pem").read_text().partition("-----END CERTIFICATE-----")
    return sha256(PEM_cert_to_DER_cert("".join(pem[:2]))).digest()
