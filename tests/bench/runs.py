"""One run each of popferry and of the raw limit, measured alike."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from .ground import PATIENCE_S, Ground

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Measured:
    """Seconds of a run, from its first connection and as a whole; CPU and memory where they were asked for."""

    seconds: float
    whole_s: float = 0.0
    cpu_s: float = 0.0
    peak_mb: float = 0.0


def limit(ground: Ground, ports: list[int], user: str, count: int, stream: Path, *, tls: bool = False) -> Measured:
    """Both prepared streams at once: all of POP3, and the same messages into IMAP."""
    new = ground.new_user()
    pop3, imap = ports
    seconds = ground.send(
        (
            (pop3, ground.pop3_preamble(user), ground.retrieve_all(count)),
            (imap, ground.imap_preamble(new), stream),
        ),
        tls=tls,
    )
    _check(ground, new, count)
    ground.forget(new)
    return Measured(seconds, seconds)


def popferry(
    ground: Ground, ports: list[int], user: str, count: int, *options: str, tls: bool = False, new: str = ""
) -> Measured:
    """The command as a person runs it: state file on the disk, everything that is safe switched on."""
    dest = new or ground.new_user()
    state = ground.disk / f"{user}-{dest}.sqlite"
    facts = ground.directory / "facts.json"
    suffix = "s" if tls else "+insecure"
    command = [
        *(sys.executable, "-m", "tests.bench.timed", str(facts), "migrate", "-q"),
        *(f"pop3{suffix}://{user}@localhost:{ports[0]}", f"imap{suffix}://{dest}@localhost:{ports[1]}/INBOX"),
        *("--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"),
        *("--state", str(state), *options),
    ]
    trusted = ground.directory / "trusted.pem"
    trusted.write_bytes(ground.source.ca_file.read_bytes() + ground.dest.ca_file.read_bytes())
    environment = {
        **os.environ,
        "OLD_PASSWORD": "secret",
        "NEW_PASSWORD": "secret",
        "SSL_CERT_FILE": str(trusted),
        "XDG_STATE_HOME": str(ground.disk),
    }
    began = time.monotonic()
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    if done.returncode != 0:
        raise RuntimeError(f"popferry ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    told = json.loads(facts.read_text())
    if not new:
        _check(ground, dest, count)
        ground.forget(dest)
    return Measured(told["end_s"] - told["first_s"], told["end_s"] - began, told["cpu_s"], told["peak_mb"])


def _check(ground: Ground, user: str, count: int) -> None:
    """Nothing is worth measuring that did not arrive."""
    with ground.dest.imap(user) as imap:
        lines, _ = imap.command("STATUS INBOX (MESSAGES)")[0]
    if lines != b"* STATUS INBOX (MESSAGES %d)\r\n" % count:
        raise RuntimeError(f"{count} messages should have arrived: {lines!r}")
