"""A mailbox as a directory of parts: which one is written to, and what is done about what a crash left there.

Only the newest part is ever written to. What stands behind its last mark is of an Append that was not answered:

    entries without their octets, or a beginning of them     cut away, with zeros behind: nobody was told of them
    entries with all their octets                            kept, and marked
    anything else                                            not ours: left alone, the next part is begun
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from ...errors import MailboxError
from ...model import MailboxName, display
from .. import disk
from ..dirnames import name_of
from .age import Identity
from .index import SUFFIX, Head, Mark
from .lock import file_lock
from .part import MBOX, Part
from .pruned import Record

LAYOUTS: dict[str, str] = {"month": "%Y-%m", "year": "%Y", "one": "all"}
# A damaged index may have given uids that it does not show any more: they are not given again.
JUMP = 1_000_000

_PLAIN = re.compile(r"[^\w @+,=~-]", re.ASCII)
# What a program that knows nothing of us appends: never part of a line of ours that was torn off.
_STRANGE = re.compile(
    rb"\nFrom |From \S+ +(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun) +(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
)
_STRANGE_OCTETS = 400

Notices = list[tuple[str, bytes]]
Parts = dict[Path, Part]  # what was read of files, by their paths; an index of another size is read anew


class Folder:
    """One mailbox below ``root``. Every method that writes needs ``run_lock`` on ``directory``."""

    def __init__(
        self,
        root: Path,
        mailbox: MailboxName,
        *,
        layout: str,
        clock: Callable[[], float],
        notices: Notices,
        floor: int = 0,
        identity: Identity | None = None,
        parts: Parts | None = None,
    ) -> None:
        self.mailbox = mailbox
        self.directory = self.place(root, mailbox)
        self.parts: list[Part] = []  # by uid, the newest last
        self._layout = LAYOUTS[layout]
        self._clock = clock
        self._notices = notices
        self._known: Parts = {} if parts is None else parts
        self._floor = floor  # a uid that somebody remembers, though files that were put back may not
        self._identity = identity

    @staticmethod
    def place(root: Path, mailbox: MailboxName) -> Path:
        """The directory of a mailbox. MailboxError when it can have none."""
        return root.joinpath(*(name_of(level, _encoded, mark=b".") for level in mailbox.levels))

    # --- reading ----------------------------------------------------------------------------

    def exists(self) -> bool:
        return any(self.directory.glob("*" + MBOX + SUFFIX))

    def refresh(self) -> None:
        """Takes in what other runs have written."""
        paths = {path.with_suffix("") for path in self.directory.glob("*" + MBOX + SUFFIX)}
        stale = [part for part in self.parts[-1:] if part.is_stale()]
        for part in stale:
            part.forget()
        if paths != {part.path for part in self.parts} or stale:
            self.parts = sorted(map(self._part, paths), key=lambda part: (part.first, part.path.name))

    def _part(self, path: Path) -> Part:
        part = self._known.setdefault(path, Part(path, self._identity))
        if part.is_stale():
            part.forget()
        return part

    @property
    def uidvalidity(self) -> int:
        return next((part.head.uidvalidity for part in reversed(self.parts) if part.head is not None), 0)

    @property
    def uidnext(self) -> int:
        return max(self._floor, self.parts[-1].last if self.parts else 0) + 1

    def uids(self, low: int = 1) -> Iterator[int]:
        """Every uid from ``low`` on whose message is there, ascending."""
        for part, above in zip(self.parts, [*self.parts[1:], None], strict=True):
            if above is not None and above.first <= low:
                continue
            size, index = part.size(), part.index
            for at in range(bisect_left(index.uids, low), index.marked):
                if index.ends[at] <= size:
                    yield index.uids[at]

    @property
    def messages(self) -> int:
        """How many there are, by the heads: the indexes of old parts are not read for it."""
        ends = [part.head.after if part.head else 0 for part in self.parts[1:]]
        ends += [part.last for part in self.parts[-1:]]
        held = [range(part.first, end + 1) for part, end in zip(self.parts, ends, strict=True)]
        gone = [one for one in Record(self.directory).all if not Part(self.directory / one.pruned).exists()]
        return sum(map(len, held)) - sum(one.messages for one in gone if any(one.first in uids for uids in held))

    # --- writing ----------------------------------------------------------------------------

    def make(self) -> None:
        """Makes the mailbox, where there is none."""
        disk.make_directory(self.directory)
        if not self.exists():
            self._begin(first=self.uidnext)
        self.refresh()

    def tail(self) -> Part:
        """The part that takes the next message, whole and marked to its end."""
        self.refresh()
        if not self.parts:
            raise MailboxError(f"the mailbox {self.mailbox} does not exist")
        self._settle()
        part = self.parts[-1]
        return part if self._is_current(part) else self._begin(first=self.uidnext)

    def settle(self) -> None:
        """Puts right what a crash left; the part of a new month is not begun yet."""
        self.refresh()
        self._settle()

    def _settle(self) -> None:
        if why := self._mend(self.parts[-1]):
            part = self._begin(first=self.uidnext + JUMP)
            self._notices.append((f"{why}; it is left as it is, and {part.path.name} goes on", b""))

    def _period(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime(self._layout)

    def _is_current(self, part: Part) -> bool:
        return part.path.name.removesuffix(MBOX).partition(".")[0] == self._period()

    def _begin(self, *, first: int) -> Part:
        """A new part of this period, under the first name that nobody has."""
        if self.parts:
            _sync(self.parts[-1].index_path)  # nobody looks at its last mark again
        period, number, record = self._period(), 1, Record(self.directory)
        while True:
            part = Part(self.directory / (period + (f".{number}" if number > 1 else "") + MBOX))
            number += 1
            # A name stands for one file for ever: also where a clock went back to the month of one that is deleted.
            if part.exists() or part.index_path.exists() or record.names(part.path.name):
                continue
            after = max(0, self.parts[-1].last) if self.parts else 0
            # Seconds since the epoch: a mailbox that is made again has another one (RFC 3501 §2.3.1.1).
            uidvalidity = self.uidvalidity or max(1, int(self._clock()))
            disk.create(part.index_path, Head(self.mailbox, uidvalidity, first, after).line())
            disk.create(part.path)
            self.refresh()
            return self.parts[-1]

    # --- after a crash ----------------------------------------------------------------------

    def _mend(self, part: Part) -> str:
        """Why the part can take no message, or nothing; then it ends with its last mark."""
        index = part.index
        name = display(part.path.name)
        if index.head is None or index.bad:
            return f"the index of {name} is damaged"
        if not part.path.exists():
            if part.exists():
                return f"{name} is {'encrypted' if part.encrypted else 'compressed'}"
            if index.uids:
                return f"{name} is missing"
            disk.create(part.path)
        size = part.size()
        is_torn = bool(index.tail) or disk.size_of(part.index_path) != index.size
        if index.marked == len(index) and size == index.end and not is_torn:
            return ""
        with file_lock(part.path, self._notices):
            kept = self._accept(part, size)
            end = index.ends[kept - 1] if kept else 0
            if kept < index.marked:
                return f"{name} is shorter than its index says"
            surplus = size - end
            is_ours = not surplus or (kept < len(index) and self._is_torn(part, kept, end, size))
            if surplus and kept == len(index) and is_torn:
                if kept > index.marked:
                    self._mark(part, end)  # what the index still knows is there, and found whole
                return f"the index of {name} is damaged"
            if surplus and is_ours:
                # Before the index: without its entry nobody would know that it is ours.
                if disk.cut(part.path, end, size):
                    what = f"Cut {surplus:,} octets of an unfinished message from the end of {name}"
                    self._notices.append((what, b""))
                else:
                    is_ours, surplus = False, part.size() - end
            disk.cut(part.index_path, index.drop(kept), disk.size_of(part.index_path))
            index.tail.clear()
            self._mark(part, end)
        return "" if is_ours else f"{name} holds {surplus:,} octets that popferry did not write"

    def _accept(self, part: Part, size: int) -> int:
        """How many entries, from the first, have their octets in the file. Those behind the last mark are read."""
        index = part.index
        count = index.marked if not index.marked or index.ends[index.marked - 1] <= size else index.marked - 1
        if count < index.marked:
            return count
        for _, entry in index.entries(index.marked):
            end = index.ends[count - 1] if count else 0
            if entry is None or entry.offset != end or entry.end > size or not part.is_whole(entry):
                break
            count += 1
        return count

    def _is_torn(self, part: Part, kept: int, end: int, size: int) -> bool:
        """Whether what stands behind ``end`` is the beginning of the next message of ours, and nothing else but zeros.

        Some disks give a file its size before its octets, and show zeros after a power cut.
        """
        entry = part.index.entry(kept)
        if entry is None or entry.offset != end or size > part.index.end:
            return False
        size = _without_zeros(part.path, end, size)
        if size - end >= entry.length:
            return False
        line = entry.from_line
        before = b""
        for number, block in enumerate(disk.read(part.path, end, size)):
            if not number:
                if block[: len(line)] != line[: len(block)]:
                    return False
                block = block[len(line) :]
            if _STRANGE.search(before + block):
                return False
            before = (before + block)[-_STRANGE_OCTETS:]
        return True

    def _mark(self, part: Part, end: int) -> None:
        """Says durably that the part is whole up to there, after making it so."""
        _sync(part.path)
        size = disk.size_of(part.index_path)
        is_ended = b"".join(disk.read(part.index_path, size - 1, size)) == b"\n"
        mark = part.index.mark(end) if size == part.index.size else Mark(end)  # a damaged line stands in front of it
        disk.append(part.index_path, [b"" if is_ended else b"\n", mark.line()])
        part.index.take(mark, mark.line(), disk.size_of(part.index_path))


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        disk.sync(stream.fileno())


def find_lost(root: Path, mailbox: MailboxName, uids: Iterable[int], parts: Parts | None = None) -> list[int]:
    """Those of these uids that are not there, ascending, without a person having deleted the file they stood in."""
    folder = Folder(root, mailbox, layout="month", clock=float, notices=[], parts=dict(parts or {}))
    with disk.translated(root):
        folder.refresh()
        there = set(folder.uids())
        return sorted(Record(folder.directory).without(set(uids) - there, folder.uidvalidity))


def _without_zeros(path: Path, start: int, end: int) -> int:
    """Where the octets between end, if the zeros behind them do not count."""
    place = last = start
    for block in disk.read(path, start, end):
        kept = len(block.rstrip(b"\0"))
        last = place + kept if kept else last
        place += len(block)
    return last


def _encoded(level: str) -> bytes:
    """A level of the name as the name of a directory: no separator, no dot, nothing that a shell or a disk minds."""
    text = "".join(char if char.isalpha() or not _PLAIN.match(char) else _escaped(char) for char in level)
    return text.encode()


def _escaped(char: str) -> str:
    return "".join(f"%{octet:02X}" for octet in char.encode("utf-8"))
