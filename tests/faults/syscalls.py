"""The kernel says no: the nth call of each kind fails, once or from then on, or is the last of the process.

strace puts the error in place of the call, or SIGKILL beside it, in the real command between real servers. It
counts the calls of each thread by itself. Calls on the disk fail with EIO and ENOSPC, calls on the network with
ECONNRESET. ``write`` and ``openat`` are meant for the state file and the spool only, not for pipes and the terminal.

    python -m tests.faults.syscalls [--full] [--seed N]
    python -m tests.faults.syscalls --replay 'PROFILE|SEED|CALL|FAULT|N'
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from . import powerloss
from .account import read_events, read_text
from .ground import Case, Ground, merged, play_all
from .nursery import Nursery
from .points import KILLED
from .profiles import SPOOL_AND_RELEASE, Profile, profile_named
from .report import Report
from .strace import KILL, run_under, unusable

DISK = ("fsync", "fdatasync", "pwrite64", "write", "rename", "ftruncate", "openat", "unlink", "mkdir")
NETWORK = ("sendto", "recvfrom")
BY_PATH = ("write", "openat")  # calls that are asked for by the names of the files
DISK_FAULTS = (KILL, "error=EIO", "error=EIO+", "error=ENOSPC", "error=ENOSPC+")
NETWORK_FAULTS = (KILL, "error=ECONNRESET", "error=ECONNRESET+")
PAUSE_S = 0.05


@dataclass(frozen=True)
class Ward:
    """Which calls fail in which migration; ``step``: of so many calls the quick programme takes one."""

    profile: Profile
    calls: tuple[str, ...]
    faults: tuple[str, ...]
    step: int


# The spool, and deletion. And the network in clear text: TLS would hide its calls in ``write``.
WARDS = (
    Ward(SPOOL_AND_RELEASE, DISK, DISK_FAULTS, 7),
    Ward(profile_named("no uids, one at a time"), NETWORK, NETWORK_FAULTS, 21),
)


@dataclass(frozen=True)
class Injection:
    """The ``number``-th ``call`` of a thread goes wrong in this way."""

    call: str
    fault: str
    number: int

    def options(self, paths: list[Path]) -> list[str]:
        """What strace is told."""
        fault, forever = self.fault.removesuffix("+"), "+" if self.fault.endswith("+") else ""
        chosen = [word for path in paths for word in ("-P", str(path))] if self.call in BY_PATH else []
        return [*chosen, "-e", f"trace={self.call}", "-e", f"inject={self.call}:{fault}:when={self.number}{forever}"]


@dataclass(frozen=True)
class Calls:
    """What one run without a fault asked of the kernel."""

    counts: dict[str, int]  # the most that one thread made, by call
    names: frozenset[str]  # of the files in the state's directory

    def injections(self, faults: tuple[str, ...]) -> Iterator[Injection]:
        for call, count in self.counts.items():
            for fault in faults:
                yield from (Injection(call, fault, number) for number in range(1, count + 1))


def observe(ground: Ground, ward: Ward, seed: int) -> Calls:
    """The calls of a run without a fault."""
    account = ground.account(ward.profile, seed)
    log = account.directory / "strace"
    code = run_under(["-y", "-o", str(log), "-e", f"trace={','.join(ward.calls)}"], account.order(), account)
    lines = log.read_text(errors="replace").splitlines()
    account.remove()
    if code != 0:
        raise RuntimeError(f"a run that strace only watches ended with {code}")
    place = re.escape(str(account.state.parent))
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    names = set()
    for line in lines:
        # "4711  write(7</dev/shm/n1/state/state.sqlite.lock>, ..., 10) = 10"
        call = re.match(r"(\d+) +(\w+)\(", line)
        if call is None:
            continue
        found = re.search(rf"{place}/([^>\"]+)[>\"]", line)
        if found:
            names.add(found[1])
        if found or call[2] not in BY_PATH:
            counts[call[2]][call[1]] += 1
    return Calls({call: max(counts[call].values()) for call in ward.calls if counts[call]}, frozenset(names))


def chosen(ward: Ward, calls: Calls, full: bool, seed: int) -> list[Injection]:
    """All of them, or some and at least one of each kind."""
    every = list(calls.injections(ward.faults))
    if full:
        return every
    some = every[seed % ward.step :: ward.step]
    kinds = {(one.call, one.fault) for one in some}
    for one in every:
        if (one.call, one.fault) not in kinds:
            kinds.add((one.call, one.fault))
            some.append(one)
    return some


def hit(ground: Ground, profile: Profile, seed: int, one: Injection, names: frozenset[str], ends: Counter[int]) -> Case:
    """A run with one fault, and a run without."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        order = account.order(longest_pause_s=PAUSE_S)
        paths = [account.state.parent / name for name in sorted(names)]
        code = run_under(["-o", "/dev/null", *one.options(paths)], order, account)
        ends[code] += 1
        account.wait_for_servers()
        wrong = account.after_fault(order)
        if code == 0:
            account.events = read_events(order)
            # Where SQLite could not tidy up behind itself it says nothing, and its log stays for the next run.
            wrong += account.at_end(code, is_tidy=False)
        elif code not in _allowed(one):
            wrong.append(f"exit code {code}: {read_text(order.err)[-300:]}")
        wrong += account.finish(nursery)
        if not wrong:
            account.remove()
        return wrong

    return case


def _allowed(one: Injection) -> tuple[int, ...]:
    """How a run with this fault may end, but for 0: the state cannot be written, or the network is to blame."""
    if one.fault == KILL:
        return (KILLED,)
    return (32,) if one.call in DISK else (4,)


def failing(full: bool, seed: int) -> Report:
    """System calls that fail."""
    report = Report("system calls that fail")
    if reason := unusable():
        report.not_run.append(f"{report.name}: {reason}")
        return report
    began = time.monotonic()
    ends: Counter[int] = Counter()
    kinds: Counter[str] = Counter()
    with Ground() as ground:
        cases = []
        for ward in WARDS:
            calls = observe(ground, ward, seed)
            for one in chosen(ward, calls, full, seed):
                name = f"{ward.profile.name}|{seed}|{one.call}|{one.fault}|{one.number}"
                cases.append((name, hit(ground, ward.profile, seed, one, calls.names, ends)))
                kinds[one.call] += 1
        report.cases, report.violations = play_all(cases)
    if not ends[KILLED]:
        report.violations.append("strace was to kill, and killed nobody")
    report.notes.append(", ".join(f"{count} {call}" for call, count in kinds.most_common()))
    report.notes.append("ended with " + ", ".join(f"{code}: {count}" for code, count in ends.most_common()))
    report.notes.append(f"{time.monotonic() - began:.0f} s")
    return report


def main(full: bool, seed: int) -> Report:
    """System calls that fail, and power cuts."""
    return merged("system calls that fail, power cuts", failing(full, seed), powerloss.main(full, seed))


def replay(text: str) -> list[str]:
    """What is wrong after the case of that name."""
    name, seed, call, fault, number = text.split("|")
    ward = next(ward for ward in WARDS if ward.profile.name == name)
    with Ground() as ground, Nursery() as nursery:
        names = observe(ground, ward, int(seed)).names
        return hit(ground, ward.profile, int(seed), Injection(call, fault, int(number)), names, Counter())(nursery)


def _command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay")
    options = parser.parse_args()
    if options.replay:
        print("\n".join(replay(options.replay)) or "nothing is wrong")
    else:
        print(main(options.full, options.seed))


if __name__ == "__main__":
    _command_line()
