"""The endpoint notation: what each form means, and what the refusal of a wrong one says."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.config import Side, parse_endpoint, parse_pin
from migrate.errors import UsageError
from migrate.model import Endpoint, MailboxName, Protocol, Tls

POP3, IMAP = Protocol.POP3, Protocol.IMAP
IMPLICIT, STARTTLS, NONE = Tls.IMPLICIT, Tls.STARTTLS, Tls.NONE
CANARY = "hunter2"

SOURCES: list[tuple[str, Endpoint]] = [
    ("imaps://alice@imap.example.org", Endpoint(IMAP, "alice", "imap.example.org", 993, IMPLICIT)),
    ("pop3s://alice@pop.example.org", Endpoint(POP3, "alice", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://alice@pop.example.org/", Endpoint(POP3, "alice", "pop.example.org", 995, IMPLICIT)),
    ("POP3S://Alice@POP.Example.ORG", Endpoint(POP3, "Alice", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://alice@pop.example.org.", Endpoint(POP3, "alice", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://alice@pop.example.org:1995", Endpoint(POP3, "alice", "pop.example.org", 1995, IMPLICIT)),
    ("pop3://alice@host:110", Endpoint(POP3, "alice", "host", 110, STARTTLS)),
    ("pop3://alice@host", Endpoint(POP3, "alice", "host", 110, STARTTLS)),
    ("pop3+insecure://alice@localhost", Endpoint(POP3, "alice", "localhost", 110, NONE)),
    ("pop3+insecure://alice@127.0.0.2:1110", Endpoint(POP3, "alice", "127.0.0.2", 1110, NONE)),
    ("pop3+insecure://alice@[::1]:1110", Endpoint(POP3, "alice", "::1", 1110, NONE)),
    ("pop3s://alice@[2001:DB8:0::1]", Endpoint(POP3, "alice", "2001:db8::1", 995, IMPLICIT)),
    (
        "pop3s://alice@example.org@pop.example.org",
        Endpoint(POP3, "alice@example.org", "pop.example.org", 995, IMPLICIT),
    ),
    (
        "pop3s://alice%40example.org@pop.example.org",
        Endpoint(POP3, "alice@example.org", "pop.example.org", 995, IMPLICIT),
    ),
    ("pop3s://a@b@c@pop.example.org", Endpoint(POP3, "a@b@c", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://dom%5Calice@pop.example.org", Endpoint(POP3, "dom\\alice", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://dom%2Falice@pop.example.org", Endpoint(POP3, "dom/alice", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://a%3Ab@pop.example.org", Endpoint(POP3, "a:b", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://100%25@pop.example.org", Endpoint(POP3, "100%", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://Zo%C3%AB@pop.example.org", Endpoint(POP3, "Zoë", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://Jean Dupont@pop.example.org", Endpoint(POP3, "Jean Dupont", "pop.example.org", 995, IMPLICIT)),
    ("pop3s://alice@müller.example", Endpoint(POP3, "alice", "xn--mller-kva.example", 995, IMPLICIT)),
    ("pop3s://alice@192.0.2.7", Endpoint(POP3, "alice", "192.0.2.7", 995, IMPLICIT)),
    # Without a scheme, a source is pop3s where the text can only mean a server.
    ("alice@pop.example.org", Endpoint(POP3, "alice", "pop.example.org", 995, IMPLICIT)),
    ("alice@mail.example.org", Endpoint(POP3, "alice", "mail.example.org", 995, IMPLICIT)),
    ("alice@example.org@pop.example.org", Endpoint(POP3, "alice@example.org", "pop.example.org", 995, IMPLICIT)),
    ("alice%40gmail.com@gmail.com", Endpoint(POP3, "alice@gmail.com", "gmail.com", 995, IMPLICIT)),
    ("alice@example.org:995", Endpoint(POP3, "alice", "example.org", 995, IMPLICIT)),
    ("alice@localhost", Endpoint(POP3, "alice", "localhost", 995, IMPLICIT)),
    ("alice@192.0.2.7", Endpoint(POP3, "alice", "192.0.2.7", 995, IMPLICIT)),
    ("alice@[::1]", Endpoint(POP3, "alice", "::1", 995, IMPLICIT)),
]

DESTINATIONS: list[tuple[str, Endpoint]] = [
    ("imaps://alice@imap.example.org", Endpoint(IMAP, "alice", "imap.example.org", 993, IMPLICIT)),
    ("imaps://alice@imap.example.org/", Endpoint(IMAP, "alice", "imap.example.org", 993, IMPLICIT)),
    (
        "imaps://alice@imap.example.org/Archive",
        Endpoint(IMAP, "alice", "imap.example.org", 993, IMPLICIT, MailboxName(("Archive",))),
    ),
    ("imap://alice@host:143/inbox", Endpoint(IMAP, "alice", "host", 143, STARTTLS, MailboxName(("INBOX",)))),
    ("imap+insecure://a@b@localhost:1143/x", Endpoint(IMAP, "a@b", "localhost", 1143, NONE, MailboxName(("x",)))),
    ("imaps://a@h/Old/2020", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("Old", "2020")))),
    ("imaps://a@h/Old%2F2020", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("Old/2020",)))),
    ("imaps://a@h/Envoy%C3%A9s", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("Envoyés",)))),
    ("imaps://a@h/Envoyés", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("Envoyés",)))),
    ("imaps://a@h/My%20Mail", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("My Mail",)))),
    ("imaps://a@h/100%25", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("100%",)))),
    ("imaps://a@h/a@b:c?d#e", Endpoint(IMAP, "a", "h", 993, IMPLICIT, MailboxName(("a@b:c?d#e",)))),
    ("imaps://a@[::1]:1993/x", Endpoint(IMAP, "a", "::1", 1993, IMPLICIT, MailboxName(("x",)))),
]


@pytest.mark.parametrize(("text", "endpoint"), SOURCES, ids=[text for text, _ in SOURCES])
def test_a_source_means(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, side="source") == endpoint


@pytest.mark.parametrize(("text", "endpoint"), DESTINATIONS, ids=[text for text, _ in DESTINATIONS])
def test_a_destination_means(text: str, endpoint: Endpoint) -> None:
    assert parse_endpoint(text, side="destination") == endpoint


# text, side, a part of what is said, a part of what to do
WRONG: list[tuple[str, Side, str, str]] = [
    ("", "source", "got nothing", "pop3s://"),
    ("pop.example.org", "source", "no @", "pop3s://alice@"),
    ("pop3s://pop.example.org", "source", "user name before the host", "pop3s://alice@"),
    ("pop3s://@pop.example.org", "source", "user name before the host", ""),
    ("pop3s://alice@", "source", "expected a server", ""),
    ("alice@gmail.com", "source", "an address alone", "pop3s://ADDRESS@SERVER"),
    ("alice@mail.com", "source", "an address alone", "pop3s://ADDRESS@SERVER"),
    ("alice@gmail.com", "destination", "expected imaps://", "imaps://alice@"),
    ("alice@imap.example.org", "destination", "expected imaps://", ""),
    ("pop3s://alice@pop.example.org", "destination", "takes no mail", "imaps://"),
    ("mbox:", "source", "expected a path behind mbox:", "mbox:/home/alice/mail"),
    ("mbox:mail", "destination", "expected a path behind mbox:", "mbox:./mail"),
    ("mbox://host/mail", "source", "expected a path behind mbox:", "mbox:./mail"),
    ("mbox:/a\nb", "source", "control character", ""),
    ("maildir:Maildir", "destination", "expected a path behind maildir:", "maildir:./mail"),
    ("maildir://host/mail", "source", "expected a path behind maildir:", "maildir:/home/alice/mail"),
    ("pop3ss://alice@host", "source", "pop3ss:// is not known", "Did you mean pop3s://?"),
    ("pop://alice@host", "source", "pop:// is not known", "Did you mean pop3://?"),
    ("pops://alice@host", "source", "pops:// is not known", "Did you mean pop3s://?"),
    ("imap4://alice@host", "destination", "imap4:// is not known", "Did you mean imap://?"),
    ("impas://alice@host", "destination", "impas:// is not known", "Did you mean imaps://?"),
    ("https://mail.example.org", "destination", "https:// is not known", "imaps://alice@"),
    ("imaps:alice@host", "destination", "imaps:// with two slashes", ""),
    ("imaps:/alice@host", "destination", "imaps:// with two slashes", ""),
    ("pop3+insecure://alice@pop.example.org", "source", "clear text to pop.example.org", "pop3s://"),
    ("imap+insecure://alice@10.0.0.1", "destination", "clear text to 10.0.0.1", "--send-password-in-clear"),
    ("pop3+insecure://alice@localhost.example.org", "source", "clear text", ""),
    ("pop3s://alice@host:0", "source", "port from 1 to 65535", ""),
    ("pop3s://alice@host:65536", "source", "port from 1 to 65535", ""),
    ("pop3s://alice@host:", "source", "port from 1 to 65535", ""),
    ("pop3s://alice@host:+25", "source", "port from 1 to 65535", ""),
    ("pop3s://alice@host:٩٩٥", "source", "port from 1 to 65535", ""),
    ("pop3s://alice@::1", "source", "in brackets", "[2001:db8::1]"),
    ("pop3s://alice@[::1", "source", "in brackets", ""),
    ("pop3s://alice@[127.0.0.1]", "source", "IPv6 address between the brackets", ""),
    ("pop3s://alice@[fe80::1%25eth0]", "source", "IPv6 address between the brackets", ""),
    ("pop3s://alice@[::1]995", "source", "", ""),
    ("pop3s://alice@-host", "source", "name of a server", ""),
    ("pop3s://alice@ho st", "source", "name of a server", ""),
    ("pop3s://alice@host..org", "source", "name of a server", ""),
    ("pop3s://alice@256.1.1.1", "source", "name of a server", ""),
    ("pop3s://alice@host?x", "source", "name of a server", ""),
    ("pop3s://alice@" + "a" * 64 + ".org", "source", "name of a server", ""),
    ("pop3s://alice@host/INBOX", "source", "one maildrop", ""),
    ("imaps://alice@host/a//b", "destination", "empty part", ""),
    ("imaps://alice@host/a/", "destination", "empty part", ""),
    ("imaps://alice@host/100%", "destination", "%25", ""),
    ("imaps://alice@host/100%zz", "destination", "%25", ""),
    ("imaps://alice@host/%FF", "destination", "UTF-8", ""),
    ("pop3s://joe%example@host", "source", "%25", ""),
    ("imaps://alice@host/a%0D%0Ab", "destination", "control character", ""),
    ("pop3s://al%00ice@host", "source", "control character", ""),
    ("pop3s://alice\r\n@host", "source", "control character", ""),
    ("pop3s://alice\x1b[31m@host", "source", "control character", ""),
    ("pop3s://alice\udcff@host", "source", "not UTF-8", ""),
    (" pop3s://alice@host", "source", "begins or ends with a space", ""),
]


@pytest.mark.parametrize(("text", "side", "what", "hint"), WRONG, ids=[ascii(row[0]) for row in WRONG])
def test_a_wrong_endpoint_is_refused_with_what_to_write(text: str, side: Side, what: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(text, side=side)
    assert what in caught.value.what
    assert hint in caught.value.hint
    assert caught.value.what.startswith("SOURCE: " if side == "source" else "DEST: ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "text",
    [
        f"pop3s://alice:{CANARY}@pop.example.org",
        f"alice:{CANARY}@pop.example.org",
        f"alice:{CANARY}@example.org@pop.example.org",
        f"pop3s://alice:{CANARY}/x@pop.example.org",
        f"pop3s://alice:x/{CANARY}@pop.example.org",
        f"pop3s://alice:x@{CANARY}@pop.example.org",
        f"pop3s://alice:x@{CANARY}/y@pop.example.org",
        f"pop3s://alice@example.org:{CANARY}@pop.example.org",
        f"pop3s://alice@pop.example.org:{CANARY}",
        f"pop3s://alice:12/{CANARY}@host",
        f"pop3s:alice:{CANARY}@host",
        f"pop3s://:{CANARY}@host",
        f"mbox:alice:{CANARY}@host",
    ],
)
@pytest.mark.parametrize("side", ["source", "destination"])
def test_a_password_in_an_endpoint_is_refused_and_not_repeated(text: str, side: Side) -> None:
    with pytest.raises(UsageError) as caught:
        parse_endpoint(text, side=side)
    assert CANARY not in caught.value.what + caught.value.hint + repr(caught.value)


def test_the_refusal_of_a_password_names_the_option_to_use() -> None:
    with pytest.raises(UsageError, match="a password cannot stand here") as caught:
        parse_endpoint("imaps://alice:x@host", side="destination")
    assert "--dest-password" in caught.value.hint


def test_clear_text_to_another_machine_is_possible_when_forced() -> None:
    endpoint = parse_endpoint("pop3+insecure://alice@pop.example.org", side="source", allow_clear=True)
    assert endpoint.tls is NONE


@given(st.text(max_size=60), st.sampled_from(["", "pop3s://", "imaps://a@", "pop3s://a@h:"]), st.booleans())
def test_any_text_gives_an_endpoint_or_a_usage_error(text: str, start: str, is_source: bool) -> None:
    try:
        endpoint = parse_endpoint(start + text, side="source" if is_source else "destination")
    except UsageError:
        return
    if endpoint.path is not None:
        assert endpoint.path.is_absolute()
        return
    assert endpoint.user
    assert endpoint.host
    assert 1 <= endpoint.port <= 65535


# The shown form is for people: it does not encode what a user name rarely holds.
SHOWN_AS_WRITTEN: list[tuple[str, Side]] = [
    *((text, "source") for text, one in SOURCES if not set("%:/") & set(one.user)),
    *((text, "destination") for text, _ in DESTINATIONS),
]


@pytest.mark.parametrize(("text", "side"), SHOWN_AS_WRITTEN, ids=[text for text, _ in SHOWN_AS_WRITTEN])
def test_the_shown_form_of_an_endpoint_reads_as_itself(text: str, side: Side) -> None:
    endpoint = parse_endpoint(text, side=side)
    assert parse_endpoint(str(endpoint), side=side) == endpoint


def test_a_pin_is_read_with_and_without_colons() -> None:
    digits = "ab" * 32
    assert parse_pin(f"sha256:{digits}", option="--source-pin") == bytes.fromhex(digits)
    assert parse_pin(f"SHA256:{':'.join(['AB'] * 32)}", option="--source-pin") == bytes.fromhex(digits)


@pytest.mark.parametrize("text", ["", "sha256:", "sha256:ab", "ab" * 32, "sha1:" + "ab" * 20, "sha256:" + "xy" * 32])
def test_another_pin_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--dest-pin: expected sha256:"):
        parse_pin(text, option="--dest-pin")


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("mbox:/var/mail/alice", "/var/mail/alice"),
        ("mbox:///var/mail/alice", "/var/mail/alice"),
        ("MBOX:/a b/%41@c:d", "/a b/%41@c:d"),
        ("mbox:~/mail", f"{Path.home()}/mail"),
        ("mbox:./mail", f"{Path.cwd()}/mail"),
        ("maildir:/a:2,S", "/a:2,S"),
        ("Maildir:~/Maildir", f"{Path.home()}/Maildir"),
    ],
)
def test_files_are_named_by_their_path_alone(text: str, path: str, side: Side) -> None:
    endpoint = parse_endpoint(text, side=side)
    protocol = Protocol(text.partition(":")[0].lower())
    assert endpoint == Endpoint(protocol, "", "", 0, Tls.NONE, path=Path(path))
    assert str(endpoint) == endpoint.account == f"{protocol.value}:{path}"
    assert parse_endpoint(str(endpoint), side=side) == endpoint


@pytest.mark.parametrize("text", ["old.mbox", "./old.mbox", "sub/old.mbox", "sub", "~/old.mbox", "a@b/old.mbox"])
def test_a_path_alone_is_a_source(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("old.mbox", "sub/old.mbox", "a@b/old.mbox"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    if "@" in text:
        # Read as a server, unless it cannot be meant as one.
        with pytest.raises(UsageError):
            parse_endpoint(text, side="source")
        text = f"./{text}"
    assert parse_endpoint(text, side="source").path == tmp_path / text.removeprefix("~/").removeprefix("./")
    with pytest.raises(UsageError):
        parse_endpoint(text, side="destination")


@pytest.mark.parametrize(
    "text", ["/nonexistent/old.mbox", "~/nonexistent/old.mbox", "./nonexistent", "~nobody-of-that-name/x"]
)
def test_a_path_that_is_not_there_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="there is no"):
        parse_endpoint(text, side="source")
