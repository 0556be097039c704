"""The copying of one session at the source, and what goes on beside it.

The session before the last ends with a QUIT, and the next one begins where the source lets us in again. All that
comes before that login (a connection, TLS, the greeting, what the server can do) takes some round trips, so it is begun
as soon as the last message has been asked for. It locks nothing.
"""

from __future__ import annotations

from ..commands import Outcome, ReachSource
from ..model import Work
from .run import BUDGET, Run, Steps
from .transfer import Transfer


class Copying(Transfer):
    """A transfer that fetches while the destination is searched once more, and while the next session is reached."""

    def __init__(self, run: Run, look: Steps[None] | None, *, is_followed: bool = False) -> None:
        """``look`` begins with the first message that is asked for. Nothing is decided before it has ended (R1).

        ``is_followed``: another session is likely to follow.
        """
        super().__init__(run)
        self._look = look
        self._is_followed = is_followed

    def _got_work(self, outcome: Outcome) -> None:
        super()._got_work(outcome)
        if self._look is not None and (self.work or self.late):
            look, self._look = self._look, None
            self.is_looking_up = True
            self.pump.carry(look, self._has_looked)

    def _fetch(self, work: Work, cost: int) -> None:
        super()._fetch(work, cost)
        if self._is_followed and self.is_exhausted and not self.work:
            self._is_followed = False
            if self._is_nearly_over and not self.run.is_limited:
                self.pump.start(ReachSource(self.run.wants_deletion), lambda outcome: None)

    @property
    def _is_nearly_over(self) -> bool:
        """Whether what is under way is there in some seconds. Else what was reached would wait until it is too old."""
        assert self.run.dest is not None
        # Where connections help, each message waits for an answer.
        is_slow = self.run.dest.lanes > 1 and self.fetching + len(self.ready) > self.run.dest.batch_count
        return self.asked <= BUDGET and not is_slow

    def _has_looked(self) -> None:
        self.is_looking_up = False
