"""What was fetched without a QUIT: a source that hides what was fetched shows it, and nothing of what is behind."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from migrate.commands import CloseSource, Command, Fetch, ListSource
from migrate.errors import Exit, StoreError

from .support import Between, Crash, letter
from .test_counting import AT_ONCE, Hiding


@pytest.fixture
def many(between: Between) -> Between:
    for number in range(10, 30):
        between.maildrop.deliver(letter(number, body=b"x" * number))
    return between


def times(commands: Sequence[Command], kind: type[Command]) -> int:
    return sum(isinstance(one, kind) for one in commands)


def cut_at_quit(between: Between) -> None:
    """A run that is killed when all that was shown has been copied, and before the QUIT."""

    def die(command: Command) -> None:
        if isinstance(command, CloseSource):
            raise Crash

    between.on_command = die
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None


@pytest.mark.parametrize("quit", [1, 2, 3, 4])
def test_all_of_a_source_that_hides_what_was_fetched_comes_though_a_session_was_cut_off(
    many: Between, quit: int
) -> None:
    all_of_them = many.source()
    Hiding(many, dies_at_quit=quit)
    with pytest.raises(Crash):
        many.migrate()
    assert sum(many.stored().values()) == quit * AT_ONCE
    assert many.migrate() is Exit.OK
    assert many.stored() == all_of_them


def test_a_quit_that_fails_after_the_one_that_was_fetched_again_proves_nothing(many: Between) -> None:
    all_of_them = many.source()
    source = Hiding(many, dies_at_quit=1)
    with pytest.raises(Crash):
        many.migrate()
    source.quits_left, source.error = 1, StoreError("cut")
    assert many.migrate() is Exit.OK
    assert many.stored() == all_of_them


def test_a_source_that_hides_nothing_serves_one_message_once_more(many: Between) -> None:
    cut_at_quit(many)
    assert many.migrate() is Exit.OK
    assert (times(many.sent, Fetch), times(many.sent, ListSource)) == (1, 2)
    assert many.migrate() is Exit.OK
    assert (times(many.sent, Fetch), times(many.sent, ListSource)) == (0, 1)
    assert many.stored() == many.source()


def test_a_session_that_fetched_nothing_leaves_nothing_to_be_fetched_again(many: Between) -> None:
    assert many.migrate() is Exit.OK
    cut_at_quit(many)
    assert many.migrate() is Exit.OK
    assert times(many.sent, Fetch) == 0


def test_another_message_under_its_uidl_is_not_hidden_by_a_quit(many: Between) -> None:
    cut_at_quit(many)
    smallest = min(many.maildrop.mails, key=lambda mail: len(mail.octets))
    at = many.maildrop.mails.index(smallest)
    many.maildrop.mails[at] = type(smallest)(smallest.uid, smallest.octets.replace(b"Message-ID", b"Massage-ID"))
    many.migrate()
    assert times(many.sent, Fetch) == 1
    assert [one.quit for one in many.sent if isinstance(one, CloseSource)] == [False]
