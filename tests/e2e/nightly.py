"""An account, the directory of its nightly backup, and an account to restore into: real command, real servers."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.stores.mbox_rig import held
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate, odd_messages

from .ferry import PATIENCE_S, ROOT, Ferry, Json, Ran, ferry

FOLDER = "Back"
CARE = ("--settle", "0")


class Nightly:
    """An account at a POP3 server, the directory of its backup, and an IMAP account to restore into."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        self.dovecot = dovecot
        self.old, self.new = f"old-{user}", f"new-{user}"
        self.root = scratch / "backup"
        self.second = scratch / "second"  # of the account that was restored into
        self.ferry: Ferry = ferry(scratch / "state.sqlite", dovecot, self.old, dovecot, self.new, FOLDER)

    def deliver(self, messages: list[bytes]) -> list[bytes]:
        """What POP3 serves of them."""
        self.dovecot.deliver_many(self.old, messages)
        return [self.dovecot.served(octets) for octets in messages]

    def run(self, *words: str, is_json: bool = True) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "migrate", *words, *(["--json"] if is_json else [])],
            env=self.ferry.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        events: list[Json] = [json.loads(line) for line in done.stdout.splitlines()] if is_json else []
        return Ran(done.returncode, events, done.stderr.decode() + ("" if is_json else done.stdout.decode()))

    def words(self) -> list[str]:
        return ["backup", self.ferry.source, str(self.root), "--source-password", "env:OLD_PASSWORD"]

    def backup(self, *options: str, is_json: bool = True) -> Ran:
        return self.run(*self.words(), *options, is_json=is_json)

    def verify(self, is_json: bool = True) -> Ran:
        return self.run("verify", str(self.root), is_json=is_json)

    def restore(self, *options: str, place: Path | None = None) -> Ran:
        words = ("restore", str(place or self.root), self.ferry.dest, "--dest-password", "env:NEW_PASSWORD")
        return self.run(*words, *CARE, *options)

    def backup_of_restored(self) -> Ran:
        return self.run("backup", self.ferry.dest, str(self.second), "--source-password", "env:NEW_PASSWORD")

    def stored(self) -> list[Any]:
        return self.dovecot.stored(self.new, FOLDER)

    def kept(self) -> Counter[bytes]:
        return Counter(one.octets for one in held(self.root))


def torture() -> list[bytes]:
    """Everything that a format of lines could stumble over, as far as POP3 can serve it."""
    lines = b"From me\r\n>From you\r\n>>From them\r\n.\r\n..\r\n"
    return [
        *(octets for octets in odd_messages().values() if octets),
        b"A: 1\r\n\r\n" + lines * 3,
        lines,
        b"\r\n" * 5,
        b"A: 2\r\n\r\nFrom \r\n\r\nFrom a@b Thu Nov 26 00:00:00 2026\r\n\r\n",
        b"A: 3\r\n\r\n" + b">" * 70_000 + b"From x\r\n",
        b"A: 4\r\n\r\n" + b"y" * 300_000 + b"\rz\r\n",
        b"A: 5\r\r\n\r\r\n\r\n\0\0\r\n\xff\r\n",
    ]


def assert_restored(nightly: Nightly, served: list[bytes]) -> None:
    found = Counter(one.octets for one in nightly.stored())
    wanted = Counter(map(nightly.dovecot.kept, served))
    assert ((wanted - found).total(), (found - wanted).total()) == (0, 0), "(missing, too many)"


def assert_goes_on_after_a_rebuild(nightly: Nightly, state: str) -> None:
    """A backup that lost the directory ``state``, as one does that was copied with ``DIR/*``, doubles nothing."""
    served = nightly.deliver(list(generate(5, 5, odd=0)))
    assert nightly.backup().code == 0
    shutil.rmtree(nightly.root / state)
    served += nightly.deliver(list(generate(6, 5, odd=0)))
    refused = nightly.backup(is_json=False)
    assert (refused.code, (nightly.root / state).exists()) == (2, False)
    said = refused.err.partition("popferry rebuild ")[2].partition(" makes a new one")[0]
    assert nightly.run("rebuild", *shlex.split(said), "--source-password", "env:OLD_PASSWORD").code == 0
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"], ran.all("listed")[0]["open"]) == (0, 10, 5)
    assert nightly.kept() == Counter(served)
