"""What goes on beside the copying of a session: a look at the destination, and the way to the next session."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from migrate.commands import Append, Command, Fetch, ListSource, OpenSource, SearchUids
from migrate.engine import copying
from migrate.errors import Exit, Retry, StoreError
from migrate.events import Reconnecting
from migrate.stores.memory import MemoryReader, MemoryServer

from .slow import DEST, SOURCE, Slow
from .support import Between, letter


@pytest.fixture(params=[SOURCE, DEST], ids=["the source is slow", "the destination is slow"])
def slow(request: pytest.FixtureRequest, tmp_path: Path) -> Slow:
    return Slow(tmp_path, [letter(n) for n in range(4)], request.param)


def test_the_source_serves_while_the_destination_is_searched_and_nothing_is_appended_before_it_was(
    slow: Slow,
) -> None:
    assert slow.migrate() is Exit.OK
    session = slow.session()
    search, first_append = session.index(SearchUids), session.index(Append)
    assert search < first_append, "R1"
    assert session.index(ListSource) < search, "it is not known before whether there is anything to append"
    assert session.count(Fetch) == 4
    fetched_first = session[:search].count(Fetch)
    assert fetched_first == (0 if slow._slow == SOURCE else 4), "one waits for the other"
    assert slow.stored() == slow.source()


def test_what_another_machine_uploaded_before_it_let_go_of_the_source_is_not_sent_again(slow: Slow) -> None:
    def let_go(command: Command) -> None:
        if isinstance(command, OpenSource):
            slow.on_command = lambda command: None
            for number in range(4):
                slow.store(letter(number))

    slow.on_command = let_go
    assert slow.migrate() is Exit.OK
    assert slow.appended() == 0
    assert slow.stored() == slow.source()


def test_where_nothing_is_to_be_copied_the_destination_is_searched_once_and_that_with_the_end(slow: Slow) -> None:
    assert slow.migrate() is Exit.OK
    assert slow.migrate() is Exit.OK
    assert (SearchUids in slow.session()) == (slow._slow == SOURCE), "neither waits for the other"
    assert [type(command) for command in slow.sent].count(SearchUids) == 1
    slow.store(letter(77))
    assert slow.migrate() is Exit.OK
    assert [type(command) for command in slow.sent].count(SearchUids) == 2, "one before the source is opened"


def refuse_once(between: Between, kind: type[Command]) -> Callable[[Command], None]:
    """The destination breaks at the first command of this kind that comes behind the login of the source."""
    is_open: list[bool] = []

    def look(command: Command) -> None:
        if isinstance(command, OpenSource):
            is_open.append(True)
        elif is_open and isinstance(command, kind):
            between.on_command = lambda command: None
            raise StoreError("it broke")

    return look


def test_a_search_that_breaks_while_the_source_serves_is_made_again_with_all_the_rest(slow: Slow) -> None:
    slow.on_command = refuse_once(slow, SearchUids)
    assert slow.migrate() is Exit.OK
    assert len(slow.all(Reconnecting)) == 1
    assert Append not in slow.session()
    assert slow.stored() == slow.source()


# --- the way to the next session ------------------------------------------------------------------


def test_the_next_session_is_reached_once_the_last_message_was_asked_for(slow: Slow) -> None:
    assert slow.migrate() is Exit.OK
    kinds = [type(step) for step in slow.steps]
    first, early, _ = slow.reaches()
    assert first < kinds.index(OpenSource)
    assert early < kinds.index(Append), "while the destination takes the messages"
    assert early > kinds.index(ListSource)


def test_what_takes_long_to_come_is_not_waited_for_by_a_connection(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copying, "BUDGET", sum(len(letter(number)) for number in range(4)) - 1)
    assert slow.migrate() is Exit.OK
    kinds = [type(step) for step in slow.steps]
    _, late = slow.reaches()
    assert late > len(kinds) - 1 - kinds[::-1].index(Append), "it goes with the QUIT"


@pytest.mark.parametrize(("at_once", "reaches"), [(3, 2), (4, 3)])
def test_where_each_message_waits_the_next_session_is_reached_only_when_few_are_left(
    slow: Slow, monkeypatch: pytest.MonkeyPatch, at_once: int, reaches: int
) -> None:
    facts = MemoryServer.facts
    monkeypatch.setattr(MemoryServer, "facts", lambda self: replace(facts(self), lanes=4, batch_count=at_once))
    slow.policy = replace(slow.policy, lanes=1)
    assert slow.migrate() is Exit.OK
    assert len(slow.reaches()) == reaches


def a_limit(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    slow.policy = replace(slow.policy, limit=4)


def a_delay_between_logins(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    facts = MemoryReader._facts
    monkeypatch.setattr(MemoryReader, "_facts", lambda self: replace(facts(self), login_delay_s=60))


def nothing_new(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    assert slow.migrate() is Exit.OK


def a_source_that_hides_nothing(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in (10, 11):  # the second time it is counted
        assert slow.migrate() is Exit.OK
        slow.maildrop.deliver(letter(number))
    assert slow.migrate() is Exit.OK
    slow.maildrop.deliver(letter(12))


@pytest.mark.parametrize("why", [a_limit, a_delay_between_logins, nothing_new, a_source_that_hides_nothing])
def test_no_session_is_reached_that_nobody_will_open(
    why: Callable[[Slow, pytest.MonkeyPatch], None], slow: Slow, monkeypatch: pytest.MonkeyPatch
) -> None:
    why(slow, monkeypatch)
    assert slow.migrate() in (Exit.OK, Exit.TEMPORARY)
    assert len(slow.reaches()) == 1, "beside the opening of the destination"
    assert [type(step) for step in slow.steps].count(OpenSource) == 1


# --- the first message -----------------------------------------------------------------------------


def test_a_destination_that_asks_to_slow_down_behind_the_first_message_is_waited_for(slow: Slow) -> None:
    """A batch that it breaks off does not tell what it took: so the first message goes alone."""

    def ask_for_a_pause(command: Command) -> None:
        if isinstance(command, Append) and slow.appended() > 1:
            slow.on_command = lambda command: None
            raise StoreError("it asks to slow down", retry=Retry.LATER)

    slow.on_command = ask_for_a_pause
    assert slow.migrate() is Exit.OK
    assert len(slow.all(Reconnecting)) == 1
    assert slow.stored() == slow.source()
    assert slow.migrate() is Exit.OK
    assert slow.appended() == 0
