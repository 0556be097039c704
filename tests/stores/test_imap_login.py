"""The IMAP login: greeting, STARTTLS, mechanisms, and that the password is never seen where it must not be."""

from __future__ import annotations

import base64
import traceback
import urllib.parse

import pytest

from migrate.commands import CloseDest, DestFacts, OpenDest
from migrate.errors import Cause, Retry, StoreError
from migrate.model import Tls
from tests.fakes.imap_script import play

from .imap_rig import LOGIN, PASSWORD, USER, Rig

SASL = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
FORMS = (
    PASSWORD,
    SASL,
    base64.b64encode(PASSWORD.encode()).decode(),
    PASSWORD.encode().hex(),
    urllib.parse.quote(PASSWORD),
)


def seen_by_people(rig: Rig, error: BaseException | None) -> str:
    """Everything that could come before somebody's eyes."""
    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__
    words = [*rig.traced, str(rig.session.notices)]
    for one in chain:
        words += [str(one), repr(one), repr(vars(one)), *traceback.format_exception(one)]
    return "\n".join(words)


def failed(rig: Rig) -> StoreError:
    error = rig.open().error
    assert isinstance(error, StoreError)
    assert error.end == "destination"
    assert rig.channel.is_closed
    shown = seen_by_people(rig, error)
    for form in FORMS:
        assert form not in shown
    return error


def facts(capabilities: str) -> DestFacts:
    outcome = Rig(LOGIN % capabilities).open()
    assert outcome.error is None
    assert isinstance(outcome.value, DestFacts)
    return outcome.value


def test_what_the_server_can_do_after_login_counts() -> None:
    found = facts("MULTIAPPEND LITERAL+ APPENDLIMIT=35651584")
    assert (found.has_uids, found.is_atomic, found.append_limit, found.in_flight) == (True, True, 35651584, 32)
    assert "script" in found.greeting


@pytest.mark.parametrize(
    ("capabilities", "is_atomic", "in_flight", "limit"),
    [
        ("", False, 2, None),
        ("LITERAL+", False, 32, None),
        ("LITERAL-", False, 2, None),
        ("MULTIAPPEND", False, 2, None),
        ("MULTIAPPEND LITERAL-", True, 2, None),
        ("LITERAL+ APPENDLIMIT", False, 32, None),
        ("LITERAL+ APPENDLIMIT=0", False, 32, None),
        ("LITERAL+ APPENDLIMIT=x", False, 32, None),
        ("IMAP4rev2", False, 2, None),
    ],
)
def test_the_facts_follow_from_the_capabilities(
    capabilities: str, is_atomic: bool, in_flight: int, limit: int | None
) -> None:
    found = facts(capabilities)
    assert (found.is_atomic, found.in_flight, found.append_limit) == (is_atomic, in_flight, limit)


@pytest.mark.parametrize(
    ("capabilities", "batch_count", "lanes"),
    [
        ("LITERAL+", 100, 1),
        ("MULTIAPPEND LITERAL+", 100, 1),
        ("LITERAL-", 16, 4),
        ("MULTIAPPEND LITERAL-", 16, 4),
        ("", 8, 4),
    ],
)
def test_where_messages_cost_round_trips_several_connections_share_them(
    capabilities: str, batch_count: int, lanes: int
) -> None:
    found = facts(capabilities)
    assert (found.batch_count, found.lanes) == (batch_count, lanes)


def test_a_server_that_announces_nothing_gets_one_command_at_a_time() -> None:
    outcome = Rig((LOGIN % "").replace(" UIDPLUS", "")).open()
    assert isinstance(outcome.value, DestFacts)
    assert (outcome.value.in_flight, outcome.value.has_uids, outcome.value.lanes) == (1, False, 4)


def test_the_login_is_read_however_it_is_cut() -> None:
    for piece in (1, 2, 7):
        assert Rig(LOGIN % "LITERAL+", piece=piece, take=3).open().error is None


def test_without_auth_plain_the_login_command_is_used_and_quoted() -> None:
    rig = Rig(
        """
        S: * OK ready
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1
        S: $t OK done
        C: LOGIN "ann@example.org" "can\\"ary\\\\pass word"
        S: $t OK [CAPABILITY IMAP4rev1] in
        """
    )
    assert rig.open().error is None
    for form in FORMS:
        assert form not in seen_by_people(rig, None)


def test_passwords_beyond_ascii_are_sent_as_utf_8() -> None:
    login = LOGIN.replace("AGFubkBleGFtcGxlLm9yZwBjYW4iYXJ5XHBhc3Mgd29yZA==", "AGVsaXNlAG1vdCBkZSBww6lzc2U=")
    assert Rig(login % "", user="elise", password="mot de pésse").open().error is None
    old = login.replace(" AUTH=PLAIN", "").replace("C: AUTHENTICATE PLAIN", 'C: LOGIN "elise" "mot de p\xc3\xa9sse"')
    lines = [
        line for line in (old % "").splitlines() if line.strip() not in ("S: +", "-: AGVsaXNlAG1vdCBkZSBww6lzc2U=")
    ]
    assert Rig("\n".join(lines), user="elise", password="mot de pésse").open().error is None


@pytest.mark.parametrize("bad", ["a\nb", "a\r", "\0", "\ud800"])
def test_a_password_that_no_line_can_hold_is_refused_before_anything_is_sent(bad: str) -> None:
    rig = Rig("S: * OK ready", password=bad)
    error = rig.open().error
    assert isinstance(error, StoreError)
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)
    assert rig.script.received == b""


def refused_with(answer: str) -> StoreError:
    head = LOGIN.split("S: $t OK in")[0]
    return failed(Rig(head + answer))


@pytest.mark.parametrize("words", ["NO [AUTHENTICATIONFAILED] no", "NO bad", "BAD what", "NO [EXPIRED] old", "NO"])
def test_a_refused_password_is_refused_for_good(words: str) -> None:
    error = refused_with(f"S: $t {words}")
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)
    assert error.said.startswith(words.encode())
    assert "127.0.0.1" in str(error)


@pytest.mark.parametrize(
    "words",
    [
        "NO [UNAVAILABLE] Maximum number of connections from user+IP exceeded",
        "NO [INUSE] locked",
        "NO [LIMIT] rate",
        "NO [ALERT] Too many simultaneous connections. (Failure)",
        "NO Maximum number of connections reached",
    ],
)
def test_a_busy_server_is_not_a_wrong_password(words: str) -> None:
    error = refused_with(f"S: $t {words}")
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.LATER)


def test_a_server_that_says_goodbye_to_a_login_is_not_tried_again_at_once() -> None:
    error = refused_with("S: * BYE enough\nEND")
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.LATER)
    assert error.said == b"BYE enough"


@pytest.mark.parametrize("echoed", FORMS)
def test_a_password_that_the_server_repeats_is_not_shown(echoed: str) -> None:
    error = refused_with(f"S: $t NO [AUTHENTICATIONFAILED] wrong: {echoed} !")
    assert b"***" in error.said


def test_a_password_in_a_broken_answer_is_not_shown() -> None:
    error = refused_with(f"S: ? {PASSWORD} {SASL}")
    assert error.cause is Cause.UNUSABLE


def test_a_server_that_asks_twice_is_not_told_twice() -> None:
    head = LOGIN.split("S: $t OK in")[0]
    rig = Rig(head + "S: +\n-: *\nS: $t BAD cancelled")
    assert failed(rig).cause is Cause.LOGIN
    assert rig.script.received.count(SASL.encode()) == 1


def test_logindisabled_is_respected() -> None:
    rig = Rig(
        """
        S: * OK ready
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=XOAUTH2
        S: $t OK done
        """
    )
    error = failed(rig)
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)


@pytest.mark.parametrize("piece", [1, 1000])
def test_a_login_answered_with_a_bare_line_feed_is_a_named_quirk(piece: int) -> None:
    rig = Rig((LOGIN % "LITERAL+").replace("S: $t OK in", "S> $t OK in\\n"), piece=piece)
    assert rig.open().error is None
    assert [words for words, _ in rig.session.notices if "bare line feed" in words] != []


def test_a_bare_line_feed_ends_nothing_but_the_answer_to_a_login() -> None:
    login = LOGIN % ""
    at = login.rindex("S: $t OK done")
    rig = Rig(login[:at] + "S> $t OK done\\n\n END")
    assert isinstance(rig.open().error, StoreError)


def test_answers_without_text_are_a_named_quirk() -> None:
    text = (LOGIN % "LITERAL+").replace("S: $t OK done", "S: $t OK").replace("S: $t OK in", "S: $t OK ")
    rig = Rig(text)
    assert rig.open().error is None
    assert len([words for words, _ in rig.session.notices if "no text" in words]) == 1


@pytest.mark.parametrize(
    ("greeting", "cause"),
    [
        ("S: * BYE go away", Cause.UNREACHABLE),
        ("S: * NO not today", Cause.UNUSABLE),
        ("S: a1 OK hello", Cause.UNUSABLE),
        ("S: HTTP/1.1 400 Bad Request", Cause.UNUSABLE),
        ("S: +OK POP3", Cause.UNUSABLE),
        ("S: * CAPABILITY IMAP4rev1", Cause.UNUSABLE),
        ("S: * OK " + "x" * 9000, Cause.UNUSABLE),
        ("S: * LIST () NIL {5}", Cause.UNUSABLE),
        ("S> \\x15\\x03\\x01\\x00\\x02\\x02\\x46\nEND", Cause.UNREACHABLE),
        ("S> x", Cause.UNREACHABLE),
        ("END", Cause.UNREACHABLE),
    ],
)
def test_a_greeting_that_is_none_is_named(greeting: str, cause: Cause) -> None:
    rig = Rig(greeting)
    assert failed(rig).cause is cause
    assert rig.script.received == b""


def test_a_greeting_that_turns_us_away_is_tried_later() -> None:
    error = failed(Rig("S: * BYE [UNAVAILABLE] too busy"))
    assert (error.retry, error.said) == (Retry.LATER, b"BYE [UNAVAILABLE] too busy")


@pytest.mark.parametrize("tls", [Tls.STARTTLS, Tls.NONE])
def test_preauth_in_clear_text_is_refused(tls: Tls) -> None:
    rig = Rig("S: * PREAUTH hello", tls=tls)
    assert failed(rig).cause is Cause.UNUSABLE
    assert rig.script.received == b""


def test_preauth_within_tls_needs_no_login() -> None:
    rig = Rig(
        """
        S: * PREAUTH hello
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1
        S: $t OK done
        C: CAPABILITY
        S: * CAPABILITY IMAP4rev1 LITERAL+
        S: $t OK done
        """
    )
    assert rig.open().error is None


TOLD = """
    S: * OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=PLAIN] ready
    C: AUTHENTICATE PLAIN AGFubkBleGFtcGxlLm9yZwBjYW4iYXJ5XHBhc3Mgd29yZA==
"""
ASKED = """
    C: CAPABILITY
    S: * CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR
    S: $t OK done
"""


@pytest.mark.parametrize(
    "answer",
    [
        "S: $t OK [CAPABILITY IMAP4rev1 UIDPLUS LITERAL+] in",
        "S: * CAPABILITY IMAP4rev1 UIDPLUS LITERAL+\nS: $t OK in",
        "S: * CAPABILITY IMAP4rev1\nS: $t OK [CAPABILITY imap4REV1 uidplus literal+] in",
    ],
)
def test_a_server_that_tells_what_it_can_is_not_asked(answer: str) -> None:
    rig = Rig(TOLD + answer)
    found = rig.open().value
    assert (found.has_uids, found.lanes) == (True, 1)
    assert rig.script.left == []
    assert not any(form in "\n".join(rig.traced) for form in FORMS)
    assert any(f"AUTHENTICATE PLAIN <{len(SASL) + 2} octets of credentials>" in line for line in rig.traced)


@pytest.mark.parametrize("told", ["", "[CAPABILITY LITERAL+] ", "[CAPABILITY] ", "[CAPABILITY IMAP4rev1 \xff] "])
def test_what_is_not_told_whole_is_asked_for(told: str) -> None:
    rig = Rig(TOLD + f"S: $t OK {told}in\nC: CAPABILITY\nS: * CAPABILITY IMAP4rev1 UIDPLUS LITERAL+\nS: $t OK")
    assert rig.open().value.has_uids
    for short in ("", "AUTH=PLAIN", "IMAP4rev1 LOGINDISABLED", "IMAP4rev1 AUTH=PLAIN \xff"):
        text = TOLD.replace("IMAP4rev1 SASL-IR AUTH=PLAIN", short).replace("    C: AUTH", ASKED + "    C: AUTH")
        rig = Rig(text + "S: $t OK [CAPABILITY IMAP4rev1 UIDPLUS] in")
        assert rig.open().value.has_uids
        assert rig.script.left == []


def test_the_proxy_of_icloud_is_asked_after_the_login_whatever_it_told() -> None:
    ask = "C: CAPABILITY\nS: * CAPABILITY XAPPLEPUSHSERVICE IMAP4rev1\nS: $t OK"
    apple = "[CAPABILITY XAPPLEPUSHSERVICE IMAP4rev1"
    for text in (
        TOLD.replace("[CAPABILITY IMAP4rev1", apple) + "S: $t OK [CAPABILITY IMAP4rev1] in\n",
        TOLD + f"S: $t OK {apple}] in\n",
    ):
        rig = Rig(text + ask)
        assert rig.open().error is None
        assert rig.script.left == []


def test_a_server_that_asks_after_the_initial_response_is_not_told_twice() -> None:
    rig = Rig(TOLD + "S: +\n-: *\nS: $t BAD cancelled")
    assert failed(rig).cause is Cause.LOGIN
    assert rig.script.received.count(SASL.encode()) == 1


@pytest.mark.parametrize("echoed", FORMS)
def test_a_refused_initial_response_shows_no_password(echoed: str) -> None:
    error = failed(Rig(TOLD + f"S: $t NO [AUTHENTICATIONFAILED] wrong: {echoed}"))
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)


START = """
    S: * OK [CAPABILITY IMAP4rev1 STARTTLS SASL-IR AUTH=PLAIN] ready
    C: STARTTLS
    S: $t OK begin
    TLS
""" + (LOGIN % "LITERAL+").replace("    S: * OK ready\n", "")


def test_starttls_is_required_and_the_login_follows_it() -> None:
    rig = Rig(START, tls=Tls.STARTTLS)
    assert rig.open().error is None
    before = rig.script.received.partition(b"CAPABILITY")[0]
    assert before.endswith(b"STARTTLS\r\n" + before.rpartition(b"\r\n")[2])


def test_ok_and_capability_before_starttls_are_harmless_and_do_not_count() -> None:
    text = START.replace(
        "    S: $t OK begin", "    S: * CAPABILITY IMAP4rev1 AUTH=LIES\n    S: * OK fine\n    S: $t OK begin"
    )
    assert Rig(text, tls=Tls.STARTTLS).open().error is None


INJECTED = [
    '* LIST () "/" evil',
    '* LSUB () "/" evil',
    "* STATUS evil (MESSAGES 1)",
    "* SEARCH 1 2 3",
    "* FLAGS (\\Seen)",
    "* 5 EXISTS",
    "* 5 RECENT",
    "* 1 EXPUNGE",
    "* 1 FETCH (UID 1)",
    "* NO [ALERT] call this number",
    "* BAD [REFERRAL imap://evil/] go there",
    "* PREAUTH in already",
    '* ID ("name" "x")',
    "* NAMESPACE NIL NIL NIL",
    "* BYE",
    "T1 OK early",
    "T2 OK early",
    "+ go on",
    "garbage",
]


@pytest.mark.parametrize("line", INJECTED)
def test_whatever_is_slipped_in_before_tls_ends_the_session(line: str) -> None:
    places = [
        f"S: * OK ready\nS: {line}",
        f"S: * OK ready\nC: STARTTLS\nS: {line}\nS: $t OK begin\nTLS",
        f"S: * OK ready\nC: STARTTLS\nS: $t OK begin\nS: {line}\nTLS",
    ]
    for number, text in enumerate(places):
        if line == "T1 OK early" and number == 1:
            text = "S: * OK ready\nC: STARTTLS\nS: T1 OK early\nS: $t OK begin\nTLS"
        rig = Rig(text + (LOGIN % "").replace("    S: * OK ready\n", ""), tls=Tls.STARTTLS)
        failed(rig)
        assert rig.script.received in (b"", b"T1 STARTTLS\r\n")
        assert not rig.channel.is_secure


@pytest.mark.parametrize("answer", ["NO", "BAD unknown command", "NO [PRIVACYREQUIRED] x"])
def test_a_server_without_starttls_gets_no_password(answer: str) -> None:
    rig = Rig(f"S: * OK ready\nC: STARTTLS\nS: $t {answer}", tls=Tls.STARTTLS)
    error = failed(rig)
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert rig.script.received == b"T1 STARTTLS\r\n"


@pytest.mark.parametrize("text", ["S: * BYE\nEND", "END", "S> $"])
def test_a_server_that_leaves_or_hangs_at_starttls_gets_no_password(text: str) -> None:
    rig = Rig(f"S: * OK ready\nC: STARTTLS\n{text}", tls=Tls.STARTTLS)
    failed(rig)
    assert rig.script.received == b"T1 STARTTLS\r\n"


def test_an_octet_every_two_seconds_does_not_hold_us_longer_than_the_deadline() -> None:
    rig = Rig("S: * OK " + "x" * 100, piece=1, pace_s=2.0)
    error = failed(rig)
    assert error.cause is Cause.UNREACHABLE
    assert rig.clock.now_s - 1000 < 65, "one deadline for the whole call, not one for each octet"


def test_endless_untagged_answers_are_cut_off() -> None:
    flood = "S: * OK " + "x" * 60000 + "\n"
    rig = Rig("S: * OK ready\nC: CAPABILITY\n" + flood * 80, piece=65536)
    assert failed(rig).cause is Cause.UNUSABLE


@pytest.mark.parametrize("literal", ["{3000000000}", "{900000000000}", "{99999999999999999999}", "{65537}"])
def test_literal_bombs_in_the_login_are_refused(literal: str) -> None:
    assert failed(Rig(f"S: * OK ready\nC: CAPABILITY\nS: * CAPABILITY {literal}")).cause is Cause.UNUSABLE


def test_capabilities_that_are_no_text_are_named() -> None:
    assert failed(Rig("S: * OK ready\nC: CAPABILITY\nS: * CAPABILITY \xff\nS: $t OK done")).cause is Cause.UNUSABLE
    assert failed(Rig("S: * OK ready\nC: CAPABILITY\nS: $t OK done")).cause is Cause.UNUSABLE
    assert failed(Rig("S: * OK ready\nC: CAPABILITY\nS: $t NO done")).cause is Cause.UNUSABLE


def test_logout_is_said_and_never_waited_for() -> None:
    for end in ("S: * BYE\nS: $t OK bye", "S: * BYE\nEND", "S: $t BAD no", "END", ""):
        rig = Rig(LOGIN % "" + f"C: LOGOUT\n{end}")
        opened, closed = play(rig.session, OpenDest(0), CloseDest(0))
        assert opened.error is None
        assert (closed.value, closed.error) == (None, None)
        assert rig.channel.is_closed
        assert rig.script.received.endswith(b" LOGOUT\r\n")
        assert rig.clock.now_s == 1000
    (late,) = play(rig.session, OpenDest(0))
    assert isinstance(late.error, StoreError)


def test_the_trace_shows_the_dialogue_without_credentials() -> None:
    rig = Rig(LOGIN % "LITERAL+")
    rig.open()
    text = "\n".join(rig.traced)
    assert "AUTHENTICATE PLAIN" in text
    assert "octets of credentials" in text
    for form in FORMS:
        assert form not in text
