"""One process life of the engine, played step by step.

A *step* is one command carried out by the source, a lane of the destination or
the state file. Which of the waiting commands comes next is drawn from the
seed, within the order each session keeps. Points are counted per run.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from migrate.commands import (
    Append,
    Ask,
    CloseDest,
    CloseSource,
    Command,
    Commit,
    Instant,
    Now,
    OpenDest,
    OpenSource,
    Outcome,
    ReachSource,
    Wait,
)
from migrate.driver.committer import carry_out
from migrate.engine.run import Steps
from migrate.errors import Exit, StoreError
from migrate.state import State

from .faults import Fault, Kind
from .sessions import SimSession, WireSession

STEP_LIMIT = 20_000


class Crash(BaseException):
    """The process is dead: nothing of it runs any more."""


class World:
    """Plays one life of the engine. The servers outlive it."""

    def __init__(
        self,
        books: State,
        opener: Callable[[OpenSource | OpenDest], SimSession],
        clock: Clock,
        faults: Iterator[Fault] | list[Fault],
        rng: random.Random,
        on_step: Callable[[int, Command], None] = lambda point, command: None,
    ) -> None:
        self.books = books
        self.opener = opener
        self.clock = clock
        self.faults = {fault.point: fault.kind for fault in faults}
        self.rng = rng
        self.on_step = on_step
        self.point = 0
        self.queues: dict[int, deque[Command]] = {}  # -2 state, -1 source, others lanes
        self.sessions: dict[int, SimSession] = {}
        self.broken: dict[int, StoreError] = {}
        self.sent: list[Command] = []

    def play(self, engine: Steps[Exit]) -> Generator[None, None, Exit]:
        """Step by step to what the engine returns. Raises Crash when a fault kills it."""
        try:
            commands = next(engine)
            while True:
                for command in commands:
                    self.queues.setdefault(self._place(command), deque()).append(command)
                commands = engine.send(self._one_step())
                yield
        except StopIteration as end:
            code: Exit = end.value
            return code
        finally:
            engine.close()
            self.end()

    def end(self) -> None:
        """The process is over: its connections break."""
        for session in self.sessions.values():
            session.close()

    def _place(self, command: Command) -> int:
        if isinstance(command, Ask | Commit | Now | ReachSource | Wait):
            return -2
        return getattr(command, "lane", -1)

    def _one_step(self) -> Outcome:
        places = [place for place, queue in self.queues.items() if queue]
        assert places, "the engine waits for nothing: a deadlock"
        place = self.rng.choice(places)
        command = self.queues[place].popleft()
        if place == -2:
            return self._own(command, self._reach(command))
        return self.remote(place, command)

    def pending(self, place: int) -> Iterable[Command]:
        """What was asked of this place after the command that is the next step."""
        return self.queues.get(place, ())

    def _reach(self, command: Command) -> Kind | None:
        """Counts a step, and says what befalls it."""
        kind = self.faults.get(self.point)
        self.on_step(self.point, command)
        self.point += 1
        assert self.point < STEP_LIMIT, "the engine does not come to an end"
        return kind

    def remote(self, place: int, command: Command) -> Outcome:
        """The next step, at the source (-1) or on a lane of the destination."""
        outcome = self._remote(place, command, self._reach(command))
        if isinstance(outcome.error, StoreError):
            outcome.error.end = "source" if place < 0 else "destination"
        return outcome

    def _own(self, command: Command, kind: Kind | None) -> Outcome:
        if kind is Kind.CUT_BEFORE and isinstance(command, Commit):
            raise Crash  # dies before the commit is durable
        match command:
            case Now():
                outcome = Outcome(command, Instant(self.clock.wall, self.clock.monotonic))
            case ReachSource():
                outcome = Outcome(command)
            case Wait():
                self.clock.advance(command.seconds)
                outcome = Outcome(command)
            case _:
                outcome = carry_out(self.books, [command])[0]
        if kind in (Kind.CRASH, Kind.DELAY, Kind.LATE):
            raise Crash
        return outcome

    def _remote(self, place: int, command: Command, kind: Kind | None) -> Outcome:
        if isinstance(command, OpenSource | OpenDest):
            self.broken.pop(place, None)
            old = self.sessions.pop(place, None)
            if old is not None:
                old.close()
            self.sessions[place] = self.opener(command)
        if place in self.broken or place not in self.sessions:
            error = self.broken.get(place, StoreError("the connection is closed"))
            if isinstance(command, CloseSource | CloseDest):
                return Outcome(
                    command, error=error if place in self.broken and command.__class__ is CloseSource else None
                )
            return Outcome(command, error=error)
        match kind:
            case Kind.CRASH:
                if self.rng.random() < 0.5:
                    self._carry_out(place, command)
                raise Crash
            case Kind.DELAY | Kind.LATE:
                self._delay(place, command, kind)
                raise Crash
            case Kind.CUT_BEFORE | Kind.CUT | Kind.BYE:
                return self._cut(place, command, kind)
        return self._carry_out(place, command, kind)

    def _carry_out(self, place: int, command: Command, kind: Kind | None = None) -> Outcome:
        self.sent.append(command)
        session = self.sessions[place]
        session.mood = kind
        session.submit(command)
        outcomes = session.turn()
        session.mood = None
        assert len(outcomes) == 1
        assert outcomes[0].command is command
        if isinstance(command, CloseSource | CloseDest):
            self.sessions.pop(place).close()
        return outcomes[0]

    def _cut(self, place: int, command: Command, kind: Kind) -> Outcome:
        """The connection breaks, before or after the server carried the command out, or in the middle of its octets."""
        is_opening = isinstance(command, OpenSource | OpenDest)
        outcome = Outcome(command)
        if isinstance(self.sessions[place], WireSession) and not is_opening:
            outcome = self._carry_out(place, command, kind)
            if outcome.error is None:
                return outcome  # the answer came before the end
        elif kind is not Kind.CUT_BEFORE and not is_opening:
            self._carry_out(place, command)
        error = outcome.error if isinstance(outcome.error, StoreError) else StoreError("the connection was cut")
        self.broken[place] = error
        if place in self.sessions:
            self.sessions.pop(place).close()
        return Outcome(command, error=error)

    def _delay(self, place: int, command: Command, kind: Kind) -> None:
        """The server goes on with what it has received, after we are dead."""
        pending = [command, *self.pending(place)]
        session = self.sessions.pop(place)  # not closed: the server has not noticed yet
        appends = [one for one in pending if isinstance(one, Append)]
        at = self.clock.settle_s * (0.5 if kind is Kind.DELAY else 3.0)

        def land() -> None:
            for one in appends:
                session.submit(one)
                session.turn()
            session.close()  # now it has noticed, and lets go of the maildrop

        self.clock.later(at, land)


class Clock:
    """Time that moves only when the engine waits, or between two lives."""

    def __init__(self, settle_s: float) -> None:
        self.settle_s = settle_s
        self.wall = 1_700_000_000.0
        self.monotonic = 0.0
        self._due: list[tuple[float, Callable[[], Any]]] = []

    def later(self, seconds: float, action: Callable[[], Any]) -> None:
        self._due.append((self.monotonic + seconds, action))

    @property
    def is_waiting(self) -> bool:
        """Whether something is still to land."""
        return bool(self._due)

    def advance(self, seconds: float) -> None:
        self.monotonic += seconds
        self.wall += seconds
        due = [action for at, action in self._due if at <= self.monotonic]
        self._due = [(at, action) for at, action in self._due if at > self.monotonic]
        for action in due:
            action()
