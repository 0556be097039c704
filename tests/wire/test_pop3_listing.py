"""Listings: the RFC's own, odd UIDLs and sizes, a hundred thousand lines; STAT and CAPA."""

from __future__ import annotations

import tracemalloc

import pytest

from migrate.errors import StoreError
from migrate.model import MessageRef
from migrate.state.shown import Compact
from migrate.wire.pop3 import (
    LINE_LIMIT,
    Listing,
    ListLines,
    Quirk,
    UidlLines,
    join_listings,
    parse_capabilities,
    parse_stat,
)

# --- listings -------------------------------------------------------------------------------


def uidl(octets: bytes, *, step: int = 0) -> UidlLines:
    lines = UidlLines(limit=1000)
    step = step or len(octets) or 1
    for at in range(0, len(octets), step):
        lines.feed(octets[at : at + step])
    return lines


def sizes(octets: bytes) -> ListLines:
    lines = ListLines(limit=1000)
    lines.feed(octets)
    return lines


def joined(messages: int, uids: UidlLines | None, octets: ListLines | None) -> Listing:
    listing = join_listings(messages, uids, octets)
    assert listing is not None
    return listing


def test_the_listing_of_the_rfc() -> None:
    uids = uidl(b"1 whqtswO00WBw418f9t5JxYwZ\r\n2 QhdPYR:00WBw1Ph7x7\r\n")
    listing = joined(2, uids, sizes(b"1 120\r\n2 200\r\n"))
    assert list(listing) == [
        MessageRef(b"whqtswO00WBw418f9t5JxYwZ", 1, 120),
        MessageRef(b"QhdPYR:00WBw1Ph7x7", 2, 200),
    ]
    assert (listing[0], listing[-1], listing[0:9]) == (*listing, list(listing))
    assert len(listing) == 2
    with pytest.raises(IndexError):
        listing[2]


def test_a_listing_in_any_pieces_is_the_same() -> None:
    octets = b"".join(b"%d uid-%d\r\n" % (number, number * 7) for number in range(1, 60)) + b"60 \r\n61 \xff x\r\n"
    whole = list(joined(61, uidl(octets), None))
    for step in range(1, 40):
        assert list(joined(61, uidl(octets, step=step), None)) == whole


@pytest.mark.parametrize(
    ("line", "uid", "quirks"),
    [
        (b"1 ", b"", {Quirk.UIDL_BLANK: 1}),
        (b"1", b"", {Quirk.UIDL_BLANK: 1}),
        (b"1 " + b"u" * 71, b"u" * 71, {Quirk.UIDL_LONG: 1}),
        (b"1 " + b"u" * 70, b"u" * 70, {}),
        (b"1 a\xe9", b"a\xe9", {Quirk.UIDL_OCTETS: 1}),
        (b"1  a ", b" a ", {Quirk.UIDL_OCTETS: 1}),
        (b"1 a\nb", b"a\nb", {Quirk.UIDL_OCTETS: 1}),
        (b"1 ../../etc/passwd", b"../../etc/passwd", {}),
    ],
)
def test_an_odd_uidl_is_kept_as_it_came_and_named(line: bytes, uid: bytes, quirks: dict[Quirk, int]) -> None:
    lines = uidl(line + b"\r\n")
    assert joined(1, lines, None)[0].uid == uid
    assert lines.quirks == quirks


def test_repeated_uidls_are_kept_and_counted() -> None:
    lines = uidl(b"1 same\r\n2 other\r\n3 same\r\n4 same\r\n")
    assert [ref.uid for ref in joined(4, lines, None)] == [b"same", b"other", b"same", b"same"]
    assert lines.quirks == {Quirk.UIDL_REPEATED: 2}


def test_repeated_uidls_are_counted_among_many() -> None:
    count = 250_000  # more than are looked at in one go
    lines = UidlLines(limit=count)
    lines.feed(b"".join(b"%d %d\r\n" % (number, number % (count - 3)) for number in range(1, count + 1)))
    joined(count, lines, None)
    assert lines.quirks == {Quirk.UIDL_REPEATED: 3}


@pytest.mark.parametrize(
    ("line", "octets"),
    [
        (b"1 120", 120),
        (b"1 120 extra words", 120),
        (b"1  7", 7),
        (b"1 0", 0),
        (b"1 -5", None),
        (b"1 18446744073709551616", None),
        (b"1 9999999999", 9999999999),
        (b"1 68719476735", 2**36 - 1),
        (b"1 68719476736", None),
        (b"1 9223372036854775807", None),
        (b"1 12x", None),
        (b"1", None),
    ],
)
def test_a_size_that_is_no_number_is_not_known(line: bytes, octets: int | None) -> None:
    lines = sizes(line + b"\r\n")
    assert joined(1, None, lines)[0].octets == octets
    assert lines.quirks == ({} if octets is not None else {Quirk.LIST_SIZE: 1})


@pytest.mark.parametrize(
    "line", [b"", b"x 1", b"0 a", b"-1 a", b"4294967296 a", b"99999999999999999999999 a", b"\xb2 a"]
)
def test_a_line_without_a_message_number_is_refused(line: bytes) -> None:
    with pytest.raises(StoreError):
        uidl(line + b"\r\n")


def test_a_listing_longer_than_agreed_is_refused() -> None:
    lines = ListLines(limit=10)
    for number in range(1, 11):
        lines.feed(b"%d 1\r\n" % number)
    with pytest.raises(StoreError):
        lines.feed(b"11 1\r\n")


def test_a_line_without_end_is_refused() -> None:
    lines = UidlLines(limit=10)
    lines.feed(b"1" * LINE_LIMIT)
    with pytest.raises(StoreError):
        lines.feed(b"1")


@pytest.mark.parametrize(
    ("messages", "uids", "octets"),
    [
        (3, b"1 a\r\n2 b\r\n", b"1 1\r\n2 2\r\n"),
        (2, b"1 a\r\n2 b\r\n", b"1 1\r\n"),
        (2, b"1 a\r\n2 b\r\n", b"1 1\r\n3 2\r\n"),
        (2, b"1 a\r\n1 b\r\n", b"1 1\r\n1 2\r\n"),
    ],
)
def test_listings_that_name_different_messages_do_not_join(messages: int, uids: bytes, octets: bytes) -> None:
    assert join_listings(messages, uidl(uids), sizes(octets)) is None


def test_listings_in_different_orders_join_by_number() -> None:
    uids, octets = uidl(b"3 ccc\r\n1 a\r\n2 bb\r\n"), sizes(b"1 10\r\n3 30\r\n2 20\r\n")
    assert list(joined(3, uids, octets)) == [
        MessageRef(b"a", 1, 10),
        MessageRef(b"bb", 2, 20),
        MessageRef(b"ccc", 3, 30),
    ]
    assert (uids.quirks, octets.quirks) == ({Quirk.ORDER: 1}, {Quirk.ORDER: 1})


def test_without_any_listing_the_messages_are_counted() -> None:
    assert list(joined(2, None, None)) == [MessageRef(b"", 1, None), MessageRef(b"", 2, None)]
    with pytest.raises(StoreError):
        join_listings(4_000_000_000, None, None)


@pytest.mark.parametrize(
    ("uids", "octets"),
    [
        (b"1 a\r\n2 bc\r\n4 d\r\n", b"1 10\r\n2 20\r\n4 30\r\n"),
        (b"1 ab\r\n2 c\r\n3 d\r\n", b"1 10\r\n2 20\r\n3 30\r\n"),
        (b"1 a\r\n2 bc\r\n3 e\r\n", b"1 10\r\n2 20\r\n3 30\r\n"),
        (b"1 a\r\n2 bc\r\n3 d\r\n", b"1 10\r\n2 20\r\n3 31\r\n"),
        (b"1 a\r\n2 bc\r\n3 d\r\n", b"1 10\r\n2 20\r\n3 x\r\n"),
    ],
)
def test_the_parts_of_a_listing_differ_where_what_it_shows_differs(uids: bytes, octets: bytes) -> None:
    one = joined(3, uidl(b"1 a\r\n2 bc\r\n3 d\r\n"), sizes(b"1 10\r\n2 20\r\n3 30\r\n"))
    same = joined(3, uidl(b"2 bc\r\n3 d\r\n1 a\r\n"), sizes(b"1 10\r\n2 20\r\n3 30\r\n"))
    other = joined(3, uidl(uids), sizes(octets))
    assert (list(one), one.parts()) == (list(same), same.parts())
    assert list(one) != list(other)
    assert one.parts() != other.parts()
    assert isinstance(one, Compact)


def test_a_long_listing_stays_compact() -> None:
    count = 100_000
    lines, octets = UidlLines(limit=count), ListLines(limit=count)
    tracemalloc.start()
    for begin in range(1, count, 1000):
        numbers = range(begin, begin + 1000)
        lines.feed(b"".join(b"%d %032x\r\n" % (number, number) for number in numbers))
        octets.feed(b"".join(b"%d 4096\r\n" % number for number in numbers))
    listing = joined(count, lines, octets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert listing[count - 1] == MessageRef(b"%032x" % count, count, 4096)
    assert peak / count < 120, "octets of memory a message, at the highest"


@pytest.mark.parametrize(
    ("text", "expected"), [(b"2 320", (2, 320)), (b"0 0", (0, 0)), (b"1 99999999999 x", (1, 99999999999))]
)
def test_stat_is_two_numbers(text: bytes, expected: tuple[int, int]) -> None:
    assert parse_stat(text) == expected


@pytest.mark.parametrize("text", [b"", b"2", b"-1 0", b"x y", b"4294967296 0", b"2 320x"])
def test_another_answer_to_stat_is_refused(text: bytes) -> None:
    with pytest.raises(StoreError):
        parse_stat(text)


def test_the_capabilities_of_the_rfc() -> None:
    body = b"TOP\r\nUSER\r\nSASL CRAM-MD5 KERBEROS_V4\r\nRESP-CODES\r\nLOGIN-DELAY 900\r\nPIPELINING\r\n"
    body += b"EXPIRE 60\r\nUIDL\r\nIMPLEMENTATION Shlemazle-Plotz-v302\r\n"
    assert parse_capabilities(body)[b"SASL"] == (b"CRAM-MD5", b"KERBEROS_V4")
    assert parse_capabilities(body)[b"EXPIRE"] == (b"60",)
    assert b"PIPELINING" in parse_capabilities(body)


def test_capabilities_know_no_case_and_survive_nonsense() -> None:
    assert parse_capabilities(b"pipelining\r\nSasl plain\r\n\r\nEXPIRENEVER\r\nsasl LOGIN\r\n") == {
        b"PIPELINING": (),
        b"SASL": (b"PLAIN", b"LOGIN"),
        b"EXPIRENEVER": (),
    }


@pytest.mark.parametrize("body", [b"+OK again\r\nUIDL\r\n", b"UIDL\r\n-ERR no\r\n"])
def test_a_status_line_among_the_capabilities_is_an_answer_too_many(body: bytes) -> None:
    with pytest.raises(StoreError, match="nobody asked for"):
        parse_capabilities(body)
