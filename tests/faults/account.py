"""One migration of the fault programme: its mail, its state file, its runs, and what must be true of it.

What the servers hold is read by ``tests.support.raw``, which shares no code with the product; the state file is
asked with plain SQL.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from tests.failures.canary import leaks_below
from tests.support.server import MailServer

from .nursery import Nursery
from .profiles import Profile
from .victim import Order

FOLDER = "Old"
SETTLE_S = 0.1
MOST_TRACED = 1000  # messages
GONE_S = 20.0  # how long the server may take to let go of a dead connection


class Row(NamedTuple):
    """What the state file says of one message."""

    uidl: bytes
    stage: str
    uid: int | None


class Look(NamedTuple):
    """Where every message is at one moment. The source's are in the form in which the destination would keep them."""

    source: Counter[bytes]
    stored: dict[int, bytes]  # at the destination, by UID
    spooled: Counter[bytes]
    rows: list[Row]

    @property
    def dest(self) -> Counter[bytes]:
        return Counter(self.stored.values())


class Account:
    """One migration: its mail, its state file, its runs, and what must be true of it."""

    def __init__(
        self,
        profile: Profile,
        source: MailServer,
        dest: MailServer,
        name: str,
        directory: Path,
        messages: Iterable[bytes],
    ) -> None:
        self.profile = profile
        self.source = source
        self.dest = dest
        self.old, self.new = f"{name}-old@example.org", f"{name}-new@example.org"
        self.directory = directory
        self.state = directory / "state" / "state.sqlite"
        self.runs = 0
        self.events: list[dict[str, Any]] = []  # of the last run
        source.deliver_many(self.old, messages)
        # By UIDL: what POP3 serves is what has to arrive.
        self.originals = dict(source.served_pop3(self.old))
        self.expected = Counter(dest.kept(octets) for octets in self.originals.values())
        if profile.is_collapsing:
            self.expected = Counter(set(self.expected))

    @property
    def accounts(self) -> tuple[str, str]:
        """Both ends as the state file names them."""
        return f"{self.old}@localhost", f"{self.new}@localhost"

    # --- running ----------------------------------------------------------------------------

    def order(self, *options: str, **what: Any) -> Order:
        """The command of this migration; ``what``: fields of the order."""
        self.runs += 1
        out = self.directory / f"out-{self.runs}"
        kinds: dict[str, Any] = {"memory_limit": self.profile.memory_limit, "dest": self.profile.dest} | what
        return Order(self.argv(*options), self.environment(), str(out), str(out.with_suffix(".err")), **kinds)

    def argv(self, *options: str) -> list[str]:
        pop3, imap = self.profile.scheme.format("pop3"), self.profile.scheme.format("imap")
        is_tls = self.profile.scheme == "{}s"
        ports = (
            self.source.pop3s_port if is_tls else self.source.pop3_port,
            self.dest.imaps_port if is_tls else self.dest.imap_port,
        )
        return [
            *(
                "migrate",
                f"{pop3}://{self.old}@localhost:{ports[0]}",
                f"{imap}://{self.new}@localhost:{ports[1]}/{FOLDER}",
            ),
            *("--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"),
            *("--state", str(self.state), "--json", "--settle", str(SETTLE_S), *self.profile.options),
            *self._records(),
            *options,
        ]

    def _records(self) -> tuple[str, ...]:
        """What shows most of the wire, so that a password would show; not of thousands of messages."""
        if len(self.originals) > MOST_TRACED:
            return ()
        place = self.directory / f"trace-{self.runs}"
        return ("--trace", str(place), "--log-file", str(place.with_suffix(".log")))

    def environment(self) -> dict[str, str]:
        trusted = self.directory / "trusted.pem"
        if not trusted.exists():
            trusted.write_bytes(self.source.ca_file.read_bytes() + self.dest.ca_file.read_bytes())
        return {
            "SSL_CERT_FILE": str(trusted),
            "XDG_STATE_HOME": str(self.directory / "xdg"),
            "OLD_PASSWORD": self.source.password,
            "NEW_PASSWORD": self.dest.password,
        }

    def finish(self, nursery: Nursery, *options: str) -> list[str]:
        """A run without a fault, and what is wrong afterwards."""
        self.wait_for_servers()
        order = self.order(*options)
        code = nursery.run(order)
        self.events = read_events(order)
        wrong = self.at_end(code)
        return [f"{one} (stderr: {read_text(order.err)[-300:]})" for one in wrong] if code else wrong

    def finish_twice(self, nursery: Nursery) -> list[str]:
        """The same, and a second run must find nothing to do."""
        wrong = self.finish(nursery)
        if wrong:
            return wrong
        before = self.uidnext()
        wrong = [f"a second run: {one}" for one in self.finish(nursery)]
        if self.uidnext() != before or any(event["event"] == "copied" for event in self.events):
            wrong.append("a second run sent something")
        return wrong

    def wait_for_servers(self) -> None:
        """Until the server has let go of the dead: stands in for the settling time of a minute that people have."""
        while serving := self._serving():
            is_over, _, _ = select.select(serving, [], [], GONE_S)
            for handle in serving:
                os.close(handle)
            if not is_over:
                raise RuntimeError(f"Dovecot holds on to a dead connection for {GONE_S:.0f} s")

    def _serving(self) -> list[int]:
        """A handle for each process of Dovecot that serves the destination's user; readable when it has ended."""
        needle = f"[{self.new} ".encode()
        handles = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                if needle in path.read_bytes():
                    handles.append(os.pidfd_open(int(path.parent.name)))
            except OSError:
                continue  # it ended meanwhile
        return handles

    # --- truth ------------------------------------------------------------------------------

    def look(self) -> Look:
        """What is where, now."""
        stored = {one.uid: one.octets for one in self.dest.stored(self.new, FOLDER)}
        return Look(self.at_source(), stored, self.spooled_beside(self.state), self.rows_of(self.state))

    def at_source(self) -> Counter[bytes]:
        """What the source still has, as the destination would keep it."""
        return Counter(self.dest.kept(octets) for _, octets in self.source.served_pop3(self.old))

    def uidnext(self) -> bytes:
        with self.dest.imap(self.new) as imap:
            (answer, _), *_ = imap.command(f'STATUS "{FOLDER}" (UIDNEXT)')
        return answer

    def kept_of(self, uidl: bytes) -> bytes:
        """What the destination keeps of the message of that UIDL."""
        return self.dest.kept(self.originals[uidl])

    def spooled_beside(self, state: Path) -> Counter[bytes]:
        """Messages whose only copy may be the spool: whole files, each named by its own digest."""
        spool = state.with_name(state.name + ".spool")
        whole = []
        for path in spool.glob("*-*-*") if spool.is_dir() else ():
            octets = path.read_bytes()
            if path.name.rpartition("-")[2] == sha256(octets).hexdigest():
                whole.append(octets)
        return Counter(map(self.dest.kept, whole))

    def rows_of(self, state: Path) -> list[Row]:
        """What a state file says; nothing when there is none."""
        if not state.exists():
            return []
        with _opened(state) as connection:
            return [Row(*row) for row in connection.execute("SELECT uid, stage, uid_dest FROM message")]

    def at_any_time(self, look: Look | None = None) -> list[str]:
        """What may never be: a message that is nowhere, one that is there twice, a row that claims what is not so."""
        look = look or self.look()
        wrong = []
        held = look.source + look.spooled + look.dest
        if self.profile.is_collapsing:
            held = Counter(set(held))
        if lost := (self.expected - held).total():
            wrong.append(f"{lost} LOST")
        if twice := (look.dest - self.expected).total():
            wrong.append(f"{twice} TWICE")
        for row in look.rows:
            if (
                row.stage in ("verified", "releasing", "released")
                and row.uid is None
                and not self.profile.is_collapsing
            ):
                wrong.append(f"a row is {row.stage} without a UID")
            if row.uid is not None and look.stored.get(row.uid) != self.kept_of(row.uidl):
                wrong.append(f"a row that is {row.stage} claims UID {row.uid}, which is not its message")
        return wrong

    def after_fault(self, order: Order) -> list[str]:
        """What is wrong after a run that ended badly: nothing may be, and it may have told no more than is recorded."""
        look = self.look()
        events = read_events(order)
        stages = Counter(row.stage for row in look.rows)
        done = sum(stages[stage] for stage in ("verified", "releasing", "released", "duplicate"))
        acknowledged = done + stages["appended"] + stages["set aside"]
        recorded = {"copied": acknowledged, "verified": done, "deleted": stages["released"]}
        wrong = self.at_any_time(look)
        for name, count in recorded.items():
            if told(events, name) > count:  # an event comes after its commit, never before
                wrong.append(f"{told(events, name)} told as {name}, {count} in the books")
        return [f"after the fault: {one}" for one in wrong + self._leaks()]

    def at_end(self, code: int, *, is_tidy: bool = True) -> list[str]:
        """What is wrong after a run that should have ended well."""
        look = self.look()
        wrong = self.at_any_time(look)
        if code != 0:
            return [*wrong, f"exit code {code}"]
        if missing := (self.expected - look.dest).total():
            wrong.append(f"{missing} MISSING")
        left = look.source.total()
        if self.profile.has_deletion and left:
            wrong.append(f"{left} not deleted at the source")
        if not self.profile.has_deletion and not self.profile.deletes_on_fetch and left != len(self.originals):
            wrong.append("something was deleted at the source")
        return wrong + self._books(look) + (self._leftovers() if is_tidy else []) + self._leaks()

    def _books(self, look: Look) -> list[str]:
        count, kept = len(self.originals), self.expected.total()
        released = count if self.profile.has_deletion else 0
        should = dict.fromkeys(("there", "skipped", "set_aside", "gone", "open"), 0)
        should |= {"listed": count, "copied": kept, "verified": kept, "duplicate": count - kept, "released": released}
        tally = next(event["tally"] for event in self.events if event["event"] == "finished")
        wrong = [
            f"the books say {tally[part]} {part}, not {number}"
            for part, number in should.items()
            if tally[part] != number
        ]
        stages = Counter(row.stage for row in look.rows)
        if stages != (Counter(released=count) if released else Counter(verified=kept, duplicate=count - kept)):
            wrong.append(f"the state file says {dict(stages)}")
        return wrong

    def _leftovers(self) -> list[str]:
        allowed = {"state.sqlite", "state.sqlite.lock", "state.sqlite.spool"}
        found = {path.name for path in self.state.parent.iterdir()} - allowed
        wrong = [f"left behind: {', '.join(sorted(found))}"] if found else []
        if self.spooled_beside(self.state):
            wrong.append("left behind: messages in the spool")
        return wrong

    def _leaks(self) -> list[str]:
        """Passwords in anything that the runs left: state, spool, output, trace, log."""
        return leaks_below(self.directory)

    def remove(self) -> None:
        """Frees the disk."""
        shutil.rmtree(self.directory, ignore_errors=True)
        for user in (self.old, self.new):
            shutil.rmtree(self.dest.directory / "mail" / user, ignore_errors=True)


@contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """The state file, read with nothing of the product. A copy: a log is taken in without touching the original."""
    with tempfile.TemporaryDirectory(prefix="pf-look-") as name:
        for suffix in ("", "-wal"):
            if (part := Path(f"{path}{suffix}")).exists():
                shutil.copy(part, Path(name) / part.name)
        connection = sqlite3.connect(Path(name) / path.name)
        try:
            yield connection
        finally:
            connection.close()


def read_text(path: str) -> str:
    return Path(path).read_text(errors="replace") if Path(path).exists() else ""


def read_events(order: Order) -> list[dict[str, Any]]:
    """What a run told. The last line of a killed one may be torn."""
    events = []
    for line in read_text(order.out).splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return events


def told(events: list[dict[str, Any]], name: str) -> int:
    """How many messages the events of that name count."""
    return sum(int(event["messages"]) for event in events if event["event"] == name)
