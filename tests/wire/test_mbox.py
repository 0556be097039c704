"""mboxrd: whatever the octets and wherever they are cut, they come back; other programs count the same messages."""

from __future__ import annotations

import mailbox
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from itertools import accumulate, chain

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.wire.foreign import Separators
from migrate.wire.mbox import (
    Decoder,
    Encoder,
    LineEnds,
    Note,
    date_of,
    decode,
    encode,
    foreign_note,
    frame,
    from_line,
    sender_of,
    survey,
)
from tests.support.mailgen import odd_messages

WHEN = datetime(2026, 11, 26, tzinfo=UTC)
LINE = b"From MAILER-DAEMON Thu Nov 26 00:00:00 2026\n"

# What the format could stumble over, more often than chance would have it.
PIECES = st.sampled_from(
    [
        b"From ",
        b"From",
        b"Fro",
        b">",
        b">>",
        b"\n",
        b"\r\n",
        b"\r",
        b"\n\n",
        b"\0",
        b"\xff",
        b" ",
        b"x",
        b"\nFrom ",
        b".\r\n",
    ]
)
OCTETS = st.lists(st.one_of(PIECES, st.binary(max_size=3)), max_size=40).map(b"".join)


def cut(octets: bytes, places: list[int]) -> Iterator[bytes]:
    """The octets in blocks, some of them empty."""
    edges = sorted(place % (len(octets) + 1) for place in places)
    yield from (octets[a:b] for a, b in zip([0, *edges], [*edges, len(octets)], strict=True))


def beginnings(blocks: Iterable[bytes]) -> list[int]:
    """The offsets at which messages begin, in a file of which nothing else is known."""
    separators = Separators()
    found = [*chain.from_iterable(map(separators.update, blocks)), *separators.finish()]
    offsets = accumulate((len(piece) for _, piece in found), initial=0)
    return [at for at, (is_beginning, _) in zip(offsets, found, strict=False) if is_beginning]


def stored(octets: bytes) -> bytes:
    return b"".join(encode([octets], survey([octets])))


@given(OCTETS, st.lists(st.integers(0, 1000), max_size=30), st.lists(st.integers(0, 1000), max_size=30))
@settings(max_examples=600)
def test_any_octets_come_back_wherever_they_are_cut(octets: bytes, there: list[int], back: list[int]) -> None:
    note = survey(cut(octets, there))
    assert note == survey([octets])
    lines = b"".join(encode(cut(octets, there), note))
    assert lines == b"".join(encode([octets], note))
    assert b"".join(decode(cut(lines, back), note)) == octets


@given(OCTETS)
@settings(max_examples=300)
def test_stored_lines_end_in_lf_and_none_begins_a_message(octets: bytes) -> None:
    lines = stored(octets)
    assert lines.endswith(b"\n")
    assert not lines.startswith(b"From ")
    assert b"\nFrom " not in lines
    if survey([octets]).line_ends is LineEnds.CRLF:
        # Only a CR that stands before another one, or alone, is left.
        assert lines.count(b"\r\n") == octets.count(b"\r\r\n") + octets.endswith(b"\r")


@given(st.lists(OCTETS, max_size=6))
@settings(max_examples=100)
def test_other_programs_count_the_same_messages(
    tmp_path_factory: pytest.TempPathFactory, messages: list[bytes]
) -> None:
    path = tmp_path_factory.mktemp("mbox") / "file.mbox"
    path.write_bytes(b"".join(b"".join(frame(LINE, [octets], survey([octets]))) for octets in messages))
    box = mailbox.mbox(path, create=False)
    assert len(box) == len(messages)
    box.close()
    assert len(beginnings([path.read_bytes()])) == len(messages)


@pytest.mark.parametrize("octets", odd_messages().values(), ids=odd_messages())
def test_odd_messages_come_back(octets: bytes) -> None:
    note = survey([octets])
    assert b"".join(decode([stored(octets)], note)) == octets


@pytest.mark.parametrize(
    ("octets", "line_ends", "is_ended", "lines"),
    [
        (b"a\r\nb\r\n", LineEnds.CRLF, True, b"a\nb\n"),
        (b"a\nb\n", LineEnds.LF, True, b"a\nb\n"),
        (b"a\nb\r\n", LineEnds.MIXED, True, b"a\nb\r\n"),
        (b"a\r\nb", LineEnds.CRLF, False, b"a\nb\n"),
        (b"a\nb", LineEnds.LF, False, b"a\nb\n"),
        (b"", LineEnds.CRLF, False, b"\n"),
        (b"a\rb\r", LineEnds.CRLF, False, b"a\rb\r\n"),
        (b"a\r\r\n", LineEnds.CRLF, True, b"a\r\n"),
        (b"From x\r\n>From y\r\n>>From z\r\n", LineEnds.CRLF, True, b">From x\n>>From y\n>>>From z\n"),
        (b"From\r\n From x\r\nxFrom y\r\n", LineEnds.CRLF, True, b"From\n From x\nxFrom y\n"),
        (b"\0\xff\r\n", LineEnds.CRLF, True, b"\0\xff\n"),
    ],
)
def test_a_message_is_stored_as(octets: bytes, line_ends: LineEnds, is_ended: bool, lines: bytes) -> None:
    assert survey([octets]) == Note(line_ends, is_ended)
    assert stored(octets) == lines


def test_a_line_without_end_is_given_on_and_not_held() -> None:
    for block, coder in (
        (b">" * 1000, Encoder(Note())),
        (b"x" * 1000, Encoder(Note())),
        (b">" * 1000, Decoder(Note())),
    ):
        given_on = sum(len(coder.update(block)) for _ in range(1000))
        assert given_on >= 1_000_000 - 8


def test_a_row_of_quotes_cut_everywhere_is_quoted_once() -> None:
    octets = b">" * 9 + b"From x\r\n"
    note = survey([octets])
    lines = b"".join(encode((octets[i : i + 1] for i in range(len(octets))), note))
    assert lines == b">" * 10 + b"From x\n"
    assert b"".join(decode((lines[i : i + 1] for i in range(len(lines))), note)) == octets


# --- the line in front ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "sender"),
    [
        (b"Return-Path: <ada@example.net>\r\n\r\n", b"ada@example.net"),
        (b"Return-Path: ada+x@example.net\n\n", b"ada+x@example.net"),
        (b"Subject: x\r\nReturn-Path:\r\n <ada@example.net>\r\n\r\n", b"ada@example.net"),
        (b"Return-Path: <>\r\n\r\n", b"MAILER-DAEMON"),
        (b"Return-Path: <a b@example.net>\r\n\r\n", b"MAILER-DAEMON"),
        (b'Return-Path: <"a b"@example.net>\r\n\r\n', b"MAILER-DAEMON"),
        (b"Return-Path: <\xe9@example.net>\r\n\r\n", b"MAILER-DAEMON"),
        (b"Return-Path: <a@example.net>\0\r\n\r\n", b"MAILER-DAEMON"),
        (b"Return-Path: <a@" + b"x" * 300 + b">\r\n\r\n", b"MAILER-DAEMON"),
        (b"", b"MAILER-DAEMON"),
    ],
)
def test_the_sender_is_the_return_path_where_it_is_a_plain_address(header: bytes, sender: bytes) -> None:
    assert sender_of(header) == sender


def test_the_from_line_is_asctime_in_utc() -> None:
    assert from_line(b"MAILER-DAEMON", WHEN) == LINE
    east = datetime(2004, 3, 1, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=45)))
    assert from_line(b"a@b", east) == b"From a@b Sun Feb 29 19:17:03 2004\n"


@given(st.datetimes(min_value=datetime(1970, 1, 1), max_value=datetime(2099, 12, 31)))
def test_the_date_of_a_from_line_is_read_back(when: datetime) -> None:
    whole = when.replace(microsecond=0, tzinfo=UTC)
    assert date_of(from_line(b"a@b", whole)) == whole


@pytest.mark.parametrize(
    ("line", "when"),
    [
        (b"From a@b Thu Nov 26 00:00:00 2026", WHEN),
        (b"From - Thu Nov 26 00:00:00 2026", WHEN),
        (b"From 1234567890@xxx Thu Nov 26 00:00:00 +0000 2026", WHEN),  # Google Takeout
        (b"From a@b Thu Nov 26 00:00 2026 remote from host", WHEN),
        (b"From a@b Thu Nov 26 00:00:00 CET 2026", WHEN),
        (b"From a@b Thu Nov 31 00:00:00 2026", None),
        (b"From a@b Thu Nov 26 00:00:00 0001", None),
        (b"From a@b Thu Nov 26 00:00:00 9999", None),
        (b"From here to there", None),
        (b"From a@b", None),
    ],
)
def test_the_from_lines_of_others_are_read(line: bytes, when: datetime | None) -> None:
    assert date_of(line) == when


# --- without a note ---------------------------------------------------------------------------


@given(st.lists(OCTETS, min_size=1, max_size=5), st.lists(st.integers(0, 5000), max_size=30))
@settings(max_examples=200)
def test_messages_are_found_wherever_the_file_is_cut(messages: list[bytes], places: list[int]) -> None:
    """What tells the messages of any program apart finds ours, each and no other, where their index is lost."""
    framed = [b"".join(frame(LINE, [octets], survey([octets]))) for octets in messages]
    found = beginnings(cut(b"".join(framed), places))
    assert found == [sum(map(len, framed[:number])) for number in range(len(framed))]


def test_lines_of_another_program_get_crlf_unless_they_have_them() -> None:
    for lines, octets in ((b"a\nb\n", b"a\r\nb\r\n"), (b"a\r\nb\r\n", b"a\r\nb\r\n"), (b"a\r\nb\n", b"a\r\nb\n")):
        assert b"".join(decode([lines], foreign_note(survey([lines])))) == octets
