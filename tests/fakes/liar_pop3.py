"""The POP3 server that lies: every command has a place where it can go wrong."""

from __future__ import annotations

from typing import ClassVar

from tests.support.embedded.pop3 import Pop3Session, served
from tests.support.embedded.session import Mail

from .liar import Liar

_EARLY = frozenset({"capa", "stls", "user", "pass", "quit", "auth"})


class LyingPop3(Liar, Pop3Session):
    """RFC 1939 with CAPA, UIDL and PIPELINING, and habits."""

    greeting: ClassVar[bytes] = b"+OK liar\r\n"
    capabilities: ClassVar[tuple[bytes, ...]] = (b"USER", b"UIDL", b"TOP", b"PIPELINING", b"RESP-CODES")
    deletes_on_retr: ClassVar[bool] = False
    deletes_on_drop: ClassVar[bool] = False

    def serve(self) -> None:
        self._mails: list[Mail] = []
        self._marked: set[int] = set()
        self._retrieved: set[int] = set()
        try:
            self.greet()
            while not self.is_done:
                word, *arguments = self.read_line().decode("latin-1").split(" ")
                self.answer(word.lower(), arguments)
        finally:
            if self.deletes_on_drop:
                self.remove(self._marked | self._retrieved)

    def answer(self, name: str, arguments: list[str]) -> None:
        """The whole answer to one command, with the habits it has."""
        self.arguments = arguments
        self.misbehave(name)
        self._is_trickling = name in self.trickles.split()
        self.send(self.octets_of(self.before.get(name, b"")))
        if name in self.instead:
            self.send(self.octets_of(self.instead[name]))
        else:
            self._answer(name, arguments)
        self.send(self.octets_of(self.after.get(name, b"")))
        self._is_trickling = False
        if name in self.leaves.split():
            raise EOFError

    def _answer(self, name: str, arguments: list[str]) -> None:
        do = getattr(self, f"do_{name}", None)
        if do is None or (self.account is None and name not in _EARLY):
            self.send(b"-ERR not here\r\n")
            return
        try:
            do(*arguments)
        except (TypeError, ValueError, KeyError) as error:
            self.send(b"-ERR %s\r\n" % repr(error).encode())

    def do_capa(self) -> None:
        self._lines(self.capabilities)

    def do_retr(self, number: str) -> None:
        index, mail = self._mail(number)
        self._retrieved.add(index)
        self.send(self.retrieved(int(number), served(mail.octets)))
        if self.deletes_on_retr:
            self.remove({index})

    def retrieved(self, number: int, octets: bytes) -> bytes:
        """The whole answer to RETR."""
        return b"+OK\r\n" + stuffed(octets) + b".\r\n"

    def remove(self, indexes: set[int]) -> None:
        """Deletes these messages of the snapshot from the maildrop."""
        if self.account is None:
            return
        gone = {self._mails[index].uid for index in indexes}
        with self.house.lock:
            inbox = self.account.mailboxes["INBOX"]
            inbox.mails = [mail for mail in inbox.mails if mail.uid not in gone]


def stuffed(octets: bytes) -> bytes:
    """Dot-stuffing at the beginning of each line (RFC 1939 §3)."""
    return (b"." if octets.startswith(b".") else b"") + octets.replace(b"\r\n.", b"\r\n..")


def pop3(**habits: object) -> type[LyingPop3]:
    """A server with these habits."""
    return type("Lying", (LyingPop3,), habits)
