"""Placement: mailbox from the policy, flags and date from the header."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from migrate.model import DateSource, Flags, InternalDate, MailboxName, Mark, Policy
from migrate.rules.place import place, place_of, places_of, renamed

FETCHED_AT = 1_700_000_000.0


def test_a_message_goes_where_the_policy_says_with_its_own_date_and_flags() -> None:
    policy = Policy(mailbox=MailboxName.parse("Old/Mail"))
    placement = place(b"Date: Mon, 1 Jan 2001 10:00:00 +0100\r\nStatus: RO\r\n\r\n", policy, FETCHED_AT)
    assert str(placement.mailbox) == "Old/Mail"
    assert str(placement.flags) == "\\Seen"
    assert placement.internaldate.when.isoformat() == "2001-01-01T10:00:00+01:00"
    assert placement.internaldate.source is DateSource.DATE


@pytest.mark.parametrize(
    ("header", "mark", "names"),
    [
        (b"", Mark.SEEN, "\\Seen"),
        (b"", Mark.AUTO, ""),
        (b"Status: RO\r\n\r\n", Mark.AUTO, "\\Seen"),
        (b"Status: RO\r\n\r\n", Mark.UNSEEN, ""),
    ],
)
def test_a_message_is_seen_as_asked_else_as_its_header_says(header: bytes, mark: Mark, names: str) -> None:
    placement = place(header, Policy(mark=mark), FETCHED_AT)
    assert str(placement.flags) == names
    assert placement.internaldate.source is DateSource.FETCHED


@pytest.mark.parametrize(
    ("mark", "names"),
    [(Mark.AUTO, "\\Flagged blue"), (Mark.SEEN, "\\Flagged \\Seen blue"), (Mark.UNSEEN, "\\Flagged blue")],
)
def test_what_the_source_keeps_goes_before_the_header(mark: Mark, names: str) -> None:
    header = b"Date: Mon, 1 Jan 2001 10:00:00 +0100\r\nStatus: RO\r\nX-Status: A\r\n\r\n"
    date = InternalDate(datetime(2004, 2, 29, tzinfo=UTC), DateSource.STORE)
    placement = place(header, Policy(mark=mark), FETCHED_AT, Flags(frozenset({"\\Flagged", "blue"})), date)
    assert str(placement.flags) == names
    assert placement.internaldate == date
    assert placement.internaldate.source is DateSource.STORE


# --- folders ----------------------------------------------------------------------------------

DOTTED = Policy(keeps_mailboxes=True, separator=".")


@pytest.mark.parametrize(
    ("levels", "root", "want"),
    [
        (("pop.example.org", "Sent"), (), ("pop_example_org", "Sent")),
        (("pop.example.org",), ("Old.Mail",), ("Old.Mail", "pop_example_org")),
        (("Sent", "2026"), (), ("Sent", "2026")),
        (("Sent/2026",), (), ("Sent/2026",)),
        (("INBOX",), ("Old.Mail",), ("Old.Mail",)),
        (("INBOX", "1.2.3"), (), ("INBOX", "1_2_3")),
    ],
)
def test_a_level_with_the_sign_that_divides_levels_gets_another_sign(
    levels: tuple[str, ...], root: tuple[str, ...], want: tuple[str, ...]
) -> None:
    policy = replace(DOTTED, root=MailboxName(root) if root else None)
    assert place_of(policy, MailboxName(levels)).levels == want, "but what a person named stays as it is"


def test_a_person_reads_of_every_folder_that_cannot_have_its_name_and_of_none_else() -> None:
    names = [None, MailboxName(("A.B",)), MailboxName(("A_B",)), MailboxName(("A", "B")), MailboxName(("c.d", "e"))]
    assert list(renamed(DOTTED, names)) == [
        'The folder "A.B" is "A_B" at the destination, which writes "." between folders, together with "A_B".',
        'The folder "c.d/e" is "c_d/e" at the destination, which writes "." between folders.',
    ]
    assert len(places_of(DOTTED, names)) == 4, "two are one folder there"
    assert list(renamed(replace(DOTTED, separator="/"), names)) == []
    assert list(renamed(replace(DOTTED, keeps_mailboxes=False), names)) == []
