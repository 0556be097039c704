"""A listing that is asked for together with STAT, behind the login: nothing is asked for twice, nor waited for."""

from __future__ import annotations

import pytest

from migrate.commands import CloseSource, Fetch, ListSource, OpenSource, SourceFacts
from migrate.errors import Cause, StoreError

from .pop3_rig import ONE, STEPS, TIMEOUT_S, TWO, Start, start

__all__ = ["start"]  # a fixture

LOGIN = """
S: +OK ready
C: CAPA
S: +OK
S: PIPELINING
S: UIDL
S: .
C: USER mrose
S: +OK
C: PASS tanstaaf
S: +OK
"""
FLIGHT = "C: CAPA\nC: STAT\nC: UIDL\nC: LIST\n"
CAPA = "S: +OK\nS: UIDL\nS: PIPELINING\nS: .\n"
UIDL = "S: +OK\nS: 1 aa\nS: 2 bb\nS: .\n"
LIST = "S: +OK\nS: 1 120\nS: 2 200\nS: .\n"
STAT = "S: +OK 2 320\n"
AGAIN = f"C: STAT\nC: UIDL\nC: LIST\n{STAT}{UIDL}{LIST}"
OPEN = OpenSource(will_list=True)


@pytest.mark.parametrize("step", STEPS)
def test_the_listing_goes_with_the_stat_behind_the_login(start: Start, step: int) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}{UIDL}{LIST}C: RETR 2\nS: +OK\nS: .\nC: QUIT\nS: +OK\nEND", step=step)
    facts: SourceFacts = play.value(OPEN)
    assert (facts.messages, facts.octets, facts.has_uids) == (2, 320, True)
    assert list(play.value(ListSource())) == [ONE, TWO]
    assert play.octets(Fetch(TWO)) == b""
    assert play.value(CloseSource(quit=True)) is None
    assert play.dialogue.left == [("END", b"")]


@pytest.mark.parametrize("step", STEPS)
def test_it_is_waited_for_where_it_has_not_come_yet(start: Start, step: int) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}PAUSE\n{UIDL}PAUSE\n{LIST}{AGAIN}", step=step)
    opened, listed = play.outcomes(command := OpenSource(will_list=True), ListSource())
    assert opened.command is command
    assert list(listed.value) == [ONE, TWO]
    assert list(play.value(ListSource())) == [ONE, TWO], "a second one is asked for"
    assert play.dialogue.left == []


def test_a_session_that_only_counts_does_not_list(start: Start) -> None:
    play = start(f"{LOGIN}C: CAPA\nC: STAT\n{CAPA}{STAT}C: QUIT\nS: +OK\nEND")
    assert play.value(OpenSource()).messages == 2
    assert play.value(CloseSource(quit=True)) is None


@pytest.mark.parametrize("missing", ["PIPELINING", "UIDL"])
def test_nothing_goes_ahead_where_the_server_has_not_offered_it_before_the_login(start: Start, missing: str) -> None:
    one_flight = "C: CAPA\nC: STAT\n" + CAPA + STAT if missing == "UIDL" else f"C: CAPA\n{CAPA}C: STAT\n{STAT}"
    play = start(LOGIN.replace(f"S: {missing}\n", "") + one_flight + AGAIN)
    play.value(OPEN)
    assert list(play.value(ListSource())) == [ONE, TWO]
    assert play.dialogue.left == []


@pytest.mark.parametrize("stat", ["S: +OK 3 320\n", "S: +OK 1 120\n"])
def test_where_they_disagree_all_three_are_asked_for_again(start: Start, stat: str) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{stat}{UIDL}{LIST}{AGAIN}")
    play.value(OPEN)
    assert list(play.value(ListSource())) == [ONE, TWO]
    assert play.dialogue.left == []


def test_a_server_that_contradicts_itself_twice_is_left(start: Start) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}{UIDL}{LIST}".replace("2 320", "3 320") + AGAIN.replace("2 320", "3 320"))
    play.value(OPEN)
    assert play.error(ListSource()).cause is Cause.UNUSABLE


@pytest.mark.parametrize(
    ("uidl", "sizes", "listed"),
    [
        ("S: -ERR no\n", LIST, [(b"", 1, 120), (b"", 2, 200)]),
        (UIDL, "S: -ERR no\n", [(b"aa", 1, None), (b"bb", 2, None)]),
    ],
)
def test_a_refused_one_is_done_without(
    start: Start, uidl: str, sizes: str, listed: list[tuple[bytes, int, int | None]]
) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}{uidl}{sizes}")
    play.value(OPEN)
    assert [(ref.uid, ref.number, ref.octets) for ref in play.value(ListSource())] == listed


def test_a_server_that_pipelines_no_more_after_the_login_gets_one_command_at_a_time(start: Start) -> None:
    capa = CAPA.replace("S: PIPELINING\n", "")
    play = start(f"{LOGIN}{FLIGHT}{capa}{STAT}{UIDL}{LIST}C: RETR 1\nS: +OK\nS: .\nC: RETR 2\nS: +OK\nS: .\n")
    play.value(OPEN)
    assert len(play.value(ListSource())) == 2
    one, two = play.outcomes(Fetch(ONE), Fetch(TWO))
    assert (one.value.data, two.value.data) == (b"", b"")


@pytest.mark.parametrize("step", STEPS)
def test_a_session_may_end_before_it_is_asked_for_the_listing(start: Start, step: int) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}PAUSE\n{UIDL}{LIST}C: QUIT\nS: +OK\nEND", step=step)
    play.value(OPEN)
    assert play.value(CloseSource(quit=True)) is None
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}PAUSE\n{UIDL}{LIST}", step=step)
    play.value(OPEN)
    assert play.value(CloseSource(quit=False)) is None


@pytest.mark.parametrize("end", ["END", ""], ids=["cut", "silent"])
def test_a_connection_that_ends_on_the_way_fails_the_listing(start: Start, end: str) -> None:
    play = start(f"{LOGIN}{FLIGHT}{CAPA}{STAT}PAUSE\nS: +OK\nS: 1 aa\n{end}")
    play.value(OPEN)
    for _ in range(round(1.5 * TIMEOUT_S)):  # nobody asks for it yet
        play.session.turn()
        play.dialogue.clock.now += 1
    assert isinstance(play.error(ListSource()), StoreError)
    assert play.dialogue.clock.now < 6 * TIMEOUT_S
    if not end:
        assert play.dialogue.clock.now > 4 * TIMEOUT_S, "a listing is waited for longer than an answer"
