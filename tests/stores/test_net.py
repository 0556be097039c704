"""TCP: clear text, octets both ways, what a broken or impossible connection says."""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest
import trustme

from migrate.errors import Cause, Retry, StoreError
from migrate.model import Secret, Tls
from migrate.stores import net

from .net_rig import (
    Server,
    authority,
    endpoint,
    receive,
    server_context,
    swallow,
    tls_echo,
    trusted,
)

__all__ = ["authority", "trusted"]  # fixtures


# --- clear text -----------------------------------------------------------------------------


def test_clear_text_stays_on_this_machine() -> None:
    with Server(lambda sock: sock.sendall(b"+OK\r\n")) as server:
        channel = net.connect(endpoint(server.port, Tls.NONE, "127.0.0.1"))
        assert not channel.is_secure
        assert receive(channel, 5) == b"+OK\r\n"
        assert channel.about.endswith("no TLS")
        channel.close()


def test_clear_text_to_another_machine_is_refused_before_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 110))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address])
    for host in ("pop.example.org", "localhost"):  # a name server can say anything of a name
        with pytest.raises(StoreError) as caught:
            net.connect(endpoint(110, Tls.NONE, host), timeout_s=1)
        assert (caught.value.cause, caught.value.retry) == (Cause.UNUSABLE, Retry.NEVER)
        assert "clear text" in str(caught.value)


def test_clear_text_elsewhere_can_be_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda sock: sock.sendall(b"+OK\r\n")) as server:
        here = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [here])
        channel = net.connect(endpoint(server.port, Tls.NONE, "pop.example.org"), allow_clear=True)
        assert receive(channel, 5) == b"+OK\r\n"
        channel.close()


# --- octets ---------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(socket, "TCP_QUICKACK"), reason="this system has no TCP_QUICKACK")
@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.NONE])
def test_what_comes_after_octets_were_sent_is_acknowledged_at_once(authority: trustme.CA, tls: Tls) -> None:
    """A server that writes an answer in pieces, and does not turn Nagle off, waits for the acknowledgement."""

    def plain(sock: socket.socket) -> None:
        sock.sendall(b"+OK\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    secure = tls_echo(server_context(authority.issue_cert("localhost")))
    with Server(secure if tls is Tls.IMPLICIT else plain) as server:
        channel = net.connect(endpoint(server.port, tls))
        receive(channel, 5)
        found = []
        for _ in range(5):  # after some turns the system delays acknowledgements
            channel.send(b"NOOP\r\n")
            found.append(channel._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK))
            receive(channel, 6)
        channel.close()
    assert found == [1] * 5


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.NONE])
def test_megabytes_go_both_ways_without_a_deadlock(authority: trustme.CA, tls: Tls) -> None:
    secure = tls_echo(server_context(authority.issue_cert("localhost")))

    def plain(sock: socket.socket) -> None:
        sock.sendall(b"+OK\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    with Server(secure if tls is Tls.IMPLICIT else plain) as server:
        channel = net.connect(endpoint(server.port, tls))
        receive(channel, 5)
        octets = bytes(range(256)) * (20 * 1024 * 1024 // 256)
        unsent, got, largest = memoryview(octets), bytearray(), 0
        while len(got) < len(octets):
            unsent = unsent[channel.send(unsent) :]
            data = channel.recv()
            if data is None:
                channel.wait(write=bool(unsent), timeout_s=10)
                continue
            largest = max(largest, len(data))
            got += data
        assert got == octets
        assert largest <= net.RECEIVE
        channel.close()


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.NONE])
def test_what_comes_while_too_much_is_held_waits_in_the_network(authority: trustme.CA, tls: Tls) -> None:
    secure = tls_echo(server_context(authority.issue_cert("localhost")))

    def plain(sock: socket.socket) -> None:
        sock.sendall(b"+OK\r\n")
        while data := sock.recv(65536):
            sock.sendall(data)

    is_full = False
    with Server(secure if tls is Tls.IMPLICIT else plain) as server:
        channel = net.connect(endpoint(server.port, tls), is_full=lambda: is_full)
        receive(channel, 5)
        assert channel.fileno() is not None
        is_full = True
        channel.send(b"NOOP\r\n")
        assert channel._poll(select.POLLIN, time.monotonic() + 10)
        assert (channel.recv(), channel.fileno(), channel.has_pending()) == (None, None, False)
        is_full = False
        assert receive(channel, 6) == b"NOOP\r\n"
        is_full = True
        channel.send(b"QUIT\r\n")
        assert receive(channel, 6) == b"QUIT\r\n"  # whoever waits for an answer gets it
        channel.send(b"NOOP\r\n")
        assert channel._poll(select.POLLIN, time.monotonic() + 10)
        assert channel.recv() is None
        channel.close()


@pytest.mark.usefixtures("trusted")
def test_octets_that_tls_holds_back_are_announced(authority: trustme.CA) -> None:
    context = server_context(authority.issue_cert("localhost"))

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            tls.sendall(bytes(net.RECEIVE + 1))
            tls.recv(1)

    with Server(serve) as server:
        channel = net.connect(endpoint(server.port))
        got = 0
        while got <= net.RECEIVE:
            data = channel.recv()
            if data is not None:
                got += len(data)
                continue
            assert not channel.has_pending()
            channel.wait(write=False, timeout_s=10)
        assert got == net.RECEIVE + 1
        channel.close()


@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.NONE])
@pytest.mark.usefixtures("trusted")
def test_the_end_of_the_stream_is_an_error_after_the_last_octet(authority: trustme.CA, tls: Tls) -> None:
    context = server_context(authority.issue_cert("localhost"))

    def serve(sock: socket.socket) -> None:
        if tls is Tls.NONE:
            sock.sendall(b"+OK\r\n")
            return
        with context.wrap_socket(sock, server_side=True) as secure:
            secure.sendall(b"+OK\r\n")

    with Server(serve) as server:
        channel = net.connect(endpoint(server.port, tls))
        assert receive(channel, 5) == b"+OK\r\n"
        with pytest.raises(StoreError) as caught:
            receive(channel, 1)
        assert (caught.value.cause, caught.value.retry) == (Cause.UNREACHABLE, Retry.NOW)
        channel.close()


def test_waiting_ends_in_time() -> None:
    with Server(swallow) as server:
        channel = net.connect(endpoint(server.port, Tls.NONE))
        assert channel.recv() is None
        with pytest.raises(StoreError, match="did not answer"):
            channel.wait(write=False, timeout_s=0.05)
        channel.wait(write=True, timeout_s=5)
        channel.close()


def test_a_closed_channel_says_so_and_closes_again() -> None:
    with Server(swallow) as server:
        channel = net.connect(endpoint(server.port, Tls.NONE))
        channel.close()
        channel.close()
        assert channel.fileno() is None
        calls: list[Callable[[], object]] = [
            channel.recv,
            lambda: channel.send(b"x"),
            lambda: channel.wait(write=True, timeout_s=1),
            channel.start_tls,
        ]
        for call in calls:
            with pytest.raises(StoreError):
                call()


# --- reaching -------------------------------------------------------------------------------


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port of 127.0.0.1 where nobody listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


def test_a_refused_connection_is_a_plain_sentence(closed_port: int) -> None:
    with pytest.raises(StoreError) as caught:
        net.connect(endpoint(closed_port, host="127.0.0.1"))
    assert str(caught.value) == f"127.0.0.1:{closed_port} refuses connections"
    assert (caught.value.cause, caught.value.retry) == (Cause.UNREACHABLE, Retry.NOW)


def test_every_address_of_a_host_is_tried(closed_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(lambda sock: sock.sendall(b"+OK\r\n")) as server:
        addresses = [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in (closed_port, server.port)
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: addresses)
        channel = net.connect(endpoint(server.port, Tls.NONE))
        assert receive(channel, 5) == b"+OK\r\n"
        channel.close()


def test_a_name_that_is_not_known_is_a_plain_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def unknown(host: object, *_: object, **__: object) -> None:
        asked.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(StoreError) as caught:
        net.connect(endpoint(995, host="b\u00fccher.example."))
    assert "was not found" in str(caught.value)
    assert (caught.value.cause, caught.value.retry) == (Cause.UNREACHABLE, Retry.LATER)
    assert asked == ["xn--bcher-kva.example"]


def test_this_machine_is_known_by_name_and_by_address() -> None:
    assert all(map(net.is_loopback, ("localhost", "LOCALHOST", "127.0.0.1", "127.8.9.1", "::1")))
    assert not any(map(net.is_loopback, ("localhost.example.org", "192.0.2.1", "2001:db8::1", "")))


# --- SASL -----------------------------------------------------------------------------------


def test_sasl_plain_is_the_message_of_the_rfc() -> None:
    assert net.sasl_plain("tim", Secret("tanstaaftanstaaf")) == b"\0tim\0tanstaaftanstaaf"
    assert net.sasl_plain("kurt", Secret("xipj3plmq\u00fc")) == b"\0kurt\0xipj3plmq\xc3\xbc"


@pytest.mark.parametrize(("user", "password"), [("a\0b", "c"), ("a", "b\0c")])
def test_sasl_plain_takes_no_nul_and_does_not_repeat_it(user: str, password: str) -> None:
    with pytest.raises(StoreError) as caught:
        net.sasl_plain(user, Secret(password))
    assert caught.value.cause is Cause.LOGIN
    assert "b" not in str(caught.value).split()
