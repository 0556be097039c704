"""The keywords of a folder, a letter for each: the file dovecot-keywords, changed as Dovecot changes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ...model import SYSTEM_FLAGS, Flags, display
from ...wire.maildir import parse_keywords, with_keywords
from .. import disk
from ..lock import Busy

KEYWORDS = "dovecot-keywords"


def keywords_of(directory: Path) -> dict[str, str]:
    """Keyword by letter; none where no program has noted some."""
    try:
        return parse_keywords((directory / KEYWORDS).read_bytes())
    except FileNotFoundError:
        return {}


def keywords_for(directory: Path, all_flags: Iterable[Flags]) -> dict[str, str]:
    """The same, after a letter was given to every keyword of these flags, as long as there are letters.

    Needs the run lock. Busy when another program changes the file now.
    """
    wanted = {name for flags in all_flags for name in flags.names if name not in SYSTEM_FLAGS}
    if wanted:
        _add(directory, sorted(wanted))
    return keywords_of(directory)


def clear_lock(directory: Path) -> None:
    """Removes what a run of ours that was killed left of a change. Needs the run lock."""
    lock, part = _lock_and_part(directory)
    if part.exists() and lock.exists() and os.path.samefile(part, lock):
        disk.remove(lock)
    disk.remove(part)


def _lock_and_part(directory: Path) -> tuple[Path, Path]:
    return directory / (KEYWORDS + ".lock"), directory / "tmp" / (KEYWORDS + ".popferry")


def _add(directory: Path, wanted: list[str]) -> None:
    path, (lock, part) = directory / KEYWORDS, _lock_and_part(directory)
    if not _lacks(path, wanted):
        return
    clear_lock(directory)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        if _is_taken(part, lock):
            try:
                _write(handle, path, wanted)
            except OSError:
                disk.remove(lock)  # nobody has to wait until we come again
                raise
            # The lock is what the file will be, as Dovecot has it.
            os.rename(lock, path)
            disk.sync_directory(directory)
    finally:
        os.close(handle)
    disk.remove(part)


def _write(handle: int, path: Path, wanted: list[str]) -> None:
    before = path.read_bytes() if path.exists() else b""
    if path.exists():
        os.fchmod(handle, path.stat().st_mode & 0o777)
    disk.write(handle, [with_keywords(before, wanted)])
    disk.sync(handle)


def _is_taken(part: Path, lock: Path) -> bool:
    """Whether the lock is ours now; not on a disk without hard links (FAT), where keywords have no letters."""
    try:
        os.link(part, lock)
    except FileExistsError as error:
        name = display(str(lock), 1000)
        raise Busy(f"another program holds {name}; if none is running, remove that file") from error
    except OSError:
        return False
    return True


def _lacks(path: Path, wanted: list[str]) -> bool:
    octets = path.read_bytes() if path.exists() else b""
    return with_keywords(octets, wanted) != octets
