"""Both model servers of one simulated life, and what others do to them between two runs of ours."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from migrate.commands import Append, Command, ReadBack
from migrate.errors import MessageError, StoreError
from migrate.model import AppendUid, DateSource, Flags, InternalDate, MailboxName
from migrate.stores.memory import Kept, MemoryAppender, MemoryMailbox, MemoryServer

from .faults import Kind
from .maildrop import BAD, SimMaildrop
from .profiles import Profile

ADDED = b"X-UID: 1\r\n"
FOLDER, OTHER_FOLDER = MailboxName(("Old",)), MailboxName(("New",))


class SimMailbox(MemoryMailbox):
    """A mailbox that may serve other octets than it took."""

    mangles = False
    adds_header = False

    def keep(self, octets: bytes) -> bytes:
        if self.adds_header:
            return ADDED + octets
        if not self.mangles:
            return octets
        lines = octets.replace(b"\0", b"\x80").replace(b"\r\n", b"\n").replace(b"\r", b"")
        return lines.replace(b"\n", b"\r\n")


class SharedMailbox(SimMailbox):
    """The INBOX of an account, whose maildrop shows the same messages."""

    maildrop: SimMaildrop

    def store(self, octets: bytes, flags: Flags, internaldate: InternalDate) -> int:
        uid = super().store(octets, flags, internaldate)
        self.maildrop.deliver(octets, b"%d" % uid)
        return uid

    def share(self, maildrop: SimMaildrop) -> None:
        self.maildrop = maildrop
        maildrop.on_gone = lambda mails: [self.kept.pop(int(mail.uid), None) for mail in mails]


class SimServer(MemoryServer):
    """A destination that says what it served whole, and may be in a bad mood for one command."""

    def __init__(self, rng: random.Random, *, hangs_up: bool = False, **habits: Any) -> None:
        super().__init__(**habits)
        self.rng = rng
        self.hangs_up = hangs_up  # at one message
        self.on_served: Callable[[bytes], None] = lambda octets: None
        self.later: Callable[[Callable[[], None]], None] = lambda action: action()  # within the settling time

    def append_uid(self, mailbox: MemoryMailbox, uid: int) -> AppendUid | None:
        """What it says of a message that it stored."""
        return AppendUid(mailbox.uidvalidity, uid) if self.has_uids else None

    def invented_uids(self, mailbox: MemoryMailbox, count: int) -> list[AppendUid | None]:
        """Where a lying server says it stored what it threw away."""
        if not self.has_uids or self.rng.random() < 0.3:
            return [None] * count
        return [AppendUid(mailbox.uidvalidity, mailbox.uidnext + n) for n in range(count)]

    def store_later(self, name: MailboxName, letters: Sequence[tuple[bytes, Flags, InternalDate]]) -> None:
        """What a server does that answers before it has stored: it goes into whatever bears the name by then."""

        def land() -> None:
            box = self.mailboxes.setdefault(name, self.make_mailbox())
            for octets, flags, when in letters:
                box.store(box.keep(octets), flags, when)

        self.later(land)


class SimAppender(MemoryAppender):
    """A lane without octets."""

    server: SimServer
    mood: Kind | None = None

    def carry_out(self, command: Command) -> Any:
        if isinstance(command, Append) and self.server.hangs_up:
            self._hang_up_at_one(command)
        if isinstance(command, Append) and self.mood in (Kind.LIE, Kind.LAG):
            answer = tuple(self.server.invented_uids(self._mailbox(command.mailbox), len(command.letters)))
            if self.mood is Kind.LAG:
                letters = [(b"".join(one.message.blocks()), one.flags, one.internaldate) for one in command.letters]
                self.server.store_later(command.mailbox, letters)
            return answer
        if isinstance(command, Append) and self.mood is Kind.NO:
            raise MessageError("the destination refused it", said=b"NO no")
        if isinstance(command, ReadBack):
            for kept in self._asked(command):
                self.server.on_served(kept.octets)
        return super().carry_out(command)

    def _hang_up_at_one(self, command: Append) -> None:
        octets = [b"".join(one.message.blocks()) for one in command.letters]
        bad = next((number for number, one in enumerate(octets) if BAD in one), None)
        if bad is None:
            return
        if not self.server.is_atomic:
            super().carry_out(replace(command, letters=command.letters[:bad]))
        raise StoreError("the destination hung up")


@dataclass
class Servers:
    """Both servers, and the truth about what must arrive."""

    maildrop: SimMaildrop
    server: SimServer
    originals: list[bytes] = field(default_factory=list)
    foreign: list[bytes] = field(default_factory=list)
    lost_by_server: list[bytes] = field(default_factory=list)  # after the source had let go of it: not ours to keep

    @property
    def box(self) -> MemoryMailbox:
        return self.server.mailboxes.setdefault(FOLDER, self.server.make_mailbox())

    def stored(self) -> list[bytes]:
        """The octets of every copy, in whichever folder."""
        return [kept.octets for box in self.server.mailboxes.values() for kept in box.kept.values()]

    def left(self) -> list[bytes]:
        return [mail.octets for mail in self.maildrop.mails]


def letter(number: int, *, body: bytes = b"", message_id: bytes | None = None) -> bytes:
    """A small message of its own; the odd ones have octets that a mangling server changes."""
    own = message_id or b"<m%d@sim.invalid>" % number
    odd = (b"", b"\0nul", b"bare\nlf", b"\r\n.\r\n..dots")[number % 4]
    return (
        b"Message-ID: " + own + b"\r\nDate: Mon, 1 Jan 2024 00:00:%02d +0000\r\nFrom: a@sim.invalid\r\n"
        b"Subject: %d\r\n\r\n" % (number % 60, number) + b"body %d " % number + odd + body + b"\r\n"
    )


def make(profile: Profile, rng: random.Random) -> Servers:
    maildrop = SimMaildrop(
        rng,
        capped=profile.capped,
        hides=profile.hides,
        partial_quit=profile.partial_quit,
        has_uids=profile.uidls != "none",
        may_delete_on_fetch=profile.deletes_on_fetch,
        has_folders=profile.folders,
        hangs_up=profile.hangs_up == "source",
    )

    def box() -> SimMailbox:
        mailbox = SimMailbox(uidvalidity=rng.randrange(1, 1 << 31))
        mailbox.mangles, mailbox.adds_header = profile.mangles, profile.adds_header
        return mailbox

    habits: dict[str, Any] = {"has_uids": profile.has_uids, "is_atomic": profile.is_atomic, "make_mailbox": box}
    server = SimServer(rng, hangs_up=profile.hangs_up == "destination", **habits)
    servers = Servers(maildrop, server)
    if profile.is_shared:
        shared = SharedMailbox(uidvalidity=rng.randrange(1, 1 << 31))
        shared.share(maildrop)
        server.mailboxes[FOLDER] = shared
    for number in range(profile.messages):
        same = b"<same@sim.invalid>" if profile.same_id else None
        # On the wire one message is too large for a literal of LITERAL- (RFC 7888 §5).
        body = b"\r\n" + b"long line " * 450 if profile.wire and number == 3 else b""
        octets = letter(number, message_id=same, body=body)
        if number and number <= profile.twins:
            octets = letter(0)
        arrive(profile, servers, octets)
    return servers


def arrive(profile: Profile, servers: Servers, octets: bytes) -> None:
    servers.originals.append(octets)
    if profile.is_shared:
        _store(servers, octets)
        return
    uid = b"same-uidl" if profile.uidls == "repeat" and len(servers.originals) < 4 else None
    servers.maildrop.deliver(octets, uid)


def between_runs(profile: Profile, servers: Servers, rng: random.Random, number: int) -> None:
    """What others do while we are not running."""
    maildrop = servers.maildrop
    if profile.deliver:
        octets = letter(900 + number) if number % 2 else letter(0)
        servers.foreign.append(octets)
        _store(servers, octets)
    if profile.arrive and number < 3:
        octets = letter(500 + number)
        if profile.uidls == "reuse" and maildrop.deleted:
            maildrop.deliver(octets, maildrop.deleted[0])
            servers.originals.append(octets)
        else:
            arrive(profile, servers, octets)
    if profile.uidls == "change":
        for mail in maildrop.mails:
            mail.uid = b"%08x" % rng.randrange(1 << 32)
    if profile.uidls == "replace" and number == 0:
        _replace(servers, rng)
    if profile.uidvalidity_changes:
        _renumber(servers.box, rng)
    if profile.loses_newest and servers.box.kept and number == 0:
        lost = servers.box.kept.pop(max(servers.box.kept))
        if not any(_is_form_of(mail.octets, lost.octets) for mail in maildrop.mails):
            servers.lost_by_server.append(lost.octets)


def _replace(servers: Servers, rng: random.Random) -> None:
    """Somebody deletes a message that was copied, and its UIDL is given to another one of the same size."""
    stored = servers.stored()
    copied = [mail for mail in servers.maildrop.mails if mail.octets in stored]
    if copied:
        mail = rng.choice(copied)
        mail.octets = mail.octets.replace(b"body", b"BODY").replace(b"<m", b"<M")
        servers.originals.append(mail.octets)


def _is_form_of(octets: bytes, stored: bytes) -> bool:
    return octets.replace(b"\r", b"").replace(b"\0", b"\x80") == stored.replace(b"\r", b"").replace(b"\0", b"\x80")


def _renumber(box: MemoryMailbox, rng: random.Random) -> None:
    box.uidvalidity += 1
    kept = sorted(box.kept.values(), key=lambda one: one.uid)
    box.kept, box.uidnext = {}, rng.randrange(1, 5)
    for one in kept:
        box.store(one.octets, one.flags, one.internaldate)


def _store(servers: Servers, octets: bytes) -> Kept:
    at = InternalDate(datetime(2024, 1, 1, tzinfo=UTC), DateSource.STORE)
    return servers.box.kept[servers.box.store(octets, Flags(), at)]
