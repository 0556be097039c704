"""Runs in which one end is as slow as can be: what waits for it shows, and what does not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

from migrate.books import Books
from migrate.commands import CloseSource, Command, OpenSource, ReachSource
from migrate.errors import Exit
from migrate.state import State
from tests.sim.world import Clock, World

from .support import Between

SOURCE, DEST = -1, 0


class Slow(Between):
    """One end does nothing while there is anything else to do."""

    def __init__(self, scratch: Path, messages: list[bytes], slow: int, **server: Any) -> None:
        super().__init__(scratch, messages, **server)
        self._slow = slow

    def choice(self, places: Sequence[int]) -> int:
        """Who takes the next step."""
        return min(places, key=lambda place: (place == self._slow, place))

    def _drive(self, books: State | Books, engine: Any) -> Exit:
        self.steps: list[Command] = []
        opener, rng = cast(Any, self._open), cast(Any, self)
        world = World(cast(State, books), opener, Clock(0.0), [], rng, lambda point, step: self.steps.append(step))
        playing = world.play(engine)
        while True:
            try:
                next(playing)
            except StopIteration as end:
                return cast(Exit, end.value)

    def reaches(self) -> list[int]:
        """Which steps of the last run were the way to a session at the source."""
        return [number for number, step in enumerate(self.steps) if isinstance(step, ReachSource)]

    def session(self) -> list[type[Command]]:
        """What went to either end in the first session of the last run, from the login on."""
        kinds = [type(command) for command in self.sent]
        return kinds[kinds.index(OpenSource) : kinds.index(CloseSource)]
