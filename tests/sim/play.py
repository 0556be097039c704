"""Lives of one migration under faults, and what must be true of them (V1-V9 of docs/reliability.md)."""

from __future__ import annotations

import random
import tempfile
from collections import Counter
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from migrate.commands import Command
from migrate.errors import Exit
from migrate.model import Dedupe, Policy, Verify
from migrate.rules.dedupe import fingerprint
from migrate.stores.memory import Mail

from .faults import Fault, Kind
from .host import Host
from .maildrop import folder_of
from .profiles import Profile
from .servers import ADDED, FOLDER, OTHER_FOLDER, Servers, between_runs, make
from .world import Clock

_OVER = object()
QUIET_RUNS = 4  # runs of every host without a fault after which everything must be done


@dataclass
class Life:
    """What happened in one simulated migration."""

    points: list[int] = field(default_factory=list)  # of each run of the first host
    commands: list[list[str]] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    doubles: int = 0
    reported: int = 0


class Player:
    """Plays one migration: some runs with faults, then quiet ones until it is done."""

    def __init__(
        self, profile: Profile, faults: Sequence[Fault], seed: int, scratch: Path, kind: type[Host] = Host
    ) -> None:
        self.profile = profile
        self.faults = faults
        self.rng = random.Random(seed)
        self.servers: Servers = make(profile, self.rng)
        self.clock = Clock(kind.settle_s)
        self.hosts = [
            kind(profile, self.servers, self.clock, self.rng, _directory(scratch, number))
            for number in range(profile.hosts)
        ]
        self.policy = Policy(
            mailbox=FOLDER,
            dedupe=Dedupe(profile.dedupe),
            verify=Verify(profile.verify),
            delete_after_s=0 if profile.has_deletion else None,
            lanes=profile.lanes,
            keeps_mailboxes=profile.folders,
            settle_s=kind.settle_s,
        )
        self.violations: list[str] = []
        self._known: dict[bytes, bytes] = {}
        self._served_back: set[bytes] = set()  # by the destination, in this run
        self._sound: tuple[object, ...] = ()  # what was there when nothing was missing
        self.servers.server.on_served = lambda octets: self._served_back.add(self._settled(octets))
        self.servers.maildrop.on_delete = self._check_deletion
        self.servers.server.later = lambda action: self.clock.later(self.clock.settle_s * 0.5, action)

    def play(self) -> Life:
        last_faulty = max((fault.run for fault in self.faults), default=-1)
        number = 0
        while number <= last_faulty or not number:
            self._run(number, [fault for fault in self.faults if fault.run == number])
            self._between(number)
            self.clock.advance(self.rng.choice((0.0, 5.0)))
            number += 1
        if self.profile.rollback or self.profile.lost_commits or self.profile.two_hosts:
            # The file may know less than what was done, or another machine did it: a person confirms that the source is
            # rightly empty.
            self.policy = replace(self.policy, accept_missing=True)
        self._quiet_runs(number)
        self._check_end()
        life = Life(self.hosts[0].points, self.hosts[0].commands, self.violations)
        life.violations += [wrong for host in self.hosts for wrong in host.violations]
        life.doubles, life.reported = self._doubles, sum(host.reported for host in self.hosts)
        return life

    # --- runs -------------------------------------------------------------------------------

    def _run(self, number: int, faults: list[Fault]) -> None:
        """One run of the first host, and of the others meanwhile; which of them takes a step is chance."""
        self._served_back.clear()
        running = [self.process(host, number, faults if host is self.hosts[0] else ()) for host in self.hosts]
        process, steps = running[-1], self.rng.randrange(1, 30)
        while running:
            for _ in range(steps):
                if next(process, _OVER) is _OVER:
                    running.remove(process)
                    break
            if running:  # sometimes one of them stands still for long
                process, steps = self.rng.choice(running), self.rng.choice((1, 8, 200))

    def process(self, host: Host, number: int, faults: Sequence[Fault]) -> Generator[None, None, None]:
        return host.run(self.policy, faults, lambda point, command: self._check_no_loss(number, point, command))

    def _between(self, number: int) -> None:
        between_runs(self.profile, self.servers, self.rng, number)
        if not number:
            for host in self.hosts:
                host.meddle_with_state()
        if self.profile.folder_changes:
            self.policy = replace(self.policy, mailbox=OTHER_FOLDER)

    def _quiet_runs(self, number: int) -> None:
        """Runs one after the other, until every host says that it is done and sends nothing more."""
        # A server that carries a QUIT out by half does so three times.
        runs = QUIET_RUNS + (3 if self.profile.partial_quit else 0)
        for _ in range(runs):
            has_landed = not self.clock.is_waiting
            for host in self.hosts:
                self._served_back.clear()
                for _ in self.process(host, number, ()):
                    pass
                number += 1
            self.clock.advance(self.clock.settle_s * 4)  # whatever is late has landed before the next run
            if has_landed and all(host.code in self._good_ends and not host.has_sent for host in self.hosts):
                return
        self.violations.append(f"V8 no end after {runs} quiet runs: {[host.code for host in self.hosts]!r}")

    @property
    def _good_ends(self) -> tuple[Exit, ...]:
        if self.profile.adds_header or self.profile.hangs_up:
            return (Exit.SET_ASIDE,)  # nothing is as it was sent, or one cannot be: it is said to be so
        # A copy that the destination lost after its proof keeps the message at the source: said by SET_ASIDE.
        return (Exit.OK, Exit.SET_ASIDE) if self.profile.loses_newest else (Exit.OK,)

    # --- what must be true ------------------------------------------------------------------

    def _count(self, octets: Iterable[bytes]) -> Counter[bytes]:
        return Counter(map(self._settled, octets))

    def _settled(self, octets: bytes) -> bytes:
        """What two forms of a message have in common, whatever the servers of the profile do to them."""
        found = self._known.get(octets)
        if found is None:
            found = octets.removeprefix(ADDED).replace(b"\r", b"").replace(b"\0", b"\x80")
            if self.profile.dedupe != "off":
                found = fingerprint(found.replace(b"\n", b"\r\n")).key.content
            self._known[octets] = found
        return found

    def _check_no_loss(self, run: int, point: int, command: Command | None) -> None:
        """V1: at every instant source, destination and spools together have every message."""
        kept = [
            *self.servers.left(),
            *self.servers.stored(),
            *(octets for host in self.hosts for octets in host.spooled()),
        ]
        now = (tuple(kept), len(self.servers.originals), len(self.servers.lost_by_server))
        if now == self._sound:
            return
        there = self._count(kept)
        lost = self._count(self.servers.originals) - there - self._count(self.servers.lost_by_server)
        if self.profile.dedupe != "off":
            lost = Counter({content: 1 for content in lost if not there[content]})
        if lost:
            step = type(command).__name__ if command else "the end"
            self.violations.append(f"V1 LOST {sum(lost.values())} at {run}.{point} ({step})")
        else:
            self._sound = now

    def _check_deletion(self, mails: Sequence[Mail]) -> None:
        """V3: what we delete was served back by the destination in this very run."""
        blind = [mail.uid for mail in mails if self._settled(mail.octets) not in self._served_back]
        if blind:
            self.violations.append(f"V3 deleted, and not served back in this run: {blind}")

    def _check_end(self) -> None:
        for host in self.hosts:
            host.check_state()
            if host.code not in self._good_ends:
                self.violations.append(f"V8 ends with {host.code!r}")
            if host.has_sent:
                self.violations.append("V7 the last quiet run still sends")
        stored = self._count(self.servers.stored())
        wanted = self._count(self.servers.originals)
        foreign = self._count(self.servers.foreign)
        # Twins that a mailbox of both had before us are none of ours.
        before = wanted if self.profile.is_shared else Counter[bytes]()
        if self.profile.dedupe != "off":
            wanted = Counter(dict.fromkeys(wanted, 1))
        missing = wanted - stored - self._count(self.servers.lost_by_server)
        if self.profile.loses_newest or self.profile.hangs_up:  # lost there, kept at the source, and said so
            missing -= self._count(self.servers.left())
        if missing:
            self.violations.append(f"V2 MISSING {sum(missing.values())}")
        if spoilt := foreign - stored - self._count(self.servers.lost_by_server):
            self.violations.append(f"V4 {sum(spoilt.values())} foreign messages are gone or changed")
        self._check_doubles(stored - (wanted | before) - foreign)
        if self.profile.folders:
            self._check_folders()

    def _check_folders(self) -> None:
        """Every message is in the folder that bears the name of its own at the source."""
        for name, box in self.servers.server.mailboxes.items():
            strays = [kept for kept in box.kept.values() if folder_of(kept.octets) != name]
            if strays:
                self.violations.append(f"V3 {len(strays)} messages in {name} come from elsewhere")

    def _check_doubles(self, more: Counter[bytes]) -> None:
        self._doubles = sum(more.values())
        reported = sum(host.reported for host in self.hosts)
        if more and not reported and not self._is_unsaid:
            self.violations.append(f"V2 DOUBLE {self._doubles}, and nobody said so")
        elif more and not self._is_excused:
            self.violations.append(f"V2 DOUBLE {self._doubles}, reported {reported}")

    @property
    def _is_excused(self) -> bool:
        """Whether a stated exception of the promise is part of this life."""
        kinds = {fault.kind for fault in self.faults}
        # Commits that the disk lost are a state file rolled back: the intent that says to wait may be among them.
        # And a second machine has nowhere an intent of the first.
        knows_less = self.profile.lost_commits or self.profile.two_hosts
        is_rolled_back = self.profile.rollback or (knows_less and not kinds.isdisjoint({Kind.DELAY, Kind.LAG}))
        return is_rolled_back or Kind.LATE in kinds

    @property
    def _is_unsaid(self) -> bool:
        """Whether a late upload landed in the maildrop as well, and is a message of its own there."""
        return self.profile.is_shared and any(fault.kind is Kind.LATE for fault in self.faults)


def _directory(scratch: Path, number: int) -> Path:
    path = scratch / f"host{number}"
    path.mkdir()
    return path


def play(profile: Profile, faults: Sequence[Fault] = (), seed: int = 0, kind: type[Host] = Host) -> Life:
    """One migration from the first run to its quiet end, on hosts of this kind."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as name:
        return Player(profile, faults, seed, Path(name), kind).play()
