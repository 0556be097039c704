"""A disk that refuses: nothing is half-written, nothing more is written, and the code says so."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from migrate.errors import Exit, StateError
from migrate.state import State

from .support import file_state, mail, message, refs

LIMITED = """
import resource, sys
from pathlib import Path
from migrate.errors import StateError
from migrate.model import MessageRef
from migrate.rules.dedupe import Digester
from migrate.state import open_state
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), int(sys.argv[2])))
try:
    state = open_state(Path(sys.argv[1]), "alice@pop.example.org", "alice@imap.example.org", digester=Digester)
    state.begin_session()
    state.record_listing(MessageRef(b"u%d" % n, n, 10) for n in range(20000))
except StateError as error:
    print(error.what, error.hint)
    sys.exit(error.exit)
"""


@pytest.mark.parametrize("limit", [0, 1000, 20_000, 200_000])
def test_a_file_that_may_not_grow_ends_with_unwritable(tmp_path: Path, limit: int) -> None:
    path = tmp_path / "s.sqlite"
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(path), str(limit)], check=False, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == Exit.STATE_UNWRITABLE, done
    assert "cannot be written" in done.stdout
    assert "Check the free space" in done.stdout
    state = file_state(path)
    assert state.tally().listed == 0
    state.close()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB."""
    place = tmp_path / "small"
    place.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a small file system can be mounted by root only")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_ends_with_unwritable_and_nothing_more_is_written(small_disk: Path) -> None:
    path = small_disk / "s.sqlite"
    state = file_state(path)
    state.begin_session()
    state.record_listing(refs((b"a", 5)))
    fill = small_disk / "fill"
    with suppress(OSError):
        fill.write_bytes(b"x" * (1 << 20))
    with pytest.raises(StateError) as caught:
        state.record_listing(refs(*((b"u%d" % number, 5) for number in range(5000))))
    assert caught.value.exit is Exit.STATE_UNWRITABLE
    fill.unlink()
    with pytest.raises(StateError, match="nothing more is written") as again:
        state.begin_session()
    assert again.value.exit is Exit.STATE_UNWRITABLE
    assert state.row(1).uid == b"a"
    state.close()
    state = file_state(path)
    assert state.tally().listed == 1
    assert state.begin_session() == 2
    state.close()


def test_a_full_disk_refuses_a_spooled_message_and_leaves_no_half(small_disk: Path) -> None:
    state = file_state(small_disk / "s.sqlite")
    state.begin_session()
    state.record_listing(refs((b"a", 5)))
    data = mail("a") + b"x" * (1 << 20)
    with pytest.raises(StateError) as caught:
        state.spool(1, message(data))
    assert caught.value.exit is Exit.STATE_UNWRITABLE
    assert "no space" in caught.value.what
    assert os.listdir(small_disk / "s.sqlite.spool") == []
    state.close()


def test_a_state_in_use_by_another_program_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    state = file_state(path)
    state._db.connection.execute("PRAGMA busy_timeout = 0")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StateError) as caught:
        state.begin_session()
    assert caught.value.exit is Exit.STATE_LOCKED
    other.close()
    state.close()


def broken(state: State) -> StateError:
    with pytest.raises(StateError) as caught:
        state.tally()
    return caught.value


def test_a_closed_state_is_a_state_error(tmp_path: Path) -> None:
    state = file_state(tmp_path / "s.sqlite")
    state.close()
    assert broken(state).exit is Exit.UNEXPECTED
    state.close()
