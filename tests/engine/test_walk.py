"""The walk of a run: what ends it and with which code, its sessions, and what a listing means."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrate.books import ListingFacts, Tally
from migrate.commands import (
    Append,
    Ask,
    CloseSource,
    Command,
    Delete,
    Fetch,
    Instant,
    ListSource,
    Now,
    OpenDest,
    OpenMailbox,
    OpenSource,
    SearchUids,
    SourceFacts,
    Wait,
)
from migrate.engine import walk
from migrate.engine.session import check_listing, may_list_again, may_quit, open_source
from migrate.engine.walk import sentence
from migrate.errors import (
    Cause,
    Exit,
    MailboxError,
    MessageError,
    MigrateError,
    Retry,
    StateError,
    StoreError,
    UsageError,
    exit_of,
)
from migrate.events import (
    Connected,
    Copied,
    Deleted,
    DeletionOff,
    Doubled,
    Finished,
    Gone,
    Listed,
    Notice,
    Reconnecting,
    WouldDo,
)
from migrate.model import Checkpoint, Flags, InternalDate, Work
from migrate.rules.dedupe import Digester
from migrate.state import open_state
from migrate.stores.memory import MemoryMailbox

from .stepping import a_run, play, silent, trouble
from .support import ACCOUNTS, OLD, Between, Crash, letter

DAY_S = 86400
_NOW = Instant(1e9, 1.0)


# --- how a run ends -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("problem", "code"),
    [
        (StateError("x", exit=Exit.STATE_LOCKED), Exit.STATE_LOCKED),
        (UsageError("x"), Exit.USAGE),
        (MailboxError("x"), Exit.DEST_UNUSABLE),
        (MessageError("x"), Exit.UNEXPECTED),
        (trouble(), Exit.TEMPORARY),
        (trouble(cause=Cause.LOGIN), Exit.SOURCE_LOGIN),
        (trouble(cause=Cause.LOGIN, end="destination"), Exit.DEST_LOGIN),
        (trouble(cause=Cause.UNUSABLE), Exit.SOURCE_UNUSABLE),
        (trouble(cause=Cause.UNUSABLE, end="destination"), Exit.DEST_UNUSABLE),
        (trouble(cause=Cause.FULL), Exit.SOURCE_UNUSABLE),
        (trouble(cause=Cause.FULL, end="destination"), Exit.DEST_FULL),
    ],
)
def test_every_problem_has_its_code(problem: MigrateError, code: Exit) -> None:
    assert exit_of(problem) is code


def test_a_problem_is_told_with_its_end_the_words_of_the_server_and_what_to_do() -> None:
    error = StoreError("it broke", said=b"-ERR \x1b[2J", hint="Wait.")
    error.end = "source"
    assert sentence(error) == 'source: it broke. The server said: "-ERR \\x1b[2J" Wait.'
    assert sentence(MailboxError("no folder")) == "no folder."
    assert sentence(StoreError("it broke")) == "it broke."


EVEN = Tally(listed=3, copied=3)


@pytest.mark.parametrize(
    ("tally", "policy", "code"),
    [
        (EVEN, {}, Exit.OK),
        (Tally(listed=3, copied=2, set_aside=1), {}, Exit.SET_ASIDE),
        (Tally(listed=3, copied=2, open=1), {}, Exit.TEMPORARY),
        (Tally(listed=3, copied=1, open=1, set_aside=1), {}, Exit.TEMPORARY),
        (Tally(listed=3, copied=2, open=1), {"limit": 2}, Exit.OK),
        (Tally(listed=3, copied=2, open=1), {"dry_run": True}, Exit.OK),
        (Tally(listed=3, copied=2), {}, Exit.UNEXPECTED),
    ],
)
def test_the_books_decide_the_code_of_a_run_without_a_problem(tally: Tally, policy: dict[str, Any], code: Exit) -> None:
    run, _ = a_run(**policy)
    assert run.exit_code([], *walk._told(run, tally)) is code


def test_of_several_codes_the_first_in_order_counts_and_a_stop_wins_over_all() -> None:
    run, _ = a_run()
    problems: list[MigrateError] = [trouble(), trouble(cause=Cause.LOGIN, end="destination")]
    assert run.exit_code(problems, *walk._told(run, EVEN)) is Exit.DEST_LOGIN
    run.note_stop()
    assert run.exit_code(problems, *walk._told(run, EVEN)) is Exit.INTERRUPTED


class Broken(Between):
    """The books fail at the question of this name."""

    failing: tuple[str, ...] = ()

    def _drive(self, books: Any, engine: Any) -> Exit:
        for name in self.failing:
            setattr(books, name, self._fail)
        return super()._drive(books, engine)

    def _fail(self, *args: Any) -> Any:
        raise StateError("the disk is full", exit=Exit.STATE_UNWRITABLE)


@pytest.mark.parametrize("name", ["begin_run", "record_listing", "mark_vanished"])
def test_books_that_cannot_be_written_end_the_run_at_once_and_the_rest_is_told(tmp_path: Path, name: str) -> None:
    between = Broken(tmp_path, [letter(0)])
    between.failing = (name,)
    assert between.migrate() is Exit.STATE_UNWRITABLE
    assert between.one(Finished).problems == ("the disk is full.",)
    assert between.all(Reconnecting) == []


def test_books_that_cannot_even_be_added_up_are_one_more_problem(tmp_path: Path) -> None:
    between = Broken(tmp_path, [letter(0)])
    between.failing = ("tally",)
    assert between.migrate() is Exit.STATE_UNWRITABLE
    finished = between.one(Finished)
    assert (finished.tally, finished.exit) == (Tally(), Exit.STATE_UNWRITABLE)
    assert finished.problems == ("the disk is full.",)


# --- deletion switched off ----------------------------------------------------------------------


def test_a_reason_from_outside_switches_deletion_off(between: Between) -> None:
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    policy = replace(between.policy, delete_after_s=0)
    code = between._drive(state, walk.walk(policy, between._hear(), "another migration is unfinished"))
    state.close()
    assert code is Exit.OK
    assert between.one(DeletionOff).reason == "another migration is unfinished"
    assert not any(isinstance(command, Delete) for command in between.sent)


@pytest.mark.parametrize(("slip_s", "is_off"), [(DAY_S - 60, False), (DAY_S + 60, True), (-10 * DAY_S, False)])
def test_a_clock_that_was_set_back_since_the_last_run_switches_deletion_off(
    between: Between, monkeypatch: pytest.MonkeyPatch, slip_s: float, is_off: bool
) -> None:
    assert between.migrate() is Exit.OK
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now - slip_s)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert bool(between.all(DeletionOff)) is is_off
    assert between.source().total() == (4 if is_off else 0)


def test_a_clock_exactly_a_day_behind_is_still_believed() -> None:
    run, events = a_run(delete_after_s=0)
    play(walk._begin(run), lambda command: _NOW if isinstance(command, Now) else (1, _NOW.wall + DAY_S))
    assert events == []


# --- one session --------------------------------------------------------------------------------


def test_the_destination_is_connected_first_and_both_greetings_are_told(between: Between) -> None:
    assert between.migrate() is Exit.OK
    kinds = [type(command) for command in between.sent]
    assert kinds.index(OpenDest) < kinds.index(OpenMailbox) < kinds.index(OpenSource) < kinds.index(ListSource)
    assert [event.end for event in between.all(Connected)][:2] == ["destination", "source"]
    assert between.all(Listed)[0] == Listed(4, sum(len(letter(n)) for n in range(4)), 4, 0, 4, 0)
    assert not any(command.may_release for command in between.sent if isinstance(command, OpenSource))


def test_only_a_run_that_deletes_opens_a_session_that_can(between: Between) -> None:
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert all(command.may_release for command in between.sent if isinstance(command, OpenSource))


def test_connections_that_the_destination_refuses_are_done_without(between: Between) -> None:
    def refuse(command: Command) -> None:
        if isinstance(command, OpenDest) and command.lane == 2:
            raise StoreError("too many")

    between.on_command = refuse
    assert between.migrate(lanes=4) is Exit.OK
    assert [event.text for event in between.all(Notice)] == ["Going on with 3 of 4 connections: too many."]
    assert sorted(command.lane for command in between.sent if isinstance(command, OpenDest)) == [0, 1, 2, 3]


def test_the_first_connection_does_not_wait_for_the_others(between: Between) -> None:
    has_begun = threading.Event()

    def look(command: Command) -> None:
        if isinstance(command, OpenDest) and command.lane:
            assert has_begun.wait(10), "nothing was copied before all were open"
        if isinstance(command, Append):
            has_begun.set()

    between.on_command = look
    assert between.migrate(lanes=4) is Exit.OK


def test_the_messages_of_a_refused_batch_are_sent_apart_and_once_more_only(tmp_path: Path) -> None:
    large = letter(20, body=b"x" * 500)
    letters = [large if number == 20 else letter(number) for number in range(40)]
    between = Between(tmp_path, letters, append_limit=300)
    assert between.migrate() is Exit.SET_ASIDE
    batches = [command for command in between.sent if isinstance(command, Append) and large in octets(command)]
    assert [command.apart for command in batches] == [False, True]
    assert octets(batches[0]) == octets(batches[1])
    assert between.stored() == between.source() - Counter([large])


def octets(command: Append) -> list[bytes]:
    return [b"".join(letter.message.blocks()) for letter in command.letters]


def test_the_source_is_listed_again_until_a_session_achieves_nothing(between: Between) -> None:
    assert between.migrate() is Exit.OK
    assert sum(isinstance(command, ListSource) for command in between.sent) == 2
    assert between.migrate() is Exit.OK
    assert sum(isinstance(command, ListSource) for command in between.sent) == 1


def searches_before_the_source(between: Between) -> int:
    """How often the last run searched the destination before it opened the source, which it did first of all."""
    kinds = [type(command) for command in between.sent]
    assert SearchUids in kinds[kinds.index(OpenSource) : kinds.index(Append) if Append in kinds else None]
    return kinds[: kinds.index(OpenSource)].count(SearchUids)


def test_what_is_new_at_the_destination_is_looked_at_before_the_source_is_opened_and_once_more(
    between: Between,
) -> None:
    assert between.migrate() is Exit.OK
    assert searches_before_the_source(between) == 0, "it is empty, the server says"
    assert between.migrate() is Exit.OK
    assert searches_before_the_source(between) == 0, "nothing came, the server says"
    between.store(letter(77))
    assert between.migrate() is Exit.OK
    assert searches_before_the_source(between) == 1


def test_where_copies_are_missed_the_destination_is_searched_whatever_it_says(between: Between) -> None:
    def die(command: Command) -> None:
        if isinstance(command, Append):
            raise Crash

    between.on_command = die
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None
    assert between.migrate() is Exit.OK
    assert searches_before_the_source(between) == 1
    assert between.stored() == between.source()


def after_the_first_session(between: Between, change: Callable[[], object]) -> None:
    """Does this once, when the source is let go of."""

    def on_command(command: Command) -> None:
        if isinstance(command, CloseSource) and command.quit:
            between.on_command = lambda command: None
            change()

    between.on_command = on_command


def sessions(between: Between) -> tuple[int, int]:
    """How often the source was opened, and listed, in the last run."""
    return tuple(sum(isinstance(one, kind) for one in between.sent) for kind in (OpenSource, ListSource))  # type: ignore[return-value]


def test_a_source_that_counts_what_it_counted_is_not_listed_once_more(between: Between) -> None:
    between.migrate()
    between.maildrop.deliver(letter(50))
    assert between.migrate() is Exit.OK
    assert sessions(between) == (2, 1)
    assert between.stored() == between.source()


def test_what_arrives_while_a_night_copies_is_copied_too(between: Between) -> None:
    between.migrate()
    between.maildrop.deliver(letter(50))
    after_the_first_session(between, lambda: between.maildrop.deliver(letter(51)))
    assert between.migrate() is Exit.OK
    assert sessions(between) == (3, 2)
    assert between.stored() == between.source()


def test_as_many_messages_of_other_sizes_are_listed(between: Between) -> None:
    between.migrate()
    between.maildrop.deliver(letter(50))

    def replace_one() -> None:
        del between.maildrop.mails[0]
        between.maildrop.deliver(letter(51, body=b" and more"))

    after_the_first_session(between, replace_one)
    assert between.migrate() is Exit.OK
    assert sessions(between)[1] == 2
    assert not between.source() - between.stored()


def test_a_source_most_of_which_was_new_is_listed_again_though_it_counts_the_same(between: Between) -> None:
    """It may hide what was fetched, and show as many others."""
    between.migrate()
    for number in range(50, 54):  # as many as were there
        between.maildrop.deliver(letter(number))

    def hide() -> None:
        mails = between.maildrop.mails
        hidden = [len(mail.octets) for mail in mails[4:]]
        del mails[4:]
        for number, octets in enumerate(hidden, 60):
            between.maildrop.deliver(letter(number, body=b"x" * (octets - len(letter(number)))))

    after_the_first_session(between, hide)
    assert between.migrate() is Exit.OK
    assert sessions(between)[1] > 1
    assert not between.source() - between.stored()


def test_a_run_that_deletes_lists_again_what_counts_the_same(between: Between) -> None:
    between.migrate()
    between.maildrop.deliver(letter(50))
    assert between.migrate(delete_after_s=DAY_S) is Exit.OK
    assert sessions(between) == (2, 2)


def test_a_limit_ends_the_run_after_the_session_that_reached_it(between: Between) -> None:
    assert between.migrate(limit=2) is Exit.OK
    assert between.rows() == {"verified": 2, "listed": 2}
    assert sum(isinstance(command, ListSource) for command in between.sent) == 1
    assert between.migrate(limit=3) is Exit.OK
    assert between.rows() == {"verified": 4}


def test_a_limit_holds_where_only_the_content_tells_what_is_new(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n % 50) for n in range(60)])  # ten of them twice
    between.maildrop.has_uids = False
    for copied in (7, 14, 21):
        assert between.migrate(limit=7, dedupe="off") is Exit.OK
        assert between.stored().total() == copied
    assert between.migrate(limit=60, dedupe="off") is Exit.OK
    assert between.stored() == between.source()


def test_a_limit_gets_past_what_is_known_where_only_the_content_tells(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(40)])
    between.maildrop.has_uids = False
    assert between.migrate() is Exit.OK
    for number in range(50, 55):
        between.maildrop.deliver(letter(number))
    assert between.migrate(limit=3) is Exit.OK
    assert between.appended() == 3
    assert between.migrate(limit=3) is Exit.OK
    assert between.appended() == 2
    assert between.stored() == between.source()


def test_a_spooled_message_that_is_fetched_after_all_counts_once(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(4)])

    def refuse(command: Command) -> None:
        if isinstance(command, Append):
            raise StoreError("it broke", retry=Retry.NEVER)

    between.maildrop.may_delete_on_fetch = True
    between.on_command = refuse
    assert between.migrate(limit=2) is not Exit.OK
    spooled = list(between.state_path.with_name("state.sqlite.spool").iterdir())
    assert spooled
    for path in spooled:
        path.write_bytes(b"damaged")
    between.on_command = lambda command: None
    between.maildrop.may_delete_on_fetch = False
    assert between.migrate(limit=5) is Exit.OK
    assert between.appended() == 4
    assert sum(isinstance(command, ListSource) for command in between.sent) == 2, "the limit was not reached"


@pytest.mark.parametrize("changes", [{}, {"limit": 3}, {"max_delete": 2}, {"limit": 3, "max_delete": 4}])
def test_a_dry_run_says_what_the_same_run_does_then(tmp_path: Path, changes: dict[str, Any]) -> None:
    between = Between(tmp_path, [letter(n, body=b"x" * n) for n in range(8)])
    assert between.migrate(limit=2) is Exit.OK
    changes |= {"delete_after_s": 0}
    assert between.migrate(**changes, dry_run=True) is Exit.OK
    would = between.one(WouldDo)
    assert would.mailboxes == (("Old", 2),)
    assert between.migrate(**changes) is Exit.OK
    copied = between.all(Copied)
    assert (would.copy, would.octets) == (sum(e.messages for e in copied), sum(e.octets for e in copied))
    assert would.delete == sum(event.messages for event in between.all(Deleted))


def test_a_dry_run_counts_what_an_interrupted_run_has_begun(between: Between) -> None:
    def die(command: Command) -> None:
        if isinstance(command, Append):
            raise Crash

    between.on_command = die
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None
    assert between.rows() == {"intended": 4}
    assert between.migrate(dry_run=True) is Exit.OK
    assert (between.one(WouldDo).copy, between.one(WouldDo).octets) == (4, sum(len(letter(n)) for n in range(4)))


def test_a_dry_run_asks_and_touches_nothing(between: Between) -> None:
    assert between.migrate(dry_run=True, delete_after_s=0) is Exit.OK
    assert between.one(WouldDo).copy == 4
    assert not any(isinstance(command, Fetch | Delete) for command in between.sent)
    assert between.stored().total() == 0


def test_messages_that_left_before_they_were_copied_are_told(between: Between) -> None:
    assert between.migrate(limit=1) is Exit.OK
    between.maildrop.remove(between.maildrop.mails[2:3])
    assert between.migrate() is Exit.OK
    assert between.all(Gone) == [Gone(1)]
    assert between.rows() == {"verified": 3, "gone": 1}


def test_a_session_that_is_cut_is_followed_by_one_that_goes_on_from_the_books(between: Between) -> None:
    fetched: list[int] = []

    def cut(command: Command) -> None:
        if isinstance(command, Fetch):
            fetched.append(command.ref.number)
            if len(fetched) == 3:
                raise StoreError("cut", said=b"bye")

    between.on_command = cut
    assert between.migrate() is Exit.OK
    assert between.all(Reconnecting) == [Reconnecting("source", "cut", "bye", 0.0)]
    assert between.stored() == between.source()
    assert between.all(Finished)[0].problems == ()


@pytest.mark.parametrize("cause", Cause)
def test_once_both_ends_have_worked_whatever_may_pass_is_tried_again(between: Between, cause: Cause) -> None:
    first = iter([StoreError("odd", cause=cause)])

    def stumble(command: Command) -> None:
        if isinstance(command, Fetch):
            for error in first:
                raise error

    between.on_command = stumble
    assert between.migrate() is Exit.OK
    assert [event.reason for event in between.all(Reconnecting)] == ["odd"]


def test_whatever_ends_a_run_the_source_is_left_without_a_quit(between: Between) -> None:
    def refuse(command: Command) -> None:
        if isinstance(command, Append):
            raise MailboxError("no")

    between.on_command = refuse
    assert between.migrate() is Exit.DEST_UNUSABLE
    assert [command.quit for command in between.sent if isinstance(command, CloseSource)] == [False]


def test_what_arrives_at_the_destination_before_the_source_lets_us_in_is_seen(between: Between) -> None:
    opened = iter([letter(0)])

    def deliver(command: Command) -> None:
        if isinstance(command, OpenSource):
            for octets in opened:
                between.store(octets)

    between.on_command = deliver
    assert between.migrate() is Exit.OK
    assert between.appended() == 3
    assert between.stored() == between.source()


def test_a_limit_that_was_not_reached_does_not_keep_the_source_from_being_listed_again(between: Between) -> None:
    assert between.migrate(limit=5) is Exit.OK
    assert sum(isinstance(command, ListSource) for command in between.sent) == 2


def test_a_source_that_is_suddenly_empty_ends_the_run_for_now(between: Between) -> None:
    assert between.migrate(limit=1) is Exit.OK
    between.maildrop.remove(list(between.maildrop.mails))
    assert between.migrate() is Exit.TEMPORARY
    assert "suddenly empty" in between.one(Finished).problems[0]


def test_a_second_copy_that_came_since_the_last_run_is_told_once(between: Between) -> None:
    assert between.migrate() is Exit.OK
    uid = between.store(letter(2))
    assert between.migrate() is Exit.OK
    assert [event.places[1] for event in between.all(Doubled)] == [("Old", uid)]
    assert between.migrate() is Exit.OK
    assert between.all(Doubled) == []


# --- a destination that names no uids -----------------------------------------------------------


def test_copies_without_a_uid_are_found_before_the_session_ends(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(4)], has_uids=False)
    opened: list[int] = []

    def only_once(command: Command) -> None:
        if isinstance(command, OpenSource):
            opened.append(1)
            if len(opened) > 1:
                raise StoreError("closed", retry=Retry.NEVER, cause=Cause.LOGIN)

    between.on_command = only_once
    assert between.migrate(delete_after_s=0) is Exit.SOURCE_LOGIN
    assert between.rows() == {"released": 4}
    assert not any(command.create for command in between.sent[3:] if isinstance(command, OpenMailbox))


def test_a_twin_of_a_copy_without_a_uid_is_decided_in_the_same_session(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(0)], has_uids=False)
    assert between.migrate() is Exit.OK
    assert between.rows() == {"verified": 1, "duplicate": 1}
    assert sum(isinstance(command, ListSource) for command in between.sent) == 2
    assert sum(isinstance(command, Fetch) for command in between.sent) == 3


class Forgetful(MemoryMailbox):
    def store(self, octets: bytes, flags: Flags, internaldate: InternalDate) -> int:
        uid = super().store(octets, flags, internaldate)
        if b"m2@" in octets:
            del self.kept[uid]
        return uid


def test_a_copy_without_a_uid_that_is_not_there_is_set_aside(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(4)], has_uids=False, make_mailbox=Forgetful)
    assert between.migrate() is Exit.SET_ASIDE
    assert between.rows() == {"verified": 3, "set aside": 1}
    assert between.appended() == 4


@pytest.mark.parametrize("is_deleted", [True, False])
def test_a_folder_replaced_during_the_run_is_looked_at_anew(tmp_path: Path, is_deleted: bool) -> None:
    between = Between(tmp_path, [letter(n) for n in range(4)], has_uids=False)
    again = iter([1])

    def replaced(command: Command) -> None:
        if isinstance(command, OpenMailbox) and not command.create:
            for _ in again:
                if is_deleted:
                    del between.server.mailboxes[OLD]
                else:
                    between.box.uidvalidity += 1

    between.on_command = replaced
    assert between.migrate() is Exit.OK
    assert [event.reason for event in between.all(Reconnecting)] == [
        "the folder Old was replaced at the destination during the run"
    ]
    assert between.stored() == between.source()


def test_copies_found_at_the_start_are_proved_before_the_source_is_asked(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(4)], has_uids=False)
    broken = iter([1])

    def cut(command: Command) -> None:
        if isinstance(command, OpenMailbox) and not command.create:
            for _ in broken:
                raise StoreError("cut")
        if isinstance(command, OpenSource) and between.all(Reconnecting):
            raise StoreError("closed", retry=Retry.NEVER, cause=Cause.LOGIN)

    between.on_command = cut
    assert between.migrate() is Exit.SOURCE_LOGIN
    assert between.rows() == {"verified": 4}


# --- what a listing means -----------------------------------------------------------------------


def facts(messages: int = 0, new: int = 0, vanished: int = 0, vanished_open: int = 0) -> ListingFacts:
    return ListingFacts(messages, 0, new, 0, 0, 0, vanished_open=vanished_open, vanished=vanished)


def test_a_source_that_is_suddenly_empty_ends_the_run_unless_that_is_accepted() -> None:
    run, events = a_run()
    with pytest.raises(StoreError, match="suddenly empty, with 2 messages") as caught:
        play(check_listing(run, facts(vanished_open=2)), silent)
    assert (caught.value.retry, caught.value.end, caught.value.cause) == (Retry.LATER, "source", Cause.UNREACHABLE)
    run, events = a_run(accept_missing=True)
    play(check_listing(run, facts(vanished_open=2)), lambda command: 2)
    assert events == [Gone(2)]


@pytest.mark.parametrize("listing", [facts(messages=1, vanished_open=2), facts()])
def test_a_source_that_is_empty_with_nothing_to_copy_or_not_empty_is_well(listing: ListingFacts) -> None:
    assert play(check_listing(a_run()[0], listing), silent) == (None, [])


@pytest.mark.parametrize(
    ("listing", "is_off"),
    [
        (facts(messages=30, new=20, vanished=20), True),
        (facts(messages=30, new=11, vanished=20), True),
        (facts(messages=30, new=10, vanished=20), False),  # few are new: somebody cleaned up
        (facts(messages=30, new=10, vanished=10), False),  # ten may be chance
        (facts(messages=30, new=10, vanished=11), True),
        (facts(messages=100, new=20, vanished=20), False),  # a fifth of 100
        (facts(messages=100, new=20, vanished=21), True),
    ],
)
def test_a_source_that_seems_to_have_renumbered_switches_deletion_off(listing: ListingFacts, is_off: bool) -> None:
    run, events = a_run(delete_after_s=0)
    play(check_listing(run, listing), silent)
    assert bool(run.deletion_off) is is_off
    assert len([event for event in events if isinstance(event, DeletionOff)]) == is_off


def test_quit_is_sent_only_when_nothing_that_was_served_is_unsafe() -> None:
    run, _ = a_run()
    assert play(may_quit(run), lambda command: [])[0] is True
    assert play(may_quit(run), lambda command: [Work(Checkpoint(1, b"u", 1), None)])[0] is False
    run.loose = 1
    assert play(may_quit(run), silent) == (False, [])


@pytest.mark.parametrize(
    ("delay_s", "deletes_on_fetch", "has_deleted", "again"),
    [
        (0, False, False, True),
        (10, False, False, False),  # nothing would show that did not show now
        (10, True, False, True),
        (10, False, True, True),
        (300, False, True, True),
        (301, True, True, False),
    ],
)
def test_a_source_that_asks_for_a_pause_is_listed_again_only_where_it_may_show_more(
    delay_s: int, deletes_on_fetch: bool, has_deleted: bool, again: bool
) -> None:
    run, events = a_run()
    run.source = SourceFacts("x", 1, 1, True, deletes_on_fetch, login_delay_s=delay_s)
    found, asked = play(may_list_again(run, has_achieved=True, has_deleted=has_deleted), silent)
    assert found is again
    waits = [command.seconds for command in asked if isinstance(command, Wait)]
    assert waits == ([delay_s] if again and delay_s else [])
    assert len(events) == len(waits)
    assert play(may_list_again(run, has_achieved=False, has_deleted=has_deleted), silent) == (False, [])


def test_a_new_session_forgets_what_the_last_one_fetched() -> None:
    run, events = a_run()
    run.loose = 5
    run.matched.add(3)

    def answer(command: Command) -> Any:
        if isinstance(command, OpenSource):
            assert command.may_release
            return SourceFacts("hello", 1, 1, True, False)
        return 7 if isinstance(command, Ask) else _NOW

    _, asked = play(open_source(run, may_release=True), answer)
    assert (run.loose, run.matched, run.session, run.fetched_at) == (0, set(), 7, 1e9)
    assert events == [Connected("source", "hello")]
    assert [type(command) for command in asked] == [OpenSource, Ask, Now]
