"""Many commands under way at once: each has a handler for its outcome."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ..commands import Command, Outcome
from ..errors import Cause, MigrateError, StoreError
from ..model import Work
from .run import Run, Steps

Handler = Callable[[Outcome], None]


class Pump:
    """Starts commands, hands outcomes to their handlers, remembers the first fatal error."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.fatal: MigrateError | None = None
        self.is_broken = False  # by more than the end of the source
        self._outbox: list[Command] = []
        self._handlers: dict[Command, Handler] = {}

    def start(self, command: Command, handler: Handler) -> None:
        self._outbox.append(command)
        self._handlers[command] = handler

    def carry(self, phase: Steps[None], on_end: Callable[[], None]) -> None:
        """Goes through a phase beside whatever else is under way. Its error is fatal; ``on_end`` hears of no other end.

        It ends early, without ``on_end``, when nothing may be sent any more.
        """

        def go_on(outcome: Outcome | None) -> None:
            if not self.may_send:
                phase.close()
                return
            try:
                commands = next(phase) if outcome is None else phase.send(outcome)
            except StopIteration:
                on_end()
            except MigrateError as error:
                self.fail(error)
            else:
                for command in commands:
                    self.start(command, go_on)

        go_on(None)

    def fail(self, error: MigrateError, works: Iterable[Work] = (), *, is_alone: bool = False) -> None:
        """The first fatal error ends the phase, once everything under way has ended.

        It ended what was asked of these works: of all that a connection owed the first, if no other came with it.
        ``is_alone``: nothing else was under way.
        """
        if not self.is_broken and error is not self.fatal and (rows := {work.row.id for work in works}):
            self.run.culprits.note(rows, error, self.run.progress, is_alone=is_alone)
        self.fatal = self.fatal or error
        self.is_broken = self.is_broken or not _is_end_of_source(error)

    @property
    def may_start(self) -> bool:
        """Whether new work may begin."""
        return self.fatal is None and not self.run.is_stopping

    @property
    def may_send(self) -> bool:
        """Whether what has arrived goes on to the destination: also where the source has ended."""
        return not self.is_broken and not self.run.is_stopping

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way."""
        return not self._handlers

    def steps(self, refill: Callable[[], None]) -> Steps[None]:
        """Runs until ``refill`` starts nothing more and nothing is under way. Raises nothing itself."""
        while True:
            refill()
            if not self._handlers:
                return
            commands, self._outbox = self._outbox, []
            outcome = yield commands
            if outcome.command is None:
                self.run.note_stop()
            else:
                self._handlers.pop(outcome.command)(outcome)


def _is_end_of_source(error: MigrateError) -> bool:
    """Whether what the source had served before is good. Of one that is not understood it may be anything."""
    return isinstance(error, StoreError) and error.end == "source" and error.cause is Cause.UNREACHABLE
