"""The order of a listing means nothing: a source may number its messages anew in every session."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.books import MailboxMemory
from migrate.model import INBOX
from migrate.state import State
from migrate.state.listing import Listing

from .support import MiniEngine, copy_all, mail, memory_state, refs

# UIDLs that repeat, that are missing, and sizes that differ under one UIDL.
REFS = st.tuples(st.sampled_from([b"", b"a", b"b", b"c", b"d"]), st.sampled_from([10, 20, None]))
LISTINGS = st.lists(REFS, max_size=7)


def _known(listing: list[tuple[bytes, int | None]], copied: int) -> State:
    """The books after a session that listed these and copied some."""
    state = memory_state()
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 1))
    state.begin_session()
    state.record_listing(refs(*listing))
    works = state.next_work(100, 0)[:copied]
    copy_all(state, *((work.row, mail(str(work.row.id))) for work in works if not work.is_unsure))
    state.begin_session()
    return state


def _to_do(state: State) -> Counter[tuple[bytes, int | None, bool]]:
    """The messages that are left to do, without the numbers that the source gave.

    Which row of its UIDL an unsure message stands at for now means nothing: its content decides.
    """
    refs_and_doubt = [(work.ref, work.is_unsure) for work in state.next_work(100, 0)]
    return Counter((ref.uid, ref.octets, is_unsure) for ref, is_unsure in refs_and_doubt if ref is not None)


@settings(max_examples=150, deadline=None)
@given(LISTINGS, st.integers(0, 4), LISTINGS, st.data())
def test_a_listing_in_another_order_means_the_same(
    before: list[tuple[bytes, int | None]], copied: int, after: list[tuple[bytes, int | None]], data: st.DataObject
) -> None:
    turned = data.draw(st.permutations(after))
    one, other = _known(before, copied), _known(before, copied)
    assert one.record_listing(refs(*after)) == other.record_listing(refs(*turned))
    assert _to_do(one) == _to_do(other)
    assert one.mark_vanished() == other.mark_vanished()
    assert one.tally() == other.tally()


@settings(max_examples=400, deadline=None)
@given(LISTINGS, st.integers(0, 4), LISTINGS)
def test_a_listing_that_is_taken_for_plain_is_bound_as_one_that_is_looked_at_closely(
    before: list[tuple[bytes, int | None]], copied: int, after: list[tuple[bytes, int | None]]
) -> None:
    def bound(state: State) -> list[tuple[object, ...]]:
        columns = "number, uid, octets, row, is_fault, is_unsure, is_resolved"
        return list(state.database.ask(f"SELECT {columns} FROM bound ORDER BY number"))

    usual, closely = _known(before, copied), _known(before, copied)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Listing, "_is_plain", lambda listing, c: False)
        told = closely.record_listing(refs(*after))
    assert usual.record_listing(refs(*after)) == told
    assert bound(usual) == bound(closely)
    assert usual.image() == closely.image()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.sampled_from([b"", b"u", b"v"]), st.sampled_from("pqr")), max_size=6), st.data())
def test_a_maildrop_that_is_listed_in_another_order_is_not_copied_again(
    maildrop: list[tuple[bytes, str]], data: st.DataObject
) -> None:
    listing = [(uid, mail(name * (1 + "pqr".index(name)))) for uid, name in maildrop]
    engine = MiniEngine(memory_state())
    engine.session(listing)
    copied = Counter(engine.uploads)
    engine.session(data.draw(st.permutations(listing)))
    assert Counter(engine.uploads) == copied == Counter(octets for _, octets in listing)
