"""Lists the messages of files, one file after the other; what cannot be read is listed as well, by its name."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from ...errors import Cause, Retry, StoreError
from ...model import DateSource, Flags, display
from ...wire.foreign import Quoting
from ...wire.maildir import flags_of, letters_of, parse_keywords
from ..kinds import Kind, kind_of
from ..local import Wanted
from ..mboxes import Found, Scan, Told, mbox
from . import imap_backup
from .apple import emlx
from .archives import Member, members_of
from .entries import NOWHERE
from .formats import letter, stored
from .listing import Listing
from .octets import PACKED_SUFFIXES, Damaged
from .opening import Opener
from .stream import Stream, unpacked_name
from .tree import File, mailbox_of, walk_archive

OTHERS_NAMED = 20  # files without mail that are named, each
WHAT_IT_READS = (
    "It reads mbox files (also .gz, .bz2, .xz, .lz, .zst), .eml and .emlx files, and directories and archives (zip, "
    "tar) of them."
)
_KEYWORD_OCTETS = 64 * 1024


class Lister:
    """Fills ``listing``. ``notices``: what is worth a line."""

    def __init__(self, root: Path, opener: Opener, wanted: Wanted | None) -> None:
        self.listing = Listing()
        self.notices: list[str] = []
        self._root = root
        self._opener = opener
        self._wanted = wanted
        self._passed = 0  # messages that are not wanted
        self._others: list[str] = []
        self._keywords: dict[str, dict[str, str]] = {}

    def files(self, files: list[File]) -> Iterator[None]:
        """Every message of them; each step is a good moment to do something else."""
        for file in files:
            yield from self._file(file)
        self.listing.finish()
        self.notices += self._others[:OTHERS_NAMED]
        if len(self._others) > OTHERS_NAMED:
            self.notices.append(f"... and {len(self._others) - OTHERS_NAMED:,} other files without mail")
        if not len(self.listing) and self._passed:
            self.notices.append(f"of {self._passed:,} messages in {display(str(self._root), 1000)} none was asked for")
            return
        if not len(self.listing) and not self._root.is_dir() and self._others:
            raise StoreError(self._others[0], cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=WHAT_IT_READS)
        if not len(self.listing):
            self.notices.append(f"no mail was found in {display(str(self._root), 1000)}")

    def _file(self, file: File) -> Iterator[None]:
        self.listing.begin(file, None)
        if file.is_beside and file.trouble == NOWHERE:
            return  # as Thunderbird makes its lock
        try:
            if file.trouble:
                raise OSError(file.trouble)
            stream = self._opener.stream(file)
        except OSError as error:
            self._fault(file, f"{error.strerror or error}")
            return
        try:
            yield from self._content(file, stream)
        except (OSError, Damaged) as error:  # of what Apple Mail keeps beside it
            self._fault(file, f"{error}; it changed while it was read")
        finally:
            stream.close()

    def _content(self, file: File, stream: Stream) -> Iterator[None]:
        name = file.name or self._root.name
        kind, what = kind_of(unpacked_name(name), stream.head)
        if file.in_new is not None and kind is not Kind.EMPTY:
            kind = Kind.LETTER
        elif kind in (Kind.ZIP, Kind.TAR):
            if file.member is None:
                yield from self._archive(file, kind)
                return
            kind, what = Kind.OTHER, "an archive in an archive; unpack it first"
        if file.is_beside and kind in (Kind.OTHER, Kind.EMPTY):
            return
        if kind is Kind.OUTLOOK:
            self._fault(file, what)
        elif kind is Kind.OTHER and not stream.damage:
            if name.lower().endswith(PACKED_SUFFIXES) and stream.octets.size is not None:
                self._fault(file, "damaged: it does not begin as a compressed file does")
            else:
                self._others.append(f"{self._opener.shown(file)}: {what}")
        elif kind in (Kind.MBOX, Kind.LETTER, Kind.EMLX):
            self.listing.begin(file, mailbox_of(file, kind, self._root))
            for found in self._messages(file, kind, stream):
                self._take(file, found)
                yield
        if stream.damage:
            self._fault(file, f"damaged ({display(stream.damage)}); what stands before is read")

    def _messages(self, file: File, kind: Kind, stream: Stream) -> Scan:
        name = file.name or self._root.name
        if kind is Kind.EMLX:
            yield from emlx(stream, self._opener.outside(file))
        elif file.in_new is not None:
            for found in letter(stream):
                yield self._in_maildir(file, found) if isinstance(found, Found) else found
        # A message without a From_ line is one message, unless others stand behind it.
        elif kind is Kind.LETTER and (unpacked_name(name).lower().endswith(".eml") or name.isdigit()):
            yield from letter(stream)
        elif (flags := self._flags_beside(file)) is not None:
            yield from mbox(stream, known=lambda *_: Quoting.EVERY_FROM, flags=flags)
        else:
            yield from mbox(stream)

    def _flags_beside(self, file: File) -> dict[int, Flags] | None:
        """What an index of imap-backup says, where one stands beside the file."""
        octets = None if file.index is None else self._small(file.index, imap_backup.INDEX_OCTETS)
        return None if octets is None else imap_backup.read_flags(octets)

    def _in_maildir(self, file: File, found: Found) -> Found:
        """With what the name of its file says, and the date of it."""
        letters = letters_of(file.name)
        flags = Flags() if file.in_new and letters is None else None
        if letters is not None:
            flags = flags_of(letters, self._keywords_of(file))
            flags = Flags(flags.names - {"\\Deleted"})  # as everywhere
        seconds = file.facts[2] // 10**9
        when = datetime.fromtimestamp(seconds, UTC) if 0 < seconds < 4_102_444_800 else None
        return replace(found, flags=flags, date=stored(when))

    def _keywords_of(self, file: File) -> dict[str, str]:
        if file.keywords is None:
            return {}
        if (known := self._keywords.get(file.keywords.path)) is None:
            octets = self._small(file.keywords, _KEYWORD_OCTETS)
            known = self._keywords[file.keywords.path] = parse_keywords(octets or b"")
        return known

    def _small(self, file: File, limit: int) -> bytes | None:
        """What a file beside the mail holds; None where it cannot be read, or is longer."""
        try:
            stream = self._opener.beside(file)
        except OSError:
            return None
        try:
            octets = b"".join(stream.blocks(0, limit + 1))
            return None if stream.damage or len(octets) > limit else octets
        finally:
            stream.close()

    def _take(self, file: File, found: Found | Told | None) -> None:
        if isinstance(found, Found):
            date = found.date.when if found.date is not None and found.date.source is DateSource.STORE else None
            if self._wanted is None or self._wanted(found.header, date):
                self.listing.add(found)
            else:
                self._passed += 1
        elif found is not None and found.is_fault:
            self._fault(file, found.what)
        elif found is not None:
            self.notices.append(f"{self._opener.shown(file)}: {found.what}")

    def _fault(self, file: File, what: str) -> None:
        self.listing.add_fault(f"{self._opener.shown(file)}: {what}")

    # --- archives ---------------------------------------------------------------------------

    def _archive(self, file: File, kind: Kind) -> Iterator[None]:
        """The files in it, as if they stood here."""
        archive = self._opener.archive(file)
        members: list[Member] = []
        for found in members_of(archive.octets, kind.value):
            if isinstance(found, Member):
                members.append(found)
            elif found is not None:
                self._take(file, found)
            yield
        before, without_mail = len(self.listing), len(self._others)
        troubles: dict[str, list[File]] = {}
        for one in walk_archive(file, members, self._root):
            if one.trouble and one.member is not None:
                troubles.setdefault(one.trouble, []).append(one)
            else:
                yield from self._file(one)
        for trouble, files in troubles.items():
            self.listing.begin(files[0], None)
            others = f" (and {len(files) - 1:,} more in this archive)" if len(files) > 1 else ""
            self._fault(files[0], trouble + others)
        if len(self.listing) == before:
            # Of an archive that holds no mail its name is enough.
            del self._others[without_mail:]
            self._others.append(f"{self._opener.shown(file)}: an archive without mail")
