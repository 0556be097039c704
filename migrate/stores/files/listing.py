"""The messages of mail files as a source lists them: a few octets held for each, however many they are."""

from __future__ import annotations

from array import array
from datetime import UTC, datetime
from typing import NamedTuple

from ...model import DateSource, Flags, InternalDate, MailboxName, MessageRef
from ...wire.foreign import Quoting
from ...wire.refs import Refs
from ..gauge import DIGEST_OCTETS
from ..mboxes import Found
from .tree import File

_NO_DATE = -(2**62)
_SOURCES = (DateSource.STORE, DateSource.FROM_LINE)


class Place(NamedTuple):
    """Where one message stands, and what its file keeps beside it."""

    file: File
    mailbox: MailboxName | None
    start: int
    end: int
    digest: bytes
    quoting: Quoting
    flags: Flags | None
    date: InternalDate | None
    fault: str  # why it cannot be read, if it cannot


class Listing(Refs):
    """Every message, in the order of the files; a MessageRef is made on demand.

    A message is named by its mailbox, the digest of its lasting octets, and which of several with the same digest
    it is. What cannot be read stands in it as well, named by its file: so the books know of it.
    """

    def __init__(self) -> None:
        self.octets = 0
        self.mailboxes: dict[MailboxName | None, None] = {}
        self._files: list[tuple[File, MailboxName | None]] = []
        self._file = array("L")
        self._start = array("Q")
        self._end = array("Q")
        self._octets = array("Q")
        self._quoting = array("B")
        self._date = array("q")
        self._date_source = array("B")
        self._digests = bytearray()
        self._flags: dict[int, Flags] = {}
        self._faults: dict[int, str] = {}
        self._number: dict[int, int] = {}  # of those that are not the first of their digest
        self._paths: dict[str, int] = {}  # of what cannot be read
        self._seen: dict[MailboxName | None, set[bytes]] = {}
        self._repeats: dict[tuple[MailboxName | None, bytes], int] = {}

    def begin(self, file: File, mailbox: MailboxName | None) -> None:
        """What is added from now on stands in that file."""
        self._files.append((file, mailbox))

    def add(self, found: Found) -> None:
        mailbox = self._files[-1][1]
        seen = self._seen.setdefault(mailbox, set())
        if found.digest in seen:
            key = (mailbox, found.digest)
            self._repeats[key] = self._number[len(self)] = self._repeats.get(key, 1) + 1
        seen.add(found.digest)
        if found.flags is not None:
            self._flags[len(self)] = found.flags
        self.mailboxes[mailbox] = None
        self.octets += found.octets
        self._add(found.start, found.end, found.octets, found.digest, found.quoting, found.date)

    def add_fault(self, what: str) -> None:
        """Something of the file that cannot be read."""
        if len(self) and self._file[-1] == len(self._files) - 1 and len(self) - 1 in self._faults:
            return  # one name for a file is enough
        path = self._files[-1][0].path
        self._paths[path] = self._paths.get(path, 0) + 1
        if self._paths[path] > 1:
            self._number[len(self)] = self._paths[path]  # an archive may have two members of one name
        self._faults[len(self)] = what
        self._add(0, 0, 0, bytes(DIGEST_OCTETS), Quoting.UNKNOWN, None)

    def finish(self) -> None:
        """Nothing more is added."""
        self._seen.clear()
        self._repeats.clear()
        self._paths.clear()

    def _add(
        self, start: int, end: int, octets: int, digest: bytes, quoting: Quoting, date: InternalDate | None
    ) -> None:
        self._digests += digest
        self._start.append(start)
        self._end.append(end)
        self._octets.append(max(0, octets))
        self._quoting.append(quoting)
        self._date.append(_NO_DATE if date is None else int(date.when.timestamp()))
        self._date_source.append(0 if date is None else _SOURCES.index(date.source))
        self._file.append(len(self._files) - 1)

    def place(self, ref: MessageRef) -> Place | None:
        """Where the message stands; None when it is none of these."""
        at = ref.number - 1
        if not 0 <= at < len(self) or self._ref(at).uid != ref.uid:
            return None
        date = None
        if self._date[at] != _NO_DATE:
            date = InternalDate(datetime.fromtimestamp(self._date[at], UTC), _SOURCES[self._date_source[at]])
        return Place(
            *self._files[self._file[at]],
            self._start[at],
            self._end[at],
            self._digest(at),
            Quoting(self._quoting[at]),
            self._flags.get(at),
            date,
            self._faults.get(at, ""),
        )

    def __len__(self) -> int:
        return len(self._file)

    def _digest(self, at: int) -> bytes:
        return bytes(self._digests[at * DIGEST_OCTETS : (at + 1) * DIGEST_OCTETS])

    def _ref(self, at: int) -> MessageRef:
        file, mailbox = self._files[self._file[at]]
        number = b";%d" % self._number[at] if at in self._number else b""
        if at in self._faults:
            name = file.path.encode("utf-8", "surrogateescape")
            return MessageRef(b"unreadable;" + name + number, at + 1, None, is_fault=True)
        where = b"" if mailbox is None else str(mailbox).encode()
        return MessageRef(b"%b;%b%b" % (where, self._digest(at).hex().encode(), number), at + 1, self._octets[at])
