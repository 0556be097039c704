"""The test's own servers and readers tell the truth."""

from __future__ import annotations

import socket
import ssl

import pytest

from .support.dovecot import Dovecot
from .support.raw import Refused
from .support.relay import Relay

pytestmark = pytest.mark.dovecot


def test_pop3_serves_exactly_the_octets_delivered(dovecot: Dovecot, user: str) -> None:
    loaded = [
        b"Subject: plain\r\n\r\none\r\n",
        b"Subject: dots\r\n\r\n.\r\n..two\r\n.",
        b"Subject: nul\x00\r\n\r\n\x00\r\n",
        b"Subject: cr\r\n\r\na\rb\r\r\nc\r\n",
        b"X: 1\r\n\r\n" + b"y" * 300_000 + b"\r\n",
    ]
    dovecot.deliver_many(user, loaded)
    served = [octets for _, octets in dovecot.served_pop3(user)]
    # A message without a final line end gets one on the wire (RFC 1939 §3 knows only whole lines).
    assert served == [octets if octets.endswith(b"\r\n") else octets + b"\r\n" for octets in loaded]


def test_ten_hundred_messages_are_served_in_the_order_of_delivery(dovecot: Dovecot, user: str) -> None:
    loaded = [b"N: %d\r\n\r\n" % number for number in range(1000)]
    dovecot.deliver_many(user, loaded)
    assert [octets for _, octets in dovecot.served_pop3(user)] == loaded
    assert [message.octets for message in dovecot.stored(user)] == loaded


def test_the_raw_log_shows_what_a_client_sent_after_login(dovecot: Dovecot, user: str) -> None:
    dovecot.deliver(user, b"A: b\r\n\r\n")
    with dovecot.pop3(user) as pop3:
        pop3.command("DELE 1")
        pop3.command("QUIT")
    assert b"DELE 1\r\nQUIT\r\n" in dovecot.commands(user)
    assert dovecot.served_pop3(user) == []


def test_a_hidden_capability_is_not_offered() -> None:
    with Dovecot(capability="IMAP4rev1 UIDPLUS") as server:
        assert server.capabilities() == {"IMAP4rev1", "UIDPLUS"}


def test_a_wrong_password_is_refused(dovecot: Dovecot, user: str) -> None:
    with pytest.raises(Refused):
        dovecot.__class__.imap(_wrong_password(dovecot), user)


def _wrong_password(server: Dovecot) -> Dovecot:
    other = object.__new__(Dovecot)
    other.__dict__.update(server.__dict__, password="wrong")
    return other


def test_mail_outlives_a_restart_on_the_same_ports() -> None:
    with Dovecot() as server:
        server.deliver("me", b"A: b\r\n\r\n")
        ports = (server.pop3_port, server.imaps_port)
        server.stop()
        server.start()
        assert ports == (server.pop3_port, server.imaps_port)
        assert [octets for _, octets in server.served_pop3("me")] == [b"A: b\r\n\r\n"]


def test_a_relay_that_ends_tls_shows_what_was_sent_under_it(dovecot: Dovecot) -> None:
    context = ssl.create_default_context(cafile=str(dovecot.ca_file))
    with (
        Relay(dovecot.pop3_port, server_context=dovecot.server_context()) as relay,
        socket.create_connection((relay.host, relay.port)) as clear,
        context.wrap_socket(clear, server_hostname="localhost") as client,
        client.makefile("rb") as stream,
    ):
        assert stream.readline().startswith(b"+OK")
        client.sendall(b"CAPA\r\n")
        assert stream.readline().startswith(b"+OK")
        assert relay.sent == b"CAPA\r\n"


def test_a_relay_cuts_after_so_many_octets_once(dovecot: Dovecot) -> None:
    with Relay(dovecot.pop3_port, cut_received=3) as relay:
        with socket.create_connection((relay.host, relay.port)) as client, client.makefile("rb") as stream:
            assert stream.read() == b"+OK"
        with socket.create_connection((relay.host, relay.port)) as client, client.makefile("rb") as stream:
            assert stream.readline().startswith(b"+OK ")
    assert relay.connections == 2


def test_a_relay_holds_a_connection_after_so_many_octets(dovecot: Dovecot) -> None:
    with (
        Relay(dovecot.pop3_port, hold_sent=4) as relay,
        socket.create_connection((relay.host, relay.port)) as client,
        client.makefile("rb") as stream,
    ):
        assert stream.readline().startswith(b"+OK")
        client.sendall(b"CAPA\r\n")
        assert relay.is_holding.wait(10)
        assert relay.sent == b"CAPA"
        relay.cut()
        assert stream.read() == b""
