"""The tables at the end of a run: what they show adds up."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from migrate.books import Tally
from migrate.cli import report

NUMBERS = st.integers(0, 10**7)
PARTS = ("copied", "there", "duplicate", "skipped", "set_aside", "gone", "open")


def shown(lines: list[str]) -> tuple[list[int], int]:
    """The numbers above the rule, and the one below it."""
    rule = next((place for place, line in enumerate(lines) if set(line.strip()) == {"-"}), 0)
    found = [re.match(r" *(-?[0-9,]+)  ", line) for line in lines]
    numbers = [int(match[1].replace(",", "")) for match in found if match]
    return numbers[:rule], numbers[rule]


@given(st.fixed_dictionaries(dict.fromkeys(PARTS, NUMBERS)), NUMBERS)
def test_the_parts_that_are_shown_add_up_to_what_was_listed(parts: dict[str, int], listed: int) -> None:
    even = Tally(listed=sum(parts.values()), **parts)
    above, below = shown(report.books(even))
    assert sum(above) == below == even.listed
    assert "unaccounted" not in "\n".join(report.books(even))
    odd = Tally(listed=listed, **parts)
    above, below = shown(report.books(odd))
    assert sum(above) == below == listed, "what is missing in the books is shown as such"
    assert ("unaccounted" in "\n".join(report.books(odd))) is not odd.balances
