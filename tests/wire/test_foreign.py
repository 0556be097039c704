"""Mail files of any program: where messages begin, and what their octets were."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.wire.foreign import Quoting, Separators, begins_header, is_expunged, lasting, original, quoting_of

DATE = b"Thu Nov 26 10:11:12 2026"
HEADER = b"Subject: x\n\nText\n"


def starts(octets: bytes, *, size: int = 0) -> list[int]:
    """The offsets at which messages begin. The pieces together have to be the file."""
    separators = Separators()
    blocks = [octets[at : at + size] for at in range(0, len(octets), size)] if size else [octets]
    found = [*itertools.chain.from_iterable(map(separators.update, blocks)), *separators.finish()]
    assert b"".join(piece for _, piece in found) == octets
    offsets = itertools.accumulate((len(piece) for _, piece in found), initial=0)
    return [at for at, (is_beginning, _) in zip(offsets, found, strict=False) if is_beginning]


BEGINNINGS = {
    "asctime": b"From ada@example.net " + DATE,
    "two spaces, a day of one digit": b"From ada  Wed Jul  1 13:17:17 1998",
    "no seconds, a zone": b"From ada@example.net Sat Sep  1 20:58 EDT 2001",
    "an offset before the year (Gmail Takeout)": b"From 1628424719502045299@xxx Tue Mar 19 09:13:29 +0000 2019",
    "an offset behind the year": b"From ada Thu Sep 13 12:30:05 2001 -0400",
    "no date at all, an address (Gmail)": b"From 1844347792267117879@xxx",
    "a sender of several words (Mailman)": b"From ada at example.net  Wed Feb  1 19:07:19 2006",
    "no sender": b"From  " + DATE,
    "a hash (git)": b"From b9704a518e21158433baa2cc2d591fea687967f6 Mon Sep 17 00:00:00 2001",
    "a date that cannot be": b"From ada@example.net  Mon Jan 00 00:00:00 0000",
    "a date as in a header": b"From ada@example.net Thu, 26 Nov 2026 10:11:12 +0100",
    "Thunderbird": b"From - " + DATE,
    "Thunderbird, without a date": b"From - ",
    "Thunderbird, today": b"From ",
    "Eudora": b"From ???@??? Thu Nov 26 10:11:12 2026",
}


@pytest.mark.parametrize("line", BEGINNINGS.values(), ids=BEGINNINGS)
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_every_form_of_from_line_begins_a_message(line: bytes, eol: bytes) -> None:
    one = (line + b"\n" + HEADER + b"\n").replace(b"\n", eol)
    assert starts(one * 3) == [0, len(one), 2 * len(one)]
    assert starts(eol + one) == [len(eol)], "empty lines may stand before the first"
    assert starts(b"\xef\xbb\xbf" + one) == [3], "and a byte order mark"


MIDDLES = {
    "a sentence": b"From Russia with love\n",
    "a sentence, and what looks like a field": b"From Russia with love\nYear: 1963\n",
    "a sentence, and an empty line": b"From this principle, all of life may be deduced.\n\n",
    "a marker without a header": b"From \nThis could cause problems.\n",
    "a quoted one": b">From ada@example.net " + DATE + b"\nSubject: y\n\n",
    "with a space in front (Thunderbird)": b" From - " + DATE + b"\nSubject: y\n\n",
    "other letters": b"FROM ada@example.net " + DATE + b"\nSubject: y\n\n",
    "a tab": b"From\tada@example.net " + DATE + b"\nSubject: y\n\n",
    "too long": b"From " + b"x" * 1000 + DATE + b"\nSubject: y\n\n",
}


@pytest.mark.parametrize("text", MIDDLES.values(), ids=MIDDLES)
def test_what_is_no_from_line_belongs_to_the_message(text: bytes) -> None:
    first = b"From - " + DATE + b"\n" + HEADER
    assert starts(first + b"\n" + text + b"end\n") == [0]


@pytest.mark.parametrize(
    ("line", "after", "is_beginning"),
    [
        (b"From ada@example.net " + DATE, b"Received: from there", True),
        (b"From - ", b"From: ada@example.net", True),
        (b"From ada@example.net " + DATE, b"there was a letter", False),
        (b"From ada@example.net " + DATE, b"Year: 1963", False),
        (b"From 1844347792267117879@xxx", b"Subject: x", False),
    ],
)
def test_without_an_empty_line_before_it_a_header_has_to_follow(line: bytes, after: bytes, is_beginning: bool) -> None:
    first = b"From - " + DATE + b"\n" + HEADER
    assert starts(first + line + b"\n" + after + b"\n\nend\n") == [0, len(first)][: 1 + is_beginning]


@given(
    st.lists(st.sampled_from([*BEGINNINGS.values(), *MIDDLES.values(), HEADER, b"\n", b"\r\n"]), max_size=12),
    st.integers(1, 3000),
)
def test_messages_begin_at_the_same_places_however_the_file_is_cut(parts: list[bytes], size: int) -> None:
    octets = b"\n".join(parts)
    assert starts(octets, size=size) == starts(octets)


def test_a_header_is_told_from_other_text() -> None:
    for octets in (b"Received: x\nSubject: y\n\n", b"\n\nX-Mozilla-Status: 0001\n", b"\xef\xbb\xbfsubject : z\r\n"):
        assert begins_header(octets)
    for octets in (b"key: value\nother: 1\n", b"Dear all,\nSubject: y\n", b"", b"{\n", b"a\n\nSubject: y\n"):
        assert not begins_header(octets)


# --- octets -----------------------------------------------------------------------------------

STORED = b">From: x\n\n>From you\n>>From us\nFrom me\r\n>Fromage\n"


@pytest.mark.parametrize(
    ("quoting", "want"),
    [
        (Quoting.UNKNOWN, b">From: x\r\n\r\n>From you\r\n>>From us\r\nFrom me\r\n>Fromage\r\n"),
        (Quoting.MBOXRD, b">From: x\r\n\r\nFrom you\r\n>From us\r\nFrom me\r\n>Fromage\r\n"),
        (Quoting.EVERY_FROM, b"From: x\r\n\r\nFrom you\r\n>From us\r\nFrom me\r\nFromage\r\n"),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
def test_only_what_is_proven_is_undone_and_lines_end_as_mail_has_it(quoting: Quoting, want: bytes, size: int) -> None:
    blocks = (STORED[at : at + size] for at in range(0, len(STORED), size))
    assert b"".join(original(blocks, quoting)) == want


def test_the_from_line_proves_who_quotes_by_mboxrd() -> None:
    assert quoting_of(b"From \r\n") is Quoting.MBOXRD
    assert quoting_of(b"From mboxrd@z Thu Jan  1 00:00:00 1970\n") is Quoting.MBOXRD
    for line in (b"From \n", b"From - " + DATE + b"\r\n", b"From mboxo@z " + DATE + b"\n", b""):
        assert quoting_of(line) is Quoting.UNKNOWN


def test_fields_that_mail_programs_rewrite_are_left_out_of_what_lasts() -> None:
    header = (
        b"X-Mozilla-Status: 0001\r\nX-Mozilla-Keys: a\r\n b\r\nSubject: status: x\r\nSTATUS: RO\r\n"
        b"X-Status-Of: y\r\nContent-Length: 5\r\nX-UID: 7\r\n\r\n"
    )
    assert lasting(header) == b"Subject: status: x\r\nX-Status-Of: y\r\n\r\n"
    assert lasting(b"Status: RO") == b""


@pytest.mark.parametrize(
    ("line", "header", "is_gone"),
    [
        (b"From - " + DATE, b"X-Mozilla-Status: 0009\nSubject: x\n\n", True),
        (
            b"From - " + DATE,
            b"X-Account-Key: 1\nX-UIDL: 2\nX-Mozilla-Status: 0008\nX-Mozilla-Status2: 00000000\n",
            True,
        ),
        (b"From \r\n", b"X-Mozilla-Status: 0008\r\nX-Mozilla-Status2: 00000000\r\n", True),
        (b"From \r\n", b"X-Mozilla-Status: 0001\r\nX-Mozilla-Status2: 00200000\r\n", False),
        (b"From - " + DATE, b"X-Mozilla-Status: 0001\nX-Mozilla-Status2: 10000000\n", False),
        (b"From - " + DATE, b"X-Mozilla-Status: not\nSubject: x\n\n", False),
        # Anybody can send these.
        (b"From - " + DATE, b"Received: x\nX-Mozilla-Status: 0009\n\n", False),
        (b"From ada@example.net " + DATE, b"X-Mozilla-Status: 0009\nSubject: x\n\n", False),
    ],
)
def test_only_thunderbirds_own_mark_says_that_a_message_is_deleted(line: bytes, header: bytes, is_gone: bool) -> None:
    assert is_expunged(line, header) is is_gone
