"""The real ``run_job`` in this process, in a hurry: pauses between two tries cut short, short deadlines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

from migrate.commands import Command, Wait
from migrate.config.job import Job
from migrate.driver import Stop, loop, run_job
from migrate.driver import job as assembly
from migrate.driver.loop import Driver
from migrate.engine import walk
from migrate.errors import Exit
from migrate.events import Doubled, Event, Finished
from migrate.model import Endpoint, Policy, Secret
from migrate.stores import net
from migrate.stores.base import Channel
from migrate.stores.imap import lane
from migrate.stores.pop3 import session as pop3

PAUSE_LEAST_S = 0.9  # a shorter Wait is the settling time, which is kept
PAUSE_S = 0.01
TICK_S = 0.1
LIST_PATIENCE = 2

Wrap = Callable[[Endpoint, Channel], Channel]


class HastyDriver(Driver):
    """The driver, for which a pause of the engine's lasts a moment."""

    def _start(self, command: Command) -> None:
        if isinstance(command, Wait) and command.seconds >= PAUSE_LEAST_S:
            self._timers.append((time.monotonic() + PAUSE_S, command))
        else:
            super()._start(command)


@dataclass
class Ran:
    """How one run ended, and what it told."""

    code: Exit
    events: list[Event] = field(default_factory=list)
    took_s: float = 0.0

    @property
    def finished(self) -> Finished:
        return next(event for event in self.events if isinstance(event, Finished))

    @property
    def doubled(self) -> list[Doubled]:
        return [event for event in self.events if isinstance(event, Doubled)]


@contextmanager
def hurried(
    timeout_s: float,
    *,
    retries: int = walk.RETRIES,
    noise_limit: int = lane.NOISE_LIMIT,
    wrap: Wrap | None = None,
) -> Iterator[None]:
    """Within the block ``run_job`` makes no long pauses, and gives up a connection after ``timeout_s``.

    ``noise_limit``: octets that an IMAP server may send unasked; a smaller one lets a flood end sooner.
    """
    usual = net.connect

    def connect(endpoint: Endpoint, **more: Any) -> Channel:
        channel = usual(endpoint, **{**more, "timeout_s": timeout_s})
        return channel if wrap is None else wrap(endpoint, channel)

    with (
        patch.object(assembly, "Driver", HastyDriver),
        patch.object(loop, "TICK_S", TICK_S),
        patch.object(walk, "RETRIES", retries),
        patch.object(lane, "NOISE_LIMIT", noise_limit),
        patch.object(pop3, "LIST_PATIENCE", LIST_PATIENCE),
        patch.object(net, "connect", connect),
    ):
        yield


def run(
    source: Endpoint, dest: Endpoint, policy: Policy, state: Path, secrets: tuple[str, str], timeout_s: float
) -> Ran:
    """One run of the whole programme between two endpoints."""
    job = Job(source, dest, policy, state, timeout_s=timeout_s)
    events: list[Event] = []
    began_s = time.monotonic()
    code = run_job(job, Secret(secrets[0]), Secret(secrets[1]), events.append, Stop())
    return Ran(code, events, time.monotonic() - began_s)
