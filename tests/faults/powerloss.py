"""Power cuts: what was written and not synced is lost, torn, or there in another order.

The real command is killed at a named point while strace writes down what it does to its files. A model of a disk
then gives what may be left of them after a power cut at that moment: everything synced, and of the rest, file by
file, nothing, all, the beginning, or whichever writes happened to reach the platter. Names (creations, renames,
removals) last from the sync of their directory on, and keep their order.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from migrate.errors import MigrateError
from migrate.rules.dedupe import Digester
from migrate.state import open_state

from .account import Account, Look
from .ground import Case, Ground, play_all
from .nursery import Nursery
from .points import KILLED, chosen, points_of
from .profiles import SPOOL_AND_RELEASE
from .report import Report
from .strace import run_under, unusable

CALLS = "openat,write,pwrite64,ftruncate,fsync,fdatasync,rename,unlink,link,mkdir"
REPLAYS = 10  # of each kill
SECTOR = 512

_LINE = re.compile(r"(\d+) +(.*)")
_CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+)")
_TEXT = re.compile(r'[<"]((?:\\x[0-9a-f]{2})*)[">]')


class Change(NamedTuple):
    """Something done to a file's content: octets at an offset, or (None) its end set there."""

    offset: int
    octets: bytes | None


@dataclass(eq=False)
class File:
    """Content that is safe, and changes that are not yet."""

    safe: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)
    length: int = 0  # as the process sees it

    def change(self, change: Change) -> None:
        self.pending.append(change)
        octets = change.octets
        self.length = change.offset if octets is None else max(self.length, change.offset + len(octets))

    def sync(self) -> None:
        _apply(self.safe, self.pending)
        self.pending.clear()

    def left(self, rng: random.Random) -> bytes:
        """What a power cut leaves."""
        content = bytearray(self.safe)
        count = len(self.pending)
        match rng.randrange(4):
            case 0:
                some = []
            case 1:
                some = list(self.pending)
            case 2:
                some = self.pending[: rng.randrange(count + 1)]
            case _:
                some = [change for change in self.pending if rng.random() < 0.5]
        offset, octets = some[-1] if some else Change(0, None)
        if octets is not None and rng.random() < 0.5:
            torn = rng.randrange(len(octets) // SECTOR + 1) * SECTOR
            some[-1] = Change(offset, octets[:torn])
        _apply(content, some)
        return bytes(content)


def _apply(content: bytearray, changes: list[Change]) -> None:
    for offset, octets in changes:
        if len(content) < offset:
            content.extend(bytes(offset - len(content)))
        if octets is None:
            del content[offset:]
        else:
            content[offset : offset + len(octets)] = octets


class Disk:
    """The files below one directory, as a log of strace tells of them."""

    def __init__(self, place: Path) -> None:
        self._place = str(place)
        self._names: dict[str, File] = {}  # as the process sees them
        self._safe_names: dict[str, File] = {}
        self._moves: list[tuple[str, str, File | None]] = []  # directory, name, file or None: not synced

    def play(self, log: Path) -> None:
        """Takes in what a log tells."""
        begun: dict[str, str] = {}
        for line in log.read_text().splitlines():
            found = _LINE.match(line)
            if found is None:
                continue
            thread, what = found[1], found[2]
            if what.endswith("<unfinished ...>"):
                begun[thread] = what.removesuffix(" <unfinished ...>")
                continue
            if resumed := re.match(r"<\.\.\. \w+ resumed>(.*)", what):
                what = begun.pop(thread, "") + resumed[1]
            call = _CALL.match(what)
            if call is not None and int(call[3]) >= 0:
                self._take(call[1], call[2], int(call[3]), what)

    def _take(self, call: str, arguments: str, result: int, line: str) -> None:
        texts = [bytes.fromhex(text.replace("\\x", "")) for text in _TEXT.findall(line)]
        match call:
            case "openat":
                self._open(os.fsdecode(texts[1]), arguments)
            case "pwrite64" | "write" if file := self._file(texts[0]):
                offset = int(arguments.rpartition(", ")[2]) if call == "pwrite64" else file.length
                file.change(Change(offset, texts[1][:result]))
            case "ftruncate" if file := self._file(texts[0]):
                file.change(Change(int(arguments.rpartition(", ")[2]), None))
            case "fsync" | "fdatasync":
                if file := self._file(texts[0]):
                    file.sync()
                else:
                    self._sync_names(os.fsdecode(texts[0]))
            case "rename":
                old, new = map(os.fsdecode, texts[:2])
                if file := self._names.get(old):
                    self._move(new, file)
                    self._move(old, None)
            case "link":
                if file := self._names.get(os.fsdecode(texts[0])):
                    self._move(os.fsdecode(texts[1]), file)
            case "unlink":
                self._move(os.fsdecode(texts[0]), None)

    def _file(self, name: bytes) -> File | None:
        return self._names.get(os.fsdecode(name))

    def _open(self, name: str, arguments: str) -> None:
        # The memory that SQLite shares between processes is made anew after a crash.
        if "O_CREAT" not in arguments or not name.startswith(self._place) or name.endswith("-shm"):
            return
        if name not in self._names:
            self._move(name, File())
        if "O_TRUNC" in arguments:
            self._names[name].change(Change(0, None))

    def _move(self, name: str, file: File | None) -> None:
        if file is not None:
            self._names[name] = file
        elif self._names.pop(name, None) is None:
            return
        self._moves.append((os.path.dirname(name), name, file))

    def _sync_names(self, directory: str) -> None:
        rest = []
        for move in self._moves:
            if move[0] == directory:
                _move(self._safe_names, move[1], move[2])
            else:
                rest.append(move)
        self._moves = rest

    def leave(self, target: Path, rng: random.Random) -> None:
        """Writes what a power cut leaves to another directory."""
        names = dict(self._safe_names)
        for _, name, file in self._moves[: rng.randrange(len(self._moves) + 1)]:
            _move(names, name, file)
        target.mkdir(mode=0o700)
        for name, file in names.items():
            path = target / os.path.relpath(name, self._place)
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            path.write_bytes(file.left(rng))
            path.chmod(0o600)


def _move(names: dict[str, File], name: str, file: File | None) -> None:
    if file is None:
        names.pop(name, None)
    else:
        names[name] = file


# --- what must hold -----------------------------------------------------------------------------


def wrong_after_cut(account: Account, place: Path, look: Look) -> list[str]:
    """What a state that survived a power cut does not know and should: uploads and deletions of before."""
    state = place / account.state.name
    if state.exists():
        try:
            # As the next run would: every check, and what it takes up from the spool.
            open_state(state, *account.accounts, digester=Digester).close()
        except MigrateError as error:
            return [f"cannot be opened: {error}"]
    rows, spooled = account.rows_of(state), account.spooled_beside(state)
    wrong = []
    sent = Counter(account.kept_of(row.uidl) for row in rows if row.stage not in ("listed", "gone"))
    if unknown := (look.dest - sent).total():
        wrong.append(f"{unknown} uploaded without a durable intent")
    deleted = account.expected - look.source
    ended = Counter(account.kept_of(row.uidl) for row in rows if row.stage in ("releasing", "released", "verified"))
    if unknown := (deleted - ended - spooled).total():
        wrong.append(f"{unknown} deleted at the source without a durable trace")
    return wrong


def cut_at(ground: Ground, seed: int, point: str, replays: list[int]) -> Case:
    """A run that dies at a point; power cuts at that moment; and a run that goes on after one of them."""

    def case(nursery: Nursery) -> list[str]:
        account = ground.account(SPOOL_AND_RELEASE, seed)
        log = account.directory / "strace"
        options = ["--seccomp-bpf", "-y", "-xx", "-s", "1000000", "-o", str(log), "-e", f"trace={CALLS}"]
        code = run_under(options, account.order(kill=point), account)
        if code not in (KILLED, 0):
            return [f"exit code {code}"]
        account.wait_for_servers()
        look = account.look()
        disk = Disk(account.state.parent)
        disk.play(log)
        rng = random.Random(f"{seed}:{point}")
        wrong: list[str] = []
        for number in range(REPLAYS):
            place = account.directory / f"cut-{number}"
            disk.leave(place, rng)
            if number < REPLAYS - 1:
                wrong += wrong_after_cut(account, place, look)
                shutil.rmtree(place)
            replays.append(number)
        shutil.rmtree(account.state.parent)
        place.rename(account.state.parent)
        wrong += account.finish(nursery)
        if not wrong:
            account.remove()
        return wrong

    return case


def main(full: bool, seed: int) -> Report:
    """Power cuts."""
    report = Report("power cuts: unsynced writes dropped, torn, reordered")
    if reason := unusable():
        report.not_run.append(f"{report.name}: {reason}")
        return report
    began = time.monotonic()
    replays: list[int] = []

    def cases() -> Iterator[tuple[str, Case]]:
        for number in range(seed, seed + (5 if full else 1)):
            points = chosen(points_of(ground, SPOOL_AND_RELEASE, number), 100 if full else 20, random.Random(number))
            for point in points:
                yield f"{SPOOL_AND_RELEASE.name}|{number}|{point}", cut_at(ground, number, point, replays)

    with Ground() as ground:
        kills, report.violations = play_all(cases())
    report.cases = len(replays)
    report.notes.append(f"{len(replays)} power cuts at {kills} points, {time.monotonic() - began:.0f} s")
    return report


def replay(text: str) -> list[str]:
    """What is wrong after the case of that name."""
    _, seed, point = text.split("|")
    with Ground() as ground, Nursery() as nursery:
        return cut_at(ground, int(seed), point, [])(nursery)


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
