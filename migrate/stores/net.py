"""TCP, TLS, SASL octets: the one place where a socket or an SSLContext is made.

Certificates are verified against the system's store, or SSL_CERT_FILE and
SSL_CERT_DIR where they are set, and against the host name that was configured
and no other. A pin replaces that check for exactly one certificate; nothing
else relaxes it.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import os
import select
import socket
import ssl
import time
from collections.abc import Callable
from typing import Any

import truststore

from ..errors import Cause, Retry, StoreError
from ..model import Endpoint, Protocol, Secret, Tls, display

RECEIVE = 256 * 1024
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)  # Linux alone has it
_RECORD = 16 * 1024  # a TLS record's plain octets (RFC 8446 §5.1): what one write to OpenSSL is given

# OpenSSL's X509_V_ERR_* in words; any other one comes in OpenSSL's own.
_REASONS = {
    9: "it is not valid yet",
    10: "it has expired",
    18: "it is self-signed",
    19: "its issuer is not known to this machine",
    20: "its issuer is not known to this machine",
    21: "its issuer is not known to this machine",
    62: "it belongs to another host",
    64: "it belongs to another address",
}


def sasl_plain(user: str, secret: Secret) -> bytes:
    """The message of SASL PLAIN (RFC 4616 §2), not yet base64. StoreError for a NUL inside."""
    parts = [part.encode("utf-8", "surrogatepass") for part in (user, secret.reveal())]
    if any(b"\0" in part for part in parts):
        raise StoreError(
            "the user name or the password holds a NUL, which no server takes",
            cause=Cause.LOGIN,
            retry=Retry.NEVER,
        )
    return b"\0" + b"\0".join(parts)


def silent(endpoint: Endpoint, timeout_s: float) -> StoreError:
    """The error for a server that took the connection and never greeted. Not tried again in this run: it takes long."""
    hint = "The server may be overloaded, or host and port are those of another service."
    if endpoint.tls is not Tls.IMPLICIT:
        hint += f" If the port expects TLS from the first octet, write {endpoint.protocol.value}s://."
    return StoreError(f"{_place(endpoint)} said nothing for {timeout_s:.0f} s", retry=Retry.LATER, hint=hint)


def connect(
    endpoint: Endpoint, *, timeout_s: float = 30, allow_clear: bool = False, is_full: Callable[[], bool] | None = None
) -> TcpChannel:
    """An open channel to the endpoint, already in TLS where the endpoint says so from the first octet.

    All addresses of the host are tried in turn. ``allow_clear`` admits an
    endpoint without TLS on another machine; nothing else does. ``is_full``: while it says so, what the
    server sends waits in the network. StoreError.
    """
    deadline = time.monotonic() + timeout_s
    addresses = _resolve(endpoint)
    if endpoint.tls is Tls.NONE and not allow_clear:
        _refuse_clear(endpoint, addresses)
    channel = TcpChannel(endpoint, _open_socket(endpoint, addresses, deadline), timeout_s, is_full)
    if endpoint.tls is Tls.IMPLICIT:
        channel.begin_tls(deadline)
    return channel


def is_loopback(host: str) -> bool:
    """Whether the name or address means this machine whatever a name server says (RFC 6761 §6.3)."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _refuse_clear(endpoint: Endpoint, addresses: list[Any]) -> None:
    if not is_loopback(endpoint.host) or not all(is_loopback(address[4][0]) for address in addresses):
        raise StoreError(
            f"{_place(endpoint)} would get password and mail in clear text",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint=f"Write {endpoint.protocol.value}s:// instead; clear text is for servers on this machine only. "
            "If this server knows no TLS and you accept that, add --send-password-in-clear.",
        )


def _place(endpoint: Endpoint) -> str:
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return display(f"{host}:{endpoint.port}")


def _ascii_host(host: str) -> str:
    """The host as name servers and certificates write it (IDNA), without a final dot."""
    if not host.isascii():
        host = host.encode("idna").decode("ascii")
    return host.removesuffix(".")


def _resolve(endpoint: Endpoint) -> list[Any]:
    try:
        host = _ascii_host(endpoint.host)
        return socket.getaddrinfo(host, endpoint.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        for_now = isinstance(error, socket.gaierror) and error.errno == socket.EAI_AGAIN
        raise StoreError(
            f"the host name {display(endpoint.host)} was not found",
            retry=Retry.NOW if for_now else Retry.LATER,
            hint="Check the spelling of the host and the network of this machine.",
        ) from error


def _open_socket(endpoint: Endpoint, addresses: list[Any], deadline: float) -> socket.socket:
    """A connected socket to the first address that answers; each has its share of the time."""
    problem: OSError = TimeoutError("no time left")
    for tried, (family, kind, protocol, _, address) in enumerate(addresses):
        share_s = (deadline - time.monotonic()) / (len(addresses) - tried)
        if share_s <= 0:
            break
        try:
            sock = socket.socket(family, kind, protocol)
        except OSError as error:  # no IPv6 here
            problem = error
            continue
        try:
            sock.settimeout(share_s)
            sock.connect(address)
            _tune(sock)
        except OSError as error:
            sock.close()
            problem = error
            continue
        return sock
    place = _place(endpoint)
    if isinstance(problem, ConnectionRefusedError):
        what, hint = f"{place} refuses connections", "Check host and port; or the server is down for now."
    elif isinstance(problem, TimeoutError):
        what, hint = f"{place} did not answer", "Check host, port and firewall; or the server is down for now."
    else:
        what, hint = f"{place} cannot be reached: {problem.strerror or problem}", "Check the network of this machine."
    raise StoreError(what, hint=hint) from problem


def _tune(sock: socket.socket) -> None:
    sock.setblocking(False)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    # The default of two hours outlasts every NAT on the way.
    if hasattr(socket, "TCP_KEEPIDLE"):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 20)


# --- TLS ------------------------------------------------------------------------------------


def _verifying_context() -> ssl.SSLContext:
    """A context that takes only a certificate whose chain and host name are right."""
    context: ssl.SSLContext
    if os.environ.get("SSL_CERT_FILE") or os.environ.get("SSL_CERT_DIR"):
        # truststore heeds them on some systems only.
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_default_verify_paths()
    else:
        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = True
    context.verify_mode = ssl.CERT_REQUIRED
    # RFC 9525 §2: a common name is no host name; OpenSSL would take it where there is no alternative name.
    context.hostname_checks_common_name = False
    # Set here so that every Python gives the same verdict (3.13 adds flags of its own in its helper).
    context.verify_flags = ssl.VerifyFlags.VERIFY_X509_TRUSTED_FIRST
    return _hardened(context)


def _pinned_context() -> ssl.SSLContext:
    """A context for ``TcpChannel.begin_tls`` alone, which compares the certificate with the pin."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return _hardened(context)


def _hardened(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    return context


def _shown_certificate(sock: ssl.SSLSocket) -> bytes | None:
    """The DER octets of the certificate of a handshake that failed, None where Python does not tell."""
    holder: Any = sock if hasattr(sock, "get_unverified_chain") else getattr(sock, "_sslobj", None)
    try:
        first: Any = holder.get_unverified_chain()[0]
        return first if isinstance(first, bytes) else ssl.PEM_cert_to_DER_cert(first.public_bytes())
    except (AttributeError, LookupError, TypeError, ValueError, OSError):
        return None


def _fingerprint(certificate: bytes | None) -> str:
    return "" if certificate is None else "sha256:" + hashlib.sha256(certificate).hexdigest()


class TcpChannel:
    """A ``base.Channel`` over TCP."""

    def __init__(
        self, endpoint: Endpoint, sock: socket.socket, timeout_s: float, is_full: Callable[[], bool] | None
    ) -> None:
        self._endpoint = endpoint
        self._place = _place(endpoint)
        self._timeout_s = timeout_s
        self._sock = sock
        self._tls: ssl.SSLSocket | None = None
        self._buffer = memoryview(bytearray(RECEIVE))
        self._is_full = is_full
        self._is_awaited = False  # somebody waits for octets, and gets them however much is held

    @property
    def is_secure(self) -> bool:
        """Whether TLS protects the stream."""
        return self._tls is not None

    @property
    def about(self) -> str:
        """Host, port and TLS version, for people."""
        version = self._tls.version() if self._tls is not None else None
        return f"{self._place}, {(version or 'no TLS').replace('TLSv', 'TLS ')}"

    @property
    def is_held(self) -> bool:
        return self._is_full is not None and self._is_full() and not self._is_awaited

    # Octets --------------------------------------------------------------------------------
    def send(self, data: bytes | memoryview) -> int:
        """How many octets were taken now; 0 when none can be. What was not taken must be given again."""
        if self._tls is None:
            try:
                taken = self._sock.send(data)
            except BlockingIOError:
                return 0
            except OSError as error:
                raise self._cut(error) from error
        else:
            taken = self._send_records(memoryview(data))
        self._acknowledge_at_once()
        return taken

    def _acknowledge_at_once(self) -> None:
        """For the answer to what was sent. The system forgets it again and again, so it is said each time."""
        # Seen: popa3d, solid-pop3d write an answer in pieces, and waited 40 ms for each message to be acknowledged.
        if _QUICK_ACK is not None:
            with contextlib.suppress(OSError):  # a connection that broke is found by the next recv
                self._sock.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)

    def _send_records(self, data: memoryview) -> int:
        # A write that OpenSSL refused for now is given again with the same octets: one record each time.
        assert self._tls is not None
        taken = 0
        try:
            while taken < len(data):
                taken += self._tls.send(data[taken : taken + _RECORD])
        except (ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return taken
        except OSError as error:
            raise self._cut(error) from error
        return taken

    def recv(self) -> bytes | None:
        """What has arrived, at most RECEIVE octets, or None when nothing has. The end is a StoreError."""
        if self.is_held:
            return None
        filled = 0
        try:
            while filled < RECEIVE:
                count = self._sock.recv_into(self._buffer[filled:])
                filled += count
                if count == 0 or self._tls is None:
                    break
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not filled:
                return None
        except OSError as error:
            if not filled:
                raise self._cut(error) from error
        if not filled:
            raise StoreError(f"{self._place} ended the connection", hint="It may be busy; run the same command again.")
        self._is_awaited = False
        return bytes(self._buffer[:filled])

    def has_pending(self) -> bool:
        """Whether ``recv`` would give something although the descriptor is not readable."""
        return self._tls is not None and not self.is_held and self._tls.pending() > 0

    def wait(self, *, write: bool, timeout_s: float) -> None:
        """Blocks until octets can be received (or sent, if ``write``). StoreError after ``timeout_s``."""
        self._is_awaited = True
        if self.has_pending():
            return
        deadline = time.monotonic() + timeout_s
        if not self._poll(select.POLLIN | (select.POLLOUT if write else 0), deadline):
            raise StoreError(f"{self._place} did not answer for {timeout_s:.0f} s")

    def _poll(self, events: int, deadline: float) -> bool:
        if self._sock.fileno() < 0:
            raise StoreError(f"the connection to {self._place} is closed")
        poll = select.poll()
        poll.register(self._sock, events)
        return bool(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))

    def fileno(self) -> int | None:
        descriptor = self._sock.fileno()
        return descriptor if descriptor >= 0 and not self.is_held else None

    def close(self) -> None:
        """Closes the connection without a word. Never raises. A thread that waits for the server has its end."""
        with contextlib.suppress(OSError):  # it is gone, which is what was asked for
            # Not SSLSocket's own: after that, another thread would read TLS records as if they were plain.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._sock.close()

    def _cut(self, error: OSError) -> StoreError:
        reason = getattr(error, "reason", None) or error.strerror or type(error).__name__
        return StoreError(f"the connection to {self._place} was cut: {reason}")

    # TLS -----------------------------------------------------------------------------------
    def start_tls(self) -> None:
        """Begins TLS on the stream after STLS or STARTTLS was granted.

        StoreError (UNUSABLE) when it fails or when octets arrived that nobody
        but an attacker sends before the handshake (CVE-2011-0411 and its kin).
        """
        if self._tls is not None:
            raise StoreError(f"{self._place} uses TLS already", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        try:
            injected = self._sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            self.begin_tls(time.monotonic() + self._timeout_s)
            return
        except OSError as error:
            raise self._cut(error) from error
        if not injected:
            raise StoreError(f"{self._place} ended the connection when TLS was to begin")
        raise StoreError(
            f"{self._place} sent octets before TLS began; somebody may be tampering with the connection",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint=f"Use TLS from the start: {self._endpoint.protocol.value}s://.",
        )

    def begin_tls(self, deadline: float) -> None:
        """Does the handshake; on any failure the connection is closed. StoreError."""
        try:
            self._handshake(deadline)
        except BaseException:
            self.close()
            raise

    def _handshake(self, deadline: float) -> None:
        pin = self._endpoint.pin
        context = _verifying_context() if pin is None else _pinned_context()
        host = _ascii_host(self._endpoint.host.partition("%")[0])
        try:
            tls = context.wrap_socket(self._sock, server_hostname=host, do_handshake_on_connect=False)
        except (OSError, ValueError) as error:
            raise self._cut(OSError(str(error))) from error
        self._sock = tls
        while True:
            try:
                tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                events = select.POLLIN
            except ssl.SSLWantWriteError:
                events = select.POLLOUT
            except (OSError, ValueError) as error:
                raise self._refused(tls, error) from error
            if not self._poll(events, deadline):
                raise StoreError(f"{self._place} did not finish the TLS handshake in time")
        if pin is not None:
            self._compare(tls, pin)
        self._tls = tls

    def _compare(self, tls: ssl.SSLSocket, pin: bytes) -> None:
        shown = tls.getpeercert(binary_form=True)
        if shown is not None and hmac.compare_digest(hashlib.sha256(shown).digest(), pin):
            return
        raise StoreError(
            f"the certificate of {self._place} is not the pinned one",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint=f"The server shows {_fingerprint(shown)}. Ask its owner whether it was renewed before you change "
            "--source-pin or --dest-pin.",
        )

    def _refused(self, tls: ssl.SSLSocket, error: OSError | ValueError) -> StoreError:
        if isinstance(error, ssl.SSLCertVerificationError):
            return self._unverified(tls, error)
        name = str(getattr(error, "reason", None) or "")
        if not isinstance(error, ssl.SSLError) or isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError):
            return StoreError(f"{self._place} hung up during the TLS handshake", hint="Check the port and try again.")
        if "WRONG_VERSION_NUMBER" in name or "HTTP_REQUEST" in name or "UNKNOWN_PROTOCOL" in name:
            what = f"{self._place} does not speak TLS from the first octet"
            hint = f"Write {self._endpoint.protocol.value}:// for {_starttls_name(self._endpoint)}, or check the port."
        elif "PROTOCOL" in name or "VERSION" in name:
            what = f"{self._place} offers no TLS version from 1.2 on"
            hint = "Versions before 1.2 can be broken and are not used; ask the provider for a newer server."
        else:
            what = f"the TLS handshake with {self._place} failed: {name.lower().replace('_', ' ') or 'no reason given'}"
            hint = "Check host and port."
        return StoreError(what, cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=hint)

    def _unverified(self, tls: ssl.SSLSocket, error: ssl.SSLCertVerificationError) -> StoreError:
        # On some systems the text is all there is.
        text = getattr(error, "verify_message", "") or str(error)
        reason = _REASONS.get(getattr(error, "verify_code", 0), display(text))
        shown = _fingerprint(_shown_certificate(tls))
        if shown:
            hint = f"If you know this server: --source-pin {shown} (or --dest-pin) takes this certificate and no other."
        else:
            hint = "If you know this server: --source-pin or --dest-pin, with sha256: and its fingerprint, takes it."
        return StoreError(
            f"the certificate of {self._place} is not accepted: {reason}",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint=hint,
        )


def _starttls_name(endpoint: Endpoint) -> str:
    return "STLS" if endpoint.protocol is Protocol.POP3 else "STARTTLS"
