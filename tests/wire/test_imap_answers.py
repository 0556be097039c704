"""Status and response code -> AppendUid, or an error of the right reach."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import Cause, MessageError, Retry, StoreError
from migrate.model import AppendUid
from migrate.wire.imap import Reader, Status, Tagged, append_uids, refusal, said_goodbye


def answer(line: bytes) -> Tagged:
    reader = Reader()
    reader.feed(b"a " + line + b"\r\n")
    event = reader.next_event()
    assert isinstance(event, Tagged)
    return event


def uids(args: bytes, count: int, uidvalidity: int = 38505, floor: int = 1) -> list[int] | None:
    found = append_uids(answer(b"OK [APPENDUID " + args + b"] done"), count, uidvalidity, floor)
    return None if found is None else [one.uid for one in found]


def test_the_examples_of_rfc_4315_and_3502_are_read() -> None:
    assert append_uids(answer(b"OK [APPENDUID 38505 3955] APPEND completed"), 1, 38505, 1) == (AppendUid(38505, 3955),)
    assert uids(b"38505 3955:3957", 3) == [3955, 3956, 3957]
    assert uids(b"38505 3955,3958:3959,3961", 4) == [3955, 3958, 3959, 3961]
    assert uids(b"38505 3957:3955", 3) == [3955, 3956, 3957]
    assert uids(b"7 1", 1, uidvalidity=0) == [1], "the mailbox told no UIDVALIDITY"


@pytest.mark.parametrize(
    ("args", "count"),
    [
        (b"", 1),
        (b"1", 1),
        (b"1 ", 1),
        (b"38505 x", 1),
        (b"38505 0", 1),
        (b"0 5", 1),
        (b"38506 5", 1),
        (b"38505 1:5", 1),
        (b"38505 5", 2),
        (b"38505 5,5", 2),
        (b"38505 6,5", 2),
        (b"38505 5:*", 2),
        (b"38505 -5", 1),
        (b"38505 1:2:3", 3),
        (b"38505 1,", 1),
        (b"38505 ,1", 1),
        (b"38505 4294967296", 1),
        (b"38505 1:4294967295", 3),
        (b"99999999999 5", 1),
        (b"38505 5 6", 1),
    ],
)
def test_an_appenduid_that_makes_no_sense_is_none(args: bytes, count: int) -> None:
    assert uids(args, count) is None


def test_the_uid_of_an_older_message_is_none() -> None:
    assert uids(b"38505 9", 1, floor=10) is None
    assert uids(b"38505 10", 1, floor=10) == [10]


@given(st.binary(max_size=30), st.integers(1, 5))
def test_any_arguments_give_uids_or_none(args: bytes, count: int) -> None:
    found = append_uids(Tagged(b"OK", b"APPENDUID", args, b"", tag=b"a"), count, 0, 1)
    assert found is None or len(found) == count


@pytest.mark.parametrize(
    "line",
    [
        b"NO [TOOBIG] Message too large",
        b"NO Maximum size of appendable message has been exceeded",
        b"BAD Command Argument Error. 11",
        b"NO Message contains invalid header",
        b"NO Message contains bare newlines",
        b"NO [CANNOT] no",
        b"NO [LIMIT] too many user flags in mailbox",
        b"NO Unexpected exception",
        b"BAD",
    ],
)
def test_a_refusal_of_one_message_reaches_no_further(line: bytes) -> None:
    error = refusal(answer(line), 4711)
    assert isinstance(error, MessageError)
    assert "4711" in str(error)
    assert error.said == line


@pytest.mark.parametrize(
    ("line", "cause", "retry"),
    [
        (b"NO [OVERQUOTA] Quota exceeded", Cause.FULL, Retry.LATER),
        (b"NO Your quota has been exceeded.", Cause.FULL, Retry.LATER),
        (b"NO Mailbox is full", Cause.FULL, Retry.LATER),
        (b"NO [OVERQUOTA] Account exceeded command or bandwidth limits.", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [ALERT] Too many simultaneous connections. (Failure)", Cause.UNREACHABLE, Retry.LATER),
        (b"BAD Request is throttled. Suggested Backoff Time: 297 milliseconds", Cause.UNREACHABLE, Retry.LATER),
        (b"NO Server Unavailable. 15", Cause.UNREACHABLE, Retry.LATER),
        (b"BAD User is authenticated but not connected.", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [LIMIT] APPEND Rate limit hit.", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [UNAVAILABLE] Temporary problem", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [INUSE] locked", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [SERVERBUG] Internal error", Cause.UNREACHABLE, Retry.LATER),
        (b"NO [TRYCREATE] gone", Cause.UNREACHABLE, Retry.NOW),
        (b"NO [EXPIRED] token", Cause.UNREACHABLE, Retry.NOW),
        (b"NO [NOPERM] no", Cause.UNUSABLE, Retry.NEVER),
    ],
)
def test_a_refusal_that_is_not_about_the_message_is_about_the_store(line: bytes, cause: Cause, retry: Retry) -> None:
    error = refusal(answer(line), 10)
    assert isinstance(error, StoreError)
    assert (error.cause, error.retry) == (cause, retry)
    assert error.said == line


def test_a_limit_that_one_message_meets_is_about_that_message() -> None:
    line = b"NO [LIMIT] Mail size is larger than the maximum size allowed by server configuration"
    told = refusal(answer(line), 900_000)
    assert isinstance(told, MessageError)
    assert "900000 octets as too large" in str(told)


def test_how_long_the_server_asks_us_to_wait_is_read() -> None:
    told = refusal(answer(b"BAD Request is throttled. Suggested Backoff Time: 297000 milliseconds"))
    assert isinstance(told, StoreError)
    assert told.wait_s == 297
    untold = refusal(answer(b"NO [LIMIT] APPEND Rate limit hit."))
    assert isinstance(untold, StoreError)
    assert untold.wait_s == 0


def test_an_empty_message_is_named_as_empty() -> None:
    assert "empty" in str(refusal(answer(b"NO Can't save a zero byte message."), 0))


def test_goodbye_means_again_now_unless_the_server_asks_for_time() -> None:
    assert said_goodbye(Status(b"BYE", b"", b"", b"")).retry is Retry.NOW
    assert said_goodbye(Status(b"BYE", b"", b"", b"idle for too long")).retry is Retry.NOW
    assert said_goodbye(Status(b"BYE", b"UNAVAILABLE", b"", b"")).retry is Retry.LATER
    assert said_goodbye(Status(b"BYE", b"", b"", b"Account exceeded bandwidth limits")).retry is Retry.LATER
