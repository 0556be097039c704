"""What a run says: plain, quiet, verbose, JSON, on a terminal and not."""

from __future__ import annotations

import io
import json
from dataclasses import replace

import pytest

from migrate.books import Tally
from migrate.cli import texts
from migrate.cli.face import Manner
from migrate.cli.redact import Redactor
from migrate.errors import Exit
from migrate.events import (
    Connected,
    Copied,
    DeletionOff,
    Doubled,
    Event,
    Finished,
    Gone,
    Kept,
    Listed,
    Notice,
    Reconnecting,
    SetAside,
    Stopping,
    WouldDo,
)
from migrate.model import Secret

from .script import BOOKS, DELETING_RUN, SETTLING_RUN, STATE, WHOLE_RUN, Terminal, tell

QUIET = Manner(level=texts.ALWAYS)
VERBOSE = Manner(level=texts.VERBOSE)
JSON = Manner(level=texts.ALWAYS, is_json=True)

UNFINISHED = [code for code in Exit if code not in (Exit.OK, Exit.USAGE, Exit.SET_ASIDE, Exit.DIFFERENCES)]

BOOKS_TABLE = """\
  4,990  copied (312.4 MB)
      2  already there
      8  duplicate, not copied
      2  set aside
      2  still open
  -----
  5,004  listed at the source

Of these:
  4,990  served back by the destination and verified
      3  changed by the destination: popferry status --json tells how
"""


def test_a_run_without_a_terminal_is_a_few_quiet_lines_and_the_books() -> None:
    told = tell(WHOLE_RUN, Exit.SET_ASIDE)
    assert told.out == BOOKS_TABLE
    assert (
        told.err
        == f"""\
Connected to the destination: imap.example.org:993, TLSv1.3.
Connected to the source: pop.example.org:995, TLSv1.3.
The source lists 5,004 messages (312.7 MB): 5,004 to copy, 0 done.
815 of 5,004 messages: 812 copied (41.3 MB), 812 verified.
Set aside: message 817 (UIDL u817). The server refused the message. The server said: "NO message too large" \
Remove its attachment.
Set aside: message 900. The message could not be fetched. The server said: "-ERR no such message"
1 message shared a Message-ID with another one and had other content: kept all.
The next run tries what was set aside again. Every reason:
  popferry status --state {STATE}
"""
    )


def test_the_numbers_of_the_table_add_up_to_the_listed() -> None:
    told = tell(WHOLE_RUN, Exit.SET_ASIDE)
    assert BOOKS_TABLE in told.out
    parts, total = told.out.split("  -----\n")
    numbers = [int(line.split()[0].replace(",", "")) for line in parts.splitlines()]
    assert sum(numbers) == BOOKS.listed == int(total.split()[0].replace(",", ""))


def test_books_that_do_not_balance_say_so() -> None:
    told = tell([Listed(3, 1, 3, 0, 3, 0), Finished(Tally(listed=3, copied=2), 1, ())], Exit.UNEXPECTED)
    assert "  1  unaccounted for: a fault of popferry\n" in told.out


def test_verbose_names_every_message_with_its_reason() -> None:
    told = tell(WHOLE_RUN, Exit.SET_ASIDE, VERBOSE)
    assert (
        """\
Message 813 (UIDL u813): not copied, the same as message 12 (UIDL u12), UID 345 at the destination.
Message 814 (UIDL u814): not copied, the same as UID 17 at the destination.
Message 815 (UIDL u815): has the Message-ID of message 14 (UIDL u14) and other content; both are kept.
Message 816 (UIDL u816): the destination keeps it changed: NUL became 0x80, a final line end was added.
Message 817 (UIDL u817): set aside. The server refused the message. The server said: "NO message too large" \
Remove its attachment.
"""
        in told.err
    )
    assert told.err.count("Set aside: message") == 0
    assert 'Looked at 1,203 messages in "INBOX".' in told.err


def test_quiet_says_nothing_on_success() -> None:
    told = tell([*WHOLE_RUN[:-1], Finished(Tally(listed=1, copied=1), 0, ())], Exit.OK, QUIET)
    assert (told.out, told.err) == ("", "")


def test_quiet_still_says_what_is_deleted() -> None:
    told = tell(DELETING_RUN, Exit.OK, QUIET)
    assert (told.out, told.err) == ("", "Will now delete 1 message (under 0.1 MB) at the source.\n")


def test_quiet_speaks_when_something_is_wrong() -> None:
    told = tell(WHOLE_RUN, Exit.SET_ASIDE, QUIET)
    assert told.out == BOOKS_TABLE
    assert told.err.startswith("Set aside: message 817")


def test_deletion_is_announced_before_it_happens_and_confirmed_after() -> None:
    told = tell(DELETING_RUN)
    assert told.err.splitlines()[-2:] == [
        "Will now delete 1 message (under 0.1 MB) at the source.",
        "Deleted at the source, as it confirmed: 1 message.",
    ]
    assert "  1  deleted at the source\n" in told.out
    assert told.out.endswith("Everything is accounted for.\n")


def test_json_is_one_event_per_line_on_stdout_and_nothing_else() -> None:
    told = tell(WHOLE_RUN, Exit.SET_ASIDE, JSON)
    lines = [json.loads(line) for line in told.out.splitlines()]
    assert lines == [json.loads(json.dumps(event.as_json())) for event in WHOLE_RUN]
    assert lines[-1]["tally"]["listed"] == 5004
    assert told.err.splitlines()[-1] == f"  popferry status --state {STATE}"


def test_json_is_silent_on_stderr_when_all_is_well() -> None:
    assert tell([*WHOLE_RUN[:-1], Finished(Tally(listed=1, copied=1), 0, ())], Exit.OK, JSON).err == ""


@pytest.mark.parametrize("exit", UNFINISHED)
def test_the_last_line_of_an_unfinished_run_is_its_state_file(exit: Exit) -> None:
    for manner in (Manner(), QUIET, VERBOSE, JSON):
        assert tell(WHOLE_RUN, exit, manner).err.splitlines()[-1] == f"State: {STATE}"


def test_an_unfinished_run_says_what_happened_and_what_to_do() -> None:
    problem = 'source: the server closed the connection (server: "-ERR bye").'
    told = tell([*WHOLE_RUN[:8], Finished(BOOKS, 4, (problem,))], Exit.TEMPORARY)
    assert told.err.splitlines()[-3:] == [
        'Source: the server closed the connection (server: "-ERR bye").',
        "Nothing is lost. Run the same command to continue.",
        f"State: {STATE}",
    ]


def test_a_limit_leaves_a_word_about_the_rest() -> None:
    told = tell([Listed(9, 9, 9, 0, 9, 0), Copied(4, 4), Finished(Tally(listed=9, copied=4, open=5), 0, ())])
    assert told.out.endswith("5 messages left for later: run the same command to continue.\n")


def test_a_stop_before_the_listing_says_that_nothing_was_copied() -> None:
    told = tell([Connected("source", "x"), Stopping()], Exit.INTERRUPTED)
    assert texts.STOPPING + " This run copied nothing.\n" in told.err
    assert "Stopped. This run copied nothing.\n" in told.err


def test_a_stop_after_the_listing_promises_ten_seconds() -> None:
    told = tell([*WHOLE_RUN[:6], Stopping()], Exit.INTERRUPTED, QUIET)
    assert told.err.splitlines()[0] == (
        "Stopping after the messages in flight (at most 10 s); Ctrl-C again stops now. Nothing is lost."
    )


def test_settling_is_told_with_its_reason_every_ten_seconds_without_a_terminal() -> None:
    told = tell(SETTLING_RUN)
    reason = "an upload of an interrupted run may still arrive at the destination"
    assert told.err.splitlines()[:6] == [f"Waiting {left} s: {reason}." for left in range(60, 0, -10)]
    assert told.err.splitlines()[6] == (
        'Looked at 12 messages in "INBOX"; 2 came from the interrupted run and are not sent again.'
    )


def test_a_dry_run_answers_on_stdout() -> None:
    manner = Manner(is_dry_run=True)
    events: list[Event] = [
        Connected("source", "x"),
        Listed(5004, 312_400_000, 4990, 10, 4990, 4),
        WouldDo(4990, 312_400_000, 4, 10, 120, (("Archive", None),)),
        Finished(Tally(listed=10, copied=10), 0, ()),
    ]
    assert (
        tell(events, manner=manner).out
        == """\
Dry run: nothing was touched.
  4,990  would be copied into "Archive" (312.4 MB)
      4  would be fetched first: only their content tells whether they are done
     10  done
"Archive" would be created. Would delete 120 messages at the source.
"""
    )
    events[2] = WouldDo(0, 0, 0, 0, 0, (("INBOX", 1),))
    assert (
        tell(events, manner=manner).out
        == """\
Dry run: nothing was touched.
  0  would be copied into "INBOX"
  0  done
"INBOX" holds 1 message. Would delete nothing.
"""
    )
    events[2] = WouldDo(6, 9_000_000, 0, 0, 0, (("INBOX", 1203), ("Work", None)))
    assert (
        tell(events, manner=manner).out
        == """\
Dry run: nothing was touched.
  6  would be copied into 2 folders (9.0 MB)
  0  done
"INBOX" holds 1,203 messages.
"Work" would be created.
Would delete nothing.
"""
    )
    events[2] = WouldDo(0, 0, 0, 0, 0, ())
    assert "  0  would be copied\n" in tell(events, manner=manner).out, "a source without a folder"


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (Gone(1), "1 message is gone: it left the source before it was copied."),
        (Gone(2), "2 messages are gone: they left the source before they were copied."),
        (DeletionOff("the clock jumped"), "From now on this run deletes nothing at the source: the clock jumped."),
        (
            Reconnecting("source", "the server closed the connection", "-ERR idle", 4.0),
            'Source: the server closed the connection. The server said: "-ERR idle" Trying again in 4 s.',
        ),
        (
            Doubled(7, "u7", (("Old", 3), ("Old", 9))),
            "The destination holds 2 copies (Old UID 3, Old UID 9) of message 7 (UIDL u7), which was uploaded once. "
            "Delete what is too much by hand.",
        ),
        (Notice("a quirk of the server", "LIST x"), 'A quirk of the server. The server said: "LIST x"'),
        (
            Listed(1, 5, 1, 0, 0, 1),
            "The source lists 1 message (under 0.1 MB): 0 to copy, 0 done, 1 to compare by content.",
        ),
    ],
)
def test_an_event_is_told_as(event: Event, text: str) -> None:
    assert tell([event]).err.splitlines()[0] == text


def test_kept_messages_are_counted() -> None:
    events: list[Event] = [Kept(1, "a", "the destination has lost it"), Kept(2, "b", "its size changed")]
    assert "Not deleted at the source, although asked for: 2 messages.\n" in tell(events).err
    assert "Message 2 (UIDL b): not deleted: its size changed.\n" in tell(events, Exit.OK, VERBOSE).err


def test_a_run_that_kept_messages_and_set_none_aside_does_not_send_one_to_look_for_them() -> None:
    ended = Finished(Tally(listed=1, copied=1, verified=1), 3, ())
    told = tell([Kept(1, "a", "the destination has lost it"), ended], Exit.SET_ASIDE).err
    assert "A run with -v names each message with its reason.\n" in told
    assert "set aside" not in told
    both = replace(ended, tally=Tally(listed=1, set_aside=1))
    told = tell([Kept(1, "a", "the destination has lost it"), both], Exit.SET_ASIDE).err
    assert "A run with -v names" in told
    assert "The next run tries what was set aside again." in told


def test_a_server_cannot_write_to_the_terminal() -> None:
    evil = "\x1b]0;owned\x07\r\n\u202egpj.exe\u200b"
    events = [
        Connected("source", evil),
        Notice(evil, evil),
        SetAside(1, evil, evil, evil),
        Doubled(7, evil, ((evil, 3), (evil, 9))),
        Finished(Tally(listed=1, set_aside=1), 3, (evil,)),
    ]
    for manner in (Manner(), VERBOSE, JSON):
        told = tell(events, Exit.SET_ASIDE, manner)
        assert not {"\x1b", "\x07", "\r", "\u202e", "\u200b"} & set(told.out + told.err)


def test_a_server_that_echoes_the_password_is_not_repeated() -> None:
    hide = Redactor()
    hide.learn("alice", Secret("p&ss wörd"))
    echoes = [
        "p&ss wörd", "p%26ss%20w%C3%B6rd", "p&ss wörd".encode().hex(), "cCZzcyB3w7ZyZA==", "AGFsaWNlAHAmc3Mgd8O2cmQ=",
    ]  # fmt: skip
    for echo in echoes:
        twice = Doubled(7, "u", (("Old", 3), (f"no {echo}", 9)))
        events = [Notice("x", f"-ERR no {echo}"), twice, Finished(Tally(), 10, (f"no {echo}",))]
        for manner in (Manner(), JSON):
            told = tell(events, Exit.SOURCE_LOGIN, manner, hide=hide)
            assert echo not in told.out + told.err
            assert "no ***" in told.out + told.err


class Broken(io.StringIO):
    def write(self, text: str) -> int:
        raise OSError(28, "No space left on device")


def test_a_result_that_cannot_be_written_does_not_stop_the_run_but_is_told() -> None:
    from migrate.cli.face import Face

    err = io.StringIO()
    face = Face(Broken(), err, JSON)
    for event in WHOLE_RUN:
        face.hear(event)
    assert face.end(Exit.OK, STATE) is Exit.UNEXPECTED
    assert "The output could not be written: No space left on device.\n" in err.getvalue()


def test_a_closed_or_broken_talk_stream_disturbs_nothing() -> None:
    from migrate.cli.face import Face

    for err in (None, Broken()):
        face = Face(io.StringIO(), err, Manner())
        for event in WHOLE_RUN:
            face.hear(event)
        assert face.end(Exit.SET_ASIDE, STATE) is Exit.SET_ASIDE


def test_no_bar_without_a_clever_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert "\r" not in tell(WHOLE_RUN, err=Terminal()).err
    monkeypatch.setenv("TERM", "xterm")
    for manner in (Manner(wants_bar=False), QUIET, JSON):
        assert "\r" not in tell(WHOLE_RUN, Exit.OK, manner, err=Terminal()).err
    assert "\r" in tell(WHOLE_RUN, err=Terminal()).err


def test_a_run_after_others_says_what_it_did_itself() -> None:
    books = Finished(Tally(listed=9, copied=9, octets=500_000), 0, ())
    begin = Listed(9, 500_000, 0, 9, 0, 0)
    assert tell([begin, books]).out.startswith("This run copied nothing. All runs together:\n  9  copied (0.5 MB)\n")
    told = tell([begin, Copied(2, 100_000), books])
    assert told.out.startswith("This run copied 2 messages (0.1 MB). All runs together:\n")
    assert "This run" not in tell([begin, Copied(9, 500_000), books]).out


def test_a_dry_run_shows_no_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert "\r" not in tell(WHOLE_RUN[:4], manner=Manner(is_dry_run=True), err=Terminal()).err
