"""11 and 21: a server that must not or cannot be used: certificate, missing TLS, another protocol, nonsense."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import trustme

from ..support.dovecot import Dovecot
from ..support.embedded import Embedded
from ..support.embedded.session import ServerSession
from .conftest import Ends, MakeEnds, Popferry
from .servers import WithoutStarttls, WithoutStls, greeting, hanging_up, imap_refusing, pop3_answering

TAMPERING = b"+OK begin\r\n+OK injected\r\n"


def tls_words(ends: Ends) -> tuple[str, str]:
    return f"pop3s://alice@localhost:{ends.source.pop3s_port}", f"imaps://bob@localhost:{ends.dest.imaps_port}/Old"


def both_authorities(ends: Ends, place: Path) -> str:
    path = place / "authorities.pem"
    path.write_bytes(ends.source.ca_file.read_bytes() + ends.dest.ca_file.read_bytes())
    return str(path)


def be_another_host(server: Embedded) -> None:
    """From now on the server shows a trusted certificate of another name."""
    authority = trustme.CA()
    leaf = authority.issue_cert("mail.example.org")
    authority.cert_pem.write_to_path(server.ca_file)
    leaf.private_key_pem.write_to_path(server.directory / "key.pem")
    leaf.cert_chain_pems[0].write_to_path(server.directory / "cert.pem")


@pytest.mark.parametrize(("end", "code"), [("source", 11), ("destination", 21)])
def test_an_untrusted_certificate_is_refused_and_its_pin_is_told(
    end: str, code: int, ends: MakeEnds, popferry: Popferry
) -> None:
    both = ends()
    trusted = both.dest if end == "source" else both.source
    popferry.environment["SSL_CERT_FILE"] = str(trusted.ca_file)
    ran = popferry.migrate(*tls_words(both))
    ran.told(code, f"{end.capitalize()}: the certificate of localhost:", "is not accepted: its issuer is not known")
    option = "--source-pin" if end == "source" else "--dest-pin"
    ran.told(code, "If you know this server:", option)
    pin = re.search(r"(sha256:[0-9a-f]{64}) ", ran.err)
    if pin is not None:  # older Pythons do not tell the certificate of a failed handshake
        popferry.migrate(*tls_words(both), option, pin[1]).told(0)


@pytest.mark.parametrize(("end", "code"), [("source", 11), ("destination", 21)])
def test_the_certificate_of_another_host_is_refused(end: str, code: int, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    be_another_host(both.source if end == "source" else both.dest)
    popferry.environment["SSL_CERT_FILE"] = both_authorities(both, popferry.place)
    ran = popferry.migrate(*tls_words(both))
    ran.told(code, f"{end.capitalize()}: the certificate of localhost:", "it belongs to another host")


@pytest.mark.parametrize(("end", "code"), [("source", 11), ("destination", 21)])
def test_another_certificate_than_the_pinned_one_is_refused(
    end: str, code: int, ends: MakeEnds, popferry: Popferry
) -> None:
    both = ends()
    popferry.environment["SSL_CERT_FILE"] = both_authorities(both, popferry.place)
    option = "--source-pin" if end == "source" else "--dest-pin"
    ran = popferry.migrate(*tls_words(both), option, "sha256:" + "0" * 64)
    ran.told(code, "is not the pinned one.", "The server shows sha256:", "Ask its owner")


@pytest.mark.parametrize(("end", "code"), [("source", 11), ("destination", 21)])
def test_a_server_without_tls_gets_no_password(end: str, code: int, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends(pop3=WithoutStls, imap=WithoutStarttls)
    source, dest = both.words
    if end == "source":
        source = f"pop3://alice@localhost:{both.source.pop3_port}"
    else:
        dest = f"imap://bob@localhost:{both.dest.imap_port}/Old"
    ran = popferry.migrate(source, dest)
    name, there = ("POP3", "STLS") if end == "source" else ("IMAP", "STARTTLS")
    ran.told(code, f"the {name} server refuses {there}, so nothing was sent to it.")
    ran.told(code, "Use pop3s:// (port 995)" if end == "source" else "Use imaps:// (port 993)")
    trace = (popferry.place / "trace").read_bytes()
    assert (b"PASS" if end == "source" else b"credentials") not in trace


SOURCE_NONSENSE: list[tuple[str, type[ServerSession], list[str]]] = [
    (
        "web",
        hanging_up(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"),
        ["no POP3 server, but a web server", "Check host and port"],
    ),
    ("mail", greeting(b"220 mx.example.org ESMTP ready\r\n"), ["a mail or file transfer server", "POP3 is at 995"]),
    (
        "garbage",
        greeting(b"\x00\x16\x03\x1b[31m\xff\r\n"),
        ["not that of a POP3 server", r"\x1b[31m", "Check host and port"],
    ),
    ("stat", pop3_answering("stat", b"+OK many"), ["STAT"]),
    ("uidl", pop3_answering("stat", b"-ERR no"), ["STAT", '"-ERR no"']),
    ("maildrop", pop3_answering("pass", b"-ERR [SYS/PERM] broken"), ["cannot open the maildrop", "operator"]),
    (
        "listing",
        pop3_answering("list", b"+OK\r\n1 100\r\n2 100\r\n."),
        ["contradicts itself", "run the same command again"],
    ),
]


@pytest.mark.parametrize(
    ("kind", "essence"), [row[1:] for row in SOURCE_NONSENSE], ids=[row[0] for row in SOURCE_NONSENSE]
)
def test_a_source_that_is_no_usable_pop3_server_is_11(
    kind: type[ServerSession], essence: list[str], ends: MakeEnds, popferry: Popferry
) -> None:
    popferry.migrate(*ends(pop3=kind).words).told(11, "Source: ", *essence)


DEST_NONSENSE: list[tuple[str, type[ServerSession], list[str]]] = [
    (
        "web",
        hanging_up(b"HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n"),
        ["no IMAP server, but a web server", "Check host and port"],
    ),
    ("mail", greeting(b"220 mx.example.org ESMTP ready\r\n"), ["a mail or file transfer server", "IMAP is at 993"]),
    ("garbage", greeting(b"\x00\x16\x03\x1b[31m\xff\r\n"), ["greeting is not that of an IMAP", r"\x1b[31m"]),
    ("refusal", greeting(b"* NO go away\r\n"), ["greeting is a refusal", '"NO go away"']),
    ("preauth", greeting(b"* PREAUTH welcome\r\n"), ["logged in already", "no password was sent"]),
    ("folder", imap_refusing("create", "[CANNOT] no such thing"), ["folder Old could not be made", "--folder"]),
    ("select", imap_refusing("select", "no"), ["folder Old cannot be opened", "--folder"]),
    ("rights", imap_refusing("append", "[NOPERM] read only"), ["may not store messages", "--folder"]),
]


@pytest.mark.parametrize(("kind", "essence"), [row[1:] for row in DEST_NONSENSE], ids=[row[0] for row in DEST_NONSENSE])
def test_a_destination_that_is_no_usable_imap_server_is_21(
    kind: type[ServerSession], essence: list[str], ends: MakeEnds, popferry: Popferry
) -> None:
    both = ends(imap=kind)
    both.deliver(b"Subject: one\r\n\r\nText\r\n")
    popferry.migrate(*both.words).told(21, *essence)


@pytest.mark.dovecot
@pytest.mark.parametrize(
    ("source", "dest", "code", "essence"),
    [
        ("pop3s:imaps", "imaps:imaps", 11, ["Source: there is no POP3 server, but an IMAP server", "POP3 is at 995"]),
        (
            "pop3s:pop3s",
            "imaps:pop3s",
            21,
            ["Destination: there is no IMAP server, but a POP3 server", "IMAP is at 993"],
        ),
        ("pop3s:pop3", "imaps:imaps", 11, ["does not speak TLS from the first octet", "Write pop3:// for STLS"]),
        ("pop3s:pop3s", "imaps:imap", 21, ["does not speak TLS from the first octet", "Write imap:// for STARTTLS"]),
    ],
    ids=["IMAP for POP3", "POP3 for IMAP", "clear POP3 for TLS", "clear IMAP for TLS"],
)
def test_the_port_of_another_protocol_is_told(
    source: str, dest: str, code: int, essence: list[str], real: Dovecot, popferry: Popferry
) -> None:
    popferry.environment |= {"SSL_CERT_FILE": str(real.ca_file), "PF_SOURCE": real.password, "PF_DEST": real.password}
    ports = {"pop3": real.pop3_port, "pop3s": real.pop3s_port, "imap": real.imap_port, "imaps": real.imaps_port}
    words = [f"{scheme}://al@localhost:{ports[port]}" for scheme, port in (w.split(":") for w in (source, dest))]
    popferry.migrate(*words).told(code, *essence)


def test_octets_before_tls_are_taken_for_tampering(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends(pop3=pop3_answering("stls", TAMPERING.rstrip()))
    ran = popferry.migrate(f"pop3://alice@localhost:{both.source.pop3_port}", both.words[1])
    ran.told(11, "no password was sent", "tampering", "Use pop3s://")
