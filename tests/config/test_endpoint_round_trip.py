"""An endpoint that is written down reads as itself."""

from __future__ import annotations

from urllib.parse import quote

from hypothesis import given
from hypothesis import strategies as st

from migrate.config import Side, parse_endpoint
from migrate.model import Endpoint, MailboxName, Protocol, Tls

CHARS = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"])
TEXTS = st.text(CHARS, min_size=1, max_size=20).filter(lambda text: text == text.strip())
PLAIN = st.text(st.sampled_from("abcXYZ019._-+=é"), min_size=1, max_size=12)
HOSTS = st.sampled_from(["pop.example.org", "localhost", "192.0.2.7", "2001:db8::1", "xn--mller-kva.example", "a"])
PORTS = st.integers(1, 65535)
TLS = st.sampled_from(list(Tls))


def encoded(endpoint: Endpoint) -> str:
    """Written so that every octet that means something is a percent sign and two digits."""
    scheme = endpoint.protocol.value + {Tls.IMPLICIT: "s", Tls.STARTTLS: "", Tls.NONE: "+insecure"}[endpoint.tls]
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    path = "/" + "/".join(quote(level, safe="") for level in endpoint.mailbox.levels) if endpoint.mailbox else ""
    return f"{scheme}://{quote(endpoint.user, safe='')}@{host}:{endpoint.port}{path}"


@given(TEXTS, HOSTS, PORTS, TLS)
def test_any_source_that_is_written_down_reads_as_itself(user: str, host: str, port: int, tls: Tls) -> None:
    endpoint = Endpoint(Protocol.POP3, user, host, port, tls)
    assert parse_endpoint(encoded(endpoint), side="source", allow_clear=True) == endpoint


@given(TEXTS, HOSTS, PORTS, TLS, st.none() | st.lists(TEXTS, min_size=1, max_size=3))
def test_any_destination_that_is_written_down_reads_as_itself(
    user: str, host: str, port: int, tls: Tls, levels: list[str] | None
) -> None:
    mailbox = MailboxName(tuple(levels)) if levels else None
    endpoint = Endpoint(Protocol.IMAP, user, host, port, tls, mailbox)
    assert parse_endpoint(encoded(endpoint), side="destination", allow_clear=True) == endpoint


@given(PLAIN, HOSTS, PORTS, TLS, st.sampled_from(["source", "destination"]))
def test_the_shown_form_of_an_ordinary_endpoint_reads_as_itself(
    user: str, host: str, port: int, tls: Tls, side: Side
) -> None:
    protocol = Protocol.POP3 if side == "source" else Protocol.IMAP
    endpoint = Endpoint(protocol, user, host, port, tls)
    assert parse_endpoint(str(endpoint), side=side, allow_clear=True) == endpoint
