"""IMAP as octets and as meaning, without any I/O: the upload side and what it needs to look back.

reader    octets of the server -> events
fetch     FETCH and SEARCH events -> values, uid sets
append    messages -> the segments of an APPEND or MULTIAPPEND
answers   status and response code -> AppendUid or an error of the right reach
"""

from .answers import append_uids, reaches_all, refusal, said_goodbye
from .append import CRLF, Literals, Pause, Segment, append_segments, exact_blocks, internaldate_text, quoted
from .fetch import Fetched, Section, parse_fetch, parse_search, uid_chunks, uid_set
from .reader import Continuation, Data, Event, Quirk, Reader, Status, Tagged, broken, parse_status

__all__ = [
    "CRLF",
    "Continuation",
    "Data",
    "Event",
    "Fetched",
    "Literals",
    "Pause",
    "Quirk",
    "Reader",
    "Section",
    "Segment",
    "Status",
    "Tagged",
    "append_segments",
    "append_uids",
    "broken",
    "exact_blocks",
    "internaldate_text",
    "parse_fetch",
    "parse_search",
    "parse_status",
    "quoted",
    "reaches_all",
    "refusal",
    "said_goodbye",
    "uid_chunks",
    "uid_set",
]
