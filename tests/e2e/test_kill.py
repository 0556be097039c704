"""Killed with SIGKILL at random moments, and run again: every message is there, and there once.

POPFERRY_SEED replays the moments of a run that failed; its seed stands in the output and in every message.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from migrate.model import Stage
from migrate.state import read_state
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate, large
from tests.support.relay import Relay

from .ferry import Ferry, ferry

pytestmark = [pytest.mark.dovecot, pytest.mark.slow]

FOLDER = "Old"
OPTIONS = ("--dedupe", "off", "--settle", "0.3")
MESSAGES = 1000
LAST = 4_000_000  # octets of the last message: more than any killed run may send, so that none ends by itself
KILLS = 50
EARLY_KILLS = 3  # of these while the state file is made
SHARE = 0.85  # of the octets of the other messages is what the killed runs together are to bring across
CLOCKED_S = 1.5  # the longest of the runs that are killed by the clock
PATIENCE_S = 60
SMALL = 12  # messages of the runs that are killed while the state file is made


@pytest.fixture
def seed(record_property: Callable[[str, object], None]) -> int:
    """Of the moments of this test."""
    chosen = int(os.environ.get("POPFERRY_SEED") or secrets.randbelow(1_000_000))
    record_property("seed (POPFERRY_SEED replays it)", chosen)
    print(f"POPFERRY_SEED={chosen}")
    return chosen


def kill(process: subprocess.Popen[bytes]) -> bool:
    """Whether the process was alive to be killed."""
    process.kill()
    return process.wait() == -signal.SIGKILL


def told_apart(dovecot: Dovecot, user: str) -> Counter[bytes]:
    return Counter(message.octets for message in dovecot.stored(user, FOLDER))


def differences(expected: Counter[bytes], found: Counter[bytes]) -> tuple[int, int]:
    """How many messages are missing, and how many too many."""
    return (expected - found).total(), (found - expected).total()


def test_killed_at_fifty_random_moments_everything_arrives_exactly_once(
    dovecot: Dovecot, user: str, tmp_path: Path, seed: int, record_property: Callable[[str, object], None]
) -> None:
    old, new = f"old-{user}", f"new-{user}"
    last = large(tmp_path / "last", LAST, seed=seed).read_bytes()
    loaded = [dovecot.served(octets) for octets in (*generate(seed, MESSAGES - 1), last)]
    dovecot.deliver_many(old, loaded)
    migration = ferry(tmp_path / "state.sqlite", dovecot, old, dovecot, new, FOLDER)
    rng = Random(seed)
    moments = Moments(rng, migration, dovecot.imaps_port, sum(map(len, loaded)) - LAST)

    for _ in range(EARLY_KILLS):
        kill_while_the_state_is_made(migration, rng)
    for number in range(KILLS - EARLY_KILLS):
        moments.run_and_kill(number)

    seen = {stage.value: count for stage, count in moments.seen.items()}
    record_property("kills that left messages at this stage", seen)
    record_property("messages copied before the last kill", moments.copied)
    assert (moments.kills, moments.copied < MESSAGES) == (KILLS - EARLY_KILLS, True), seed
    assert seen.keys() >= {"listed", "intended", "verified"}, seed
    ran = migration.run(*OPTIONS)
    assert (ran.code, ran.err) == (0, ""), seed
    expected = Counter(map(dovecot.kept, loaded))
    assert differences(expected, told_apart(dovecot, new)) == (0, 0), f"(missing, too many), seed {seed}"
    assert (ran.tally["listed"], ran.tally["copied"]) == (MESSAGES, MESSAGES)
    assert migration.status()["stages"] == {"verified": MESSAGES}
    again = migration.run(*OPTIONS)
    assert (again.code, again.all("copied")) == (0, [])
    assert b"DELE" not in dovecot.commands(old)


class Moments:
    """Runs of one migration, each killed: by the clock, or when the destination was given so many octets.

    The cable to the destination carries no more than that in one run, so that no machine is too quick for the kills.
    """

    def __init__(self, rng: Random, migration: Ferry, imaps_port: int, octets: int) -> None:
        self._rng = rng
        self._migration = migration
        self._imaps_port = imaps_port
        self._octets = octets  # of all messages but the last
        self._done = 0  # of them
        self.copied = 0
        self.kills = 0
        self.seen: Counter[Stage] = Counter()  # how many kills left messages at that stage

    def run_and_kill(self, number: int) -> None:
        longest_s = self._rng.choice((PATIENCE_S, PATIENCE_S, self._rng.uniform(0.0, CLOCKED_S)))
        late_s = self._rng.choice((0.0, self._rng.uniform(0.0, 0.05)))
        with Relay(self._imaps_port, hold_sent=self._cut(number)) as cable:
            process = self._migration.through(cable.port).start(*OPTIONS)
            until = time.monotonic() + longest_s
            while not cable.is_holding.wait(0.001) and time.monotonic() < until and process.poll() is None:
                pass
            if cable.is_holding.is_set():
                is_ended(process, late_s)
            self.kills += kill(process)
        self._look()

    def _cut(self, number: int) -> int:
        """After so many octets the cable carries nothing more. The later the kill, the more may be done after it."""
        due = SHARE * self._octets * (number + 1) / KILLS - self._done
        least = SHARE * self._octets / KILLS
        return self._rng.randrange(1, int(min(2 * max(due, least), 0.9 * LAST)))

    def _look(self) -> None:
        """What the kill left: nothing, or a state file that can be read and whose books add up."""
        if not self._migration.state.exists():
            return
        with read_state(self._migration.state) as reader:
            summary = reader.summary()
        assert summary.tally.balances
        self.seen.update(stage for stage, count in summary.stages.items() if count)
        self.copied, self._done = summary.tally.copied, summary.tally.octets


def is_ended(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process ends within that time."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def appearances(process: subprocess.Popen[bytes], directory: Path) -> Iterator[set[str]]:
    """The names in the directory whenever they change, until the process ends."""
    names: set[str] = set()
    while process.poll() is None:
        found = {path.name for path in directory.iterdir()}
        if found != names:
            names = found
            yield names


def kill_while_the_state_is_made(migration: Ferry, rng: Random) -> str:
    """Kills a first run between the lock file and the finished state file, or a little later. What was there then."""
    steps = rng.randrange(2, 7)  # the first look finds nothing of the run yet
    delay_s = rng.choice((0.0, rng.uniform(0.0, 0.003), rng.uniform(0.0, 0.03)))
    directory = migration.state.parent
    process = migration.start(*OPTIONS)
    names: set[str] = set()
    for count, names in enumerate(appearances(process, directory), start=1):
        if count == steps or migration.state.name in names:
            break
    until = time.perf_counter() + delay_s
    while time.perf_counter() < until:  # a process that sleeps wakes too late for moments as short as these
        pass
    assert kill(process)
    return " ".join(sorted(path.name for path in directory.iterdir()))


@pytest.mark.parametrize("round", range(8))
def test_killed_while_the_state_file_is_made_the_next_run_begins_anew_or_goes_on(
    dovecot: Dovecot,
    user: str,
    tmp_path: Path,
    seed: int,
    round: int,
    record_property: Callable[[str, object], None],
) -> None:
    old, new = f"old-{user}", f"new-{user}"
    rng = Random(f"{seed}:{round}")
    loaded = [dovecot.served(octets) for octets in generate(seed + round, SMALL)]
    dovecot.deliver_many(old, loaded)
    (tmp_path / "of its own").mkdir()
    migration = ferry(tmp_path / "of its own" / "state.sqlite", dovecot, old, dovecot, new, FOLDER)

    left = [kill_while_the_state_is_made(migration, rng) for _ in range(2)]

    record_property("left by the kill", left)
    ran = migration.run(*OPTIONS)
    assert (ran.code, ran.err) == (0, ""), (seed, left)
    expected = Counter(map(dovecot.kept, loaded))
    assert differences(expected, told_apart(dovecot, new)) == (0, 0), (seed, left)
    assert ran.tally["copied"] == SMALL
    names = {path.name for path in migration.state.parent.iterdir()}
    assert names <= {"state.sqlite", "state.sqlite.lock", "trusted.pem"}, "nothing half-made stays"
