"""Targets for what a message holds, and for what people are shown of it."""

from __future__ import annotations

import unicodedata
from datetime import timedelta

from migrate.cli.redact import MASK, SHORTEST, Redactor
from migrate.model import SYSTEM_FLAGS, Fingerprint, Mark, Policy, Secret, display, is_keyword
from migrate.rules.dates import internal_date, parse_date
from migrate.rules.dedupe import Digester, index_of
from migrate.rules.fidelity import compare
from migrate.rules.flags import KEYWORDS_MAX, admitted, flags_of
from migrate.rules.place import place
from migrate.wire import header, imap

from .octets import Choices, pieces

_FETCHED_AT = 1_700_000_000.0


def message_header(data: bytes) -> None:
    """Fields, date, flags and place of any octets, and digests that no cut changes."""
    choices = Choices(data)
    settle, cuts = bool(choices.number(2)), choices.cuts()
    octets = choices.rest()
    _read_fields(octets)
    _read_dates(octets)
    _read_flags(octets)
    whole = _fingerprint([octets], settle)
    assert _fingerprint(pieces(octets, cuts), settle) == whole, "cut elsewhere, another fingerprint"
    served = octets.replace(b"\0", b"\x80").replace(b"\r", b"")
    assert index_of(octets) == index_of(served), "what servers change changes the index"
    assert _fingerprint([octets], True).settled == _fingerprint([served], True).settled
    assert compare(whole, whole).is_same


def _read_fields(octets: bytes) -> None:
    names = [name for name, _ in header.fields(octets)]
    assert all(name and name == name.lower() for name in names)
    wanted = frozenset(names[:5]) or frozenset({b"subject"})
    quick = [(name, value) for name, value in header.pick(octets, wanted)]
    assert [name for name, _ in quick] == [name for name in names if name in wanted], "two ways to read, two answers"
    for _, value in quick:
        assert b"\n" not in header.unfold(value) or b"\n" in value
        _check_shown(display(header.text_of(value)))


def _read_dates(octets: bytes) -> None:
    for when in (parse_date(octets), internal_date(octets, _FETCHED_AT).when):
        if when is None:
            continue
        offset = when.utcoffset()
        assert offset is not None
        assert abs(offset) <= timedelta(hours=14), "an offset that IMAP cannot say"
        assert len(imap.internaldate_text(when)) == 26


def _read_flags(octets: bytes) -> None:
    for mark in Mark:
        flags = flags_of(octets, mark)
        assert ("\\Seen" in flags.names) or mark is not Mark.SEEN
        assert "\\Deleted" not in flags.names
        keywords = [name for name in flags.names if name not in SYSTEM_FLAGS]
        assert all(map(is_keyword, keywords))
        assert len(keywords) <= KEYWORDS_MAX
        assert admitted(flags, frozenset()).names <= frozenset(SYSTEM_FLAGS)
        assert place(octets, Policy(mark=mark), _FETCHED_AT).flags == flags


def _fingerprint(parts: list[bytes], settle: bool) -> Fingerprint:
    digester = Digester(settle=settle)
    for part in parts:
        digester.update(part)
    return digester.finish()


def shown_text(data: bytes) -> None:
    """What is shown of any octets holds nothing that acts on a terminal, and no password, in whatever form it came."""
    octets, _, password = data.partition(b"\0")
    _check_shown(display(octets))
    text = octets.decode("utf-8", "replace")
    _check_shown(display(text))
    plain = password.decode("utf-8", "replace")
    redact = Redactor()
    redact.learn("alice", secret := Secret(plain))
    forms = [form.decode("utf-8") for form in secret.forms("alice") if len(form) >= SHORTEST]
    for form in forms:
        shown = redact(f"{text}{form}{text}")
        left = shown.replace(MASK, "")
        assert all(one not in shown for one in forms if "*" not in one), f"shown: {left!r}"


def _check_shown(text: str) -> None:
    bad = [char for char in text if char != " " and unicodedata.category(char)[0] in "CZ"]
    assert not bad, f"shown as it is: {bad!r}"
    assert len(text) <= 303
