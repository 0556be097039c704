"""Mail files that other programs wrote, as a source: read in a stream, never changed, never locked."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from ...commands import Digest, OpenSource, Outcome, SourceFacts
from ...errors import Cause, MessageError, Retry, StoreError
from ...model import Message, MessageRef, display
from ...wire.foreign import original
from ..base import collected, watched
from ..disk import translated
from ..gauge import Gauge
from ..local import FileSource, Wanted
from .apple import Restored
from .lister import WHAT_IT_READS, Lister
from .listing import Listing
from .octets import Damaged
from .opening import Opener
from .stream import Stream
from .tree import File, walk

SLICE_S = 0.2  # so long a turn reads before it gives the loop back


@dataclass(slots=True)
class Shelf:
    """What was listed before, by this process: good as long as no file has changed."""

    signature: bytes = b""
    listing: Listing | None = None


class FilesReader(FileSource):
    """Reads one file, or every file with mail below a directory. Never deletes anything.

    ``wanted`` chooses by header and internal date which messages are listed. ``shelf`` spares the next session of a
    run to read all files again.
    """

    what = "mail files in"

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
        self._opener = Opener(root)
        self._listing = Listing()
        self._scan: Iterator[None] | None = None
        self._stream: Stream | None = None  # the one that was read last: the next message stands in it too, mostly
        self._streamed: File | None = None

    def turn(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        while self._owed:
            if isinstance(self._owed[0], OpenSource) and self._broken is None and not self._has_listed():
                break  # the loop comes back at once
            outcomes.append(self._end(self._owed.popleft()))
        return outcomes

    def _listed(self) -> Listing:
        return self._listing

    def close(self) -> None:
        super().close()
        self._listing = Listing()
        self._scan = None
        self._close_stream()
        self._opener.close()

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

    def _open(self) -> SourceFacts:
        self._scan = None
        return self._facts(len(self._listing), self._listing.octets, tuple(self._listing.mailboxes))

    def _list(self) -> Iterator[None]:
        self._check_root()
        files = []
        seen = sha256()
        for file in walk(self._root):
            files.append(file)
            seen.update(repr(file).encode("utf-8", "surrogateescape"))
            yield
        if self._shelf.listing is not None and self._shelf.signature == seen.digest():
            self._listing = self._shelf.listing
            return
        lister = Lister(self._root, self._opener, self._wanted)
        try:
            yield from lister.files(files)
        finally:
            self.notices += [(text, b"") for text in lister.notices]
        self._shelf.signature, self._shelf.listing = seen.digest(), lister.listing
        self._listing = lister.listing

    # --- fetching ---------------------------------------------------------------------------

    def _fetch(self, ref: MessageRef) -> Message:
        place = self._listing.place(ref)
        if place is None:
            raise MessageError("the source has no such message")
        if place.fault:
            raise MessageError(place.fault)
        stream = self._open_stream(place.file)
        gauge = Gauge()
        blocks = stream.blocks(place.start, place.end)
        if (outside := self._opener.outside(place.file)) is not None:
            blocks = Restored(stream, place.start, place.end, outside).blocks()
        try:
            message = collected(self._digester, self._spill_dir, original(watched(blocks, gauge.update), place.quoting))
        except (OSError, Damaged) as error:  # of what Apple Mail keeps beside it
            raise MessageError(
                f"{self._opener.shown(place.file)}: {error}", hint="Run the same command again."
            ) from error
        gauge.finish()
        if gauge.digest != place.digest:
            message.discard()
            what = f"{self._opener.shown(place.file)} changed while it was read, at offset {place.start:,}"
            raise MessageError(
                f"{what}: {display(stream.damage)}" if stream.damage else what, hint="Run the same command again."
            )
        return message._replace(flags=place.flags, internaldate=place.date, mailbox=place.mailbox)

    def _open_stream(self, file: File) -> Stream:
        self._check_root()
        if self._stream is not None and self._streamed is file:
            return self._stream
        self._close_stream()
        try:
            self._stream, self._streamed = self._opener.stream(file), file
        except OSError as error:
            raise MessageError(f"{self._opener.shown(file)}: {error.strerror or error}") from error
        return self._stream

    def _close_stream(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._stream = self._streamed = None

    # --- places -----------------------------------------------------------------------------

    def _check_root(self) -> None:
        if not self._root.exists():
            raise self._missing()
        if not self._root.is_file() and not self._root.is_dir():
            what = f"{display(str(self._root), 1000)} is neither a file nor a directory"
            raise StoreError(what, cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=WHAT_IT_READS)
