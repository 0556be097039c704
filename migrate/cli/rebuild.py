"""``popferry rebuild``: a new state file from both servers, where the old one is lost or damaged."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import Any

from ..books import Tally
from ..config import FILES
from ..errors import Exit
from ..model import display
from . import report, texts
from .face import Face
from .migrate import RunJob, start
from .progress import ReadingProgress

COMPLETE = (Exit.OK, Exit.SET_ASIDE)


def run(options: argparse.Namespace) -> Exit:
    """Makes the new state file. UsageError before anything was done."""

    def rebuild_job() -> RunJob:
        from ..driver import rebuild_job

        return rebuild_job

    is_backup = options.dest.partition(":")[0] in FILES
    return start(options, partial(RebuildFace, is_backup=is_backup), rebuild_job)


class RebuildFace(Face):
    """Hears a rebuild."""

    def __init__(self, *streams: Any, is_backup: bool = False, **settings: Any) -> None:
        super().__init__(*streams, progress=ReadingProgress(), **settings)
        self._next = "backup, with the same SOURCE and DIR" if is_backup else "migrate, with the same SOURCE and DEST"
        self.is_listed = True  # nothing is ever copied, so nothing need be said of it

    def _tell_result(self) -> None:
        if self._finished is not None and self._finished.exit in COMPLETE:
            for text in report.rebuilt(self._finished.tally):
                self.out.line(text)

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        path = display(str(state_path), 1000)
        if exit in COMPLETE and tally is not None:
            left = tally.open + tally.set_aside
            are = "is" if left == 1 else "are"
            todo = f"copies the {texts.count(left)} that {are} not there" if left else "has nothing left to copy"
            return [
                f"The new state file is complete: {path}",
                f"popferry {self._next}, {todo}.",
            ]
        if exit is Exit.USAGE:
            return ["Nothing was done."]
        stopped = ["Stopped."] if exit in (Exit.INTERRUPTED, Exit.TERMINATED) else []
        return [
            *stopped,
            "No state file was made, and nothing was changed. Run the same command again.",
            f"State: {path}",
        ]
