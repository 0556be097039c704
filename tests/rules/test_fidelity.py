"""Same or not the same: what servers do to odd octets passes by name, nothing else passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import Fingerprint
from migrate.rules.dedupe import Digester, fingerprint
from migrate.rules.fidelity import CR_DROPPED, EOL_ADDED, LF_AS_CRLF, MUNGED, NUL_AS_80, Fidelity, compare


def _read_back(octets: bytes) -> Fingerprint:
    digester = Digester(settle=True)
    digester.update(octets)
    return digester.finish()


def _compare(sent: bytes, served: bytes) -> Fidelity:
    return compare(fingerprint(sent), _read_back(served))


H = b"Subject: x\r\n\r\n"

PASSES = [
    (H + b"a\r\n", H + b"a\r\n", ()),
    (H + b"a\0b\n", H + b"a\0b\n", ()),
    (H + b"a\0b\r\n", H + b"a\x80b\r\n", (NUL_AS_80,)),
    (H + b"a\nb\r\n", H + b"a\r\nb\r\n", (LF_AS_CRLF,)),
    (H + b"a\nb\n", H + b"a\r\nb\n", (LF_AS_CRLF,)),
    (H + b"a\rb\r\n", H + b"ab\r\n", (CR_DROPPED,)),
    (H + b"a\r\r\nb\rc\r\n", H + b"a\r\nb\rc\r\n", (CR_DROPPED,)),
    (H + b"a\r\n\r", H + b"a\r\n", (CR_DROPPED,)),
    (H + b"a", H + b"a\r\n", (EOL_ADDED,)),
    (b"", b"\r\n", (EOL_ADDED,)),
    (H + b"a\0\nb", H + b"a\x80\r\nb\r\n", (NUL_AS_80, LF_AS_CRLF, EOL_ADDED)),
    (H + b"a\0\nb\rc", H + b"a\0\r\nbc", (LF_AS_CRLF, CR_DROPPED)),
    (H + b"a\rb", H + b"ab\r\n", (EOL_ADDED, CR_DROPPED)),
    (b"A: \xe9\r\n\r\n\xe9\r\n", b"A: X\r\n\r\n\xe9\r\n", (MUNGED,)),
    (b"A: \x80X\xff\xc3\xa9\r\nB\xe9: b\r\n\r\n", b"A: XXXXX\r\nBX: b\r\n\r\n", (MUNGED,)),
    (b"A: \xe9\r\n\r\na\rb\nc", b"A: X\r\n\r\na\rb\nc", (MUNGED,)),
    (b"A: \xe9\r\n\r\n\0\r\n", b"A: X\r\n\r\n\0\r\n", (MUNGED,)),
    (b"A: \xe9\r\n", b"A: X\r\n", (MUNGED,)),
    # Odd octets may change as ever where 8-bit octets of the header are kept.
    (b"A: \xe9\n\n\0\n", b"A: \xe9\r\n\r\n\x80\r\n", (NUL_AS_80, LF_AS_CRLF)),
    (b"A: \0\r\n\r\n", b"A: \x80\r\n\r\n", (NUL_AS_80,)),
]


@pytest.mark.parametrize(("sent", "served", "changes"), PASSES)
def test_what_servers_do_to_odd_octets_is_the_same_with_the_change_named(
    sent: bytes, served: bytes, changes: tuple[str, ...]
) -> None:
    assert _compare(sent, served) == Fidelity(True, changes)


FAILS = [
    (H + b"a\r\n", H + b"b\r\n"),
    # A clean message comes back as it is, whatever ``settled`` would forgive.
    (H + b"a\r\n", H + b"a\n"),
    (H + b"a\r\n", H + b"a"),
    (H + b"a\r\n", H + b"a\r\n\r\n"),
    (H + b"a\x80\r\n", H + b"a\0\r\n"),
    (H + b"a\r\n", H + b"a\r\r\n"),
    (H + b"\xe9\r\n", H + b"X\r\n"),
    # An odd one may change only where it was odd.
    (H + b"a\0\r\n", H + b"a\x80"),
    (H + b"a\0\r\n", H + b"a\x80\n"),
    (H + b"a\0\r\n", H + b"a\x80\r\r\n"),
    (H + b"a\0\r\n", H + b"ab\r\n"),
    (H + b"a\0\r\n", H + b"a"),  # cut at the NUL
    (H + b"a\0b\x80\r\n", H + b"a\x80b\0\r\n"),
    (H + b"a\nb\r\n", H + b"a\nb"),
    (H + b"a\nb\r\n", H + b"a\nb\n"),
    (H + b"a\nb\r\n", H + b"a\r\nb\rc\r\n"),
    (H + b"a\nb\r\n", H + b"a\r\n\r\nb\r\n"),
    (H + b"a\rb\r\n", H + b"a\r\nb\r\n"),
    (H + b"a\rb\r\n", H + b"a\rb\r\r\n"),
    (H + b"a", H + b"a\n\n"),
    (H + b"a", H + b"a\r\n\r\n"),
    # 8-bit octets of the header become X, all of them and nothing else.
    (b"A: \xe9\r\n\r\n", b"A: Y\r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: x\r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: ?\r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: \xe8\r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: \0\r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: \r\n\r\n"),
    (b"A: \xe9\r\n\r\n", b"A: XX\r\n\r\n"),
    (b"A: \xc3\xa9\r\n\r\n", b"A: X\r\n\r\n"),
    (b"A: \xc3\xa9\r\n\r\n", b"A: X\xa9\r\n\r\n"),
    (b"A: \xc3\xa9\r\n\r\n", b"A: \xc3X\r\n\r\n"),
    (b"A: \xe9b\r\n\r\n", b"A: XX\r\n\r\n"),
    (b"A: \xe9\r\n\r\n\xe9\r\n", b"A: X\r\n\r\nX\r\n"),
    (b"A: \xe9\r\n\r\n\xe9\r\n", b"A: \xe9\r\n\r\nX\r\n"),
    (b"A: \xe9\r\n\r\na\r\n", b"A: X\r\n\r\nb\r\n"),
    (b"A: \xe9\r\n\r\na\r\n", b"A: X\r\n\r\na"),
    (b"A: \xe9\r\n\r\na\r\n", b"A: X\r\n\r\na\n"),
    (b"A: \xe9\r\n\r\n\x80\r\n", b"A: X\r\n\r\n\0\r\n"),
    (b"A: \xe9\r\n\r\n\x80\r\n", b"A: \xe9\r\n\r\n\0\r\n"),
    (b"A: \xe9\r\n\r\na\r\n", b"A: \xe9\r\n\r\na"),
    # A NUL is no 8-bit octet, and what was X was not 8-bit.
    (b"A: \0\r\n\r\n", b"A: X\r\n\r\n"),
    (b"A: \xe9\0\r\n\r\n", b"A: XX\r\n\r\n"),
    (b"A: \xe9\r\nB: \0\r\n\r\n", b"A: X\r\nB: \x80\r\n\r\n"),
    (b"A: X\r\n\r\n", b"A: \xe9\r\n\r\n"),
    # A server that munges does nothing else to the message.
    (b"A: \xe9\r\n\r\na\0\r\n", b"A: X\r\n\r\na\x80\r\n"),
    (b"A: \xe9\r\n\r\na\n", b"A: X\r\n\r\na\r\n"),
    (b"A: \xe9\r\n\r\na\rb\r\n", b"A: X\r\n\r\nab\r\n"),
    (b"A: \xe9\r\n\r\na", b"A: X\r\n\r\na\r\n"),
]


@pytest.mark.parametrize(("sent", "served"), FAILS)
def test_any_other_difference_is_not_the_same(sent: bytes, served: bytes) -> None:
    assert _compare(sent, served) == Fidelity(False)


def test_a_munged_copy_is_known_without_its_settled_form() -> None:
    assert compare(fingerprint(b"A: \xe9\r\n\r\n"), fingerprint(b"A: X\r\n\r\n")) == Fidelity(True, (MUNGED,))


def test_a_fingerprint_made_without_the_munged_form_only_does_not_know_the_munged_copy() -> None:
    for sent, served in ((b"A: \xe9\r\n\r\n", b"A: X\r\n\r\n"), (b"A: \xe9\0\r\n\r\n", b"A: X\0\r\n\r\n")):
        old = fingerprint(sent)._replace(munged=None)
        assert compare(old, _read_back(sent)) == Fidelity(True)
        assert compare(old, _read_back(served)) == compare(old, fingerprint(served)) == Fidelity(False)


def test_a_read_back_without_its_settled_form_proves_nothing_for_odd_octets() -> None:
    assert not compare(fingerprint(H + b"a\0\r\n"), fingerprint(H + b"a\x80\r\n")).is_same


_PIECES = [b"\r", b"\n", b"\r\n", b"a", b"\0", b"\x80", b"X"]
_OCTETS = st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join)


@given(_OCTETS, _OCTETS)
def test_whatever_passes_differs_in_no_more_than_the_named_changes(sent: bytes, served: bytes) -> None:
    found = _compare(sent, served)
    if not found.is_same:
        return
    assert bool(found.changes) == (sent != served)
    if MUNGED in found.changes:
        assert found.changes == (MUNGED,)
        assert served == _munge(sent)
        return
    assert _settled(sent) == _settled(served)
    if NUL_AS_80 in found.changes:
        assert b"\0" in sent
        assert b"\0" not in served
    if b"\0" not in sent:
        assert b"\0" not in served
    if found.changes == (NUL_AS_80,) and b"\r" not in sent.replace(b"\r\n", b""):
        assert sent.replace(b"\0", b"\x80") == served
    if found.changes == (EOL_ADDED,) and not {b"\0", b"\r", b"\n"} & set(_octets(sent.replace(b"\r\n", b""))):
        assert served == sent + b"\r\n"
    if found.changes == (LF_AS_CRLF,) and b"\0" not in sent and b"\r" not in sent:
        assert len(sent) < len(served) <= len(sent) + sent.count(b"\n")


def _munge(octets: bytes) -> bytes:
    """As Cyrus stores it (imap/message.c, message_copy_strict), octet by octet."""
    stored, is_header, is_line_empty = bytearray(), True, True
    for octet in octets:
        if octet == 0x0A:
            is_header = is_header and not is_line_empty
            is_line_empty = True
        elif octet != 0x0D:
            is_line_empty = False
        stored.append(0x58 if is_header and octet >= 0x80 else octet)
    return bytes(stored)


_LINES = st.lists(st.sampled_from([*_PIECES, b"A: ", b"\xe9", b"\r\n\r\n"]), max_size=12).map(b"".join)


@given(_LINES | st.binary(max_size=60))
def test_a_message_munged_as_cyrus_does_it_is_the_same_with_the_change_named(sent: bytes) -> None:
    served = _munge(sent)
    assert _compare(sent, served) == Fidelity(True, (MUNGED,) if served != sent else ())


@given(_LINES, st.integers(0, 100), st.integers(1, 255))
def test_a_munged_message_with_one_octet_changed_differs(sent: bytes, place: int, change: int) -> None:
    served = bytearray(_munge(sent))
    if served == sent:
        return
    served[place % len(served)] ^= change
    if served != sent:  # the one 8-bit octet, changed back
        found = _compare(sent, bytes(served))
        assert MUNGED not in found.changes
        assert not found.is_same or _settled(sent) == _settled(bytes(served))


@given(_LINES, st.lists(st.booleans(), min_size=1))
def test_a_message_munged_in_part_differs(sent: bytes, choice: list[bool]) -> None:
    munged = _munge(sent)
    odd = [place for place in range(len(sent)) if sent[place] != munged[place]]
    served = bytearray(sent)
    for number, place in enumerate(odd):
        if choice[number % len(choice)]:
            served[place] = munged[place]
    if served not in (sent, munged):
        assert _compare(sent, bytes(served)) == Fidelity(False)


def _settled(octets: bytes) -> bytes:
    return octets.replace(b"\0", b"\x80").replace(b"\r", b"").removesuffix(b"\n")


def _octets(octets: bytes) -> list[bytes]:
    return [octets[n : n + 1] for n in range(len(octets))]


@pytest.mark.corpus
def test_the_corpus_passes_as_dovecot_stores_it_and_fails_when_one_octet_is_another(corpus: list[Path]) -> None:
    for path in corpus[::7]:
        octets = path.read_bytes()
        stored = re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b"\x80"))
        stored = re.sub(rb"\r(?=\r\n|\Z)", b"", stored)
        assert _compare(octets, stored).is_same, path.name
        middle = len(stored) // 2
        munged = _munge(octets)
        assert _compare(octets, munged) == Fidelity(True, (MUNGED,) if munged != octets else ()), path.name
        damaged = stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :]
        assert not _compare(octets, damaged).is_same, path.name
