"""IMAP servers that lie before a mailbox is selected: greeting, capabilities, login, names of folders."""

from __future__ import annotations

import base64
from typing import Any

from migrate.errors import Exit
from migrate.model import Tls
from tests.failures.canary import echoes
from tests.fakes.liar_imap import LyingImap, imap

from .hostile_play import PASSWORD, Must, Row

REFUSED, CONTAINED, TOLERATED = Must.REFUSED, Must.CONTAINED, Must.TOLERATED
OK, LATER, UNUSABLE, LOGIN = Exit.OK, Exit.TEMPORARY, Exit.DEST_UNUSABLE, Exit.DEST_LOGIN

BASE = "IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE"
ECHO = echoes("new", PASSWORD).encode()
SASL = "IMAP4rev1 AUTH=PLAIN LITERAL+ UIDPLUS NAMESPACE"


def greeting(octets: bytes, **more: Any) -> type[LyingImap]:
    return imap(greeting=octets, **more)


def capable(words: str, inside: str = "", **more: Any) -> type[LyingImap]:
    return imap(capability=words.encode(), capability_inside=inside.encode(), **more)


def instead(**answers: Any) -> type[LyingImap]:
    return imap(instead=answers)


def before(**answers: Any) -> type[LyingImap]:
    return imap(before=answers)


class Sasl(LyingImap):
    """Takes AUTHENTICATE PLAIN, with one challenge."""

    capability = SASL.encode()
    challenge = b"+ \r\n"

    def do_authenticate(self, _: list[bytes]) -> None:
        self.send(self.challenge)
        self.log_in(self.read_line())

    def log_in(self, line: bytes) -> None:
        _, user, _ = base64.b64decode(line).decode().split("\0")
        self.account = self.house.account(user)

    def _answer(self, name: str, tokens: list[bytes]) -> None:
        if name == "authenticate":  # reads while it answers: not under the lock of the house
            self.do_authenticate(tokens)
            self.send(self.tag + b" OK in\r\n")
        else:
            super()._answer(name, tokens)


class AsksTwice(Sasl):
    """Wants the password once more in the same exchange."""

    def do_authenticate(self, _: list[bytes]) -> None:
        self.send(b"+ \r\n")
        self.read_line()
        self.send(b"+ \r\n")
        line = self.read_line()
        if line != b"*":
            raise AssertionError("the password was sent twice")
        self.send(self.tag + b" BAD then not\r\n")


def _lets_in(self: LyingImap, words: bytes) -> bytes:
    self.account = self.house.account("new")
    return words


GREETINGS = [
    Row("greeting: PREAUTH in clear", REFUSED, UNUSABLE, imap=greeting(b"* PREAUTH welcome\r\n"), says="not safe"),
    Row(
        "greeting: PREAUTH in clear with STARTTLS offered", REFUSED, UNUSABLE, tls=Tls.STARTTLS,
        imap=greeting(b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] welcome\r\n"), says="not safe",
    ),
    Row("greeting: BYE", REFUSED, LATER, imap=greeting(b"* BYE go away\r\n"), says="turned us away"),
    Row("greeting: BYE in haste", REFUSED, LATER,
        imap=greeting(b"* BYE [UNAVAILABLE] too many connections\r\n", leaves="")),
    Row("greeting: NO", REFUSED, UNUSABLE, imap=greeting(b"* NO not today\r\n")),
    Row("greeting: BAD", REFUSED, UNUSABLE, imap=greeting(b"* BAD you\r\n")),
    Row("greeting: a tagged greeting", REFUSED, UNUSABLE, imap=greeting(b"A1 OK ready\r\n")),
    Row("greeting: a continuation", REFUSED, UNUSABLE, imap=greeting(b"+ ready\r\n")),
    Row("greeting: untagged data", REFUSED, UNUSABLE, imap=greeting(b'* LIST () "/" INBOX\r\n')),
    Row("greeting: garbage", REFUSED, UNUSABLE, imap=greeting(b"\xff\xfe\x00\x01 hello\r\n")),
    Row("greeting: an empty line", REFUSED, UNUSABLE, imap=greeting(b"\r\n")),
    Row("greeting: a line of 1 MB", REFUSED, UNUSABLE, imap=greeting(b"* OK " + b"x" * 1_000_000 + b"\r\n")),
    Row("greeting: a literal in the greeting", REFUSED, UNUSABLE, imap=greeting(b"* CAPABILITY {3000000000}\r\n")),
    Row("greeting: an OK that ends like a literal", TOLERATED, OK, imap=greeting(b"* OK ready {5}\r\n")),
    Row("greeting: escape sequences", TOLERATED, OK, imap=greeting(b"* OK \x1b[2J\x1b]0;owned\x07 \xe2\x80\xae\r\n")),
    Row("greeting: LF without CR", REFUSED, LATER, imap=greeting(b"* OK ready\n")),
    Row("greeting: none at all", REFUSED, LATER, imap=imap(hangs="greeting")),
    Row("greeting: closed at once", REFUSED, LATER, imap=imap(closes="greeting")),
    Row("greeting: a TLS alert", REFUSED, LATER, imap=greeting(b"\x15\x03\x01\x00\x02\x02\x28", hangs="greeting")),
    Row("greeting: a TLS alert, then closed", REFUSED, LATER,
        imap=greeting(b"\x15\x03\x01\x00\x02\x02\x28", closes="greeting")),
    Row("greeting: HTTP", REFUSED, UNUSABLE, imap=greeting(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n")),
    Row("greeting: POP3", REFUSED, UNUSABLE, imap=greeting(b"+OK POP3 ready\r\n")),
    Row("greeting: SMTP", REFUSED, UNUSABLE, imap=greeting(b"220 mx.example.org ESMTP\r\n")),
    Row("greeting: a referral to another host", REFUSED, LATER,
        imap=greeting(b"* BYE [REFERRAL imap://evil.example/] go\r\n")),
    Row("greeting: an endless greeting", REFUSED, UNUSABLE, imap=imap(floods={"greeting": b"x"})),
    Row("greeting: endless lines behind the greeting", REFUSED, UNUSABLE, or_code=LATER,
        imap=imap(greeting=b"* OK ready\r\n", floods={"capability": b"* OK still ready\r\n"})),
    Row("greeting: 1 octet at a time, never ready", REFUSED, LATER,
        imap=imap(trickles="capability", before={"capability": b"* OK " + b"x" * 60 + b"\r\n"})),
]  # fmt: skip

CAPABILITIES = [
    Row("CAPABILITY refused", REFUSED, UNUSABLE, imap=instead(capability=b"$t NO\r\n")),
    Row("CAPABILITY unknown", REFUSED, UNUSABLE, imap=instead(capability=b"$t BAD what\r\n")),
    Row("no capabilities told", REFUSED, UNUSABLE, imap=instead(capability=b"$t OK done\r\n")),
    Row("an empty list of capabilities", REFUSED, UNUSABLE, imap=capable("")),
    Row("no IMAP4rev1", REFUSED, UNUSABLE, imap=capable("IMAP2bis LITERAL+")),
    Row("capabilities of 8-bit octets", REFUSED, UNUSABLE, imap=imap(capability=b"IMAP4rev1 \xff\xfe AUTH=\x80")),
    Row("60,000 capabilities", REFUSED, UNUSABLE, imap=capable(BASE + " X" * 60_000)),
    Row("capabilities lost after login", TOLERATED, OK, imap=capable(BASE, "IMAP4rev1")),
    Row("capabilities won after login", TOLERATED, OK, imap=capable("IMAP4rev1", BASE + " MULTIAPPEND")),
    Row("LOGINDISABLED, though LOGIN would do", REFUSED, LOGIN, imap=capable(BASE + " LOGINDISABLED"),
        says="takes no password"),
    Row("COMPRESS=DEFLATE that nobody asked for", TOLERATED, OK, imap=capable(BASE + " COMPRESS=DEFLATE")),
    Row("UIDPLUS without APPENDUID", TOLERATED, OK, imap=imap(append_code=lambda *_: b"")),
    Row("APPENDLIMIT=1", CONTAINED, Exit.SET_ASIDE, imap=capable(BASE + " APPENDLIMIT=1"), says="at most 1"),
    Row("APPENDLIMIT of twenty digits", TOLERATED, OK, imap=capable(BASE + " APPENDLIMIT=99999999999999999999")),
    Row("an APPENDLIMIT that is no number", TOLERATED, OK, imap=capable(BASE + " APPENDLIMIT=-1 APPENDLIMIT=x")),
    Row("CAPABILITY answered for another tag", REFUSED, UNUSABLE,
        imap=instead(capability=b"* CAPABILITY IMAP4rev1\r\nX9 OK done\r\n")),
]  # fmt: skip

LOGINS = [
    Row("the password echoed in NO", REFUSED, LOGIN,
        imap=instead(login=b"$t NO [AUTHENTICATIONFAILED] " + ECHO + b"\r\n")),
    Row("the password echoed in BAD", REFUSED, LOGIN, imap=instead(login=b"$t BAD " + ECHO + b"\r\n")),
    Row("the password echoed in BYE", REFUSED, LATER, imap=instead(login=b"* BYE " + ECHO + b"\r\n")),
    Row("the password echoed in an ALERT", TOLERATED, OK, imap=before(login=b"* OK [ALERT] " + ECHO + b"\r\n")),
    Row("the password echoed in garbage", REFUSED, UNUSABLE, imap=instead(login=ECHO + b"\r\n")),
    Row("the password echoed in an answer to APPEND", CONTAINED, Exit.SET_ASIDE,
        imap=instead(append=b"$t NO " + ECHO + b"\r\n")),
    Row("the password echoed in CAPABILITY", TOLERATED, OK,
        imap=imap(before={"select": b"* CAPABILITY IMAP4rev1 " + ECHO + b"\r\n"})),
    Row("a referral as a refusal", REFUSED, LOGIN,
        imap=instead(login=b"$t NO [REFERRAL imap://new;AUTH=*@evil.example/] go there\r\n")),
    Row("a referral beside success", TOLERATED, OK,
        imap=before(login=b"* OK [REFERRAL imap://evil.example/] better there\r\n")),
    Row("no answer to LOGIN", REFUSED, LATER, imap=imap(hangs="login")),
    Row("LOGIN hung up", REFUSED, LATER, imap=imap(closes="login")),
    Row("LOGIN OK, then BYE", REFUSED, LATER,
        imap=imap(instead={"login": lambda self: _lets_in(self, b"$t OK in\r\n* BYE\r\n")}, closes="capability")),
    Row("LOGIN OK, then hung up", REFUSED, LATER, imap=imap(leaves="login")),
    Row("LOGIN OK without a text", TOLERATED, OK,
        imap=instead(login=lambda self: _lets_in(self, b"$t OK\r\n"))),
    Row("LOGIN answered for another tag", REFUSED, UNUSABLE, imap=instead(login=b"Z1 OK in\r\n")),
    Row("LOGIN said to be too early", REFUSED, LATER, imap=instead(login=b"$t NO [UNAVAILABLE] try again later\r\n")),
    Row("LOGIN refused without a word", REFUSED, LOGIN, imap=instead(login=b"$t NO\r\n")),
    Row("AUTHENTICATE with a challenge of garbage", REFUSED, UNUSABLE,
        imap=type("Garbage", (Sasl,), {"challenge": b"+ \xff\xfe not base64 %%%\r\n"})),
    Row("AUTHENTICATE asked for twice", REFUSED, LOGIN, imap=AsksTwice),
    Row("AUTHENTICATE with a challenge of 1 MB", REFUSED, UNUSABLE,
        imap=type("Long", (Sasl,), {"challenge": b"+ " + b"A" * 1_000_000 + b"\r\n"})),
    Row("AUTHENTICATE OK without a challenge", REFUSED, UNUSABLE,
        imap=type("Early", (Sasl,), {"instead": {"authenticate": b"$t OK in already\r\n"}})),
]  # fmt: skip


def listing(line: bytes) -> type[LyingImap]:
    """One more folder in every LIST."""
    return before(list=line)


def _names(count: int) -> bytes:
    return b"".join(b'* LIST () "/" "folder%d"\r\n' % number for number in range(count))


FOLDERS = [
    Row("LIST names ..", TOLERATED, OK, imap=listing(b'* LIST () "/" "../../etc/cron.d/x"\r\n')),
    Row("LIST names an absolute path", TOLERATED, OK, imap=listing(b'* LIST () "/" "/etc/passwd"\r\n')),
    Row("LIST names a NUL", TOLERATED, OK, imap=listing(b'* LIST () "/" "a\x00b"\r\n')),
    Row("LIST names a line end in a literal", TOLERATED, OK, imap=listing(b'* LIST () "/" {5}\r\na\r\nb!\r\n')),
    Row("LIST names an escape sequence", TOLERATED, OK, imap=listing(b'* LIST () "/" "\x1b]0;x\x07"\r\n')),
    Row("LIST names right-to-left marks", TOLERATED, OK, imap=listing('* LIST () "/" "a\u202eb"\r\n'.encode())),
    Row("LIST names 10,000 characters", TOLERATED, OK, imap=listing(b'* LIST () "/" "' + b"n" * 10_000 + b'"\r\n')),
    Row("LIST names bad modified UTF-7", TOLERATED, OK, imap=listing(b'* LIST () "/" "&&&-&AA"\r\n')),
    Row("LIST names our folder, which is not there", REFUSED, UNUSABLE, imap=listing(b'* LIST () "/" "Old"\r\n')),
    Row("LIST without delimiter", TOLERATED, OK, imap=listing(b'* LIST () NIL "flat"\r\n')),
    Row("LIST with a quote as delimiter", TOLERATED, OK, imap=listing(b'* LIST () "\\"" "a"\r\n')),
    Row("LIST with changing delimiters", TOLERATED, OK, imap=listing(b'* LIST () "." "a"\r\n* LIST () "\\\\" "b"\r\n')),
    Row("LIST that is malformed", REFUSED, UNUSABLE, imap=listing(b"* LIST (((( nothing\r\n")),
    Row("LIST of 60,000 levels of parentheses", REFUSED, UNUSABLE,
        imap=listing(b"* LIST " + b"(" * 60_000 + b")" * 10 + b"\r\n")),
    Row("LIST with a literal of 3 GB", REFUSED, UNUSABLE, imap=listing(b'* LIST () "/" {3000000000}\r\n')),
    Row("LIST with a literal of -1", REFUSED, UNUSABLE, imap=listing(b'* LIST () "/" {-1}\r\n')),
    Row("LIST of a million folders", REFUSED, UNUSABLE, or_code=LATER, imap=imap(floods={"list": _names(2000)})),
    Row("LIST of 20,000 folders", TOLERATED, OK, imap=listing(_names(20_000))),
    Row("LIST refused", CONTAINED, UNUSABLE, imap=instead(list=b"$t NO nothing to see\r\n")),
    Row("LIST never answered", REFUSED, LATER, imap=imap(hangs="list")),
    Row("NAMESPACE refused", TOLERATED, OK, imap=instead(namespace=b"$t NO\r\n")),
    Row("NAMESPACE of nothing", TOLERATED, OK, imap=instead(namespace=b"* NAMESPACE NIL NIL NIL\r\n$t OK\r\n")),
    Row("NAMESPACE that is no list", REFUSED, UNUSABLE, imap=instead(namespace=b"* NAMESPACE x y z\r\n$t OK\r\n")),
    Row("NAMESPACE missing", REFUSED, UNUSABLE, imap=instead(namespace=b"$t OK done\r\n")),
    Row("NAMESPACE upwards", TOLERATED, OK,
        imap=instead(namespace=b'* NAMESPACE (("../" "/")) NIL NIL\r\n$t OK\r\n')),
    Row("NAMESPACE with an escape sequence", TOLERATED, OK,
        imap=instead(namespace=b'* NAMESPACE (("\x1b[2J" "/")) NIL NIL\r\n$t OK\r\n')),
    Row("CREATE OK and nothing made", REFUSED, UNUSABLE, imap=instead(create=b"$t OK done\r\n")),
    Row("CREATE refused", REFUSED, UNUSABLE, imap=instead(create=b"$t NO [NOPERM] not yours\r\n")),
    Row("CREATE refused as being there", REFUSED, UNUSABLE, imap=instead(create=b"$t NO [ALREADYEXISTS] is\r\n")),
    Row("SUBSCRIBE refused", TOLERATED, OK, imap=instead(subscribe=b"$t NO\r\n")),
    Row("CREATE never answered", REFUSED, LATER, imap=imap(hangs="create")),
]  # fmt: skip

ROWS = [*GREETINGS, *CAPABILITIES, *LOGINS, *FOLDERS]
