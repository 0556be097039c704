"""The deletion at the source: what is asked of it and when, how many, and what the source may do against it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from migrate.commands import (
    Append,
    CloseSource,
    Command,
    Delete,
    Fetch,
    FetchHeaders,
    ListSource,
    OpenDest,
    OpenSource,
    ReadBack,
)
from migrate.errors import Exit, MessageError, StoreError
from migrate.events import Deleted, Deleting, DeletionOff, Notice

from .releasing import Refusing, at, change_rows, fails, kept, sent
from .support import Between, Crash, letter

DAY_S = 86400


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
    assert not any(isinstance(one, ReadBack) and one.lane == 1 for one in between.sent), "it was read back already"


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
    seen: list[dict[str, int]] = []
    between.on_command = at(OpenSource, lambda command: seen.append(between.rows()), times=2)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert [len(one.refs) for one in between.sent if isinstance(one, Delete)] == [100, 100, 5]
    assert seen == [{"verified": 205}, {"released": 205}], "all are recorded before the next session"
    assert sent(between, Fetch) == 205
    assert between.all(Deleted) == [Deleted(205)]


# --- how many, and when -------------------------------------------------------------------------


def test_max_delete_counts_over_all_sessions_of_a_run(between: Between) -> None:
    assert between.migrate(delete_after_s=0, max_delete=3) is Exit.OK
    assert (len(between.maildrop.deleted), between.all(Deleting)[0].messages) == (3, 3)
    assert len(between.all(Deleting)) == 1
    assert between.migrate(delete_after_s=0, max_delete=3) is Exit.OK
    assert len(between.maildrop.deleted) == 4


def test_it_is_said_how_much_max_delete_lets_go(copied: Refusing) -> None:
    assert copied.migrate(delete_after_s=0, max_delete=3) is Exit.OK
    assert copied.all(Deleting) == [Deleting(3, sum(len(letter(n)) for n in range(3)))]


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
        copied, lambda row: row._replace(verified_at=(row.verified_at or 0) - (DAY_S + 60 if row.id < 3 else 0))
    )
    assert copied.migrate(delete_after_s=DAY_S) is Exit.OK
    assert copied.rows() == {"released": 2, "verified": 2}


def test_what_a_killed_run_had_under_way_waits_for_its_days(between: Refusing) -> None:
    def die(command: Command) -> None:
        raise Crash

    between.on_command = at(ReadBack, die)
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None
    assert between.migrate(delete_after_s=30 * DAY_S) is Exit.OK  # proves it before the source is reached
    assert between.rows() == {"verified": 4}
    assert len(between.maildrop.deleted) == 0


def test_as_soon_as_verified_asks_no_clock(copied: Refusing) -> None:
    change_rows(copied, lambda row: row._replace(verified_at=(row.verified_at or 0) + 3600))
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


def test_what_is_shown_again_is_counted_for_each_session(between: Between) -> None:
    between.maildrop.remove = lambda mails: None  # type: ignore[method-assign]
    assert between.migrate(delete_after_s=0) is Exit.OK
    between.maildrop.deliver(letter(9))
    assert between.migrate(delete_after_s=0) is Exit.OK
    told = [event.text.rpartition(" ")[2] for event in between.all(Notice) if "still had them" in event.text]
    assert told == ["4.", "5."]


def test_a_message_that_took_the_place_of_a_copied_one_survives_a_source_that_deletes_what_it_served(
    tmp_path: Path,
) -> None:
    """The gate fetches it, and QUIT deletes it: it has to be in the spool by then."""
    between = Between(tmp_path, [letter(0), letter(1)])
    assert between.migrate() is Exit.OK
    other = letter(0).replace(b"Text", b"TEXT")
    between.maildrop.mails[0].octets = other
    between.maildrop.may_delete_on_fetch = True
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored()[other] == 1


def test_a_message_found_by_the_gate_alone_is_reason_enough_to_list_again(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0)])
    assert between.migrate() is Exit.OK
    other = letter(0).replace(b"Text", b"TEXT")
    between.maildrop.mails[0].octets = other
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored()[other] == 1


def test_large_messages_leave_no_temporary_file(tmp_path: Path) -> None:
    large = letter(1, body=b"x" * 9_000_000)
    between = Between(tmp_path, [letter(0), large], append_limit=1000)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert list(between.spill.iterdir()) == []
    between.server.append_limit = None
    assert between.migrate() is Exit.OK
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert list(between.spill.iterdir()) == []
    assert not between.source()
