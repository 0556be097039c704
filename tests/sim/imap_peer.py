"""The octets of a model IMAP server, on mailboxes in memory (RFC 3501, RFC 4315, RFC 3502, RFC 7888)."""

from __future__ import annotations

import re
from datetime import datetime

from migrate.model import DateSource, Flags, InternalDate, MailboxName
from migrate.stores.base import header_fields
from migrate.stores.memory import Kept, MemoryMailbox

from .faults import Kind
from .servers import SimServer

_TOKEN = re.compile(rb'"((?:[^"\\]|\\.)*)"|(BODY(?:\.PEEK)?\[[^\]]*\](?:<\d+\.\d+>)?|[()]|[^\s()"{]+)', re.IGNORECASE)
_LITERAL = re.compile(rb"\{(\d+)(\+?)\}\Z")
_MINUS_LIMIT = 4096  # RFC 7888 §5
_FLAGS = b"\\Answered \\Flagged \\Deleted \\Seen \\Draft"


class _No(Exception):
    """Answered with a tagged NO."""


class ImapPeer:
    """One connection. ``mood``: what befalls the next APPEND."""

    def __init__(self, server: SimServer, capability: str) -> None:
        self._server = server
        self._capability = capability.encode("ascii")
        self._offers = frozenset(capability.split())
        self._inbox = b""
        self._tokens: list[bytes] = []  # of a command that is not complete
        self._literal: int | None = None  # octets of the literal that is coming
        self._selected: MemoryMailbox | None = None
        self._out = bytearray()
        self.mood: Kind | None = None
        self.is_over = False

    def greet(self) -> bytes:
        return b"* OK model\r\n"

    def leave(self) -> None:
        self.is_over = True

    def hear(self, octets: bytes) -> bytes:
        self._inbox += octets
        while not self.is_over and self._take():
            pass
        out = bytes(self._out)
        self._out.clear()
        return out

    # --- commands and their literals ------------------------------------------------------------

    def _take(self) -> bool:
        """Whether a literal or a line could be taken from what came."""
        if self._literal is not None:
            if len(self._inbox) < self._literal:
                return False
            self._tokens.append(self._inbox[: self._literal])
            self._inbox, self._literal = self._inbox[self._literal :], None
            return True
        line, end, rest = self._inbox.partition(b"\r\n")
        if not end:
            return False
        self._inbox = rest
        literal = _LITERAL.search(line)
        for quoted, atom in _TOKEN.findall(line[: literal.start()] if literal else line):
            self._tokens.append(atom or re.sub(rb"\\(.)", rb"\1", quoted))
        if literal is not None:
            self._begin_literal(int(literal[1]), is_running_on=bool(literal[2]))
            return True
        tokens, self._tokens = self._tokens, []
        self._carry_out(*tokens)
        return True

    def _begin_literal(self, octets: int, *, is_running_on: bool) -> None:
        self._literal = octets
        if not is_running_on:
            self._out += b"+ go\r\n"
            return
        may = "LITERAL+" in self._offers or ("LITERAL-" in self._offers and octets <= _MINUS_LIMIT)
        assert may, "a literal that did not wait, where it must"

    def _carry_out(self, tag: bytes, word: bytes, *rest: bytes) -> None:
        tokens = list(rest)
        name = word.decode("ascii").lower()
        if name == "uid":
            name = "uid_" + tokens.pop(0).decode("ascii").lower()
        try:
            code = getattr(self, f"_do_{name}")(tokens)
        except _No as refusal:
            self._out += b"%b NO %b\r\n" % (tag, str(refusal).encode("ascii"))
            return
        if self.mood is Kind.BYE and name == "append":
            self._out += b"* BYE enough\r\n"
            self.is_over = True
        elif name == "authenticate":
            self._out += b"+ \r\n"
            self._tokens = [tag, b"PASSED"]
        else:
            self._out += b"%b OK %bdone\r\n" % (tag, code or b"")

    # --- what it knows. There is no STORE, EXPUNGE, COPY or MOVE: whoever sends one fails here --------

    def _do_capability(self, _: list[bytes]) -> None:
        self._out += b"* CAPABILITY " + self._capability + b"\r\n"

    def _do_login(self, _: list[bytes]) -> None:
        """Everybody may in."""

    _do_authenticate = _do_passed = _do_noop = _do_subscribe = _do_login

    def _do_namespace(self, _: list[bytes]) -> None:
        self._out += b'* NAMESPACE (("" "/")) NIL NIL\r\n'

    def _do_list(self, tokens: list[bytes]) -> None:
        if not tokens[1]:
            self._out += b'* LIST (\\Noselect) "/" ""\r\n'
        for mailbox in self._server.mailboxes:
            name = str(mailbox).encode("ascii")
            if tokens[1] in (b"*", b"%", name):
                self._out += b'* LIST () "/" "%b"\r\n' % name

    def _do_create(self, tokens: list[bytes]) -> None:
        if _named(tokens[0]) in self._server.mailboxes:
            raise _No("[ALREADYEXISTS] it is there")
        self._server.mailboxes[_named(tokens[0])] = self._server.make_mailbox()

    def _find(self, name: bytes) -> MemoryMailbox:
        mailbox = self._server.mailboxes.get(_named(name))
        if mailbox is None:
            raise _No("[TRYCREATE] no such mailbox")
        return mailbox

    def _do_select(self, tokens: list[bytes]) -> bytes:
        box = self._selected = self._find(tokens[0])
        self._out += b"* FLAGS (%b)\r\n* OK [PERMANENTFLAGS (%b \\*)] all\r\n" % (_FLAGS, _FLAGS)
        self._out += b"* %d EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY %d] valid\r\n* OK [UIDNEXT %d] next\r\n" % (
            len(box.kept),
            box.uidvalidity,
            box.uidnext,
        )
        return b"[READ-WRITE] "

    def _do_examine(self, tokens: list[bytes]) -> bytes:
        self._do_select(tokens)
        return b"[READ-ONLY] "

    def _do_append(self, tokens: list[bytes]) -> bytes:
        name = tokens.pop(0)
        box = self._find(name)
        letters = _letters(tokens)
        assert len(letters) == 1 or "MULTIAPPEND" in self._offers, "MULTIAPPEND where none was offered"
        if self.mood is Kind.NO:
            raise _No("no")
        if self.mood in (Kind.LIE, Kind.LAG):
            uids = self._server.invented_uids(box, len(letters))
            if self.mood is Kind.LAG:
                self._server.store_later(_named(name), letters)
        else:
            stored = [box.store(box.keep(octets), flags, when) for octets, flags, when in letters]
            uids = list(map(self._server.append_uid, [box] * len(stored), stored))
        known = [uid for uid in uids if uid is not None]
        if len(known) < len(uids):
            return b""
        span = b"%d" % known[0].uid if len(known) == 1 else b"%d:%d" % (known[0].uid, known[-1].uid)
        return b"[APPENDUID %d %b] " % (box.uidvalidity, span)

    def _do_uid_search(self, tokens: list[bytes]) -> None:
        wanted = b"1:*" if tokens[-1] == b"ALL" else tokens[-1]
        self._out += b"* SEARCH" + b"".join(b" %d" % kept.uid for kept in self._chosen(wanted)) + b"\r\n"

    def _do_uid_fetch(self, tokens: list[bytes]) -> None:
        items = [token for token in tokens[1:] if token not in (b"(", b")")]
        for number, kept in enumerate(self._chosen(tokens[0]), start=1):
            self._out += b"* %d FETCH (%b)\r\n" % (number, b" ".join(self._fetched(kept, item) for item in items))

    def _do_logout(self, _: list[bytes]) -> None:
        self._out += b"* BYE\r\n"
        self.is_over = True

    def _chosen(self, uid_set: bytes) -> list[Kept]:
        """The messages of the set; ``*`` is the highest uid (RFC 3501 §6.4.8)."""
        assert self._selected is not None
        there = self._selected.kept
        found: set[int] = set()
        for part in uid_set.replace(b"*", b"%d" % max(there, default=0)).split(b","):
            low, _, high = part.partition(b":")
            bounds = sorted((int(low), int(high or low)))
            found.update(uid for uid in there if bounds[0] <= uid <= bounds[1])
        return [there[uid] for uid in sorted(found)]

    def _fetched(self, kept: Kept, item: bytes) -> bytes:
        """One item of a FETCH answer (RFC 3501 §7.4.2)."""
        match item.upper():
            case b"UID":
                return b"UID %d" % kept.uid
            case b"RFC822.SIZE":
                return b"RFC822.SIZE %d" % len(kept.octets)
            case b"BODY.PEEK[]":
                self._server.on_served(kept.octets)
                return b"BODY[] {%d}\r\n%b" % (len(kept.octets), kept.octets)
        if window := re.fullmatch(rb"BODY\.PEEK\[\]<0\.(\d+)>", item, re.IGNORECASE):
            octets = kept.octets[: int(window[1])]
            if len(octets) == len(kept.octets):
                self._server.on_served(octets)
            return b"BODY[]<0> {%d}\r\n%b" % (len(octets), octets)
        section = re.fullmatch(rb"BODY\.PEEK\[(HEADER\.FIELDS \(([^)]*)\))\]", item, re.IGNORECASE)
        assert section is not None, item
        octets = header_fields(kept.octets, section[2].decode("ascii").split())
        return b"BODY[%b] {%d}\r\n%b" % (section[1], len(octets), octets)


def _named(name: bytes) -> MailboxName:
    return MailboxName.parse(name.decode("ascii"))


def _letters(tokens: list[bytes]) -> list[tuple[bytes, Flags, InternalDate]]:
    """The messages of an APPEND: flags in parentheses, a date, octets, again and again (RFC 3502 §6.3.11)."""
    letters = []
    while tokens:
        flags: list[bytes] = []
        if tokens[0] == b"(":
            end = tokens.index(b")")
            flags, tokens = tokens[1:end], tokens[end + 1 :]
        when = datetime.strptime(tokens[0].decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z")
        names = frozenset(flag.decode("ascii") for flag in flags)
        letters.append((tokens[1], Flags(names), InternalDate(when, DateSource.STORE)))
        tokens = tokens[2:]
    return letters
