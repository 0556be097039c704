"""Nightly backups: the first one of a mailbox, and nights in which ten messages of it are new.

Every program has a directory on the disk that stays from night to night, and finds the same new messages. What a night
may cost is what the source needs to list all it has and to serve those ten, asked for in one flight: the raw listing.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import TypeVar

from . import peers, runs
from .ground import Ground
from .mail import MailSet
from .report import Beside, Row
from .runs import Measured

T = TypeVar("T")

NIGHTLY = MailSet("nightly", 50_000, median=600, spread=0.3)  # about 1 KB each, with the header
QUICK = 2_000
SAMPLE, QUICK_SAMPLE = 500, 100  # messages with which the first backup of a slow peer is measured
NEW = 10
# What a night of popferry may take: so many times the raw listing, and so much for Python's start and the state file.
TIMES, OWN_S = 1.3, 0.5


@dataclass(frozen=True)
class Side:
    """A protocol of the source, and its raw listing: (ground, port, user, numbers of what is fetched)."""

    protocol: str
    listing: str
    raw: Callable[[Ground, int, str, range], Measured]
    path: str  # of popferry's source
    peers: Sequence[peers.Peer]
    format: str  # what they are backed up to, "mbox" or "Maildir"


SIDES = (
    Side("POP3", "STAT, UIDL, LIST", runs.raw_listing, "", peers.KEEPERS, "mbox"),
    Side("IMAP", "UID and RFC822.SIZE", runs.raw_mailbox, "/INBOX", [peers.MIRROR], "Maildir"),
)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    count, sample = (QUICK, QUICK_SAMPLE) if options.quick else (NIGHTLY.count, SAMPLE)
    with Ground() as ground:
        ground.disk.chmod(0o711)  # getmail delivers nothing as root
        for side in SIDES:
            user = side.protocol.lower()
            ground.fill(NIGHTLY, user, count)
            keepers = [Keeper(ground, side)]
            keepers += [] if options.no_peers else [Keeper(ground, side, peer) for peer in _here(side.peers)]
            for keeper in list(keepers):
                if (row := _from(keepers, keeper, partial(keeper.first, user, count, sample))) is not None:
                    yield row
            there = count
            for round_trip_ms in options.round_trip:
                yield from _nights(ground, side, keepers, there, round_trip_ms, options.rounds)
                there += NEW * options.rounds


def _here(wanted: Sequence[peers.Peer]) -> Iterator[peers.Peer]:
    for peer in wanted:
        if peer.is_here:
            yield peer
        else:
            print(f"{peer.name} is not installed ({peer.package})", file=sys.stderr)


def _from(keepers: list[Keeper], keeper: Keeper, measure: Callable[[], T]) -> T | None:
    """What it measures; a peer that fails is named, and left out from then on."""
    try:
        return measure()
    except peers.Failed as error:
        if keeper.peer is None:
            raise
        print(f"going on without {keeper.what}: {error}", file=sys.stderr)
        keepers.remove(keeper)
        return None


class Keeper:
    """popferry, or a peer, with the directory of its backup."""

    def __init__(self, ground: Ground, side: Side, peer: peers.Peer | None = None) -> None:
        self._ground, self._side, self.peer = ground, side, peer
        name = peer.name if peer else "popferry"
        self.what = f"{name}, {side.protocol} to {side.format}"
        self._place = ground.disk / f"{name}-{side.protocol}"
        self._has = 0

    def first(self, user: str, count: int, sample: int) -> Row:
        """The first backup. A slow peer takes a sample, and then has a list that says it has fetched all of it."""
        if self.peer is None or not self.peer.is_slow:
            return Row(NIGHTLY.name, 0, f"{self.what}, first", count, [self.night(self._port, user, count)])
        other = f"{user}-{self.peer.name}"
        self._ground.fill(NIGHTLY, other, sample)
        run = peers.keep(self.peer, self._place.with_name(f"{other}-sample"), self._port, other, sample)
        with self._ground.source.pop3(user) as pop3:
            peers.remember(self.peer, self._place, self._port, user, pop3.uidls())
        return Row(NIGHTLY.name, 0, f"{self.what}, first, a sample", sample, [run])

    def night(self, port: int, user: str, new: int) -> Measured:
        """Takes so many messages that are new, and no other."""
        self._has += new
        if self.peer is not None:
            return peers.keep(self.peer, self._place, port, user, self._has)
        source = f"{self._side.protocol.lower()}+insecure://{user}@localhost:{port}{self._side.path}"
        run = runs.backup(self._ground, source, f"{self._side.format.lower()}:{self._place}")
        peers.check(self.what, peers.kept(self._place), self._has)
        return run

    @property
    def _port(self) -> int:
        return _port(self._ground, self._side)


def _port(ground: Ground, side: Side) -> int:
    return ground.source.pop3_port if side.protocol == "POP3" else ground.source.imap_port


def _nights(
    ground: Ground, side: Side, keepers: list[Keeper], there: int, round_trip_ms: int, rounds: int
) -> Iterator[Row]:
    """So many nights, each with its new messages, which all of them fetch in turn."""
    user = side.protocol.lower()
    name, now = NIGHTLY.name, there + NEW * rounds
    listing = Row(name, round_trip_ms, f"the raw listing ({side.listing})", now)
    limit = Row(name, round_trip_ms, f"the same, and {NEW} messages", now)
    allowed: list[Measured] = []
    beside = Beside(limit.runs, "times as long as that", is_duration=True)
    bound = Beside(allowed, f"of {TIMES} times that and {OWN_S} s", "<= 1", is_duration=True)
    rows = {one: Row(name, round_trip_ms, f"{one.what}, {NEW} new", now, beside=[beside]) for one in keepers}
    rows[keepers[0]].beside = [beside, bound]
    with ground.line(round_trip_ms, [_port(ground, side)]) as (port,):
        for _ in range(rounds):
            ground.put(islice(NIGHTLY.messages(there + NEW), there, None), user)
            last = range(there + 1, there + NEW + 1)
            listing.runs.append(side.raw(ground, port, user, range(0)))
            limit.runs.append(side.raw(ground, port, user, last))
            allowed.append(Measured(TIMES * limit.runs[-1].seconds + OWN_S))
            for keeper in list(keepers):
                if (run := _from(keepers, keeper, partial(keeper.night, port, user, NEW))) is not None:
                    rows[keeper].runs.append(run)
            there += NEW
    yield from (listing, limit, *(rows[keeper] for keeper in keepers))
