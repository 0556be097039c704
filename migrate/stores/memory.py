"""Mail that lives in memory: a complete POP3-like maildrop and IMAP-like server, for tests and for trying things out.

They keep every promise of ``base`` and have no faults of their own. What a
real server may do otherwise is added by subclasses: ``MemoryMailbox.keep``
says what is kept of a message, ``carry_out`` of a session is the one place
where a command is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..commands import (
    Append,
    CloseDest,
    CloseSource,
    Command,
    Delete,
    DestFacts,
    Digest,
    Fetch,
    FetchHeaders,
    ListSource,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    OpenSource,
    ReadBack,
    SearchUids,
    Served,
    SourceFacts,
)
from ..errors import MailboxError, MessageError
from ..model import (
    BLOCK,
    INBOX,
    SYSTEM_FLAGS,
    AppendUid,
    Flags,
    InternalDate,
    MailboxName,
    Message,
    MessageRef,
)
from .base import Collector, LocalSession, header_fields

ANY_FLAG = frozenset({*SYSTEM_FLAGS, "\\*"})


# --- source ---------------------------------------------------------------------------------


@dataclass(eq=False, slots=True)
class Mail:
    """A message in a maildrop."""

    uid: bytes
    octets: bytes


class MemoryMaildrop:
    """A source: what a POP3 server would serve. ``mails`` may be looked at and changed between sessions."""

    def __init__(
        self,
        messages: Iterable[bytes] = (),
        *,
        has_uids: bool = True,
        may_delete_on_fetch: bool = False,
    ) -> None:
        self.mails: list[Mail] = []
        self.has_uids = has_uids
        self.may_delete_on_fetch = may_delete_on_fetch  # what was fetched is gone after QUIT
        self.deleted: list[bytes] = []  # uids, in the order of their deletion
        self._delivered = 0
        for octets in messages:
            self.deliver(octets)

    def deliver(self, octets: bytes, uid: bytes | None = None) -> bytes:
        """The uid of the message that now stands last."""
        self._delivered += 1
        mail = Mail(b"%08x" % self._delivered if uid is None else uid, octets)
        self.mails.append(mail)
        return mail.uid

    def remove(self, mails: Iterable[Mail]) -> None:
        gone = set(map(id, mails))
        self.deleted += [mail.uid for mail in self.mails if id(mail) in gone]
        self.mails = [mail for mail in self.mails if id(mail) not in gone]


class MemoryListing(list[MessageRef]):
    """In one piece, too: as the listings of servers are held."""

    def parts(self) -> tuple[bytearray]:
        return (bytearray(repr(list(self)), "utf-8"),)


class MemoryReader(LocalSession):
    """Reads a maildrop as it stood when the session was opened (RFC 1939 §4)."""

    kinds: tuple[type[Command], ...] = (OpenSource, ListSource, Fetch, CloseSource)
    opens = OpenSource

    def __init__(self, maildrop: MemoryMaildrop, digester: Callable[[], Digest], spill_dir: Path) -> None:
        super().__init__()
        self.maildrop = maildrop
        self._digester = digester
        self._spill_dir = spill_dir
        self._mails: dict[int, Mail] = {}
        self._fetched: set[int] = set()
        self._marked: set[int] = set()

    def submit(self, command: Command) -> None:
        if isinstance(command, OpenSource) and command.may_release and Delete not in self.kinds:
            raise TypeError(f"{type(self).__name__} does not release")
        super().submit(command)

    def carry_out(self, command: Command) -> Any:
        match command:
            case OpenSource():
                self._mails = dict(enumerate(self.maildrop.mails, start=1))
                return self._facts()
            case ListSource():
                return MemoryListing(self._ref(number) for number in self._mails if number not in self._marked)
            case Fetch(ref=ref):
                return self._fetch(ref)
            case CloseSource(quit=is_quit):
                self._close(is_quit)
                return None
            case _:
                raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _facts(self) -> SourceFacts:
        return SourceFacts(
            greeting="memory",
            messages=len(self._mails),
            octets=sum(len(mail.octets) for mail in self._mails.values()),
            has_uids=self.maildrop.has_uids,
            may_delete_on_fetch=self.maildrop.may_delete_on_fetch,
        )

    def _ref(self, number: int) -> MessageRef:
        mail = self._mails[number]
        return MessageRef(mail.uid if self.maildrop.has_uids else b"", number, len(mail.octets))

    def _mail(self, ref: MessageRef) -> Mail:
        if ref.number not in self._mails or ref.number in self._marked:
            raise MessageError("the source has no such message", said=b"-ERR no such message")
        return self._mails[ref.number]

    def _fetch(self, ref: MessageRef) -> Message:
        octets = self._mail(ref).octets
        collector = Collector(self._digester, self._spill_dir)
        for start in range(0, len(octets), BLOCK):
            collector.update(octets[start : start + BLOCK])
        self._fetched.add(ref.number)
        return collector.finish()

    def _close(self, is_quit: bool) -> None:
        if is_quit:
            gone = self._marked | (self._fetched if self.maildrop.may_delete_on_fetch else set())
            self.maildrop.remove(self._mails[number] for number in gone)
        self.close()

    def close(self) -> None:
        super().close()
        self._mails, self._fetched, self._marked = {}, set(), set()


class MemoryReleaser(MemoryReader):
    """A reader that can also delete."""

    kinds = (*MemoryReader.kinds, Delete)

    def carry_out(self, command: Command) -> Any:
        if isinstance(command, Delete):
            return tuple(self._mark(ref) for ref in command.refs)
        return super().carry_out(command)

    def _mark(self, ref: MessageRef) -> MessageError | None:
        try:
            self._mail(ref)
        except MessageError as error:
            return error
        self._marked.add(ref.number)
        return None


# --- destination ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Kept:
    """A message in a mailbox."""

    uid: int
    octets: bytes
    flags: Flags
    internaldate: InternalDate


class MemoryMailbox:
    """A mailbox: messages by uid. They may be looked at and changed between commands."""

    def __init__(self, *, uidvalidity: int = 1, permanent_flags: frozenset[str] = ANY_FLAG) -> None:
        self.uidvalidity = uidvalidity
        self.uidnext = 1
        self.permanent_flags = permanent_flags
        self.kept: dict[int, Kept] = {}

    def store(self, octets: bytes, flags: Flags, internaldate: InternalDate) -> int:
        """The uid under which the message is kept now."""
        uid = self.uidnext
        self.uidnext += 1
        self.kept[uid] = Kept(uid, octets, self._admitted(flags), internaldate)
        return uid

    def keep(self, octets: bytes) -> bytes:
        """What an Append keeps of the octets. Raises MessageError to refuse them."""
        return octets

    def _admitted(self, flags: Flags) -> Flags:
        if "\\*" in self.permanent_flags:
            return flags
        return Flags(flags.names & self.permanent_flags)

    def status(self) -> MailboxStatus:
        return MailboxStatus(self.uidvalidity, self.uidnext, len(self.kept), self.permanent_flags)


class MemoryServer:
    """A destination: what an IMAP server would keep. INBOX is always there (RFC 3501 §5.1)."""

    def __init__(
        self,
        *,
        has_uids: bool = True,
        is_atomic: bool = True,
        append_limit: int | None = None,
        make_mailbox: Callable[[], MemoryMailbox] = MemoryMailbox,
        separator: str = "",
    ) -> None:
        self.separator = separator
        self.has_uids = has_uids  # UIDPLUS
        self.is_atomic = is_atomic  # MULTIAPPEND
        self.append_limit = append_limit
        self.make_mailbox = make_mailbox
        self.mailboxes: dict[MailboxName, MemoryMailbox] = {INBOX: make_mailbox()}

    def facts(self) -> DestFacts:
        return DestFacts("memory", self.has_uids, self.is_atomic, self.append_limit, separator=self.separator)


class MemoryAppender(LocalSession):
    """One lane to a server in memory."""

    kinds = (OpenDest, OpenMailbox, Append, SearchUids, FetchHeaders, ReadBack, CloseDest)
    opens = OpenDest

    def __init__(self, server: MemoryServer) -> None:
        super().__init__()
        self.server = server

    def carry_out(self, command: Command) -> Any:
        match command:
            case OpenDest():
                return self.server.facts()
            case OpenMailbox():
                return self._open(command)
            case Append():
                return self._append(command)
            case SearchUids(low=low):
                return sorted(uid for uid in self._mailbox(command.mailbox).kept if uid >= low)
            case FetchHeaders(fields=fields):
                return [
                    Served(kept.uid, len(kept.octets), header_fields(kept.octets, fields) if fields else b"")
                    for kept in self._asked(command)
                ]
            case ReadBack(digester=digester):
                return {kept.uid: _digest(digester(), kept.octets) for kept in self._asked(command)}
            case _:
                raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _open(self, command: OpenMailbox) -> MailboxStatus | None:
        if command.mailbox not in self.server.mailboxes:
            if not command.create:
                return None
            if self.server.separator and self.server.separator in "".join(command.mailbox.levels):
                raise MailboxError(f"{command.mailbox} cannot be a folder name")
            self.server.mailboxes[command.mailbox] = self.server.make_mailbox()
        return self.server.mailboxes[command.mailbox].status()

    def _mailbox(self, name: MailboxName) -> MemoryMailbox:
        if name not in self.server.mailboxes:
            raise MailboxError(f"the mailbox {name} does not exist", said=b"NO [TRYCREATE]")
        return self.server.mailboxes[name]

    def _asked(self, command: FetchHeaders | ReadBack) -> list[Kept]:
        kept = self._mailbox(command.mailbox).kept
        return [kept[uid] for uid in command.uids if uid in kept]

    def _append(self, command: Append) -> tuple[AppendUid | MessageError | None, ...]:
        mailbox = self._mailbox(command.mailbox)
        checked = [self._check(mailbox, letter.message) for letter in command.letters]
        refused = [octets for octets in checked if isinstance(octets, MessageError)]
        if refused and self.server.is_atomic and not command.apart:
            raise refused[0]
        results: list[AppendUid | MessageError | None] = []
        for letter, octets in zip(command.letters, checked, strict=True):
            if isinstance(octets, MessageError):
                results.append(octets)
                continue
            uid = mailbox.store(octets, letter.flags, letter.internaldate)
            results.append(AppendUid(mailbox.uidvalidity, uid) if self.server.has_uids else None)
        return tuple(results)

    def _check(self, mailbox: MemoryMailbox, message: Message) -> bytes | MessageError:
        """What will be kept, or why it is refused; decided before anything of the batch is stored."""
        limit = self.server.append_limit
        if limit is not None and message.octets > limit:
            return MessageError(f"the message has {message.octets} octets, the destination takes {limit}")
        try:
            return mailbox.keep(b"".join(message.blocks()))
        except MessageError as error:
            return error


def _digest(digest: Digest, octets: bytes) -> Any:
    for start in range(0, len(octets), BLOCK):
        digest.update(octets[start : start + BLOCK])
    return digest.finish()
