"""Backups by the real command, killed with SIGKILL at random times, and files into which others write meanwhile.

Afterwards a run without a fault must end with each message once, and nothing of anybody else's may be lost.

    python -m tests.faults.backups [--full] [--seed N]
"""

from __future__ import annotations

import argparse
import itertools
import mailbox
import os
import random
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.stores.mbox_rig import checked, held

from .ground import Case, Ground, merged, play_all
from .nursery import Nursery
from .points import KILLED
from .profiles import small_messages
from .report import Report
from .victim import Order

KILLS, FULL_KILLS = 30, 200  # at random times
BESIDE, FULL_BESIDE = 6, 40  # backups beside which others write
MOST_KILLS = 6  # of one account
MESSAGES = 150
LONGEST_S = 0.4  # such a backup takes a little longer
PAUSE_S = 0.004  # between two messages of somebody else


class Kept:
    """One account at a POP3 server and the directory of its backup."""

    def __init__(self, ground: Ground, name: str, seed: int) -> None:
        self.server = ground.dovecot()
        self.user = f"{name}@example.org"
        self.directory = ground.directory / name
        self.directory.mkdir(mode=0o700)
        self.root = self.directory / "backup"
        self.runs = 0
        self.deliver(list(small_messages(seed, MESSAGES)))

    def deliver(self, messages: list[bytes]) -> None:
        self.server.deliver_many(self.user, messages)
        self.served = Counter(octets for _, octets in self.server.served_pop3(self.user))

    def order(self) -> Order:
        self.runs += 1
        source = f"pop3s://{self.user}@localhost:{self.server.pop3s_port}"
        argv = ["backup", source, str(self.root), "--source-password", "env:PASSWORD", "--json"]
        environment = {
            "SSL_CERT_FILE": str(self.server.ca_file),
            "XDG_STATE_HOME": str(self.directory / "xdg"),
            "PASSWORD": self.server.password,
        }
        out = self.directory / f"out-{self.runs}"
        return Order(argv, environment, str(out), str(out.with_suffix(".err")))

    def finish(self, nursery: Nursery) -> list[str]:
        """Two runs without a fault, and what is wrong afterwards."""
        for is_first in (True, False):
            before = self.octets()
            order = self.order()
            if code := nursery.run(order):
                return [f"exit code {code}: {Path(order.err).read_text(errors='replace')[-300:]}"]
            if not is_first and self.octets() != before:
                return ["a second run changed the files"]
        found = Counter(one.octets for one in held(self.root))
        missing, more = self.served - found, found - self.served
        return [f"{missing.total()} missing, {more.total()} too many"] if missing or more else []

    def octets(self) -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in self.root.rglob("*.mbox*") if path.is_file()}

    def remove(self) -> None:
        shutil.rmtree(self.directory)


def killed(full: bool, seed: int) -> Report:
    """SIGKILL at random times."""
    report = Report("backups killed at random times")
    kills: list[float] = []
    wanted = FULL_KILLS if full else KILLS

    def cases() -> Iterator[tuple[str, Case]]:
        for number in itertools.count(seed):
            if len(kills) >= wanted:
                return
            yield f"killed|{number}", killed_case(ground, number, kills)

    began = time.monotonic()
    with Ground() as ground:
        report.cases, report.violations = play_all(cases())
    report.notes.append(f"{len(kills)} kills of {report.cases} backups, {time.monotonic() - began:.0f} s")
    return report


def killed_case(ground: Ground, seed: int, kills: list[float]) -> Case:
    """A backup that is killed again and again, and then is not."""

    def case(nursery: Nursery) -> list[str]:
        rng = random.Random(f"backup:{seed}")
        kept = Kept(ground, f"killed{seed}", seed)
        for life in range(MOST_KILLS):
            code, after_s = _run_for_a_while(nursery, kept, rng)
            if code == 0:
                break
            if code != KILLED:
                return [f"exit code {code}"]
            kills.append(after_s)
            if rng.random() < 0.3:
                kept.deliver([b"Subject: night %d of %d\r\n\r\nNew\r\n" % (life, seed)])
        wrong = kept.finish(nursery) or [str(one) for one in checked(kept.root)[0]]
        if not wrong:
            kept.remove()
        return wrong

    return case


def _run_for_a_while(nursery: Nursery, kept: Kept, rng: random.Random) -> tuple[int, float]:
    """The exit code of a backup that is killed after a random time, unless it was quicker; and that time."""
    victim = nursery.start(kept.order())
    after_s = rng.uniform(0.0, LONGEST_S)
    if not victim.has_moved(after_s):
        victim.kill()
    return victim.end(), after_s


# --- other programs ---------------------------------------------------------------------------


def with_locks(path: Path, octets: bytes) -> None:
    """Appends as mail programs do, with dotlock and fcntl; mailbox.Error or OSError where somebody holds one."""
    box = mailbox.mbox(path, create=False)
    try:
        box.lock()
        try:
            box.add(octets)
            box.flush()
        finally:
            box.unlock()
    finally:
        box.close()


def without_locks(path: Path, octets: bytes) -> None:
    """Appends in one write, and asks nobody."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, b"From other@example.org Thu Nov 26 10:00:00 2026\n" + octets + b"\n")
    finally:
        os.close(handle)


Write = Callable[[Path, bytes], None]


@contextmanager
def writing(root: Path, write: Write) -> Iterator[list[bytes]]:
    """Somebody else appends to the newest mbox file, again and again. Value: what was written so far."""
    written: list[bytes] = []
    is_over = threading.Event()

    def work() -> None:
        while not is_over.wait(PAUSE_S):
            paths = sorted(root.rglob("*.mbox"), key=lambda path: path.stat().st_mtime_ns)
            octets = b"Subject: another's %d\n\nText %d\n" % (len(written), len(written))
            with suppress(OSError, mailbox.Error):
                if paths:
                    write(paths[-1], octets)
                    written.append(octets)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield written
    finally:
        is_over.set()
        thread.join()


def beside(full: bool, seed: int) -> Report:
    """Others write into the files while a backup runs, is killed, and runs again."""
    report = Report("other programs write meanwhile")
    written: Counter[str] = Counter()

    def cases() -> Iterator[tuple[str, Case]]:
        for number in range(seed, seed + (FULL_BESIDE if full else BESIDE)):
            write = (with_locks, without_locks)[number % 2]
            yield f"beside|{write.__name__}|{number}", beside_case(ground, number, write, written)

    with Ground() as ground:
        report.cases, report.violations = play_all(cases())
    report.notes.append(
        ", ".join(f"{count} messages written {name.replace('_', ' ')}" for name, count in written.items())
    )
    return report


def beside_case(ground: Ground, seed: int, write: Write, told: Counter[str]) -> Case:
    """Backups, killed and not, while somebody else writes."""

    def case(nursery: Nursery) -> list[str]:
        rng = random.Random(f"beside:{seed}")
        kept = Kept(ground, f"beside{seed}", seed)
        codes = []
        with writing(kept.root, write) as written:
            for _ in range(3):
                codes.append(_run_for_a_while(nursery, kept, rng)[0])
            order = kept.order()
            codes.append(nursery.run(order))
        told[write.__name__] += len(written)
        wrong = kept.finish(nursery) or lost(kept.root, written)
        if not wrong:
            kept.remove()
        return [f"{one} (codes {codes}, {len(written)} written beside)" for one in wrong]

    return case


def lost(root: Path, written: list[bytes]) -> list[str]:
    """What others wrote and is not there any more, or what the proof finds besides it."""
    there = b"\n".join(path.read_bytes() for path in root.rglob("*.mbox"))
    wrong = [f"lost: {octets!r}" for octets in written if there.count(octets) != 1]
    others = [one for one in checked(root)[0] if not re.match("extra: ", one.what)]
    return wrong + [str(one) for one in others]


def main(full: bool, seed: int) -> Report:
    """All parts as one report."""
    return merged("backups: SIGKILL, other programs in the files", killed(full, seed), beside(full, seed))


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for part in (killed, beside):
        print(part(options.full, options.seed))


if __name__ == "__main__":
    _command_line()
