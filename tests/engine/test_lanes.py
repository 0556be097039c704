"""Several connections to the destination: what each of them is opened for, and how they share the last messages."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migrate.commands import Append, DestFacts, OpenDest
from migrate.engine.lanes import fair_share
from migrate.errors import Exit
from migrate.stores.memory import MemoryServer

from .slow import DEST, Slow
from .support import OLD, Between, letter

WAITING = DestFacts("", has_uids=True, is_atomic=False, append_limit=None, in_flight=2, batch_count=8, lanes=4)
QUICK = replace(WAITING, in_flight=32, batch_count=100, lanes=1)


@pytest.mark.parametrize(
    ("facts", "lanes", "left", "share"),
    [
        (WAITING, 4, 200, 8),
        (WAITING, 4, 57, 8),
        (WAITING, 4, 56, 7),
        (WAITING, 4, 9, 2),
        (WAITING, 4, 8, 1),
        (WAITING, 4, 1, 1),
        (WAITING, 1, 9, 8),  # nobody to share with
        (QUICK, 4, 9, 100),  # nothing waits
    ],
)
def test_the_last_messages_are_shared_so_that_no_connection_works_alone(
    facts: DestFacts, lanes: int, left: int, share: int
) -> None:
    assert fair_share(facts, lanes, left) == share


@pytest.fixture
def waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Between:
    """Sixty messages, and a destination at which each of them keeps a connection waiting."""
    monkeypatch.setattr(MemoryServer, "facts", lambda self: WAITING)
    return Slow(tmp_path, [letter(n) for n in range(60)], DEST, is_atomic=False)


def test_batches_become_smaller_when_nothing_more_comes(waiting: Between) -> None:
    assert waiting.migrate() is Exit.OK
    sizes = [len(command.letters) for command in waiting.sent if isinstance(command, Append)]
    assert sum(sizes) == 60
    assert sizes.count(1) >= 7, "two for each connection, about"
    assert max(sizes) <= 8
    assert waiting.stored() == waiting.source()


def test_one_connection_alone_is_given_full_batches_to_the_end(waiting: Between) -> None:
    assert waiting.migrate(lanes=1) is Exit.OK
    sizes = [len(command.letters) for command in waiting.sent if isinstance(command, Append)]
    assert sizes == [1, *[8] * 7, 3]  # the first goes alone


def test_the_other_connections_are_opened_for_the_folder(waiting: Between) -> None:
    assert waiting.migrate() is Exit.OK
    opened = [command for command in waiting.sent if isinstance(command, OpenDest)]
    assert [(one.lane, one.mailbox) for one in opened] == [(0, None), (1, OLD), (2, OLD), (3, OLD)]
