"""``popferry prune`` as a person has it: nights of several months, and what comes after the deletion."""

from __future__ import annotations

import json
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate

from .ferry import PATIENCE_S, PREPARED, ROOT, Json, Ran, ahead
from .nightly import FOLDER, Nightly

pytestmark = [pytest.mark.dovecot]

MONTH_S = 31 * 86400

# The command, killed right before so many of its changes of the disk.
KILLED = """
import os, runpy, signal, sys, time
ahead_s, left, now = float(sys.argv.pop(1)), int(sys.argv.pop(1)), time.time
time.time = lambda: now() + ahead_s
for name in ("rename", "unlink", "fsync", "link"):
    def change(*words, real=getattr(os, name), **more):
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*words, **more)
    setattr(os, name, change)
runpy.run_module("migrate", run_name="__main__", alter_sys=True)
"""


class Months(Nightly):
    """A backup that has grown for three months, five messages in each."""

    now_s = 0

    def run(self, *words: str, is_json: bool = True, program: tuple[str, ...] = ()) -> Ran:
        program = program or ("-c", PREPARED, ahead(self.now_s))
        done = subprocess.run(
            [sys.executable, *program, *words, *(["--json"] if is_json else [])],
            env=self.ferry.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        events: list[Json] = [json.loads(line) for line in done.stdout.splitlines()] if is_json else []
        return Ran(done.returncode, events, done.stderr.decode() + ("" if is_json else done.stdout.decode()))

    def grow(self) -> list[bytes]:
        served: list[bytes] = []
        for number in range(3):
            served += self.deliver(list(generate(30 + number, 5, odd=0)))
            assert self.backup().code == 0
            self.now_s += MONTH_S
        assert self.backup().code == 0, "and a night without mail"
        return served

    def prune(self, *options: str, is_json: bool = True) -> Ran:
        return self.run("prune", str(self.root), *options, is_json=is_json)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.root.rglob("*.mbox"))


@pytest.fixture
def months(tmp_path: Path, dovecot: Dovecot, user: str) -> Months:
    return Months(tmp_path, dovecot, user)


def test_old_months_are_deleted_on_a_word_and_everything_goes_on(months: Months) -> None:
    served = months.grow()
    oldest, *_ = before = months.names()

    said = months.prune("--keep", "2", is_json=False)
    assert (said.code, months.names()) == (0, before)
    assert re.search(
        rf"INBOX/{oldest}: 5 messages \([^)]* MB\), dated \d{{4}}-\d\d-\d\d to \d{{4}}-\d\d-\d\d\.", said.err
    )
    assert "Would delete 1 file with 5 messages" in said.err
    assert "Nothing was deleted." in said.err
    assert "--yes" in said.err
    done = months.prune("--keep", "2", "--yes")
    assert done.code == 0
    assert (done.one("prunable")["file"], done.one("prunable")["messages"]) == (f"INBOX/{oldest}", 5)
    assert (done.one("pruning")["messages"], done.one("pruned")["is_deleted"]) == (5, True)
    assert months.names() == before[1:]

    night = months.backup()
    assert (night.code, night.all("fetched"), night.tally["copied"], night.err) == (0, [], 15, "")
    proof = months.verify()
    assert (proof.code, proof.one("checked")["messages"], proof.all("damaged")) == (0, 10, [])
    new = months.deliver(list(generate(40, 2, odd=0)))
    night = months.backup()
    assert (night.code, len(night.all("fetched"))) == (0, 2)
    assert months.kept() == Counter(served[5:] + new)
    back = months.restore()
    assert (back.code, back.tally["copied"]) == (0, 12)
    stored = Counter(one.octets for one in months.stored())
    assert stored == Counter(map(months.dovecot.kept, served[5:] + new))


def test_an_age_takes_what_was_over_so_long_ago(months: Months) -> None:
    months.grow()
    before = months.names()
    assert months.prune("--older-than", "3m").all("prunable") == []
    nothing = months.prune("--older-than", "1y", "--yes", is_json=False)
    assert (nothing.code, nothing.err) == (0, "Nothing is old enough to be deleted.\n")
    assert months.prune("--older-than", "1y", "--yes", "-q", is_json=False) == Ran(0, [], "")
    done = months.prune("--older-than", "1m", "--yes", "-q", is_json=False)
    assert months.names() == before[2:]
    assert done.code == 0
    assert done.err.splitlines()[0].startswith("Will now delete 2 files with 10 messages")


def test_a_whole_backup_may_go_and_nothing_is_fetched_again(months: Months) -> None:
    months.grow()
    assert months.prune("--older-than", "1d", "--yes").one("pruned")["files"] == 3
    night = months.backup()
    assert (night.code, night.all("fetched"), night.tally["copied"]) == (0, [], 15)
    assert (months.verify().code, months.kept()) == (0, Counter())
    new = months.deliver(list(generate(41, 1, odd=0)))
    assert months.backup().code == 0
    assert months.kept() == Counter(new)
    assert "15  skipped" not in months.run("status", months.ferry.source, f"mbox:{months.root}", is_json=False).err


@pytest.mark.parametrize("has_state", [True, False])
def test_a_clock_that_is_years_ahead_makes_nothing_older(months: Months, has_state: bool) -> None:
    months.grow()
    before = months.names()
    right = months.now_s
    if not has_state:
        shutil.rmtree(months.root / ".popferry")
    months.now_s += 50 * 365 * 86400
    if has_state:
        # The backup of that night does not get as far as its source: no certificate is valid any more.
        away = months.ferry.source.rpartition(":")[0] + ":9"
        (state,) = (months.root / ".popferry").glob("*.sqlite")
        words = ("backup", away, str(months.root), "--source-password", "env:OLD_PASSWORD", "--state", str(state))
        assert months.run(*words).code == 4
    for rule in (("--older-than", "4m"), ("--older-than", "49y"), ("--keep", "3")):
        ran = months.prune(*rule, "--yes")
        assert (ran.code, ran.all("prunable"), months.names()) == (0, [], before), rule
        assert "not from the clock of this machine (207" in ran.one("notice")["text"]
    would = [one["file"] for one in months.prune("--older-than", "1m").all("prunable")]
    months.now_s = right
    assert would == [one["file"] for one in months.prune("--older-than", "1m").all("prunable")]
    assert [f"INBOX/{name}" for name in before[: len(would)]] == would
    assert would


def test_what_is_really_lost_beside_it_is_told(months: Months) -> None:
    months.grow()
    assert months.prune("--keep", "2", "--yes").code == 0
    next(months.root.rglob(months.names()[0])).unlink()
    ran = months.backup()
    assert ran.code == 40
    assert ran.one("damaged")["what"].startswith(
        "missing: 5 of the messages that were stored before; the source still has"
    )
    assert months.verify().code == 40
    again = months.backup()
    assert (again.code, len(again.all("fetched"))) == (0, 5), "what was lost comes again, what was pruned does not"


def test_no_prune_beside_a_backup(months: Months) -> None:
    months.grow()
    (state,) = (months.root / ".popferry").glob("*.sqlite")
    holder = subprocess.Popen(
        [sys.executable, "-c", "import fcntl, sys, time; f = open(sys.argv[1], 'a'); fcntl.flock(f, fcntl.LOCK_EX);"
         " print(flush=True); time.sleep(600)", f"{state}.lock"],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        before = months.names()
        ran = months.prune("--keep", "1", "--yes", is_json=False)
        assert (ran.code, months.names()) == (30, before)
        assert "nother run holds the state file" in ran.err
        assert months.prune("--keep", "1").code == 0, "to say it does no harm"
    finally:
        holder.kill()
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def test_what_an_interrupted_backup_has_not_read_back_stays(months: Months) -> None:
    months.grow()
    (state,) = (months.root / ".popferry").glob("*.sqlite")
    new = 0
    for number in range(20):
        # More each time: on a busy machine a run may come to its end before it is killed.
        months.deliver(list(generate(42 + number, 300, odd=0)))
        new += 300
        command = [sys.executable, "-c", PREPARED, ahead(months.now_s), *months.words(), "--json"]
        process = subprocess.Popen(command, env=months.ferry.environment, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == ("fetched" if number % 2 else "copied"):
                break
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        with sqlite3.connect(f"file:{state}?mode=ro", uri=True) as db:
            if db.execute("SELECT count(*) FROM message WHERE stage IN ('intended', 'appended')").fetchone()[0]:
                break
        db.close()
    else:
        pytest.fail("no kill left anything unproven")
    db.close()
    newest = months.names()[-1]
    months.now_s += MONTH_S
    # Another account in the same directory: it is known that the month went by, and the run that was killed stays so.
    account = months.ferry.dest.removesuffix(f"/{FOLDER}")
    words = ("backup", account, str(months.root), "--source-password", "env:NEW_PASSWORD")
    assert months.run(*words).code == 0
    ran = months.prune("--older-than", "1d", "--yes")
    assert [one["file"] for one in ran.all("spared")] == [f"INBOX/{newest}"]
    assert "interrupted backup" in ran.one("spared")["reason"]
    assert months.names() == [newest]
    assert months.backup().tally["copied"] == 15 + new
    assert (months.verify().code, months.kept().total()) == (0, new)


def test_months_that_are_over_may_be_compressed(months: Months) -> None:
    served = months.grow()
    night = months.backup("--compress")
    assert night.code == 0
    newest = months.names()
    assert [one["file"].endswith(".mbox") and one["packed"] < one["octets"] for one in night.all("compressed")] == [
        True
    ] * 2
    assert len(newest) == 1
    assert len(list(months.root.rglob("*.mbox.zst"))) == 2
    again = months.backup("--compress")
    assert (again.code, again.all("compressed"), again.all("fetched"), again.all("damaged")) == (0, [], [], [])
    proof = months.verify()
    assert (proof.code, proof.one("checked")["messages"]) == (0, 15)
    back = months.restore()
    assert (back.code, back.tally["copied"]) == (0, 15)
    assert Counter(one.octets for one in months.stored()) == Counter(map(months.dovecot.kept, served))
    assert months.prune("--keep", "1", "--yes").one("pruned")["messages"] == 10
    assert (months.verify().code, months.backup().code, months.names()) == (0, 0, newest)


@pytest.mark.slow
def test_a_prune_that_is_killed_is_completed_and_nothing_is_fetched_again(months: Months, tmp_path: Path) -> None:
    served = months.grow()
    shutil.copytree(months.root, tmp_path / "whole")
    whole, number, kills = months.root, 0, 0
    while True:
        number += 1
        months.root = tmp_path / f"killed-{number}"
        shutil.copytree(tmp_path / "whole", months.root)
        words = ("prune", str(months.root), "--keep", "1", "--yes")
        code = months.run(*words, program=("-c", KILLED, str(months.now_s), str(number)), is_json=False).code
        if code != -signal.SIGKILL:
            assert code == 0
            break
        kills += 1
        assert months.verify().code == 0, number
        night = months.backup()
        assert (night.code, night.all("fetched"), night.all("damaged")) == (0, [], []), number
        assert months.prune("--keep", "1", "--yes").code == 0
        assert (months.verify().code, months.kept()) == (0, Counter(served[10:])), number
        shutil.rmtree(months.root)
    assert kills > 10
    assert whole.exists()


def test_words_that_make_no_sense_are_refused(months: Months, tmp_path: Path) -> None:
    for words, says in (
        (("--yes",), "--older-than --keep is required"),
        (("--keep", "0"), "a number of months"),
        (("--older-than", "3w"), "days, months or years like 400d"),
        (("--older-than", "9999y"), "before the first year"),
        (("--keep", "1", "--older-than", "1y"), "not allowed with"),
    ):
        months.deliver([b"A: 1\r\n\r\nText\r\n"])
        assert months.backup().code == 0
        ran = months.prune(*words, is_json=False)
        assert (ran.code, says in ran.err) == (2, True), (words, ran.err)
    ran = months.run("prune", str(tmp_path / "none"), "--keep", "1", is_json=False)
    assert (ran.code, "there is no backup" in ran.err) == (2, True)
    one = months.run("prune", str(next(months.root.rglob("*.mbox"))), "--keep", "1", is_json=False)
    assert (one.code, "got a file" in one.err) == (2, True)


def test_a_backup_in_one_file_cannot_be_pruned_and_it_is_said_why(months: Months) -> None:
    months.deliver([b"A: 1\r\n\r\nText\r\n"])
    assert months.backup("--layout", "one").code == 0
    ran = months.prune("--older-than", "1y", is_json=False)
    assert ran.code == 2
    assert "one for all time (--layout one)" in ran.err
