"""The named points that a run passes, and a choice of them."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Sequence

from .ground import Ground
from .nursery import Nursery
from .profiles import Profile

KILLED = -9


def base_name(point: str) -> str:
    """A point without its number: what is done there."""
    return re.sub(r" #\d+", "", point)


def points_of(ground: Ground, profile: Profile, seed: int, first_kill: str = "") -> list[str]:
    """Every point that a run passes, in order; of a run after a kill, when one is named."""
    account = ground.account(profile, seed)
    with Nursery() as nursery:
        if first_kill:
            nursery.run(account.order(kill=first_kill))
            account.wait_for_servers()
        record = account.directory / "points"
        nursery.run(account.order(record=str(record)))
        names = record.read_text().splitlines()
    account.remove()
    return names


def chosen(names: Sequence[str], count: int, rng: random.Random) -> list[str]:
    """So many points: one of each kind first, then whichever come."""
    kinds = defaultdict(list)
    for name in names:
        kinds[base_name(name)].append(name)
    first = [rng.choice(of_kind) for of_kind in kinds.values()]
    rng.shuffle(first)
    rest = [name for name in names if name not in set(first)]
    rng.shuffle(rest)
    return (first + rest)[:count]
