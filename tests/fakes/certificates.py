"""Certificates of every kind, good and bad, made on the spot."""

from __future__ import annotations

import ipaddress
import ssl
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

Key = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
DAY = timedelta(days=1)


@dataclass(frozen=True)
class Issued:
    """A certificate, its key, and those above it that a server shows with it."""

    certificate: x509.Certificate
    key: Key
    chain: tuple[x509.Certificate, ...] = ()

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def pin(self) -> bytes:
        return sha256(self.certificate.public_bytes(serialization.Encoding.DER)).digest()

    def context(self) -> ssl.SSLContext:
        """The server's side of TLS with this certificate."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")  # the server shows what it has, weak or not
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:
            plain = serialization.NoEncryption()
            file.write(
                self.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain) + self.pem
            )
            file.write(b"".join(one.public_bytes(serialization.Encoding.PEM) for one in self.chain))
            file.flush()
            context.load_cert_chain(file.name)
        return context


@dataclass(frozen=True)
class Wish:
    """What a certificate shall say. ``days``: its validity, from and to, counted from today."""

    names: Sequence[str] = ()
    addresses: Sequence[str] = ()
    common_name: str = "server"
    days: tuple[float, float] = (-1, 30)
    is_authority: bool = False
    path_length: int | None = None
    permitted: str = ""  # name constraint of an authority
    purpose: ObjectIdentifier | None = ExtendedKeyUsageOID.SERVER_AUTH
    has_unknown_critical: bool = False
    key: Key | None = field(default=None, compare=False)


def make(wish: Wish, issuer: Issued | None = None, *, is_chained: bool = False) -> Issued:
    """The certificate, signed by the issuer or by itself. ``is_chained``: the server shows the issuer too."""
    key = wish.key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, wish.common_name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + wish.days[0] * DAY)
        .not_valid_after(now + wish.days[1] * DAY)
        .add_extension(x509.BasicConstraints(wish.is_authority, wish.path_length), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    for extension, is_critical in _extensions(wish):
        builder = builder.add_extension(extension, critical=is_critical)
    certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
    chain = (issuer.certificate, *issuer.chain) if issuer and is_chained else ()
    return Issued(certificate, key, chain)


def _extensions(wish: Wish) -> list[tuple[x509.ExtensionType, bool]]:
    found: list[tuple[x509.ExtensionType, bool]] = []
    alternatives: list[x509.GeneralName] = [x509.DNSName(name) for name in wish.names]
    alternatives += [x509.IPAddress(ipaddress.ip_address(address)) for address in wish.addresses]
    if alternatives:
        found.append((x509.SubjectAlternativeName(alternatives), False))
    if wish.purpose is not None and not wish.is_authority:
        found.append((x509.ExtendedKeyUsage([wish.purpose]), False))
    if wish.permitted:
        found.append((x509.NameConstraints([x509.DNSName(wish.permitted)], None), True))
    if wish.has_unknown_critical:
        found.append((x509.UnrecognizedExtension(ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00"), True))
    return found


def authority(name: str, issuer: Issued | None = None, **wishes: object) -> Issued:
    """A certificate that may sign others."""
    wish = Wish(common_name=name, is_authority=True, days=(-2, 60), **wishes)  # type: ignore[arg-type]
    return make(wish, issuer, is_chained=issuer is not None and issuer.certificate.issuer != issuer.certificate.subject)


def trust_file(place: Path, *trusted: Issued) -> Path:
    """A file for SSL_CERT_FILE."""
    path = place / "trusted.pem"
    path.write_bytes(b"".join(one.pem for one in trusted))
    return path
