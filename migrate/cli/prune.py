"""``popferry prune``: which old files of a backup would go, and with ``--yes`` their deletion."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from ..books import Tally
from ..config import STATE_IN_BACKUP, Job
from ..errors import Exit, UsageError
from ..events import Event, Prunable, Pruned, Spared
from ..model import Policy, Protocol, Secret
from ..stores.mbox import Rule, has_periods
from . import report, texts
from .backup import directory, existing
from .face import Face
from .keeping import Age
from .migrate import RunJob, path_of, start


def run(options: argparse.Namespace) -> Exit:
    """Says what would go, or deletes it. UsageError where there is no backup, or none that can be pruned."""
    if directory(options.source).protocol is Protocol.MAILDIR:
        raise UsageError(
            "prune is for mbox files; a Maildir has a file for each message",
            hint="What is deleted there is missing: popferry verify names it, and every backup ends with code 40. "
            "Who wants to delete mail there fills it with popferry migrate SOURCE maildir:DIR, which misses nothing.",
        )
    place = existing(options.source)
    path = place.path
    assert path is not None
    if not path.is_dir():
        raise UsageError("expected the directory of a backup, got a file", hint="Other files are yours to delete.")
    if not has_periods(path):
        raise UsageError(
            "every file of this backup is one for all time (--layout one): no part of it is ever over",
            hint="popferry backup --layout month begins a file for each month from now on; the first one stays.",
        )
    age: Age | None = options.older_than

    def rule(today: date) -> Rule:
        return Rule(keep=options.keep) if age is None else Rule(before=ago(age, today))

    def prune_job() -> RunJob:
        from ..driver import prune_job

        def carry_out(job: Job, _: Secret, __: Secret, emit: Callable[[Event], None], stop: Any) -> Exit:
            return prune_job(path, path / STATE_IN_BACKUP[place.protocol], rule, emit, stop, is_real=options.yes)

        return carry_out

    log_path = path_of(options.log_file, "--log-file")
    return start(options, PruneFace, prune_job, Job(place, place, Policy(), path, log_path=log_path))


def ago(age: Age, today: date) -> date:
    """The day so long before that one; the last of a month where it has no such day."""
    try:
        if age.unit == "d":
            return today - timedelta(days=age.number)
        months = age.number * (12 if age.unit == "y" else 1)
        year, month = divmod(today.year * 12 + today.month - 1 - months, 12)
        after = date(year, month + 1, 28) + timedelta(days=4)
        last = (after.replace(day=1) - timedelta(days=1)).day
        return date(year, month + 1, min(today.day, last))
    except (ValueError, OverflowError):
        raise UsageError(f"--older-than: {age.number}{age.unit} ago is before the first year") from None


class PruneFace(Face):
    """Hears a prune. The files are a result, and go to stdout, one a line, before the sum."""

    def __init__(self, *streams: Any, **settings: Any) -> None:
        super().__init__(*streams, **settings)
        self.is_listed = True  # nothing is ever copied, so nothing need be said of it
        self._pruned: Pruned | None = None

    def _show(self, event: Event) -> None:
        if not isinstance(event, Prunable | Spared):
            super()._show(event)
            return
        line = texts.line(event)
        if line is not None and line.level <= self.manner.level and not self.manner.is_json:
            self.out.line(line.text)

    def _remember(self, event: Event) -> None:
        super()._remember(event)
        if isinstance(event, Pruned):
            self._pruned = event

    def _tell_result(self) -> None:
        if self._pruned is not None:
            self.out.line(report.pruned(self._pruned))

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        if exit is Exit.OK:
            if self._pruned is None or not self._pruned.files or self._pruned.is_deleted:
                return []
            return ["The next backup will not fetch them again. The same command with --yes deletes them."]
        stopped = ["Stopped."] if exit in (Exit.INTERRUPTED, Exit.TERMINATED) else []
        return [*stopped, "Files that were not named as deleted are whole. Run the same command again."]
