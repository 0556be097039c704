"""Octets that can be asked for by place: of a file, of a part of one, and of what is compressed in one.

Nothing is written to a disk and nothing is held but a block: what is compressed is unpacked as it is read, and going
back in it means to unpack it again.
"""

from __future__ import annotations

import bz2
import lzma
import os
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ...model import BLOCK
from ..zstd import HINT, zstd

XZ_MEMORY = 512 * 1024 * 1024  # a dictionary that needs more was made to fill a memory
KEPT = 4 * BLOCK  # of what was unpacked last
_LONE_CR = re.compile(rb"\r(?!\n)")
_LZIP = b"LZIP"
_LZIP_TRAILER = 20


class Damaged(Exception):
    """The octets end before they should, and why. Everything in front of it was given."""


class Octets(Protocol):
    """Octets at places. Whoever made one closes it."""

    @property
    def size(self) -> int | None:
        """How many there are; None where that is not known before they were read."""

    def read(self, start: int, count: int) -> bytes:
        """The octets from there on, at least one and at most ``count``; none behind the last. Damaged; OSError."""

    def close(self) -> None: ...


class OnDisk:
    """Those of a file. ``size`` is that of now: what is appended later is the next run's."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        try:
            self.size: int | None = self._file.seek(0, os.SEEK_END)
        except OSError:
            self._file.close()
            raise

    def read(self, start: int, count: int) -> bytes:
        self._file.seek(start)
        return self._file.read(count)

    def close(self) -> None:
        self._file.close()


class Part:
    """So many octets of others from a place on: a member of an archive. It closes nothing."""

    def __init__(self, inner: Octets, start: int, size: int) -> None:
        self._inner, self._start = inner, start
        self.size: int | None = size
        self._end = size

    def read(self, start: int, count: int) -> bytes:
        count = min(count, self._end - start)
        if count <= 0:
            return b""
        octets = self._inner.read(self._start + start, count)
        if not octets:
            raise Damaged(f"it is cut, {self._end - start:,} octets are missing")
        return octets

    def close(self) -> None:
        pass


class Checked:
    """The same octets, held against their number and CRC-32 once they were read from the first to the last."""

    size = None

    def __init__(self, inner: Octets, crc: int) -> None:
        self._inner, self._wanted = inner, crc
        self._next = self._crc = 0

    def read(self, start: int, count: int) -> bytes:
        octets = self._inner.read(start, count)
        if start == 0:
            self._next = self._crc = 0
        if start == self._next:
            if not octets and self._crc != self._wanted:
                raise Damaged("its checksum is wrong: not every octet is what was packed")
            self._crc = zlib.crc32(octets, self._crc)
            self._next += len(octets)
        return octets

    def close(self) -> None:
        self._inner.close()


class WithLf:
    """Lines that end in CR alone, as classic Mac OS wrote them, end in LF. Every octet keeps its place."""

    def __init__(self, inner: Octets) -> None:
        self._inner = inner
        self.size = inner.size

    def read(self, start: int, count: int) -> bytes:
        octets = self._inner.read(start, count)
        text = _LONE_CR.sub(b"\n", octets) if b"\n" in octets else octets.replace(b"\r", b"\n")
        if octets.endswith(b"\r") and self._inner.read(start + len(octets), 1) == b"\n":
            text = text[:-1] + b"\r"
        return text

    def close(self) -> None:
        self._inner.close()


# --- what is compressed -----------------------------------------------------------------------


class Decoder(Protocol):
    """One stream of compressed octets, as ``bz2`` and ``lzma`` have it."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int = -1) -> bytes: ...


class _Zlib:
    def __init__(self, wbits: int) -> None:
        self._inner = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        octets = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self.needs_input = not self._inner.unconsumed_tail and len(octets) < max_length
        return octets


class _Lzip:
    """A member of lzip: magic, version, dictionary, LZMA with an end marker, then CRC-32 and two sizes."""

    def __init__(self) -> None:
        self._head = b""
        self._inner: Any = None
        self._crc = self._octets = 0
        self._trailer = b""
        self.eof = False
        self.needs_input = True
        self.unused_data = b""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        if self._inner is None:
            self._head += data
            if len(self._head) < 6:
                return b""
            data, self._inner = self._head[6:], _lzma1(self._head[:6])
        octets: bytes = b""
        if not self._inner.eof:
            octets = self._inner.decompress(data, max_length)
            self._crc = zlib.crc32(octets, self._crc)
            self._octets += len(octets)
            data = self._inner.unused_data
        self.needs_input = self._inner.eof or self._inner.needs_input
        if self._inner.eof:
            self._end(data)
        return octets

    def _end(self, data: bytes) -> None:
        self._trailer += data
        if len(self._trailer) >= _LZIP_TRAILER:
            self.eof = True
            self.unused_data = self._trailer[_LZIP_TRAILER:]
            told = int.from_bytes(self._trailer[:4], "little"), int.from_bytes(self._trailer[4:12], "little")
            if told != (self._crc, self._octets):
                raise lzma.LZMAError("Corrupt input data")


def _lzma1(head: bytes) -> lzma.LZMADecompressor:
    coded = head[5]
    size = 1 << (coded & 0x1F)
    size -= (size // 16) * (coded >> 5)
    if head[4] != 1 or not 4096 <= size <= XZ_MEMORY:
        raise lzma.LZMAError("Unsupported options")
    options = {"id": lzma.FILTER_LZMA1, "dict_size": size, "lc": 3, "lp": 0, "pb": 2}
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=[options])


def deflated() -> Decoder:
    """Deflate without a header, as zip has it."""
    return _Zlib(-zlib.MAX_WBITS)


def _xz() -> Decoder:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)


def zstandard() -> Decoder:
    """OSError where the library is not there."""
    library = zstd()
    if library is None:
        raise OSError(f"the library for zstd is not installed. {HINT}")
    decoder: Decoder = library.ZstdDecompressor()
    return decoder


Make = Callable[[], Decoder]

_ZSTD_SKIPPED = tuple(bytes((0x50 + number, 0x2A, 0x4D, 0x18)) for number in range(16))
_MAGICS: tuple[tuple[bytes, Make], ...] = (
    (b"\x1f\x8b", lambda: _Zlib(16 + zlib.MAX_WBITS)),
    (b"BZh", bz2.BZ2Decompressor),
    (b"\xfd7zXZ\0", _xz),
    (_LZIP, _Lzip),
    (b"\x28\xb5\x2f\xfd", zstandard),
    *((magic, zstandard) for magic in _ZSTD_SKIPPED),
)
PACKED_SUFFIXES = (".gz", ".bz2", ".xz", ".lz", ".zst")


def decoder_for(beginning: bytes) -> Make | None:
    """What undoes the compression of octets that begin so; None where they are not compressed."""
    return next((make for magic, make in _MAGICS if beginning.startswith(magic)), None)


class Unpacked:
    """What is compressed in others; several streams, one behind the other, are one.

    The octets that were read last are kept: a little way back costs nothing, further back all of it is unpacked anew.
    An error of a library takes away the octets of its last call. So these are read again octet by octet, and what
    stands in front of the damage is given to the last one.
    """

    size = None

    def __init__(self, inner: Octets, make: Make, *, is_one: bool = False) -> None:
        self._inner, self._make = inner, make
        self._is_one = is_one  # nothing is looked for behind the end
        self._careful: int | None = None  # from here on in the compressed octets, one is taken at a time
        self._damage: tuple[int, Damaged] | None = None  # and behind how many octets it is
        self._rewind()

    def _rewind(self) -> None:
        self._decoder = self._make()
        self._held = b""  # the octets in front of
        self._at = 0  # this place in the unpacked octets,
        self._taken = 0  # which is this one in the others
        self._has_ended = False

    def read(self, start: int, count: int) -> bytes:
        if start < self._at - len(self._held):
            self._rewind()
        while self._at <= start:
            if not self._more():
                if self._damage is not None and start >= self._damage[0]:
                    raise self._damage[1]
                return b""
        place = start - self._at + len(self._held)
        return self._held[place : place + count]

    def close(self) -> None:
        self._inner.close()

    def _more(self) -> bool:
        """Unpacks a block, or begins anew with more care; False where nothing comes."""
        pieces, count = [], 0
        while count < BLOCK and not self._has_ended:
            before = self._taken
            try:
                pieces.append(self._step(BLOCK - count))
                count += len(pieces[-1])
            except _errors() as error:
                if self._careful is None:
                    self._careful = max(0, before - BLOCK)
                    self._rewind()
                    return True
                self._end(count, Damaged(f"{error}" or type(error).__name__))
            except Damaged as damage:
                self._end(count, damage)
        if count:
            self._held = self._held[-KEPT:] + b"".join(pieces)
            self._at += count
        return count > 0

    def _end(self, count: int, damage: Damaged) -> None:
        self._damage, self._has_ended = (self._at + count, damage), True

    def _step(self, limit: int) -> bytes:
        if self._decoder.eof:
            self._next_stream()
            return b""
        data = b""
        if self._decoder.needs_input:
            count = 1 if self._careful is not None and self._taken >= self._careful else BLOCK
            if self._careful is not None and self._taken < self._careful:
                count = min(count, self._careful - self._taken)
            data = self._inner.read(self._taken, count)
            if not data:
                raise Damaged("it is cut: it ends in the middle")
            self._taken += len(data)
        return self._decoder.decompress(data, limit)

    def _next_stream(self) -> None:
        """Begins the next one, behind zeros that pad; or ends."""
        self._taken -= len(self._decoder.unused_data)
        while not self._is_one and (data := self._inner.read(self._taken, BLOCK)):
            if not data.strip(b"\0"):
                self._taken += len(data)
                continue
            self._taken += len(data) - len(data.lstrip(b"\0"))
            beginning = self._inner.read(self._taken, 6)
            if (make := decoder_for(beginning)) is None:
                raise Damaged("what follows is not compressed")
            self._decoder = make()
            return
        self._has_ended = True


def _errors() -> tuple[type[Exception], ...]:
    """What the libraries raise at octets that are damaged."""
    library = zstd()
    own = (zlib.error, lzma.LZMAError, OSError, EOFError, ValueError)
    return own if library is None else (*own, library.ZstdError)
