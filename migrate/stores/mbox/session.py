"""A session that waits for somebody else's lock without holding up the loop."""

from __future__ import annotations

import time
from collections.abc import Callable

from ...commands import Outcome
from ...errors import Retry, StoreError
from ..base import LocalSession
from .lock import Busy

WAIT_S = 30.0


class PatientSession(LocalSession):
    """A command that meets ``Busy`` is tried again whenever the loop comes by, for ``wait_s`` seconds."""

    def __init__(self, *, monotonic: Callable[[], float] = time.monotonic, wait_s: float = WAIT_S) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._wait_s = wait_s
        self._deadline: float | None = None

    def turn(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while self._owed:
            try:
                outcomes.append(self._end(self._owed[0]))
            except Busy as busy:
                now = self._monotonic()
                self._deadline = now + self._wait_s if self._deadline is None else self._deadline
                if now < self._deadline:
                    break  # the loop comes back within a second
                hint = "Run the same command again when it has ended."
                self._broken = StoreError(str(busy), retry=Retry.LATER, hint=hint)
                continue
            self._owed.popleft()
            self._deadline = None
        return outcomes

    def is_ready(self) -> bool:
        return bool(self._owed) and self._deadline is None
