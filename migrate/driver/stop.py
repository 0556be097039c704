"""A person's wish to stop a run."""

from __future__ import annotations

import _thread
import os
import threading

STOP_S = 10.0  # how long an orderly stop may take


class Stop:
    """A person's wish to stop: the first ``request`` ends the run in order, the second at once."""

    def __init__(self) -> None:
        self.is_wanted = False
        self._wakes: list[int] = []
        self._timer: threading.Timer | None = None

    def request(self) -> None:
        """Safe in a signal handler. Raises KeyboardInterrupt the second time."""
        if self.is_wanted:
            raise KeyboardInterrupt
        # While a server holds the loop (a folder is opened) nothing ends in order: it is cut when the time is over.
        # Before anybody knows: ``end`` has to find it, also where another thread asks for the stop.
        self._timer = threading.Timer(STOP_S + 1, _thread.interrupt_main)
        self._timer.daemon = True
        self._timer.start()
        self.is_wanted = True
        for wake in self._wakes:
            os.write(wake, b"s")

    def listen(self, wake: int) -> None:
        self._wakes.append(wake)

    def end(self) -> None:
        self._wakes.clear()
        if self._timer is not None:
            self._timer.cancel()
