"""Compresses the files of a backup that are over: the month changes no more, and every octet of it can still be had.

Nothing goes before what takes its place was read back and found to be what the index says: the compressed file is
made under another name, durably, read, renamed, durably, and then the mbox file goes. Killed between the two, both
are there, and the next run compresses anew.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from ...model import display
from .. import disk
from ..lock import Busy, patient_lock
from .closed import fault_of, parts_in, period_of
from .lock import file_lock
from .packed import Packed, pack
from .part import Part, indexes_below


@dataclass(frozen=True, slots=True)
class Compressed:
    """One file, and its octets before and after."""

    file: str
    octets: int
    packed: int


def compress(
    root: Path,
    notices: list[tuple[str, bytes]],
    *,
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Compressed]:
    """Every file that was compressed. The newest of a folder stays, whatever its month, and what is not whole."""
    today = datetime.fromtimestamp(clock(), UTC).date()
    with disk.translated(root):
        for directory in sorted({path.parent for path in indexes_below(root)}):
            with patient_lock(directory, sleep, shared=False):
                for part in parts_in(directory)[:-1]:
                    period = period_of(part)
                    if period is None or period[1] > today or not part.path.exists() or fault_of(part):
                        continue
                    try:
                        with file_lock(part.path, notices):
                            name = display(str(part.path.relative_to(root)), 1000)
                            if _pack(part):
                                yield Compressed(name, part.size(), disk.size_of(part.packed_path))
                            else:
                                notices.append(
                                    (f"{name} is damaged and is not compressed; popferry verify names what", b"")
                                )
                    except Busy:
                        continue  # of another program; tomorrow is another night


def _pack(part: Part) -> bool:
    """Whether the compressed file has taken the place of the other one."""
    made = part.path.with_name(part.packed_path.name + ".part")
    made.unlink(missing_ok=True)
    try:
        pack(part.path, made)
        if not is_whole(part, Packed(made)):
            return False
        os.rename(made, part.packed_path)
    finally:
        made.unlink(missing_ok=True)
    disk.sync_directory(part.path.parent)
    disk.remove(part.path)
    return True


def is_whole(part: Part, packed: Packed) -> bool:
    """Whether every message of the index comes out of it, octet for octet, and nothing else is in it."""
    for _, entry in part.index.entries():
        digest = sha256()
        for block in packed.read(entry.offset, entry.end) if entry else ():
            digest.update(block)
        if entry is None or digest.digest() != entry.stored:
            return False
    return packed.size == part.index.end
