"""Lives played by the real driver: its loop, its committer thread, its order of outcomes. Only the clock is ours."""

from __future__ import annotations

import selectors
from collections import deque
from collections.abc import Callable, Generator
from typing import Any
from unittest.mock import patch

from migrate.commands import Command, OpenDest, OpenSource, Outcome
from migrate.driver import Stop, loop
from migrate.engine.run import Steps
from migrate.errors import Exit
from migrate.events import Event
from migrate.stores.base import Session

from .host import Host
from .world import Clock, World

PATIENCE_S = 0.003  # of real time, for the committer, before the clock moves on


class DrivenHost(Host):
    """Its processes run under migrate.driver. Points are the steps at source and destination alone."""

    settle_s = 3.0

    def carry_on(self, world: World, engine: Steps[Exit], emit: Callable[[Event], None]) -> Generator[None, None, Exit]:
        def open_session(command: OpenSource | OpenDest) -> Session:
            return _Place(world, -1 if isinstance(command, OpenSource) else command.lane)

        clock = self.clock
        with (
            patch.object(loop, "time", _Time(clock)),
            patch.object(selectors, "DefaultSelector", lambda: _Selector(clock)),
        ):
            try:
                return loop.Driver(world.books, open_session, Stop(), emit).run(engine)
            finally:
                world.end()
        yield


class _Time:
    """The clock of the life as the module ``time``."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def time(self) -> float:
        return self._clock.wall

    def monotonic(self) -> float:
        return self._clock.monotonic


class _Selector(selectors.SelectSelector):
    """Where nothing is ready, time passes at once instead of being waited for."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[Any]:
        ready = super().select(min(timeout or 0.0, PATIENCE_S))
        if not ready and timeout:
            self._clock.advance(timeout)
        return ready


class _Place:
    """The source or a lane, as the driver sees it: a session whose commands are steps of the world."""

    def __init__(self, world: World, place: int) -> None:
        self.notices: list[tuple[str, bytes]] = []
        self._world = world
        self._place = place
        self._queue = world.queues[place] = deque()

    def submit(self, command: Command) -> None:
        self._queue.append(command)

    def turn(self) -> list[Outcome]:
        return [self._world.remote(self._place, self._queue.popleft())] if self._queue else []

    def fileno(self) -> None:
        return None

    def wants_write(self) -> bool:
        return False

    def is_ready(self) -> bool:
        return bool(self._queue)

    def close(self) -> None:
        self._queue.clear()
