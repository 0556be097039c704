"""An IMAP account as the source: every folder with its flags and dates, into another account or into files."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from imapclient import imap_utf7

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate, odd_messages
from tests.support.raw import Stored

from .ferry import PATIENCE_S, ROOT, Ferry, Ran, ferry

pytestmark = [pytest.mark.dovecot]

START = datetime(2003, 2, 1, 4, 5, 6, tzinfo=UTC)
FOLDERS = ("INBOX", "Sent", "Archive.2003", "Entw&APw-rfe")
LONG = imap_utf7.encode("\u6587" * 90).decode()  # 270 octets in UTF-8: no directory can have that name
FLAGS = ("", "\\Seen", "\\Seen \\Answered", "\\Flagged $Forwarded", "\\Draft")


class Accounts:
    """Two accounts at one server, the first with mail in four folders."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        self.dovecot = dovecot
        self.old, self.new = f"old-{user}", f"new-{user}"
        self.scratch = scratch
        base = ferry(scratch / "state.sqlite", dovecot, self.old, dovecot, self.new, "INBOX")
        self.ferry = Ferry(
            f"imaps://{self.old.replace('@', '%40')}@localhost:{dovecot.imaps_port}",
            base.dest.removesuffix("/INBOX"),
            base.state,
            base.environment,
        )

    def fill(self) -> None:
        number = 0
        with self.dovecot.imap(self.old) as imap:
            for folder in FOLDERS:
                if folder != "INBOX":
                    imap.command(f'CREATE "{folder}"')
                for octets in [*generate(len(folder), 12, odd=0), *odd_messages().values()][:30]:
                    when = START + timedelta(days=number, seconds=number)
                    imap.append(folder, octets, FLAGS[number % len(FLAGS)], f"{when:%d-%b-%Y %H:%M:%S} +0000")
                    number += 1

    def held(self, user: str, folder: str) -> list[tuple[bytes, frozenset[str], datetime]]:
        return [seen(one) for one in self.dovecot.stored(user, folder)]

    def run(self, *words: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "migrate", *words, "--json"],
            env=self.ferry.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Ran(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode())


def seen(one: Stored) -> tuple[bytes, frozenset[str], datetime]:
    return one.octets, one.flags - {"\\Recent"}, one.internaldate


@pytest.fixture
def accounts(tmp_path: Path, dovecot: Dovecot, user: str) -> Accounts:
    made = Accounts(tmp_path, dovecot, user)
    made.fill()
    return made


def test_every_folder_arrives_with_octets_flags_and_dates_and_the_second_run_sends_nothing(accounts: Accounts) -> None:
    ran = accounts.ferry.run("--dedupe", "off")
    assert ran.code == 0, ran.err
    for folder in FOLDERS:
        assert accounts.held(accounts.new, folder) == accounts.held(accounts.old, folder), folder
    assert ran.tally["verified"] == ran.tally["listed"] == sum(len(accounts.held(accounts.old, one)) for one in FOLDERS)
    again = accounts.ferry.run("--dedupe", "off")
    assert again.code == 0
    assert again.all("copied") == []


@pytest.mark.parametrize("is_readable", [True, False])
def test_what_stands_before_a_folder_without_mail_is_copied(
    tmp_path: Path, dovecot: Dovecot, user: str, is_readable: bool
) -> None:
    accounts = Accounts(tmp_path, dovecot, user)
    dovecot.deliver_many(accounts.old, generate(1, 3))
    dovecot.deliver_many(accounts.old, [], "Trash")
    if not is_readable:
        (dovecot.maildir(accounts.old) / ".Trash" / "dovecot-uidlist").mkdir()
    ran = accounts.ferry.run("--dedupe", "off")
    assert ran.tally["copied"] == 3
    assert accounts.held(accounts.new, "INBOX") == accounts.held(accounts.old, "INBOX")
    assert ran.code == (0 if is_readable else 3), ran.err


def test_a_run_that_may_hold_next_to_nothing_comes_to_its_end(accounts: Accounts) -> None:
    ferry = replace(accounts.ferry, before="import migrate.engine.run; migrate.engine.run.BUDGET = 1")
    ran = ferry.run("--dedupe", "off")
    assert ran.code == 0, ran.err
    for folder in FOLDERS:
        assert accounts.held(accounts.new, folder) == accounts.held(accounts.old, folder), folder


def test_nothing_changes_at_the_source(accounts: Accounts) -> None:
    before = [accounts.dovecot.stored(accounts.old, folder) for folder in FOLDERS]
    assert accounts.ferry.run().code == 0
    assert [accounts.dovecot.stored(accounts.old, folder) for folder in FOLDERS] == before


def test_one_folder_goes_into_the_folder_that_is_named(accounts: Accounts) -> None:
    accounts.ferry.source += "/Sent"
    accounts.ferry.dest += "/Old/Sent"
    ran = accounts.ferry.run("--dedupe", "off")
    assert ran.code == 0, ran.err
    assert accounts.held(accounts.new, "Old.Sent") == accounts.held(accounts.old, "Sent")
    assert "Sent" not in accounts.dovecot.mailboxes(accounts.new)


def test_all_folders_go_below_the_folder_of_dest(accounts: Accounts) -> None:
    accounts.ferry.dest += "/Old"
    assert accounts.ferry.run("--dedupe", "off").code == 0
    for folder in FOLDERS:
        below = "Old" if folder == "INBOX" else f"Old.{folder}"
        assert accounts.held(accounts.new, below) == accounts.held(accounts.old, folder), folder


def test_a_folder_that_was_made_anew_at_the_source_is_not_copied_again(accounts: Accounts) -> None:
    assert accounts.ferry.run("--dedupe", "off").code == 0
    kept = accounts.dovecot.stored(accounts.old, "Sent")
    with accounts.dovecot.imap(accounts.old) as imap:
        imap.command('DELETE "Sent"')
        imap.command('CREATE "Sent"')
        for one in kept:
            imap.append("Sent", one.octets)
        imap.append("Sent", b"Message-ID: <new@example.org>\r\n\r\nnew\r\n")
    ran = accounts.ferry.run("--dedupe", "off")
    assert ran.code == 0, ran.err
    assert len(accounts.held(accounts.new, "Sent")) == len(kept) + 1


def test_what_was_deleted_at_the_source_stays_where_it_was_copied_to(accounts: Accounts) -> None:
    assert accounts.ferry.run().code == 0
    before = accounts.held(accounts.new, "Sent")
    with accounts.dovecot.imap(accounts.old) as imap:
        imap.command('SELECT "Sent"')
        imap.command("STORE 1:* +FLAGS.SILENT (\\Deleted)")
        imap.command("EXPUNGE")
    assert accounts.ferry.run().code == 0
    assert accounts.held(accounts.new, "Sent") == before


def test_a_deletion_is_refused_before_anything_is_done(accounts: Accounts) -> None:
    ran = accounts.ferry.run("--delete-after", "verified")
    assert ran.code == 2
    assert "nothing is deleted from an IMAP account" in ran.err
    assert accounts.held(accounts.new, "INBOX") == []


def test_a_backup_keeps_every_folder_and_gives_it_back(accounts: Accounts) -> None:
    backup = str(accounts.scratch / "backup")
    ran = accounts.run(
        "backup", accounts.ferry.source, backup, "--source-password", "env:OLD_PASSWORD", "--dedupe", "off"
    )
    assert ran.code == 0, ran.err
    assert accounts.run("verify", backup).code == 0
    restore = ("restore", backup, accounts.ferry.dest, "--dest-password", "env:NEW_PASSWORD", "--dedupe", "off")
    restored = accounts.run(*restore)
    assert restored.code == 0, restored.err
    for folder in FOLDERS:
        assert accounts.held(accounts.new, folder) == accounts.held(accounts.old, folder), folder
    assert accounts.run(*restore).all("copied") == []


def test_a_dry_run_names_every_folder_that_mail_would_go_into(accounts: Accounts) -> None:
    words = ("backup", accounts.ferry.source, str(accounts.scratch / "backup"), "--source-password", "env:OLD_PASSWORD")
    held = [len(accounts.held(accounts.old, folder)) for folder in FOLDERS]
    names = ("INBOX", "Sent", "Archive/2003", "Entwürfe")
    would = accounts.run(*words, "--dry-run").one("would-do")
    assert (would["copy"], would["done"]) == (sum(held), 0)
    assert dict(would["mailboxes"]) == dict.fromkeys(names)
    ran = accounts.run(*words, "--dedupe", "off")
    assert sum(event["octets"] for event in ran.all("copied")) == would["octets"]
    would = accounts.run(*words, "--dry-run").one("would-do")
    assert (would["copy"], would["octets"], would["done"]) == (0, 0, sum(held))
    assert dict(would["mailboxes"]) == dict(zip(names, held, strict=True))


@pytest.mark.parametrize("layout", ["", "maildir:"])
def test_a_folder_with_a_long_name_is_in_a_backup_and_comes_back_with_all_of_it(
    accounts: Accounts, layout: str
) -> None:
    with accounts.dovecot.imap(accounts.old) as imap:
        imap.command(f'CREATE "{LONG}"')
        for octets in generate(3, 3, odd=0):
            imap.append(LONG, octets, "\\Seen", f"{START:%d-%b-%Y %H:%M:%S} +0000")
    backup = f"{layout}{accounts.scratch / 'backup'}"
    stored = accounts.run("backup", accounts.ferry.source, backup, "--source-password", "env:OLD_PASSWORD")
    assert stored.code == 0, stored.err
    assert accounts.run("verify", backup).code == 0
    words = ("restore", backup, accounts.ferry.dest, "--dest-password", "env:NEW_PASSWORD", "--dedupe", "off")
    restored = accounts.run(*words)
    assert restored.code == 0, restored.err
    for folder in (*FOLDERS, LONG):
        assert accounts.held(accounts.new, folder) == accounts.held(accounts.old, folder), folder


def test_killed_again_and_again_every_message_is_there_once_in_its_folder(accounts: Accounts) -> None:
    with accounts.dovecot.imap(accounts.old) as imap:
        for folder in FOLDERS:
            for octets in generate(7 + len(folder), 300, odd=0):
                imap.append(folder, octets)
    kills = 0
    for number in range(8):
        process = accounts.ferry.start("--dedupe", "off", "--settle", "0.2")
        time.sleep(0.5 + 0.07 * number)
        kills += process.poll() is None
        process.kill()
        process.wait()
    assert accounts.ferry.run("--dedupe", "off", "--settle", "0.2").code == 0
    for folder in FOLDERS:
        there = Counter(octets for octets, _, _ in accounts.held(accounts.new, folder))
        assert there == Counter(octets for octets, _, _ in accounts.held(accounts.old, folder)), (
            f"{folder}, {kills} kills"
        )


def test_a_recount_finds_what_is_missing_in_one_folder_whatever_another_one_holds(accounts: Accounts) -> None:
    assert accounts.ferry.run("--dedupe", "off").code == 0
    all_there = accounts.ferry.other("verify", "--dedupe", "off")
    assert all_there.code == 0, all_there.err
    assert all_there.one("recounted")["listed"] == sum(len(accounts.held(accounts.old, one)) for one in FOLDERS)
    [gone] = [one for one in accounts.dovecot.stored(accounts.new, "Sent") if one.uid == 2]
    with accounts.dovecot.imap(accounts.new) as imap:
        imap.command('SELECT "Sent"')
        imap.command("STORE 2 +FLAGS.SILENT (\\Deleted)")
        imap.command("EXPUNGE")
        imap.append("INBOX", gone.octets)
        imap.command('DELETE "Archive.2003"')
    ran = accounts.ferry.other("verify", "--dedupe", "off")
    assert ran.code == 40, ran.err
    missing = Counter(event["mailbox"] for event in ran.all("judged") if event["tier"] == "missing")
    assert missing == {"Sent": 1, "Archive/2003": len(accounts.held(accounts.old, "Archive.2003"))}
    assert ran.one("recounted")["also_there"] == 1


def test_a_state_that_was_lost_is_made_anew_from_every_folder(accounts: Accounts) -> None:
    accounts.ferry.dest += "/Old"
    assert accounts.ferry.run("--dedupe", "off").code == 0
    with accounts.dovecot.imap(accounts.new) as imap:
        imap.command('DELETE "Old.Sent"')
    accounts.ferry.state.unlink()
    assert accounts.ferry.other("rebuild", "--dedupe", "off", "--settle", "0").code == 0
    ran = accounts.ferry.run("--dedupe", "off")
    assert ran.code == 0, ran.err
    assert sum(event["messages"] for event in ran.all("copied")) == len(accounts.held(accounts.old, "Sent"))
    for folder in FOLDERS:
        below = "Old" if folder == "INBOX" else f"Old.{folder}"
        assert accounts.held(accounts.new, below) == accounts.held(accounts.old, folder), folder


def test_a_backup_is_recounted_from_its_account(accounts: Accounts) -> None:
    dest = f"mbox:{accounts.scratch / 'backup'}"
    secret = ("--source-password", "env:OLD_PASSWORD", "--state", str(accounts.ferry.state))
    assert accounts.run("migrate", accounts.ferry.source, dest, *secret).code == 0
    ran = accounts.run("verify", accounts.ferry.source, dest, *secret)
    assert ran.code == 0, ran.err
    assert ran.one("recounted")["identical"] == ran.one("recounted")["listed"] - ran.one("recounted")["duplicate"]
