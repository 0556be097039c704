"""Messages -> the segments of APPEND and MULTIAPPEND."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.commands import Letter
from migrate.errors import Exit, StateError
from migrate.model import DateSource, DedupeKey, Fingerprint, Flags, InternalDate, Message, Oddity
from migrate.wire.imap import Literals, Pause, Segment, append_segments, exact_blocks, internaldate_text, quoted

PRINT = Fingerprint(0, b"", None, Oddity.NONE, DedupeKey(b"", b"", False))
WHEN = datetime(1994, 2, 7, 21, 52, 25, tzinfo=timezone(timedelta(hours=-8)))


def letter(octets: bytes, flags: str = "", when: datetime = WHEN) -> Letter:
    message = Message(len(octets), b"", PRINT, data=octets)
    return Letter(message, Flags(frozenset(flags.split())), InternalDate(when, DateSource.DATE))


def wire(segments: list[Segment]) -> list[bytes | str]:
    """The octets between the pauses."""
    out: list[bytes | str] = [b""]
    for segment in segments:
        if isinstance(segment, Pause):
            out += ["+", b""]
        else:
            assert isinstance(out[-1], bytes)
            out[-1] += segment if isinstance(segment, bytes) else b"".join(segment.blocks())
    return out


def test_the_example_of_rfc_3501_is_written() -> None:
    body = b"x" * 310
    segments = append_segments(b"A003", b"saved-messages", [letter(body, "\\Seen")], Literals.SYNC)
    assert wire(segments) == [
        b'A003 APPEND saved-messages (\\Seen) " 7-Feb-1994 21:52:25 -0800" {310}\r\n',
        "+",
        body + b"\r\n",
    ]


def test_the_example_of_rfc_3502_has_one_space_between_messages() -> None:
    letters = [letter(b"x" * 329, "\\Seen"), letter(b"y" * 295, "\\Seen", WHEN + timedelta(seconds=1)), letter(b"z")]
    segments = append_segments(b"A003", b"saved-messages", letters, Literals.PLUS)
    assert wire(segments) == [
        b'A003 APPEND saved-messages (\\Seen) " 7-Feb-1994 21:52:25 -0800" {329+}\r\n'
        + b"x" * 329
        + b' (\\Seen) " 7-Feb-1994 21:52:26 -0800" {295+}\r\n'
        + b"y" * 295
        + b' " 7-Feb-1994 21:52:25 -0800" {1+}\r\nz\r\n'
    ]


@pytest.mark.parametrize(
    ("literals", "octets", "mark"),
    [
        (Literals.SYNC, 1, "{1}"),
        (Literals.MINUS, 4096, "{4096+}"),
        (Literals.MINUS, 4097, "{4097}"),
        (Literals.PLUS, 4097, "{4097+}"),
        (Literals.PLUS, 16 * 1024 * 1024, "{16777216+}"),
        (Literals.PLUS, 16 * 1024 * 1024 + 1, "{16777217}"),
        (Literals.SYNC, 0, "{0}"),
        (Literals.PLUS, 0, "{0+}"),
    ],
)
def test_the_form_of_the_literal_follows_the_capability(literals: Literals, octets: int, mark: str) -> None:
    message = Message(octets, b"", PRINT, path=Path("/nowhere"))
    one = Letter(message, Flags(), InternalDate(WHEN, DateSource.DATE))
    segments = append_segments(b"a", b"x", [one], literals)
    assert isinstance(segments[0], bytes)
    assert segments[0].endswith(mark.encode() + b"\r\n")
    assert (Pause.CONTINUATION in segments) == (not mark.endswith("+}"))


def test_the_octets_of_a_message_are_not_touched() -> None:
    odd = b"\0\r\r\n\n\xff\r" + bytes(range(256))
    (sent,) = wire(append_segments(b"a", b"x", [letter(odd)], Literals.PLUS))
    assert isinstance(sent, bytes)
    assert sent.endswith(b"{%d+}\r\n" % len(odd) + odd + b"\r\n")


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (datetime(2024, 12, 31, 23, 59, 59, tzinfo=UTC), "31-Dec-2024 23:59:59 +0000"),
        (datetime(2024, 5, 1, 0, 0, 0, tzinfo=timezone(timedelta(hours=5, minutes=45))), " 1-May-2024 00:00:00 +0545"),
        (datetime(2024, 5, 1, tzinfo=timezone(-timedelta(minutes=30))), " 1-May-2024 00:00:00 -0030"),
        (datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=11, minutes=59))), " 1-May-2024 00:00:00 +1159"),
        (datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=12))), "30-Apr-2024 12:00:00 +0000"),
        (datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=-12))), " 1-May-2024 12:00:00 +0000"),
        (datetime(2024, 5, 1, tzinfo=timezone(timedelta(hours=14, minutes=1))), "30-Apr-2024 09:59:00 +0000"),
        (datetime(1890, 5, 1, tzinfo=timezone(timedelta(minutes=9, seconds=21))), "30-Apr-1890 23:50:39 +0000"),
        (datetime(999, 3, 9, tzinfo=UTC), " 9-Mar-0999 00:00:00 +0000"),
    ],
)
def test_dates_are_written_by_the_grammar(when: datetime, text: str) -> None:
    assert internaldate_text(when) == text


@given(st.datetimes(datetime(1, 1, 3), datetime(9999, 12, 29), timezones=st.timezones()))
def test_a_written_date_is_the_same_instant(when: datetime) -> None:
    text = internaldate_text(when)
    read = datetime.strptime(text.strip().zfill(26), "%d-%b-%Y %H:%M:%S %z")
    # By timestamp: Python calls the hour that a zone has twice unequal to everything.
    assert read.timestamp() == when.replace(microsecond=0).timestamp()


def test_a_file_that_is_not_as_long_as_announced_is_never_sent_as_if(tmp_path: Path) -> None:
    path = tmp_path / "letter"
    path.write_bytes(b"123456")
    assert b"".join(exact_blocks(Message(6, b"", PRINT, path=path))) == b"123456"
    for octets in (5, 7):
        sent: list[bytes] = []
        with pytest.raises(StateError) as raised:
            sent.extend(exact_blocks(Message(octets, b"", PRINT, path=path)))
        assert raised.value.exit is Exit.STATE_UNWRITABLE
        assert len(b"".join(sent)) <= octets
    with pytest.raises(StateError):
        list(exact_blocks(Message(6, b"", PRINT, path=tmp_path / "gone")))


def test_names_are_quoted() -> None:
    assert quoted(b'a "b\\c') == b'"a \\"b\\\\c"'
    for bad in (b"a\r", b"a\nb", b"\0"):
        with pytest.raises(ValueError, match="quoted"):
            quoted(bad)
