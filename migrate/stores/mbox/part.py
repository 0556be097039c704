"""One mbox file with its index: its entries, and the octets of its messages."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from ...wire.mbox import decode
from .. import disk
from ..base import beginning
from . import age, packed
from .index import SUFFIX, Encrypted, Entry, Head, Index, read_head, stored

MBOX = ".mbox"
STATE = ".popferry"  # the directory in a backup where its state files stand (config.job)


def indexes_below(root: Path) -> list[Path]:
    """Every index of an mbox file below a directory."""
    return sorted(path for path in disk.below(root) if path.name.endswith(MBOX + SUFFIX))


class Part:
    """A file of a mailbox. The index is read when it is first asked for.

    An encrypted one can be read with an ``identity``. Without it is known what it holds; whoever asks for octets or an
    entry gets a StoreError.
    """

    def __init__(self, path: Path, identity: age.Identity | None = None) -> None:
        self.path = path
        self.index_path = path.with_name(path.name + SUFFIX)
        self.packed_path = path.with_name(path.name + packed.SUFFIX)
        self.age_path = path.with_name(self.packed_path.name + age.SUFFIX)
        self.age_index_path = path.with_name(self.index_path.name + age.SUFFIX)
        self._identity = identity
        self._packed: packed.Packed | None = None
        self._index: Index | None = None
        self._encrypted: Encrypted | None = None
        self.bad_lines: list[int] = []  # damaged ones of what can be read without the key, where it was read with it
        self._head: Head | None = None

    @property
    def head(self) -> Head | None:
        """The first line of the index, without the rest."""
        if self._head is None:
            is_there = self._index is None and self.index_path.exists()
            self._head = read_head(self.index_path) if is_there else self.index.head
        return self._head

    @property
    def index(self) -> Index:
        if self._index is None:
            self._index = self._read_index()
        return self._index

    def _read_index(self) -> Index:
        index = Index(self.index_path) if self.index_path.exists() or not self._has_hidden_index else None
        self._encrypted = None if index is None else index.encrypted
        if not self._has_hidden_index or not (index is None or index.encrypted or self.is_hidden):
            assert index is not None
            return index
        self.bad_lines = [] if index is None else [*index.bad, *index.tail]
        hidden = Index(self.index_path, lambda: self._plain(self.age_index_path).open())
        if hidden.head is None and index is not None:
            hidden.head = index.head
        return hidden

    def _plain(self, path: Path) -> age.Plain:
        """What one of its two encrypted files holds; nothing where its first lines are damaged."""
        assert self._identity is not None
        try:
            return self._identity.plain(path)
        except age.NotTheKey:
            one = self._encrypted
            if one is None or stored(path) == (one.file if path == self.age_path else one.index):
                raise
            return age.nothing()

    @property
    def _has_hidden_index(self) -> bool:
        return self._identity is not None and self.age_index_path.exists()

    @property
    def encrypted(self) -> Encrypted | None:
        """What is said of it where it is encrypted."""
        if self._index is None and self.index_path.exists():
            _ = self.index
        return self._encrypted

    @property
    def is_locked(self) -> bool:
        """Whether its messages cannot be read, for want of an identity."""
        return self._identity is None and (self.encrypted is not None or self.is_hidden)

    @property
    def is_hidden(self) -> bool:
        """Whether its octets are there encrypted, and not otherwise."""
        return self.age_path.exists() and not self.path.exists() and not self.packed_path.exists()

    def forget(self) -> None:
        """The index is read anew when it is asked for again."""
        self._index = self._packed = None

    def is_stale(self) -> bool:
        """Whether somebody has written to the index since it was read."""
        read = self._index is not None and self._encrypted is None
        return read and disk.size_of(self.index_path) != self.index.size

    @property
    def has_index(self) -> bool:
        if self._identity is not None and self.encrypted is not None:
            return self._has_hidden_index
        return self.index_path.exists() or self._has_hidden_index

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
        """Whether its octets are there, as they are, compressed or encrypted."""
        return any(path.exists() for path in self.paths)

    @property
    def paths(self) -> tuple[Path, Path, Path]:
        """Where its octets may stand; what stands in an earlier one needs the others no more."""
        return self.path, self.packed_path, self.age_path

    def size(self) -> int:
        """Octets of the mbox file, also where it is compressed or encrypted."""
        try:
            return self.path.stat().st_size
        except FileNotFoundError:  # asked for first: what is being compressed is there under both names for a while
            if self.packed_path.exists() or (self._identity is not None and self.age_path.exists()):
                return self._unpacked().size
            return self._locked_size()

    def _locked_size(self) -> int:
        """What the index says, where both encrypted files have the length that it knows."""
        one = self.encrypted if self.age_path.exists() else None
        files = ((self.age_path, one.file), (self.age_index_path, one.index)) if one else ()
        return one.octets if one and all(disk.size_of(path) == stored.octets for path, stored in files) else 0

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The octets of the mbox file between, in blocks; fewer where it is short, gone, or damaged once compressed."""
        try:
            yield from disk.read(self.path, start, end)
        except FileNotFoundError:
            if self.packed_path.exists() or self.age_path.exists():
                yield from self._unpacked().read(start, end)

    def _unpacked(self) -> packed.Packed:
        if self._packed is None:
            self._packed = packed.Packed(self.packed_path) if self.packed_path.exists() else self._decrypted()
        return self._packed

    def _decrypted(self) -> packed.Packed:
        if self._identity is None:
            raise age.locked(self.age_path)
        is_cut = not self._plain(self.age_path).is_whole
        return packed.Packed(self.age_path, lambda: self._plain(self.age_path).open(), is_cut=is_cut)

    def entry(self, number: int) -> Entry | None:
        """As that of the index; also where the file was encrypted since that was read."""
        entry = self.index.entry(number)
        if entry is None and self.is_stale():
            self.forget()
            entry = self.index.entry(number)
        return entry

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
        """Offset and end of each range of the first ``size`` octets that no entry covers; without an index all."""
        if not self.has_index:
            yield 0, size
            return
        place = 0
        for offset, end in zip(self.index.offsets, self.index.ends, strict=True):
            if offset > place:
                yield place, min(offset, size)
            place = max(place, end)
        if place < size:
            yield place, size


def body(blocks: Iterator[bytes]) -> Iterator[bytes]:
    """The stored lines without the From_ line, which is the first one."""
    for block in blocks:
        _, found, rest = block.partition(b"\n")
        if found:
            yield rest
            break
    yield from blocks
