"""The real command as a process of its own, and a look for passwords in all that it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ..support.dovecot import Dovecot
from ..support.embedded import Embedded
from ..support.embedded.imap import ImapSession
from ..support.embedded.pop3 import Pop3Session
from ..support.embedded.session import ServerSession
from .canary import DEST, REAL, SOURCE, leaks
from .servers import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
UNFINISHED = (1, 4, 10, 11, 20, 21, 22, 30, 31, 32, 130, 143)


@dataclass(frozen=True)
class Ran:
    """What one run left behind."""

    code: int
    out: str
    err: str
    seconds: float

    def told(self, code: int, *essence: str) -> None:
        """Needs this exit code, and every fragment in what was said to the person."""
        print(self.code, f"after {self.seconds:.1f} s:", self.err)  # shown where a test fails, and with -rP
        assert self.code == code, self.out
        for text in essence:
            assert text in self.err, f"{text!r} is not in:\n{self.err}"

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of a run with ``--json``."""
        return [json.loads(line) for line in self.out.splitlines()]


class Running:
    """A run under way. ``wait`` gives its end, after the search for passwords."""

    def __init__(self, place: Path, command: Sequence[str], environment: dict[str, str], *, may_show: bool) -> None:
        self._place = place
        self._may_show = may_show
        self._began_s = time.monotonic()
        self._arguments: set[bytes] = set()
        self._out, self._err = place / "stdout", place / "stderr"
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, env=environment, cwd=ROOT
            )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def has_said(self, text: str) -> None:
        """Waits until this stands in what was said so far, on either stream."""
        self._until(lambda: text in self._err.read_text() + self._out.read_text(), f"never said: {text}")

    def wait(self) -> Ran:
        self._until(lambda: self.process.poll() is not None, "never ended")
        ran = Ran(
            self.process.returncode,
            self._out.read_text(),
            self._err.read_text(),
            time.monotonic() - self._began_s,
        )
        self._search()
        records = [path.read_text() for path in (self._place / "log", self._place / "trace") if path.exists()]
        for text in (ran.out, ran.err, *records):
            assert "Traceback" not in text or text in records
            assert not re.search(r"[^\n\x20-\x7e\xa0-\U0010ffff]", text), f"control characters in {text!r}"
        return ran

    def _until(self, is_so: Callable[[], bool], complaint: str) -> None:
        give_up_s = time.monotonic() + PATIENCE_S
        while not is_so():
            self._look_at_arguments()
            if time.monotonic() > give_up_s or (self.process.returncode is not None):
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"{complaint}\n{self._err.read_text()}")
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(0.01)

    def _look_at_arguments(self) -> None:
        """What everybody on this machine can read of the process and its children."""
        processes = Path("/proc")
        with contextlib.suppress(OSError):
            pid = self.process.pid
            children = (processes / f"{pid}/task/{pid}/children").read_text().split()
            for one in (pid, *children):
                self._arguments.add((processes / f"{one}/cmdline").read_bytes())

    def _search(self) -> None:
        """Everything of this run: streams, log, trace, state and spool, and the argument lists."""
        files = [path for path in self._place.rglob("*") if path.is_file()]
        found = [line for path in files for line in leaks(path.read_bytes(), path.name)]
        if not self._may_show:
            found += [line for octets in self._arguments for line in leaks(octets, "an argument list")]
        assert not found, "\n".join(found)


@dataclass
class Popferry:
    """The command with the files of one test under ``place``."""

    place: Path
    environment: dict[str, str] = field(default_factory=dict)
    program: Sequence[str] = (sys.executable, "-m", "migrate")

    @property
    def state(self) -> Path:
        return self.place / "state" / "s.sqlite"

    def another(self, name: str) -> Popferry:
        """The same with files of its own."""
        place = self.place / name
        place.mkdir()
        return Popferry(place, self.environment, self.program)

    def begin(self, *words: str, may_show: bool = False) -> Running:
        """Starts it with exactly these words. ``may_show``: the words themselves hold a canary."""
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.place / "home"),
            "XDG_STATE_HOME": str(self.place / "home"),
            "LC_ALL": "C.UTF-8",
            "PF_SOURCE": SOURCE,
            "PF_DEST": DEST,
            **self.environment,
        }
        return Running(self.place, [*self.program, *words], environment, may_show=may_show)

    def run(self, *words: str, may_show: bool = False) -> Ran:
        return self.begin(*words, may_show=may_show).wait()

    @property
    def usual(self) -> list[str]:
        """The options of every run."""
        secrets = ["--source-password", "env:PF_SOURCE", "--dest-password", "env:PF_DEST"]
        records = ["--log-file", str(self.place / "log"), "--trace", str(self.place / "trace")]
        return [*secrets, *records, "--state", str(self.state), "--settle", "0.2", "-v"]

    def begin_migration(self, source: str, dest: str, *words: str) -> Running:
        usual = [word for word in self.usual if word != "-v"] if "-q" in words else self.usual
        return self.begin("migrate", source, dest, *usual, *words)

    def migrate(self, source: str, dest: str, *words: str) -> Ran:
        ran = self.begin_migration(source, dest, *words).wait()
        if ran.code in UNFINISHED:
            assert ran.err.splitlines()[-1] == f"State: {self.state}", ran.err
        return ran


@dataclass
class Ends:
    """A source and a destination with a password each, and their endpoints in clear text."""

    source: Embedded
    dest: Embedded

    @property
    def words(self) -> tuple[str, str]:
        return (
            f"pop3+insecure://alice@127.0.0.1:{self.source.pop3_port}",
            f"imap+insecure://bob@127.0.0.1:{self.dest.imap_port}/Old",
        )

    @property
    def imap_words(self) -> tuple[str, str]:
        """The same with IMAP at both ends."""
        return f"imap+insecure://alice@127.0.0.1:{self.source.imap_port}/INBOX", self.words[1]

    def deliver(self, *messages: bytes) -> None:
        self.source.deliver_many("alice", messages)

    def check_complete(self, *messages: bytes) -> None:
        """Every message once, octet for octet."""
        assert sorted(one.octets for one in self.dest.stored("bob", "Old")) == sorted(messages)


MakeEnds = Callable[..., Ends]


@pytest.fixture
def popferry(tmp_path: Path) -> Popferry:
    place = tmp_path / "place"
    place.mkdir()
    return Popferry(place)


@pytest.fixture
def ends() -> Iterator[MakeEnds]:
    """Makes a source and a destination; what they do instead of working is given as sessions."""
    with contextlib.ExitStack() as stack:

        def make(
            pop3: type[ServerSession] = Pop3Session,
            imap: type[ServerSession] = ImapSession,
            source_imap: type[ServerSession] = ImapSession,
        ) -> Ends:
            return Ends(
                stack.enter_context(Embedded(password=SOURCE, pop3=pop3, imap=source_imap)),
                stack.enter_context(Embedded(password=DEST, imap=imap)),
            )

        yield make


@pytest.fixture(scope="package")
def real() -> Iterator[Dovecot]:
    """A Dovecot whose password is a canary."""
    # Without its penalty of some seconds for an address that came with a wrong password.
    with Dovecot(
        password=REAL, extra="service anvil {\n  unix_listener anvil-auth-penalty {\n    mode = 0\n  }\n}"
    ) as server:
        yield server


def mail(number: int, text: str = "") -> bytes:
    """A small message that is like no other."""
    head = f"Message-ID: <{number}@example.org>\r\nDate: Mon, 2 Mar 2020 10:00:00 +0100\r\nSubject: {number}\r\n"
    return f"{head}\r\n{text or f'This is message {number}.'}\r\n".encode()


FIVE = [mail(number) for number in range(1, 6)]
