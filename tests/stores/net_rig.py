"""Servers on 127.0.0.1, certificates, and a channel to them, for the tests of ``stores.net``."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import trustme

from migrate.errors import StoreError
from migrate.model import Endpoint, Protocol, Tls
from migrate.stores import net

Serve = Callable[[socket.socket], None]


class Server:
    """Serves each connection to 127.0.0.1 (or ``host``) with one function, in threads that end with the block."""

    def __init__(self, serve: Serve, host: str = "127.0.0.1") -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, 0), family=family)
        self.port: int = self._listener.getsockname()[1]
        self._serve = serve
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> Server:
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()
        return self

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(sock)
            thread = threading.Thread(target=self._run, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _run(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError), sock:
            self._serve(sock)

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for sock in self._open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    monkeypatch.setenv("SSL_CERT_FILE", str(path))


def server_context(leaf: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    leaf.configure_cert(context)
    return context


def pin_of(leaf: trustme.LeafCert) -> bytes:
    der = ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode("ascii"))
    return hashlib.sha256(der).digest()


def tls_echo(context: ssl.SSLContext) -> Serve:
    """Greets inside TLS, then sends back what comes."""

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.sendall(b"+OK\r\n")
            while data := tls.recv(65536):
                tls.sendall(data)

    return serve


def endpoint(port: int, tls: Tls = Tls.IMPLICIT, host: str = "localhost", pin: bytes | None = None) -> Endpoint:
    return Endpoint(Protocol.POP3, "alice", host, port, tls, pin=pin)


def receive(channel: net.TcpChannel, count: int) -> bytes:
    got = b""
    while len(got) < count:
        data = channel.recv()
        if data is None:
            channel.wait(write=False, timeout_s=10)
        else:
            got += data
    return got


def refusal(server: Serve, **changes: object) -> StoreError:
    """The error with which a connection to that server ends."""
    with Server(server) as running, pytest.raises(StoreError) as caught:
        net.connect(endpoint(running.port, **changes), timeout_s=10)  # type: ignore[arg-type]
    return caught.value


def swallow(sock: socket.socket) -> None:
    while sock.recv(65536):
        pass
