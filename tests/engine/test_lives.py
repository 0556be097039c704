"""A fixed set of simulated migrations, small enough to be played for every change of the engine.

``scripts/faults`` plays tens of thousands, drawn anew each time; these are always the same, so that whoever breaks a
rule is told at once, and by the same life.
"""

from __future__ import annotations

import random

import pytest

from tests.faults.simulator import play_one, random_lives, single_lives
from tests.sim.play import play
from tests.sim.profiles import PROFILES, Profile

SEED = 20261125


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_life_without_faults_ends_well(profile: Profile) -> None:
    assert play(profile, (), SEED).violations == []


def test_lives_with_one_fault_end_well() -> None:
    lives = random.Random(SEED).sample(single_lives([SEED]), 60)
    assert {str(life): found for life in lives if (found := play_one(life))} == {}


def test_lives_with_two_faults_end_well() -> None:
    assert {str(life): found for life in random_lives(30, SEED, 2) if (found := play_one(life))} == {}
