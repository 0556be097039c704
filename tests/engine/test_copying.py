"""What goes on beside the copying of a session: the destination is searched while the source serves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from migrate.commands import Append, Books, CloseSource, Command, Fetch, ListSource, OpenSource, SearchUids
from migrate.errors import Exit, StoreError
from migrate.events import Reconnecting
from migrate.state import State
from tests.sim.world import Clock, World

from .support import Between, letter

SOURCE, DEST = -1, 0


class Slow(Between):
    """One end does nothing while there is anything else to do."""

    def __init__(self, scratch: Path, messages: list[bytes], slow: int, **server: Any) -> None:
        super().__init__(scratch, messages, **server)
        self._slow = slow

    def choice(self, places: Sequence[int]) -> int:
        """Who takes the next step."""
        return min(places, key=lambda place: (place == self._slow, place))

    def _drive(self, books: State | Books, engine: Any) -> Exit:
        world = World(cast(State, books), cast(Any, self._open), Clock(0.0), [], cast(Any, self))
        playing = world.play(engine)
        while True:
            try:
                next(playing)
            except StopIteration as end:
                return cast(Exit, end.value)

    def session(self) -> list[type[Command]]:
        """What went to either end in the first session of the last run, from the login on."""
        kinds = [type(command) for command in self.sent]
        return kinds[kinds.index(OpenSource) : kinds.index(CloseSource)]


@pytest.fixture(params=[SOURCE, DEST], ids=["the source is slow", "the destination is slow"])
def slow(request: pytest.FixtureRequest, tmp_path: Path) -> Slow:
    return Slow(tmp_path, [letter(n) for n in range(4)], request.param)


def test_the_source_serves_while_the_destination_is_searched_and_nothing_is_appended_before_it_was(
    slow: Slow,
) -> None:
    assert slow.migrate() is Exit.OK
    session = slow.session()
    search, first_append = session.index(SearchUids), session.index(Append)
    assert search < first_append, "R1"
    assert session.index(ListSource) < search, "it is not known before whether there is anything to append"
    assert session.count(Fetch) == 4
    fetched_first = session[:search].count(Fetch)
    assert fetched_first == (0 if slow._slow == SOURCE else 4), "one waits for the other"
    assert slow.stored() == slow.source()


def test_what_another_machine_uploaded_before_it_let_go_of_the_source_is_not_sent_again(slow: Slow) -> None:
    def let_go(command: Command) -> None:
        if isinstance(command, OpenSource):
            slow.on_command = lambda command: None
            for number in range(4):
                slow.store(letter(number))

    slow.on_command = let_go
    assert slow.migrate() is Exit.OK
    assert slow.appended() == 0
    assert slow.stored() == slow.source()


def test_where_nothing_is_to_be_copied_the_destination_is_searched_once_and_that_with_the_end(slow: Slow) -> None:
    assert slow.migrate() is Exit.OK
    assert slow.migrate() is Exit.OK
    assert (SearchUids in slow.session()) == (slow._slow == SOURCE), "neither waits for the other"
    assert [type(command) for command in slow.sent].count(SearchUids) == 1
    slow.store(letter(77))
    assert slow.migrate() is Exit.OK
    assert [type(command) for command in slow.sent].count(SearchUids) == 2, "one before the source is opened"


def refuse_once(between: Between, kind: type[Command]) -> Callable[[Command], None]:
    """The destination breaks at the first command of this kind that comes behind the login of the source."""
    is_open: list[bool] = []

    def look(command: Command) -> None:
        if isinstance(command, OpenSource):
            is_open.append(True)
        elif is_open and isinstance(command, kind):
            between.on_command = lambda command: None
            raise StoreError("it broke")

    return look


def test_a_search_that_breaks_while_the_source_serves_is_made_again_with_all_the_rest(slow: Slow) -> None:
    slow.on_command = refuse_once(slow, SearchUids)
    assert slow.migrate() is Exit.OK
    assert len(slow.all(Reconnecting)) == 1
    assert Append not in slow.session()
    assert slow.stored() == slow.source()
