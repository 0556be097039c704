"""Scripted runs: lists of events as the engine emits them, and a face to hear them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from migrate.books import Tally
from migrate.cli.face import Face, Manner
from migrate.errors import Exit
from migrate.events import (
    Altered,
    Connected,
    Copied,
    Deleted,
    Deleting,
    Duplicate,
    Event,
    Fetched,
    Finished,
    Listed,
    SameId,
    Scanned,
    SetAside,
    Settling,
    Verified,
)

STATE = Path("/home/alice/.local/state/popferry/alice.sqlite")

BOOKS = Tally(
    listed=5004, copied=4990, there=2, duplicate=8, set_aside=2, open=2, verified=4990, altered=3, octets=312_400_000
)

WHOLE_RUN: list[Event] = [
    Connected("destination", "imap.example.org:993, TLSv1.3"),
    Scanned("INBOX", 1203, 0),
    Connected("source", "pop.example.org:995, TLSv1.3"),
    Listed(5004, 312_700_000, 5004, 0, 5004, 0),
    Fetched(1_000_000),
    Copied(812, 41_300_000),
    Verified(812, "octets"),
    Duplicate(813, "u813", 12, "u12", 345),
    Duplicate(814, "u814", None, "", 17),
    SameId(815, "u815", 14, "u14"),
    Altered(816, "u816", ("NUL became 0x80", "a final line end was added")),
    SetAside(817, "u817", "the server refused the message", "NO message too large", "Remove its attachment"),
    Copied(4178, 271_100_000),
    Verified(4178, "size"),
    SetAside(900, "", "the message could not be fetched", "-ERR no such message"),
    Listed(5004, 312_700_000, 0, 5004, 0, 0),
    Finished(BOOKS, 3, ()),
]

DELETING_RUN: list[Event] = [
    Connected("source", "pop.example.org:995, TLSv1.3"),
    Listed(1, 1000, 1, 0, 1, 0),
    Copied(1, 1000),
    Verified(1, "octets"),
    Deleting(1, 1000),
    Deleted(1),
    Finished(Tally(listed=1, copied=1, verified=1, released=1, octets=1000), 0, ()),
]

SETTLING_RUN: list[Event] = [
    *(
        Settling(float(left), 3, "an upload of an interrupted run may still arrive at the destination")
        for left in range(60, -1, -1)
    ),
    Scanned("INBOX", 12, 2),
]


class Clock:
    """A clock that moves only when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass
class Told:
    """What a face said on both streams, and the exit code."""

    out: str
    err: str
    exit: Exit


def tell(
    events: Sequence[Event],
    exit: Exit = Exit.OK,
    manner: Manner | None = None,
    *,
    step_s: float = 1.0,
    err: io.StringIO | None = None,
    **more: object,
) -> Told:
    """Plays the events, ``step_s`` seconds apart."""
    out, err, clock = io.StringIO(), err or io.StringIO(), Clock()
    face = Face(out, err, manner or Manner(), clock=clock, **more)  # type: ignore[arg-type]
    for event in events:
        clock.now_s += step_s
        face.hear(event)
    exit = face.end(exit, STATE)
    return Told(out.getvalue(), err.getvalue(), exit)
