"""The files of one Maildir, found again whoever renames them: by the part of the name that no program changes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple

from ...model import BLOCK
from ...wire.maildir import message_lines, unique_of
from ...wire.mbox import foreign_note, survey
from ..dirnames import parts_of
from .index import Entry

LOOKS = 10  # at a directory that does not stand still


class Opened(NamedTuple):
    """An open file, and its name below the folder at that moment."""

    stream: IO[bytes]
    name: str


class Files:
    """Name by unique part, as it was when the directories were last read.

    Where two files have the same unique part, the second goes by its whole name: nothing is left out.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._names: dict[str, str] = {}
        self.odd: list[str] = []  # what stands among the messages and is no file
        self._others: set[str] = set()  # the same, and directories

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, unique: str) -> bool:
        return unique in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def name(self, unique: str) -> str:
        return self._names[unique]

    def took(self, unique: str, name: str) -> None:
        """A file that was just delivered."""
        self._names[unique] = name

    def look(self) -> None:
        """Reads the directories, until two readings in a row are the same: one of them may miss what is renamed."""
        last, ever = self._read(), set[str]()
        for _ in range(LOOKS):
            if self._listed() == last | self._others:
                break
            ever |= last
            last = self._read()
        self._names = {unique_of(name.rpartition("/")[2]): name for name in sorted(last)}
        if len(self._names) == len(last) and not ever - last:
            return
        self._names = {}
        for name in [*sorted(last), *sorted(ever - last)]:
            unique = unique_of(name.rpartition("/")[2])
            if name not in last and (unique in self._names or not self._exists(name)):
                continue
            if unique in self._names:
                self._add_second(unique, name)
            else:
                self._names[unique] = name

    def _add_second(self, unique: str, name: str) -> None:
        """Two names of one file are a move that was seen half done."""
        first = self._names[unique]
        if not self._exists(first):
            self._names[unique] = name
        elif self._exists(name) and not self._is_one_file(first, name):
            self._names[name] = name

    def _is_one_file(self, first: str, second: str) -> bool:
        try:
            return os.path.samefile(self._directory / first, self._directory / second)
        except FileNotFoundError:
            return True  # moved at this very moment

    def _exists(self, name: str) -> bool:
        return (self._directory / name).exists()

    def _read(self) -> set[str]:
        found = set()
        self.odd, self._others = [], set()
        for part in parts_of(self._directory):
            prefix = f"{part.name}/"
            with os.scandir(part) as entries:
                for entry in entries:
                    name = entry.name
                    if name.startswith("."):
                        continue
                    if entry.is_file():
                        found.add(prefix + name)
                        continue
                    self._others.add(prefix + name)
                    if not entry.is_dir() and entry.is_symlink():
                        self.odd.append(prefix + name)
        return found

    def _listed(self) -> set[str]:
        """The names alone of all that stands there now."""
        found = set[str]()
        for part in parts_of(self._directory):
            prefix = f"{part.name}/"
            found.update([prefix + name for name in os.listdir(part) if not name.startswith(".")])
        return found

    @contextmanager
    def open(self, unique: str) -> Iterator[Opened | None]:
        """The file, wherever it is by now; None when it is gone."""
        opened = self._open(unique)
        if opened is None:
            yield None
            return
        with opened.stream:
            yield opened

    def _open(self, unique: str) -> Opened | None:
        for is_last in [*[False] * LOOKS, True]:
            name = self._names.get(unique)
            try:
                if name is not None:
                    return Opened((self._directory / name).open("rb"), name)
            except FileNotFoundError:
                pass  # another program moved it, or changed its flags
            if is_last or not self._directory.is_dir():
                return None
            self.look()
            if unique not in self._names:
                return None
        return None


def blocks(stream: IO[bytes], entry: Entry | None) -> Iterator[bytes]:
    """The octets of the message in that file; without an entry, with the line ends that mail has."""
    line_ends = entry.line_ends if entry else foreign_note(survey(_read(stream))).line_ends
    return message_lines(_read(stream), line_ends)


def _read(stream: IO[bytes]) -> Iterator[bytes]:
    stream.seek(0)
    while block := stream.read(BLOCK):
        yield block
