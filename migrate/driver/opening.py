"""A session is opened in a thread of its own: connecting and logging in may block, and the loop does not wait."""

from __future__ import annotations

import os
import threading

from ..commands import Command, Outcome
from ..errors import StoreError
from ..stores.base import Channel, Session


class Opening(threading.Thread):
    """The first turn of a session, in which it opens. Nobody else touches the session until ``is_over``.

    ``wake`` is written to when the turn is over. ``later`` holds the commands that came meanwhile.
    """

    def __init__(self, session: Session, wake: int) -> None:
        super().__init__(name="opening", daemon=True)
        self._session = session
        self._wake = wake
        self._lock = threading.Lock()
        self._channel: Channel | None = None
        self._is_left = self._is_over = False
        self.outcomes: list[Outcome] = []
        self.fault: BaseException | None = None  # one that nobody expected: for the driver to raise
        self.later: list[Command] = []

    def run(self) -> None:
        try:
            self.outcomes = self._session.turn()
        except BaseException as error:  # noqa: BLE001 - a thread shows what it dies of, whatever that holds
            self.fault = error
        with self._lock:
            self._is_over = True
            if not self._is_left:
                os.write(self._wake, b"o")
        if self._is_left:
            self._session.close()

    @property
    def is_over(self) -> bool:
        with self._lock:  # the driver may close ``wake`` as soon as it knows
            return self._is_over

    def leave(self) -> bool:
        """Whether the turn was still under way; then it ends soon, and closes the session itself.

        What waits for a server is woken. A name that is looked up, or a connection that is being made, is waited for
        to its end (30 s at the most), and nothing is sent over it.
        """
        with self._lock:
            self._is_left = not self._is_over
            if self._is_left and self._channel is not None:
                self._channel.close()
            return self._is_left

    def hold(self, channel: Channel) -> None:
        """Takes note of the connection of this session. StoreError when nobody wants it any more."""
        with self._lock:
            self._channel = channel
            if self._is_left:
                channel.close()
                raise StoreError("the connection was closed")


def held(channel: Channel) -> Channel:
    """The same channel, which ``leave`` closes if this is the thread of an opening."""
    thread = threading.current_thread()
    if isinstance(thread, Opening):
        thread.hold(channel)
    return channel
