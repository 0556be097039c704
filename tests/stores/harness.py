"""The stores as the contract suite sees them: a way to make sessions, and the truth told without them."""

from __future__ import annotations

import base64
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from migrate.commands import CloseDest, Command
from migrate.errors import MessageError, StoreError
from migrate.model import Endpoint, MailboxName, Protocol, Secret, Tls
from migrate.rules.dedupe import Digester
from migrate.stores import net
from migrate.stores.base import Session
from migrate.stores.imap import ImapAppender, ImapReader
from migrate.stores.memory import (
    MemoryAppender,
    MemoryMailbox,
    MemoryMaildrop,
    MemoryReader,
    MemoryReleaser,
    MemoryServer,
)
from migrate.stores.pop3 import Pop3Reader, Pop3Releaser
from tests.support.relay import Relay
from tests.support.server import MailServer

from .contract import Held

# --- memory ---------------------------------------------------------------------------------


class _Cable:
    """A connection that can be cut."""

    is_cut = False


class _CutReader(MemoryReader):
    cable: _Cable

    def carry_out(self, command: Command) -> Any:
        if self.cable.is_cut:
            raise StoreError("the connection was cut")
        return super().carry_out(command)


class _CutAppender(MemoryAppender):
    cable: _Cable

    def carry_out(self, command: Command) -> Any:
        if self.cable.is_cut and not isinstance(command, CloseDest):
            raise StoreError("the connection was cut")
        return super().carry_out(command)


class MemorySource:
    def __init__(self, spill_dir: Path, *, has_uids: bool = True) -> None:
        self.spill_dir = spill_dir
        self._maildrop = MemoryMaildrop(has_uids=has_uids)
        self._cable = _Cable()

    def load(self, messages: Sequence[bytes]) -> None:
        for octets in messages:
            self._maildrop.deliver(octets)

    def served(self, octets: bytes) -> bytes:
        return octets

    def held(self) -> list[bytes]:
        return [mail.octets for mail in self._maildrop.mails]

    def reader(self) -> Session:
        session = _CutReader(self._maildrop, Digester, self.spill_dir)
        session.cable = self._cable
        return session

    def releaser(self) -> Session:
        return MemoryReleaser(self._maildrop, Digester, self.spill_dir)

    def cut(self) -> None:
        self._cable.is_cut = True


class _NoEmptyMessages(MemoryMailbox):
    def keep(self, octets: bytes) -> bytes:
        if not octets:
            raise MessageError("the message has no octets")
        return octets


class MemoryDest:
    def __init__(self, *, has_uids: bool, is_atomic: bool) -> None:
        self.has_uids = has_uids
        self._server = MemoryServer(has_uids=has_uids, is_atomic=is_atomic, make_mailbox=_NoEmptyMessages)
        self._cable = _Cable()

    def appender(self) -> Session:
        session = _CutAppender(self._server)
        session.cable = self._cable
        return session

    def kept(self, octets: bytes) -> bytes:
        return octets

    def held(self, mailbox: MailboxName) -> list[Held]:
        if mailbox not in self._server.mailboxes:
            return []
        kept = self._server.mailboxes[mailbox].kept
        return [Held(one.uid, one.octets, one.flags.names, one.internaldate.when) for one in kept.values()]

    def remove(self, mailbox: MailboxName, uid: int) -> None:
        del self._server.mailboxes[mailbox].kept[uid]

    def cut(self) -> None:
        self._cable.is_cut = True


# --- servers --------------------------------------------------------------------------------


class ServerSource:
    """POP3 of a server, reached through a relay that can be cut."""

    def __init__(self, server: MailServer, user: str, spill_dir: Path, relay: Relay, tls: Tls) -> None:
        self.spill_dir = spill_dir
        self._server = server
        self._user = user
        self._relay = relay
        self._endpoint = Endpoint(Protocol.POP3, user, server.host, relay.port, tls)

    def load(self, messages: Sequence[bytes]) -> None:
        self._server.deliver_many(self._user, messages)

    def served(self, octets: bytes) -> bytes:
        return self._server.served(octets)

    def held(self) -> list[bytes]:
        return [octets for _, octets in self._server.served_pop3(self._user)]

    def reader(self) -> Session:
        return self._session(Pop3Reader)

    def releaser(self) -> Session:
        return self._session(Pop3Releaser)

    def _session(self, kind: type[Pop3Reader]) -> Session:
        return kind(
            self._endpoint,
            Secret(self._server.password),
            connect=net.connect,
            digester=Digester,
            spill_dir=self.spill_dir,
            clock=time.monotonic,
        )

    def cut(self) -> None:
        self._relay.cut()


class ImapServerSource(ServerSource):
    """The same mailbox over IMAP, folder by folder."""

    def __init__(self, server: MailServer, user: str, spill_dir: Path, relay: Relay, tls: Tls) -> None:
        super().__init__(server, user, spill_dir, relay, tls)
        self._endpoint = Endpoint(Protocol.IMAP, user, server.host, relay.port, tls)
        self._served: dict[bytes, bytes] = {}

    def load(self, messages: Sequence[bytes]) -> None:
        super().load(messages)
        # What a delivery makes of odd line ends is the server's own affair.
        self._served.update(zip(messages, self.held()[-len(messages) :], strict=True))

    def served(self, octets: bytes) -> bytes:
        return self._served[octets]

    def held(self) -> list[bytes]:
        return [one.octets for one in self._server.stored(self._user, "INBOX")]

    def reader(self) -> Session:
        return ImapReader(
            self._endpoint,
            Secret(self._server.password),
            connect=net.connect,
            digester=Digester,
            spill_dir=self.spill_dir,
            clock=time.monotonic,
        )


class ServerDest:
    """IMAP of a server, reached through a relay that can be cut."""

    def __init__(self, server: MailServer, user: str, relay: Relay, tls: Tls) -> None:
        self.has_uids = "UIDPLUS" in server.capabilities(user)
        self._server = server
        self._user = user
        self._relay = relay
        self._endpoint = Endpoint(Protocol.IMAP, user, server.host, relay.port, tls)

    def appender(self) -> Session:
        return ImapAppender(self._endpoint, Secret(self._server.password), connect=net.connect, clock=time.monotonic)

    def kept(self, octets: bytes) -> bytes:
        return self._server.kept(octets)

    def held(self, mailbox: MailboxName) -> list[Held]:
        return [
            Held(one.uid, one.octets, one.flags - {"\\Recent"}, one.internaldate)
            for one in self._server.stored(self._user, self._encoded(mailbox))
        ]

    def remove(self, mailbox: MailboxName, uid: int) -> None:
        with self._server.imap(self._user) as imap:
            imap.command(f'SELECT "{self._encoded(mailbox)}"')
            imap.command(f"UID STORE {uid} +FLAGS.SILENT (\\Deleted)")
            imap.command("EXPUNGE")

    def _encoded(self, mailbox: MailboxName) -> str:
        """The mailbox on the wire, with the server's delimiter."""
        with self._server.imap(self._user) as imap:
            (answer,) = [text for text, _ in imap.command('LIST "" ""') if text.startswith(b"* LIST")]
        return encoded(mailbox, answer.split(b'"')[1].decode())

    def cut(self) -> None:
        self._relay.cut()


def encoded(mailbox: MailboxName, delimiter: str) -> str:
    """The name in modified UTF-7 (RFC 3501 §5.1.3)."""

    def shifted(found: re.Match[str]) -> str:
        packed = base64.b64encode(found[0].encode("utf-16-be")).rstrip(b"=").decode("ascii")
        return f"&{packed.replace('/', ',')}-"

    return re.sub(r"[^\x20-\x7e]+", shifted, delimiter.join(mailbox.levels).replace("&", "&-"))
