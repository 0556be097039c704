"""From a connection to a maildrop: greeting, STLS, capabilities, login, STAT.

Nothing that was said before TLS counts afterwards: capabilities are asked only
when the channel is as safe as the endpoint demands, and again after login. No
APOP: it is MD5, and its banner invites a downgrade.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...commands import SourceFacts
from ...errors import Cause, Retry, StoreError
from ...model import Endpoint, Secret, Tls, display
from ...wire.pop3 import Challenge, Reply, broken, parse_capabilities, parse_stat
from ..base import AHEAD
from ..net import sasl_plain, silent
from .link import Link, TimedOut

CAPA_PATIENCE_S = 15.0  # some old servers never answer a command that they do not know
LISTING = (b"UIDL", b"LIST")
_COMMAND_LIMIT = 255  # octets of a command with its CRLF (RFC 2449 §4, RFC 5034 §4)

Capabilities = dict[bytes, tuple[bytes, ...]]

# RFC 2449 §8.1, RFC 3206: what a refused login may mean besides wrong credentials.
_BUSY_CODES = (b"IN-USE", b"LOGIN-DELAY", b"SYS/TEMP")
_LOCKED = "Another program may have it open; a lock can last some minutes. Run the same command again later."
_BUSY_HINTS = {
    b"LOGIN-DELAY": "It wants a pause between two logins; run the same command again in some minutes.",
    b"SYS/TEMP": "That should pass by itself; run the same command again later.",
}
# The same said in words, by servers without response codes. "Account locked" is none of these.
_BUSY_TEXT = re.compile(
    rb"(?:mail ?(?:box|drop|spool|file)|lock).{0,40}(?:lock|busy|in use|held)|\bin use\b|\bbusy\b|try (?:again )?later"
    rb"|temporar|too many|another (?:pop3? )?(?:session|connection|process)|already (?:logged in|open|locked)"
    rb"|unable to (?:get|obtain|acquire) .{0,20}lock|shutting down|overloaded",
    re.IGNORECASE | re.DOTALL,
)
_MECHANISM = rb"(?:mechanism|command|method|AUTH(?: PLAIN)?|auth type)"
_UNKNOWN = rb"(?:not (?:supported|implemented|available|recogni[sz]ed|known|enabled|valid)|no such|bad|invalid"
_UNKNOWN += rb"|unknown|unsupported|unrecogni[sz]ed|unimplemented)"
_BETWEEN = rb"\b(?:(?!pass|user|cred|login).){0,20}\b"  # "bad password or method" speaks of the password
_NO_MECHANISM = re.compile(
    rb"\b%b%b%b\b|\b%b%b%b\b" % (_UNKNOWN, _BETWEEN, _MECHANISM, _MECHANISM, _BETWEEN, _UNKNOWN),
    re.IGNORECASE | re.DOTALL,
)


class CapaFailed(StoreError):
    """The server hung or hung up on CAPA: a new connection without it is worth a try."""


@dataclass(frozen=True, slots=True)
class Account:
    """A maildrop after login."""

    facts: SourceFacts
    can_pipeline: bool
    is_listing: bool = False  # UIDL and LIST are under way, behind the STAT that the facts are of


@dataclass(frozen=True, slots=True)
class Greeted:
    """A server that has greeted us, over a connection that may carry a password. No maildrop is locked yet."""

    greeting: Reply
    capabilities: Capabilities | None  # None: not asked


def greet(link: Link, endpoint: Endpoint, secret: Secret, *, timeout_s: float, ask_capa: bool) -> Greeted:
    """All that comes before the login. StoreError when the server will not have us, or is not safe."""
    _check_credentials(endpoint, secret)
    try:
        greeting, _ = link.read(timeout_s)
    except TimedOut as error:
        raise silent(endpoint, timeout_s) from error
    if not greeting.is_ok:
        raise _turned_away(greeting)
    if endpoint.tls is Tls.STARTTLS:
        _start_tls(link, timeout_s)
    if endpoint.tls is not Tls.NONE and not link.channel.is_secure:
        raise _unsafe("it is not protected by TLS")
    before = _first_capabilities(link, timeout_s) if ask_capa else None
    if before and b"UTF8" in before:
        # RFC 6856 §2: mail with UTF-8 in its headers is served as it is, not downgraded. A refusal changes nothing.
        link.ask(b"UTF8", timeout_s)
    return Greeted(greeting, before)


def log_in(
    link: Link, endpoint: Endpoint, secret: Secret, greeted: Greeted, *, timeout_s: float, will_list: bool = False
) -> Account:
    """The maildrop of a server that has greeted us. StoreError when it will not have us."""
    greeting, before = greeted.greeting, greeted.capabilities or {}
    _authenticate(link, endpoint, secret, before, timeout_s)
    is_listing = will_list and not {b"PIPELINING", b"UIDL"} - before.keys()
    after, stat = (
        _look(link, before, timeout_s, LISTING if is_listing else ())
        if greeted.capabilities is not None
        else ({}, link.ask(b"STAT", timeout_s)[0])
    )
    if not stat.is_ok:
        raise refused_command("STAT", stat)
    messages, octets = parse_stat(stat.text)
    banner = display(link.scrub(greeting.text).strip(), 80) if endpoint.tls is not Tls.STARTTLS else ""
    facts = SourceFacts(
        greeting=link.channel.about + (f" ({banner})" if banner else ""),
        messages=messages,
        octets=octets,
        has_uids=_has_uids(link, {**before, **after}, messages, timeout_s),
        may_delete_on_fetch=any(b"0" in caps.get(b"EXPIRE", ()) for caps in (before, after)),
        login_delay_s=_login_delay_s({**before, **after}),
        ahead=AHEAD,
    )
    return Account(facts, b"PIPELINING" in after, is_listing)


# --- before the login -----------------------------------------------------------------------


def _check_credentials(endpoint: Endpoint, secret: Secret) -> None:
    for what, text in (("user name", endpoint.user), ("password", secret.reveal())):
        is_text = not any("\ud800" <= char <= "\udfff" for char in text)
        if not is_text or any(char < " " or char == "\x7f" for char in text):
            raise StoreError(
                f"the {what} for {display(endpoint.host)} holds a line end or another control character",
                cause=Cause.LOGIN,
                retry=Retry.NEVER,
                hint=f"Check where the {what} comes from: perhaps it has an empty line too many.",
            )


def _turned_away(greeting: Reply) -> StoreError:
    return StoreError(
        "the POP3 server turned us away",
        retry=Retry.LATER,
        said=greeting.line,
        hint="It may be busy or allow only so many connections; run the same command again later.",
    )


def _start_tls(link: Link, timeout_s: float) -> None:
    try:
        reply, _ = link.ask(b"STLS", timeout_s)
    except StoreError as error:
        if error.cause is not Cause.UNUSABLE:
            raise
        raise _unsafe("octets came that do not belong there before TLS began") from error
    if not reply.is_ok:
        raise StoreError(
            "the POP3 server refuses STLS, so nothing was sent to it",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            said=reply.line,
            hint="Use pop3s:// (port 995) for this server.",
        )
    link.channel.start_tls()
    if not link.channel.is_secure or link.wire.unread:
        raise _unsafe("TLS did not begin cleanly")


def _unsafe(what: str) -> StoreError:
    return StoreError(
        f"the connection to the POP3 server is not safe: {what}; no password was sent",
        cause=Cause.UNUSABLE,
        retry=Retry.NEVER,
        hint="Use pop3s:// (port 995). If that happens again, somebody may be tampering with the network.",
    )


def _first_capabilities(link: Link, timeout_s: float) -> Capabilities:
    try:
        return _capabilities(link, min(timeout_s, CAPA_PATIENCE_S))
    except StoreError as error:
        if error.cause is Cause.UNREACHABLE:
            raise CapaFailed(error.what, said=error.said) from error
        raise


def _capabilities(link: Link, timeout_s: float) -> Capabilities:
    """What the server can do now; nothing where it does not know CAPA (RFC 2449 §5)."""
    link.put(b"CAPA")
    return _read_capabilities(link, timeout_s)


def _read_capabilities(link: Link, timeout_s: float) -> Capabilities:
    reply, body = link.read(timeout_s)
    return parse_capabilities(body) if reply.is_ok else {}


# --- login ----------------------------------------------------------------------------------


def _authenticate(link: Link, endpoint: Endpoint, secret: Secret, before: Capabilities, timeout_s: float) -> None:
    if b"PLAIN" in before.get(b"SASL", ()):
        reply = _auth_plain(link, sasl_plain(endpoint.user, secret), timeout_s)
        if reply.is_ok:
            return
        if reply.code or not _NO_MECHANISM.search(reply.text):
            raise _login_refused(reply, endpoint)
    user, password = endpoint.user.encode("utf-8"), secret.reveal().encode("utf-8")
    reply, _ = link.ask(b"USER " + user, timeout_s, b"USER <%d octets>" % len(user))
    if reply.is_ok:
        reply, _ = link.ask(b"PASS " + password, timeout_s, b"PASS <%d octets>" % len(password))
    if not reply.is_ok:
        raise _login_refused(reply, endpoint)


def _auth_plain(link: Link, message: bytes, timeout_s: float) -> Reply:
    """The final reply to AUTH PLAIN (RFC 5034 §4), the message sent along where a command may be so long."""
    encoded = base64.b64encode(message)
    shown = b"<%d octets>" % len(encoded)
    command = b"AUTH PLAIN " + encoded
    if len(command) + 2 <= _COMMAND_LIMIT:
        link.put(command, b"AUTH PLAIN " + shown)
    else:
        link.put(b"AUTH PLAIN")
    deadline = link.clock() + timeout_s
    # PLAIN knows one challenge, an empty one; a server that takes no initial response sends it too. Then we give up.
    for answer in (encoded, b"*", None):
        event = link.read_event(deadline)
        if isinstance(event, Reply):
            return event
        if not isinstance(event, Challenge) or answer is None:
            break
        if event.text.strip():
            answer = b"*"
        link.respond(answer, shown if answer != b"*" else answer)
    raise broken("its challenges to AUTH PLAIN", retry=Retry.LATER)


def is_busy(reply: Reply) -> bool:
    """Whether a refusal will pass by itself: a lock, too many sessions, a fault of the moment."""
    if reply.code:
        return reply.code in _BUSY_CODES
    return _BUSY_TEXT.search(reply.text) is not None


def _login_refused(reply: Reply, endpoint: Endpoint) -> StoreError:
    host = display(endpoint.host)
    if is_busy(reply):
        return StoreError(
            f"{host} does not open the maildrop now",
            retry=Retry.LATER,
            said=reply.line,
            hint=_BUSY_HINTS.get(reply.code, _LOCKED),
        )
    if reply.code == b"SYS/PERM":
        return StoreError(
            f"{host} cannot open the maildrop",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            said=reply.line,
            hint="The server says that its operator has to mend this.",
        )
    return StoreError(
        f"{host} refused the login of {display(endpoint.user)}",
        cause=Cause.LOGIN,
        retry=Retry.NEVER,
        said=reply.line,
        hint="Check user name and password, and that POP3 is switched on for the account. "
        "Many providers want an app password made on their web site.",
    )


# --- after the login ------------------------------------------------------------------------


def _look(
    link: Link, before: Capabilities, timeout_s: float, behind: Sequence[bytes] = ()
) -> tuple[Capabilities, Reply]:
    """What the server can do now, and its reply to STAT: asked together where it said that it takes commands so.

    The commands ``behind`` go with them, and their replies are owed.
    """
    if b"PIPELINING" not in before:
        return _capabilities(link, timeout_s), link.ask(b"STAT", timeout_s)[0]
    for command in (b"CAPA", b"STAT", *behind):
        link.put(command)
    return _read_capabilities(link, timeout_s), link.read(timeout_s)[0]


def refused_command(name: str, reply: Reply) -> StoreError:
    """The error for a command that the session cannot do without."""
    if is_busy(reply):
        return StoreError(
            f"the POP3 server is busy: it refused {name}",
            retry=Retry.LATER,
            said=reply.line,
            hint="Run the same command again later.",
        )
    return broken(f"it refused {name}", reply.line, retry=Retry.LATER)


def _has_uids(link: Link, capabilities: Capabilities, messages: int, timeout_s: float) -> bool:
    """Whether the server knows UIDL. Where CAPA does not say so it is tried: popa3d has UIDL and no CAPA."""
    if b"UIDL" in capabilities or not messages:
        return True
    reply, _ = link.ask(b"UIDL 1", timeout_s)
    return reply.is_ok


def _login_delay_s(capabilities: Capabilities) -> int:
    """LOGIN-DELAY (RFC 2449 §6.5), 0 when there is none."""
    words = capabilities.get(b"LOGIN-DELAY", ())
    return next((int(word) for word in words if word.isdigit() and len(word) <= 9), 0)
