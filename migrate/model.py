"""The nouns: frozen, validated at the door.

A value of one of these types is right by construction; code that receives one
does not check again. Octets are ``bytes``; what a person reads is ``str`` and
has been through ``display``.
"""

from __future__ import annotations

import re
import unicodedata
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, Flag, auto
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, quote_plus

MEMORY_LIMIT = 2 * 1024 * 1024  # octets of one message held in memory; a larger one goes through a file
BLOCK = 256 * 1024  # octets read from a temporary file at a time


def display(text: bytes | str, limit: int = 300) -> str:
    """One line safe to show, of ``limit`` characters: control, escape, bidi and invisible ones become visible."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "backslashreplace")
    shown = "".join(c if _is_plain(c) else c.encode("unicode_escape").decode("ascii") for c in text[: limit + 1])
    return shown if len(shown) <= limit else shown[:limit] + "..."


def _is_plain(char: str) -> bool:
    return char == " " or unicodedata.category(char)[0] not in "CZ"


class Secret:
    """A password or token: never shown, compared or pickled; ``reveal()`` at the wire only."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def forms(self, user: str) -> tuple[bytes, ...]:
        """Every form in which it may be seen on a wire or come back in an answer, the longest first.

        Plain, as a quoted string, SASL PLAIN (RFC 4616), base64 with and without padding, hexadecimal, URL-encoded.
        """
        name, plain = (text.encode("utf-8", "surrogatepass") for text in (user, self._value))
        sasl = b"\0" + name + b"\0" + plain
        forms = {plain, plain.replace(b"\\", b"\\\\").replace(b'"', b'\\"'), sasl}
        for text in (plain.hex(), plain.hex(":"), quote(plain), quote(plain, safe=""), quote_plus(plain)):
            forms |= {text.encode("ascii"), text.upper().encode("ascii"), _lower_percent(text).encode("ascii")}
        for octets in (plain, sasl, name + sasl):
            for encoded in (b64encode(octets), urlsafe_b64encode(octets)):
                forms |= {encoded, encoded.rstrip(b"=")}
        return tuple(sorted((form for form in forms if form), key=len, reverse=True))

    def __repr__(self) -> str:
        return "Secret(***)"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not pickled")


def _lower_percent(text: str) -> str:
    return re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), text)


def folded(name: str) -> str:
    """The name with its ASCII letters in capitals: no other letter has a case in INBOX, not even a dotless i."""
    return re.sub("[a-z]+", lambda found: found[0].upper(), name)


class Protocol(Enum):
    POP3 = "pop3"
    IMAP = "imap"
    MBOX = "mbox"
    MAILDIR = "maildir"


class Tls(Enum):
    IMPLICIT = "implicit"  # from the first octet: pop3s, imaps
    STARTTLS = "starttls"  # required, refused without: pop3, imap
    NONE = "none"  # +insecure, loopback unless forced


@dataclass(frozen=True, slots=True)
class MailboxName:
    """A mailbox as its Unicode levels; modified UTF-7 and the delimiter exist only at the IMAP edge.

    ``INBOX`` as only or first level is always written in capitals (RFC 3501 §5.1).
    """

    levels: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.levels or not all(self.levels):
            raise ValueError("a mailbox name needs at least one level and no empty one")
        for level in self.levels:
            if any(unicodedata.category(c) == "Cc" for c in level):
                raise ValueError(f"control character in mailbox name {display(level)}")
        normal = [unicodedata.normalize("NFC", level) for level in self.levels]
        if folded(normal[0]) == "INBOX":
            normal[0] = "INBOX"
        object.__setattr__(self, "levels", tuple(normal))

    @classmethod
    def parse(cls, text: str) -> MailboxName:
        """The name written with ``/`` between levels; ``%2F`` stands for a slash inside one."""
        return cls(tuple(level.replace("%2F", "/").replace("%25", "%") for level in text.split("/")))

    def __str__(self) -> str:
        return "/".join(level.replace("%", "%25").replace("/", "%2F") for level in self.levels)


INBOX = MailboxName(("INBOX",))


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where mail lives, without any secret. ``mailbox`` is the path of an IMAP endpoint, if given.

    Of files only ``path`` is told, absolute: an mbox file, a directory of them, or a Maildir.
    """

    protocol: Protocol
    user: str
    host: str
    port: int
    tls: Tls
    mailbox: MailboxName | None = None
    pin: bytes | None = None  # SHA-256 of the server's certificate (DER)
    path: Path | None = None

    @property
    def account(self) -> str:
        """Who at which host: the identity of this end in the state file."""
        if self.path is not None:
            return f"{self.protocol.value}:{self.path}"
        return f"{self.user}@{self.host.lower()}"

    def __str__(self) -> str:
        if self.path is not None:
            return display(self.account, 1000)
        scheme = self.protocol.value + {Tls.IMPLICIT: "s", Tls.STARTTLS: "", Tls.NONE: "+insecure"}[self.tls]
        host = f"[{self.host}]" if ":" in self.host else self.host
        path = f"/{self.mailbox}" if self.mailbox else ""
        return display(f"{scheme}://{self.user}@{host}:{self.port}{path}")


class MessageRef(NamedTuple):
    """Where a message stands in a source, valid for one session.

    ``uid`` is the UIDL's octets (RFC 1939 §7), ``b""`` where the server gives none; ``number`` is the message number
    of the session and means nothing in the next; ``octets`` is the size the server listed: a hint, never trusted.
    ``is_fault``: it is no message, but stands for a folder or file that cannot be read; no fetch gives it.
    """

    uid: bytes
    number: int
    octets: int | None
    is_fault: bool = False


class Oddity(Flag):
    """Octets that some server will not keep as they are (what makes a message not clean)."""

    NONE = 0
    NUL = auto()
    BARE_LF = auto()
    BARE_CR = auto()
    NO_FINAL_EOL = auto()
    EIGHT_BIT_HEADER = auto()


@dataclass(frozen=True, slots=True)
class DedupeKey:
    """``index`` finds candidates (16 octets, xxh3-128), ``content`` decides (32 octets, SHA-256).

    ``has_message_id`` tells whether the index stands for one Message-ID: not where it
    came from other headers, for want of one, or from one with 8-bit octets, which
    a server may store otherwise.
    """

    index: bytes
    content: bytes
    has_message_id: bool


class Fingerprint(NamedTuple):
    """What a message's octets are, in digests.

    ``exact`` is the SHA-256 of all octets. ``settled`` is the SHA-256 of the
    octets with NUL as 0x80, every CR gone and no final LF: equal for two forms
    of a message that differ only in what servers do to such octets. It is None
    for a message without such octets. ``munged`` is the SHA-256 of all octets with
    X for each one from 0x80 on in the header, as Cyrus stores them; None where the
    header has none. A message with neither is clean: every server must keep its exact form.
    """

    octets: int
    exact: bytes
    settled: bytes | None
    oddities: Oddity
    key: DedupeKey
    munged: bytes | None = None


class Message(NamedTuple):
    """A message exactly as received: in memory, or in a temporary file when it is large.

    ``header`` is the header block as received, with the empty line (cut at ``HEADER_LIMIT`` octets). ``flags``,
    ``internaldate`` and ``mailbox``: of a source that keeps some. Who got one with a ``path`` calls ``discard``.
    """

    octets: int
    header: bytes
    fingerprint: Fingerprint
    data: bytes | None = None
    path: Path | None = None
    flags: Flags | None = None
    internaldate: InternalDate | None = None
    mailbox: MailboxName | None = None

    def blocks(self) -> Iterator[bytes]:
        """The octets in order, in blocks of bounded size. Raises OSError when the file is gone."""
        if self.data is not None:
            yield self.data
            return
        assert self.path is not None
        with self.path.open("rb") as stream:
            while block := stream.read(BLOCK):
                yield block

    def discard(self) -> None:
        """Removes the temporary file, if there is one."""
        if self.path is not None:
            self.path.unlink(missing_ok=True)

    def emptied(self) -> Message:
        """The same message without its octets: what is left to know when they were sent."""
        return Message(self.octets, b"", self.fingerprint)

    @property
    def held(self) -> int:
        """Octets of memory this message holds."""
        return len(self.data) if self.data is not None else BLOCK if self.path is not None else 0


HEADER_LIMIT = 1024 * 1024

SYSTEM_FLAGS = ("\\Answered", "\\Deleted", "\\Draft", "\\Flagged", "\\Seen")


@dataclass(frozen=True, slots=True)
class Flags:
    """IMAP flags and keywords of one message (RFC 3501 §2.3.2); ``\\Recent`` cannot be held."""

    names: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        known = {flag.lower(): flag for flag in SYSTEM_FLAGS}
        names = frozenset(known.get(name.lower(), name) for name in self.names)
        for name in names:
            if name not in SYSTEM_FLAGS and not is_keyword(name):
                raise ValueError(f"not a flag that may be stored: {display(name)}")
        object.__setattr__(self, "names", names)

    def __str__(self) -> str:
        return " ".join(sorted(self.names))


def is_keyword(name: str) -> bool:
    """Whether the name is an atom that may be sent as a keyword (RFC 3501 §9 flag-keyword)."""
    return bool(name) and all("!" <= c <= "~" and c not in '(){%*"\\]' for c in name)


class DateSource(Enum):
    """Which evidence an InternalDate came from, best first."""

    STORE = "store"  # the source keeps an internal date of its own
    DELIVERY = "delivery-date"
    RECEIVED = "received"
    RESENT = "resent-date"
    DATE = "date"
    OTHER = "other-header"  # X-OriginalArrivalTime, X-Delivery-Time
    FROM_LINE = "from-line"  # the line in front of the message in an mbox file: asked when its header tells nothing
    FETCHED = "fetched"  # nothing usable: the time of the fetch


@dataclass(frozen=True, slots=True)
class InternalDate:
    """An aware instant in whole seconds, and where it came from. Naive cannot be held."""

    when: datetime
    source: DateSource

    def __post_init__(self) -> None:
        if self.when.tzinfo is None or self.when.utcoffset() is None:
            raise ValueError("an internal date needs a time zone")
        if self.when.microsecond:
            object.__setattr__(self, "when", self.when.replace(microsecond=0))


class Placement(NamedTuple):
    """What the rules decided for one message. Why the date is that one, its ``source`` says."""

    mailbox: MailboxName
    flags: Flags
    internaldate: InternalDate


class AppendUid(NamedTuple):
    """Where a server said it stored a message (RFC 4315 §3). No AppendUid is normal."""

    uidvalidity: int
    uid: int


class Stage(Enum):
    """How far one message is. The legal steps between stages are ``TRANSITIONS``."""

    LISTED = "listed"
    INTENDED = "intended"
    APPENDED = "appended"
    VERIFIED = "verified"
    RELEASING = "releasing"
    RELEASED = "released"
    DUPLICATE = "duplicate"
    SKIPPED = "skipped"
    SET_ASIDE = "set aside"
    GONE = "gone"


TRANSITIONS: dict[Stage, frozenset[Stage]] = {
    # APPENDED straight from LISTED: an identical copy was found at the destination and adopted.
    Stage.LISTED: frozenset(
        {Stage.INTENDED, Stage.APPENDED, Stage.DUPLICATE, Stage.SKIPPED, Stage.SET_ASIDE, Stage.GONE}
    ),
    # VERIFIED at once: acknowledged and proved, and both recorded together. Back to LISTED: looked for after the
    # settling time, not there.
    Stage.INTENDED: frozenset({Stage.APPENDED, Stage.VERIFIED, Stage.LISTED, Stage.SET_ASIDE}),
    # Back to LISTED: the destination said OK and does not have it.
    Stage.APPENDED: frozenset({Stage.VERIFIED, Stage.LISTED, Stage.SET_ASIDE}),
    # Back to LISTED: a backup, from which nobody deletes, has lost it, and the source still has it.
    Stage.VERIFIED: frozenset({Stage.RELEASING, Stage.LISTED}),
    # Back to what it was before, told by ``Checkpoint.origin``: the source still has it.
    Stage.RELEASING: frozenset({Stage.RELEASED, Stage.VERIFIED, Stage.DUPLICATE}),
    # The source shows it again: released once more, never copied again. To LISTED: the copy went with it, and its
    # octets were kept here (engine.trial).
    Stage.RELEASED: frozenset({Stage.RELEASING, Stage.LISTED}),
    Stage.DUPLICATE: frozenset({Stage.RELEASING, Stage.LISTED}),
    Stage.SKIPPED: frozenset({Stage.LISTED}),
    Stage.SET_ASIDE: frozenset(
        {Stage.LISTED, Stage.INTENDED, Stage.APPENDED, Stage.VERIFIED, Stage.DUPLICATE, Stage.GONE}
    ),
    Stage.GONE: frozenset({Stage.LISTED}),
}

OPEN = frozenset({Stage.LISTED, Stage.INTENDED, Stage.APPENDED})


class Origin(Enum):
    """How the destination came to have the message."""

    COPIED = "copied"  # by us
    THERE = "there"  # it was there before we came
    TWIN = "twin"  # another message of the source has the same content


class Checkpoint(NamedTuple):
    """One row of the state file: what is known for certain about one message of the source."""

    id: int
    uid: bytes
    octets: int | None  # as the source listed it
    stage: Stage = Stage.LISTED
    origin: Origin | None = None
    mailbox: MailboxName | None = None
    flags: Flags = Flags()
    internaldate: InternalDate | None = None
    fingerprint: Fingerprint | None = None
    uidvalidity: int | None = None  # of the mailbox, at the intent
    uidnext: int | None = None  # of the mailbox, at the intent: a copy of ours has this UID or a higher one
    uid_dest: int | None = None  # the UID at the destination, claimed by this row alone
    twin: int | None = None  # id of the row whose copy serves this one too
    proof: str = ""  # what the last verification saw: "octets", "octets, changed: ...", "size"
    reason: str = ""  # why it was set aside, or kept
    attempts: int = 0
    verified_at: int | None = None  # seconds since the epoch: the last login at the source before it was first verified
    proven_run: int | None = None  # the run in which every octet was served back and matched
    fetched_session: int | None = None  # the source session that served these octets
    is_spooled: bool = False  # a durable copy stands in the spool


class Work(NamedTuple):
    """A message of the source session's listing that needs something done.

    ``row`` is what we know of it. ``is_unsure`` when the UIDL is repeated,
    missing, or its listed size changed: then only the content tells whether
    it is the message of the row.
    """

    row: Checkpoint
    ref: MessageRef | None  # None: it is not in the listing, but its octets are in the spool
    is_unsure: bool = False


class Dedupe(Enum):
    CONTENT = "content"  # same index and same content: one copy
    MESSAGE_ID = "message-id"  # the bare rule: same Message-ID, one copy, whatever the content
    OFF = "off"  # copies everything


class Mark(Enum):
    SEEN = "seen"
    UNSEEN = "unseen"
    AUTO = "auto"  # the marks in the headers decide, else unseen


class Verify(Enum):
    SAMPLE = "sample"  # every size, and every octet of a sample
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Policy:
    """What the person asked for, as far as the engine's decisions need it."""

    mailbox: MailboxName = INBOX  # where messages go that come without a mailbox
    keeps_mailboxes: bool = False  # a message goes where it stood at the source,
    root: MailboxName | None = None  # below this, and what stood in INBOX in it
    separator: str = ""  # what the destination writes between levels; in those of the source it becomes "_"
    dedupe: Dedupe = Dedupe.CONTENT
    mark: Mark = Mark.AUTO
    verify: Verify = Verify.SAMPLE
    delete_after_s: int | None = None  # None: nothing is deleted; 0: as soon as verified
    max_delete: int | None = None
    limit: int | None = None  # copy at most so many messages in this run
    lanes: int | None = None  # connections to the destination; None: as many as help with that server
    settle_s: float = 60.0
    accept_missing: bool = False
    dry_run: bool = False
    baseline: bool = False  # what the source lists at first is marked as done without being fetched
    already: tuple[tuple[str, frozenset[bytes]], ...] = ()  # and so are these UIDLs; with the reason, for people
