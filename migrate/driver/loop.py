"""The thin loop that carries the engine's commands out: sessions, the committer, the clock."""

from __future__ import annotations

import os
import selectors
import time
from collections import deque
from collections.abc import Callable
from typing import cast

from ..books import Books
from ..commands import (
    Append,
    Ask,
    CloseDest,
    CloseSource,
    Command,
    Commit,
    Instant,
    Now,
    OpenDest,
    OpenSource,
    Outcome,
    ReachSource,
    SearchUids,
    Wait,
)
from ..engine.run import Held, Steps
from ..errors import Exit, StoreError
from ..events import Event, Notice
from ..model import display
from ..stores.base import Reachable, Session
from .committer import Committer
from .opening import Opening, Reaching
from .stop import STOP_S, Stop

TICK_S = 1.0  # sessions are turned at least so often, so that they notice a stalled server

# Makes a session: for OpenSource or OpenDest, the command that opens it.
Opener = Callable[[OpenSource | OpenDest], Session]


class Driver:
    """Plays the world for one engine: every command gets its outcome."""

    def __init__(
        self,
        books: Books,
        opener: Opener,
        stop: Stop,
        emit: Callable[[Event], None],
        *,
        can_reach: bool = False,
        held: Held | None = None,
    ) -> None:
        """``can_reach``: the sessions at the source are Reachable. ``held`` hears how quick answers are."""
        self._opener = opener
        self._can_reach = can_reach
        self._held = held or Held()
        self._emit = emit
        self._stop = stop
        self._ended: deque[Outcome] = deque()
        self._sessions: dict[int, Session] = {}  # -1 is the source, others are lanes
        self._openings: dict[int, Opening] = {}  # sessions that are not touched yet
        self._reaching: Reaching | None = None
        self._owed: dict[int, dict[Command, float]] = {}  # since when, for ``Held.note_answer``
        self._timers: list[tuple[float, Command]] = []
        self._wake_in, self._wake_out = os.pipe()
        os.set_blocking(self._wake_in, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._watched: dict[int, tuple[int, int]] = {}  # session -> descriptor, mask
        self._committer = Committer(books, self._wake_out)
        self._stop_at: float | None = None
        stop.listen(self._wake_out)

    def run(self, engine: Steps[Exit]) -> Exit:
        """What the engine returns. An exception of the engine's own ends the run at once."""
        self._committer.start()
        try:
            commands = next(engine)
            while True:
                for command in commands:
                    self._start(command)
                commands = engine.send(self._next_outcome())
        except StopIteration as end:
            code: Exit = end.value
            return code
        finally:
            self._stop.end()
            self._committer.submit(None)
            self._committer.join()
            for place, session in self._sessions.items():
                self._free(place, session)
            self._leave_reached()
            self._selector.close()
            os.close(self._wake_in)
            os.close(self._wake_out)

    def _start(self, command: Command) -> None:
        match command:
            case Ask() | Commit():
                self._committer.submit(command)
            case Now():
                self._ended.append(Outcome(command, Instant(time.time(), time.monotonic())))
            case Wait():
                self._timers.append((time.monotonic() + command.seconds, command))
            case ReachSource():
                if self._can_reach:
                    self._reach(command)
                self._ended.append(Outcome(command))
            case _:
                if isinstance(command, CloseSource) and not command.quit:
                    self._leave_reached()  # what broke the session may have broken its connection too
                self._submit(getattr(command, "lane", -1), command)

    def _submit(self, place: int, command: Command) -> None:
        if isinstance(command, OpenSource | OpenDest):
            self._open(place, command)
            return
        session = self._sessions.get(place)
        if session is None:
            is_close = isinstance(command, CloseSource | CloseDest)
            error = None if is_close else self._with_end(place, StoreError("the connection is closed"))
            self._ended.append(Outcome(command, error=error))
            return
        self._owed[place][command] = time.monotonic() if isinstance(command, Append | SearchUids) else 0.0
        if place in self._openings:
            self._openings[place].later.append(command)
        else:
            session.submit(command)

    def _open(self, place: int, command: OpenSource | OpenDest) -> None:
        self._close(place)
        reaching = None
        if isinstance(command, OpenSource):
            reaching, self._reaching = self._reaching, None
            if reaching is not None and not reaching.is_fit(command):
                reaching.leave()
                reaching = None
        session = self._sessions[place] = self._opener(command) if reaching is None else reaching.session
        self._owed[place] = {command: 0.0}
        opening = self._openings[place] = Opening(session, command, self._wake_out, reaching)
        opening.start()

    def _reach(self, command: ReachSource) -> None:
        if self._reaching is not None and self._reaching.may_wait(command):
            return
        self._leave_reached()
        session = cast(Reachable, self._opener(OpenSource(command.may_release)))
        self._reaching = Reaching(session, self._wake_out, may_release=command.may_release)
        self._reaching.start()

    def _leave_reached(self) -> None:
        reaching, self._reaching = self._reaching, None
        if reaching is not None:
            reaching.leave()

    def _next_outcome(self) -> Outcome:
        while not self._ended:
            if self._stop.is_wanted and self._stop_at is None:
                self._stop_at = time.monotonic() + STOP_S
                self._timers = [(0.0, command) for _, command in self._timers]
                for place in list(self._openings):
                    self._close(place)  # nothing can be lost there
                return Outcome(None)
            self._turn()
        return self._ended.popleft()

    def _turn(self) -> None:
        timeout = 0.0 if any(session.is_ready() for _, session in self._opened()) else TICK_S
        now = time.monotonic()
        for at, _ in self._timers:
            timeout = max(0.0, min(timeout, at - now))
        self._watch()
        for key, _ in self._selector.select(0.0 if self._committer.ended else timeout):
            if key.fd == self._wake_in:
                os.read(self._wake_in, 4096)
        if self._committer.fault is not None:
            raise self._committer.fault
        while self._committer.ended:
            self._ended.append(self._committer.ended.popleft())
        self._take_openings()
        for place, session in self._opened():
            for outcome in session.turn():
                self._end(place, outcome)
            while session.notices:
                text, said = session.notices.pop(0)
                self._emit(Notice(text, display(said)))
        self._ring()
        if self._stop_at is not None and time.monotonic() > self._stop_at:
            self._cut_all()

    def _opened(self) -> list[tuple[int, Session]]:
        return [(place, session) for place, session in self._sessions.items() if place not in self._openings]

    def _take_openings(self) -> None:
        for place, opening in list(self._openings.items()):
            if not opening.is_over:
                continue
            del self._openings[place]
            if opening.fault is not None:
                raise opening.fault
            for outcome in opening.outcomes:
                self._end(place, outcome)
            for command in opening.later:
                self._sessions[place].submit(command)

    def _ring(self) -> None:
        now = time.monotonic()
        self._ended.extend(Outcome(command) for at, command in self._timers if at <= now)
        self._timers = [(at, command) for at, command in self._timers if at > now]

    def _end(self, place: int, outcome: Outcome) -> None:
        assert outcome.command is not None
        since = self._owed[place].pop(outcome.command, 0.0)
        if since and outcome.error is None:
            self._held.note_answer(time.monotonic() - since)
        if isinstance(outcome.error, StoreError):
            self._with_end(place, outcome.error)
        self._ended.append(outcome)
        if isinstance(outcome.command, CloseSource | CloseDest):
            self._close(place)

    def _with_end(self, place: int, error: StoreError) -> StoreError:
        error.end = "source" if place < 0 else "destination"
        return error

    def _close(self, place: int) -> None:
        session = self._sessions.pop(place, None)
        if session is None:
            return
        if place in self._watched:
            self._selector.unregister(self._watched.pop(place)[0])
        self._free(place, session)
        for command in self._owed.pop(place, {}):
            self._ended.append(Outcome(command, error=self._with_end(place, StoreError("the connection was closed"))))

    def _free(self, place: int, session: Session) -> None:
        opening = self._openings.pop(place, None)
        if opening is None:
            session.close()
        else:
            opening.leave()

    def _cut_all(self) -> None:
        for place in list(self._sessions):
            self._close(place)

    def _watch(self) -> None:
        """Keeps the selector in step with what each session waits for."""
        for place, session in self._opened():
            descriptor = session.fileno()
            mask = selectors.EVENT_READ | (selectors.EVENT_WRITE if session.wants_write() else 0)
            old = self._watched.get(place)
            if descriptor is None or old == (descriptor, mask):
                if descriptor is None and old is not None:
                    self._selector.unregister(self._watched.pop(place)[0])
                continue
            if old is not None:
                self._selector.unregister(old[0])
            self._selector.register(descriptor, mask)
            self._watched[place] = (descriptor, mask)
