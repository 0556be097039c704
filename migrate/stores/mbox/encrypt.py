"""Encrypts the files of a backup that are over, for people whose secret keys are elsewhere.

    INBOX/2026-10.mbox.zst.age      the compressed file
    INBOX/2026-10.mbox.index.age    its index
    INBOX/2026-10.mbox.index        in the place of the index: two lines that say what has to be known without the key

Nobody here can read what was encrypted, and yet nothing goes before it was read back: each file is made with one more
key, which lives in this process alone and for this file alone (``age.encrypt``). With that key every message of the
index is read out of the encrypted file, under the name that it has until then. Then, each step durable:

1. both encrypted files get their names; 2. the two lines take the place of the index; 3. the compressed file goes.

Killed before the second step, everything is as it was, and the next run encrypts anew. Killed after it, the next run
removes the compressed file, if both encrypted ones are still what they were.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ...model import BLOCK, MailboxName, display
from .. import disk
from ..lock import patient_lock
from .age import Identity
from .age import encrypt as encrypt_file
from .closed import ELSEWHERE, NOT_READ_BACK, fault_of, go_on, is_elsewhere, parts_in, period_of, span_of
from .compress import Compressed, compress, is_whole
from .folder import Notices
from .index import Encrypted, stored
from .lock import forget_dotlock
from .packed import Packed
from .part import Part, indexes_below


@dataclass(frozen=True, slots=True)
class Hidden:
    """One file that was encrypted, and the messages in it."""

    file: str
    messages: int
    octets: int  # of both encrypted files


def encrypt(
    root: Path,
    recipients: Sequence[str],
    notices: Notices,
    *,
    unproven: Mapping[MailboxName, int],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Compressed | Hidden]:
    """Every file that was compressed, then every one that was encrypted. StoreError where the disk refuses.

    Whatever is over, also the newest file of a folder: the next one is begun before. ``unproven``: by mailbox the
    lowest uid that nobody has read back yet; its file waits.
    """
    today = datetime.fromtimestamp(clock(), UTC).date()
    with disk.translated(root):
        directories = sorted({path.parent for path in indexes_below(root)})
        for directory in directories:
            with patient_lock(directory, sleep, shared=False):
                newest = parts_in(directory)[-1]
                period = period_of(newest)
                if period and period[1] <= today and len(newest.index) and not _reason(root, newest, unproven):
                    go_on(root, newest, clock, notices)
        yield from compress(root, notices, clock=clock, sleep=sleep)
        for directory in directories:
            with patient_lock(directory, sleep, shared=False):
                for part in parts_in(directory)[:-1]:
                    if len(part.index):
                        yield from _treat(root, part, recipients, notices, unproven)


def _reason(root: Path, part: Part, unproven: Mapping[MailboxName, int]) -> str:
    """Why a file that is over stays as it is; nothing where it may be encrypted."""
    if fault := fault_of(part):
        return fault
    assert part.head is not None
    if part.last >= unproven.get(part.head.mailbox, part.last + 1):
        return NOT_READ_BACK
    return ELSEWHERE if is_elsewhere(root, part) else ""


def _treat(
    root: Path, part: Part, recipients: Sequence[str], notices: Notices, unproven: Mapping[MailboxName, int]
) -> Iterator[Hidden]:
    name = display(str(part.path.relative_to(root)), 1000)
    if not part.path.exists():
        forget_dotlock(part.path)  # of a run that was killed when it had compressed
    if one := part.encrypted:
        _finish(part, one, name, notices)
        return
    reason = _reason(root, part, unproven)
    if not reason and part.path.exists():
        reason = "it could not be compressed"  # it was told why, or another program holds it
    if not reason and (one := _encrypt(part, recipients)):
        yield Hidden(name, len(part.index), one.file.octets + one.index.octets)
    else:
        reason = reason or "it is damaged; popferry verify names what"
        notices.append((f"{name} is not encrypted: {reason}", b""))


def _encrypt(part: Part, recipients: Sequence[str]) -> Encrypted | None:
    """What is said of it from now on; None where not every message of it comes out of the encrypted file."""
    made, made_index = (path.with_name(path.name + ".part") for path in (part.age_path, part.age_index_path))
    for path in (made, made_index):
        path.unlink(missing_ok=True)
    try:
        witness = encrypt_file(part.packed_path, made, recipients)
        if not is_whole(part, Packed(made, witness.plain(made).open)):
            return None
        witness = encrypt_file(part.index_path, made_index, recipients)
        if not _is_same(part.index_path, made_index, witness):
            return None
        one = _said(part, made, made_index)
        os.rename(made, part.age_path)
        os.rename(made_index, part.age_index_path)
    finally:
        for path in (made, made_index):
            path.unlink(missing_ok=True)
    disk.sync_directory(part.path.parent)
    assert part.head is not None
    disk.replace(part.index_path, part.head.line() + one.line())
    disk.remove(part.packed_path)
    return one


def _is_same(path: Path, made: Path, witness: Identity) -> bool:
    with path.open("rb") as here, witness.plain(made).open() as there:
        while (block := here.read(BLOCK)) == there.read(BLOCK):
            if not block:
                return True
    return False


def _said(part: Part, made: Path, made_index: Path) -> Encrypted:
    since, until = span_of(part)
    assert part.head is not None
    assert since is not None
    assert until is not None
    return Encrypted(
        first=part.head.first,
        last=part.last,
        octets=part.size(),
        since=since.isoformat(),
        until=until.isoformat(),
        file=stored(made),
        index=stored(made_index),
    )


def _finish(part: Part, one: Encrypted, name: str, notices: Notices) -> None:
    """Removes the compressed file that a killed run left behind."""
    if not part.packed_path.exists():
        return
    try:
        is_there = stored(part.age_path) == one.file and stored(part.age_index_path) == one.index
    except FileNotFoundError:
        is_there = False
    if is_there:
        disk.remove(part.packed_path)
    else:
        notices.append((f"{name} is encrypted and damaged; what it was made of is kept, {part.packed_path.name}", b""))
