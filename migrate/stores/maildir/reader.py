"""Maildirs as a source, whoever wrote them: every file in new/ and cur/ is a message. Nothing there is changed."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from ...commands import Digest, SourceFacts
from ...errors import Cause, MessageError, Retry, StoreError
from ...model import DateSource, Flags, InternalDate, MailboxName, Message, MessageRef, display
from ...wire.maildir import LETTERED, flags_of, letters_of, size_of
from .. import disk
from ..base import beginning, collected
from ..dirnames import directories_below, mailbox_of
from ..local import FileSource, Wanted
from ..lock import WAIT_S, PatientSession, run_lock
from .files import Files, Opened, blocks
from .folder import LOCK
from .index import INDEX, Entry, Index, Kind
from .keywords import keywords_of


class Source:
    """One Maildir of the tree, as it was when the source was opened."""

    def __init__(self, root: Path, directory: Path) -> None:
        relative = directory.relative_to(root)
        self.directory = directory
        self.files = Files(directory)
        self.keywords: dict[str, str] = {}
        self.index: Index | None = None
        self._identity = b"" if directory == root else os.fsencode(relative)
        self.mailbox = mailbox_of(relative)

    def look(self) -> None:
        self.files.look()
        self.keywords = keywords_of(self.directory)
        if (self.directory / INDEX).exists():
            self.index = Index(self.directory / INDEX)
            self.mailbox = self.index.head.mailbox if self.index.head else self.mailbox

    def uniques(self) -> list[str]:
        """The unique part of every message's name: those of the index in its order, then the others."""
        known = [unique for unique in self.index.uniques if unique in self.files] if self.index else []
        # One that is named twice was found void, and taken in later.
        return list(dict.fromkeys([*known, *sorted(self.files)]))

    @property
    def gone(self) -> int:
        """How many messages were stored here and are not any more."""
        index = self.index
        if index is None:
            return 0
        return sum(index.kind(at) is Kind.STORED and index.uniques[at] not in self.files for at in range(len(index)))

    def place(self, unique: str) -> int | None:
        """Where the index has the message; None where it knows nothing of it."""
        place = self.index.places.get(unique) if self.index else None
        return None if self.index is None or place is None or self.index.kind(place) is Kind.VOID else place

    def entry(self, unique: str) -> Entry | None:
        place = self.place(unique)
        return None if self.index is None or place is None else self.index.entry(place)

    def octets(self, unique: str) -> int:
        """A guess, where the index does not know."""
        place = self.place(unique)
        known = self.index.octets[place] if self.index is not None and place is not None else 0
        if known:
            return known
        name = self.files.name(unique)
        return size_of(name) or disk.size_of(self.directory / name)

    def uid(self, unique: str) -> bytes:
        return b"%b;%b" % (self._identity, os.fsencode(unique))

    def flags(self, opened: Opened, entry: Entry | None) -> Flags | None:
        """Those of the name, as it is now; None where no program has said anything yet that a header could not."""
        if entry is not None and opened.name == entry.name:
            return entry.flags
        letters = letters_of(opened.name)
        if letters is None:
            return Flags() if opened.name.startswith("new/") else None
        found = flags_of(letters, self.keywords)
        if entry is None:
            return found
        # Keywords for which there was no letter: nobody can have taken them away.
        has_letter = {name.lower() for name in self.keywords.values()}
        rest = entry.flags.names - LETTERED
        return Flags(found.names | {name for name in rest if name.lower() not in has_letter})


class Place(NamedTuple):
    """Where one message of the listing stands."""

    source: Source
    unique: str


class MaildirReader(FileSource, PatientSession):
    """Reads every Maildir at and below ``root``. Never deletes, moves or renames anything.

    ``wanted`` chooses by header and internal date which messages are listed.
    """

    what = "Maildir"

    def __init__(
        self,
        root: Path,
        digester: Callable[[], Digest],
        spill_dir: Path,
        *,
        wanted: Wanted | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
    ) -> None:
        super().__init__(monotonic=monotonic, wait_s=wait_s)
        self._root = root
        self._digester = digester
        self._spill_dir = spill_dir
        self._wanted = wanted
        self._refs: list[MessageRef] = []
        self._places: list[Place] = []

    def _listed(self) -> list[MessageRef]:
        return self._refs

    def close(self) -> None:
        super().close()
        self._refs, self._places = [], []

    # --- listing ----------------------------------------------------------------------------

    def _open(self) -> SourceFacts:
        if not self._root.exists():
            raise self._missing()
        self._refs, self._places = [], []
        directories = list(directories_below(self._root)) if self._root.is_dir() else []
        if not directories:
            what = f"{display(str(self._root), 1000)} is no Maildir"
            expected = "expected a directory with cur and new in it, or in one below"
            raise StoreError(f"{what}: {expected}", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        mailboxes: dict[MailboxName, None] = {}
        for directory in directories:
            source = Source(self._root, directory)
            with run_lock(directory, shared=True, name=LOCK):
                source.look()
            self._list(source)
            mailboxes[source.mailbox] = None
        return self._facts(len(self._refs), sum(ref.octets or 0 for ref in self._refs), tuple(mailboxes))

    def _list(self, source: Source) -> None:
        for unique in source.uniques():
            if self._wanted is not None and not self._is_wanted(source, unique, self._wanted):
                continue
            self._refs.append(MessageRef(source.uid(unique), len(self._refs) + 1, source.octets(unique)))
            self._places.append(Place(source, unique))
        where = display(str(source.directory), 1000)
        if source.gone:
            text = f"{source.gone:,} messages that were stored in {where} are not there any more"
            self.notices.append((f"{text}; popferry verify names them", b""))
        if source.files.odd:
            self.notices.append((f"{_several(source.files.odd)} of {where} lead nowhere; they are left out", b""))
        if beside := _beside(source.directory):
            text = f"{_several(beside)} stand beside cur and new of {where}, not in them"
            self.notices.append((f"{text}; they are left out", b""))

    def _is_wanted(self, source: Source, unique: str, wanted: Wanted) -> bool:
        with source.files.open(unique) as opened:
            if opened is None:
                return True  # what became of it is told when it is fetched
            entry = source.entry(unique)
            date = _date(opened, entry)
            return wanted(beginning(blocks(opened.stream, entry)), date.when if date else None)

    # --- fetching ---------------------------------------------------------------------------

    def _fetch(self, ref: MessageRef) -> Message:
        at = ref.number - 1
        if not 0 <= at < len(self._refs) or self._refs[at].uid != ref.uid:
            raise MessageError("the source has no such message")
        source, unique = self._places[at]
        try:
            with source.files.open(unique) as opened:
                if opened is not None:
                    return self._read(source, opened, source.entry(unique))
        except PermissionError as error:
            raise MessageError(
                f"{display(str(error.filename), 1000)} cannot be read: {error.strerror}",
                hint="Run it as the owner of the mail.",
            ) from error
        if not self._root.is_dir():
            raise StoreError(
                f"{display(str(self._root), 1000)} is not there any more", cause=Cause.UNUSABLE, retry=Retry.LATER
            )
        raise MessageError(f"{display(unique)} is not in {source.mailbox} any more: another program removed it")

    def _read(self, source: Source, opened: Opened, entry: Entry | None) -> Message:
        message = collected(self._digester, self._spill_dir, blocks(opened.stream, entry))
        if entry is not None and message.fingerprint.exact != entry.exact:
            message.discard()
            raise MessageError(
                f"{display(opened.name)} in {source.mailbox} is damaged",
                hint="popferry verify names all that is. Another copy of the backup may have it whole.",
            )
        flags, date = source.flags(opened, entry), _date(opened, entry)
        if flags is not None:
            # A mail that is copied because it is to be kept would vanish.
            flags = Flags(flags.names - {"\\Deleted"})
        return message._replace(flags=flags, internaldate=date, mailbox=source.mailbox)


def _date(opened: Opened, entry: Entry | None) -> InternalDate | None:
    """That of the index; else the time of the file, which is where Dovecot and Courier keep it."""
    if entry is not None:
        return entry.internaldate
    seconds = os.fstat(opened.stream.fileno()).st_mtime
    try:
        when = datetime.fromtimestamp(int(seconds), UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return InternalDate(when, DateSource.STORE) if 1970 <= when.year < 2100 else None


def _beside(directory: Path) -> list[str]:
    """Files with names of messages that stand where no program looks for messages."""
    with os.scandir(directory) as entries:
        return sorted(one.name for one in entries if letters_of(one.name) is not None and one.is_file())


def _several(names: Sequence[str]) -> str:
    first = display(names[0])
    return first if len(names) == 1 else f"{first} and {len(names) - 1:,} more"
