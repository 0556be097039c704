"""A server that hangs while a session is opened: stopping does not wait for it, and nothing of it is left behind."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrate.config.job import Job
from migrate.driver import Stop, run_job
from migrate.driver.opening import Opening
from migrate.errors import Exit
from migrate.events import Event, Stopping
from migrate.model import Endpoint, MailboxName, Policy, Protocol, Secret, Tls

from ..stores.net_rig import Server, swallow
from .canary import REAL

Hung = Iterator[tuple[int, threading.Event]]


@contextmanager
def silent(octets: bytes = b"") -> Hung:
    """A server that takes the connection, and says no more than this."""
    has_come = threading.Event()

    def serve(sock: socket.socket) -> None:
        sock.sendall(octets)
        has_come.set()
        swallow(sock)

    with Server(serve) as server:
        yield server.port, has_come


@contextmanager
def unreachable() -> Hung:
    """A port whose queue is full: a connection to it is never made."""
    has_come = threading.Event()
    has_come.set()
    with socket.socket() as full, socket.socket() as first, socket.socket() as second:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for sock in (first, second):
            sock.setblocking(False)
            sock.connect_ex(full.getsockname())
        yield full.getsockname()[1], has_come


@pytest.mark.parametrize(
    ("hung", "tls", "timeout_s"),
    [
        (silent, Tls.NONE, 60.0),
        (lambda: silent(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] ready\r\n"), Tls.NONE, 60.0),
        (silent, Tls.IMPLICIT, 2.0),  # a connection that is being made is waited for
        (unreachable, Tls.NONE, 2.0),
    ],
    ids=["no greeting", "no answer to the login", "no handshake", "no connection"],
)
def test_a_stop_does_not_wait_for_an_opening(
    hung: Callable[[], Hung], tls: Tls, timeout_s: float, tmp_path: Path
) -> None:
    events: list[Event] = []
    stop = Stop()
    with hung() as (port, has_come):  # type: ignore[attr-defined]
        job = Job(
            Endpoint(Protocol.POP3, "old", "localhost", port, tls),
            Endpoint(Protocol.IMAP, "new", "localhost", port, tls),
            Policy(MailboxName(("Old",))),
            tmp_path / "state.sqlite",
            timeout_s=timeout_s,
        )
        threading.Thread(target=lambda: stop.request() if has_come.wait() else None).start()
        began_s = time.monotonic()
        assert run_job(job, Secret(REAL), Secret(REAL), events.append, stop) is Exit.INTERRUPTED
        assert time.monotonic() - began_s < 2.0
        assert any(isinstance(event, Stopping) for event in events)
        for thread in threading.enumerate():
            if isinstance(thread, Opening):
                thread.join(5.0)
                assert not thread.is_alive()
