"""Two servers in memory, and the real driver and engine between them, with a real state file."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar, cast

from migrate.books import Books
from migrate.commands import Append, Command, OpenDest, OpenSource
from migrate.driver.loop import Driver
from migrate.driver.stop import Stop
from migrate.engine.audit import audit
from migrate.engine.rebuild import rebuild
from migrate.engine.walk import walk
from migrate.errors import Exit
from migrate.events import Event
from migrate.model import DateSource, Dedupe, Flags, InternalDate, MailboxName, Policy
from migrate.rules.dedupe import Digester
from migrate.state import State, TemporarySheet, has_state, open_state, read_state, rebuilding
from migrate.stores.base import Session
from migrate.stores.memory import (
    MemoryAppender,
    MemoryMailbox,
    MemoryMaildrop,
    MemoryReader,
    MemoryReleaser,
    MemoryServer,
)

ACCOUNTS = ("alice@source", "alice@dest")
OLD = MailboxName(("Old",))
LONG_AGO = InternalDate(datetime(2001, 2, 3, tzinfo=UTC), DateSource.STORE)

E = TypeVar("E", bound=Event)


class Crash(BaseException):
    """The process dies here."""


class Between:
    """A maildrop, a server, and whatever is run between them. ``events`` and ``sent`` are of the last run."""

    def __init__(self, scratch: Path, messages: list[bytes], **server: Any) -> None:
        self.maildrop = MemoryMaildrop(messages)
        self.server = MemoryServer(**server)
        self.state_path = scratch / "state.sqlite"
        self.spill = scratch / "spill"
        self.spill.mkdir(exist_ok=True)
        self.policy = Policy(mailbox=OLD, settle_s=0.0)
        self.events: list[Event] = []
        self.sent: list[Command] = []  # to either server
        self.on_command: Callable[[Command], None] = lambda command: None

    # --- truth --------------------------------------------------------------------------------

    @property
    def box(self) -> MemoryMailbox:
        return self.server.mailboxes.setdefault(OLD, self.server.make_mailbox())

    def stored(self) -> Counter[bytes]:
        return Counter(kept.octets for kept in self.box.kept.values())

    def store(self, octets: bytes) -> int:
        """What somebody else puts into the mailbox. Value: its uid."""
        return self.box.store(octets, Flags(), LONG_AGO)

    def source(self) -> Counter[bytes]:
        return Counter(mail.octets for mail in self.maildrop.mails)

    def all(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def one(self, kind: type[E]) -> E:
        (event,) = self.all(kind)
        return event

    def rows(self) -> dict[str, int]:
        """How many rows of the state file are at each stage."""
        with read_state(self.state_path) as reader:
            return {stage.value: count for stage, count in reader.summary().stages.items()}

    def twin(self, scratch: Path) -> Between:
        """The same servers and state once more, for another future."""
        other = copy.copy(self)
        other.fork()
        other.state_path = scratch / "state.sqlite"
        other.events, other.sent = [], []
        return other

    def fork(self) -> None:
        """What happens to the servers from now on happens to nobody else's."""
        self.maildrop, self.server = copy.deepcopy(self.maildrop), copy.deepcopy(self.server)

    # --- runs ---------------------------------------------------------------------------------

    def migrate(self, **changes: Any) -> Exit:
        state = open_state(self.state_path, *ACCOUNTS, digester=Digester)
        try:
            return self._drive(state, walk(self._policy(changes), self._hear()))
        finally:
            state.close()

    def rebuild(self, **changes: Any) -> Exit:
        with rebuilding(self.state_path, *ACCOUNTS, digester=Digester) as making:
            code = self._drive(making.state, rebuild(self._policy(changes), self._hear()))
            if code in (Exit.OK, Exit.SET_ASIDE):
                making.finish()
            return code

    def verify(self, **changes: Any) -> Exit:
        released = None
        if has_state(self.state_path):
            with read_state(self.state_path) as reader:
                released = list(reader.released())
        sheet = TemporarySheet(released)
        try:
            return self._drive(cast(Books, sheet), audit(self._policy(changes), self._hear()))
        finally:
            sheet.close()

    def _policy(self, changes: dict[str, Any]) -> Policy:
        if isinstance(changes.get("dedupe"), str):
            changes["dedupe"] = Dedupe(changes["dedupe"])
        return replace(self.policy, **changes)

    def _hear(self) -> Callable[[Event], None]:
        self.events, self.sent = [], []
        return self.events.append

    def _drive(self, books: State | Books, engine: Any) -> Exit:
        return Driver(books, self._open, Stop(), self.events.append).run(engine)

    def _open(self, command: OpenSource | OpenDest) -> Session:
        session: Any
        if isinstance(command, OpenDest):
            session = MemoryAppender(self.server)
        else:
            kind = MemoryReleaser if command.may_release else MemoryReader
            session = kind(self.maildrop, Digester, self.spill)
        carry_out = session.carry_out

        def watched(command: Command) -> Any:
            self.sent.append(command)
            self.on_command(command)
            return carry_out(command)

        session.carry_out = watched
        return cast(Session, session)

    def appended(self) -> int:
        """How many messages the last run uploaded."""
        return sum(len(command.letters) for command in self.sent if isinstance(command, Append))


def letter(number: int, *, body: bytes = b"", header: bytes = b"", message_id: bytes = b"") -> bytes:
    """A small message of its own for each number."""
    own = message_id or b"<m%d@example.org>" % number
    return header + b"Message-ID: %s\r\nFrom: a@example.org\r\nSubject: %d\r\n\r\nText %d%s\r\n" % (
        own,
        number,
        number,
        body,
    )
