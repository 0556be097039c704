"""A small part of the fault programme's real processes; all of it is ``scripts/faults``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import islice

import pytest

from . import powerloss, soak
from .conditions import clocks, disks, restored, starters
from .ground import Case, Ground, play_all
from .nursery import Nursery
from .powerloss import cut_at
from .processes import killed_at
from .profiles import profile_named
from .strace import unusable
from .syscalls import WARDS, Injection, hit, observe

pytestmark = [pytest.mark.dovecot, pytest.mark.slow]

SEED = 1


@pytest.fixture(scope="module")
def ground() -> Iterator[Ground]:
    with Ground() as here:
        yield here


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as here:
        yield here


@pytest.fixture
def strace() -> None:
    if reason := unusable():
        pytest.skip(reason)


@pytest.mark.parametrize(
    ("profile", "point"),
    [
        ("deletion", "state renamed #1"),
        ("deletion", "commit(intended) #1: durable"),
        ("deletion", "imap-0 APPEND #1: half sent"),
        ("deletion", "imap-0 APPEND #1: answer unread"),
        ("deletion", "pop3-0 DELE #1: answer read"),
        ("deletion", "pop3-0 QUIT #1: answer unread"),
        ("no uids, one at a time", "Append #3: ended"),
        ("source deletes what was fetched", "spool rename #4: done"),
        ("source deletes what was fetched", "pop3-0 QUIT #1: sent"),
        ("twins collapse", "Append #2: ended"),
        ("through files", "imap-0 APPEND #1: sent"),
    ],
)
def test_killed_at_a_named_point_the_next_run_finishes_and_nothing_is_lost_or_doubled(
    ground: Ground, nursery: Nursery, profile: str, point: str
) -> None:
    kills: list[str] = []

    wrong = killed_at(ground, profile_named(profile), SEED, [point], kills, is_thorough=True)(nursery)

    assert (wrong, kills) == ([], [point])


def some(cases: Iterator[tuple[str, Case]], step: int) -> list[tuple[str, Case]]:
    return list(islice(cases, 0, None, step))


def test_wrong_clocks_full_disks_and_restored_states_lose_and_double_nothing(ground: Ground) -> None:
    cases = [*some(clocks(ground, SEED), 5), *some(disks(ground, SEED), 6), *some(restored(ground, SEED), 4)]

    count, wrong = play_all(cases)

    assert (count, wrong) == (len(cases), [])


def test_of_eight_starters_one_runs_and_seven_are_told_so(ground: Ground, nursery: Nursery) -> None:
    cases = dict(starters(ground, SEED))

    assert cases["starters|Append #2: asked, the first goes on"](nursery) == []
    assert cases["starters|state filled #1, the first is killed"](nursery) == []


@pytest.mark.usefixtures("strace")
@pytest.mark.parametrize(
    "one",
    [
        Injection("fdatasync", "error=EIO", 9),
        Injection("pwrite64", "error=ENOSPC+", 40),
        Injection("fsync", "signal=KILL", 7),
        Injection("rename", "error=EIO+", 3),
    ],
    ids=str,
)
def test_a_system_call_that_fails_ends_the_run_and_loses_nothing(
    ground: Ground, nursery: Nursery, one: Injection
) -> None:
    ward = WARDS[0]
    names = observe(ground, ward, SEED).names
    ends: Counter[int] = Counter()

    assert hit(ground, ward.profile, SEED, one, names, ends)(nursery) == []
    assert set(ends) <= {32, -9}


@pytest.mark.usefixtures("strace")
def test_a_power_cut_leaves_every_upload_and_deletion_on_record(ground: Ground, nursery: Nursery) -> None:
    assert cut_at(ground, SEED, "Append #3: ended", [])(nursery) == []


@pytest.mark.usefixtures("strace")
def test_a_disk_that_syncs_nothing_is_noticed(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(powerloss.File, "sync", lambda self: None)

    _, wrong = play_all([("nothing is synced", cut_at(ground, SEED, "Append #3: ended", []))])

    assert wrong


def test_many_messages_are_moved_in_bounded_memory() -> None:
    wrong, figures = soak.many(3000, 100, has_deletion=True)

    assert wrong == [], figures


def test_killed_again_and_again_a_larger_migration_comes_to_its_end() -> None:
    report = soak.through_dovecot(1000, SEED, every_s=1.0)

    assert report.violations == [], report.notes
