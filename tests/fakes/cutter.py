"""A TCP relay on 127.0.0.1 that does one thing at one octet: cuts, stalls or splits the stream there.

Octets are counted in each direction over all connections. One thread serves
them all, so what it records is in the order in which it was forwarded.
"""

from __future__ import annotations

import contextlib
import selectors
import socket
import struct
import threading
from dataclasses import dataclass
from enum import Enum
from types import TracebackType

_BLOCK = 1 << 16
_SPLIT_S = 0.003  # between the two halves: long enough that the reader sees them apart
_AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends a reset

SENT, RECEIVED = "sent", "received"  # by the client


class Kind(Enum):
    RST = "reset"
    FIN = "closed"
    STALL = "stalled"
    SPLIT = "split"


@dataclass(frozen=True)
class Cut:
    """What happens, and behind which octet of which direction (0: before the first)."""

    kind: Kind
    direction: str
    at: int


class Cutter:
    """Forwards connections to ``port`` until the cut; connections made after it are left alone.

    ``streams`` holds what went each way, ``turns`` the places where the direction changed, ``starts`` those where
    a connection began.
    """

    def __init__(self, port: int, cut: Cut | None = None) -> None:
        self._target = port
        self._cut = cut
        self.has_cut = False
        self.streams: dict[str, bytearray] = {SENT: bytearray(), RECEIVED: bytearray()}
        self.turns: dict[str, list[int]] = {SENT: [], RECEIVED: []}
        self.starts: dict[str, list[int]] = {SENT: [], RECEIVED: []}
        self._last = ""
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, tuple[socket.socket, str]] = {}
        self._deaf: set[socket.socket] = set()  # nothing that these say is passed on
        self._pause = threading.Event()  # nobody sets it
        self._wake_in, self._wake_out = socket.socketpair()
        self._thread = threading.Thread(target=self._run, name="cutter", daemon=True)

    def __enter__(self) -> Cutter:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._wake_in, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._wake_out.send(b"e")
        self._thread.join(timeout=10)
        for end in (*self._peers, self._listener, self._wake_in, self._wake_out):
            end.close()
        self._selector.close()

    # One thread ------------------------------------------------------------------------------
    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._wake_in:
                    return
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._peers:
                    self._carry(key.fileobj)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            server = socket.create_connection(("127.0.0.1", self._target))
        except OSError:
            client.close()
            return
        for direction, stream in self.streams.items():
            self.starts[direction].append(len(stream))
        for end, other, direction in ((client, server, SENT), (server, client, RECEIVED)):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[end] = (other, direction)
            self._selector.register(end, selectors.EVENT_READ)

    def _carry(self, end: socket.socket) -> None:
        peer, direction = self._peers[end]
        try:
            block = end.recv(_BLOCK)
        except OSError:
            block = b""
        if not block:
            self._close(end, peer)
        elif end not in self._deaf:
            self._forward(block, peer, direction)

    def _forward(self, block: bytes, target: socket.socket, direction: str) -> None:
        stream = self.streams[direction]
        if self._last != direction:
            for way, octets in self.streams.items():
                self.turns[way].append(len(octets))
            self._last = direction
        rest = b""
        is_here = (
            self._cut is not None
            and not self.has_cut
            and self._cut.direction == direction
            and len(stream) + len(block) >= self._cut.at
        )
        if is_here and self._cut is not None:
            count = self._cut.at - len(stream)
            block, rest = block[:count], block[count:]
        stream += block
        _deliver(target, block)
        if is_here:
            self._strike(target, rest)

    def _strike(self, target: socket.socket, rest: bytes) -> None:
        assert self._cut is not None
        self.has_cut = True
        both = (target, self._peers[target][0])
        match self._cut.kind:
            case Kind.SPLIT:
                self._pause.wait(_SPLIT_S)
                self.streams[self._cut.direction] += rest
                _deliver(target, rest)
            case Kind.STALL:
                self._deaf |= set(both)
            case Kind.FIN:
                self._deaf |= set(both)  # what still comes is read and dropped: unread, it would make a reset
                for end in both:
                    with contextlib.suppress(OSError):
                        end.shutdown(socket.SHUT_WR)
            case Kind.RST:
                for end in both:
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
                self._close(*both)

    def _close(self, *ends: socket.socket) -> None:
        for end in ends:
            if self._peers.pop(end, None) is not None:
                self._selector.unregister(end)
                self._deaf.discard(end)
                end.close()


def _deliver(target: socket.socket, octets: bytes) -> None:
    with contextlib.suppress(OSError):  # it went away; its end tells the other side
        target.sendall(octets)
