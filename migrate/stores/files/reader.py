"""Mail files that other programs wrote, as a source: read in a stream, never changed, never locked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from ...commands import CloseSource, Command, Digest, Fetch, ListSource, OpenSource, Outcome, SourceFacts
from ...errors import Cause, MessageError, Retry, StoreError
from ...model import DateSource, Message, MessageRef, display
from ...wire.foreign import Quoting, original
from ..base import LocalSession, collected, watched
from ..disk import translated
from . import imap_backup
from .apple import emlx, partial_note
from .formats import Found, Kind, Scan, Told, kind_of, letter
from .gauge import Gauge
from .listing import Listing
from .mboxes import mbox
from .stream import Stream, unpacked_name
from .tree import File, mailbox_of, walk

Wanted = Callable[[bytes, datetime | None], bool]

SLICE_S = 0.2  # so long a turn reads before it gives the loop back
OTHERS_NAMED = 20  # files without mail that are named, each


@dataclass(slots=True)
class Shelf:
    """What was listed before, by this process: good as long as no file has changed."""

    signature: bytes = b""
    listing: Listing | None = None


class FilesReader(LocalSession):
    """Reads one file, or every file with mail below a directory. Never deletes anything.

    ``wanted`` chooses by header and internal date which messages are listed. ``shelf`` spares the next session of a
    run to read all files again.
    """

    kinds = (OpenSource, ListSource, Fetch, CloseSource)
    opens = OpenSource

    def __init__(
        self,
        root: Path,
        digester: Callable[[], Digest],
        spill_dir: Path,
        *,
        wanted: Wanted | None = None,
        shelf: Shelf | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._root = root
        self._digester = digester
        self._spill_dir = spill_dir
        self._wanted = wanted
        self._shelf = shelf or Shelf()
        self._monotonic = monotonic
        self._listing = Listing()
        self._scan: Iterator[None] | None = None
        self._stream: Stream | None = None  # the one that was read last: the next message stands in it too, mostly
        self._streamed: File | None = None

    def submit(self, command: Command) -> None:
        if isinstance(command, OpenSource) and command.may_release:
            raise TypeError("nothing is ever deleted from mail files")
        super().submit(command)

    def turn(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while self._owed:
            if isinstance(self._owed[0], OpenSource) and self._broken is None and not self._has_listed():
                break  # the loop comes back at once
            outcomes.append(self._end(self._owed.popleft()))
        return outcomes

    def carry_out(self, command: Command) -> Any:
        with translated(self._root):
            match command:
                case OpenSource():
                    return self._facts()
                case ListSource():
                    return self._listing
                case Fetch(ref=ref):
                    return self._fetch(ref)
                case CloseSource():
                    self.close()
                    return None
                case _:
                    raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def close(self) -> None:
        super().close()
        self._listing = Listing()
        self._scan = None
        self._close_stream()

    # --- listing ----------------------------------------------------------------------------

    def _has_listed(self) -> bool:
        """Whether the files are read to the end, or cannot be. Goes on with them for a moment."""
        if self._scan is None:
            self._scan = self._list()
        until = self._monotonic() + SLICE_S
        try:
            with translated(self._root):
                for _ in self._scan:
                    if self._monotonic() >= until:
                        return False
        except StoreError as error:
            self._broken = error
        return True

    def _facts(self) -> SourceFacts:
        self._scan = None
        return SourceFacts(
            greeting=f"mail files in {display(str(self._root), 1000)}",
            messages=len(self._listing),
            octets=self._listing.octets,
            has_uids=True,
            may_delete_on_fetch=False,
            mailboxes=tuple(self._listing.mailboxes),
        )

    def _list(self) -> Iterator[None]:
        self._check_root()
        files = []
        seen = sha256()
        for file in walk(self._root):
            files.append(file)
            seen.update(repr((file.path, file.stat)).encode("utf-8", "surrogateescape"))
            yield
        if self._shelf.listing is not None and self._shelf.signature == seen.digest():
            self._listing = self._shelf.listing
            return
        listing, others = Listing(), list[str]()
        for file in files:
            yield from self._list_file(file, listing, others)
        listing.finish()
        self._tell(others[:OTHERS_NAMED])
        if len(others) > OTHERS_NAMED:
            self._tell([f"... and {len(others) - OTHERS_NAMED:,} other files without mail"])
        if not len(listing) and not self._root.is_dir() and others:
            raise StoreError(others[0], cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=_WHAT_IT_READS)
        if not len(listing):
            self._tell([f"no mail was found in {display(str(self._root), 1000)}"])
        self._shelf.signature, self._shelf.listing = seen.digest(), listing
        self._listing = listing

    def _list_file(self, file: File, listing: Listing, others: list[str]) -> Iterator[None]:
        name = self._shown(file)
        path = self._path(file)
        listing.begin(file, None)
        try:
            if file.trouble:
                raise OSError(file.trouble)
            stream = Stream(path)
        except OSError as error:
            listing.add_fault(f"{name}: {error.strerror or error}")
            return
        try:
            kind, what = kind_of(unpacked_name(path.name), stream.head)
            if kind is Kind.OUTLOOK:
                listing.add_fault(f"{name}: {what}")
            elif kind is Kind.OTHER and not stream.damage:
                others.append(f"{name}: {what}")
            elif kind in (Kind.MBOX, Kind.LETTER, Kind.EMLX):
                listing.begin(file, mailbox_of(file, kind, self._root))
                for found in self._messages(file, kind, stream):
                    self._take(found, name, listing)
                    yield
            if stream.damage:
                listing.add_fault(f"{name}: damaged ({display(stream.damage)}); what stands before is read")
        finally:
            stream.close()

    def _messages(self, file: File, kind: Kind, stream: Stream) -> Scan:
        path = self._path(file)
        if kind is Kind.EMLX:
            if path.name.lower().endswith(".partial.emlx"):
                yield Told(partial_note(path.name), is_fault=True)
            yield from emlx(stream)
            return
        # A message without a From_ line is one message, unless others stand behind it.
        if kind is Kind.LETTER and (unpacked_name(path.name).lower().endswith(".eml") or path.name.isdigit()):
            yield from letter(stream)
            return
        index = imap_backup.index_of(path)
        flags = imap_backup.read_flags(index) if index.exists() and index != path else None
        if flags is None:
            yield from mbox(stream)
        else:
            yield from mbox(stream, quoting=Quoting.EVERY_FROM, flags=flags)

    def _take(self, found: Found | Told | None, name: str, listing: Listing) -> None:
        if isinstance(found, Found):
            date = found.date.when if found.date is not None and found.date.source is DateSource.STORE else None
            if self._wanted is None or self._wanted(found.header, date):
                listing.add(found)
        elif found is not None and found.is_fault:
            listing.add_fault(f"{name}: {found.what}")
        elif found is not None:
            self._tell([f"{name}: {found.what}"])

    def _tell(self, texts: list[str]) -> None:
        self.notices += [(text, b"") for text in texts]

    # --- fetching ---------------------------------------------------------------------------

    def _fetch(self, ref: MessageRef) -> Message:
        place = self._listing.place(ref)
        if place is None:
            raise MessageError("the source has no such message")
        if place.fault:
            raise MessageError(place.fault)
        stream = self._open_stream(place.file)
        gauge = Gauge()
        message = collected(
            self._digester,
            self._spill_dir,
            original(watched(stream.blocks(place.start, place.end), gauge.update), place.quoting),
        )
        gauge.finish()
        if gauge.digest != place.digest:
            message.discard()
            what = f"{self._shown(place.file)} changed while it was read, at offset {place.start:,}"
            raise MessageError(
                f"{what}: {display(stream.damage)}" if stream.damage else what, hint="Run the same command again."
            )
        return replace(message, flags=place.flags, internaldate=place.date, mailbox=place.mailbox)

    def _open_stream(self, file: File) -> Stream:
        self._check_root()
        if self._stream is not None and self._streamed is file:
            return self._stream
        self._close_stream()
        try:
            self._stream, self._streamed = Stream(self._path(file)), file
        except OSError as error:
            raise MessageError(f"{self._shown(file)}: {error.strerror or error}") from error
        return self._stream

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._streamed = None

    # --- places -----------------------------------------------------------------------------

    def _check_root(self) -> None:
        if not self._root.exists():
            raise StoreError(f"there is no {display(str(self._root), 1000)}", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        if not self._root.is_file() and not self._root.is_dir():
            what = f"{display(str(self._root), 1000)} is neither a file nor a directory"
            raise StoreError(what, cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=_WHAT_IT_READS)

    def _path(self, file: File) -> Path:
        return self._root / file.path if file.path else self._root

    def _shown(self, file: File) -> str:
        return f'"{display(file.path or self._root.name, 1000)}"'


_WHAT_IT_READS = "It reads mbox files (also .gz, .bz2, .xz), .eml and .emlx files, and directories of them."
