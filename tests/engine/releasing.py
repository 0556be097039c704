"""A source that may refuse, and ways to meddle with a run that deletes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migrate.commands import (
    Command,
    Delete,
    Instant,
)
from migrate.driver.loop import Driver
from migrate.driver.stop import Stop
from migrate.errors import Exit, MessageError
from migrate.events import Kept
from migrate.model import Checkpoint
from migrate.rules.dedupe import Digester
from migrate.state import open_state

from .support import ACCOUNTS, Between

DAY_S = 86400
NOW = Instant(1e9, 1.0)


class Refusing(Between):
    """A source that refuses to delete the messages of these UIDLs, and a person who may ask to stop."""

    refused: tuple[bytes, ...] = ()

    def _open(self, command: Any) -> Any:
        session: Any = super()._open(command)
        carry_out = session.carry_out

        def refusing(command: Command) -> Any:
            value = carry_out(command)
            if not isinstance(command, Delete):
                return value
            session._marked -= {ref.number for ref in command.refs if ref.uid in self.refused}
            return tuple(MessageError("-ERR") if ref.uid in self.refused else None for ref in command.refs)

        session.carry_out = refusing
        return session

    def _drive(self, books: Any, engine: Any) -> Exit:
        self.stop = Stop()
        return Driver(books, self._open, self.stop, self.events.append).run(engine)


def at(kind: type[Command], act: Callable[[Any], None], *, times: int = 1) -> Callable[[Command], None]:
    """Does something right before the first commands of a kind are carried out."""
    left = [times]

    def on_command(command: Command) -> None:
        if isinstance(command, kind) and left[0]:
            left[0] -= 1
            act(command)

    return on_command


def fails(error: Exception) -> Callable[[Any], None]:
    def act(command: Command) -> None:
        raise error

    return act


def kept(between: Between) -> list[tuple[int, str]]:
    return [(event.row, event.reason) for event in between.all(Kept)]


def sent(between: Between, kind: type[Command]) -> int:
    return sum(isinstance(command, kind) for command in between.sent)


def change_rows(between: Between, change: Callable[[Checkpoint], Checkpoint]) -> None:
    """What another run would have recorded."""
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    state.commit([tuple(change(state.row(number)) for number in range(1, 5))])
    state.close()
