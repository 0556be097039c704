"""The place where a state file stands: who may write there, and how a name becomes durable."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ..errors import Exit, StateError
from .database import translated


def make_directory(path: Path) -> None:
    """Makes the directory and what is missing above it, each for its owner alone whatever the umask, durably."""
    if not path.parent.exists():
        make_directory(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    os.chmod(path, 0o700)
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    """A rename or a new name in the directory lasts from now on."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_directory(path: Path) -> None:
    """StateError where somebody else could put files beside the state file, or replace it."""
    with translated(path):
        facts = path.stat()
    if not stat.S_ISDIR(facts.st_mode):
        raise StateError(
            f"{path} is not a directory",
            exit=Exit.STATE_UNWRITABLE,
            hint="Choose another place for the state file with --state.",
        )
    _check_owner(path, "directory", facts, trusted={os.geteuid(), 0})


def check_file(path: Path) -> bool:
    """Whether there is a file. StateError when it is no plain file of ours alone; it is not opened."""
    with translated(path):
        try:
            facts = path.lstat()
        except FileNotFoundError:
            return False
    if not stat.S_ISREG(facts.st_mode):
        raise StateError(
            f"{path} is not a plain file",
            exit=Exit.STATE_DAMAGED,
            hint="A state file is no link and no directory. Choose another place with --state.",
        )
    _check_owner(path, "file", facts, trusted={os.geteuid()})
    return True


def _check_owner(path: Path, kind: str, facts: os.stat_result, trusted: set[int]) -> None:
    if facts.st_uid not in trusted:
        raise StateError(
            f"the {kind} {path} belongs to another user",
            exit=Exit.STATE_DAMAGED,
            hint="What somebody else can change is not trusted. Run as its owner, or use another --state.",
        )
    if facts.st_mode & 0o022:
        raise StateError(
            f"others may write to the {kind} {path}",
            exit=Exit.STATE_DAMAGED,
            hint="What somebody else can change is not trusted. "
            f"If only you have used it, run: chmod go-w '{path}'. Or choose another place with --state.",
        )


def beside(path: Path, suffix: str) -> Path:
    """``.lock`` or ``.spool`` of a state file."""
    return path.with_name(path.name + suffix)


def missing(path: Path) -> StateError:
    return StateError(f"there is no state file {path}", exit=Exit.USAGE, hint="Nothing was migrated with it yet.")
