"""One cut: a whole migration between two accounts of a real Dovecot, one fault in the wire, then the count.

Dedupe is off, so that every copy counts, and two of the messages are equal, so
that a copy too few and a copy too many cannot make up for one another unseen.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import ssl
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from migrate.errors import Exit
from migrate.events import Reconnecting
from migrate.model import Dedupe, Endpoint, MailboxName, Policy, Protocol, Tls
from tests.failures.canary import REAL, leaks_below
from tests.fakes.cutter import Cut, Cutter, Kind
from tests.fakes.haste import Ran, Wrap, hurried, run
from tests.support.dovecot import Dovecot

PASSWORD = REAL
FOLDER = "Old"
SETTLE_S = 0.1
RUNS = 3  # in so many runs everything must be done
STALL_S = 1.0
PATIENCE_S = 20.0  # where nothing is meant to stall: this machine may be busy

_TWIN = (
    b"Received: by mx.example.org; Thu, 2 Jan 2020 03:04:05 +0000\r\nFrom: a@example.org\r\nSubject: one\r\n"
    b"Message-ID: <1@example.org>\r\n\r\nfirst\r\n.dot\r\n..two dots\r\n.\r\nlast {3}\r\n"
)
LETTERS = (_TWIN, b"Subject: no id\r\nDate: Fri, 3 Jan 2020 00:00:00 +0100\r\n\r\n\xc3\xa9 \xff\r\n\r\n", _TWIN)


@dataclass(frozen=True)
class Case:
    """One fault at one place. ``end``: "source" or "destination", whose connections are cut."""

    end: str
    cut: Cut
    is_tls: bool
    is_deleting: bool

    def __str__(self) -> str:
        tls, deleting = ("TLS" if self.is_tls else "clear"), ("deleting" if self.is_deleting else "keeping")
        return f"{self.end} {tls} {deleting}: {self.cut.kind.value} behind octet {self.cut.at} {self.cut.direction}"


@dataclass
class Verdict:
    """What came of a case: nothing is in ``violations`` when all is well."""

    has_cut: bool
    runs: int
    violations: list[str] = field(default_factory=list)
    doubled: int = 0  # copies too many that the run itself reported


class Rig:
    """A Dovecot for the cases, with accounts that nobody used before."""

    def __init__(self, dovecot: Dovecot) -> None:
        self.dovecot = dovecot
        self._count = 0
        first = (dovecot.directory / "cert.pem").read_text().partition("-----END CERTIFICATE-----")
        self._pin = hashlib.sha256(ssl.PEM_cert_to_DER_cert("".join(first[:2]))).digest()

    def account(self) -> str:
        """Of one length always, so that octets count the same in every case."""
        self._count += 1
        return f"u{os.getpid() % 10**7:07d}x{self._count:06d}"

    def source(self, user: str, is_tls: bool, port: int | None = None) -> Endpoint:
        usual = self.dovecot.pop3s_port if is_tls else self.dovecot.pop3_port
        return self._endpoint(Protocol.POP3, user, port or usual, is_tls)

    def dest(self, user: str, is_tls: bool, port: int | None = None) -> Endpoint:
        usual = self.dovecot.imaps_port if is_tls else self.dovecot.imap_port
        return self._endpoint(Protocol.IMAP, user, port or usual, is_tls)

    def _endpoint(self, protocol: Protocol, user: str, port: int, is_tls: bool) -> Endpoint:
        tls = Tls.IMPLICIT if is_tls else Tls.NONE
        return Endpoint(protocol, user, "localhost", port, tls, pin=self._pin if is_tls else None)


@contextmanager
def rig() -> Iterator[Rig]:
    """A rig on a Dovecot of its own, in memory where there is room for that."""
    usual, quick = tempfile.tempdir, Path("/dev/shm")
    tempfile.tempdir = str(quick) if os.access(quick, os.W_OK) else usual
    limits = "service pop3-login {\n  service_count = 0\n}\nservice imap-login {\n  service_count = 0\n}\n"
    try:
        with Dovecot(password=PASSWORD, extra=limits) as dovecot:
            yield Rig(dovecot)
    finally:
        tempfile.tempdir = usual


def policy(*, is_deleting: bool) -> Policy:
    return Policy(
        mailbox=MailboxName((FOLDER,)),
        dedupe=Dedupe.OFF,
        settle_s=SETTLE_S,
        delete_after_s=0 if is_deleting else None,
    )


@dataclass
class Migration:
    """Three messages on their way from one fresh account to another."""

    rig: Rig
    is_tls: bool
    is_deleting: bool

    def __post_init__(self) -> None:
        self.old, self.new = self.rig.account(), self.rig.account()
        self.rig.dovecot.deliver_many(self.old, LETTERS)
        self.place = Path(tempfile.mkdtemp(prefix="pf-cut-"))
        self.ran: list[Ran] = []

    def run(
        self,
        *,
        source_port: int | None = None,
        dest_port: int | None = None,
        timeout_s: float = PATIENCE_S,
        wrap: Wrap | None = None,
    ) -> Ran:
        source = self.rig.source(self.old, self.is_tls, source_port)
        dest = self.rig.dest(self.new, self.is_tls, dest_port)
        asked = policy(is_deleting=self.is_deleting)
        with hurried(timeout_s, wrap=wrap):
            ran = run(source, dest, asked, self.place / "state.sqlite", (PASSWORD, PASSWORD), timeout_s)
        self.ran.append(ran)
        return ran

    def check(self) -> tuple[list[str], int]:
        """What is wrong at both ends and in the books after the last run, and copies too many that were reported."""
        wrong = []
        dovecot, last = self.rig.dovecot, self.ran[-1]
        if last.code is not Exit.OK:
            wrong.append(f"after {len(self.ran)} runs still {last.code.name}: {'; '.join(last.finished.problems)}")
        expected = Counter(dovecot.kept(octets) for octets in LETTERS)
        found = Counter(one.octets for one in dovecot.stored(self.new, FOLDER))
        left = Counter(octets for _, octets in dovecot.served_pop3(self.old))
        if lost := expected - found - (left if last.code is not Exit.OK else Counter()):
            wrong.append(f"{lost.total()} lost or altered")
        doubled = sum(len(event.places) - 1 for ran in self.ran for event in ran.doubled)
        if (extra := (found - expected).total()) > doubled:
            wrong.append(f"{extra} copies too many, {doubled} reported")
        if last.code is Exit.OK and left != (Counter() if self.is_deleting else Counter(LETTERS)):
            wrong.append(f"{left.total()} left at the source")
        tally = last.finished.tally
        if last.code is Exit.OK and (tally.listed, tally.copied, tally.open) != (len(LETTERS), len(LETTERS), 0):
            wrong.append(f"the books say {tally}")
        return wrong + self._remains(), doubled

    def _remains(self) -> list[str]:
        """Files that should not be there, and the password where it should not be."""
        names = {path.name for path in self.place.iterdir()}
        wrong = [f"left behind: {name}" for name in sorted(names - {"state.sqlite", "state.sqlite.lock"})]
        return wrong + leaks_below(self.place, [ran.events for ran in self.ran])

    def discard(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)


def play(rig: Rig, case: Case) -> Verdict:
    """The migration with that fault, run until it is done."""
    migration = Migration(rig, case.is_tls, case.is_deleting)
    is_source = case.end == "source"
    timeout_s = STALL_S if case.cut.kind is Kind.STALL else PATIENCE_S
    fresh = rig.source("", case.is_tls) if is_source else rig.dest("", case.is_tls)
    try:
        with Cutter(fresh.port, case.cut) as cable:
            while len(migration.ran) < RUNS:
                ran = migration.run(
                    source_port=cable.port if is_source else None,
                    dest_port=None if is_source else cable.port,
                    timeout_s=timeout_s,
                )
                if ran.code is Exit.OK:
                    break
                timeout_s = PATIENCE_S
        verdict = Verdict(cable.has_cut, len(migration.ran))
        verdict.violations, verdict.doubled = migration.check()
        if case.cut.kind is Kind.SPLIT and any(isinstance(one, Reconnecting) for one in migration.ran[0].events):
            verdict.violations.append("a stream in two pieces was not understood")
    finally:
        migration.discard()
    return verdict
