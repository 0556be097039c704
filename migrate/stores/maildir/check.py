"""The proof of a backup in a Maildir: every file that was stored is read, and what is not as it was stored is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from ...model import BLOCK, display
from ...wire.maildir import message_lines
from .. import disk
from ..base import DAMAGED, STEP, UNFINISHED, Finding, Proof, Step, Sum, watched
from ..dirnames import directories_below
from ..lock import patient_lock
from ..lost import Gone, Lost, Missing
from .files import Files
from .folder import LOCK
from .index import INDEX, Entry, Index, Kind, lengths

MISSING = "missing: another program removed it, or moved it to another folder"


def there_is(root: Path) -> Sum:
    """What there is to be read, told in a moment. StoreError where it cannot be read."""
    with disk.translated(root):
        indexes = [directory / INDEX for directory in directories_below(root) if (directory / INDEX).exists()]
        stored = [length for index in indexes for length in lengths(index)]
        return Sum(len(stored), len(stored), sum(stored))


def check(root: Path, *, sleep: Callable[[float], None] = time.sleep) -> Proof:
    """Everything that is wrong below ``root``, folder by folder, and how far it is.

    Flags may change and files move from new/ to cur/; messages that somebody else delivered are not ours to prove.
    Changes nothing. StoreError where it cannot be read.
    """
    files = messages = octets = 0
    with disk.translated(root):
        for directory in directories_below(root):
            if not (directory / INDEX).exists():
                continue
            place = directory.relative_to(root)
            found = Files(directory)
            with patient_lock(directory, sleep, shared=True, name=LOCK):
                found.look()
                index = Index(directory / INDEX)
            yield from _index_faults(index, place)
            read = yield from _message_faults(index, found, place)
            files, messages, octets = files + read.files, messages + read.messages, octets + read.octets
    return Sum(files, messages, octets)


def _message_faults(index: Index, found: Files, place: Path) -> Proof:
    """What is wrong with each message, and how far it is; what is missing, when all were read (stores.lost)."""
    files = messages = octets = 0
    lost = Lost()
    told = Step(0, 0)
    for at, entry in index.entries():
        if index.kind(at) in (Kind.GUEST, Kind.VOID):
            continue
        messages += 1
        if entry is not None:
            size, what, name = _judged(found, index.uniques[at], entry)
            files, octets = files + bool(size), octets + size
            is_stored = index.kind(at) is Kind.STORED
            if what:
                told_of = display(str(place / name), 1000)
                finding = Finding(told_of, None, entry.uid, entry.exact.hex(), what if is_stored else UNFINISHED)
                if what == MISSING and is_stored:
                    lost.add(Gone(told_of, [Missing(entry.exact, finding)]))
                else:
                    yield finding
            elif is_stored:
                lost.found(entry.exact)
        if octets - told.octets >= STEP or messages - told.messages >= 1000:
            yield Step(messages - told.messages, octets - told.octets)
            told = Step(messages, octets)
    if messages > told.messages:
        yield Step(messages - told.messages, octets - told.octets)
    yield from lost.told()
    return Sum(files, messages, octets)


def _index_faults(index: Index, place: Path) -> Iterator[Finding]:
    name = display(str(place / INDEX), 1000)
    for number in index.bad:
        yield Finding(name, None, None, "", f"line {number} is damaged")
    for number in index.tail:
        yield Finding(name, None, None, "", f"line {number} is damaged, or {UNFINISHED}")
    if index.head is None and not index.bad and not index.tail:
        yield Finding(name, None, None, "", "it is empty")


def _judged(files: Files, unique: str, entry: Entry) -> tuple[int, str, str]:
    """Octets of a file, what is wrong with it or nothing, and its name below the folder."""
    with files.open(unique) as opened:
        if opened is None:
            return 0, MISSING, entry.name
        stored, exact = sha256(), sha256()
        size = octets = 0
        raw = watched(iter(lambda: opened.stream.read(BLOCK), b""), stored.update)
        for block in message_lines(raw, entry.line_ends):
            exact.update(block)
            octets += len(block)
        size = opened.stream.tell()
        is_whole = (stored.digest(), exact.digest(), octets) == (entry.stored, entry.exact, entry.octets)
        return size, "" if is_whole else DAMAGED, opened.name
