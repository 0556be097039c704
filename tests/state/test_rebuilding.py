"""A rebuilt state file takes the place of the old one whole, whenever the process dies; what is not ours stays."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from migrate.errors import Exit, StateError
from migrate.model import Stage
from migrate.state import rebuilding

from .support import DEST, SOURCE, copy_all, digester, file_state, mail, message, refs

NAMES = ("rename", "unlink", "rmdir", "mkdir")  # the calls that change names on the disk


def dies_at(step: int, act: Callable[[], None]) -> bool:
    """Whether a process of its own that does this was killed before its n-th change of a name."""
    child = os.fork()
    if not child:
        left = [step]

        def counted(do: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **more: object) -> object:
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                left[0] -= 1
                return do(*args, **more)

            return call

        for name in NAMES:
            setattr(os, name, counted(getattr(os, name)))
        try:
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL)
    return code != 0


def old(path: Path) -> dict[str, bytes]:
    """A damaged state file with its log and its spool, as a killed run may leave it. Value: its octets."""
    path.parent.mkdir(mode=0o700)
    state = file_state(path)
    state.begin_session()
    state.record_listing(refs((b"one", 5), (b"two", 5)))
    state.spool(2, message(mail("two")))
    for suffix in ("", "-wal"):
        shutil.copy(f"{path}{suffix}", f"{path}{suffix}.kept")
    state.close()
    for suffix in ("", "-wal"):
        os.rename(f"{path}{suffix}.kept", f"{path}{suffix}")
    with path.open("r+b") as stream:
        stream.write(bytes(16))
    return {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in ("", "-wal")}


def rebuild(path: Path) -> None:
    """One message, VERIFIED, and whatever the spool held."""
    with rebuilding(path, SOURCE, DEST, digester=digester) as making:
        state = making.state
        state.begin_run(1000.0)
        state.begin_session()
        state.record_listing(refs((b"one", 5)))
        copy_all(state, (state.row(1), mail("one")))
        state.take_up()
        making.finish()


def stages(path: Path) -> dict[int, Stage]:
    state = file_state(path)
    try:
        return {number: state.row(number).stage for number in range(1, state.tally().listed + 1)}
    finally:
        state.close()


def test_whenever_it_dies_the_old_file_or_the_new_one_is_there_whole(tmp_path: Path) -> None:
    refused = taken = 0
    has_died = True
    while has_died:
        path = tmp_path / str(refused + taken) / "s.sqlite"
        damaged = old(path)
        has_died = dies_at(refused + taken, lambda path=path: rebuild(path))  # type: ignore[misc]
        error = refusal(path)
        if error is None:
            taken += 1
        else:
            assert error.exit is Exit.STATE_DAMAGED
            assert octets(path, damaged) == damaged
            refused += 1
            rebuild(path)
        assert stages(path) == {1: Stage.VERIFIED, 2: Stage.LISTED}, f"died at step {refused + taken - 1}"
        assert octets(path.with_name("s.sqlite.corrupt-1"), damaged) == damaged
        state = file_state(path)
        assert b"".join(state.spooled(2).blocks()) == mail("two")
        state.close()
        names = {one.name.removeprefix("s.sqlite") for one in path.parent.iterdir()}
        assert names - {".corrupt-1.spool"} == {"", ".lock", ".spool", ".corrupt-1", ".corrupt-1-wal"}
    assert ".corrupt-1.spool" not in names
    assert refused > 3
    assert taken > 3


def octets(path: Path, suffixes: Iterable[str]) -> dict[str, bytes]:
    return {suffix: Path(f"{path}{suffix}").read_bytes() for suffix in suffixes}


def refusal(path: Path) -> StateError | None:
    """Why the file is not taken, if it is not."""
    try:
        file_state(path).close()
    except StateError as error:
        return error
    return None


def test_the_lock_is_held_all_the_time(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with rebuilding(path, SOURCE, DEST, digester=digester):
        with pytest.raises(StateError) as caught:
            file_state(path)
        assert caught.value.exit is Exit.STATE_LOCKED
        with pytest.raises(StateError) as caught, rebuilding(path, SOURCE, DEST, digester=digester):
            pass
        assert caught.value.exit is Exit.STATE_LOCKED
    assert not path.exists()


def test_without_finish_nothing_was_made(tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    with rebuilding(path, SOURCE, DEST, digester=digester) as making:
        making.state.begin_run(1.0)
    assert {one.name for one in tmp_path.iterdir()} == {"s.sqlite.lock"}


def _newer(path: Path) -> None:
    with path.open("r+b") as stream:
        stream.seek(60)
        stream.write((2).to_bytes(4))


def _foreign(path: Path) -> None:
    path.unlink()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE notes (text)")
    other.commit()
    other.close()
    path.chmod(0o600)


def _text(path: Path) -> None:
    path.write_text("Not a state file, and longer than a header.\n" * 10)


@pytest.mark.parametrize("change", [_newer, _foreign, _text, lambda path: path.chmod(0o602)])
def test_what_may_be_something_else_is_never_put_aside(change: Callable[[Path], None], tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    file_state(path).close()
    change(path)
    before = path.read_bytes()
    with pytest.raises(StateError) as caught, rebuilding(path, SOURCE, DEST, digester=digester):
        pass
    assert caught.value.exit is Exit.STATE_DAMAGED
    assert caught.value.hint
    assert path.read_bytes() == before
    assert {one.name for one in tmp_path.iterdir()} == {"s.sqlite", "s.sqlite.lock"}


@pytest.mark.parametrize("octets", [b"", b"SQLite", b"SQLite format 3\0" + bytes(50)])
def test_what_is_left_of_a_file_that_was_cut_is_put_aside(octets: bytes, tmp_path: Path) -> None:
    path = tmp_path / "s.sqlite"
    path.write_bytes(octets)
    path.chmod(0o600)
    with rebuilding(path, SOURCE, DEST, digester=digester) as making:
        assert making.damage
        making.finish()
    assert path.with_name("s.sqlite.corrupt-1").read_bytes() == octets
    file_state(path).close()
