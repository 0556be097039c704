"""A small part of the simulated fault programme; scripts/faults plays all of it."""

from __future__ import annotations

import os
import random

import pytest

from tests.faults.simulator import describe, first_harm, play_one, random_lives, single_lives
from tests.sim.ablate import ABLATIONS
from tests.sim.faults import Fault, Kind
from tests.sim.models import PROFILES, Profile
from tests.sim.play import play

SEED = int(os.environ.get("POPFERRY_SEED", "0")) or 20261123  # scripts/faults draws others


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_migration_without_faults_is_done_in_two_runs_and_the_third_sends_nothing(profile: Profile) -> None:
    life = play(profile)
    assert life.violations == []


def test_any_single_fault_loses_and_doubles_nothing() -> None:
    lives = random.Random(SEED).sample(single_lives([SEED]), 150)
    found = {describe(life): violations for life in lives if (violations := play_one(life))}
    assert not found, f"POPFERRY_SEED={SEED} plays this again"


def test_any_two_faults_lose_and_double_nothing() -> None:
    found = {describe(life): violations for life in random_lives(150, SEED, 2) if (violations := play_one(life))}
    assert not found, f"POPFERRY_SEED={SEED} plays this again"


@pytest.mark.parametrize("rule", ABLATIONS)
def test_without_this_rule_the_simulator_sees_harm(rule: str) -> None:
    lives, harm = first_harm(rule, 7)
    assert harm, f"{lives} lives went well without it"


def test_an_upload_that_lands_after_the_settling_time_is_reported() -> None:
    """The third stated exception: a copy of a dead connection that comes too late for us to see it first."""
    profile = next(one for one in PROFILES if one.name == "no-deletion")
    points = play(profile, (), 1).commands[0]
    late = [Fault(0, point, Kind.LATE) for point, name in enumerate(points) if name == "Append"]
    lives = [play(profile, (fault,), 1) for fault in late]
    assert any(life.doubles for life in lives)
    assert all(life.reported >= 1 for life in lives if life.doubles)
