"""What stands in a directory: of this disk, or of an archive. The rules of ``tree`` are the same for both."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from .archives import Member

Facts = tuple[int, int, int]  # inode, size, time of the last change in ns
LEVELS_MAX = 64  # of directories in an archive
NAME_MAX = 4096
NOWHERE = "a link that leads nowhere; nothing of it is read"


class Entry(NamedTuple):
    """One name in a directory. ``inside`` gives what is in a directory (OSError), and is None for a file."""

    name: str
    inside: Callable[[], list[Entry]] | None = None
    facts: Facts = (0, 0, 0)
    trouble: str = ""  # why nothing of it is read
    member: Member | None = None


def on_disk(root: Path, directory: Path) -> list[Entry]:
    """The entries of a directory below ``root``, in the order of their names. OSError."""
    with os.scandir(directory) as entries:
        found = [_entry(root, entry) for entry in entries]
    return sorted((entry for entry in found if entry is not None), key=lambda entry: entry.name)


def _entry(root: Path, entry: os.DirEntry[str]) -> Entry | None:
    """None for what holds nothing: pipes, links to directories that are read anyway, what went meanwhile."""
    path = Path(entry.path)
    try:
        if entry.is_dir(follow_symlinks=False):
            return Entry(entry.name, inside=lambda: on_disk(root, path))
        facts = entry.stat()
    except OSError as error:
        if entry.is_symlink():
            return Entry(entry.name, trouble=NOWHERE)
        if isinstance(error, FileNotFoundError):
            return None
        return Entry(entry.name, trouble=f"{error.strerror}; nothing of it is read")
    if stat.S_ISREG(facts.st_mode):
        return Entry(entry.name, facts=facts_of(facts))
    if stat.S_ISDIR(facts.st_mode) and not path.resolve().is_relative_to(root):
        return Entry(entry.name, trouble="a link to a directory elsewhere; it is not followed, name that one itself")
    return None


def facts_of(facts: os.stat_result) -> Facts:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns


class _Directory:
    def __init__(self) -> None:
        self.directories: dict[str, _Directory] = {}
        self.files: list[Entry] = []

    def entries(self) -> list[Entry]:
        below = [Entry(name, inside=directory.entries) for name, directory in self.directories.items()]
        return sorted([*below, *self.files], key=lambda entry: entry.name)


def in_archive(members: Iterable[Member]) -> list[Entry]:
    """The entries of the directory that the archive is. What would lead out of it stays in it."""
    top = _Directory()
    for member in members:
        *levels, name = [level for level in member.name.split("/") if level not in ("", ".", "..")] or ["unnamed"]
        trouble = member.trouble
        if len(levels) > LEVELS_MAX or len(member.name) > NAME_MAX:
            levels, name, trouble = [], name[:255], "its name in the archive is too long; it is not read"
        place = top
        for level in levels:
            place = place.directories.setdefault(level, _Directory())
        place.files.append(Entry(name, facts=(0, 0, member.mtime * 10**9), trouble=trouble, member=member))
    return top.entries()
