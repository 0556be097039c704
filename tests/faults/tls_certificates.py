"""Certificates and TLS versions: only a valid one, for the configured host, or the pinned one gets the password.

Each case is played over POP3 and IMAP, with TLS from the first octet and after STLS or STARTTLS.
"""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from migrate.commands import CloseDest, CloseSource, Command, OpenDest, OpenSource
from migrate.errors import Cause, StoreError
from migrate.model import Endpoint, Protocol, Secret, Tls
from migrate.rules.dedupe import Digester
from migrate.stores import net
from migrate.stores.base import Session
from migrate.stores.imap import ImapAppender
from migrate.stores.pop3 import Pop3Reader
from tests.failures.canary import DEST, leaks
from tests.fakes.certificates import Issued, Wish, authority, make, trust_file
from tests.fakes.cutter import RECEIVED, SENT, Cut, Cutter, Kind
from tests.fakes.haste import hurried
from tests.fakes.liar import Stage
from tests.fakes.liar_imap import LyingImap
from tests.fakes.liar_pop3 import LyingPop3

from .report import Report

PASSWORD = DEST
HOST = "mail.example.org"
TIMEOUT_S = 5.0
WAYS = [(protocol, tls) for protocol in Protocol for tls in (Tls.IMPLICIT, Tls.STARTTLS)]


@dataclass(frozen=True)
class Case:
    """What a server shows, and whether it is good enough. ``says``: part of why not."""

    name: str
    context: Callable[[], ssl.SSLContext]
    is_good: bool = False
    says: str = ""
    host: str = HOST
    pin: bytes | None = None


def _limited(issued: Issued, lowest: ssl.TLSVersion, highest: ssl.TLSVersion) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        made = issued.context()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # that is why nobody should take them
            made.minimum_version, made.maximum_version = lowest, highest
        made.set_ciphers("ALL:@SECLEVEL=0")
        return made

    return context


def _ciphers(issued: Issued, names: str) -> Callable[[], ssl.SSLContext]:
    def context() -> ssl.SSLContext:
        made = issued.context()
        made.maximum_version = ssl.TLSVersion.TLSv1_2
        made.set_ciphers(names)
        return made

    return context


def cases(root: Issued) -> list[Case]:
    """The table. ``root`` is what this machine trusts."""
    version = ssl.TLSVersion
    other = authority("other")
    middle = authority("middle", root)
    short = authority("short", root, path_length=0)
    below = authority("below", short)
    fenced = authority("fenced", root, permitted="example.com")
    leaf = make(Wish([HOST]), root)
    alone = make(Wish([HOST]))
    old = make(Wish([HOST], days=(-30, -1)), root)
    elsewhere = make(Wish(["other.example.org"]), root)
    dead = make(Wish(common_name="dead", is_authority=True, days=(-30, -1)), root)
    address = make(Wish(addresses=["127.0.0.1"]), root)
    weak = make(Wish([HOST], key=rsa.generate_private_key(65537, 1024)), root)

    def show(name: str, issued: Issued, *, is_good: bool = False, **more: Any) -> Case:
        return Case(name, issued.context, is_good, **more)

    host, issuer = "belongs to another host", "issuer is not known"
    return [
        show("good", leaf, is_good=True),
        show("good, RSA 2048", make(Wish([HOST], key=rsa.generate_private_key(65537, 2048)), root), is_good=True),
        show("good, of an intermediate that is shown", make(Wish([HOST]), middle, is_chained=True), is_good=True),
        show("good, without a purpose", make(Wish([HOST], purpose=None), root), is_good=True),
        show("good, one of several names", make(Wish(["a.example.org", HOST, "b.example.org"]), root), is_good=True),
        show("good, in capitals", make(Wish([HOST.upper()]), root), is_good=True),
        show("good, host with a final dot", leaf, is_good=True, host=HOST + "."),
        show("of an intermediate that is not shown", make(Wish([HOST]), middle), says=issuer),
        show("of an intermediate that has expired", make(Wish([HOST]), dead, is_chained=True), says="expired"),
        show("of another authority", make(Wish([HOST]), other), says=issuer),
        show("of another authority, which is shown", make(Wish([HOST]), other, is_chained=True), says="not accepted"),
        show("self-signed", alone, says="self-signed"),
        show("expired", old, says="expired"),
        show("not valid yet", make(Wish([HOST], days=(1, 30)), root), says="not valid yet"),
        show("wrong host", elsewhere, says=host),
        show("host as the end of a name", make(Wish(["evil" + HOST]), root), says=host),
        show("host as the beginning of a name", make(Wish([HOST + ".evil.example"]), root), says=host),
        show("wildcard", make(Wish(["*.example.org"]), root), is_good=True),
        show("wildcard for two levels", make(Wish(["*.example.org"]), root), says=host, host="a.b.example.org"),
        show("wildcard for the domain itself", make(Wish(["*.example.org"]), root), says=host, host="example.org"),
        show("wildcard in the middle", make(Wish(["mail.*.org"]), root), says=host),
        show("wildcard of a top level", make(Wish(["*.org"]), root), says=host),
        show("wildcard of everything", make(Wish(["*"]), root), says=host),
        show("address", address, is_good=True, host="127.0.0.1"),
        show("address as a name", make(Wish(["127.0.0.1"]), root), says="another address", host="127.0.0.1"),
        show("another address", make(Wish(addresses=["127.0.0.2"]), root), says="another address", host="127.0.0.1"),
        show("address for a host", address, says=host),
        show("no alternative names, host as common name", make(Wish(common_name=HOST), root), says=host),
        show("another name, host as common name", make(Wish(["other.example.org"], common_name=HOST), root), says=host),
        show(
            "for clients only", make(Wish([HOST], purpose=ExtendedKeyUsageOID.CLIENT_AUTH), root), says="not accepted"
        ),
        show(
            "for e-mail only",
            make(Wish([HOST], purpose=ExtendedKeyUsageOID.EMAIL_PROTECTION), root),
            says="not accepted",
        ),
        show("signed by a server's certificate", make(Wish([HOST]), leaf, is_chained=True), says="not accepted"),
        show("a path too long", make(Wish([HOST]), below, is_chained=True), says="not accepted"),
        show("outside the names of its authority", make(Wish([HOST]), fenced, is_chained=True), says="not accepted"),
        show(
            "a critical extension nobody knows",
            make(Wish([HOST], has_unknown_critical=True), root),
            says="not accepted",
        ),
        show("RSA 1024", weak, says="not accepted"),
        show("pinned, self-signed", alone, is_good=True, pin=alone.pin),
        show("pinned, expired", old, is_good=True, pin=old.pin),
        show("pinned, of another host", elsewhere, is_good=True, pin=elsewhere.pin),
        show("pinned wrongly", leaf, says="not the pinned one", pin=bytes(32)),
        show("pinned, then rotated to a good one", make(Wish([HOST]), root), says="not the pinned one", pin=leaf.pin),
        show("pinned the authority, not the server's", leaf, says="not the pinned one", pin=root.pin),
        Case("TLS 1.0 only", _limited(leaf, version.TLSv1, version.TLSv1), says="no TLS version"),
        Case("TLS 1.1 only", _limited(leaf, version.TLSv1_1, version.TLSv1_1), says="no TLS version"),
        Case("TLS 1.0 and 1.1, pinned", _limited(leaf, version.TLSv1, version.TLSv1_1), says="no TLS", pin=leaf.pin),
        Case("TLS 1.2 only", _limited(leaf, version.TLSv1_2, version.TLSv1_2), is_good=True),
        Case("TLS 1.3 only", _limited(leaf, version.TLSv1_3, version.TLSv1_3), is_good=True),
        Case("ciphers without encryption", _ciphers(leaf, "NULL:@SECLEVEL=0"), says="failed"),
        Case("ciphers without a certificate", _ciphers(leaf, "aNULL:@SECLEVEL=0"), says="failed"),
        Case("ciphers without encryption, pinned", _ciphers(leaf, "NULL:@SECLEVEL=0"), says="failed", pin=leaf.pin),
    ]


# --- playing ----------------------------------------------------------------------------------------


class _Showing(Stage):
    """A stage that shows one certificate and notes what it is asked behind TLS."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self.asked: list[str] = []  # by the connections since it was last replaced
        super().__init__(PASSWORD, self._noting(LyingPop3), self._noting(LyingImap))
        self._context = context

    def _noting(self, kind: type[Any]) -> type[Any]:
        stage = self

        class Noting(kind):  # type: ignore[misc]
            def __init__(self, *given: Any) -> None:
                self._asked = stage.asked  # a LOGOUT that nobody waited for is read when another list is in use
                super().__init__(*given)

            def answer(self, name: str, words: list[Any]) -> None:
                self._asked.append(name)
                super().answer(name, words)

        return Noting

    def make_certificate(self) -> None:
        """It is given one."""

    def server_context(self) -> ssl.SSLContext:
        return self._context


@contextmanager
def trusting(*trusted: Issued) -> Iterator[None]:
    """Within the block this machine trusts these, and every host under example.org is this machine."""
    usual = socket.getaddrinfo

    def resolve(host: str, *more: Any, **others: Any) -> Any:
        return usual("127.0.0.1" if host.endswith("example.org") else host, *more, **others)

    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pf-trust-")))
        path = trust_file(place, *trusted)
        stack.enter_context(patch.dict(os.environ, {"SSL_CERT_FILE": str(path), "SSL_CERT_DIR": str(place)}))
        stack.enter_context(patch.object(socket, "getaddrinfo", resolve))
        yield


def open_session(endpoint: Endpoint) -> StoreError | None:
    """Why a session at this endpoint did not come to stand, None when it did."""
    session: Session
    commands: list[Command]
    if endpoint.protocol is Protocol.IMAP:
        session = ImapAppender(
            endpoint, Secret(PASSWORD), connect=net.connect, clock=time.monotonic, timeout_s=TIMEOUT_S
        )
        commands = [OpenDest(0), CloseDest(0)]
    else:
        session = Pop3Reader(
            endpoint,
            Secret(PASSWORD),
            connect=net.connect,
            digester=Digester,
            spill_dir=Path(tempfile.gettempdir()),
            clock=time.monotonic,
            timeout_s=TIMEOUT_S,
        )
        commands = [OpenSource(), CloseSource(quit=False)]
    try:
        for command in commands:
            session.submit(command)
            outcomes = session.turn()  # opening blocks, and so does closing
            if outcomes and isinstance(outcomes[0].error, StoreError):
                return outcomes[0].error
        return None
    finally:
        session.close()


def judge(case: Case, protocol: Protocol, tls: Tls) -> list[str]:
    """What is wrong with how this server was taken."""
    with _Showing(case.context()) as stage, hurried(TIMEOUT_S):
        port = _port(stage, protocol, tls)
        with Cutter(port) as wire:
            error = open_session(Endpoint(protocol, "u", case.host, wire.port, tls, pin=case.pin))
        asked = [name for name in stage.asked if name not in ("starttls", "stls")]
        wrong = list(leaks(bytes(wire.streams[SENT]), "the wire"))
    if case.is_good:
        return wrong + ([f"refused: {error}"] if error else [] if asked else ["nothing was asked"])
    if error is None:
        return [*wrong, "it was taken"]
    if error.cause is not Cause.UNUSABLE:
        wrong.append(f"the cause is {error.cause.value}: {error}")
    if case.says not in str(error):
        wrong.append(f"{case.says!r} is not said: {error}")
    return wrong + ([f"it was asked {asked}"] if asked else [])


def _port(stage: Stage, protocol: Protocol, tls: Tls) -> int:
    if protocol is Protocol.IMAP:
        return stage.imaps_port if tls is Tls.IMPLICIT else stage.imap_port
    return stage.pop3s_port if tls is Tls.IMPLICIT else stage.pop3_port


def cut_handshakes(root: Issued, stride: int) -> Iterator[tuple[str, list[str]]]:
    """A handshake cut behind every ``stride``-th octet: the name of each case, and what is wrong with it."""
    context = make(Wish([HOST]), root).context()
    with _Showing(context) as stage, hurried(TIMEOUT_S):
        for protocol, tls in WAYS:
            port = _port(stage, protocol, tls)
            with Cutter(port) as wire:
                error = open_session(Endpoint(protocol, "u", HOST, wire.port, tls))
            assert error is None, error
            for direction in (SENT, RECEIVED):
                for at in range(0, _handshake_octets(wire, direction), stride):
                    kind = Kind.RST if at // stride % 2 else Kind.FIN
                    stage.asked = []
                    with Cutter(port, Cut(kind, direction, at)) as cut:
                        error = open_session(Endpoint(protocol, "u", HOST, cut.port, tls))
                    name = f"{protocol.value} {tls.value}: {kind.value} behind octet {at} {direction}"
                    asked = set(stage.asked) - {"starttls", "stls"}
                    if len(cut.starts[SENT]) > 1:
                        # Cut when our side was through with it: POP3 tries without CAPA, on a whole new connection.
                        asked.clear()
                        error = error or StoreError("the first one was cut")
                    wrong = [] if error is not None else ["it came to stand"]
                    wrong += [f"it was asked {asked}"] if asked else []
                    yield name, wrong + list(leaks(bytes(cut.streams[SENT]), "the wire"))


def _handshake_octets(wire: Cutter, direction: str) -> int:
    """Octets of this direction up to the first that TLS carries for us: those of the handshake's turns."""
    octets = bytes(wire.streams[direction])
    at = octets.index(b"\x16\x03")
    end = at
    while end + 5 <= len(octets) and octets[end] in (0x14, 0x16):  # ChangeCipherSpec, Handshake in clear
        end += 5 + int.from_bytes(octets[end + 3 : end + 5])
    return end


def main(full: bool, seed: int) -> Report:
    report = Report("certificates and TLS versions")
    root = authority("root")
    with trusting(root):
        table = cases(root)
        for case in table:
            for protocol, tls in WAYS:
                report.cases += 1
                wrong = judge(case, protocol, tls)
                report.violations += [f"{case.name} ({protocol.value}, {tls.value}): {one}" for one in wrong]
        good = sum(case.is_good for case in table)
        report.notes.append(f"{len(table)} kinds in {len(WAYS)} ways, {good} of them good")
        cuts = 0
        for name, wrong in cut_handshakes(root, 1 if full else 97):
            cuts += 1
            report.violations += [f"handshake {name}: {one}" for one in wrong]
        report.cases += cuts
        report.notes.append(f"{cuts} handshakes cut")
    return report
