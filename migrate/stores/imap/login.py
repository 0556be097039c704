"""From a connection to a logged-in client: greeting, STARTTLS, login, capabilities.

STARTTLS is done by our own reader, before IMAPClient sees anything, because
what was said in clear text must not count afterwards (CVE-2021-29969).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

from ...commands import DestFacts
from ...errors import Cause, MigrateError, Retry, StoreError
from ...model import Endpoint, Secret, Tls, display
from ...wire.imap import (
    CRLF,
    Continuation,
    Data,
    Event,
    Literals,
    Status,
    Tagged,
    broken,
    said_goodbye,
)
from ...wire.imap.answers import busy, is_busy
from ...wire.imap.reader import LINE_LIMIT, LITERAL_LIMIT
from ..net import silent
from .client import Client, Refused, call, listed
from .link import Link

T = TypeVar("T")

# Where a message can cost a round trip: connections, batches of one under way, messages of a batch that wait.
WAITING_LANES, WAITING_FLIGHT, WAITING_BATCH = 4, 2, 8
# What other services say first.
_STRANGERS = (
    (b"+OK", "a POP3 server"),
    (b"HTTP/", "a web server"),
    (b"220", "a mail or file transfer server"),
)


@dataclass(frozen=True, slots=True)
class Account:
    """A logged-in connection and what it can do."""

    link: Link
    client: Client
    facts: DestFacts
    capabilities: frozenset[str]
    literals: Literals
    is_overlapped: bool  # a command may follow before the last one was answered


@dataclass(frozen=True, slots=True)
class Greeted:
    """A server that has greeted us, over a connection that may carry a password."""

    greeting: Status
    client: Client


def greet(link: Link, endpoint: Endpoint, secret: Secret) -> Greeted:
    """All that comes before the login. StoreError when the server will not have us, or is not safe."""
    _check_credentials(endpoint, secret)
    link.keep_secret(endpoint, secret)
    greeting = _greet(link, endpoint)
    if endpoint.tls is Tls.STARTTLS:
        _start_tls(link)
    if endpoint.tls is not Tls.NONE and not link.channel.is_secure:
        raise _unsafe("the connection is not protected by TLS")
    link.reader.line_limit, link.reader.literal_limit = LINE_LIMIT, LITERAL_LIMIT
    # Of what was said before TLS only the kind of greeting is handed on: nothing else counts.
    told = () if endpoint.tls is Tls.STARTTLS else _told_in(greeting)
    ready = b"* %s ready" % greeting.status
    return Greeted(greeting, _understood(link, "greeting", lambda: Client(link, endpoint.host, ready, told)))


def log_in(link: Link, endpoint: Endpoint, secret: Secret, greeted: Greeted) -> Account:
    """The account of a server that has greeted us. StoreError when it will not have us."""
    greeting, client = greeted.greeting, greeted.client
    capabilities: frozenset[str] = frozenset()
    if greeting.status == b"OK":
        _authenticate(link, client, endpoint, secret)
        capabilities = _understood(link, "capabilities", client.told_capabilities)
    if not capabilities:
        capabilities = _understood(link, "capabilities", client.ask_capabilities)
    text = display(link.scrub(greeting.text).strip(), 80)
    about = link.channel.about + (f" ({text})" if text and endpoint.tls is not Tls.STARTTLS else "")
    return _account(link, client, capabilities, about)


def _understood(link: Link, what: str, action: Callable[[], T]) -> T:
    """What the action gives; a refusal means that this server is of no use."""
    try:
        return call(link, what, action)
    except Refused as refused:
        answer = refused.answer
    if is_busy(answer):
        raise busy(answer)
    raise broken(f"it refuses the {what}", answer.said)


def _check_credentials(endpoint: Endpoint, secret: Secret) -> None:
    for what, text in (("user name", endpoint.user), ("password", secret.reveal())):
        is_text = not any("\ud800" <= char <= "\udfff" for char in text)
        if not is_text or any(char in "\r\n\0" for char in text):
            raise StoreError(
                f"the {what} for {endpoint.host} holds a line end, a NUL or something that is no text",
                cause=Cause.LOGIN,
                retry=Retry.NEVER,
                hint=f"Check where the {what} comes from: perhaps it has an empty line too many.",
            )


def _greet(link: Link, endpoint: Endpoint) -> Status:
    link.begin()
    link.reader.line_limit, link.reader.literal_limit = 8 * 1024, 0
    began_s = link.clock()
    try:
        greeting = link.next_event()
    except StoreError as trouble:
        if trouble.cause is Cause.UNUSABLE:
            raise _stranger(trouble.said) from trouble
        if link.clock() - began_s < link.timeout_s:
            raise
        raise silent(endpoint, link.timeout_s) from trouble
    if isinstance(greeting, Continuation):
        raise _stranger(b"+" + greeting.text)  # "+OK": POP3
    if isinstance(greeting, Tagged) or not isinstance(greeting, Status):
        raise _stranger(b"")
    if greeting.status == b"BYE":
        error = said_goodbye(greeting)
        raise StoreError("the IMAP server turned us away", retry=Retry.LATER, said=error.said, hint=error.hint)
    if greeting.status not in (b"OK", b"PREAUTH"):
        raise broken("its greeting is a refusal", greeting.said)
    if greeting.status == b"PREAUTH" and not link.channel.is_secure:
        # Somebody in between could keep us from ever asking for TLS (CVE-2020-12398).
        raise _unsafe("the server claims that we are logged in already, in clear text")
    return greeting


def _told_in(greeting: Status) -> tuple[str, ...]:
    """The capabilities that the greeting lists; empty where that is not all that the login needs to know."""
    words = listed(greeting.args) if greeting.code == b"CAPABILITY" and greeting.args.isascii() else ()
    return words if {"IMAP4REV1", "AUTH=PLAIN"} <= set(words) else ()


def _stranger(said: bytes) -> StoreError:
    """The error for a greeting that no IMAP server gives."""
    who = next((who for begin, who in _STRANGERS if said.startswith(begin)), "")
    return StoreError(
        f"there is no IMAP server, but {who}" if who else "the greeting is not that of an IMAP server",
        cause=Cause.UNUSABLE,
        retry=Retry.NEVER if who else Retry.LATER,
        said=said,
        hint="Check host and port: IMAP is at 993, or at 143 with STARTTLS.",
    )


def _start_tls(link: Link) -> None:
    while event := link.reader.next_event():
        _check_clear_text(event)
    tag = b"T1"
    link.trace("C", tag + b" STARTTLS")
    link.send(tag + b" STARTTLS" + CRLF)
    while not isinstance(event := link.next_event(), Tagged):
        _check_clear_text(event)
    if event.tag != tag:
        raise _unsafe("it answered what was not asked before TLS began")
    if event.status != b"OK":
        raise StoreError(
            "the IMAP server refuses STARTTLS, so nothing was sent to it",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            said=event.said,
            hint="Use imaps:// (port 993) for this server.",
        )
    if link.reader.rest:
        raise _unsafe("octets came behind its answer to STARTTLS")
    link.channel.start_tls()
    if not link.channel.is_secure or link.reader.rest:
        raise _unsafe("TLS did not begin cleanly")


def _check_clear_text(event: Event) -> None:
    match event:
        case Tagged():
            raise _unsafe("it answered what was not asked before TLS began")
        case Status(status=b"BYE"):
            raise said_goodbye(event)
        case Status(status=b"OK") | Data(name=b"CAPABILITY", parts=(_,)):
            return
        case _:
            raise _unsafe("something was slipped in before TLS began")


def _unsafe(what: str) -> StoreError:
    return StoreError(
        f"the connection to the IMAP server is not safe: {what}; no password was sent",
        cause=Cause.UNUSABLE,
        retry=Retry.NEVER,
        hint="Use imaps:// (port 993). If that happens again, somebody may be listening on the network.",
    )


def _authenticate(link: Link, client: Client, endpoint: Endpoint, secret: Secret) -> None:
    try:
        call(link, "login", _way_in(client, endpoint, secret))
    except Refused as refused:
        answer = refused.answer
    except StoreError as error:
        if link.goodbye is not None:
            error.retry = Retry.LATER  # perhaps that was a wrong password: not twice in one run
        raise
    else:
        return
    raise _login_refused(answer, endpoint)


def _way_in(client: Client, endpoint: Endpoint, secret: Secret) -> Callable[[], object]:
    """The action that logs in, best mechanism first. StoreError when there is none for a password."""
    if client.offers("AUTH=PLAIN"):
        # Once only: a server that asks again is told "*", not the password.
        words = iter([f"\0{endpoint.user}\0{secret.reveal()}"])
        return lambda: client.sasl_login("PLAIN", lambda _: next(words, None))
    if not client.offers("LOGINDISABLED"):
        return lambda: client.login(endpoint.user, secret.reveal())
    raise StoreError(
        "the IMAP server takes no password here",
        cause=Cause.LOGIN,
        retry=Retry.NEVER,
        said=b"LOGINDISABLED",
        hint="It may want OAuth2, or an app password made on the provider's web site.",
    )


def _login_refused(answer: Tagged, endpoint: Endpoint) -> MigrateError:
    if is_busy(answer):
        return busy(answer)
    return StoreError(
        f"{endpoint.host} refused the login of {display(endpoint.user)}",
        cause=Cause.LOGIN,
        retry=Retry.NEVER,
        said=answer.said,
        hint="Check user name and password. Many providers want an app password made on their web site.",
    )


def _account(link: Link, client: Client, capabilities: frozenset[str], about: str) -> Account:
    rev2 = "IMAP4REV2" in capabilities  # includes LITERAL- (RFC 9051 §6)
    literals = Literals.SYNC
    if "LITERAL-" in capabilities or (rev2 and "LITERAL+" not in capabilities):
        literals = Literals.MINUS
    elif "LITERAL+" in capabilities:
        literals = Literals.PLUS
    has_multi = "MULTIAPPEND" in capabilities
    has_uids = "UIDPLUS" in capabilities or rev2
    # hMailServer takes what stands behind a literal for a part of the message. It announces none of these; Courier
    # and iCloud, which announce UIDPLUS alone, take what comes in order (RFC 3501 §5.5).
    is_overlapped = has_multi or has_uids or literals is not Literals.SYNC
    facts = DestFacts(
        greeting=about,
        has_uids=has_uids,
        is_atomic=has_multi and literals is not Literals.SYNC,
        append_limit=_append_limit(capabilities),
        in_flight=32 if is_overlapped else 1,
    )
    if literals is not Literals.PLUS:
        # Connections help. The work is shared as it gets done: small batches, and each has the next one behind it only.
        batch = WAITING_BATCH * 2 if literals is Literals.MINUS else WAITING_BATCH  # of small mail half waits
        flight = min(WAITING_FLIGHT, facts.in_flight)
        facts = replace(facts, batch_count=batch, in_flight=flight, lanes=WAITING_LANES)
    return Account(link, client, facts, capabilities, literals, is_overlapped)


def _append_limit(capabilities: frozenset[str]) -> int | None:
    """APPENDLIMIT=n (RFC 7889). Bare, or 0 (maddy says so by mistake): not known."""
    for capability in capabilities:
        name, _, size = capability.partition("=")
        if name == "APPENDLIMIT" and size.isascii() and size.isdigit() and len(size) <= 18:
            return int(size) or None
    return None
