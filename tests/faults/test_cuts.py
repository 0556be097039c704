"""A few cuts of the wire between the real program and a real Dovecot; the programme makes hundreds."""

from __future__ import annotations

import pytest

from . import cuts, cuts_pieces

pytestmark = pytest.mark.dovecot


def test_a_wire_cut_anywhere_costs_no_message_and_no_copy() -> None:
    report = cuts.cut(full=False, seed=7, count=48)
    assert report.violations == []
    assert report.cases >= 40


def test_a_stream_in_single_octets_and_in_pairs_brings_the_same_result() -> None:
    report = cuts_pieces.main(full=False, seed=7, count=10)
    assert report.violations == []
