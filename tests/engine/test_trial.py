"""What popferry did not upload is deleted only when the destination was seen to keep it."""

from __future__ import annotations

from typing import Any

import pytest

from migrate.commands import CloseSource, Command, Delete, OpenSource
from migrate.errors import Exit, StoreError
from migrate.events import Deleted, DeletionOff, Notice
from migrate.stores.memory import Mail

from .releasing import Refusing, at, sent
from .support import Between, letter


@pytest.fixture
def there(between: Refusing) -> Refusing:
    """Four messages, which the destination has already."""
    for number in range(4):
        between.store(letter(number))
    return between


def is_gone_there_too(between: Between) -> None:
    """From now on the maildrop and the folder are one mailbox."""
    maildrop, remove = between.maildrop, between.maildrop.remove

    def both(mails: Any) -> None:
        gone = list(mails)
        for mail in gone:
            for uid in [kept.uid for kept in between.box.kept.values() if kept.octets == mail.octets][:1]:
                del between.box.kept[uid]
        remove(gone)

    maildrop.remove = both  # type: ignore[method-assign]


def notices(between: Between) -> str:
    return "\n".join(event.text for event in between.all(Notice))


def test_one_is_deleted_first_and_the_others_in_the_next_session(there: Refusing) -> None:
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert [event.messages for event in there.all(Deleted)] == [1, 3]
    assert not there.source()
    assert there.rows() == {"released": 4}
    assert len(there.stored()) == 4
    assert "One message is deleted first" in notices(there)


def test_once_is_enough_for_a_pair_of_accounts(there: Refusing) -> None:
    assert there.migrate(delete_after_s=0) is Exit.OK
    for number in range(4, 8):
        there.store(letter(number))
        there.maildrop.deliver(letter(number))
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert [event.messages for event in there.all(Deleted)] == [4]


def test_what_popferry_uploaded_itself_needs_no_trial(between: Refusing) -> None:
    between.store(letter(0))
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert [event.messages for event in between.all(Deleted)] == [4]
    assert there_once(between)


def there_once(between: Between) -> bool:
    return set(between.stored().values()) == {1} and len(between.stored()) == 4


def test_where_both_are_one_mailbox_nothing_is_lost_and_nothing_more_is_deleted(there: Refusing) -> None:
    is_gone_there_too(there)
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert there_once(there)
    assert len(there.maildrop.deleted) == 1
    assert "both are one mailbox" in there.one(DeletionOff).reason
    assert "is copied back" in notices(there)
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert len(there.maildrop.deleted) == 1, "it is known by now"
    assert "both are one mailbox" in there.one(DeletionOff).reason


def test_twins_in_one_mailbox_do_not_hide_that_it_is_one(between: Refusing) -> None:
    for _ in range(2):
        between.store(letter(0))
    between.maildrop.deliver(letter(0))
    is_gone_there_too(between)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored()[letter(0)] >= 1


@pytest.mark.parametrize("is_shared", [False, True])
def test_a_run_that_died_behind_its_trial_is_looked_after_by_the_next(there: Refusing, is_shared: bool) -> None:
    if is_shared:
        is_gone_there_too(there)
    dies = RuntimeError("killed")

    def die(command: Command) -> None:
        if isinstance(command, OpenSource) and sent(there, Delete):
            raise dies

    there.on_command = die
    with pytest.raises(RuntimeError):
        there.migrate(delete_after_s=0)
    there.on_command = lambda command: None
    assert there.rows()["released"] == 1
    # Also where nothing more is to be deleted.
    assert there.migrate() is Exit.OK
    assert there_once(there)
    assert not list(there.state_path.parent.glob("*spool*/*")), "nothing is kept any longer"


def test_somebody_else_who_deletes_meanwhile_keeps_the_others_at_the_source(there: Refusing) -> None:
    def somebody(command: Command) -> None:
        del there.box.kept[max(there.box.kept)]

    there.on_command = at(CloseSource, somebody)
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert len(there.maildrop.deleted) == 1
    assert "left" in there.one(DeletionOff).reason


def test_a_source_that_refuses_the_first_loses_nothing_and_another_one_is_tried(there: Refusing) -> None:
    there.refused = (there.maildrop.mails[0].uid,)
    assert there.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert sorted(event.messages for event in there.all(Deleted)) == [1, 2]
    assert len(there.source()) == 1
    assert there_once(there)


def test_a_quit_that_is_not_answered_is_no_trial(there: Refusing) -> None:
    def fail(command: CloseSource) -> None:
        if command.quit:
            raise StoreError("cut")

    there.on_command = at(CloseSource, fail)
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert not there.source()
    assert there_once(there)


def test_a_source_that_shows_the_first_again_has_not_deleted_it(there: Refusing) -> None:
    mail: list[Mail] = list(there.maildrop.mails)
    there.maildrop.remove = lambda mails: None  # type: ignore[method-assign]
    assert there.migrate(delete_after_s=0) is Exit.OK
    assert there.maildrop.mails == mail
    assert there_once(there)


def test_behind_a_limited_run_the_next_one_copies_back(there: Refusing) -> None:
    is_gone_there_too(there)
    assert there.migrate(delete_after_s=0, limit=2) is Exit.OK
    assert len(there.maildrop.deleted) == 1
    assert there.migrate() is Exit.OK
    assert there_once(there)
