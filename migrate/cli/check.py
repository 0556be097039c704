"""``popferry verify DIR``: every octet of a backup is read, and what is not as it was stored is named."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..books import Tally
from ..config import Job
from ..errors import Exit, UsageError
from ..events import Checked, Damaged, Event, StoredAgain
from ..model import Policy, Secret
from . import report, texts
from .backup import existing
from .face import Face
from .migrate import RunJob, path_of, start
from .progress import ReadingProgress


def run(options: argparse.Namespace) -> Exit:
    """Proves the backup. UsageError where there is none."""
    if "://" in options.source:
        raise UsageError("expected DEST, or the directory of a backup", hint="popferry verify --help shows both.")
    place = existing(options.source)

    def check_job() -> RunJob:
        from ..driver import check_job

        def carry_out(job: Job, identity: Secret, _: Secret, emit: Callable[[Event], None], stop: Any) -> Exit:
            return check_job(place, emit, stop, identity)

        return carry_out

    assert place.path is not None
    log_path = path_of(options.log_file, "--log-file")
    return start(options, CheckFace, check_job, Job(place, place, Policy(), place.path, log_path=log_path))


class CheckFace(Face):
    """Hears the proof of a backup. What is damaged is a result, and goes to stdout, line by line, before the sum."""

    def __init__(self, *streams: Any, **settings: Any) -> None:
        super().__init__(*streams, progress=ReadingProgress(), **settings)
        self.is_listed = True  # nothing is ever copied, so nothing need be said of it
        self._checked_all: Checked | None = None
        self._has_lost = False  # and has it again

    def _show(self, event: Event) -> None:
        if not isinstance(event, Damaged | StoredAgain):
            super()._show(event)
            return
        self._meter.close()  # the bar makes room, and comes back
        line = texts.line(event)
        if line is not None and line.level <= self.manner.level and not self.manner.is_json:
            self.out.line(line.text)

    def _remember(self, event: Event) -> None:
        super()._remember(event)
        self._has_lost = self._has_lost or isinstance(event, StoredAgain)
        if isinstance(event, Checked):
            self._checked_all = event

    def _tell_result(self) -> None:
        if self._checked_all is not None:
            self.out.line(report.checked(self._checked_all))

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        if exit is Exit.OK:
            if self._checked_all is not None and self._checked_all.unread:
                said = "Every octet of the files is as it was stored. Messages in encrypted files were not read:"
                return [f"{said} --identity FILE reads them too."]
            return ["Every message is there, whole." if self._has_lost else "Every octet is as it was stored."]
        if exit is Exit.DIFFERENCES:
            return ["What is not named here is whole.", *report.GO_ON]
        stopped = ["Stopped."] if exit in (Exit.INTERRUPTED, Exit.TERMINATED) else []
        return [*stopped, "Nothing was changed. Run the same command again to read the backup."]
