"""Apple Mail's .emlx files."""

from __future__ import annotations

from ...model import display
from ...wire.emlx import COUNT_OCTETS, PLIST_OCTETS, count_of, flags_of, plist_at, received_at
from .formats import Found, Scan, Told, stored
from .gauge import Gauge
from .stream import Stream


def emlx(stream: Stream) -> Scan:
    """The one message of the file, with the flags and the date that its property list tells."""
    size = stream.size or 0
    tail_at = max(0, size - PLIST_OCTETS)
    tail = b"".join(stream.blocks(tail_at, size))
    counted = count_of(stream.head[:COUNT_OCTETS])
    # A message that ends with the file has no property list behind it, though one may be its text.
    at = None if counted is not None and sum(counted) == size else plist_at(tail)
    plist = b"" if at is None else tail[at:]
    limit = size if at is None else tail_at + at
    start, end = (0, limit) if counted is None else (counted[0], sum(counted))
    # Right where nothing but empty lines stands between the message and its property list.
    gap = b"".join(stream.blocks(end, limit)) if limit - PLIST_OCTETS < end <= limit else b"?"
    if counted is None or gap.strip():
        end = limit
        yield Told("its length is missing or wrong; the message is what stands before its property list")
    if not plist:
        yield Told("its property list is missing: flags and date come from the header")
    gauge = Gauge()
    for block in stream.blocks(start, end):
        gauge.update(block)
        yield None
    gauge.finish()
    if gauge.is_blank:
        yield Told("no message in it: expected a length, a message and a property list", is_fault=True)
        return
    date = stored(received_at(plist))
    yield Found(start, end, gauge.octets, gauge.digest, gauge.header, flags=flags_of(plist), date=date)


def partial_note(name: str) -> str:
    """What is told of a .partial.emlx: Mail keeps its attachments outside."""
    number = display(name.partition(".")[0])
    return f"Mail has taken its attachments out (Attachments/{number}); the message is read, they are not"
