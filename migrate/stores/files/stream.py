"""The octets of one file, unpacked where it is compressed; read in order, in blocks, and never changed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from ...model import BLOCK

_PACKED: dict[bytes, Callable[[Path], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
PACKED_SUFFIXES = (".gz", ".bz2", ".xz")
HEAD_OCTETS = 64 * 1024


def unpacked_name(name: str) -> str:
    """The name that the file has when it is unpacked."""
    return next((name[: -len(suffix)] for suffix in PACKED_SUFFIXES if name.lower().endswith(suffix)), name)


class Stream:
    """A file that is open for reading. Whoever has it closes it. OSError where it cannot be opened.

    ``size`` is that of the file when it was opened: what is appended later is the next run's. A compressed file has
    None: it is not known before it was read. Going back in one means to unpack it again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damage = ""  # why the octets ended before the file did
        self._file: IO[bytes] = path.open("rb")
        try:
            beginning = self._file.read(6)
            opener = next((opener for magic, opener in _PACKED.items() if beginning.startswith(magic)), None)
            self.size: int | None = self._file.seek(0, 2) if opener is None else None
            if opener is not None:
                self._file.close()
                self._file = opener(path)
            self.head = b"".join(self.blocks(0, HEAD_OCTETS))
        except BaseException:
            self._file.close()
            raise

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The octets between, fewer where there are fewer: ``damage`` then says why, if the file is not whole."""
        end = self.size if end is None else end
        try:
            self._file.seek(start)
            while end is None or start < end:
                block = self._file.read(BLOCK if end is None else min(BLOCK, end - start))
                if not block:
                    return
                start += len(block)
                yield block
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            self.damage = f"{error}" or type(error).__name__

    def close(self) -> None:
        self._file.close()
