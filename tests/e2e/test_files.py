"""Mail files of other programs as a person has them: a path, an IMAP account, and every message there once."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.conftest import CORPUS
from tests.stores.archive_rig import tarred, zipped
from tests.stores.files_rig import ASCTIME, emlx, stored
from tests.stores.mbox_rig import held
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate
from tests.support.raw import Stored

from .ferry import PATIENCE_S, ROOT, Ran, ferry

pytestmark = [pytest.mark.dovecot]

HEADER = b"Date: Mon, 1 Mar 2010 12:00:00 +0100\r\nMessage-ID: <%d@example.net>\r\n"
MARCH = datetime(2010, 3, 1, 11, tzinfo=UTC)
FROM_LINE = datetime(2015, 2, 12, 10, 11, 12, tzinfo=UTC)


def letter(number: int, more: bytes = b"", header: bytes = HEADER) -> bytes:
    return (header % number if b"%d" in header else header) + more + b"Subject: %d\r\n\r\nText\r\n" % number


class Desk:
    """A directory with mail files, and an account that they go into."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        self.dovecot, self.user = dovecot, user
        self.files = scratch / "Mail"
        self.files.mkdir()
        self.ferry = ferry(scratch / "state.sqlite", dovecot, user, dovecot, user, "INBOX")
        self.dest = self.ferry.dest.removesuffix("/INBOX")

    def run(self, *words: str | Path) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "migrate", *map(str, words), "--json"],
            env=self.ferry.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        return Ran(done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode())

    def migrate(self, path: Path, *options: str, folder: str = "") -> Ran:
        care = ("--dest-password", "env:NEW_PASSWORD", "--settle", "0")
        return self.run("migrate", path, f"{self.dest}/{folder}" if folder else self.dest, *care, *options)

    def stored(self, folder: str) -> list[Stored]:
        return self.dovecot.stored(self.user, folder)

    def octets(self, folder: str) -> list[bytes]:
        return sorted(one.octets for one in self.stored(folder))


@pytest.fixture
def desk(tmp_path: Path, dovecot: Dovecot, user: str) -> Desk:
    dovecot.deliver_many(user, [])
    return Desk(tmp_path, dovecot, user)


def test_an_mbox_file_goes_into_a_folder_with_flags_and_dates_and_the_second_run_sends_nothing(desk: Desk) -> None:
    path = desk.files / "old.mbox"
    loaded = [
        letter(1, b"Status: RO\r\nX-Status: AF\r\n"),
        letter(2, b"X-Mozilla-Status: 0005\r\n"),
        letter(3, header=b"Message-ID: <no-date@example.net>\r\n"),
        *generate(31, 40, odd=0),
    ]
    path.write_bytes(b"".join(map(stored, loaded)))

    ran = desk.migrate(path, folder="Old")

    assert (ran.code, ran.err) == (0, "")
    assert (ran.tally["listed"], ran.tally["copied"], ran.tally["verified"]) == (43, 43, 43)
    assert desk.octets("Old") == sorted(loaded)
    by_octets = {one.octets: one for one in desk.stored("Old")}
    one, two, three = (by_octets[octets] for octets in loaded[:3])
    assert one.flags - {"\\Recent"} == {"\\Seen", "\\Answered", "\\Flagged"}
    assert two.flags - {"\\Recent"} == {"\\Seen", "\\Flagged"}
    assert (one.internaldate, three.internaldate) == (MARCH, FROM_LINE), "the header, else the From_ line"
    again = desk.migrate(path, folder="Old")
    assert (again.code, again.all("copied")) == (0, [])


def test_a_dry_run_names_the_folder_that_the_destination_cannot_have(desk: Desk) -> None:
    deep = desk.files.joinpath(*["a" * 200] * 17)
    deep.mkdir(parents=True)
    (deep / "b.mbox").write_bytes(stored(letter(1)))
    (desk.files / "Work.mbox").write_bytes(stored(letter(2)))
    far = desk.files.with_name("x" * 250) / ("x" * 250) / ("x" * 250)

    ran = desk.run("migrate", desk.files, f"mbox:{far}", "--dry-run")

    assert (ran.code, ran.one("would-do")["mailboxes"]) == (0, [["Work", None]])
    assert "too long" in ran.one("notice")["text"]


def test_a_second_run_copies_what_is_new_and_nothing_else(desk: Desk) -> None:
    path = desk.files / "old.mbox"
    texts = [stored(letter(number)) for number in range(10)]
    path.write_bytes(b"".join(texts))
    assert desk.migrate(path, "--dedupe", "off", folder="Old").code == 0
    # One is gone, one was read (its header has changed), two equal ones have come, and the order is another.
    read = texts[5].replace(b"Subject", b"Status: RO\nSubject")
    path.write_bytes(b"".join([*texts[6:], read, *texts[1:5], stored(letter(77)) * 2]))

    ran = desk.migrate(path, "--dedupe", "off", folder="Old")

    assert ran.code == 0
    sums = [sum(event[name] for event in ran.all("copied")) for name in ("messages", "octets")]
    assert sums == [2, 2 * len(letter(77))]
    assert desk.octets("Old") == sorted([*map(letter, range(10)), letter(77), letter(77)])
    assert desk.migrate(path, "--dedupe", "off", folder="Old").all("copied") == []


def test_a_tree_of_all_formats_becomes_folders(desk: Desk) -> None:
    root = desk.files
    (root / "Inbox.sbd").mkdir()
    (root / "Letters" / "2026").mkdir(parents=True)
    (root / "Apple.mbox" / "Messages").mkdir(parents=True)
    gone = stored(letter(2, b"", b"X-Mozilla-Status: 0009\r\n"), b"From - " + ASCTIME)
    (root / "Inbox").write_bytes(stored(letter(1)) + gone)
    (root / "Inbox.msf").write_bytes(b"// <!-- <mdb:mork:z")
    (root / "Inbox.sbd" / "Entwürfe").write_bytes(stored(letter(3)))
    (root / "Letters" / "2026" / "a.eml").write_bytes(letter(4))
    (root / "Apple.mbox" / "Messages" / "1.emlx").write_bytes(emlx(letter(5), flags=0b10001, received=1_000_000_000))
    (root / "torn.msg").write_bytes(b"\xd0\xcf\x11\xe0")

    ran = desk.migrate(root)

    assert (ran.code, ran.tally["copied"], ran.tally["set_aside"]) == (3, 4, 1)
    assert any('torn.msg": an Outlook message' in str(event) for event in ran.all("set-aside"))
    assert any("are left out: 1 (the first at offset" in str(event) for event in ran.all("notice"))
    wanted = {"INBOX": 1, "INBOX/Entw&APw-rfe": 3, "Letters/2026": 4, "Apple": 5}
    assert {folder: desk.octets(folder.replace("/", ".")) for folder in wanted} == {
        folder: [letter(number)] for folder, number in wanted.items()
    }
    (apple,) = desk.stored("Apple")
    assert apple.flags - {"\\Recent"} == {"\\Seen", "\\Flagged"}
    assert apple.internaldate == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    assert desk.migrate(root).all("copied") == []


def test_a_killed_run_is_resumed_and_every_message_is_there_once(desk: Desk) -> None:
    loaded = list(generate(32, 3000, odd=0))
    path = desk.files / "old.mbox"
    path.write_bytes(b"".join(map(stored, loaded)))
    words = ["migrate", str(path), f"{desk.dest}/Old", "--dest-password", "env:NEW_PASSWORD", "--settle", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "migrate", *words, "--json"],
        env=desk.ferry.environment,
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    assert process.stdout is not None
    copied = 0
    while copied < 500 and (line := process.stdout.readline()):
        event = json.loads(line)
        copied += event["messages"] if event["event"] == "copied" else 0
    process.kill()
    process.communicate()
    assert 500 <= copied < 3000
    # Meanwhile another program took away what was copied first, and brought something new.
    path.write_bytes(b"".join(map(stored, [*loaded[100:], letter(1)])))

    ran = desk.migrate(path, folder="Old")

    assert ran.code == 0
    assert 0 < sum(event["messages"] for event in ran.all("copied")) <= 3001 - copied
    assert desk.octets("Old") == sorted([*loaded, letter(1)])


def test_mail_files_go_into_a_backup_and_a_part_of_them_into_an_account(desk: Desk, tmp_path: Path) -> None:
    root, kept = desk.files, tmp_path / "backup"
    (root / "old.mbox").write_bytes(stored(letter(1)) * 2 + stored(letter(2, b"From: bob@example.net\r\n")))
    assert desk.run("backup", root, kept).code == 0
    assert sorted(one.octets for one in held(kept)) == sorted(
        [letter(1)] * 2 + [letter(2, b"From: bob@example.net\r\n")]
    )
    assert (kept / "old").is_dir(), "the file is a mailbox"
    assert desk.run("backup", root, kept).all("copied") == []
    care = ("--dest-password", "env:NEW_PASSWORD", "--settle", "0")
    ran = desk.run("restore", root / "old.mbox", f"{desk.dest}/Back", *care, "--from", "bob", "--since", "2010-03-01")
    assert (ran.code, ran.tally["copied"]) == (0, 1)
    ran = desk.run("restore", root / "old.mbox", f"{desk.dest}/Back", *care, "--before", "2010-02-28")
    assert (ran.code, ran.tally["listed"]) == (0, 0)


def test_what_is_no_mail_is_refused_with_what_it_was(desk: Desk) -> None:
    (desk.files / "photo.png").write_bytes(b"\x89PNG\r\n")
    ran = desk.migrate(desk.files / "photo.png", folder="Old")
    assert ran.code == 11
    assert '"photo.png": no mail: expected a From_ line' in ran.err
    ran = desk.migrate(desk.files / "nothing.mbox", folder="Old")
    assert ran.code == 2
    assert "there is no such file or directory" in ran.err


def test_archives_go_in_as_they_were_downloaded_and_unpacked_they_are_the_same_mail(desk: Desk) -> None:
    name = "Takeout/Mail/All mail Including Spam and Trash.mbox"
    parts = [b"".join(stored(letter(10 * part + number)) for number in range(5)) for part in range(2)]
    (desk.files / "takeout-20261126T000000Z-001.zip").write_bytes(zipped({name: parts[0]}))
    (desk.files / "takeout-20261126T000000Z-002.tgz").write_bytes(gzip.compress(tarred({name: parts[1]})))
    maildir = {"Maildir/cur/1.a:2,FS": letter(50), "Maildir/.Sent/new/2.a": letter(51)}
    (desk.files / "Home.tar").write_bytes(tarred(maildir))
    torn = zipped({"torn/a.mbox": stored(letter(60)), "torn/b.mbox": stored(letter(61))})
    (desk.files / "torn.zip").write_bytes(torn[: torn.index(b"PK\1\2")])

    ran = desk.migrate(desk.files)

    assert (ran.code, ran.tally["copied"], ran.tally["set_aside"]) == (3, 14, 1)
    assert any("torn.zip" in str(event) and "its end is missing" in str(event) for event in ran.all("set-aside"))
    folder = "Takeout.Mail.All mail Including Spam and Trash"
    assert desk.octets(folder) == sorted(letter(10 * part + number) for part in range(2) for number in range(5))
    (one,) = desk.stored("Maildir")
    assert one.octets == letter(50)
    assert one.flags - {"\\Recent"} == {"\\Seen", "\\Flagged"}
    assert desk.octets("Maildir.Sent") == [letter(51)]
    assert desk.octets("torn.a") == [letter(60)]
    assert desk.octets("torn.b") == [letter(61)]
    assert desk.migrate(desk.files).all("copied") == []
    # A person unpacks one of them, and deletes it.
    path = desk.files / name
    path.parent.mkdir(parents=True)
    path.write_bytes(parts[0])
    (desk.files / "takeout-20261126T000000Z-001.zip").unlink()
    assert desk.migrate(desk.files).all("copied") == []


def test_a_folder_with_the_sign_that_divides_folders_at_the_server_gets_another_name_and_it_is_said(
    desk: Desk,
) -> None:
    account = desk.files / "pop.example.org"
    account.mkdir()
    (account / "Inbox").write_bytes(stored(letter(1)))
    (account / "2026.Q1").write_bytes(stored(letter(2)))
    (account / "2026_Q1").write_bytes(stored(letter(3)) + stored(letter(2)))

    ran = desk.migrate(desk.files)

    assert (ran.code, ran.tally["copied"], ran.tally["duplicate"]) == (0, 3, 1)
    assert desk.octets("pop_example_org.Inbox") == [letter(1)]
    assert desk.octets("pop_example_org.2026_Q1") == [letter(2), letter(3)], "two folders are one there"
    said = [event["text"] for event in ran.all("notice")]
    assert len(said) == len(set(said)) == 3
    assert (
        'The folder "pop.example.org/2026.Q1" is "pop_example_org/2026_Q1" at the destination, which writes "." '
        'between folders, together with "pop.example.org/2026_Q1".'
    ) in said
    again = desk.migrate(desk.files)
    assert (again.code, again.all("copied")) == (0, [])
    assert desk.run("verify", desk.files, desk.dest, "--dest-password", "env:NEW_PASSWORD").code == 0


@pytest.mark.corpus
@pytest.mark.slow
def test_the_mail_files_of_the_corpus_go_into_an_account_and_the_second_run_sends_nothing(desk: Desk) -> None:
    copied = 0
    for name, messages, others in (("mbox", 433, 3), ("takeout", 102, 0), ("thunderbird/Mail", 70, 0), ("emlx", 17, 5)):
        root = CORPUS / "formats" / name
        ran = desk.migrate(root, "--dedupe", "off", folder=name.partition("/")[0])
        assert (ran.tally["listed"], ran.tally["copied"]) == (messages + others, messages), name
        assert ran.code == (3 if others else 0), name
        again = desk.migrate(root, "--dedupe", "off", folder=name.partition("/")[0])
        assert again.all("copied") == [], name
        copied += ran.tally["verified"]
    assert copied == 433 + 102 + 70 + 17
