"""One hostile row: a whole run against a server that lies, then an honest one, then the count at both ends."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from migrate.errors import Exit
from migrate.model import Dedupe, Endpoint, MailboxName, Policy, Protocol, Tls
from tests.failures.canary import DEST, leaks
from tests.fakes.haste import Ran, hurried, run
from tests.fakes.liar import Stage, pin
from tests.fakes.liar_imap import LyingImap
from tests.fakes.liar_pop3 import LyingPop3

FOLDER = "Old"
PASSWORD = DEST
TIMEOUT_S = 1.0  # what every session is given
RETRIES = 1  # passes that achieve nothing, behind the first
DEADLINE_S = 15.0  # for a run: passes of a few calls, each with its second
GROWTH_KIB = 64 * 1024
NOISE_LIMIT = 1024 * 1024  # so that a flood takes a second or two
SETTLE_S = 0.05
HONEST_RUNS = 2

LETTERS = (
    b"From: a@example.org\r\nMessage-ID: <one@example.org>\r\nDate: Thu, 2 Jan 2020 03:04:05 +0000\r\n\r\nfirst\r\n",
    b"From: b@example.org\r\nMessage-ID: <two@example.org>\r\n\r\n" + b"second\r\n.dot\r\n..\r\n" * 300,
    b"Subject: third\r\n\r\nno message id \xe9\r\n",
)


class Must(Enum):
    """What has to become of the lie."""

    REFUSED = "refused"  # nothing was stored, nothing was deleted
    CONTAINED = "contained"  # what is not certain stays at the source; the rest may be done
    TOLERATED = "tolerated"  # everything is copied once and then deleted, as if nothing were


@dataclass(frozen=True)
class Row:
    """A behaviour of a server, and what must happen.

    ``code`` is that of the run with the liar; ``or_code`` may come instead where it is a matter of speed whether
    the limit in octets or the one in time is reached first.
    """

    name: str
    must: Must
    code: Exit
    pop3: type[LyingPop3] = LyingPop3
    imap: type[LyingImap] = LyingImap
    or_code: Exit | None = None
    says: str = ""  # part of what the run tells
    tls: Tls = Tls.NONE
    then: Exit = Exit.OK  # of the last honest run behind it
    extra: int = 0  # copies too many that the liar itself makes
    reported: int | None = None  # of these; None: all
    is_other: bool = False  # the liar keeps other octets than it was given
    is_lost_by_server: bool = False  # the server deletes on its own account what nobody has yet
    letters: tuple[bytes, ...] = LETTERS
    deadline_s: float = DEADLINE_S


@dataclass
class Outcome:
    """What came of a row."""

    row: str
    took_s: float = 0.0
    growth_kib: int = 0
    violations: list[str] = field(default_factory=list)


@contextmanager
def complaints() -> Iterator[list[str]]:
    """What threads of the fakes died of meanwhile."""
    found: list[str] = []
    usual = threading.excepthook
    threading.excepthook = lambda args: found.append(
        f"the liar itself broke: {args.exc_type.__name__} {args.exc_value}"
    )
    try:
        yield found
    finally:
        threading.excepthook = usual


class Scene:
    """A stage with a full maildrop and an empty folder, and the runs between them."""

    def __init__(self, stage: Stage, row: Row, place: Path) -> None:
        self.stage, self.row = stage, row
        self.place = place
        self.ran: list[Ran] = []
        stage.deliver_many("old", row.letters)

    def run(self) -> Ran:
        stage, tls = self.stage, self.row.tls
        is_implicit = tls is Tls.IMPLICIT
        trusted = None if tls is Tls.NONE else pin()
        pop3_port, imap_port = (
            (stage.pop3s_port, stage.imaps_port) if is_implicit else (stage.pop3_port, stage.imap_port)
        )
        source = Endpoint(Protocol.POP3, "old", "127.0.0.1", pop3_port, tls, pin=trusted)
        dest = Endpoint(Protocol.IMAP, "new", "127.0.0.1", imap_port, tls, pin=trusted)
        policy = Policy(mailbox=MailboxName((FOLDER,)), dedupe=Dedupe.OFF, settle_s=SETTLE_S, delete_after_s=0)
        with hurried(TIMEOUT_S, retries=RETRIES, noise_limit=NOISE_LIMIT):
            ran = run(source, dest, policy, self.place / "state.sqlite", (PASSWORD, PASSWORD), TIMEOUT_S)
        self.ran.append(ran)
        return ran

    @property
    def held(self) -> Counter[bytes]:
        """What the destination really has, wherever."""
        return Counter(self.stage.everything_of("new"))

    @property
    def left(self) -> Counter[bytes]:
        return Counter(self.stage.octets_in("old", "INBOX"))

    def after_the_lie(self) -> list[str]:
        """What is wrong now."""
        row, ran, everything = self.row, self.ran[0], Counter(self.row.letters)
        told = " ".join([*ran.finished.problems, repr(ran.events)])
        wrong = []
        if ran.code not in (row.code, row.or_code):
            wrong.append(f"the run ended with {Exit(ran.code).name}: {told[:300]}")
        if row.says not in told:
            wrong.append(f"it does not say {row.says!r}: {told[:300]}")
        if ran.took_s > row.deadline_s:
            wrong.append(f"it took {ran.took_s:.1f} s")
        if not ran.finished.tally.balances:
            wrong.append(f"the books do not balance: {ran.finished.tally}")
        if row.must is Must.REFUSED and (self.held or self.left != everything):
            wrong.append(f"{self.held.total()} stored, {self.left.total()} left")
        if row.must is Must.TOLERATED and (self.held != everything or self.left):
            wrong.append(f"{self.held.total()} stored, {self.left.total()} left")
        if (lost := everything - self.held - self.left) and not row.is_lost_by_server:
            wrong.append(f"{lost.total()} lost")
        return wrong

    def at_the_end(self) -> list[str]:
        """What is wrong after the honest runs."""
        row, last, everything = self.row, self.ran[-1], Counter(self.row.letters)
        told = "; ".join(last.finished.problems)
        wrong = []
        if last.code is not row.then:
            wrong.append(f"the honest run ended with {Exit(last.code).name}: {told} {last.finished.tally}")
        missing = everything - self.held - (self.left if row.then is not Exit.OK else Counter())
        if missing and not row.is_lost_by_server:
            wrong.append(f"{missing.total()} missing at the end")
        extra = Counter({octets: more for octets, more in (self.held - everything).items() if octets in everything})
        if extra.total() != row.extra:
            wrong.append(f"{extra.total()} copies too many at the end, {row.extra} expected")
        if (other := (self.held - everything - extra).total()) and not row.is_other:
            wrong.append(f"{other} messages at the destination that nobody had")
        reported = sum(len(event.places) - 1 for ran in self.ran for event in ran.doubled)
        if reported < (row.extra if row.reported is None else row.reported):
            wrong.append(f"{row.extra} copies too many, {reported} reported")
        if self.left and row.then is Exit.OK:
            wrong.append(f"{self.left.total()} left at the source at the end")
        return wrong + self._leaks()

    def _leaks(self) -> list[str]:
        texts = {path.name: path.read_bytes() for path in self.place.rglob("*") if path.is_file()}
        texts["the events"] = repr([ran.events for ran in self.ran]).encode()
        return [line for name, octets in texts.items() for line in leaks(octets, name)]


def play(row: Row) -> Outcome:
    """The row against the real stores, driver and state file."""
    place = Path(tempfile.mkdtemp(prefix="pf-row-"))
    outcome = Outcome(row.name)
    try:
        with complaints() as broken:
            with Stage(PASSWORD, row.pop3, row.imap) as stage:
                scene = Scene(stage, row, place)
                before_kib = _reset_peak()
                outcome.took_s = scene.run().took_s
                outcome.growth_kib = _peak_kib() - before_kib
                outcome.violations += scene.after_the_lie()
                stage.cast(LyingPop3, LyingImap)
                for _ in range(HONEST_RUNS):
                    if scene.run().code is row.then:
                        break
                outcome.violations += scene.at_the_end()
            outcome.violations += broken
        if outcome.growth_kib > GROWTH_KIB:
            outcome.violations.append(f"memory grew by {outcome.growth_kib} KiB")
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return outcome


def _reset_peak() -> int:
    """The memory this process holds now, in KiB; its peak is counted anew from here."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak_kib() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name + ":"))
