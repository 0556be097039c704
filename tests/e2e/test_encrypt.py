"""Encrypted months as a person has them: a machine that makes the backup without the key, and one that has it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate

from .ferry import Ran
from .test_prune import MONTH_S, Months

pyrage = pytest.importorskip("pyrage")
pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
pytestmark = [pytest.mark.dovecot]

PAIR = pyrage.x25519.Identity.generate()
PUBLIC, SECRET = str(PAIR.to_public()), str(PAIR)


class Keyed(Months):
    """The same, and a key on another machine."""

    def __init__(self, scratch: Path, dovecot: Dovecot, user: str) -> None:
        super().__init__(scratch, dovecot, user)
        self.key = scratch / "key.txt"
        self.key.write_text(f"# created: today\n# public key: {PUBLIC}\n{SECRET}\n")
        self.key.chmod(0o600)
        self.said: list[str] = []

    def run(self, *words: str, is_json: bool = True, program: tuple[str, ...] = ()) -> Ran:
        assert SECRET not in words
        ran = super().run(*words, is_json=is_json, program=program)
        self.said.append(ran.err + repr(ran.events))
        return ran


@pytest.fixture
def months(tmp_path: Path, dovecot: Dovecot, user: str) -> Keyed:
    return Keyed(tmp_path, dovecot, user)


def test_a_machine_with_the_public_key_makes_a_backup_that_it_cannot_read(months: Keyed, tmp_path: Path) -> None:
    served = months.grow()
    night = months.backup("--encrypt-to", PUBLIC)
    assert night.code == 0
    assert [one["messages"] for one in night.all("encrypted")] == [5, 5, 5]
    assert [path.name for path in months.root.rglob("*.zst")] == []

    for _ in range(2):  # with and without the option, nothing is done twice
        again = months.backup("--encrypt-to", PUBLIC)
        assert (again.code, again.all("encrypted"), again.all("fetched"), again.all("damaged")) == (0, [], [], [])
    new = months.deliver(list(generate(45, 2, odd=0)))
    assert len(months.backup().all("fetched")) == 2

    proof = months.verify()
    assert (proof.code, proof.one("checked")["messages"], proof.one("checked")["unread"]) == (0, 2, 15)
    said = months.run("verify", str(months.root), is_json=False)
    assert "not read, in encrypted files: 15 messages" in said.err
    assert "--identity FILE reads them too" in said.err
    proof = months.run("verify", str(months.root), "--identity", str(months.key))
    assert (proof.code, proof.one("checked")["messages"], proof.one("checked")["unread"]) == (0, 17, 0)

    refused = months.restore()
    assert (refused.code, refused.events) == (2, [])
    assert "--identity FILE" in refused.err
    assert months.stored() == [], "nothing was done"
    other = tmp_path / "other"
    other.write_text(str(pyrage.x25519.Identity.generate()))
    other.chmod(0o600)
    refused = months.restore("--identity", str(other))
    assert (refused.code, "the identity has no key that" in refused.err + repr(refused.events)) == (11, True)
    assert months.stored() == []
    back = months.restore("--identity", str(months.key))
    assert (back.code, back.tally["copied"]) == (0, 17)
    assert Counter(one.octets for one in months.stored()) == Counter(map(months.dovecot.kept, served + new))
    recount = months.run(
        *("verify", f"mbox:{months.root}", months.ferry.dest, "--dest-password", "env:NEW_PASSWORD"),
        *("--identity", str(months.key)),
    )
    assert recount.code == 0
    assert all(SECRET not in said for said in months.said)


def test_what_is_lost_of_it_comes_again_and_what_is_pruned_does_not(months: Keyed) -> None:
    months.grow()
    assert months.backup("--encrypt-to", PUBLIC).code == 0
    oldest, newer, newest = sorted(months.root.rglob("*.zst.age"))
    done = months.prune("--keep", "2", "--yes")
    assert (done.one("prunable")["messages"], done.one("prunable")["since"] is None) == (5, False)
    assert not oldest.exists()
    os.truncate(newer, 100)
    night = months.backup("--encrypt-to", PUBLIC)
    assert night.code == 40
    assert night.one("damaged")["what"].startswith("missing: 5 of the messages that were stored before")
    again = months.backup("--encrypt-to", PUBLIC)
    assert (again.code, len(again.all("fetched"))) == (0, 5)
    assert (months.verify().code, newest.exists()) == (40, True), "the file that is damaged is named all the same"


def test_a_lost_state_file_is_rebuilt_with_the_key(months: Keyed) -> None:
    months.grow()
    assert months.backup("--encrypt-to", PUBLIC).code == 0
    shutil.rmtree(months.root / ".popferry")
    words = (months.ferry.source, f"mbox:{months.root}", "--source-password", "env:OLD_PASSWORD")
    refused = months.backup()
    assert (refused.code, "popferry rebuild --dedupe off" in refused.err) == (2, True)
    assert not (months.root / ".popferry").exists()
    state = ("--state", str(months.root / ".popferry" / "x.sqlite"))
    keyless = months.run("rebuild", *words, *state, "--settle", "0", "--dedupe", "off")
    assert (keyless.code, "--identity FILE" in keyless.err) == (2, True)
    done = months.run("rebuild", *words, *state, "--settle", "0", "--dedupe", "off", "--identity", str(months.key))
    assert done.code == 0
    night = months.backup(*state)
    assert (night.code, night.all("fetched"), night.tally["copied"]) == (0, [], 15)


def test_what_is_wrong_with_a_key_is_told_and_the_key_is_not(months: Keyed, tmp_path: Path) -> None:
    months.grow()
    path = tmp_path / "keys"
    for text, says in (
        (SECRET, "has a secret key, which does not belong on this machine"),
        (SECRET.lower(), "has a secret key"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI", "Keys of SSH are not taken"),
        ("# nobody\n\n", "expected lines that begin with age1"),
        (PUBLIC[:-1] + ("q" if PUBLIC[-1] != "q" else "p"), "a character of it is wrong or missing"),
    ):
        path.write_text(text)
        ran = months.backup("--encrypt-to", str(path), is_json=False)
        assert (ran.code, says in ran.err) == (2, True), (says, ran.err.replace(SECRET, "?"))
    for words in ((SECRET,), (str(tmp_path / "none"),), ("age1xyz",), (PUBLIC, "--layout", "one")):
        done = Months.run(months, *months.words(), "--encrypt-to", *words, is_json=False)
        assert (done.code, SECRET in done.err) == (2, False), done.err
    path.write_text(f"# both\n{PUBLIC}\n\n{pyrage.x25519.Identity.generate().to_public()}\n")
    assert months.backup("--encrypt-to", str(path)).code == 0
    for text, mode, says in (
        (SECRET, 0o644, "can be used by other users"),
        (SECRET[:-1], 0o600, "a key in this file is damaged"),
        ("hello", 0o600, "expected lines that begin with AGE-SECRET-KEY-1"),
        ("-----BEGIN AGE ENCRYPTED FILE-----\n", 0o600, "protected by a passphrase"),
        ("", 0o600, "expected lines that begin with AGE-SECRET-KEY-1"),
    ):
        months.key.write_text(text)
        months.key.chmod(mode)
        ran = months.restore("--identity", str(months.key))
        assert (ran.code, says in ran.err) == (2, True), says
    assert all(SECRET[:40] not in said for said in months.said)


def test_what_is_not_read_back_waits_and_nothing_is_encrypted_in_a_rehearsal(months: Keyed) -> None:
    months.grow()
    assert months.backup("--encrypt-to", PUBLIC, "--dry-run").code == 0
    assert list(months.root.rglob("*.age")) == []


@pytest.mark.slow
def test_a_backup_that_is_killed_while_it_encrypts_is_completed(months: Keyed, tmp_path: Path) -> None:
    served = months.grow()
    shutil.copytree(months.root, tmp_path / "whole")
    kills, number = 0, 0
    from .test_prune import KILLED

    while True:
        number += 7  # the store's own test is killed at every one of them
        months.root = tmp_path / f"killed-{number}"
        shutil.copytree(tmp_path / "whole", months.root)
        words = (*months.words(), "--encrypt-to", PUBLIC)
        code = months.run(*words, program=("-c", KILLED, str(months.now_s), str(number)), is_json=False).code
        if code >= 0:
            assert code == 0
            break
        kills += 1
        assert months.verify().code == 0, number
        night = months.run(*words)
        assert (night.code, night.all("fetched"), night.all("damaged")) == (0, [], []), number
        assert len(list(months.root.rglob("*.zst.age"))) == 3, number
        proof = months.run("verify", str(months.root), "--identity", str(months.key))
        assert (proof.code, proof.one("checked")["messages"]) == (0, 15), number
        shutil.rmtree(months.root)
    assert kills > 5
    assert len(served) == 15


@pytest.mark.skipif(not shutil.which("age") or not shutil.which("age-keygen"), reason="the program age is not here")
def test_a_key_of_the_program_age_is_taken_as_it_is(months: Keyed, tmp_path: Path) -> None:
    months.deliver(list(generate(46, 5, odd=0)))
    assert months.backup().code == 0
    months.now_s += MONTH_S
    key = tmp_path / "age.key"
    made = subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True, text=True).stderr
    (public,) = re.findall("age1[a-z0-9]+", made)
    assert len(months.backup("--encrypt-to", public).all("encrypted")) == 1
    proof = months.run("verify", str(months.root), "--identity", str(key))
    assert (proof.code, proof.one("checked")["messages"]) == (0, 5)
