"""An mbox file of a month that is over, compressed: any octets of it are had without those before them.

DIR/INBOX/2026-10.mbox.zst      zstd frames of FRAME octets of the file each, then their table (the "seekable format"
                                of zstd, contrib/seekable_format: a skippable frame, which every zstd passes over)

    table  = magic size *( compressed decompressed ) count descriptor end-magic        all little-endian, 32 bits
                                                                                        but for the descriptor (8)

``zstd -d`` gives back the mbox file. A frame carries a checksum of its octets; one that is damaged costs what stands in
it, and nothing else. The library is the one of Python 3.14, before that the extra popferry[zstd].
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

from ...errors import Cause, Retry, StoreError
from ...model import BLOCK, display
from .. import disk
from ..zstd import HINT, zstd

SUFFIX = ".zst"
FRAME = 4 * 1024 * 1024
FRAME_AT_MOST = FRAME + FRAME // 128 + 1024  # octets of one that cannot be made smaller
LEVEL = 9

_SKIPPABLE, _SEEKABLE = 0x184D2A5E, 0x8F92EAB1
_HEAD, _ENTRY, _FOOT = struct.Struct("<II"), struct.Struct("<II"), struct.Struct("<IBI")


def library_for(path: Path) -> Any:
    """The library. StoreError where there is none."""
    library = zstd()
    if library is None:
        what = f"{display(str(path), 1000)}: the library for zstd is not installed"
        raise StoreError(what, cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=HINT)
    return library


class Packed:
    """A compressed file. Without a table that fits there is nothing in it; but where it is told to be ``cut``, the
    frames that are left are looked for. ``opener`` opens it, where it cannot be read as it stands."""

    _last: ClassVar[tuple[Packed, int, bytes] | None] = None  # one for all: a backup may have many files

    def __init__(self, path: Path, opener: Callable[[], BinaryIO] | None = None, *, is_cut: bool = False) -> None:
        self.path = path
        self._open: Callable[[], BinaryIO] = opener or (lambda: path.open("rb"))
        self._places = [0]  # where each frame begins in the file, and where the last one ends
        self._offsets = [0]  # the same, in what it holds
        table = self._frames() if is_cut else self._table()
        if table is not None:
            self._places = [0, *accumulate(compressed for compressed, _ in table)]
            self._offsets = [0, *accumulate(octets for _, octets in table)]

    @property
    def size(self) -> int:
        """Octets of the file that was compressed."""
        return self._offsets[-1]

    def read(self, start: int, end: int) -> Iterator[bytes]:
        """The octets between, in blocks; fewer where the file has fewer, or a frame of them is damaged."""
        at = bisect_right(self._offsets, start) - 1
        while start < min(end, self.size):
            octets = self._frame(at)
            skip, start = start - self._offsets[at], self._offsets[at + 1]
            for place in range(skip, min(len(octets), end - self._offsets[at]), BLOCK):
                yield octets[place : min(place + BLOCK, end - self._offsets[at])]
            at += 1

    def _frame(self, at: int) -> bytes:
        """What a frame holds, kept until another one is asked for: many messages stand in one."""
        last = Packed._last
        if last is None or last[0] is not self or last[1] != at:
            last = Packed._last = (self, at, self._decompressed(at))
        return last[2]

    def _decompressed(self, at: int) -> bytes:
        library = library_for(self.path)
        with self._open() as stream:
            frame = _octets(stream, self._places[at], self._places[at + 1])
        wanted = self._offsets[at + 1] - self._offsets[at]
        try:
            # No more than the table says: a frame that was tampered with fills no memory.
            decompressor = library.ZstdDecompressor()
            octets: bytes = decompressor.decompress(frame, max_length=wanted + 1)
        except library.ZstdError:
            return b""
        return octets if len(octets) == wanted and decompressor.eof else b""

    def _table(self) -> list[tuple[int, int]] | None:
        """Compressed and decompressed octets of each frame, in order; None where the end of the file says otherwise."""
        try:
            stream = self._open()
        except FileNotFoundError:
            return None
        with stream:
            octets = stream.seek(0, os.SEEK_END)
            if octets < _FOOT.size + _HEAD.size:
                return None
            count, descriptor, magic = _FOOT.unpack(_octets(stream, octets - _FOOT.size, octets))
            length = count * _ENTRY.size + _FOOT.size
            start = octets - length - _HEAD.size
            if magic != _SEEKABLE or descriptor or start < 0:
                return None
            table = _octets(stream, start, octets - _FOOT.size)
        if table[: _HEAD.size] != _HEAD.pack(_SKIPPABLE, length):
            return None
        entries = list(_ENTRY.iter_unpack(table[_HEAD.size :]))
        is_ours = all(0 < octets <= FRAME for _, octets in entries)
        return entries if is_ours and sum(compressed for compressed, _ in entries) == start else None

    def _frames(self) -> list[tuple[int, int]]:
        """The same of the whole frames at the beginning of a file that lost its end."""
        library = library_for(self.path)
        found: list[tuple[int, int]] = []
        with self._open() as stream:
            place, size = 0, stream.seek(0, os.SEEK_END)
            while place < size:
                octets = _octets(stream, place, min(size, place + FRAME_AT_MOST))
                decompressor = library.ZstdDecompressor()
                try:
                    length = len(decompressor.decompress(octets, max_length=FRAME + 1))
                except library.ZstdError:
                    break
                if not decompressor.eof or not length:
                    break
                found.append((len(octets) - len(decompressor.unused_data), length))
                place += found[-1][0]
        return found


def _octets(stream: BinaryIO, start: int, end: int) -> bytes:
    stream.seek(start)
    return stream.read(end - start)


def pack(path: Path, target: Path) -> None:
    """Writes what the file holds into ``target``, compressed and durable. FileExistsError where that is there."""
    library = library_for(path)
    options = {library.CompressionParameter.compression_level: LEVEL, library.CompressionParameter.checksum_flag: 1}
    table = b""
    count = 0
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        size = disk.size_of(path)
        for start in range(0, size, FRAME):
            octets = b"".join(disk.read(path, start, min(start + FRAME, size)))
            frame = library.compress(octets, options=options)
            disk.write(handle, [frame])
            table += _ENTRY.pack(len(frame), len(octets))
            count += 1
        length = len(table) + _FOOT.size
        disk.write(handle, [_HEAD.pack(_SKIPPABLE, length), table, _FOOT.pack(count, 0, _SEEKABLE)])
        disk.sync(handle)
    finally:
        os.close(handle)
