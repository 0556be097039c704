"""Placement: mailbox from the policy, flags and date from the header, and a sentence."""

from __future__ import annotations

import pytest

from migrate.model import DateSource, MailboxName, Mark, Policy
from migrate.rules.place import place

FETCHED_AT = 1_700_000_000.0


def test_a_message_goes_where_the_policy_says_with_its_own_date_and_flags() -> None:
    policy = Policy(mailbox=MailboxName.parse("Old/Mail"))
    placement = place(b"Date: Mon, 1 Jan 2001 10:00:00 +0100\r\nStatus: RO\r\n\r\n", policy, FETCHED_AT)
    assert str(placement.mailbox) == "Old/Mail"
    assert str(placement.flags) == "\\Seen"
    assert placement.internaldate.when.isoformat() == "2001-01-01T10:00:00+01:00"
    assert placement.why == "dated by its Date; seen as its header says"


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        (Mark.SEEN, "seen as asked"),
        (Mark.UNSEEN, "unseen as asked"),
        (Mark.AUTO, "unseen, as no mark in its header says otherwise"),
    ],
)
def test_the_sentence_tells_what_decided(mark: Mark, why: str) -> None:
    placement = place(b"", Policy(mark=mark), FETCHED_AT)
    assert placement.why.endswith(why)
    assert placement.internaldate.source is DateSource.FETCHED
