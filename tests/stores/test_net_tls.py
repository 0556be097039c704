"""TLS: who is believed, and what is refused before an octet of ours is sent."""

from __future__ import annotations

import datetime
import hashlib
import socket
import ssl
from pathlib import Path

import pytest
import trustme

from migrate.errors import Cause, Retry, StoreError
from migrate.model import Tls
from migrate.stores import net

from .net_rig import (
    Serve,
    Server,
    authority,
    endpoint,
    pin_of,
    receive,
    refusal,
    server_context,
    swallow,
    tls_echo,
    trusted,
)

__all__ = ["authority", "trusted"]  # fixtures


# --- whom we believe ------------------------------------------------------------------------


@pytest.mark.usefixtures("trusted")
def test_a_certificate_of_a_known_issuer_for_this_host_is_accepted(authority: trustme.CA) -> None:
    with Server(tls_echo(server_context(authority.issue_cert("localhost")))) as server:
        channel = net.connect(endpoint(server.port))
        assert channel.is_secure
        assert receive(channel, 5) == b"+OK\r\n"
        assert channel.about == f"localhost:{server.port}, TLS 1.3"
        channel.close()


def test_a_directory_of_certificates_named_by_the_environment_is_believed_too(
    authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "none.pem"))
    with Server(tls_echo(server_context(authority.issue_cert("localhost")))) as server:
        monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
        with pytest.raises(StoreError):
            net.connect(endpoint(server.port))
        authority.cert_pem.write_to_path(tmp_path / f"{subject_hash(authority)}.0")
        net.connect(endpoint(server.port)).close()


def subject_hash(authority: trustme.CA) -> str:
    """OpenSSL's name for a certificate in a directory: four octets of SHA-1 over the canonical subject."""
    from cryptography import x509

    subject = x509.load_pem_x509_certificate(authority.cert_pem.bytes()).subject
    sets = b""
    for attribute in subject:
        value = " ".join(attribute.value.lower().split()).encode() if isinstance(attribute.value, str) else b""
        oid = _oid(attribute.oid.dotted_string)
        sets += _der(0x31, _der(0x30, oid + _der(0x0C, value)))
    return hashlib.sha1(sets, usedforsecurity=False).digest()[3::-1].hex()


def _der(tag: int, content: bytes) -> bytes:
    assert len(content) < 128
    return bytes([tag, len(content)]) + content


def _oid(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    assert all(part < 128 for part in rest)
    return _der(0x06, bytes([first * 40 + second, *rest]))


@pytest.mark.usefixtures("trusted")
def test_the_certificate_must_name_the_configured_host(authority: trustme.CA) -> None:
    error = refusal(tls_echo(server_context(authority.issue_cert("mail.example.org"))))
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "belongs to another host" in str(error)


@pytest.mark.usefixtures("trusted")
def test_an_address_literal_is_checked_as_an_address(authority: trustme.CA) -> None:
    with Server(tls_echo(server_context(authority.issue_cert("127.0.0.1")))) as server:
        net.connect(endpoint(server.port, host="127.0.0.1")).close()
    error = refusal(tls_echo(server_context(authority.issue_cert("localhost"))), host="127.0.0.1")
    assert "another address" in str(error)


def test_an_unknown_issuer_is_refused_with_the_fingerprint_that_would_pin_it(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost")
    error = refusal(tls_echo(server_context(leaf)))
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "issuer is not known" in str(error)
    assert f"--source-pin sha256:{pin_of(leaf).hex()} (or --dest-pin)" in error.hint


@pytest.mark.usefixtures("trusted")
def test_an_expired_certificate_is_refused(authority: trustme.CA) -> None:
    past = datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)
    leaf = authority.issue_cert("localhost", not_before=past, not_after=past + datetime.timedelta(days=1))
    assert "it has expired" in str(refusal(tls_echo(server_context(leaf))))


def test_a_pin_accepts_exactly_its_certificate_whatever_its_name_or_issuer(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("elsewhere.example.org")
    with Server(tls_echo(server_context(leaf))) as server:
        channel = net.connect(endpoint(server.port, pin=pin_of(leaf)))
        assert receive(channel, 5) == b"+OK\r\n"
        channel.close()


@pytest.mark.usefixtures("trusted")
def test_another_certificate_than_the_pinned_one_is_refused_even_when_valid(authority: trustme.CA) -> None:
    heard: list[bytes] = []
    leaf = authority.issue_cert("localhost")
    context = server_context(leaf)

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as tls:
            heard.append(tls.recv(100))

    error = refusal(serve, pin=pin_of(authority.issue_cert("localhost")))
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "not the pinned one" in str(error)
    assert pin_of(leaf).hex() in error.hint
    assert heard == [b""], "not an octet was sent"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.usefixtures("trusted")
def test_a_server_without_tls_1_2_is_refused(authority: trustme.CA) -> None:
    context = server_context(authority.issue_cert("localhost"))
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.options &= ~(ssl.OP_NO_TLSv1 | ssl.OP_NO_TLSv1_1)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    error = refusal(tls_echo(context))
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "no TLS version from 1.2 on" in str(error)


@pytest.mark.usefixtures("trusted")
def test_tls_1_2_is_enough(authority: trustme.CA) -> None:
    context = server_context(authority.issue_cert("localhost"))
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(tls_echo(context)) as server:
        channel = net.connect(endpoint(server.port))
        assert channel.about.endswith("TLS 1.2")
        channel.close()


def test_a_server_that_speaks_clear_text_where_tls_is_due_is_named() -> None:
    error = refusal(lambda sock: sock.sendall(b"+OK ready\r\n" * 10))
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "does not speak TLS from the first octet" in str(error)
    assert "pop3://" in error.hint


def test_a_server_that_hangs_up_in_the_handshake_may_be_tried_again() -> None:
    error = refusal(lambda sock: None)
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)


def test_a_handshake_without_answer_ends_in_time() -> None:
    with Server(swallow) as server, pytest.raises(StoreError) as caught:
        net.connect(endpoint(server.port), timeout_s=0.2)
    assert caught.value.cause is Cause.UNREACHABLE


# --- STARTTLS -------------------------------------------------------------------------------


def stls(context: ssl.SSLContext, answer: bytes = b"+OK\r\n") -> Serve:
    def serve(sock: socket.socket) -> None:
        assert sock.recv(100) == b"STLS\r\n"
        sock.sendall(answer)
        tls_echo(context)(sock)

    return serve


@pytest.mark.usefixtures("trusted")
def test_tls_begins_on_an_open_connection(authority: trustme.CA) -> None:
    with Server(stls(server_context(authority.issue_cert("localhost")))) as server:
        channel = net.connect(endpoint(server.port, Tls.STARTTLS))
        assert not channel.is_secure
        channel.send(b"STLS\r\n")
        assert receive(channel, 5) == b"+OK\r\n"
        channel.start_tls()
        assert channel.is_secure
        assert receive(channel, 5) == b"+OK\r\n"
        channel.close()


@pytest.mark.usefixtures("trusted")
def test_octets_slipped_in_before_the_handshake_end_the_connection(authority: trustme.CA) -> None:
    with Server(stls(server_context(authority.issue_cert("localhost")))) as server:
        channel = net.connect(endpoint(server.port, Tls.STARTTLS))
        channel.send(b"STLS\r\n")
        channel.wait(write=False, timeout_s=10)
        with pytest.raises(StoreError) as caught:
            channel.start_tls()
        assert (caught.value.cause, caught.value.retry) == (Cause.UNUSABLE, Retry.NEVER)
        assert not channel.is_secure
        channel.close()


def test_a_bad_certificate_after_starttls_closes_the_connection(authority: trustme.CA) -> None:
    leaf = authority.issue_cert("localhost")
    with Server(stls(server_context(leaf))) as server:
        channel = net.connect(endpoint(server.port, Tls.STARTTLS))
        channel.send(b"STLS\r\n")
        receive(channel, 5)
        with pytest.raises(StoreError) as caught:
            channel.start_tls()
        assert pin_of(leaf).hex() in caught.value.hint
        assert channel.fileno() is None
        with pytest.raises(StoreError):
            channel.send(b"USER alice\r\n")
