"""A POP3 and IMAP server in this process, for machines without Dovecot: mail in memory, one thread a connection.

It speaks what a careful client needs (RFC 1939 with UIDL, PIPELINING and STLS; RFC 3501 with LITERAL+, UIDPLUS,
NAMESPACE and STARTTLS) and keeps every octet. It is no proof of anything about real servers.
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType

from ..server import PROTOCOLS, MailServer
from .imap import ImapSession
from .pop3 import Pop3Session, served
from .session import House, Mailbox, ServerSession


class Embedded(MailServer):
    """A running server while the ``with`` block lasts. ``pop3`` and ``imap``: what its sessions do instead."""

    name = "the embedded server"
    version = "0"

    def __init__(
        self,
        *,
        password: str = "secret",
        pop3: type[ServerSession] = Pop3Session,
        imap: type[ServerSession] = ImapSession,
    ) -> None:
        self.password = password
        self._kinds = {"pop3": pop3, "pop3s": pop3, "imap": imap, "imaps": imap}
        self._house = House(password, {}, threading.Lock(), self.server_context)
        self._listeners: dict[str, socket.socket] = {}
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Embedded:
        self.directory = Path(tempfile.mkdtemp(prefix="pf-embedded-"))
        self.make_certificate()
        self._listeners = {protocol: socket.create_server(("127.0.0.1", 0)) for protocol in PROTOCOLS}
        self._ports = {protocol: listener.getsockname()[1] for protocol, listener in self._listeners.items()}
        for protocol in PROTOCOLS:
            self._start(self._accept, protocol)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._house.lock:
            ends = [*self._listeners.values(), *self._open]
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(timeout=10)
        for listener in self._listeners.values():
            listener.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def deliver_many(
        self,
        user: str,
        messages: Iterable[bytes],
        mailbox: str = "INBOX",
        *,
        flags: str = "",
        when: datetime | None = None,
    ) -> None:
        with self._house.lock:
            place = self._house.account(user).mailboxes.setdefault(mailbox, Mailbox())
            for octets in messages:
                place.add(octets, flags, when or datetime.now(UTC).replace(microsecond=0))

    def served(self, octets: bytes) -> bytes:
        return served(octets)

    def kept(self, octets: bytes) -> bytes:
        return octets

    def commands(self, user: str) -> bytes:
        return bytes(self._house.account(user).commands)

    # --- connections --------------------------------------------------------------------------

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, protocol: str) -> None:
        while True:
            try:
                connection, _ = self._listeners[protocol].accept()
            except OSError:
                return
            self._start(self._serve, protocol, connection)

    def _serve(self, protocol: str, connection: socket.socket) -> None:
        with self._house.lock:
            self._open.add(connection)
        session = self._kinds[protocol](self._house, connection)
        # The other side may go away at any moment; that ends the session and nothing else.
        with contextlib.suppress(OSError, EOFError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if protocol.endswith("s"):
                session.start_tls()
            session.serve()
        with self._house.lock:
            self._open.discard(connection)
        session.close()
