"""A Maildir as a person has it: backed up into, read by a real Dovecot and by Python, proved, and put back."""

from __future__ import annotations

import json
import mailbox
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.stores.maildir_rig import all_held, checked, delivered
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate
from tests.support.raw import Stored

from .ferry import ROOT, Ran
from .nightly import Nightly, assert_goes_on_after_a_rebuild, assert_restored, torture

pytestmark = [pytest.mark.dovecot]


class IntoMaildir(Nightly):
    """The same account, and a Maildir."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        super().__init__(scratch, dovecot, user)
        self.root = scratch / "Maildir"

    def words(self) -> list[str]:
        return ["backup", self.ferry.source, f"maildir:{self.root}", "--source-password", "env:OLD_PASSWORD"]

    def verify(self, is_json: bool = True) -> Ran:
        return self.run("verify", f"maildir:{self.root}", is_json=is_json)

    def restore(self, *options: str, place: Path | None = None) -> Ran:
        words = ("restore", f"maildir:{place or self.root}", self.ferry.dest, "--dest-password", "env:NEW_PASSWORD")
        return self.run(*words, "--settle", "0", *options)

    def kept(self) -> Counter[bytes]:
        return Counter(one.octets for one in all_held(self.root))


@pytest.fixture
def nightly(tmp_path: Path, dovecot: Dovecot, user: str) -> IntoMaildir:
    return IntoMaildir(tmp_path, dovecot, user)


def test_a_torture_set_goes_from_pop3_into_a_maildir_and_from_there_into_imap(nightly: IntoMaildir) -> None:
    served = nightly.deliver(torture())

    ran = nightly.backup()

    assert (ran.code, ran.err) == (0, "")
    assert nightly.kept() == Counter(served), "octet for octet, whatever they are"
    assert (ran.tally["copied"], ran.tally["altered"]) == (len(served), 0)
    assert len(mailbox.Maildir(nightly.root, create=False)) == len(served)
    assert mailbox.Maildir(nightly.root, create=False).list_folders() == []
    proof = nightly.verify()
    assert (proof.code, proof.one("checked")["messages"], proof.all("damaged")) == (0, len(served), [])

    back = nightly.restore("--dedupe", "off")

    assert (back.code, back.err) == (0, "")
    assert_restored(nightly, served)
    again = nightly.backup()
    assert (again.code, again.all("copied")) == (0, [])
    assert nightly.kept() == Counter(served)


@pytest.mark.corpus
@pytest.mark.slow
def test_the_whole_corpus_goes_from_pop3_into_a_maildir_and_from_there_into_imap(
    nightly: IntoMaildir, corpus: list[Path], record_property: Callable[[str, object], None]
) -> None:
    served = nightly.deliver([path.read_bytes() for path in corpus])
    ran = nightly.backup()
    assert (ran.code, ran.err) == (0, "")
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []
    back = nightly.restore("--dedupe", "off")
    assert (back.code, back.err) == (0, "")
    assert_restored(nightly, served)
    record_property("messages, octet for octet in the files", len(served))


def test_dovecot_reads_whatever_octets_and_believes_the_sizes_in_the_names(nightly: IntoMaildir) -> None:
    served = nightly.deliver(torture())
    nightly.root = nightly.dovecot.maildir(nightly.new)
    assert nightly.backup().code == 0
    nightly.dovecot.adopt(nightly.root)
    logged = len(nightly.dovecot.complaints())
    found = Counter(one.octets for one in nightly.dovecot.stored(nightly.new))
    assert found == Counter(map(nightly.dovecot.kept, served)), "as if they had been uploaded"
    assert "size" not in nightly.dovecot.complaints()[logged:]


FOLDERS = ("INBOX", "Sent.2026", "D&AOk-j&AOA- l&AOA-")


class Beside(IntoMaildir):
    """An IMAP account with folders, and the Maildir of another account of the same server."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        super().__init__(scratch, dovecot, user)
        self.root = dovecot.maildir(self.new)
        source = f"imaps://{self.old}@localhost:{dovecot.imaps_port}"
        self.ferry = replace(self.ferry, source=source)
        for number, name in enumerate(FOLDERS):
            for one, octets in enumerate(generate(number, 6, odd=0)):
                when = datetime(2001 + one, 2, 3, 4, 5, 6, tzinfo=UTC)
                dovecot.deliver(self.old, octets, name, flags=("", "S", "RS", "F", "DS", "ST")[one], when=when)
            self.at(self.old, name, "STORE 2,4 +FLAGS (blue $Label1)", "STORE 3 +FLAGS ($Forwarded)")

    def at(self, user: str, name: str, *commands: str) -> None:
        with self.dovecot.imap(user) as imap:
            for command in (f'SELECT "{name}"', *commands):
                imap.command(command)

    def account(self, user: str) -> dict[str, list[tuple[object, ...]]]:
        self.dovecot.adopt(self.root)
        return {name: sorted(map(_facts, self.dovecot.stored(user, name))) for name in self.dovecot.mailboxes(user)}


def _facts(one: Stored) -> tuple[object, ...]:
    # What is marked as deleted is copied without that mark, from every source.
    return one.octets, sorted(one.flags - {"\\Recent", "\\Deleted"}), one.internaldate


@pytest.fixture
def beside(tmp_path: Path, dovecot: Dovecot, user: str) -> Beside:
    return Beside(tmp_path, dovecot, user)


def test_dovecot_serves_the_messages_flags_dates_and_folders_of_the_written_maildir(beside: Beside) -> None:
    assert beside.backup().code == 0
    there = beside.account(beside.new)
    assert there == beside.account(beside.old)
    assert sorted(there) == sorted([*FOLDERS, "Sent"]), "and nothing of ours is a folder"
    assert sorted(len(messages) for messages in there.values()) == [0, 6, 6, 6]
    boxes = mailbox.Maildir(beside.root, create=False)
    assert sorted(boxes.list_folders()) == sorted(FOLDERS[1:])
    assert sum(len(boxes.get_folder(name)) for name in FOLDERS[1:]) + len(boxes) == 18


def test_what_another_program_moves_and_marks_is_the_same_message(beside: Beside) -> None:
    assert beside.backup().code == 0
    beside.account(beside.new)  # Dovecot has moved what was in new/
    for name in FOLDERS:
        beside.at(beside.new, name, "STORE 1:* +FLAGS (\\Flagged green)", "STORE 2 -FLAGS (blue)")
    assert list(beside.root.glob("new/*")) == []
    proof = beside.verify()
    assert (proof.code, proof.one("checked")["messages"], proof.err) == (0, 18, "")
    again = beside.backup()
    assert (again.code, again.all("copied")) == (0, [])
    marked = beside.account(beside.new)
    third = f"third-{beside.new}"
    beside.ferry = replace(beside.ferry, dest=beside.ferry.dest.replace(beside.new, third))
    back = beside.restore("--dedupe", "off")
    assert (back.code, back.tally["copied"]) == (0, 18)
    restored = sorted(map(_facts, beside.dovecot.stored(third, "Back")))
    assert restored == marked["INBOX"], "with the flags that they have now"


def test_a_message_that_another_program_deleted_is_named_and_not_stored_again(beside: Beside) -> None:
    assert beside.backup().code == 0
    beside.account(beside.new)
    beside.at(beside.new, "Sent.2026", "STORE 3 +FLAGS (\\Deleted)", "UID EXPUNGE 3")
    for _ in range(2):
        ran = beside.backup()
        assert (ran.code, ran.all("copied")) == (40, [])
        assert (ran.one("damaged")["file"], ran.one("damaged")["what"][:10]) == ("Sent/2026", "missing: 1")
    proof = beside.verify()
    told = proof.one("damaged")
    assert (proof.code, told["uid"], told["what"][:8]) == (40, 3, "missing:")
    assert told["file"].startswith(".Sent.2026/")
    assert len(beside.dovecot.stored(beside.new, "Sent.2026")) == 5


def test_a_lost_message_that_is_fetched_again_is_no_fault_any_more(nightly: IntoMaildir) -> None:
    """A rebuild knows nothing of what is not there, and the next backup fetches it."""
    served = nightly.deliver(list(generate(17, 5, odd=0)))
    assert nightly.backup().code == 0
    lost = delivered(nightly.root)[2]
    lost.unlink()
    told = nightly.verify()
    assert (told.code, told.all("stored-again")) == (40, [])
    shutil.rmtree(nightly.root / "popferry")
    words = ("rebuild", "--dedupe", "off", "--settle", "0", nightly.ferry.source, f"maildir:{nightly.root}")
    assert nightly.run(*words, "--source-password", "env:OLD_PASSWORD").code == 0
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"], len(ran.all("copied"))) == (0, 5, 1)
    assert nightly.kept() == Counter(served)
    proof = nightly.verify()
    assert (proof.code, proof.all("damaged"), proof.one("checked")["damaged"]) == (0, [], 0)
    assert (proof.one("stored-again")["file"], proof.one("stored-again")["uid"]) == (
        str(lost.relative_to(nightly.root)),
        told.one("damaged")["uid"],
    )


def test_a_migration_into_mail_that_is_read_goes_on_where_a_person_deletes(beside: Beside) -> None:
    there = replace(beside.ferry, dest=f"maildir:{beside.root}")
    for octets in list(generate(0, 6, odd=0))[:2]:
        beside.dovecot.deliver(beside.new, octets, "INBOX", flags="F")
    ran = there.run()
    assert (ran.code, ran.tally["copied"], ran.tally["there"]) == (0, 16, 2), "what it had already counts"
    beside.account(beside.new)
    beside.at(beside.new, "INBOX", "STORE 1:3 +FLAGS (\\Deleted)", "EXPUNGE")
    again = there.run()
    assert (again.code, again.all("copied")) == (0, [])
    assert len(beside.account(beside.new)["INBOX"]) == 3


def test_a_backup_without_its_state_file_is_refused_and_goes_on_after_a_rebuild(nightly: IntoMaildir) -> None:
    assert_goes_on_after_a_rebuild(nightly, "popferry")


def test_a_killed_backup_is_completed_by_the_next(nightly: IntoMaildir) -> None:
    served = nightly.deliver(list(generate(8, 500)))
    command = [sys.executable, "-m", "migrate", *nightly.words(), "--json"]
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command, env=nightly.ferry.environment, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "copied":
                break
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"]) == (0, 500)
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []
    assert list(nightly.root.glob("tmp/*")) == []


def test_a_dry_run_touches_nothing(nightly: IntoMaildir) -> None:
    nightly.deliver(list(generate(11, 5, odd=0)))
    ran = nightly.backup("--dry-run")
    assert (ran.code, ran.one("would-do")["copy"]) == (0, 5)
    assert not nightly.root.exists()
    assert nightly.backup("--limit", "2").code == 0
    before = {path: path.read_bytes() for path in nightly.root.rglob("*") if path.is_file()}
    assert nightly.backup("--dry-run").one("would-do")["copy"] == 3
    assert {path: path.read_bytes() for path in nightly.root.rglob("*") if path.is_file()} == before


def test_a_recount_reads_a_maildir_of_others_and_changes_nothing(nightly: IntoMaildir) -> None:
    messages = list(generate(13, 6, odd=0))
    nightly.deliver(messages)
    there = replace(nightly.ferry, dest=f"maildir:{nightly.root}")
    assert there.other("verify").one("recounted")["missing"] == 6
    assert not nightly.root.exists()
    for number, octets in enumerate(messages[:4]):
        folder = nightly.root / ("cur", "new")[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.other").write_bytes(octets.replace(b"\r\n", b"\n"))
    before = sorted(nightly.root.rglob("*"))
    counted = there.other("verify").one("recounted")
    assert (counted["exit"], counted["identical"], counted["missing"]) == (40, 4, 2)
    assert sorted(nightly.root.rglob("*")) == before
    rebuilt = there.other("rebuild", "--settle", "0")
    assert (rebuilt.code, rebuilt.tally["copied"]) == (0, 4)
    ran = there.run()
    assert (ran.code, len(delivered(nightly.root))) == (0, 6)


def test_damage_is_named_and_the_rest_is_restored(nightly: IntoMaildir) -> None:
    served = nightly.deliver(list(generate(9, 10, odd=0)))
    assert nightly.backup().code == 0
    path = delivered(nightly.root)[2]
    octets = path.read_bytes()
    path.write_bytes(octets[:100] + bytes([octets[100] ^ 1]) + octets[101:])
    ran = nightly.verify(is_json=False)
    assert ran.code == 40
    assert f"{path.relative_to(nightly.root)}, uid 3" in ran.err
    assert "damaged: its octets are not those that were stored" in ran.err
    back = nightly.restore()
    assert (back.code, back.tally["set_aside"]) == (3, 1)
    assert len(nightly.stored()) == len(served) - 1


def test_the_recipe_of_the_manual_makes_a_damaged_maildir_whole(nightly: IntoMaildir) -> None:
    served = nightly.deliver([b"A: 1\r\n\r\nTwin\r\n"] * 2 + list(generate(14, 20)))
    assert nightly.backup().code == 0
    for path in delivered(nightly.root)[:5]:
        path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert nightly.verify().code == 40
    old, nightly.root = nightly.root, nightly.root.with_name("new")
    new = f"maildir:{nightly.root}"
    password = ("--source-password", "env:OLD_PASSWORD")

    whole = nightly.run("migrate", "--dedupe", "off", f"maildir:{old}", new)
    rebuilt = nightly.run("rebuild", "--dedupe", "off", "--settle", "0", nightly.ferry.source, new, *password)
    ran = nightly.backup()

    assert (whole.code, rebuilt.code, ran.code) == (3, 0, 0)
    assert (whole.tally["copied"], rebuilt.tally["copied"]) == (17, 17)
    assert nightly.kept() == Counter(served)
    assert nightly.verify().code == 0


MBSYNC = """
MaildirStore near
Inbox {near}
SubFolders Maildir++

MaildirStore far
Inbox {far}
SubFolders Maildir++

Channel all
Far :far:
Near :near:
Patterns *
Create Far
SyncState *
"""


@pytest.mark.skipif(shutil.which("mbsync") is None, reason="mbsync is not installed here")
def test_mbsync_copies_it_and_what_it_renames_is_the_same_message(nightly: IntoMaildir, tmp_path: Path) -> None:
    served = nightly.deliver(list(generate(12, 40, odd=0)))
    assert nightly.backup().code == 0
    (tmp_path / "home").mkdir()
    config = tmp_path / "mbsyncrc"
    config.write_text(MBSYNC.format(near=nightly.root, far=tmp_path / "far"))
    # It wants a Maildir that is there.
    for part in ("cur", "new", "tmp"):
        (tmp_path / "far" / part).mkdir(parents=True)
    subprocess.run(["mbsync", "-c", str(config), "all"], check=True, env={"HOME": str(tmp_path / "home")}, timeout=60)
    assert len(mailbox.Maildir(tmp_path / "far", create=False)) == 40
    assert all(",U=" in path.name for path in delivered(nightly.root)), "it has noted its numbers in the names"
    assert nightly.verify().code == 0
    assert nightly.kept() == Counter(served)
    again = nightly.backup()
    assert (again.code, again.all("copied")) == (0, [])
    far = replace(nightly.ferry, source=f"maildir:{tmp_path / 'far'}")
    ran = far.run("--dedupe", "off")
    assert (ran.code, ran.tally["copied"]) == (0, 40)
    # It marks its copies with a field of its own.
    stored = Counter(re.sub(rb"X-TUID: .*\r\n", b"", one.octets) for one in nightly.stored())
    assert stored == Counter(served)
