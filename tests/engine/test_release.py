"""The gate of deletion: what is deleted at the source, what is kept, and what is durable before DELE."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import (
    Append,
    CloseSource,
    Command,
    Delete,
    Fetch,
    FetchHeaders,
    Instant,
    ListSource,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    Outcome,
    ReadBack,
)
from migrate.driver.loop import Driver
from migrate.driver.stop import Stop
from migrate.engine import walk
from migrate.engine.release import release
from migrate.engine.run import Run
from migrate.errors import Exit, MessageError, StoreError
from migrate.events import Deleted, Deleting, DeletionOff, Kept, Notice
from migrate.model import Checkpoint, Policy, Stage, Work
from migrate.rules.dedupe import Digester
from migrate.state import open_state
from migrate.stores.memory import MemoryMailbox

from .support import ACCOUNTS, OLD, Between, letter

RECEIVED = b"Received: by mx.example.org\r\n"
DAY_S = 86400
NOW = Instant(1e9, 1.0)


class Refusing(Between):
    """A source that refuses to delete the messages of these UIDLs, and a person who may ask to stop."""

    refused: tuple[bytes, ...] = ()

    def _open(self, command: Any) -> Any:
        session: Any = super()._open(command)
        carry_out = session.carry_out

        def refusing(command: Command) -> Any:
            value = carry_out(command)
            if not isinstance(command, Delete):
                return value
            session._marked -= {ref.number for ref in command.refs if ref.uid in self.refused}
            return tuple(MessageError("-ERR") if ref.uid in self.refused else None for ref in command.refs)

        session.carry_out = refusing
        return session

    def _drive(self, books: Any, engine: Any) -> Exit:
        self.stop = Stop()
        return Driver(books, self._open, self.stop, self.events.append).run(engine)


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke is tried again at once."""
    monkeypatch.setattr(walk, "LONGEST_PAUSE_S", 0.0)


@pytest.fixture
def between(tmp_path: Path) -> Refusing:
    """Four messages, not yet migrated."""
    return Refusing(tmp_path, [letter(n) for n in range(4)])


@pytest.fixture
def copied(between: Refusing) -> Refusing:
    """The same, copied and verified by an earlier run."""
    assert between.migrate() is Exit.OK
    return between


def at(kind: type[Command], act: Callable[[Any], None], *, times: int = 1) -> Callable[[Command], None]:
    """Does something right before the first commands of a kind are carried out."""
    left = [times]

    def on_command(command: Command) -> None:
        if isinstance(command, kind) and left[0]:
            left[0] -= 1
            act(command)

    return on_command


def fails(error: Exception) -> Callable[[Any], None]:
    def act(command: Command) -> None:
        raise error

    return act


def kept(between: Between) -> list[tuple[int, str]]:
    return [(event.row, event.reason) for event in between.all(Kept)]


def sent(between: Between, kind: type[Command]) -> int:
    return sum(isinstance(command, kind) for command in between.sent)


def change_rows(between: Between, change: Callable[[Checkpoint], Checkpoint]) -> None:
    """What another run would have recorded."""
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    state.commit([tuple(change(state.row(number)) for number in range(1, 5))])
    state.close()


# --- the way it should go -----------------------------------------------------------------------


def test_unasked_no_deletion_is_sent(between: Between) -> None:
    assert between.migrate() is Exit.OK
    assert sent(between, Delete) == 0
    assert len(between.maildrop.deleted) == 0


def test_what_was_served_back_in_this_run_is_deleted(between: Between) -> None:
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.rows() == {"released": 4}
    assert not between.source()
    octets = sum(len(letter(n)) for n in range(4))
    assert between.all(Deleting) == [Deleting(4, octets)]
    assert between.all(Deleted) == [Deleted(4)]
    assert between.all(Notice) == []
    assert sent(between, Fetch) == 4


def test_the_gate_looks_over_a_connection_of_its_own(between: Between) -> None:
    assert between.migrate(delete_after_s=0, lanes=2) is Exit.OK
    lanes = [command.lane for command in between.sent if isinstance(command, OpenDest)]
    assert lanes == [0, 1, 2]
    looked = [one for one in between.sent if isinstance(one, FetchHeaders) and one.lane == 2]
    assert [len(one.uids) for one in looked] == [4]


def test_what_an_earlier_run_copied_is_fetched_and_read_back_again_before_it_is_deleted(copied: Refusing) -> None:
    assert copied.migrate(delete_after_s=0) is Exit.OK
    assert copied.rows() == {"released": 4}
    assert sent(copied, Fetch) == 4
    [read] = [one for one in copied.sent if isinstance(one, ReadBack)]
    assert sorted(read.uids) == [1, 2, 3, 4]


def test_releasing_is_durable_before_dele_and_released_only_after_quit(between: Between) -> None:
    seen: list[dict[str, int]] = []

    def look(command: Command) -> None:
        if isinstance(command, Delete) or (isinstance(command, CloseSource) and command.quit):
            seen.append(between.rows())

    between.on_command = look
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert seen[0] == {"releasing": 4}
    assert seen[1] == {"releasing": 4}


def test_quit_without_ok_releases_nothing_and_the_next_listing_decides(between: Between) -> None:
    seen: list[dict[str, int]] = []

    def hang_up(command: Command) -> None:
        if seen and isinstance(command, ListSource):
            seen.append(between.rows())
        if not seen and isinstance(command, CloseSource) and command.quit:
            seen.append(between.rows())
            raise StoreError("cut")

    between.on_command = hang_up
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert seen[:2] == [{"releasing": 4}, {"releasing": 4}]
    assert between.rows() == {"released": 4}
    assert between.appended() == 4
    assert between.all(Deleted) == [Deleted(4)]


def test_more_than_a_hundred_messages_pass_the_gates_in_parts(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(205)])
    assert between.migrate() is Exit.OK
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert [len(one.refs) for one in between.sent if isinstance(one, Delete)] == [100, 100, 5]
    assert between.rows() == {"released": 205}
    assert sent(between, Fetch) == 205
    assert between.all(Deleted) == [Deleted(205)]


# --- how many, and when -------------------------------------------------------------------------


def test_max_delete_counts_over_all_sessions_of_a_run(between: Between) -> None:
    assert between.migrate(delete_after_s=0, max_delete=3) is Exit.OK
    assert (len(between.maildrop.deleted), between.all(Deleting)[0].messages) == (3, 3)
    assert len(between.all(Deleting)) == 1
    assert between.migrate(delete_after_s=0, max_delete=3) is Exit.OK
    assert len(between.maildrop.deleted) == 4


def test_max_delete_is_not_reached_by_what_is_kept(copied: Refusing) -> None:
    del copied.box.kept[1]
    assert copied.migrate(delete_after_s=0, max_delete=2) is Exit.SET_ASIDE
    assert len(copied.maildrop.deleted) == 2


def test_a_part_is_no_larger_than_what_may_still_be_deleted(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(110)])
    assert between.migrate() is Exit.OK
    del between.box.kept[5]
    assert between.migrate(delete_after_s=0, max_delete=103) is Exit.SET_ASIDE
    assert [len(one.refs) for one in between.sent if isinstance(one, Delete)] == [99, 4]
    assert len(between.maildrop.deleted) == 103


def test_nothing_that_was_verified_later_than_asked_is_deleted(copied: Refusing) -> None:
    assert copied.migrate(delete_after_s=DAY_S) is Exit.OK
    assert sent(copied, Delete) == 0
    assert copied.all(Deleting) == []
    change_rows(
        copied, lambda row: replace(row, verified_at=(row.verified_at or 0) - (DAY_S + 60 if row.id < 3 else 0))
    )
    assert copied.migrate(delete_after_s=DAY_S) is Exit.OK
    assert copied.rows() == {"released": 2, "verified": 2}


def test_as_soon_as_verified_asks_no_clock(copied: Refusing) -> None:
    change_rows(copied, lambda row: replace(row, verified_at=(row.verified_at or 0) + 3600))
    assert copied.migrate(delete_after_s=0) is Exit.OK
    assert copied.rows() == {"released": 4}


@pytest.mark.parametrize("jump_s", [2 * DAY_S, -2 * DAY_S])
def test_a_clock_that_jumps_while_we_copy_switches_deletion_off(
    between: Between, monkeypatch: pytest.MonkeyPatch, jump_s: int
) -> None:
    now = time.time()
    between.on_command = at(Append, lambda command: monkeypatch.setattr(time, "time", lambda: now + jump_s))
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert sent(between, Delete) == 0
    assert "clock" in between.one(DeletionOff).reason
    assert between.rows() == {"verified": 4}


# --- the source's side of the gate --------------------------------------------------------------


def test_a_message_that_the_source_does_not_serve_again_is_kept(copied: Refusing) -> None:
    def refuse(command: Fetch) -> None:
        if command.ref.uid == b"00000001":
            raise MessageError("-ERR")

    copied.on_command = at(Fetch, refuse, times=99)
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(copied) == [(1, "the source did not serve it again")]
    assert copied.rows() == {"released": 3, "verified": 1}
    assert copied.source().total() == 1


def test_a_message_that_is_kept_in_one_session_and_deleted_in_the_next_is_not_kept(copied: Refusing) -> None:
    copied.on_command = at(Fetch, fails(MessageError("-ERR")))
    assert copied.migrate(delete_after_s=0) is Exit.OK
    assert kept(copied) == []
    assert copied.rows() == {"released": 4}


def test_a_cut_while_it_is_fetched_again_is_followed_by_another_try(copied: Refusing) -> None:
    copied.on_command = at(Fetch, fails(StoreError("cut")))
    assert copied.migrate(delete_after_s=0) is Exit.OK
    assert copied.rows() == {"released": 4}
    assert kept(copied) == []


def test_another_message_under_the_same_uidl_is_kept_safe_and_copied_and_then_deleted(copied: Refusing) -> None:
    other = letter(2).replace(b"Text", b"TEXT")
    copied.maildrop.mails[2].octets = other
    assert copied.migrate(delete_after_s=0) is Exit.OK
    assert copied.stored()[other] == copied.stored()[letter(2)] == 1
    assert not copied.source()
    assert any("another message under the UIDL" in event.text for event in copied.all(Notice))
    assert copied.rows() == {"released": 4, "verified": 1} or copied.rows() == {"released": 5}


def test_another_message_under_the_same_uidl_stays_where_its_session_has_not_copied_it(copied: Refusing) -> None:
    """In the session that finds it, it is not deleted: only the spool has it."""
    other = letter(2).replace(b"Text", b"TEXT")
    copied.maildrop.mails[2].octets = other
    seen: list[int] = []
    copied.on_command = at(Delete, lambda command: seen.extend(ref.number for ref in command.refs))
    copied.migrate(delete_after_s=0)
    assert seen == [1, 2, 4]


def test_what_the_source_refuses_to_delete_goes_back_to_what_it_was(tmp_path: Path) -> None:
    between = Refusing(tmp_path, [letter(0), letter(1), letter(1), letter(2)])
    assert between.migrate() is Exit.OK
    before = between.rows()
    between.refused = tuple(mail.uid for mail in between.maildrop.mails)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert before == {"verified": 3, "duplicate": 1}
    assert between.rows() == before
    assert {reason for _, reason in kept(between)} == {"the source refused to delete it"}
    assert len(kept(between)) == 4
    assert between.all(Deleted) == []


def test_one_refusal_does_not_keep_the_others(copied: Refusing) -> None:
    copied.refused = (copied.maildrop.mails[1].uid,)
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert copied.rows() == {"released": 3, "verified": 1}
    assert kept(copied) == [(2, "the source refused to delete it")]
    assert copied.all(Deleted) == [Deleted(3)]


def test_a_source_that_says_ok_and_deletes_nothing_is_asked_once_a_run_and_named(between: Between) -> None:
    between.maildrop.remove = lambda mails: None  # type: ignore[method-assign]
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.rows() == {"released": 4}
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert sent(between, Delete) == 1
    assert [event.text for event in between.all(Notice) if "still had them: 4" in event.text]
    assert between.all(Deleted) == [Deleted(4)]


# --- the destination's side ---------------------------------------------------------------------


def test_a_copy_that_is_gone_now_keeps_its_message(copied: Refusing) -> None:
    del copied.box.kept[2]
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(copied) == [(2, "the destination does not show its copy any more")]
    assert copied.rows() == {"released": 3, "verified": 1}
    assert copied.source() == {letter(1): 1}


def test_a_copy_that_vanishes_after_it_was_verified_keeps_its_message(between: Between) -> None:
    between.on_command = at(FetchHeaders, lambda command: _lose(between, 3))
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(between) == [(3, "the destination does not show its copy any more")]
    assert between.source() == {letter(2): 1}


def test_a_copy_with_other_octets_keeps_its_message(copied: Refusing) -> None:
    one = copied.box.kept[2]
    copied.box.kept[2] = replace(one, octets=one.octets.replace(b"Text", b"Test"))
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert [row for row, _ in kept(copied)] == [2]
    assert copied.source() == {letter(1): 1}


def test_a_copy_of_ours_with_other_volatile_headers_keeps_its_message(copied: Refusing) -> None:
    one = copied.box.kept[2]
    copied.box.kept[2] = replace(one, octets=RECEIVED + one.octets)
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert [row for row, _ in kept(copied)] == [2]


def test_what_was_there_before_us_may_differ_in_volatile_headers(between: Between) -> None:
    between.store(RECEIVED + letter(1))
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.rows() == {"released": 4}
    assert between.appended() == 3
    again = between.maildrop.deliver(letter(1), b"00000002")
    assert again == b"00000002"
    assert between.migrate(delete_after_s=0) is Exit.OK, "released before, shown again"
    assert not between.source()
    assert between.appended() == 0


def test_what_was_there_before_us_and_is_another_message_now_keeps_its_message(between: Between) -> None:
    uid = between.store(RECEIVED + letter(1))
    assert between.migrate() is Exit.OK
    one = between.box.kept[uid]
    between.box.kept[uid] = replace(one, octets=one.octets.replace(b"Text", b"Test"))
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert between.source() == {letter(1): 1}


def test_twins_are_deleted_with_the_one_copy_that_serves_them(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(0), letter(1)])
    assert between.migrate() is Exit.OK
    assert between.rows() == {"verified": 2, "duplicate": 1}
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.rows() == {"released": 3}
    [read] = [one for one in between.sent if isinstance(one, ReadBack)]
    assert sorted(read.uids) == [1, 2], "one copy is read once"


def test_twins_are_kept_together_when_their_copy_is_gone(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(0), letter(1)])
    assert between.migrate() is Exit.OK
    del between.box.kept[1]
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert [row for row, _ in kept(between)] == [1, 2]
    assert between.source() == {letter(0): 2}


def test_a_duplicate_by_message_id_alone_with_other_content_is_kept(tmp_path: Path) -> None:
    one, other = (letter(n, message_id=b"<same@example.org>") for n in (0, 1))
    between = Between(tmp_path, [one, other])
    assert between.migrate(dedupe="message-id", delete_after_s=0) is Exit.SET_ASIDE
    assert kept(between) == [(2, "the message it is a duplicate of has other content")]
    assert between.source() == {other: 1}


def _lose(between: Between, uid: int) -> None:
    del between.box.kept[uid]


class Unsticky(MemoryMailbox):
    """UIDs that another session may know under other numbers."""

    def status(self) -> MailboxStatus:
        return replace(super().status(), has_sticky_uids=False)


def test_where_uids_do_not_last_only_what_this_run_proved_is_deleted(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0)], make_mailbox=Unsticky)
    assert between.migrate() is Exit.OK
    between.maildrop.deliver(letter(1))
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(between) == [(1, "the destination's UIDs do not last")]
    assert between.source() == {letter(0): 1}


def test_a_copy_without_a_uid_keeps_its_message(copied: Refusing) -> None:
    """The folder was made anew without it: every UID is void, and it was not found by its content."""
    del copied.box.kept[2]
    copied.box.uidvalidity += 1
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(copied) == [(2, "its copy could not be found again at the destination")]
    assert copied.rows() == {"released": 3, "verified": 1}


@pytest.mark.parametrize("is_gone", [False, True])
def test_a_folder_that_is_replaced_during_the_run_deletes_nothing_before_it_was_looked_at_again(
    copied: Refusing, is_gone: bool
) -> None:
    def replace_folder(command: OpenMailbox) -> None:
        if command.lane == 1 and is_gone:
            del copied.server.mailboxes[OLD]
        elif command.lane == 1:
            copied.box.uidvalidity += 1

    copied.on_command = at(OpenMailbox, replace_folder, times=2)
    code = copied.migrate(delete_after_s=0)
    if is_gone:
        assert copied.source().total() == 4
        assert code is Exit.SET_ASIDE
    else:
        assert code is Exit.OK
        assert copied.rows() == {"released": 4}
    first = next(at for at, one in enumerate(copied.sent) if isinstance(one, OpenMailbox) and one.lane == 1)
    assert not any(isinstance(one, Delete) for one in copied.sent[:first])


# --- what a session served and nobody has -------------------------------------------------------


def test_a_message_that_was_served_and_refused_is_kept_safe_before_quit(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(1, body=b"x" * 500)], append_limit=300)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert between.rows() == {"released": 1, "set aside": 1}
    between.server.append_limit = None
    assert between.migrate() is Exit.OK
    assert between.stored().total() == 2


def test_nothing_is_deleted_when_a_refused_message_cannot_be_kept_safe(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(1, body=b"x" * 500)], append_limit=300)
    fetches: list[int] = []

    def refuse_third(command: Fetch) -> None:
        fetches.append(command.ref.number)
        if len(fetches) > 2:
            raise MessageError("-ERR")

    between.on_command = at(Fetch, refuse_third, times=99)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert sent(between, Delete) == 0
    assert any("could not be kept safe" in event.text for event in between.all(Notice))
    assert not any(isinstance(one, CloseSource) and one.quit for one in between.sent)
    assert between.source().total() == 2


def _release(run: Run, *values: Any) -> tuple[list[str], list[int]]:
    """What ``release`` asks, given these answers in order, and which rows it marks."""
    asked: list[str] = []
    steps = release(run)
    answers = iter(values)
    try:
        commands = next(steps)
        while True:
            asked += [type(command).__name__ for command in commands]
            commands = steps.send(Outcome(commands[0], next(answers)))
    except StopIteration as end:
        return asked, list(end.value)


def test_the_connection_of_the_gate_is_closed_before_the_source_is_told_to_quit() -> None:
    run = Run(Policy(delete_after_s=0), lambda event: None)
    asked, marked = _release(run, NOW, (3, 30), [], None, [], None)
    assert (asked, marked) == (["Now", "Ask", "Ask", "OpenDest", "Ask", "CloseDest"], [])


def test_a_message_served_and_not_listed_any_more_makes_every_deletion_unsafe() -> None:
    run = Run(Policy(delete_after_s=0), lambda event: None)
    row = Checkpoint(1, b"u", 10, Stage.LISTED)
    asked, marked = _release(run, NOW, (3, 30), [Work(row, None)])
    assert (asked, marked) == (["Now", "Ask", "Ask"], [])


def test_a_message_that_neither_books_nor_spool_know_makes_every_deletion_unsafe() -> None:
    run = Run(Policy(delete_after_s=0), lambda event: None)
    run.loose = 1
    assert _release(run, NOW, (3, 30)) == (["Now", "Ask"], [])


def test_deletion_forbidden_asks_nothing_at_all() -> None:
    run = Run(Policy(delete_after_s=0), lambda event: None)
    run.forbid_deletion("a reason")
    assert _release(run) == ([], [])


def test_a_stop_between_two_parts_ends_the_deletion(tmp_path: Path) -> None:
    between = Refusing(tmp_path, [letter(n) for n in range(105)])
    assert between.migrate() is Exit.OK
    between.on_command = at(Delete, lambda command: between.stop.request())
    assert between.migrate(delete_after_s=0) is Exit.INTERRUPTED
    assert sent(between, Delete) == 1
    assert between.source().total() == 105, "without QUIT nothing is deleted"
