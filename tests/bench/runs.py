"""One run each of popferry and of the raw limit, measured alike."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, replace
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
    check(ground, new, count)
    ground.forget(new)
    return Measured(seconds, seconds)


def raw_listing(ground: Ground, port: int, user: str, last: range = range(0)) -> Measured:
    """STAT, UIDL, LIST, RETR of these numbers and QUIT in one flight; all that comes back is thrown away."""
    seconds = ground.send(((port, ground.pop3_preamble(user), ground.list_all(last)),))
    return Measured(seconds, seconds)


def raw_mailbox(ground: Ground, port: int, user: str, last: range = range(0)) -> Measured:
    """The same of IMAP's INBOX: uid and size of every message, and the octets of these."""
    seconds = ground.send(((port, ground.imap_preamble(user), ground.list_mailbox(last)),))
    return Measured(seconds, seconds)


def popferry(
    ground: Ground,
    ports: list[int],
    user: str,
    count: int,
    *options: str,
    tls: bool = False,
    new: str = "",
    code: int = 0,
) -> Measured:
    """The command as a person runs it: state file on the disk, everything that is safe switched on.

    ``count`` messages have to be at the destination then. ``new``: the user there, who is kept with the state file;
    else nobody so far, who is forgotten. ``code``: how it has to end.
    """
    dest = new or ground.new_user()
    suffix = "s" if tls else "+insecure"
    done = _popferry(
        ground,
        *(
            "migrate",
            f"pop3{suffix}://{user}@localhost:{ports[0]}",
            f"imap{suffix}://{dest}@localhost:{ports[1]}/INBOX",
        ),
        *("--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"),
        *("--state", str(_state(ground, user, dest)), *options),
        code=code,
    )
    check(ground, dest, count)
    if not new:
        ground.forget(dest)
        forget_state(ground, user, dest)
    return done


def backup(ground: Ground, source: str, backup: str) -> Measured:
    """One night of an endpoint, into a directory that stays (``mbox:PATH`` or ``maildir:PATH``). Its seconds are those
    of the whole command: of a night the start of Python is a part."""
    done = _popferry(ground, "backup", source, backup, "--source-password", "env:OLD_PASSWORD")
    return replace(done, seconds=done.whole_s)


def _popferry(ground: Ground, command: str, *arguments: str, code: int = 0) -> Measured:
    facts = ground.directory / "facts.json"
    trusted = ground.directory / "trusted.pem"
    trusted.write_bytes(ground.source.ca_file.read_bytes() + ground.dest.ca_file.read_bytes())
    environment = {
        **os.environ,
        "OLD_PASSWORD": "secret",
        "NEW_PASSWORD": "secret",
        "SSL_CERT_FILE": str(trusted),
        "XDG_STATE_HOME": str(ground.disk),
        "PYTHONPYCACHEPREFIX": str(ground.directory / "pycache"),  # as it is where popferry is installed
    }
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.timed", str(facts), command, "-q", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_S,
    )
    whole_s = time.monotonic() - began
    if done.returncode != code:
        raise RuntimeError(f"popferry ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-2000:]}")
    told = json.loads(facts.read_text())
    return Measured(told["end_s"] - told["first_s"], whole_s, told["cpu_s"], told["peak_mb"])


def forget_state(ground: Ground, user: str, dest: str) -> None:
    """The next run between these two is the first one."""
    for path in ground.disk.glob(f"{_state(ground, user, dest).name}*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()


def _state(ground: Ground, user: str, dest: str) -> Path:
    return ground.disk / f"{user}-{dest}.sqlite"


def check(ground: Ground, user: str, count: int) -> None:
    """Nothing is worth measuring that did not arrive."""
    with ground.dest.imap(user) as imap:
        lines, _ = imap.command("STATUS INBOX (MESSAGES)")[0]
    if lines != b"* STATUS INBOX (MESSAGES %d)\r\n" % count:
        raise RuntimeError(f"{count} messages should have arrived: {lines!r}")
