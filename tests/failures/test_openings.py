"""Sessions are opened beside the run: what a stop leaves behind, and what is done ahead of its turn."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from migrate.config.job import Job
from migrate.driver import Stop, run_job
from migrate.errors import Exit
from migrate.events import Event, Stopping
from migrate.model import Endpoint, MailboxName, Policy, Protocol, Secret, Tls

from ..stores.net_rig import Server, swallow
from ..support.embedded.imap import ImapSession
from ..support.embedded.pop3 import Pop3Session
from .canary import REAL
from .conftest import FIVE, MakeEnds, Popferry
from .servers import Gate, append_held, held

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
        threading.Thread(target=stop_in_the_middle, args=(stop, has_come)).start()
        began_s = time.monotonic()
        assert run_job(job, Secret(REAL), Secret(REAL), events.append, stop) is Exit.INTERRUPTED
        assert time.monotonic() - began_s < 2.0
        assert any(isinstance(event, Stopping) for event in events)
        for thread in openings():
            thread.join(5.0)
            assert not thread.is_alive()


def test_a_stop_that_another_thread_asks_for_leaves_no_timer_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    stop = Stop()
    stop.listen(1)
    monkeypatch.setattr("migrate.driver.stop.os.write", lambda handle, octets: stop.end())  # the run is faster
    stop.request()
    assert stop._timer is not None
    assert stop._timer.finished.is_set()


def openings() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "opening"]


def stop_in_the_middle(stop: Stop, has_come: threading.Event) -> None:
    """Stops the run once a server has been reached, or a connection is about to be made."""
    has_come.wait()
    while not openings():
        has_come.wait()
    stop.request()


def noting(said: list[bytes], on_capa: Callable[[], object]) -> type[Pop3Session]:
    """A POP3 server that tells what it hears, and when it was asked what it can do."""

    class Noting(Pop3Session):
        def read_line(self) -> bytes:
            said.append(line := super().read_line())
            return line

        def do_capa(self) -> None:
            super().do_capa()
            on_capa()

    return Noting


def test_the_source_is_reached_beside_the_destination_and_not_logged_in(ends: MakeEnds, popferry: Popferry) -> None:
    gate, has_come, said = Gate(), threading.Event(), list[bytes]()
    both = ends(pop3=noting(said, has_come.set), imap=held(ImapSession, gate))
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    assert has_come.wait(10), "it waits for the destination"
    assert said == [b"CAPA"]
    gate.open()
    running.wait().told(0)
    both.check_complete(*FIVE)
    assert said[:2] == [b"CAPA", b"USER alice"], "it was reached once more"


def test_a_source_that_hangs_up_before_the_login_is_connected_to_anew(ends: MakeEnds, popferry: Popferry) -> None:
    gate, said = Gate(), list[bytes]()

    class Impatient(noting(said, lambda: None)):  # type: ignore[misc]
        def close(self) -> None:
            super().close()
            gate.open()

        def do_capa(self) -> None:
            super().do_capa()
            self.is_done = said.count(b"CAPA") == 1

    both = ends(pop3=Impatient, imap=held(ImapSession, gate))
    both.deliver(*FIVE)
    ran = popferry.begin_migration(*both.words).wait()
    ran.told(0)
    assert "Trying again" not in ran.err
    both.check_complete(*FIVE)
    assert said[:3] == [b"CAPA", b"CAPA", b"USER alice"]


def test_a_source_that_takes_one_connection_at_a_time_is_asked_again(ends: MakeEnds, popferry: Popferry) -> None:
    """The next session is reached while the one before it is still there."""
    is_taken, was_refused = threading.Lock(), threading.Event()

    class Single(Pop3Session):
        def serve(self) -> None:
            if not is_taken.acquire(blocking=False):
                self.send(b"-ERR [SYS/TEMP] too many connections\r\n")
                was_refused.set()
                return
            try:
                super().serve()
            finally:
                is_taken.release()

        def do_quit(self) -> None:
            was_refused.wait(10)
            is_taken.release()
            super().do_quit()
            is_taken.acquire()

    both = ends(pop3=Single)
    both.deliver(*FIVE)
    ran = popferry.begin_migration(*both.words).wait()
    ran.told(0)
    assert was_refused.is_set()
    assert "Trying again" not in ran.err
    both.check_complete(*FIVE)


def test_a_source_that_refuses_a_second_connection_is_asked_again_beside_the_quit(
    ends: MakeEnds, popferry: Popferry
) -> None:
    served: list[Pop3Session] = []
    refused: list[Pop3Session] = []
    is_back = threading.Event()

    class Refusing(Pop3Session):
        def serve(self) -> None:
            if served and not refused:
                refused.append(self)
                self.send(b"-ERR [SYS/TEMP] too many connections\r\n")
                return
            served.append(self)
            if len(served) == 2:
                is_back.set()
            super().serve()

        def do_quit(self) -> None:
            assert is_back.wait(10), "it is not asked again"
            super().do_quit()

    both = ends(pop3=Refusing)
    both.deliver(*FIVE)
    ran = popferry.begin_migration(*both.words).wait()
    ran.told(0)
    assert len(refused) == 1
    assert len(served) == 2
    assert "Trying again" not in ran.err
    both.check_complete(*FIVE)


class Watched(Pop3Session):
    """A source that lets one login in at a time. What it saw stands in the class; ``watched`` makes a new one."""

    greeted: list[Pop3Session]
    logins: list[Pop3Session]
    refused: list[Pop3Session]
    next_is_there: threading.Event
    has_it: threading.Lock

    def do_capa(self) -> None:
        super().do_capa()
        if self.account is None:
            self.greeted.append(self)
        if len(self.greeted) == 2:
            self.next_is_there.set()

    def do_pass(self, *words: str) -> None:
        if not self.has_it.acquire(blocking=False):
            self.refused.append(self)
            self.send(b"-ERR [IN-USE] one at a time\r\n")
            return
        self.logins.append(self)
        super().do_pass(*words)

    def do_quit(self) -> None:
        self._let_go()
        super().do_quit()

    def close(self) -> None:
        self._let_go()
        super().close()

    def _let_go(self) -> None:
        if self.logins and self.logins[-1] is self and self.has_it.locked():
            self.has_it.release()


def watched() -> type[Watched]:
    lists: dict[str, Any] = {"greeted": [], "logins": [], "refused": []}
    return type("Watched", (Watched,), {**lists, "next_is_there": threading.Event(), "has_it": threading.Lock()})


def taking_once(is_there: threading.Event) -> type[ImapSession]:
    """A destination that takes no message before this has come."""

    class Taking(ImapSession):
        def do_append(self, tokens: list[bytes]) -> bytes:
            assert is_there.wait(10), "the next session is not reached while messages are taken"
            return super().do_append(tokens)

    return Taking


def test_the_next_session_is_reached_while_the_destination_takes_the_last_messages(
    ends: MakeEnds, popferry: Popferry
) -> None:
    source = watched()
    both = ends(pop3=source, imap=taking_once(source.next_is_there))
    both.deliver(*FIVE)
    ran = popferry.begin_migration(*both.words).wait()
    ran.told(0)
    both.check_complete(*FIVE)
    assert source.logins == source.greeted, "it was reached once more, or not used"
    assert len(source.logins) == 2
    assert not source.refused


def test_what_was_reached_is_left_when_the_session_before_it_breaks(ends: MakeEnds, popferry: Popferry) -> None:
    """What broke the one may have broken the other, and nobody would know before the login has timed out."""
    source = watched()

    class Breaking(source):  # type: ignore[misc, valid-type]
        def do_retr(self, number: str) -> None:
            if number == "5" and len(self.logins) == 1:
                assert self.next_is_there.wait(10)
                self.is_done = True
                return
            super().do_retr(number)

    both = ends(pop3=Breaking)
    both.deliver(*FIVE)
    ran = popferry.begin_migration(*both.words).wait()
    ran.told(0, "Trying again")
    both.check_complete(*FIVE)
    assert [one for one in source.greeted if one not in source.logins] == source.greeted[1:2]
    # One to copy the rest and one to see that no more is shown; where little had been copied when the first one
    # broke, another to see whether the source hides what that one had fetched.
    assert len(source.logins) in (3, 4)
    assert not source.refused


def test_a_stop_leaves_what_was_reached(ends: MakeEnds, popferry: Popferry) -> None:
    source, gate = watched(), Gate()
    both = ends(pop3=source, imap=append_held(gate))
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    assert source.next_is_there.wait(10)
    running.send(signal.SIGINT)
    running.has_said("Stopping")
    gate.open()
    running.wait().told(130)
    assert len(source.logins) == 1
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)
