"""One machine that migrates: its state file and spool, which outlive each process that runs there."""

from __future__ import annotations

import random
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from migrate.commands import Append, Ask, CloseSource, Command, Commit, Delete, OpenDest, OpenSource
from migrate.engine.run import Steps
from migrate.engine.walk import walk
from migrate.errors import Exit
from migrate.events import Doubled, Event, Finished
from migrate.model import Policy
from migrate.rules.dedupe import Digester
from migrate.state.books import State
from migrate.state.checks import problems
from migrate.state.opening import open_memory
from migrate.state.spool import MemorySpool
from tests.failures.canary import leaks

from .faults import Fault
from .maildrop import BAD
from .profiles import Profile
from .servers import Servers
from .sessions import SimSession, open_session
from .world import Clock, Crash, World

# What can take a message away from somewhere, or bring it.
_CHANGES = (Append, Ask, CloseSource, Commit, Delete)
ACCOUNTS = ("a@source", "b@dest")


def _is_bad(command: Append | Delete) -> bool:
    """Whether it is the message at which a destination hangs up, alone, which every run tries again."""
    return isinstance(command, Append) and all(BAD in b"".join(one.message.blocks()) for one in command.letters)


class Host:
    """Runs the engine once after the other against the servers of a life."""

    settle_s = 10.0

    def __init__(self, profile: Profile, servers: Servers, clock: Clock, rng: random.Random, scratch: Path) -> None:
        self.profile = profile
        self.servers = servers
        self.clock = clock
        self.rng = rng
        self.scratch = scratch
        self.spool = MemorySpool(Digester)
        self.image: bytes | None = None  # of the state file
        self.images: list[bytes] = []  # after every commit of the last run, for files that lose some
        self.points: list[int] = []  # of each run
        self.commands: list[list[str]] = []
        self.violations: list[str] = []
        self.reported = 0  # copies too many that a run told of
        self.code: Exit | None = None  # of the last run; None: it was killed
        self.has_sent = False  # whether the last run sent an APPEND or a DELE

    def run(
        self, policy: Policy, faults: Sequence[Fault], look: Callable[[int, Command | None], None]
    ) -> Generator[None, None, None]:
        """One process, step by step. ``look`` is called behind every step that changes something, and at the end."""
        events: list[Event] = []
        names: list[str] = []
        last: list[Command | None] = [None]  # the step before this one
        books = self.open_books()
        self.images.clear()

        def on_step(point: int, command: Command) -> None:
            names.append(type(command).__name__)
            if (self.profile.lost_commits or self.profile.rollback) and isinstance(command, Commit):
                self.images.append(books.image())
            if policy.delete_after_s is None and (
                isinstance(command, Delete) or (isinstance(command, OpenSource) and command.may_release)
            ):
                self.violations.append(f"V14 {names[-1]} at {point}, and nobody asked for deletion")
            if isinstance(last[0], _CHANGES):
                look(point, command)
            last[0] = command

        def opener(command: OpenSource | OpenDest) -> SimSession:
            return open_session(command, self.profile, self.servers, self.rng, self.scratch)

        world = World(books, opener, self.clock, list(faults), self.rng, on_step)
        try:
            self.code = yield from self.carry_on(world, walk(policy, events.append), events.append)
        except Crash:
            self.code = None
        finally:
            self.image = books.image()
            books.close()
        look(world.point, None)
        self.points.append(world.point)
        self.commands.append(names)
        self.has_sent = any(isinstance(command, Append | Delete) and not _is_bad(command) for command in world.sent)
        self._take_in(events)

    def carry_on(self, world: World, engine: Steps[Exit], emit: Callable[[Event], None]) -> Generator[None, None, Exit]:
        """What the engine returns, played in this world."""
        return (yield from world.play(engine))

    def open_books(self) -> State:
        return open_memory(
            *ACCOUNTS, digester=Digester, clock=lambda: self.clock.wall, image=self.image, spool=self.spool
        )

    def _take_in(self, events: Sequence[Event]) -> None:
        if self.profile.wire:  # where there is a password
            self.violations += [f"V12 {line}" for line in leaks(repr(events).encode(), "what it told")]
        self.reported += sum(len(event.places) - 1 for event in events if isinstance(event, Doubled))
        for event in events:
            if isinstance(event, Finished) and not event.tally.balances:
                self.violations.append(f"V9 books do not balance: {event.tally}")

    def meddle_with_state(self) -> None:
        """What befalls the state file after the first run of some profiles."""
        if self.profile.rollback and self.images:
            self.image = self.images[0]
        if self.profile.lost_commits and self.images:
            self.image = self.images[len(self.images) * 2 // 3]

    def check_state(self) -> None:
        """V5 and V6: every seal, every index, no uid claimed twice."""
        books = self.open_books()
        self.violations += [f"V6 {problem}" for problem in problems(books.database)]
        if self.profile.wire:
            self.violations += [f"V12 {line}" for line in leaks(books.image(), "the state file")]
        books.close()

    def spooled(self) -> list[bytes]:
        return [b"".join(self.spool.get(kept.row_id).blocks()) for kept in self.spool.kept()]
