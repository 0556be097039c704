"""The pair of locks that other mail programs honour for an mbox file: dotlock and fcntl."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...model import display
from .. import disk
from ..lock import Busy

NOTE_LIMIT = 200  # octets of somebody's dotlock that are read
_OURS = b"popferry "


@contextmanager
def file_lock(path: Path, notices: list[tuple[str, bytes]]) -> Iterator[int]:
    """The mbox file, open for appending under both locks.

    Needs ``run_lock``: a dotlock of ours is then one that a dead run left.
    """
    dotlock = path.with_name(path.name + ".lock")
    _take(dotlock, notices)
    try:
        handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW)
        try:
            try:
                fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError) as error:
                raise Busy(f"another program holds {display(str(path), 1000)}") from error
            yield handle
        finally:
            os.close(handle)
    finally:
        dotlock.unlink(missing_ok=True)


def _take(dotlock: Path, notices: list[tuple[str, bytes]]) -> None:
    for is_first in (True, False):
        part = dotlock.with_name(dotlock.name + ".part")
        part.write_bytes(_OURS + b"%d\n" % os.getpid())
        try:
            disk.place(part, dotlock)  # whole at once: an empty one could not be told from somebody else's
        except FileExistsError as error:
            holder, age_s = _holder(dotlock)
            if not is_first or not holder.startswith(_OURS):
                raise Busy(
                    f"another program holds {display(str(dotlock), 1000)}, made {age_s:,.0f} s ago"
                    f"{f' by {display(holder)}' if holder else ''}; if none is running, remove that file"
                ) from error
            notices.append((f"Removed {display(str(dotlock), 1000)}, left by a run that was killed", holder))
            dotlock.unlink(missing_ok=True)
        else:
            return


def forget_dotlock(path: Path) -> None:
    """Removes the dotlock of a dead run of ours on a file that is gone. Needs ``run_lock``."""
    dotlock = path.with_name(path.name + ".lock")
    if _holder(dotlock)[0].startswith(_OURS):
        dotlock.unlink(missing_ok=True)


def _holder(dotlock: Path) -> tuple[bytes, float]:
    """What the dotlock says of its holder, and its age in seconds."""
    try:
        facts = dotlock.lstat()
        return b"".join(disk.read(dotlock, 0, NOTE_LIMIT)).strip(), max(0.0, time.time() - facts.st_mtime)
    except OSError:
        return b"", 0.0  # gone again, or not ours to read
