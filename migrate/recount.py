"""What a recount is made of: the tiers of sameness, the findings, and the sheet where both ends stand side by side.

A recount compares the two servers themselves. Only digests are kept of a
message, so that a million of them need little room.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from .model import Dedupe, Fingerprint, MailboxName, MessageRef


class Tier(Enum):
    """How the destination has a message of the source, best first."""

    IDENTICAL = "identical"  # octet for octet
    ALTERED = "altered"  # with named changes that servers make, and nothing else
    DUPLICATE = "duplicate"  # the same mail by the rule of --dedupe, with other volatile headers
    DIFFERS = "differs"  # only something else with the same index
    MISSING = "missing"
    UNREAD = "unread"  # the source would not serve it, so that nobody can tell


FAULTS = (Tier.DIFFERS, Tier.MISSING, Tier.UNREAD)

# The named changes that make the second of what the first was (none: equal octets), or None: they are two messages.
Judge = Callable[[Fingerprint, Fingerprint], tuple[str, ...] | None]


@dataclass(frozen=True, slots=True)
class Finding:
    """What the recount says of one message of the source."""

    number: int  # of the session; below 0: deleted at the source, known from the state file
    uidl: bytes
    octets: int | None
    tier: Tier
    uid: int | None = None  # of the copy, or of what is there instead
    mailbox: MailboxName | None = None  # where it was looked for; None: it was never read
    changes: tuple[str, ...] = ()
    is_shared: bool = False  # the copy is that of another message of the source
    reason: str = ""  # why it was not read
    said: bytes = b""  # the source's words, where it would not serve it

    @property
    def is_released(self) -> bool:
        return self.number < 0


@dataclass(frozen=True, slots=True)
class Counts:
    """The sums. ``tiers`` add up to ``listed`` + ``released``; ``copies`` + ``also_there`` to ``there``."""

    tiers: Mapping[Tier, int]
    listed: int  # by the source
    released: int  # deleted at the source, and recounted from the digests of the state file
    shared: int  # of all, served by the copy of another message
    there: int  # messages of the destination
    copies: int  # of these, copies of a message of the source, or what is there in its place
    octets: int  # of all that was listed or released

    @property
    def also_there(self) -> int:
        return self.there - self.copies


@dataclass(frozen=True, slots=True)
class Released:
    """What the state file knows of messages deleted at the source."""

    messages: int  # taken onto the sheet
    elsewhere: int  # copied into other mailboxes, and not looked for in this one


class Sheet(Protocol):
    """Where the digests of both ends stand. Called in one thread, in order. Raises StateError only."""

    def take_released(self, mailbox: MailboxName) -> Released | None:
        """Takes in what was deleted at the source. None: there is no state file."""

    def take_listing(self, refs: Iterable[MessageRef]) -> tuple[int, int]:
        """Takes the source session's listing in. Value: messages and octets still to be fetched.

        What an earlier session of this recount fetched stays, where number, UIDL and size are as they were.
        """

    def unread_refs(self, limit: int, after: int) -> list[MessageRef]:
        """Messages still to be fetched, by number, numbers > ``after``."""

    def note_fetched(self, prints: Sequence[tuple[int, MailboxName, Fingerprint]]) -> None:
        """Number, the mailbox where the destination should have it, fingerprint."""

    def note_refused(self, number: int, reason: str, said: bytes) -> None:
        """The source would not serve it: why, and its own words, if it had any."""

    def take_uids(self, mailbox: MailboxName, uidvalidity: int, uids: Sequence[int]) -> int:
        """Takes in what the destination has in this mailbox. Value: messages of it still to be read."""

    def unread_uids(self, mailbox: MailboxName, limit: int, after: int) -> list[int]:
        """Messages still to be read, by uid, uids > ``after``."""

    def note_served(self, mailbox: MailboxName, uids: Sequence[int], prints: Mapping[int, Fingerprint]) -> None:
        """What the destination served of these uids. What it did not serve is not there any more."""

    def match(self, dedupe: Dedupe, judge: Judge) -> None:
        """Finds for each message of the source its copy in its mailbox, in the best tier. A copy belongs to one
        message; unless ``dedupe`` is off, messages that are left over share one."""

    def counts(self) -> Counts:
        """The sums, after ``match``."""

    def findings(self, limit: int, after: int | None) -> list[Finding]:
        """What is in any tier but IDENTICAL, by number, numbers > ``after``."""
