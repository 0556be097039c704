"""A message that a backup lost is no fault once a later one is the same and whole; until then it is named."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from migrate.model import MailboxName
from migrate.stores.base import DAMAGED, Finding, StoredAgain

from . import maildir_rig, mbox_rig
from .mbox_rig import DECEMBER

ONE, TWO, THREE, FOUR = (b"N: %d\r\n\r\nText\r\nFrom %d\r\n" % (number, number) for number in (1, 2, 3, 4))
FILE = "INBOX/2026-11.mbox"


def told(root: Path) -> tuple[list[int | None], list[StoredAgain]]:
    """The uids of what the proof finds, and what it says is there again."""
    found, _ = mbox_rig.proof(root)
    return (
        [one.uid for one in found if isinstance(one, Finding)],
        [one for one in found if isinstance(one, StoredAgain)],
    )


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A backup of four messages, the third of which is the first one once more."""
    root = tmp_path / "backup"
    mbox_rig.store(root, [ONE, TWO, ONE, FOUR])
    assert told(root) == ([], [])
    return root


def again(root: Path, messages: Sequence[bytes]) -> None:
    mbox_rig.store(root, messages, now=DECEMBER)


def lines(root: Path) -> list[bytes]:
    return (root / f"{FILE}.index").read_bytes().splitlines(keepends=True)


def put(root: Path, index: list[bytes]) -> None:
    (root / f"{FILE}.index").write_bytes(b"".join(index))


def test_a_lost_file_is_no_fault_when_all_that_was_in_it_was_stored_again(root: Path) -> None:
    (root / FILE).unlink()
    again(root, [TWO, THREE, ONE])
    (finding, remark), _ = mbox_rig.proof(root)
    what = "missing: the whole file, messages in it: 4, uids 1 to 4; 2 of them were stored again"
    assert finding == Finding(FILE, None, 3, "", what)
    assert remark == StoredAgain(FILE, 2, 1)
    again(root, [FOUR])
    assert told(root) == ([3], [StoredAgain(FILE, 3, 1)]), "of two that were the same, one is"
    again(root, [ONE])
    assert told(root) == ([], [StoredAgain(FILE, 4, 1)])


def test_what_a_file_lost_of_its_end_is_no_fault_when_it_was_stored_again(root: Path) -> None:
    octets = (root / FILE).read_bytes()
    (root / FILE).write_bytes(octets[: octets.rindex(b"N: 1") + 5])
    assert told(root) == ([3, 4], []), "the same message stands in front of it, and counts for itself"
    again(root, [FOUR])
    assert told(root) == ([3], [StoredAgain(FILE, 1, 4)])
    again(root, [ONE])
    assert told(root) == ([], [StoredAgain(FILE, 2, 3)])


def test_a_lost_index_is_no_fault_when_all_that_it_knew_was_stored_again(root: Path) -> None:
    (root / f"{FILE}.index").unlink()
    again(root, [FOUR, ONE, ONE])
    assert told(root) == ([None], [StoredAgain(FILE, 3, None)])
    again(root, [TWO])
    assert told(root) == ([], [StoredAgain(FILE, 4, None)])


@pytest.mark.parametrize("number", [1, 3, 7])
@pytest.mark.parametrize("harm", ["damaged", "gone"])
def test_a_line_that_an_index_lost_is_no_fault_when_its_message_was_stored_again(
    root: Path, number: int, harm: str
) -> None:
    index = lines(root)
    assert index[number].startswith(b'{"uid":')
    put(root, [*index[:number], *([index[number][:50] + b"\n"] if harm == "damaged" else []), *index[number + 1 :]])
    before = told(root)
    assert len(before[0]) == (3 if harm == "damaged" else 2), "the line, the uid, the octets"
    again(root, [THREE])
    assert told(root) == before
    again(root, [{1: ONE, 3: TWO, 7: FOUR}[number]])
    assert told(root) == ([], [StoredAgain(FILE, 1, None)])


@pytest.mark.parametrize("cut", ["its last octets", "all of it", "only the lines"])
def test_a_line_and_octets_that_were_lost_together_stay_a_fault(root: Path, cut: str) -> None:
    """Nobody knows which message it was, although the one in front of it is there again."""
    index = lines(root)
    put(root, [*index[:5], index[5][:50] + b"\n", index[6], index[7][:50] + b"\n", *index[8:]])
    octets = (root / FILE).read_bytes()
    end = {"its last octets": -4, "all of it": octets.rindex(b"From M"), "only the lines": len(octets)}[cut]
    (root / FILE).write_bytes(octets[:end])
    again(root, [ONE, TWO, ONE, FOUR])
    found, remarks = told(root)
    assert remarks == [StoredAgain(FILE, 2 if cut == "only the lines" else 1, None)]
    assert len(found) == {"its last octets": 4, "all of it": 3, "only the lines": 0}[cut]


def test_a_copy_that_is_damaged_itself_does_not_count(root: Path) -> None:
    (root / FILE).unlink()
    again(root, [ONE, TWO, ONE, FOUR])
    path = root / "INBOX/2026-12.mbox"
    path.write_bytes(path.read_bytes().replace(b"N: 2", b"N: 3"))
    assert told(root) == ([1_000_006, 2], [StoredAgain(FILE, 3, 1)])


def test_what_is_damaged_stays_a_fault_though_it_was_stored_again(root: Path) -> None:
    path = root / FILE
    path.write_bytes(path.read_bytes().replace(b"N: 2", b"N: 3"))
    again(root, [TWO])
    (finding,), _ = mbox_rig.proof(root)
    assert isinstance(finding, Finding)
    assert finding.what == DAMAGED


def test_another_folder_is_another_one(root: Path) -> None:
    (root / FILE).unlink()
    mbox_rig.store(root, [ONE, TWO, ONE, FOUR], mailbox=MailboxName(("Sent",)), now=DECEMBER)
    assert told(root) == ([1], [])


# --- a Maildir --------------------------------------------------------------------------------


def of_maildir(root: Path) -> tuple[list[int | None], list[int | None]]:
    """The uids of what the proof finds, and of what it says is there again."""
    found, _ = maildir_rig.proof(root)
    return (
        [one.uid for one in found if isinstance(one, Finding)],
        [one.uid for one in found if isinstance(one, StoredAgain)],
    )


def path_of(root: Path, uid: int) -> Path:
    entries = map(json.loads, (root / "popferry.index").open())
    return root / next(str(one["name"]) for one in entries if one.get("uid") == uid)


def test_a_file_that_a_maildir_lost_is_no_fault_when_its_message_was_stored_again(tmp_path: Path) -> None:
    root = tmp_path / "Maildir"
    maildir_rig.store(root, [ONE, TWO, ONE, FOUR])
    path_of(root, 2).unlink()
    path_of(root, 3).unlink()  # the second of the two
    assert of_maildir(root) == ([2, 3], []), "the same message under a lower uid counts for itself"
    maildir_rig.store(root, [THREE, ONE])
    assert of_maildir(root) == ([2], [3])
    maildir_rig.store(root, [TWO])
    assert of_maildir(root) == ([], [2, 3])
    newest = path_of(root, 7)
    newest.write_bytes(newest.read_bytes() + b"\n")
    assert of_maildir(root) == ([7, 2], [3]), "one that is damaged itself does not count"
    newest.unlink()
    assert of_maildir(root) == ([2, 7], [3]), "and it was lost twice"
    maildir_rig.store(root, [TWO])
    assert of_maildir(root) == ([7], [2, 3])
