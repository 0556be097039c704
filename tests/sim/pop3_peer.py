"""The octets of a model POP3 server, on a maildrop in memory (RFC 1939, RFC 2449)."""

from __future__ import annotations

from collections.abc import Iterable

from migrate.stores.memory import Mail

from .maildrop import Busy, SimMaildrop


class Pop3Peer:
    """One connection. Every user may in, once at a time."""

    def __init__(self, maildrop: SimMaildrop, *, has_pipelining: bool) -> None:
        self._maildrop = maildrop
        self._has_pipelining = has_pipelining
        self._inbox = b""
        self._mails: dict[int, Mail] = {}
        self._fetched: set[int] = set()
        self._marked: set[int] = set()
        self.is_over = False

    def greet(self) -> bytes:
        return b"+OK model\r\n"

    def hear(self, octets: bytes) -> bytes:
        *lines, self._inbox = (self._inbox + octets).split(b"\r\n")
        assert self._has_pipelining or len(lines) + bool(self._inbox) <= 1, "pipelining where none was offered"
        answers = []
        for line in lines:
            if self.is_over:
                break
            word, *arguments = line.decode("ascii").split(" ")
            answers.append(self._answer(word, arguments))
        return b"".join(answers)

    def leave(self) -> None:
        """Without QUIT nothing is deleted (RFC 1939 §6)."""
        self.is_over = True
        self._maildrop.release(self)

    def _answer(self, word: str, arguments: list[str]) -> bytes:
        match word, arguments:
            case (("USER" | "NOOP" | "UTF8"), _):
                return b"+OK\r\n"
            case "CAPA", _:
                pipelining = [b"PIPELINING"] if self._has_pipelining else []
                uidl = [b"UIDL"] if self._maildrop.has_uids else []
                expire = [b"EXPIRE 0"] if self._maildrop.may_delete_on_fetch else []
                return _lines([b"USER", b"RESP-CODES", *uidl, *expire, *pipelining])
            case "PASS", _:
                return self._log_in()
            case "STAT", _:
                return b"+OK %d %d\r\n" % (len(self._mails), sum(len(mail.octets) for mail in self._mails.values()))
            case "LIST", []:
                return _lines(b"%d %d" % (n, len(mail.octets)) for n, mail in self._mails.items())
            case "UIDL", _ if not self._maildrop.has_uids:
                return b"-ERR no such command\r\n"
            case "UIDL", []:
                return _lines(b"%d %b" % (n, mail.uid) for n, mail in self._mails.items())
            case "RETR", [number] if int(number) in self._mails:
                self._fetched.add(int(number))
                return b"+OK\r\n" + _stuffed(self._mails[int(number)].octets)
            case "DELE", [number] if int(number) in self._mails:
                self._marked.add(int(number))
                return b"+OK\r\n"
            case "QUIT", _:
                return self._quit()
        return b"-ERR not here\r\n"

    def _log_in(self) -> bytes:
        try:
            self._mails = dict(enumerate(self._maildrop.take(self), start=1))
        except Busy:
            return b"-ERR [IN-USE] somebody is there\r\n"
        return b"+OK\r\n"

    def _quit(self) -> bytes:
        gone = self._marked | (self._fetched if self._maildrop.may_delete_on_fetch else set())
        self._maildrop.remove([self._mails[number] for number in sorted(gone)], asked=self._marked != set())
        self.leave()
        return b"+OK\r\n"


def _lines(lines: Iterable[bytes]) -> bytes:
    return b"+OK\r\n" + b"".join(line + b"\r\n" for line in lines) + b".\r\n"


def _stuffed(octets: bytes) -> bytes:
    """A multi-line body (RFC 1939 §3)."""
    start = b"." if octets.startswith(b".") else b""
    return start + octets.replace(b"\r\n.", b"\r\n..") + (b"" if octets.endswith(b"\r\n") else b"\r\n") + b".\r\n"
