"""What a person does not want fetched: the books balance, nothing of it is asked for, and what is new is copied."""

from __future__ import annotations

from pathlib import Path

from migrate.commands import Fetch, ListSource
from migrate.engine.session import BEFORE
from migrate.errors import Exit, Retry, StoreError
from migrate.events import Finished, Listed, Notice, Skipped, WouldDo
from migrate.state import read_state

from .releasing import Refusing
from .support import Between, letter

HAD = "getmail has it already"


def deliver(between: Between, *messages: bytes) -> None:
    for octets in messages:
        between.maildrop.deliver(octets)


def fetched(between: Between) -> list[bytes]:
    return [command.ref.uid for command in between.sent if isinstance(command, Fetch)]


def test_what_is_there_at_the_baseline_is_never_fetched_and_what_comes_later_is(between: Refusing) -> None:
    assert between.migrate(baseline=True) is Exit.OK
    assert fetched(between) == []
    assert between.all(Skipped) == [Skipped(4, BEFORE)]
    assert (between.one(Listed).open, between.one(Listed).done) == (0, 4)
    tally = between.one(Finished).tally
    assert (tally.listed, tally.skipped, tally.open, tally.balances) == (4, 4, 0, True)
    assert between.rows() == {"skipped": 4}

    deliver(between, letter(8), letter(9))
    assert between.migrate() is Exit.OK
    assert set(between.stored()) == {letter(8), letter(9)}
    tally = between.one(Finished).tally
    assert (tally.listed, tally.skipped, tally.copied, tally.balances) == (6, 4, 2, True)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert len(between.maildrop.mails) == 4, "what was skipped is not deleted: nobody has it"


def test_a_second_baseline_is_refused_before_it_leaves_out_what_is_new(between: Refusing) -> None:
    assert between.migrate(baseline=True) is Exit.OK
    deliver(between, letter(9))
    assert between.migrate(baseline=True) is Exit.USAGE
    assert "--baseline was given before" in between.one(Finished).problems[0]
    assert between.sent == []
    assert between.migrate() is Exit.OK
    assert set(between.stored()) == {letter(9)}


def test_a_baseline_of_an_empty_source_is_one_too(tmp_path: Path) -> None:
    between = Refusing(tmp_path, [])
    assert between.migrate(baseline=True) is Exit.OK
    deliver(between, letter(9))
    assert between.migrate(baseline=True) is Exit.USAGE
    assert between.migrate() is Exit.OK
    assert set(between.stored()) == {letter(9)}


def test_what_arrives_while_the_baseline_is_drawn_is_new(between: Refusing) -> None:
    """A cut after it, and the source is listed once more in the same run."""
    listings = []

    def cut(command: object) -> None:
        if isinstance(command, ListSource):
            listings.append(command)
            if len(listings) == 2:
                return
        elif listings and len(between.maildrop.mails) == 4:
            deliver(between, letter(9))
            raise StoreError("cut")

    between.on_command = cut
    assert between.migrate(baseline=True) is Exit.OK
    assert len(listings) >= 2
    assert set(between.stored()) == {letter(9)}
    assert between.rows() == {"skipped": 4, "verified": 1}


def test_a_baseline_that_died_before_it_was_durable_is_drawn_by_the_next_run(between: Refusing) -> None:
    def refuse(command: object) -> None:
        if isinstance(command, ListSource):
            raise StoreError("cut", retry=Retry.NEVER)

    between.on_command = refuse
    assert between.migrate(baseline=True) is not Exit.OK
    between.on_command = lambda command: None
    assert between.migrate(baseline=True) is Exit.OK
    assert between.rows() == {"skipped": 4}


def test_what_was_copied_before_stays_copied(between: Refusing) -> None:
    assert between.migrate(limit=1) is Exit.OK
    assert between.migrate(baseline=True) is Exit.OK
    assert between.rows() == {"verified": 1, "skipped": 3}


def test_messages_that_no_uidl_tells_apart_are_copied_all_the_same(between: Refusing) -> None:
    for mail in between.maildrop.mails[:2]:
        mail.uid = b"same"
    assert between.migrate(baseline=True) is Exit.OK
    assert between.stored().total() == 2
    assert any("without a UIDL of their own (2)" in notice.text for notice in between.all(Notice))
    assert between.rows() == {"skipped": 2, "verified": 2}
    assert between.migrate() is Exit.OK
    assert between.stored().total() == 2


def test_a_list_of_uidls_leaves_out_what_it_names_and_nothing_else(between: Refusing) -> None:
    uids = [mail.uid for mail in between.maildrop.mails]
    had = frozenset({uids[0], uids[2], b"elsewhere"})
    assert between.migrate(already=((HAD, had),)) is Exit.OK
    assert sorted(fetched(between)) == [uids[1], uids[3]]
    assert between.all(Skipped) == [Skipped(2, HAD)]
    assert between.rows() == {"skipped": 2, "verified": 2}
    with read_state(between.state_path) as reader:
        assert reader.skipped() == {HAD: 2}
    again = between.migrate(already=((HAD, frozenset(uids)),))
    assert (again, between.all(Skipped), between.rows()) == (Exit.OK, [Skipped(0, HAD)], {"skipped": 2, "verified": 2})


def test_a_dry_run_says_what_would_be_left_out(between: Refusing) -> None:
    uids = [mail.uid for mail in between.maildrop.mails]
    assert between.migrate(dry_run=True, already=((HAD, frozenset(uids[:3])),)) is Exit.OK
    assert (between.one(WouldDo).copy, between.one(WouldDo).done) == (1, 3)
    assert fetched(between) == []


def test_a_message_of_another_size_under_a_skipped_uidl_is_another_one(between: Refusing) -> None:
    assert between.migrate(baseline=True) is Exit.OK
    between.maildrop.mails[0].octets = letter(7, body=b" and more")
    assert between.migrate() is Exit.OK
    assert set(between.stored()) == {letter(7, body=b" and more")}
