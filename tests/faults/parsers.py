"""Parsers: no octets make a reader end otherwise than with a value or a declared error, or take a second.

Quick: the octets that once found a fault, the seeds, and a fixed number of their mutations. Full: a search guided by
coverage (atheris) in a process for each target; where atheris is not installed, mutations for the same time.

python -m tests.faults.parsers [--full] [--seed N]
"""

from __future__ import annotations

import argparse
import base64
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from itertools import chain, repeat
from pathlib import Path

from tests.fuzz.mutator import mutations
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import fault_of, watched

from .report import Report

ROOT = Path(__file__).resolve().parent.parent.parent
GUIDED_S = 60  # for each target: six of them, two at a time, take three minutes
PATIENCE_S = 60  # more than that, until a search has to have ended
NAME = "octets that no reader expects"

_UNITS = re.compile(r"stat::number_of_executed_units: *([0-9]+)")


def quick(seed: int) -> Report:
    """Known octets and some mutations of them, for every target."""
    report = Report(NAME)
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for name, tried, spent, faults in pool.map(_replay, TARGETS, repeat(seed)):
            report.cases += tried
            report.violations += [f"{name}: {fault}" for fault in faults[:5]]
            report.notes.append(f"{name}: {tried:,} inputs in {spent:.1f} s")
    return report


def _replay(name: str, seed: int) -> tuple[str, int, float, list[str]]:
    target = TARGETS[name]
    known = (*target.found, *target.seeds)
    began = time.monotonic()
    faults: list[str] = []
    with watched():
        for octets in chain(known, mutations(known, seed, target.tries)):
            if fault := fault_of(target.run, octets):
                faults.append(fault)
    return name, len(known) + target.tries, time.monotonic() - began, faults


def full(seed: int, seconds: int = GUIDED_S) -> Report:
    """A search in a process for each target, as many at a time as there are cores."""
    report = Report(NAME)
    if importlib.util.find_spec("atheris") is None:
        report.notes.append("atheris is not installed: mutations by chance instead, for the same time")
    with tempfile.TemporaryDirectory(prefix="pf-fuzz-") as scratch, ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for name, tried, fault in pool.map(_search, TARGETS, repeat(seed), repeat(seconds), repeat(scratch)):
            report.cases += tried
            report.violations += [f"{name}: {fault}"] if fault else []
            report.notes.append(f"{name}: {tried:,} inputs in {seconds} s")
    return report


def _search(name: str, seed: int, seconds: int, scratch: str) -> tuple[str, int, str]:
    """How many octets were tried, and what was found: empty when nothing was."""
    words = ["--seconds", str(seconds), "--seed", str(seed), "--scratch", scratch]
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz", name, *words],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=seconds + PATIENCE_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return name, 0, "the search came to no end"
    told = done.stdout.decode("utf-8", "replace")
    units = _UNITS.search(told)
    tried = int(units[1]) if units else 0
    return name, tried, _what_was_found(told) if done.returncode or not tried else ""


def _what_was_found(told: str) -> str:
    """The exception and the octets, out of what the search told."""
    octets = re.search(r"^Base64: (\S*)$", told, re.MULTILINE)
    error = re.search(r"^\s*([A-Za-z.]*(?:Error|Exception|TooSlow).*)$", told, re.MULTILINE)
    what = error[1] if error else told.strip()[-300:]
    return f"{what} for {base64.b64decode(octets[1])!r}" if octets else what


def main(is_full: bool, seed: int) -> Report:
    return full(seed) if is_full else quick(seed)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.faults.parsers", description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    found = main(args.full, args.seed)
    print("\n".join((*found.violations, *found.notes)))
    sys.exit(bool(found.violations))
