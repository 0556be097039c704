"""A backup that does not begin with everything: a baseline, and the lists of real getmail, fetchmail and mpop."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate

from .ferry import PATIENCE_S
from .nightly import Nightly

pytestmark = [pytest.mark.dovecot]


@pytest.fixture
def nightly(tmp_path: Path, dovecot: Dovecot, user: str) -> Nightly:
    return Nightly(tmp_path, dovecot, user)


# --- a baseline -------------------------------------------------------------------------------


def test_a_baseline_fetches_nothing_and_the_next_nights_only_what_is_new(nightly: Nightly) -> None:
    nightly.deliver(list(generate(1, 12, odd=0)))
    dry = nightly.backup("--baseline", "--dry-run")
    assert (dry.code, dry.one("would-do")["copy"], nightly.root.exists()) == (0, 0, False)
    ran = nightly.backup("--baseline")
    assert (ran.code, ran.all("fetched"), ran.one("skipped")["messages"]) == (0, [], 12)
    assert (ran.tally["listed"], ran.tally["skipped"], ran.tally["open"]) == (12, 12, 0)

    new = nightly.deliver(list(generate(2, 3, odd=0)))
    ran = nightly.backup()
    assert (ran.code, len(ran.all("fetched")), ran.tally["copied"], ran.tally["skipped"]) == (0, 3, 3, 12)
    assert nightly.kept() == Counter(new)
    assert nightly.backup("-q", is_json=False).err == ""

    told = nightly.run("status", nightly.ferry.source, f"mbox:{nightly.root}", is_json=False)
    assert "12 messages are marked as done and not fetched: they were at the source before the baseline." in told.err
    assert "12  skipped" in told.err
    again = nightly.backup("--baseline", is_json=False)
    assert again.code == 2
    assert "--baseline was given before" in again.err
    proof = nightly.verify()
    assert (proof.code, proof.one("checked")["messages"]) == (0, 3)


def test_a_baseline_of_an_imap_account_counts_for_every_folder(nightly: Nightly) -> None:
    dovecot, user = nightly.dovecot, nightly.old
    dovecot.deliver_many(user, list(generate(3, 4, odd=0)))
    dovecot.deliver_many(user, list(generate(4, 2, odd=0)), "Sent")
    words = ("backup", f"imaps://{user}@localhost:{dovecot.imaps_port}", str(nightly.root))
    password = ("--source-password", "env:OLD_PASSWORD")
    ran = nightly.run(*words, *password, "--baseline")
    assert (ran.code, ran.all("fetched"), ran.tally["skipped"]) == (0, [], 6)
    new = list(generate(5, 2, odd=0))
    dovecot.deliver_many(user, new[:1])
    dovecot.deliver_many(user, new[1:], "Sent")
    ran = nightly.run(*words, *password)
    assert (ran.code, ran.tally["copied"], ran.tally["skipped"]) == (0, 2, 6)


def test_a_migration_may_have_a_baseline_too(nightly: Nightly) -> None:
    nightly.deliver(list(generate(6, 3, odd=0)))
    assert nightly.ferry.run("--baseline").tally["skipped"] == 3
    new = nightly.deliver(list(generate(7, 1, odd=0)))
    ran = nightly.ferry.run()
    assert (ran.code, ran.tally["copied"]) == (0, 1)
    assert [one.octets for one in nightly.stored()] == [nightly.dovecot.kept(octets) for octets in new]


# --- the lists of other programs --------------------------------------------------------------


LARGEST = 100_000  # octets of a message that the other program fetches


class Tool:
    """Another program that fetched the mail of an account from a real server, and the list that it left."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        self.home = scratch / "tool"
        self.home.mkdir()
        self.dovecot, self.user = dovecot, user

    def _run(self, *words: str) -> None:
        environment = os.environ | {"HOME": str(self.home), "FETCHMAILHOME": str(self.home)}
        done = subprocess.run(words, env=environment, capture_output=True, timeout=PATIENCE_S, check=False)
        assert done.returncode == 0, (done.stdout, done.stderr)

    def _write(self, name: str, text: str) -> str:
        path = self.home / name
        path.write_text(text)
        path.chmod(0o600)
        return str(path)

    def getmail(self) -> Path:
        text = (
            f"[retriever]\ntype = SimplePOP3Retriever\nserver = localhost\nport = {self.dovecot.pop3_port}\n"
            f"username = {self.user}\npassword = {self.dovecot.password}\n"
            "[destination]\ntype = MDA_external\npath = /bin/cat\nallow_root_commands = true\n"
            "[options]\nread_all = false\n"
            f"max_message_size = {LARGEST}\n"
        )
        self._run("getmail", "--getmaildir", str(self.home), "--rcfile", self._write("getmailrc", text))
        return next(self.home.glob("oldmail-*"))

    def fetchmail(self) -> Path:
        text = (
            f'poll localhost protocol POP3 port {self.dovecot.pop3_port} uidl auth password username "{self.user}" '
            f'password "{self.dovecot.password}" keep limit {LARGEST} sslproto "" mda "cat >/dev/null"\n'
        )
        self._run("fetchmail", "-f", self._write("fetchmailrc", text), "--nosyslog")
        return self.home / ".fetchids"

    def mpop(self) -> Path:
        text = (
            f"account a\nhost localhost\nport {self.dovecot.pop3_port}\nuser {self.user}\nauth user\ntls off\n"
            f"password {self.dovecot.password}\nkeep on\nuidls_file {self.home}/uidls\n"
            f"skipsize {LARGEST}\ndelivery mbox {self.home}/mail.mbox\n"
        )
        self._run("mpop", "-C", self._write("mpoprc", text), "-a")
        return self.home / "uidls"


@pytest.mark.parametrize("name", ["getmail", "fetchmail", "mpop"])
def test_what_another_program_has_is_not_fetched_again(
    nightly: Nightly, tmp_path: Path, name: str, record_property: Callable[[str, object], None]
) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed here")
    nightly.deliver([b"A: %d\r\n\r\nSmall\r\n" % number for number in range(7)])
    new = nightly.deliver([b"A: 7\r\n\r\n" + b"Too large for it\r\n" * 10_000])
    listed: Path = getattr(Tool(tmp_path, nightly.dovecot, nightly.old), name)()
    new += nightly.deliver(list(generate(9, 2, odd=0)))

    ran = nightly.backup("--already-have", str(listed))

    assert (ran.code, ran.err) == (0, "")
    assert ran.one("skipped") == {"event": "skipped", "messages": 7, "reason": f"{name} has it already"}
    assert (len(ran.all("fetched")), ran.tally["copied"], ran.tally["skipped"]) == (3, 3, 7)
    assert nightly.kept() == Counter(new)
    again = nightly.backup("--already-have", str(listed))
    assert (again.code, again.all("fetched"), again.tally) == (0, [], ran.tally)
    record_property(f"left out, fetched, of a list by {name}", (7, 3))

    other = nightly.run(
        "backup", f"pop3s://other-{nightly.ferry.source.removeprefix('pop3s://')}", str(nightly.root / "other"),
        "--source-password", "env:OLD_PASSWORD", "--already-have", str(listed), is_json=False,
    )  # fmt: skip
    assert other.code == 2, "a list of another account is never believed: two accounts may have the same UIDLs"
    assert str(listed) in other.err


def test_a_list_that_cannot_be_read_is_named_with_its_line(nightly: Nightly, tmp_path: Path) -> None:
    path = tmp_path / "popstate.dat"
    path.write_bytes(b"# POP3 State File\n*localhost alice\nk 1 2\nwhat is this\n")
    ran = nightly.backup("--already-have", str(path), is_json=False)
    assert ran.code == 2
    assert f'{path}, line 4: expected a letter and a UIDL, found "what is this"' in ran.err
    ran = nightly.backup("--already-have", str(tmp_path / "none"), is_json=False)
    assert (ran.code, "cannot be read: No such file" in ran.err) == (2, True)
    imap = nightly.run("backup", f"imaps://a@localhost:{nightly.dovecot.imaps_port}", str(nightly.root),
        "--already-have", str(path), is_json=False)  # fmt: skip
    assert (imap.code, "POP3 accounts" in imap.err) == (2, True)
