"""scripts/faults: runs the whole fault programme, prints its table, and ends with 0 when nothing was violated."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import platform
import random
import sys
import time
from collections.abc import Callable
from datetime import date

from . import simulator
from .report import Report

Part = Callable[[bool, int], Report]

# Parts of their own modules: name -> module with ``main(full, seed)``.
MODULES = {
    "damage": "tests.faults.damage",
    "tls": "tests.faults.tls",
    "hostile": "tests.faults.hostile",
    "processes": "tests.faults.processes",
    "syscalls": "tests.faults.syscalls",
    "backups": "tests.faults.backups",
    "cuts": "tests.faults.cuts",
    "parsers": "tests.faults.parsers",
    "soak": "tests.faults.soak",
}
ONLY_FULL = {"soak"}


def parts(full: bool) -> dict[str, Part]:
    found: dict[str, Part] = dict(simulator.PARTS)
    for name, module in MODULES.items():
        if (full or name not in ONLY_FULL) and importlib.util.find_spec(module) is not None:
            found[name] = importlib.import_module(module).main
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--full", action="store_true", help="the nightly programme, up to 90 minutes")
    parser.add_argument("--seed", type=int, default=0, help="0, the default, draws one")
    parser.add_argument("--only", action="append", default=[], metavar="PART", help="may be given several times")
    parser.add_argument("--require-all", action="store_true", help="what cannot be run on this machine is a failure")
    parser.add_argument("--replay", metavar="LIFE", help="one life of the simulator, as a violation names it")
    args = parser.parse_args()
    if args.replay:
        found = simulator.play_one(simulator.parse(args.replay))
        print("\n".join(found) or "nothing was violated")
        return int(bool(found))
    seed = args.seed or random.randrange(1, 1 << 30)
    machine = f"{os.cpu_count()} cores, {platform.platform()}, Python {platform.python_version()}"
    print(f"{date.today()}, seed {seed}; {machine}", flush=True)
    known = parts(args.full)
    if unknown := set(args.only) - set(known):
        parser.error(f"no such part: {', '.join(sorted(unknown))}; there are {', '.join(known)}")
    reports = [_run(name, part, args.full, seed) for name, part in known.items() if not args.only or name in args.only]
    _table(reports)
    is_whole = not any(report.not_run for report, _ in reports)
    if args.require_all and not is_whole:
        print("Not everything could be run, and --require-all asks for it.")
    return int(any(report.violations for report, _ in reports) or (args.require_all and not is_whole))


def _run(name: str, part: Part, full: bool, seed: int) -> tuple[Report, float]:
    began = time.monotonic()
    report = part(full, seed)
    spent = time.monotonic() - began
    print(f"{name}: {report.cases:,} cases in {spent:,.0f} s, {len(report.violations)} violations", flush=True)
    for violation in report.violations[:20]:
        print(f"  ! {violation}", flush=True)
    for note in report.notes:
        print(f"  {note}", flush=True)
    for reason in report.not_run:
        print(f"  not run: {reason}", flush=True)
    return report, spent


def _table(reports: list[tuple[Report, float]]) -> None:
    print("\n| part | cases | violations | seconds |\n| --- | --- | --- | --- |")
    for report, spent in reports:
        print(f"| {report.name} | {report.cases:,} | {len(report.violations)} | {spent:,.0f} |")
    cases = sum(report.cases for report, _ in reports)
    bad = sum(len(report.violations) for report, _ in reports)
    print(f"| all | {cases:,} | {bad} | {sum(spent for _, spent in reports):,.0f} |")


if __name__ == "__main__":
    sys.exit(main())
