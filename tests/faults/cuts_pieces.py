"""The stream in pieces: whatever size they have, the result is that of the whole stream."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from migrate.model import Endpoint
from migrate.stores.base import Channel
from tests.fakes.haste import Ran
from tests.fakes.pieces import PieceChannel, Size

from .cuts_case import FOLDER, Migration, Rig, rig
from .report import Report

LARGEST = (3, 7, 40, 200)  # octets of a random piece, at most


@dataclass(frozen=True)
class Sizes:
    """How a stream is cut into pieces: always the same size, or random up to one."""

    most: int
    seed: int | None = None

    def __str__(self) -> str:
        return f"pieces of {self.most}" if self.seed is None else f"pieces of 1 to {self.most}, seed {self.seed}"

    def next_size(self) -> Size:
        if self.seed is None:
            return lambda: self.most
        rng = random.Random(self.seed)
        return lambda: rng.randint(1, self.most)


def all_sizes(count: int, seed: int) -> list[Sizes]:
    """Single octets, pairs, and random pieces: ``count`` in all."""
    sizes = [Sizes(1), Sizes(2)] * 4  # each with and without TLS, keeping and deleting
    return [*sizes, *(Sizes(LARGEST[index // 4 % 4], seed + index) for index in range(count - len(sizes)))]


def wrapping(sizes: Sizes) -> Callable[[Endpoint, Channel], Channel]:
    size = sizes.next_size()
    return lambda endpoint, channel: PieceChannel(channel, size)


def result(rig: Rig, sizes: Sizes | None, *, is_tls: bool, is_deleting: bool) -> tuple[object, list[str]]:
    """All that a person can see of a run afterwards, and what is wrong with it."""
    migration = Migration(rig, is_tls, is_deleting)
    try:
        ran = migration.run(wrap=None if sizes is None else wrapping(sizes))
        stored = rig.dovecot.stored(migration.new, FOLDER)
        left = [octets for _, octets in rig.dovecot.served_pop3(migration.old)]
        wrong, _ = migration.check()
        return (ran.code, ran.finished, stored, left, _told(ran)), wrong
    finally:
        migration.discard()


def _told(ran: Ran) -> list[str]:
    """Which events there were; how many messages share one is a matter of time."""
    return sorted({type(event).__name__ for event in ran.events})


def main(full: bool, seed: int, count: int = 0) -> Report:
    report = Report("streams in pieces")
    with rig() as there:
        whole: dict[tuple[bool, bool], object] = {}
        for index, sizes in enumerate(all_sizes(count or (500 if full else 50), seed)):
            is_tls, is_deleting = way = bool(index & 2), bool(index & 4)
            if way not in whole:
                whole[way], wrong = result(there, None, is_tls=is_tls, is_deleting=is_deleting)
                report.violations += [f"the whole stream: {one}" for one in wrong]
            pieces, wrong = result(there, sizes, is_tls=is_tls, is_deleting=is_deleting)
            report.cases += 1
            report.violations += [f"{sizes}: {one}" for one in wrong]
            if whole[way] != pieces:
                report.violations.append(f"{sizes}: {pieces} is not {whole[way]}")
    return report
