"""A Maildir as a destination: what an Append promised is on the disk, delivered, and in the index."""

from __future__ import annotations

import itertools
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from ...commands import (
    Append,
    FetchHeaders,
    Letter,
    MailboxStatus,
    OpenMailbox,
    ReadBack,
    Served,
)
from ...errors import Cause, MessageError, Retry, StoreError
from ...model import INBOX, AppendUid, Fingerprint, MailboxName
from ...wire.maildir import Sizes, letters_for, stored_lines, unique_of
from ...wire.mbox import survey
from .. import disk
from ..base import beginning, digested, header_fields, watched
from ..local import ANY_FLAG, FileDest
from ..lock import WAIT_S, PatientSession, run_lock
from .files import Opened, blocks
from .folder import LOCK, Folder, Indexes
from .index import Entry
from .keywords import keywords_for

_deliveries = itertools.count(1)  # of this process


class Stored(NamedTuple):
    """What is about to be delivered; the blocks of a large message are made again when they are written."""

    letter: Letter
    entry: Entry
    blocks: list[bytes] | None


class MaildirAppender(FileDest[Folder], PatientSession):
    """Delivers to the Maildir ``root`` and its folders. ``clock`` gives the time in the names (seconds, epoch)."""

    what = "Maildir"
    hint = "A Maildir is a directory."

    def __init__(
        self,
        root: Path,
        *,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
        is_dry: bool = False,
        floors: Mapping[MailboxName, int] | None = None,
        indexes: Indexes | None = None,
    ) -> None:
        super().__init__(monotonic=monotonic, wait_s=wait_s)
        self._root = root
        self._clock = clock
        self._floors = floors or {}  # the highest uid that the state file has seen
        self._indexes: Indexes = {} if indexes is None else indexes  # what is read here, for those that come after
        self._is_dry = is_dry  # nothing is touched, not even what a crash left
        self._folders: dict[MailboxName, Folder] = {}

    # --- commands ---------------------------------------------------------------------------

    def _uids(self, folder: Folder, low: int) -> list[int]:
        if folder.uidnext > low:  # else there is nothing to be looked for
            folder.files.look()
        return list(folder.uids(low))

    def _headers(self, command: FetchHeaders) -> list[Served]:
        return [
            Served(uid, _octets(opened, entry), _header(opened, entry, command.fields))
            for uid, opened, entry in self._asked(command.mailbox, command.uids)
        ]

    def _read_back(self, command: ReadBack) -> dict[int, Fingerprint]:
        return {
            uid: digested(command.digester(), blocks(opened.stream, entry))
            for uid, opened, entry in self._asked(command.mailbox, command.uids)
        }

    def _open(self, command: OpenMailbox) -> MailboxStatus | None:
        folder = Folder(
            self._root,
            command.mailbox,
            clock=self._clock,
            notices=self.notices,
            floor=self._floors.get(command.mailbox, 0),
        )
        is_made = not self._is_dry and (command.create or command.mailbox == INBOX)  # always there: RFC 3501 §5.1
        if not folder.exists() and not is_made:
            return None
        if self._is_dry:
            folder.refresh()
            folder.welcome(is_dry=True)
        else:
            disk.make_directory(folder.directory)
            with run_lock(folder.directory, name=LOCK):
                folder.make()
                folder.settle()
                folder.sweep()
                folder.welcome(is_dry=False)
            self._indexes[folder.index_path] = folder.index
        self._folders[command.mailbox] = folder
        return MailboxStatus(folder.uidvalidity, folder.uidnext, len(folder.files), ANY_FLAG)

    # --- reading ----------------------------------------------------------------------------

    def _asked(self, mailbox: MailboxName, uids: Sequence[int]) -> Iterator[tuple[int, Opened, Entry | None]]:
        """Each of these uids that is there, with its file open, in the order of the question."""
        folder = self._folder(mailbox)
        for uid in uids:
            unique = folder.unique(uid)
            if unique is None:
                continue
            with folder.files.open(unique) as opened:
                if opened is not None:
                    yield uid, opened, folder.entry(uid)

    # --- appending --------------------------------------------------------------------------

    def _append(self, command: Append) -> tuple[AppendUid | MessageError, ...]:
        folder = self._folder(command.mailbox)
        with run_lock(folder.directory, name=LOCK):
            folder.settle()
            keywords = keywords_for(folder.directory, (letter.flags for letter in command.letters))
            return self._store(folder, command.letters, keywords)

    def _store(
        self, folder: Folder, letters: Sequence[Letter], keywords: Mapping[str, str]
    ) -> tuple[AppendUid | MessageError, ...]:
        results: list[AppendUid | MessageError] = []
        batch: list[Stored] = []
        uid = folder.uidnext
        for letter in letters:
            if not letter.message.octets:
                results.append(MessageError("the message has no octets"))
                continue
            stored = self._prepared(letter, uid, keywords)
            if isinstance(stored, MessageError):
                results.append(stored)
                continue
            batch.append(stored)
            results.append(AppendUid(folder.uidvalidity, uid))
            uid += 1
        if batch:
            _deliver(folder, batch)
        return tuple(results)

    def _prepared(self, letter: Letter, uid: int, keywords: Mapping[str, str]) -> Stored | MessageError:
        """The entry of a letter, with the name of its file, and what is written."""
        message = letter.message
        exact, stored, sizes = sha256(), sha256(), Sizes()
        line_ends = survey(watched(message.blocks(), exact.update)).line_ends
        if exact.digest() != message.fingerprint.exact:
            return MessageError(
                "the message changed on its way to the disk", hint="It is fetched again by the next run."
            )
        kept: list[bytes] | None = [] if message.data is not None else None
        for block in stored_lines(message.blocks(), line_ends):
            stored.update(block)
            sizes.update(block)
            if kept is not None:
                kept.append(block)
        entry = Entry(
            uid=uid,
            name=self._name(letters_for(letter.flags, keywords), sizes),
            length=sizes.octets,
            stored=stored.digest(),
            octets=message.octets,
            exact=message.fingerprint.exact,
            internaldate=letter.internaldate,
            flags=letter.flags,
            line_ends=line_ends,
        )
        return Stored(letter, entry, kept)

    def _name(self, letters: str, sizes: Sizes) -> str:
        """A name that no other delivery has (https://cr.yp.to/proto/maildir.html); without a letter it is in new/."""
        seconds, micros = divmod(int(self._clock() * 1_000_000), 1_000_000)
        host = re.sub(r"[^A-Za-z0-9.-]", "_", os.uname().nodename) or "localhost"
        unique = f"{seconds}.M{micros}P{os.getpid()}Q{next(_deliveries)}.{host}"
        base = f"{unique},S={sizes.octets},W={sizes.with_crlf}"
        return f"cur/{base}:2,{letters}" if letters else f"new/{base}"


def _deliver(folder: Folder, batch: Sequence[Stored]) -> None:
    """First what the files will be, durably; then the files in tmp/, durably; then their names, and a mark."""
    folder.append([stored.entry for stored in batch])
    for stored in batch:
        _write(_waiting(folder, stored.entry), stored)
    for stored in batch:
        _sync(_waiting(folder, stored.entry))
    for stored in batch:
        disk.place(_waiting(folder, stored.entry), folder.directory / stored.entry.name)
    folder.sync()
    folder.mark()
    for stored in batch:
        folder.files.took(unique_of(Path(stored.entry.name).name), stored.entry.name)


def _waiting(folder: Folder, entry: Entry) -> Path:
    return folder.directory / "tmp" / entry.base


def _write(path: Path, stored: Stored) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        disk.write(handle, _again(stored) if stored.blocks is None else stored.blocks)
        when = int(stored.entry.internaldate.when.timestamp())
        os.utime(handle, (when, when))  # where Dovecot and Courier look for the internal date
    finally:
        os.close(handle)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        disk.sync(stream.fileno())


def _again(stored: Stored) -> Iterator[bytes]:
    """What is written for a large letter, in blocks."""
    digest = sha256()
    yield from watched(stored_lines(stored.letter.message.blocks(), stored.entry.line_ends), digest.update)
    if digest.digest() != stored.entry.stored:
        raise StoreError("a large message changed while it was written", cause=Cause.UNUSABLE, retry=Retry.LATER)


def _octets(opened: Opened, entry: Entry | None) -> int:
    """The octets of the message, as its file is now."""
    if entry is not None and os.fstat(opened.stream.fileno()).st_size == entry.length:
        return entry.octets
    return sum(map(len, blocks(opened.stream, entry)))


def _header(opened: Opened, entry: Entry | None, fields: Sequence[str]) -> bytes:
    return header_fields(beginning(blocks(opened.stream, entry)), fields) if fields else b""
