"""How far a run is: numbers from events, shown as a bar on a terminal or as a line now and then."""

from __future__ import annotations

import shutil
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NoReturn, Protocol, TextIO

from ..events import Copied, Counting, Duplicate, Event, Fetched, Listed, ServedBack, SetAside, Verified
from .texts import count, size

if TYPE_CHECKING:
    from tqdm import tqdm

QUIET_S = 10.0  # between two lines where there is no terminal
REDRAW_S = 0.2  # between two drawings of the bar
WIDE, NARROW = 78, 40  # columns: below WIDE the bar loses its words, below NARROW itself


@dataclass(slots=True)
class Progress:
    """The numbers of this run that move. ``total`` is None until the source was listed."""

    total: int | None = None
    limit: int | None = None
    copied: int = 0
    octets: int = 0  # of what was copied
    verified: int = 0
    otherwise: int = 0  # dealt with without a copy: duplicate, set aside

    def take(self, event: Event) -> bool:
        """Adds one event. Whether a number moved."""
        match event:
            case Listed():
                # The listing may come again after a new connection: what is done is not open in it.
                before, work = self.copied + self.otherwise, event.open + event.unsure
                self.total = before + (work if self.limit is None else min(work, max(self.limit - before, 0)))
            case Copied():
                self.copied += event.messages
                self.octets += event.octets
            case Verified():
                self.verified += event.messages
            case Duplicate() | SetAside():
                self.otherwise += 1
            case _:
                return False
        return True

    @property
    def done(self) -> int:
        done = self.copied + self.otherwise
        return done if self.total is None else min(done, self.total)

    def line(self) -> str:
        """How far it is, where there is no bar."""
        verified = f", {self.verified:,} verified" if self.verified else ""
        return f"{self.done:,} of {count(self.total or 0)}: {self.copied:,} copied ({size(self.octets)}){verified}."


@dataclass(slots=True)
class ReadingProgress(Progress):
    """The same where both ends, or one backup, are only read."""

    wanted: dict[str, int] = field(default_factory=dict)  # messages of each end
    read: Counter[str] = field(default_factory=Counter)

    def take(self, event: Event) -> bool:
        match event:
            case Counting():
                # Said again after a new connection, with what is left.
                self.wanted[event.end] = self.read[event.end] + event.messages
                self.total = sum(self.wanted.values())
            case Fetched():
                self.read["source"] += 1
                self.octets += event.octets
            case ServedBack():
                self.read["destination"] += event.messages
                self.octets += event.octets
            case _:
                return False
        return True

    @property
    def done(self) -> int:
        return min(self.read.total(), self.total or 0)

    def line(self) -> str:
        ends = "" if "backup" in self.wanted else " of both ends"
        return f"{self.done:,} of {count(self.total or 0)}{ends} read ({size(self.octets)})."


class Meter(Protocol):
    """Shows progress and lets lines pass."""

    def show(self, progress: Progress) -> None: ...

    def line(self, text: str) -> None: ...

    def countdown(self, left_s: float, text: str) -> None:
        """A wait: shown again each second on a terminal, now and then elsewhere. 0 ends it."""

    def close(self) -> None: ...


class NoMeter:
    """Lines only."""

    def __init__(self, write: Callable[[str], None]) -> None:
        self.line = write

    def show(self, progress: Progress) -> None:
        pass

    def countdown(self, left_s: float, text: str) -> None:
        pass

    def close(self) -> None:
        pass


class LineMeter:
    """Quiet lines: at most one in QUIET_S seconds."""

    def __init__(self, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self.line = write
        self._clock = clock
        self._next_s = clock() + QUIET_S
        self._waiting_next_s: float | None = None

    def show(self, progress: Progress) -> None:
        if progress.total and self._clock() >= self._next_s:
            self._next_s = self._clock() + QUIET_S
            self.line(progress.line())

    def countdown(self, left_s: float, text: str) -> None:
        now = self._clock()
        if left_s <= 0:
            self._waiting_next_s = None
        elif self._waiting_next_s is None or now >= self._waiting_next_s:
            self._waiting_next_s = now + QUIET_S
            self.line(text)

    def close(self) -> None:
        pass


class BarMeter:
    """A tqdm bar at the bottom of a terminal, lines above it. No colours, no threads."""

    def __init__(self, stream: TextIO, write: Callable[[str], None], clock: Callable[[], float]) -> None:
        self._stream = stream
        self._write = write
        self._clock = clock
        self._bar: tqdm[NoReturn] | None = None
        self._began_s: float | None = None
        self._wait_width = 0
        self._redraw_s = 0.0

    def show(self, progress: Progress) -> None:
        if not progress.total:
            return
        bar = self._bar or self._open(progress)
        bar.total = progress.total
        words = size(progress.octets)
        elapsed = self._clock() - (self._began_s or 0.0)
        if elapsed >= 1 and progress.octets:
            words += f", {progress.octets / 1_000_000 / elapsed:,.1f} MB/s"
        if progress.verified:
            words += f", {progress.verified:,} verified"
        bar.set_postfix_str(words, refresh=False)
        bar.update(progress.done - bar.n)
        # tqdm draws only when the number of messages has grown: proofs go on after the last copy.
        if progress.done == progress.total and self._clock() >= self._redraw_s:
            self._redraw_s = self._clock() + REDRAW_S
            bar.refresh()

    def line(self, text: str) -> None:
        self._end_wait()
        if self._bar is not None:
            self._bar.clear()
        self._write(text)
        if self._bar is not None:
            self._bar.refresh()

    def countdown(self, left_s: float, text: str) -> None:
        if left_s <= 0:
            self._end_wait()
            return
        columns = max(shutil.get_terminal_size().columns - 1, 10)
        shown = text if len(text) <= columns else text[: columns - 3] + "..."
        self._raw("\r" + shown.ljust(self._wait_width))
        self._wait_width = len(shown)

    def close(self) -> None:
        self._end_wait()
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _end_wait(self) -> None:
        if self._wait_width:
            self._raw("\r" + " " * self._wait_width + "\r")
            self._wait_width = 0

    def _raw(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()

    def _open(self, progress: Progress) -> tqdm[NoReturn]:
        from tqdm import tqdm

        self._end_wait()
        # Without these tqdm starts a thread and a lock shared between processes.
        tqdm.monitor_interval = 0
        tqdm.set_lock(threading.RLock())
        columns = shutil.get_terminal_size().columns
        if columns >= WIDE:
            form = "{percentage:3.0f}% |{bar}| {n:,} of {total:,} messages{postfix}, {remaining} left"
        elif columns >= NARROW:
            form = "{percentage:3.0f}% |{bar:10}| {n:,} of {total:,}{postfix}"
        else:
            form = "{n:,} of {total:,}"
        bar = tqdm(
            total=progress.total,
            initial=progress.done,
            file=self._stream,
            bar_format=form,
            dynamic_ncols=True,
            leave=False,
            mininterval=REDRAW_S,
        )
        self._bar = bar
        if self._began_s is None:
            self._began_s = self._clock()
        return bar
