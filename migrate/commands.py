"""What the engine asks of the world, and what comes back: one command, one outcome.

The engine yields commands and is given outcomes; whoever plays the world (the
driver, a simulator) owes exactly one ``Outcome`` for each command. The
outcomes of one session come in the order of its commands. When a session
breaks, every command it still owes ends with the same StoreError.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from .books import Books
from .errors import MigrateError
from .model import Checkpoint, Fingerprint, Flags, InternalDate, MailboxName, Message, MessageRef


@dataclass(frozen=True, slots=True, eq=False)
class Command:
    """Base of all commands. Each object is its own tag."""


class Outcome(NamedTuple):
    """The end of one command: its value, or the error that ended it."""

    command: Command | None  # None: nobody asked, a person wants the run to stop
    value: Any = None
    error: MigrateError | None = None


# --- source ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class OpenSource(Command):
    """Connects, secures and logs in. Value: SourceFacts."""

    may_release: bool = False  # only then can the session that it opens delete anything
    will_list: bool = False  # a ListSource follows, whose answer may be on its way by then


@dataclass(frozen=True, slots=True, eq=False)
class ReachSource(Command):
    """Begins what the next OpenSource, which has the errors, does before its login, unless just begun. Value: None."""

    may_release: bool = False


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What a source told about itself after login."""

    greeting: str  # one line for people: host, TLS version
    messages: int  # STAT
    octets: int
    has_uids: bool
    may_delete_on_fetch: bool  # what is fetched may be gone after the session (CAPA EXPIRE 0)
    login_delay_s: int = 0
    ahead: int = 0  # octets that may be asked for beyond what is held: what comes too early waits in the network
    hides_nothing: bool = False  # what was fetched is shown as before, by the rules of its protocol
    # Of a source that has several: where its messages may stand; None: messages that come without one.
    mailboxes: tuple[MailboxName | None, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class ListSource(Command):
    """Lists the whole source. Value: Sequence[MessageRef], compact, possibly a million long.

    StoreError when STAT, UIDL and LIST disagree even when asked again.
    """


@dataclass(frozen=True, slots=True, eq=False)
class Fetch(Command):
    """Gets one message. Value: Message. MessageError when the server refuses this one."""

    ref: MessageRef


@dataclass(frozen=True, slots=True, eq=False)
class Delete(Command):
    """Marks messages for deletion. Value: tuple[MessageError | None, ...], one for each ref.

    Nothing is deleted before ``CloseSource(quit=True)`` succeeded.
    """

    refs: tuple[MessageRef, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CloseSource(Command):
    """Ends the session. Value: None.

    ``quit=True`` sends QUIT and needs +OK (else StoreError: what was marked is
    perhaps deleted); ``quit=False`` drops the connection, which marks nothing.
    """

    quit: bool


# --- destination ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class OpenDest(Command):
    """Connects lane ``lane`` (a connection of its own), secures, logs in. Value: DestFacts.

    ``asks_separator``: its names will be made of names of the source, so ``DestFacts.separator`` is wanted.
    """

    lane: int
    asks_separator: bool = False
    mailbox: MailboxName | None = None  # is appended to first: selected too, where that keeps others waiting


@dataclass(frozen=True, slots=True)
class DestFacts:
    """What a destination told about itself after login."""

    greeting: str
    has_uids: bool  # UIDPLUS: answers to APPEND say where
    is_atomic: bool  # a batch of an Append goes as one command (MULTIAPPEND): all or none
    append_limit: int | None  # octets of the largest message it takes, None: unknown
    in_flight: int = 32  # Append commands that may be under way on one lane
    batch_count: int = 100
    batch_octets: int = 4 * 1024 * 1024
    lanes: int = 1  # connections that help, where a person asks for no number
    separator: str = ""  # stands between the levels of a mailbox name, so in none of them; "": not asked, or none


@dataclass(frozen=True, slots=True, eq=False)
class OpenMailbox(Command):
    """Selects a mailbox on a lane, which ``create`` makes first. Value: MailboxStatus, None when it does not exist."""

    lane: int
    mailbox: MailboxName
    create: bool


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """A mailbox as selected (RFC 3501 §6.3.1). ``uidvalidity`` 0: the server gave none."""

    uidvalidity: int
    uidnext: int
    messages: int
    permanent_flags: frozenset[str]  # as sent, with "\\*" when new keywords may be made
    has_sticky_uids: bool = True  # False: UIDNOTSTICKY (RFC 4315 §2)


class Letter(NamedTuple):
    """A message with what APPEND sends beside it; the flags are those the mailbox admits."""

    message: Message
    flags: Flags
    internaldate: InternalDate


@dataclass(frozen=True, slots=True, eq=False)
class Append(Command):
    """Uploads letters. Value: tuple[AppendUid | None | MessageError, ...], one for each letter.

    Where the destination is atomic and refuses the whole batch, the outcome is
    a MessageError and none was stored; not if they go ``apart``, one command for
    each. A StoreError says nothing about what was stored.
    """

    lane: int
    mailbox: MailboxName
    letters: tuple[Letter, ...]
    apart: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class SearchUids(Command):
    """Value: Sequence[int], ascending, every uid >= ``low`` that is in the mailbox now."""

    lane: int
    mailbox: MailboxName
    low: int


class Served(NamedTuple):
    """What a destination holds under one uid. ``header`` holds the fields that the index needs."""

    uid: int
    octets: int
    header: bytes = b""


@dataclass(frozen=True, slots=True, eq=False)
class FetchHeaders(Command):
    """Value: list[Served] with octets and the header fields that ``rules.dedupe.INDEX_FIELDS`` names,
    without the uids that are not there any more."""

    lane: int
    mailbox: MailboxName
    uids: Sequence[int]
    fields: tuple[str, ...]  # empty: octets only


class Digest(Protocol):
    """What a read-back feeds: rules.dedupe.Digester."""

    def update(self, block: bytes) -> None: ...

    def finish(self) -> Fingerprint: ...


@dataclass(frozen=True, slots=True, eq=False)
class ReadBack(Command):
    """Serves back every octet of these uids. Value: dict[int, Fingerprint], without missing uids."""

    lane: int
    mailbox: MailboxName
    uids: Sequence[int]
    digester: Callable[[], Digest]


@dataclass(frozen=True, slots=True, eq=False)
class CloseDest(Command):
    """Logs out of a lane. Value: None; never an error."""

    lane: int


# --- state and clock ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Commit(Command):
    """Makes rows durable, all or none; commits that wait may share one transaction. Value: None."""

    rows: tuple[Checkpoint, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Ask(Command):
    """Asks the state file. Value: what ``call(books)`` gives."""

    call: Callable[[Books], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Wait(Command):
    """Value: None, after that many seconds (monotonic), or earlier when a stop is wanted."""

    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class Now(Command):
    """Value: Instant."""


@dataclass(frozen=True, slots=True)
class Instant:
    wall: float  # seconds since the epoch, as the machine believes
    monotonic: float
