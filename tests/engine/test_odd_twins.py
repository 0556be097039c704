"""Two messages of a source that differ only in octets that servers change: each is kept, it may be the only one."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from migrate.commands import Command, SearchUids
from migrate.errors import Exit
from migrate.events import Judged, Recounted
from migrate.stores.memory import MemoryMailbox

from .support import Between, letter

RECEIVED = b"Received: by mx.example.org\r\n"

PAIRS = {
    "a bare CR": (letter(1, body=b"A\rB"), letter(1, body=b"AB")),
    "NUL": (letter(1, body=b"\0"), letter(1, body=b"\x80")),
    "a bare LF": (letter(1, body=b"a\nb"), letter(1, body=b"a\r\nb")),
    "a bare CR in the header": (letter(1, header=b"X: A\rB\r\n"), letter(1, header=b"X: AB\r\n")),
    "NUL in the header": (letter(1, header=b"X: \0\r\n"), letter(1, header=b"X: \x80\r\n")),
    "a CR more before a line end": (letter(1, body=b"\r"), letter(1)),
}


class Cleaning(MemoryMailbox):
    """Keeps mail without bare CR, with 0x80 for NUL and with CRLF for LF."""

    def keep(self, octets: bytes) -> bytes:
        return octets.replace(b"\0", b"\x80").replace(b"\r", b"").replace(b"\n", b"\r\n")


class OneCrLess(MemoryMailbox):
    """Takes one CR away before a line end, as Dovecot does."""

    def keep(self, octets: bytes) -> bytes:
        return octets.replace(b"\r\r\n", b"\r\n")


@pytest.fixture(params=PAIRS)
def pair(request: pytest.FixtureRequest) -> tuple[bytes, bytes]:
    return PAIRS[request.param]


@pytest.mark.parametrize("is_reversed", [False, True])
def test_both_are_at_the_destination_before_either_is_deleted(
    tmp_path: Path, pair: tuple[bytes, bytes], is_reversed: bool
) -> None:
    between = Between(tmp_path, list(reversed(pair)) if is_reversed else list(pair))
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored() == Counter(pair)
    assert not between.source()


def test_one_that_comes_under_a_known_uidl_is_copied(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    between = Between(tmp_path, [pair[1]])
    assert between.migrate() is Exit.OK
    between.maildrop.mails[0].octets = pair[0]
    assert between.migrate(delete_after_s=0) in (Exit.OK, Exit.SET_ASIDE)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored() == Counter(pair)


def test_a_server_that_makes_them_one_keeps_a_copy_for_each(tmp_path: Path, pair: tuple[bytes, bytes]) -> None:
    between = Between(tmp_path, list(pair), make_mailbox=Cleaning)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored().total() == 2
    assert between.verify() is Exit.OK
    assert between.one(Recounted).shared == 0


def test_one_that_is_not_there_is_missing_though_the_other_looks_as_it_might_look_changed(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    between = Between(tmp_path, list(pair))
    between.store(pair[1])
    assert between.verify() is Exit.DIFFERENCES
    assert between.one(Judged).tier == "missing"


def test_a_copy_that_the_server_cleaned_before_our_first_run_is_no_reason_to_send_it_again(
    tmp_path: Path, pair: tuple[bytes, bytes]
) -> None:
    between = Between(tmp_path, [pair[0]])
    between.store(pair[1])
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored() == Counter([pair[1]])
    assert not between.source()


def test_a_copy_that_was_read_in_vain_is_read_again_for_a_message_that_it_may_be(tmp_path: Path) -> None:
    clean, odd = letter(1, body=b"x"), letter(1, body=b"A\rB")
    between = Between(tmp_path, [clean])
    between.store(letter(1, body=b"AB"))
    assert between.migrate() is Exit.OK
    between.maildrop.deliver(odd)
    assert between.migrate() is Exit.OK
    assert between.stored() == Counter([letter(1, body=b"AB"), clean])


def test_what_a_delivery_writes_makes_no_second_mail_of_an_odd_one(tmp_path: Path) -> None:
    odd = letter(1, body=b"A\rB\0")
    between = Between(tmp_path, [odd, RECEIVED + odd, odd])
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert between.stored() == Counter([odd])
    assert between.verify() is Exit.OK


# --- copies that may be of several messages -------------------------------------------------------

# The first may become any of the copies of the others; what each of them becomes is nearest to itself.
MANY_CR = [letter(1, body=b"\r" * count) for count in (9, 6, 3)]


@pytest.mark.parametrize("seed", range(6))
def test_each_is_said_to_have_its_own_copy(tmp_path: Path, seed: int) -> None:
    # The digests are others each time: no order among them is the right one by chance.
    letters = [octets + b"%d\r\n" % seed for octets in MANY_CR]
    between = Between(tmp_path, letters, make_mailbox=OneCrLess)
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.verify(dedupe="off") is Exit.OK
    assert [one.uid for one in between.all(Judged)] == [1, 2, 3]


@pytest.mark.parametrize("kind", [MemoryMailbox, OneCrLess])
@pytest.mark.parametrize("is_reversed", [False, True])
def test_after_the_loss_of_the_state_file_each_finds_its_own_copy(
    tmp_path: Path, kind: type[MemoryMailbox], is_reversed: bool
) -> None:
    between = Between(tmp_path, MANY_CR, make_mailbox=kind)
    kept = [between.box.keep(octets) for octets in MANY_CR]
    for octets in reversed(kept) if is_reversed else kept:
        between.store(octets)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.appended() == 0
    assert between.stored() == Counter(kept)


def test_where_no_uids_are_named_each_claims_its_own_copy(tmp_path: Path) -> None:
    between = Between(tmp_path, MANY_CR, has_uids=False, make_mailbox=OneCrLess)
    kept = Counter(map(between.box.keep, MANY_CR))

    def change_places(command: Command) -> None:
        """The server stored them in another order than it was sent them."""
        if isinstance(command, SearchUids) and len(copies := list(between.box.kept.values())) == len(MANY_CR):
            for copy, other in zip(copies, reversed(copies), strict=True):
                between.box.kept[copy.uid] = replace(other, uid=copy.uid)
            between.on_command = lambda command: None

    between.on_command = change_places
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.stored() == kept


@pytest.mark.parametrize("is_reversed", [False, True])
def test_of_two_as_long_the_one_that_is_the_same_octets_is_its_copy(tmp_path: Path, is_reversed: bool) -> None:
    pair = list(PAIRS["NUL"])
    between = Between(tmp_path, pair)
    for octets in reversed(pair) if is_reversed else pair:
        between.store(octets)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.appended() == 0
