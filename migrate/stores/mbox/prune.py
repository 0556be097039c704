"""Deletes whole files of a backup that are over, oldest first; nothing else in the program makes a backup smaller.

A file is over when its month (or year) is, in UTC. For each, in this order, so that a kill anywhere leaves what the
next prune, backup or proof understands:

1. the locks that mail programs honour, and a look whether the file is what its index says;
2. its line in the record (stores.mbox.pruned), durable;
3. the mbox file goes, durable; 4. its index goes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from ...model import MailboxName, display
from .. import disk
from ..lock import Busy, patient_lock
from .closed import (
    ELSEWHERE,
    FAULTY,
    NOT_READ_BACK,
    UNKNOWN,
    fault_of,
    go_on,
    is_elsewhere,
    parts_in,
    period_of,
    span_of,
)
from .lock import file_lock, forget_dotlock
from .part import Part, indexes_below
from .pruned import Pruned, Record

ONE_FILE = "it is one file for all time (--layout one), which is never over"


@dataclass(frozen=True, slots=True)
class Rule:
    """Which files go. ``before``: those of a month that was over by that day; ``keep``: all but the newest months."""

    before: date | None = None
    keep: int | None = None


@dataclass(frozen=True, slots=True)
class Old:
    """A file that goes, or would. ``since`` and ``until`` are the internal dates of its messages, None without any."""

    file: str
    messages: int
    octets: int
    since: datetime | None
    until: datetime | None


@dataclass(frozen=True, slots=True)
class Spared:
    """A file that the rule would take, and why it stays."""

    file: str
    reason: str


def prune(
    root: Path,
    rule: Rule,
    *,
    is_real: bool,
    unproven: Mapping[MailboxName, int],
    clock: Callable[[], float] = time.time,
    sleep: Callable[[float], None] = time.sleep,
    notices: list[tuple[str, bytes]] | None = None,
) -> Iterator[Old | Spared]:
    """Every file that goes, after it went; where not ``is_real``, those that would. StoreError where that cannot be.

    ``unproven``: by mailbox the lowest uid that nobody has read back yet.
    """
    with disk.translated(root):
        for directory in sorted({path.parent for path in indexes_below(root)}):
            with ExitStack() as held:
                held.enter_context(patient_lock(directory, sleep, shared=not is_real))
                one = _Mailbox(root, directory, clock, [] if notices is None else notices)
                yield from one.prune(rule, unproven) if is_real else one.plan(rule, unproven)


def newest_day(root: Path) -> date | None:
    """The last day of the newest month (or year) that a file of the backup is of; None where none is of any."""
    with disk.translated(root):
        found = (period_of(Part(path.with_suffix(""))) for path in indexes_below(root))
        return max((period[1] - timedelta(days=1) for period in found if period), default=None)


def has_periods(root: Path) -> bool:
    """Whether any file of the backup is of a month or a year."""
    return newest_day(root) is not None


class _Mailbox:
    """The files of one directory. Under its run lock."""

    def __init__(
        self, root: Path, directory: Path, clock: Callable[[], float], notices: list[tuple[str, bytes]]
    ) -> None:
        self._root, self._directory, self._clock, self._notices = root, directory, clock, notices
        self._record = Record(directory)
        parts = parts_in(directory)
        self._leftover = [part for part in parts if not part.exists() and self._record.names(part.path.name)]
        self._parts = [part for part in parts if part not in self._leftover]

    def plan(self, rule: Rule, unproven: Mapping[MailboxName, int]) -> Iterator[Old | Spared]:
        for part in self._taken(rule):
            reason = self._reason(part, unproven)
            yield Spared(self._name(part), reason) if reason else self._old(part)

    def prune(self, rule: Rule, unproven: Mapping[MailboxName, int]) -> Iterator[Old | Spared]:
        self._finish()
        for part in self._taken(rule):
            reason = self._reason(part, unproven)
            if not reason and part is self._parts[-1] and not go_on(self._root, part, self._clock, self._notices):
                reason = FAULTY
            old = None if reason else self._old(part)
            try:
                reason = reason or self._delete(part)
            except Busy as busy:
                reason = str(busy)
            yield Spared(self._name(part), reason) if reason or old is None else old

    def _finish(self) -> None:
        """What a killed prune left behind of files that are gone."""
        for part in self._leftover:
            for path in (part.age_index_path, part.index_path):
                disk.remove(path)
        for one in self._record.all:
            path = self._directory / one.pruned
            if not path.exists():
                forget_dotlock(path)

    # --- which ------------------------------------------------------------------------------

    def _taken(self, rule: Rule) -> list[Part]:
        """The files that the rule takes, oldest first. Those of no period are taken too, to say why they stay."""
        today = datetime.fromtimestamp(self._clock(), UTC).date()
        periods = {part.path: period_of(part) for part in self._parts}
        # A month without a message, begun so that the one before could go, is none that anybody wants to keep.
        full = {period for part in self._parts if (period := periods[part.path]) and len(part.index)}
        newest = sorted(full, reverse=True)[: rule.keep or 0]
        taken = []
        for part in self._parts:
            period = periods[part.path]
            if period is None:
                taken.append(part)
                continue
            is_over = period[1] <= today and (len(part.index) > 0 or part is not self._parts[-1])
            if is_over and period not in newest and (rule.before is None or period[1] <= rule.before):
                taken.append(part)
        return taken

    def _reason(self, part: Part, unproven: Mapping[MailboxName, int]) -> str:
        """Why the file stays whatever the rule says; nothing where it may go."""
        if period_of(part) is None:
            return ONE_FILE
        if fault := fault_of(part):
            return fault
        assert part.head is not None
        if part.last >= unproven.get(part.head.mailbox, part.last + 1):
            return NOT_READ_BACK
        return ELSEWHERE if is_elsewhere(self._root, part) else ""

    # --- how --------------------------------------------------------------------------------

    def _delete(self, part: Part) -> str:
        """Why the file stays; nothing when it is gone, durably."""
        assert part.head is not None
        # Nobody writes to what is compressed.
        with file_lock(part.path, self._notices) if part.path.exists() else nullcontext():
            if part.size() != part.index.end:
                return UNKNOWN  # another program was quicker
            head = part.head
            on = datetime.fromtimestamp(self._clock(), UTC).date().isoformat()
            gone = Pruned(part.path.name, head.uidvalidity, head.first, part.last, head.after, part.size(), on)
            self._record.add(gone)
            for path in (*part.paths, part.age_index_path, part.index_path):
                if path.exists():
                    disk.remove(path)
        return ""

    def _old(self, part: Part) -> Old:
        if one := part.encrypted:
            since, until = datetime.fromisoformat(one.since), datetime.fromisoformat(one.until)
            return Old(self._name(part), len(part.index), part.size(), since, until)
        return Old(self._name(part), len(part.index), part.size(), *span_of(part))

    def _name(self, part: Part) -> str:
        return display(str(part.path.relative_to(self._root)), 1000)
