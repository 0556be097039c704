"""The same mail or not: content decides, and whatever is not copied has a copy and a name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.embedded import Embedded

from .ferry import Ferry, Ran, ferry

pytestmark = [pytest.mark.dovecot]

FOLDER = "Old"
ID = b"Message-ID: <one@example.net>\r\n"
FIELDS = b"From: ada@example.net\r\nTo: brice@example.org\r\nSubject: hello\r\nDate: Tue, 1 Apr 2003 08:30:00 +0000\r\n"
MAIL = ID + FIELDS + b"\r\nThe first body.\r\n"
OTHER_BODY = ID + FIELDS + b"\r\nThe second body.\r\n"
OTHER_SUBJECT = ID + FIELDS.replace(b"hello", b"good bye") + b"\r\nThe first body.\r\n"
DELIVERED_TWICE = b"Received: by mx2.example.org; Tue, 1 Apr 2003 08:31:00 +0000\r\nX-UIDL: 77\r\nStatus: RO\r\n" + MAIL
NO_ID = FIELDS + b"\r\nThe first body.\r\n"
NO_ID_OTHER_BODY = FIELDS + b"\r\nThe second body.\r\n"


@pytest.fixture
def names(user: str) -> tuple[str, str]:
    return f"old-{user}", f"new-{user}"


@pytest.fixture
def migration(dovecot: Dovecot, names: tuple[str, str], tmp_path: Path) -> Ferry:
    return ferry(tmp_path / "state.sqlite", dovecot, names[0], dovecot, names[1], FOLDER)


def stored(dovecot: Dovecot, names: tuple[str, str]) -> list[bytes]:
    return [message.octets for message in dovecot.stored(names[1], FOLDER)]


def counts(ran: Ran) -> tuple[int, int, int]:
    """Copied, twins at the source, there before us."""
    return ran.tally["copied"], ran.tally["duplicate"], ran.tally["there"]


# What the source has, options, what the destination gets, how many are reported as sharing a Message-ID.
TABLE = {
    "same id, same content": ([MAIL, MAIL], (), [MAIL], 0),
    "same id, differs in what a delivery writes": ([MAIL, DELIVERED_TWICE], (), [MAIL], 0),
    "same id, other body": ([MAIL, OTHER_BODY], (), [MAIL, OTHER_BODY], 1),
    "same id, other subject": ([MAIL, OTHER_SUBJECT], (), [MAIL, OTHER_SUBJECT], 1),
    "same id, three bodies and a twin": (
        [MAIL, OTHER_BODY, MAIL, OTHER_SUBJECT],
        (),
        [MAIL, OTHER_BODY, OTHER_SUBJECT],
        2,
    ),
    "no id, same content": ([NO_ID, NO_ID], (), [NO_ID], 0),
    "no id, other body": ([NO_ID, NO_ID_OTHER_BODY], (), [NO_ID, NO_ID_OTHER_BODY], 0),
    "no id, and the same with one": ([NO_ID, MAIL], (), [NO_ID, MAIL], 0),
    "off: everything": ([MAIL, MAIL, NO_ID, NO_ID], ("--dedupe", "off"), [MAIL, MAIL, NO_ID, NO_ID], 0),
    "message-id: the bare rule": ([MAIL, OTHER_BODY, NO_ID], ("--dedupe", "message-id"), [MAIL, NO_ID], 0),
}


@pytest.mark.parametrize("case", TABLE)
def test_what_is_the_same_mail_arrives_once_and_the_rest_is_kept_and_reported(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry, case: str
) -> None:
    source, options, expected, shared = TABLE[case]
    dovecot.deliver_many(names[0], source)

    ran = migration.run(*options)

    assert (ran.code, ran.err) == (0, "")
    assert sorted(stored(dovecot, names)) == sorted(expected)
    collapsed = len(source) - len(expected)
    assert counts(ran) == (len(expected), collapsed, 0)
    assert len(ran.all("duplicate")) == collapsed
    assert len({event["row"] for event in ran.all("same-id")}) == shared
    # Each twin names the message whose copy serves both, and where that copy is.
    uidls = {uidl.decode(): octets for uidl, octets in dovecot.served_pop3(names[0])}
    by_uid = {message.uid: message.octets for message in dovecot.stored(names[1], FOLDER)}
    for one in migration.status()["not_copied"]:
        assert by_uid[one["twin_uid"]] == uidls[one["twin_uidl"]]
        assert one["uidl"] != one["twin_uidl"]
    again = migration.run(*options)
    assert (again.code, again.all("copied"), again.tally) == (0, [], ran.tally)


@pytest.mark.parametrize("there", [MAIL, DELIVERED_TWICE], ids=["octet for octet", "as delivered elsewhere"])
def test_what_the_destination_has_before_the_first_run_is_not_copied_again(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry, there: bytes
) -> None:
    dovecot.deliver_many(names[1], [OTHER_BODY, there], FOLDER)
    dovecot.deliver_many(names[0], [MAIL, NO_ID])

    ran = migration.run()

    assert (ran.code, ran.err) == (0, "")
    assert counts(ran) == (1, 0, 1)
    assert sorted(stored(dovecot, names)) == sorted([OTHER_BODY, there, NO_ID])
    (told,) = migration.status()["not_copied"]
    (copy,) = [message for message in dovecot.stored(names[1], FOLDER) if message.uid == told["twin_uid"]]
    assert (told["twin"], copy.octets) == (None, there)


def test_two_identical_messages_with_one_copy_already_there_add_nothing(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    dovecot.deliver_many(names[1], [MAIL], FOLDER)
    dovecot.deliver_many(names[0], [MAIL, MAIL])

    ran = migration.run()

    assert (ran.code, ran.err) == (0, "")
    assert (ran.tally["copied"], ran.tally["duplicate"] + ran.tally["there"]) == (0, 2)
    assert stored(dovecot, names) == [MAIL]


def test_the_same_mail_in_another_folder_is_no_reason_not_to_copy(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    dovecot.deliver_many(names[1], [MAIL], "Sent")
    dovecot.deliver_many(names[0], [MAIL])

    ran = migration.run()

    assert (ran.code, counts(ran)) == (0, (1, 0, 0))
    assert stored(dovecot, names) == [MAIL]


def test_a_mail_that_comes_later_with_a_known_id_and_another_body_is_copied(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    dovecot.deliver_many(names[0], [MAIL])
    assert migration.run().code == 0
    dovecot.deliver_many(names[0], [OTHER_BODY, MAIL])

    ran = migration.run()

    assert (ran.code, counts(ran)) == (0, (2, 1, 0))
    assert sorted(stored(dovecot, names)) == sorted([MAIL, OTHER_BODY])
    assert len(ran.all("same-id")) == 1


@pytest.mark.parametrize("is_there_before", [False, True])
def test_a_duplicate_is_deleted_at_the_source_because_its_twin_is_proved(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry, is_there_before: bool
) -> None:
    if is_there_before:
        dovecot.deliver_many(names[1], [DELIVERED_TWICE], FOLDER)
    dovecot.deliver_many(names[0], [MAIL, MAIL, OTHER_BODY])

    ran = migration.run("--delete-after", "verified")

    assert ran.code == 0
    assert dovecot.served_pop3(names[0]) == []
    first = DELIVERED_TWICE if is_there_before else MAIL
    assert sorted(stored(dovecot, names)) == sorted([first, OTHER_BODY])


@pytest.mark.parametrize(
    ("one", "other"),
    [(b"A\rB", b"AB"), (b"a\nb", b"a\r\nb"), (b"\0", b"\x80")],
    ids=["a bare CR", "a bare LF", "NUL"],
)
def test_two_that_differ_in_what_servers_change_are_copied_both_before_they_are_deleted(
    dovecot: Dovecot, names: tuple[str, str], tmp_path: Path, one: bytes, other: bytes
) -> None:
    pair = [MAIL + octets + b"\r\n" for octets in (one, other)]
    with Embedded() as keeps_all:
        keeps_all.deliver_many(names[0], pair)
        state = tmp_path / "state.sqlite"
        migration = ferry(state, keeps_all, names[0], dovecot, names[1], FOLDER)

        ran = migration.run("--delete-after", "verified")

        assert ran.code == 0, ran.err
        assert keeps_all.served_pop3(names[0]) == []
    assert stored(dovecot, names) == list(map(dovecot.kept, pair))


def test_under_the_bare_rule_a_message_with_another_body_stays_at_the_source(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    dovecot.deliver_many(names[0], [MAIL, OTHER_BODY])

    ran = migration.run("--dedupe", "message-id", "--delete-after", "verified")

    assert ran.code == 3
    assert [octets for _, octets in dovecot.served_pop3(names[0])] == [OTHER_BODY]
    assert stored(dovecot, names) == [MAIL]
    assert "other content" in ran.one("kept")["reason"]
