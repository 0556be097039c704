"""One run at a time: the lock beside the state file, freed by the kernel when its holder dies."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

from ..errors import Exit, StateError
from ..model import display
from .database import state_error

NOTE_LIMIT = 400  # octets that are read
LOOK_S = 0.05  # somebody who only asks whether a run is going on (``is_held``) is gone by then


class RunLock:
    """Held from construction until ``release``. StateError(STATE_LOCKED) when another run holds it.

    The file stays when the lock is freed: a name that comes and goes could be
    held twice. What it says of the holder is for people; only flock decides.
    ``left_behind`` is what the run before wrote with ``leave``, if it ended in order.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        except OSError as error:
            raise state_error(error, path) from error
        try:
            self._take()
            os.fchmod(self._handle, 0o600)
            self.left_behind = self._read()[1]
            self._note()
        except BlockingIOError as error:
            who = self._holder()
            os.close(self._handle)
            raise StateError(
                f"another run holds the state file{who}",
                exit=Exit.STATE_LOCKED,
                hint="Wait until it has ended, or stop it. A run that was killed holds nothing.",
            ) from error
        except OSError as error:
            os.close(self._handle)
            raise state_error(error, path) from error

    def _take(self) -> None:
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(LOOK_S)
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def _note(self) -> None:
        began = datetime.now().astimezone().isoformat(" ", "seconds")
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, f"process {os.getpid()}, since {began}\n".encode(), 0)

    def _read(self) -> tuple[bytes, bytes]:
        note, _, left = os.pread(self._handle, NOTE_LIMIT, 0).partition(b"\n")
        return note, left.strip()

    def _holder(self) -> str:
        note, _ = self._read()
        return f" ({display(note)})" if note else ""

    def leave(self, note: bytes) -> None:
        """A line for the next holder: the last thing before ``release``."""
        try:
            os.lseek(self._handle, 0, os.SEEK_END)
            os.write(self._handle, note + b"\n")
        except OSError as error:
            raise state_error(error, self.path) from error

    def release(self) -> None:
        os.close(self._handle)


@contextmanager
def no_run(paths: Iterable[Path]) -> Iterator[None]:
    """No run begins on these state files meanwhile. StateError(STATE_LOCKED) when one is under way."""
    with ExitStack() as held:
        for path in paths:
            lock = RunLock(path.with_name(path.name + ".lock"))
            held.callback(lock.release)
            if lock.left_behind:
                held.callback(lock.leave, lock.left_behind)
        yield


def is_held(path: Path) -> bool:
    """Whether a run holds the lock now."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise state_error(error, path) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError as error:
        raise state_error(error, path) from error
    finally:
        os.close(handle)
    return False
