"""Octets of an IMAP server -> events: the grammar, its limits, and that cuts make no difference."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import Cause, StoreError
from migrate.wire.imap import Continuation, Data, Event, Quirk, Reader, Status, Tagged, parse_fetch

DIALOGUE = (
    b"* OK [CAPABILITY IMAP4rev1 LITERAL+] ready {5}\r\n"
    b"* 12 FETCH (UID 7 BODY[] {6}\r\na\r\n\0b) FLAGS (\\Seen))\r\n"
    b'* LIST () "/" {3}\r\nfoo\r\n'
    b"* 3 EXISTS\r\n* SEARCH\r\n"
    b"+ go on\r\n+\r\n"
    b"a1 OK [APPENDUID 38505 3955:3957] done\r\n"
    b"a2 NO [TRYCREATE] no such mailbox {3}\r\n"
    b"a3 OK\r\n"
    b"* BYE\r\n"
)

EVENTS: list[Event] = [
    Status(b"OK", b"CAPABILITY", b"IMAP4rev1 LITERAL+", b"ready {5}"),
    Data(b"FETCH", 12, (b"(UID 7 BODY[] ", b"a\r\n\0b)", b" FLAGS (\\Seen))")),
    Data(b"LIST", None, (b'() "/" ', b"foo", b"")),
    Data(b"EXISTS", 3, (b"",)),
    Data(b"SEARCH", None, (b"",)),
    Continuation(b"go on"),
    Continuation(b""),
    Tagged(b"OK", b"APPENDUID", b"38505 3955:3957", b"done", tag=b"a1"),
    Tagged(b"NO", b"TRYCREATE", b"", b"no such mailbox {3}", tag=b"a2"),
    Tagged(b"OK", b"", b"", b"", tag=b"a3"),
    Status(b"BYE", b"", b"", b""),
]


def read(*pieces: bytes, reader: Reader | None = None) -> list[object]:
    """All events of the pieces, and the words of the error that ended them, if one did."""
    reader = reader or Reader()
    events: list[object] = []
    try:
        for piece in pieces:
            reader.feed(piece)
            while (event := reader.next_event()) is not None:
                events.append(event)
    except StoreError as error:
        events.append(str(error) if error.cause is Cause.UNUSABLE else error)
    return events


def error_of(octets: bytes, **limits: int) -> str:
    events = read(octets, reader=Reader(**limits))
    assert events, "no error came"
    assert isinstance(events[-1], str)
    return events[-1]


def test_every_kind_of_response_is_read() -> None:
    assert read(DIALOGUE) == EVENTS


def test_a_cut_at_any_octet_makes_no_difference() -> None:
    for cut in range(len(DIALOGUE)):
        assert read(DIALOGUE[:cut], DIALOGUE[cut:]) == EVENTS


def test_single_octets_make_no_difference() -> None:
    assert read(*(DIALOGUE[at : at + 1] for at in range(len(DIALOGUE)))) == EVENTS


SIZES = (
    b"* 1 FETCH (UID 5 RFC822.SIZE 100)\r\n* 2 FETCH (UID 6 RFC822.SIZE 7)\r\n"
    b"* 7 EXISTS\r\n"
    b"* 3 FETCH (RFC822.SIZE 70 UID 9)\r\n"
    b"* 4 FETCH (UID 10 RFC822.SIZE 8)\r\n"
    b'* LIST () "/" {40}\r\n* 9 FETCH (UID 99 RFC822.SIZE 99999)\r\nxx\r\n'
    b"* 5 FETCH (UID 11 RFC822.SIZE 9 FLAGS ())\r\n"
    b"* 6 FETCH (UID 12 RFC822.SIZE 1)\r\n"
    b"a1 OK done\r\n"
)


def told_sizes(*pieces: bytes) -> list[object]:
    """Uid and size of each message in the order of their coming, and all other events, by a caller who takes both."""
    reader, told = Reader(), list[object]()
    for piece in pieces:
        reader.feed(piece)
        while True:
            told += reader.take_sizes()
            if (event := reader.next_event()) is None:
                break
            told.append(event)
    return told


def test_sizes_are_taken_many_at_once_and_nothing_else_is() -> None:
    plain = [(5, 100), (6, 7), Data(b"EXISTS", 7, (b"",)), Data(b"FETCH", 3, (b"(RFC822.SIZE 70 UID 9)",)), (10, 8)]
    assert told_sizes(SIZES) == [
        *plain,
        Data(b"LIST", None, (b'() "/" ', b"* 9 FETCH (UID 99 RFC822.SIZE 99999)\r\nxx", b"")),
        Data(b"FETCH", 5, (b"(UID 11 RFC822.SIZE 9 FLAGS ())",)),
        (12, 1),
        Tagged(b"OK", b"", b"", b"done", tag=b"a1"),
    ]


@given(st.lists(st.integers(0, len(SIZES)), max_size=8))
def test_wherever_sizes_are_cut_each_is_told_once(cuts: list[int]) -> None:
    places = [0, *sorted(cuts), len(SIZES)]
    told = told_sizes(*(SIZES[start:end] for start, end in pairwise(places)))
    assert list(map(as_size, told)) == list(map(as_size, told_sizes(SIZES)))


def as_size(one: object) -> object:
    """Uid and size, also of an event that tells no more than they do."""
    return parse_size(one) if isinstance(one, Data) and one.name == b"FETCH" else one


def parse_size(data: Data) -> tuple[int | None, int | None]:
    fetched = parse_fetch(data)
    return fetched.uid, fetched.size


def test_an_answer_without_text_is_a_named_quirk() -> None:
    reader = Reader()
    assert read(b"a OK\r\n", reader=reader) == [Tagged(b"OK", b"", b"", b"", tag=b"a")]
    assert reader.quirks == [(Quirk.NO_TEXT, b"a OK")]


def test_an_answer_to_a_login_that_a_bare_line_feed_ends_is_a_named_quirk() -> None:
    reader = Reader()
    reader.feed(b"a OK in\n")
    assert (reader.take_line(), reader.take_bare_answer()) == (None, b"a OK in")
    assert reader.quirks == [(Quirk.BARE_LF, b"a OK in")]
    assert reader.rest == 0


@pytest.mark.parametrize("octets", [b"", b"a OK x", b"* OK in\n", b"a OK one\ntwo", b"a OK one\ntwo\n", b"no answer\n"])
def test_nothing_else_is_taken_for_such_an_answer(octets: bytes) -> None:
    reader = Reader()
    reader.feed(octets)
    assert (reader.take_bare_answer(), reader.quirks, reader.rest) == (None, [], len(octets))


def test_what_the_server_said_can_be_put_together_again() -> None:
    assert Tagged(b"NO", b"OVERQUOTA", b"", b"full", tag=b"a").said == b"NO [OVERQUOTA] full"
    assert Tagged(b"OK", b"APPENDUID", b"1 2", b"", tag=b"a").said == b"OK [APPENDUID 1 2]"
    assert Status(b"BYE", b"", b"", b"").said == b"BYE"


@pytest.mark.parametrize(
    "size", [b"{3000000000}", b"{-1}", b"{3e9}", b"{99999999999999999999}", b"{900000000000}", b"{}", b"{+}", b"{x}"]
)
def test_a_literal_that_cannot_be_is_refused_before_it_comes(size: bytes) -> None:
    assert "literal" in error_of(b"* 1 FETCH (BODY[] " + size + b"\r\n")


def test_the_limit_of_a_literal_is_the_one_set_before_it() -> None:
    reader = Reader(literal_limit=4)
    reader.feed(b"* 1 FETCH (A {4}\r\nabcd B {5}\r\n")
    with pytest.raises(StoreError, match="at most 4"):
        reader.next_event()
    assert read(b"* 1 FETCH (A {5}\r\nabcde)\r\n", reader=Reader(literal_limit=5)) != []


def test_literal8_and_non_synchronising_literals_are_literals() -> None:
    assert read(b"* X ~{2}\r\n\0\0\r\n") == [Data(b"X", None, (b"", b"\0\0", b""))]
    assert read(b"* X {0+}\r\n\r\n") == [Data(b"X", None, (b"", b"", b""))]


def test_a_line_over_the_limit_is_refused_with_and_without_its_end() -> None:
    assert "without end" in error_of(b"* X " + b"a" * 100, line_limit=50)
    assert "without end" in error_of(b"* X " + b"a" * 100 + b"\r\n", line_limit=50)
    assert read(b"* X " + b"a" * 46 + b"\r\n", reader=Reader(line_limit=50)) == [Data(b"X", None, (b"a" * 46,))]


def test_a_response_of_endless_literals_is_refused() -> None:
    assert "without end" in error_of(b"* X" + b" {10}\r\n0123456789" * 100, line_limit=50, literal_limit=10)


@pytest.mark.parametrize(
    "line",
    [
        b"HTTP/1.1 400 Bad Request",
        b"+OK POP3 ready"[1:],
        b"* ",
        b"* (",
        b"*",
        b"",
        b"a1 MAYBE x",
        b"a\x1b1 OK x",
        b"a1",
    ],
)
def test_what_is_no_response_is_an_error(line: bytes) -> None:
    assert "protocol" in error_of(line + b"\r\n")


def test_a_bare_line_feed_ends_nothing() -> None:
    assert read(b"* X a\nb\r\n") == [Data(b"X", None, (b"a\nb",))]


def test_raw_lines_and_octets_can_be_taken_between_responses() -> None:
    reader = Reader()
    reader.feed(b"* A b\r\nraw\r\n12345* C")
    assert reader.next_event() == Data(b"A", None, (b"b",))
    assert reader.is_between
    assert reader.take_line() == b"raw"
    assert reader.take_octets(6 + 3) is None
    assert reader.take_octets(5) == b"12345"
    assert reader.rest == 3


_pieces = st.one_of(
    st.binary(max_size=20),
    st.sampled_from(
        [b"\r\n", b"* ", b"a1 OK", b"{3}", b"{3+}\r\n", b"[X", b"]", b"(", b"* 1 FETCH (BODY[] {2}\r\n", b"+ "]
    ),
)


@given(st.lists(_pieces, max_size=30))
def test_any_octets_give_events_or_the_declared_error_however_they_are_cut(pieces: list[bytes]) -> None:
    limits = {"line_limit": 60, "literal_limit": 30}
    whole = read(b"".join(pieces), reader=Reader(**limits))
    assert read(*pieces, reader=Reader(**limits)) == whole
    octets = b"".join(pieces)
    assert read(*(octets[at : at + 1] for at in range(len(octets))), reader=Reader(**limits)) == whole
