"""Blocking POP3 and IMAP readers of a few lines, sharing no code with the product: the servers' truth.

They speak clear text to 127.0.0.1 and raise ``Refused`` at the first answer that is not a success.
"""

from __future__ import annotations

import re
import socket
from datetime import datetime
from typing import NamedTuple

DEADLINE_S = 60


class Refused(Exception):
    """The server said no: its own words."""


class Stored(NamedTuple):
    """A message as an IMAP server holds it."""

    uid: int
    flags: frozenset[str]
    internaldate: datetime
    octets: bytes


class _Raw:
    def __init__(self, host: str, port: int) -> None:
        self._socket = socket.create_connection((host, port), timeout=DEADLINE_S)
        self._stream = self._socket.makefile("rb", buffering=1 << 18)
        self.greeting = self._line()

    def _line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\n"):
            raise Refused("the connection ended")
        return line

    def __enter__(self) -> _Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
        self._socket.close()


class RawPop3(_Raw):
    """A POP3 session, one command at a time (RFC 1939). ``utf8``: mail is asked for as it is (RFC 6856)."""

    def __init__(self, host: str, port: int, user: str, password: str, *, utf8: bool = False) -> None:
        super().__init__(host, port)
        if utf8:
            self.command("UTF8")
        self.command(f"USER {user}")
        self.command(f"PASS {password}")

    def __enter__(self) -> RawPop3:
        return self

    def command(self, line: str) -> bytes:
        """The text after ``+OK``."""
        self._socket.sendall(line.encode() + b"\r\n")
        if hasattr(socket, "TCP_QUICKACK"):  # a server that writes line by line waits 40 ms for each acknowledgement
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        answer = self._line()
        if not answer.startswith(b"+OK"):
            raise Refused(answer.decode("latin-1").strip())
        return answer[3:].strip()

    def lines(self, line: str) -> list[bytes]:
        """The lines of a multi-line answer, each with its CRLF, dot-stuffing undone."""
        self.command(line)
        lines: list[bytes] = []
        is_new_line = True  # only CRLF ends a line: what follows a bare LF was not stuffed
        while (answer := self._line()) != b".\r\n" or not is_new_line:
            lines.append(answer[1:] if is_new_line and answer.startswith(b".") else answer)
            is_new_line = answer.endswith(b"\r\n")
        return lines

    def uidls(self) -> list[bytes]:
        return [line.split()[1] for line in self.lines("UIDL")]

    def retrieve(self, number: int) -> bytes:
        return b"".join(self.lines(f"RETR {number}"))


class RawImap(_Raw):
    """An IMAP session, one command at a time (RFC 3501)."""

    def __init__(self, host: str, port: int, user: str, password: str) -> None:
        super().__init__(host, port)
        self.command(f'LOGIN "{user}" "{password}"')

    def __enter__(self) -> RawImap:
        return self

    def command(self, line: str, literal: bytes | None = None) -> list[tuple[bytes, list[bytes]]]:
        """Every untagged answer as its text without literals, and its literals.

        A literal goes out as LITERAL+ at the end of the line (RFC 7888 §4).
        """
        out = b"a " + line.encode()
        if literal is not None:
            out += b" {%d+}\r\n" % len(literal) + literal
        self._socket.sendall(out + b"\r\n")
        answers: list[tuple[bytes, list[bytes]]] = []
        while True:
            text, literals = self._response()
            if text.startswith(b"a "):
                if not text.startswith(b"a OK"):
                    raise Refused(text.decode("latin-1").strip())
                return [*answers, (text, literals)]
            answers.append((text, literals))

    def _response(self) -> tuple[bytes, list[bytes]]:
        text = b""
        literals: list[bytes] = []
        while True:
            line = self._line()
            announced = re.search(rb"\{(\d+)\}\r\n$", line)
            if announced is None:
                return text + line, literals
            text += line[: announced.start()]
            literals.append(self._stream.read(int(announced[1])))

    def capabilities(self) -> set[str]:
        """What is offered after login."""
        text = self.command("CAPABILITY")[0][0]
        return set(text.decode("ascii").split()[2:])

    def mailboxes(self) -> list[str]:
        """The names as the server lists them (modified UTF-7)."""
        names = []
        for text, literals in self.command('LIST "" "*"'):
            if found := re.match(rb'\* LIST \([^)]*\) (?:"[^"]*"|NIL) (.*?)\r\n', text):
                names.append((literals[0] if literals else found[1].strip(b'"')).decode("ascii"))
        return names

    def append(self, mailbox: str, octets: bytes, flags: str = "", internaldate: str = "") -> None:
        date = f' "{internaldate}"' if internaldate else ""
        self.command(f'APPEND "{mailbox}" ({flags}){date}', octets)

    def stored(self, mailbox: str) -> list[Stored]:
        """Every message of the mailbox by UID. The mailbox is not altered."""
        self.command(f'EXAMINE "{mailbox}"')
        found = []
        for text, literals in self.command("UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])"):
            if b" FETCH (" in text:
                found.append(_stored(text, literals))
        return sorted(found)


def _stored(text: bytes, literals: list[bytes]) -> Stored:
    uid = re.search(rb"UID (\d+)", text)
    flags = re.search(rb"FLAGS \(([^)]*)\)", text)
    date = re.search(rb'INTERNALDATE "([^"]*)"', text)
    if uid is None or flags is None or date is None:
        raise Refused(f"an answer to FETCH lacks something: {text!r}")
    when = datetime.strptime(date[1].decode().strip(), "%d-%b-%Y %H:%M:%S %z")
    octets = literals[0] if literals else b""
    return Stored(int(uid[1]), frozenset(flags[1].decode().split()), when, octets)
