"""Servers that make a client wait: how near popferry comes to their round trips, with one connection and with four.

Measured once: round trips are the same in every round. A run of one message is measured beside it, which tells the
pace of many from what begins and ends a run.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from . import runs
from .ground import Ground
from .mail import SETS
from .report import Beside, Row
from .runs import Measured

ROUND_TRIP_MS, QUICK_ROUND_TRIP_MS = 100, 20
QUICK_SAMPLE = 200
CONNECTIONS = (1, 4)
PACE, GAIN = ">= 0.85", ">= 3.4"
BASE = "IMAP4rev1 SASL-IR UIDPLUS ID ENABLE NAMESPACE UNSELECT CHILDREN SPECIAL-USE"


@dataclass(frozen=True)
class Rung:
    """What a server says it can, and how many round trips a message then needs."""

    name: str
    capability: str
    round_trips: int
    sample: int = 400  # messages


RUNGS = (
    Rung("LITERAL- only", f"{BASE} LITERAL-", 1, 1000),  # for each message above 4096 octets: a run's ends weigh more
    Rung("no literal extension", BASE, 1),  # the next APPEND goes out behind the literal
    Rung("lock-step", BASE.replace(" UIDPLUS", ""), 2),  # nothing tells it from hMailServer
)


def measure(options: argparse.Namespace) -> Iterator[Row]:
    for rung in RUNGS:
        with Ground(capability=rung.capability) as ground:
            yield from _measure(ground, rung, is_quick=options.quick)


def _measure(ground: Ground, rung: Rung, *, is_quick: bool) -> Iterator[Row]:
    mail = SETS["small"]
    count = QUICK_SAMPLE if is_quick else rung.sample
    round_trip_ms = QUICK_ROUND_TRIP_MS if is_quick else ROUND_TRIP_MS
    pace = "one a round trip" if rung.round_trips == 1 else f"one in {rung.round_trips} round trips"
    ground.fill(mail, mail.name, count)
    alone: list[Measured] = []
    with ground.line(round_trip_ms, [ground.source.pop3_port, ground.dest.imap_port]) as far:
        for connections in CONNECTIONS:
            option = ("--connections", str(connections))
            one = runs.popferry(ground, far, mail.name, 1, "--limit", "1", *option)
            run = runs.popferry(ground, far, mail.name, count, *option)
            waits_s = count * rung.round_trips * round_trip_ms / 1000 / connections
            beside = [
                Beside([Measured(waits_s)], f"of {pace}" + (" on each" if alone else ""), PACE),
                Beside([Measured(waits_s + one.seconds)], "of that and a run of one message"),
            ]
            if alone:
                beside.append(Beside(alone, "times one connection", GAIN))
            else:
                alone.append(run)
            what = f"popferry, {rung.name}, {connections} connection{'s' * (connections > 1)}"
            yield Row(mail.name, round_trip_ms, what, count, [run], beside)
