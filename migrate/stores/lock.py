"""One popferry at a time in a directory: the lock, and a session that waits for it without holding up the loop.

``Busy`` says that somebody else holds a lock now: the caller tries again, and in the end tells what it says.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from ..commands import Outcome
from ..errors import Retry, StoreError
from ..model import display
from .base import LocalSession

WAIT_S = 30.0


class Busy(Exception):
    """Somebody else holds a lock; the text says who, and what to do."""


@contextmanager
def run_lock(directory: Path, *, shared: bool = False, name: str = ".lock") -> Iterator[None]:
    """One popferry at a time writes here; freed by the kernel when it dies. With ``shared`` nobody writes meanwhile.

    A reader that may not write here, or finds no lock, goes without.
    """
    path = directory / name
    flags = os.O_RDONLY if shared else os.O_RDWR | os.O_CREAT
    try:
        handle = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    except (FileNotFoundError, PermissionError):
        if not shared:
            raise
        yield
        return
    try:
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Busy(f"another popferry writes to {display(str(directory), 1000)}") from error
        yield
    finally:
        os.close(handle)


@contextmanager
def patient_lock(
    directory: Path, sleep: Callable[[float], None], *, shared: bool, name: str = ".lock"
) -> Iterator[None]:
    """The run lock, waited for. StoreError (LATER) when a backup does not let go of it."""
    with ExitStack() as held:
        for _ in range(int(WAIT_S)):
            try:
                held.enter_context(run_lock(directory, shared=shared, name=name))
                break
            except Busy:
                sleep(1.0)
        else:
            hint = "Try again when it has ended."
            raise StoreError("a backup has been writing all the time", retry=Retry.LATER, hint=hint)
        yield


class PatientSession(LocalSession):
    """A command that meets ``Busy`` is tried again whenever the loop comes by, for ``wait_s`` seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic, wait_s: float = WAIT_S) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._wait_s = wait_s
        self._deadline: float | None = None

    def turn(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while self._owed:
            try:
                outcomes.append(self._end(self._owed[0]))
            except Busy as busy:
                now = self._monotonic()
                self._deadline = now + self._wait_s if self._deadline is None else self._deadline
                if now < self._deadline:
                    break  # the loop comes back within a second
                hint = "Run the same command again when it has ended."
                self._broken = StoreError(str(busy), retry=Retry.LATER, hint=hint)
                continue
            self._owed.popleft()
            self._deadline = None
        return outcomes

    def is_ready(self) -> bool:
        return bool(self._owed) and self._deadline is None
