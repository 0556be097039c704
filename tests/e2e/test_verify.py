"""``popferry verify`` and ``popferry rebuild`` between real servers: what they say is what the servers hold."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate, odd_messages

from .ferry import ROOT, Ferry, commands_of, ferry

pytestmark = [pytest.mark.dovecot, pytest.mark.slow]

FOLDER = "Old"
ALL = ("--dedupe", "off")
SEED = 2031


@pytest.fixture
def loaded(dovecot: Dovecot, user: str) -> list[bytes]:
    """An old account with usual and odd mail: the octets that its POP3 serves."""
    odd = list(odd_messages(SEED).values())
    messages = [dovecot.served(octets) for octets in [*generate(SEED, 200, odd=0.3), *odd]]
    dovecot.deliver_many(f"old-{user}", messages)
    return messages


@pytest.fixture
def migration(dovecot: Dovecot, user: str, loaded: list[bytes], tmp_path: Path) -> Ferry:
    assert loaded
    return ferry(tmp_path / "state.sqlite", dovecot, f"old-{user}", dovecot, f"new-{user}", FOLDER)


def uids(dovecot: Dovecot, user: str) -> list[int]:
    return [message.uid for message in dovecot.stored(f"new-{user}", FOLDER)]


def expunge(dovecot: Dovecot, user: str, *doomed: int) -> None:
    with dovecot.imap(f"new-{user}") as imap:
        imap.command(f'SELECT "{FOLDER}"')
        imap.command(f"UID STORE {','.join(map(str, doomed))} +FLAGS (\\Deleted)")
        imap.command("EXPUNGE")


def test_verify_tells_what_the_destination_has_and_changes_nothing(
    dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    old, new = f"old-{user}", f"new-{user}"
    assert migration.run(*ALL, "--verify", "full").code == 0
    said = len(dovecot.commands(old)), len(dovecot.commands(new))

    ran = migration.other("verify", *ALL)

    result = ran.one("recounted")
    altered = sum(dovecot.kept(octets) != octets for octets in loaded)
    assert altered > 3
    assert (ran.code, ran.err) == (0, "")
    assert (result["listed"], result["identical"], result["altered"]) == (len(loaded), len(loaded) - altered, altered)
    assert (result["there"], result["also_there"], result["octets"]) == (len(loaded), 0, sum(map(len, loaded)))
    assert {one["tier"] for one in ran.all("judged")} == {"altered"}
    assert commands_of(dovecot.commands(old)[said[0] :], b"DELE", b"QUIT", b"RSET") == []
    sent = dovecot.commands(new)[said[1] :].upper()
    assert [
        word for word in (b" APPEND ", b" STORE ", b" EXPUNGE", b" CREATE ", b" COPY ", b" BODY[") if word in sent
    ] == []

    with_twins = migration.other("verify")
    assert with_twins.code == 0
    assert with_twins.one("recounted")["missing"] == 0


def test_verify_names_every_message_that_is_missing_or_another(
    dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    assert migration.run(*ALL).code == 0
    served = dovecot.served_pop3(f"old-{user}")
    usual = [
        place for place, (_, octets) in enumerate(served) if Counter(loaded)[octets] == 1 and b"\nMessage-ID" in octets
    ]
    lost, changed = usual[3], usual[7]
    there = {message.octets: message.uid for message in dovecot.stored(f"new-{user}", FOLDER)}
    expunge(dovecot, user, *(there[dovecot.kept(served[place][1])] for place in (lost, changed)))
    dovecot.deliver(f"new-{user}", served[changed][1] + b"One line more.\r\n", FOLDER)
    dovecot.deliver(f"new-{user}", b"Message-ID: <another@example.org>\r\n\r\nSomebody else's.\r\n", FOLDER)

    ran = migration.other("verify", *ALL)

    assert ran.code == 40
    result = ran.one("recounted")
    assert (result["missing"], result["differs"], result["also_there"]) == (1, 1, 1)
    bad = {one["tier"]: (one["uidl"], one["octets"]) for one in ran.all("judged") if one["tier"] != "altered"}
    expected = {"missing": served[lost], "differs": served[changed]}
    assert bad == {tier: (uidl.decode(), len(octets)) for tier, (uidl, octets) in expected.items()}


def commands_in(text: str) -> list[str]:
    """The commands that a text tells to run, each in a line of its own."""
    return [
        re.sub(r"^popferry ", f"{shlex.quote(sys.executable)} -m migrate ", line.strip())
        for line in text.splitlines()
        if line.startswith("  ")
    ]


@pytest.mark.parametrize("folder", [FOLDER, "Another"])
def test_what_verify_says_brings_back_what_is_missing(
    folder: str, dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    assert migration.run(*ALL).code == 0
    expunge(dovecot, user, *uids(dovecot, user)[:3])
    migration = replace(migration, dest=migration.dest.replace(f"/{FOLDER}", f"/{folder}"))
    words = ["verify", migration.source, migration.dest, "--state", str(migration.state), *ALL]
    words += ["--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"]
    verify = [sys.executable, "-m", "migrate", *words]
    told = subprocess.run(verify, env=migration.environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert told.returncode == 40
    move, rebuild, migrate = commands_in(told.stderr)
    for command in (move, f"{rebuild} --settle 0", migrate):
        subprocess.run(command, shell=True, env=migration.environment, cwd=ROOT, capture_output=True, check=True)
    assert migration.other("verify", *ALL).code == 0
    kept = Counter(map(dovecot.kept, loaded))
    assert Counter(message.octets for message in dovecot.stored(f"new-{user}", folder)) == kept


def test_a_run_into_another_folder_says_where_the_messages_stand(
    dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    assert migration.run(*ALL, "--limit", "5").all("notice") == []
    other = replace(migration, dest=migration.dest.replace(f"/{FOLDER}", "/Another"))
    for options in (["--dry-run"], ["--limit", "5"]):
        (notice,) = other.run(*ALL, *options).all("notice")
        assert notice["text"].startswith(f"Earlier runs copied into {FOLDER}: ")
    assert len(dovecot.stored(f"new-{user}", FOLDER)) == len(dovecot.stored(f"new-{user}", "Another")) == 5


def test_verify_recounts_what_was_deleted_at_the_source(
    dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    ran = migration.run(*ALL, "--delete-after", "verified", "--max-delete", "50")
    assert (ran.code, ran.tally["released"]) == (0, 50)
    ran = migration.other("verify", *ALL)
    result = ran.one("recounted")
    assert (ran.code, result["listed"], result["released"]) == (0, len(loaded) - 50, 50)
    expunge(dovecot, user, uids(dovecot, user)[0])
    ran = migration.other("verify", *ALL)
    assert ran.code == 40
    assert [one["is_released"] for one in ran.all("judged") if one["tier"] == "missing"] == [True]


@pytest.mark.parametrize("is_lost", [True, False], ids=["lost", "damaged"])
def test_after_a_rebuild_every_message_arrives_once(
    is_lost: bool, dovecot: Dovecot, user: str, loaded: list[bytes], migration: Ferry
) -> None:
    new = f"new-{user}"
    assert migration.run(*ALL, "--limit", "120").code == 0
    before = uids(dovecot, user)
    if is_lost:
        migration.state.unlink()
    else:
        os.truncate(migration.state, migration.state.stat().st_size // 2)
        assert migration.run(*ALL).code == 31

    ran = migration.other("rebuild", *ALL, "--settle", "0")

    assert (ran.code, ran.err) == (0, "")
    assert (ran.tally["copied"], ran.tally["open"]) == (len(before), len(loaded) - len(before))
    assert uids(dovecot, user) == before
    assert commands_of(dovecot.commands(f"old-{user}"), b"DELE") == []
    assert migration.state.with_name("state.sqlite.corrupt-1").exists() is not is_lost
    assert migration.other("rebuild", *ALL, "--settle", "0").code == 2

    assert migration.run(*ALL).code == 0
    kept = Counter(map(dovecot.kept, loaded))
    assert Counter(message.octets for message in dovecot.stored(new, FOLDER)) == kept
    assert migration.other("verify", *ALL).code == 0
    again = migration.run(*ALL)
    assert (again.code, again.all("copied")) == (0, [])
