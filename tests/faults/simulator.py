"""The simulator in the fault programme: single faults, double and triple ones, the real driver, rules switched off."""

from __future__ import annotations

import os
import random
import re
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from typing import NamedTuple

from tests.sim.ablate import ABLATIONS, SHOWN_BY, without
from tests.sim.driven import DrivenHost
from tests.sim.faults import Fault, Kind
from tests.sim.host import Host
from tests.sim.play import play
from tests.sim.profiles import BY_NAME, PROFILES, Profile

from .report import Report

SINGLE, FULL_SINGLE = 10_000, 100_000
FULL_SEEDS = 4
DOUBLE, FULL_DOUBLE = 5_000, 250_000
DRIVEN, FULL_DRIVEN = 1_000, 10_000
BATCH = 50  # lives played by one worker before it reports

DRIVER = "driver:"  # before the name of a profile: played by the real driver


class Life(NamedTuple):
    """One migration of the simulator, as it can be played again."""

    profile: Profile
    faults: tuple[Fault, ...]
    seed: int
    is_driven: bool = False  # by migrate.driver, which makes the order of steps a matter of chance

    def __str__(self) -> str:
        """What ``scripts/faults --replay '...'`` plays again."""
        faults = " ".join(f"{fault.kind.name}@{fault.run}.{fault.point}" for fault in self.faults)
        return f"{DRIVER if self.is_driven else ''}{self.profile.name} {self.seed} {faults}".rstrip()


def parse(text: str) -> Life:
    """The life of which this is the text."""
    name, seed, *faults = text.split()
    found = []
    for fault in faults:
        kind, place = fault.split("@")
        run, point = place.split(".")
        found.append(Fault(int(run), int(point), Kind[kind]))
    return Life(BY_NAME[name.removeprefix(DRIVER)], tuple(found), int(seed), name.startswith(DRIVER))


def play_one(life: Life) -> list[str]:
    """The violations of one life; an exception of the engine's own is one too."""
    try:
        return play(life.profile, life.faults, life.seed, DrivenHost if life.is_driven else Host).violations
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
        return [f"{type(error).__name__}: {error} {traceback.format_exc(limit=-2)[-200:]}"]


def _play_batch(lives: list[Life]) -> list[tuple[Life, list[str]]]:
    return [(life, found) for life in lives if (found := play_one(life))]


def _batches(lives: Iterable[Life]) -> Iterator[list[Life]]:
    stream = iter(lives)
    while batch := list(islice(stream, BATCH)):
        yield batch


def _play_all(name: str, lives: list[Life]) -> Report:
    report = Report(name, cases=len(lives))
    began = time.monotonic()
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for bad in pool.map(_play_batch, _batches(lives)):
            report.violations += [f"{life}: {'; '.join(found[:3])}" for life, found in bad]
    spent = time.monotonic() - began
    report.notes.append(f"{len(lives) / max(spent, 0.001):,.0f} lives a second")
    return report


# --- single faults ------------------------------------------------------------------------------


def single_lives(seeds: Iterable[int]) -> list[Life]:
    """Every kind of fault at every point of the first run, in every profile."""
    lives: list[Life] = []
    for seed in seeds:
        for profile in PROFILES:
            points = play(profile, (), seed).points[0]
            lives += [Life(profile, (Fault(0, point, kind),), seed) for point in range(points) for kind in Kind]
    return lives


def single(full: bool, seed: int) -> Report:
    lives = single_lives(range(seed, seed + (FULL_SEEDS if full else 1)))
    lives = random.Random(seed).sample(lives, FULL_SINGLE if full else SINGLE)
    return _play_all("simulated single faults", lives)


# --- double and triple faults -------------------------------------------------------------------


def random_lives(
    count: int, seed: int, most: int, names: Sequence[str] = (), kinds: Sequence[Kind] = tuple(Kind)
) -> list[Life]:
    """Lives with two to ``most`` faults, in the same run or in following ones, in all or the named profiles."""
    rng = random.Random(seed)
    lives: list[Life] = []
    profiles = [profile for profile in PROFILES if not names or profile.name in names]
    for _ in range(count):
        faults = []
        run = 0
        for _ in range(rng.randint(2, most)):
            faults.append(Fault(run, rng.randrange(90), rng.choice(kinds)))
            run += rng.random() < 0.7
        lives.append(Life(rng.choice(profiles), tuple(faults), rng.randrange(1 << 30)))
    return lives


def double(full: bool, seed: int) -> Report:
    lives = random_lives(FULL_DOUBLE if full else DOUBLE, seed, 3 if full else 2)
    return _play_all("simulated double and triple faults", lives)


# --- through the driver -------------------------------------------------------------------------

DRIVEN_POINTS = 30  # the steps at both servers alone


def driven_lives(count: int, seed: int) -> list[Life]:
    """Lives with one or two faults that the real driver plays."""
    rng = random.Random(seed)
    lives: list[Life] = []
    for _ in range(count):
        faults = [Fault(0, rng.randrange(DRIVEN_POINTS), rng.choice(list(Kind)))]
        if rng.random() < 0.5:
            faults.append(Fault(1, rng.randrange(DRIVEN_POINTS), rng.choice(list(Kind))))
        lives.append(Life(rng.choice(PROFILES), tuple(faults), rng.randrange(1 << 30), is_driven=True))
    return lives


def driven(full: bool, seed: int) -> Report:
    return _play_all("simulated faults through the real driver", driven_lives(FULL_DRIVEN if full else DRIVEN, seed))


# --- rules switched off -------------------------------------------------------------------------

ABLATION_LIMIT = 3000  # lives played without a rule before it counts as not needed


# What counts as harm: lost, missing, doubled; or a run that cannot come to its end.
HARM = re.compile("V[12378] ")


def first_harm(rule: str, seed: int) -> tuple[int, str]:
    """How many lives it took to see harm without this rule, and the harm; an empty text: none was seen."""
    rng = random.Random(seed)
    for count in range(1, ABLATION_LIMIT + 1):
        [life] = random_lives(1, rng.randrange(1 << 30), 2, *SHOWN_BY[rule])
        with without(rule):
            found = play_one(life)
        if any(HARM.match(text) for text in found):
            return count, f"{life}: {found[0]}"
    return ABLATION_LIMIT, ""


def ablation(full: bool, seed: int) -> Report:
    """Every rule is needed: without it something is lost, doubled or never done."""
    report = Report("rules switched off")
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        jobs = {rule: pool.submit(first_harm, rule, seed) for rule in ABLATIONS}
        for rule, job in jobs.items():
            count, harm = job.result()
            report.cases += count
            if harm:
                report.notes.append(f"{rule}: caught after {count} lives ({harm[:110]})")
            else:
                report.violations.append(f"{rule}: switched off, and {count} lives went well")
    return report


PARTS: dict[str, Callable[[bool, int], Report]] = {
    "single": single,
    "double": double,
    "driven": driven,
    "ablation": ablation,
}
