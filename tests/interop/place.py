"""What a server is to the play: where it listens, and how it gets there."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

PATIENCE_S = 30.0
PASSWORD = "secret"
USER = "test"

DESTINATION, SOURCE = "destination", "source"
BOTH = (DESTINATION, SOURCE)


@dataclass(frozen=True)
class Place:
    """A running server. ``fill``: puts messages where POP3 serves them, unless a migration did."""

    version: str
    imap_port: int = 0
    pop3_port: int = 0
    folder: str = "INBOX"  # that a migration goes into
    user: str = USER
    password: str = PASSWORD
    has_utf8: bool = False  # POP3 serves mail with 8-bit header fields only to who says UTF8 (RFC 6856)
    keeps_books: bool = False  # writes header lines into messages whenever a session ends (an mbox server)
    fill: Callable[[Sequence[bytes]], None] | None = None


@dataclass(frozen=True)
class Kind:
    """How a server is had: installed with the network, then started as often as asked."""

    name: str
    roles: tuple[str, ...]
    install: Callable[[], None]
    start: Callable[[], AbstractContextManager[Place]]
    needs_chroot: bool = False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody greets at the port."""
    end_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < end_s:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as found:
                if found.recv(64):
                    return
        except OSError:
            pass  # not listening yet
        time.sleep(0.1)
    raise RuntimeError(f"nobody greets at port {port}")
