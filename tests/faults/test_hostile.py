"""A part of the table of lying servers: rows that once found a fault of ours, and a sample of the others."""

from __future__ import annotations

import pytest

from . import hostile
from .hostile_play import DEADLINE_S, Row, play

# Every one of these rows has once shown a fault in the program. They stay.
FOUND = (
    "IMAP SEARCH endless",
    "IMAP SEARCH finds more each time",
    "IMAP SEARCH finds 8 million uids in one line",
    "IMAP SELECT: another UIDVALIDITY each time",
    "IMAP SELECT: UIDNEXT far too high",
    "IMAP FETCH: nothing but OK",
    "IMAP APPEND: NO, though stored, in batches",
    "POP3 LIST: size 8 EB",
    "POP3 DELE: +OK, and not deleted",
)
SAMPLE = 12  # every so manieth of the others


def test_every_row_has_a_name_of_its_own_and_they_are_enough() -> None:
    names = [row.name for row in hostile.ROWS]
    assert len(names) == len(set(names))
    assert len(names) >= 90
    assert set(FOUND) <= set(names)


def chosen() -> list[Row]:
    return [row for row in hostile.ROWS if row.name in FOUND] + [
        row for row in hostile.ROWS[::SAMPLE] if row.name not in FOUND and row.deadline_s == DEADLINE_S
    ]


@pytest.mark.parametrize("row", chosen(), ids=lambda row: row.name)
def test_a_server_that_lies_costs_no_message(row: Row) -> None:
    outcome = play(row)
    # Other tests of this process may hold memory of their own: the programme measures it in fresh ones.
    assert [wrong for wrong in outcome.violations if not wrong.startswith("memory")] == []
