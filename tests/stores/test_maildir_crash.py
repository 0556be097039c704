"""The unchanged engine into a Maildir: it dies at every step on the disk, and every message is there once."""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from migrate.commands import DestFacts
from migrate.errors import Exit
from migrate.events import Scanned, Verified
from migrate.model import Dedupe
from migrate.stores import disk
from migrate.stores.base import Finding, Sum
from migrate.stores.maildir import MaildirAppender
from tests.engine.support import Crash, letter
from tests.support.mailgen import odd_messages

from .contract import Held
from .frail import Frail, IntoFiles, dies, three_at_a_time
from .maildir_rig import checked, delivered, held

MARKED = b"Status: RO\r\nX-Keywords: blue $Label1\r\n"
MESSAGES = [letter(number) for number in range(4)] + [
    letter(0),
    letter(5, header=MARKED),
    letter(6, header=b"X-Keywords: red\r\n", body=b"\r\n.\r\n"),
    b"\nlf\nonly",
]


class _Small(MaildirAppender):
    def _facts(self) -> DestFacts:
        return three_at_a_time(super()._facts())


class IntoMaildir(IntoFiles):
    """A Maildir."""

    def session(self) -> _Small:
        return _Small(self.root, clock=lambda: self.now, wait_s=0.0)

    def held(self) -> list[Held]:
        return held(self.root)

    def checked(self) -> tuple[list[Finding], Sum]:
        return checked(self.root)

    def assert_all_there_once(self, where: object = "") -> None:
        super().assert_all_there_once(where)
        assert list((self.root / "tmp").iterdir()) == [], where
        assert not (self.root / "dovecot-keywords.lock").exists(), where
        flags = {one.octets: one.flags for one in self.held()}
        assert flags[MESSAGES[5]] == {"\\Seen", "blue", "$Label1"}, where


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a disk would forget is played here; a real one need not be waited for."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0], ids=["nothing", "half", "all"])
def test_a_run_that_dies_at_any_step_on_the_disk_is_completed_by_the_next(
    tmp_path: Path, share: float, record_property: Callable[[str, object], None]
) -> None:
    last = 0
    is_over = False
    while not is_over:
        last += 1
        scratch = tmp_path / str(last)
        scratch.mkdir()
        there = IntoMaildir(scratch, MESSAGES)
        is_over = not dies(there, last, share)
        assert there.migrate() is Exit.OK
        there.assert_all_there_once(last)
        shutil.rmtree(scratch)
    assert last > 50
    record_property("steps on the disk", last - 1)


def test_a_run_that_dies_twice_is_completed_by_the_third(tmp_path: Path) -> None:
    rng = random.Random(20261126)
    for trial in range(60):
        scratch = tmp_path / str(trial)
        scratch.mkdir()
        there = IntoMaildir(scratch, MESSAGES)
        first, second = (rng.randrange(1, 70), rng.random()), (rng.randrange(1, 20), rng.random())
        dies(there, *first)
        dies(there, *second)
        assert there.migrate() is Exit.OK
        there.assert_all_there_once((trial, first, second))
        shutil.rmtree(scratch)


class PowerCut(Frail):
    """The same, and the disk forgets what was never synced: ends of files, and names in directories."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int, share: float, synced: dict[object, object]) -> None:
        self.synced = synced  # octets by inode, names by directory
        real = disk.sync

        def sync(handle: int) -> None:
            real(handle)
            facts, path = os.fstat(handle), os.readlink(f"/proc/self/fd/{handle}")
            is_directory = os.path.isdir(path)
            self.synced[path if is_directory else facts.st_ino] = (
                set(os.listdir(path)) if is_directory else facts.st_size
            )

        monkeypatch.setattr(disk, "sync", sync)
        super().__init__(monkeypatch, last, share)

    def forget(self, root: Path, rng: random.Random | None = None) -> None:
        """Some of what was never synced is gone, or without ``rng`` all of it."""
        for path in delivered(root) if root.exists() else []:
            names = self.synced.get(str(path.parent), set())
            assert isinstance(names, set)
            if path.name not in names and (rng is None or rng.random() < 0.7):
                waiting = root / "tmp" / path.name.partition(":")[0]
                if rng is not None and rng.random() < 0.5 and not waiting.exists():
                    os.link(path, waiting)
                if rng is None or rng.random() < 0.7:
                    path.unlink()
        for path in [*root.glob("tmp/*"), *root.glob("popferry.index")]:
            octets, safe = path.read_bytes(), self.synced.get(path.stat().st_ino, 0)
            assert isinstance(safe, int)
            safe = min(safe, len(octets))
            cut = rng.randrange(safe, len(octets) + 1) if rng else safe
            dates = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
            with path.open("r+b") as stream:
                stream.truncate(cut)
                stream.seek(cut)
                stream.write(rng.choice([b"", b"\0" * (len(octets) - cut)]) if rng else b"")
            os.utime(path, ns=dates)


def test_a_power_cut_after_any_step_leaves_every_message_once(tmp_path: Path) -> None:
    """Also where runs before were killed, so that what they had not synced was there for a while, and is gone now."""
    for trial in range(80):
        rng = random.Random(f"power:{trial}")
        scratch = tmp_path / str(trial)
        scratch.mkdir()
        there = IntoMaildir(scratch, [MESSAGES[5], *rng.sample(MESSAGES, rng.randrange(1, len(MESSAGES) + 1))])
        synced: dict[object, object] = {}
        for life in range(rng.randrange(1, 4)):
            if rng.random() < 0.3:
                there.maildrop.deliver(letter(100 + life))
            with pytest.MonkeyPatch.context() as patch:
                power = PowerCut(patch, rng.randrange(1, 80), rng.random(), synced)
                with suppress(Crash):
                    there.migrate()
            if rng.random() < 0.5:
                power.forget(there.root, rng)
        assert there.migrate() is Exit.OK, trial
        there.assert_all_there_once(trial)
        shutil.rmtree(scratch)


def test_what_a_killed_run_left_is_synced_before_it_is_believed(tmp_path: Path) -> None:
    """It was in the memory of the machine for the next run to see, and then the power fails."""
    for last in range(1, 70):
        scratch = tmp_path / str(last)
        scratch.mkdir()
        there = IntoMaildir(scratch, MESSAGES)
        synced: dict[object, object] = {}
        for step in (last, 10**9):
            with pytest.MonkeyPatch.context() as patch, suppress(Crash):
                power = PowerCut(patch, step, 1.0, synced)
                there.migrate()
        power.forget(there.root)
        assert there.migrate() is Exit.OK
        there.assert_all_there_once(last)
        shutil.rmtree(scratch)


def test_a_second_run_stores_nothing(tmp_path: Path) -> None:
    there = IntoMaildir(tmp_path, MESSAGES)
    assert there.migrate() is Exit.OK
    before = {path: path.read_bytes() for path in there.root.rglob("*") if path.is_file()}
    assert sum(event.messages for event in there.all(Verified) if event.proof == "octets") == len(MESSAGES)
    assert there.migrate() is Exit.OK
    assert there.appended() == 0
    assert {path: path.read_bytes() for path in there.root.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("lost", ["state", "index", "both"])
def test_with_the_books_lost_nothing_is_stored_twice(tmp_path: Path, lost: str) -> None:
    there = IntoMaildir(tmp_path, MESSAGES)
    assert there.migrate() is Exit.OK
    stored = sorted(path.name for path in delivered(there.root))
    if lost != "index":
        for path in tmp_path.glob("state.sqlite*"):
            path.unlink()
    if lost != "state":
        (there.root / "popferry.index").unlink()
    assert there.migrate(dedupe=Dedupe.CONTENT) is Exit.OK
    if lost != "index":
        assert there.one(Scanned).messages == len(MESSAGES)
    left = sorted(path.name for path in delivered(there.root))
    # Without an index nobody knows that the lines of one message ended in LF alone.
    assert len(left) - len(stored) <= (lost != "state")
    assert set(stored) <= set(left)


def test_odd_messages_are_proved_octet_for_octet(tmp_path: Path) -> None:
    there = IntoMaildir(tmp_path, [MESSAGES[5], *(octets for octets in odd_messages().values() if octets)])
    assert there.migrate() is Exit.OK
    there.assert_all_there_once()
    assert [event.proof for event in there.all(Verified)] == ["octets"] * len(there.all(Verified))
