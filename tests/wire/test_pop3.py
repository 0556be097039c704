"""The POP3 core: RFC 1939's own examples, every cut, every odd octet."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterable, Iterator
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import Cause, Retry, StoreError
from migrate.wire.pop3 import (
    END,
    LINE_LIMIT,
    Block,
    Challenge,
    Event,
    Pop3Wire,
    Quirk,
    Reply,
)

GREETING = b"+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n"


def stuffed(body: bytes) -> bytes:
    """A multi-line reply with this body, as RFC 1939 §3 has it; a body ends in CRLF or is empty."""
    lines = body.split(b"\r\n")
    assert lines.pop() == b""
    return b"".join(b"." + line + b"\r\n" if line.startswith(b".") else line + b"\r\n" for line in lines) + b".\r\n"


def play(wire: Pop3Wire, pieces: Iterable[bytes]) -> Iterator[Event]:
    for piece in pieces:
        wire.receive_data(piece)
        while (event := wire.next_event()) is not None:
            yield event


def spoken(*commands: bytes) -> Pop3Wire:
    """A core after the greeting, with these commands under way."""
    wire = Pop3Wire()
    wire.receive_data(GREETING)
    assert isinstance(wire.next_event(), Reply)
    for command in commands:
        wire.send(command)
    return wire


def merged(events: Iterable[Event]) -> list[object]:
    """The events, blocks of one body joined: where a body is cut means nothing."""
    told: list[object] = []
    for event in events:
        if isinstance(event, Block):
            assert event.octets, "a block is never empty"
            if told and isinstance(told[-1], bytes):
                told[-1] += event.octets
            else:
                told.append(event.octets)
        else:
            told.append(event)
    return told


def body_of(octets: bytes, *, step: int = 0) -> bytes:
    """The body that a RETR gets from these octets behind +OK."""
    octets = b"+OK\r\n" + octets
    step = step or len(octets)
    told = merged(play(spoken(b"RETR 1"), [octets[at : at + step] for at in range(0, len(octets), step)]))
    assert told[0] == Reply(True, b"", b"", b"+OK")
    assert told[-1] is END
    return b"".join(part for part in told if isinstance(part, bytes))


def refusal(octets: bytes, *commands: bytes) -> StoreError:
    with pytest.raises(StoreError) as caught:
        list(play(spoken(*commands), [octets]))
    return caught.value


def owes_nothing(wire: Pop3Wire) -> bool:
    """Whether a reply that comes now is one that nobody asked for. The wire is of no use afterwards."""
    try:
        list(play(wire, [b"+OK\r\n"]))
    except StoreError:
        return True
    return False


# --- out ------------------------------------------------------------------------------------


def test_a_command_is_sent_with_crlf_and_its_reply_is_owed() -> None:
    assert owes_nothing(spoken())
    wire = spoken()
    assert wire.send(b"RETR 1") == b"RETR 1\r\n"
    assert not owes_nothing(wire)


@pytest.mark.parametrize("octet", [b"\r", b"\n", b"\0", b"\t", b"\x1b", b"\x7f"])
def test_a_control_character_never_leaves_in_a_command(octet: bytes) -> None:
    wire = spoken()
    with pytest.raises(ValueError, match="control characters") as caught:
        wire.send(b"PASS hush" + octet + b"DELE 1")
    assert "hush" not in str(caught.value)
    with pytest.raises(ValueError, match="control characters"):
        wire.respond(b"hush" + octet)
    assert owes_nothing(wire)


def test_eight_bit_octets_may_be_sent() -> None:
    assert spoken().send("PASS gr\u00fcn".encode()) == b"PASS gr\xc3\xbcn\r\n"


# --- in: single lines -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"+OK 2 320", Reply(True, b"", b"2 320", b"+OK 2 320")),
        (b"+OK", Reply(True, b"", b"", b"+OK")),
        (b"-ERR no such message", Reply(False, b"", b"no such message", b"-ERR no such message")),
        (b"-ERR [IN-USE] busy", Reply(False, b"IN-USE", b"[IN-USE] busy", b"-ERR [IN-USE] busy")),
        (b"-ERR [sys/temp] x", Reply(False, b"SYS/TEMP", b"[sys/temp] x", b"-ERR [sys/temp] x")),
        (b"-ERR [LOGIN-DELAY 9] x", Reply(False, b"LOGIN-DELAY", b"[LOGIN-DELAY 9] x", b"-ERR [LOGIN-DELAY 9] x")),
        (b"-ERR not a [AUTH] code", Reply(False, b"", b"not a [AUTH] code", b"-ERR not a [AUTH] code")),
        (b"-ERR [unended", Reply(False, b"", b"[unended", b"-ERR [unended")),
        (b"-ERR\ttab", Reply(False, b"", b"tab", b"-ERR\ttab")),
        (b"+OK \xe9\x00\x1b[2J", Reply(True, b"", b"\xe9\x00\x1b[2J", b"+OK \xe9\x00\x1b[2J")),
    ],
)
def test_a_status_line_is_told_with_its_code(line: bytes, expected: Reply) -> None:
    assert list(play(spoken(b"STAT"), [line + b"\r\n"])) == [expected]


def test_a_status_line_split_anywhere_is_the_same() -> None:
    octets = b"-ERR [AUTH] no\r\n"
    for at in range(1, len(octets)):
        (reply,) = play(spoken(b"NOOP"), [octets[:at], octets[at:]])
        assert isinstance(reply, Reply)
        assert reply.code == b"AUTH"


@pytest.mark.parametrize(
    "octets", [b"OK\r\n", b"+ok\r\n", b"+OKAY\r\n", b"-ERROR\r\n", b"* OK\r\n", b"\r\n", b" +OK\r\n", b"+ x\r\n", b"\0"]
)
def test_what_is_neither_ok_nor_err_ends_the_session(octets: bytes) -> None:
    error = refusal(octets, b"NOOP")
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NOW)


@pytest.mark.parametrize("octets", [b"+OK\n", b"+OK a\nb\r\n", b"+OK" + b"x" * (LINE_LIMIT + 1)])
def test_only_crlf_within_the_limit_ends_a_status(octets: bytes) -> None:
    assert refusal(octets, b"NOOP").cause is Cause.UNUSABLE


@pytest.mark.parametrize(
    ("octets", "word"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS from the first octet"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "web server"),
        (b"* OK [CAPABILITY IMAP4rev1] ready\r\n", "IMAP"),
        (b"220 mail.example.org ESMTP\r\n", "mail or file transfer"),
        (b"Welcome\r\n", "greeting"),
    ],
)
def test_a_stranger_is_named_with_a_hint(octets: bytes, word: str) -> None:
    wire = Pop3Wire()
    with pytest.raises(StoreError) as caught:
        list(play(wire, [octets]))
    assert caught.value.cause is Cause.UNUSABLE
    assert word in str(caught.value)
    assert caught.value.hint


@pytest.mark.parametrize("command", [b"NOOP", b"RETR 1"])
def test_octets_that_nobody_asked_for_end_the_session_before_the_reply_counts(command: bytes) -> None:
    reply = b"+OK\r\n" if command == b"NOOP" else b"+OK\r\nbody\r\n.\r\n"
    told: list[Event] = []
    with pytest.raises(StoreError) as caught:
        told.extend(play(spoken(command), [reply + b"+OK injected\r\n"]))
    assert (caught.value.cause, caught.value.retry) == (Cause.UNUSABLE, Retry.NOW)
    assert END not in told
    assert b"injected" not in caught.value.said


def test_a_body_that_goes_on_behind_its_end_is_not_complete() -> None:
    # A server that does not double dots sends a message's own "." line as it is.
    wire = spoken(b"RETR 1", b"RETR 2")
    told: list[Event] = []
    with pytest.raises(StoreError):
        told.extend(play(wire, [b"+OK\r\nfirst\r\n.\r\nsecond half\r\n.\r\n+OK\r\nx\r\n.\r\n"]))
    assert END not in told


def test_a_farewell_without_being_asked_says_what_the_server_said() -> None:
    error = refusal(b"-ERR Disconnected for inactivity.\r\n")
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)
    assert error.said == b"-ERR Disconnected for inactivity."


# --- in: AUTH -------------------------------------------------------------------------------


@pytest.mark.parametrize(("line", "text"), [(b"+ ", b""), (b"+", b""), (b"+ cGFzcw==", b"cGFzcw=="), (b"+  x", b" x")])
def test_a_challenge_is_told_and_the_reply_still_owed(line: bytes, text: bytes) -> None:
    wire = spoken(b"AUTH PLAIN")
    assert list(play(wire, [line + b"\r\n"])) == [Challenge(text)]
    assert wire.respond(b"AHRpbQB0") == b"AHRpbQB0\r\n"
    (reply,) = play(wire, [b"+OK Maildrop locked and ready\r\n"])
    assert isinstance(reply, Reply)
    assert owes_nothing(wire)


def test_a_challenge_out_of_place_is_no_reply() -> None:
    assert refusal(b"+ cGFzcw==\r\n", b"NOOP").cause is Cause.UNUSABLE


# --- in: bodies -----------------------------------------------------------------------------

BODIES = [
    b"",
    b"\r\n",
    b".\r\n",
    b"..\r\n",
    b"...\r\n.\r\n\r\n",
    b"line\r\n",
    b"one\r\n.two\r\n..three\r\n.\r\nfour\r\n",
    b"bare\n.\nlf\r\n",
    b"bare\n.\r\nlf\r\n",
    b"bare cr\r.\r\n.\r.\r\n",
    b"\r\r\n.\r\r\n",
    b"\0\xff\r\n",
    b"." * 20 + b"\r\n",
    b"\r\n" * 5 + b".\r\n" * 5,
]


@pytest.mark.parametrize("body", BODIES)
def test_a_body_comes_out_exactly_whatever_the_pieces(body: bytes) -> None:
    octets = stuffed(body)
    for step in range(1, len(octets) + 6):
        assert body_of(octets, step=step) == body


@pytest.mark.parametrize("body", BODIES)
def test_a_body_cut_in_two_anywhere_comes_out_exactly_with_the_next_reply_behind(body: bytes) -> None:
    octets = b"+OK\r\n" + stuffed(body) + b"-ERR next\r\n"
    whole = merged(play(spoken(b"RETR 1", b"RETR 2"), [octets]))
    assert [part for part in whole if isinstance(part, bytes)] == ([body] if body else [])
    for at in range(1, len(octets)):
        assert merged(play(spoken(b"RETR 1", b"RETR 2"), [octets[:at], octets[at:]])) == whole


def test_a_dot_line_between_bare_lfs_is_mail() -> None:
    body = b"hello\n.\n+OK smuggled\r\n"
    assert body_of(body + b".\r\n") == body


def test_a_dot_that_a_server_forgot_to_double_stays_and_is_counted() -> None:
    wire = spoken(b"RETR 1")
    told = merged(play(wire, [b"+OK\r\n.one\r\n..two\r\nthree\r\n.\r\n"]))
    assert told[1] == b".one\r\n.two\r\nthree\r\n"
    assert wire.quirks == {Quirk.NOT_STUFFED: 1}


def test_err_to_retr_has_no_body() -> None:
    wire = spoken(b"RETR 1", b"STAT")
    first, second = play(wire, [b"-ERR no such message\r\n+OK 1 2\r\n"])
    assert isinstance(first, Reply)
    assert isinstance(second, Reply)
    assert (first.is_ok, second.text) == (False, b"1 2")


@pytest.mark.parametrize(
    ("command", "is_long"),
    [
        (b"CAPA", True),
        (b"UIDL", True),
        (b"UIDL 1", False),
        (b"LIST", True),
        (b"list 1", False),
        (b"TOP 1 10", True),
        (b"DELE 1", False),
        (b"RSET", False),
        (b"QUIT", False),
    ],
)
def test_each_command_knows_the_shape_of_its_reply(command: bytes, is_long: bool) -> None:
    wire = spoken(command)
    list(play(wire, [b"+OK\r\n"]))
    assert wire.in_body == is_long
    assert is_long or owes_nothing(wire)


def test_pipelined_replies_come_in_order() -> None:
    wire = spoken(b"STAT", b"RETR 1", b"RETR 2", b"DELE 1", b"QUIT")
    octets = b"+OK 2 320\r\n+OK\r\na\r\n.\r\n-ERR gone\r\n+OK\r\n+OK bye\r\n"
    told = merged(play(wire, [octets]))
    assert [part.line if isinstance(part, Reply) else part for part in told] == [
        b"+OK 2 320",
        b"+OK",
        b"a\r\n",
        END,
        b"-ERR gone",
        b"+OK",
        b"+OK bye",
    ]
    assert owes_nothing(wire)


def test_a_small_message_is_one_block() -> None:
    body = b"Subject: small\r\n\r\n" + b"x" * 4000 + b"\r\n"
    blocks = [event for event in play(spoken(b"RETR 1"), [b"+OK\r\n" + stuffed(body)]) if isinstance(event, Block)]
    assert [block.octets for block in blocks] == [body]


def test_a_line_of_ten_megabytes_streams_in_bounded_memory() -> None:
    wire = spoken(b"RETR 1")
    piece = b"x" * 100_000
    octets = largest = 0
    tracemalloc.start()
    for event in play(wire, [b"+OK\r\n", *[piece] * 100, b"\r\n.\r\n"]):
        if isinstance(event, Block):
            octets += len(event.octets)
            largest = max(largest, len(event.octets))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert octets == 10_000_002
    assert largest <= 200_000
    assert peak < 2_000_000
    assert not wire.in_body


def test_one_octet_at_a_time_makes_no_block_of_one_octet() -> None:
    octets = b"+OK\r\n" + b"y" * 200_000 + b"\r\n.\r\n"
    pieces = (octets[at : at + 7] for at in range(0, len(octets), 7))
    blocks = [event for event in play(spoken(b"RETR 1"), pieces) if isinstance(event, Block)]
    assert len(blocks) < 5


_OCTET = st.sampled_from(
    [b"\r\n", b".", b"\r", b"\n", b"x", b"\0", b"\xff", b"\r\n.", b"\r\n.\r", b"..", b"+OK", b"a" * 9]
)
_LINES = st.lists(_OCTET, max_size=30).map(lambda parts: b"".join(parts) + b"\r\n")


def cut(data: st.DataObject, octets: bytes) -> list[bytes]:
    places = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=12)) | {0, len(octets)})
    return [octets[a:b] for a, b in pairwise(places)]


@given(bodies=st.lists(st.one_of(st.just(b""), _LINES), min_size=1, max_size=4), data=st.data())
def test_any_bodies_in_any_pieces_come_out_exactly(bodies: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(b"+OK\r\n" + stuffed(body) for body in bodies)
    wire = spoken(*[b"RETR 1"] * len(bodies))
    told: list[bytes] = []
    for event in play(wire, cut(data, octets)):
        if isinstance(event, Reply):
            told.append(b"")
        elif isinstance(event, Block):
            told[-1] += event.octets
    assert told == bodies
    assert (wire.unread, wire.quirks) == (0, {})
    assert owes_nothing(wire)


def _told(wire: Pop3Wire, pieces: list[bytes]) -> tuple[list[object], bool]:
    events: list[Event] = []
    try:
        for event in play(wire, pieces):
            events.append(event)
    except StoreError:
        return merged(events), True
    return merged(events), False


@given(parts=st.lists(_OCTET | st.just(b"+OK\r\n") | st.just(b"-ERR\r\n") | st.just(b".\r\n")), data=st.data())
def test_garbage_in_pieces_is_never_more_than_the_same_garbage_whole(parts: list[bytes], data: st.DataObject) -> None:
    octets = b"".join(parts)
    commands = (b"UIDL", b"RETR 1", b"NOOP", b"RETR 2")
    whole, is_refused = _told(spoken(*commands), [octets])
    pieces, is_refused_in_pieces = _told(spoken(*commands), cut(data, octets))
    assert is_refused == is_refused_in_pieces
    if not is_refused:
        assert pieces == whole
    # Whole, a reply is withheld when what follows is wrong; in pieces it may have been told before that came.
    assert pieces[: len(whole)] == whole or isinstance(whole[-1], bytes)
