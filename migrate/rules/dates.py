"""When a message arrived, from its header: the internal date it gets, and which evidence said so.

The evidence, best first: what the delivering systems wrote (Delivery-date,
Received, X-Received; topmost first, as they stand), Resent-Date, Date, notes
of mail programs, the From_ line of an mbox file, the time of the fetch. A time has to be plausible: from 1971
on, and at most a day after the fetch. One from a trace field is passed over
when it disagrees with Date: fetchmail and its like put a Received line of
their own on top of old mail, and clocks have been wrong at both ends.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from ..model import DateSource, InternalDate
from ..wire.header import pick
from .date_forms import read_date

_TRACE = {
    b"delivery-date": DateSource.DELIVERY,
    b"received": DateSource.RECEIVED,
    b"x-received": DateSource.RECEIVED,
}
_FIELDS = frozenset({*_TRACE, b"resent-date", b"date", b"x-originalarrivaltime", b"x-delivery-time"})

_EARLIEST = datetime(1971, 1, 1, tzinfo=UTC)
# RFC 822, which brought Received and this form of Date. An older Date beside a Received line is
# a clock that was never set.
_RFC_822 = datetime(1982, 8, 13, tzinfo=UTC)
_CLOCK_SLIP = timedelta(days=1)
_OLDER = timedelta(days=30)
_LATER = timedelta(days=366)

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# They have nothing in common.
_SENTINELS = (datetime(1904, 1, 2, 3, 4, 5), datetime(1912, 6, 7, 8, 9, 10))

_FILETIME_EPOCH = datetime(1601, 1, 1, tzinfo=UTC)
_FILETIME = re.compile(rb"FILETIME=\[([0-9A-Fa-f]{8}):([0-9A-Fa-f]{8})\]")


def internal_date(header: bytes, fetched_at: float, noted: InternalDate | None = None) -> InternalDate:
    """The internal date of the message with that header block. ``fetched_at``: seconds since the epoch.

    ``noted`` is what stands beside the message: the word of a source that keeps internal dates counts at once, a
    From_ line (local time of nobody knows where, or of a copy) only where the header tells nothing.
    """
    if noted is not None and noted.source is DateSource.STORE:
        return noted
    fetched = _instant(fetched_at)
    found: dict[bytes, list[bytes]] = {}
    trace: list[tuple[DateSource, bytes]] = []
    for name, value in pick(header, _FIELDS):
        if source := _TRACE.get(name):
            trace.append((source, value))
        else:
            found.setdefault(name, []).append(value)
    latest = fetched + _CLOCK_SLIP
    sent = _first_plausible(map(parse_date, found.get(b"date", ())), latest)
    if arrived := _arrived(trace, sent, latest):
        return arrived
    if resent := _first_plausible(map(parse_date, found.get(b"resent-date", ())), latest):
        return InternalDate(resent, DateSource.RESENT)
    if sent:
        return InternalDate(sent, DateSource.DATE)
    notes = [_arrival_time(value) for value in found.get(b"x-originalarrivaltime", ())]
    notes += [_delivery_time(value) for value in found.get(b"x-delivery-time", ())]
    if arrival := _first_plausible(notes, latest):
        return InternalDate(arrival, DateSource.OTHER)
    if noted is not None and _first_plausible([noted.when], latest):
        return noted
    return InternalDate(fetched, DateSource.FETCHED)


def parse_date(value: bytes) -> datetime | None:
    """The aware time that a Date, Received or similar value tells, or None. Never raises.

    A missing or unknown zone is UTC; nothing else that is missing is made up.
    The offset is the one written, where it is at most 14 hours.
    """
    return read_date(value, _by_dateutil)


def _by_dateutil(text: str) -> datetime | None:
    """What dateutil reads, where it makes nothing up: two readings that start from different times agree."""
    # Only strange mail needs it, and it is slow to load.
    from dateutil import parser

    try:
        first, second = (parser.parse(text, default=sentinel, ignoretz=True) for sentinel in _SENTINELS)
    except (ValueError, ArithmeticError, TypeError, LookupError, AttributeError):
        # Its own ParserError is a ValueError; the others have been seen to escape from it.
        return None
    return first if first == second else None


def _arrived(trace: Iterable[tuple[DateSource, bytes]], sent: datetime | None, latest: datetime) -> InternalDate | None:
    """The topmost plausible time of the trace fields that agrees with when the message was sent.

    Where none agrees, and two or more hops agree among themselves that the
    message came more than 30 days before it was sent, then Date is absurd and
    the topmost of them counts.
    """
    if sent is not None and sent < _RFC_822:
        sent = None
    others: list[InternalDate] = []
    for source, value in trace:
        when = parse_date(value)
        if when is None or not _EARLIEST <= when <= latest:
            continue
        if sent is None or sent - _OLDER <= when <= sent + _LATER:
            return InternalDate(when, source)
        others.append(InternalDate(when, source))
    if sent is None or len(others) < 2:
        return None
    times = [other.when for other in others]
    is_absurd = max(times) < sent and max(times) - min(times) <= _OLDER
    return others[0] if is_absurd else None


def _first_plausible(times: Iterable[datetime | None], latest: datetime) -> datetime | None:
    return next((when for when in times if when is not None and _EARLIEST <= when <= latest), None)


@lru_cache(maxsize=16)  # one for all messages of a listing
def _instant(seconds: float) -> datetime:
    """The time in UTC; the epoch where the number is no time."""
    try:
        return (_EPOCH + timedelta(seconds=seconds)).replace(microsecond=0)
    except (OverflowError, ValueError):
        return _EPOCH


def _arrival_time(value: bytes) -> datetime | None:
    """The time in X-OriginalArrivalTime: as text, else as FILETIME (100 ns since 1601, low half first)."""
    if when := parse_date(value):
        return when
    if not (filetime := _FILETIME.search(value)):
        return None
    ticks = int(filetime[2], 16) << 32 | int(filetime[1], 16)
    try:
        return _FILETIME_EPOCH + timedelta(microseconds=ticks // 10)
    except OverflowError:
        return None


def _delivery_time(value: bytes) -> datetime | None:
    """The time in X-Delivery-Time: seconds since the epoch."""
    digits = value.strip()
    return _instant(int(digits)) if re.fullmatch(rb"\d{9,11}", digits) else None
