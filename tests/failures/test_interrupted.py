"""130 and 143: a person or the system stops the run, at any moment; the same command goes on and completes it."""

from __future__ import annotations

from signal import SIGINT, SIGKILL, SIGTERM, Signals

import pytest

from ..support.embedded.imap import ImapSession
from ..support.embedded.pop3 import Pop3Session
from ..support.embedded.session import ServerSession
from .conftest import FIVE, MakeEnds, Popferry
from .servers import Gate, append_held, held, retr_held

CODES = {SIGINT: 130, SIGTERM: 143}
STOPPING = "Stopping after the messages in flight (at most 10 s); Ctrl-C again stops now. Nothing is lost."
AGAIN = "Nothing is lost. Run the same command to continue."
NOTHING = "This run copied nothing."

by_signal = pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)


@pytest.mark.parametrize(("end", "number"), [("source", SIGINT), ("destination", SIGTERM)])
def test_stopped_before_anything_was_listed(end: str, number: Signals, ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate()
    both = ends(pop3=held(Pop3Session, gate)) if end == "source" else ends(imap=held(ImapSession, gate))
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    running.send(number)
    running.has_said(f"{STOPPING} {NOTHING}")
    gate.open()
    running.wait().told(CODES[number], f"Stopped. {NOTHING}", AGAIN, f"State: {popferry.state}")
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


@pytest.mark.parametrize(("manner", "number"), [((), SIGINT), (("--json",), SIGTERM)], ids=["talk", "json"])
def test_stopped_in_the_middle(manner: tuple[str, ...], number: Signals, ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=3)
    both = ends(pop3=retr_held(gate))
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words, *manner)
    gate.wait()
    running.send(number)
    running.has_said(STOPPING)
    gate.open()
    running.wait().told(CODES[number], "Stopped.", AGAIN, f"State: {popferry.state}")
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


@by_signal
def test_stopped_while_it_waits_for_uploads_to_settle(number: Signals, ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=2)
    both = ends(imap=append_held(gate))
    both.deliver(*FIVE)
    killed = popferry.begin_migration(*both.words)
    gate.wait()
    killed.send(SIGKILL)
    assert killed.wait().code == -SIGKILL
    gate.open()  # the server stores it all the same
    running = popferry.begin_migration(*both.words, "--settle", "30")
    running.has_said("Waiting 30 s: an upload of an interrupted run may still arrive at the destination.")
    running.send(number)
    ran = running.wait()
    ran.told(CODES[number], STOPPING, AGAIN, f"State: {popferry.state}")
    assert ran.seconds < 20
    popferry.migrate(*both.words).told(0, "came from the interrupted run and", "not sent again.")
    both.check_complete(*FIVE)


@pytest.mark.parametrize("where", ["message", "upload"])
def test_stopped_at_once_by_the_second_ctrl_c(where: str, ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=3)
    kinds: dict[str, dict[str, type[ServerSession]]] = {
        "message": {"pop3": retr_held(gate)},
        "upload": {"imap": append_held(gate)},
    }
    both = ends(**kinds[where])
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    running.send(SIGINT)
    running.has_said(STOPPING)
    running.send(SIGINT)
    ran = running.wait()
    ran.told(130, "Stopped.", AGAIN, f"State: {popferry.state}")
    assert ran.seconds < 8, "it did not end at once"
    gate.open()
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


def test_the_first_signal_decides_the_code(ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=3)
    both = ends(pop3=retr_held(gate))
    both.deliver(*FIVE)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    running.send(SIGTERM)
    running.has_said(STOPPING)
    running.send(SIGINT)
    running.wait().told(143, "Stopped.", AGAIN)
    gate.open()
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


def test_stopped_while_a_command_looks_for_the_password(ends: MakeEnds, popferry: Popferry) -> None:
    running = popferry.begin("migrate", *ends().words, "--source-password", "cmd:sh -c 'echo asked >&2; exec sleep 20'")
    running.has_said("asked")
    running.send(SIGINT)
    running.wait().told(130, "Stopped. Nothing was done.")


def test_stopped_with_nobody_to_tell(ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=3)
    both = ends(pop3=retr_held(gate))
    both.deliver(*FIVE)
    popferry.program = ("sh", "-c", 'exec "$@" 2>&-', "sh", *popferry.program)
    running = popferry.begin_migration(*both.words)
    gate.wait()
    running.send(SIGTERM)
    gate.open()
    ran = running.wait()
    assert (ran.code, ran.err) == (143, "")
    written = [path.name for path in popferry.place.rglob("*") if path.is_file() and b"Nothing is" in path.read_bytes()]
    assert written == [], "what was said to nobody went into files that had got the numbers of the streams"
    assert popferry.begin_migration(*both.words).wait().code == 0
    both.check_complete(*FIVE)
