"""A small part of the simulated fault programme; scripts/faults plays all of it."""

from __future__ import annotations

import os
import random
from collections import deque
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.simulator import driven_lives, first_harm, parse, play_one, random_lives, single_lives
from tests.sim.ablate import ABLATIONS
from tests.sim.faults import Fault, Kind
from tests.sim.play import Player, play
from tests.sim.profiles import BY_NAME, PROFILES, Profile

SEED = int(os.environ.get("POPFERRY_SEED", "0")) or 20261123  # scripts/faults draws others


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_a_migration_without_faults_is_done_in_two_runs_and_the_third_sends_nothing(profile: Profile) -> None:
    life = play(profile)
    assert life.violations == []


def test_any_single_fault_loses_and_doubles_nothing() -> None:
    lives = random.Random(SEED).sample(single_lives([SEED]), 150)
    found = {str(life): violations for life in lives if (violations := play_one(life))}
    assert not found, f"POPFERRY_SEED={SEED} plays this again"


def test_any_two_faults_lose_and_double_nothing() -> None:
    found = {str(life): violations for life in random_lives(150, SEED, 2) if (violations := play_one(life))}
    assert not found, f"POPFERRY_SEED={SEED} plays this again"


def test_any_two_faults_lose_and_double_nothing_under_the_real_driver() -> None:
    found = {str(life): violations for life in driven_lives(100, SEED) if (violations := play_one(life))}
    assert not found, f"POPFERRY_SEED={SEED} plays this again"


@pytest.mark.parametrize("steps", range(30))
def test_a_second_machine_that_stood_still_since_any_step_doubles_nothing(steps: int, tmp_path: Path) -> None:
    player = Player(BY_NAME["two-hosts-keeping-nouids"], (), 1, tmp_path)
    first, second = (player.process(host, 0, ()) for host in player.hosts)
    deque(islice(second, steps), maxlen=0)
    deque(first, maxlen=0)
    deque(second, maxlen=0)
    assert len(player.servers.stored()) == 4
    assert player.violations == []


@pytest.mark.parametrize(
    "life",
    [
        "uidvalidity-twins 503271924 LIE@0.29 CRASH@0.40",  # a twin took the copy of one that was proven
        "folder-changes 5 LIE@0.30",  # an invented uid hid the copy that was stored under it later
        "capped 12 CUT@0.33 LIE@0.30",  # an invented uid, not yet looked at, hid another message's copy from the scan
        "folder-changes 5 LATE@0.25",  # an upload landed in the folder of an earlier run
        "plain 673096641 LAG@0.28 LAG@2.26",  # what a server showed a little later was sent again by the next run
        "single-nouids 492267077 LAG@0.29 LAG@0.46",  # the same, of a server that names no uids
        "dedupe-same-id 801193202 NO@0.41 LAG@0.43",  # a message of the same Message-ID stood at an invented uid
        "dedupe-same-id 61591824 LAG@0.36 DELAY@1.72 LAG@1.16",
        "dedupe-same-id 725214525 LIE@0.21 LATE@0.41 CRASH@1.45",  # a second copy was taken for an altered one
        "uidl-change 3 LIE@0.43 DELAY@1.28",  # a row to be sent from the spool did not take its next new name
    ],
)
def test_a_life_that_once_went_wrong_goes_well(life: str) -> None:
    assert play_one(parse(life)) == []


@pytest.mark.parametrize("rule", ABLATIONS)
def test_without_this_rule_the_simulator_sees_harm(rule: str) -> None:
    lives, harm = first_harm(rule, 7)
    assert harm, f"{lives} lives went well without it"


def test_an_upload_that_lands_after_the_settling_time_is_reported() -> None:
    """The third stated exception: a copy of a dead connection that comes too late for us to see it first."""
    profile = BY_NAME["no-deletion"]
    points = play(profile, (), 1).commands[0]
    late = [Fault(0, point, Kind.LATE) for point, name in enumerate(points) if name == "Append"]
    lives = [play(profile, (fault,), 1) for fault in late]
    assert any(life.doubles for life in lives)
    assert all(life.reported >= 1 for life in lives if life.doubles)


@pytest.mark.parametrize("killed_at", range(10, 34))
def test_a_late_upload_that_a_killed_run_saw_is_reported_by_the_next_one(killed_at: int, tmp_path: Path) -> None:
    profile = BY_NAME["no-deletion"]
    for name in ("late", "quiet"):
        (tmp_path / name).mkdir()
    player, quiet = (Player(profile, (), 1, tmp_path / name) for name in ("late", "quiet"))
    deque(quiet.process(quiet.hosts[0], 0, ()), maxlen=0)
    last = max(point for point, name in enumerate(quiet.hosts[0].commands[0]) if name == "Append")
    [host] = player.hosts
    for number, fault in enumerate(((Fault(0, last, Kind.LATE),), (), (Fault(2, killed_at, Kind.CRASH),), ())):
        deque(player.process(host, number, fault), maxlen=0)
        player.clock.advance(player.clock.settle_s * 4 if number else 0)  # it lands after the second run
    assert len(player.servers.stored()) > 4
    assert host.reported == len(player.servers.stored()) - 4
