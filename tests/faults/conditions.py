"""Bad surroundings: wrong clocks, full disks, a restored state file, eight starters, SIGSTOP and SIGTERM."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from .account import Account, read_events, read_text
from .ground import Case, Ground, play_all
from .nursery import STOPPED, Nursery
from .points import KILLED, chosen, points_of
from .profiles import ALL, Profile, profile_named, small_messages
from .report import Report
from .victim import Order

DISK_KB = 1024
DAY_S = 86_400.0
TEN_YEARS_S = 3652 * DAY_S


def conditions(full: bool, seed: int) -> Report:
    """Wrong clocks, full disks, many starters, stopped processes, SIGTERM."""
    report = Report("clocks, full disks, eight starters, SIGSTOP, SIGTERM")
    began = time.monotonic()
    groups: Counter[str] = Counter()
    with Ground() as ground:
        cases = [*clocks(ground, seed), *disks(ground, seed), *starters(ground, seed), *stops(ground, full, seed)]
        cases += [*terms(ground, full, seed), *restored(ground, seed)]
        groups.update(name.partition("|")[0] for name, _ in cases)
        report.cases, report.violations = play_all(cases)
    report.notes.append(", ".join(f"{count} {name}" for name, count in groups.items()))
    report.notes.append(f"{time.monotonic() - began:.0f} s")
    if not can_mount():
        report.not_run.append("full disks but by RLIMIT_FSIZE: a file system of a set size needs root")
    return report


def clocks(ground: Ground, seed: int) -> Iterator[tuple[str, Case]]:
    deletion = profile_named("deletion")
    later = Profile("deletion after 30 days", ("--delete-after", "30d", *ALL), dest=deletion.dest)
    runs: list[dict[str, Any]]
    for years, clock_s in (("+10", TEN_YEARS_S), ("-10", -TEN_YEARS_S)):
        yield f"clock|{years} years", _with_clock(ground, deletion, seed, [{"clock_s": clock_s}], is_off=False)
    for first_s, then_s in ((0.0, -2 * DAY_S), (0.0, -TEN_YEARS_S), (TEN_YEARS_S, 0.0)):
        runs = [{"clock_s": first_s}, {"clock_s": then_s}]
        name = f"clock|{first_s / DAY_S:.0f} days, then {then_s / DAY_S:.0f}"
        yield name, _with_clock(ground, deletion, seed, runs, is_off=True)
    for point in ("Append #2: ended", "ReadBack #1: ended", "ListSource #1: ended"):
        for jump_s in (-2 * DAY_S, -TEN_YEARS_S, TEN_YEARS_S):
            runs = [{"jump_at": point, "jump_s": jump_s}]
            name = f"clock|{jump_s / DAY_S:.0f} days at {point}"
            yield name, _with_clock(ground, deletion, seed, runs, is_off=True)
            yield f"{name}, after 30 days", _with_clock(ground, later, seed, runs, is_off=True, is_finished=False)
        runs = [{"jump_at": point, "jump_s": -3600.0}]
        yield f"clock|an hour back at {point}", _with_clock(ground, deletion, seed, runs, is_off=False)


def _with_clock(
    ground: Ground,
    profile: Profile,
    seed: int,
    runs: Sequence[dict[str, Any]],
    *,
    is_off: bool,
    is_finished: bool = True,
) -> Case:
    """Runs with wrong clocks; the last one must (``is_off``) leave everything at the source, or delete it."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        for number, what in enumerate(runs, start=1):
            is_last = number == len(runs)
            before = account.at_source().total()
            order = account.order(*(() if is_last else ("--limit", "5")), **what)
            code = nursery.run(order)
            if code != 0:
                return [f"exit code {code}: {read_text(order.err)[-300:]}"]
        events = read_events(order)
        deleted = before - account.at_source().total()
        is_told = any(event["event"] == "deletion-off" for event in events)
        wrong = account.at_any_time()
        if is_off and (deleted or not is_told):
            wrong.append(
                f"{deleted} deleted although the clock jumped; deletion-off {'told' if is_told else 'not told'}"
            )
        if not is_off and (is_told or deleted != before):
            wrong.append(f"{deleted} of {before} deleted, deletion-off {'told' if is_told else 'not told'}")
        if is_off and is_finished:
            nursery.run(account.order())  # for a clock that had jumped ahead, the right time is a jump back
        if is_finished:
            wrong += account.finish(nursery)
        return wrong

    return case


# Disks


def can_mount() -> bool:
    return os.geteuid() == 0


@contextlib.contextmanager
def small_disk(path: Path) -> Iterator[None]:
    """A file system of DISK_KB at this directory."""
    path.mkdir(mode=0o700, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_KB}k,mode=0700", "tmpfs", str(path)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def fill(path: Path, free_kb: int) -> Path:
    """A file that leaves so much of the file system free."""
    ballast = path / "ballast"
    facts = os.statvfs(path)
    octets = facts.f_bavail * facts.f_frsize - free_kb * 1024
    with ballast.open("wb") as stream:
        stream.write(b"\0" * max(0, octets))
    return ballast


def disks(ground: Ground, seed: int) -> Iterator[tuple[str, Case]]:
    profiles = [profile_named(name) for name in ("deletion", "source deletes what was fetched", "through files")]
    for profile in profiles:
        for limit_kb in (8, 48, 80, 140):
            yield f"file of {limit_kb} kB|{profile.name}", _with_limit(ground, profile, seed, limit_kb)
        if not can_mount():
            continue
        for free_kb in (0, 4, 64, 100, 140, 200, 300):
            yield f"disk|{free_kb} kB free|{profile.name}", _on_small_disk(ground, profile, seed, free_kb)
        for point in (
            "books begin_session #1: done",
            "Fetch #3: ended",
            "commit(intended) #1: durable",
            "Append #2: ended",
        ):
            yield f"disk|full at {point}|{profile.name}", _on_small_disk(ground, profile, seed, 0, point)


def _on_small_disk(ground: Ground, profile: Profile, seed: int, free_kb: int, point: str = "") -> Case:
    """A run on a disk that is nearly full, or that somebody else fills at a point; then room is made."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed, small_messages(seed, 40))
        with small_disk(account.state.parent):
            ballast = account.state.parent / "ballast" if point else fill(account.state.parent, free_kb)
            order = account.order(stop=point)
            victim = nursery.start(order)
            if point:
                if victim.wait() != STOPPED:
                    return ["the point was not reached"]
                fill(account.state.parent, 0)
                victim.resume()
            code = victim.end()
            ballast.unlink()
            return _resumed(account, nursery, order, code)

    return case


def _with_limit(ground: Ground, profile: Profile, seed: int, limit_kb: int) -> Case:
    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed, small_messages(seed, 40))
        order = account.order(file_limit=limit_kb * 1024)
        return _resumed(account, nursery, order, nursery.run(order))

    return case


def _resumed(account: Account, nursery: Nursery, order: Order, code: int) -> list[str]:
    wrong = account.after_fault(order)
    if code not in (0, 32):
        wrong.append(f"exit code {code}, not 32: {read_text(order.err)[-300:]}")
    return wrong + account.finish(nursery)


# A state file of yesterday


def restored(ground: Ground, seed: int) -> Iterator[tuple[str, Case]]:
    """The state file is put back as it was before the uploads of a run that died: no upload is repeated."""
    names = ("deletion", "source deletes what was fetched", "through files")
    for profile in map(profile_named, names):
        for point in ("Append #2: ended", "ReadBack #2: ended", "CloseSource #1: asked"):
            yield f"restored|killed at {point}|{profile.name}", _restored(ground, profile, seed, point)


def _restored(ground: Ground, profile: Profile, seed: int, point: str) -> Case:
    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        victim = nursery.start(account.order(stop="commit(intended) #1: begins", kill=point))
        if victim.wait() != STOPPED:
            return ["the point was not reached"]
        copies = {path: path.read_bytes() for path in account.state.parent.glob("state.sqlite*") if path.is_file()}
        victim.resume()
        if victim.end() != KILLED:
            return ["the second point was not reached"]
        account.state.with_name("state.sqlite-shm").unlink(missing_ok=True)
        for path, octets in copies.items():
            path.write_bytes(octets)
        # What is deleted in a run after a rollback is the engine's choice; what is there twice is not.
        return account.finish(nursery)

    return case


# Locks


def starters(ground: Ground, seed: int) -> Iterator[tuple[str, Case]]:
    deletion = profile_named("deletion")
    for point in ("state locked #1", "state filled #1", "OpenDest #1: asked", "Append #2: asked"):
        for is_killed in (False, True):
            what = "is killed" if is_killed else "goes on"
            yield f"starters|{point}, the first {what}", _eight(ground, deletion, seed, point, is_killed=is_killed)


def _eight(ground: Ground, profile: Profile, seed: int, point: str, *, is_killed: bool) -> Case:
    """Eight runs at once: one gets the lock and is stopped there until the seven others have ended."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        orders = [account.order(stop=point) for _ in range(8)]
        victims = [nursery.start(order) for order in orders]
        codes = [victim.wait() for victim in victims]
        if Counter(codes) != Counter({STOPPED: 1, 30: 7}):
            return [f"eight starters ended with {codes}"]
        first = codes.index(STOPPED)
        if is_killed:
            victims[first].kill()
            victims[first].end()
            return account.finish(nursery)
        victims[first].resume()
        code = victims[first].end()
        account.events = read_events(orders[first])
        return account.at_end(code)

    return case


# Stops


def stops(ground: Ground, full: bool, seed: int) -> Iterator[tuple[str, Case]]:
    """SIGSTOP in the middle, for a moment or for longer than the deadlines of the run."""
    rng = random.Random(seed)
    for profile in (profile_named("deletion"), profile_named("source deletes what was fetched")):
        points = chosen(points_of(ground, profile, seed), 60 if full else 8, rng)
        for number, point in enumerate(points):
            timeout_s = 0.3 if number % 2 else 0.0
            yield f"stop|{point}|{profile.name}", _stopped(ground, profile, seed, point, timeout_s)


def _stopped(ground: Ground, profile: Profile, seed: int, point: str, timeout_s: float) -> Case:
    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        order = account.order(stop=point, timeout_s=timeout_s)
        victim = nursery.start(order)
        code = victim.wait()
        if code == STOPPED:  # else it ended by itself: this run did not pass the point
            threading.Event().wait(0.7 if timeout_s else 0.1)
            victim.resume()
            code = victim.end()
        if timeout_s and code == 4:  # the deadline was over when it woke: it may give up for now
            return account.at_any_time() + account.finish(nursery)
        account.events = read_events(order)
        return account.at_end(code)

    return case


def terms(ground: Ground, full: bool, seed: int) -> Iterator[tuple[str, Case]]:
    """SIGTERM at named points: an orderly end, and nothing but 143."""
    rng = random.Random(seed)
    profile = profile_named("deletion")
    for point in chosen(points_of(ground, profile, seed), 80 if full else 12, rng):
        yield f"SIGTERM|{point}", _terminated(ground, profile, seed, point)


def _terminated(ground: Ground, profile: Profile, seed: int, point: str) -> Case:
    def case(nursery: Nursery) -> list[str]:
        account = ground.account(profile, seed)
        order = account.order(kill=point, signal=15)
        code = nursery.run(order)
        wrong = account.after_fault(order)
        # -15: it came before the command listened to signals, or when it had ended.
        if code not in (143, 0, -15):
            wrong.append(f"exit code {code}: {read_text(order.err)[-300:]}")
        return wrong + account.finish(nursery)

    return case
