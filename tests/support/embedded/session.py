"""What the sessions of the embedded server share: accounts in memory, and one connection with its lines."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import BinaryIO


@dataclass
class Mail:
    """A message in a mailbox."""

    uid: int
    octets: bytes
    flags: str
    when: datetime


@dataclass
class Mailbox:
    """Messages by UID. ``uidvalidity`` never changes."""

    mails: list[Mail] = field(default_factory=list)
    uidnext: int = 1

    def add(self, octets: bytes, flags: str, when: datetime) -> int:
        self.mails.append(Mail(self.uidnext, octets, flags, when))
        self.uidnext += 1
        return self.uidnext - 1


@dataclass
class Account:
    """The mailboxes of a user by their names on the wire, and what its clients sent after login."""

    mailboxes: dict[str, Mailbox] = field(default_factory=lambda: {"INBOX": Mailbox()})
    commands: bytearray = field(default_factory=bytearray)


@dataclass
class House:
    """What every session of one server is given."""

    password: str
    accounts: dict[str, Account]
    lock: threading.Lock
    tls: Callable[[], ssl.SSLContext]

    def account(self, user: str) -> Account:
        return self.accounts.setdefault(user, Account())


class ServerSession:
    """One connection: lines in, octets out."""

    def __init__(self, house: House, connection: socket.socket) -> None:
        self.house = house
        self._connection = connection
        self._stream: BinaryIO = connection.makefile("rb")
        self.account: Account | None = None
        self.user = ""
        self.is_done = False

    def start_tls(self) -> None:
        self._stream.close()
        self._connection = self.house.tls().wrap_socket(self._connection, server_side=True)
        self._stream = self._connection.makefile("rb")

    def read_line(self) -> bytes:
        line = self._stream.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError
        if self.account is not None:
            self.account.commands += line
        return line[:-2]

    def read(self, octets: int) -> bytes:
        return self._stream.read(octets)

    def send(self, octets: bytes) -> None:
        self._connection.sendall(octets)

    def close(self) -> None:
        self._stream.close()
        self._connection.close()

    def serve(self) -> None:
        raise NotImplementedError
