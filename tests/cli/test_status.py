"""``popferry status`` over real state files, written by the room that owns them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO

import pytest

from migrate.cli import entry
from migrate.cli.status import renamed
from migrate.config import default_state_path, parse_endpoint
from migrate.errors import Exit, UsageError
from migrate.model import INBOX, DedupeKey, Fingerprint, MessageRef, Oddity, Origin, Stage
from migrate.rules.dedupe import Digester
from migrate.state import open_state, read_state

SRC, DST = "pop3s://alice@pop.example.org", "imaps://alice@imap.example.org"
SOURCE, DEST = parse_endpoint(SRC, side="source"), parse_endpoint(DST, side="destination")


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "popferry"


def make(path: Path) -> None:
    """Four messages: one copied and changed, one its twin, one set aside, one open."""
    state = open_state(path, SOURCE.account, DEST.account, digester=Digester)
    try:
        state.begin_run(1_700_000_000.0)
        session = state.begin_session()
        state.record_listing([MessageRef(b"u%d" % n, n, 100) for n in range(1, 5)])
        rows = [work.row for work in state.next_work(10, 0)]
        print_ = Fingerprint(100, b"e" * 32, None, Oddity.NONE, DedupeKey(b"i" * 16, b"c" * 32, True))
        first = rows[0]._replace(stage=Stage.INTENDED, origin=Origin.COPIED, mailbox=INBOX, fingerprint=print_,
            uidvalidity=7, uidnext=1, fetched_session=session,
        )  # fmt: skip
        second = rows[1]._replace(
            stage=Stage.DUPLICATE, origin=Origin.TWIN, mailbox=INBOX, fingerprint=print_, twin=first.id,
            fetched_session=session,
        )  # fmt: skip
        aside = rows[2]._replace(stage=Stage.SET_ASIDE, reason='refused (server: "NO \\x1b")', attempts=2)
        appended = first._replace(stage=Stage.APPENDED, uid_dest=11)
        verified = appended._replace(
            stage=Stage.VERIFIED, proof="octets, changed: NUL became 0x80", verified_at=1, proven_run=1
        )
        for row in (first, second, aside, appended, verified):
            state.commit([(row,)])
    finally:
        state.close()


def test_without_a_state_file_it_says_so(capsys: pytest.CaptureFixture[str], home: Path) -> None:
    assert entry.run(["status"]) is Exit.OK
    assert capsys.readouterr().out == f"There is no state file in {home} yet.\n"


def test_a_page_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    path = default_state_path(SOURCE, DEST)
    make(path)
    for words in (["status"], ["status", SRC, DST], ["status", "--state", str(path)]):
        assert entry.run(words) is Exit.OK
        text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", "TIME", capsys.readouterr().out)
        assert (
            text
            == f"""\
alice@pop.example.org to alice@imap.example.org
State: {path}
Runs: 1. The last one began at TIME and wrote last at TIME.
  1  copied (under 0.1 MB)
  1  duplicate, not copied
  1  set aside
  1  still open
  -
  4  listed at the source

Of these:
  1  served back by the destination and verified
  1  changed by the destination: popferry status --json tells how

Set aside, tried again by the next run:
  message 3 (UIDL u3), 2 attempts: refused (server: "NO \\x1b").
"""
        )


def test_a_source_that_was_never_reached_has_no_books(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    dest = parse_endpoint(f"mbox:{tmp_path}", side="destination")
    path = default_state_path(SOURCE, dest)
    state = open_state(path, SOURCE.account, "mbox", digester=Digester)
    state.begin_run(1_700_000_000.0)
    state.close()
    assert entry.run(["status", SRC, f"mbox:{tmp_path}"]) is Exit.OK
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"alice@pop.example.org to mbox:{tmp_path}"
    assert lines[3:] == ["The source was never reached yet."]
    state = open_state(path, SOURCE.account, "mbox", digester=Digester)
    state.begin_session()
    state.record_listing([])
    state.close()
    assert entry.run(["status", "--state", str(path)]) is Exit.OK
    assert "  0  listed at the source\n" in capsys.readouterr().out


def test_an_answer_that_cannot_be_written_is_an_error_and_one_that_was_read_far_enough_is_none() -> None:
    make(default_state_path(SOURCE, DEST))

    def status(stdout: IO[bytes]) -> tuple[int, bytes]:
        command = [sys.executable, "-m", "migrate", "status"]
        done = subprocess.run(command, stdout=stdout, stderr=subprocess.PIPE, timeout=60, check=False)
        return done.returncode, done.stderr

    with open("/dev/full", "wb") as full:
        assert status(full) == (1, b"The output could not be written: No space left on device.\n")
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as left:
        assert status(left) == (0, b"")


def test_json_lists_what_collapsed_changed_and_was_set_aside(capsys: pytest.CaptureFixture[str]) -> None:
    path = default_state_path(SOURCE, DEST)
    make(path)
    assert entry.run(["status", "--json"]) is Exit.OK
    told = json.loads(capsys.readouterr().out)
    assert (told["state"], told["source"], told["destination"]) == (str(path), SOURCE.account, DEST.account)
    assert told["tally"]["listed"] == 4
    assert told["stages"] == {"verified": 1, "duplicate": 1, "set aside": 1, "listed": 1}
    assert told["not_copied"] == [
        {"row": 2, "uidl": "u2", "twin": 1, "twin_uidl": "u1", "mailbox": "INBOX", "twin_uid": 11}
    ]
    assert told["altered"] == [{"row": 1, "uidl": "u1", "proof": "octets, changed: NUL became 0x80"}]
    assert told["set_aside"] == [{"row": 3, "uidl": "u3", "reason": 'refused (server: "NO \\x1b")', "attempts": 2}]
    page = (Path(__file__).resolve().parents[2] / "docs" / "status.md").read_text(encoding="utf-8")
    assert [name for name in told if f"`{name}`" not in page] == []


def test_several_state_files_are_shown_and_a_damaged_one_does_not_hide_the_others(
    capsys: pytest.CaptureFixture[str], home: Path
) -> None:
    make(default_state_path(SOURCE, DEST))
    (home / "a.sqlite").write_bytes(b"not a state file")
    (home / "a.sqlite").chmod(0o600)
    assert entry.run(["status"]) is Exit.STATE_DAMAGED
    out, err = capsys.readouterr()
    assert "alice@pop.example.org to alice@imap.example.org" in out
    assert str(home / "a.sqlite") in err
    assert "Traceback" not in err


def test_a_missing_state_file_is_a_usage_error(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert entry.run(["status", "--state", str(tmp_path / "none")]) is Exit.USAGE
    assert entry.run(["status", SRC, DST]) is Exit.USAGE
    assert "There is no state file" in capsys.readouterr().err


def test_status_changes_no_octet(home: Path) -> None:
    path = default_state_path(SOURCE, DEST)
    make(path)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in home.iterdir() if file.is_file()}
    for words in (["status"], ["status", "--json"]):
        entry.run(words)
    assert {
        file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in home.iterdir() if file.is_file()
    } == before


@pytest.mark.parametrize(
    ("old", "new"),
    [("pop.example.org", "pop.new.example"), ("alice@POP.example.org", "alice@Pop.new.example")],
)
def test_rebind_follows_a_renamed_server(old: str, new: str, capsys: pytest.CaptureFixture[str]) -> None:
    path = default_state_path(SOURCE, DEST)
    make(path)
    assert entry.run(["status", SRC, DST, "--rebind", old, new]) is Exit.OK
    assert capsys.readouterr().out == (
        "alice@pop.example.org is called alice@pop.new.example from now on.\n"
        f"Add this to the next popferry migrate: --state {path}\n"
    )
    with read_state(path) as reader:
        assert reader.accounts() == ("alice@pop.new.example", DEST.account)


def test_rebind_of_a_name_that_is_not_there_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    path = default_state_path(SOURCE, DEST)
    make(path)
    assert entry.run(["status", "--state", str(path), "--rebind", "pop.example.com", "x"]) is Exit.USAGE
    assert "this state file is of alice@pop.example.org to alice@imap.example.org" in capsys.readouterr().err


def test_rebind_takes_two_servers_or_two_accounts() -> None:
    both = ("a@b@old", "c@old")
    assert renamed(both, "old", "new") == [("a@b@old", "a@b@new"), ("c@old", "c@new")]
    assert renamed(both, "c@old", "d@other") == [("c@old", "d@other")]
    for old, new in (("old", "c@new"), ("c@old", "new"), ("", "")):
        with pytest.raises(UsageError, match="two servers, or two accounts"):
            renamed(both, old, new)
