"""``popferry verify``: a recount from the servers themselves, told as a table and a list of what differs."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from ..books import Tally
from ..errors import Exit
from ..events import Event, Judged, Recounted
from ..model import display
from . import report, texts
from .face import Face
from .migrate import RunJob, start
from .progress import ReadingProgress


def run(options: argparse.Namespace) -> Exit:
    """Compares both accounts, or proves the backup that stands alone. UsageError before anything was done."""
    if options.dest is None:
        from . import check

        return check.run(options)

    def verify_job() -> RunJob:
        from ..driver import verify_job

        return verify_job

    return start(options, partial(VerifyFace, words=options.words), verify_job)


class VerifyFace(Face):
    """Hears a recount. What differs is a result, and goes to stdout, line by line, before the table."""

    def __init__(self, *streams: Any, words: Sequence[str] = ("SOURCE", "DEST"), **settings: Any) -> None:
        """``words``: of the command line, which say to another command what is meant."""
        super().__init__(*streams, progress=ReadingProgress(), **settings)
        self.is_listed = True  # nothing is ever copied, so nothing need be said of it
        self._words = shlex.join(words)
        self._recounted: Recounted | None = None

    def _show(self, event: Event) -> None:
        if not isinstance(event, Judged):
            super()._show(event)
            return
        self._meter.close()
        line = texts.line(event)
        if line is not None and line.level <= self.manner.level and not self.manner.is_json:
            self.out.line(line.text)

    def _remember(self, event: Event) -> None:
        super()._remember(event)
        if isinstance(event, Recounted):
            self._recounted = event

    def _problems(self) -> Sequence[str]:
        return self._recounted.problems if self._recounted else ()

    def _tell_result(self) -> None:
        if self._recounted is not None and self._recounted.is_complete:
            for text in report.recount(self._recounted):
                self.out.line(text)

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        if exit is Exit.OK:
            return ["Everything that the source has is at the destination."]
        if exit is Exit.DIFFERENCES:
            return self._advice(state_path)
        stopped = ["Stopped."] if exit in (Exit.INTERRUPTED, Exit.TERMINATED) else []
        return [*stopped, "Nothing was changed at either end. Run the same command again to compare."]

    def _advice(self, state_path: Path) -> list[str]:
        first = "popferry migrate copies what is missing, unless it was deleted at the source."
        if not state_path.exists():
            return [first]
        state = shlex.quote(display(str(state_path), 1000))
        return [
            first,
            "What it copied before and is gone since, or stands in another folder, it does not copy again by itself. "
            "With a state file that knows only what is there it does:",
            f"  mv {state} {shlex.quote(display(f'{state_path}.old', 1000))}",
            f"  popferry rebuild {self._words}",
            f"  popferry migrate {self._words}",
        ]
