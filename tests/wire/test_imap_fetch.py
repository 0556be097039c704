"""FETCH and SEARCH data -> values; uids -> sets."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import StoreError
from migrate.wire.imap import Data, Fetched, Section, parse_fetch, parse_search, uid_chunks, uid_set


def fetch(*parts: bytes) -> Fetched:
    return parse_fetch(Data(b"FETCH", 1, parts))


def search(text: bytes, low: int = 1) -> list[int]:
    return list(parse_search(Data(b"SEARCH", None, (text,)), low))


def test_items_come_in_any_order() -> None:
    wanted = Fetched(7, 5, (Section(b"", None, b"hello"),))
    assert fetch(b"(UID 7 RFC822.SIZE 5 BODY[] ", b"hello", b")") == wanted
    assert fetch(b"(BODY[] ", b"hello", b" RFC822.SIZE 5 UID 7)") == wanted
    assert fetch(b"(rfc822.size 5 body[] ", b"hello", b" uid 7)") == wanted


@given(uid=st.integers(0, 10**11), size=st.integers(0, 10**20))
def test_the_usual_answer_reads_like_one_that_is_written_differently(uid: int, size: int) -> None:
    def read(form: bytes) -> Fetched | str:
        try:
            return fetch(form % (uid, size))
        except StoreError as error:
            return error.what

    assert read(b"(UID %d RFC822.SIZE %d)") == read(b"( uid %d rfc822.size  %d )")


def test_unknown_items_are_passed_over_whatever_their_value() -> None:
    fetched = fetch(
        b'(FLAGS (\\Seen ($x)) ENVELOPE ("a (b" NIL ((NIL NIL "x" "y\\"z"))) X-GM-MSGID 12 MODSEQ (9) NOTE ',
        b"a (b) literal",
        b' X {no BODYSTRUCTURE ("TEXT" "PLAIN" ("CHARSET" "utf-8")) INTERNALDATE " 1-Jan-2020 00:00:00 +0000" UID 3)',
    )
    when = datetime(2020, 1, 1, tzinfo=UTC)
    assert fetched == Fetched(3, None, (), flags=(b"\\Seen",), internaldate=when)


def test_a_body_may_be_literal_quoted_atom_or_nil() -> None:
    assert fetch(b'(BODY[] "a\\"b\\\\c")').sections == (Section(b"", None, b'a"b\\c'),)
    assert fetch(b"(BODY[] NIL)").sections == (Section(b"", None, None),)
    assert fetch(b'(BODY[] "NIL")').sections == (Section(b"", None, b"NIL"),)
    assert fetch(b'(BODY[] "")').sections == (Section(b"", None, b""),)


def test_sections_and_origins_are_told() -> None:
    fetched = fetch(
        b"(BODY[HEADER.FIELDS (Date Message-ID)] ", b"x", b" BODY[]<1048576> ", b"y", b" BODY[TEXT]<0> NIL)"
    )
    assert fetched.sections == (
        Section(b"HEADER.FIELDS (DATE MESSAGE-ID)", None, b"x"),
        Section(b"", 1048576, b"y"),
        Section(b"TEXT", 0, None),
    )


def test_a_section_whose_value_is_a_list_is_no_body() -> None:
    assert fetch(b"(BODY[] (a b) UID 2)") == Fetched(2, None, ())


def test_the_first_body_comes_first() -> None:
    assert [section.data for section in fetch(b"(BODY[] ", b"1", b" BODY[] ", b"2", b")").sections] == [b"1", b"2"]


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"UID 7",),
        (b"(UID",),
        (b"(UID 7",),
        (b"(UID x)",),
        (b"(UID 4294967296)",),
        (b"(UID -1)",),
        (b"(UID NIL)",),
        (b"(RFC822.SIZE 99999999999999999999)",),
        (b"(RFC822.SIZE -5)",),
        (b"(UID)",),
        (b"((UID 7))",),
        (b'("UID" 7)',),
        (b'(BODY[] "abc',),
        (b"(", b"literal", b" 7)"),
        (b"(X (a)",),
    ],
)
def test_a_malformed_list_is_the_declared_error(parts: tuple[bytes, ...]) -> None:
    with pytest.raises(StoreError):
        fetch(*parts)


def test_no_nesting_is_too_deep() -> None:
    assert fetch(b"(X " + b"(" * 60_000 + b")" * 60_000 + b" UID 1)").uid == 1
    with pytest.raises(StoreError):
        fetch(b"(X " + b"(" * 60_000)


@given(st.lists(st.one_of(st.binary(max_size=30), st.sampled_from([b"(UID 1", b")", b'"', b"BODY[", b"]", b"<0>"]))))
def test_any_fetch_gives_a_value_or_the_declared_error(pieces: list[bytes]) -> None:
    try:
        parse_fetch(Data(b"FETCH", 1, tuple(pieces) or (b"",)))
    except StoreError:
        pass


def test_search_gives_uids_from_low_on() -> None:
    assert search(b"2 84 882") == [2, 84, 882]
    assert search(b"84 2 882 ", 84) == [84, 882]
    assert search(b"7", 8) == []
    assert search(b"") == []
    assert search(b"2 5 (MODSEQ 917)") == [2, 5]


@pytest.mark.parametrize("text", [b"1 x", b"-1", b"4294967296", b"99999999999", b"1_0", b"+3", b"1\t2", b"\xb2"])
def test_search_answers_that_are_no_uids_are_the_declared_error(text: bytes) -> None:
    with pytest.raises(StoreError):
        search(text)


def test_zero_is_no_uid() -> None:
    with pytest.raises(StoreError):
        search(b"0 1", 0)


def test_a_line_of_200_000_uids_is_read_at_once() -> None:
    text = " ".join(map(str, range(1_000_000, 1_200_000))).encode()
    begun = time.process_time()
    assert len(search(text)) == 200_000
    assert time.process_time() - begun < 5, "quadratic"


@pytest.mark.parametrize(
    ("uids", "text"),
    [([], b""), ([5], b"5"), ([1, 2, 3], b"1:3"), ([9, 7, 1, 2, 2], b"1:2,7,9"), ([4294967295], b"4294967295")],
)
def test_uids_are_written_as_a_set(uids: list[int], text: bytes) -> None:
    assert uid_set(uids) == text


@given(st.sets(st.integers(1, 300)))
def test_a_set_names_exactly_its_uids(uids: set[int]) -> None:
    found: list[int] = []
    for part in filter(None, uid_set(uids).split(b",")):
        low, _, high = part.partition(b":")
        found.extend(range(int(low), int(high or low) + 1))
    assert found == sorted(uids)


def test_chunks_hold_every_uid_once() -> None:
    assert list(uid_chunks([5, 1, 5, 2, 9], 2)) == [[1, 2], [5, 9]]


@pytest.mark.parametrize(
    ("text", "when"),
    [
        (b"17-Jul-1996 02:44:25 -0700", datetime(1996, 7, 17, 2, 44, 25, tzinfo=timezone(timedelta(hours=-7)))),
        (b" 1-jan-2020 00:00:00 +0530", datetime(2020, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))),
        (b"1-JAN-2020 00:00:00 +2400", datetime(2020, 1, 1, tzinfo=UTC)),
        (b"31-Feb-2020 00:00:00 +0000", None),
        (b"01-Foo-2020 00:00:00 +0000", None),
        (b"2020-01-01T00:00:00Z", None),
        (b"", None),
    ],
)
def test_an_internal_date_is_read_with_its_offset_or_not_at_all(text: bytes, when: datetime | None) -> None:
    found = fetch(b'(UID 1 INTERNALDATE "%b")' % text)
    assert found.internaldate == when
    if when is not None:
        assert found.internaldate is not None
        assert found.internaldate.utcoffset() == when.utcoffset()


def test_flags_come_as_they_are_written_and_without_what_is_no_list() -> None:
    assert fetch(b"(FLAGS (\\Seen $Forwarded work) UID 7)").flags == (b"\\Seen", b"$Forwarded", b"work")
    assert fetch(b"(FLAGS () UID 7)").flags == ()
    assert fetch(b"(FLAGS NIL UID 7)").flags is None
    assert fetch(b"(INTERNALDATE NIL UID 7)").internaldate is None
    assert fetch(b"(uid 7 rfc822.size 9)") == Fetched(7, 9, ())
