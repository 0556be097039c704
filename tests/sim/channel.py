"""A connection in memory to a model server, and what befalls it: octets in both directions, no thread, no socket."""

from __future__ import annotations

from typing import Protocol

from migrate.errors import Retry, StoreError


class Peer(Protocol):
    """The server's end of a connection."""

    is_over: bool
    """Whether the server has closed the connection."""

    def greet(self) -> bytes:
        """What it says first."""

    def hear(self, octets: bytes) -> bytes:
        """What it answers to these octets."""

    def leave(self) -> None:
        """The connection is gone, whoever ended it."""


class ModelChannel:
    """An octet stream to a peer (stores.base.Channel) that can be cut at any octet.

    ``cut_sent``: the peer gets so many octets more, then the connection is gone. ``cut_received``: we get so many
    octets more of what the peer answers.
    """

    is_held = False

    is_secure = False
    about = "model"

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._inbox = bytearray(peer.greet())
        self._is_cut = False
        self.cut_sent: int | None = None
        self.cut_received: int | None = None

    def send(self, data: bytes | memoryview) -> int:
        octets = bytes(data)
        if self._is_over:
            raise _broken()
        if self.cut_sent is not None and len(octets) >= self.cut_sent:
            self._peer.hear(octets[: self.cut_sent])
            self.cut()
            raise _broken()
        if self.cut_sent is not None:
            self.cut_sent -= len(octets)
        self._inbox += self._peer.hear(octets)
        return len(octets)

    def recv(self) -> bytes | None:
        if self.cut_received is not None and len(self._inbox) >= self.cut_received:
            del self._inbox[self.cut_received :]
            self.cut_received = None
            self.cut()
        if self._inbox:
            octets = bytes(self._inbox)
            self._inbox.clear()
            if self.cut_received is not None:
                self.cut_received -= len(octets)
            return octets
        if self._is_over:
            raise _broken()
        return None

    def wait(self, *, write: bool, timeout_s: float) -> None:
        assert write or self._inbox or self._is_over, "both ends wait for the other"

    def start_tls(self) -> None:
        raise AssertionError("the model speaks no TLS")

    def has_pending(self) -> bool:
        return bool(self._inbox) or self._is_over

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self.cut()

    def cut(self) -> None:
        """The connection is gone; what was received before can still be read."""
        if not self._is_cut:
            self._is_cut = True
            self._peer.leave()

    @property
    def _is_over(self) -> bool:
        return self._is_cut or self._peer.is_over


def _broken() -> StoreError:
    return StoreError("the connection was cut", retry=Retry.NOW)
