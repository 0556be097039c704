"""The POP3 source: whole sessions, listings, fetches, endings, against transcripts and a real Dovecot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from migrate.commands import CloseSource, Command, Delete, Fetch, ListSource, OpenSource, Outcome, SourceFacts
from migrate.errors import Cause, Exit, MessageError, Retry, StateError, StoreError
from migrate.model import MEMORY_LIMIT, Endpoint, MessageRef, Protocol, Secret, Tls
from migrate.rules.dedupe import Digester
from migrate.stores import net
from migrate.stores.pop3 import Pop3Reader, Pop3Releaser
from migrate.wire.pop3 import Quirk
from tests.support.dovecot import Dovecot

from .pop3_rig import LOCKSTEP, ONE, STEPS, TIMEOUT_S, TWO, Start, opened, start, text_of

__all__ = ["opened", "start"]  # fixtures


# --- whole sessions, cut everywhere ---------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_the_session_of_the_rfc_is_spoken_in_lock_step(start: Start, step: int) -> None:
    play = start(text_of("rfc1939.txt"), Pop3Releaser, step=step)
    facts: SourceFacts = play.value(OpenSource(may_release=True))
    assert (facts.messages, facts.octets, facts.has_uids, facts.may_delete_on_fetch) == (2, 320, True, False)
    assert facts.greeting.startswith("pop.example.org:995, TLS (POP3 server ready")
    refs = play.value(ListSource())
    assert list(refs) == [MessageRef(b"whqtswO00WBw418f9t5JxYwZ", 1, 120), MessageRef(b"QhdPYR:00WBw1Ph7x7", 2, 200)]
    first, gone, second, also_gone, end = play.outcomes(
        Fetch(refs[0]), Delete((refs[0],)), Fetch(refs[1]), Delete((refs[1],)), CloseSource(quit=True)
    )
    assert first.value.data == b"Subject: one\r\n\r\nthe POP3 server sends message 1\r\n"
    assert first.value.header == b"Subject: one\r\n\r\n"
    assert second.value.data == b"Subject: two\r\n\r\n.dots\r\n"
    assert (gone.value, also_gone.value, end.value, end.error) == ((None,), (None,), None, None)
    assert play.dialogue.left == [("END", b"")]


@pytest.mark.parametrize("step", STEPS)
def test_where_pipelining_is_offered_after_login_nothing_waits(start: Start, step: int) -> None:
    play = start(text_of("pipelined.txt"), Pop3Releaser, step=step)
    facts: SourceFacts = play.value(OpenSource())
    assert facts.login_delay_s == 300
    refs = play.value(ListSource())
    assert list(refs) == [ONE, TWO]
    first, refused, empty = play.outcomes(Fetch(refs[0]), Fetch(refs[1]), Fetch(refs[0]))
    assert first.value.data == b"Subject: one\r\n\r\n"
    assert isinstance(refused.error, MessageError)
    assert refused.error.said == b"-ERR [SYS/TEMP] not now"
    assert empty.value.data == b""
    gone, kept = play.value(Delete((refs[0], refs[1])))
    assert gone is None
    assert isinstance(kept, MessageError)
    assert play.value(CloseSource(quit=True)) is None


@pytest.mark.parametrize("name", ["capa_hangs.txt", "capa_hangs_up.txt", "sasl_unknown.txt"])
@pytest.mark.parametrize("step", STEPS)
def test_a_login_has_a_second_way(start: Start, name: str, step: int) -> None:
    play = start(text_of(name), step=step)
    assert play.value(OpenSource()).messages == 0
    assert play.dialogue.left == []


@pytest.mark.parametrize("step", STEPS)
def test_a_server_without_uidl_lists_numbers_and_sizes(start: Start, step: int) -> None:
    play = start(text_of("no_uidl.txt"), step=step)
    assert play.value(OpenSource()).has_uids is False
    assert list(play.value(ListSource())) == [MessageRef(b"", 1, 120), MessageRef(b"", 2, 200)]


@pytest.mark.parametrize("step", STEPS)
def test_a_listing_that_disagrees_is_asked_for_once_more(start: Start, step: int) -> None:
    play = start(text_of("disagreement_mended.txt"), step=step)
    play.value(OpenSource())
    assert list(play.value(ListSource())) == [ONE, TWO]


LOCKSTEP_LIST = """
C: UIDL
S: +OK
S: 1 aa
S: 2 bb
S: 3 cc
S: .
C: LIST
S: +OK
S: 1 120
S: 2 200
S: 3 5
S: .
"""


def test_in_lock_step_a_listing_that_disagrees_with_the_login_is_asked_for_again_with_stat(opened: Start) -> None:
    play = opened(LOCKSTEP_LIST + "C: STAT\nS: +OK 3 325\n" + LOCKSTEP_LIST, login=LOCKSTEP)
    assert len(play.value(ListSource())) == 3
    assert play.dialogue.left == []
    play = opened(LOCKSTEP_LIST + "C: STAT\nS: +OK 2 320\n" + LOCKSTEP_LIST, login=LOCKSTEP)
    assert play.error(ListSource()).cause is Cause.UNUSABLE


# --- listing --------------------------------------------------------------------------------


def listing(stat: str, uidl: str, sizes: str) -> str:
    """One flight of STAT, UIDL and LIST; the bodies' lines stand between bars."""
    text = f"C: STAT\nC: UIDL\nC: LIST\nS: {stat}\n"
    for body in (uidl, sizes):
        first, *lines = body.split("|")
        text += f"S: {first}\n" + "".join(f"S: {line}\n" for line in lines)
        text += "S: .\n" if first.startswith("+OK") else ""
    return text


@pytest.mark.parametrize(
    ("stat", "uidl", "sizes"),
    [
        ("+OK 3 320", "+OK|1 aa|2 bb", "+OK|1 120|2 200"),
        ("+OK 2 320", "+OK|1 aa", "+OK|1 120|2 200"),
        ("+OK 2 320", "+OK|1 aa|3 bb", "+OK|1 120|2 200"),
        ("+OK 2 320", "+OK|1 aa|1 bb", "+OK|1 120|1 200"),
        ("+OK 2 320", "+OK|1 aa|2 bb", "+OK"),
        ("+OK 0 0", "-ERR", "+OK|1 120"),
    ],
)
def test_a_listing_that_keeps_contradicting_itself_is_for_a_later_run(
    opened: Start, stat: str, uidl: str, sizes: str
) -> None:
    play = opened(listing(stat, uidl, sizes) * 2)
    error = play.error(ListSource())
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.LATER)
    assert play.dialogue.left == []


@pytest.mark.parametrize(
    ("uidl", "sizes", "expected"),
    [
        ("-ERR", "+OK|1 120|2 200", [(b"", 1, 120), (b"", 2, 200)]),
        ("+OK|1 aa|2 bb", "-ERR", [(b"aa", 1, None), (b"bb", 2, None)]),
        ("-ERR", "-ERR", [(b"", 1, None), (b"", 2, None)]),
        ("+OK|1 aa|2", "+OK|1 -1|2 99999999999999999999", [(b"aa", 1, None), (b"", 2, None)]),
        ("+OK|2 bb|1 aa", "+OK|1 120|2 200", [(b"aa", 1, 120), (b"bb", 2, 200)]),
    ],
)
def test_a_poor_listing_loses_no_message(opened: Start, uidl: str, sizes: str, expected: list[Any]) -> None:
    play = opened(listing("+OK 2 320", uidl, sizes))
    assert list(play.value(ListSource())) == [MessageRef(*one) for one in expected]


def test_a_maildrop_without_messages_is_fine_even_when_uidl_says_err(opened: Start) -> None:
    assert list(opened(listing("+OK 0 0", "-ERR no messages", "-ERR no messages")).value(ListSource())) == []


def test_odd_uidls_are_kept_and_counted_by_name(opened: Start) -> None:
    play = opened(listing("+OK 4 9", r"+OK|1 same|2 same|3 |4 a\xe9", "+OK|1 1|2 1|3 1|4 1"))
    assert [ref.uid for ref in play.value(ListSource())] == [b"same", b"same", b"", b"a\xe9"]
    assert play.session.quirks == {Quirk.UIDL_REPEATED: 1, Quirk.UIDL_BLANK: 1, Quirk.UIDL_OCTETS: 1}


def test_every_oddity_that_is_repaired_is_told_once(opened: Start) -> None:
    dots = r"S> +OK\r\n.one\r\n..two\r\n.\r\n"
    play = opened(f"C: RETR 1\nC: RETR 2\n{dots}\n{dots}\n")
    one, two = play.outcomes(Fetch(ONE), Fetch(TWO))
    assert one.value.data == two.value.data == b".one\r\n.two\r\n"
    what = "the server did not double the dot at the beginning of a line; the dot was kept"
    assert play.session.notices == [(f"The source is tolerated: {what}.", b"")]


def test_a_busy_server_is_not_taken_for_one_without_uidl(opened: Start) -> None:
    error = opened(listing("+OK 2 320", "-ERR [SYS/TEMP] index is being rebuilt", "-ERR")).error(ListSource())
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.LATER)


def test_a_listing_without_end_is_not_read_for_ever(opened: Start) -> None:
    lines = "".join(rf"{number} x\r\n" for number in range(1, 1100))
    error = opened(rf"C: STAT{chr(10)}C: UIDL{chr(10)}C: LIST{chr(10)}S: +OK 2 320{chr(10)}S> +OK\r\n{lines}").error(
        ListSource()
    )
    assert error.cause is Cause.UNREACHABLE or "more than" in str(error)


# --- fetching -------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_a_bare_lf_dot_line_neither_ends_a_message_nor_forges_an_answer(opened: Start, step: int) -> None:
    text = r"""
    C: RETR 1
    S> +OK\r\nhello\n.\n+OK smuggled\r\nend\r\n.\r\n
    """
    play = opened(text, step=step)
    assert play.octets(Fetch(ONE)) == b"hello\n.\n+OK smuggled\r\nend\r\n"


@pytest.mark.parametrize("retr_after", [True, False])
def test_octets_behind_a_message_mean_that_it_is_not_whole(opened: Start, retr_after: bool) -> None:
    text = "C: RETR 1\nC: RETR 2\n" if retr_after else "C: RETR 1\n"
    play = opened(text + r"S> +OK\r\nfirst half\r\n.\r\nsecond half\r\n.\r\n")
    commands = [Fetch(ONE), Fetch(TWO)] if retr_after else [Fetch(ONE)]
    outcomes = play.outcomes(*commands)
    assert {id(outcome.error) for outcome in outcomes} == {id(outcomes[0].error)}
    error = outcomes[0].error
    assert isinstance(error, StoreError)
    assert (error.cause, error.retry) == (Cause.UNUSABLE, Retry.NOW)
    assert b"half" not in error.said
    assert play.dialogue.channels[0].is_closed


def test_a_size_that_was_listed_wrong_changes_nothing(opened: Start) -> None:
    play = opened(r"C: RETR 1" + "\n" + r"S> +OK 99999 octets\r\nshort\r\n.\r\n")
    assert play.octets(Fetch(MessageRef(b"", 1, 10**12))) == b"short\r\n"


def test_an_end_of_stream_inside_a_message_is_no_message(opened: Start, tmp_path: Path) -> None:
    play = opened("C: RETR 1\nS: +OK\nS: Subject: cut\nS: .cut\nEND")
    error = play.error(Fetch(ONE))
    assert (error.cause, error.retry) == (Cause.UNREACHABLE, Retry.NOW)


def test_the_servers_reason_for_a_message_is_scrubbed(opened: Start) -> None:
    play = opened("C: RETR 1\nS: -ERR tanstaaf is locked\nC: RETR 2\nS: +OK\nS: .\n", login=LOCKSTEP)
    refused, good = play.outcomes(Fetch(ONE), Fetch(TWO))
    assert isinstance(refused.error, MessageError)
    assert refused.error.said == b"-ERR *** is locked"
    assert good.error is None


LARGE = r"S> +OK\r\n" + "x" * (MEMORY_LIMIT + 200_000)


def test_a_large_message_that_cannot_be_written_fails_alone(opened: Start, tmp_path: Path) -> None:
    play = opened(f"C: RETR 1\nC: RETR 2\n{LARGE}\nS> \\r\\n.\\r\\n+OK\\r\\nsmall\\r\\n.\\r\\n")
    play.session._spill_dir = tmp_path / "missing"
    failed, good = play.outcomes(Fetch(ONE), Fetch(TWO))
    assert isinstance(failed.error, StateError)
    assert failed.error.exit is Exit.STATE_UNWRITABLE
    assert good.value.data == b"small\r\n"


@pytest.mark.parametrize("end", ["close", "drop", "cut", "stall"])
def test_an_unfinished_message_leaves_no_file_behind(opened: Start, tmp_path: Path, end: str) -> None:
    play = opened(f"C: RETR 1\n{LARGE}\n" + ("END" if end == "cut" else ""), step=256 * 1024)
    fetch = Fetch(ONE)
    play.session.submit(fetch)
    outcomes: list[Outcome] = []
    while not outcomes and not list(tmp_path.iterdir()):
        outcomes = play.session.turn()
    if end == "close":
        play.session.close()
    elif end == "drop":
        play.session.submit(CloseSource(quit=False))
    elif end == "stall":
        while play.session.is_ready():
            play.session.turn()
        play.dialogue.clock.now += TIMEOUT_S
    while not outcomes:
        outcomes = play.session.turn()
    assert isinstance(outcomes[0].error, StoreError)
    assert outcomes[0].command is fetch
    assert list(tmp_path.iterdir()) == []


# --- ending ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", ["S: -ERR some deleted messages not removed", "END", "", "S: bye", "S> +OK", r"S> +OK\r\nx"]
)
def test_a_quit_without_a_clean_ok_is_an_error(opened: Start, answer: str) -> None:
    play = opened("C: DELE 1\nS: +OK\nC: QUIT\n" + answer, Pop3Releaser)
    assert play.value(Delete((ONE,))) == (None,)
    assert isinstance(play.error(CloseSource(quit=True)), StoreError)
    assert play.dialogue.channels[0].is_closed


def test_quit_waits_until_everything_before_was_answered(opened: Start) -> None:
    play = opened("C: DELE 1\nC: DELE 2\nS: +OK\nS: +OK\nC: QUIT\nS: +OK", Pop3Releaser)
    deleted, closed = play.outcomes(Delete((ONE, TWO)), CloseSource(quit=True))
    assert deleted.value == (None, None)
    assert closed.error is None


def test_after_quit_the_session_is_over(opened: Start) -> None:
    play = opened("C: QUIT\nS: +OK")
    assert play.value(CloseSource(quit=True)) is None
    assert play.session.fileno() is None
    assert "closed" in str(play.error(ListSource()))
    assert "closed" in str(play.error(OpenSource()))


def test_a_drop_says_nothing_and_ends_what_was_under_way_first(opened: Start) -> None:
    play = opened("C: RETR 1\nC: RETR 2")
    first, second, dropped = play.outcomes(Fetch(ONE), Fetch(TWO), CloseSource(quit=False))
    assert first.error is second.error
    assert isinstance(first.error, StoreError)
    assert dropped.error is None
    assert b"QUIT" not in play.dialogue.received
    assert play.dialogue.channels[0].is_closed


def test_a_drop_of_what_was_never_opened_is_fine(start: Start) -> None:
    assert start("").value(CloseSource(quit=False)) is None


def test_a_broken_session_gives_the_same_error_to_everything(opened: Start) -> None:
    play = opened("C: RETR 1\nC: RETR 2\nEND")
    outcomes = play.outcomes(Fetch(ONE), Fetch(TWO), ListSource(), CloseSource(quit=True))
    outcomes += play.outcomes(Fetch(ONE))
    outcomes += play.outcomes(CloseSource(quit=False))
    assert len({id(outcome.error) for outcome in outcomes}) == 1
    assert isinstance(outcomes[0].error, StoreError)


def test_nothing_is_done_before_opening(start: Start) -> None:
    play = start("", Pop3Releaser)
    for command in (ListSource(), Fetch(ONE), Delete((ONE,)), CloseSource(quit=True)):
        assert isinstance(play.error(command), StoreError)


def test_only_a_releaser_knows_delete(start: Start) -> None:
    with pytest.raises(TypeError):
        start("").session.submit(Delete((ONE,)))


def test_deleting_nothing_sends_nothing(opened: Start) -> None:
    assert opened("", Pop3Releaser).value(Delete(())) == ()


# --- what is traced -------------------------------------------------------------------------


def test_a_trace_has_neither_credentials_nor_mail(start: Start) -> None:
    for name in ("rfc1939.txt", "sasl_without_initial_response.txt", "sasl_unknown.txt"):
        play = start(text_of(name), Pop3Releaser)
        play.value(OpenSource())
        if name == "rfc1939.txt":
            play.octets(Fetch(play.value(ListSource())[0]))
        traced = b"\n".join(who.encode() + b" " + line for who, line in play.trace)
        assert b"C CAPA" in traced
        for hidden in (b"mrose\n", b"tanstaaf", b"AG1yb3", b"Subject", b"QhdPYR"):
            assert hidden not in traced
        if name == "rfc1939.txt":
            assert b"C USER <5 octets>\nS +OK\nC PASS <8 octets>" in traced
            assert b"C RETR 1\nS +OK 120 octets\nS <49 octets> ." in traced


# --- a real server --------------------------------------------------------------------------


@pytest.mark.dovecot
@pytest.mark.parametrize("tls", [Tls.IMPLICIT, Tls.STARTTLS, Tls.NONE])
def test_a_reader_asks_dovecot_for_nothing_but_reading(
    dovecot: Dovecot, user: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tls: Tls
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.ca_file))
    dovecot.deliver_many(user, [b"Subject: %d\r\n\r\n.\r\n..\r\n" % number for number in range(30)])
    port = dovecot.pop3s_port if tls is Tls.IMPLICIT else dovecot.pop3_port
    session = Pop3Reader(
        Endpoint(Protocol.POP3, user, "localhost", port, tls),
        Secret(dovecot.password),
        connect=net.connect,
        digester=Digester,
        spill_dir=tmp_path,
        clock=lambda: 0.0,
    )

    def ended(*commands: Command) -> list[Any]:
        for command in commands:
            session.submit(command)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(commands):
            outcomes += session.turn()
        for outcome in outcomes:
            assert outcome.error is None, outcome.error
        return [outcome.value for outcome in outcomes]

    ended(OpenSource())
    (refs,) = ended(ListSource())
    messages = ended(*(Fetch(ref) for ref in refs))
    ended(CloseSource(quit=True))
    assert [message.data for message in messages] == [octets for _, octets in dovecot.served_pop3(user)]
    said = set(dovecot.commands(user).split())
    assert {b"DELE", b"RSET", b"TOP"}.isdisjoint(said)
    assert {b"RETR", b"UIDL", b"QUIT"} <= said
