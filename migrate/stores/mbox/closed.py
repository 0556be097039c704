"""Files of a backup that are over: which month they are of, and whether they are what their index says."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

from .folder import Folder, Notices
from .index import SUFFIX
from .part import MBOX, Part

UNKNOWN = "it holds octets that its index does not know; popferry verify names them"
FAULTY = "its index is damaged, or says more than the file has; popferry verify names what"
ELSEWHERE = "it does not stand where popferry backup made it; name the directory that the backup was given"
NOT_READ_BACK = "an interrupted backup has not read all of it back yet; run popferry backup first"

_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")


def parts_in(directory: Path) -> list[Part]:
    """The files of a mailbox, by uid, the newest last."""
    parts = [Part(path.with_suffix("")) for path in directory.glob("*" + MBOX + SUFFIX)]
    return sorted(parts, key=lambda part: (part.first, part.path.name))


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


def span_of(part: Part) -> tuple[datetime, datetime] | tuple[None, None]:
    """The oldest and the newest internal date of its messages; None without any. Its index can be read."""
    dates = [entry.internaldate.when for _, entry in part.index.entries() if entry is not None]
    return (min(dates), max(dates)) if dates else (None, None)


def is_elsewhere(root: Path, part: Part) -> bool:
    """Whether a backup would look for its mailbox in another directory."""
    return part.head is not None and Folder.place(root, part.head.mailbox) != part.path.parent


def go_on(root: Path, part: Part, clock: Callable[[], float], notices: Notices) -> bool:
    """Begins the file that comes after the newest one: uids and UIDVALIDITY go on in it. Value: whether it did."""
    period = period_of(part)
    assert period is not None
    assert part.head is not None
    layout = "month" if period[1] - period[0] < timedelta(days=32) else "year"
    folder = Folder(root, part.head.mailbox, layout=layout, clock=clock, notices=notices)
    return folder.tail().path != part.path
