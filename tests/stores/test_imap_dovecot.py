"""The IMAP destination on a real server: what is kept, what is named, what is served back."""

from __future__ import annotations

import select
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import (
    Append,
    CloseDest,
    Command,
    FetchHeaders,
    OpenDest,
    OpenMailbox,
    Outcome,
    ReadBack,
    SearchUids,
)
from migrate.errors import Cause, Retry, StoreError
from migrate.model import INBOX, AppendUid, MailboxName, Secret, Tls
from migrate.stores import net
from migrate.stores.imap import ImapAppender
from tests.fakes.imap_script import served
from tests.support.dovecot import Dovecot, stored_form

from .imap_rig import LOGIN, PASSWORD, Sha, endpoint, letter, print_of

pytestmark = pytest.mark.dovecot


def drive(session: ImapAppender, *commands: Command) -> list[Outcome]:
    """The outcomes of the commands, as a loop around one session gets them."""
    for command in commands:
        session.submit(command)
    outcomes: list[Outcome] = []
    end = time.monotonic() + 60
    while len(outcomes) < len(commands):
        outcomes += session.turn()
        handle = session.fileno()
        if len(outcomes) < len(commands) and handle is not None and not session.is_ready():
            select.select([handle], [handle] if session.wants_write() else [], [], 1.0)
        assert time.monotonic() < end, "the session did not end its commands"
    return outcomes


def values(outcomes: Sequence[Outcome]) -> list[Any]:
    """What the commands gave, which must all be good."""
    for outcome in outcomes:
        assert outcome.error is None, (outcome.error, outcome.error.said)
    return [outcome.value for outcome in outcomes]


def session_at(port: int, user: str, password: str, tls: Tls = Tls.NONE) -> ImapAppender:
    return ImapAppender(
        endpoint(port, tls, user), Secret(password), connect=net.connect, clock=time.monotonic, timeout_s=20
    )


@pytest.fixture
def session(dovecot: Dovecot, user: str) -> Iterator[ImapAppender]:
    dovecot.prepare(user)
    session = session_at(dovecot.imap_port, user, dovecot.password)
    values(drive(session, OpenDest(0), OpenMailbox(0, INBOX, create=False)))
    yield session
    session.close()


ODD = [
    b"A: 1\r\n\r\nplain\r\n",
    b"no header, no end",
    b"\r\n",
    b"A: \0nul\r\n\r\n\0\0\r\n",
    b"A: 1\r\n\r\nbare\rcr\rhere\r\n",
    b"A: 1\n\nbare lf\nonly\n",
    "A: h\xe9\xff\r\n\r\n\xe9\r\n".encode("latin-1"),
    b"From nobody\r\nA: 1\r\n\r\n.\r\n..\r\n{5}\r\n",
    b"A: " + b"x" * 200_000 + b"\r\n\r\n" + b"y" * 200_000,
    bytes(range(1, 256)) * 40,
]


def test_odd_octets_come_back_as_dovecot_keeps_them(dovecot: Dovecot, user: str, session: ImapAppender) -> None:
    (uids,) = values(drive(session, Append(0, INBOX, tuple(letter(octets) for octets in ODD))))
    assert isinstance(uids, tuple)
    found = dovecot.stored(user)
    assert [one.octets for one in found] == [stored_form(octets) for octets in ODD]
    (prints,) = values(drive(session, ReadBack(0, INBOX, [uid.uid for uid in uids], Sha)))
    assert prints == {one.uid: print_of(one.octets) for one in found}


def test_flags_and_dates_arrive(dovecot: Dovecot, user: str, session: ImapAppender) -> None:
    all_flags = "\\Answered \\Deleted \\Draft \\Flagged \\Seen $Forwarded $MDNSent foo+bar.baz:1"
    zone = timezone(timedelta(hours=-9, minutes=-30))
    dates = [datetime(2001, 2, 3, 4, 5, 6, tzinfo=zone), datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)]
    letters = (letter(b"A: 1\r\n\r\n", "", dates[0]), letter(b"A: 2\r\n\r\n", all_flags, dates[1]))
    values(drive(session, Append(0, INBOX, letters)))
    found = dovecot.stored(user)
    assert [one.flags - {"\\Recent"} for one in found] == [frozenset(), frozenset(all_flags.split())]
    assert [one.internaldate for one in found] == dates


@pytest.mark.parametrize("levels", [("Été",), ("a & b", "c d"), ("台北", 'say "hi"'), ("100% \\ *",), ("&-",)])
def test_folders_of_any_name_are_made_found_and_filled(
    dovecot: Dovecot, user: str, session: ImapAppender, levels: tuple[str, ...]
) -> None:
    mailbox = MailboxName(levels)
    none, made, again, uids, inbox, back = values(
        drive(
            session,
            OpenMailbox(0, mailbox, create=False),
            OpenMailbox(0, mailbox, create=True),
            OpenMailbox(0, mailbox, create=True),
            Append(0, mailbox, (letter(b"A: 1\r\n\r\n"),)),
            SearchUids(0, INBOX, 1),
            SearchUids(0, mailbox, 1),
        )
    )
    assert none is None
    assert made == again
    assert uids == (AppendUid(made.uidvalidity, 1),)
    assert list(inbox) == []
    assert list(back) == [1]
    with dovecot.imap(user) as imap:
        assert len(imap.command('LSUB "" "*"')) > 1, "subscribed"


def test_a_large_message_goes_and_comes_in_pieces(session: ImapAppender, tmp_path: Path) -> None:
    octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef" * (12 * 65536) + b"\r\n"
    sent = letter(octets, path=tmp_path / "letter")
    small = letter(b"A: 1\r\n\r\n")
    first, second, prints = values(
        drive(
            session,
            Append(0, INBOX, (sent, small)),
            Append(0, INBOX, (small,)),
            ReadBack(0, INBOX, [1, 2, 3, 4], Sha),
        )
    )
    assert [uid.uid for uid in (*first, *second)] == [1, 2, 3]
    assert prints == {1: print_of(octets), 2: print_of(b"A: 1\r\n\r\n"), 3: print_of(b"A: 1\r\n\r\n")}


def test_what_another_connection_stored_is_found(dovecot: Dovecot, user: str, session: ImapAppender) -> None:
    other = session_at(dovecot.imap_port, user, dovecot.password)
    appended = drive(other, OpenDest(0), OpenMailbox(0, INBOX, create=False), Append(0, INBOX, (letter(ODD[0]),)))
    assert values(appended)[2] is not None
    uids, headers, prints = values(
        drive(session, SearchUids(0, INBOX, 1), FetchHeaders(0, INBOX, [1], ("A",)), ReadBack(0, INBOX, [1, 2], Sha))
    )
    assert list(uids) == [1]
    assert headers[0].header == b"A: 1\r\n\r\n"
    assert prints == {1: print_of(ODD[0])}
    values(drive(other, CloseDest(0)))


def test_what_another_connection_stored_beside_others_is_found_by_the_next_search(
    dovecot: Dovecot, user: str, session: ImapAppender
) -> None:
    # Dovecot answers a NOOP behind the SEARCH that follows it.
    other = session_at(dovecot.imap_port, user, dovecot.password)
    values(drive(other, OpenDest(0), OpenMailbox(0, INBOX, create=False)))
    for count in range(1, 6):
        values(drive(other, Append(0, INBOX, (letter(ODD[0]),))))
        assert list(values(drive(session, SearchUids(0, INBOX, 1)))[0]) == list(range(1, count + 1))
    other.close()


def test_a_second_session_sees_uidnext_move(dovecot: Dovecot, user: str, session: ImapAppender) -> None:
    values(drive(session, Append(0, INBOX, tuple(letter(b"N: %d\r\n\r\n" % n) for n in range(250))), CloseDest(0)))
    again = session_at(dovecot.imap_port, user, dovecot.password)
    _, status, low, high = values(
        drive(
            again,
            OpenDest(0),
            OpenMailbox(0, INBOX, create=False),
            SearchUids(0, INBOX, 200),
            SearchUids(0, INBOX, 251),
        )
    )
    assert (status.uidnext, status.messages) == (251, 250)
    assert list(low) == list(range(200, 251))
    assert list(high) == []
    again.close()


@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.STARTTLS])
def test_tls_protects_the_whole_session(dovecot: Dovecot, user: str, tls: Tls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.ca_file))
    dovecot.prepare(user)
    port = dovecot.imaps_port if tls is Tls.IMPLICIT else dovecot.imap_port
    session = session_at(port, user, dovecot.password, tls)
    octets = b"A: 1\r\n\r\n" + b"x" * 3_000_000
    facts, _, _, prints, _ = values(
        drive(
            session,
            OpenDest(0),
            OpenMailbox(0, INBOX, create=False),
            Append(0, INBOX, tuple(letter(one) for one in (octets, b"A: 2\r\n\r\n", octets))),
            ReadBack(0, INBOX, [1, 2, 3], Sha),
            CloseDest(0),
        )
    )
    assert "TLS" in facts.greeting
    assert prints == {1: print_of(octets), 2: print_of(b"A: 2\r\n\r\n"), 3: print_of(octets)}


def test_a_wrong_password_is_a_refused_login(dovecot: Dovecot, user: str) -> None:
    (outcome,) = drive(session_at(dovecot.imap_port, user, PASSWORD), OpenDest(0))
    assert isinstance(outcome.error, StoreError)
    assert (outcome.error.cause, outcome.error.retry) == (Cause.LOGIN, Retry.NEVER)
    assert b"AUTHENTICATIONFAILED" in outcome.error.said


def test_a_scripted_server_over_a_real_socket_is_played_to_the_end() -> None:
    with served(LOGIN % "LITERAL+" + "C: LOGOUT\nS: * BYE\nS: $t OK bye\nEND") as (port, script):
        outcomes = drive(session_at(port, "ann@example.org", PASSWORD), OpenDest(0), CloseDest(0))
        assert [outcome.error for outcome in outcomes] == [None, None]
    assert script.left == []
