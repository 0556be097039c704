"""POP3 servers that lie: greeting, login, listings, RETR, DELE, QUIT."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable
from typing import Any

from migrate.errors import Exit
from migrate.model import Tls
from tests.failures.canary import echoes
from tests.fakes.liar_pop3 import LyingPop3, pop3, stuffed
from tests.support.embedded.session import Mail

from .hostile_play import LETTERS, PASSWORD, Must, Row

REFUSED, CONTAINED, TOLERATED = Must.REFUSED, Must.CONTAINED, Must.TOLERATED
OK, LATER, UNUSABLE, LOGIN, ASIDE = (
    Exit.OK,
    Exit.TEMPORARY,
    Exit.SOURCE_UNUSABLE,
    Exit.SOURCE_LOGIN,
    Exit.SET_ASIDE,
)

ECHO = echoes("old", PASSWORD).encode()
USUAL = (b"USER", b"UIDL", b"TOP", b"PIPELINING", b"RESP-CODES")
LOCKSTEP = (b"USER", b"UIDL", b"TOP")


def greeting(octets: bytes, **more: Any) -> type[LyingPop3]:
    return pop3(greeting=octets, **more)


def instead(**answers: Any) -> type[LyingPop3]:
    return pop3(instead={name.rstrip("_"): answer for name, answer in answers.items()})


class Sasl(LyingPop3):
    """Takes AUTH PLAIN (RFC 5034); ``challenges`` come before the answer is heard."""

    capabilities = (*USUAL, b"SASL PLAIN")
    challenges: tuple[bytes, ...] = ()

    def do_auth(self, mechanism: str, initial: str = "") -> None:
        line = initial.encode()
        for challenge in self.challenges:
            self.send(challenge)
            line = self.read_line()
        if line == b"*":
            self.send(b"-ERR given up\r\n")
            return
        user = base64.b64decode(line).split(b"\0")[1].decode()
        self.account = self.house.account(user)
        self._mails = list(self.account.mailboxes["INBOX"].mails)
        self.send(b"+OK in\r\n")


class Deaf(LyingPop3):
    """Throws away what was sent behind a RETR."""

    def do_retr(self, number: str) -> None:
        if isinstance(self._stream, io.BufferedReader) and self._stream.peek():
            self._stream.read1()
        super().do_retr(number)


GREETINGS = [
    Row("greeting: -ERR", REFUSED, LATER, pop3=greeting(b"-ERR go away\r\n")),
    Row("greeting: garbage", REFUSED, UNUSABLE, pop3=greeting(b"\xff\xfe\x00 hello\r\n")),
    Row("greeting: an empty line", REFUSED, UNUSABLE, pop3=greeting(b"\r\n")),
    Row("greeting: a line of 1 MB", REFUSED, UNUSABLE, pop3=greeting(b"+OK " + b"x" * 1_000_000 + b"\r\n")),
    Row("greeting: LF without CR", REFUSED, UNUSABLE, pop3=greeting(b"+OK ready\n")),
    Row("greeting: none at all", REFUSED, LATER, pop3=pop3(hangs="greeting")),
    Row("greeting: closed at once", REFUSED, LATER, pop3=pop3(closes="greeting")),
    Row("greeting: a TLS alert", REFUSED, UNUSABLE,
        pop3=greeting(b"\x15\x03\x01\x00\x02\x02\x28", hangs="greeting"),
        says="TLS"),
    Row("greeting: HTTP", REFUSED, UNUSABLE, pop3=greeting(b"HTTP/1.1 400 Bad Request\r\n\r\n"),
        says="web server"),
    Row("greeting: IMAP", REFUSED, UNUSABLE, pop3=greeting(b"* OK IMAP4rev1\r\n"), says="IMAP"),
    Row("greeting: SMTP", REFUSED, UNUSABLE, pop3=greeting(b"220 mx.example.org\r\n"), says="mail"),
    Row("greeting: twice", REFUSED, UNUSABLE, pop3=greeting(b"+OK one\r\n+OK two\r\n")),
    Row("greeting: a banner for APOP", TOLERATED, OK, pop3=greeting(b"+OK <1896.697170952@dbc.example>\r\n")),
    Row("greeting: escape sequences", TOLERATED, OK, pop3=greeting(b"+OK \x1b[2J\x1b]0;owned\x07\r\n")),
    Row("greeting: endless", REFUSED, UNUSABLE, pop3=pop3(greeting=b"+OK ", floods={"greeting": b"x"})),
    Row("CAPA one octet at a time", TOLERATED, OK,
        pop3=pop3(trickles="capa", before={"capa": b"+OK " + b"x" * 60 + b"\r\n"}, instead={"capa": b"x\r\n.\r\n"})),
]  # fmt: skip

LOGINS = [
    Row("CAPA refused", TOLERATED, OK, pop3=instead(capa=b"-ERR what\r\n")),
    Row("CAPA empty", TOLERATED, OK, pop3=pop3(capabilities=())),
    Row("CAPA never answered", TOLERATED, OK, pop3=pop3(hangs="capa")),
    Row("CAPA hung up", TOLERATED, OK, pop3=pop3(closes="capa")),
    Row("CAPA without an end", TOLERATED, OK, or_code=LATER, pop3=instead(capa=b"+OK\r\nUIDL\r\n")),
    Row("CAPA endless", REFUSED, UNUSABLE, or_code=LATER,
        pop3=pop3(before={"capa": b"+OK\r\n"}, floods={"capa": b"X-LONG\r\n"})),
    Row("CAPA of 8-bit octets", TOLERATED, OK, pop3=pop3(capabilities=(*USUAL, b"\xff\xfe \x1b[2J", b""))),
    Row("CAPA: PIPELINING, and it cannot", CONTAINED, LATER, or_code=OK, pop3=Deaf),
    Row("CAPA: LOGIN-DELAY of a year", TOLERATED, OK,
        pop3=pop3(capabilities=(*USUAL, b"LOGIN-DELAY 31536000"))),
    Row("CAPA: LOGIN-DELAY that is no number", TOLERATED, OK, pop3=pop3(capabilities=(*USUAL, b"LOGIN-DELAY x -1"))),
    Row("USER refused", REFUSED, LOGIN, pop3=instead(user=b"-ERR no such user\r\n")),
    Row("PASS refused", REFUSED, LOGIN, pop3=instead(pass_=b"-ERR [AUTH] no\r\n")),
    Row("the password echoed by PASS", REFUSED, LOGIN, pop3=instead(pass_=b"-ERR [AUTH] " + ECHO + b"\r\n")),
    Row("the password echoed in the greeting", TOLERATED, OK, pop3=greeting(b"+OK " + ECHO + b"\r\n")),
    Row("the password echoed in a refusal of RETR", CONTAINED, ASIDE, pop3=instead(retr=b"-ERR " + ECHO + b"\r\n")),
    Row("the password echoed in CAPA", TOLERATED, OK, pop3=pop3(capabilities=(*USUAL, ECHO))),
    Row("the password echoed in garbage", REFUSED, UNUSABLE, pop3=instead(pass_=ECHO + b"\r\n")),
    Row("PASS: IN-USE", REFUSED, LATER, pop3=instead(pass_=b"-ERR [IN-USE] locked\r\n")),
    Row("PASS: locked, in words", REFUSED, LATER, pop3=instead(pass_=b"-ERR mailbox is locked by another session\r\n")),
    Row("PASS: LOGIN-DELAY", REFUSED, LATER, pop3=instead(pass_=b"-ERR [LOGIN-DELAY] slow\r\n")),
    Row("PASS: SYS/TEMP", REFUSED, LATER, pop3=instead(pass_=b"-ERR [SYS/TEMP] later\r\n")),
    Row("PASS: SYS/PERM", REFUSED, UNUSABLE, pop3=instead(pass_=b"-ERR [SYS/PERM] never\r\n")),
    Row("PASS never answered", REFUSED, LATER, pop3=pop3(hangs="pass")),
    Row("PASS hung up", REFUSED, LATER, pop3=pop3(closes="pass")),
    Row("PASS +OK, then hung up", REFUSED, LATER, pop3=pop3(leaves="pass")),
    Row("PASS answered twice", REFUSED, UNUSABLE, pop3=pop3(after={"pass": b"+OK again\r\n"})),
    Row("AUTH asked for twice", REFUSED, LOGIN, or_code=UNUSABLE,
        pop3=type("Twice", (Sasl,), {"challenges": (b"+ \r\n", b"+ \r\n", b"+ \r\n")})),
    Row("AUTH with a challenge of garbage", REFUSED, LOGIN,
        pop3=type("Garbage", (Sasl,), {"challenges": (b"+ \xff%%\r\n",)})),
    Row("AUTH with a challenge of 1 MB", REFUSED, UNUSABLE,
        pop3=type("Long", (Sasl,), {"challenges": (b"+ " + b"A" * 1_000_000 + b"\r\n",)})),
    Row("AUTH not known after all", TOLERATED, OK, pop3=pop3(capabilities=(*USUAL, b"SASL PLAIN"),
        instead={"auth": b"-ERR unknown command\r\n"})),
    Row("STLS answered, and no TLS", REFUSED, LATER, or_code=UNUSABLE, tls=Tls.STARTTLS,
        pop3=instead(stls=b"+OK\r\n+OK\r\n")),
]  # fmt: skip


def lines(*them: bytes) -> bytes:
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in them) + b".\r\n"


def endless(name: str, line: bytes) -> type[LyingPop3]:
    return pop3(before={name: b"+OK\r\n"}, floods={name: line})


def _counted() -> Callable[[LyingPop3], bytes]:
    """Other UIDLs in every listing."""
    count = iter(range(10**6))
    return lambda self: lines(*(b"%d new%d" % (number, next(count)) for number in range(1, len(self._mails) + 1)))


def _uidls(uidl: Callable[[int], bytes]) -> type[LyingPop3]:
    """A UIDL made of the message number."""
    return instead(uidl=lambda self: lines(*(b"%d " % n + uidl(n) for n in range(1, len(self._mails) + 1))))


def _sizes(size: bytes) -> type[LyingPop3]:
    return instead(list=lambda self: lines(*(b"%d " % n + size for n in range(1, len(self._mails) + 1))))


class Shifting(LyingPop3):
    """Gives the UIDL of one message to another one, in another session."""

    def do_uidl(self, number: str = "") -> None:
        listed = self._listed()
        uids = [mail.uid for _, mail in listed]
        turn = self.house.__dict__.setdefault("turn", [0])
        turn[0] += 1
        shifted = uids[turn[0] % len(uids) :] + uids[: turn[0] % len(uids)] if uids else []
        self._lines(b"%d %08x" % (number, uid) for (number, _), uid in zip(listed, shifted, strict=True))


class Capped(LyingPop3):
    """Shows the newest two messages only."""

    def _listed(self) -> list[tuple[int, Mail]]:
        return super()._listed()[:2]


LISTINGS = [
    Row("STAT: garbage", REFUSED, UNUSABLE, pop3=instead(stat=b"+OK many\r\n")),
    Row("STAT: below zero", REFUSED, UNUSABLE, pop3=instead(stat=b"+OK -1 -1\r\n")),
    Row("STAT: 2^64", REFUSED, UNUSABLE, pop3=instead(stat=b"+OK 18446744073709551616 1\r\n")),
    Row("STAT: 4 billion", REFUSED, UNUSABLE, or_code=LATER, pop3=instead(stat=b"+OK 4294967295 1\r\n")),
    Row("STAT: fewer than there are", REFUSED, UNUSABLE, or_code=LATER, pop3=instead(stat=b"+OK 1 1\r\n"),
        says="contradicts"),
    Row("STAT: none, and there are three", REFUSED, UNUSABLE, or_code=LATER, pop3=instead(stat=b"+OK 0 0\r\n")),
    Row("STAT: 5,000 digits", REFUSED, UNUSABLE, pop3=instead(stat=b"+OK " + b"9" * 5000 + b" 1\r\n")),
    Row("STAT refused", REFUSED, UNUSABLE, pop3=instead(stat=b"-ERR no\r\n")),
    Row("STAT never answered", REFUSED, LATER, pop3=pop3(hangs="stat")),
    Row("UIDL: one for all", TOLERATED, OK, pop3=_uidls(lambda n: b"same")),
    Row("UIDL: blank", TOLERATED, OK, pop3=_uidls(lambda n: b"")),
    Row("UIDL: 71 octets", TOLERATED, OK, pop3=_uidls(lambda n: b"%071d" % n)),
    Row("UIDL: 60,000 octets", TOLERATED, OK, pop3=_uidls(lambda n: b"%060000d" % n)),
    Row("UIDL: 8-bit", TOLERATED, OK, pop3=_uidls(lambda n: b"\xff\xfe%d" % n)),
    Row("UIDL: with spaces", TOLERATED, OK, pop3=_uidls(lambda n: b"a b %d" % n)),
    Row("UIDL: escape sequences", TOLERATED, OK, pop3=_uidls(lambda n: b"\x1b[2J\x07%d" % n)),
    Row("UIDL: a path", TOLERATED, OK, pop3=_uidls(lambda n: b"../../../etc/cron.d/%d" % n)),
    Row("UIDL: a NUL", TOLERATED, OK, pop3=_uidls(lambda n: b"\x00%d" % n)),
    Row("UIDL: SQL", TOLERATED, OK, pop3=_uidls(lambda n: b"';DROP TABLE message;--%d" % n)),
    Row("UIDL: numbers that are none", REFUSED, UNUSABLE, pop3=instead(uidl=lines(b"x a", b"y b", b"z c"))),
    Row("UIDL: number 0", REFUSED, UNUSABLE, pop3=instead(uidl=lines(b"0 a", b"1 b", b"2 c"))),
    Row("UIDL: numbers below zero", REFUSED, UNUSABLE, pop3=instead(uidl=lines(b"-1 a", b"1 b", b"2 c"))),
    Row("UIDL: numbers beyond 2^32", REFUSED, UNUSABLE, pop3=instead(uidl=lines(b"4294967297 a", b"1 b", b"2 c"))),
    Row("UIDL: a number twice", REFUSED, UNUSABLE, or_code=LATER, pop3=instead(uidl=lines(b"1 a", b"1 b", b"2 c"))),
    Row("UIDL: numbers beyond the last", REFUSED, UNUSABLE, or_code=LATER,
        pop3=instead(uidl=lines(b"1 a", b"2 b", b"9 c"))),
    Row("UIDL: one too few", REFUSED, UNUSABLE, or_code=LATER, pop3=instead(uidl=lines(b"1 a", b"2 b"))),
    Row("UIDL: backwards", TOLERATED, OK, pop3=type("Backwards", (LyingPop3,), {"do_uidl": lambda self: self._lines(
        b"%d %08x" % (number, mail.uid) for number, mail in reversed(self._listed()))})),
    Row("UIDL: others each time", TOLERATED, OK, pop3=instead(uidl=_counted())),
    Row("UIDL: exchanged between sessions", TOLERATED, OK, pop3=Shifting),
    Row("UIDL refused", TOLERATED, OK, pop3=pop3(instead={"uidl": b"-ERR\r\n"}, capabilities=(b"USER",))),
    Row("UIDL offered and refused", TOLERATED, OK, pop3=instead(uidl=b"-ERR\r\n")),
    Row("UIDL never answered", REFUSED, LATER, pop3=pop3(hangs="uidl"), deadline_s=30.0),
    Row("UIDL without an end", REFUSED, LATER, or_code=UNUSABLE, pop3=instead(uidl=b"+OK\r\n1 a\r\n2 b\r\n3 c\r\n")),
    Row("UIDL endless", REFUSED, UNUSABLE, pop3=endless("uidl", b"1 a\r\n")),
    Row("UIDL one line without end", REFUSED, UNUSABLE, pop3=endless("uidl", b"x")),
    Row("LIST: size wrong", TOLERATED, OK, pop3=_sizes(b"7")),
    Row("LIST: size below zero", TOLERATED, OK, pop3=_sizes(b"-5")),
    Row("LIST: size 2^64", TOLERATED, OK, pop3=_sizes(b"18446744073709551616")),
    Row("LIST: size 8 EB", TOLERATED, OK, pop3=_sizes(b"9223372036854775807")),
    Row("LIST: no size", TOLERATED, OK, pop3=_sizes(b"")),
    Row("LIST: size a word", TOLERATED, OK, pop3=_sizes(b"huge")),
    Row("LIST refused", TOLERATED, OK, pop3=instead(list=b"-ERR\r\n")),
    Row("LIST endless", REFUSED, UNUSABLE, pop3=endless("list", b"1 1\r\n")),
    Row("LIST never answered", REFUSED, LATER, pop3=pop3(hangs="list"), deadline_s=30.0),
    Row("the listing capped at two", TOLERATED, OK, pop3=Capped),
]  # fmt: skip


def served(how: Callable[[Any, int, bytes], bytes], **more: Any) -> type[LyingPop3]:
    """A server with its own answer to RETR: ``how(self, number, octets)``."""
    return pop3(retrieved=how, **more)


def answer(octets: bytes) -> bytes:
    return b"+OK\r\n" + stuffed(octets) + b".\r\n"


def _smuggled(octets: bytes) -> bytes:
    """A message whose text ends a reply for who takes LF for a line's end, and forges the next answer."""
    return b"+OK\r\n" + octets + b".\r\n"


SMUGGLER = b"Subject: smuggled\r\n\r\nhello\n.\n+OK smuggled\r\n"
NAKED = b"Subject: dots\r\n\r\nhello\r.\r+OK\r\n\n.\r\nrest\r\n"


class InPieces(LyingPop3):
    """Every dot is the last octet of a segment."""

    def send(self, octets: bytes) -> None:
        for piece in octets.replace(b".", b".\0cut\0").split(b"\0cut\0"):
            if piece:
                super().send(piece)


LONG = b"Subject: long\r\n\r\n" + b"y" * 10_000_000 + b"\r\n"
LONE_DOTS = b"Subject: dots\r\n\r\n.dot\r\n.\tdot\r\nno dot\r\n"

RETR = [
    Row("RETR: a bare LF dot, and a forged answer", TOLERATED, OK, letters=(*LETTERS, SMUGGLER),
        pop3=served(lambda self, n, octets: _smuggled(octets) if b"smuggled" in octets else answer(octets))),
    Row("RETR: dots between naked CR and LF", TOLERATED, OK, letters=(*LETTERS, NAKED)),
    Row("RETR: a segment ends at every dot", TOLERATED, OK, pop3=InPieces),
    Row("RETR: a line of 10 MB", TOLERATED, OK, letters=(*LETTERS, LONG)),
    Row("RETR: no final dot", CONTAINED, LATER, pop3=served(lambda self, n, octets: answer(octets)[:-3])),
    Row("RETR: no final dot, then hung up", CONTAINED, LATER,
        pop3=pop3(retrieved=lambda self, n, octets: answer(octets)[:-3], leaves="retr")),
    Row("RETR: hung up in the middle", CONTAINED, LATER,
        pop3=pop3(retrieved=lambda self, n, octets: answer(octets)[:40], leaves="retr")),
    Row("RETR: the end twice", CONTAINED, UNUSABLE, or_code=LATER,
        pop3=served(lambda self, n, octets: answer(octets) + b".\r\n")),
    Row("RETR: an answer too many", CONTAINED, UNUSABLE, or_code=LATER,
        pop3=served(lambda self, n, octets: answer(octets) + b"+OK more\r\n", capabilities=LOCKSTEP)),
    Row("RETR: an answer too many, pipelined", CONTAINED, UNUSABLE, or_code=LATER,
        pop3=served(lambda self, n, octets: answer(octets) + b"+OK more\r\n")),
    Row("RETR: garbage behind the end", CONTAINED, UNUSABLE, or_code=LATER,
        pop3=served(lambda self, n, octets: answer(octets) + b"\xff\xfe\r\n")),
    Row("RETR: dots not doubled", TOLERATED, OK, letters=(LONE_DOTS,),
        pop3=served(lambda self, n, octets: b"+OK\r\n" + octets + b".\r\n")),
    Row("RETR: refused with escape sequences", CONTAINED, ASIDE, pop3=instead(retr=b"-ERR \x1b[2J\x1b]0;x\x07 no\r\n")),
    Row("RETR: refused, one of them", CONTAINED, ASIDE,
        pop3=served(lambda self, n, octets: b"-ERR not this\r\n" if n == 2 else answer(octets))),
    Row("RETR: refused without a word", CONTAINED, ASIDE, pop3=instead(retr=b"-ERR\r\n")),
    Row("RETR: neither +OK nor -ERR", REFUSED, UNUSABLE, pop3=instead(retr=b"OK here it is\r\n.\r\n")),
    Row("RETR: +OK of 1 MB", REFUSED, UNUSABLE, pop3=instead(retr=b"+OK " + b"x" * 1_000_000 + b"\r\n.\r\n")),
    Row("RETR: never answered", REFUSED, LATER, pop3=pop3(hangs="retr")),
    Row("RETR: hung up", REFUSED, LATER, pop3=pop3(closes="retr")),
    Row("RETR: one octet at a time", REFUSED, LATER, pop3=pop3(trickles="retr")),
    Row("RETR: goodbye in the middle of a session", REFUSED, LATER,
        pop3=pop3(instead={"retr": b"-ERR [SYS/TEMP] idle too long\r\n"}, leaves="retr"), or_code=ASIDE),
    Row("RETR: deletes what it served, and says so", TOLERATED, OK,
        pop3=pop3(deletes_on_retr=True, capabilities=(*USUAL, b"EXPIRE 0"))),
    Row("RETR: deletes what it served, and says nothing", TOLERATED, OK, pop3=pop3(deletes_on_retr=True)),
    Row("RETR: deletes what it served when the line drops", TOLERATED, OK, pop3=pop3(deletes_on_drop=True)),
    Row("RETR: message of no octets", TOLERATED, OK, pop3=pop3(), letters=(*LETTERS, b"\r\n")),
]  # fmt: skip


class OtherMessage(LyingPop3):
    """In the second session, serves the next message instead of the one asked for."""

    def do_retr(self, number: str) -> None:
        super().do_retr(str(int(number) % len(self._mails) + 1))


class Pretender(LyingPop3):
    """Says that it deleted, and did not."""

    def remove(self, indexes: Iterable[int]) -> None:
        return

    def do_quit(self) -> None:
        self.is_done = True
        self.send(b"+OK all gone\r\n")


class Halfway(LyingPop3):
    """Deletes the first of those marked, and says that it could not delete all."""

    words = b"-ERR some deleted messages not removed\r\n"

    def do_quit(self) -> None:
        self.remove({min(self._marked)} if self._marked else set())
        self.is_done = True
        self.send(self.words)


class Unmarked(LyingPop3):
    """Deletes without QUIT, when the line drops."""

    deletes_on_drop = True


DELETIONS = [
    Row("DELE: refused", CONTAINED, ASIDE, pop3=instead(dele=b"-ERR no\r\n")),
    Row("DELE: never answered", CONTAINED, LATER, pop3=pop3(hangs="dele")),
    Row("DELE: hung up", CONTAINED, LATER, pop3=pop3(closes="dele")),
    Row("DELE: +OK, then hung up", CONTAINED, LATER, pop3=pop3(leaves="dele")),
    Row("DELE: hung up, and deleted all the same", CONTAINED, OK, or_code=LATER,
        pop3=type("Dropping", (Unmarked,), {"leaves": "dele"})),
    Row("DELE: garbage", CONTAINED, UNUSABLE, or_code=LATER, pop3=instead(dele=b"maybe\r\n")),
    Row("DELE: +OK, and not deleted", CONTAINED, OK, or_code=ASIDE, pop3=Pretender),
    Row("QUIT: -ERR", CONTAINED, LATER, pop3=instead(quit=b"-ERR no\r\n")),
    Row("QUIT: never answered", CONTAINED, LATER, pop3=pop3(hangs="quit")),
    Row("QUIT: hung up", CONTAINED, LATER, pop3=pop3(closes="quit")),
    Row("QUIT: deletes some, and says so", CONTAINED, LATER, or_code=OK, pop3=Halfway),
    Row("QUIT: deletes some, and says all", CONTAINED, OK, pop3=type("Half", (Halfway,), {"words": b"+OK\r\n"})),
    Row("QUIT: garbage", CONTAINED, UNUSABLE, or_code=LATER, pop3=instead(quit=b"bye\r\n")),
    Row("RETR: other messages than asked for", CONTAINED, ASIDE, or_code=OK, pop3=OtherMessage),
]  # fmt: skip

INSIDE = [*LISTINGS, *RETR, *DELETIONS]
DOOR = [*GREETINGS, *LOGINS]
