"""The proof of a backup: every octet of every file and index is read, and what is not as it was stored is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...model import display
from ...wire.mbox import decode
from . import disk
from .closed import patient_lock
from .index import Entry
from .part import Part, body
from .pruned import NAME, Record
from .reader import parts_below


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was stored. ``message`` is the SHA-256 that it had."""

    file: str
    offset: int | None
    uid: int | None
    message: str
    what: str


@dataclass(frozen=True, slots=True)
class Sum:
    """What was read."""

    files: int
    messages: int
    octets: int  # of the files


UNFINISHED = "an interrupted backup left it unfinished; the next one puts that right"


def check(root: Path, *, sleep: Callable[[float], None] = time.sleep) -> Generator[Finding | None, None, Sum]:
    """Everything that is wrong below ``root``, file by file; None after each message, where one may stop.

    Changes nothing. StoreError where it cannot be read.
    """
    files = messages = octets = 0
    before: Part | None = None
    with disk.translated(root):
        for part in parts_below(root):
            name = display(str(part.path.relative_to(root)) if part.path != root else part.path.name, 1000)
            part.forget()
            size = _snapshot(part, sleep)
            files, octets = files + 1, octets + size
            if before is None or before.path.parent != part.path.parent:
                before = None
                yield from _record_faults(part, name)
            if part.has_index:
                yield from _index_faults(part, name, before)
                for number, entry in part.index.entries():
                    messages += 1
                    if entry is not None:
                        yield from _message_faults(part, name, entry, size, is_marked=number < part.index.marked)
                    yield None
                before = part
            yield from _strangers(part, name, size)
    return Sum(files, messages, octets)


def _snapshot(part: Part, sleep: Callable[[float], None]) -> int:
    """The size of the file when the index was read, with no run between them."""
    with patient_lock(part.path.parent, sleep, shared=True):
        if part.has_index:
            _ = part.index
        return part.size()


def _index_faults(part: Part, name: str, before: Part | None) -> Iterator[Finding]:
    index = part.index
    for number in index.bad:
        yield Finding(name, None, None, "", f"line {number} of its index is damaged")
    for number in index.tail:
        yield Finding(name, None, None, "", f"line {number} of its index is damaged, or {UNFINISHED}")
    if index.head is None:
        if not index.bad and not index.tail:
            yield Finding(name, None, None, "", "its index is empty")
        return
    last = before.last if before is not None else 0
    for one in Record(part.path.parent).all:
        if last < one.first <= index.head.first and one.pruned != part.path.name:
            yield from _gap(name.removesuffix(part.path.name) + display(one.pruned), one.after, last)
            last = max(last, one.last)
    yield from _gap(name, index.head.after, last)
    expected = index.head.first
    for uid in index.uids:
        if uid != expected:
            yield Finding(name, None, expected, "", f"missing in its index: uids {expected} to {uid - 1}")
        expected = uid + 1


def _record_faults(part: Part, name: str) -> Iterator[Finding]:
    for number in Record(part.path.parent).bad:
        file = name.removesuffix(part.path.name) + NAME
        yield Finding(file, None, None, "", f"line {number} is damaged: which file was deleted cannot be read")


def _gap(name: str, after: int, last: int) -> Iterator[Finding]:
    if after != last:
        low, high = sorted((after, last))
        yield Finding(name, None, low + 1, "", f"missing: uids {low + 1} to {high}, before this file")


def _message_faults(part: Part, name: str, entry: Entry, size: int, *, is_marked: bool) -> Iterator[Finding]:
    what = ""
    if entry.end > size:
        there = max(0, size - entry.offset)
        what = f"missing: {entry.length - there:,} of its {entry.length:,} octets, the file ends before them"
    else:
        stored, exact = sha256(), sha256()
        octets = 0
        for block in decode(body(_fed(part.read(entry.offset, entry.end - 1), stored.update)), entry.note):
            exact.update(block)
            octets += len(block)
        stored.update(b"".join(part.read(entry.end - 1, entry.end)))
        if stored.digest() != entry.stored or exact.digest() != entry.exact or octets != entry.octets:
            what = "damaged: its octets are not those that were stored"
    if what:
        yield Finding(name, entry.offset, entry.uid, entry.exact.hex(), what if is_marked else UNFINISHED)


def _strangers(part: Part, name: str, size: int) -> Iterator[Finding]:
    for start, end in part.strangers(size) if part.has_index else [(0, size)]:
        for offset, stop in part.split(start, end):
            if stop > offset:
                what = f"extra: {stop - offset:,} octets that the index does not know"
                yield Finding(name, offset, None, "", what)


def _fed(blocks: Iterator[bytes], watch: Callable[[bytes], object]) -> Iterator[bytes]:
    for block in blocks:
        watch(block)
        yield block
