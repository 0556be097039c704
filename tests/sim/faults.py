"""What can go wrong, and where: a fault is a kind at a numbered point."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    CRASH = "crash"  # our process dies; what was sent may or may not have been carried out
    CUT = "cut"  # the connection of this command breaks after the server carried it out
    CUT_BEFORE = "cut before"  # it breaks before
    DELAY = "delay"  # we die; an APPEND lands later, within the settling time
    LATE = "late"  # we die; an APPEND lands later than the settling time (stated exception)
    LAG = "lag"  # APPEND is answered OK and carried out later, within the settling time
    LIE = "lie"  # APPEND is answered OK and nothing is stored
    NO = "no"  # the server refuses this one command
    BYE = "bye"  # the server stores what came and hangs up without an answer


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` strikes at the ``point``-th step of the ``run``-th run (both from 0)."""

    run: int
    point: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.kind.value}@{self.run}.{self.point}"
