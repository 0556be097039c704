"""Passes of a run: which trouble is tried again, how often and after which pause."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from itertools import count
from typing import Any

import pytest

from migrate.commands import (
    CloseDest,
    CloseSource,
    Command,
    DestFacts,
    Outcome,
    Wait,
)
from migrate.engine import walk
from migrate.engine.lanes import open_lanes
from migrate.engine.pump import Pump
from migrate.engine.run import Run, Steps, Stopped
from migrate.engine.walk import LONGEST_PAUSE_S, drop, passes
from migrate.errors import (
    Cause,
    MailboxError,
    MigrateError,
    Retry,
    StoreError,
    UsageError,
)
from migrate.events import (
    Reconnecting,
    Stopping,
)

from .stepping import a_run, play, silent, trouble


@pytest.fixture(autouse=True)
def _pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here pauses are as long as they should be: nobody waits for them."""
    monkeypatch.setattr(walk, "LONGEST_PAUSE_S", LONGEST_PAUSE_S)


def ended(
    errors: list[Exception | None], run: Run, act: Callable[[int], None] = lambda number: None
) -> tuple[int, Any]:
    """How many passes there were when each ended so, and what ended the run. The last end repeats."""
    numbers = count()
    made: list[int] = []

    def one_pass(run: Run) -> Steps[None]:
        number = next(numbers)
        made.append(number)
        act(number)
        error = errors[min(number, len(errors) - 1)]
        if error is not None:
            raise error
        return
        yield

    problems, _ = play(passes(run, one_pass), silent)
    return len(made), problems


@pytest.mark.parametrize(
    ("error", "at_first", "later"),
    [
        (trouble(), 3, 6),
        (trouble(end="destination"), 3, 6),
        (trouble(Retry.LATER), 1, 6),
        (trouble(Retry.LATER, end="destination"), 1, 1),
        (trouble(Retry.LATER, Cause.FULL), 1, 1),
        (trouble(Retry.NEVER), 1, 1),
        (trouble(Retry.NOW, Cause.UNUSABLE), 1, 6),
        (trouble(Retry.NEVER, Cause.LOGIN), 1, 1),
        (MailboxError("no folder"), 1, 1),
        (UsageError("no"), 1, 1),
    ],
)
def test_a_pass_that_breaks_is_followed_by_another_while_that_may_help(
    error: MigrateError, at_first: int, later: int
) -> None:
    run, _ = a_run()
    assert ended([error], run) == (at_first, [error])
    run, _ = a_run()
    run.has_worked = True
    assert ended([error], run) == (later, [error])


def test_a_pass_that_ends_well_or_by_a_stop_ends_the_run_without_a_problem() -> None:
    assert ended([None], a_run()[0]) == (1, [])
    assert ended([Stopped()], a_run()[0]) == (1, [])
    assert ended([trouble(), None], a_run()[0]) == (2, [])


def test_what_breaks_while_a_person_stops_the_run_is_no_problem() -> None:
    run, _ = a_run()
    assert ended([trouble()], run, lambda number: run.note_stop()) == (1, [])


def test_a_stop_during_the_pause_ends_the_run_without_a_problem() -> None:
    run, events = a_run()

    def answer(command: Command) -> None:
        if isinstance(command, Wait):
            run.note_stop()

    def one_pass(run: Run) -> Steps[None]:
        raise trouble()
        yield

    problems, _ = play(passes(run, one_pass), answer)
    assert problems == []
    assert events == [Reconnecting("source", "trouble", "", 1.0), Stopping()]


def test_a_pass_that_achieves_something_is_not_counted_with_those_before_it() -> None:
    run, _ = a_run()
    run.has_worked = True

    def achieve(number: int) -> None:
        if number == 4:
            run.note_achieved(1)

    made, _ = ended([trouble()], run, achieve)
    assert made == 4 + 6


def opened_for(run: Run, messages: int) -> None:
    """Opens the connections for so many messages."""
    pump = Pump(run)
    open_lanes(run, pump, {}, messages)
    steps = pump.steps(lambda: None)
    with suppress(StopIteration):
        asked = list(next(steps))
        while asked:
            asked += steps.send(Outcome(asked.pop()))


def slow_down(wait_s: float = 0.0) -> StoreError:
    error = trouble(Retry.LATER, end="destination")
    error.wait_s = wait_s
    return error


def test_a_destination_that_asks_us_to_slow_down_is_left_alone_for_a_while_as_long_as_it_takes_something() -> None:
    run, events = a_run()
    run.has_worked = True
    gains = iter([500, 1, 0, 0, 7])

    def gain(number: int) -> None:
        run.note_achieved(next(gains, 0))

    made, problems = ended([slow_down(), slow_down(2.5), slow_down()], run, gain)
    assert made == 8
    assert [str(problem) for problem in problems] == ["trouble"]
    assert [event.wait_s for event in events if isinstance(event, Reconnecting)] == [30, 2.5, 60, 120, 30, 60, 120]


@pytest.mark.parametrize(("gained", "opened"), [(399, 2), (400, 4)])
def test_few_messages_before_that_word_halve_the_connections_and_many_do_not(gained: int, opened: int) -> None:
    run, _ = a_run(lanes=4)
    run.dest = DestFacts("", has_uids=True, is_atomic=False, append_limit=None)
    run.lanes = (0, 1, 2, 3)
    run.slow_down(gained)
    run.lanes = (0,)
    opened_for(run, 100)
    assert len(run.lanes) == opened
    run.lanes = (0, 1)
    run.slow_down(1000)
    opened_for(run, 100)
    assert len(run.lanes) == 4


@pytest.mark.parametrize(
    ("error", "gained", "slowness"), [(slow_down(), 1, 2), (slow_down(), 0, 1), (trouble(end="destination"), 1, 1)]
)
def test_only_that_word_after_a_gain_makes_a_run_slower(error: StoreError, gained: int, slowness: int) -> None:
    run, _ = a_run()
    run.has_worked = True
    run.note_achieved(5)
    gains = iter([gained])
    made, problems = ended([error, None], run, lambda number: run.note_achieved(next(gains, 0)))
    assert (made, problems, run.slowness) == (2, [], slowness)


def test_no_more_connections_are_opened_than_there_are_messages() -> None:
    run, _ = a_run(lanes=4)
    run.dest = DestFacts("", has_uids=True, is_atomic=False, append_limit=None)
    for messages, opened in ((0, 1), (1, 1), (3, 3), (9, 4)):
        run.lanes = (0,)
        opened_for(run, messages)
        assert len(run.lanes) == opened


def test_the_pauses_double_up_to_a_minute_and_both_ends_are_dropped_before_each(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(walk, "RETRIES", 8)
    run, events = a_run()
    run.has_worked = True
    run.lanes = (0, 1)
    numbers = count()

    def one_pass(run: Run) -> Steps[None]:
        next(numbers)
        raise trouble()
        yield

    _, asked = play(passes(run, one_pass), silent)
    pauses = [event.wait_s for event in events if isinstance(event, Reconnecting)]
    assert pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, LONGEST_PAUSE_S, LONGEST_PAUSE_S]
    assert [command.seconds for command in asked if isinstance(command, Wait)] == pauses
    names = [(type(command).__name__, getattr(command, "lane", None)) for command in asked[:5]]
    assert names == [("CloseSource", None), ("CloseDest", 0), ("CloseDest", 1), ("CloseDest", 2), ("Wait", None)]
    assert not any(command.quit for command in asked if isinstance(command, CloseSource))


def test_dropping_goes_on_past_a_connection_that_is_broken() -> None:
    def answer(command: Command) -> None:
        if not isinstance(command, CloseDest) or command.lane == 0:
            raise StoreError("broken")

    _, asked = play(drop(a_run()[0]), answer)
    assert [type(command) for command in asked] == [CloseSource, CloseDest, CloseDest]
