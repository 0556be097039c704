"""What POP3 servers were seen to do against the RFCs and is let pass: the value says it for people."""

from __future__ import annotations

from enum import Enum


class Quirk(Enum):
    # RFC 1939 §3 takes any leading dot away; with a server that adds none the line would lose its own.
    NOT_STUFFED = "the server did not double the dot at the beginning of a line; the dot was kept"
    # RFC 1939 §7: a UIDL is 1 to 70 octets from 0x21 to 0x7E, and no two messages share one. Kept as they came.
    UIDL_BLANK = "the server gave a message an empty UIDL"
    UIDL_LONG = "the server gave a UIDL of more than 70 octets"
    UIDL_OCTETS = "the server gave a UIDL with spaces, control characters or 8-bit octets"
    # Seen: popa3d, solid-pop3d give one UIDL to different messages with alike headers.
    UIDL_REPEATED = "the server gave several messages the same UIDL"
    LIST_SIZE = "the server listed a size that no message has"
    ORDER = "the server did not list the messages in the order of their numbers"
