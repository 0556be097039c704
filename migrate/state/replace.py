"""How a rebuilt state file takes the place of the old one: all of it, whenever the process dies.

While it is made it stands beside the old one as ``<state>.rebuild``. The
rename to ``<state>.rebuilt-<n>`` makes it count. From then on whoever opens the
state, under the lock, puts it in its place first (``complete``): the old file,
its log and its spool step aside as ``<state>.corrupt-<n>``, one rename after the
other, each done only where it is still to do.
"""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from .database import translated
from .place import beside, sync_directory

LOGS = ("-wal", "-shm", "-journal")
SPOOL = ".spool"


def in_the_making(path: Path) -> Path:
    return beside(path, ".rebuild")


def _ready(path: Path, number: int) -> Path:
    return beside(path, f".rebuilt-{number}")


def set_aside(path: Path, number: int) -> Path:
    """The name under which an old state file is kept."""
    return beside(path, f".corrupt-{number}")


def is_set_aside(path: Path) -> bool:
    """Whether this is an old state file in whose place another one stands: one that a rebuild put aside, or the copy
    that was made before a file of an older version was changed (``file.migrate``), whole or in the making."""
    found = re.fullmatch(r"(.+)\.(?:corrupt-[0-9]+|version-[0-9]+(?:\.new)?)", path.name)
    return found is not None and path.with_name(found[1]).exists()


def free_number(path: Path) -> int:
    """The lowest number that no old state file bears."""
    number = 1
    while any(Path(f"{set_aside(path, number)}{suffix}").exists() for suffix in ("", SPOOL, *LOGS)):
        number += 1
    return number


def make_ready(path: Path, number: int) -> None:
    """The file in the making, closed, counts from now on. It has a spool, perhaps an empty one."""
    making, ready = in_the_making(path), _ready(path, number)
    with translated(path):
        handle = os.open(making, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        beside(making, SPOOL).mkdir(mode=0o700, exist_ok=True)
        os.rename(beside(making, SPOOL), beside(ready, SPOOL))
        sync_directory(path.parent)
        os.rename(making, ready)
        sync_directory(path.parent)


def complete(path: Path) -> None:
    """Puts a rebuilt state file in its place, if one is ready; removes one that was never ready. Under the lock."""
    with translated(path):
        if not path.parent.is_dir():
            return
        names = os.listdir(path.parent)
        for name in names:
            if (found := re.fullmatch(re.escape(path.name) + r"\.rebuilt-([0-9]+)", name)) is not None:
                _put_in_place(path, int(found[1]))
        if any(name.startswith(in_the_making(path).name) for name in names):
            remove(in_the_making(path))
        # Of one that died between its two renames.
        for name in names:
            if re.fullmatch(re.escape(path.name) + r"\.rebuilt-[0-9]+\.spool", name):
                shutil.rmtree(path.with_name(name), ignore_errors=True)


def remove(making: Path) -> None:
    """Removes a file in the making, with all that belongs to it."""
    with translated(making):
        for suffix in ("", *LOGS, ".new"):
            Path(f"{making}{suffix}").unlink(missing_ok=True)
        shutil.rmtree(beside(making, SPOOL), ignore_errors=True)


def _put_in_place(path: Path, number: int) -> None:
    ready, aside = _ready(path, number), set_aside(path, number)
    if beside(ready, SPOOL).is_dir():
        if beside(path, SPOOL).exists():
            os.rename(beside(path, SPOOL), beside(aside, SPOOL))
        os.rename(beside(ready, SPOOL), beside(path, SPOOL))
    # While the new one is only ready, what bears the name is the old one.
    for suffix in (*LOGS, ""):
        old = Path(f"{path}{suffix}")
        if old.exists():
            os.rename(old, f"{aside}{suffix}")
    sync_directory(path.parent)
    os.rename(ready, path)
    sync_directory(path.parent)
