"""Very many messages: a million of them within bounded memory, and 20,000 through Dovecot with SIGKILL every 5 seconds.

python -m tests.faults.soak [--full] [--seed N] [--messages N] [--dovecot N]
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.conftest import NO_DOVECOT, is_dovecot_here
from tests.support.mailgen import generate

from .account import Account, read_events, read_text, told
from .ground import Ground
from .nursery import ROOT, Nursery
from .points import KILLED
from .profiles import ALL, Profile
from .report import Report

MILLION = 1_000_000
QUICK = 20_000
LIMIT_MB = 192
QUICK_LIMIT_MB = 128
STATE_LIMIT_MB = 400
THROUGH_DOVECOT = 20_000
KILL_EVERY_S = 5.0
SETTLE_S = "0.3"
MOST_KILLS = 500
PATIENCE_S = 3600.0

PLAIN = Profile("20,000 messages", ALL)


# --- a million ----------------------------------------------------------------------------------


def many(count: int, limit_mb: int, *, has_deletion: bool = False) -> tuple[list[str], str]:
    """What was wrong with a migration of so many messages in a process of its own, and its figures."""
    directory = Path(tempfile.mkdtemp(prefix="pf-many-"))
    words = [str(count), str(directory / "state"), *(["deletion"] if has_deletion else [])]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.faults.ferryman", *words],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if done.returncode:
        return [f"it ended with {done.returncode}: {done.stderr[-500:]}"], ""
    figures: dict[str, Any] = json.loads(done.stdout)
    released = count if has_deletion else 0
    should = {
        "exit": [0, 0],
        "books": [count, count, count, released, 0],
        "lost": 0,
        "twice": 0,
        "altered": 0,
        "left": count - released,
    }
    wrong = [f"{name}: {figures[name]}, not {value}" for name, value in should.items() if figures[name] != value]
    for name, limit in (("rss_mb", limit_mb), ("state_mb", STATE_LIMIT_MB)):
        if figures[name] > limit:
            wrong.append(f"{name}: {figures[name]}, more than {limit}")
    what = "moved and deleted at the source" if has_deletion else "copied"
    return wrong, (
        f"{count:,} messages {what} in {figures['seconds']:.0f} s, at most {figures['rss_mb']:.0f} MB"
        f" ({figures['idle_mb']:.0f} MB before it began), state file {figures['state_mb']:.0f} MB"
    )


# --- through Dovecot ----------------------------------------------------------------------------


class Siege:
    """One migration through Dovecot that is killed every few seconds until it is done."""

    def __init__(self, account: Account, nursery: Nursery) -> None:
        self.account = account
        self.kills = 0
        self.wrong: list[str] = []
        self._nursery = nursery

    def run(self, every_s: float) -> None:
        """Until a run ends by itself."""
        while self.kills < MOST_KILLS and not self.wrong:
            self.account.wait_for_servers()
            order = self.account.order("--settle", SETTLE_S)
            victim = self._nursery.start(order)
            if not victim.has_moved(every_s):
                victim.kill()
            code = victim.end()
            copied = told(read_events(order), "copied")
            if code == 0:
                return
            if code != KILLED:
                self.wrong.append(f"exit code {code}: {read_text(order.err)[-300:]}")
            rows = sum(row.stage not in ("listed", "intended") for row in self.account.rows_of(self.account.state))
            if copied > rows:
                self.wrong.append(f"{copied} told as copied, {rows} in the books")
            self.kills += 1
        self.wrong.append(f"not done after {self.kills} kills")


def through_dovecot(count: int, seed: int, every_s: float = KILL_EVERY_S) -> Report:
    """So many messages of about 4 kB, most of them usual, some odd, some twins."""
    report = Report(f"{count:,} messages through Dovecot, SIGKILL every {every_s:.0f} s", cases=count)
    began = time.monotonic()
    with Ground() as ground, Nursery() as nursery:
        siege = Siege(ground.account(PLAIN, seed, generate(seed, count, odd=0.02)), nursery)
        ready_s = time.monotonic() - began
        siege.run(every_s)
        report.violations = siege.wrong or siege.account.finish(nursery)
        spent_s = time.monotonic() - began - ready_s
    report.notes.append(f"{siege.kills} kills, {spent_s:.0f} s, {count / spent_s:.0f} messages a second")
    return report


# --- the programme ------------------------------------------------------------------------------


def main(full: bool, seed: int) -> Report:
    """Bounded memory, and in full a million messages and Dovecot under fire."""
    report = Report("soak")
    plan = [(MILLION, LIMIT_MB, False), (QUICK * 5, LIMIT_MB, True)] if full else [(QUICK, QUICK_LIMIT_MB, True)]
    for count, limit_mb, has_deletion in plan:
        wrong, figures = many(count, limit_mb, has_deletion=has_deletion)
        report.cases += count
        report.violations += wrong
        report.notes.append(figures)
    if full:
        if is_dovecot_here():
            part = through_dovecot(THROUGH_DOVECOT, seed)
            report.cases += part.cases
            report.violations += part.violations
            report.notes += [f"{part.name}: {note}" for note in part.notes]
        else:
            report.not_run.append(f"messages through Dovecot: {NO_DOVECOT}")
    return report


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--messages", type=int, help="only so many messages in bounded memory")
    parser.add_argument("--dovecot", type=int, help="only so many messages through Dovecot")
    options = parser.parse_args()
    if options.messages:
        print(*many(options.messages, LIMIT_MB))
    elif options.dovecot:
        print(through_dovecot(options.dovecot, options.seed))
    else:
        print(main(options.full, options.seed))


if __name__ == "__main__":
    _command_line()
