"""The unchanged engine into mbox files: it dies at every step on the disk, and every message is there once."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
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
from migrate.stores.mbox import MboxAppender
from tests.engine.support import Crash, letter
from tests.support.mailgen import odd_messages

from .contract import Held
from .frail import Frail, IntoFiles, dies, three_at_a_time
from .mbox_rig import DECEMBER, NOVEMBER, checked, held

MESSAGES = [letter(number) for number in range(5)] + [
    letter(0),
    letter(5, body=b"\r\nFrom x\r\n>From y"),
    b"\nlf\nonly",
]


class _Small(MboxAppender):
    def _facts(self) -> DestFacts:
        return three_at_a_time(super()._facts())


class IntoMbox(IntoFiles):
    """A directory of mbox files."""

    def session(self) -> _Small:
        return _Small(self.root, clock=lambda: self.now, wait_s=0.0)

    def held(self) -> list[Held]:
        return held(self.root)

    def checked(self) -> tuple[list[Finding], Sum]:
        return checked(self.root)


@pytest.mark.parametrize(
    ("share", "later"),
    [(0.0, NOVEMBER), (0.5, NOVEMBER), (1.0, NOVEMBER), (0.5, DECEMBER)],
    ids=["nothing", "half", "all", "half, next month"],
)
def test_a_run_that_dies_at_any_step_on_the_disk_is_completed_by_the_next(
    tmp_path: Path, share: float, later: float, record_property: Callable[[str, object], None]
) -> None:
    last = 0
    is_over = False
    while not is_over:
        last += 1
        scratch = tmp_path / str(last)
        scratch.mkdir()
        there = IntoMbox(scratch, MESSAGES)
        is_over = not dies(there, last, share)
        there.now = later
        assert there.migrate() is Exit.OK
        there.assert_all_there_once(last)
        shutil.rmtree(scratch)
    assert last > 25
    record_property("steps on the disk", last - 1)


def test_a_run_that_dies_twice_is_completed_by_the_third(tmp_path: Path) -> None:
    rng = random.Random(20261126)
    for trial in range(120):
        scratch = tmp_path / str(trial)
        scratch.mkdir()
        there = IntoMbox(scratch, MESSAGES)
        first, second = (rng.randrange(1, 40), rng.random()), (rng.randrange(1, 12), rng.random())
        dies(there, *first)
        dies(there, *second)
        assert there.migrate() is Exit.OK
        there.assert_all_there_once((trial, first, second))
        shutil.rmtree(scratch)


class PowerCut(Frail):
    """The same, and the disk forgets what was never synced: the end of a file is gone, or holds zeros."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int, share: float, synced: dict[str, int]) -> None:
        self.synced = synced
        real = disk.sync

        def sync(handle: int) -> None:
            real(handle)
            # What is not named ".part" any more had all its octets when it got its name.
            self.synced[os.readlink(f"/proc/self/fd/{handle}").removesuffix(".part")] = os.fstat(handle).st_size

        monkeypatch.setattr(disk, "sync", sync)
        super().__init__(monkeypatch, last, share)

    def forget(self, root: Path, rng: random.Random | None = None) -> None:
        """Some of what was never synced is gone, or without ``rng`` all of it."""
        for path in (root / "INBOX").glob("*.mbox*"):
            octets = path.read_bytes()
            safe = min(self.synced.get(str(path), 0), len(octets))
            cut = rng.randrange(safe, len(octets) + 1) if rng else safe
            path.write_bytes(octets[:cut] + (rng.choice([b"", b"\0" * (len(octets) - cut)]) if rng else b""))


def test_a_power_cut_after_any_step_leaves_every_message_once(tmp_path: Path) -> None:
    """Also where runs before were killed, so that what they had not synced was there for a while, and is gone now."""
    for trial in range(80):
        rng = random.Random(f"power:{trial}")
        scratch = tmp_path / str(trial)
        scratch.mkdir()
        there = IntoMbox(scratch, rng.sample(MESSAGES, rng.randrange(1, len(MESSAGES) + 1)))
        synced: dict[str, int] = {}
        for life in range(rng.randrange(1, 4)):
            there.now = DECEMBER if rng.random() < 0.3 else there.now
            if rng.random() < 0.3:
                there.maildrop.deliver(letter(100 + life))
            with pytest.MonkeyPatch.context() as patch:
                power = PowerCut(patch, rng.randrange(1, 45), rng.random(), synced)
                with suppress(Crash):
                    there.migrate()
            if rng.random() < 0.5:
                power.forget(there.root, rng)
        assert there.migrate() is Exit.OK, trial
        there.assert_all_there_once(trial)
        shutil.rmtree(scratch)


def test_what_a_killed_run_left_is_synced_before_it_is_believed(tmp_path: Path) -> None:
    """It was in the memory of the machine for the next run to see, and then the power fails."""
    for last in range(1, 33):
        scratch = tmp_path / str(last)
        scratch.mkdir()
        there = IntoMbox(scratch, MESSAGES)
        synced: dict[str, int] = {}
        for step in (last, 10**9):
            with pytest.MonkeyPatch.context() as patch, suppress(Crash):
                power = PowerCut(patch, step, 1.0, synced)
                there.migrate()
        power.forget(there.root)
        assert there.migrate() is Exit.OK
        there.assert_all_there_once(last)
        shutil.rmtree(scratch)


def test_a_month_that_is_over_is_on_the_disk_to_its_last_mark(tmp_path: Path) -> None:
    there = IntoMbox(tmp_path, MESSAGES)
    with pytest.MonkeyPatch.context() as patch:
        power = PowerCut(patch, 10**9, 1.0, {})
        assert there.migrate() is Exit.OK
        there.now = DECEMBER
        there.maildrop.deliver(letter(100))
        assert there.migrate() is Exit.OK
    for path in (there.root / "INBOX").glob("2026-11.*"):
        assert power.synced[str(path)] == path.stat().st_size


def test_a_second_run_stores_nothing(tmp_path: Path) -> None:
    there = IntoMbox(tmp_path, MESSAGES)
    assert there.migrate() is Exit.OK
    before = {path: path.read_bytes() for path in there.root.rglob("*") if path.is_file()}
    assert sum(event.messages for event in there.all(Verified) if event.proof == "octets") == len(MESSAGES)
    there.now = DECEMBER
    assert there.migrate() is Exit.OK
    assert there.appended() == 0
    assert {path: path.read_bytes() for path in there.root.rglob("*") if path.is_file()} == before


def test_with_the_state_file_lost_nothing_is_stored_twice(tmp_path: Path) -> None:
    there = IntoMbox(tmp_path, MESSAGES)
    assert there.migrate() is Exit.OK
    stored = Counter(one.octets for one in held(there.root))
    for path in tmp_path.glob("state.sqlite*"):
        path.unlink()
    assert there.migrate(dedupe=Dedupe.CONTENT) is Exit.OK
    assert there.one(Scanned).messages == len(MESSAGES)
    assert Counter(one.octets for one in held(there.root)) == stored


def test_odd_messages_are_proved_octet_for_octet(tmp_path: Path) -> None:
    there = IntoMbox(tmp_path, [octets for octets in odd_messages().values() if octets])
    assert there.migrate() is Exit.OK
    there.assert_all_there_once()
    assert [event.proof for event in there.all(Verified)] == ["octets"] * len(there.all(Verified))
