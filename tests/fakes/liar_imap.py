"""The IMAP server that lies: every command has a place where it can go wrong."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import ClassVar

from tests.support.embedded.imap import ImapSession, No
from tests.support.embedded.session import Mailbox

from .liar import Liar, Octets

_EARLY = frozenset({"capability", "starttls", "login", "authenticate", "noop", "logout"})

Parcel = tuple[bytes, str, datetime]  # octets, flags, internaldate


class LyingImap(Liar, ImapSession):
    """RFC 3501 with LITERAL+, UIDPLUS, NAMESPACE and MULTIAPPEND where ``capability`` says so, and habits.

    The habit ``continuation`` is for the moment where a literal waits for "+".
    """

    greeting: ClassVar[bytes] = b"* OK liar\r\n"
    capability: ClassVar[bytes] = b"IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE"
    capability_inside: ClassVar[bytes] = b""  # after the login, where it differs
    turned_away: ClassVar[bytes] = b""  # the whole answer to a command whose literal waits

    def serve(self) -> None:
        self._mailbox = Mailbox()
        self.tag = b""
        self.greet()
        while not self.is_done:
            self.tag, word, *tokens = self._command()
            name = word.decode("latin-1").lower()
            if name == "uid" and tokens:
                name = "uid_" + tokens.pop(0).decode("latin-1").lower()
            self.answer(name, tokens)

    def octets_of(self, habit: Octets) -> bytes:
        return super().octets_of(habit).replace(b"$t", self.tag)

    def answer(self, name: str, tokens: list[bytes]) -> None:
        """The whole answer to one command, with the habits it has."""
        self.tokens = tokens
        self.misbehave(name)
        self._is_trickling = name in self.trickles.split()
        self.send(self.octets_of(self.before.get(name, b"")))
        if name in self.instead:
            self.send(self.octets_of(self.instead[name]))
        else:
            self._answer(name, tokens)
        self.send(self.octets_of(self.after.get(name, b"")))
        self._is_trickling = False
        if name in self.leaves.split():
            raise EOFError

    def _answer(self, name: str, tokens: list[bytes]) -> None:
        do = getattr(self, f"do_{name}", None)
        if do is None or (self.account is None and name not in _EARLY):
            self.send(self.tag + b" BAD not here\r\n")
            return
        try:
            if name in ("starttls", "login"):
                code = do(tokens)
            else:
                with self.house.lock:
                    code = do(tokens)
        except No as refusal:
            self.send(self.tag + b" NO " + str(refusal).encode() + b"\r\n")
            return
        self.send(self.tag + b" OK " + (code or b"") + b"done\r\n")
        if name == "starttls":
            self.start_tls()

    def _command(self) -> list[bytes]:
        tokens: list[bytes] = []
        while True:
            line = self.read_line()
            literal = re.search(rb"\{(\d+)(\+?)\}$", line)
            tokens += self._split(line[: literal.start()] if literal else line)
            if literal is None:
                return tokens
            if not literal[2]:
                self.tag = tokens[0]
                self.misbehave("continuation")
                if self.turned_away:
                    self.send(self.octets_of(self.turned_away))
                    tokens.clear()
                    continue
                self.send(self.octets_of(self.instead.get("continuation", b"+ go\r\n")))
            tokens.append(self.read(int(literal[1])))

    @staticmethod
    def _split(line: bytes) -> list[bytes]:
        found = re.findall(rb'"((?:[^"\\]|\\.)*)"|(BODY(?:\.PEEK)?\[[^\]]*\](?:<\d+\.\d+>)?|[()]|[^\s()"]+)', line)
        return [atom or re.sub(rb"\\(.)", rb"\1", quoted) for quoted, atom in found]

    # Commands ----------------------------------------------------------------------------------
    def do_capability(self, _: list[bytes]) -> None:
        inside = self.capability_inside if self.account is not None else b""
        self.send(b"* CAPABILITY " + (inside or self.capability) + b"\r\n")

    def do_append(self, tokens: list[bytes]) -> bytes:
        mailbox = self._find(tokens[0])
        first = mailbox.uidnext
        parcels = _parcels(tokens[1:])
        for octets, flags, when in parcels:
            self.store(mailbox, octets, flags, when)
        last = first + len(parcels) - 1
        return self.append_code(1, first, last)

    def store(self, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
        """Keeps one message."""
        mailbox.add(octets, flags, when)

    def append_code(self, uidvalidity: int, first: int, last: int) -> bytes:
        """The response code of an APPEND (RFC 4315 §3)."""
        uids = b"%d" % first if first == last else b"%d:%d" % (first, last)
        return b"[APPENDUID %d %s] " % (uidvalidity, uids)


def _parcels(tokens: list[bytes]) -> list[Parcel]:
    """The messages of an APPEND or MULTIAPPEND: [( flags )] [date] octets, one behind the other."""
    parcels: list[Parcel] = []
    while tokens:
        flags = b""
        if tokens[0] == b"(":
            end = tokens.index(b")")
            flags, tokens = b" ".join(tokens[1:end]), tokens[end + 1 :]
        when = datetime.now(UTC).replace(microsecond=0)
        if re.match(rb" ?\d+-\w{3}-\d{4} ", tokens[0]):
            when, tokens = datetime.strptime(tokens[0].decode().strip(), "%d-%b-%Y %H:%M:%S %z"), tokens[1:]
        parcels.append((tokens[0], flags.decode("ascii"), when))
        tokens = tokens[1:]
    return parcels


def imap(**habits: object) -> type[LyingImap]:
    """A server with these habits."""
    return type("Lying", (LyingImap,), habits)
