"""What ``popferry status`` reads, while a run goes on and without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrate.books import MailboxMemory
from migrate.errors import Exit, StateError
from migrate.model import INBOX, Stage
from migrate.state import MailboxSummary, State, read_state

from .support import DEST, SOURCE, copy_all, file_state, mail, refs


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s.sqlite"


def begun(path: Path) -> State:
    state = file_state(path)
    state.begin_run(2000.0)
    state.begin_session()
    state.record_listing(refs((b"a", 5), (b"b\x1b[2J", 6), (b"c", 7)))
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 1))
    copy_all(state, (state.row(1), mail("a")))
    state.commit([(state.row(2)._replace(stage=Stage.SET_ASIDE, reason="refused\x07", attempts=2),)])
    return state


def test_the_summary_says_all_while_a_run_goes_on(path: Path) -> None:
    state = begun(path)
    with read_state(path) as reader:
        summary = reader.summary()
        assert (summary.source, summary.dest, summary.is_running, summary.runs) == (SOURCE, DEST, True, 1)
        assert (summary.created, summary.began) == (1000.0, 2000.0)
        assert summary.tally == state.tally()
        assert summary.stages == {Stage.VERIFIED: 1, Stage.SET_ASIDE: 1, Stage.LISTED: 1}
        assert summary.mailboxes == (MailboxSummary(INBOX, 7, 1),)
        state.commit([(state.row(3)._replace(stage=Stage.SKIPPED),)])
        assert reader.summary().tally.skipped == 1
        assert list(reader.problems()) == []
    state.close()


def test_reading_leaves_no_trace(path: Path) -> None:
    begun(path).close()
    before = {name: (path.parent / name).stat().st_mtime_ns for name in os.listdir(path.parent)}
    with read_state(path) as reader:
        summary = reader.summary()
    assert not summary.is_running
    assert summary.alive == 1000.0
    assert {name: (path.parent / name).stat().st_mtime_ns for name in os.listdir(path.parent)} == before


def test_messages_set_aside_are_named_with_their_reason(path: Path) -> None:
    begun(path).close()
    with read_state(path) as reader:
        [aside] = reader.set_aside()
        assert (aside.row, aside.uidl, aside.reason, aside.attempts) == (2, "b\\x1b[2J", "refused\\x07", 2)
        assert reader.unfinished() == 2


def test_a_missing_file_is_said_to_be_missing(path: Path) -> None:
    with pytest.raises(StateError) as caught:
        read_state(path)
    assert caught.value.exit is Exit.USAGE
    assert os.listdir(path.parent) == []


def test_a_run_that_begins_while_a_quiet_file_is_read_is_noticed(path: Path) -> None:
    begun(path).close()
    with read_state(path) as reader:
        state = file_state(path)
        state.begin_run(3000.0)
        state.close()
        with pytest.raises(StateError) as caught:
            reader.summary()
        assert caught.value.exit is Exit.STATE_LOCKED
