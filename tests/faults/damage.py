"""Damage: what becomes of a half-done migration when its state file is cut, flipped, emptied, replaced or not ours.

The state files are those of real migrations between two servers in memory, through the real driver: one run ended in
order, the other was killed while it sent (its write-ahead log stands beside the file). Whatever is done to the file,

- either it is refused (31) and no octet of it is touched; then ``popferry rebuild`` and ``migrate`` lead to every
  message at the destination exactly once,
- or it is taken, every value that comes out of it is right, and the next run leads there.
"""

from __future__ import annotations

import copy
import os
import random
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from migrate.commands import Append, Command, DestFacts
from migrate.errors import Exit, StateError
from migrate.model import Checkpoint
from migrate.rules.dedupe import Digester, fingerprint
from migrate.state import State, open_state
from migrate.stores.memory import MemoryServer
from tests.engine.support import ACCOUNTS, OLD, Between, Crash, letter

from .report import Report

PAGE, SECTOR = 4096, 512
ROWS = 60  # more than any of these files has
FLIPS = 1500
SHARE = 150  # of these, for one process at a time


class SmallBatches(MemoryServer):
    """A destination that takes a few messages at a time, so that a run has many points to die at."""

    def facts(self) -> DestFacts:
        return DestFacts("memory", self.has_uids, self.is_atomic, self.append_limit, 2, batch_count=4)


@dataclass
class Base:
    """A half-done migration, and what has to be true when it is done."""

    name: str
    between: Between
    wanted: Counter[bytes]  # what the mailbox has to hold in the end
    indexes: list[bytes]  # of these messages
    values: list[Any] = field(default_factory=list)  # what ``read`` gives of the sound file

    def read(self, state: State) -> list[Any]:
        """Every value that a run decides by."""
        tally = state.tally()
        found: list[Any] = [tally, state.open_mailboxes(), state.mailbox(OLD), state.lookup(OLD, self.indexes)]
        found += [_row(state, number) for number in range(1, ROWS + 1)]
        found += [state.unknown_uids(OLD, range(1, 100)), state.unplaced(OLD)]
        return [*found, state.awaiting_proof(1000, 0), state.settle_open()]


@dataclass(frozen=True)
class Case:
    """One damage. ``is_rollback``: what is left may be the file of an earlier moment."""

    name: str
    harm: Callable[[Path], None]
    is_rollback: bool = False
    heal: Callable[[Path], None] | None = None  # what a person has to do before a rebuild


def _row(state: State, number: int) -> Checkpoint | None:
    """The row; None where there is none, which is a value too."""
    try:
        return state.row(number)
    except StateError as error:
        if error.exit is not Exit.UNEXPECTED:
            raise
        return None


# --- half-done migrations -----------------------------------------------------------------------


def _servers(scratch: Path) -> tuple[Between, Counter[bytes]]:
    """A source, and a destination that holds somebody else's mail, one of it like one of ours."""
    scratch.mkdir(parents=True)
    some = [letter(n) for n in range(24)]
    some += [
        letter(3),
        letter(4),
        letter(5, header=b"Received: by x\r\n"),
        letter(100, body=b"\0"),
        b"",
        b"no header\n",
    ]
    between = Between(scratch, some)
    between.server = SmallBatches(make_mailbox=between.server.make_mailbox)
    wanted = Counter(some)
    for octets in (letter(0), letter(900), letter(901)):
        between.store(octets)
        wanted[octets] += 1
    return between, wanted


def _after_a_run(scratch: Path) -> tuple[Between, Counter[bytes]]:
    """The first run is over, some messages are deleted at the source, and new ones have come."""
    between, wanted = _servers(scratch)
    assert between.migrate(dedupe="off", delete_after_s=0, max_delete=3) is Exit.OK
    for octets in (*(letter(n) for n in range(200, 222)), letter(3), letter(210, message_id=b"<m2@example.org>")):
        between.maildrop.deliver(octets)
        wanted[octets] += 1
    return between, wanted


def _kill(between: Between, upload: int, snapshot: Path) -> Between:
    """What a kill in the next run leaves: it dies when the source or the destination have carried out what came
    after so many uploads."""
    snapshot.mkdir()
    appends = 0

    def die(command: Command) -> None:
        nonlocal appends
        if appends == upload:
            raise Crash
        appends += isinstance(command, Append)
        if appends == upload:
            for path in (between.state_path, Path(f"{between.state_path}-wal")):
                shutil.copy(path, snapshot)

    between.on_command = die
    try:
        between.migrate(dedupe="off")
    except Crash:
        between.on_command = lambda command: None
    return between.twin(snapshot)


def ended(scratch: Path) -> Base:
    """Its second run was limited: it ended in order, with work left."""
    between, wanted = _after_a_run(scratch)
    assert between.migrate(dedupe="off", limit=9) is Exit.OK
    return _base("ended", between, wanted, scratch)


def killed(scratch: Path) -> Base:
    """Its second run was killed at its fourth upload, which the server carried out."""
    between, wanted = _after_a_run(scratch)
    return _base("killed", _kill(between, 4, scratch / "killed"), wanted, scratch)


def killed_early(scratch: Path) -> Base:
    """Its very first run was killed, so that all it knows may stand in the log."""
    between, wanted = _servers(scratch)
    return _base("killed early", _kill(between, 3, scratch / "killed"), wanted, scratch)


def _copy(base: Base, scratch: Path) -> Between:
    """The state file of the base once more, in a directory of its own; the servers are still shared."""
    directory = Path(tempfile.mkdtemp(dir=scratch))
    twin = copy.copy(base.between)
    twin.state_path = directory / "state.sqlite"
    for suffix in ("", "-wal", ".lock"):
        source = Path(f"{base.between.state_path}{suffix}")
        if source.exists():
            shutil.copy(source, f"{twin.state_path}{suffix}")
    return twin


def _base(name: str, between: Between, wanted: Counter[bytes], scratch: Path) -> Base:
    base = Base(name, between, wanted, [fingerprint(octets).key.index for octets in wanted])
    twin = _copy(base, scratch)
    state = open_state(twin.state_path, *ACCOUNTS, digester=Digester)
    try:
        base.values = base.read(state)
    finally:
        state.close()
        shutil.rmtree(twin.state_path.parent)
    return base


# --- damages ------------------------------------------------------------------------------------


def _cut(octets: int, suffix: str = "") -> Callable[[Path], None]:
    return lambda path: os.truncate(f"{path}{suffix}", octets)


def _flip(bit: int, suffix: str = "") -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        with Path(f"{path}{suffix}").open("r+b") as stream:
            stream.seek(bit // 8)
            octet = stream.read(1)[0] ^ 1 << bit % 8
            stream.seek(bit // 8)
            stream.write(bytes([octet]))

    return harm


def _write(offset: int, octets: bytes) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        with path.open("r+b") as stream:
            stream.seek(offset)
            stream.write(octets)

    return harm


def _replaced(octets: bytes) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        path.write_bytes(octets)

    return harm


def _another_database(path: Path) -> None:
    path.unlink()
    Path(f"{path}-wal").unlink(missing_ok=True)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE message (id INTEGER PRIMARY KEY, uid)")
    other.commit()
    other.close()
    path.chmod(0o600)


def _sql(statement: str) -> Callable[[Path], None]:
    def harm(path: Path) -> None:
        other = sqlite3.connect(path, isolation_level=None)
        other.execute(statement)
        other.close()

    return harm


def _page_over_page(path: Path) -> None:
    _write(PAGE, path.read_bytes()[2 * PAGE : 3 * PAGE])(path)


def _link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _away(path: Path) -> None:
    """What a person does with a file that rebuild will not touch."""
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    else:
        path.rename(path.with_name("away"))


def _mine(path: Path) -> None:
    path.parent.chmod(0o700)
    path.chmod(0o600)
    os.chown(path, os.geteuid(), -1)


def cuts(base: Base) -> Iterator[Case]:
    for suffix in ("", "-wal"):
        file = Path(f"{base.between.state_path}{suffix}")
        if not file.exists():
            continue
        size = file.stat().st_size
        # The frames of a log have 24 octets more than a page, behind 32 of its own.
        pages = range(0, size, PAGE) if not suffix else range(32, size, PAGE + 24)
        places = {
            *pages,
            *(place + 1 for place in pages),
            *(place - 1 for place in pages),
            1,
            15,
            16,
            99,
            100,
            size - 1,
        }
        for place in sorted(place for place in places if 0 <= place < size):
            yield Case(f"{base.name}: {suffix or 'file'} cut to {place}", _cut(place, suffix), bool(suffix))


def flips(base: Base, count: int, chance: random.Random, suffix: str = "") -> Iterator[Case]:
    size = Path(f"{base.between.state_path}{suffix}").stat().st_size
    for _ in range(count):
        bit = chance.randrange(size * 8)
        # A hit in the version number may make the file one of a newer version, which rebuild leaves alone.
        heal = _away if not suffix and 60 <= bit // 8 < 64 else None
        yield Case(f"{base.name}: {suffix or 'file'} bit {bit}", _flip(bit, suffix), bool(suffix), heal)


def sectors(base: Base) -> Iterator[Case]:
    """Each sector of the file in turn is lost."""
    for start in range(0, base.between.state_path.stat().st_size, SECTOR):
        heal = _away if start == 0 else None
        yield Case(f"{base.name}: sector at {start} of zeros", _write(start, bytes(SECTOR)), heal=heal)


def others(base: Base) -> Iterator[Case]:
    size = base.between.state_path.stat().st_size
    for name, harm, heal in (
        ("empty", _replaced(b""), None),
        ("a text", _replaced(b"Dear diary,\n" * 1000), _away),
        ("noise", _replaced(random.Random(1).randbytes(size)), _away),
        ("zeros", _replaced(bytes(size)), _away),
        ("another program's database", _another_database, _away),
        ("a link", _link, _away),
        ("a directory", _directory, _away),
        ("a newer version", _write(60, (2).to_bytes(4)), _away),
        ("a much newer version", _write(60, (2**31 - 1).to_bytes(4)), _away),
        ("an older version than there ever was", _write(60, bytes(4)), None),
        ("another program's mark", _write(68, b"\0\0\0\0"), None),
        ("a first page of zeros", _write(0, bytes(PAGE)), _away),
        ("a second page of zeros", _write(PAGE, bytes(PAGE)), None),
        ("a page in the place of another", _page_over_page, None),
        ("a row changed by hand", _sql("UPDATE message SET stage = 'released' WHERE id = 30"), None),
        ("an index dropped", _sql("DROP INDEX message_claim"), None),
        ("a trigger added", _sql("CREATE TRIGGER t AFTER INSERT ON message BEGIN DELETE FROM message; END"), None),
        ("others may write it", lambda path: path.chmod(0o622), _mine),
        ("others may write its directory", lambda path: path.parent.chmod(0o777), _mine),
    ):  # fmt: skip
        yield Case(f"{base.name}: {name}", harm, heal=heal)
    yield Case(f"{base.name}: a row removed by hand", _sql("DELETE FROM message WHERE id = 50"), is_rollback=True)
    if os.geteuid() == 0:
        yield Case(f"{base.name}: another owner", lambda path: os.chown(path, 12345, -1), heal=_mine)
    if Path(f"{base.between.state_path}-wal").exists():
        yield Case(f"{base.name}: the file gone, its log there", lambda path: path.unlink())
        yield Case(f"{base.name}: its log gone", lambda path: Path(f"{path}-wal").unlink(), is_rollback=True)


# --- what became of it --------------------------------------------------------------------------


@dataclass
class Trial:
    """All cases of one base, one after the other."""

    base: Base
    scratch: Path
    rebuild_every: int  # every n-th of the refused ones is rebuilt
    finish_every: int  # every n-th of those that came to nothing is run to its end
    violations: list[str] = field(default_factory=list)
    cases: int = 0
    refused: int = 0
    rebuilt: int = 0
    taken: int = 0
    rolled_back: int = 0

    def run(self, case: Case) -> None:
        self.cases += 1
        between = _copy(self.base, self.scratch)
        try:
            case.harm(between.state_path)
            self._one(case, between)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
            self.violations.append(f"{case.name}: {type(error).__name__}: {error}")
        finally:
            between.state_path.parent.chmod(0o700)
            shutil.rmtree(between.state_path.parent, ignore_errors=True)

    def _one(self, case: Case, between: Between) -> None:
        path = between.state_path
        before = _octets(path)
        state, refusal = _open(path)
        if state is None:
            assert refusal is not None
            assert refusal.exit is Exit.STATE_DAMAGED, f"refused with {refusal.exit}: {refusal.what}"
            assert refusal.hint, "refused without a word of what to do"
            assert _octets(path) == before, "refused, and touched"
            self.refused += 1
            if self.refused % self.rebuild_every == 0 or case.heal is not None:
                self._rebuild(case, between, before)
            return
        try:
            values = self.base.read(state)
        finally:
            state.close()
        self.taken += 1
        if values != self.base.values:
            assert case.is_rollback, "taken, and a value is wrong"
            self.rolled_back += 1
        elif self.taken % self.finish_every:
            return
        between.fork()
        self._finish(between)

    def _rebuild(self, case: Case, between: Between, before: dict[str, bytes]) -> None:
        path = between.state_path
        between.fork()
        self.rebuilt += 1
        refusal = _rebuilt(between)
        if case.heal is not None and refusal is not None:
            assert refusal.exit is Exit.STATE_DAMAGED, f"rebuild refused with {refusal.exit}: {refusal.what}"
            assert _octets(path) == before, "refused to rebuild, and touched"
            case.heal(path)
            refusal = _rebuilt(between)
        elif refusal is None:
            kept = {name.replace(".corrupt-1", ""): octets for name, octets in _octets(path, ".corrupt-1").items()}
            assert kept == before, "the damaged file is not kept as it was"
        if refusal is not None:
            # Once the rights are mended the file is as good as before.
            assert refusal.exit is Exit.USAGE, f"rebuild refused with {refusal.exit}: {refusal.what}"
            assert case.heal is _mine, f"rebuild takes it for sound: {refusal.what}"
        else:
            assert not between.appended(), "a rebuild uploads"
        self._finish(between)

    def _finish(self, between: Between) -> None:
        for _ in range(2):
            code = between.migrate(dedupe="off")
        assert code is Exit.OK, f"the run after it ends with {code}"
        assert not between.appended(), "the second run after it still uploads"
        stored = between.stored()
        lost, twice = self.base.wanted - stored, stored - self.base.wanted
        assert not lost, f"{lost.total()} LOST"
        assert not twice, f"{twice.total()} TWICE"


def _open(path: Path) -> tuple[State | None, StateError | None]:
    try:
        return open_state(path, *ACCOUNTS, digester=Digester), None
    except StateError as error:
        return None, error


def _rebuilt(between: Between) -> StateError | None:
    """Why a rebuild was refused, if it was."""
    try:
        code = between.rebuild(dedupe="off")
    except StateError as error:
        return error
    assert code is Exit.OK, f"the rebuild ends with {code}"
    return None


def _octets(path: Path, ending: str = "") -> dict[str, bytes]:
    """The file and its log, as they are."""
    names = [Path(f"{path}{ending}"), Path(f"{path}{ending}-wal")]
    return {name.name: name.read_bytes() for name in names if name.is_file()}


def run_cases(
    base: Base, cases: Iterable[Case], scratch: Path, *, rebuild_every: int = 1, finish_every: int = 1
) -> Trial:
    """What became of a migration after each of these damages."""
    trial = Trial(base, scratch, rebuild_every, finish_every)
    for case in cases:
        trial.run(case)
    return trial


# --- the programme ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """A share of the programme, for one process: all cases of a kind, or so many flips in one of the files."""

    make: Callable[[Path], Base]
    kind: str
    flips: int = 0
    suffix: str = ""
    seed: int = 0

    def cases(self, base: Base) -> Iterator[Case]:
        match self.kind:
            case "cuts":
                return cuts(base)
            case "sectors":
                return sectors(base)
            case "flips":
                return flips(base, self.flips, random.Random(self.seed), self.suffix)
            case _:
                return others(base)


def _parts(full: bool, seed: int) -> list[Part]:
    count = FLIPS * (3 if full else 1)
    found = [Part(make, kind) for make in (ended, killed, killed_early) for kind in ("others", "cuts", "sectors")]
    for make, suffix, share in (
        (ended, "", 0.6),
        (killed, "", 0.1),
        (killed, "-wal", 0.15),
        (killed_early, "-wal", 0.15),
    ):
        some = round(count * share)
        found += [
            Part(make, "flips", min(SHARE, some - start), suffix, seed + start) for start in range(0, some, SHARE)
        ]
    return found


def _run_part(part: Part, full: bool) -> Trial:
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as name:
        base = part.make(Path(name) / "base")
        every = 1 if part.kind == "others" else 3 if full else 8
        return run_cases(base, part.cases(base), Path(name), rebuild_every=every, finish_every=every)


def main(full: bool, seed: int) -> Report:
    """Every page and sector, 1,500 bits flipped (in full three times as many), and all else that a file may be."""
    report = Report("damaged state files")
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    parts = _parts(full, seed)
    with ProcessPoolExecutor(os.cpu_count() or 1) as pool:
        for part, told in zip(parts, pool.map(_tell_part, parts, repeat(full)), strict=True):
            counts, violations = told
            name = f"{part.make.__name__}, {part.kind}{' of its log' if part.suffix else ''}"
            sums[name].update(counts)
            report.violations += violations
    for name, counts in sums.items():
        report.cases += counts["cases"]
        report.notes.append(
            f"{name}: {counts['cases']:,} cases, {counts['refused']:,} refused ({counts['rebuilt']:,} then rebuilt),"
            f" {counts['taken']:,} harmless ({counts['rolled_back']:,} as of an earlier moment)"
        )
    return report


def _tell_part(part: Part, full: bool) -> tuple[dict[str, int], list[str]]:
    trial = _run_part(part, full)
    names = ("cases", "refused", "rebuilt", "taken", "rolled_back")
    return {name: getattr(trial, name) for name in names}, trial.violations


if __name__ == "__main__":
    import sys
    import time

    began = time.monotonic()
    found = main("--full" in sys.argv, int(os.environ.get("POPFERRY_SEED", "20240229")))
    print("\n".join([*found.notes, *found.violations]))
    print(f"{found.cases:,} cases, {len(found.violations):,} violations, {time.monotonic() - began:.0f} s")
