"""Files of a backup that are over: which month they are of, whether they are what their index says, and their lock."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from pathlib import Path

from ...errors import Retry, StoreError
from .lock import Busy, run_lock
from .part import MBOX, Part
from .session import WAIT_S

UNKNOWN = "it holds octets that its index does not know; popferry verify names them"
FAULTY = "its index is damaged, or says more than the file has; popferry verify names what"

_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")


def period_of(part: Part) -> tuple[date, date] | None:
    """The first day of its month or year, and the day after the last; None for a file of all times."""
    found = _PERIOD.fullmatch(part.path.name.removesuffix(MBOX).partition(".")[0])
    if found is None or (found[2] and not 1 <= int(found[2]) <= 12) or not 1 <= int(found[1]) < 9999:
        return None
    year, month = int(found[1]), int(found[2] or 1)
    after = (year + 1, 1) if not found[2] or month == 12 else (year, month + 1)
    return date(year, month, 1), date(*after, 1)


def fault_of(part: Part) -> str:
    """Why it is not certain that the index knows all of the file; nothing where it is. Its octets are not read."""
    index, head = part.index, part.head
    if head is None or index.bad or index.tail or index.marked != len(index):
        return FAULTY
    if list(index.uids) != list(range(head.first, head.first + len(index))) or index.end > part.size():
        return FAULTY
    return UNKNOWN if any(True for _ in part.strangers(part.size())) else ""


@contextmanager
def patient_lock(directory: Path, sleep: Callable[[float], None], *, shared: bool) -> Iterator[None]:
    """The run lock, waited for. StoreError (LATER) when a backup does not let go of it."""
    with ExitStack() as held:
        for _ in range(int(WAIT_S)):
            try:
                held.enter_context(run_lock(directory, shared=shared))
                break
            except Busy:
                sleep(1.0)
        else:
            hint = "Try again when it has ended."
            raise StoreError("a backup has been writing all the time", retry=Retry.LATER, hint=hint)
        yield
