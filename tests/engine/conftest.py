"""Migrations of four messages, for tests that go on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.engine import walk
from migrate.errors import Exit

from .releasing import Refusing
from .support import letter


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """What broke is tried again at once."""
    monkeypatch.setattr(walk, "LONGEST_PAUSE_S", 0.0)


@pytest.fixture
def between(tmp_path: Path) -> Refusing:
    """Four messages, not yet migrated."""
    return Refusing(tmp_path, [letter(n) for n in range(4)])


@pytest.fixture
def copied(between: Refusing) -> Refusing:
    """The same, copied and verified by an earlier run."""
    assert between.migrate() is Exit.OK
    return between
