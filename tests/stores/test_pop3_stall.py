"""The POP3 source and time: servers that stop, trickle, take long, or log us out."""

from __future__ import annotations

import pytest

from migrate.commands import Command, Fetch, ListSource, Outcome
from migrate.errors import Cause, Retry, StoreError

from .pop3_rig import ONE, TIMEOUT_S, Play, Start, opened, start

__all__ = ["opened", "start"]  # fixtures


# --- time -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", [0, 1])
@pytest.mark.parametrize("said", ["", "S> +OK", "S> +OK 120 octets\\r\\nSubject: x\\r\\n"])
def test_a_server_that_says_nothing_more_is_given_up(opened: Start, said: str, step: int) -> None:
    play = opened("C: RETR 1\n" + said, step=step)
    error = play.error(Fetch(ONE))
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)
    assert str(error) == "the POP3 server did not answer for 60 s"
    assert TIMEOUT_S <= play.dialogue.clock.now <= TIMEOUT_S + 3


class Drip:
    """Lets a transcript's octets through one at a time, so many a second."""

    def __init__(self, play: Play, a_second: int) -> None:
        self.play = play
        self.channel = play.dialogue.channels[0]
        self._recv = self.channel.recv
        self._budget = 0
        self._a_second = a_second
        self.channel.recv = self.recv  # type: ignore[method-assign]
        self.channel.has_pending = lambda: False  # type: ignore[method-assign]

    def recv(self) -> bytes | None:
        if not self._budget:
            return None
        self._budget -= 1
        return self._recv()

    def outcome(self, command: Command) -> Outcome:
        self.play.session.submit(command)
        while True:
            for outcome in self.play.session.turn():
                return outcome
            if not self._budget:
                self.play.dialogue.clock.now += 1
                self._budget = self._a_second


def test_a_body_that_trickles_too_slowly_is_given_up(opened: Start) -> None:
    play = opened("C: RETR 1\nS> +OK\\r\\n" + "y" * 5000, step=1)
    outcome = Drip(play, a_second=10).outcome(Fetch(ONE))
    assert isinstance(outcome.error, StoreError)
    assert play.dialogue.clock.now < 2 * TIMEOUT_S


def test_a_status_line_that_trickles_is_given_up(opened: Start) -> None:
    play = opened("C: RETR 1\nS> +OK " + "y" * 5000, step=1)
    outcome = Drip(play, a_second=50).outcome(Fetch(ONE))
    assert isinstance(outcome.error, StoreError)
    assert play.dialogue.clock.now < 2 * TIMEOUT_S


def test_a_slow_line_that_keeps_moving_is_waited_for(opened: Start) -> None:
    play = opened("C: RETR 1\nS> +OK\\r\\n" + "y" * 5000 + "\\r\\n.\\r\\n", step=1)
    outcome = Drip(play, a_second=20).outcome(Fetch(ONE))
    assert outcome.error is None
    assert play.dialogue.clock.now > 3 * TIMEOUT_S


def test_a_server_that_we_do_not_listen_to_has_not_stalled(opened: Start) -> None:
    play = opened("C: RETR 1\nS: +OK\nS: Subject: x\nS: .")
    drip = Drip(play, a_second=0)
    drip.channel.is_held = True
    fetch = Fetch(ONE)
    play.session.submit(fetch)
    for _ in range(3 * int(TIMEOUT_S)):
        play.dialogue.clock.now += 1
        assert play.session.turn() == []
    drip.channel.is_held = False
    drip._budget = 1000
    outcomes: list[Outcome] = []
    while not outcomes:
        outcomes = play.session.turn()
    assert [(outcome.command, outcome.error) for outcome in outcomes] == [(fetch, None)]


def test_a_listing_may_take_longer_to_begin(opened: Start) -> None:
    play = opened("C: STAT\nC: UIDL\nC: LIST")
    assert str(play.error(ListSource())) == "the POP3 server did not answer for 300 s"


def test_a_session_without_work_says_noop_now_and_then(opened: Start) -> None:
    play = opened("C: NOOP\nS: +OK\nC: NOOP\nS: -ERR what\nC: RETR 1\nS: +OK\nS: .")
    for _ in range(300):
        play.dialogue.clock.now += 1
        assert play.session.turn() == []
    assert play.octets(Fetch(ONE)) == b""


def test_a_server_that_logs_us_out_is_quoted(opened: Start) -> None:
    play = opened("PAUSE\nS: -ERR Disconnected for inactivity.\nEND")
    assert play.session.turn() == []
    assert play.session.turn() == []
    error = play.error(Fetch(ONE))
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)
    assert error.said == b"-ERR Disconnected for inactivity."
