"""A message at which a connection ends, and the others, which arrive all the same."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from migrate.commands import Append, Command, Fetch, OpenSource
from migrate.engine.culprits import ENDS, IN_A_ROW
from migrate.errors import Exit, StoreError
from migrate.events import Reconnecting, SetAside

from .support import Between, letter

MESSAGES = [letter(number) for number in range(12)]


@pytest.fixture
def between(tmp_path: Path) -> Between:
    return Between(tmp_path, MESSAGES)


def hangs_up(between: Between, end: str, *numbers: int) -> None:
    """An end that hangs up at these messages, whenever they come."""
    bad = {MESSAGES[number] for number in numbers}

    def look(command: Command) -> None:
        match command:
            case Fetch(ref=ref) if end == "source":
                octets = {between.maildrop.mails[ref.number - 1].octets}
            case Append(letters=letters) if end == "destination":
                octets = {b"".join(one.message.blocks()) for one in letters}
            case _:
                return
        if octets & bad:
            raise StoreError("it hung up")

    between.on_command = look


def tires(between: Between, after: int) -> None:
    """A source that ends each session after so many messages."""
    served: Iterator[int] = count()

    def look(command: Command) -> None:
        nonlocal served
        if isinstance(command, OpenSource):
            served = count()
        elif isinstance(command, Fetch) and next(served) == after:
            raise StoreError("it hung up")

    between.on_command = look


def assert_all_but(between: Between, *numbers: int) -> None:
    assert between.stored() == dict.fromkeys((one for n, one in enumerate(MESSAGES) if n not in numbers), 1)


@pytest.mark.parametrize("after", [1, 5])
def test_what_was_served_before_the_source_hung_up_is_copied(between: Between, after: int) -> None:
    tires(between, after)
    assert between.migrate() is Exit.OK
    assert_all_but(between)
    assert [type(one) for one in between.sent].count(Fetch) < len(MESSAGES) * (len(MESSAGES) // after + 2)
    assert len(between.all(Reconnecting)) == (len(MESSAGES) - 1) // after


@pytest.mark.parametrize("number", [0, 5, 11])
@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_message_at_which_an_end_hangs_up_is_set_aside_and_all_others_arrive(
    between: Between, end: str, number: int
) -> None:
    hangs_up(between, end, number)
    assert between.migrate() is Exit.SET_ASIDE
    assert_all_but(between, number)
    aside = between.one(SetAside)
    assert aside.reason == f"{ENDS}: {end}: it hung up"
    assert len(between.all(Reconnecting)) == 3


@pytest.mark.parametrize("end", ["source", "destination"])
def test_several_are_set_aside_each_by_its_name(between: Between, end: str) -> None:
    bad = (0, 4, 5, 11)
    hangs_up(between, end, *bad)
    assert between.migrate() is Exit.SET_ASIDE
    assert_all_but(between, *bad)
    assert len(between.all(SetAside)) == len(bad)


def test_a_message_that_was_stored_before_the_destination_hung_up_is_adopted_and_not_set_aside(
    between: Between,
) -> None:
    def look(command: Command) -> None:
        if isinstance(command, Append):
            for one in command.letters:
                octets = b"".join(one.message.blocks())
                between.store(octets)
                if octets == MESSAGES[5]:
                    raise StoreError("it hung up")
            command.letters[0].message.blocks()
            raise StoreError("it hung up")

    between.on_command = look
    assert between.migrate() is Exit.OK
    assert_all_but(between)


def test_an_end_that_hangs_up_at_every_message_sets_nothing_aside(between: Between) -> None:
    for end in ("source", "destination"):
        hangs_up(between, end, *range(len(MESSAGES)))
        assert between.migrate() is Exit.TEMPORARY
        assert between.all(SetAside) == []
        assert "set aside" not in between.rows()
        assert len(between.all(Reconnecting)) == 2 * IN_A_ROW + 4


@pytest.mark.parametrize("end", ["source", "destination"])
def test_the_next_run_tries_it_last_and_alone(between: Between, end: str) -> None:
    bad = range(0, 10, 2)
    hangs_up(between, end, *bad)
    assert between.migrate() is Exit.SET_ASIDE
    assert_all_but(between, *bad)
    between.maildrop.deliver(letter(77))
    assert between.migrate() is Exit.SET_ASIDE
    assert between.stored()[letter(77)] == 1
    assert len(between.all(SetAside)) == len(bad)
    assert len(between.all(Reconnecting)) == len(bad), "nothing has to be found out again"
    appends = [command for command in between.sent if isinstance(command, Append)]
    assert b"".join(appends[0].letters[0].message.blocks()) == letter(77)
    between.on_command = lambda command: None
    assert between.migrate() is Exit.OK
    assert between.stored() == between.source()


def test_nothing_goes_before_the_destination_was_searched(between: Between) -> None:
    """R1, where only such messages are left."""
    hangs_up(between, "source", 3)
    assert between.migrate() is Exit.SET_ASIDE

    def let_go(command: Command) -> None:
        if isinstance(command, OpenSource):
            between.on_command = lambda command: None
            between.store(MESSAGES[3])  # another machine, before it let go of the maildrop

    between.on_command = let_go
    assert between.migrate() is Exit.OK
    assert_all_but(between)


def test_one_that_is_kept_in_the_spool_goes_last_too(between: Between) -> None:
    between.maildrop.may_delete_on_fetch = True
    hangs_up(between, "destination", 5)
    assert between.migrate() is Exit.SET_ASIDE
    assert_all_but(between, 5)
    assert len(between.all(SetAside)) == 1
    between.on_command = lambda command: None
    assert between.migrate() is Exit.OK
    assert_all_but(between)


def test_a_rebuilt_state_knows_all_but_one(between: Between) -> None:
    assert between.migrate() is Exit.OK
    between.state_path.unlink()
    hangs_up(between, "source", 5)
    assert between.rebuild() is Exit.SET_ASIDE
    assert between.rows() == {"verified": len(MESSAGES) - 1, "set aside": 1}
