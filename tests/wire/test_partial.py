"""Apple Mail's .partial.emlx: where a part was taken out is found wherever blocks are cut, and put back as it was."""

from __future__ import annotations

import base64
import email
import email.policy
import quopri

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.wire.partial import Gap, Gaps, Way, encoded, quoted_printable, way_of

GAP = b"Content-Transfer-Encoding: %b\nX-Apple-Content-Length: %d\n\n\n"
NESTED = (
    b'Subject: x\nContent-Type: multipart/mixed;\n boundary="a b"\n\npreamble\n--a b\n'
    b"Content-Type: multipart/alternative; boundary=in\n\n--in\n\nText\n--in \n"
    + GAP % (b"BASE64", 8)
    + b"--in--\n--a b\nContent-Type: text/plain\nx-apple-content-length:\n 5\n\n\n--a b--\nepilogue\n"
)


def pieces(octets: bytes, size: int = 0) -> list[bytes | Gap]:
    gaps = Gaps()
    found: list[bytes | Gap] = []
    for at in range(0, len(octets), size or len(octets) or 1):
        found += gaps.update(octets[at : at + (size or len(octets))])
    return [*found, *gaps.finish()]


def joined(found: list[bytes | Gap]) -> bytes:
    return b"".join(one if isinstance(one, bytes) else one.header for one in found)


@pytest.mark.parametrize("size", [0, 1, 2, 7, 64])
def test_every_gap_is_found_with_the_number_of_its_part(size: int) -> None:
    found = pieces(NESTED, size)
    assert joined(found) == NESTED
    one, two = (piece for piece in found if isinstance(piece, Gap))
    assert (one.part, one.encoding, one.octets) == ("1.2", b"base64", 8)
    assert one.restored == b"Content-Transfer-Encoding: BASE64\n\n"
    assert (two.part, two.encoding, two.octets) == ("2", b"", 5)
    assert two.restored == b"Content-Type: text/plain\n\n", "folded, too"


@pytest.mark.parametrize(
    "text",
    [
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\nX-Apple-Content-Length: 5\n\nIt is there.\n--a--\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\n\nX-Apple-Content-Length: 5\n\n\n--a--\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\nX-Apple-Content-Length: many\n\n\n--a--\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\nX-Apple-Content-Length: 0\n\n\n--a--\n",
        b"Content-Type: multipart/mixed; boundary=a\n\n--a\nContent-Type: message/rfc822\n\n"
        b"Content-Type: multipart/mixed; boundary=b\n\n--b\nX-Apple-Content-Length: 5\n\n\n--b--\n--a--\n",
    ],
    ids=["the body is there", "text", "no number", "nothing", "in another message"],
)
def test_what_was_not_taken_out_is_no_gap(text: bytes) -> None:
    assert not [piece for piece in pieces(text) if isinstance(piece, Gap)]
    assert joined(pieces(text)) == text


def test_a_message_of_one_part_may_be_nothing_but_a_gap() -> None:
    (gap, rest) = pieces(b"Subject: x\nX-Apple-Content-Length: 5\n\n")
    assert isinstance(gap, Gap)
    assert (gap.part, rest) == ("1", b"")


PARTS = [b"--a\n", b"--a--\n", b"--b\n", b"\n", b"X-Apple-Content-Length: 5\n", b"Text\n", b"x" * 1500, b"\r\n",
         b"Content-Type: multipart/mixed; boundary=a\n", b"Content-Type: multipart/mixed; boundary=b\n"]  # fmt: skip


@given(st.lists(st.sampled_from(PARTS), max_size=30), st.integers(1, 2000))
def test_gaps_are_the_same_however_the_message_is_cut_and_no_octet_is_lost(parts: list[bytes], size: int) -> None:
    octets = b"".join(parts)
    assert joined(pieces(octets, size)) == octets
    gaps = [[one for one in pieces(octets, how) if isinstance(one, Gap)] for how in (0, size)]
    assert gaps[0] == gaps[1]


def gap(encoding: bytes, octets: int) -> Gap:
    return Gap("2", encoding, octets, b"", b"")


def filled(content: bytes, way: Way, size: int = 7) -> bytes:
    return b"".join(encoded((content[at : at + size] for at in range(0, len(content), size)), way))


@given(st.binary(max_size=600), st.sampled_from([76, 72, 64, 60]), st.booleans(), st.integers(1, 700))
def test_base64_is_put_back_octet_for_octet(content: bytes, line: int, is_ended: bool, size: int) -> None:
    letters = base64.b64encode(content)
    lines = [letters[at : at + line] for at in range(0, len(letters), line)]
    want = b"\n".join(lines) + (b"\n" if is_ended and lines else b"")
    way = way_of(gap(b"base64", len(want)), len(content), 0, 0)
    assert way is not None
    made = filled(content, way, size)
    assert len(made) == len(want)
    assert base64.b64decode(made) == content
    # Where few lines are told, several lengths of them fit; the usual one is taken.
    assert made == want or (line != 76 and len(lines) < 40)


def test_what_has_another_size_is_not_what_was_taken_out() -> None:
    content = b"x" * 1000
    assert way_of(gap(b"base64", 1353), len(content), 0, 0) == Way("base64", 76, False)
    assert way_of(gap(b"base64", 1354), len(content), 0, 0) == Way("base64", 76, True)
    for encoding, octets in ((b"base64", 1336 - 4), (b"base64", 1350), (b"7bit", 999), (b"x-uuencode", 1000)):
        assert way_of(gap(encoding, octets), len(content), 0, 0) is None
    assert way_of(gap(b"7bit", 1000), len(content), 0, 0) == Way("as it is")
    assert way_of(gap(b"8bit", 990), len(content), 10, 0) == Way("lines")
    assert filled(b"a\r\nb\rc\r\r\n", Way("lines"), 1) == b"a\nb\rc\r\n"


@given(st.binary(max_size=300), st.integers(1, 400))
def test_quoted_printable_can_be_read_by_everybody(content: bytes, size: int) -> None:
    content = content.replace(b"\r\n", b"\n")
    made = filled(content, Way("quoted-printable"), size)
    assert quopri.decodestring(made) == content
    assert all(len(line) <= 76 for line in made.split(b"\n"))
    assert not any(line.endswith((b" ", b"\t")) for line in made.split(b"\n"))
    mail = b"Content-Transfer-Encoding: quoted-printable\n\n" + made
    parsed = email.message_from_bytes(mail, policy=email.policy.compat32)
    assert parsed.get_payload(decode=True) == content


def test_quoted_printable_counts_as_what_was_taken_out_if_it_is_about_as_long() -> None:
    content = b"Text = text\n" * 50
    quoted = len(b"".join(quoted_printable([content])))
    exact = way_of(gap(b"quoted-printable", quoted), len(content), 0, quoted)
    near = way_of(gap(b"quoted-printable", quoted + 4), len(content), 0, quoted)
    assert exact is not None
    assert near is not None
    assert (exact.is_exact, near.is_exact) == (True, False)
    assert way_of(gap(b"quoted-printable", quoted * 2), len(content), 0, quoted) is None


def test_a_line_without_end_is_not_held() -> None:
    gaps = Gaps()
    list(gaps.update(b"Subject: x\n\n"))
    for _ in range(50):
        assert sum(len(piece) for piece in gaps.update(b"x" * 4000) if isinstance(piece, bytes)) >= 3000
