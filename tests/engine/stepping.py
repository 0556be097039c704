"""Phases of the engine played by hand: a command comes out, an answer goes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from migrate.commands import (
    Command,
    Outcome,
)
from migrate.engine.run import Run, Steps
from migrate.errors import (
    Cause,
    MigrateError,
    Retry,
    StoreError,
)
from migrate.events import (
    Event,
)
from migrate.model import Policy


def play(steps: Steps[Any], answer: Callable[[Command], Any]) -> tuple[Any, list[Command]]:
    """What the steps return, and the commands they yielded; ``answer`` gives a value or raises an error."""
    asked: list[Command] = []
    try:
        commands = next(steps)
        while True:
            [command] = commands
            asked.append(command)
            try:
                outcome = Outcome(command, answer(command))
            except MigrateError as error:
                outcome = Outcome(command, error=error)
            commands = steps.send(outcome)
    except StopIteration as end:
        return end.value, asked


def silent(command: Command) -> None:
    """The answer of a world in which every command ends without a value."""


def a_run(**policy: Any) -> tuple[Run, list[Event]]:
    events: list[Event] = []
    return Run(Policy(**policy), events.append), events


def trouble(retry: Retry = Retry.NOW, cause: Cause = Cause.UNREACHABLE, end: str = "source") -> StoreError:
    error = StoreError("trouble", retry=retry, cause=cause)
    error.end = end
    return error
