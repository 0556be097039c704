"""A channel that gives what arrives in small pieces, and takes what is sent in small pieces."""

from __future__ import annotations

from collections.abc import Callable

from migrate.errors import StoreError
from migrate.stores.base import Channel

Size = Callable[[], int]  # octets of the next piece


class PieceChannel:
    """A ``base.Channel`` around another one. ``size`` says how large the next piece is, each way."""

    def __init__(self, inner: Channel, size: Size) -> None:
        self._inner = inner
        self._size = size
        self._buffer = b""

    @property
    def is_secure(self) -> bool:
        return self._inner.is_secure

    @property
    def about(self) -> str:
        return self._inner.about

    def send(self, data: bytes | memoryview) -> int:
        return self._inner.send(memoryview(data)[: self._size()])

    def recv(self) -> bytes | None:
        if not self._buffer:
            self._buffer = self._inner.recv() or b""
        count = self._size()
        piece, self._buffer = self._buffer[:count], self._buffer[count:]
        return piece or None

    def wait(self, *, write: bool, timeout_s: float) -> None:
        if not self._buffer:
            self._inner.wait(write=write, timeout_s=timeout_s)

    def start_tls(self) -> None:
        if self._buffer:
            raise StoreError("TLS begins on octets that were not read")
        self._inner.start_tls()

    @property
    def is_held(self) -> bool:
        return self._inner.is_held

    def has_pending(self) -> bool:
        return bool(self._buffer) or self._inner.has_pending()

    def fileno(self) -> int | None:
        return self._inner.fileno()

    def close(self) -> None:
        self._buffer = b""
        self._inner.close()
