"""The IMAP side of the embedded server (RFC 3501, LITERAL+, UIDPLUS, NAMESPACE, STARTTLS), as far as it is used."""

from __future__ import annotations

import contextlib
import re
import ssl
from datetime import UTC, datetime

from .session import Mail, Mailbox, ServerSession


class No(Exception):
    """Answered with a tagged NO."""


_TOKEN = re.compile(
    rb'"((?:[^"\\]|\\.)*)"|\{(\d+)\}|(BODY(?:\.PEEK)?\[[^\]]*\](?:<\d+\.\d+>)?|[()]|[^\s()"{]+)', re.IGNORECASE
)


class ImapSession(ServerSession):
    """RFC 3501, the part that is used here. A command is a list of tokens; parentheses are tokens too."""

    def serve(self) -> None:
        self._mailbox = Mailbox()
        self.send(b"* OK embedded\r\n")
        while not self.is_done:
            tag, word, *tokens = self._command()
            name = word.decode("latin-1").lower()
            if name == "uid":
                name = "uid_" + tokens.pop(0).decode("latin-1").lower()
            answer = getattr(self, f"do_{name}", None)
            is_early = name in ("capability", "starttls", "login", "noop", "logout")
            if answer is None or (self.account is None and not is_early):
                self.send(tag + b" BAD not here\r\n")
                continue
            try:
                with self.house.lock if name not in ("starttls", "login") else contextlib.nullcontext():
                    code = answer(tokens)
            except No as refusal:
                self.send(tag + b" NO " + str(refusal).encode() + b"\r\n")
            else:
                self.send(tag + b" OK " + (code or b"") + b"done\r\n")
                if name == "starttls":
                    self.start_tls()

    def _command(self) -> list[bytes]:
        """The tokens of a command and its literals (RFC 3501 §4.3, RFC 7888)."""
        tokens: list[bytes] = []
        while True:
            line = self.read_line()
            literal = re.search(rb"\{(\d+)(\+?)\}$", line)
            for quoted, _, atom in _TOKEN.findall(line[: literal.start()] if literal else line):
                tokens.append(atom or re.sub(rb"\\(.)", rb"\1", quoted))
            if literal is None:
                return tokens
            if not literal[2]:
                self.send(b"+ go\r\n")
            tokens.append(self.read(int(literal[1])))

    def _find(self, name: bytes) -> Mailbox:
        assert self.account is not None
        key = self._key(name)
        if key not in self.account.mailboxes:
            raise No("[TRYCREATE] no such mailbox")
        return self.account.mailboxes[key]

    @staticmethod
    def _key(name: bytes) -> str:
        text = name.decode("ascii")
        return "INBOX" if text.upper() == "INBOX" else text

    def do_capability(self, _: list[bytes]) -> None:
        is_tls = isinstance(self._connection, ssl.SSLSocket)
        self.send(b"* CAPABILITY IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE%s\r\n" % (b"" if is_tls else b" STARTTLS"))

    def do_starttls(self, _: list[bytes]) -> None:
        """The answer goes out first; then TLS begins."""

    def do_login(self, tokens: list[bytes]) -> None:
        user, password = (token.decode() for token in tokens)
        if password != self.house.password:
            raise No("[AUTHENTICATIONFAILED] wrong password")
        with self.house.lock:
            self.account = self.house.account(user)

    def do_namespace(self, _: list[bytes]) -> None:
        self.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')

    def do_list(self, tokens: list[bytes]) -> None:
        assert self.account is not None
        pattern = tokens[1]
        names = [name.encode("ascii") for name in self.account.mailboxes]
        if pattern == b"":
            self.send(b'* LIST (\\Noselect) "/" ""\r\n')
        for name in names:
            if pattern in (b"*", b"%", name):
                self.send(b'* LIST () "/" "%s"\r\n' % name)

    def do_create(self, tokens: list[bytes]) -> None:
        assert self.account is not None
        self.account.mailboxes.setdefault(self._key(tokens[0]), Mailbox())

    def do_subscribe(self, _: list[bytes]) -> None:
        """Accepted and forgotten."""

    def do_noop(self, _: list[bytes]) -> None:
        """Nothing to do."""

    def do_select(self, tokens: list[bytes]) -> bytes:
        self._mailbox = self._find(tokens[0])
        self.send(
            b"* FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)\r\n"
            b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft \\*)] yes\r\n"
            b"* %d EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 1] yes\r\n* OK [UIDNEXT %d] yes\r\n"
            % (len(self._mailbox.mails), self._mailbox.uidnext)
        )
        return b"[READ-WRITE] "

    do_examine = do_select

    def do_append(self, tokens: list[bytes]) -> bytes:
        mailbox = self._find(tokens[0])
        flags, when = "", datetime.now(UTC).replace(microsecond=0)
        middle = tokens[1:-1]
        if middle[:1] == [b"("]:
            end = middle.index(b")")
            flags = b" ".join(middle[1:end]).decode("ascii")
            middle = middle[end + 1 :]
        if middle:
            when = datetime.strptime(middle[0].decode("ascii").strip(), "%d-%b-%Y %H:%M:%S %z")
        if not tokens[-1]:
            raise No("an empty message is not kept")
        return b"[APPENDUID 1 %d] " % mailbox.add(tokens[-1], flags, when)

    def do_uid_search(self, tokens: list[bytes]) -> None:
        uids = sorted(self._chosen(b"1:*" if tokens[-1] == b"ALL" else tokens[-1]))
        self.send(b"* SEARCH%s\r\n" % b"".join(b" %d" % uid for uid in uids))

    def do_uid_fetch(self, tokens: list[bytes]) -> None:
        chosen = self._chosen(tokens[0])
        items = [token for token in tokens[1:] if token not in (b"(", b")")]
        for number, mail in enumerate(self._mailbox.mails, start=1):
            if mail.uid in chosen:
                answers = b" ".join(_fetched(mail, item) for item in items)
                self.send(b"* %d FETCH (%s)\r\n" % (number, answers))

    def do_uid_store(self, tokens: list[bytes]) -> None:
        for mail in self._mailbox.mails:
            if mail.uid in self._chosen(tokens[0]):
                mail.flags += " " + b" ".join(tokens[3:-1]).decode("ascii")

    def do_expunge(self, _: list[bytes]) -> None:
        kept = [mail for mail in self._mailbox.mails if "\\Deleted" not in mail.flags]
        self._mailbox.mails[:] = kept

    def do_logout(self, _: list[bytes]) -> None:
        self.send(b"* BYE\r\n")
        self.is_done = True

    def _chosen(self, uid_set: bytes) -> set[int]:
        """The uids of the set that exist; ``*`` is the highest (RFC 3501 §6.4.8)."""
        there = [mail.uid for mail in self._mailbox.mails]
        highest = max(there, default=0)
        found: set[int] = set()
        for part in uid_set.replace(b"*", b"%d" % highest).split(b","):
            low, _, high = part.partition(b":")
            bounds = sorted((int(low), int(high or low)))
            found.update(uid for uid in there if bounds[0] <= uid <= bounds[1])
        return found


def _fetched(mail: Mail, item: bytes) -> bytes:
    """One item of a FETCH answer (RFC 3501 §7.4.2)."""
    match item.upper():
        case b"UID":
            return b"UID %d" % mail.uid
        case b"FLAGS":
            return b"FLAGS (%s)" % mail.flags.strip().encode("ascii")
        case b"INTERNALDATE":
            return b'INTERNALDATE "%s"' % mail.when.strftime("%d-%b-%Y %H:%M:%S %z").encode("ascii")
        case b"RFC822.SIZE":
            return b"RFC822.SIZE %d" % len(mail.octets)
    section = re.fullmatch(rb"BODY(?:\.PEEK)?\[([^\]]*)\](?:<(\d+)\.(\d+)>)?", item, re.IGNORECASE)
    if section is None:
        raise No(f"not served here: {item!r}")
    octets, label = mail.octets, b"BODY[" + section[1] + b"]"
    if section[1]:
        octets = _header_fields(octets, section[1].upper().partition(b"(")[2].rstrip(b")").split())
    if section[2]:
        start = int(section[2])
        octets, label = octets[start : start + int(section[3])], label + b"<%d>" % start
    return b"%s {%d}\r\n%s" % (label, len(octets), octets)


def _header_fields(octets: bytes, names: list[bytes]) -> bytes:
    header = re.split(rb"\r?\n\r?\n", octets, maxsplit=1)[0]
    fields = re.findall(rb"(?m)^([^\s:]+)[ \t]*:((?:.*\n?)(?:[ \t].*\n?)*)", header)
    found = [name + b":" + value.rstrip(b"\r\n") + b"\r\n" for name, value in fields if name.upper() in names]
    return b"".join(found) + b"\r\n"
