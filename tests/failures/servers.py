"""Servers that fail on purpose: sessions of the embedded server with one habit of their own."""

from __future__ import annotations

import base64
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from ..support.embedded.imap import ImapSession, No
from ..support.embedded.pop3 import Pop3Session
from ..support.embedded.session import ServerSession
from .canary import echoes

PATIENCE_S = 30


@dataclass
class Gate:
    """A place in a session where it waits: ``reached`` tells that it is there, ``open`` lets it go on."""

    at: int = 1  # the how-many-eth time
    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)
    _times: int = 0

    def pass_through(self) -> None:
        self._times += 1
        if self._times == self.at:
            self.reached.set()
            self.opened.wait(PATIENCE_S)

    def wait(self) -> None:
        assert self.reached.wait(PATIENCE_S), "the program never came here"

    def open(self) -> None:
        self.opened.set()


def greeting(octets: bytes) -> type[ServerSession]:
    """A server that says this, and never anything more."""

    class Greeting(ServerSession):
        def serve(self) -> None:
            self.send(octets)
            while True:
                self.read_line()

    return Greeting


def hanging_up(octets: bytes = b"") -> type[ServerSession]:
    """A server that says this and closes the connection."""

    class HangingUp(ServerSession):
        def serve(self) -> None:
            self.send(octets)

    return HangingUp


def held(kind: type[ServerSession], gate: Gate) -> type[ServerSession]:
    """The same server, slow to greet."""

    class Held(kind):  # type: ignore[misc, valid-type]
        def serve(self) -> None:
            gate.pass_through()
            super().serve()

    return Held


# --- POP3 -----------------------------------------------------------------------------------


def pop3_answering(command: str, answer: bytes) -> type[Pop3Session]:
    """A POP3 server that answers one command always like this."""

    def do(self: Pop3Session, *_: str) -> None:
        self.send(answer + b"\r\n")

    return type("Answering", (Pop3Session,), {f"do_{command}": do})


class EchoingPop3(Pop3Session):
    """Says the password back when it refuses it."""

    def do_pass(self, *words: str) -> None:
        self.send(f"-ERR [AUTH] no \x1b[31m: {echoes(self.user, ' '.join(words))}\r\n".encode())


class EchoingPlainPop3(EchoingPop3):
    """The same with SASL PLAIN (RFC 5034)."""

    def do_capa(self) -> None:
        self._lines([b"UIDL", b"SASL PLAIN"])

    def serve(self) -> None:
        self.send(b"+OK embedded\r\n")
        while not self.is_done:
            word, *rest = self.read_line().split(b" ")
            if word == b"AUTH":
                _, user, password = base64.b64decode(rest[-1]).decode().split("\0")
                self.send(b"-ERR [AUTH] %s is wrong: %s\r\n" % (rest[-1], echoes(user, password).encode()))
            else:
                self.do_capa()


class WelcomingPop3(Pop3Session):
    """Says the password back when it takes it, and with every listing."""

    def do_pass(self, *words: str) -> None:
        if " ".join(words) == self.house.password:
            self._said = echoes(self.user, self.house.password).encode()
        super().do_pass(*words)

    def send(self, octets: bytes) -> None:
        super().send(octets.replace(b"+OK\r\n", b"+OK " + getattr(self, "_said", b"") + b"\r\n"))


class WithoutStls(Pop3Session):
    """Has no TLS to offer."""

    def do_stls(self) -> None:
        self.send(b"-ERR unknown command\r\n")


class EmptyingPop3(Pop3Session):
    """May delete what it has served (CAPA EXPIRE 0): everything goes through the spool."""

    def do_capa(self) -> None:
        self._lines([b"UIDL", b"PIPELINING", b"EXPIRE 0"])


def retr_refused(number: str, answer: bytes) -> type[Pop3Session]:
    """A POP3 server that does not hand out one message."""

    class Refusing(Pop3Session):
        def do_retr(self, asked: str) -> None:
            if asked == number:
                self.send(answer + b"\r\n")
            else:
                super().do_retr(asked)

    return Refusing


def retr_held(gate: Gate) -> type[Pop3Session]:
    """A POP3 server that is slow with one message."""

    class Slow(Pop3Session):
        def do_retr(self, number: str) -> None:
            gate.pass_through()
            super().do_retr(number)

    return Slow


class Pop3Dying(Pop3Session):
    """Hangs up at a message that holds poison, each time."""

    def do_retr(self, number: str) -> None:
        if b"poison" in self._mail(number)[1].octets:
            raise EOFError
        super().do_retr(number)


def tiring(after: int) -> type[Pop3Session]:
    """A POP3 server that ends each session after so many messages."""

    class Tiring(Pop3Session):
        served = 0

        def do_retr(self, number: str) -> None:
            self.served += 1
            if self.served > after:
                raise EOFError
            super().do_retr(number)

    return Tiring


class Fickle(Pop3Session):
    """Shows an empty maildrop while ``is_empty``."""

    is_empty = False

    def do_pass(self, *words: str) -> None:
        super().do_pass(*words)
        if self.is_empty:
            self._mails.clear()


def fickle() -> type[Fickle]:
    """A server of its own: what is set on the class counts for one test."""
    return type("Fickle", (Fickle,), {})


def losing_once() -> type[Pop3Session]:
    """A POP3 server that loses its first session at the third message, and keeps it locked for one login more."""

    class Losing(Pop3Session):
        logins = 0

        def do_pass(self, *words: str) -> None:
            Losing.logins += 1
            if Losing.logins == 2:
                self.send(b"-ERR [IN-USE] locked by another session\r\n")
            else:
                super().do_pass(*words)

        def do_retr(self, number: str) -> None:
            if Losing.logins == 1 and number == "3":
                raise EOFError
            super().do_retr(number)

    return Losing


# --- IMAP -----------------------------------------------------------------------------------


def imap_refusing(command: str, text: str, when: Callable[[list[bytes]], bool] = bool) -> type[ImapSession]:
    """An IMAP server that answers one command NO, always or where ``when`` says so of its tokens."""

    def do(self: ImapSession, tokens: list[bytes]) -> bytes | None:
        if when(tokens):
            raise No(text)
        usual: Callable[[list[bytes]], bytes | None] = getattr(super(kind, self), f"do_{command}")
        return usual(tokens)

    kind = type("Refusing", (ImapSession,), {f"do_{command}": do})
    return kind


class EchoingImap(ImapSession):
    """Says the password back when it refuses it."""

    def do_login(self, tokens: list[bytes]) -> None:
        user, password = (token.decode() for token in tokens)
        raise No(f"[AUTHENTICATIONFAILED] no: {echoes(user, password)}")


class WelcomingImap(ImapSession):
    """Says the password back whenever it says done."""

    _said = b""

    def do_login(self, tokens: list[bytes]) -> None:
        super().do_login(tokens)
        self._said = echoes(*(token.decode() for token in tokens)).encode()

    def send(self, octets: bytes) -> None:
        super().send(octets.replace(b"done\r\n", b"done " + self._said + b"\r\n"))


class EchoingPlainImap(ServerSession):
    """The same with SASL PLAIN."""

    def serve(self) -> None:
        self.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] embedded\r\n")
        while True:
            tag, command, *_ = self.read_line().split(b" ")
            if command == b"CAPABILITY":
                self.send(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + b" OK\r\n")
                continue
            self.send(b"+ \r\n")
            line = self.read_line()
            _, user, password = base64.b64decode(line).decode().split("\0")
            self.send(tag + b" NO [AUTHENTICATIONFAILED] %s: %s\r\n" % (line, echoes(user, password).encode()))


class WithoutStarttls(ImapSession):
    """Has no TLS to offer."""

    def do_starttls(self, _: list[bytes]) -> None:
        raise No("not supported")


def append_held(gate: Gate) -> type[ImapSession]:
    """An IMAP server that is slow to store one message."""

    class Slow(ImapSession):
        def do_append(self, tokens: list[bytes]) -> bytes:
            gate.pass_through()
            return super().do_append(tokens)

    return Slow


class ImapDying(ImapSession):
    """Hangs up at a message that holds poison, each time: when it is to store it, or to serve it."""

    def do_append(self, tokens: list[bytes]) -> bytes:
        if b"poison" in tokens[-1]:
            raise EOFError
        return super().do_append(tokens)

    def send(self, octets: bytes) -> None:
        if b"poison" in octets and b" FETCH " in octets:
            raise EOFError
        super().send(octets)


class Holding(ImapSession):
    """Refuses messages that hold ``poison``."""

    poison = b""
    text = ""

    def do_append(self, tokens: list[bytes]) -> bytes:
        if self.poison in tokens[-1]:
            raise No(self.text)
        return super().do_append(tokens)


def holding(poison: str, text: str = "not this one") -> type[Holding]:
    """A server of its own: what is set on the class counts for one test."""
    return type("Holding", (Holding,), {"poison": poison.encode(), "text": text})
