"""The POP3 source from the first octet to the maildrop: STLS, greetings, logins, and who gets no password."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from migrate.commands import CloseSource, OpenSource
from migrate.errors import Cause, Retry
from migrate.model import Endpoint, Tls
from tests.fakes.dialogue import Dialogue

from .pop3_rig import LOGIN, STEPS, TIMEOUT_S, Start, opened, start, text_of

__all__ = ["opened", "start"]  # fixtures


# --- TLS ------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_stls_comes_before_everything_else(start: Start, step: int) -> None:
    play = start(text_of("stls.txt"), step=step, tls=Tls.STARTTLS)
    play.value(OpenSource())
    assert play.value(CloseSource(quit=True)) is None


@pytest.mark.parametrize(
    "answer",
    [
        "S: -ERR unknown command",
        "S: -ERR [SYS/TEMP] TLS is not available",
        r"S> +OK\r\n+OK injected\r\n",
        r"S> +OK Begin\r\nx",
        "S: + go on",
        "S: OK",
        "S: +OKAY",
    ],
)
def test_without_a_clean_stls_nothing_more_is_said(start: Start, answer: str) -> None:
    play = start(f"S: +OK\nC: STLS\n{answer}", tls=Tls.STARTTLS)
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert "pop3s://" in error.hint
    assert play.dialogue.received == b"STLS\r\n"
    assert play.dialogue.channels[-1].is_closed


@pytest.mark.parametrize("answer", ["END", "", "S> +OK"])
def test_a_cut_or_a_silence_in_stls_may_be_tried_again(start: Start, answer: str) -> None:
    play = start(f"S: +OK\nC: STLS\n{answer}", tls=Tls.STARTTLS)
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)
    assert play.dialogue.received == b"STLS\r\n"


def test_garbage_inside_the_greeting_is_found_before_stls(start: Start) -> None:
    play = start(r"S> +OK ready\r\n+OK injected\r\n", tls=Tls.STARTTLS)
    assert play.error(OpenSource()).cause is Cause.UNUSABLE
    assert play.dialogue.received == b""


def test_a_channel_that_is_not_secure_gets_no_password(start: Start) -> None:
    play = start("S: +OK")
    play.session._connect = lambda endpoint: unsecured(play.dialogue, endpoint)
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NEVER)
    assert play.dialogue.received == b""


def unsecured(dialogue: Dialogue, endpoint: Endpoint) -> Any:
    channel = dialogue.connect(endpoint)
    channel.is_secure = False
    return channel


# --- greeting -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("greeting", "cause", "retry"),
    [
        ("S: -ERR too many connections", Cause.UNREACHABLE, Retry.LATER),
        (r"S> \x15\x03\x01\x00\x02\x02\x46", Cause.UNUSABLE, Retry.NEVER),
        ("S: HTTP/1.1 400 Bad Request", Cause.UNUSABLE, Retry.NEVER),
        ("S: * OK IMAP4rev1", Cause.UNUSABLE, Retry.NEVER),
        ("S: * PREAUTH [CAPABILITY IMAP4rev1]", Cause.UNUSABLE, Retry.NEVER),
        ("S: garbage", Cause.UNUSABLE, Retry.LATER),
        ("S> +OK " + "x" * 70_000, Cause.UNUSABLE, Retry.NOW),
        ("", Cause.UNREACHABLE, Retry.LATER),
        ("END", Cause.UNREACHABLE, Retry.NOW),
    ],
)
def test_no_greeting_of_a_pop3_server_no_login(start: Start, greeting: str, cause: Cause, retry: Retry) -> None:
    play = start(greeting)
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (cause, retry)
    assert play.dialogue.received == b""
    assert play.dialogue.clock.now <= TIMEOUT_S + 1


# --- login ----------------------------------------------------------------------------------


def login(answer: str) -> str:
    return f"S: +OK\nC: CAPA\nS: -ERR\nC: USER mrose\nS: +OK\nC: PASS tanstaaf\nS: {answer}"


@pytest.mark.parametrize(
    ("answer", "cause", "retry"),
    [
        ("-ERR", Cause.LOGIN, Retry.NEVER),
        ("-ERR Authentication failed.", Cause.LOGIN, Retry.NEVER),
        ("-ERR [AUTH] Authentication failed, try again later", Cause.LOGIN, Retry.NEVER),
        ("-ERR account is locked", Cause.LOGIN, Retry.NEVER),
        ("-ERR unknown user", Cause.LOGIN, Retry.NEVER),
        ("-ERR [IN-USE] mailbox is open", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR [LOGIN-DELAY] wait", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR [SYS/TEMP] disk", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR maildrop already locked", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR Unable to obtain a lock", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR Can't get lock.  Mailbox in use", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR server busy", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR too many connections, try again later", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR [SYS/PERM] no home", Cause.UNUSABLE, Retry.NEVER),
    ],
)
def test_a_refused_login_is_credentials_unless_the_server_says_busy(
    start: Start, answer: str, cause: Cause, retry: Retry
) -> None:
    play = start(login(answer))
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (cause, retry)
    assert error.said == answer.encode()
    assert "tanstaaf" not in str(error) + error.hint
    assert play.dialogue.received.count(b"PASS") == 1


def test_a_user_name_that_is_refused_sends_no_password(start: Start) -> None:
    play = start("S: +OK\nC: CAPA\nS: -ERR\nC: USER mrose\nS: -ERR never heard of mrose here")
    assert play.error(OpenSource()).cause is Cause.LOGIN
    assert b"tanstaaf" not in play.dialogue.received


SASL = "S: +OK\nC: CAPA\nS: +OK\nS: SASL PLAIN\nS: UIDL\nS: .\nC: AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\n"


@pytest.mark.parametrize(
    "answer",
    [
        "-ERR [AUTH] unknown mechanism",
        "-ERR Authentication failed",
        "-ERR unknown user",
        "-ERR bad password or auth method",
    ],
)
def test_credentials_refused_by_auth_are_not_tried_again(start: Start, answer: str) -> None:
    play = start(SASL + f"S: {answer}")
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)


@pytest.mark.parametrize("step", STEPS)
def test_auth_answers_an_empty_challenge(start: Start, step: int) -> None:
    play = start(text_of("sasl_without_initial_response.txt"), step=step)
    assert play.value(OpenSource()).messages == 0


def test_auth_gives_up_at_a_challenge_that_plain_does_not_have(start: Start) -> None:
    play = start(SASL + "S: + c2VuZCBtb3Jl\nC: *\nS: -ERR aborted")
    assert play.error(OpenSource()).cause is Cause.LOGIN
    endless = start(SASL + "S: + \nC: AG1yb3NlAHRhbnN0YWFm\nS: + \nC: *\nS: + ")
    assert endless.error(OpenSource()).cause is Cause.UNUSABLE


def test_credentials_too_long_for_one_command_wait_for_the_challenge(start: Start) -> None:
    password = "x" * 200
    encoded = base64.b64encode(b"\0mrose\0" + password.encode()).decode()
    text = SASL.replace(" AG1yb3NlAHRhbnN0YWFm", "") + f"S: + \nC: {encoded}\nS: -ERR no"
    assert start(text, password=password).error(OpenSource()).cause is Cause.LOGIN


def test_credentials_outside_ascii_go_as_utf_8(start: Start) -> None:
    text = login("-ERR").replace("mrose", "m\u00fcller").replace("tanstaaf", "gr\u00fcn\u2603")
    play = start(text, user="m\u00fcller", password="gr\u00fcn\u2603")
    assert play.error(OpenSource()).cause is Cause.LOGIN
    assert "PASS gr\u00fcn\u2603\r\n".encode() in play.dialogue.received


@pytest.mark.parametrize("answer", ["+OK", "-ERR no"])
def test_utf_8_mode_is_asked_for_where_it_is_offered(start: Start, answer: str) -> None:
    text = "S: +OK\nC: CAPA\nS: +OK\nS: UTF8 USER\nS: .\nC: UTF8\nS: " + answer + "\nC: USER mrose\nS: -ERR"
    assert start(text).error(OpenSource()).cause is Cause.LOGIN


@pytest.mark.parametrize("octet", ["\r", "\n", "\0", "\t", "\x7f", "\ud800"])
@pytest.mark.parametrize("where", ["user", "password"])
def test_credentials_with_control_characters_never_leave(start: Start, octet: str, where: str) -> None:
    play = start("S: +OK", **{where: f"hush{octet}DELE 1"})
    error = play.error(OpenSource())
    assert (error.cause, error.retry) == (Cause.LOGIN, Retry.NEVER)
    assert "hush" not in str(error) + error.hint
    assert play.dialogue.received == b""


@pytest.mark.parametrize(
    "echo",
    [
        "bad password tanstaaf for mrose",
        "bad: AG1yb3NlAHRhbnN0YWFm",
        "bad: dGFuc3RhYWY=",
        "bad: dGFuc3RhYWY",
        "bad: 74616e7374616166",
    ],
)
def test_a_password_that_a_server_repeats_is_shown_nowhere(start: Start, echo: str) -> None:
    play = start(login(f"-ERR {echo}"))
    error = play.error(OpenSource())
    shown = b" ".join([error.said, str(error).encode(), *(line for _, line in play.trace)])
    for form in (b"tanstaaf", b"AG1yb3NlAHRhbnN0YWFm", b"dGFuc3RhYWY", b"74616e73"):
        assert form not in shown
    assert b"***" in error.said


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ("EXPIRE 0", "UIDL", True),
        ("UIDL", "EXPIRE 0", True),
        ("EXPIRE 0 USER", "EXPIRE NEVER", True),
        ("EXPIRE NEVER", "EXPIRENEVER", False),
        ("EXPIRE 10", "EXPIRE 60", False),
        ("UIDL", "UIDL", False),
    ],
)
def test_a_source_that_may_delete_what_is_fetched_is_known(
    start: Start, before: str, after: str, expected: bool
) -> None:
    text = f"""
    S: +OK
    C: CAPA
    S: +OK
    S: {before}
    S: .
    C: USER mrose
    S: +OK
    C: PASS tanstaaf
    S: +OK
    C: CAPA
    S: +OK
    S: {after}
    S: .
    C: STAT
    S: +OK 0 0
    """
    assert start(text).value(OpenSource()).may_delete_on_fetch is expected


FLIGHT = """
S: +OK
C: CAPA
S: +OK
S: PIPELINING
S: .
C: USER mrose
S: +OK
C: PASS tanstaaf
S: +OK
C: CAPA
C: STAT
"""


@pytest.mark.parametrize("step", STEPS)
def test_where_pipelining_is_known_before_the_login_capa_and_stat_go_together(start: Start, step: int) -> None:
    play = start(FLIGHT + "S: +OK\nS: UIDL\nS: EXPIRE 0\nS: .\nS: +OK 2 320", step=step)
    facts = play.value(OpenSource())
    assert (facts.messages, facts.octets, facts.may_delete_on_fetch) == (2, 320, True)
    play = start(FLIGHT + "S: -ERR\nS: +OK 0 0", step=step)
    assert play.value(OpenSource()).messages == 0
    play = start(FLIGHT + "S: -ERR\nS: -ERR [IN-USE]", step=step)
    assert play.error(OpenSource()).retry is Retry.LATER


@pytest.mark.parametrize(
    ("answer", "cause", "retry"),
    [
        ("-ERR [IN-USE]", Cause.UNREACHABLE, Retry.LATER),
        ("-ERR no", Cause.UNUSABLE, Retry.LATER),
        ("+OK two messages", Cause.UNUSABLE, Retry.NOW),
    ],
)
def test_a_maildrop_without_stat_is_of_no_use(start: Start, answer: str, cause: Cause, retry: Retry) -> None:
    error = start(LOGIN.replace("+OK 2 320", answer)).error(OpenSource())
    assert (error.cause, error.retry) == (cause, retry)
