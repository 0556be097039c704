"""Many commands under way at once: each has a handler for its outcome."""

from __future__ import annotations

from collections.abc import Callable

from ..commands import Command, Outcome
from ..errors import MigrateError
from .run import Run, Steps

Handler = Callable[[Outcome], None]


class Pump:
    """Starts commands, hands outcomes to their handlers, remembers the first fatal error."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.fatal: MigrateError | None = None
        self._outbox: list[Command] = []
        self._handlers: dict[Command, Handler] = {}

    def start(self, command: Command, handler: Handler) -> None:
        self._outbox.append(command)
        self._handlers[command] = handler

    def carry(self, phase: Steps[None], on_end: Callable[[], None]) -> None:
        """Goes through a phase beside whatever else is under way. Its error is fatal; ``on_end`` hears of no other end.

        It ends early, without ``on_end``, when new work may not begin any more.
        """

        def go_on(outcome: Outcome | None) -> None:
            if not self.may_start:
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

    def fail(self, error: MigrateError) -> None:
        """The first fatal error ends the phase, once everything under way has ended."""
        self.fatal = self.fatal or error

    @property
    def may_start(self) -> bool:
        """Whether new work may begin."""
        return self.fatal is None and not self.run.is_stopping

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
