"""Each of the twelve rules, switched off: the simulator must see the harm, or it has no teeth.

A rule is switched off by replacing the piece of the engine that carries it;
the engine itself knows no such switch.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from migrate.commands import Commit
from migrate.engine import cases, proof, recover, release, transfer, walk
from migrate.engine.run import Run
from migrate.model import Stage
from migrate.state import State

from .faults import Kind
from .host import Host

# What stands in for a phase of the engine.
Phase = Generator[Any, Any, Any]


def _gives(value: Any) -> Callable[..., Phase]:
    """A phase that asks nothing and gives this value."""

    def steps(*args: Any, **kwargs: Any) -> Phase:
        return value
        yield

    return steps


def _commit_later(self: transfer.Transfer, lane: int, batch: list[cases.Case]) -> None:
    """Sends first and records the intent behind it."""
    start = self.pump.start

    def without_commit(command: Any, handler: Any) -> None:
        if isinstance(command, Commit):
            rows = [row._replace(stage=Stage.INTENDED) for row in command.rows]
            for case, row in zip(batch, rows, strict=True):
                case.work = case.work._replace(row=row)
            self._append(lane, batch)
            start(command, lambda outcome: None)
        else:
            start(command, handler)

    with patch.object(self.pump, "start", without_commit):
        _INTEND(self, lane, batch)


_INTEND = transfer.Transfer._intend
_OPEN_BOOKS = Host.open_books


def _forgets_intents(host: Host) -> State:
    """A disk that keeps an intent only in its cache: a crash takes the last one with it."""
    books = _OPEN_BOOKS(host)
    real_image, real_commit = books.image, books.commit
    last: list[bytes] = [real_image()]
    is_intent: list[bool] = [False]

    def commit(batches: Any) -> None:
        is_intent[0] = any(row.stage is Stage.INTENDED for batch in batches for row in batch)
        if not is_intent[0]:
            real_commit(batches)
            last[0] = real_image()
            return
        last[0] = real_image()
        real_commit(batches)

    books.commit = commit  # type: ignore[method-assign]
    books.image = lambda: last[0] if is_intent[0] else real_image()  # type: ignore[method-assign]
    return books


def _intents_first(self: State, mailbox: Any) -> list[Any]:
    """R6 off: open intents claim before the copies that were acknowledged, which stay without."""
    rows = _UNPLACED(self, mailbox)
    return [row for row in rows if row.stage is Stage.INTENDED]


_UNPLACED = State.unplaced


def _believe(row: Any, served: Any) -> tuple[str, ...]:
    return ()


def _all_there(run: Run, lane: int, works: Any) -> Phase:
    return list(works)
    yield


def _whatever_is_there(run: Run, works: Any) -> Phase:
    return list(works)
    yield


def _no_trial(run: Run, works: Any, waiting: Any) -> Phase:
    return list(works)
    yield


def _same_validity(run: Run, mailbox: Any, status: Any) -> Phase:
    """R10 off: the uids of before are taken for good."""
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    if memory is None:
        yield from _CHECK(run, mailbox, status)
        return
    run.floors[mailbox] = memory.floor
    run.mailboxes[mailbox] = replace(status, uidvalidity=memory.uidvalidity)


_CHECK = recover._check_uidvalidity

ABLATIONS: dict[str, list[Any]] = {
    "R1 scan": [lambda: patch.object(recover, "scan", _gives(0)), lambda: patch.object(walk, "scan", _gives(0))],
    "R2 intent": [lambda: patch.object(transfer.Transfer, "_intend", _commit_later)],
    "R3 fsync": [lambda: patch.object(Host, "open_books", _forgets_intents)],
    "R4 wait": [lambda: patch.object(recover, "_settle", _gives(None))],
    "R5 adopt": [lambda: patch.object(cases, "_already_there", _gives(False))],
    "R6 claim": [lambda: patch.object(State, "unplaced", _intents_first)],
    "R7 verify": [lambda: patch.object(proof, "judge", _believe)],
    "R8 recheck": [lambda: patch.object(release, "_gate_destination", _all_there)],
    "R9 identity": [lambda: patch.object(release, "_gate_source", _whatever_is_there)],
    "R10 uidvalidity": [lambda: patch.object(recover, "_check_uidvalidity", _same_validity)],
    "R11 uidl map": [lambda: patch.object(cases, "_renamed", _gives(False))],
    "R12 trial": [lambda: patch.object(release, "may_go", _no_trial)],
}


_ANY = tuple(Kind)
_DIES = (Kind.CRASH, Kind.DELAY)

# Profiles and faults in which the harm of a missing rule shows soonest.
SHOWN_BY: dict[str, tuple[tuple[str, ...], tuple[Kind, ...]]] = {
    "R1 scan": (("plain-nouids", "plain"), _ANY),
    "R2 intent": (("single", "plain"), _DIES),
    "R3 fsync": (("no-deletion", "single"), _DIES),
    "R4 wait": (("no-deletion", "single"), _ANY),
    "R5 adopt": (("rollback", "lost-commits"), _ANY),
    "R6 claim": (("uidvalidity-twins", "twins-nouids"), _ANY),
    "R7 verify": (("uidvalidity", "plain"), _ANY),
    "R8 recheck": (("loses-newest",), _ANY),
    "R9 identity": (("uidl-replaced",), _ANY),
    "R10 uidvalidity": (("uidvalidity-twins", "uidvalidity"), _ANY),
    "R11 uidl map": (("uidl-change", "uidl-change-twins"), _ANY),
    "R12 trial": (("shared", "shared-arrive-nouids"), _ANY),
}


@contextmanager
def without(rule: str) -> Iterator[None]:
    """The engine without one rule."""
    with ExitStack() as stack:
        for make in ABLATIONS[rule]:
            stack.enter_context(make())
        yield
