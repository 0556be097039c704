"""Index, content and the other digests: what makes two messages one mail, and what must not."""

from __future__ import annotations

import functools
import hashlib
import itertools
import random
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import HEADER_LIMIT, Fingerprint, Oddity
from migrate.rules.dedupe import INDEX_FIELDS, Digester, _Stream, fingerprint, index_of
from migrate.rules.fidelity import compare

from ..support.dovecot import Dovecot

MAIL = (
    b"Return-Path: <a@b.example>\r\n"
    b"Received: from x by y;\r\n\tMon, 1 Jan 2001 10:00:00 +0100\r\n"
    b"Message-ID: <One.Two@Example.ORG>\r\n"
    b"From: A <a@b.example>\r\n"
    b"To: b@c.example,\r\n c@d.example\r\n"
    b"Subject: Hello  there\r\n"
    b"Date: Mon, 1 Jan 2001 10:00:00 +0100\r\n"
    b"X-Other: kept\r\n"
    b"\r\n"
    b"Body.\r\n\r\nMore.\r\n"
)


def _read_back(octets: bytes) -> Fingerprint:
    digester = Digester(settle=True)
    digester.update(octets)
    return digester.finish()


def _served_fields(octets: bytes) -> bytes:
    """What IMAP serves for HEADER.FIELDS of INDEX_FIELDS (RFC 3501 §6.4.5), fields in another order."""
    block = octets.replace(b"\0", b"\x80").replace(b"\r\n", b"\n").partition(b"\n\n")[0]
    wanted = b"|".join(name.encode() for name in INDEX_FIELDS)
    found = re.findall(rb"(?im)^(?:" + wanted + rb")[ \t]*:.*(?:\n[ \t].*)*", block)
    return b"".join(field.replace(b"\n", b"\r\n") + b"\r\n" for field in reversed(found)) + b"\r\n"


# --- index -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "message_id",
    [
        b"<One.Two@Example.ORG>",
        b"<One.Two@example.org>",
        b"  <One.Two@Example.ORG>  ",
        b"\r\n <One.Two@Example.ORG>",
        b"<One.Two@\r\n\tExample.ORG>",
        b"<One.Two @ Example.ORG>",
        b"<One.Two@Example.ORG> (a comment)",
        b"(a (nested) <comment>) <One.Two@Example.ORG>",
        b"<One.Two@Example.ORG> <second@example.org>",
        b"One.Two@Example.ORG",
    ],
)
def test_one_message_id_in_all_its_spellings_gives_one_index(message_id: bytes) -> None:
    expected = index_of(b"Message-ID: <One.Two@Example.ORG>\r\n\r\n")
    assert expected[1]
    assert len(expected[0]) == 16
    assert index_of(b"Subject: x\r\nMessage-Id :" + message_id + b"\r\nFrom: y\r\n\r\n") == expected


@pytest.mark.parametrize(
    "message_id",
    [
        b"<one.two@example.org>",  # the local part has its case
        b"<One.Two@example.com>",
        b"<One.Two@[192.0.2.1]>",
        b'<"One.Two"@example.org>',
        b'<"a>b"@example.org>',
        b"<One.Two>",
        b"=?utf-8?q?One?=",
    ],
)
def test_other_message_ids_give_other_indexes(message_id: bytes) -> None:
    other = index_of(b"Message-ID: " + message_id + b"\r\n\r\n")
    assert other[1]
    assert other != index_of(b"Message-ID: <One.Two@Example.ORG>\r\n\r\n")


@pytest.mark.parametrize(
    "field",
    [
        b"",
        b"Message-ID:\r\n",
        b"Message-ID: \r\n \r\n",
        b"Message-ID: <>\r\n",
        b"Message-ID: < >\r\n",
        b"Message-ID: <blank@localhost>\r\n",
        b"Message-ID: <0@localhost>\r\n",
        b"Message-ID: (only a comment)\r\n",
        b"Message-ID: <@>\r\n",
        b"Message-IDs: <a@b>\r\n",
        b"X-Message-ID: <a@b>\r\n",
    ],
)
def test_without_a_usable_message_id_the_other_fields_are_the_index(field: bytes) -> None:
    fields = b"From: a\r\nTo: b\r\nSubject: c\r\nDate: d\r\n"
    expected = index_of(fields + b"\r\n")
    assert not expected[1]
    assert index_of(field + fields + b"\r\n") == expected
    assert index_of(field + fields.replace(b"Subject: c", b"Subject: e") + b"\r\n") != expected


def test_several_message_ids_are_taken_together_in_any_order() -> None:
    one, two = b"Message-ID: <a@b>\r\n", b"Message-ID: <c@d>\r\n"
    assert index_of(one + two) == index_of(two + one)
    assert index_of(one + two) != index_of(one)
    assert index_of(one + one) == index_of(one)


def test_a_message_id_in_the_body_is_not_the_index() -> None:
    assert index_of(b"Subject: x\r\n\r\nMessage-ID: <a@b>\r\n") == index_of(b"Subject: x\r\n\r\n")
    assert index_of(b"Subject: x\n\r\r\nMessage-ID: <a@b>\n") == index_of(b"Subject: x\r\n\r\n")


def test_the_index_without_message_id_survives_a_server_that_writes_x_for_8_bit_octets() -> None:
    fields = b"From: caf\xc3\xa9 <a@b>\r\nSubject: \xe9t\xe9\r\n\r\n"
    assert index_of(fields) == index_of(fields.replace(b"\xc3\xa9", b"XX").replace(b"\xe9", b"X"))


@given(st.lists(st.tuples(st.sampled_from(INDEX_FIELDS), st.text('a<>@ B(\xe9\xe8X"').map(str.strip)), max_size=6))
def test_the_index_survives_a_server_that_writes_x_for_8_bit_octets(fields: list[tuple[str, str]]) -> None:
    header = "".join(f"{name}: {value}\r\n" for name, value in fields).encode("latin-1") + b"\r\n"
    assert index_of(header)[0] == index_of(re.sub(rb"[\x80-\xff]", b"X", header))[0]


def test_a_message_id_with_8_bit_octets_finds_its_copy_and_counts_as_none_for_a_rule() -> None:
    index, has_message_id = index_of(b"Message-ID: <caf\xe9@example.org>\r\n\r\n")
    assert not has_message_id
    assert (index, True) == index_of(b"Message-ID: <cafX@example.org>\r\n\r\n")
    assert index != index_of(b"Message-ID: <cafY@example.org>\r\n\r\n")[0]
    # With 0x80 for NUL, as other servers have it, it is the same one still.
    nul = index_of(b"Message-ID: <caf\0@example.org>\r\n\r\n")
    assert nul == index_of(b"Message-ID: <caf\x80@example.org>\r\n\r\n")


# --- content -----------------------------------------------------------------------------------


SAME: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("other Received", lambda m: m.replace(b"from x by y", b"from x by z")),
    ("one more Received", lambda m: b"Received: from q\r\n" + m),
    ("Return-Path gone", lambda m: m.partition(b"\r\n")[2]),
    ("marks added", lambda m: b"Status: RO\r\nX-Mozilla-Status: 0001\r\nX-Gmail-Labels: a\r\n" + m),
    ("filters added", lambda m: m.replace(b"X-Other", b"X-Spam-Score: 1\r\nARC-Seal: x\r\nX-GM-THRID: 2\r\nX-Other")),
    ("mailutils' own fields", lambda m: b"X-IMAPbase: 1 2\r\nX-UID: 1\r\n" + m),
    ("refolded", lambda m: m.replace(b"Hello  there", b"Hello\r\n\tthere")),
    ("other case of names", lambda m: m.replace(b"Subject:", b"SUBJECT:")),
    ("space before the colon", lambda m: m.replace(b"Subject:", b"Subject :")),
    ("no final line end", lambda m: m[:-2]),
    ("more final line ends", lambda m: m + b"\r\n\r\n"),
]


@pytest.mark.parametrize(("about", "change"), SAME, ids=[row[0] for row in SAME])
def test_a_copy_that_differs_only_in_the_named_ways_is_the_same_mail(
    about: str, change: Callable[[bytes], bytes]
) -> None:
    copy = change(MAIL)
    assert copy != MAIL
    assert fingerprint(copy).key == fingerprint(MAIL).key


@pytest.mark.parametrize("odd", [b"Bo\0dy", b"Bo\rdy", b"Bo\ndy", b"Body\xff"])
def test_other_volatile_fields_are_no_difference_where_the_body_is_odd(odd: bytes) -> None:
    one, other = (MAIL.replace(b"Body", odd).replace(b"from x by y", by) for by in (b"from x", b"from z"))
    assert one != other
    assert fingerprint(one).key == fingerprint(other).key


OTHER: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("body", lambda m: m.replace(b"Body", b"body")),
    ("an empty line in the body", lambda m: m.replace(b"Body.\r\n", b"Body.\r\n\r\n")),
    ("white space in the body", lambda m: m.replace(b"More.", b"More. ")),
    ("an empty line first in the body", lambda m: m.replace(b"\r\n\r\n", b"\r\n\r\n\r\n", 1)),
    ("a field more", lambda m: b"X-More: 1\r\n" + m),
    ("a field less", lambda m: m.replace(b"X-Other: kept\r\n", b"")),
    ("a value", lambda m: m.replace(b"kept", b"Kept")),
    ("order of fields", lambda m: m.replace(b"X-Other: kept\r\n", b"").replace(b"From:", b"X-Other: kept\r\nFrom:")),
    ("a name", lambda m: m.replace(b"X-Other", b"X-Others")),
    ("text moved between fields", lambda m: m.replace(b"X-Other: kept\r\n", b"X-Other: k\r\nX-Other: ept\r\n")),
    ("a field moved into the body", lambda m: m.replace(b"X-Other: kept\r\n\r\n", b"\r\nX-Other: kept\r\n\r\n")),
    ("a line that is no field", lambda m: m.replace(b"X-Other", b"junk\r\nX-Other")),
    ("a field made junk", lambda m: m.replace(b"Subject:", b"Subject x:")),
    ("a name that only begins like a volatile one", lambda m: b"Received-Also: x\r\nStatuses: x\r\n" + m),
    # What servers change, where it is the source that has it so.
    ("LF line ends", lambda m: m.replace(b"\r\n", b"\n")),
    ("an LF in the header", lambda m: m.replace(b"Hello  there\r\n", b"Hello  there\n")),
    ("an LF in the body", lambda m: m.replace(b"Body.\r\n", b"Body.\n")),
    ("an LF at the end", lambda m: m + b"\n"),
    ("a CR before a line end", lambda m: m.replace(b"Body.\r\n", b"Body.\r\r\n")),
    ("a CR before the last line end", lambda m: m[:-2] + b"\r\r\n"),
    ("a CR at the end", lambda m: m + b"\r"),
    ("a bare CR in the body", lambda m: m.replace(b"Body", b"Bo\rdy")),
    ("a bare CR in the header", lambda m: m.replace(b"kept", b"ke\rpt")),
    ("a CR before the empty line", lambda m: m.replace(b"\r\n\r\n", b"\r\n\r\r\n", 1)),
]


@pytest.mark.parametrize(("about", "change"), OTHER, ids=[row[0] for row in OTHER])
def test_any_other_difference_makes_another_mail(about: str, change: Callable[[bytes], bytes]) -> None:
    other = change(MAIL)
    assert other != MAIL
    assert fingerprint(other).key.content != fingerprint(MAIL).key.content


@pytest.mark.parametrize("text", [b"Body", b"Hello"])
def test_a_nul_is_another_mail_than_the_octet_that_servers_make_of_it(text: bytes) -> None:
    nul = MAIL.replace(text, text + b"\0")
    eighty = nul.replace(b"\0", b"\x80")
    assert fingerprint(nul).key.content != fingerprint(eighty).key.content
    assert fingerprint(nul).settled == _read_back(eighty).settled


@pytest.mark.parametrize(
    "hiding",
    [
        b"Received: x\rSecret: %s\r\nSubject: a\r\n\r\nb\r\n",  # CR as a line end
        b"Received: x\r\n \r\n %s\r\nSubject: a\r\n\r\nb\r\n",  # white space as the empty line
        b"Subject: a\r\nthis is no field\r\nReceived: %s\r\n\r\nb\r\n",  # junk as the end of the header
        b"Return-Path: a\rFrom: b\rSubject: %s\r\rbody\r",  # old Mac line ends
        b"Received : %s\r\nSubject: a\r\n\r\nb\r\n",
        b"\xef\xbb\xbfReceived: %s\r\nSubject: a\r\n\r\nb\r\n",
    ],
)
def test_nothing_a_program_may_show_can_hide_in_a_volatile_field(hiding: bytes) -> None:
    assert fingerprint(hiding % b"one").key.content != fingerprint(hiding % b"two").key.content


def test_header_and_body_cannot_be_shifted_against_each_other() -> None:
    forms = [b"A: b\r\n\r\nC: d\r\n", b"A: b\r\nC: d\r\n", b"\r\nA: b\r\n\r\nC: d\r\n", b"A: b\r\n\r\n\r\nC: d\r\n"]
    assert len({fingerprint(form).key.content for form in forms}) == len(forms)


# --- the other digests -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("octets", "oddities"),
    [
        (MAIL, Oddity.NONE),
        (b"", Oddity.NO_FINAL_EOL),
        (b"\r\n", Oddity.NONE),
        (b"A: b\n", Oddity.BARE_LF),
        (b"A: b\r", Oddity.BARE_CR | Oddity.NO_FINAL_EOL),
        (b"A: b\r\r\n", Oddity.BARE_CR),
        (b"A: b\n\r\n", Oddity.BARE_LF),
        (b"A: b\r\n\r\nc", Oddity.NO_FINAL_EOL),
        (b"A: b\r\n\r\n\0\r\n", Oddity.NUL),
        (b"A: \0\r\n", Oddity.NUL),
        (b"A: \xe9\r\n\r\nc\r\n", Oddity.EIGHT_BIT_HEADER),
        (b"A: b\r\n\r\n\xe9\r\n", Oddity.NONE),
        (b"A: \xe9\r\n\r\n\0\n", Oddity.EIGHT_BIT_HEADER | Oddity.NUL | Oddity.BARE_LF),
    ],
)
def test_oddities_are_named_and_only_unclean_octets_are_settled(octets: bytes, oddities: Oddity) -> None:
    made = fingerprint(octets)
    assert made.oddities == oddities
    assert (made.settled is None) == (oddities in (Oddity.NONE, Oddity.EIGHT_BIT_HEADER))
    settled = octets.replace(b"\0", b"\x80").replace(b"\r", b"").removesuffix(b"\n")
    assert _read_back(octets).settled == hashlib.sha256(settled).digest()
    assert made.settled in (None, hashlib.sha256(settled).digest())
    assert made.exact == hashlib.sha256(octets).digest()
    assert made.munged == _read_back(octets).munged == _munged(octets)
    assert made.octets == len(octets)


_PIECES = [b"\r", b"\n", b"\r\n", b"\r\n\r\n", b" ", b":", b"Received: ", b"Message-ID: <a@b>", b"x", b"\0", b"\xe9"]
_OCTETS = st.lists(st.sampled_from(_PIECES), max_size=30).map(b"".join) | st.binary(max_size=100)


def _munged(octets: bytes) -> bytes | None:
    """The digest of the octets with X for each one from 0x80 on in the header; None where there is none."""
    found = re.search(rb"\A\r*\n|\n\r*\n", octets)
    end = found.end() if found else len(octets)
    folded = re.sub(rb"[\x80-\xff]", b"X", octets[:end]) + octets[end:]
    return None if folded == octets else hashlib.sha256(folded).digest()


@given(_OCTETS, st.sampled_from([b"", b"\r\n\r\n", b"\n\n\xe9\0"]))
def test_the_munged_form_is_the_same_in_memory_and_in_a_stream(octets: bytes, end: bytes) -> None:
    octets += end
    stream = _Stream(octets)
    assert stream.finish(settle=True) == _read_back(octets)
    assert fingerprint(octets).munged == _munged(octets)


def test_the_munged_form_of_a_header_that_never_ends_is_that_of_its_first_part() -> None:
    octets = b"X: \xe9\r\n" * (HEADER_LIMIT // 7 + 1000)
    folded = octets[:HEADER_LIMIT].replace(b"\xe9", b"X") + octets[HEADER_LIMIT:]
    assert fingerprint(octets).munged == _cut(octets, [7, 70_000], True).munged == hashlib.sha256(folded).digest()


def _cut(octets: bytes, cuts: list[int], settle: bool) -> Fingerprint:
    digester = Digester(settle=settle)
    places = [0, *sorted(cut % (len(octets) + 1) for cut in cuts), len(octets)]
    for start, end in itertools.pairwise(places):
        digester.update(octets[start:end])
    return digester.finish()


@given(_OCTETS, st.lists(st.integers(0, 1000), max_size=6), st.booleans())
def test_wherever_the_blocks_are_cut_the_fingerprint_is_one(octets: bytes, cuts: list[int], settle: bool) -> None:
    assert _cut(octets, cuts, settle) == _cut(octets, [], settle)


@given(_OCTETS, st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"x"]), max_size=20))
def test_a_stream_that_is_cut_between_any_two_octets_is_digested_as_a_whole(head: bytes, body: list[bytes]) -> None:
    beginning = head + b"\r\n\r\n"
    stream = _Stream(beginning)
    for octet in b"".join(body):
        stream.update(bytes([octet]))
    assert stream.finish(settle=True) == _read_back(beginning + b"".join(body))


@given(_OCTETS, _OCTETS, st.lists(st.integers(0, HEADER_LIMIT * 2), max_size=6))
def test_a_long_message_is_digested_as_a_short_one(beginning: bytes, end: bytes, cuts: list[int]) -> None:
    filler = b"line of text\r\n" * (HEADER_LIMIT // 14 + 1)
    octets = beginning + b"\r\n\r\n" + filler + end
    long = _cut(octets, cuts, True)
    # The same content, short enough to be held: cut out what stands in the middle.
    settled = octets.replace(b"\0", b"\x80").replace(b"\r", b"").removesuffix(b"\n")
    assert long.settled == hashlib.sha256(settled).digest()
    assert long.exact == hashlib.sha256(octets).digest()
    assert long.munged == _munged(octets)
    assert long.octets == len(octets)
    assert _read_back(octets) == long
    odd = fingerprint(beginning + b"\r\n\r\n" + end).oddities
    assert long.oddities & ~Oddity.NO_FINAL_EOL == odd & ~Oddity.NO_FINAL_EOL


@pytest.mark.parametrize("end", [b"\r\n", b"", b"\r\n\r\n\r\n", b"\r\n" * 100_000])
def test_a_long_copy_has_the_content_of_its_original(end: bytes) -> None:
    octets = MAIL + b"line of text\r\n" * (HEADER_LIMIT // 14 + 1) + b"the end"
    copy = b"Received: again\r\n" + octets + end
    assert _cut(copy, [5, 70_000, 1_200_000], False).key == fingerprint(octets).key


def test_a_header_that_never_ends_is_cut_at_the_limit_and_the_rest_counts_as_body() -> None:
    octets = b"X: y\r\n" * (HEADER_LIMIT // 6 + 1000)
    other = octets[:-4] + b"z\r\n"
    assert fingerprint(octets).key.content != fingerprint(other).key.content
    assert fingerprint(octets).key.index == index_of(octets[:HEADER_LIMIT])[0]


@given(_OCTETS)
def test_no_octets_make_the_digests_raise(octets: bytes) -> None:
    made = fingerprint(octets)
    assert index_of(octets) == (made.key.index, made.key.has_message_id)


# --- real mail ---------------------------------------------------------------------------------


@pytest.mark.corpus
def test_the_corpus_has_one_index_from_the_whole_header_and_from_the_fields_that_imap_serves(
    corpus: list[Path],
) -> None:
    for path in corpus:
        octets = path.read_bytes()
        if re.search(rb"\r(?!\n)|\A\n|\n[ \t]+\r?\n", octets):
            continue  # what servers serve of these is asked of a real one below
        key = fingerprint(octets).key
        assert index_of(_served_fields(octets)) == (key.index, key.has_message_id), path.name


@pytest.mark.corpus
def test_the_corpus_is_digested_alike_however_it_is_cut(corpus: list[Path]) -> None:
    chance = random.Random(20)
    for path in corpus[::10]:
        octets = path.read_bytes()
        cuts = [chance.randrange(len(octets) + 1) for _ in range(5)]
        assert _cut(octets, cuts, False) == fingerprint(octets), path.name


@pytest.mark.corpus
@pytest.mark.dovecot
def test_a_real_server_serves_the_same_index_and_settled_form_and_the_content_of_what_it_keeps(
    corpus: list[Path], dovecot: Dovecot, user: str
) -> None:
    octets = [path.read_bytes() for path in corpus]
    odd = re.compile(rb"\0|\r(?!\n)|\A\r?\n|\n[ \t]+\r?\n|[ \t]:")
    sample = [one for n, one in enumerate(octets) if n % 40 == 0 or odd.search(one[:4000])][:300]
    with dovecot.imap(user) as session:
        for one in sample:
            session.append("INBOX", one)
        session.command('EXAMINE "INBOX"')
        names = " ".join(INDEX_FIELDS)
        answers = session.command(f"FETCH 1:* (BODY.PEEK[HEADER.FIELDS ({names})] BODY.PEEK[])")
    served = [literals for text, literals in answers if b" FETCH (" in text]
    assert len(served) == len(sample)
    for sent, (header, body) in zip(sample, served, strict=True):
        made, back = fingerprint(sent), _read_back(body)
        assert index_of(header) == (made.key.index, made.key.has_message_id)
        assert compare(made, back).is_same
        assert back.key == made.key or (made.settled is not None and made.exact != back.exact)
        assert made.settled in (None, back.settled)


def test_a_digester_can_be_made_by_a_call_without_arguments() -> None:
    make: Callable[[], Digester] = functools.partial(Digester, settle=True)
    assert make().finish().settled is not None
