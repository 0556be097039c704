"""The proof: what is read back, what its result means for a row, and that a part which failed stops the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, cast

import pytest

from migrate.commands import Append, Command, FetchHeaders, OpenMailbox, ReadBack, SearchUids
from migrate.engine import walk
from migrate.engine.proof import CHUNK, SAMPLE
from migrate.engine.recover import NOT_SEEN_YET
from migrate.engine.verdict import DIFFERENT, MISSING, judge, set_aside
from migrate.errors import Exit, MessageError, Retry, StateError, StoreError
from migrate.events import Altered, Reconnecting, SetAside, Settling, Verified
from migrate.model import Checkpoint, Fingerprint, Flags, InternalDate, Stage, Verify
from migrate.rules.dedupe import Digester, fingerprint
from migrate.rules.fidelity import NUL_AS_80
from migrate.state import open_state
from migrate.stores.memory import Kept, MemoryMailbox

from .support import ACCOUNTS, Between, Crash, letter


def settled(octets: bytes) -> Fingerprint:
    digester = Digester(settle=True)
    digester.update(octets)
    return digester.finish()


def row(between: Between, number: int) -> Checkpoint:
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    try:
        return state.row(number)
    finally:
        state.close()


def read_back(between: Between) -> list[int]:
    return sorted(uid for command in between.sent if isinstance(command, ReadBack) for uid in command.uids)


def sized(between: Between) -> list[int]:
    commands = [one for one in between.sent if isinstance(one, FetchHeaders) and not one.fields]
    return sorted(uid for command in commands for uid in command.uids)


def after_append(between: Between, uid: int, change: Callable[[], None]) -> None:
    """Does something to the destination once, when the proof of that message begins."""
    done: list[bool] = []

    def on_command(command: Command) -> None:
        is_proof = isinstance(command, ReadBack) or (isinstance(command, FetchHeaders) and not command.fields)
        if not done and is_proof and uid in cast(ReadBack | FetchHeaders, command).uids:
            done.append(True)
            change()

    between.on_command = on_command


# --- what is read back --------------------------------------------------------------------------


def test_asked_for_it_every_message_is_read_back(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(40)])
    assert between.migrate(verify=Verify.FULL) is Exit.OK
    assert read_back(between) == list(range(1, 41))
    assert sized(between) == []
    assert {event.proof for event in between.all(Verified)} == {"octets"}
    assert row(between, 1).proof == "octets"


def test_where_deletion_is_asked_for_every_message_is_read_back(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(40)])
    assert between.migrate(delete_after_s=10**9) is Exit.OK
    assert read_back(between) == list(range(1, 41))


def test_of_the_others_all_sizes_are_compared_and_a_sample_is_read_back(tmp_path: Path) -> None:
    letters = [letter(n) for n in range(120)] + [letter(900, body=b"\0")]
    between = Between(tmp_path, letters)
    assert between.migrate() is Exit.OK
    sample = {at for at, one in enumerate(letters, 1) if fingerprint(one).exact[0] % SAMPLE == 0}
    assert 1 <= len(sample) <= 12
    assert read_back(between) == sorted({1, *sample, 121})
    assert sized(between) == sorted(set(range(1, 122)) - {1, *sample, 121})
    kinds = {event.proof: 0 for event in between.all(Verified)}
    for event in between.all(Verified):
        kinds[event.proof] += event.messages
    assert kinds == {"octets": len({1, *sample, 121}), "size": 121 - len({1, *sample, 121})}


def test_what_is_proved_by_its_size_is_not_proved_in_full(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])
    assert between.migrate() is Exit.OK
    first, second = row(between, 1), row(between, 2)
    assert (first.proof, first.proven_run, first.stage) == ("octets", 1, Stage.VERIFIED)
    assert (second.proof, second.proven_run, second.stage) == ("size", None, Stage.VERIFIED)
    assert first.verified_at is not None


def test_a_message_of_another_size_is_read_back_whole(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])

    def grow() -> None:
        one = between.box.kept[3]
        between.box.kept[3] = replace(one, octets=one.octets + b"more\r\n")

    after_append(between, 3, grow)
    assert between.migrate() is Exit.SET_ASIDE
    assert read_back(between) == [1, 3]
    assert between.one(SetAside).reason == DIFFERENT.what
    assert between.rows() == {"verified": 2, "set aside": 1}
    assert row(between, 3).uid_dest == 3, "a copy that is spoilt is remembered"


def test_a_message_that_is_not_there_is_set_aside_without_a_uid_and_sent_again_next_time(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])
    after_append(between, 3, lambda: _lose(between, 3))
    assert between.migrate() is Exit.SET_ASIDE
    assert between.one(SetAside).reason == MISSING.what
    assert between.one(SetAside).hint == MISSING.hint
    kept = row(between, 3)
    assert (kept.stage, kept.uid_dest, kept.reason) == (Stage.SET_ASIDE, None, MISSING.what)
    between.on_command = lambda command: None
    assert between.migrate() is Exit.OK
    assert between.stored() == between.source()
    assert row(between, 3).reason == ""


def _lose(between: Between, uid: int) -> None:
    del between.box.kept[uid]


def test_a_message_that_was_set_aside_is_not_tried_again_by_the_same_run(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])
    after_append(between, 3, lambda: _lose(between, 3))
    assert between.migrate(verify=Verify.FULL) is Exit.SET_ASIDE
    assert between.appended() == 3
    assert between.rows() == {"verified": 2, "set aside": 1}


def _unprove(between: Between, ids: Iterable[int], **changes: Any) -> None:
    """Back to what the books know of messages that were acknowledged and never proved."""
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    for stage in (Stage.RELEASING, Stage.DUPLICATE, Stage.LISTED, Stage.APPENDED):
        state.commit([tuple(state.row(number)._replace(stage=stage, **changes) for number in ids)])
    state.close()


def test_when_a_message_was_first_verified_is_not_changed_by_a_later_proof(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0)])
    assert between.migrate() is Exit.OK
    first = row(between, 1).verified_at
    assert first is not None
    _unprove(between, [1], verified_at=first - 5000)
    assert between.migrate() is Exit.OK
    assert (row(between, 1).stage, row(between, 1).verified_at) == (Stage.VERIFIED, first - 5000)


class NulAs80(MemoryMailbox):
    def keep(self, octets: bytes) -> bytes:
        return octets.replace(b"\0", b"\x80")


def test_a_change_that_servers_are_known_to_make_is_named_and_recorded(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(1, body=b"\0")], make_mailbox=NulAs80)
    assert between.migrate() is Exit.OK
    assert [(event.row, event.changes) for event in between.all(Altered)] == [(2, (NUL_AS_80,))]
    assert row(between, 2).proof == f"octets, changed: {NUL_AS_80}"
    assert row(between, 2).proven_run == 1
    assert row(between, 1).proof == "octets"


# --- in parts, and when something breaks --------------------------------------------------------


def test_what_earlier_runs_left_unproved_is_proved_first_and_in_parts(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(250)])
    assert between.migrate() is Exit.OK
    between.sent.clear()
    _unprove(between, range(1, 251))
    assert between.rows() == {"appended": 250}
    assert between.migrate(verify=Verify.FULL) is Exit.OK
    assert between.rows() == {"verified": 250}
    parts = [len(command.uids) for command in between.sent if isinstance(command, ReadBack)]
    assert max(parts) <= CHUNK
    assert sum(parts) == 250
    assert between.stored() == between.source()


@pytest.mark.parametrize("kind", [ReadBack, FetchHeaders])
def test_a_proof_that_is_cut_is_taken_up_again(tmp_path: Path, kind: type[Command]) -> None:
    between = Between(tmp_path, [letter(n) for n in range(5)])
    cuts: list[Command] = []

    def cut(command: Command) -> None:
        if isinstance(command, kind) and not getattr(command, "fields", ()) and not cuts:
            cuts.append(command)
            raise StoreError("cut")

    between.on_command = cut
    assert between.migrate() is Exit.OK
    assert cuts
    assert between.rows() == {"verified": 5}
    assert between.appended() == 5


class Full(Between):
    """The books refuse to record rows of one stage, or to unspool."""

    refused: Stage | None = None
    may_unspool = True

    def _drive(self, books: Any, engine: Any) -> Exit:
        commit, unspool = books.commit, books.unspool

        def refusing(batches: Any) -> None:
            if any(one.stage is self.refused for batch in batches for one in batch):
                raise StateError("the disk is full", exit=Exit.STATE_UNWRITABLE)
            commit(batches)

        def keeping(rows: Any) -> None:
            if not self.may_unspool:
                raise StateError("the disk is broken", exit=Exit.STATE_UNWRITABLE)
            unspool(rows)

        books.commit, books.unspool = refusing, keeping
        return super()._drive(books, engine)


def test_a_proof_that_cannot_be_recorded_ends_the_run_and_counts_for_nothing(tmp_path: Path) -> None:
    between = Full(tmp_path, [letter(n) for n in range(3)])
    between.refused = Stage.VERIFIED
    assert between.migrate() is Exit.STATE_UNWRITABLE
    assert between.all(Verified) == []
    assert "verified" not in between.rows()
    between.refused = None
    assert between.migrate() is Exit.OK
    assert between.stored() == between.source()


def test_a_refusal_that_cannot_be_recorded_ends_the_run(tmp_path: Path) -> None:
    between = Full(tmp_path, [letter(n) for n in range(3)])
    between.refused = Stage.SET_ASIDE
    after_append(between, 1, lambda: _lose(between, 1))
    assert between.migrate() is Exit.STATE_UNWRITABLE
    assert between.all(SetAside) == []


def test_a_spool_that_cannot_be_emptied_ends_the_run(tmp_path: Path) -> None:
    between = Full(tmp_path, [letter(n) for n in range(3)])
    between.maildrop.may_delete_on_fetch = True
    between.may_unspool = False
    assert between.migrate() is Exit.STATE_UNWRITABLE


def test_what_was_spooled_is_removed_when_it_is_proved(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])
    between.maildrop.may_delete_on_fetch = True
    assert between.migrate() is Exit.OK
    spool = between.state_path.with_name(between.state_path.name + ".spool")
    assert not [one for one in spool.rglob("*") if one.is_file()]
    assert not row(between, 1).is_spooled


def test_a_spooled_message_of_an_earlier_run_is_removed_when_it_is_proved(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)])
    between.maildrop.may_delete_on_fetch = True
    fail = StoreError("gone", retry=StateError.retry)

    def cut(command: Command) -> None:
        if isinstance(command, ReadBack | FetchHeaders):
            raise fail

    between.on_command = cut
    assert between.migrate() is not Exit.OK
    between.on_command = lambda command: None
    between.maildrop.may_delete_on_fetch = False
    assert between.migrate() is Exit.OK
    spool = between.state_path.with_name(between.state_path.name + ".spool")
    assert not [one for one in spool.rglob("*") if one.is_file()]


# --- the verdict --------------------------------------------------------------------------------


def _row(octets: bytes) -> Checkpoint:
    return Checkpoint(1, b"u", len(octets), Stage.APPENDED, fingerprint=fingerprint(octets))


def test_the_verdict_names_changes_what_is_missing_and_what_differs() -> None:
    one = letter(1)
    assert judge(_row(one), settled(one)) == ()
    odd = letter(1, body=b"\0")
    assert judge(_row(odd), settled(odd.replace(b"\0", b"\x80"))) == (NUL_AS_80,)
    assert judge(_row(one), None) is MISSING
    assert judge(_row(one), settled(one.replace(b"Text", b"Test"))) is DIFFERENT
    assert judge(_row(one), settled(letter(2))) is MISSING, "the uid was never ours"


def test_a_row_set_aside_tells_why_in_words_that_are_safe_to_show() -> None:
    row = _row(letter(1))._replace(fetched_session=3)
    aside = set_aside(row, MessageError("refused", said=b"NO \x1b[2J"), None, None)
    assert (aside.stage, aside.reason) == (Stage.SET_ASIDE, 'refused (server: "NO \\x1b[2J")')
    assert (aside.fingerprint, aside.fetched_session) == (row.fingerprint, 3)
    assert set_aside(row, MessageError("refused"), None, 4).fetched_session == 4
    assert set_aside(row, MessageError("refused"), None, None).reason == "refused"


def test_a_message_that_was_fetched_leaves_its_fingerprint_when_it_is_set_aside(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(1, body=b"x" * 500)], append_limit=300)
    assert between.migrate() is Exit.SET_ASIDE
    aside = row(between, 2)
    assert aside.fingerprint == fingerprint(letter(1, body=b"x" * 500))
    assert aside.fetched_session is not None


# --- what comes into view late ------------------------------------------------------------------


class Lagging(MemoryMailbox):
    """Takes messages and shows them when it is told to."""

    def __init__(self, **habits: Any) -> None:
        super().__init__(**habits)
        self.hidden: dict[int, Kept] = {}

    def store(self, octets: bytes, flags: Flags, internaldate: InternalDate) -> int:
        uid = super().store(octets, flags, internaldate)
        self.hidden[uid] = self.kept.pop(uid)
        return uid

    def show(self) -> None:
        self.kept.update(self.hidden)
        self.hidden.clear()


@pytest.mark.parametrize("has_uids", [True, False])
def test_a_copy_that_comes_into_view_within_the_settling_time_is_no_loss(tmp_path: Path, has_uids: bool) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)], has_uids=has_uids, make_mailbox=Lagging)
    opened = count(1)

    def show(command: Command) -> None:
        if isinstance(command, OpenMailbox) and not command.create and next(opened) == 2:
            cast(Lagging, between.box).show()

    between.on_command = show
    assert between.migrate() is Exit.OK
    assert between.rows() == {"verified": 3}
    assert between.appended() == 3
    assert between.all(SetAside) == []
    assert {event.reason for event in between.all(Settling)} == {NOT_SEEN_YET}


def test_a_killed_run_left_what_was_not_in_view_and_the_next_one_waits_for_it(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(3)], make_mailbox=Lagging)

    def die(command: Command) -> None:
        if isinstance(command, ReadBack | FetchHeaders):
            raise Crash

    between.on_command = die
    with pytest.raises(Crash):
        between.migrate()
    sent = between.appended()

    def show(command: Command) -> None:
        if isinstance(command, SearchUids):
            cast(Lagging, between.box).show()

    between.on_command = show
    assert between.migrate() is Exit.OK
    assert sent + between.appended() == 3
    assert between.stored() == between.source()
    assert between.all(Settling) != []


def test_twins_of_a_copy_that_is_not_in_view_wait_for_it(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(0), letter(0), letter(0)], make_mailbox=Lagging)
    opened = count(1)

    def show(command: Command) -> None:
        if isinstance(command, OpenMailbox) and not command.create and next(opened) == 2:
            cast(Lagging, between.box).show()

    between.on_command = show
    assert between.migrate() is Exit.OK
    assert between.rows() == {"verified": 1, "duplicate": 2}
    assert between.appended() == 1


class AddsALine(MemoryMailbox):
    def keep(self, octets: bytes) -> bytes:
        return b"X-Virus: none\r\n" + octets


def test_what_was_taken_and_refused_by_its_proof_counts_as_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A destination that has taken something and asks to slow down then is left alone for a while."""
    monkeypatch.setattr(walk, "SLOW_PAUSE_S", 0.0)
    between = Between(tmp_path, [letter(n) for n in range(5)], make_mailbox=AddsALine)
    asked: list[Command] = []

    def slow_down(command: Command) -> None:
        has_sent = any(isinstance(one, Append) for one in between.sent)
        if isinstance(command, SearchUids) and has_sent and not asked:
            asked.append(command)
            raise StoreError("too many commands", retry=Retry.LATER)

    between.on_command = slow_down
    assert between.migrate(verify=Verify.FULL) is Exit.SET_ASIDE
    assert asked
    assert len(between.all(Reconnecting)) == 1
    assert between.rows() == {"set aside": 5}
