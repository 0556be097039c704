"""Lives of one migration under faults, and what must be true of them (V1-V9 of docs/reliability.md)."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from migrate.commands import Append, Command, Commit, Delete, OpenDest, OpenSource
from migrate.engine.walk import walk
from migrate.errors import Exit
from migrate.events import Doubled, Event, Finished
from migrate.model import Dedupe, Policy, Verify
from migrate.rules.dedupe import Digester, fingerprint
from migrate.state.books import State
from migrate.state.opening import open_memory
from migrate.state.spool import MemorySpool
from migrate.stores.base import Session
from migrate.stores.memory import MemoryAppender

from .faults import Fault, Kind
from .models import Profile, Servers, SimReader, SimReleaser, between_runs, make
from .world import Clock, Crash, World

ACCOUNTS = ("a@source", "b@dest")
SETTLE_S = 60.0
QUIET_RUNS = 4  # runs without a fault after which everything must be done


@dataclass
class Life:
    """What happened in one simulated migration."""

    points: list[int] = field(default_factory=list)  # of each run
    commands: list[list[str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    doubles: int = 0
    reported: int = 0


class Player:
    """Plays one migration: some runs with faults, then quiet ones until it is done."""

    def __init__(self, profile: Profile, faults: Sequence[Fault], seed: int, scratch: Path) -> None:
        self.profile = profile
        self.faults = faults
        self.rng = random.Random(seed)
        self.scratch = scratch
        self.life = Life()
        self.servers: Servers = make(profile, self.rng)
        self.clock = Clock(SETTLE_S)
        self.path = scratch / "state.sqlite"
        self.events: list[Event] = []
        self.policy = Policy(
            mailbox=self.servers.mailbox,
            dedupe=Dedupe(profile.dedupe),
            verify=Verify.FULL,
            delete_after_s=0 if profile.has_deletion else None,
            settle_s=SETTLE_S,
        )
        self._known: dict[bytes, bytes] = {}
        self.image: bytes | None = None
        self.spool = MemorySpool(Digester)
        self.images: list[bytes] = []  # after every commit of the last run, for files that lose some

    def play(self) -> Life:
        last_faulty = max((fault.run for fault in self.faults), default=-1)
        number = 0
        while number <= last_faulty:
            self._run(number, [fault for fault in self.faults if fault.run == number])
            between_runs(self.profile, self.servers, self.rng, number)
            self._meddle_with_state(number)
            self.clock.advance(self.rng.choice((0.0, 5.0)))
            number += 1
        if self.profile.rollback or self.profile.lost_commits:
            # The file may know less than what was done: a person confirms that the source is rightly empty.
            self.policy = replace(self.policy, accept_missing=True)
        if last_faulty < 0:
            self._run(number, [])
            between_runs(self.profile, self.servers, self.rng, number)
            self._meddle_with_state(number)
            number += 1
        for _ in range(QUIET_RUNS):
            code, sent = self._run(number, [])
            number += 1
            has_landed = not self.clock.is_waiting
            self.clock.advance(SETTLE_S * 4)  # whatever is late has landed before the next run
            if (
                has_landed
                and code in (Exit.OK, Exit.SET_ASIDE if self.profile.loses_newest else Exit.OK)
                and not any(isinstance(command, Append | Delete) for command in sent)
            ):
                break
        else:
            self.life.violations.append(f"V8 no end after {QUIET_RUNS} quiet runs: {code!r}")
        self._check_end(code, sent)
        return self.life

    # --- one run ----------------------------------------------------------------------------

    def _run(self, number: int, faults: list[Fault]) -> tuple[Exit | None, list[Command]]:
        spill = self.scratch / "spill"
        spill.mkdir(exist_ok=True)
        self.events.clear()
        books = self._open_books()
        self.images.clear()
        names: list[str] = []

        def opener(command: OpenSource | OpenDest) -> Session:
            if isinstance(command, OpenDest):
                return MemoryAppender(self.servers.server)
            kind = SimReleaser if command.may_release else SimReader
            return kind(self.servers.maildrop, Digester, spill)

        def on_step(point: int, command: Command) -> None:
            names.append(type(command).__name__)
            if (self.profile.lost_commits or self.profile.rollback) and isinstance(command, Commit):
                self.images.append(books.image())
            self._check_no_loss(number, point, command)

        world = World(books, opener, self.clock, faults, self.rng, on_step)
        code: Exit | None
        try:
            code = world.play(walk(self.policy, self.events.append))
        except Crash:
            code = None
        finally:
            self.image = books.image()
            books.close()
        self._check_no_loss(number, world.point, None)
        self.life.points.append(world.point)
        self.life.commands.append(names)
        self.life.reported += sum(isinstance(event, Doubled) for event in self.events)
        for event in self.events:
            if isinstance(event, Finished) and not event.tally.balances:
                self.life.violations.append(f"V9 books do not balance: {event.tally}")
        return code, world.sent

    def _open_books(self) -> State:
        return open_memory(
            *ACCOUNTS, digester=Digester, clock=lambda: self.clock.wall, image=self.image, spool=self.spool
        )

    def _meddle_with_state(self, number: int) -> None:
        if number:
            return
        if self.profile.rollback and self.images:
            self.image = self.images[0]
        if self.profile.lost_commits and self.images:
            self.image = self.images[len(self.images) * 2 // 3]

    # --- what must be true ------------------------------------------------------------------

    def _count(self, octets: Sequence[bytes]) -> Counter[bytes]:
        return Counter(map(self._settled, octets))

    def _settled(self, octets: bytes) -> bytes:
        found = self._known.get(octets)
        if found is None:
            found = octets.replace(b"\r", b"").replace(b"\0", b"\x80")
            if self.profile.dedupe != "off":
                found = fingerprint(octets).key.content
            self._known[octets] = found
        return found

    def _check_no_loss(self, run: int, point: int, command: Command | None) -> None:
        """V1: at every instant source, destination and spool together have every message."""
        there = self._count([mail.octets for mail in self.servers.maildrop.mails] + self.servers.stored())
        there += self._count([self._spooled(one.row_id) for one in self.spool.kept()])
        lost = self._count(self.servers.originals) - there - self._count(self.servers.lost_by_server)
        if self.profile.dedupe != "off":
            lost = Counter({content: 1 for content in lost if not there[content]})
        if lost:
            step = type(command).__name__ if command else "the end"
            self.life.violations.append(f"V1 LOST {sum(lost.values())} at {run}.{point} ({step})")

    def _spooled(self, row_id: int) -> bytes:
        return b"".join(self.spool.get(row_id).blocks())

    def _check_end(self, code: Exit | None, sent: list[Command]) -> None:
        # A copy that the destination lost after its proof keeps the message at the source: said by SET_ASIDE.
        expected = (Exit.OK, Exit.SET_ASIDE) if self.profile.loses_newest else (Exit.OK,)
        if code not in expected:
            self.life.violations.append(f"V8 ends with {code!r}")
        if any(isinstance(command, Append | Delete) for command in sent):
            self.life.violations.append("V7 the last quiet run still sends")
        stored = self._count(self.servers.stored())
        wanted = self._count(self.servers.originals)
        foreign = self._count(self.servers.foreign)
        if self.profile.dedupe != "off":
            wanted = Counter(dict.fromkeys(wanted, 1))
        missing = wanted - stored - self._count(self.servers.lost_by_server)
        if self.profile.loses_newest:  # lost there, kept at the source, and said so
            missing -= self._count([mail.octets for mail in self.servers.maildrop.mails])
        if missing:
            self.life.violations.append(f"V2 MISSING {sum(missing.values())}")
        more = stored - wanted - foreign
        self.life.doubles = sum(more.values())
        if more and self.life.reported < 1:
            self.life.violations.append(f"V2 DOUBLE {sum(more.values())}, and nobody said so")
        elif more and not self._is_excused():
            self.life.violations.append(f"V2 DOUBLE {sum(more.values())}, reported {self.life.reported}")

    def _is_excused(self) -> bool:
        return self.profile.may_double or any(fault.kind is Kind.LATE for fault in self.faults)


def play(profile: Profile, faults: Sequence[Fault] = (), seed: int = 0) -> Life:
    """One migration from the first run to its quiet end."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        return Player(profile, faults, seed, Path(name)).play()
