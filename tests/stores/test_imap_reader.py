"""How an IMAP source is asked for messages: all that is wanted of the small ones at once."""

from __future__ import annotations

from dataclasses import replace
from operator import add
from pathlib import Path

import pytest

from migrate.commands import Fetch, ListSource, OpenSource, Outcome
from migrate.errors import MessageError, StoreError
from migrate.model import INBOX, Flags, Message, Secret
from migrate.rules.dedupe import Digester
from migrate.stores.imap import ImapReader, fetching, look
from tests.fakes.imap_script import Clock, Script, ScriptChannel, play, to_script

from .imap_rig import LOGIN, PASSWORD, SELECT, endpoint

BESIDE = 'FLAGS (\\Seen) INTERNALDATE "02-Jan-2020 03:04:05 +0000"'
ASK = "C a: UID FETCH %s (UID RFC822.SIZE FLAGS INTERNALDATE BODY.PEEK[])\n"
SIZES = "C a: UID FETCH %s (UID RFC822.SIZE FLAGS INTERNALDATE)\n"
BODIES = "C b: UID FETCH %s (UID BODY.PEEK[])\n"
DONE = "S: $%s OK done\n"


def whole(uid: int, octets: str, size: int | None = None) -> str:
    size = len(octets) if size is None else size
    head = f"* {uid} FETCH (UID {uid} RFC822.SIZE {size} {BESIDE} BODY[] {{{len(octets)}}}"
    return f"S: {head}\nS> {octets}\nS: )\n"


def opened(tmp_path: Path, text: str) -> tuple[ImapReader, Script]:
    """A session at the INBOX, and the transcript of it behind the login."""
    script, clock = Script(LOGIN % "LITERAL+" + text), Clock()
    session = ImapReader(
        replace(endpoint(), mailbox=INBOX),
        Secret(PASSWORD),
        connect=to_script(ScriptChannel(script, clock, is_secure=True, piece=1 << 20, take=1 << 20, pace_s=0.0)),
        clock=clock,
        digester=Digester,
        spill_dir=tmp_path,
    )
    return session, script


def listing(*listed: int) -> tuple[str, str]:
    """Selecting the folder, and its sizes."""
    sizes = "".join(f"S: * {uid} FETCH (UID {uid} RFC822.SIZE {size})\n" for uid, size in enumerate(listed, 1))
    examined = SELECT.replace("SELECT", "EXAMINE").replace("* 3 EXISTS", f"* {len(listed)} EXISTS")
    return examined, f"C: UID FETCH 1:* (UID RFC822.SIZE)\n{sizes}S: $t OK done\n"


def fetched(tmp_path: Path, text: str, *listed: int) -> list[Outcome]:
    """The outcomes of fetching messages 1, 2, ..., which the source lists with these sizes."""
    session, script = opened(tmp_path, "".join(listing(*listed)) + text)
    _, listed_ones = play(session, OpenSource(), ListSource())
    outcomes = play(session, *map(Fetch, listed_ones.value))
    assert script.left == []
    return outcomes


def octets(outcome: Outcome) -> bytes:
    message: Message = outcome.value
    return b"".join(message.blocks())


def test_small_messages_come_with_all_that_stands_beside_them(tmp_path: Path) -> None:
    text = ASK % "1:2" + whole(1, "one") + whole(2, "zwei") + DONE % "a"
    one, two = fetched(tmp_path, text, 3, 4)
    assert (octets(one), octets(two)) == (b"one", b"zwei")
    assert one.value.flags == Flags(frozenset({"\\Seen"}))
    assert one.value.internaldate.when.isoformat() == "2020-01-02T03:04:05+00:00"


def test_groups_are_bounded_by_the_listed_size_and_a_large_one_is_asked_for_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WINDOW", 4)
    monkeypatch.setattr(fetching, "WINDOW", 4)
    text = (
        ASK % "1"
        + (ASK % "2").replace("C a", "C b")
        + (SIZES % "3").replace("C a", "C c")
        + f"{whole(1, 'one')}{DONE % 'a'}{whole(2, 'two')}{DONE % 'b'}"
        + f"S: * 3 FETCH (UID 3 RFC822.SIZE 6 {BESIDE})\n{DONE % 'c'}"
        + "".join(f"C {name}: UID FETCH 3 (UID BODY.PEEK[]<{at}.4>)\n" for name, at in (("wa", 0), ("wb", 4)))
        + "S: * 3 FETCH (UID 3 BODY[]<0> {4}\nS> six-\nS: )\nS: $wa OK done\n"
        + "S: * 3 FETCH (UID 3 BODY[]<4> {2}\nS> oc\nS: )\nS: $wb OK done\n"
    )
    assert [octets(one) for one in fetched(tmp_path, text, 3, 3, 6)] == [b"one", b"two", b"six-oc"]


def test_a_message_that_is_larger_than_it_was_listed_is_read_in_windows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WINDOW", 4)
    monkeypatch.setattr(fetching, "WINDOW", 4)
    windows = "".join(f"C {name}: UID FETCH 1 (UID BODY.PEEK[]<{at}.4>)\n" for name, at in (("wa", 0), ("wb", 4)))
    served = "S: * 1 FETCH (UID 1 BODY[]<0> {4}\nS> six-\nS: )\nS: $wa OK done\n"
    served += "S: * 1 FETCH (UID 1 BODY[]<4> {2}\nS> oc\nS: )\nS: $wb OK done\n"
    (one,) = fetched(tmp_path, ASK % "1" + whole(1, "six-oc") + DONE % "a" + windows + served, 3)
    assert octets(one) == b"six-oc"


def test_what_came_whole_before_the_server_hung_up_is_not_asked_for_again(tmp_path: Path) -> None:
    text = ASK % "1:4" + whole(1, "one") + whole(2, "two") + "S> * 3 FETCH (UID 3 BODY[] {9}\\r\\nth\nEND\n"
    first, second, *others = fetched(tmp_path, text, 3, 3, 9, 3)
    assert [octets(first), octets(second)] == [b"one", b"two"]
    assert second.value.flags == Flags(frozenset({"\\Seen"}))
    assert [type(outcome.error) for outcome in others] == [StoreError] * 2
    assert others[0].error is others[1].error


def test_a_server_that_gives_the_body_apart_is_understood(tmp_path: Path) -> None:
    size, body = f"S: * 1 FETCH (UID 1 RFC822.SIZE 3 {BESIDE})\n", "S: * 1 FETCH (UID 1 BODY[] {3}\nS> one\nS: )\n"
    (one,) = fetched(tmp_path, ASK % "1" + size + body + DONE % "a", 3)
    assert octets(one) == b"one"
    (one,) = fetched(tmp_path, ASK % "1" + size + DONE % "a" + BODIES % "1" + body + DONE % "b", 3)
    assert octets(one) == b"one"


NOOP = "C: NOOP\nS: $t OK\n"
NO = "S: $%s NO [SERVERBUG] Internal error occurred. Refer to server log for more information.\n"


def tag(uid: int) -> str:
    return "uid" + "abcdefghij"[uid]


def ask_alone(uid: int) -> str:
    return (SIZES % uid).replace("C a", f"C {tag(uid)}")


def test_a_message_that_is_refused_does_not_keep_the_others_back(tmp_path: Path) -> None:
    again = NOOP + ask_alone(2) + ask_alone(3)
    again += f"{NO % tag(2)}S: * 3 FETCH (UID 3 RFC822.SIZE 3 {BESIDE})\n{DONE % tag(3)}"
    again += "C c: UID FETCH 3 (UID BODY.PEEK[])\nS: * 3 FETCH (UID 3 BODY[] {3}\nS> two\nS: )\n" + DONE % "c"
    one, bad, two = fetched(tmp_path, ASK % "1:3" + whole(1, "one") + NO % "a" + again, 3, 3, 3)
    assert (octets(one), octets(two)) == (b"one", b"two")
    assert isinstance(bad.error, MessageError)
    assert bad.error.what == "the source did not hand out the message"
    assert bad.error.said.startswith(b"NO [SERVERBUG] Internal error")


def test_a_message_whose_body_alone_is_refused_is_known_to_be_there(tmp_path: Path) -> None:
    size = f"S: * 1 FETCH (UID 1 RFC822.SIZE 3 {BESIDE})\n"
    (bad,) = fetched(
        tmp_path, ASK % "1" + size + NO % "a" + BODIES % "1" + DONE % "b" + NOOP + BODIES % "1" + DONE % "b", 3
    )
    assert isinstance(bad.error, MessageError)
    assert bad.error.what == "the source lists the message and does not hand it out"
    (bad,) = fetched(
        tmp_path, ASK % "1" + size + NO % "a" + BODIES % "1" + NO % "b" + NOOP + BODIES % "1" + NO % "b", 3
    )
    assert isinstance(bad.error, MessageError)
    assert bad.error.what == "the source did not hand out the message"


@pytest.mark.parametrize(
    "said",
    [
        "NO [UNAVAILABLE] the storage is down",
        "NO [INUSE] locked",
        "NO [LIMIT] too many commands",
        "NO [EXPIRED] log in again",
        "BAD Request is throttled. Suggested Backoff Time: 5 milliseconds",
        "NO Server error - Please try again later",
    ],
)
def test_a_refusal_that_concerns_all_sets_nothing_aside(tmp_path: Path, said: str) -> None:
    again = (SIZES % "1").replace("C a", "C b")
    text = ASK % "1:2" + whole(2, "two") + f"S: $a {said}\n" + NOOP + again + f"S: $b {said}\n"
    one, two = fetched(tmp_path, text, 3, 3)
    assert isinstance(one.error, StoreError)
    assert one.error is two.error


def test_a_refused_noop_says_nothing_about_a_message(tmp_path: Path) -> None:
    text = ASK % "1" + NO % "a" + "C n: NOOP\n" + NO % "n"
    (one,) = fetched(tmp_path, text, 3)
    assert isinstance(one.error, StoreError)
    assert one.error.what == "the source would not show what it holds"


WITNESS = "C w: UID FETCH %d (UID BODY.PEEK[TEXT]<0.1>)\n"


def in_a_row(tmp_path: Path, witness: str) -> list[Outcome]:
    """Message 1 is served, the eight behind it are refused, and then the first is asked for once more."""
    uids = range(2, 10)
    asked = list(map(ask_alone, uids))
    told = [NO % tag(uid) for uid in uids]
    again = NOOP + "".join(asked[:3]) + "".join(map(add, told, [*asked[3:], "", "", WITNESS % 1])) + witness
    return fetched(tmp_path, ASK % "1:9" + whole(1, "one") + NO % "a" + again, *[3] * 9)


def test_however_many_are_refused_what_was_served_shows_that_it_is_they(tmp_path: Path) -> None:
    one, *bad = in_a_row(tmp_path, "S: * 1 FETCH (UID 1 BODY[TEXT]<0> {1}\nS> x\nS: )\n" + DONE % "w")
    assert octets(one) == b"one"
    assert [type(outcome.error) for outcome in bad] == [MessageError] * 8


@pytest.mark.parametrize("answer", [NO, DONE], ids=["refused", "gone"])
def test_a_server_that_refuses_what_it_has_served_is_ill(tmp_path: Path, answer: str) -> None:
    outcomes = in_a_row(tmp_path, answer % "w")
    assert len({id(outcome.error) for outcome in outcomes}) == 1
    assert isinstance(outcomes[0].error, StoreError)
    assert outcomes[0].error.what == "the source would not show what it holds"


def test_a_window_that_is_refused_sets_one_message_aside_and_leaves_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(look, "WINDOW", 4)
    monkeypatch.setattr(fetching, "WINDOW", 4)
    monkeypatch.setattr("migrate.stores.base.MEMORY_LIMIT", 2)
    windows = "".join(f"C {name}: UID FETCH 1 (UID BODY.PEEK[]<{at}.4>)\n" for name, at in (("wa", 0), ("wb", 4)))
    served = "S: * 1 FETCH (UID 1 BODY[]<0> {4}\nS> six-\nS: )\nS: $wa OK done\n" + NO % "wb"
    sizes = SIZES % "1" + f"S: * 1 FETCH (UID 1 RFC822.SIZE 6 {BESIDE})\n{DONE % 'a'}"
    (bad,) = fetched(tmp_path, sizes + windows + served + NOOP + windows + served, 6)
    assert isinstance(bad.error, MessageError)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_asked_for_again_the_long_way(tmp_path: Path) -> None:
    again = f"C: NOOP\nS: $t OK\n{(SIZES % 2).replace('C a', 'C b')}{DONE % 'b'}"
    one, gone = fetched(tmp_path, ASK % "1:2" + whole(1, "one") + "S: $a NO one is gone\n" + again, 3, 3)
    assert octets(one) == b"one"
    assert isinstance(gone.error, MessageError)


def test_the_one_folder_is_selected_once_and_counted_by_that(tmp_path: Path) -> None:
    examined, sizes = listing(3, 4)
    session, script = opened(tmp_path, examined + sizes + examined + sizes)
    facts, one = play(session, OpenSource(), ListSource())
    assert (facts.value.messages, [ref.octets for ref in one.value]) == (2, [3, 4])
    (again,) = play(session, ListSource())
    assert again.value == one.value, "selected anew"
    assert script.left == []


def test_a_folder_that_cannot_be_selected_is_said_by_the_listing(tmp_path: Path) -> None:
    refused = 'C: EXAMINE "INBOX"\nS: $t NO [NOPERM] closed\n'
    session, script = opened(tmp_path, refused * 2)
    facts, listed = play(session, OpenSource(), ListSource())
    assert facts.value.messages == 0
    assert [ref.is_fault for ref in listed.value] == [True]
    assert script.left == []


def test_fewer_than_the_folder_said_are_no_listing(tmp_path: Path) -> None:
    examined, _ = listing(3, 4)
    session, script = opened(tmp_path, examined + listing(3)[1] + UIDS + "S: * 1 FETCH (UID 1)\nS: $t OK done\n")
    _, listed = play(session, OpenSource(), ListSource())
    assert isinstance(listed.error, StoreError)
    assert script.left == []


UIDS = "C: UID FETCH 1:* (UID)\n"


@pytest.mark.parametrize("told", ["", "S: * 2 FETCH (UID 2 FLAGS ())\nS: * 3 FETCH (UID 3 RFC822.SIZE 5)\n"])
@pytest.mark.parametrize("answer", ["OK done", "NO [SERVERBUG] Internal error occurred."])
def test_a_message_whose_size_cannot_be_told_is_listed_without(tmp_path: Path, told: str, answer: str) -> None:
    examined, _ = listing(3, 4, 5)
    sizes = f"C: UID FETCH 1:* (UID RFC822.SIZE)\nS: * 1 FETCH (UID 1 RFC822.SIZE 3)\n{told}S: $t {answer}\n"
    uids = UIDS + "".join(f"S: * {uid} FETCH (UID {uid})\n" for uid in (1, 2, 3)) + "S: $t OK done\n"
    session, script = opened(tmp_path, examined + sizes + uids)
    _, listed = play(session, OpenSource(), ListSource())
    assert [ref.octets for ref in listed.value] == [3, None, 5 if told else None]
    assert script.left == []


def test_a_listing_that_is_refused_because_the_server_is_busy_is_none(tmp_path: Path) -> None:
    examined, _ = listing(3)
    session, script = opened(tmp_path, examined + "C: UID FETCH 1:* (UID RFC822.SIZE)\nS: $t NO [UNAVAILABLE] later\n")
    _, listed = play(session, OpenSource(), ListSource())
    assert isinstance(listed.error, StoreError)
    assert script.left == []
