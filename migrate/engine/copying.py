"""The copying of one session at the source, and what goes on beside it."""

from __future__ import annotations

from ..commands import Outcome
from .run import Run, Steps
from .transfer import Transfer


class Copying(Transfer):
    """A transfer that fetches while the destination is searched once more."""

    def __init__(self, run: Run, look: Steps[None] | None) -> None:
        """``look`` begins with the first message that is asked for. Nothing is decided before it has ended (R1)."""
        super().__init__(run)
        self._look = look

    def _got_work(self, outcome: Outcome) -> None:
        super()._got_work(outcome)
        if self._look is not None and (self.work or self.late):
            look, self._look = self._look, None
            self.is_looking_up = True
            self.pump.carry(look, self._has_looked)

    def _has_looked(self) -> None:
        self.is_looking_up = False
