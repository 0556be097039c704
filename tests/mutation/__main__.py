"""scripts/mutate: how many small wrong changes of the deletion gate and of the state machine the tests notice.

Each mutant lives in a process of its own, forked from one that has only pytest in it. It plays the tests that run
the changed line, the shortest first, and is killed by the first that fails or by a time limit. Ends with 0 when at
least 90 % are killed, of each part; mutants listed in ``equivalent.py`` do not count.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import coverage
import hypothesis  # noqa: F401 - what every child needs is imported once
import pytest

from .equivalent import EQUIVALENT
from .mutants import ROOT, Hook, Mutant, control, mutants, source_of

WANTED = 90  # per cent
LIMIT_S = 40  # of processor time; all tests together take half of it
PATIENCE_S = 60.0  # for a mutant that waits for what never comes

# What is mutated: part -> modules, and names in them (none: all of it).
PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    "deletion gate": {"migrate.engine.release": (), "migrate.engine.verdict": (), "migrate.engine.proof": ()},
    "state machine": {
        "migrate.model": ("TRANSITIONS",),
        "migrate.state.schema": ("_illegal_step", "GUARDS"),
        "migrate.engine.session": (),
        "migrate.engine.walk": (),
    },
}
ENGINE = tuple(
    f"tests/engine/test_{name}.py"
    for name in ("release", "release_gate", "proof", "prover", "passes", "walk", "copying", "lives")
)
TABLE = ("tests/state/test_machine.py",)
TESTS: dict[str, tuple[str, ...]] = {"migrate.model": (*TABLE, *ENGINE), "migrate.state.schema": TABLE}

_PYTEST = (
    "-x",
    "-q",
    "--assert=plain",
    "-p",
    "no:cacheprovider",
    "-p",
    "no:xdist",
    "--hypothesis-seed=0",
    "--no-header",
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/mutate", description=__doc__)
    parser.add_argument("--only", metavar="MODULE", help="for example migrate.engine.release")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    os.chdir(ROOT)
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="pf-mutation-") as scratch:
        sys.dont_write_bytecode, sys.pycache_prefix = False, scratch
        lines = _lines_of_tests(Path(scratch))
        todo = [
            (one, lines.tests_for(one))
            for modules in PARTS.values()
            for module, names in modules.items()
            if args.only in (None, module)
            for one in mutants(module, names)
        ]
        controls = [(control(name), list(TESTS.get(name, ENGINE))) for name in {one.module for one, _ in todo}]
        if len(_play(controls, args.jobs)) != len(controls):
            raise SystemExit("the tests do not pass with a module that was not changed")
        survivors = _play(todo, args.jobs)
    is_good = _table([one for one, _ in todo], survivors)
    print(f"{len(todo)} mutants in {time.monotonic() - began:,.0f} s, {args.jobs} at a time")
    return 0 if is_good else 1


# --- which tests run which line -----------------------------------------------------------------


class Lines:
    """Which test ran which line in the run without a mutant, and how long each test took."""

    def __init__(self, found: dict[str, dict[int, set[str]]], durations: dict[str, float]) -> None:
        self._found = found
        self._durations = durations

    def tests_for(self, mutant: Mutant) -> list[str]:
        """Names of tests, the shortest first; whole files where the line is run by the import."""
        files = TESTS.get(mutant.module, ENGINE)
        by_line = self._found.get(mutant.module, {})
        names = set[str]().union(*(by_line.get(line, set()) for line in mutant.lines))
        if "" in names or mutant.module in TESTS:
            return list(files)
        return sorted(names, key=lambda name: self._durations.get(name, 0.0))


def _lines_of_tests(scratch: Path) -> Lines:
    """One run of all tests that count, in a process of its own; it has to pass."""
    data = scratch / "contexts"
    told = scratch / "durations"
    files = sorted({*ENGINE, *(name for names in TESTS.values() for name in names)})
    child = os.fork()
    if not child:
        os._exit(_measure(data, told, files))
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit("the tests do not pass without a mutant")
    found: dict[str, dict[int, set[str]]] = {}
    read = coverage.CoverageData(str(data))
    read.read()
    for modules in PARTS.values():
        for module in modules:
            by_line = read.contexts_by_lineno(str(source_of(module)))
            found[module] = {line: {_node(name) for name in names} for line, names in by_line.items()}
    durations = dict(line.rsplit(" ", 1) for line in told.read_text().splitlines())
    return Lines(found, {name: float(spent) for name, spent in durations.items()})


def _node(context: str) -> str:
    """``tests.engine.test_release.test_x`` as pytest wants it."""
    module, _, function = context.rpartition(".")
    return f"{module.replace('.', '/')}.py::{function}" if module else ""


class _Durations:
    """A plugin that adds up how long each test took, over its parameters."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.spent[report.nodeid.partition("[")[0]] += int(report.duration * 1e6)


def _measure(data: Path, told: Path, files: Sequence[str]) -> int:
    durations = _Durations()
    measured = coverage.Coverage(str(data), branch=False, source=["migrate"], config_file=False)
    measured.set_option("run:dynamic_context", "test_function")
    measured.start()
    code = int(pytest.main([*_PYTEST, *files], plugins=[durations]))
    measured.stop()
    measured.save()
    told.write_text("".join(f"{name} {spent}\n" for name, spent in durations.spent.items()))
    return code


# --- mutants ------------------------------------------------------------------------------------


def _play(todo: Sequence[tuple[Mutant, list[str]]], jobs: int) -> list[Mutant]:
    """The mutants that no test noticed."""
    survivors: list[Mutant] = []
    running: dict[int, tuple[Mutant, float]] = {}
    waiting: Iterator[tuple[Mutant, list[str]]] = iter(todo)
    is_more = True
    done = 0
    while is_more or running:
        while is_more and len(running) < jobs:
            one = next(waiting, None)
            is_more = one is not None
            if one is not None:
                running[_start(*one)] = (one[0], time.monotonic() + PATIENCE_S)
        time.sleep(0.01)
        for child, (mutant, deadline) in list(running.items()):
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                del running[child]
                done += 1
                if done % 50 == 0:
                    print(f"{done} of {len(todo)} mutants, {len(survivors)} alive so far", file=sys.stderr, flush=True)
                if status == 0 or os.waitstatus_to_exitcode(status) == pytest.ExitCode.NO_TESTS_COLLECTED:
                    survivors.append(mutant)
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
    return survivors


def _start(mutant: Mutant, tests: list[str]) -> int:
    child = os.fork()
    if child:
        return child
    code = 0
    try:
        resource.setrlimit(resource.RLIMIT_CPU, (LIMIT_S, LIMIT_S))
        sink = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(sink, stream)
        Hook(mutant).install()
        code = int(pytest.main([*_PYTEST, *tests])) if tests else 0
    except BaseException:  # noqa: BLE001 - however it ends otherwise, it was noticed
        code = 1
    finally:
        os._exit(code)


def _table(all_of_them: Sequence[Mutant], survivors: Sequence[Mutant]) -> bool:
    """Prints what was killed, and every survivor; whether each part has enough."""
    counts = Counter(one.module for one in all_of_them)
    equal = Counter(one.module for one in survivors if one.key in EQUIVALENT)
    alive = [one for one in survivors if one.key not in EQUIVALENT]
    left = Counter(one.module for one in alive)
    print("| part | module | mutants | equivalent | killed | survived | share |")
    print("| --- " * 7 + "|")
    is_good = True
    for part, modules in PARTS.items():
        sums = [0, 0, 0]
        for module in modules:
            sums = [a + b for a, b in zip(sums, (counts[module], equal[module], left[module]), strict=True)]
            _row(part, module, counts[module], equal[module], left[module])
        is_good &= _row(part, "all", *sums) >= WANTED
    for one in alive:
        print(f"survived: {one.module}:{one.lines.start}: {one.text[:80]} | {one.change}")
    known = {one.key for one in all_of_them}
    modules_played = {one.module for one in all_of_them}
    for key in EQUIVALENT:
        if key[0] in modules_played and key not in known:
            print(f"no such mutant any more: {key}")
            is_good = False
    return is_good


def _row(part: str, module: str, count: int, equal: int, left: int) -> float:
    killed = count - equal - left
    share = 100 * killed / max(1, count - equal) if count else 100.0
    if count:
        print(f"| {part} | {module} | {count} | {equal} | {killed} | {left} | {share:.1f} % |")
    return share


if __name__ == "__main__":
    sys.exit(main())
