"""What happened, frozen and JSON-able: the only thing a face hears while a job runs.

``name`` of an event is its class name in kebab-case; ``as_json`` gives the
object that ``--json`` prints on one line. Text that came from a server or a
message is already safe to show (``model.display``). No event carries an
address, a subject or a secret.
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from typing import Any

from .books import Tally


@dataclass(frozen=True, slots=True)
class Event:
    """Base of all events."""

    def as_json(self) -> dict[str, Any]:
        name = re.sub(r"(?<!^)(?=[A-Z])", "-", type(self).__name__).lower()
        return {"event": name, **asdict(self)}


@dataclass(frozen=True, slots=True)
class Connected(Event):
    end: str  # "source" or "destination"
    greeting: str


@dataclass(frozen=True, slots=True)
class Listed(Event):
    """The source was listed. Numbers of messages, but for ``octets``."""

    messages: int
    octets: int
    new: int
    done: int
    open: int
    unsure: int


@dataclass(frozen=True, slots=True)
class Skipped(Event):
    """So many messages of the listing are done without being fetched, because the person asked for it."""

    messages: int
    reason: str


@dataclass(frozen=True, slots=True)
class Settling(Event):
    """We wait: an upload of a dead connection may still land. ``left_s`` counts down to 0."""

    left_s: float
    messages: int
    reason: str


@dataclass(frozen=True, slots=True)
class Scanned(Event):
    """The destination was looked through before anything was sent."""

    mailbox: str
    messages: int  # looked at in this scan
    adopted: int  # found to be ours after an interruption


@dataclass(frozen=True, slots=True)
class Fetched(Event):
    """A message has come from the source; nothing durable yet."""

    octets: int


@dataclass(frozen=True, slots=True)
class Copied(Event):
    """Messages are at the destination and our books say so, durably."""

    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Verified(Event):
    """Messages were served back and matched, durably recorded."""

    messages: int
    proof: str  # "octets" or "size"


@dataclass(frozen=True, slots=True)
class Altered(Event):
    """The destination keeps a message with these named changes (and nothing else differs)."""

    row: int
    uidl: str
    changes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Duplicate(Event):
    """A message was not copied, because the destination has its twin."""

    row: int
    uidl: str
    twin: int | None  # row of the twin; None: it was at the destination before us
    twin_uidl: str
    twin_uid: int | None  # its UID at the destination, when known


@dataclass(frozen=True, slots=True)
class SameId(Event):
    """Two messages share a Message-ID and differ in content: both are kept."""

    row: int
    uidl: str
    twin: int | None
    twin_uidl: str


@dataclass(frozen=True, slots=True)
class SetAside(Event):
    """One message could not be moved; the next run tries it again."""

    row: int
    uidl: str
    reason: str
    said: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Gone(Event):
    """Open messages left the source before we had them."""

    messages: int


@dataclass(frozen=True, slots=True)
class Deleting(Event):
    """Said before the first deletion: how many the source will be asked to delete."""

    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Deleted(Event):
    """The source confirmed the deletion of so many messages."""

    messages: int


@dataclass(frozen=True, slots=True)
class Kept(Event):
    """A message stays at the source although its deletion was asked for. Said at the end of the run."""

    row: int
    uidl: str
    reason: str


@dataclass(frozen=True, slots=True)
class DeletionOff(Event):
    """Nothing is deleted in this run, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Reconnecting(Event):
    end: str
    reason: str
    said: str
    wait_s: float


@dataclass(frozen=True, slots=True)
class Doubled(Event):
    """The destination holds more than one copy of a message that we uploaded once."""

    row: int
    uidl: str
    places: tuple[tuple[str, int], ...]  # mailbox and uid of each copy, ours first


@dataclass(frozen=True, slots=True)
class Notice(Event):
    """Something worth a line: a tolerated quirk, a limit, a changed identity."""

    text: str
    said: str = ""


@dataclass(frozen=True, slots=True)
class WouldDo(Event):
    """A dry run's answer. ``octets``: of what would be copied. ``mailboxes``: where it would go, each with how many
    messages it holds now; None: it would be created."""

    copy: int
    octets: int
    unsure: int
    done: int
    delete: int
    mailboxes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Stopping(Event):
    """A person asked to stop; what is in flight is finished first."""


@dataclass(frozen=True, slots=True)
class Finished(Event):
    """The books at the end, whatever the end was. ``problems`` were met on the way, worst first."""

    tally: Tally
    exit: int
    problems: tuple[str, ...] = field(default=())


# --- verify and rebuild -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Counting(Event):
    """One end is read whole from now on. Said again after a new connection, with what is left."""

    end: str  # "source", "destination" or "backup"
    messages: int
    octets: int  # 0: not known


@dataclass(frozen=True, slots=True)
class ServedBack(Event):
    """The destination, or the backup, has served back so many more messages, every octet."""

    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Judged(Event):
    """What a recount says of a message that the destination does not have octet for octet, or not for it alone."""

    uidl: str
    octets: int | None
    tier: str  # recount.Tier, but "identical"
    mailbox: str  # where it was looked for at the destination; "": in the only one, or it was never read
    uid: int | None  # of the copy, or of what is there in its place
    changes: tuple[str, ...]
    is_shared: bool  # the copy is that of another message of the source
    is_released: bool  # deleted at the source: its digest comes from the state file
    said: str
    reason: str = ""  # why it was not read, in our words


@dataclass(frozen=True, slots=True)
class Recounted(Event):
    """The result of a recount, whatever the end was. The numbers hold only when ``is_complete``.

    ``identical`` to ``unread`` add up to ``listed`` + ``released``; ``copies`` + ``also_there`` to ``there``.
    """

    is_complete: bool
    listed: int = 0  # by the source
    released: int = 0  # deleted at the source, recounted from the digests of the state file
    octets: int = 0  # of both
    identical: int = 0
    altered: int = 0
    duplicate: int = 0
    differs: int = 0
    missing: int = 0
    unread: int = 0
    shared: int = 0  # served by the copy of another message, of the above
    there: int = 0  # messages of the destination
    copies: int = 0  # of these, copies of messages of the source, or what is there in their place
    also_there: int = 0  # the others
    exit: int = 0
    problems: tuple[str, ...] = field(default=())


# --- backups ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Damaged(Event):
    """Something in a backup is not as it was stored."""

    file: str  # below the directory of the backup; or a mailbox
    offset: int | None  # in the file, where the message stands
    uid: int | None
    message: str  # the SHA-256 of its octets, as they were
    what: str


@dataclass(frozen=True, slots=True)
class StoredAgain(Event):
    """Messages that a file of a backup has lost, and that are whole in it under later uids: no fault."""

    file: str  # below the directory of the backup
    messages: int
    uid: int | None  # the lowest that was lost; None where the index has lost it


@dataclass(frozen=True, slots=True)
class Checked(Event):
    """Every octet of a backup was read."""

    files: int
    messages: int
    octets: int  # of the files
    damaged: int  # events Damaged before this one
    exit: int
    unread: int = 0  # messages of encrypted files: without an identity the files alone are read


@dataclass(frozen=True, slots=True)
class Compressed(Event):
    """A file of a backup that is over takes less room now."""

    file: str
    octets: int  # before
    packed: int  # after


@dataclass(frozen=True, slots=True)
class Encrypted(Event):
    """A file of a backup that is over can be read only by those it was encrypted to."""

    file: str
    messages: int
    octets: int  # of what stands there now


@dataclass(frozen=True, slots=True)
class Prunable(Event):
    """A file of a backup that a rule takes: it is deleted next, or would be."""

    file: str
    messages: int
    octets: int
    since: str | None  # the oldest internal date of its messages, and the newest
    until: str | None


@dataclass(frozen=True, slots=True)
class Spared(Event):
    """A file that the rule takes and that stays."""

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Pruning(Event):
    """Said before the first file is deleted: how many will be."""

    files: int
    messages: int
    octets: int


@dataclass(frozen=True, slots=True)
class Pruned(Event):
    """How much was deleted from a backup, or would be."""

    is_deleted: bool
    files: int
    messages: int
    octets: int
    exit: int
