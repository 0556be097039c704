"""Which messages of a backup are meant."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from migrate.rules.choose import Chosen

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
HEADER = (
    b"From: Ad\xc3\xa9le <adele@example.org>\r\nSubject: =?utf-8?Q?D=C3=A9j=C3=A0?=\r\n vu\r\n"
    b"Message-Id: <One.2@example.org>\r\nFrom: second@example.net\r\n\r\nSubject: body\r\n"
)


@pytest.mark.parametrize(
    ("chosen", "is_meant"),
    [
        (Chosen(), True),
        (Chosen(since=NOON), True),
        (Chosen(since=NOON + timedelta(seconds=1)), False),
        (Chosen(before=NOON), False),
        (Chosen(before=NOON + timedelta(seconds=1)), True),
        (Chosen(sender="ADELE@"), True),
        (Chosen(sender="ad\u00c9le"), True),
        (Chosen(sender="second"), True),
        (Chosen(sender="third"), False),
        (Chosen(subject="D\u00c9J\u00c0 vu"), True),
        (Chosen(subject="body"), False),
        (Chosen(subject=""), True),
        (Chosen(message_id="One.2@example.org"), True),
        (Chosen(message_id="<One.2@example.org>"), True),
        (Chosen(message_id="one.2@example.org"), False),
        (Chosen(message_id="One.2"), False),
        (Chosen(since=NOON, sender="third"), False),
    ],
)
def test_a_message_is_meant_when_everything_is_true(chosen: Chosen, is_meant: bool) -> None:
    assert chosen(HEADER, NOON) is is_meant


def test_a_message_without_a_date_is_never_left_out_for_its_date() -> None:
    assert Chosen(since=NOON, before=NOON)(HEADER, None)


def test_a_message_that_lost_its_header_is_left_out_for_its_date_alone() -> None:
    for chosen in (Chosen(sender="x"), Chosen(subject="x"), Chosen(message_id="x"), Chosen(since=NOON, sender="x")):
        assert chosen(b"", NOON)
    assert not Chosen(before=NOON, sender="x")(b"", NOON)


def test_a_message_without_the_field_has_no_part_of_it() -> None:
    assert not Chosen(subject="")(b"\r\n", NOON)
    assert not Chosen(message_id="x")(b"\r\n", None)
