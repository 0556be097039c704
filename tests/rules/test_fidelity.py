"""Same or not the same: what servers do to odd octets passes by name, nothing else passes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model import Fingerprint
from migrate.rules.dedupe import Digester, fingerprint
from migrate.rules.fidelity import CR_DROPPED, EOL_ADDED, LF_AS_CRLF, NUL_AS_80, Fidelity, compare


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
]


@pytest.mark.parametrize(("sent", "served"), FAILS)
def test_any_other_difference_is_not_the_same(sent: bytes, served: bytes) -> None:
    assert _compare(sent, served) == Fidelity(False)


def test_a_read_back_without_its_settled_form_proves_nothing_for_odd_octets() -> None:
    assert not compare(fingerprint(H + b"a\0\r\n"), fingerprint(H + b"a\x80\r\n")).is_same


_PIECES = [b"\r", b"\n", b"\r\n", b"a", b"\0", b"\x80"]
_OCTETS = st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join)


@given(_OCTETS, _OCTETS)
def test_whatever_passes_differs_in_no_more_than_the_named_changes(sent: bytes, served: bytes) -> None:
    found = _compare(sent, served)
    if not found.is_same:
        return
    assert bool(found.changes) == (sent != served)
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
        damaged = stored[:middle] + bytes([stored[middle] ^ 1]) + stored[middle + 1 :]
        assert not _compare(octets, damaged).is_same, path.name
