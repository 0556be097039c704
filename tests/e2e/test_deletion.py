"""Deletion at the source: only when asked for, and only of what the destination served back."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.embedded import Embedded
from tests.support.embedded.session import ServerSession
from tests.support.mailgen import generate
from tests.support.relay import Relay

from .ferry import Ferry, commands_of, ferry
from .liars import (
    POISON,
    Corrupts,
    LosesLater,
    SaysNoUid,
    StoresNothing,
    StoresNothingAndSaysNoUid,
    Truncates,
)

pytestmark = [pytest.mark.dovecot]

FOLDER = "Old"
COUNT = 8
WHICH_SUFFERS = 3


def load(dovecot: Dovecot, old: str) -> list[bytes]:
    """Clean messages; one of them is the one that liars maltreat."""
    loaded = list(generate(11, COUNT, odd=0))
    loaded[WHICH_SUFFERS] += b"The last lines, %s.\r\nMore than one of them.\r\n" % POISON
    dovecot.deliver_many(old, loaded)
    return loaded


def left(dovecot: Dovecot, old: str) -> list[bytes]:
    return [octets for _, octets in dovecot.served_pop3(old)]


def deletions(dovecot: Dovecot, old: str) -> list[bytes]:
    """As they reached the server."""
    return commands_of(dovecot.commands(old), b"DELE")


@pytest.fixture
def names(user: str) -> tuple[str, str]:
    return f"old-{user}", f"new-{user}"


@pytest.fixture
def migration(dovecot: Dovecot, names: tuple[str, str], tmp_path: Path) -> Ferry:
    """From Dovecot to Dovecot over TLS."""
    (tmp_path / "state").mkdir()
    return ferry(tmp_path / "state" / "state.sqlite", dovecot, names[0], dovecot, names[1], FOLDER)


# --- asked for ------------------------------------------------------------------------------


def test_what_the_destination_served_back_is_deleted(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])

    ran = migration.run("--delete-after", "verified")

    assert ran.code == 0
    assert f"delete {COUNT} messages" in ran.err
    assert sorted(message.octets for message in dovecot.stored(names[1], FOLDER)) == sorted(loaded)
    assert left(dovecot, names[0]) == []
    assert len(deletions(dovecot, names[0])) == COUNT
    assert (ran.one("deleting")["messages"], ran.one("deleted")["messages"]) == (COUNT, COUNT)
    assert (ran.tally["copied"], ran.tally["verified"], ran.tally["released"]) == (COUNT, COUNT, COUNT)
    # Every octet was served back, not a sample.
    assert {event["proof"] for event in ran.all("verified")} == {"octets"}
    assert migration.status()["stages"] == {"released": COUNT}


@pytest.mark.parametrize("liar", [StoresNothing, StoresNothingAndSaysNoUid])
def test_when_the_destination_says_ok_and_stores_nothing_nothing_is_deleted(
    dovecot: Dovecot, names: tuple[str, str], tmp_path: Path, liar: type[ServerSession]
) -> None:
    loaded = load(dovecot, names[0])
    with Embedded(imap=liar) as dest:
        migration = ferry(tmp_path / "state.sqlite", dovecot, names[0], dest, names[1])
        for _ in range(2):
            ran = migration.run("--delete-after", "verified", "--settle", "0.1")
            assert ran.code == 3

    assert left(dovecot, names[0]) == loaded
    assert deletions(dovecot, names[0]) == []
    assert ran.tally["set_aside"] == COUNT
    assert "does not have it" in ran.all("set-aside")[0]["reason"]


@pytest.mark.parametrize("liar", [Corrupts, Truncates, LosesLater])
def test_when_the_destination_spoils_one_message_all_but_that_one_are_deleted(
    dovecot: Dovecot, names: tuple[str, str], tmp_path: Path, liar: type[ServerSession]
) -> None:
    loaded = load(dovecot, names[0])
    with Embedded(imap=liar) as dest:
        migration = ferry(tmp_path / "state.sqlite", dovecot, names[0], dest, names[1])
        ran = migration.run("--delete-after", "verified", "--settle", "0.1")
        stored = [message.octets for message in dest.stored(names[1], FOLDER)]

    assert ran.code == 3
    assert left(dovecot, names[0]) == [loaded[WHICH_SUFFERS]]
    assert len(deletions(dovecot, names[0])) == COUNT - 1
    assert set(loaded) - set(stored) == {loaded[WHICH_SUFFERS]}
    assert ran.tally["released"] == COUNT - 1
    assert len(ran.all("set-aside")) + len(ran.all("kept")) == 1


def test_without_any_word_about_uids_the_copies_are_found_proved_and_then_deleted(
    dovecot: Dovecot, names: tuple[str, str], tmp_path: Path
) -> None:
    loaded = load(dovecot, names[0])
    with Embedded(imap=SaysNoUid) as dest:
        migration = ferry(tmp_path / "state.sqlite", dovecot, names[0], dest, names[1])
        ran = migration.run("--delete-after", "verified", "--settle", "0.1")
        stored = [message.octets for message in dest.stored(names[1], FOLDER)]

    assert ran.code == 0
    assert sorted(stored) == sorted(loaded)
    assert left(dovecot, names[0]) == []


def test_max_delete_is_the_most_that_one_run_deletes(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])

    for most, count in ((0, COUNT), (3, 5), (3, 2), (3, 0)):
        ran = migration.run("--delete-after", "verified", "--max-delete", str(most))
        assert (ran.code, len(left(dovecot, names[0]))) == (0, count)
        assert sum(event["messages"] for event in ran.all("deleting")) <= most

    assert len(deletions(dovecot, names[0])) == COUNT
    assert sorted(message.octets for message in dovecot.stored(names[1], FOLDER)) == sorted(loaded)


def test_after_days_nothing_is_deleted_today_and_all_when_the_days_have_passed(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])

    today = migration.run("--delete-after", "30d")
    soon = migration.ahead(days=29).run("--delete-after", "30d")
    kept = left(dovecot, names[0])
    later = migration.ahead(days=31).run("--delete-after", "30d")

    assert (today.code, soon.code, later.code) == (0, 0, 0)
    assert kept == loaded
    assert today.all("deleting") == soon.all("deleting") == []
    assert left(dovecot, names[0]) == []
    assert later.one("deleted")["messages"] == COUNT
    assert len(dovecot.stored(names[1], FOLDER)) == COUNT


def test_a_clock_that_went_back_more_than_a_day_switches_deletion_off(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])
    assert migration.ahead(days=2).run().code == 0

    ran = migration.run("--delete-after", "verified")

    assert ran.code == 0
    assert "clock" in ran.one("deletion-off")["reason"]
    assert left(dovecot, names[0]) == loaded
    assert deletions(dovecot, names[0]) == []


def test_nothing_is_deleted_while_another_migration_of_the_account_is_unfinished(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])
    other_state = migration.state.with_name("other.sqlite")
    other = ferry(other_state, dovecot, names[0], dovecot, f"other-{names[1]}", FOLDER)
    assert other.run("--limit", "3").code == 0

    ran = migration.run("--delete-after", "verified")

    assert ran.code == 0
    assert str(other_state) in ran.one("deletion-off")["reason"]
    assert left(dovecot, names[0]) == loaded
    assert deletions(dovecot, names[0]) == []


@pytest.mark.parametrize("uploads", [0, 3])
def test_the_maildrop_and_the_inbox_of_one_account_are_one_mailbox_and_nothing_of_it_is_lost(
    dovecot: Dovecot, user: str, tmp_path: Path, uploads: int
) -> None:
    loaded = load(dovecot, user) + list(generate(12, uploads)) * 2
    dovecot.deliver_many(user, loaded[COUNT:])
    migration = ferry(tmp_path / "state.sqlite", dovecot, user, dovecot, user, "INBOX")
    for _ in range(2):
        ran = migration.run("--delete-after", "verified")
        assert ran.code == 0, ran.err
        assert "both are one mailbox" in ran.one("deletion-off")["reason"]
        assert {message.octets for message in dovecot.stored(user, "INBOX")} == set(map(dovecot.kept, loaded))
    assert len(deletions(dovecot, user)) == 1


def test_what_the_destination_had_before_is_deleted_once_it_is_seen_to_keep_it(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    loaded = load(dovecot, names[0])
    dovecot.deliver_many(names[1], loaded[:-2], FOLDER)
    ran = migration.run("--delete-after", "verified")
    assert ran.code == 0, ran.err
    assert left(dovecot, names[0]) == []
    assert sorted(message.octets for message in dovecot.stored(names[1], FOLDER)) == sorted(loaded)
    assert [event["messages"] for event in ran.all("deleted")] == [3, COUNT - 3]


# --- not asked for --------------------------------------------------------------------------


def test_unasked_no_deletion_ever_crosses_the_wire(dovecot: Dovecot, names: tuple[str, str], tmp_path: Path) -> None:
    load(dovecot, names[0])
    with Relay(dovecot.pop3_port) as cable:
        migration = ferry(
            tmp_path / "state.sqlite", dovecot, names[0], dovecot, names[1], source_port=cable.port,
            scheme="{}+insecure",
        )  # fmt: skip
        for options in (("--verify", "full"), ("--dedupe", "off"), ("--accept-missing",)):
            assert migration.run(*options).code == 0
        sent = cable.sent

    asked = {line.split(b" ")[0].upper() for line in sent.split(b"\r\n")}
    assert {b"UIDL", b"RETR", b"QUIT"} < asked
    assert not asked & {b"DELE", b"RSET"}
    assert deletions(dovecot, names[0]) == []
    assert len(left(dovecot, names[0])) == COUNT


# --- a dry run ------------------------------------------------------------------------------


def files(directory: Path) -> Iterator[tuple[str, str, int]]:
    """Everything under the directory: name, digest, time of the last change."""
    for path in sorted(directory.rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
        yield path.name, digest, path.stat().st_mtime_ns


@pytest.mark.parametrize("options", [(), ("--delete-after", "verified")])
def test_a_dry_run_touches_nothing(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry, options: tuple[str, ...]
) -> None:
    loaded = load(dovecot, names[0])
    dovecot.deliver_many(names[1], [])
    before = list(files(migration.state.parent))

    ran = migration.run("--dry-run", *options)

    assert (ran.code, ran.err) == (0, "")
    would = ran.one("would-do")
    assert (would["copy"], would["done"], would["mailboxes"]) == (COUNT, 0, [[FOLDER, None]])
    assert would["delete"] == (COUNT if options else 0)
    assert list(files(migration.state.parent)) == before
    asked = {line.split(b" ")[0].upper() for line in dovecot.commands(names[0]).split(b"\r\n") if line}
    assert asked <= {b"CAPA", b"STAT", b"UIDL", b"LIST", b"NOOP"}, "what it asked of the source after the login"
    said = {line.split(b" ")[1].upper() for line in dovecot.commands(names[1]).split(b"\r\n") if b" " in line}
    assert not said & {b"CREATE", b"APPEND", b"STORE", b"UID", b"SUBSCRIBE", b"EXPUNGE"}
    assert FOLDER not in dovecot.mailboxes(names[1])
    assert left(dovecot, names[0]) == loaded


def test_a_dry_run_in_the_middle_changes_neither_the_state_nor_what_the_next_run_does(
    dovecot: Dovecot, names: tuple[str, str], migration: Ferry
) -> None:
    load(dovecot, names[0])
    assert migration.run("--limit", "3").code == 0
    before = list(files(migration.state.parent))

    would = migration.run("--dry-run", "--delete-after", "verified").one("would-do")

    assert (would["copy"], would["done"], would["delete"]) == (COUNT - 3, 3, COUNT)
    assert list(files(migration.state.parent)) == before
    assert (migration.run().tally["copied"], deletions(dovecot, names[0])) == (COUNT, [])
