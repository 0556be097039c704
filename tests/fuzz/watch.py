"""One run of a target, with its time watched: a fault comes back as a sentence."""

from __future__ import annotations

import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

LIMIT_S = 1.0  # of processor time, for at most 4096 octets


class TooSlow(BaseException):
    """The limit is over; not an Exception, so that nobody on the way takes it for his own."""


def _stop(number: int, frame: FrameType | None) -> None:
    raise TooSlow


@contextmanager
def watched() -> Iterator[None]:
    """Inside, a target that takes too long is ended. In the main thread of a process."""
    before = signal.signal(signal.SIGVTALRM, _stop)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)


def fault_of(run: Callable[[bytes], None], octets: bytes) -> str:
    """What was wrong, and with which octets; empty: nothing. Inside ``watched``."""
    try:
        signal.setitimer(signal.ITIMER_VIRTUAL, LIMIT_S)
        run(octets)
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
    except TooSlow:
        return f"more than {LIMIT_S} s for {octets!r}"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
        where = traceback.format_exc(limit=-1).strip().splitlines()[-3].strip()
        return f"{type(error).__name__}: {error} ({where}) for {octets!r}"
    return ""
