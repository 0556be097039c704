"""The command ``popferry`` as a person has it: a process of its own, between two servers of the tests."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tests.support.server import MailServer

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 240

# Between vfork and exec a process counts as large as its parent was: a small parent measures it.
MEASURE = """
import os, sys
process = os.posix_spawn(sys.argv[2], sys.argv[2:], os.environ)
_, status, usage = os.wait4(process, 0)
with open(sys.argv[1], "w") as peak:
    peak.write(str(usage.ru_maxrss))
sys.exit(os.waitstatus_to_exitcode(status))
"""

# The command on a machine whose clock stands so many seconds ahead.
PREPARED = """
import runpy, sys
exec(sys.argv.pop(1))
runpy.run_module("migrate", run_name="__main__", alter_sys=True)
"""

Json = dict[str, Any]


def ahead(seconds: float) -> str:
    """For ``PREPARED``: the clock of the machine is so many seconds ahead."""
    return f"import time; now = time.time; time.time = lambda: now() + {seconds}"


@dataclass(frozen=True)
class Ran:
    """How one run ended, and what it said."""

    code: int
    events: list[Json]
    err: str

    def all(self, name: str) -> list[Json]:
        """The events of that name, in order."""
        return [event for event in self.events if event["event"] == name]

    def one(self, name: str) -> Json:
        (event,) = self.all(name)
        return event

    @property
    def tally(self) -> Json:
        tally: Json = self.one("finished")["tally"]
        return tally


@dataclass
class Ferry:
    """One migration, run as often as a test wants: from ``old`` at one server into a folder of ``new`` at another.

    ``source`` and ``dest`` are URLs; the environment trusts what the servers show.
    """

    source: str
    dest: str
    state: Path
    environment: dict[str, str]
    before: str = ""  # Python that is run in front of the program
    patience_s: float = PATIENCE_S

    def command(self, *options: str) -> list[str]:
        program = ("-c", PREPARED, self.before) if self.before else ("-m", "migrate")
        return [
            *(sys.executable, *program, "migrate", self.source, self.dest),
            *("--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"),
            *("--state", str(self.state), "--json", *options),
        ]

    def through(self, port: int) -> Ferry:
        """The same migration by another port of the destination's host: a cable that a test holds in its hand."""
        return replace(self, dest=re.sub(r"(?<=@localhost:)\d+", str(port), self.dest))

    def ahead(self, days: int) -> Ferry:
        """The same migration, so many days later."""
        return replace(self, before=ahead(days * 86400))

    def start(
        self, *options: str, stdout: int = subprocess.DEVNULL, stderr: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        """The command as a process that the test may kill."""
        return subprocess.Popen(self.command(*options), env=self.environment, cwd=ROOT, stdout=stdout, stderr=stderr)

    def run(self, *options: str) -> Ran:
        """The command, run to its end."""
        return self._run(self.command(*options))

    def other(self, command: str, *options: str) -> Ran:
        """Another command for the same two accounts, with the same passwords and state file."""
        words = self.command(*options)
        words[words.index("migrate", words.index(self.source) - 1)] = command
        return self._run(words)

    def measure(self, *options: str) -> tuple[Ran, int]:
        """The same, and the most memory that the process held, in KiB."""
        peak = self.state.with_suffix(".peak")
        ran = self._run([sys.executable, "-I", "-S", "-c", MEASURE, str(peak), *self.command(*options)])
        return ran, int(peak.read_text())

    def _run(self, command: list[str]) -> Ran:
        done = subprocess.run(
            command, env=self.environment, cwd=ROOT, capture_output=True, timeout=self.patience_s, check=False
        )
        events = [json.loads(line) for line in done.stdout.splitlines()]
        return Ran(done.returncode, events, done.stderr.decode())

    def status(self) -> Json:
        """What ``popferry status --json`` tells."""
        done = subprocess.run(
            [sys.executable, "-m", "migrate", "status", "--state", str(self.state), "--json"],
            env=self.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=True,
        )
        facts: Json = json.loads(done.stdout)
        return facts


def ferry(
    state: Path,
    source: MailServer,
    old: str,
    dest: MailServer,
    new: str,
    folder: str = "Old",
    *,
    source_port: int | None = None,
    dest_port: int | None = None,
    scheme: str = "{}s",
) -> Ferry:
    """A migration over TLS, or with another scheme. The ports are those of a relay, if one stands between."""
    pop3, imap = scheme.format("pop3"), scheme.format("imap")
    trusted = state.with_name("trusted.pem")
    trusted.write_bytes(b"".join(server.ca_file.read_bytes() for server in {id(s): s for s in (source, dest)}.values()))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("XDG_STATE_HOME", "SSL_CERT_DIR")
    } | {
        "SSL_CERT_FILE": str(trusted),
        "XDG_STATE_HOME": str(state.parent / "xdg"),
        "OLD_PASSWORD": source.password,
        "NEW_PASSWORD": dest.password,
    }
    is_tls = scheme == "{}s"
    pop3_port = source_port or (source.pop3s_port if is_tls else source.pop3_port)
    imap_port = dest_port or (dest.imaps_port if is_tls else dest.imap_port)
    return Ferry(
        f"{pop3}://{old}@localhost:{pop3_port}",
        f"{imap}://{new}@localhost:{imap_port}/{folder}",
        state,
        environment,
    )


def commands_of(octets: bytes, *names: bytes) -> list[bytes]:
    """The lines of a POP3 dialogue that begin with one of these words, as they went over the wire."""
    return [line for line in octets.split(b"\r\n") if line.split(b" ")[0].upper() in names]
