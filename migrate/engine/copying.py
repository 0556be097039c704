"""The copying of one session at the source, and what goes on beside it.

The session before the last ends with a QUIT, and the next one begins where the source lets us in again. All that
comes before that login (a connection, TLS, the greeting, what the server can do) takes some round trips, so it is begun
as soon as the last message has been asked for. It locks nothing.
"""

from __future__ import annotations

from dataclasses import replace

from ..commands import DestFacts, Outcome, ReachSource
from ..model import Work
from .cases import Case
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
        self._has_sent = False

    def _got_work(self, outcome: Outcome) -> None:
        super()._got_work(outcome)
        if self._look is not None and (self.work or self.late or self.apart):
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

    def _take_batch(self, facts: DestFacts) -> list[Case]:
        # The first message of a run goes alone: only a destination that has taken something is waited for where it asks
        # us to slow down, and a batch that it breaks off does not tell what it took.
        goes_alone = not self._has_sent and not self.run.progress
        self._has_sent = True
        return super()._take_batch(replace(facts, batch_count=1) if goes_alone else facts)
