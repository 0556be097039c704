"""Model servers with the habits of real ones, and the profiles that name them."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

from migrate.commands import Command, OpenSource
from migrate.model import Flags, InternalDate, MailboxName
from migrate.stores.memory import (
    MemoryMailbox,
    MemoryMaildrop,
    MemoryReader,
    MemoryReleaser,
    MemoryServer,
)


@dataclass(frozen=True, slots=True)
class Profile:
    """The habits of the two servers, and what happens between two runs of ours."""

    name: str
    has_uids: bool = True  # UIDPLUS
    is_atomic: bool = True  # MULTIAPPEND
    twins: int = 0  # how many messages are exact copies of the first
    same_id: bool = False  # all messages share one Message-ID, with other bodies
    deliver: bool = False  # somebody else delivers to the destination between runs
    arrive: bool = False  # new mail comes to the source between runs
    uidvalidity_changes: bool = False
    uidls: str = "kept"  # kept | change | reuse | replace | repeat | none
    deletes_on_fetch: bool = False
    capped: int = 0  # the listing shows so many, the oldest first
    rollback: bool = False  # the state file is restored from before the last run
    lost_commits: bool = False
    loses_newest: bool = False  # the destination loses its newest message when we die
    partial_quit: bool = False  # QUIT deletes some, and the answer is lost
    mangles: bool = False  # NUL is served as 0x80, a bare LF as CRLF
    has_deletion: bool = True
    dedupe: str = "off"
    messages: int = 4

    @property
    def may_double(self) -> bool:
        """Whether a stated exception of the promise is part of the profile."""
        return self.rollback


PROFILES = [
    Profile("plain"),
    Profile("plain-nouids", has_uids=False),
    Profile("single", is_atomic=False),
    Profile("single-nouids", is_atomic=False, has_uids=False),
    Profile("twins", twins=2),
    Profile("twins-nouids", twins=2, has_uids=False),
    Profile("deliver", deliver=True),
    Profile("deliver-twins-nouids", deliver=True, twins=2, has_uids=False),
    Profile("arrive", arrive=True),
    Profile("uidvalidity", uidvalidity_changes=True),
    Profile("uidvalidity-twins", uidvalidity_changes=True, twins=2),
    Profile("uidl-change", uidls="change"),
    Profile("uidl-change-twins", uidls="change", twins=2),
    Profile("uidl-reuse", uidls="reuse", arrive=True),
    Profile("uidl-replaced", uidls="replace"),
    Profile("uidl-repeat", uidls="repeat"),
    Profile("uidl-repeat-twins", uidls="repeat", twins=2),
    Profile("uidl-none", uidls="none"),
    Profile("uidl-none-twins", uidls="none", twins=2),
    Profile("deletes-on-fetch", deletes_on_fetch=True, has_deletion=False),
    Profile("deletes-on-fetch-nouids", deletes_on_fetch=True, has_deletion=False, has_uids=False),
    Profile("capped", capped=2),
    Profile("rollback", rollback=True),
    Profile("lost-commits", lost_commits=True),
    Profile("loses-newest", loses_newest=True),
    Profile("loses-newest-nouids", loses_newest=True, has_uids=False),
    Profile("partial-quit", partial_quit=True),
    Profile("mangles", mangles=True),
    Profile("no-deletion", has_deletion=False),
    Profile("dedupe", dedupe="content", twins=2),
    Profile("dedupe-same-id", dedupe="content", same_id=True),
    Profile("dedupe-deliver-nouids", dedupe="content", twins=2, deliver=True, has_uids=False),
]


class SimMailbox(MemoryMailbox):
    """A mailbox that may serve other octets than it took."""

    mangles = False

    def keep(self, octets: bytes) -> bytes:
        if not self.mangles:
            return octets
        lines = octets.replace(b"\0", b"\x80").replace(b"\r\n", b"\n").replace(b"\r", b"")
        return lines.replace(b"\n", b"\r\n")


class SimMaildrop(MemoryMaildrop):
    """A maildrop with the habits of its profile."""

    capped = 0
    partial_quit = False
    partial_left = 3  # times that a QUIT is carried out by half: a server that never deletes all has no end
    rng: random.Random

    def remove(self, mails: Any) -> None:
        mails = list(mails)
        if self.partial_quit and self.partial_left and mails and self.rng.random() < 0.5:
            self.partial_left -= 1
            mails = mails[: self.rng.randrange(len(mails))]
        super().remove(mails)


class _Capped(MemoryReader):
    maildrop: SimMaildrop

    def carry_out(self, command: Command) -> Any:
        value = super().carry_out(command)
        if isinstance(command, OpenSource) and self.maildrop.capped:
            self._mails = {n: mail for n, mail in self._mails.items() if n <= self.maildrop.capped}
        return value


class SimReader(_Capped):
    pass


class SimReleaser(_Capped, MemoryReleaser):
    pass


@dataclass
class Servers:
    """Both servers of one simulated life, and the truth about what must arrive."""

    maildrop: SimMaildrop
    server: MemoryServer
    mailbox: MailboxName
    originals: list[bytes] = field(default_factory=list)
    foreign: list[bytes] = field(default_factory=list)
    lost_by_server: list[bytes] = field(default_factory=list)  # after the source had let go of it: not ours to keep

    @property
    def box(self) -> MemoryMailbox:
        return self.server.mailboxes.setdefault(self.mailbox, self.server.make_mailbox())

    def stored(self) -> list[bytes]:
        return [kept.octets for kept in self.box.kept.values()]


def letter(number: int, *, body: bytes = b"", message_id: bytes | None = None) -> bytes:
    """A small message of its own; the odd ones have octets that a mangling server changes."""
    own = message_id or b"<m%d@sim.invalid>" % number
    odd = (b"", b"\0nul", b"bare\nlf", b"")[number % 4]
    return (
        b"Message-ID: " + own + b"\r\nDate: Mon, 1 Jan 2024 00:00:%02d +0000\r\nFrom: a@sim.invalid\r\n"
        b"Subject: %d\r\n\r\n" % (number % 60, number) + b"body %d " % number + odd + body + b"\r\n"
    )


def make(profile: Profile, rng: random.Random) -> Servers:
    maildrop = SimMaildrop(has_uids=profile.uidls != "none", may_delete_on_fetch=profile.deletes_on_fetch)
    maildrop.capped, maildrop.partial_quit, maildrop.rng = profile.capped, profile.partial_quit, rng

    def box() -> SimMailbox:
        mailbox = SimMailbox(uidvalidity=rng.randrange(1, 1 << 31))
        mailbox.mangles = profile.mangles
        return mailbox

    server = MemoryServer(has_uids=profile.has_uids, is_atomic=profile.is_atomic, make_mailbox=box)
    servers = Servers(maildrop, server, MailboxName(("Old",)))
    for number in range(profile.messages):
        same = b"<same@sim.invalid>" if profile.same_id else None
        octets = letter(number, message_id=same)
        if number and number <= profile.twins:
            octets = letter(0)
        arrive(profile, servers, octets)
    return servers


def arrive(profile: Profile, servers: Servers, octets: bytes) -> None:
    uid = b"same-uidl" if profile.uidls == "repeat" and len(servers.originals) < 3 else None
    servers.maildrop.deliver(octets, uid)
    servers.originals.append(octets)


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
        newest = max(servers.box.kept)
        lost = servers.box.kept.pop(newest)
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


def _store(servers: Servers, octets: bytes) -> None:
    from datetime import UTC, datetime

    from migrate.model import DateSource

    servers.box.store(octets, Flags(), InternalDate(datetime(2024, 1, 1, tzinfo=UTC), DateSource.STORE))
