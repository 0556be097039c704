"""A directory of mbox files as a destination: what an Append promised is on the disk, in file and index."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path

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
from ...wire.mbox import frame, from_line, sender_of, survey
from .. import disk
from ..base import digested, header_fields, watched
from ..local import ANY_FLAG, FileDest
from ..lock import WAIT_S, PatientSession, run_lock
from .age import Identity
from .folder import Folder, Parts
from .index import Entry, Mark
from .lock import file_lock
from .part import Part

Stored = tuple[Letter, Entry, list[bytes] | None]


class MboxAppender(FileDest[Folder], PatientSession):
    """Appends to the mailboxes below ``root``. ``clock`` gives the day that chooses the file (seconds, epoch)."""

    what = "mbox files in"
    hint = "A backup is a directory of its own."

    def __init__(
        self,
        root: Path,
        *,
        layout: str = "month",
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        wait_s: float = WAIT_S,
        is_dry: bool = False,
        floors: Mapping[MailboxName, int] | None = None,
        identity: Identity | None = None,
        parts: Parts | None = None,
    ) -> None:
        super().__init__(monotonic=monotonic, wait_s=wait_s)
        self._root = root
        self._layout = layout
        self._clock = clock
        self._floors = floors or {}  # the highest uid that the state file has seen
        self._identity = identity  # of old months, to read in them
        self._parts: Parts = {} if parts is None else parts  # what is read here, for those that come after
        self._is_dry = is_dry  # nothing is touched, not even what a crash left
        self._folders: dict[MailboxName, Folder] = {}

    # --- commands ---------------------------------------------------------------------------

    def _uids(self, folder: Folder, low: int) -> list[int]:
        return list(folder.uids(low))

    def _headers(self, command: FetchHeaders) -> list[Served]:
        fields = command.fields
        return [
            Served(entry.uid, entry.octets, header_fields(part.header(entry), fields) if fields else b"")
            for part, entry in self._asked(command.mailbox, command.uids)
        ]

    def _read_back(self, command: ReadBack) -> dict[int, Fingerprint]:
        return {
            entry.uid: digested(command.digester(), part.blocks(entry))
            for part, entry in self._asked(command.mailbox, command.uids)
        }

    def _open(self, command: OpenMailbox) -> MailboxStatus | None:
        folder = Folder(
            self._root,
            command.mailbox,
            layout=self._layout,
            clock=self._clock,
            notices=self.notices,
            floor=self._floors.get(command.mailbox, 0),
            identity=self._identity,
        )
        is_made = not self._is_dry and (command.create or command.mailbox == INBOX)  # always there: RFC 3501 §5.1
        if not folder.exists() and not is_made:
            return None
        if self._is_dry:
            folder.refresh()
        else:
            disk.make_directory(folder.directory)
            with run_lock(folder.directory):
                folder.make()
                folder.settle()
        self._folders[command.mailbox] = folder
        self._parts.update((part.path, part) for part in folder.parts)
        return MailboxStatus(folder.uidvalidity, folder.uidnext, folder.messages, ANY_FLAG)

    # --- reading ----------------------------------------------------------------------------

    def _asked(self, mailbox: MailboxName, uids: Sequence[int]) -> Iterator[tuple[Part, Entry]]:
        """The part and entry of each of these uids that is there, in the order of the question."""
        folder = self._folder(mailbox)
        firsts = [part.first for part in folder.parts]
        for uid in uids:
            at = bisect_left(firsts, uid + 1) - 1
            if at < 0:
                continue
            part = folder.parts[at]
            place = bisect_left(part.index.uids, uid)
            if place >= part.index.marked or part.index.uids[place] != uid:
                continue
            entry = part.index.entry(place)
            if entry is not None and entry.end <= part.size():
                yield part, entry

    # --- appending --------------------------------------------------------------------------

    def _append(self, command: Append) -> tuple[AppendUid | MessageError, ...]:
        folder = self._folder(command.mailbox)
        results: list[AppendUid | MessageError] = []
        with run_lock(folder.directory):
            while len(results) < len(command.letters):
                part = folder.tail()
                with file_lock(part.path, self.notices) as handle:
                    if part.size() == part.index.end:  # else another program was quicker
                        results += self._store(folder, part, handle, command.letters[len(results) :])
        return tuple(results)

    def _store(
        self, folder: Folder, part: Part, handle: int, letters: Sequence[Letter]
    ) -> list[AppendUid | MessageError]:
        """The results of so many letters, from the first, as stand there now."""
        results: list[AppendUid | MessageError] = []
        batch: list[Stored] = []
        places: list[int] = []
        uid, offset = max(part.first, folder.uidnext), part.index.end
        for letter in letters:
            if not letter.message.octets:
                results.append(MessageError("the message has no octets"))
                continue
            stored = _prepared(letter, uid, offset)
            if isinstance(stored, MessageError):
                results.append(stored)
                continue
            batch.append(stored)
            places.append(len(results))
            results.append(AppendUid(folder.uidvalidity, uid))
            uid, offset = uid + 1, stored[1].end
        there = self._write(part, handle, batch) if batch else 0
        return results if there == len(batch) else results[: places[there]]

    def _write(self, part: Part, handle: int, batch: Sequence[Stored]) -> int:
        """First what will stand in the file, durably; then the octets, durably; then that they are there.

        Value: how many of them, from the first, are.
        """
        entries = [entry for _, entry, _ in batch]
        lines = [entry.line() for entry in entries]
        disk.append(part.index_path, lines)
        for letter, entry, blocks in batch:
            disk.write(handle, _again(letter, entry) if blocks is None else blocks)
        disk.sync(handle)
        if part.size() != entries[-1].end and not all(map(part.is_whole, entries)):
            # Somebody asked for no lock and wrote between. As after a crash: what is whole is kept, a new part begun.
            part.forget()
            return next(number for number, entry in enumerate(entries) if not part.is_whole(entry))
        # Not synced: a crash that takes the mark away leaves entries that are read and found whole.
        mark = part.index.mark(entries[-1].end, lines)
        disk.append(part.index_path, [mark.line()], is_synced=False)
        records: list[Entry | Mark] = [*entries, mark]
        for record, line in zip(records, [*lines, mark.line()], strict=True):
            part.index.take(record, line, part.index.size + len(line))
        return len(batch)


def _prepared(letter: Letter, uid: int, offset: int) -> Stored | MessageError:
    """The entry of a letter and what is written for it; the octets of a large one are made again when they are."""
    message = letter.message
    exact = sha256()
    note = survey(watched(message.blocks(), exact.update))
    if exact.digest() != message.fingerprint.exact:
        return MessageError("the message changed on its way to the disk", hint="It is fetched again by the next run.")
    sender = sender_of(message.header)
    stored = sha256()
    line = from_line(sender, letter.internaldate.when)
    blocks: list[bytes] | None = [] if message.data is not None else None
    length = 0
    for block in frame(line, message.blocks(), note):
        stored.update(block)
        length += len(block)
        if blocks is not None:
            blocks.append(block)
    entry = Entry(
        uid=uid,
        offset=offset,
        length=length,
        stored=stored.digest(),
        octets=message.octets,
        exact=message.fingerprint.exact,
        internaldate=letter.internaldate,
        flags=letter.flags,
        sender=sender.decode("ascii"),
        note=note,
    )
    return letter, entry, blocks


def _again(letter: Letter, entry: Entry) -> Iterator[bytes]:
    """What is written for a large letter, in blocks."""
    digest = sha256()
    yield from watched(frame(entry.from_line, letter.message.blocks(), entry.note), digest.update)
    if digest.digest() != entry.stored:
        raise StoreError("a large message changed while it was written", cause=Cause.UNUSABLE, retry=Retry.LATER)
