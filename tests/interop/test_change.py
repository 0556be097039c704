"""What servers do to messages is named as it was, and a copy is found again whatever was done to it."""

from __future__ import annotations

import pytest

from tests.e2e.ferry import Json, Ran

from . import change
from .account import untold
from .result import Result

SENT = b"From: a@example.org\r\nSubject: x\r\n\r\nbody\r\n"

SEEN = [
    ("nothing", SENT, SENT, ()),
    ("NUL", b"S: x\r\n\r\na\0b\r\n", b"S: x\r\n\r\na\x80b\r\n", (change.NUL_AS_80,)),
    ("cut", b"S: x\r\n\r\nab\0cd\r\n", b"S: x\r\n\r\nab\r\n", (change.CUT_AT_NUL, change.EOL_ADDED)),
    ("CR dropped", b"S: x\r\n\r\na\rb\r\r\n", b"S: x\r\n\r\nab\r\n", (change.CR_DROPPED,)),
    ("end added", b"S: x\r\n\r\na", b"S: x\r\n\r\na\r\n", (change.EOL_ADDED,)),
    ("end cut", b"S: x\r\n\r\na\r\n", b"S: x\r\n\r\na\r", (change.EOL_CUT,)),
    ("8-bit", b"S: \xe9\r\n\r\n\xe9\r\n", b"S: X\r\n\r\n\xe9\r\n", (change.AS_X,)),
    ("books", SENT, SENT.replace(b"\r\n\r\n", b"\r\nX-UID: 3\r\nStatus: O\r\n\r\n"), (change.FIELDS_ADDED,)),
    ("no books", b"Status: RO\r\n" + SENT, SENT, (change.FIELDS_REMOVED,)),
    ("From", b"From a b\r\n" + SENT, SENT, (change.FROM_CUT,)),
    ("spaces", b"S:x\r\n\r\nb\r\n", b"S: x\r\n\r\nb\r\n", (change.SPACED,)),
    ("two", b"S: \xe9\r\n\r\na\rb\r\n", b"S: X\r\n\r\nab\r\n", (change.AS_X, change.CR_DROPPED)),
    ("other", SENT, SENT.replace(b"body", b"Body"), (change.OTHER,)),
    ("more", b"S: x\r\n\r\na\0b\r\n", b"S: y\r\n\r\na\x80b\r\n", (change.CUT_AT_NUL, change.EOL_ADDED, change.OTHER)),
]


@pytest.mark.parametrize(("sent", "kept", "names"), [row[1:] for row in SEEN], ids=[row[0] for row in SEEN])
def test_a_change_has_its_name_and_no_other(sent: bytes, kept: bytes, names: tuple[str, ...]) -> None:
    assert change.named(sent, kept) == names


@pytest.mark.parametrize(("sent", "kept"), [row[1:3] for row in SEEN[:-2]], ids=[row[0] for row in SEEN[:-2]])
def test_a_changed_copy_is_found_among_others(sent: bytes, kept: bytes) -> None:
    strange, missing = b"Subject: strange\r\n\r\nq\r\n", b"Subject: missing\r\n\r\np\r\n"
    assert change.pair([missing, sent], [strange, kept]) == ([(sent, kept)], [missing], [strange])


def test_two_messages_that_differ_in_spaces_are_not_taken_for_each_other() -> None:
    one, other = b"S: x\r\n\r\na\r\n", b"S:  x\r\n\r\na\r\n"
    found = change.pair([one, other], [other[:-1], one[:-1]]).found
    assert sorted(found) == sorted([(one, one[:-1]), (other, other[:-1])])


def faults(kept: bytes, *events: Json) -> list[str]:
    sent = b"S: x\r\n\r\na\0b\r\n"
    pairs = change.pair([sent], [kept] if kept else [])
    return list(untold(Ran(3, list(events), ""), [(b"u1", sent)], pairs))


ALTERED: Json = {"event": "altered", "uidl": "u1", "changes": ["NUL octets stored as 0x80"]}
OTHER: Json = {"event": "altered", "uidl": "u1", "changes": ["final line end added"]}
DIFFERS: Json = {"event": "set-aside", "uidl": "u1", "reason": "the destination keeps other octets than it was sent"}
REFUSED: Json = {"event": "set-aside", "uidl": "u1", "reason": "the destination refused it"}


def test_only_what_was_told_as_it_is_passes() -> None:
    changed = b"S: x\r\n\r\na\x80b\r\n"
    assert faults(changed, ALTERED) == faults(changed, DIFFERS) == faults(b"", REFUSED) == []
    untrue: list[tuple[bytes, tuple[Json, ...]]] = [
        (changed, ()),
        (changed, (OTHER,)),
        (changed, (REFUSED,)),
        (b"", ()),
        (b"", (DIFFERS,)),
    ]
    for kept, told in untrue:
        assert faults(kept, *told) != [], (kept, told)


def test_a_row_survives_its_way_through_a_pipe() -> None:
    row = Result("s", "source", offered=1, violations=["bad"], notes=["seen"])
    row.changed["a|b"] += 2
    assert Result.from_json(row.to_json()) == row
    assert row.line == "| s | source | 1 | 0 | 0 | 2 a\\|b | none | 0 | seen; 1 VIOLATIONS, the first: bad |"
