"""Targets for what a server sends: the POP3 reader and listings, the IMAP reader and what is made of its events.

A target takes any octets and ends with None. A reader ends with a value or a declared error; whatever else
leaves it, an AssertionError included, is a fault found.
"""

from __future__ import annotations

from array import array
from contextlib import suppress
from typing import TypeVar

from migrate.errors import MessageError, MigrateError, StoreError
from migrate.wire import imap, pop3
from migrate.wire.imap.answers import append_uids, refusal, said_goodbye
from migrate.wire.imap.reader import LINE_LIMIT, LITERAL_LIMIT

from .octets import Choices, pieces

Lines = TypeVar("Lines", pop3.UidlLines, pop3.ListLines)

_COMMANDS = (b"UIDL", b"RETR 1", b"NOOP", b"LIST", b"AUTH PLAIN", b"TOP 1 0", b"CAPA", b"UIDL 1")


# --- POP3 ---------------------------------------------------------------------------------------


def pop3_server(data: bytes) -> None:
    """A dialogue, or the bodies of UIDL and LIST."""
    (pop3_listing if data[:1] >= b"\x80" else pop3_reader)(data)


def pop3_reader(data: bytes) -> None:
    """Events of the pieces are those of the whole; a reply is withheld only where the whole is refused."""
    choices = Choices(data)
    commands = [_COMMANDS[choices.number(8)] for _ in range(choices.number(5))]
    cuts = choices.cuts()
    octets = choices.rest()
    whole, is_refused = _pop3_told(commands, [octets])
    told, is_refused_in_pieces = _pop3_told(commands, pieces(octets, cuts))
    assert is_refused == is_refused_in_pieces, "refused in one way of cutting, taken in another"
    if is_refused:
        assert told[: len(whole)] == whole or isinstance(whole[-1], bytes), "pieces tell something else"
    else:
        assert told == whole, "pieces tell something else"


def _pop3_told(commands: list[bytes], parts: list[bytes]) -> tuple[list[object], bool]:
    """The events, blocks of one body joined, and whether the octets were refused."""
    wire = pop3.Pop3Wire()
    for command in commands:
        wire.send(command)
    told: list[object] = []
    try:
        for part in parts:
            wire.receive_data(part)
            while (event := wire.next_event()) is not None:
                if not isinstance(event, pop3.Block):
                    told.append(event)
                    continue
                assert event.octets, "an empty block"
                if told and isinstance(told[-1], bytes):
                    told[-1] += event.octets
                else:
                    told.append(event.octets)
            assert wire.unread >= 0
    except StoreError:
        return told, True
    return told, False


def pop3_listing(data: bytes) -> None:
    """Bodies of UIDL and LIST read the same in blocks as whole; the joined listing is one ref for each number."""
    choices = Choices(data)
    limit, cuts = choices.number(32), choices.cuts()
    first, _, second = choices.rest().partition(b"\0")
    with suppress(StoreError):
        pop3.parse_stat(first)
    with suppress(StoreError):
        capabilities = pop3.parse_capabilities(first)
        assert all(name and name == name.upper() for name in capabilities)
    uidl = _lines(pop3.UidlLines(limit=limit), [first])
    again = _lines(pop3.UidlLines(limit=limit), pieces(first, cuts))
    assert (uidl is None) == (again is None), "blocks of UIDL are refused, and the whole is not"
    if uidl is not None and again is not None:
        assert (uidl.numbers, uidl.uids, uidl.ends) == (again.numbers, again.uids, again.ends)
        assert len(uidl.numbers) == len(uidl.ends)
    sizes = _lines(pop3.ListLines(limit=limit), [second])
    again_sizes = _lines(pop3.ListLines(limit=limit), pieces(second, cuts))
    assert (sizes is None) == (again_sizes is None), "blocks of LIST are refused, and the whole is not"
    if sizes is not None and again_sizes is not None:
        assert (sizes.numbers, sizes.octets) == (again_sizes.numbers, again_sizes.octets)
    with suppress(StoreError):
        _join(limit, uidl, sizes)


def _lines(lines: Lines, blocks: list[bytes]) -> Lines | None:
    try:
        for block in blocks:
            lines.feed(block)
    except StoreError:
        return None
    return lines


def _join(limit: int, uidl: pop3.UidlLines | None, sizes: pop3.ListLines | None) -> None:
    count = len(uidl.numbers) if uidl else len(sizes.numbers) if sizes else limit
    uids = sorted(_uids(uidl)) if uidl else []
    listing = pop3.join_listings(count, uidl, sizes)
    if listing is None:
        return
    refs = list(listing)
    assert refs == listing[:], "two ways to ask for a ref give two answers"
    numbers = [ref.number for ref in refs]
    assert numbers == sorted(set(numbers)), "a number twice"
    assert len(refs) == len(listing) == count
    assert uidl is None or sorted(ref.uid for ref in refs) == uids, "a UIDL changed"


def _uids(lines: pop3.UidlLines) -> list[bytes]:
    starts = array("Q", [0, *lines.ends])
    return [bytes(lines.uids[begin:end]) for begin, end in zip(starts, lines.ends, strict=False)]


# --- IMAP ---------------------------------------------------------------------------------------


def imap_reader(data: bytes) -> None:
    """Events of the pieces are those of the whole, and everything that is made of them is total."""
    choices = Choices(data)
    limits = (60, 30) if choices.number(2) else (LINE_LIMIT, LITERAL_LIMIT)
    low, cuts = choices.number(9), choices.cuts()
    octets = choices.rest()
    whole = _imap_told(limits, [octets])
    assert _imap_told(limits, pieces(octets, cuts)) == whole, "pieces tell something else"
    for event in whole:
        with suppress(StoreError, MessageError):
            _use(event, low)


def _imap_told(limits: tuple[int, int], parts: list[bytes]) -> list[object]:
    reader = imap.Reader(*limits)
    told: list[object] = []
    try:
        for part in parts:
            reader.feed(part)
            while (event := reader.next_event()) is not None:
                told.append(event)
            assert reader.rest <= sum(limits) + len(part) + 2, "more is held than the limits allow"
    except StoreError as error:
        told.append(str(error))
    return told


def _use(event: object, low: int) -> None:
    match event:
        case imap.Tagged():
            assert isinstance(refusal(event, low), MigrateError)
            found = append_uids(event, low, 0, 1)
            assert found is None or len(found) == low
            assert isinstance(event.said, bytes)
        case imap.Status():
            assert isinstance(said_goodbye(event), StoreError)
            assert isinstance(event.said, bytes)
        case imap.Data(name=b"SEARCH"):
            uids = imap.parse_search(event, low)
            assert all(low <= uid <= 0xFFFFFFFF for uid in uids)
            assert imap.uid_set(uids).count(b",") < max(1, len(uids))
        case imap.Data():
            fetched = imap.parse_fetch(event)
            assert fetched.uid is None or 0 <= fetched.uid <= 0xFFFFFFFF
