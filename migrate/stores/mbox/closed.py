"""Files of a backup that are over: which month they are of, and whether they are what their index says."""

from __future__ import annotations

import re
from datetime import date

from .part import MBOX, Part

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
