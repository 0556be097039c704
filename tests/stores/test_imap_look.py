"""FetchHeaders and ReadBack: only what was asked for, each once, every octet, from any server."""

from __future__ import annotations

import pytest

from migrate.commands import FetchHeaders, Outcome, ReadBack, Served
from migrate.errors import Cause, StoreError
from migrate.model import INBOX, MEMORY_LIMIT
from migrate.stores.imap import look
from tests.fakes.imap_script import play

from .imap_rig import Rig, Sha, opened, print_of

BODY = b"A: 1\r\n\r\n\0body\r\nwithout end"
SERVED_BODY = "A: 1\\r\\n\\r\\n\\0body\\r\\nwithout end"
AGAIN = "C: NOOP\nS: $t OK done\n"


def headers(rig: Rig, *uids: int, fields: tuple[str, ...] = ("Subject", "Message-ID")) -> Outcome:
    (outcome,) = play(rig.session, FetchHeaders(0, INBOX, uids, fields))
    return outcome


def read_back(rig: Rig, *uids: int) -> Outcome:
    (outcome,) = play(rig.session, ReadBack(0, INBOX, uids, Sha))
    return outcome


ASK = "C a: UID FETCH %s (UID RFC822.SIZE BODY.PEEK[HEADER.FIELDS (SUBJECT MESSAGE-ID)])\n"
DONE = "S: $a OK done\n"


def header(uid: int, text: str, size: int = 99) -> str:
    octets = len(text.encode().decode("unicode_escape"))
    return (
        f"S> * 1 FETCH (UID {uid} RFC822.SIZE {size} BODY[HEADER.FIELDS (SUBJECT MESSAGE-ID)] {{{octets}}}\\r\\n\n"
        f"S> {text}\nS: )\n"
    )


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_headers_come_in_the_order_asked(piece: int) -> None:
    rig = opened("LITERAL+", ASK % "1:2,9" + header(1, "a") + header(9, "c", 5) + header(2, "b") + DONE, piece=piece)
    assert headers(rig, 9, 1, 2).value == [Served(9, 5, b"c"), Served(1, 99, b"a"), Served(2, 99, b"b")]


def test_foreign_and_repeated_uids_and_flags_are_passed_over() -> None:
    noise = "S: * 1 FETCH (FLAGS (\\Seen))\nS: * 2 FETCH (UID 1 FLAGS ())\nS: * 3 EXPUNGE\nS: * 4 EXISTS\n"
    text = ASK % "1" + noise + header(7, "other") + header(1, "first") + header(1, "second", 5) + DONE
    assert headers(opened("LITERAL+", text), 1).value == [Served(1, 99, b"first")]


def test_items_may_come_in_two_responses() -> None:
    text = (
        ASK % "1" + "S: * 1 FETCH (UID 1 RFC822.SIZE 7)\n" + "S> * 1 FETCH (UID 1 BODY[HEADER.FIELDS (X)] NIL)\\r\\n\n"
    )
    assert headers(opened("LITERAL+", text + DONE), 1).value == [Served(1, 7, b"")]


def test_a_missing_uid_is_asked_for_once_more_after_a_noop() -> None:
    text = ASK % "1:2" + header(1, "a") + DONE + AGAIN + ASK % "2" + header(2, "b") + DONE
    assert headers(opened("LITERAL+", text), 1, 2).value == [Served(1, 99, b"a"), Served(2, 99, b"b")]
    text = ASK % "1:2" + header(1, "a") + DONE + AGAIN + ASK % "2" + DONE
    assert headers(opened("LITERAL+", text), 1, 2).value == [Served(1, 99, b"a")]


def test_a_no_with_all_that_was_asked_for_is_enough() -> None:
    text = ASK % "1" + header(1, "a") + "S: $a NO some of the messages no longer exist"
    assert headers(opened("LITERAL+", text), 1).value == [Served(1, 99, b"a")]


def test_a_no_twice_is_an_error_and_never_an_absence() -> None:
    refused = "S: $a NO Server error - Please try again later\n"
    error = headers(opened("LITERAL+", ASK % "1" + refused + AGAIN + ASK % "1" + refused), 1).error
    assert isinstance(error, StoreError)
    refused = "S: $a BAD no\n"
    error = headers(opened("LITERAL+", ASK % "1" + refused + AGAIN + ASK % "1" + refused), 1).error
    assert isinstance(error, StoreError)


def test_a_size_without_header_is_an_error() -> None:
    half = ASK % "1" + "S: * 1 FETCH (UID 1 RFC822.SIZE 7)\n" + DONE
    error = headers(opened("LITERAL+", half + AGAIN + ASK % "1" + DONE), 1).error
    assert isinstance(error, StoreError)


def test_without_fields_only_sizes_are_asked_for() -> None:
    rig = opened("LITERAL+", "C a: UID FETCH 4:5 (UID RFC822.SIZE)\nS: * 1 FETCH (RFC822.SIZE 8 UID 4)\n"
                 "S: * 2 FETCH (UID 5 RFC822.SIZE 9)\n" + DONE)  # fmt: skip
    assert headers(rig, 4, 5, fields=()).value == [Served(4, 8, b""), Served(5, 9, b"")]


def test_many_uids_go_in_bounded_lines_a_few_at_a_time() -> None:
    chunks = [range(start, start + 1000, 2) for start in range(1, 6001, 1000)]
    lines = [
        f"C {'abcdef'[n]}: UID FETCH {','.join(map(str, chunk))} (UID RFC822.SIZE)" for n, chunk in enumerate(chunks)
    ]
    answers = ["".join(f"S: * 1 FETCH (UID {uid} RFC822.SIZE {uid})\n" for uid in chunk) for chunk in chunks]
    text = "\n".join(lines[:4]) + "\n"
    for number, name in enumerate("abcdef"):
        text += answers[number] + f"S: ${name} OK done\n" + (lines[number + 4] + "\n" if number < 2 else "")
    rig = opened("LITERAL+", text)
    uids = [uid for chunk in chunks for uid in chunk]
    assert [one.octets for one in headers(rig, *uids, fields=()).value] == uids
    assert max(map(len, lines)) < 8000


def test_a_field_name_that_is_none_is_a_fault_of_the_caller() -> None:
    rig = opened("LITERAL+", "")
    for bad in ("A B", "A)", "", "A\r\nB", "é"):
        with pytest.raises(TypeError):
            rig.session.submit(FetchHeaders(0, INBOX, [1], (bad,)))


def sizes(uids: str, *told: tuple[int, int], first: bool = True) -> str:
    """The first look at a few messages, of which only the sizes are told."""
    text = f"C a: UID FETCH {uids} (UID RFC822.SIZE{FIRST if first else ''})\n"
    return text + "".join(f"S: * 1 FETCH (UID {uid} RFC822.SIZE {size})\n" for uid, size in told) + DONE


def body(uid: int, text: str = SERVED_BODY, section: str = "BODY[]") -> str:
    octets = len(text.encode().decode("unicode_escape"))
    return f"S> * 1 FETCH ({section} {{{octets}}}\\r\\n\nS> {text}\nS: UID {uid})\n".replace(
        "S: UID", "S>  UID"
    ).replace(")\n", ")\\r\\n\n")


FIRST = f" BODY.PEEK[]<0.{look.FIRST}>"
SMALL = "C a: UID FETCH %s (UID BODY.PEEK[])\n"


def whole(uid: int, size: int, text: str = SERVED_BODY, section: str = "BODY[]<0>") -> str:
    return body(uid, text, section).replace("FETCH (", f"FETCH (RFC822.SIZE {size} ")


@pytest.mark.parametrize("piece", [1, 1 << 20])
@pytest.mark.parametrize("section", ["BODY[]<0>", "BODY[]"])
def test_a_few_small_messages_come_with_their_sizes(piece: int, section: str) -> None:
    ask = f"C a: UID FETCH 1:2 (UID RFC822.SIZE{FIRST})\n"
    text = ask + whole(2, 5, "other", section) + whole(1, len(BODY), SERVED_BODY, section) + DONE
    rig = opened("LITERAL+", text, piece=piece)
    assert read_back(rig, 2, 1).value == {2: print_of(b"other"), 1: print_of(BODY)}
    assert rig.script.left == []


@pytest.mark.parametrize("size", [4, 6, 10**6])
def test_a_first_look_that_does_not_fit_the_size_proves_nothing(size: int) -> None:
    ask = f"C a: UID FETCH 1 (UID RFC822.SIZE{FIRST})\n"
    rig = opened("LITERAL+", ask + whole(1, size, "other") + DONE + SMALL % "1" + body(1) + DONE)
    assert read_back(rig, 1).value == {1: print_of(BODY)}
    assert rig.script.left == []


def test_a_first_look_that_is_full_is_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "FIRST", 5)
    ask = "C a: UID FETCH 1 (UID RFC822.SIZE BODY.PEEK[]<0.5>)\n"
    rig = opened("LITERAL+", ask + whole(1, 5, "other") + DONE + SMALL % "1" + body(1) + DONE)
    assert read_back(rig, 1).value == {1: print_of(BODY)}


def test_of_many_messages_the_sizes_come_first() -> None:
    uids = range(1, look.FEW_UIDS + 2)
    told = ((uid, 4) for uid in uids)
    bodies = "".join(body(uid, "same") for uid in uids)
    rig = opened("LITERAL+", sizes("1:9", *told, first=False) + SMALL % "1:9" + bodies + DONE)
    assert read_back(rig, *uids).value == {uid: print_of(b"same") for uid in uids}


def test_a_server_that_refuses_the_first_look_is_asked_for_sizes_alone() -> None:
    refused = f"C a: UID FETCH 1 (UID RFC822.SIZE{FIRST})\nS: $a BAD no\n"
    rig = opened("LITERAL+", refused + AGAIN + sizes("1", (1, 9), first=False) + SMALL % "1" + body(1) + DONE)
    assert read_back(rig, 1).value == {1: print_of(BODY)}


@pytest.mark.parametrize("piece", [1, 1 << 20])
def test_every_octet_comes_back(piece: int) -> None:
    text = sizes("1:2", (1, 30), (2, 30)) + SMALL % "1:2" + body(2, "other") + body(1) + DONE
    found = read_back(opened("LITERAL+", text, piece=piece), 2, 1).value
    assert found == {2: print_of(b"other"), 1: print_of(BODY)}
    assert list(found) == [2, 1]


def test_only_the_first_body_of_an_asked_uid_counts() -> None:
    text = (
        sizes("1", (7, 3), (1, 30))
        + SMALL % "1"
        + body(7, "x")
        + body(1, "x", "BODY[TEXT]")
        + body(1, "x", "BODY[]<5>")
    )
    text += body(1) + body(1, "second") + DONE
    assert read_back(opened("LITERAL+", text), 1).value == {1: print_of(BODY)}


def test_a_body_that_is_quoted_or_nil_is_what_it_is() -> None:
    text = (
        sizes("1:2", (1, 1), (2, 1))
        + SMALL % "1:2"
        + 'S: * 1 FETCH (UID 1 BODY[] "q\\"x")\nS: * 2 FETCH (UID 2 BODY[] NIL)\n'
    )
    assert read_back(opened("LITERAL+", text + DONE), 1, 2).value == {1: print_of(b'q"x'), 2: print_of(b"")}


def test_a_uid_that_is_not_there_is_absent_after_a_second_look() -> None:
    text = sizes("1:2", (1, 9)) + SMALL % "1" + body(1) + DONE + AGAIN + sizes("2", first=False)
    assert read_back(opened("LITERAL+", text), 1, 2).value == {1: print_of(BODY)}


def test_a_body_that_did_not_come_is_asked_for_once_more() -> None:
    text = sizes("1", (1, 9)) + SMALL % "1" + DONE + AGAIN + SMALL % "1" + body(1) + DONE
    assert read_back(opened("LITERAL+", text), 1).value == {1: print_of(BODY)}
    text = sizes("1", (1, 9)) + SMALL % "1" + DONE + AGAIN + SMALL % "1" + DONE
    assert read_back(opened("LITERAL+", text), 1).value == {}


def test_a_wrong_size_does_not_matter_to_what_was_served() -> None:
    text = sizes("1", (1, 900)) + SMALL % "1" + body(1) + DONE
    assert read_back(opened("LITERAL+", text), 1).value == {1: print_of(BODY)}


def test_small_bodies_go_in_groups_bounded_in_octets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WINDOW", 20)
    text = (
        sizes("1:4", (1, 12), (2, 8), (3, 1), (4, 20))
        + "".join(
            f"C {name}: UID FETCH {uids} (UID BODY.PEEK[])\n" for name, uids in zip("bcd", ("1:2", 3, 4), strict=True)
        )
        + "".join(body(uid, f"body {uid}") for uid in (1, 2, 3, 4))
        + "S: $b OK done\nS: $c OK done\nS: $d OK done"
    )
    found = read_back(opened("LITERAL+", text), 1, 2, 3, 4).value
    assert found == {uid: print_of(b"body %d" % uid) for uid in (1, 2, 3, 4)}


def window(name: str, offset: int, served: str | None, section: str | None = None) -> tuple[str, str]:
    ask = f"C {name}: UID FETCH 1 (UID BODY.PEEK[]<{offset}.4>)\n"
    told = "" if served is None else body(1, served, section or f"BODY[]<{offset}>")
    return ask, told + f"S: ${name} OK done\n"


def large(size: int, *steps: str) -> object:
    rig = opened("LITERAL+", sizes("1", (1, size)) + "".join(steps))
    outcome = read_back(rig, 1)
    assert rig.script.left == []
    return outcome.error or outcome.value


@pytest.fixture
def windows_of_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(look, "WINDOW", 4)


@pytest.mark.usefixtures("windows_of_four")
class TestWindows:
    def test_a_large_body_is_read_in_windows_a_few_under_way(self) -> None:
        (a, one), (b, two), (c, three) = window("a", 0, "abcd"), window("b", 4, "efgh"), window("c", 8, "ij")
        assert large(10, a, b, c, one, two, three) == {1: print_of(b"abcdefghij")}

    def test_answers_out_of_order_are_put_in_order(self) -> None:
        (a, one), (b, two), (c, three) = window("a", 0, "abcd"), window("b", 4, "efgh"), window("c", 8, "ij")
        assert large(10, a, b, c, three, two, one) == {1: print_of(b"abcdefghij")}

    def test_a_body_that_fills_its_last_window_is_asked_for_more(self) -> None:
        (a, one), (b, two), (c, three) = window("a", 0, "abcd"), window("b", 4, "efgh"), window("c", 8, "")
        assert large(8, a, b, one, two, c, three) == {1: print_of(b"abcdefgh")}
        (c, three) = window("c", 8, None)
        assert large(8, a, b, one, two, c, three) == {1: print_of(b"abcdefgh")}
        (c, three) = window("c", 8, "more")
        (d, four) = window("d", 12, "!")
        assert large(8, a, b, one, two, c, three, d, four) == {1: print_of(b"abcdefghmore!")}

    def test_fewer_octets_than_announced_are_what_was_served(self) -> None:
        (a, one), (b, two), (c, three) = window("a", 0, "abcd"), window("b", 4, "ef"), window("c", 8, "")
        (d, four) = window("d", 6, "")
        assert large(12, a, b, c, one, two, three, d, four) == {1: print_of(b"abcdef")}

    def test_a_server_that_gives_less_at_a_time_is_followed(self) -> None:
        (a, one), (b, two) = window("a", 0, "abc"), window("b", 4, "efg")
        (c, three), (d, four) = window("c", 3, "def"), window("d", 6, "g")
        assert large(7, a, b, one, two, c, three, d, four) == {1: print_of(b"abcdefg")}

    def test_a_server_that_knows_no_windows_is_taken_at_its_word(self) -> None:
        (a, one), (b, two) = window("a", 0, "abcdefg", "BODY[]"), window("b", 4, "abcdefg", "BODY[]")
        assert large(7, a, b, one, two) == {1: print_of(b"abcdefg")}

    def test_a_body_that_comes_whole_may_be_larger_than_what_a_run_holds_of_it(self) -> None:
        size = MEMORY_LIMIT + 1
        (a, one), *rest = [
            window(name, 4 * at, "x" * size if at == 0 else None, "BODY[]") for at, name in enumerate("abcd")
        ]
        asked, answers = zip(*rest, strict=True)
        assert large(size, a, *asked, one, *answers) == {1: print_of(b"x" * size)}

    def test_more_than_was_asked_for_is_an_error(self) -> None:
        (a, one), (b, _) = window("a", 0, "abcde"), window("b", 4, "")
        rig = opened("LITERAL+", sizes("1", (1, 7)) + a + b + one)
        assert isinstance(read_back(rig, 1).error, StoreError)

    def test_a_window_that_is_refused_is_an_error_and_not_an_end(self) -> None:
        (a, one), (b, _) = window("a", 0, "abcd"), window("b", 4, "")
        refused = a + b + one + "S: $b NO Server error\n"
        rig = opened("LITERAL+", sizes("1", (1, 7)) + refused + AGAIN + refused)
        error = read_back(rig, 1).error
        assert isinstance(error, StoreError)
        assert "the destination would not show" in error.what
        assert rig.script.left == []

    def test_a_window_that_is_refused_once_is_read_from_the_beginning(self) -> None:
        (a, one), (b, two) = window("a", 0, "abcd"), window("b", 4, "efg")
        refused = a + b + one + "S: $b NO Server error\n"
        assert large(7, refused, AGAIN, a, b, one, two) == {1: print_of(b"abcdefg")}

    def test_a_body_of_which_a_window_does_not_come_is_no_shorter_body(self) -> None:
        (a, one), (b, none), (c, three) = window("a", 0, "abcd"), window("b", 4, None), window("c", 8, "ij")
        broken_off = (a, b, c, one, none, three)
        assert large(10, *broken_off, AGAIN, *broken_off) == {}

    def test_a_large_message_that_vanished_is_absent(self) -> None:
        (a, one), (b, two) = window("a", 0, None), window("b", 4, None)
        assert large(7, a, b, one, two, AGAIN, a, b, one, two) == {}

    def test_the_lock_step_asks_one_window_at_a_time(self) -> None:
        steps = [window(name, offset, served) for name, offset, served in (("a", 0, "abcd"), ("b", 4, "e"))]
        rig = opened("", sizes("1", (1, 5)) + "".join(ask + told for ask, told in steps))
        assert read_back(rig, 1).value == {1: print_of(b"abcde")}


@pytest.mark.parametrize(
    "line",
    [
        "S: * 1 FETCH (BODY[] {9000000}",
        "S: * 1 FETCH (BODY[] {-1}",
        "S: * 1 FETCH (BODY[] {3e9}",
        "S: * 1 FETCH (BODY[] {99999999999999999999}",
        "S: * 1 FETCH (UID x)",
        "S: * 1 FETCH nothing",
        "S: * 1 FETCH (X " + "(" * 60000,
    ],
)
def test_impossible_answers_end_the_session(line: str) -> None:
    rig = opened("LITERAL+", sizes("1", (1, 9)) + SMALL % "1" + line)
    error = read_back(rig, 1).error
    assert isinstance(error, StoreError)
    assert error.cause is Cause.UNUSABLE


def test_the_trace_shows_no_body_in_any_form() -> None:
    text = (
        sizes("1:2", (1, 1), (2, 1)) + SMALL % "1:2" + body(1, "hidden") + 'S: * 2 FETCH (UID 2 BODY[] "hidden too")\n'
    )
    rig = opened("LITERAL+", text + DONE)
    assert read_back(rig, 1, 2).error is None
    assert "hidden" not in "\n".join(rig.traced)
