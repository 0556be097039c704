"""Ctrl-C and SIGTERM while a run is under way: the first asks for an orderly end, the second ends now."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Protocol

from ..errors import Exit

GRACE_S = 2.0  # after the second signal, for the driver to drop its connections by itself
CODES = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}


class Stoppable(Protocol):
    """driver.Stop: the first ``request`` means orderly, the second at once, by KeyboardInterrupt."""

    def request(self) -> None: ...


class Signals:
    """Context in which SIGINT and SIGTERM stop the run. ``exit`` tells which one came first.

    ``say`` is called in the handler, at the first signal; ``at_once`` when the
    process is about to end the hard way, which is safe like every other kill.
    """

    def __init__(self, stop: Stoppable, say: Callable[[], None], at_once: Callable[[], None]) -> None:
        self.exit: Exit | None = None
        self.is_over = False  # the run has ended: what is left is to tell it
        self._stop = stop
        self._say = say
        self._at_once = at_once
        self._previous: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Signals:
        for number in CODES:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        for number, handler in self._previous.items():
            # Behind a stop nothing is left but to end, with the code of the first: a second one may come too late.
            signal.signal(number, handler if self.exit is None else signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.is_over:
            os._exit(CODES[signal.Signals(number)])
        if self.exit is None:
            self.exit = CODES[signal.Signals(number)]
            self._say()
        else:
            # The driver may hang in a name lookup or a connect that nothing can interrupt.
            timer = threading.Timer(GRACE_S, self._end, (int(self.exit),))
            timer.daemon = True
            timer.start()
        self._stop.request()  # raises KeyboardInterrupt the second time

    def _end(self, code: int) -> None:
        self._at_once()
        os._exit(code)
