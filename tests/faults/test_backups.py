"""A small part of the programme for backups; all of it is ``scripts/faults --only backups``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from .backups import beside_case, killed_case, with_locks, without_locks
from .ground import Ground, play_all

pytestmark = [pytest.mark.dovecot, pytest.mark.slow]


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as here:
        yield here


def test_a_backup_killed_at_random_times_ends_with_each_message_once(ground: Ground) -> None:
    kills: list[float] = []

    count, wrong = play_all((f"killed|{seed}", killed_case(ground, seed, kills)) for seed in range(1, 6))

    assert (count, wrong) == (5, [])
    assert kills


def test_what_other_programs_append_meanwhile_is_not_lost_and_costs_no_message(ground: Ground) -> None:
    told: Counter[str] = Counter()
    cases = [
        (f"beside|{seed}", beside_case(ground, seed, write, told))
        for seed, write in enumerate((with_locks, without_locks), start=1)
    ]

    count, wrong = play_all(cases)

    assert (count, wrong) == (2, [])
    assert min(told["with_locks"], told["without_locks"]) > 0
