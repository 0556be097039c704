"""When a night opens its source once more to count it, and when an earlier count serves."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from migrate.commands import CloseSource, Command, Fetch, ListSource, OpenSource
from migrate.engine.run import FEW
from migrate.errors import Exit, MessageError
from migrate.state import rebind
from migrate.state.rows import seal_small
from migrate.stores.memory import MemoryReader

from .support import ACCOUNTS, Between, Crash, letter

AT_ONCE = 6
NUMBERS = count(1000)  # of letters that nobody has seen


@pytest.fixture
def counted(between: Between) -> Between:
    """Five messages, the last of which came in a night that counted the source and found it as it was."""
    between.migrate()
    assert night(between) == (2, 1)
    return between


def night(between: Between, new: int = 1, exit: Exit = Exit.OK) -> tuple[int, int]:
    """How often the source was opened, and listed, in a run that finds so many new messages."""
    for _ in range(new):
        between.maildrop.deliver(letter(next(NUMBERS)))
    assert between.migrate() is exit
    opened, listed = (sum(isinstance(one, kind) for one in between.sent) for kind in (OpenSource, ListSource))
    return opened, listed


class Hiding:
    """A source that shows six at once, the oldest, and hides what was fetched once a session ends with QUIT.

    ``remembers``: also what was fetched in sessions that were cut off.
    """

    def __init__(self, between: Between, *, remembers: bool = False, dies_at: int = 0, dies_at_quit: int = 0) -> None:
        self.maildrop, self.remembers, self.dies_at = between.maildrop, remembers, dies_at
        self.quits_left = dies_at_quit  # until one is in vain
        self.error: BaseException = Crash()
        self.waiting = list(between.maildrop.mails)
        self.fetched: set[bytes] = set()
        between.on_command = self

    def __call__(self, command: Command) -> None:
        shown = self.maildrop.mails
        match command:
            case OpenSource():
                if not self.remembers:
                    self.fetched.clear()
                self.waiting += [mail for mail in shown if mail not in self.waiting]
                self.maildrop.mails = self.waiting[:AT_ONCE]
            case Fetch(ref=ref):
                self.fetched.add(shown[ref.number - 1].uid)
                if len(self.fetched) == self.dies_at:
                    raise Crash
            case CloseSource(quit=True):
                self.quits_left -= 1
                if not self.quits_left:
                    raise self.error
                self.waiting = [mail for mail in self.waiting if mail.uid not in self.fetched]


def test_a_source_that_was_counted_is_not_counted_again(counted: Between) -> None:
    assert night(counted) == (1, 1)
    assert night(counted, 2) == (1, 1)
    assert counted.stored() == counted.source()


def test_a_night_without_news_opens_the_source_once(counted: Between) -> None:
    assert night(counted, 0) == (1, 1)


def fewer(between: Between) -> None:
    """One that was copied leaves, and more come: the source may have hidden it."""
    del between.maildrop.mails[-1]
    between.maildrop.deliver(letter(next(NUMBERS)))


def later(between: Between) -> None:
    """The same with one that was copied after the count."""
    assert night(between) == (1, 1)
    fewer(between)


def deletes(between: Between) -> None:
    """It says that it may delete what was fetched."""
    between.maildrop.may_delete_on_fetch = True


def moves(between: Between) -> None:
    rebind(between.state_path, ACCOUNTS[0], "alice@new")
    rebind(between.state_path, "alice@new", ACCOUNTS[0])


@pytest.mark.parametrize("change", [fewer, later, deletes, moves])
def test_where_it_is_not_certain_the_source_is_opened_again(
    counted: Between, change: Callable[[Between], None]
) -> None:
    change(counted)
    assert night(counted)[0] > 1


def test_many_new_messages_are_counted(between: Between) -> None:
    for number in range(2 * FEW):
        between.maildrop.deliver(letter(100 + number))
    between.migrate()
    assert night(between) == (2, 1)
    assert night(between, FEW) == (1, 1)
    assert night(between, FEW + 1) == (2, 1)


def test_a_source_that_shows_no_more_than_it_did_is_counted_again(counted: Between) -> None:
    """Six are all that it shows at once, and that many it has shown: others may wait behind them."""
    assert night(counted, 0) == (1, 1)
    with sqlite3.connect(counted.state_path) as connection:
        connection.execute("UPDATE meta SET value = 6, seal = ? WHERE key = 'counted'", (seal_small("counted", 6),))
    connection.close()
    assert night(counted) == (2, 1)
    assert night(counted) == (1, 1)


def test_a_mailbox_that_hides_nothing_is_not_counted(between: Between, monkeypatch: pytest.MonkeyPatch) -> None:
    between.migrate()
    facts = MemoryReader._facts
    monkeypatch.setattr(MemoryReader, "_facts", lambda session: replace(facts(session), hides_nothing=True))
    assert night(between) == (1, 1)
    assert night(between, FEW + 1) != (1, 1)


def test_what_is_left_to_do_opens_the_source_again(counted: Between) -> None:
    refused: list[Command] = []

    def refuse(command: Command) -> None:
        if isinstance(command, Fetch) and not refused:
            refused.append(command)
            raise MessageError("not now")

    counted.on_command = refuse
    assert night(counted, 2, Exit.SET_ASIDE)[0] > 1


@pytest.mark.parametrize("remembers", [False, True], ids=["forgets", "remembers"])
def test_a_source_that_hides_what_was_fetched_is_listed_until_it_has_shown_all(tmp_path: Path, remembers: bool) -> None:
    """Killed before the QUIT, a second run finds most of them copied, and shown all the same."""
    between = Between(tmp_path, [letter(n, body=b"x" * n) for n in range(20)])
    all_of_them = between.source()
    source = Hiding(between, remembers=remembers, dies_at=AT_ONCE - 1)
    with pytest.raises(Crash):
        between.migrate()
    source.dies_at = 0
    assert between.migrate() is Exit.OK
    assert between.stored() == all_of_them


def test_a_source_that_begins_to_hide_is_listed_until_it_has_shown_all(counted: Between) -> None:
    """The first night cannot know of it: the second finds that what was fetched is gone."""
    for number in range(50, 60):
        counted.maildrop.deliver(letter(number, body=b"x" * number))
    all_of_them = counted.source()
    Hiding(counted)
    assert night(counted, 0) == (1, 1)
    assert night(counted, 0)[1] > 2
    assert counted.stored() == all_of_them


def test_the_note_of_a_count_is_sealed(counted: Between) -> None:
    with sqlite3.connect(counted.state_path) as connection:
        connection.execute("UPDATE meta SET value = 1 WHERE key = 'counted'")
    connection.close()
    with pytest.raises(Exception, match="counted"):
        counted.migrate()
