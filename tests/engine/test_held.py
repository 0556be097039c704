"""What a run may hold: as much as keeps a line busy, and no more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from migrate.books import Books
from migrate.driver import Stop
from migrate.driver.loop import Driver
from migrate.engine.run import BUDGET, NEAR, Held
from migrate.errors import Exit
from migrate.state import State

from .support import Between


def test_more_is_held_where_answers_are_long_on_their_way() -> None:
    held = Held(octets=NEAR)
    assert held.is_full  # until it is known
    held.note_answer(0.2)
    assert not held.is_full
    held.octets = BUDGET
    assert held.is_full


def test_the_quickest_answer_counts() -> None:
    held = Held(octets=NEAR + BUDGET // 4)
    for seconds in (2.0, 0.001, 2.0):  # a server that was busy once
        held.note_answer(seconds)
    assert held.is_full


class Timed(Between):
    """Runs that say how quick the destination was."""

    def _drive(self, books: State | Books, engine: Any) -> Exit:
        self.held = Held()
        return Driver(books, self._open, Stop(), self.events.append, held=self.held).run(engine)


def test_a_run_knows_how_quick_its_destination_answers(tmp_path: Path) -> None:
    between = Timed(tmp_path, [b"Message-ID: <1@x>\r\n\r\none\r\n"])
    assert between.migrate() is Exit.OK
    assert 0 < between.held.answer_s < 10
    assert between.held.octets == 0
