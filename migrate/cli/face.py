"""What a person or a script hears of a run: events in, lines, a bar or JSON out.

stdout is the result, stderr the talk. A stream that cannot be written never
disturbs the run: its trouble is told at the end.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TextIO

from ..books import Tally
from ..errors import Exit, MigrateError
from ..events import (
    Connected,
    Deleting,
    Event,
    Finished,
    Kept,
    Listed,
    Reconnecting,
    SameId,
    SetAside,
    Settling,
    Stopping,
    WouldDo,
)
from ..model import display
from . import report, texts
from .progress import BarMeter, LineMeter, Meter, NoMeter, Progress

TEXT_LIMIT = 1000  # characters of one text of an event that are shown


class Output:
    """A stream that takes whole lines and remembers the first trouble instead of raising it."""

    def __init__(self, stream: TextIO | None) -> None:
        self.stream = stream
        self.trouble = ""
        self.is_left = False  # whoever read it has read enough

    def line(self, text: str) -> None:
        if self.stream is None or self.trouble:
            return
        try:
            self.stream.write(text + "\n")
            self.stream.flush()
        except OSError as error:
            self.trouble = error.strerror or type(error).__name__
            self.is_left = isinstance(error, BrokenPipeError)

    def checked(self, exit: Exit, err: Output, *, may_be_left: bool = False) -> Exit:
        """The code, worse where what was written here got lost, which is told."""
        if not self.trouble or (self.is_left and may_be_left):
            return exit
        err.line(f"The output could not be written: {self.trouble}.")
        return Exit.UNEXPECTED if exit is Exit.OK else exit

    def is_terminal(self) -> bool:
        return self.stream is not None and self.stream.isatty()


@dataclass(frozen=True, slots=True)
class Manner:
    """How the person wants to be talked to."""

    level: int = texts.NORMAL
    is_json: bool = False
    wants_bar: bool = True
    is_dry_run: bool = False
    limit: int | None = None


class Face:
    """Hears every event of one run. ``hide`` takes secrets out of a text."""

    def __init__(
        self,
        out: TextIO | None,
        err: TextIO | None,
        manner: Manner,
        *,
        hide: Callable[[str], str] = str,
        log: Callable[[Event], None] = lambda event: None,
        clock: Callable[[], float] = time.monotonic,
        progress: Progress | None = None,
    ) -> None:
        self.out, self.err = Output(out), Output(err)
        self.manner = manner
        self.hide = hide
        self.is_listed = False
        self.has_said_stopping = False
        self._log = log
        self._progress = progress or Progress(limit=manner.limit)
        self._meter = self._choose_meter(clock)
        self._connected: set[str] = set()
        self._aside: dict[int, SetAside] = {}
        self._counts: dict[type[Event], int] = {SameId: 0, Kept: 0}
        self._finished: Finished | None = None
        self._would_do: WouldDo | None = None

    def _choose_meter(self, clock: Callable[[], float]) -> Meter:
        if self.manner.level < texts.NORMAL or self.manner.is_json:
            return NoMeter(self.err.line)
        if self.manner.is_dry_run:
            return NoMeter(self.err.line)
        is_smart = os.environ.get("TERM", "dumb") != "dumb"
        if self.manner.wants_bar and is_smart and self.err.is_terminal() and self.err.stream is not None:
            return BarMeter(self.err.stream, self.err.line, clock)
        return LineMeter(self.err.line, clock)

    # --- while it runs ----------------------------------------------------------------------

    def hear(self, event: Event) -> None:
        """Takes one event in. Never raises for a stream that cannot be written."""
        event = self._clean(event)
        self._log(event)
        if self.manner.is_json:
            self.out.line(json.dumps(event.as_json()))
        self._remember(event)
        try:
            self._show(event)
        except OSError as error:  # the terminal went away under the bar
            self.err.trouble = self.err.trouble or error.strerror or "lost"
            self._meter = NoMeter(self.err.line)

    def say(self, text: str, level: int = texts.ALWAYS) -> None:
        """One line of talk that comes from no event."""
        if level <= self.manner.level:
            self._meter.line(self.hide(text))

    def _show(self, event: Event) -> None:
        if isinstance(event, Stopping):
            if not self.has_said_stopping:
                self.has_said_stopping = True
                self.say(texts.stopping(self.is_listed))
            return
        line = texts.line(event)
        if isinstance(event, Settling):
            self._meter.countdown(event.left_s, line.text if line else "")
        elif line is not None and max(line.level, self._repetition(event)) <= self.manner.level:
            self._meter.line(line.text)
        if self._progress.take(event):
            self._meter.show(self._progress)
        if isinstance(event, Deleting):
            self._meter.close()

    def _repetition(self, event: Event) -> int:
        """The level of what was said before: every session connects and lists again."""
        match event:
            case Connected():
                is_again = event.end in self._connected
                self._connected.add(event.end)
            case Reconnecting():
                is_again = False
                self._connected.discard(event.end)
            case Listed():
                is_again = self._progress.total is not None and not event.open + event.unsure
            case _:
                is_again = False
        return texts.VERBOSE if is_again else texts.ALWAYS

    def _remember(self, event: Event) -> None:
        if type(event) in self._counts:
            self._counts[type(event)] += 1
        match event:
            case Listed():
                self.is_listed = True
            case SetAside() if len(self._aside) < report.SHOWN:
                self._aside[event.row] = event
            case Finished():
                self._finished = event
            case WouldDo():
                self._would_do = event

    def _clean(self, event: Event) -> Event:
        """The event with every text safe to show and free of secrets, whoever made it."""
        changed: dict[str, Any] = {}
        for one in fields(event):
            value = getattr(event, one.name)
            if isinstance(value, str | tuple):
                changed[one.name] = self._safe(value)
        return replace(event, **changed) if changed else event

    def _safe(self, value: Any) -> Any:
        """The value with every text in it made safe, however deep."""
        if isinstance(value, tuple):
            return tuple(self._safe(one) for one in value)
        return display(self.hide(value), TEXT_LIMIT) if isinstance(value, str) else value

    # --- at the end -------------------------------------------------------------------------

    def fail(self, error: Exception) -> None:
        """Tells an error that ended the run from outside."""
        self._meter.close()
        self.err.line(self.hide(report.failure(error) if isinstance(error, MigrateError) else report.fault(error)))

    def end(self, exit: Exit, state_path: Path) -> Exit:
        """Tells the books, the problems and what to do next. Value: the code, worse when the result got lost."""
        self._meter.close()
        tally = self._finished.tally if self._finished else None
        if exit is Exit.OK and self.manner.level < texts.NORMAL and not self._would_do:
            return self.out.checked(exit, self.err)
        if self.manner.level < texts.VERBOSE and tally is not None and tally.set_aside:
            for text in report.set_aside(list(self._aside.values()), tally.set_aside):
                self.err.line(text)
        self._tell_counts()
        if not self.manner.is_json:
            self._tell_result()
        for text in self._problems():
            self.err.line(texts.sentence(text))
        closing = self._closing(exit, tally, state_path)
        is_result = exit is Exit.OK and not self.manner.is_json
        for text in closing:
            (self.out if is_result else self.err).line(self.hide(text))
        return self.out.checked(exit, self.err)

    def _problems(self) -> Sequence[str]:
        return self._finished.problems if self._finished else ()

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        kept, is_dry_run = self._counts[Kept], self.manner.is_dry_run
        return report.closing(exit, tally, state_path, is_listed=self.is_listed, is_dry_run=is_dry_run, kept=kept)

    def _tell_counts(self) -> None:
        if same := self._counts[SameId]:
            self.err.line(f"{texts.count(same)} shared a Message-ID with another one and had other content: kept all.")
        if kept := self._counts[Kept]:
            self.err.line(f"Not deleted at the source, although asked for: {texts.count(kept)}.")

    def _tell_result(self) -> None:
        lines: list[str] = []
        if self._would_do is not None:
            lines = report.would_do(self._would_do)
        elif self._finished is not None and self.is_listed:
            lines = report.books(self._finished.tally, self._progress.copied, self._progress.octets)
        for text in lines:
            self.out.line(text)
