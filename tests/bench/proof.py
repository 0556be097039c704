"""What ``popferry verify DIR`` costs, beside sha256sum over the same files: python -m tests.bench.proof [--gb N].

The backup is made by the store itself, in files of a gigabyte, of the mail that scripts/bench moves; then both
programs run in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from migrate.commands import Append, Letter, OpenDest, OpenMailbox
from migrate.model import INBOX, DateSource, Flags, InternalDate
from migrate.rules.dedupe import Digester
from migrate.stores.base import Collector
from migrate.stores.mbox import MboxAppender

from .mail import SETS, MailSet

FILE = 1_000_000_000  # octets, about
MONTH_S = 31 * 86_400
BATCH = 4 * 1024 * 1024
ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Took:
    """One run of a program."""

    wall_s: float
    cpu_s: float
    peak_mb: float = 0.0


def fill(root: Path, mail: MailSet, octets: int) -> tuple[int, int]:
    """Makes a backup of at least so many octets. Value: its messages and files."""
    now = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    store = MboxAppender(root, clock=lambda: now)
    _do(store, OpenDest(0))
    _do(store, OpenMailbox(0, INBOX, create=True))
    written = messages = 0
    for batch in _batches(mail, octets, root.with_name("spill")):
        _do(store, Append(0, INBOX, batch))
        messages += len(batch)
        written += sum(letter.message.octets for letter in batch)
        for letter in batch:
            letter.message.discard()
        now = datetime(2026, 1, 15, tzinfo=UTC).timestamp() + written // FILE * MONTH_S
    store.close()
    return messages, len(list(root.rglob("*.mbox")))


def _do(store: MboxAppender, command: Append | OpenDest | OpenMailbox) -> None:
    store.submit(command)
    for outcome in store.turn():
        if outcome.error is not None:
            raise outcome.error


def _batches(mail: MailSet, octets: int, spill: Path) -> Iterator[tuple[Letter, ...]]:
    spill.mkdir()
    date = InternalDate(datetime(2019, 1, 1, tzinfo=UTC), DateSource.RECEIVED)
    made = size = 0
    batch: list[Letter] = []
    for round_ in count():
        for octets_of_one in mail.messages():
            collector = Collector(Digester, spill)
            collector.update(b"X-Round: %d\r\n" % round_ + octets_of_one)
            batch.append(Letter(collector.finish(), Flags(), date))
            size += len(octets_of_one)
            made += len(octets_of_one)
            if size >= BATCH or len(batch) >= 100 or made >= octets:
                yield tuple(batch)
                batch, size = [], 0
            if made >= octets:
                return


def sha256sum(files: Sequence[Path]) -> Took:
    began = time.monotonic()
    process = subprocess.Popen(["sha256sum", *map(str, files)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError("sha256sum failed")
    return Took(time.monotonic() - began, used.ru_utime + used.ru_stime)


def verify(root: Path) -> Took:
    facts = root.with_name("facts.json")
    began = time.monotonic()
    command = [sys.executable, "-m", "tests.bench.timed", str(facts), "verify", str(root)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    wall_s = time.monotonic() - began
    if done.returncode:
        raise RuntimeError(f"verify ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    told = json.loads(facts.read_text())
    return Took(wall_s, told["cpu_s"], told["peak_mb"])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proof", description=__doc__)
    parser.add_argument("--gb", type=float, default=10.0, help="of mail (10)")
    parser.add_argument("--mail", choices=[name for name in SETS if name != "large"], default="mixed")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pf-proof-") as scratch:
        root = Path(scratch) / "backup"
        messages, files = fill(root, SETS[options.mail], int(options.gb * 1e9))
        paths = sorted(path for path in root.rglob("2*") if path.is_file())
        octets = sum(path.stat().st_size for path in paths)
        print(f"{messages:,} messages, {files} files and their indexes, {octets / 1e9:.1f} GB", flush=True)
        print(f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}", flush=True)
        both = [(sha256sum(paths), verify(root)) for _ in range(options.rounds)]
    _tell("sha256sum", [one for one, _ in both])
    _tell("popferry verify", [one for _, one in both])
    ratios = [(ours.wall_s / sums.wall_s, ours.cpu_s / sums.cpu_s) for sums, ours in both]
    wall, cpu = (statistics.median(one) for one in zip(*ratios, strict=True))
    print(f"popferry verify / sha256sum: {wall:.2f} of its time, {cpu:.2f} of its CPU (medians)")
    return 0


def _tell(name: str, runs: Sequence[Took]) -> None:
    walls, cpus = ([getattr(one, what) for one in runs] for what in ("wall_s", "cpu_s"))
    peak = max(one.peak_mb for one in runs)
    words = f", at most {peak:.0f} MB of memory" if peak else ""
    print(f"{name}: {statistics.median(walls):.1f} s, {statistics.median(cpus):.1f} s of CPU (medians){words}")


if __name__ == "__main__":
    sys.exit(main())
