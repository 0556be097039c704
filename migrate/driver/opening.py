"""A session is opened in a thread of its own: connecting and logging in may block, and the loop does not wait."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence

from ..commands import Command, OpenDest, OpenSource, Outcome, ReachSource
from ..errors import StoreError
from ..stores.base import Channel, Reachable, Session

FRESH_S = 10.0  # a server that waits longer for our login may have hung up


class _Thread(threading.Thread):
    """Has a session to itself until ``is_over``, and writes to ``wake`` then."""

    def __init__(self, session: Session, wake: int) -> None:
        super().__init__(name="opening", daemon=True)
        self.fault: BaseException | None = None  # one that nobody expected: for the driver to raise
        self._session = session
        self._wake = wake
        self._lock = threading.Lock()
        self._is_left = self._is_over = False
        self._channel: Channel | None = None

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:  # noqa: BLE001 - a thread shows what it dies of, whatever that holds
            self.fault = error
        with self._lock:
            self._is_over, is_left = True, self._is_left
            if not is_left:
                os.write(self._wake, b"o")
        if is_left:
            self._session.close()

    def work(self) -> None:
        """What may block."""
        raise NotImplementedError

    @property
    def is_over(self) -> bool:
        with self._lock:  # the driver may close ``wake`` as soon as it knows
            return self._is_over

    def leave(self) -> None:
        """Closes the session, at once or as soon as nothing blocks any more.

        What waits for a server is woken. A name that is looked up, or a connection that is being made, is waited for
        to its end (30 s at the most), and nothing is sent over it.
        """
        if not self.cut():
            self._session.close()

    def cut(self) -> bool:
        """Whether it was still at work: then that ends soon, and the session is closed here."""
        with self._lock:
            self._is_left = not self._is_over
            if self._channel is not None:
                self._channel.close()
            return self._is_left

    def hold(self, channel: Channel) -> None:
        """Takes note of its connection. StoreError when nobody wants the session any more."""
        with self._lock:
            self._channel = channel
            if self._is_left:
                channel.close()
                raise StoreError("the connection was closed")


class Reaching(_Thread):
    """A session on its way to a server, before somebody asks to open it."""

    def __init__(self, session: Reachable, wake: int, *, may_release: bool) -> None:
        super().__init__(session, wake)
        self.session = session
        self._may_release = may_release
        self._began_s = time.monotonic()
        self._ended_s = 0.0
        self._has_failed = False

    def work(self) -> None:
        self._has_failed = not self.session.reach()
        self._ended_s = time.monotonic()

    def is_fit(self, command: OpenSource) -> bool:
        """Whether the session is the one that the command asks for, and was greeted just now or is about to be."""
        is_fresh = not self.is_over or time.monotonic() - self._ended_s < FRESH_S
        return is_fresh and command.may_release == self._may_release

    def may_wait(self, command: ReachSource) -> bool:
        """Whether the session is the one that the command asks for, and will be fit if it is opened soon."""
        is_young = time.monotonic() - self._began_s < FRESH_S / 2 and not self._has_failed
        return is_young and command.may_release == self._may_release


class Opening(_Thread):
    """The first turn of a session, in which it opens, once ``reaching`` is over. ``later``: what came meanwhile."""

    def __init__(
        self, session: Session, command: OpenSource | OpenDest, wake: int, reaching: Reaching | None = None
    ) -> None:
        super().__init__(session, wake)
        self._command = command
        self._reaching = reaching
        self.outcomes: Sequence[Outcome] = ()
        self.later: list[Command] = []

    def work(self) -> None:
        if self._reaching is not None:
            self._reaching.join()
            if self._reaching.fault is not None:
                raise self._reaching.fault
        if not self._is_left:
            self._session.submit(self._command)
            self.outcomes = self._session.turn()

    def cut(self) -> bool:
        if self._reaching is not None:
            self._reaching.cut()
        return super().cut()


def closable(channel: Channel) -> Channel:
    """The same channel, which ``leave`` closes if this thread has a session to itself."""
    thread = threading.current_thread()
    if isinstance(thread, _Thread):
        thread.hold(channel)
    return channel
