"""Which row is which message: every way in which a source may name its messages."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import Exit, StateError
from migrate.model import INBOX, MessageRef, Origin, Stage
from migrate.state import State

from .support import MiniEngine, copy_all, fingerprint, intended, mail, memory_state, message, refs

A, B, C, D = (mail(name) for name in "abcd")


def stages(state: State) -> list[tuple[bytes, Stage]]:
    found = []
    for row_id in range(1, 60):
        try:
            row = state.row(row_id)
        except StateError:
            continue
        found.append((row.uid, row.stage))
    return found


def engine() -> MiniEngine:
    return MiniEngine(memory_state())


# --- UIDLs that stand for one message each ----------------------------------------------------


def test_unknown_messages_become_listed_rows() -> None:
    state = memory_state()
    state.begin_session()
    facts = state.record_listing(refs((b"a", 10), (b"b", None)))
    assert (facts.messages, facts.octets, facts.new, facts.open, facts.unsure) == (2, 10, 2, 2, 0)
    works = state.next_work(10, 0)
    assert [(work.row.uid, work.row.octets, work.ref) for work in works] == [
        (b"a", 10, MessageRef(b"a", 1, 10)),
        (b"b", None, MessageRef(b"b", 2, None)),
    ]
    assert not any(work.is_unsure for work in works)


def test_a_second_listing_of_the_same_messages_changes_nothing() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 10), (b"b", 20)))
    before = state.image()
    facts = state.record_listing(refs((b"b", 20), (b"a", 10)))
    assert (facts.new, facts.open, facts.vanished) == (0, 2, 0)
    assert state.image() == before
    assert [work.ref.number for work in state.next_work(10, 0) if work.ref] == [2, 1]


def test_done_messages_are_no_work() -> None:
    play = engine()
    play.session([(b"a", A), (b"b", B)])
    play.session([(b"a", A), (b"b", B)])
    assert play.uploads == [A, B]
    assert play.fetches == 2
    facts = play.state.record_listing(refs((b"a", len(A)), (b"b", len(B))))
    assert (facts.done, facts.open, facts.new) == (2, 0, 0)


def test_a_message_that_left_open_is_gone_and_comes_back_listed() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 10), (b"b", 20)))
    facts = state.record_listing(refs((b"a", 10)))
    assert (facts.vanished_open, facts.vanished) == (1, 1)
    assert state.mark_vanished() == 1
    assert stages(state) == [(b"a", Stage.LISTED), (b"b", Stage.GONE)]
    facts = state.record_listing(refs((b"a", 10), (b"b", 20)))
    assert (facts.new, facts.open, facts.vanished) == (0, 2, 0)
    assert stages(state) == [(b"a", Stage.LISTED), (b"b", Stage.LISTED)]


def test_an_empty_listing_says_how_much_open_work_vanished() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 10), (b"b", 20)))
    facts = state.record_listing([])
    assert (facts.messages, facts.vanished_open) == (0, 2)
    assert state.mark_vanished() == 2
    assert state.tally().gone == 2


def test_a_copied_message_that_left_the_source_is_not_gone() -> None:
    play = engine()
    play.session([(b"a", A)])
    facts = play.state.record_listing([])
    assert (facts.vanished_open, facts.vanished) == (0, 1)
    assert play.state.mark_vanished() == 0
    assert play.state.tally().copied == 1


def test_a_releasing_row_that_is_not_listed_any_more_was_released() -> None:
    play = engine()
    play.session([(b"a", A), (b"b", B)])
    rows = [play.state.row(1), play.state.row(2)]
    play.state.commit([tuple(row._replace(stage=Stage.RELEASING) for row in rows)])
    play.state.record_listing(refs((b"b", len(B))))
    assert play.state.mark_vanished() == 0
    assert stages(play.state) == [(b"a", Stage.RELEASED), (b"b", Stage.RELEASING)]


def test_a_released_message_that_shows_again_is_releasable_and_never_copied() -> None:
    play = engine()
    play.session([(b"a", A)])
    play.state.commit([(play.state.row(1)._replace(stage=Stage.RELEASING),)])
    play.state.commit([(play.state.row(1)._replace(stage=Stage.RELEASED),)])
    play.state.begin_session()
    play.state.record_listing(refs((b"a", len(A))))
    assert play.state.next_work(10, 0) == []
    [work] = play.state.releasable(10, 0, 1000)
    assert (work.row.stage, work.ref) == (Stage.RELEASED, MessageRef(b"a", 1, len(A)))


def test_a_spooled_message_is_work_without_the_listing() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", len(A))))
    row = state.row(1)
    state.spool(1, message(A))
    state.commit([(row._replace(is_spooled=True, fingerprint=fingerprint(A)),)])
    facts = state.record_listing([])
    assert facts.vanished_open == 0
    assert state.mark_vanished() == 0
    [work] = state.next_work(10, 0)
    assert work.ref is None
    assert state.spooled(work.row.id).data == A


def test_work_comes_in_pieces_by_id() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs(*((b"u%d" % i, 10) for i in range(7))))
    state.commit([(state.row(3)._replace(stage=Stage.SET_ASIDE, reason="too large"),)])
    first = state.next_work(4, 0)
    rest = state.next_work(4, first[-1].row.id)
    assert [work.row.id for work in first + rest] == [1, 2, 3, 4, 5, 6, 7]


def test_a_number_of_messages_is_never_given_twice() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 1)))
    keep = copy_all(state, (state.row(1), A))[0]
    state.record_listing(refs((b"x", 1)))
    state.bind(MessageRef(b"x", 1, 1), keep, state.row(2))
    state.record_listing(refs((b"c", 1)))
    assert stages(state)[-1] == (b"c", Stage.LISTED)
    with pytest.raises(StateError):
        state.row(2)
    assert state.row(3).uid == b"c"


def test_a_listed_size_beyond_all_numbers_is_taken() -> None:
    state = memory_state()
    state.begin_session()
    assert state.record_listing(refs((b"a", 10**30))).new == 1
    assert state.record_listing(refs((b"a", 10**30))).unsure == 0


# --- UIDLs that tell nothing ------------------------------------------------------------------


def test_two_new_messages_with_one_uidl_are_both_copied_once() -> None:
    play = engine()
    play.session([(b"a", A), (b"a", B)])
    assert sorted(play.uploads) == sorted([A, B])
    assert play.state.tally().copied == 2
    play.session([(b"a", A), (b"a", B)])
    play.session([(b"a", B), (b"a", A)])
    assert len(play.uploads) == 2
    assert play.state.tally().listed == 2


def test_repeated_uidls_are_always_unsure_and_in_the_books_at_once() -> None:
    state = memory_state()
    state.begin_session()
    facts = state.record_listing(refs((b"a", 10), (b"a", 20), (b"b", 30)))
    assert (facts.new, facts.open, facts.unsure, facts.messages) == (3, 1, 2, 3)
    assert state.tally().open == 3
    assert [work.is_unsure for work in state.next_work(9, 0)] == [False, True, True]


def test_identical_messages_with_one_uidl_keep_a_row_each() -> None:
    play = engine()
    play.session([(b"a", A), (b"a", A)])
    assert play.uploads == [A, A]
    play.session([(b"a", A), (b"a", A)])
    assert play.uploads == [A, A]
    assert play.state.tally().listed == 2


def test_one_of_two_messages_with_one_uidl_was_deleted() -> None:
    play = engine()
    play.session([(b"a", A), (b"a", B)])
    for rest in ([(b"a", B)], [(b"a", A)]):
        play.session(rest)
        assert len(play.uploads) == 2
        assert play.state.tally().copied == play.state.tally().listed == 2


def test_a_uidl_reused_by_another_message_is_a_message_of_its_own() -> None:
    play = engine()
    play.session([(b"a", A)])
    play.session([(b"a", B + b"longer\r\n")])
    assert len(play.uploads) == 2
    play.session([(b"a", B + b"longer\r\n")])
    assert len(play.uploads) == 2
    assert play.state.tally().copied == play.state.tally().listed == 2
    assert play.state.is_listed(2)
    assert not play.state.is_listed(1)


def test_a_source_without_uidls_copies_each_message_once() -> None:
    play = engine()
    play.session([(b"", A), (b"", B), (b"", C)])
    assert play.uploads == [A, B, C]
    play.session([(b"", A), (b"", B), (b"", C)])
    play.session([(b"", B), (b"", C)])  # the first was deleted: every number moved
    play.session([(b"", B), (b"", C), (b"", D)])
    assert play.uploads == [A, B, C, D]
    assert play.state.tally().copied == play.state.tally().listed == 4


def test_without_uidls_an_interrupted_run_goes_on_where_it_was() -> None:
    play = engine()
    play.session([(b"", A), (b"", B), (b"", C), (b"", D)], stop_after=2)
    assert play.state.tally().open == 2
    play.session([(b"", A), (b"", B), (b"", C), (b"", D)])
    assert play.uploads == [A, B, C, D]
    assert play.state.tally().listed == 4


def test_without_uidls_a_message_that_left_before_we_had_it_is_gone() -> None:
    play = engine()
    play.session([(b"", A), (b"", B), (b"", C), (b"", D)], stop_after=3)
    play.session([(b"", A), (b"", B), (b"", C)])
    assert play.uploads == [A, B, C]
    tally = play.state.tally()
    assert (tally.listed, tally.copied, tally.gone, tally.open) == (4, 3, 1, 0)


def test_without_uidls_a_row_that_was_kept_for_one_message_serves_another() -> None:
    same = [mail(name) for name in "wxyz"]  # one size: a place is given to the wrong message first
    play = engine()
    play.session([(b"", data) for data in same], stop_after=3)
    assert play.state.row(4).stage is Stage.LISTED
    play.session([(b"", data) for data in same])
    assert play.uploads == same
    tally = play.state.tally()
    assert (tally.listed, tally.copied, tally.gone) == (4, 4, 0)


def test_only_the_listed_size_changed_and_the_message_is_the_same() -> None:
    read = mail("a", "Status: RO\r\n")
    play = engine()
    play.session([(b"a", A)])
    facts = play.state.record_listing(refs((b"a", len(read))))
    assert (facts.unsure, facts.new, facts.done) == (1, 0, 0)
    play.session([(b"a", read)])
    assert play.uploads == [A]
    assert play.state.row(1).octets == len(read)
    play.session([(b"a", read)])
    assert play.fetches == 2  # once each: the new size is known now
    assert play.state.tally().listed == 1


def test_renamed_messages_keep_their_rows() -> None:
    play = engine()
    play.session([(b"a", A), (b"b", B)])
    play.session([(b"x", A), (b"y", B), (b"z", C)])
    assert play.uploads == [A, B, C]
    assert stages(play.state) == [(b"x", Stage.VERIFIED), (b"y", Stage.VERIFIED), (b"z", Stage.VERIFIED)]


def test_unsure_messages_can_be_released_only_after_this_session_looked_at_them() -> None:
    play = engine()
    play.session([(b"", A), (b"", B)])
    play.state.begin_session()
    play.state.record_listing(refs((b"", len(A)), (b"", len(B))))
    assert play.state.releasable(10, 0, 10**9) == []
    assert play.state.count_releasable(10**9) == (0, 0)
    play.session([(b"", B), (b"", A)])
    works = play.state.releasable(10, 0, 10**9)
    assert [(work.row.id, work.ref.number) for work in works if work.ref] == [(1, 2), (2, 1)]
    assert play.state.count_releasable(10**9) == (2, len(A) + len(B))


def test_what_is_not_old_enough_is_not_releasable() -> None:
    play = engine()
    play.session([(b"a", A)])
    assert play.state.releasable(10, 0, 999) == []
    assert len(play.state.releasable(10, 0, 1000)) == 1
    assert play.state.releasable(10, 1, 1000) == []


def test_a_duplicate_is_as_old_as_the_copy_that_serves_it() -> None:
    play = engine()
    play.session([(b"a", A)])
    play.state.record_listing(refs((b"a", len(A)), (b"b", len(A))))
    twin = play.state.row(2)._replace(
        stage=Stage.DUPLICATE, origin=Origin.TWIN, twin=1, fingerprint=fingerprint(A), mailbox=INBOX
    )
    play.state.commit([(twin,)])
    assert [work.row.id for work in play.state.releasable(10, 0, 1000)] == [1, 2]
    assert play.state.releasable(10, 0, 999) == []


def test_retrieved_and_not_yet_safe_messages_are_named() -> None:
    state = memory_state()
    session = state.begin_session()
    state.record_listing(refs((b"a", 1), (b"b", 1), (b"c", 1), (b"d", 1)))
    state.commit([(intended(state.row(1), A, session), intended(state.row(2), B, session - 1))])
    copy_all(state, (state.row(3), C), session=session)
    aside = state.row(4)._replace(stage=Stage.SET_ASIDE, fetched_session=session, is_spooled=True)
    state.commit([(aside,)])
    assert [(work.row.id, work.ref) for work in state.retrieved_unsafe(session)] == [(1, MessageRef(b"a", 1, 1))]


def test_a_message_of_the_listing_is_bound_to_one_row_only() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 1), (b"b", 1)))
    with pytest.raises(StateError) as caught:
        state.bind(MessageRef(b"b", 2, 1), state.row(1), state.row(2))
    assert caught.value.exit is Exit.UNEXPECTED
    with pytest.raises(StateError):
        state.bind(MessageRef(b"q", 9, 1), state.row(1), state.row(2))


def test_what_a_placeholder_kept_in_the_spool_goes_to_the_row_of_its_message() -> None:
    state = memory_state()
    session = state.begin_session()
    state.record_listing(refs((b"a", 10), (b"b", 10)))
    keep = intended(state.row(1), A, session)
    state.commit([(keep,)])
    state.record_listing(refs((b"x", 10)))
    row = state.row(3)
    state.spool(3, message(A))
    row = row._replace(is_spooled=True, fingerprint=fingerprint(A))
    state.commit([(row,)])
    state.bind(MessageRef(b"x", 1, 10), keep, row)
    assert state.spooled(1).data == A
    with pytest.raises(StateError):
        state.row(3)


def test_a_split_message_has_a_row_of_its_own() -> None:
    state = memory_state()
    state.begin_session()
    state.record_listing(refs((b"a", 10)))
    new = state.split(MessageRef(b"a", 1, 12))
    assert state.row(new.id) == new
    assert (new.uid, new.octets, new.stage) == (b"a", 12, Stage.LISTED)
    assert state.is_listed(new.id)
    assert not state.is_listed(1)


# --- any history ------------------------------------------------------------------------------

# Each of another size: a UIDL used again for a message of the same size cannot be told from a listing.
NAMES = [mail("p" * length) for length in (1, 2, 3, 4)]
LISTINGS = st.lists(st.tuples(st.sampled_from([b"", b"u", b"v"]), st.sampled_from(NAMES)), max_size=5)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(LISTINGS, st.none() | st.integers(0, 4)), min_size=1, max_size=5))
def test_no_history_of_listings_loses_a_message_or_unbalances_the_books(
    history: list[tuple[list[tuple[bytes, bytes]], int | None]],
) -> None:
    play = engine()
    for listing, stop_after in history:
        play.session(listing, stop_after=stop_after)
        assert play.state.tally().balances
    last = [data for _, data in history[-1][0]]
    play.session(history[-1][0])
    for data in set(last):
        assert play.uploads.count(data) >= last.count(data)
    before = list(play.uploads)
    play.session(history[-1][0])
    assert play.uploads == before
    assert play.state.tally().open == 0
    assert play.state.tally().listed == len(stages(play.state))


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(NAMES), max_size=6), st.lists(st.integers(0, 5), max_size=4))
def test_without_uidls_nothing_is_copied_twice(maildrop: list[bytes], kills: list[int]) -> None:
    play = engine()
    for kill in kills:
        play.session([(b"", data) for data in maildrop], stop_after=kill)
    play.session([(b"", data) for data in maildrop])
    assert sorted(play.uploads) == sorted(maildrop)
    assert play.state.tally().copied == play.state.tally().listed == len(maildrop)
