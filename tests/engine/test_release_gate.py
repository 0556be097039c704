"""The gate of deletion: which copy at the destination allows it, and what a session served and nobody has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import (
    CloseSource,
    Delete,
    Fetch,
    FetchHeaders,
    MailboxStatus,
    OpenMailbox,
    Outcome,
    ReadBack,
)
from migrate.engine.release import _unfit, release
from migrate.engine.run import Run
from migrate.errors import Exit, MessageError
from migrate.events import Notice
from migrate.model import Checkpoint, MailboxName, Policy, Stage, Work
from migrate.rules.dedupe import Digester, fingerprint
from migrate.state import open_state
from migrate.stores.memory import MemoryMailbox

from .releasing import NOW, Refusing, at, kept, sent
from .support import ACCOUNTS, OLD, Between, letter

RECEIVED = b"Received: by mx.example.org\r\n"


# --- the destination's side ---------------------------------------------------------------------


def test_a_copy_that_is_gone_now_keeps_its_message(copied: Refusing) -> None:
    del copied.box.kept[2]
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert kept(copied) == [(2, "the destination does not show its copy any more")]
    assert copied.rows() == {"released": 3, "verified": 1}
    assert copied.source() == {letter(1): 1}
    assert next(one.uids for one in copied.sent if isinstance(one, ReadBack)) == [1, 3, 4]


def test_a_copy_that_vanishes_while_it_is_read_back_keeps_its_message(copied: Refusing) -> None:
    copied.on_command = at(ReadBack, lambda command: _lose(copied, 2))
    assert copied.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert [row for row, _ in kept(copied)] == [2]
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


def test_the_proof_of_a_copy_is_recorded_also_where_its_own_message_has_left_the_source(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(0)])
    assert between.migrate() is Exit.OK
    between.maildrop.remove(between.maildrop.mails[:1])
    assert between.migrate(delete_after_s=0) is Exit.OK
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    rows = [state.row(number) for number in (1, 2)]
    state.close()
    assert [row.stage for row in rows] == [Stage.VERIFIED, Stage.RELEASED]
    assert rows[0].proven_run == 2


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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, ""),
        ({"uid_dest": None}, "its copy could not be found again at the destination"),
        ({"uidvalidity": 2}, "its copy could not be found again at the destination"),
        ({"mailbox": None}, "its copy could not be found again at the destination"),
        ({"mailbox": MailboxName(("Other",))}, "its copy could not be found again at the destination"),
        ({"fingerprint": None}, "the message it is a duplicate of has other content"),
        ({"fingerprint": fingerprint(letter(2))}, "the message it is a duplicate of has other content"),
        ({"proven_run": None}, ""),
    ],
)
def test_what_is_known_of_a_copy_decides_whether_it_may_be_looked_at(changes: dict[str, Any], reason: str) -> None:
    run = Run(Policy(delete_after_s=0), lambda event: None, number=5)
    run.mailboxes[OLD] = MailboxStatus(1, 9, 3, frozenset())
    row = Checkpoint(
        *(1, b"u", 10, Stage.VERIFIED),
        mailbox=OLD,
        uidvalidity=1,
        uid_dest=3,
        proven_run=5,
        fingerprint=fingerprint(letter(1)),
    )
    assert _unfit(run, row, row._replace(**changes)) == reason
    assert _unfit(run, row._replace(fingerprint=None), row) == "the message it is a duplicate of has other content"


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
    looks = [place for place, one in enumerate(copied.sent) if isinstance(one, OpenMailbox) and one.lane == 1]
    assert len(looks) == 2
    assert not any(isinstance(one, Delete) for one in copied.sent[: looks[1]])
    assert not any(one.create for one in copied.sent if isinstance(one, OpenMailbox) and one.lane == 1)


# --- what a session served and nobody has -------------------------------------------------------


def test_a_message_that_was_served_and_refused_is_kept_safe_before_quit(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(1, body=b"x" * 500)], append_limit=300)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert between.rows() == {"released": 1, "set aside": 1}
    spool = between.state_path.with_name(between.state_path.name + ".spool")
    assert len([one for one in spool.rglob("*") if one.is_file()]) == 1
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


@pytest.mark.parametrize("is_copied", [False, True])
def test_a_stop_between_two_parts_ends_the_deletion(tmp_path: Path, is_copied: bool) -> None:
    between = Refusing(tmp_path, [letter(n) for n in range(305)])
    assert not is_copied or between.migrate() is Exit.OK
    between.on_command = at(Delete, lambda command: between.stop.request())
    assert between.migrate(delete_after_s=0) is Exit.INTERRUPTED
    assert sent(between, Delete) <= 2, "the part under way, and no more"
    assert between.source().total() == 305, "without QUIT nothing is deleted"
