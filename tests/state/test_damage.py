"""A damaged state file is refused, or what was damaged was nothing: no wrong value is ever read from it."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from migrate.books import MailboxMemory
from migrate.errors import Exit, StateError
from migrate.model import INBOX, MailboxName, Stage
from migrate.state import State, read_state

from .support import copy_all, file_state, fingerprint, mail, refs

SEED = int(os.environ.get("POPFERRY_SEED", "20240229"))
FLIPS = 200
PAGE = 4096


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A closed state file of a hundred messages in every kind of stage, with an index of the destination."""
    path = tmp_path_factory.mktemp("sound") / "s.sqlite"
    state = file_state(path)
    state.begin_run(1000.0)
    state.begin_session()
    state.record_listing(refs(*((b"uidl-%d" % number, 100 + number) for number in range(100))))
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 300))
    state.remember_mailbox(MailboxName.parse("Archive"), MailboxMemory(8, 2, 3))
    copy_all(state, *((state.row(number), mail(str(number))) for number in range(1, 61)))
    aside = tuple(state.row(number)._replace(stage=Stage.SET_ASIDE, reason="too large") for number in range(61, 71))
    state.commit([aside])
    state.index(INBOX, [(uid, fingerprint(mail(str(uid))).key.index, uid) for uid in range(1000, 1200)])
    state.close()
    return path


def contents(state: State) -> list[Any]:
    """Every value that a run decides by."""
    facts: list[Any] = [state.row(number) for number in range(1, 101)]
    indexes = [fingerprint(mail(str(number))).key.index for number in (*range(1, 61), *range(1000, 1200))]
    facts += [state.lookup(INBOX, indexes), state.tally(), state.open_mailboxes()]
    facts += [state.mailbox(INBOX), state.mailbox(MailboxName.parse("Archive"))]
    facts.append(state.unknown_uids(INBOX, range(1, 1300)))
    state.begin_session()
    facts.append(state.record_listing(refs(*((b"uidl-%d" % number, 100 + number) for number in range(100)))))
    facts.append(state.next_work(200, 0))
    return facts


def opened(path: Path) -> list[Any] | None:
    """The contents, or None when the file was refused and left as it is."""
    before = path.read_bytes()
    refusal = None
    try:
        state = file_state(path)
    except StateError as error:
        refusal = error
    if refusal is not None:
        assert refusal.exit in (Exit.STATE_DAMAGED, Exit.STATE_UNWRITABLE), refusal.what
        assert refusal.hint
        assert path.read_bytes() == before
        return None
    try:
        return contents(state)
    finally:
        state.close()


def copied(sound: Path, to: Path) -> Path:
    to.chmod(0o700)
    shutil.copy(sound, to / "s.sqlite")
    (to / "s.sqlite").chmod(0o600)
    return to / "s.sqlite"


def test_a_file_cut_at_any_page_is_refused(sound: Path, tmp_path: Path) -> None:
    octets = sound.read_bytes()
    cuts = [*range(0, len(octets), PAGE), 1, 99, 100, len(octets) - 1]
    assert len(cuts) > 15
    for cut in cuts:
        path = copied(sound, tmp_path)
        os.truncate(path, cut)
        assert opened(path) is None, f"cut at {cut}"


def test_a_flipped_bit_is_refused_or_changes_nothing(sound: Path, tmp_path: Path) -> None:
    octets = sound.read_bytes()
    expected = opened(copied(sound, tmp_path))
    assert expected is not None
    chance = random.Random(SEED)
    refusals = 0
    for _ in range(FLIPS):
        bit = chance.randrange(len(octets) * 8)
        path = copied(sound, tmp_path)
        flipped = bytearray(octets)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        found = opened(path)
        refusals += found is None
        assert found is None or found == expected, f"bit {bit} (POPFERRY_SEED={SEED})"
    assert refusals > FLIPS // 4


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE message SET stage = 'verified' WHERE id = 80",
        "UPDATE message SET octets = octets + 1 WHERE id = 80",
        "UPDATE message SET reason = 'fine' WHERE id = 61",
        "UPDATE message SET flags = '\\Flagged' WHERE id = 1",
        "UPDATE message SET id = 2000 WHERE id = 1",
        "UPDATE message SET exact = (SELECT exact FROM message WHERE id = 2), seal ="
        " (SELECT seal FROM message WHERE id = 2) WHERE id = 1",
        "UPDATE message SET idx = 7 WHERE id = 1",
        # NULL and what looks like nothing: one flipped bit makes one of the other.
        "UPDATE message SET exact = 0 WHERE id = 80",
        "UPDATE message SET settled = '' WHERE id = 1",
        "UPDATE message SET content = x'' WHERE id = 80",
        "UPDATE message SET flags = x'' WHERE id = 80",
        "UPDATE message SET uid = 'text' WHERE id = 1",
        "UPDATE mailbox SET scanned = 1000 WHERE id = 1",
        "UPDATE mailbox SET name = 'Other' WHERE id = 1",
        "UPDATE served SET octets = 5 WHERE uid = 1000",
        "UPDATE meta SET value = 3 WHERE key = 'run'",
        "DELETE FROM meta WHERE key = 'session'",
        "DROP INDEX message_claim",
        "CREATE TRIGGER odd AFTER INSERT ON message BEGIN DELETE FROM message; END",
        "CREATE TABLE odd (id INTEGER)",
    ],
)
def test_a_change_by_another_hand_is_found(sound: Path, tmp_path: Path, damage: str) -> None:
    path = copied(sound, tmp_path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute(damage)
    other.close()
    assert opened(path) is None


def test_a_row_that_changes_while_a_run_goes_on_is_found_when_it_is_read(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    state = file_state(path)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("UPDATE message SET uid_dest = 5 WHERE id = 3")
    other.execute("UPDATE served SET octets = 5 WHERE uid = 1000")
    other.execute("UPDATE meta SET value = 1 WHERE key = 'session'")
    other.close()
    with pytest.raises(StateError, match="message 3"):
        state.row(3)
    with pytest.raises(StateError, match="uid 1000"):
        state.lookup(INBOX, [fingerprint(mail("1000")).key.index])
    state.close()


def test_problems_names_every_damaged_row(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    with read_state(path) as reader:
        assert list(reader.problems()) == []
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("UPDATE message SET octets = 1 WHERE id IN (3, 5)")
    other.close()
    with read_state(path) as reader:
        assert list(reader.problems()) == [
            "the row of message 3 does not fit its checksum",
            "the row of message 5 does not fit its checksum",
        ]
        with pytest.raises(StateError, match="message 3"):
            reader.summary()


def test_a_file_that_is_as_the_last_run_left_it_is_believed_at_once(sound: Path, tmp_path: Path) -> None:
    path = copied(sound, tmp_path)
    file_state(path).close()
    left = path.with_name("s.sqlite.lock").read_bytes()
    assert left.count(b"\n") == 2
    flipped = bytearray(path.read_bytes())
    flipped[flipped.rindex(b"uidl-5")] ^= 1
    path.write_bytes(flipped)
    assert opened(path) is None
