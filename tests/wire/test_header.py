"""The header reader: every form that is forgiven, one pass equal to the other, nothing raised."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.wire.header import fields, first, pick, text_of, unfold, values

NAMES = frozenset({b"from", b"to", b"date", b"subject", b"received", b"status", b"message-id"})

FORMS = [
    ("RFC 5322", b"From: a@b\r\nTo: c@d\r\n\r\nDate: body", [(b"from", b" a@b"), (b"to", b" c@d")]),
    ("bare LF", b"From: a\nTo: b\n\nDate: body", [(b"from", b" a"), (b"to", b" b")]),
    ("bare CR", b"From: a\rTo: b\r\rDate: body", [(b"from", b" a"), (b"to", b" b")]),
    ("CR CR LF", b"From: a\r\r\nTo: b\r\r\n\r\r\nDate: body", [(b"from", b" a"), (b"to", b" b")]),
    ("no empty line", b"From: a\r\nTo: b", [(b"from", b" a"), (b"to", b" b")]),
    ("folding stays in the value", b"To: a,\r\n\tb,\r\n c\r\n\r\n", [(b"to", b" a,\r\n\tb,\r\n c")]),
    ("folded right after the colon", b"To:\r\n a\r\n\r\n", [(b"to", b"\r\n a")]),
    ("a folded line of white space", b"To: a\r\n \r\n b\r\nFrom: c\r\n", [(b"to", b" a\r\n \r\n b"), (b"from", b" c")]),
    ("space before the colon", b"From : a\r\nTo\t: b\r\n\r\n", [(b"from", b" a"), (b"to", b" b")]),
    (
        "junk is skipped, with what is folded onto it",
        b"From: a\r\njunk\r\n more\r\nTo: b\r\n",
        [(b"from", b" a"), (b"to", b" b")],
    ),
    ("a From_ line", b"From a@b Fri Dec 31 23:00:00 1999\r\nFrom: a\r\n\r\n", [(b"from", b" a")]),
    ("a quoted From_ line", b">From a@b Fri Dec 31 23:00:00 1999\nFrom: a\n\n", [(b"from", b" a")]),
    ("empty lines first", b"\r\n\r\nFrom: a\r\n\r\n", [(b"from", b" a")]),
    ("byte order mark", b"\xef\xbb\xbfFrom: a\r\n\r\n", [(b"from", b" a")]),
    ("a folded line first", b" From: x\r\nFrom: a\r\n\r\n", [(b"from", b" a")]),
    ("an empty value", b"From:\r\nTo: \r\n\r\n", [(b"from", b""), (b"to", b" ")]),
    ("the same name again", b"To: a\r\nTO: b\r\n\r\n", [(b"to", b" a"), (b"to", b" b")]),
    ("8-bit octets and NUL", b"To: \xe9\0\r\n\r\n", [(b"to", b" \xe9\0")]),
    ("nothing", b"", []),
    ("only an empty line", b"\r\n", []),
]


@pytest.mark.parametrize(("about", "header", "expected"), FORMS, ids=[row[0] for row in FORMS])
def test_a_header_block_is_read_as_in_the_table(about: str, header: bytes, expected: list[tuple[bytes, bytes]]) -> None:
    assert list(fields(header)) == expected
    assert _picked(header) == [(name, unfold(value).strip()) for name, value in expected]


def _picked(header: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, unfold(value).strip()) for name, value in pick(header, NAMES)]


_PIECES = [b"\r", b"\n", b"\r\n", b" ", b"\t", b":", b"Date", b"from: ", b"To :", b"x", b"\xef\xbb\xbf", b"\0", b"\x85"]


@given(st.lists(st.sampled_from(_PIECES), max_size=20).map(b"".join) | st.binary(max_size=60))
def test_the_quick_way_finds_what_the_thorough_way_finds(header: bytes) -> None:
    thorough = [(name, unfold(value).strip()) for name, value in fields(header) if name in NAMES]
    assert _picked(header) == thorough


@given(st.binary(max_size=200))
def test_no_octets_make_the_reader_raise(octets: bytes) -> None:
    list(fields(octets))
    values(octets, b"To")
    text_of(octets)


def test_values_come_unfolded_top_down_and_first_is_the_topmost() -> None:
    header = b"Received: a\r\n\tb\r\nreceived: c\r\n\r\n"
    assert values(header, b"Received") == [b"a\tb", b"c"]
    assert first(header, b"RECEIVED") == b"a\tb"
    assert first(header, b"Date") is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (b" plain\r\n text ", "plain text"),
        (b"caf\xc3\xa9", "café"),
        (b"caf\xe9", "café"),
        (b"=?iso-8859-1?Q?caf=E9?=", "café"),
        (b"=?UTF-8?b?Y2Fmw6k=?=", "café"),
        (b"=?UTF-8?B?Y2Fmw6k?=", "café"),
        (b"=?utf-8?Q?a_b?= c =?utf-8?Q?d?=", "a b c d"),
        (b"=?utf-8?Q?a?=\r\n =?utf-8?Q?b?=", "ab"),
        (b"=?utf-8?Q?=C3?= =?utf-8?Q?=A9?=", "é"),
        (b"=?utf-8?Q?a?= =?iso-8859-1?Q?=E9?=", "aé"),
        (b"=?utf-8*fr?Q?=C3=A9?=", "é"),
        (b"=?x-unknown?Q?caf=C3=A9?=", "café"),
        (b"=?idna?Q?xn--caf-dma?=", "xn--caf-dma"),
        (b"=?utf-8?B?!?=", ""),
        (b"=?utf-8?Q?open", "=?utf-8?Q?open"),
        (b"=?utf-8?X?a?=", "=?utf-8?X?a?="),
        (b"=?utf-8?Q?=FF?=", "\ufffd"),
    ],
)
def test_a_value_for_people_is_decoded(value: bytes, text: str) -> None:
    assert text_of(value) == text


@pytest.mark.corpus
def test_both_ways_agree_on_the_whole_corpus_with_every_line_end(corpus: list[Path]) -> None:
    for path in corpus:
        octets = path.read_bytes()
        for form in (octets, re.sub(rb"\r?\n", b"\r\n", octets), octets.replace(b"\n", b"\r")):
            thorough = [(name, unfold(value).strip()) for name, value in fields(form) if name in NAMES]
            assert _picked(form) == thorough, path.name
