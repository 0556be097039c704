"""Real processes, sockets, files and a real Dovecot: killed with SIGKILL at named points and at random times.

Afterwards a run without a fault must find and finish everything.

    python -m tests.faults.processes [--full] [--seed N] [PART...]
    python -m tests.faults.processes --replay 'deletion|7|commit(intended) #3: durable'
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence

from .account import read_text
from .conditions import conditions
from .ground import Case, Ground, merged, play_all
from .nursery import Nursery
from .points import KILLED, base_name, chosen, points_of
from .profiles import PROFILES, Profile, profile_named, small_messages
from .report import Report

POINTS = 120  # of each profile
QUICK_PROFILES = 2
FULL_SEEDS = 1
RANDOM, FULL_RANDOM = 100, 300  # kills at random times
RANDOM_KILLS = 6  # of one account, at most
RANDOM_MESSAGES = 60
LONGEST_S = 0.5  # such a migration takes a little longer

# --- named points -------------------------------------------------------------------------------


def killed_at(
    ground: Ground, profile: Profile, seed: int, points: Sequence[str], kills: list[str], *, is_thorough: bool = False
) -> Case:
    """Runs that are killed at these points, one after the other, and a last one that is not."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        for point in points:
            account.wait_for_servers()
            order = account.order(kill=point)
            code = nursery.run(order)
            if code == KILLED:
                kills.append(point)
            elif code != 0:
                return [f"exit code {code}: {read_text(order.err)[-300:]}"]
            if wrong := account.after_fault(order):
                return wrong
        wrong = account.finish_twice(nursery) if is_thorough else account.finish(nursery)
        if not wrong:
            account.remove()
        return wrong

    return case


def named(full: bool, seed: int) -> Report:
    """SIGKILL at named points."""
    report = Report("SIGKILL at named points")
    kills: list[str] = []
    began = time.monotonic()
    with Ground() as ground:
        report.cases, report.violations = play_all(_named_cases(ground, full, seed, kills))
    report.notes.append(
        f"{len(kills)} kills at {len(set(kills))} different points of {len({base_name(p) for p in kills})} kinds,"
        f" {time.monotonic() - began:.0f} s"
    )
    return report


def _named_cases(ground: Ground, full: bool, seed: int, kills: list[str]) -> Iterator[tuple[str, Case]]:
    for profile in PROFILES if full else PROFILES[:QUICK_PROFILES]:
        for number in range(seed, seed + (FULL_SEEDS if full else 1)):
            rng = random.Random(f"{profile.name}:{number}")
            points = chosen(points_of(ground, profile, number), POINTS, rng)
            again = points_of(ground, profile, number, "imap-0 APPEND #2: answer unread")
            for count, point in enumerate(points):
                # Every third recovery is killed too.
                both = [point, rng.choice(again)] if count % 3 == 0 else [point]
                name = "|".join((profile.name, str(number), *both))
                yield name, killed_at(ground, profile, number, both, kills, is_thorough=count % 8 == 0)


# --- random times -------------------------------------------------------------------------------


def at_random(full: bool, seed: int) -> Report:
    """SIGKILL at random times."""
    report = Report("SIGKILL at random times")
    kills: list[float] = []
    began = time.monotonic()
    wanted = FULL_RANDOM if full else RANDOM

    def cases() -> Iterator[tuple[str, Case]]:
        for number in itertools.count(seed):
            if len(kills) >= wanted:
                return
            profile = PROFILES[number % len(PROFILES)]
            yield f"random|{profile.name}|{number}", _at_random(ground, profile, number, kills)

    with Ground() as ground:
        report.cases, report.violations = play_all(cases())
    report.notes.append(f"{len(kills)} kills of {report.cases} migrations, {time.monotonic() - began:.0f} s")
    return report


def _at_random(ground: Ground, profile: Profile, seed: int, kills: list[float]) -> Case:
    """Runs killed after a random time each, until one was quicker; and a last one."""

    def case(nursery: Nursery) -> list[str]:
        rng = random.Random(seed)
        account = ground.account(profile, seed, small_messages(seed, RANDOM_MESSAGES))
        for _ in range(RANDOM_KILLS):
            account.wait_for_servers()
            order = account.order()
            victim = nursery.start(order)
            after_s = rng.uniform(0.0, LONGEST_S)
            if not victim.has_moved(after_s):
                victim.kill()
            code = victim.end()
            if code not in (KILLED, 0):
                return [f"exit code {code}: {read_text(order.err)[-300:]}"]
            if wrong := account.after_fault(order):
                return wrong
            if code == 0:
                break
            kills.append(after_s)
        wrong = account.finish(nursery)
        if not wrong:
            account.remove()
        return wrong

    return case


# --- the programme ------------------------------------------------------------------------------

PARTS: dict[str, Callable[[bool, int], Report]] = {"named": named, "random": at_random, "conditions": conditions}


def main(full: bool, seed: int) -> Report:
    """All parts as one report."""
    parts = [part(full, seed) for part in PARTS.values()]
    return merged("real processes: SIGKILL, clocks, disks, locks, stops", *parts)


def replay(text: str) -> list[str]:
    """What is wrong after the case of a name that ``named`` printed: profile|seed|point|..."""
    name, seed, *points = text.split("|")
    with Ground() as ground, Nursery() as nursery:
        return killed_at(ground, profile_named(name), int(seed), points, [], is_thorough=True)(nursery)


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], metavar="PART")
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay")
    options = parser.parse_args()
    if options.replay:
        print("\n".join(replay(options.replay)) or "nothing is wrong")
        return
    for name in options.parts or PARTS:
        print(PARTS[name](options.full, options.seed))


if __name__ == "__main__":
    _command_line()
