"""How long a run goes on trying: seconds where nothing has worked yet, half a minute where a connection was lost."""

from __future__ import annotations

import pytest

from migrate.commands import Outcome
from migrate.engine.run import Run, Steps
from migrate.engine.walk import passes
from migrate.errors import Cause, Retry, StoreError
from migrate.events import Event, Reconnecting
from migrate.model import MailboxName, Policy

LONG = [1, 2, 4, 8, 16]


def pauses_s(error: StoreError, *, has_worked: bool) -> list[float]:
    """The pauses of a run whose every pass ends with the error."""
    events: list[Event] = []
    run = Run(Policy(MailboxName(("Old",))), events.append, has_worked=has_worked)

    def one_pass(run: Run) -> Steps[None]:
        yield from ()
        raise error

    problems = None
    steps = passes(run, one_pass)
    try:
        commands = next(steps)
        while True:
            (command,) = commands
            commands = steps.send(Outcome(command))
    except StopIteration as end:
        problems = end.value
    assert problems == [error]
    return [event.wait_s for event in events if isinstance(event, Reconnecting)]


@pytest.mark.parametrize(
    ("cause", "retry", "end", "at_first", "later"),
    [
        (Cause.UNREACHABLE, Retry.NOW, "source", [1, 2], LONG),
        (Cause.UNREACHABLE, Retry.NOW, "destination", [1, 2], LONG),
        (Cause.UNREACHABLE, Retry.LATER, "source", [], LONG),  # it may still hold the session that was lost
        (Cause.UNREACHABLE, Retry.LATER, "destination", [], []),  # it asked us to come back later
        (Cause.UNUSABLE, Retry.NOW, "source", [], LONG),
        (Cause.UNUSABLE, Retry.LATER, "source", [], []),
        (Cause.LOGIN, Retry.NEVER, "source", [], []),
        (Cause.FULL, Retry.LATER, "destination", [], []),
    ],
)
def test_patience_depends_on_whether_it_ever_worked(
    cause: Cause, retry: Retry, end: str, at_first: list[float], later: list[float]
) -> None:
    error = StoreError("it did not work", cause=cause, retry=retry)
    error.end = end
    assert pauses_s(error, has_worked=False) == at_first
    assert pauses_s(error, has_worked=True) == later
