"""What stands in a backup and is no part of it. Nothing of it is read, and that is told: it may be mail."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ...model import display
from .. import disk
from ..dirnames import MESSAGES
from ..kinds import HEAD_OCTETS, Kind, kind_of

HINT = "Move it elsewhere, and name that place."

_OURS = re.compile(r".+\.mbox(?:\.(?:index|zst|age|lock|part))*|pruned\.index(?:\.part)?")
_MAIL = (Kind.MBOX, Kind.LETTER, Kind.EMLX, Kind.OUTLOOK)
_NAMED = 5


@dataclass(slots=True)
class _Mail:
    """The files with mail of one directory."""

    first: str
    files: int = 0


@dataclass(slots=True)
class Others:
    """What is found below ``root``. StoreError where a directory cannot be read."""

    root: Path
    _mail: dict[Path, _Mail] = field(default_factory=dict)
    _rest: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        for path in disk.below(self.root):
            relative = path.relative_to(self.root)
            if not _is_passed_over(relative) and not _OURS.fullmatch(path.name) and path.is_file():
                self._add(relative, _kind(path))

    def _add(self, relative: Path, kind: Kind | None) -> None:
        if kind is None or kind in _MAIL:
            mail = self._mail.setdefault(relative.parent, _Mail(relative.name))
            mail.first = min(mail.first, relative.name)
            mail.files += 1
        elif kind is not Kind.EMPTY:
            self._rest.append(str(relative))

    def mail(self) -> Iterator[tuple[bytes, str]]:
        """Each directory with files that hold mail, or cannot be read: its path, and a sentence."""
        for directory, mail in sorted(self._mail.items()):
            more = f" and {mail.files - 1:,} more in its directory" if mail.files > 1 else ""
            what = f'"{display(str(directory / mail.first), 1000)}"{more}: no part of the backup, not read with it'
            yield os.fsencode(directory), what

    def line(self) -> str:
        """A line about all other files, nothing where there are none."""
        if not self._rest:
            return ""
        named = ", ".join(display(name) for name in sorted(self._rest)[:_NAMED])
        more = f" and {len(self._rest) - _NAMED:,} more" if len(self._rest) > _NAMED else ""
        return f"files that are no part of the backup are not read: {named}{more}"


def _is_passed_over(relative: Path) -> bool:
    """Whether its name or that of a directory above begins with a dot, as in every directory of mail files."""
    directories = relative.parts[:-1]
    is_of_maildir = bool(directories) and directories[-1] in MESSAGES  # its folders begin with a dot
    if relative.name.startswith(".") or disk.LOST_AND_FOUND in directories:
        return True
    return not is_of_maildir and any(name.startswith(".") for name in directories)


def _kind(path: Path) -> Kind | None:
    """What the file is; None where it cannot be read."""
    try:
        with path.open("rb") as stream:
            return kind_of(path.name, stream.read(HEAD_OCTETS))[0]
    except OSError:
        return None
