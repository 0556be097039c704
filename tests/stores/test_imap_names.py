"""Names of mailboxes on the wire: modified UTF-7 there and back (RFC 3501 §5.1.3)."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import MailboxError
from migrate.stores.imap.mailbox import _decoded, _encoded


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40))
def test_any_name_comes_back_composed(name: str) -> None:
    encoded = _encoded(name)
    assert encoded.isascii()
    assert not set(encoded) & set(range(0x80, 0x100))
    assert _decoded(encoded) == unicodedata.normalize("NFC", name)


@given(st.binary(max_size=40) | st.lists(st.sampled_from([b"&", b"-", b"AOk", b"2D0", b",", b"/", b"x"])).map(b"".join))
def test_any_octets_are_a_name_that_is_written_just_so_or_none(octets: bytes) -> None:
    name = _decoded(octets)
    if name is not None and unicodedata.is_normalized("NFC", name):
        assert unicodedata.normalize("NFC", _decoded(_encoded(name)) or "") == name


def test_the_example_of_rfc_3501_is_read_and_written() -> None:
    octets = b"~peter/mail/&U,BTFw-/&ZeVnLIqe-"
    assert _decoded(octets) == "~peter/mail/台北/日本語"
    assert _encoded("~peter/mail/台北/日本語") == octets


def test_what_is_no_text_is_no_name() -> None:
    with pytest.raises(MailboxError, match="it is no text"):
        _encoded("\ud800")
