"""The POP3 side of the embedded server (RFC 1939, UIDL, PIPELINING, STLS)."""

from __future__ import annotations

import ssl
from collections.abc import Iterable

from .session import Mail, ServerSession


def served(octets: bytes) -> bytes:
    """The octets as POP3 can carry them: with a line end at the end."""
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


class Pop3Session(ServerSession):
    """RFC 1939: a snapshot of INBOX, message numbers from 1."""

    def serve(self) -> None:
        self._mails: list[Mail] = []
        self._marked: set[int] = set()
        self.send(b"+OK embedded\r\n")
        while not self.is_done:
            word, *arguments = self.read_line().decode("latin-1").split(" ")
            answer = getattr(self, f"do_{word.lower()}", None)
            if answer is None or (
                self.account is None and word.upper() not in ("CAPA", "STLS", "USER", "PASS", "QUIT")
            ):
                self.send(b"-ERR not here\r\n")
                continue
            try:
                answer(*arguments)
            except (TypeError, ValueError, KeyError) as error:
                self.send(b"-ERR %s\r\n" % repr(error).encode())

    def _lines(self, lines: Iterable[bytes]) -> None:
        self.send(b"+OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n")

    def _mail(self, number: str) -> tuple[int, Mail]:
        index = int(number) - 1
        if index in self._marked or not 0 <= index < len(self._mails):
            raise KeyError(f"no message {number}")
        return index, self._mails[index]

    def _listed(self) -> list[tuple[int, Mail]]:
        return [(index + 1, mail) for index, mail in enumerate(self._mails) if index not in self._marked]

    def do_capa(self) -> None:
        is_tls = isinstance(self._connection, ssl.SSLSocket)
        self._lines([b"USER", b"UIDL", b"TOP", b"PIPELINING", b"RESP-CODES", *([] if is_tls else [b"STLS"])])

    def do_stls(self) -> None:
        self.send(b"+OK\r\n")
        self.start_tls()

    def do_user(self, name: str) -> None:
        self.user = name
        self.send(b"+OK\r\n")

    def do_pass(self, *words: str) -> None:
        if " ".join(words) != self.house.password:
            self.send(b"-ERR [AUTH] wrong password\r\n")
            return
        with self.house.lock:
            self.account = self.house.account(self.user)
            self._mails = list(self.account.mailboxes["INBOX"].mails)
        self.send(b"+OK\r\n")

    def do_stat(self) -> None:
        listed = self._listed()
        self.send(b"+OK %d %d\r\n" % (len(listed), sum(len(mail.octets) for _, mail in listed)))

    def do_list(self) -> None:
        self._lines(b"%d %d" % (number, len(mail.octets)) for number, mail in self._listed())

    def do_uidl(self, number: str = "") -> None:
        if number:
            self.send(b"+OK %s %s\r\n" % (number.encode(), self._uidl(self._mail(number)[1])))
            return
        self._lines(b"%d %s" % (number, self._uidl(mail)) for number, mail in self._listed())

    def _uidl(self, mail: Mail) -> bytes:
        return b"%08x" % mail.uid

    def do_retr(self, number: str) -> None:
        octets = served(self._mail(number)[1].octets)
        # Dot-stuffing at the start of each line (RFC 1939 §3).
        stuffed = (b"." if octets.startswith(b".") else b"") + octets.replace(b"\r\n.", b"\r\n..")
        self.send(b"+OK\r\n" + stuffed + b".\r\n")

    def do_dele(self, number: str) -> None:
        self._marked.add(self._mail(number)[0])
        self.send(b"+OK\r\n")

    def do_rset(self) -> None:
        self._marked.clear()
        self.send(b"+OK\r\n")

    def do_noop(self) -> None:
        self.send(b"+OK\r\n")

    def do_quit(self) -> None:
        if self.account is not None:
            gone = {self._mails[index].uid for index in self._marked}
            with self.house.lock:
                inbox = self.account.mailboxes["INBOX"]
                inbox.mails = [mail for mail in inbox.mails if mail.uid not in gone]
        self.is_done = True
        self.send(b"+OK\r\n")
