"""What the state file answers and records: the books of a run, and what their entries say.

``Books`` is called from one thread, in order. Whoever keeps them (the state
file, a simulator's memory) promises what is said here to be durable.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from .errors import Exit
from .model import Checkpoint, MailboxName, Message, MessageRef, Work


@dataclass(frozen=True, slots=True)
class ListingFacts:
    """What one listing of the source means, compared with the state file."""

    messages: int
    octets: int
    new: int  # not known before this listing
    done: int  # known, nothing left to copy
    open: int  # known or new, still to copy
    unsure: int  # only their content can tell
    vanished_open: int  # open before, not in this listing
    vanished: int  # rows known, not yet released, not in this listing
    counted: int = 0  # how many messages the source showed at the last ``Books.note_counted``; 0: never
    left_since: int = 0  # how many more are vanished than at that count


@dataclass(frozen=True, slots=True)
class MailboxMemory:
    """What the state file remembers of a destination mailbox."""

    uidvalidity: int
    floor: int  # uidnext when we first saw it under this uidvalidity: what is below was there before us
    scanned: int  # every uid below this is in the index, or was ours
    looked: int = 1  # a run has looked below this for second copies of ours, to its end


@dataclass(frozen=True, slots=True)
class Candidate:
    """Something with the same index: a row of ours, or a message that the destination already had."""

    row: Checkpoint | None
    uid: int | None = None  # of the destination, when row is None
    octets: int | None = None
    content: bytes | None = None  # digest, once it was read


@dataclass(frozen=True, slots=True)
class Tally:
    """The books: ``listed`` is the sum of the others but ``released`` and ``altered``, which are parts of them."""

    listed: int = 0
    copied: int = 0
    there: int = 0
    duplicate: int = 0
    skipped: int = 0
    set_aside: int = 0
    gone: int = 0
    open: int = 0
    released: int = 0  # deleted at the source, of the above
    altered: int = 0  # stored with a named change, of the above
    verified: int = 0  # copied and verified, of the above
    octets: int = 0  # of what was copied

    @property
    def balances(self) -> bool:
        parts = self.copied + self.there + self.duplicate + self.skipped + self.set_aside + self.gone + self.open
        return self.listed == parts

    @property
    def codes(self) -> tuple[Exit, ...]:
        """What these books say of a run, whatever it was to do."""
        aside = (Exit.SET_ASIDE,) if self.set_aside else ()
        return aside if self.balances else (*aside, Exit.UNEXPECTED)


class Books(Protocol):
    """What the state file answers and records, called in one thread, in order. Raises StateError only."""

    # The run and the listing ---------------------------------------------------------------
    def begin_run(self, wall: float) -> tuple[int, float | None]:
        """The number of this run, and the wall time at which the last one was alive. Durable."""

    def begin_session(self) -> int:
        """The number of a new source session. Durable before the session fetches anything."""

    def end_session(self) -> None:
        """The source session ended with QUIT. Durable."""

    def cut_off(self, limit: int) -> list[Work]:
        """Rows of the listing with nothing left to do that were fetched last in a session without such an end."""

    def forget_cuts(self) -> None:
        """Sessions so far count as ended: the source hides nothing for that. Durable."""

    def record_listing(self, refs: Iterable[MessageRef]) -> ListingFacts:
        """Takes the session's listing in: unknown messages, and GONE ones that are back, become LISTED. Durable."""

    def note_counted(self, messages: int) -> None:
        """After a session that ended with QUIT the source shows as many messages, the same as in that one. Durable."""

    def mark_vanished(self) -> int:
        """Turns open LISTED and SET_ASIDE rows that the listing lacks, and that are not spooled,
        into GONE; RELEASING rows that it lacks into RELEASED. Value: how many became GONE."""

    def has_baseline(self) -> bool:
        """Whether ``skip`` was called once for all that a listing showed."""

    def skip(self, reason: str, uids: Collection[bytes] | None) -> int:
        """Turns rows LISTED of the source session's listing into SKIPPED: those of these UIDLs, or (None) all.

        Neither those that were fetched before nor those whose UIDL does not tell them from others (Work.is_unsure).
        Durable. Value: how many.
        """

    def next_work(self, limit: int, after: int) -> list[Work]:
        """Rows LISTED or SET_ASIDE of the listing (or spooled), and unsure ones, by id, ids > ``after``."""

    def releasable(self, limit: int, after: int, verified_before: int) -> list[Work]:
        """Rows VERIFIED, DUPLICATE, RELEASING or RELEASED that the source session's listing shows,
        verified at or before that time, by id, ids > ``after``. Unsure ones are left out."""

    def count_open(self, limit: int | None) -> tuple[int, int]:
        """How many messages and octets ``next_work`` would give in all, or up to that limit, with those INTENDED.

        Unsure ones are left out. Of what the listing does not show, the size is that of the listing that did.
        """

    def count_releasable(self, verified_before: int, limit: int | None = None) -> tuple[int, int]:
        """How many messages and octets ``releasable`` would give in all, or up to that limit."""

    # Rows ----------------------------------------------------------------------------------
    def commit(self, batches: Sequence[tuple[Checkpoint, ...]]) -> None:
        """Makes the rows durable in one transaction. StateError on an illegal transition."""

    def bind(self, ref: MessageRef, keep: Checkpoint, placeholder: Checkpoint) -> None:
        """The source session's message ``ref`` is the message of ``keep``: its UIDL changed, or repeats.

        The listing shows ``keep`` under ``ref.number`` from now on. ``placeholder``, the row that
        the listing had put there, ceases to be if it is LISTED, was never fetched and nothing else
        of the listing is bound to it. The caller commits ``keep`` with its new uid and octets.
        """

    def split(self, ref: MessageRef) -> Checkpoint:
        """A new LISTED row, bound to ``ref``: it is another message than that of any row under the same UIDL."""

    def retrieved_unsafe(self, session: int) -> list[Work]:
        """What the session served and is neither VERIFIED (or later), DUPLICATE nor spooled: then there is no QUIT."""

    def is_listed(self, row_id: int) -> bool:
        """Whether the source session's listing shows the message of that row."""

    def row(self, row_id: int) -> Checkpoint: ...

    def unplaced(self, mailbox: MailboxName) -> list[Checkpoint]:
        """Rows INTENDED, APPENDED, VERIFIED, RELEASING, RELEASED or SET_ASIDE after an intent (origin COPIED or
        undecided) of this mailbox that claim no uid: those whose copy was seen, then those that the destination
        acknowledged, then the others."""

    def open_mailboxes(self) -> list[MailboxName]:
        """Every destination mailbox that some row names, or that earlier runs worked on: an upload may land late."""

    def awaiting_proof(self, limit: int, after: int) -> list[Checkpoint]:
        """Rows APPENDED with a uid, by id."""

    def settle_open(self) -> bool:
        """Whether any row is INTENDED, or APPENDED without a uid: somebody may still be storing it."""

    def tally(self) -> Tally: ...

    # Destination ---------------------------------------------------------------------------
    def mailbox(self, mailbox: MailboxName) -> MailboxMemory | None: ...

    def remember_mailbox(self, mailbox: MailboxName, memory: MailboxMemory) -> None: ...

    def forget_uids(self, mailbox: MailboxName) -> int:
        """UIDVALIDITY changed: every uid of the mailbox is void, in rows and index. Value: rows touched."""

    def unknown_uids(self, mailbox: MailboxName, uids: Sequence[int]) -> list[int]:
        """Those that no row claims and the index does not have."""

    def suspects(self, mailbox: MailboxName, low: int) -> list[int]:
        """Indexed uids >= ``low`` that no row claims, with the index of a row that claims another, anywhere."""

    def holders(self, indexes: Sequence[bytes]) -> dict[bytes, list[Checkpoint]]:
        """Rows of each index that claim a copy, in whatever mailbox, by id."""

    def index(self, mailbox: MailboxName, served: Sequence[tuple[int, bytes, int]]) -> None:
        """Remembers (uid, index, octets) of messages that the destination has and no row claims."""

    def learn(self, mailbox: MailboxName, uid: int, content: bytes | None) -> None:
        """Remembers the content digest of an indexed message, or (None) that it is not there any more."""

    def lookup(self, mailbox: MailboxName, indexes: Sequence[bytes]) -> dict[bytes, list[Candidate]]:
        """By index: rows of any stage but LISTED and GONE, by id, then what the destination has unclaimed, by uid."""

    def is_apart(self, mailbox: MailboxName) -> bool | None:
        """What ``note_apart`` said of the mailbox under the UIDVALIDITY that it has now. None: nothing yet."""

    def note_apart(self, mailbox: MailboxName, is_apart: bool) -> None:
        """Whether the mailbox kept its messages when the source deleted some: else both are one. Durable."""

    # Spool ---------------------------------------------------------------------------------
    def spool(self, row_id: int, message: Message) -> None:
        """Makes the octets durable beside the state file (fsync of file and directory)."""

    def spooled(self, row_id: int) -> Message:
        """The spooled message. MessageError when it is damaged or missing."""

    def keep_back(self, row_id: int) -> None:
        """The octets of that row, which has nothing left to do, are to be spooled all the same. Durable."""

    def kept_back(self) -> list[Checkpoint]:
        """The rows of ``keep_back`` that have nothing left to do and are spooled."""

    def unspool(self, row_ids: Sequence[int]) -> None:
        """Removes spool files that are not needed any more."""
