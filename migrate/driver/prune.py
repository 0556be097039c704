"""The deletion of old files of a backup: said first, then done, with no run on the backup meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, date, datetime, time
from pathlib import Path
from time import time as wall

from ..errors import Exit, StoreError
from ..events import Event, Notice, Prunable, Pruned, Pruning, Spared
from ..model import MailboxName
from ..state import no_run, read_state, state_files
from ..stores import mbox
from .stop import Stop

TOLD_S = 3 * 86400.0  # nights may be missed; what is older is told


def prune_job(
    directory: Path,
    states: Path,
    rule: Callable[[date], mbox.Rule],
    emit: Callable[[Event], None],
    stop: Stop,
    *,
    is_real: bool,
    clock: Callable[[], float] = wall,
) -> Exit:
    """The exit code of one prune, after its Pruned event. ``states``: where the backup has its state files.

    ``rule`` is asked on which day it is. That is never later than the day on which a backup last reached its source:
    a clock that stands years ahead makes nothing older. Without such a note the newest file tells it by its month.

    StateError where a run is under way or a state file cannot be read, StoreError where the disk refuses.
    """
    try:
        with ExitStack() as held:
            paths = state_files(states)
            if is_real:
                held.enter_context(no_run(paths))
            now = _now(directory, paths, clock(), emit)
            rule_now = rule(datetime.fromtimestamp(now, UTC).date())
            return _Prune(directory, rule_now, unproven(paths), emit, stop, lambda: now).run(is_real=is_real)
    except StoreError as error:
        error.end = "destination"
        raise


def _now(directory: Path, paths: list[Path], now: float, emit: Callable[[Event], None]) -> float:
    """The time from which ages are counted (seconds, epoch); told where it is not that of the clock."""
    reached = []
    for path in paths:
        with read_state(path) as reader:
            reached.append(reader.reached())
    then, why = (
        max((when for when in reached if when is not None), default=None),
        "when a backup last reached its source",
    )
    if then is None and (day := mbox.newest_day(directory)) is not None:
        then, why = datetime.combine(day, time(23, 59, 59), UTC).timestamp(), "the last day of its newest month"
    if then is None or now <= then:
        return now
    if now - then > TOLD_S:
        counted, clock = (datetime.fromtimestamp(when, UTC).date().isoformat() for when in (then, now))
        emit(Notice(f"Ages are counted from {counted}, {why}, not from the clock of this machine ({clock})."))
    return then


def unproven(paths: list[Path]) -> dict[MailboxName, int]:
    """By mailbox the lowest uid that some run has not read back yet."""
    lowest: dict[MailboxName, int] = {}
    for path in paths:
        with read_state(path) as reader:
            for mailbox, uid in reader.unproven().items():
                lowest[mailbox] = min(uid, lowest.get(mailbox, uid))
    return lowest


class _Prune:
    def __init__(
        self,
        directory: Path,
        rule: mbox.Rule,
        unproven: dict[MailboxName, int],
        emit: Callable[[Event], None],
        stop: Stop,
        clock: Callable[[], float],
    ) -> None:
        self._directory, self._rule, self._unproven = directory, rule, unproven
        self._emit, self._stop, self._clock = emit, stop, clock
        self._spared: set[str] = set()

    def run(self, *, is_real: bool) -> Exit:
        would = list(self._walk(is_real=False))
        for one in would:
            self._emit(Prunable(one.file, one.messages, one.octets, _iso(one.since), _iso(one.until)))
        gone = would
        if is_real and would and not self._stop.is_wanted:
            self._emit(Pruning(*_sums(would)))
            gone = list(self._walk(is_real=True))
        code = Exit.INTERRUPTED if self._stop.is_wanted else Exit.OK
        self._emit(Pruned(is_real, *_sums(gone), int(code)))
        return code

    def _walk(self, *, is_real: bool) -> Iterator[mbox.Old]:
        """The files that go, or have gone, until somebody asks to stop."""
        notices: list[tuple[str, bytes]] = []
        steps = mbox.prune(
            self._directory,
            self._rule,
            is_real=is_real,
            unproven=self._unproven,
            clock=self._clock,
            notices=notices,
        )
        for one in steps:
            for text, _ in notices:
                self._emit(Notice(text))
            notices.clear()
            if isinstance(one, mbox.Old):
                yield one
            elif one.file not in self._spared:
                self._spared.add(one.file)
                self._emit(Spared(one.file, one.reason))
            if self._stop.is_wanted:
                return


def _sums(files: list[mbox.Old]) -> tuple[int, int, int]:
    return len(files), sum(one.messages for one in files), sum(one.octets for one in files)


def _iso(when: datetime | None) -> str | None:
    return None if when is None else when.isoformat()
