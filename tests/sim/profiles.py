"""The profiles: the habits of two servers, and what others do between two runs of ours."""

from __future__ import annotations

from dataclasses import dataclass

MULTI = "IMAP4rev1 NAMESPACE UIDPLUS LITERAL+ MULTIAPPEND"
PLUS = "IMAP4rev1 UIDPLUS LITERAL+"
MINUS = "IMAP4rev1 NAMESPACE UIDPLUS LITERAL- AUTH=PLAIN"
SYNC = "IMAP4rev1 UIDPLUS"
BARE = "IMAP4rev1"


@dataclass(frozen=True, slots=True)
class Profile:
    """The habits of the two servers, and what happens between two runs of ours."""

    name: str
    has_uids: bool = True  # UIDPLUS
    is_atomic: bool = True  # MULTIAPPEND
    twins: int = 0  # how many messages are exact copies of the first
    same_id: bool = False  # all messages share one Message-ID, with other bodies
    deliver: bool = False  # somebody else delivers to the destination between runs
    arrive: bool = False  # new mail comes to the source between runs
    uidvalidity_changes: bool = False
    uidls: str = "kept"  # kept | change | reuse | replace | repeat | none
    deletes_on_fetch: bool = False
    capped: int = 0  # the listing shows so many, the oldest first
    hides: bool = False  # what was fetched is shown no more after a QUIT
    rollback: bool = False  # the state file is restored from before the last run
    lost_commits: bool = False
    loses_newest: bool = False  # the destination loses its newest message when we die
    partial_quit: bool = False  # QUIT deletes some, and the answer is lost
    mangles: bool = False  # NUL is served as 0x80, a bare LF as CRLF
    adds_header: bool = False  # a header line of its own in every message: nothing that can be believed
    hangs_up: str = ""  # the end that hangs up at one message, whenever it comes: "source" | "destination"
    has_deletion: bool = True
    verify: str = "sample"  # "full": every message is read back, as it is in any case where something is deleted
    dedupe: str = "off"
    messages: int = 4
    folder_changes: bool = False  # the person names another folder for every run but the first
    two_hosts: bool = False  # the same migration on two machines at once, each with a state file of its own
    wire: str = ""  # what IMAP offers, where the real stores speak octets to model servers
    has_pipelining: bool = True  # POP3, on the wire
    folders: bool = False  # the source has two, as an IMAP account has
    is_shared: bool = False  # the maildrop and the folder of the destination are one mailbox
    lanes: int | None = None  # connections to the destination; None: as many as the server makes worth while

    @property
    def hosts(self) -> int:
        return 2 if self.two_hosts else 1


PROFILES = [
    Profile("plain"),
    Profile("plain-nouids", has_uids=False),
    Profile("single", is_atomic=False),
    Profile("single-nouids", is_atomic=False, has_uids=False),
    Profile("lanes", is_atomic=False, lanes=3),
    Profile("lanes-nouids", is_atomic=False, has_uids=False, lanes=3),
    Profile("lanes-twins", twins=2, lanes=2),
    Profile("folders", folders=True, has_deletion=False),
    Profile("folders-nouids", folders=True, has_deletion=False, has_uids=False, arrive=True),
    Profile("folders-change", folders=True, has_deletion=False, uidls="change", twins=2),
    Profile("twins", twins=2),
    Profile("twins-nouids", twins=2, has_uids=False),
    Profile("deliver", deliver=True),
    Profile("deliver-twins-nouids", deliver=True, twins=2, has_uids=False),
    Profile("arrive", arrive=True),
    Profile("uidvalidity", uidvalidity_changes=True),
    Profile("uidvalidity-twins", uidvalidity_changes=True, twins=2),
    Profile("uidl-change", uidls="change"),
    Profile("uidl-change-twins", uidls="change", twins=2),
    Profile("uidl-reuse", uidls="reuse", arrive=True),
    Profile("uidl-replaced", uidls="replace"),
    Profile("uidl-repeat", uidls="repeat"),
    Profile("uidl-repeat-twins", uidls="repeat", twins=2),
    Profile("uidl-none", uidls="none"),
    Profile("uidl-none-twins", uidls="none", twins=2),
    Profile("deletes-on-fetch", deletes_on_fetch=True, has_deletion=False),
    Profile("deletes-on-fetch-nouids", deletes_on_fetch=True, has_deletion=False, has_uids=False),
    Profile("capped", capped=2),
    Profile("capped-hides", capped=2, hides=True, has_deletion=False),
    Profile("rollback", rollback=True),
    Profile("lost-commits", lost_commits=True),
    Profile("loses-newest", loses_newest=True),
    Profile("loses-newest-nouids", loses_newest=True, has_uids=False),
    Profile("partial-quit", partial_quit=True),
    Profile("mangles", mangles=True),
    Profile("adds-header", adds_header=True),
    Profile("adds-header-nouids", adds_header=True, has_uids=False),
    Profile("source-hangs-up", hangs_up="source"),
    Profile("source-hangs-up-deletes-on-fetch", hangs_up="source", deletes_on_fetch=True, has_deletion=False),
    Profile("destination-hangs-up", hangs_up="destination"),
    Profile("destination-hangs-up-single-nouids", hangs_up="destination", is_atomic=False, has_uids=False),
    Profile("no-deletion", has_deletion=False),
    Profile("no-deletion-full", has_deletion=False, verify="full"),
    Profile("no-deletion-mangles", has_deletion=False, mangles=True),
    Profile("no-deletion-lanes-twins", has_deletion=False, lanes=2, twins=2, messages=8),
    Profile("dedupe", dedupe="content", twins=2),
    Profile("dedupe-same-id", dedupe="content", same_id=True),
    Profile("dedupe-deliver-nouids", dedupe="content", twins=2, deliver=True, has_uids=False),
    Profile("folder-changes", folder_changes=True),
    Profile("folder-changes-twins-nouids", folder_changes=True, twins=2, has_uids=False),
    Profile("shared", is_shared=True, dedupe="content"),
    Profile("shared-arrive-nouids", is_shared=True, dedupe="content", arrive=True, has_uids=False),
    Profile("shared-capped-twins", is_shared=True, dedupe="content", capped=2, twins=2),
    Profile("two-hosts", two_hosts=True, dedupe="content"),
    Profile("two-hosts-keeping-nouids", two_hosts=True, dedupe="content", has_deletion=False, has_uids=False),
    Profile("wire-multiappend", wire=MULTI),
    Profile("wire-literal-plus-twins", wire=PLUS, is_atomic=False, twins=2),
    Profile("wire-literal-minus", wire=MINUS, is_atomic=False),
    Profile("wire-synchronising", wire=SYNC, is_atomic=False, has_pipelining=False),
    Profile("wire-bare-twins", wire=BARE, is_atomic=False, has_uids=False, twins=2),
    Profile("wire-deletes-on-fetch", wire=MULTI, deletes_on_fetch=True, has_deletion=False),
    Profile("wire-mangles", wire=MULTI, mangles=True),
    Profile("wire-no-uidl", wire=PLUS, is_atomic=False, uidls="none"),
]
BY_NAME = {profile.name: profile for profile in PROFILES}
