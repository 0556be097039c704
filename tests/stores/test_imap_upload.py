"""APPEND on every rung of the ladder, and servers that do not play by the rules."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from migrate.commands import Append, Letter, OpenDest, OpenMailbox, SearchUids
from migrate.errors import Cause, Exit, MailboxError, MessageError, Retry, StateError, StoreError
from migrate.model import INBOX, AppendUid, MailboxName
from tests.fakes.imap_script import play

from .imap_rig import DATE, LOGIN, SELECT, Rig, letter, opened

A, B = b"A: 1\r\n\r\nfirst\r\n", b"B: 2\r\n\r\n\0second\rwithout end"


def append(*letters: Letter) -> Append:
    return Append(0, INBOX, letters)


def stores(rig: Rig, *commands: Append) -> list[object]:
    """The values of the commands, which must all be good and end the transcript."""
    outcomes = play(rig.session, *commands)
    assert [outcome.error for outcome in outcomes] == [None] * len(commands)
    assert rig.script.left == []
    return [outcome.value for outcome in outcomes]


def store_error(rig: Rig, *commands: Append) -> StoreError:
    """The one error that ends all the commands, and every later one."""
    outcomes = play(rig.session, *commands)
    assert len(outcomes) == len(commands)
    error = outcomes[-1].error
    assert isinstance(error, StoreError)
    assert rig.channel.is_closed
    (later,) = play(rig.session, append(letter(A)))
    assert later.error is error
    return error


MULTI = f"""
    C: APPEND "INBOX" (\\Seen kw) {DATE} {{{len(A)}+}}
    L: {len(A)}
    -:  {DATE} {{{len(B)}+}}
    L: {len(B)}
    -:
    S: * 5 EXISTS
    S: $t OK [APPENDUID 7 10:11] done
"""


@pytest.mark.parametrize("take", [1, 3, 1 << 20])
def test_multiappend_with_literal_plus_is_one_command(take: int) -> None:
    rig = opened("MULTIAPPEND LITERAL+", MULTI, take=take)
    assert stores(rig, append(letter(A, "kw \\Seen"), letter(B))) == [(AppendUid(7, 10), AppendUid(7, 11))]
    assert rig.script.literals == [A, B]


def test_multiappend_with_literal_minus_waits_only_for_large_messages() -> None:
    large = b"x" * 4097
    rig = opened(
        "MULTIAPPEND LITERAL-",
        f"""
        C: APPEND "INBOX" {DATE} {{{len(A)}+}}
        L: {len(A)}
        -:  {DATE} {{4097}}
        S: +
        L: 4097
        -:  {DATE} {{{len(B)}+}}
        L: {len(B)}
        -:
        S: $t OK [APPENDUID 7 10:12] done
        """,
    )
    assert stores(rig, append(letter(A), letter(large), letter(B))) == [
        tuple(AppendUid(7, uid) for uid in (10, 11, 12))
    ]
    assert rig.script.literals == [A, large, B]


def test_a_refused_batch_is_one_error_and_the_session_goes_on() -> None:
    rig = opened(
        "MULTIAPPEND LITERAL+",
        MULTI.replace("S: $t OK [APPENDUID 7 10:11] done", "S: $t NO one of them is bad")
        + f"""
        C: APPEND "INBOX" {DATE} {{{len(A)}+}}
        L: {len(A)}
        -:
        S: $t OK [APPENDUID 7 10] done
        """,
    )
    refused, stored = play(rig.session, append(letter(A, "kw \\Seen"), letter(B)), append(letter(A)))
    assert isinstance(refused.error, MessageError)
    assert refused.error.said == b"NO one of them is bad"
    assert stored.value == (AppendUid(7, 10),)


def test_literal_plus_alone_pipelines_one_command_for_each_letter() -> None:
    rig = opened(
        "LITERAL+",
        f"""
        C a: APPEND "INBOX" {DATE} {{{len(A)}+}}
        L: {len(A)}
        -:
        C b: APPEND "INBOX" {DATE} {{{len(B)}+}}
        L: {len(B)}
        -:
        C c: APPEND "INBOX" {DATE} {{{len(A)}+}}
        L: {len(A)}
        -:
        S: $c OK [APPENDUID 7 12] done
        S: $a OK [APPENDUID 7 13] done
        S: $b NO bad header
        """,
    )
    one, other = play(rig.session, append(letter(A), letter(B)), append(letter(A)))
    assert other.value == (AppendUid(7, 12),)
    assert one.value[0] == AppendUid(7, 13)
    assert isinstance(one.value[1], MessageError)


OVERLAPPED = f"""
    C a: APPEND "INBOX" {DATE} {{5000}}
    S: + ready
    L: 5000
    -:
    C b: APPEND "INBOX" {DATE} {{5001}}
    S: $a OK [APPENDUID 7 10] done
    S: + ready
    L: 5001
    -:
    S: $b OK [APPENDUID 7 11] done
"""


@pytest.mark.parametrize(("piece", "take"), [(1, 1000), (1 << 20, 1 << 20), (2, 1 << 20)])
def test_the_next_line_goes_out_right_behind_a_literal(piece: int, take: int) -> None:
    rig = opened("LITERAL-", OVERLAPPED, piece=piece, take=take)
    values = stores(rig, append(letter(b"x" * 5000)), append(letter(b"y" * 5001)))
    assert values == [(AppendUid(7, 10),), (AppendUid(7, 11),)]
    assert rig.script.literals == [b"x" * 5000, b"y" * 5001]


def test_without_any_announced_extension_one_command_waits_for_the_other() -> None:
    lockstep = OVERLAPPED.replace(
        f'    C b: APPEND "INBOX" {DATE} {{5001}}\n    S: $a OK [APPENDUID 7 10] done\n',
        f'    S: $a OK [APPENDUID 7 10] done\n    C b: APPEND "INBOX" {DATE} {{5001}}\n',
    )
    assert lockstep != OVERLAPPED
    rig = opened("", lockstep)
    assert stores(rig, append(letter(b"x" * 5000), letter(b"y" * 5001))) == [(AppendUid(7, 10), AppendUid(7, 11))]


def test_lock_step_sends_nothing_before_the_tagged_answer() -> None:
    text = f'C a: APPEND "INBOX" {DATE} {{5}}\nS: +\nL: 5\n-:'
    rig = Rig((LOGIN % "").replace(" UIDPLUS", "") + SELECT + SELECT.replace("SELECT", "EXAMINE") + text)
    play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False))
    assert play(rig.session, append(letter(b"aaaaa")), append(letter(b"bbbbb"))) == []
    assert rig.script.left == [], "a further octet would have been an error"


def test_a_server_that_names_uids_gets_the_next_line_right_behind_the_literal() -> None:
    rig = opened(
        "",
        f"""
        C a: APPEND "INBOX" {DATE} {{5}}
        S: +
        L: 5
        -:
        C b: APPEND "INBOX" {DATE} {{5}}
        S: $a OK done
        S: +
        L: 5
        -:
        S: $b OK done
        """,
    )
    assert stores(rig, append(letter(b"aaaaa")), append(letter(b"bbbbb"))) == [(None,), (None,)]


def test_a_refusal_instead_of_a_continuation_drops_that_literal_only() -> None:
    rig = opened(
        "LITERAL-",
        f"""
        C a: APPEND "INBOX" {DATE} {{5000}}
        S: $a NO [TOOBIG] too large
        C b: APPEND "INBOX" {DATE} {{4+}}
        L: 4
        -:
        S: $b OK done
        """,
    )
    refused, stored = play(rig.session, append(letter(b"x" * 5000)), append(letter(b"tiny")))
    assert isinstance(refused.value[0], MessageError)
    assert stored.value == (None,)
    assert rig.script.literals == [b"tiny"]


def test_a_refusal_amid_a_running_literal_still_sends_the_rest_of_it() -> None:
    """RFC 7888 §4: the server passes over what it refused; cut short, the next command would be eaten."""
    rig = opened(
        "LITERAL+",
        f"""
        C a: APPEND "INBOX" {DATE} {{1000000+}}
        L: 300000
        S: $a NO [TOOBIG] too large
        L: 700000
        -:
        C b: APPEND "INBOX" {DATE} {{4+}}
        L: 4
        -:
        S: $b OK [APPENDUID 7 10] done
        """,
        take=100_000,
    )
    refused, stored = play(rig.session, append(letter(b"x" * 1_000_000)), append(letter(b"tiny")))
    assert isinstance(refused.value[0], MessageError)
    assert stored.value == (AppendUid(7, 10),)


def test_a_large_message_is_sent_from_its_file(tmp_path: Path) -> None:
    octets = bytes(range(256)) * 5000
    rig = opened(
        "LITERAL+",
        f"""
        C: APPEND "INBOX" {DATE} {{{len(octets)}+}}
        L: {len(octets)}
        -:
        S: $t OK [APPENDUID 7 10] done
        """,
        take=70_000,
    )
    assert stores(rig, append(letter(octets, path=tmp_path / "letter"))) == [(AppendUid(7, 10),)]
    assert rig.script.literals == [octets]


def test_a_file_that_shrank_ends_the_connection_and_names_our_disk(tmp_path: Path) -> None:
    sent = letter(b"x" * 1000, path=tmp_path / "letter")
    (tmp_path / "letter").write_bytes(b"x" * 999)
    rig = opened("LITERAL+", f'C: APPEND "INBOX" {DATE} {{1000+}}\nL: 1000')
    (outcome,) = play(rig.session, append(sent))
    assert isinstance(outcome.error, StateError)
    assert outcome.error.exit is Exit.STATE_UNWRITABLE
    assert rig.channel.is_closed
    assert rig.script.literals == []


def test_a_message_over_the_announced_limit_is_not_sent() -> None:
    rig = opened(
        "MULTIAPPEND LITERAL+ APPENDLIMIT=20",
        f"""
        C: APPEND "INBOX" {DATE} {{{len(A)}+}}
        L: {len(A)}
        -:  {DATE} {{3+}}
        L: 3
        -:
        S: $t OK [APPENDUID 7 10:11] done
        """,
    )
    (outcome,) = play(rig.session, append(letter(A), letter(b"x" * 21), letter(b"y" * 3)))
    assert outcome.value[0::2] == (AppendUid(7, 10), AppendUid(7, 11))
    assert isinstance(outcome.value[1], MessageError)
    assert "21" in str(outcome.value[1])
    assert "20" in str(outcome.value[1])


def test_an_append_of_nothing_is_nothing() -> None:
    assert stores(opened("LITERAL+", ""), append()) == [()]


@pytest.mark.parametrize(
    "code",
    [
        "[APPENDUID 7 ]",
        "[APPENDUID 8 10]",
        "[APPENDUID 7 9]",
        "[APPENDUID 7 10:14]",
        "[APPENDUID x y]",
        "[APPENDUID 0 0]",
    ],
)
def test_a_senseless_appenduid_is_none_and_named_once(code: str) -> None:
    one = f"""
        C: APPEND "INBOX" {DATE} {{4+}}
        L: 4
        -:
        S: $t OK {code} done
    """
    rig = opened("LITERAL+", one + one)
    for _ in range(2):
        (outcome,) = play(rig.session, append(letter(b"tiny")))
        assert outcome.value == (None,)
    assert len([words for words, _ in rig.session.notices if "APPENDUID" in words]) == 1


def test_the_uid_of_another_message_of_ours_is_not_taken_twice() -> None:
    one = f'C: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\nS: $t OK [APPENDUID 7 10] done\n'
    rig = opened("LITERAL+", one + one)
    assert play(rig.session, append(letter(b"tiny")))[0].value == (AppendUid(7, 10),)
    assert play(rig.session, append(letter(b"tiny")))[0].value == (None,)


def test_an_ok_before_the_literal_went_out_is_not_believed() -> None:
    for text in (
        f'C: APPEND "INBOX" {DATE} {{5000}}\nS: $t OK [APPENDUID 7 10] done',
        f'C: APPEND "INBOX" {DATE} {{5000}}\nS: +\nL: 4000\nS: $t OK [APPENDUID 7 10] done\nL: 1000\n-:',
    ):
        error = store_error(opened("LITERAL-", text, take=1000), append(letter(b"x" * 5000)))
        assert error.cause is Cause.UNUSABLE


HEAD = f'C: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\n'


@pytest.mark.parametrize(
    ("text", "cause", "retry"),
    [
        (HEAD + "S: * BYE\nEND", Cause.UNREACHABLE, Retry.NOW),
        (HEAD + "S: * BYE [UNAVAILABLE] restart", Cause.UNREACHABLE, Retry.LATER),
        (HEAD + "END", Cause.UNREACHABLE, Retry.NOW),
        (HEAD + "S: $t NO [OVERQUOTA] full", Cause.FULL, Retry.LATER),
        (HEAD + "S: $t NO [LIMIT] Rate limit hit.", Cause.UNREACHABLE, Retry.LATER),
        (
            HEAD + "S: $t BAD Request is throttled. Suggested Backoff Time: 9 milliseconds",
            Cause.UNREACHABLE,
            Retry.LATER,
        ),
        (HEAD + "S: $t NO [TRYCREATE] gone", Cause.UNREACHABLE, Retry.NOW),
        (HEAD + "S: P999 OK stray", Cause.UNUSABLE, Retry.LATER),
        (HEAD + "S: + what else", Cause.UNUSABLE, Retry.LATER),
        (HEAD + "S: * 1 FETCH (BODY[] {3000000000}", Cause.UNUSABLE, Retry.LATER),
        (HEAD + "S: garbage", Cause.UNUSABLE, Retry.LATER),
        (HEAD + "S: * OK " + "x" * 70000, Cause.UNUSABLE, Retry.LATER),
        (HEAD + ("S: * OK " + "x" * 60000 + "\n") * 150, Cause.UNUSABLE, Retry.LATER),
    ],
)
def test_a_server_that_fails_ends_all_that_is_owed(text: str, cause: Cause, retry: Retry) -> None:
    error = store_error(opened("LITERAL+", text), append(letter(b"tiny")))
    assert (error.cause, error.retry, error.end) == (cause, retry, "destination")


def test_what_was_answered_before_the_end_counts() -> None:
    second = f'C b: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\n'
    rig = opened("LITERAL+", HEAD.replace("C:", "C a:") + second + "S: $a OK [APPENDUID 7 10] done\nS: * BYE\nEND")
    first, last = play(rig.session, append(letter(b"tiny")), append(letter(b"tiny")))
    assert first.value == (AppendUid(7, 10),)
    assert isinstance(last.error, StoreError)


def test_two_continuations_for_one_literal_are_refused() -> None:
    rig = opened("LITERAL-", f'C: APPEND "INBOX" {DATE} {{5000}}\nS: +\nS: +\nL: 5000\n-:')
    assert store_error(rig, append(letter(b"x" * 5000))).cause is Cause.UNUSABLE


def test_an_answer_that_never_comes_is_a_stall() -> None:
    for text in (HEAD, f'C: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\n' + "S: * 1 EXISTS\n" * 40):
        rig = opened("LITERAL+", text)
        rig.session.submit(append(letter(b"tiny")))
        assert rig.session.turn() == []
        rig.clock.now_s += 61
        (outcome,) = rig.session.turn()
        assert isinstance(outcome.error, StoreError)
        assert outcome.error.retry is Retry.NOW
        assert "stalled" in str(outcome.error)


def test_a_server_that_we_do_not_listen_to_has_not_stalled() -> None:
    rig = opened("LITERAL+", f'C: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\n')
    rig.session.submit(append(letter(b"tiny")))
    assert rig.session.turn() == []
    assert rig.session._link is not None
    rig.session._link.channel.is_held = True  # type: ignore[misc]
    rig.clock.now_s += 61
    assert rig.session.turn() == []


def test_an_idle_session_never_stalls() -> None:
    rig = opened("LITERAL+", HEAD + "S: $t OK [APPENDUID 7 10] done")
    rig.clock.now_s += 10_000
    assert rig.session.turn() == []
    assert play(rig.session, append(letter(b"tiny")))[0].value == (AppendUid(7, 10),)


def test_a_goodbye_while_idle_is_the_error_of_the_next_command() -> None:
    rig = opened("LITERAL+", HEAD + "S: $t OK done\nS: * BYE autologout\nEND")
    assert play(rig.session, append(letter(b"tiny")))[0].value == (None,)
    assert isinstance(store_error(rig, append(letter(b"tiny"))), StoreError)


def test_a_server_that_repeats_the_password_in_a_refusal_is_not_quoted() -> None:
    rig = opened("LITERAL+", HEAD + 'S: $t NO bad can"ary\\pass word')
    (outcome,) = play(rig.session, append(letter(b"tiny")))
    assert outcome.value[0].said == b"NO bad ***"


def test_an_alert_of_the_server_reaches_people() -> None:
    rig = opened("LITERAL+", HEAD + "S: * OK [ALERT] Maintenance at noon\nS: $t OK done")
    assert play(rig.session, append(letter(b"tiny")))[0].error is None
    assert ("the IMAP server has a message for you", b"Maintenance at noon") in rig.session.notices


def test_a_command_for_another_mailbox_waits_and_selects_it() -> None:
    rig = Rig(
        LOGIN % "LITERAL+"
        + """
        C: LIST "" ""
        S: * LIST (\\Noselect) "/" ""
        S: $t OK done
        C: LIST "" "Other"
        S: * LIST () "/" Other
        S: $t OK done
        C: SELECT "Other"
        S: * 0 EXISTS
        S: * OK [UIDVALIDITY 9] x
        S: * OK [UIDNEXT 1] x
        S: $t OK done
        """
        + HEAD.replace("INBOX", "Other")
        + """
        S: $t OK [APPENDUID 9 1] done
        C: SELECT "INBOX"
        S: * 0 EXISTS
        S: * OK [UIDVALIDITY 7] x
        S: * OK [UIDNEXT 1] x
        S: $t OK done
        """
        + HEAD
        + "S: $t OK [APPENDUID 7 1] done"
    )
    other = MailboxName(("Other",))
    _, status, one, two = play(
        rig.session,
        OpenDest(0),
        OpenMailbox(0, other, create=False),
        Append(0, other, (letter(b"tiny"),)),
        append(letter(b"tiny")),
    )
    assert status.value.uidvalidity == 9
    assert (one.value, two.value) == ((AppendUid(9, 1),), (AppendUid(7, 1),))


def test_an_append_to_a_mailbox_that_is_not_there_leaves_the_session_usable() -> None:
    rig = opened(
        "LITERAL+",
        """
        C: LIST "" ""
        S: * LIST (\\Noselect) "/" ""
        S: $t OK done
        C: LIST "" "Gone"
        S: $t OK done
        C: SELECT "INBOX"
        S: * 0 EXISTS
        S: * OK [UIDVALIDITY 7] x
        S: * OK [UIDNEXT 1] x
        S: $t OK done
        """
        + HEAD
        + "S: $t OK [APPENDUID 7 1] done",
    )
    gone, there = play(rig.session, Append(0, MailboxName(("Gone",)), (letter(A),)), append(letter(b"tiny")))
    assert isinstance(gone.error, MailboxError)
    assert there.value == (AppendUid(7, 1),)


def test_the_trace_shows_lengths_instead_of_bodies() -> None:
    rig = opened("MULTIAPPEND LITERAL+", MULTI)
    stores(rig, append(letter(A, "kw \\Seen"), letter(B)))
    text = "\n".join(rig.traced)
    assert f"<{len(A)} octets>" in text
    assert "APPENDUID 7 10:11" in text
    assert "first" not in text
    assert "second" not in text


def search(rig: Rig, low: int) -> Sequence[int] | BaseException:
    (outcome,) = play(rig.session, SearchUids(0, INBOX, low))
    return outcome.error or list(outcome.value)


@pytest.mark.parametrize(
    ("answers", "low", "uids"),
    [
        ("S: * SEARCH 12 10 11", 10, [10, 11, 12]),
        ("S: * SEARCH 9", 10, []),
        ("S: * SEARCH 10 11\nS: * 3 FETCH (FLAGS ())\nS: * SEARCH 11 12", 10, [10, 11, 12]),
    ],
)
def test_search_gives_what_is_there_from_low_on(answers: str, low: int, uids: list[int]) -> None:
    rig = opened("LITERAL+", f"C: NOOP\nS: $t OK\nC: UID SEARCH UID {low}:*\n{answers}\nS: $t OK done")
    assert search(rig, low) == uids


@pytest.mark.parametrize("news", ["4 EXISTS", "1 RECENT", "2 EXPUNGE"])
@pytest.mark.parametrize(
    "answers",
    [
        "S: {news}\nS: $a OK\nS: * SEARCH 10\nS: $b OK",
        "S: $a OK\nS: * SEARCH 10\nS: {news}\nS: $b OK",
        # Seen: Dovecot 2.3 answers a NOOP behind the command that follows it.
        "S: * SEARCH 10\nS: {news}\nS: $b OK\nS: $a OK",
        "S: * SEARCH 10\nS: $b OK\nS: {news}\nS: $a OK",
        "S: * SEARCH\nS: $b OK\nS: {news}\nS: $a OK",
    ],
)
def test_a_search_beside_which_the_mailbox_changed_is_made_once_more(answers: str, news: str) -> None:
    text = "C a: NOOP\nC b: UID SEARCH UID 10:*\n" + answers.format(news="* " + news)
    rig = opened("LITERAL+", text + f"\nC: UID SEARCH UID 10:*\nS: * SEARCH 11 12\nS: * {news}\nS: $t OK")
    assert search(rig, 10) == [11, 12]
    assert rig.script.left == []


@pytest.mark.parametrize("end", ["S: $a NO\nS: $b OK", "S: $b OK\nS: $a BAD", "S: $b OK\nEND"])
def test_a_search_without_its_noop_is_none(end: str) -> None:
    rig = opened("LITERAL+", "C a: NOOP\nC b: UID SEARCH UID 10:*\nS: * SEARCH 10\n" + end)
    assert isinstance(search(rig, 10), StoreError)


NOTHING = "C: NOOP\nS: $t OK\nC: UID SEARCH UID 10:*\nS: * SEARCH\nS: $t OK\n"
ALL = "C: UID SEARCH ALL\nS: * SEARCH 10\nS: $t OK\n"


@pytest.mark.parametrize("told", ["4 EXISTS", "0 EXISTS", "none"])
def test_a_mailbox_is_empty_where_the_server_says_so_and_finds_nothing(told: str) -> None:
    is_empty = told == "0 EXISTS"
    selected = SELECT.replace("S: * 3 EXISTS\n", "" if told == "none" else f"S: * {told}\n")
    rig = Rig(LOGIN % "LITERAL+" + selected + NOTHING + ("" if is_empty else ALL))
    *_, outcome = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False), SearchUids(0, INBOX, 10))
    assert list(outcome.value) == ([] if is_empty else [10])
    assert rig.script.left == []


def test_what_was_told_of_one_mailbox_says_nothing_of_the_next() -> None:
    empty, silent = SELECT.replace("* 3 EXISTS", "* 0 EXISTS"), SELECT.replace("S: * 3 EXISTS\n", "")
    rig = Rig(LOGIN % "LITERAL+" + empty + silent + NOTHING + ALL)
    again = OpenMailbox(0, INBOX, create=False)
    *_, outcome = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False), again, SearchUids(0, INBOX, 10))
    assert list(outcome.value) == [10]


def test_what_came_into_an_empty_mailbox_is_heard_of_wherever_it_is_told() -> None:
    empty = SELECT.replace("* 3 EXISTS", "* 0 EXISTS")
    status = 'C: STATUS "INBOX" (UIDNEXT)\nS: * 1 EXISTS\nS: * STATUS INBOX (UIDNEXT 11)\nS: $t OK\n'
    for text in (
        empty.replace("S: * OK [UIDNEXT 10] next\n", "") + status + NOTHING,
        empty + "C: NOOP\nS: * 1 EXISTS\nS: $t OK\n" + NOTHING.partition("OK\n")[2] + NOTHING.partition("OK\n")[2],
    ):
        rig = Rig(LOGIN % "LITERAL+" + text + ALL)
        *_, outcome = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False), SearchUids(0, INBOX, 10))
        assert list(outcome.value) == [10]
        assert rig.script.left == []


def test_what_we_put_into_an_empty_mailbox_ends_that_also_where_the_server_is_silent() -> None:
    empty = SELECT.replace("* 3 EXISTS", "* 0 EXISTS")
    stored = f'C: APPEND "INBOX" {DATE} {{4+}}\nL: 4\n-:\nS: $t OK\n'
    rig = Rig(LOGIN % "LITERAL+" + empty + stored + NOTHING + ALL)
    steps = (OpenDest(0), OpenMailbox(0, INBOX, create=False), append(letter(b"tiny")), SearchUids(0, INBOX, 10))
    *_, outcome = play(rig.session, *steps)
    assert list(outcome.value) == [10]
    assert rig.script.left == []


@pytest.mark.parametrize("nothing", ["S: * SEARCH", "S: * SEARCH ", ""])
@pytest.mark.parametrize(("whole", "uids"), [("9 10 12", [10, 12]), ("9", []), ("", [])])
def test_a_range_in_which_nothing_is_found_is_believed_only_of_an_empty_mailbox(
    nothing: str, whole: str, uids: list[int]
) -> None:
    asked = f"C: NOOP\nS: $t OK\nC: UID SEARCH UID 10:*\n{nothing}\nS: $t OK done\nC: UID SEARCH ALL\n"
    rig = opened("LITERAL+", f"{asked}S: * SEARCH {whole}\nS: $t OK done")
    assert search(rig, 10) == uids
    assert rig.script.left == []
    assert any("asked for all" in words for words, _ in rig.session.notices) == bool(whole)


@pytest.mark.parametrize("end", ["S: * SEARCH x", "S: $t NO Server error", "S: $t BAD", "END"])
def test_a_search_that_fails_is_never_taken_for_an_empty_mailbox(end: str) -> None:
    rig = opened("LITERAL+", f"C: NOOP\nS: $t OK\nC: UID SEARCH UID 1:*\n{end}\nS: $t OK done")
    assert isinstance(search(rig, 1), StoreError)
