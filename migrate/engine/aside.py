"""How a message is set aside while other things are under way."""

from __future__ import annotations

from collections.abc import Callable

from ..commands import Commit, Outcome
from ..errors import MessageError
from ..events import SetAside
from ..model import Checkpoint
from .pump import Pump
from .run import said, uidl_text


def record_aside(pump: Pump, row: Checkpoint, error: MessageError, on_end: Callable[[], None]) -> None:
    """Records the row (``verdict.set_aside``); then this run leaves it, says so, and ``on_end`` is called."""

    def done(outcome: Outcome) -> None:
        if outcome.error is not None:
            pump.fail(outcome.error)
            return
        pump.run.aside.add(row.id)
        pump.run.emit(SetAside(row.id, uidl_text(row), error.what, said(error), error.hint))
        on_end()

    pump.start(Commit((row,)), done)
