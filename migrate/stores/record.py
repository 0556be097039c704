"""The lines of an index: JSON objects, one a line, only ever appended, each with the proof that it is whole.

line = JSON object whose last member is "check": the first 16 digits of the SHA-256 of the rest of it
mark = {"end": ..., "before": SHA-256 of all that stands in front of this line, where all of it was good}

An index that has the digest of its last mark was checked line by line when that was written, and is taken in without
doing so again.
"""

from __future__ import annotations

import json
import os
import re
from array import array
from collections.abc import Callable, Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from ..model import BLOCK

LINE_LIMIT = 1024 * 1024  # a longer line is none of ours

_LINE = re.compile(rb'(\{.*),"check":"([0-9a-f]{16})"\}\n')
_MARK = b'\n{"end":'
_Record = TypeVar("_Record")


def sealed(record: dict[str, Any]) -> bytes:
    """The line of a record."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return text[:-1] + b',"check":"%s"}\n' % _check(text)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when it is damaged."""
    text = whole(line)
    try:
        record = None if text is None else json.loads(text)
    except ValueError:
        return None  # written by a program that we are not
    return record if isinstance(record, dict) else None


def whole(line: bytes) -> bytes | None:
    """The same as its JSON text, for a reader that needs little of it."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    text = found[1] + b"}"
    return text if _check(text) == found[2] else None


def _check(text: bytes) -> bytes:
    return sha256(text).hexdigest()[:16].encode("ascii")


class SealedIndex(Generic[_Record]):
    """What an index says, read to its end. A store says what its lines are, and what it holds of each."""

    def __init__(self, path: Path, opener: Callable[[], BinaryIO] | None = None) -> None:
        """``opener``: opens what stands for the file, where that is read otherwise."""
        self.path = path
        self._opener: Callable[[], BinaryIO] = opener or (lambda: path.open("rb"))
        self._clear()
        with self._opener() as stream:
            self._read(stream)

    def _clear(self) -> None:
        """As if nothing had been read."""
        self.uids = array("Q")  # ascending
        self._lines = array("Q")  # where in the index the line of each begins
        self.bad: list[int] = []  # numbers of damaged lines that have a good one behind them
        self.tail: list[int] = []  # the same, without
        self.size = 0  # octets of the whole good lines, up to the first bad one of the tail
        self.torn = 0  # octets that were read behind them
        self._digest: Any = sha256()  # of the good lines; None where a damaged one stands between them

    def __len__(self) -> int:
        return len(self.uids)

    # --- what a store says ------------------------------------------------------------------

    def _parse(self, line: bytes) -> _Record | None:
        """What a line says, as far as it is held; None when it is damaged."""
        raise NotImplementedError

    def _hold(self, record: _Record, start: int) -> None:
        """Takes in the record of a line that begins at ``start``."""
        raise NotImplementedError

    def _hold_many(self, text: bytes, place: int) -> int:
        """Takes in many lines that are proven. Value: how many; fewer than there are where one has another form.

        ``text`` stands at ``place``. Each line has a line end in front of it, so that what is in a text is none.
        """
        raise NotImplementedError

    # --- reading ----------------------------------------------------------------------------

    def _read(self, stream: BinaryIO) -> None:
        number = self._take_proven(stream)
        place = stream.seek(self.size)
        while line := stream.readline(LINE_LIMIT):
            number += 1
            record = self._parse(line)
            place += len(line)
            if record is None:
                self.tail.append(number)
                continue
            self.bad += self.tail
            self.tail.clear()
            self.take(record, line, place)
        self.torn = place - self.size

    def _take_proven(self, stream: BinaryIO) -> int:
        """Takes in what stands in front of the last mark, if it is what stood there then. Value: its lines."""
        end, before = _last_mark(stream)
        stream.seek(0)
        first = stream.readline(LINE_LIMIT) if before and end else b""
        record = self._parse(first)
        if record is None:
            return 0
        self._hold(record, 0)
        self._digest.update(first)
        place, text, found, lines = len(first) - 1, b"\n", 1, 1  # text: from ``place`` on, with a line end in front
        while block := stream.read(min(BLOCK, end - place - len(text))):
            self._digest.update(block)
            text += block
            cut = text.rfind(b"\n")
            found += self._hold_many(text[:cut], place)
            lines += text.count(b"\n", 0, cut)
            place, text = place + cut, text[cut:]
        if self._digest.digest() != before or text != b"\n" or found != lines:
            self._clear()
            return 0
        self.size = end
        return lines

    def take(self, record: _Record, line: bytes, size: int) -> None:
        """A good line, which ends at ``size``."""
        if self._digest is not None:
            self._digest.update(line)
        if self.size + len(line) != size:
            self._digest = None
        self.size = size
        self._hold(record, size - len(line))

    def digest(self, lines: Iterable[bytes] = ()) -> bytes:
        """What the next mark has as ``before``, behind these lines; nothing where a line of the index is damaged."""
        if self._digest is None:
            return b""
        digest = self._digest.copy()
        for line in lines:
            digest.update(line)
        return bytes(digest.digest())


def _last_mark(stream: BinaryIO) -> tuple[int, bytes]:
    """Where the line of the last mark begins, and its digest; nothing where it has none, or is far from the end."""
    start = max(0, stream.seek(0, os.SEEK_END) - BLOCK)
    stream.seek(start)
    text = stream.read()
    place = text.rfind(_MARK) + 1
    said = unsealed(text[place : text.find(b"\n", place) + 1]) or {}
    try:
        return start + place, bytes.fromhex(said.get("before", ""))
    except (ValueError, TypeError):
        return 0, b""  # written by a program that we are not
