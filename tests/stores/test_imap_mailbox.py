"""Mailboxes at the IMAP edge: names, making, selecting, and what SELECT tells."""

from __future__ import annotations

from unittest.mock import ANY

import pytest

from migrate.commands import Append, MailboxStatus, OpenDest, OpenMailbox, Outcome
from migrate.errors import Cause, MailboxError, MigrateError, StoreError
from migrate.model import INBOX, MailboxName
from tests.fakes.imap_script import play

from .imap_rig import LOGIN, Rig

SELECTED = """
    S: * 0 EXISTS
    S: * OK [UIDVALIDITY 7] x
    S: * OK [UIDNEXT 1] x
    S: $t OK done
"""


def namespace(prefix: str, delimiter: str = '"/"') -> str:
    return f'C: NAMESPACE\nS: * NAMESPACE (("{prefix}" {delimiter})) NIL NIL\nS: $t OK done\n'


def opens(text: str, *levels: str, create: bool = False, capabilities: str = "NAMESPACE") -> Outcome:
    rig = Rig(LOGIN % capabilities + text)
    _, outcome = play(rig.session, OpenDest(0), OpenMailbox(0, MailboxName(levels), create=create))
    assert outcome.error is not None or rig.script.left == []
    return outcome


def listed(name: str, flags: str = "") -> str:
    return f'C: LIST "" "{name}"\nS: * LIST ({flags}) "/" "{name}"\nS: $t OK done\n'


def missing(name: str) -> str:
    return f'C: LIST "" "{name}"\nS: $t OK done\n'


def select(name: str) -> str:
    return f'C: SELECT "{name}"\n' + SELECTED


@pytest.mark.parametrize(
    ("home", "levels", "name"),
    [
        (namespace(""), ("Sent",), "Sent"),
        (namespace(""), ("A", "B"), "A/B"),
        (namespace("INBOX.", '"."'), ("A", "B"), "INBOX.A.B"),
        (namespace("INBOX.", '"."'), ("INBOX", "A"), "INBOX.A"),
        (namespace("Inbox.", '"."'), ("inbox", "A"), "INBOX.A"),
        (namespace("INBOX.", '"."'), ("\u0131nbox", "A"), "INBOX.&ATE-nbox.A"),  # a dotless i: another folder
        (namespace("mail/"), ("mail", "A"), "mail/A"),
        (namespace("", "NIL"), ("A",), "A"),
        (namespace("", '"|"'), ("A", "B/C"), "A|B/C"),
        (namespace(""), ("Tom & Jerry",), "Tom &- Jerry"),
        (namespace(""), ("été",), "&AOk-t&AOk-"),
        (namespace(""), ("台北", "日本語"), "&U,BTFw-/&ZeVnLIqe-"),
        (namespace(""), ('say "hi" \\o/'.replace("/", "")), 'say \\"hi\\" \\\\o'),
        (namespace(""), ("\U0001f600",), "&2D3eAA-"),
        (namespace(""), ("~peter", "mail"), "~peter/mail"),
        ("C: NAMESPACE\nS: $t NO\n" + 'C: LIST "" ""\nS: * LIST (\\Noselect) "." ""\nS: $t OK\n', ("A", "B"), "A.B"),
        (
            "C: NAMESPACE\nS: * NAMESPACE NIL NIL NIL\nS: $t OK\n" + 'C: LIST "" ""\nS: * LIST () NIL ""\nS: $t OK\n',
            ("A",),
            "A",
        ),
    ],
)
def test_names_are_written_as_the_server_wants_them(home: str, levels: tuple[str, ...] | str, name: str) -> None:
    levels = (levels,) if isinstance(levels, str) else levels
    found = f'C: LIST "" "{name}"\nS: * LIST () "/" "{name}"\nS: $t OK done\n'
    outcome = opens(home + found + select(name), *levels)
    assert outcome.error is None, (outcome.error, outcome.error and outcome.error.said)
    assert outcome.value.uidvalidity == 7


@pytest.mark.parametrize(
    ("home", "want"),
    [(namespace("INBOX.", '"."'), "."), (namespace("", "NIL"), ""), (namespace(""), "/")],
)
def test_what_stands_between_levels_is_asked_where_names_come_from_the_source(home: str, want: str) -> None:
    rig = Rig(LOGIN % "NAMESPACE" + home + select("INBOX"))
    opened, _ = play(rig.session, OpenDest(0, asks_separator=True), OpenMailbox(0, INBOX, create=False))
    assert opened.value.separator == want
    assert rig.script.left == []
    rig = Rig(LOGIN % "NAMESPACE" + select("INBOX"))
    opened, _ = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False))
    assert (opened.value.separator, rig.script.left) == ("", [])


def test_inbox_needs_no_search() -> None:
    assert opens(select("INBOX"), "inbox").value.uidnext == 1


def test_a_name_written_with_combining_accents_is_found_among_its_siblings() -> None:
    nfd = "e&AwE-te&AwE-"
    text = (
        namespace("")
        + missing("A/&AOk-t&AOk-")
        + f'C: LIST "" "A/%"\nS: * LIST () "/" A/other\nS: * LIST () "/" A/{nfd}\nS: $t OK done\n'
        + select(f"A/{nfd}")
    )
    assert opens(text, "A", "été").error is None


@pytest.mark.parametrize(
    ("home", "levels"),
    [(namespace("", '"."'), ("A.B",)), (namespace("", "NIL"), ("A", "B")), (namespace(""), ("A/B",))],
)
def test_a_name_that_cannot_be_is_an_error_with_a_hint(home: str, levels: tuple[str, ...]) -> None:
    error = opens(home, *levels).error
    assert isinstance(error, MailboxError)
    assert error.hint


def test_a_missing_mailbox_is_none_when_it_shall_not_be_made() -> None:
    outcome = opens(namespace("") + missing("A"), "A")
    assert (outcome.value, outcome.error) == (None, None)


def test_a_missing_mailbox_is_made_and_subscribed() -> None:
    text = 'C: CREATE "A"\nS: $t OK\nC: SUBSCRIBE "A"\nS: $t NO no\n' + select("A")
    assert isinstance(opens(namespace("") + missing("A") + text, "A", create=True).value, MailboxStatus)


def test_a_name_that_cannot_be_selected_is_made() -> None:
    text = (
        listed("A", "\\Noselect \\HasChildren") + 'C: CREATE "A"\nS: $t OK\nC: SUBSCRIBE "A"\nS: $t OK\n' + select("A")
    )
    assert opens(namespace("") + text, "A", create=True).error is None


def test_a_mailbox_that_somebody_else_just_made_is_there() -> None:
    refused = 'C: CREATE "A"\nS: $t NO [ALREADYEXISTS] there\n'
    text = namespace("") + missing("A") + refused
    assert opens(text + listed("A") + select("A"), "A", create=True).error is None
    assert opens(text + missing("A") + select("A"), "A", create=True).error is None
    text = text.replace("[ALREADYEXISTS] there", "Mailbox already exists")
    assert opens(text + missing("A") + select("A"), "A", create=True).error is None


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("NO [CANNOT] Folder contains excess whitespace", MailboxError),
        ("NO [NOPERM] no", MailboxError),
        ("BAD no", MailboxError),
        ("NO [OVERQUOTA] full", StoreError),
        ("NO [UNAVAILABLE] later", StoreError),
    ],
)
def test_a_mailbox_that_cannot_be_made_is_named(answer: str, kind: type[MigrateError]) -> None:
    text = namespace("") + missing("A") + f'C: CREATE "A"\nS: $t {answer}\n'
    error = opens(
        text + (missing("A") if kind is MailboxError or "OVER" in answer or "UNAV" in answer else ""), "A", create=True
    ).error
    assert type(error) is kind
    assert error.said == answer.encode()


def test_a_mailbox_that_cannot_be_opened_is_named_and_the_session_goes_on() -> None:
    rig = Rig(LOGIN % "" + 'C: SELECT "INBOX"\nS: $t NO [NOPERM] not you\n' + select("INBOX"))
    _, refused, there = play(
        rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False), OpenMailbox(0, INBOX, create=False)
    )
    assert isinstance(refused.error, MailboxError)
    assert refused.error.said == b"NO [NOPERM] not you"
    assert there.value.uidvalidity == 7


def status(*lines: str, then: str = "") -> MailboxStatus:
    text = 'C: SELECT "INBOX"\n' + "".join(f"S: {line}\n" for line in lines) + "S: $t OK done\n"
    outcome = opens(text + then, "INBOX")
    assert outcome.error is None, (outcome.error, outcome.error and outcome.error.said)
    assert isinstance(outcome.value, MailboxStatus)
    return outcome.value


FULL = ("* 5 EXISTS", "* OK [UIDVALIDITY 7]", "* OK [UIDNEXT 10]")


def test_select_tells_everything() -> None:
    found = status(*FULL, "* FLAGS (\\Seen \\Draft kw)", "* OK [PERMANENTFLAGS (\\Seen kw \\*)] limited")
    assert found == MailboxStatus(7, 10, 5, frozenset({"\\Seen", "kw", "\\*"}))


def test_without_permanentflags_all_flags_that_are_there_may_be_kept() -> None:
    assert status(*FULL, "* FLAGS (\\Seen \\Recent kw)").permanent_flags == {"\\Seen", "kw"}
    assert len(status(*FULL).permanent_flags) == 5
    assert status(*FULL, "* OK [PERMANENTFLAGS ()] none").permanent_flags == frozenset()


def test_a_keyword_with_a_bracket_is_kept() -> None:
    found = status(*FULL, "* OK [PERMANENTFLAGS (\\Seen a]b \\*)] x")
    assert found.permanent_flags == {"\\Seen", "a]b", "\\*"}


@pytest.mark.parametrize("told", [("* OK [UIDVALIDITY 0]",), ("* OK [UIDVALIDITY 4294967296]",), ()])
def test_no_usable_uidvalidity_is_zero_and_a_named_quirk(told: tuple[str, ...]) -> None:
    assert status("* 5 EXISTS", "* OK [UIDNEXT 10]", *told).uidvalidity == 0


def test_uidnotsticky_is_told() -> None:
    assert not status(*FULL, "* NO [UIDNOTSTICKY] no").has_sticky_uids


def test_a_read_only_mailbox_is_opened_all_the_same() -> None:
    text = 'C: SELECT "INBOX"\nS: * 5 EXISTS\nS: $t OK [READ-ONLY] done\nC: EXAMINE "INBOX"\n' + "".join(
        f"S: {line}\n" for line in FULL
    )
    outcome = opens(text + "S: $t OK [READ-ONLY] done", "INBOX")
    assert outcome.value.uidnext == 10


def test_a_missing_uidnext_comes_from_status_else_from_the_highest_uid() -> None:
    some = ("* 5 EXISTS", "* OK [UIDVALIDITY 7]")
    asked = 'C: STATUS "INBOX" (UIDNEXT)\n'
    assert status(*some, then=asked + "S: * STATUS INBOX (UIDNEXT 12)\nS: $t OK").uidnext == 12
    search = "C: UID SEARCH UID *\nS: * SEARCH 11\nS: $t OK"
    assert status(*some, then=asked + "S: $t NO\n" + search).uidnext == 12
    assert status(*some, then=asked + "S: * STATUS INBOX (UIDNEXT 0)\nS: $t OK\n" + search).uidnext == 12
    none = ("* 0 EXISTS", "* OK [UIDVALIDITY 7]")
    assert status(*none, then=asked + "S: $t BAD\n").uidnext == 1


@pytest.mark.parametrize(
    "line",
    [
        "* OK [UIDVALIDITY x]",
        "* x EXISTS",
        "* OK [UIDNEXT ]",
        "* OK [PERMANENTFLAGS] x",
        "* LIST {70000}",
        "? what",
        "* BYE",
    ],
)
def test_impossible_answers_to_select_are_the_declared_error(line: str) -> None:
    error = opens(f'C: SELECT "INBOX"\nS: {line}\nS: $t OK done', "INBOX").error
    assert error is None or isinstance(error, StoreError)


@pytest.mark.parametrize(
    "line",
    [
        "* LIST",
        "* LIST (",
        "* LIST () x",
        '* LIST (\\X) "/" ' + "(" * 9000,
        "* LIST (5) NIL A",
        '* LIST () "/" &bad',
        "* BYE",
    ],
)
def test_impossible_answers_to_list_are_the_declared_error(line: str) -> None:
    outcome = opens(namespace("") + f'C: LIST "" "A"\nS: {line}\nS: $t OK done', "A")
    assert outcome.error is None or (
        isinstance(outcome.error, StoreError) and outcome.error.cause in (Cause.UNUSABLE, Cause.UNREACHABLE)
    )


def test_a_sibling_whose_name_cannot_be_read_hides_nobody() -> None:
    text = (
        namespace("")
        + missing("&AOk-")
        + 'C: LIST "" "%"\nS: * LIST () "/" "&2D3-"\nS: * LIST () "/" "&AOk"\n'
        + 'S: * LIST () "/" "e&AwE-"\nS: $t OK done\n'
    )
    assert opens(text + select("e&AwE-"), "é").error is None


def test_a_name_made_of_digits_is_a_name() -> None:
    assert opens(namespace("") + 'C: LIST "" "2019"\nS: * LIST () "/" 2019\nS: $t OK\n' + select("2019"), "2019").value


def test_a_name_that_is_no_text_is_an_error() -> None:
    assert isinstance(opens(namespace(""), "a\ud800").error, MailboxError)


def test_names_that_a_server_invents_do_not_leave_the_listing() -> None:
    evil = "".join(
        f'S: * LIST () "/" "{name}"\n' for name in ("../../etc/passwd", "/abs", "\x1b[31m", "A" * 9000, "a\\\\b")
    )
    outcome = opens(namespace("") + f'C: LIST "" "A"\n{evil}S: $t OK done', "A")
    assert (outcome.value, outcome.error) == (None, None)


def without_uidplus(text: str) -> Outcome:
    rig = Rig((LOGIN % "").replace(" UIDPLUS", "") + text)
    _, outcome = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False))
    assert rig.script.left == []
    return outcome


def test_without_uidplus_a_mailbox_is_read_only_once_its_flags_are_known() -> None:
    examined = 'C: EXAMINE "INBOX"\nS: * OK [PERMANENTFLAGS ()] none\n' + SELECTED
    status = without_uidplus(select("INBOX").replace("S: $t", "S: * OK [PERMANENTFLAGS (\\Seen)] x\nS: $t") + examined)
    assert status.value.permanent_flags == {"\\Seen"}


def test_a_server_that_knows_no_examine_keeps_its_mailbox_selected() -> None:
    refused = 'C: EXAMINE "INBOX"\nS: $t BAD what\n'
    assert without_uidplus(select("INBOX") + refused + select("INBOX")).value.uidnext == 1


def test_the_mailbox_that_is_appended_to_first_is_selected_with_the_opening() -> None:
    """Its turns are taken in a thread then; in front of an Append, all connections would wait for it."""
    rig = Rig(LOGIN % "NAMESPACE" + namespace("") + listed("Sent") + select("Sent"))
    sent = MailboxName(("Sent",))
    (opened,) = play(rig.session, OpenDest(0, mailbox=sent))
    assert opened.error is None
    assert rig.script.left == []
    assert play(rig.session, Append(0, sent, ())) == [Outcome(ANY, ())]


@pytest.mark.parametrize(
    "answer",
    [missing("Sent"), listed("Sent") + 'C: SELECT "Sent"\nS: $t NO it cannot be\n'],
    ids=["missing", "refused"],
)
def test_one_that_cannot_be_selected_is_told_by_whoever_appends_to_it(answer: str) -> None:
    rig = Rig(LOGIN % "NAMESPACE" + namespace("") + answer * 2)
    sent = MailboxName(("Sent",))
    opened, appended = play(rig.session, OpenDest(0, mailbox=sent), Append(0, sent, ()))
    assert opened.error is None
    assert isinstance(appended.error, MailboxError)
    assert rig.script.left == []
