"""POP3 as octets and as meaning, without any I/O.

core      commands -> octets; octets of the server -> events
listing   answers to UIDL, LIST, STAT and CAPA -> values, compact for a million messages
quirks    what servers do against the RFCs and is let pass
"""

from .core import END, LINE_LIMIT, Block, Challenge, End, Event, Pop3Wire, Reply, broken
from .listing import Listing, ListLines, UidlLines, join_listings, parse_capabilities, parse_stat
from .quirks import Quirk

__all__ = [
    "END",
    "LINE_LIMIT",
    "Block",
    "Challenge",
    "End",
    "Event",
    "ListLines",
    "Listing",
    "Pop3Wire",
    "Quirk",
    "Reply",
    "UidlLines",
    "broken",
    "join_listings",
    "parse_capabilities",
    "parse_stat",
]
