"""A file that is one message, and what every format of mail files shares."""

from __future__ import annotations

from datetime import datetime

from ...model import DateSource, InternalDate
from ..gauge import Gauge
from ..mboxes import Found, Scan
from .stream import Stream


def letter(stream: Stream) -> Scan:
    """The one message that the file is."""
    gauge = Gauge()
    for block in stream.blocks():
        gauge.update(block)
        yield None
    gauge.finish()
    yield Found(0, gauge.length, gauge.octets, gauge.digest, gauge.header)


def stored(when: datetime | None) -> InternalDate | None:
    """A date that the file keeps beside the message."""
    return None if when is None else InternalDate(when, DateSource.STORE)
