"""What a mail server of the tests is, whoever plays it: ports, one password, a certificate, and its truth."""

from __future__ import annotations

import ssl
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

import trustme

from .raw import RawImap, RawPop3, Refused, Stored

PROTOCOLS = ("pop3", "pop3s", "imap", "imaps")


class MailServer:
    """POP3 and IMAP on 127.0.0.1, each with and without implicit TLS; any user, one password."""

    host = "localhost"  # the certificate names localhost and 127.0.0.1
    name: str  # for people
    version: str
    directory: Path
    password: str
    _ports: dict[str, int]

    # --- where ------------------------------------------------------------------------------

    @property
    def pop3_port(self) -> int:
        return self._ports["pop3"]

    @property
    def pop3s_port(self) -> int:
        return self._ports["pop3s"]

    @property
    def imap_port(self) -> int:
        return self._ports["imap"]

    @property
    def imaps_port(self) -> int:
        return self._ports["imaps"]

    # --- certificate ------------------------------------------------------------------------

    @property
    def ca_file(self) -> Path:
        """The authority to trust: SSL_CERT_FILE of a client."""
        return self.directory / "ca.pem"

    def make_certificate(self) -> None:
        authority = trustme.CA()
        leaf = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(self.ca_file)
        for index, pem in enumerate(leaf.cert_chain_pems):
            pem.write_to_path(self.directory / "cert.pem", append=index > 0)
        key = self.directory / "key.pem"
        key.touch(mode=0o600)
        leaf.private_key_pem.write_to_path(key)

    def server_context(self) -> ssl.SSLContext:
        """The server's side of TLS, for a relay or a fake that stands before it."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.directory / "cert.pem", self.directory / "key.pem")
        return context

    # --- mail in ----------------------------------------------------------------------------

    def deliver(
        self, user: str, octets: bytes, mailbox: str = "INBOX", *, flags: str = "", when: datetime | None = None
    ) -> None:
        """Puts one message into a mailbox; INBOX is what POP3 serves, in the order of delivery."""
        self.deliver_many(user, (octets,), mailbox, flags=flags, when=when)

    def deliver_many(
        self,
        user: str,
        messages: Iterable[bytes],
        mailbox: str = "INBOX",
        *,
        flags: str = "",
        when: datetime | None = None,
    ) -> None:
        raise NotImplementedError

    # --- its truth --------------------------------------------------------------------------

    def served(self, octets: bytes) -> bytes:
        """What its POP3 serves of delivered octets."""
        raise NotImplementedError

    def kept(self, octets: bytes) -> bytes:
        """What its IMAP holds of appended octets."""
        raise NotImplementedError

    def commands(self, user: str) -> bytes:
        """Every octet that this user's clients sent after login."""
        raise NotImplementedError

    def pop3(self, user: str) -> RawPop3:
        return RawPop3("127.0.0.1", self.pop3_port, user, self.password)

    def imap(self, user: str) -> RawImap:
        return RawImap("127.0.0.1", self.imap_port, user, self.password)

    def served_pop3(self, user: str) -> list[tuple[bytes, bytes]]:
        """(uidl, octets) of every message that POP3 serves, in order."""
        with self.pop3(user) as pop3:
            return [(uidl, pop3.retrieve(number)) for number, uidl in enumerate(pop3.uidls(), start=1)]

    def stored(self, user: str, mailbox: str = "INBOX") -> list[Stored]:
        """Every message of an IMAP mailbox by UID; none when it does not exist."""
        with self.imap(user) as imap:
            try:
                return imap.stored(mailbox)
            except Refused:
                return []

    def mailboxes(self, user: str) -> list[str]:
        with self.imap(user) as imap:
            return imap.mailboxes()

    def capabilities(self, user: str = "nobody") -> set[str]:
        """What IMAP offers after login."""
        with self.imap(user) as imap:
            return imap.capabilities()
