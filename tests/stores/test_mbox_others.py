"""Files in a backup that are no part of it: none is passed over without a word."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from migrate.commands import Fetch, ListSource, OpenSource
from migrate.errors import MessageError
from migrate.model import MailboxName
from migrate.rules.choose import Chosen
from migrate.rules.dedupe import Digester
from migrate.stores.mbox import MboxReader, is_backup

from .contract import octets_of, play, value
from .files_rig import stored
from .mbox_rig import DECEMBER, store

ONE, TWO, THREE = (b"Subject: %d\r\n\r\nText\r\n" % number for number in (1, 2, 3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A backup of two folders without its state, as somebody copied it."""
    made = tmp_path / "Mail"
    store(made, [ONE])
    store(made, [TWO], MailboxName(("Sent",)), now=DECEMBER)
    return made


class Read:
    """What is served of a directory, what is set aside, and what is said."""

    def __init__(self, root: Path, wanted: Chosen | None = None) -> None:
        reader = MboxReader(root, Digester, root.parent, wanted=wanted)
        facts = value(reader, OpenSource())
        self.refs = list(value(reader, ListSource()))
        outcomes = play(reader, *map(Fetch, self.refs))
        self.octets = [octets_of(one.value) for one in outcomes if one.error is None]
        self.errors = [one.error for one in outcomes if one.error is not None]
        self.notices = [text for text, _ in reader.notices]
        assert facts.messages == len(self.refs)


def put(root: Path, name: str, octets: bytes) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)


def test_mail_beside_the_files_of_a_backup_is_set_aside_directory_by_directory(root: Path) -> None:
    for name in ("Old", "2019", "Sent/Drafts"):
        put(root, name, stored(THREE))
    put(root, "letter.eml", THREE)
    for number in range(3):
        put(root, f".Trash/cur/{number}:2,S", THREE)  # a folder of a Maildir
    assert is_backup(root)
    for wanted in (None, Chosen(subject="nothing has it")):
        found = Read(root, wanted)
        assert found.octets == ([] if wanted else [ONE, TWO])
        assert [ref.uid for ref in found.refs if ref.is_fault] == [
            b"unreadable;.",
            b"unreadable;.Trash/cur",
            b"unreadable;Sent",
        ]
        assert [error.what for error in found.errors if isinstance(error, MessageError)] == [
            '"2019" and 2 more in its directory: no part of the backup, not read with it',
            '".Trash/cur/0:2,S" and 2 more in its directory: no part of the backup, not read with it',
            '"Sent/Drafts": no part of the backup, not read with it',
        ]
        assert {error.hint for error in found.errors if isinstance(error, MessageError)} == {
            "Move it elsewhere, and name that place."
        }
        assert found.notices == []


def test_it_is_the_same_where_the_state_stands_in_the_backup(root: Path) -> None:
    put(root, ".popferry/state.sqlite", b"SQLite format 3\0")
    assert Read(root).errors == []
    put(root, "Old", stored(THREE))
    assert len(Read(root).errors) == 1


def test_other_files_without_mail_are_named_in_one_line(root: Path) -> None:
    for number in range(7):
        put(root, f"photo-{number}.png", b"\x89PNG\r\n")
    found = Read(root)
    assert (found.octets, found.errors) == ([ONE, TWO], [])
    (line,) = found.notices
    assert line.startswith("files that are no part of the backup are not read: photo-0.png, photo-1.png, ")
    assert line.endswith("photo-4.png and 2 more")


def test_nothing_is_said_of_what_belongs_to_a_backup(root: Path) -> None:
    octets = stored(THREE)
    put(root, ".lock", b"")
    for name in (".lock", ".part", ".lock.part", ".index.part", ".index.age", ".index.age.part"):
        put(root, f"INBOX/2026-11.mbox{name}", octets)
    put(root, "INBOX/2026-01.mbox.index", b"")  # a file that was pruned, or lost
    put(root, "INBOX/pruned.index", b"")
    put(root, ".DS_Store", octets)
    put(root, ".git/letter.eml", octets)
    put(root, "lost+found/letter.eml", octets)
    put(root, "empty", b"")
    (root / "nowhere").symlink_to("nothing")
    os.mkfifo(root / "pipe.eml")
    found = Read(root)
    assert (found.octets, found.errors, found.notices) == ([ONE, TWO], [], [])


def test_one_file_of_a_backup_is_read_alone(root: Path) -> None:
    put(root, "INBOX/letter.eml", THREE)
    found = Read(root / "INBOX" / "2026-11.mbox")
    assert (found.octets, found.errors) == ([ONE], [])
