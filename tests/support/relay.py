"""A TCP relay on 127.0.0.1 that records both directions, and can cut the connection after N octets.

With ``server_context`` it ends TLS itself and speaks clear text to the server behind it, so that what a
client sent under TLS can be read.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from types import TracebackType

_BLOCK = 1 << 16


class Relay:
    """Forwards connections to ``port``; ``sent`` and ``received`` hold what the clients sent and got.

    ``cut_sent`` or ``cut_received``: the connection is ended as soon as so many octets of that direction
    were forwarded (counted over all connections; once only). ``hold_sent``: it is kept open instead, carries
    no further octet to the server, and ``is_holding`` is set.
    """

    def __init__(
        self,
        port: int,
        *,
        server_context: ssl.SSLContext | None = None,
        cut_sent: int | None = None,
        cut_received: int | None = None,
        hold_sent: int | None = None,
    ) -> None:
        self.host = "127.0.0.1"
        self._target = port
        self._context = server_context
        self._left: dict[str, int | None] = {
            "sent": hold_sent if hold_sent is not None else cut_sent,
            "received": cut_received,
        }
        self._is_hold = hold_sent is not None
        self.is_holding = threading.Event()
        self._released = threading.Event()
        self._octets: dict[str, bytearray] = {"sent": bytearray(), "received": bytearray()}
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server((self.host, 0))
        self.port: int = self._listener.getsockname()[1]
        self.connections = 0

    @property
    def sent(self) -> bytes:
        """Every octet that clients sent, in the order in which it was forwarded."""
        with self._lock:
            return bytes(self._octets["sent"])

    @property
    def received(self) -> bytes:
        with self._lock:
            return bytes(self._octets["received"])

    def __enter__(self) -> Relay:
        self._start(self._accept)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with contextlib.suppress(OSError):  # wakes the thread in accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(timeout=10)

    def cut(self) -> None:
        """Ends every connection that is open now, also one that is held."""
        self._released.set()
        with self._lock:
            ends = list(self._open)
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _start(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        self.connections += 1
        try:
            if self._context is not None:
                client = self._context.wrap_socket(client, server_side=True)
            server = socket.create_connection((self.host, self._target))
            for end in (client, server):  # passes short lines on at once
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError:
            client.close()
            return
        with self._lock:
            self._open |= {client, server}
        # One thread for each direction of a clear connection; TLS objects are not shared by two threads,
        # so a TLS client is served by one loop.
        if self._context is None:
            self._start(self._pump, client, server, "sent")
            self._pump(server, client, "received")
        else:
            self._pump_tls(client, server)
        self._forget(client, server)

    def _pump(self, source: socket.socket, target: socket.socket, direction: str) -> None:
        with contextlib.suppress(OSError):
            while block := source.recv(_BLOCK):
                if not self._forward(block, target, direction):
                    break
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _pump_tls(self, client: socket.socket, server: socket.socket) -> None:
        client.settimeout(0.02)
        server.settimeout(0.02)
        ways = ((client, server, "sent"), (server, client, "received"))
        with contextlib.suppress(OSError):
            while True:
                for source, target, direction in ways:
                    try:
                        block = source.recv(_BLOCK)
                    except TimeoutError:
                        continue
                    if not block:
                        return
                    target.settimeout(60)
                    if not self._forward(block, target, direction):
                        return
                    target.settimeout(0.02)

    def _forward(self, block: bytes, target: socket.socket, direction: str) -> bool:
        """Whether the connection may go on."""
        with self._lock:
            left = self._left[direction]
            if left is not None:
                block = block[:left]
                self._left[direction] = left - len(block) or None
            self._octets[direction] += block
        target.sendall(block)
        if left is None or left > len(block):
            return True
        if self._is_hold and direction == "sent":
            self.is_holding.set()
            self._released.wait()
        return False

    def _forget(self, *ends: socket.socket) -> None:
        with self._lock:
            self._open -= set(ends)
        for end in ends:
            with contextlib.suppress(OSError):
                end.close()
