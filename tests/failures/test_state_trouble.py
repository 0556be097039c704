"""30, 31 and 32: a state file that is in use, that cannot be believed, or that cannot be written."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .conftest import FIVE, MakeEnds, Popferry, mail
from .servers import EmptyingPop3, Gate, retr_held

# --- 30 ---------------------------------------------------------------------------------------


def test_another_run_holds_the_state(ends: MakeEnds, popferry: Popferry) -> None:
    gate = Gate(at=3)
    both = ends(pop3=retr_held(gate))
    both.deliver(*FIVE)
    first = popferry.begin_migration(*both.words)
    gate.wait()
    second = popferry.another("second")
    ran = second.run("migrate", *both.words, *second.usual, "--state", str(popferry.state))
    ran.told(30, f"Another run holds the state file (process {first.process.pid}, since ")
    ran.told(30, "Wait until it has ended, or stop it.", "Nothing was done.", f"State: {popferry.state}")
    gate.open()
    first.wait().told(0)
    both.check_complete(*FIVE)


# --- 31 ---------------------------------------------------------------------------------------


def empty(path: Path) -> None:
    path.write_bytes(b"")


def foreign_text(path: Path) -> None:
    path.write_text("Dear diary, this is no database at all. " * 40)


def foreign_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs (title TEXT)")
    connection.close()


def newer(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def flipped(path: Path) -> None:
    """One bit of a message's row is another one."""
    octets = bytearray(path.read_bytes())
    octets[octets.rindex(b"00000003") + 7] ^= 1
    path.write_bytes(octets)


def changed_by_hand(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE message SET stage = 'listed' WHERE id = 2")
    connection.close()


def open_to_others(path: Path) -> None:
    path.chmod(0o666)


def a_link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGE: list[tuple[Callable[[Path], None], list[str]]] = [
    (empty, ["is empty", "does not mean a first run"]),
    (foreign_text, ["is not a state file of popferry", "Choose another file with --state"]),
    (foreign_database, ["is not a state file of popferry", "left as it is"]),
    (newer, ["was made by a newer version of popferry", "Install the newest popferry"]),
    (cut, ["is damaged", "popferry rebuild SOURCE DEST makes a new one", "same --state FILE"]),
    (flipped, ["is damaged", "popferry rebuild SOURCE DEST makes a new one"]),
    (changed_by_hand, ["is damaged", "does not fit its checksum"]),
    (open_to_others, ["thers may write to the file", "chmod go-w"]),
    (a_link, ["is not a plain file", "Choose another place with --state"]),
]


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state file of a run that went well, made once."""
    return tmp_path_factory.mktemp("used") / "s.sqlite"


@pytest.mark.parametrize(("damage", "essence"), DAMAGE, ids=[damage.__name__ for damage, _ in DAMAGE])
def test_a_state_file_that_cannot_be_believed_is_31_and_left_as_it_is(
    damage: Callable[[Path], None], essence: list[str], used: Path, ends: MakeEnds, popferry: Popferry
) -> None:
    both = ends()
    both.deliver(*FIVE)
    if not used.exists():
        popferry.migrate(*both.words).told(0)
        shutil.copyfile(popferry.state, used)
        shutil.rmtree(popferry.state.parent)
    popferry.state.parent.mkdir(mode=0o700, parents=True)
    shutil.copyfile(used, popferry.state)
    popferry.state.chmod(0o600)
    damage(popferry.state)
    before = popferry.state.read_bytes()
    for words in [(), ("--dry-run",)] if damage in (empty, newer, changed_by_hand) else [()]:
        ran = popferry.migrate(*both.words, *words)
        ran.told(31, *essence, "Nothing was done; the file is left as it is.")
        assert popferry.state.read_bytes() == before
    if damage is not flipped:  # status looks at the rows, not at the indexes
        popferry.run("status", "--state", str(popferry.state)).told(31, essence[0])


# --- 32 ---------------------------------------------------------------------------------------


def test_a_directory_without_leave_to_write_is_32(ends: MakeEnds, popferry: Popferry) -> None:
    popferry.state.parent.mkdir(mode=0o500)
    bound = with_bounds("setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override")
    popferry.program = (*bound, *popferry.program) if os.geteuid() == 0 else popferry.program
    ran = popferry.migrate(*ends().words)
    ran.told(32, f"{popferry.state}", "cannot be written: Permission denied.", "owner", "Nothing is lost.")


def test_a_state_below_a_file_is_32(ends: MakeEnds, popferry: Popferry) -> None:
    popferry.state.parent.write_text("in the way")
    popferry.migrate(*ends().words).told(32, "is not a directory", "--state")


def with_bounds(*words: str) -> tuple[str, ...]:
    """The words as a prefix of a command, where this machine allows them."""
    if shutil.which(words[0]) is None or subprocess.run([*words, "true"], check=False, capture_output=True).returncode:
        pytest.skip(f"{words[0]} cannot be used here")
    return words


@pytest.mark.parametrize("limit", [20_000, 150_000], ids=["created", "grown"])
def test_a_state_file_that_cannot_grow_is_32(limit: int, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*(mail(number) for number in range(600)))
    usual = popferry.program
    popferry.program = (*with_bounds("prlimit", f"--fsize={limit}"), *usual)
    ran = popferry.migrate(*both.words)
    ran.told(32, f"state file {popferry.state} cannot be written", "Check the free space", "Nothing is lost.")
    popferry.program = usual
    popferry.migrate(*both.words, "--limit", "5").told(0)
    stored = [one.octets for one in both.dest.stored("bob", "Old")]
    assert 5 <= len(stored) == len(set(stored)), "what the first run had sent is not sent again"


@pytest.fixture
def small_disk(popferry: Popferry) -> Iterator[Path]:
    """A file system of 1 MB at the place of the state file."""
    place = popferry.state.parent
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_under_the_spool_is_32(small_disk: Path, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends(pop3=EmptyingPop3)
    both.deliver(*FIVE, mail(6, "large " * 300_000))
    ran = popferry.migrate(*both.words)
    ran.told(32, "cannot be written: there is no space left.", "Check the free space", "Nothing is lost.")
    subprocess.run(["mount", "-o", "remount,size=20m", str(small_disk)], check=True)
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE, mail(6, "large " * 300_000))


def test_a_full_disk_under_a_large_message_is_32(small_disk: Path, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(mail(1, "large " * 1_500_000))
    ran = popferry.migrate(*both.words)
    ran.told(32, "could not be written to", "No space left on device.", "Free some space there", "Nothing is lost.")
    subprocess.run(["mount", "-o", "remount,size=40m", str(small_disk)], check=True)
    popferry.migrate(*both.words).told(0)
    both.check_complete(mail(1, "large " * 1_500_000))
