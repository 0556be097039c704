"""One mbox file with its index: its entries, and the octets of its messages."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ...wire.mbox import Splitter, decode
from .. import disk
from ..base import beginning
from . import packed
from .index import SUFFIX, Entry, Head, Index, read_head

MBOX = ".mbox"
STATE = ".popferry"  # the directory in a backup where its state files stand (config.job)


def indexes_below(root: Path) -> list[Path]:
    """Every index of an mbox file below a directory."""
    return sorted(path for path in disk.below(root) if path.name.endswith(MBOX + SUFFIX))


class Part:
    """A file of a mailbox. The index is read when it is first asked for."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.index_path = path.with_name(path.name + SUFFIX)
        self.packed_path = path.with_name(path.name + packed.SUFFIX)
        self._packed: packed.Packed | None = None
        self._index: Index | None = None
        self._head: Head | None = None

    @property
    def head(self) -> Head | None:
        """The first line of the index, without the rest."""
        if self._head is None:
            self._head = self._index.head if self._index is not None else read_head(self.index_path)
        return self._head

    @property
    def index(self) -> Index:
        if self._index is None:
            self._index = Index(self.index_path)
        return self._index

    def forget(self) -> None:
        """The index is read anew when it is asked for again."""
        self._index = self._packed = None

    def is_stale(self) -> bool:
        """Whether somebody has written to the index since it was read."""
        return self._index is not None and disk.size_of(self.index_path) != self._index.size

    @property
    def has_index(self) -> bool:
        return self.index_path.exists()

    @property
    def first(self) -> int:
        """The lowest uid that a message of it can have."""
        head = self.head
        return head.first if head else self.index.uids[0] if len(self.index) else 0

    @property
    def last(self) -> int:
        """The highest uid of it that is known, or the one before its first."""
        return self.index.uids[-1] if len(self.index) else self.first - 1

    def exists(self) -> bool:
        """Whether its octets are there, as they are or compressed."""
        return self.path.exists() or self.packed_path.exists()

    def size(self) -> int:
        """Octets of the mbox file, also where it is compressed."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:  # asked for first: what is being compressed is there under both names for a while
            return self._unpacked().size if self.packed_path.exists() else 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The octets of the mbox file between, in blocks; fewer where it is short, gone, or damaged once compressed."""
        try:
            yield from disk.read(self.path, start, end)
        except FileNotFoundError:
            if self.packed_path.exists():
                yield from self._unpacked().read(start, end)

    def _unpacked(self) -> packed.Packed:
        if self._packed is None:
            self._packed = packed.Packed(self.packed_path)
        return self._packed

    # --- messages ---------------------------------------------------------------------------

    def is_whole(self, entry: Entry) -> bool:
        """Whether the file holds the entry's octets as they were stored."""
        digest = sha256()
        octets = 0
        for block in self.read(entry.offset, entry.end):
            digest.update(block)
            octets += len(block)
        return octets == entry.length and digest.digest() == entry.stored

    def blocks(self, entry: Entry) -> Iterator[bytes]:
        """The octets of the message, as the file has them now."""
        return decode(body(self.read(entry.offset, entry.end - 1)), entry.note)

    def header(self, entry: Entry) -> bytes:
        """The first octets of the message: its header, and perhaps some of what follows."""
        return beginning(self.blocks(entry))

    # --- octets that the index does not know ------------------------------------------------

    def strangers(self, size: int) -> Iterator[tuple[int, int]]:
        """Offset and end of each range of the first ``size`` octets that no entry covers."""
        place = 0
        for offset, end in zip(self.index.offsets, self.index.ends, strict=True):
            if offset > place:
                yield place, min(offset, size)
            place = max(place, end)
        if place < size:
            yield place, size

    def split(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Offset and end of each message in that range. Octets in front of the first one are given as one, too."""
        splitter = Splitter(start)
        place = start
        for block in self.read(start, end):
            for found in splitter.update(block):
                if found > place:
                    yield place, found
                place = found
        yield place, end


def body(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The stored lines without the From_ line, which is the first one."""
    for block in blocks:
        _, found, rest = block.partition(b"\n")
        if found:
            yield rest
            break
    yield from blocks
