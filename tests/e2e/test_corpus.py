"""The whole corpus of real messages, through Dovecot over TLS: nothing missing, nothing altered, nothing untold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot

from .ferry import Ferry, Json, ferry

pytestmark = [pytest.mark.dovecot, pytest.mark.corpus, pytest.mark.slow]

FOLDER = "Old"

# Header fields that two deliveries of one mail may differ in, written down here once more.
MAY_DIFFER = re.compile(
    rb"(?i)(received|return-path|delivered-to|x-original-to|envelope-to|delivery-date|authentication-results"
    rb"|dkim-signature|status|x-status|x-keywords|x-uidl|x-tuid|x-uid|x-imap|x-imapbase|content-length|lines"
    rb"|arc-.*|x-spam-.*|x-virus-.*|x-mozilla-.*|x-gmail-.*|x-gm-.*|x-ms-exchange-.*)"
)


def load(dovecot: Dovecot, user: str, corpus: list[Path]) -> list[bytes]:
    """The octets that POP3 has to serve, in order, as the corpus and Dovecot's known ways say."""
    messages = [path.read_bytes() for path in corpus]
    dovecot.deliver_many(user, messages)
    return [dovecot.served(octets) for octets in messages]


def by_uidl(dovecot: Dovecot, user: str, loaded: list[bytes]) -> dict[str, bytes]:
    """What was loaded, by the UIDL that the server gave it; POP3 serves exactly these octets."""
    served = dovecot.served_pop3(user)
    assert [octets for _, octets in served] == loaded
    return {uidl.decode(): octets for uidl, octets in served}


def stored(dovecot: Dovecot, user: str) -> list[bytes]:
    return [message.octets for message in dovecot.stored(user, FOLDER)]


def uidnext(dovecot: Dovecot, user: str) -> bytes:
    with dovecot.imap(user) as imap:
        (answer, _), *_ = imap.command(f'STATUS "{FOLDER}" (UIDNEXT)')
    return answer


def runs_again_without_a_change(dovecot: Dovecot, migration: Ferry, user: str, *options: str) -> bool:
    """Whether a second run sends nothing: the folder's UIDNEXT stays, and no APPEND is among its commands."""
    before, said = uidnext(dovecot, user), len(dovecot.commands(user))
    again = migration.run(*options)
    assert (again.code, again.all("copied")) == (0, [])
    return uidnext(dovecot, user) == before and b" APPEND " not in dovecot.commands(user)[said:]


def changes_named(status: Json) -> dict[str, str]:
    return {one["uidl"]: one["proof"] for one in status["altered"]}


def expected_changes(sent: bytes, kept: bytes) -> list[str]:
    """What has to be told about these octets that Dovecot keeps of those."""
    named = []
    if b"\0" in sent:
        named.append("NUL")
    if sent.replace(b"\0", b"\x80") != kept:
        named.append("CR")
    return named


def test_the_whole_corpus_arrives_unaltered_and_what_dovecot_changes_is_named(
    dovecot: Dovecot,
    user: str,
    corpus: list[Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    old, new = f"old-{user}", f"new-{user}"
    loaded = load(dovecot, old, corpus)
    migration = ferry(tmp_path / "state.sqlite", dovecot, old, dovecot, new, FOLDER)
    options = ("--dedupe", "off", "--verify", "full")

    ran = migration.run(*options)

    assert (ran.code, ran.err) == (0, "")
    kept = Counter(map(dovecot.kept, loaded))
    found = Counter(stored(dovecot, new))
    assert (kept - found, found - kept) == (Counter(), Counter())
    messages = by_uidl(dovecot, old, loaded)
    assert len(messages) == len(corpus) == len(loaded)
    status = migration.status()
    named = changes_named(status)
    altered = {uidl: octets for uidl, octets in messages.items() if dovecot.kept(octets) != octets}
    assert set(named) == set(altered) == {event["uidl"] for event in ran.all("altered")}
    for uidl, octets in altered.items():
        told = named[uidl].partition("changed: ")[2].split("; ")
        expected = expected_changes(octets, dovecot.kept(octets))
        assert [word for text in told for word in ("NUL", "CR") if word in text.split()] == expected, (uidl, told)
    count = len(corpus)
    assert status["tally"] == ran.tally
    assert (ran.tally["listed"], ran.tally["copied"], ran.tally["verified"]) == (count, count, count)
    assert ran.tally["altered"] == len(altered)
    assert status["stages"] == {"verified": count}
    record_property("copied, of these altered by Dovecot", (ran.tally["copied"], len(altered)))
    assert runs_again_without_a_change(dovecot, migration, new, *options)


def test_with_the_usual_dedupe_every_collapsed_message_is_listed_with_its_twin_and_nothing_else_is_missing(
    dovecot: Dovecot,
    user: str,
    corpus: list[Path],
    tmp_path: Path,
    record_property: Callable[[str, object], None],
) -> None:
    old, new = f"old-{user}", f"new-{user}"
    loaded = load(dovecot, old, corpus)
    migration = ferry(tmp_path / "state.sqlite", dovecot, old, dovecot, new, FOLDER)

    ran = migration.run()

    assert (ran.code, ran.err) == (0, "")
    messages = by_uidl(dovecot, old, loaded)
    status = migration.status()
    collapsed = {one["uidl"]: one for one in status["not_copied"]}
    assert len(collapsed) == len(status["not_copied"]) == ran.tally["duplicate"]
    assert {event["uidl"] for event in ran.all("duplicate")} == set(collapsed)
    copied = [uidl for uidl in messages if uidl not in collapsed]
    kept = Counter(dovecot.kept(messages[uidl]) for uidl in copied)
    by_uid = {message.uid: message.octets for message in dovecot.stored(new, FOLDER)}
    found = Counter(by_uid.values())
    assert (kept - found, found - kept) == (Counter(), Counter())
    for uidl, one in collapsed.items():
        twin = messages[one["twin_uidl"]]
        assert one["twin_uidl"] not in collapsed
        assert by_uid[one["twin_uid"]] == dovecot.kept(twin)
        assert what_counts(messages[uidl]) == what_counts(twin), (uidl, one)
    # Identical octets are never kept twice.
    assert max(found.values()) == 1
    assert ran.tally["listed"] == len(corpus) == ran.tally["copied"] + ran.tally["duplicate"]
    assert (len(by_uid), status["tally"]) == (ran.tally["copied"], ran.tally)
    record_property("copied, collapsed", (ran.tally["copied"], len(collapsed)))
    assert runs_again_without_a_change(dovecot, migration, new)


def what_counts(octets: bytes) -> tuple[list[tuple[bytes, list[bytes]]], bytes]:
    """The header fields that two copies of one mail share, unfolded, and the body, without what servers do to
    line ends."""
    text = octets.replace(b"\0", b"\x80").replace(b"\r", b"")
    header, _, body = text.partition(b"\n\n")
    fields = [line.partition(b":") for line in re.split(rb"\n(?![ \t])", header)]
    shared = [
        (name.lower().rstrip(b" \t"), value.split()) for name, _, value in fields if not MAY_DIFFER.fullmatch(name)
    ]
    return sorted(shared), body.rstrip(b"\n")
