"""What the books record, refuse and add up."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.books import Candidate, MailboxMemory
from migrate.errors import Exit, StateError
from migrate.model import (
    INBOX,
    TRANSITIONS,
    Checkpoint,
    Fingerprint,
    MailboxName,
    MessageRef,
    Oddity,
    Origin,
    Stage,
)
from migrate.state import State
from migrate.state.checks import problems

from .support import copy_all, file_state, fingerprint, intended, mail, memory_state, refs, verified

ARCHIVE = MailboxName.parse("Archive/100%25/Été")


def listed(count: int) -> State:
    state = memory_state()
    state.begin_session()
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 1))
    state.record_listing(refs(*((b"u%d" % number, 10) for number in range(1, count + 1))))
    return state


def refusal(state: State, *rows: Checkpoint) -> StateError:
    with pytest.raises(StateError) as caught:
        state.commit([rows])
    return caught.value


# --- rows -------------------------------------------------------------------------------------


def test_a_row_comes_back_as_it_was_committed() -> None:
    state = listed(2)
    odd = Fingerprint(9, b"e" * 32, b"s" * 32, Oddity.NUL | Oddity.BARE_CR, fingerprint(b"x").key)
    row = intended(state.row(1), b"x")._replace(
        mailbox=ARCHIVE,
        fingerprint=odd,
        proof="octets, changed: NUL",
        reason="é\u202e",
        twin=2,
        verified_at=5,
        proven_run=6,
        is_spooled=True,
        uid_dest=4,
    )
    state.commit([(row,)])
    assert state.row(1) == row
    assert state.row(2) == Checkpoint(2, b"u2", 10)


@pytest.mark.parametrize("settled", [None, b"s" * 32])
@pytest.mark.parametrize("munged", [None, b"m" * 32])
def test_the_settled_and_the_munged_form_come_back_each_for_itself(settled: bytes | None, munged: bytes | None) -> None:
    state = listed(1)
    made = Fingerprint(9, b"e" * 32, settled, Oddity.EIGHT_BIT_HEADER, fingerprint(b"x").key, munged)
    row = intended(state.row(1), b"x")._replace(fingerprint=made)
    state.commit([(row,)])
    assert state.row(1) == row


def test_a_commit_takes_the_uidl_and_size_of_the_row() -> None:
    state = listed(1)
    state.commit([(state.row(1)._replace(uid=b"new", octets=99),)])
    assert (state.row(1).uid, state.row(1).octets) == (b"new", 99)


@pytest.mark.parametrize("before", list(Stage))
@pytest.mark.parametrize("after", list(Stage))
def test_only_the_legal_transitions_are_taken(before: Stage, after: Stage) -> None:
    state = listed(1)
    row = state.row(1)
    for stage in way_to(before):
        row = row._replace(stage=stage)
        state.commit([(row,)])
    if after is before or after in TRANSITIONS[before]:
        state.commit([(row._replace(stage=after),)])
        assert state.row(1).stage is after
    else:
        assert refusal(state, row._replace(stage=after)).exit is Exit.UNEXPECTED
        assert state.row(1).stage is before
        state.commit([(row._replace(reason="still usable"),)])


def way_to(goal: Stage) -> list[Stage]:
    ways: list[list[Stage]] = [[Stage.LISTED]]
    while ways[0][-1] is not goal:
        way = ways.pop(0)
        ways += [[*way, stage] for stage in sorted(TRANSITIONS[way[-1]], key=str) if stage not in way]
    return ways[0][1:]


def test_a_refused_row_takes_its_whole_transaction_with_it() -> None:
    state = listed(2)
    refusal(state, intended(state.row(1), b"a"), state.row(2)._replace(stage=Stage.VERIFIED))
    assert state.row(1).stage is Stage.LISTED


def test_a_row_that_does_not_exist_is_refused() -> None:
    state = listed(1)
    assert refusal(state, Checkpoint(99, b"x", 1)).exit is Exit.UNEXPECTED
    with pytest.raises(StateError):
        state.row(99)


def test_two_rows_cannot_claim_one_uid() -> None:
    state = listed(2)
    copy_all(state, (state.row(1), mail("a")))
    other = intended(state.row(2), mail("b"))
    state.commit([(other,)])
    claim = other._replace(stage=Stage.APPENDED, uid_dest=101)
    assert refusal(state, claim).exit is Exit.UNEXPECTED
    state.commit([(claim._replace(uidvalidity=8),)])  # another mailbox of the same name


def test_a_row_that_comes_twice_in_one_commit_ends_as_it_came_last() -> None:
    state = listed(2)
    state.commit([tuple(intended(state.row(number), b"x%d" % number) for number in (1, 2))])
    first, second = (state.row(number)._replace(stage=Stage.APPENDED, uid_dest=5) for number in (1, 2))
    state.commit([(first,), (first._replace(uid_dest=None),), (second,)])
    assert (state.row(1).uid_dest, state.row(2).uid_dest) == (None, 5)


def test_a_uid_needs_its_mailbox_and_uidvalidity() -> None:
    state = listed(1)
    refusal(state, state.row(1)._replace(stage=Stage.APPENDED, uid_dest=5))


def test_nothing_is_deleted_that_went_further_than_listed(tmp_path: Path) -> None:
    state = listed(1)
    copy_all(state, (state.row(1), mail("a")))
    database = state._db
    with pytest.raises(StateError), database.transaction() as connection:
        connection.execute("DELETE FROM message WHERE id = 1")
    assert state.row(1).stage is Stage.VERIFIED


# --- questions about rows ---------------------------------------------------------------------


def test_of_rows_that_claim_no_uid_the_proven_come_first_then_the_acknowledged() -> None:
    state = listed(7)
    rows = [intended(state.row(number), mail(str(number))) for number in range(1, 8)]
    rows[6] = rows[6]._replace(mailbox=ARCHIVE)
    state.commit([tuple(rows)])
    state.commit(
        [
            (
                rows[1]._replace(stage=Stage.APPENDED),
                rows[2]._replace(stage=Stage.APPENDED, uid_dest=50),
                rows[3]._replace(stage=Stage.SET_ASIDE),
                rows[4]._replace(stage=Stage.APPENDED, origin=Origin.THERE),
                rows[5]._replace(stage=Stage.APPENDED),
            )
        ]
    )
    state.commit([(verified(rows[5]._replace(stage=Stage.APPENDED)),)])
    assert [row.id for row in state.unplaced(INBOX)] == [6, 2, 1, 4]
    assert [row.id for row in state.unplaced(ARCHIVE)] == [7]
    assert state.unplaced(MailboxName.parse("Nowhere")) == []
    assert [row.id for row in state.awaiting_proof(10, 0)] == [3]
    assert state.awaiting_proof(10, 3) == []
    assert state.settle_open()
    assert state.open_mailboxes() == [INBOX, ARCHIVE]


def test_what_a_backup_lost_is_listed_again_where_the_source_lists_it() -> None:
    state = listed(5)
    copy_all(state, *((state.row(number), mail(str(number))) for number in range(1, 6)))
    state.commit([(state.row(3)._replace(uid_dest=None),)])  # renumbered, and not found again
    state.begin_session()
    state.record_listing(refs(*((b"u%d" % number, 10) for number in (1, 3, 4))))

    assert state.list_again(INBOX, [101, 102, 999]) == 2

    assert [state.row(number).stage for number in range(1, 6)] == [
        Stage.LISTED, Stage.VERIFIED, Stage.LISTED, Stage.VERIFIED, Stage.VERIFIED,
    ]  # fmt: skip
    row = state.row(1)
    assert (row.uid_dest, row.origin, row.proof, row.verified_at, row.proven_run) == (None, None, "", None, None)
    assert row.fingerprint is not None
    assert [work.row.id for work in state.next_work(10, 0)] == [1, 3]
    assert state.list_again(INBOX, [101]) == 0
    assert list(problems(state.database)) == []


def test_a_lost_copy_that_was_there_before_us_and_one_whose_source_was_to_be_deleted_are_listed_again() -> None:
    state = listed(3)
    copy_all(state, *((state.row(number), mail(str(number))) for number in (1, 2)))
    there = intended(state.row(3), mail("3"))._replace(stage=Stage.DUPLICATE, origin=Origin.THERE, uid_dest=50)
    state.commit([(there, state.row(2)._replace(stage=Stage.RELEASING))])

    assert state.list_again(INBOX, [50, 102]) == 2

    assert [state.row(number).stage for number in (1, 2, 3)] == [Stage.VERIFIED, Stage.LISTED, Stage.LISTED]
    assert [work.row.id for work in state.next_work(10, 0)] == [2, 3]
    assert list(problems(state.database)) == []


def test_a_duplicate_goes_with_the_copy_that_it_shared() -> None:
    """Also where the source has it alone: the row of the other would still seem to hold the copy."""
    state = listed(4)
    copy_all(state, *((state.row(number), mail("same")) for number in (1, 2)))
    twins = [
        intended(state.row(number), mail("same"))._replace(stage=Stage.DUPLICATE, origin=Origin.TWIN, twin=twin)
        for number, twin in ((3, 1), (4, 2))
    ]
    state.commit([tuple(twins)])
    state.begin_session()
    state.record_listing(refs((b"u2", 10), (b"u3", 10), (b"u4", 10)))

    assert state.list_again(INBOX, [101]) == 1

    stages = [state.row(number).stage for number in range(1, 5)]
    assert stages == [Stage.LISTED, Stage.VERIFIED, Stage.LISTED, Stage.DUPLICATE]
    assert state.row(3).twin is None
    assert [work.row.id for work in state.next_work(10, 0)] == [3]
    assert (state.tally().open, state.tally().balances) == (2, True)


@pytest.mark.parametrize("uids", [None, [b"u1", b"u2"]])
def test_what_was_told_to_be_fetched_again_is_not_skipped(uids: list[bytes] | None) -> None:
    state = listed(2)
    copy_all(state, (state.row(1), mail("1")))
    assert state.list_again(INBOX, [101]) == 1
    state.record_listing(refs((b"u1", 10), (b"u2", 10)))
    assert state.skip("another program has it", uids) == 1
    assert [state.row(number).stage for number in (1, 2)] == [Stage.LISTED, Stage.SKIPPED]


def test_what_cannot_be_read_is_not_skipped() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing([*refs((b"u1", 10)), MessageRef(b"shut", 2, None, is_fault=True)])
    assert state.skip("before the baseline", None) == 1
    assert [work.row.uid for work in state.next_work(10, 0)] == [b"shut"]


def test_counters_are_durable_and_never_repeat(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    state = file_state(path, wall=2000.0)
    assert state.begin_run(1500.0) == (1, None)
    assert (state.begin_session(), state.begin_session()) == (1, 2)
    state.record_listing(refs((b"a", 1)))
    state.commit([(state.row(1),)])
    state.close()
    state = file_state(path)
    assert state.begin_run(3000.0) == (2, 2000.0)
    assert state.begin_session() == 3
    state.close()
    state = file_state(path)
    assert state.begin_run(1.0) == (3, 3000.0)
    state.close()


# --- the destination --------------------------------------------------------------------------


def test_what_is_remembered_of_a_mailbox_comes_back() -> None:
    state = memory_state()
    assert state.mailbox(ARCHIVE) is None
    memory = MailboxMemory(2**32 - 1, 5, 9)
    state.remember_mailbox(ARCHIVE, memory)
    assert state.mailbox(ARCHIVE) == memory
    assert state.mailbox(INBOX) is None
    assert state.open_mailboxes() == [ARCHIVE]  # no row names it, but an upload of an earlier run may land there


def test_uids_are_known_by_claim_and_by_index() -> None:
    state = listed(2)
    copy_all(state, (state.row(1), mail("a")), (state.row(2), mail("b")))  # uids 101, 102
    state.index(INBOX, [(5, b"i" * 16, 10), (7, b"j" * 16, 20)])
    state.index(ARCHIVE, [(6, b"i" * 16, 10)])
    assert state.unknown_uids(INBOX, [5, 6, 7, 8, 101, 102, 103]) == [6, 8, 103]
    for uids in ([101, 102], [102, 101], [101], [5, 7], [102, 5]):
        assert state.unknown_uids(INBOX, uids) == []
    assert state.unknown_uids(MailboxName.parse("Nowhere"), [1, 2]) == [1, 2]
    state.learn(INBOX, 7, None)
    assert state.unknown_uids(INBOX, [7]) == [7]


def test_what_has_to_be_there_is_what_was_safe() -> None:
    state = listed(6)
    rows = copy_all(state, *((state.row(number), mail(str(number))) for number in range(1, 5)))  # uids 101 to 104
    again = rows[1]._replace(stage=Stage.LISTED, origin=None, uid_dest=None, proof="", verified_at=None)
    state.commit([(again,)])
    state.commit([(rows[2]._replace(uid_dest=None),)])
    appended = intended(state.row(5), mail("5"))
    for stage in (Stage.INTENDED, Stage.APPENDED):
        appended = appended._replace(stage=stage, uid_dest=105 if stage is Stage.APPENDED else None)
        state.commit([(appended,)])
    assert state.stored() == {INBOX: ([101, 104], 1)}


def test_candidates_are_rows_first_then_what_nobody_claims() -> None:
    state = listed(3)
    a, b = mail("a"), mail("b")
    index = fingerprint(a).key.index
    copy_all(state, (state.row(1), a), (state.row(2), b))
    state.index(INBOX, [(7, index, 70), (5, index, 50), (101, index, 10)])
    state.learn(INBOX, 5, b"c" * 32)
    state.learn(INBOX, 99, b"c" * 32)  # not in the index: nothing to remember
    other = b"o" * 16
    assert state.lookup(INBOX, [index, other, index]) == {
        index: [
            Candidate(state.row(1)),
            Candidate(None, 5, 50, b"c" * 32),
            Candidate(None, 7, 70, None),
        ]
    }
    assert state.lookup(ARCHIVE, [index]) == {}


def test_many_indexes_are_looked_up_by_few_statements(monkeypatch: pytest.MonkeyPatch) -> None:
    state = listed(1)
    copy_all(state, (state.row(1), mail("a")))
    index = fingerprint(mail("a")).key.index
    statements: set[str] = set()
    ask = state.database.ask

    def watched(sql: str, values: Sequence[Any] = ()) -> list[Any]:
        if sql.startswith("SELECT idx"):
            statements.add(sql)
        return ask(sql, values)

    monkeypatch.setattr(state.database, "ask", watched)
    for count in range(300):
        others = [b"%016d" % number for number in range(count)]
        assert list(state.lookup(INBOX, [*others, index])) == [index]
    assert len(statements) <= 8  # each is kept prepared


def test_rows_without_a_mailbox_are_candidates_and_listed_ones_are_not() -> None:
    state = listed(2)
    a = mail("a")
    state.commit([(state.row(1)._replace(stage=Stage.SET_ASIDE, fingerprint=fingerprint(a)),)])
    state.commit([(state.row(2)._replace(fingerprint=fingerprint(a)),)])
    found = state.lookup(INBOX, [fingerprint(a).key.index])
    assert [one.row.id for one in found[fingerprint(a).key.index] if one.row] == [1]


def test_a_changed_uidvalidity_voids_every_uid_of_the_mailbox() -> None:
    state = listed(2)
    copy_all(state, (state.row(1), mail("a")))
    elsewhere = intended(state.row(2), mail("b"))._replace(mailbox=ARCHIVE)
    state.commit([(elsewhere,)])
    state.commit([(elsewhere._replace(stage=Stage.APPENDED, uid_dest=4),)])
    state.index(INBOX, [(5, b"i" * 16, 10)])
    assert state.forget_uids(INBOX) == 1
    row = state.row(1)
    assert (row.uid_dest, row.proven_run, row.stage, row.uidnext) == (None, None, Stage.VERIFIED, 1)
    assert state.row(2).uid_dest == 4
    assert state.unknown_uids(INBOX, [5, 101]) == [5, 101]
    assert [row.id for row in state.unplaced(INBOX)] == [1]


def test_an_index_entry_that_changed_is_looked_at_again() -> None:
    state = memory_state()
    state.index(INBOX, [(5, b"i" * 16, 10)])
    state.learn(INBOX, 5, b"c" * 32)
    state.index(INBOX, [(5, b"j" * 16, 10)])
    assert state.lookup(INBOX, [b"i" * 16]) == {}
    assert state.lookup(INBOX, [b"j" * 16]) == {b"j" * 16: [Candidate(None, 5, 10, None)]}


# --- adding up --------------------------------------------------------------------------------


def test_the_tally_names_every_part() -> None:
    state = listed(9)
    data = mail("a")
    rows = [intended(state.row(number), data)._replace(uid_dest=None) for number in range(1, 10)]
    state.commit([(rows[0], rows[1], rows[2])])
    state.commit([(rows[1]._replace(stage=Stage.APPENDED), rows[2]._replace(stage=Stage.APPENDED))])
    state.commit([(verified(rows[2]._replace(stage=Stage.APPENDED))._replace(proof="octets, changed: NUL"),)])
    ends = [
        rows[3]._replace(stage=Stage.DUPLICATE, origin=Origin.THERE),
        rows[4]._replace(stage=Stage.DUPLICATE, origin=Origin.TWIN, twin=1),
        rows[5]._replace(stage=Stage.SKIPPED, origin=None),
        rows[6]._replace(stage=Stage.SET_ASIDE),
        rows[7]._replace(stage=Stage.GONE),
    ]
    state.commit([tuple(ends)])
    state.commit([(ends[0]._replace(stage=Stage.RELEASING),)])
    state.commit([(ends[0]._replace(stage=Stage.RELEASED),)])
    tally = state.tally()
    assert (tally.listed, tally.copied, tally.there, tally.duplicate) == (9, 2, 1, 1)
    assert (tally.skipped, tally.set_aside, tally.gone, tally.open) == (1, 1, 1, 2)
    assert (tally.released, tally.altered, tally.verified, tally.octets) == (1, 1, 1, 2 * len(data))
    assert tally.balances


STEP = st.tuples(st.integers(1, 4), st.sampled_from(list(Stage)), st.sampled_from([None, *Origin]), st.integers(1, 5))


@settings(max_examples=100, deadline=None)
@given(st.lists(STEP, max_size=30))
def test_the_books_always_balance(steps: list[tuple[int, Stage, Origin | None, int]]) -> None:
    state = listed(4)
    for number, stage, origin, uid in steps:
        row = intended(state.row(number), mail("a"))._replace(stage=stage, origin=origin, uid_dest=uid)
        with suppress(StateError):
            state.commit([(row,)])
        tally = state.tally()
        assert tally.balances
        assert tally.listed == 4


def test_a_hundred_thousand_messages_pass_through(tmp_path: Path) -> None:
    count = 100_000
    path = tmp_path / "s.sqlite"
    state = file_state(path)
    state.begin_run(1.0)
    state.begin_session()
    listing = refs(*((b"uidl-%08d" % number, 4000) for number in range(count)))
    assert state.record_listing(iter(listing)).new == count
    assert state.record_listing(iter(listing)).open == count
    after = 0
    while works := state.next_work(5000, after):
        after = works[-1].row.id
    assert after == count
    state.index(INBOX, [(uid, uid.to_bytes(16), 10) for uid in range(1, count)])
    assert state.unknown_uids(INBOX, range(1, count + 2)) == [count, count + 1]
    state.close()
    assert os.path.getsize(path) < 60_000_000
    state = file_state(path)
    assert state.tally().open == count
    state.close()
