"""Names and lines of Maildir: what a name says, whoever wrote it, and every message as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import Flags
from migrate.wire.maildir import (
    Sizes,
    flags_of,
    letters_for,
    letters_of,
    message_lines,
    parse_keywords,
    size_of,
    stored_lines,
    unique_of,
    with_keywords,
)
from migrate.wire.mbox import survey


@pytest.mark.parametrize(
    ("name", "unique", "letters", "size"),
    [
        ("1276528487.M364837P9451.kurkku,S=1355,W=1394:2,", "1276528487.M364837P9451.kurkku", "", 1394),
        ("1000000000.P1.example.org:2,FS", "1000000000.P1.example.org", "FS", None),
        ("1000000004.P1.example.org", "1000000004.P1.example.org", None, None),
        ("1.a,U=17:2,S", "1.a", "S", None),
        ("1.a,U=17,FMD5=7e33429f656f1e6e9d79b29c3f82c57e:2,RS", "1.a", "RS", None),
        ("1220863042.12663_1.mindcrime!2,S", "1220863042.12663_1.mindcrime", "S", None),
        ("1035478339.27041_118.foo.org,S=1000,W=1030;2,RDF,", "1035478339.27041_118.foo.org", "RDF,", 1030),
        ("1379857166.25979_1.hottie,2,S", "1379857166.25979_1.hottie", "S", None),
        ("1.a:2,S:2,F", "1.a", "S:2,F", None),
        ("01:2,", "01", "", None),
        ("arto.eml", "arto.eml", None, None),
        ("1.a:1,experimental", "1.a:1", None, None),
        (",S=5", ",S=5", None, None),
        ("a\nb:2,S", "a\nb", "S", None),
        ("1.a,S=2,W=2", "1.a", None, 2),
    ],
)
def test_what_a_name_says(name: str, unique: str, letters: str | None, size: int | None) -> None:
    assert (unique_of(name), letters_of(name), size_of(name)) == (unique, letters, size)


@given(st.text(min_size=1))
def test_every_name_has_a_unique_part(name: str) -> None:
    assert unique_of(name)
    assert name.startswith(unique_of(name))


def test_letters_stand_in_the_order_of_ascii_and_say_the_same_when_they_are_read() -> None:
    keywords = {"a": "blue", "c": "$Forwarded", "b": "Red"}
    flags = Flags(frozenset({"\\Seen", "\\Draft", "red", "blue", "green", "$Forwarded"}))
    assert letters_for(flags, keywords) == "DPSabc"
    assert flags_of("DPSabcxZ", keywords).names == {"\\Seen", "\\Draft", "Red", "blue", "$Forwarded"}
    assert flags_of("DFPRST", {}).names == {
        "\\Draft", "\\Flagged", "$Forwarded", "\\Answered", "\\Seen", "\\Deleted"
    }  # fmt: skip


def test_the_file_of_keywords_grows_by_what_it_lacks() -> None:
    assert with_keywords(b"", ["a", "b"]) == b"0 a\n1 b\n"
    assert with_keywords(b"0 a\n7 B", ["b", "c", "A"]) == b"0 a\n7 B\n8 c\n"
    assert with_keywords(b"0 a\n", ["A"]) == b"0 a\n"
    full = with_keywords(b"", [f"k{number}" for number in range(30)])
    assert len(parse_keywords(full)) == 26
    assert with_keywords(full, ["more"]) == full
    assert parse_keywords(b"0 a\nnoise\n26 z\n5 not(one\n25 last\n\xff 1\n") == {"a": "a", "z": "last"}


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0", b"\r\r\n", b"From x"])))
def test_a_message_comes_back_octet_for_octet_however_its_blocks_are_cut(blocks: list[bytes]) -> None:
    octets = b"".join(blocks)
    line_ends = survey(blocks).line_ends
    sizes = Sizes()
    stored = []
    for block in stored_lines(blocks, line_ends):
        sizes.update(block)
        stored.append(block)
    file = b"".join(stored)
    assert b"".join(message_lines(stored, line_ends)) == octets
    assert sizes.octets == len(file)
    assert sizes.with_crlf == len(file) + file.count(b"\n") - file.count(b"\r\n")
    assert b"".join(message_lines([file], line_ends)) == octets
