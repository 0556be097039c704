"""Apple Mail's .emlx: one message, between its length and what Mail knows about it.

    emlx    = count *SP LF message plist      count: the octets of the message, in decimal
    plist   = "<?xml" ...                     an XML property list; "flags" and "date-received" are read from it

A count that does not fit (cut, edited or missing) is passed over: the message ends where the property list begins.
``flags`` is a number of more than 32 bits, of which the low ones are known (bit 0 read, 1 deleted, 2 answered,
4 flagged, 6 draft, 8 forwarded, 24 junk, 25 not junk); the rest holds counts and levels.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ..model import Flags

COUNT_OCTETS = 64  # the first line is shorter
PLIST_OCTETS = 256 * 1024  # and the property list too

_COUNT = re.compile(rb"[ \t]*([0-9]{1,15})[ \t]*\r?\n")
_PLISTS = (re.compile(rb"^<\?xml[^>]*\?>\s*<!DOCTYPE plist", re.MULTILINE), re.compile(rb"^<plist\b", re.MULTILINE))
_NUMBER = rb"<key>%b</key>\s*<(?:integer|real)>\s*([0-9]+)(?:\.[0-9]*)?\s*<"
_FLAGS = re.compile(_NUMBER % b"flags")
_RECEIVED = re.compile(_NUMBER % b"date-received")

# Deleted is left out, as everywhere: it would make a mail vanish that its owner moves because it is to be kept.
_BITS = {0: "\\Seen", 2: "\\Answered", 4: "\\Flagged", 6: "\\Draft", 8: "$Forwarded", 24: "$Junk", 25: "$NotJunk"}


def count_of(head: bytes) -> tuple[int, int] | None:
    """Where the message begins and how many octets it has, from the first octets of the file; None without a count."""
    found = _COUNT.match(head)
    return (found.end(), int(found[1])) if found else None


def plist_at(octets: bytes) -> int | None:
    """Where the property list begins in the last octets of the file, None where there is none."""
    for pattern in _PLISTS:
        if starts := [found.start() for found in pattern.finditer(octets)]:
            return starts[-1]
    return None


def flags_of(plist: bytes) -> Flags | None:
    """The flags it tells, None where it tells none."""
    found = _FLAGS.search(plist)
    if found is None:
        return None
    bits = int(found[1])
    return Flags(frozenset(name for bit, name in _BITS.items() if bits >> bit & 1))


def received_at(plist: bytes) -> datetime | None:
    """When the message arrived, None where it does not say or says zero."""
    found = _RECEIVED.search(plist)
    if found is None or not 0 < int(found[1]) < 4_102_444_800:
        return None
    return datetime.fromtimestamp(int(found[1]), UTC)
