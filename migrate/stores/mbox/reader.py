"""mbox files as a source: every message of the indexes with its exact octets, and every one that no index knows."""

from __future__ import annotations

import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

from ...commands import Digest, SourceFacts
from ...errors import MessageError
from ...model import DateSource, MailboxName, Message, MessageRef, display
from .. import disk
from ..base import collected
from ..local import FileSource, Wanted
from ..lock import WAIT_S, PatientSession, run_lock
from ..mboxes import Told
from .age import SUFFIX as ENCRYPTED
from .age import Identity
from .index import SUFFIX
from .listing import Listing
from .others import HINT, Others
from .packed import SUFFIX as PACKED
from .part import MBOX, STATE, Part
from .pruned import Record
from .strangers import Stranger, strangers


class MboxReader(FileSource, PatientSession):
    """Reads one file, or every mbox file below a directory. Never deletes anything.

    ``wanted`` chooses by header and internal date which messages are listed. ``identity`` reads what is encrypted;
    without it a backup that has such files cannot be opened. ``told``: what earlier sessions of the run have said.
    """

    what = "mbox files in"

    def __init__(
        self,
        root: Path,
        digester: Callable[[], Digest],
        spill_dir: Path,
        *,
        wanted: Wanted | None = None,
        identity: Identity | None = None,
        told: set[str] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
    ) -> None:
        super().__init__(monotonic=monotonic, wait_s=wait_s)
        self._root = root
        self._digester = digester
        self._spill_dir = spill_dir
        self._wanted = wanted
        self._identity = identity
        self._told = set() if told is None else told
        self._listing = Listing()

    def _listed(self) -> Listing:
        return self._listing

    def close(self) -> None:
        super().close()
        self._listing = Listing()

    # --- listing ----------------------------------------------------------------------------

    def _open(self) -> SourceFacts:
        if not self._root.exists():
            raise self._missing()
        self._listing = Listing()
        mailboxes: dict[MailboxName | None, None] = {}
        for part in parts_below(self._root, self._identity):
            with run_lock(part.path.parent, shared=True):
                self._list(part)
            mailboxes[_mailbox(part)] = None
        if self._root.is_dir():
            self._list_others(Others(self._root))
        return self._facts(len(self._listing), self._listing.octets, tuple(mailboxes))

    def _list_others(self, others: Others) -> None:
        """Takes in what is no part of the backup, as what cannot be read: it is set aside, and the books know of it."""
        for name, what in others.mail():
            self._listing.add_fault(name, what)
        if line := others.line():
            self._tell(line)

    def _tell(self, text: str) -> None:
        if text not in self._told:
            self._told.add(text)
            self.notices.append((text, b""))

    def _list(self, part: Part) -> None:
        """Takes in the messages of a file: first those of the index, then those that it does not know."""
        size = part.size()
        if part.has_index:
            part.forget()
            for number, entry in part.index.entries():
                if entry is None or (number >= part.index.marked and entry.end > size):
                    continue  # of a backup that was interrupted: nobody was told of it
                header = part.header(entry) if self._wanted is not None and entry.end <= size else b""
                if self._wanted is None or self._wanted(header, entry.internaldate.when):
                    self._listing.add_entry(part, number, entry.octets)
        for found in strangers(part, size):
            if isinstance(found, Told):
                self._tell(f"{display(part.path.name)}: {found.what}")
            else:
                self._list_stranger(part, *found)

    def _list_stranger(self, part: Part, stranger: Stranger, header: bytes) -> None:
        """Takes in a message that no index knows, if it is wanted. It is named by its content."""
        date = stranger.date(part)
        when = date.when if date is not None and date.source is DateSource.STORE else None
        if self._wanted is not None and not self._wanted(header, when):
            return
        digest = sha256()
        octets = 0
        for block in stranger.blocks(part):
            digest.update(block)
            octets += len(block)
        self._listing.add_stranger(part, stranger, digest.hexdigest().encode("ascii"), octets)

    # --- fetching ---------------------------------------------------------------------------

    def _fetch(self, ref: MessageRef) -> Message:
        place = self._listing.place(ref)
        if isinstance(place, str):
            raise MessageError(place, hint=HINT)
        if place is None:
            raise MessageError("the source has no such message")
        if isinstance(place.entry, Stranger):
            message = collected(self._digester, self._spill_dir, place.entry.blocks(place.part))
            return message._replace(internaldate=place.entry.date(place.part), mailbox=_mailbox(place.part))
        entry = place.part.entry(place.entry)
        name = display(place.part.path.name)
        if entry is None:
            raise MessageError(f"its line in the index of {name} is damaged")
        message = collected(self._digester, self._spill_dir, place.part.blocks(entry))
        if message.fingerprint.exact != entry.exact:
            message.discard()
            raise MessageError(
                f"uid {entry.uid} in {name} at offset {entry.offset} is damaged",
                hint="popferry verify DIR names all that is. Another copy of the backup may have it whole.",
            )
        return message._replace(flags=entry.flags, internaldate=entry.internaldate, mailbox=_mailbox(place.part))


def is_backup(root: Path) -> bool:
    """Whether a directory or a file is a backup of ours, or of one: an index stands beside the mail, or a state in it.

    A directory that has whole backups below it is none: what else stands there would be passed over.
    """
    if root.is_file():
        return Part(root).has_index
    if (root / STATE).is_dir():
        return True
    names = [path.name for path in disk.below(root)]
    return any(name.endswith(MBOX + SUFFIX) for name in names) and STATE not in names


def parts_below(root: Path, identity: Identity | None = None) -> list[Part]:
    """Every mbox file, those of a mailbox by uid; or the one that ``root`` is."""
    if root.is_file():
        return [Part(root.with_name(root.name.removesuffix(ENCRYPTED).removesuffix(PACKED)), identity)]
    # A file may be lost and its index left.
    found = list(disk.below(root))
    names = {path.with_name(path.stem) for path in found if path.name.endswith((MBOX + SUFFIX, MBOX + PACKED))}
    names |= {path.with_suffix("").with_suffix("") for path in found if path.name.endswith(MBOX + PACKED + ENCRYPTED)}
    names |= {path for path in found if path.name.endswith(MBOX) and path.is_file()}
    parts = [Part(name, identity) for name in names]
    parts = [part for part in parts if part.exists() or not Record(part.path.parent).names(part.path.name)]
    return sorted(parts, key=lambda part: (part.path.parent, part.first if part.has_index else 0, part.path.name))


def _mailbox(part: Part) -> MailboxName | None:
    """The mailbox that the file is a part of; None where no index says so."""
    return part.index.head.mailbox if part.has_index and part.index.head is not None else None
