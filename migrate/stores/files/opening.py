"""Opens files where they are: on the disk, or in an archive on it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ...model import display
from .apple import Outside
from .archives import octets_of
from .octets import Octets, OnDisk
from .stream import Stream
from .tree import File


class Opener:
    """Opens files below a root. The archive that was asked for last stays open: the next file is mostly in it too."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._archive: tuple[File, Stream] | None = None
        self._other: Opener | None = None

    def path(self, file: File) -> Path:
        return self._root / file.path if file.path else self._root

    def shown(self, file: File) -> str:
        """Its name for people."""
        path = file.path or self._root.name
        if file.archive is not None and not file.archive.path:
            path = f"{self._root.name}/{path}"
        return f'"{display(path, 1000)}"'

    def octets(self, file: File) -> Octets:
        """The octets as they are stored; of a member of an archive, those that were put into it. OSError."""
        if file.archive is None or file.member is None:
            return OnDisk(self.path(file))
        return octets_of(self.archive(file.archive).octets, file.member)

    def archive(self, file: File) -> Stream:
        """The archive itself, unpacked where it is compressed."""
        if self._archive is None or self._archive[0] is not file:
            self._close_archive()
            path = self.path(file)
            self._archive = file, Stream(lambda: OnDisk(path))
        return self._archive[1]

    def stream(self, file: File) -> Stream:
        return Stream(lambda: self.octets(file), lambda: self._elsewhere().octets(file))

    def beside(self, file: File) -> Stream:
        """A small file that belongs to another one, which is open now."""
        return self._elsewhere().stream(file)

    def outside(self, file: File) -> list[Outside] | None:
        """What Apple Mail took out of that message; None where it took nothing out."""
        if file.taken_out is None:
            return None
        return [Outside(part, one.path, self._lazily(one)) for part, one in file.taken_out]

    def _lazily(self, file: File) -> Callable[[], Octets]:
        return lambda: self._elsewhere().octets(file)

    def _elsewhere(self) -> Opener:
        """For what is read beside another member: else a compressed archive would be unpacked anew each time."""
        self._other = self._other or Opener(self._root)
        return self._other

    def close(self) -> None:
        self._close_archive()
        if self._other is not None:
            self._other.close()

    def _close_archive(self) -> None:
        if self._archive is not None:
            self._archive[1].close()
            self._archive = None
