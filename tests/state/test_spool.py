"""The spool: what it keeps is there after a kill, and is what it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrate.errors import MessageError
from migrate.model import MEMORY_LIMIT, Message, Stage
from migrate.state import State

from .support import MiniEngine, copy_all, file_state, fingerprint, mail, memory_state, message, refs

A, B = mail("a"), mail("b")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


@pytest.fixture
def state(path: Path) -> State:
    state = file_state(path)
    state.begin_session()
    state.record_listing(refs((b"a", len(A)), (b"b", len(B))))
    return state


def names(path: Path) -> list[str]:
    return sorted(os.listdir(f"{path}.spool"))


def test_a_message_comes_back_as_it_went(state: State) -> None:
    state.spool(1, message(A))
    found = state.spooled(1)
    assert (found.data, found.octets, found.fingerprint) == (A, len(A), fingerprint(A))
    assert found.header == message(A).header
    state.close()


def test_names_are_made_of_numbers_and_the_digest_only(state: State, path: Path) -> None:
    state.spool(1, message(A))
    header = len(message(A).header)
    assert names(path) == [f"1-{header}-{fingerprint(A).exact.hex()}"]
    state.unspool([1, 2])
    assert names(path) == []
    state.close()


def test_another_message_under_the_same_row_replaces_the_first(state: State, path: Path) -> None:
    state.spool(1, message(A))
    state.spool(1, message(B))
    state.spool(1, message(B))
    assert state.spooled(1).data == B
    assert len(names(path)) == 1
    state.close()


def test_a_large_message_comes_back_in_a_file_of_its_own(state: State, path: Path, tmp_path: Path) -> None:
    data = A + b"x" * MEMORY_LIMIT
    large = tmp_path / "large"
    large.write_bytes(data)
    whole = message(data)
    state.spool(1, Message(whole.octets, whole.header, whole.fingerprint, path=large))
    found = state.spooled(1)
    assert found.data is None
    assert found.path is not None
    assert b"".join(found.blocks()) == data
    found.discard()
    assert not found.path.exists()
    assert b"".join(state.spooled(1).blocks()) == data
    state.close()
    file_state(path).close()
    assert len(names(path)) == 1


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "empty"])
def test_a_damaged_copy_is_no_message(state: State, path: Path, damage: str) -> None:
    state.spool(1, message(A))
    file = Path(f"{path}.spool") / names(path)[0]
    octets = file.read_bytes()
    match damage:
        case "flip":
            file.write_bytes(octets[:-1] + b"?")
        case "cut":
            os.truncate(file, 5)
        case "empty":
            os.truncate(file, 0)
        case _:
            file.unlink()
    with pytest.raises(MessageError):
        state.spooled(1)
    with pytest.raises(MessageError):
        state.spooled(2)
    state.close()


def test_what_was_kept_just_before_a_kill_is_taken_up(state: State, path: Path) -> None:
    state.spool(1, message(A))
    state.close()
    state = file_state(path)
    assert state.row(1).is_spooled
    [work] = state.next_work(10, 0)
    assert (work.row.id, work.ref) == (1, None)
    assert state.spooled(1).data == A
    state.close()


def test_a_message_that_seemed_gone_and_was_kept_is_open_again(state: State, path: Path) -> None:
    state.spool(1, message(A))
    state.record_listing([])
    state.mark_vanished()
    assert state.row(1).stage is Stage.GONE
    state.close()
    state = file_state(path)
    assert state.row(1).stage is Stage.LISTED
    assert state.row(1).is_spooled
    state.close()


def test_what_is_verified_is_kept_no_longer(state: State, path: Path) -> None:
    state.spool(1, message(A))
    row = state.row(1)._replace(is_spooled=True, fingerprint=fingerprint(A))
    state.commit([(row,)])
    [row] = copy_all(state, (row, A))
    state.close()
    state = file_state(path)
    assert len(names(path)) == 1  # the row says that it is needed
    state.commit([(row._replace(is_spooled=False),)])
    state.close()
    state = file_state(path)
    assert names(path) == []
    assert state.row(1).stage is Stage.VERIFIED
    state.close()


def test_a_copy_of_an_unknown_message_is_never_thrown_away(state: State, path: Path) -> None:
    state.spool(1, message(A))
    header = len(message(A).header)
    os.rename(
        Path(f"{path}.spool") / names(path)[0], Path(f"{path}.spool") / f"77-{header}-{fingerprint(A).exact.hex()}"
    )
    (Path(f"{path}.spool") / "1-1-half.part").write_bytes(b"half")
    (Path(f"{path}.spool") / "notes.txt").write_bytes(b"not ours")
    state.close()
    file_state(path).close()
    assert [name[:5] for name in names(path)] == [f"77-{header}"[:5], "notes"]


def test_a_message_without_a_row_gets_one_before_it_is_kept() -> None:
    play = MiniEngine(memory_state())
    play.session([(b"", A), (b"", B)])
    play.state.begin_session()
    play.state.record_listing(refs((b"", len(A)), (b"", len(B))))
    work = play.state.next_work(1, 0)[0]
    assert play.state.tally().listed == 2
    play.state.spool(work.row.id, message(A))
    assert play.state.tally().listed == 3
    assert play.state.spooled(work.row.id).data == A
