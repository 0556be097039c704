"""One notation for every place where mail lives: text -> Endpoint.

    endpoint = [scheme "://"] user "@" host [":" port] ["/" mailbox] / ( "mbox:" / "maildir:" ) path / path

A path alone is a source: mail files of any program, or a backup. A user name
may hold "@" as it is: the last "@" before the host divides. In
user and mailbox, "%" and two hexadecimal digits stand for an octet of UTF-8
(RFC 3986 §2.1); "%2F" is a slash inside one level of a mailbox name. There is
no place for a password: text that looks like one is refused and never
repeated in a message.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import unicodedata
from pathlib import Path
from typing import Literal
from urllib.parse import unquote_to_bytes

from ..errors import UsageError
from ..model import Endpoint, MailboxName, Protocol, Tls, display

Side = Literal["source", "destination"]

# Default ports: RFC 8314 §3 (implicit TLS), RFC 1939 §3 and RFC 3501 §2.1 (STARTTLS and clear text).
SCHEMES: dict[str, tuple[Protocol, Tls, int]] = {
    "pop3s": (Protocol.POP3, Tls.IMPLICIT, 995),
    "pop3": (Protocol.POP3, Tls.STARTTLS, 110),
    "pop3+insecure": (Protocol.POP3, Tls.NONE, 110),
    "imaps": (Protocol.IMAP, Tls.IMPLICIT, 993),
    "imap": (Protocol.IMAP, Tls.STARTTLS, 143),
    "imap+insecure": (Protocol.IMAP, Tls.NONE, 143),
}
FILES = {"mbox": Protocol.MBOX, "maildir": Protocol.MAILDIR}
EXAMPLES = {"source": "pop3s://alice@pop.example.org", "destination": "imaps://alice@imap.example.org/INBOX"}

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):(//)?")
_LABEL = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SERVER_LABEL = re.compile(r"pop[0-9a-z-]*|mail[0-9-]*|imap[0-9a-z-]*|mx[0-9]*", re.IGNORECASE)


def parse_endpoint(text: str, *, side: Side, allow_clear: bool = False) -> Endpoint:
    """The endpoint that the text names.

    Without a scheme a source is ``pop3s``. Clear text towards another machine
    needs ``allow_clear``. UsageError for everything else, with what to write.
    """
    return _Reader(text, side).read(allow_clear)


def parse_pin(text: str, *, option: str) -> bytes:
    """The 32 octets of ``sha256:HEX``; colons between the digits are allowed. UsageError else."""
    scheme, _, digits = text.partition(":")
    digits = digits.replace(":", "")
    if scheme.lower() != "sha256" or not re.fullmatch(r"[0-9A-Fa-f]{64}", digits):
        raise UsageError(
            f"{option}: expected sha256: and 64 hexadecimal digits",
            hint="openssl x509 -noout -fingerprint -sha256 prints them for a certificate.",
        )
    return bytes.fromhex(digits)


class _Reader:
    """Reads one endpoint; ``side`` only colours the messages and the default scheme."""

    def __init__(self, text: str, side: Side) -> None:
        self.text = text
        self.side = side
        self.example = EXAMPLES[side]

    def wrong(self, what: str, hint: str = "") -> UsageError:
        name = "SOURCE" if self.side == "source" else "DEST"
        return UsageError(f"{name}: {what}", hint=hint or f"Write it like {self.example}.")

    def read(self, allow_clear: bool) -> Endpoint:
        if not self.text:
            raise self.wrong("expected an endpoint, got nothing")
        self.refuse_odd(self.text, "the endpoint")
        name, colon, path = self.text.partition(":")
        if colon and name.lower() in FILES:
            return Endpoint(FILES[name.lower()], "", "", 0, Tls.NONE, path=self.file_path(name.lower(), path))
        if (files := self.mail_path()) is not None:
            return Endpoint(Protocol.MBOX, "", "", 0, Tls.NONE, path=files)
        scheme, rest = self.split_scheme()
        protocol, tls, port = SCHEMES[scheme]
        authority, _, path = rest.partition("/")
        user_text, at, place = authority.rpartition("@")
        self.refuse_password(user_text, at, authority, path)
        if not user_text:
            raise self.wrong("expected a user name before the host, got none")
        host, port = self.split_port(place, port)
        self.check_side(protocol)
        mailbox = self.mailbox(path, protocol)
        if tls is Tls.NONE and not (allow_clear or is_loopback(host)):
            raise self.wrong(
                f"{scheme}:// would send the password in clear text to {host}",
                f"Write {protocol.value}s:// instead. If this server knows no TLS and you accept that anyone on "
                "the way can read password and mail, add --send-password-in-clear.",
            )
        return Endpoint(protocol, self.decode(user_text, "the user name"), host, port, tls, mailbox)

    # --- scheme -----------------------------------------------------------------------------

    def split_scheme(self) -> tuple[str, str]:
        match = _SCHEME.match(self.text)
        name = match[1].lower() if match else ""
        if match and match[2]:
            if name in SCHEMES:
                return name, self.text[match.end() :]
            raise self.unknown_scheme(name)
        if name in SCHEMES:
            raise self.wrong(f"expected {name}:// with two slashes")
        if self.side == "source" and not self.is_address_alone():
            return "pop3s", self.text
        raise self.no_scheme()

    def unknown_scheme(self, name: str) -> UsageError:
        close = difflib.get_close_matches(name, [s for s in SCHEMES if "+" not in s], n=1, cutoff=0.6)
        what = f"{name}:// is not known"
        hint = f"Did you mean {close[0]}://?" if close else f"Write it like {self.example}."
        return self.wrong(what, hint)

    def no_scheme(self) -> UsageError:
        if "@" not in self.text:
            return self.wrong("expected a user name and a host, got no @")
        if self.side == "destination":
            return self.wrong("expected imaps:// or imap:// and the name of the server")
        return self.wrong(
            "an address alone is not enough yet: the servers of providers are not known to this version",
            "Write the name of the server behind the address: pop3s://ADDRESS@SERVER.",
        )

    def is_address_alone(self) -> bool:
        """Whether the text reads as ``alice@gmail.com``, not as a user at a named server.

        A second "@", a port, a single word, an IP address or a server-like
        first label of three or more (pop.example.org) mean a server.
        """
        authority = self.text.partition("/")[0]
        user, at, place = authority.rpartition("@")
        if not at:
            return True
        labels = place.split(".")
        is_server = len(labels) == 1 or _is_address(place) or (len(labels) > 2 and _SERVER_LABEL.fullmatch(labels[0]))
        return not (is_server or "@" in user or "%40" in user or ":" in authority)

    def mail_path(self) -> Path | None:
        """The file or directory that a source is, written as it is: with a slash, a "~" or a dot in front, or one that
        is there and cannot be meant as a server."""
        if self.side != "source":
            return None
        is_path = self.text.startswith(("/", "~", "./", "../")) or self.text in (".", "..")
        # A server is written with an @, and no slash in front of it.
        if not is_path and ("@" in self.text.partition("/")[0] or _SCHEME.match(self.text)):
            return None
        path = self.absolute(self.text)
        if os.path.exists(path):  # without an error for a name that no file can have
            return path
        if is_path:
            raise self.wrong("there is no such file or directory", "Write the path of a mail file, or of a directory.")
        return None

    def file_path(self, scheme: str, text: str) -> Path:
        """The path of files, absolute. No character of it has a meaning, but a "~" in front."""
        text = text.removeprefix("//") if text.startswith("///") else text
        if not text.startswith(("/", "~", "./", "../")) or text.startswith("//"):
            # The text is not repeated: it may be anything.
            raise self.wrong(
                f"expected a path behind {scheme}:", f"Write it like {scheme}:/home/alice/mail, or {scheme}:./mail."
            )
        return self.absolute(text)

    def absolute(self, text: str) -> Path:
        try:
            return Path(text).expanduser().absolute()
        except RuntimeError:
            raise self.wrong("there is no home directory of that user") from None

    # --- user, host, port -------------------------------------------------------------------

    def refuse_password(self, user_text: str, at: str, authority: str, path: str) -> None:
        # A password may itself hold "/" and "@"; then the colon stands before the first slash.
        if ":" in user_text or (not at and ":" in authority and "@" in path):
            raise self.wrong(
                "a password cannot stand here: other people on this machine could read it",
                f"Leave it out; you will be asked for it, or use {password_option(self.side)} "
                "(a colon in a user name is written %3A).",
            )

    def split_port(self, place: str, default: int) -> tuple[str, int]:
        bracketed = re.fullmatch(r"\[([^\[\]]*)\](?::(.*))?", place)
        if bracketed:
            host, port_text = bracketed[1], bracketed[2]
            if not _is_address(host) or ":" not in host:
                raise self.wrong("expected an IPv6 address between the brackets")
            host = ipaddress.IPv6Address(host).compressed
        elif place.count(":") > 1:
            raise self.wrong("an IPv6 address is written in brackets", "Write it like pop3s://alice@[2001:db8::1]:995.")
        else:
            host, colon, port_text = place.partition(":")
            host, port_text = self.host(host), port_text if colon else None
        if port_text is None:
            return host, default
        # The text is not shown: a misplaced password would stand here.
        if not re.fullmatch(r"[0-9]{1,5}", port_text) or not 1 <= int(port_text) <= 65535:
            raise self.wrong("expected a port from 1 to 65535 after the colon")
        return host, int(port_text)

    def host(self, text: str) -> str:
        """The host in lower case, without the dot that ends an absolute name (RFC 1034 §3.1)."""
        try:
            name = text.encode("idna").decode("ascii") if not text.isascii() else text
        except UnicodeError:
            name = ""
        name = name.removesuffix(".").lower()
        labels = name.split(".")
        is_name = len(name) <= 253 and all(_LABEL.fullmatch(label) for label in labels)
        if not is_name or (labels[-1].isdigit() and not _is_address(name)):
            raise self.wrong(f"expected the name of a server, got {display(text, 80)}" if text else "expected a server")
        return name

    # --- mailbox ----------------------------------------------------------------------------

    def check_side(self, protocol: Protocol) -> None:
        if self.side == "destination" and protocol is Protocol.POP3:
            raise self.wrong("a POP3 server takes no mail; the destination is an IMAP server")

    def mailbox(self, path: str, protocol: Protocol) -> MailboxName | None:
        if not path:
            return None
        if protocol is Protocol.POP3:
            raise self.wrong("a POP3 account has one maildrop; expected nothing after the host")
        try:
            return MailboxName(tuple(self.decode(level, "the folder") for level in path.split("/")))
        except ValueError:
            raise self.wrong("expected a folder name without an empty part between slashes") from None

    def decode(self, text: str, what: str) -> str:
        if re.search(r"%(?![0-9A-Fa-f]{2})", text):
            raise self.wrong(f"a percent sign in {what} is written %25", "For example 100%25 for 100%.")
        try:
            decoded = unquote_to_bytes(text).decode("utf-8")
        except UnicodeDecodeError:
            raise self.wrong(f"the percent signs in {what} do not stand for UTF-8") from None
        self.refuse_odd(decoded, what)
        return decoded

    def refuse_odd(self, text: str, what: str) -> None:
        if any(unicodedata.category(char) in {"Cc", "Cs", "Zl", "Zp"} for char in text):
            raise self.wrong(f"{what} holds a control character or octets that are not UTF-8")
        if text != text.strip():
            raise self.wrong(f"{what} begins or ends with a space")


def password_option(side: Side) -> str:
    """The name of the option that says where the password of this side comes from."""
    return "--source-password" if side == "source" else "--dest-password"


def is_loopback(host: str) -> bool:
    """Whether the host is this machine by its name alone; nothing is looked up."""
    if host == "localhost":
        return True
    return _is_address(host) and ipaddress.ip_address(host).is_loopback


def _is_address(text: str) -> bool:
    try:
        return "%" not in text and bool(ipaddress.ip_address(text))
    except ValueError:
        return False
