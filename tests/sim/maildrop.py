"""A maildrop with the habits of real servers: capped listings, half a QUIT, one session at a time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from migrate.commands import Command, OpenSource, SourceFacts
from migrate.errors import Retry, StoreError
from migrate.model import MailboxName, Message, MessageRef
from migrate.stores.memory import Mail, MemoryMaildrop, MemoryReader, MemoryReleaser

from .faults import Kind


class Busy(Exception):
    """Another session has the maildrop (RFC 1939 §4: an exclusive-access lock)."""


BAD = b"<m2@sim.invalid>"  # in the message at which an end hangs up
FOLDERS = (MailboxName(("Sent",)), MailboxName(("Sent", "2024")))


def folder_of(octets: bytes) -> MailboxName:
    """Where a message stands in a source that has folders: its size decides."""
    return FOLDERS[len(octets) % 2]


class SimMaildrop(MemoryMaildrop):
    """A maildrop with the habits of its profile. One session has it at a time."""

    def __init__(
        self,
        rng: random.Random,
        *,
        capped: int = 0,
        hides: bool = False,
        partial_quit: bool = False,
        has_folders: bool = False,
        hangs_up: bool = False,
        **habits: Any,
    ) -> None:
        super().__init__(**habits)
        self.hangs_up = hangs_up  # at one message
        self.has_folders = has_folders
        self._rng = rng
        self._capped = capped  # the listing shows so many, the oldest first
        self._hides = hides  # what was fetched, once the session ends with QUIT
        self._hidden: set[bytes] = set()
        # How often a QUIT is carried out by half: a server that never deletes all has no end.
        self._partial_left = 3 if partial_quit else 0
        self._holder: object | None = None
        self.on_delete: Callable[[Sequence[Mail]], None] = lambda mails: None  # those that we asked for
        self.on_gone: Callable[[Sequence[Mail]], object] = lambda mails: None

    def take(self, session: object) -> list[Mail]:
        """The messages, for whoever holds the maildrop from now on. Busy when another connection has not let go."""
        if self._holder not in (None, session):
            raise Busy
        self._holder = session
        shown = [mail for mail in self.mails if mail.uid not in self._hidden]
        return shown[: self._capped] if self._capped else shown

    def release(self, session: object) -> None:
        if self._holder is session:
            self._holder = None

    def hide(self, mails: Iterable[Mail]) -> None:
        """What was fetched in a session that ends with QUIT is shown no more, where that is the habit."""
        if self._hides:
            self._hidden.update(mail.uid for mail in mails)

    def remove(self, mails: Any, *, asked: bool = True) -> None:
        """What goes with QUIT; ``asked``: because we marked it, not because it was fetched."""
        mails = list(mails)
        if self._partial_left and mails and self._rng.random() < 0.5:
            self._partial_left -= 1
            mails = mails[: self._rng.randrange(len(mails))]
        if asked:
            self.on_delete(mails)
        self.on_gone(mails)
        super().remove(mails)


class SimReader(MemoryReader):
    """A session without octets."""

    maildrop: SimMaildrop
    mood: Kind | None = None  # nothing befalls it: the world breaks its connection

    def carry_out(self, command: Command) -> Any:
        if isinstance(command, OpenSource):
            try:
                mails = self.maildrop.take(self)
            except Busy:
                raise StoreError("the maildrop is busy", retry=Retry.LATER, said=b"-ERR [IN-USE]") from None
            super().carry_out(command)
            self._mails = dict(enumerate(mails, start=1))
            return self._facts()
        return super().carry_out(command)

    def _facts(self) -> SourceFacts:
        facts = super()._facts()
        return replace(facts, mailboxes=FOLDERS) if self.maildrop.has_folders else facts

    def _fetch(self, ref: MessageRef) -> Message:
        if self.maildrop.hangs_up and BAD in self._mail(ref).octets:
            raise StoreError("the source hung up")
        message = super()._fetch(ref)
        if not self.maildrop.has_folders:
            return message
        return message._replace(mailbox=folder_of(b"".join(message.blocks())))

    def _close(self, is_quit: bool) -> None:
        if is_quit:
            gone = self._marked | (self._fetched if self.maildrop.may_delete_on_fetch else set())
            self.maildrop.remove([self._mails[number] for number in sorted(gone)], asked=bool(self._marked))
            self.maildrop.hide(self._mails[number] for number in self._fetched)
        self.close()

    def close(self) -> None:
        super().close()
        self.maildrop.release(self)


class SimReleaser(SimReader, MemoryReleaser):
    """The same, and deletes."""
