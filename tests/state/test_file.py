"""The state file as a file: made whole or not at all, one run at a time, refused when it is not what it should be."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from migrate.errors import Exit, StateError
from migrate.model import INBOX
from migrate.state import file as state_file
from migrate.state import open_state, read_state, rebind, rehearsal, schema, unfinished_elsewhere
from migrate.state.file import Hook

from .support import DEST, SOURCE, copy_all, digester, file_state, mail, message, refs

STEPS = ("locked", "named", "filled", "logged", "closed", "synced", "renamed", "durable")

CHILD = """
import os, sys
from pathlib import Path
from migrate.rules.dedupe import Digester
from migrate.state import open_state
from migrate.model import MessageRef
path, step = Path(sys.argv[1]), sys.argv[2]
def hook(at):
    if at == step:
        os._exit(9)
state = open_state(path, "alice@pop.example.org", "alice@imap.example.org", digester=Digester, hook=hook)
"""
DIES_IN_A_RUN = (
    CHILD + "state.begin_run(1.0)\nstate.begin_session()\nstate.record_listing([MessageRef(b'a', 1, 5)])\nos._exit(9)"
)
HOLDS = CHILD + "print('held', flush=True)\nsys.stdin.read()"


def child(code: str, path: Path, step: str = "") -> int:
    return subprocess.run([sys.executable, "-c", code, str(path), step], check=False, timeout=60).returncode


def refused(path: Path, exit: Exit) -> StateError:
    """The error, after which the file and all around it are as before."""
    before = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent) if "lock" not in name}
    with pytest.raises(StateError) as caught:
        file_state(path)
    assert caught.value.exit is exit
    after = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent) if "lock" not in name}
    assert after == before
    return caught.value


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "states" / "a.sqlite"


@pytest.fixture
def made(path: Path) -> Path:
    """A closed state file with one verified message and one open one."""
    state = file_state(path)
    state.begin_run(1000.0)
    state.begin_session()
    state.record_listing(refs((b"a", 5), (b"b", 6)))
    copy_all(state, (state.row(1), mail("a")))
    state.close()
    return path


def set_header(path: Path, offset: int, value: int) -> None:
    octets = bytearray(path.read_bytes())
    octets[offset : offset + 4] = value.to_bytes(4)
    path.write_bytes(octets)


# --- making -----------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_killed_while_it_is_made_nothing_half_made_stays(path: Path, step: str) -> None:
    assert child(CHILD, path, step) == 9
    assert not path.exists() or path.stat().st_size > 0
    state = file_state(path)
    assert state.begin_run(5.0) == (1, None)
    state.close()
    assert sorted(os.listdir(path.parent)) == ["a.sqlite", "a.sqlite.lock"]


def test_every_step_of_making_it_is_hooked(path: Path) -> None:
    seen: list[str] = []
    hook: Hook = seen.append
    open_state(path, SOURCE, DEST, digester=digester, hook=hook).close()
    assert tuple(seen) == STEPS


def test_a_run_killed_in_the_middle_leaves_what_it_committed(path: Path) -> None:
    assert child(DIES_IN_A_RUN, path) == 9
    assert Path(f"{path}-wal").stat().st_size > 0
    state = file_state(path)
    assert state.begin_run(2.0) == (2, 1.0)
    assert state.row(1).uid == b"a"
    assert state.begin_session() == 2
    state.close()


def test_everything_is_for_its_owner_alone_whatever_the_umask(path: Path) -> None:
    old = os.umask(0)
    try:
        state = file_state(path)
        state.begin_run(1.0)
        state.begin_session()
        state.record_listing(refs((b"a", 5)))
        state.spool(1, message(mail("a")))
        modes = {
            name: os.stat(Path(top) / name).st_mode & 0o777 for top, ds, fs in os.walk(path.parent) for name in ds + fs
        }
        assert os.stat(path.parent).st_mode & 0o777 == 0o700
        assert {"a.sqlite", "a.sqlite-wal", "a.sqlite-shm", "a.sqlite.lock", "a.sqlite.spool"} < set(modes)
        assert modes.pop("a.sqlite.spool") == 0o700
        assert set(modes.values()) == {0o600}
        state.close()
    finally:
        os.umask(old)


def test_a_missing_file_is_not_made_unasked(path: Path) -> None:
    with pytest.raises(StateError) as caught:
        open_state(path, SOURCE, DEST, digester=digester, create=False)
    assert caught.value.exit is Exit.USAGE
    assert not path.parent.exists()


def test_a_log_without_its_file_is_refused(made: Path) -> None:
    Path(f"{made}-wal").write_bytes(b"left over")
    made.unlink()
    assert "missing" in refused(made, Exit.STATE_DAMAGED).what


# --- one run at a time ------------------------------------------------------------------------


def test_a_second_run_is_refused_and_told_who_holds_the_state(path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDS, str(path), ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError) as caught:
            file_state(path)
        assert caught.value.exit is Exit.STATE_LOCKED
        assert f"process {holder.pid}, since 20" in caught.value.what
        with read_state(path) as reader:
            assert reader.summary().is_running
        holder.kill()
        holder.wait()
    file_state(path).close()


def test_the_same_process_cannot_open_it_twice(path: Path) -> None:
    state = file_state(path)
    with pytest.raises(StateError) as caught:
        file_state(path)
    assert caught.value.exit is Exit.STATE_LOCKED
    state.close()
    file_state(path).close()


# --- what is refused --------------------------------------------------------------------------


def test_an_empty_file_is_not_a_first_run(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.touch(0o600)
    assert "empty" in refused(path, Exit.STATE_DAMAGED).what


PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20


@pytest.mark.parametrize("octets", [PNG, b"x", b"SQLite format 3\0", b"SQLite format 3\0" + bytes(5000)])
def test_a_foreign_file_is_refused_untouched(path: Path, octets: bytes) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(octets)
    path.chmod(0o600)
    refused(path, Exit.STATE_DAMAGED)


def test_another_sqlite_database_is_refused_untouched(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE message (id INTEGER PRIMARY KEY)")
    other.close()
    path.chmod(0o600)
    assert "not a state file" in refused(path, Exit.STATE_DAMAGED).what


def test_our_number_on_foreign_tables_is_refused(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE message (id INTEGER PRIMARY KEY)")
    other.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    other.execute("PRAGMA user_version = 1")
    other.close()
    path.chmod(0o600)
    refused(path, Exit.STATE_DAMAGED)


@pytest.mark.parametrize("version", [2, 3, 2**31 - 1])
def test_a_newer_version_is_refused_untouched(made: Path, version: int) -> None:
    set_header(made, 60, version)
    assert "newer version" in refused(made, Exit.STATE_DAMAGED).what
    with pytest.raises(StateError, match="newer version"):
        read_state(made)


@pytest.mark.parametrize("version", [0, 2**32 - 1])
def test_a_version_that_never_was_is_refused_untouched(made: Path, version: int) -> None:
    set_header(made, 60, version)
    refused(made, Exit.STATE_DAMAGED)


def test_a_newer_version_that_stands_in_the_log_only_is_refused_untouched(path: Path) -> None:
    assert child(DIES_IN_A_RUN, path) == 9
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 9")
    copies = {name: (path.parent / name).read_bytes() for name in os.listdir(path.parent) if "shm" not in name}
    other.close()
    for name, octets in copies.items():
        (path.parent / name).write_bytes(octets)
    assert int.from_bytes(path.read_bytes()[60:64]) == 1
    with pytest.raises(StateError, match="newer version"):
        file_state(path)
    for name in ("a.sqlite", "a.sqlite-wal"):
        assert (path.parent / name).read_bytes() == copies[name]


@pytest.mark.parametrize("mode", [0o620, 0o602, 0o666])
def test_a_file_that_others_may_write_is_refused(made: Path, mode: int) -> None:
    made.chmod(mode)
    assert "others may write" in refused(made, Exit.STATE_DAMAGED).what


def test_a_directory_that_others_may_write_is_refused(made: Path) -> None:
    made.parent.chmod(0o777)
    assert "chmod go-w" in refused(made, Exit.STATE_DAMAGED).hint
    made.parent.chmod(0o755)
    file_state(made).close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(made: Path) -> None:
    os.chown(made, 12345, -1)
    assert "another user" in refused(made, Exit.STATE_DAMAGED).what


def test_a_link_is_no_state_file(made: Path) -> None:
    link = made.with_name("link.sqlite")
    link.symlink_to(made)
    with pytest.raises(StateError, match="not a plain file"):
        file_state(link)


def test_a_readable_file_becomes_private(made: Path) -> None:
    made.chmod(0o644)
    file_state(made).close()
    assert made.stat().st_mode & 0o777 == 0o600


# --- versions ---------------------------------------------------------------------------------


def test_an_older_version_is_brought_up_after_a_copy_was_made(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = made.read_bytes()

    def step(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")

    state_file.migrate(made, 1, [step])
    connection = sqlite3.connect(made)
    assert connection.execute("PRAGMA user_version").fetchone() == (2,)
    assert connection.execute("SELECT count(*) FROM later").fetchone() == (0,)
    connection.close()
    copy = sqlite3.connect(made.with_name("a.sqlite.version-1"))
    assert copy.execute("SELECT count(*) FROM message").fetchone() == (2,)
    copy.close()
    assert made.with_name("a.sqlite.version-1").stat().st_mode & 0o777 == 0o600
    assert len(old) > 0


@pytest.mark.parametrize("is_whole", [True, False])
def test_the_copy_of_an_older_version_does_not_forbid_deletion(made: Path, is_whole: bool) -> None:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute("CREATE TABLE later (id INTEGER PRIMARY KEY)")

    state_file.migrate(made, 1, [step])
    copy = made.with_name("a.sqlite.version-1")
    if not is_whole:  # as one has it that was killed just before the rename
        copy = copy.rename(made.with_name("a.sqlite.version-1.new"))
    assert unfinished_elsewhere(made, SOURCE) == ""
    made.unlink()
    assert str(copy) in unfinished_elsewhere(made, SOURCE), "where nothing stands in its place, it is what there is"


def test_a_step_of_versions_that_fails_changes_nothing(made: Path) -> None:
    def step(connection: sqlite3.Connection) -> None:
        connection.execute("DELETE FROM message")
        raise sqlite3.OperationalError("refused")

    with pytest.raises(StateError):
        state_file.migrate(made, 1, [step])
    state = file_state(made)
    assert state.tally().listed == 2
    state.close()


# --- whose it is ------------------------------------------------------------------------------


def test_other_accounts_are_refused(made: Path) -> None:
    before = made.read_bytes()
    for accounts in ((SOURCE, "bob@imap.example.org"), ("bob@pop.example.org", DEST)):
        with pytest.raises(StateError) as caught:
            open_state(made, *accounts, digester=digester)
        assert caught.value.exit is Exit.USAGE
        assert f"{SOURCE} to {DEST}" in caught.value.what
    assert made.read_bytes() == before


def test_a_renamed_account_is_followed(made: Path) -> None:
    rebind(made, SOURCE, "alice@pop.example.net")
    state = open_state(made, "alice@pop.example.net", DEST, digester=digester)
    assert state.tally().copied == 1
    state.close()
    with pytest.raises(StateError) as caught:
        rebind(made, SOURCE, "x@y")
    assert caught.value.exit is Exit.USAGE


def test_another_state_of_the_same_source_with_open_messages_is_named(made: Path) -> None:
    other = made.with_name("other.sqlite")
    assert unfinished_elsewhere(made, SOURCE) == ""
    assert str(made) in unfinished_elsewhere(other, SOURCE)
    assert "1 messages" in unfinished_elsewhere(other, SOURCE)
    assert unfinished_elsewhere(other, "bob@pop.example.org") == ""
    state = file_state(made)
    state.begin_session()
    state.record_listing(refs((b"a", 5)))
    state.mark_vanished()
    state.close()
    assert unfinished_elsewhere(other, SOURCE) == ""
    (made.parent / "notes.txt").write_text("nothing")
    assert unfinished_elsewhere(other, SOURCE) == ""
    set_header(made, 60, 99)
    assert "cannot be read" in unfinished_elsewhere(other, SOURCE)


# --- rehearsal --------------------------------------------------------------------------------


def test_a_rehearsal_changes_no_file(made: Path) -> None:
    before = {name: (made.parent / name).read_bytes() for name in os.listdir(made.parent)}
    state = rehearsal(made, SOURCE, DEST, digester=digester)
    state.begin_run(5.0)
    state.begin_session()
    facts = state.record_listing(refs((b"a", 5), (b"b", 6), (b"c", 7)))
    assert (facts.done, facts.open, facts.new) == (1, 2, 1)
    assert state.open_mailboxes() == [INBOX]
    state.close()
    assert {name: (made.parent / name).read_bytes() for name in os.listdir(made.parent)} == before


def test_a_rehearsal_before_the_first_run_makes_nothing(path: Path) -> None:
    state = rehearsal(path, SOURCE, DEST, digester=digester)
    state.begin_session()
    assert state.record_listing(refs((b"a", 5))).new == 1
    state.close()
    assert not path.parent.exists()


def test_a_rehearsal_refuses_what_a_run_refuses(made: Path) -> None:
    with pytest.raises(StateError) as caught:
        rehearsal(made, SOURCE, "bob@x", digester=digester)
    assert caught.value.exit is Exit.USAGE
    made.write_bytes(b"")
    with pytest.raises(StateError) as caught:
        rehearsal(made, SOURCE, DEST, digester=digester)
    assert caught.value.exit is Exit.STATE_DAMAGED
