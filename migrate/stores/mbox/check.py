"""The proof of a backup: every octet of every file and index is read, and what is not as it was stored is named."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import nullcontext
from hashlib import sha256
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

from ...model import BLOCK, display
from .. import disk
from ..base import DAMAGED, STEP, UNFINISHED, Finding, Proof, Step, Sum
from ..lock import patient_lock
from ..lost import Gone, Lost, Missing
from .age import Identity
from .index import Extent, Stored, count_entries, read_encrypted, stored
from .part import Part
from .pruned import NAME, Record
from .reader import parts_below
from .strangers import ours, pieces


def there_is(root: Path, identity: Identity | None = None) -> Sum:
    """What there is to be read, told in a moment. StoreError where it cannot be read."""
    messages = octets = 0
    with disk.translated(root):
        parts = parts_below(root)
        for part in parts:
            if part.index_path.exists() and (one := read_encrypted(part.index_path)):
                messages += 0 if identity is None else one.last + 1 - one.first
                octets += one.file.octets + one.index.octets + (0 if identity is None else one.octets)
            else:
                messages += count_entries(part.index_path) if part.has_index else 0
                octets += part.size()
        return Sum(len(parts), messages, octets)


def check(root: Path, identity: Identity | None = None, *, sleep: Callable[[float], None] = time.sleep) -> Proof:
    """Everything that is wrong below ``root``, file by file, and how far it is.

    Each octet is digested once: a backup counts a message only when what stands in the file gave the message back,
    octet for octet. So what still has the digest of that day still does. Of what is encrypted every octet is digested
    too, as it stands there; the messages in it are read where there is an ``identity``. What is missing is told when
    its folder was read to the end (stores.lost). Changes nothing. StoreError where it cannot be read.
    """
    files = messages = octets = unread = 0
    last: int | None = 0
    directory: Path | None = None
    lost = Lost()
    with disk.translated(root):
        for part in parts_below(root, identity):
            name = display(str(part.path.relative_to(root)) if part.path != root else part.path.name, 1000)
            part.forget()
            size = _snapshot(part, sleep)
            files += 1
            if directory != part.path.parent:
                yield from lost.told()
                directory, last, lost = part.path.parent, 0, Lost()
                yield from _record_faults(part, name)
            strangers = [] if part.is_locked else list(_strangers(part, name, size))
            gone = Gone(name, strangers, is_whole_file=not part.exists())
            octets += yield from _stored_faults(part, name)
            if part.has_index:
                yield from _gaps_before(part, name, last)
                gone.lines += _index_faults(part, name, last)
                if not gone.messages or part.head is None or size < part.index.reached:
                    yield from gone.lines
                    gone.lines.clear()
                # else no octet of the file is lost: those lines were of messages that are among the strangers.
                if not part.exists():
                    yield from _lost_file(part, gone)
                elif not part.is_locked:
                    yield from _message_faults(part, name, size, gone, lost)
                last = part.last if part.index.reached <= part.index.end else None
            if part.is_locked:
                unread += len(part.index) if part.has_index else 0
            else:
                octets += size
                messages += len(part.index) if part.has_index else 0
            lost.add(gone)
            part.forget()  # the indexes of a large backup are not held all at once
        yield from lost.told()
    return Sum(files, messages, octets, unread)


def _snapshot(part: Part, sleep: Callable[[float], None]) -> int:
    """The size of the file when the index was read, with no run between them."""
    with patient_lock(part.path.parent, sleep, shared=True):
        if part.has_index:
            _ = part.index
        return part.size()


def _gaps_before(part: Part, name: str, last: int | None) -> Iterator[Finding]:
    """``last``: the highest uid of the file before; None where its index has lost it, which was told."""
    head = part.index.head
    if head is not None and last is not None:
        for one in Record(part.path.parent).all:
            if last < one.first <= head.first and one.pruned != part.path.name:
                yield from _gap(name.removesuffix(part.path.name) + display(one.pruned), one.after, last)
                last = max(last, one.last)
        yield from _gap(name, head.after, last)


def _index_faults(part: Part, name: str, last: int | None) -> Iterator[Finding]:
    index = part.index
    for number in index.bad:
        yield Finding(name, None, None, "", f"line {number} of its index is damaged")
    for number in index.tail:
        yield Finding(name, None, None, "", f"line {number} of its index is damaged, or {UNFINISHED}")
    if index.head is None and not index.bad and not index.tail:
        yield Finding(name, None, None, "", "its index is empty")
    expected = index.head.first if index.head is not None else (last or 0) + 1
    for uid in index.uids:
        if uid != expected:
            yield Finding(name, None, expected, "", f"missing in its index: uids {expected} to {uid - 1}")
        expected = uid + 1
    if index.reached > index.end:
        yield Finding(name, index.end, expected, "", f"missing in its index: uid {expected}, perhaps more behind it")


def _record_faults(part: Part, name: str) -> Iterator[Finding]:
    for number in Record(part.path.parent).bad:
        file = name.removesuffix(part.path.name) + NAME
        yield Finding(file, None, None, "", f"line {number} is damaged: which file was deleted cannot be read")


def _gap(name: str, after: int, last: int) -> Iterator[Finding]:
    if after != last:
        low, high = sorted((after, last))
        yield Finding(name, None, low + 1, "", f"missing: uids {low + 1} to {high}, before this file")


def _stored_faults(part: Part, name: str) -> Generator[Finding | Step, None, int]:
    """What is wrong with the files of one that is encrypted, as they stand there. Value: the octets that were read."""
    one, read = part.encrypted, 0
    for number in part.bad_lines:
        yield Finding(name, None, None, "", f"line {number} of its index is damaged")
    if one is None:
        if part.is_hidden:
            yield Finding(name, None, None, "", "what its index says of the encrypted file is missing or damaged")
        return 0
    what = f"; messages in it: {one.last + 1 - one.first:,}, uids {one.first} to {one.last}"
    for path, known in ((part.age_path, one.file), (part.age_index_path, one.index)):
        found = stored(path) if path.exists() else Stored(0, "")
        read += found.octets
        if found != known:
            state = DAMAGED if path.exists() else "missing: the whole file"
            yield Finding(name.removesuffix(part.path.name) + display(path.name), None, one.first, "", state + what)
        yield Step(0, found.octets)
    return read


def _lost_file(part: Part, gone: Gone) -> Iterator[Step]:
    """Everything that its index knows goes to ``gone``."""
    # Without the key nobody can tell which messages they were.
    exacts = repeat(b"") if part.is_locked else (entry.exact if entry else b"" for _, entry in part.index.entries())
    for uid, exact in zip(part.index.uids, exacts, strict=False):
        gone.messages.append(Missing(exact, Finding(gone.file, None, uid, "", "")))
    if gone.messages:
        yield Step(len(gone.messages), 0)


def _message_faults(part: Part, name: str, size: int, gone: Gone, lost: Lost) -> Iterator[Finding | Step]:
    """What is wrong with each message, and how far it is. What is missing goes to ``gone``."""
    index = part.index
    messages = octets = 0
    faulty: set[int] = set()
    with _opened(part.path) as stream:
        for number, extent in enumerate(index.extents()):
            what = "damaged: its line of the index cannot be read any more"
            if extent is not None:
                what = yield from _fault(_stored(part, stream, extent), extent, size)
                octets += extent.length % STEP
            if what:
                faulty.add(number)
                found = _finding(part, name, number, what if number < index.marked else UNFINISHED)
                if extent is None or extent.end <= size or number >= index.marked:
                    yield found
                else:
                    gone.messages.append(Missing(bytes.fromhex(found.message), found))
            messages += 1
            if octets >= STEP or messages >= 1000:
                yield Step(messages, octets)
                messages = octets = 0
    if messages:
        yield Step(messages, octets)
    if lost:
        for number, entry in index.entries():
            if entry is not None and number < index.marked and number not in faulty:
                lost.found(entry.exact)


def _opened(path: Path) -> nullcontext[None] | BinaryIO:
    """The file, opened once for all its messages; None where it is compressed, or lost and its index left."""
    return path.open("rb", buffering=BLOCK) if path.exists() else nullcontext()


def _stored(part: Part, stream: BinaryIO | None, extent: Extent) -> Iterator[bytes]:
    if stream is None:
        yield from part.read(extent.offset, extent.end)
        return
    if stream.tell() != extent.offset:
        stream.seek(extent.offset)
    left = extent.length
    while left > 0 and (block := stream.read(min(BLOCK, left))):
        left -= len(block)
        yield block


def _fault(blocks: Iterator[bytes], extent: Extent, size: int) -> Generator[Step, None, str]:
    """What is wrong with the octets of a message; nothing where they are whole. A Step after every STEP octets."""
    if extent.end > size:
        there = max(0, size - extent.offset)
        return f"missing: {extent.length - there:,} of its {extent.length:,} octets, the file ends before them"
    digest, octets = sha256(), 0
    for block in blocks:
        digest.update(block)
        before, octets = octets, octets + len(block)
        if before // STEP != octets // STEP:
            yield Step(0, STEP)
    return "" if digest.digest() == extent.stored else DAMAGED


def _finding(part: Part, name: str, number: int, what: str) -> Finding:
    entry = part.index.entry(number)
    message = entry.exact.hex() if entry is not None else ""
    return Finding(name, part.index.offsets[number], part.index.uids[number], message, what)


def _strangers(part: Part, name: str, size: int) -> Iterator[Missing]:
    for start, end in part.strangers(size):
        for offset, stop in pieces(part, start, end):
            if stop > offset:
                what = f"extra: {stop - offset:,} octets that the index does not know"
                exact = sha256()
                for block in ours(part, offset, stop):
                    exact.update(block)
                yield Missing(exact.digest(), Finding(name, offset, None, "", what))
