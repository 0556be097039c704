"""Folders whose names are longer than a directory's: each has one all the same, and its whole name comes back."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType

import pytest

from migrate.commands import Fetch, ListSource, OpenMailbox, OpenSource
from migrate.errors import MailboxError
from migrate.model import INBOX, MailboxName
from migrate.rules.dedupe import Digester
from migrate.stores.base import Session
from migrate.stores.dirnames import NAME_OCTETS, directory_of
from migrate.stores.maildir import MaildirReader
from migrate.stores.mbox import MboxReader, compress, find_lost
from migrate.stores.mbox.folder import Folder

from . import maildir_rig, mbox_rig
from .contract import LANE, octets_of, play, value

Place = Callable[[Path, MailboxName], Path]

ONE, TWO = (b"N: %d\r\n\r\nText\r\n" % number for number in (1, 2))
LAYOUTS = {"mbox": (mbox_rig, Folder.place, MboxReader), "maildir": (maildir_rig, directory_of, MaildirReader)}
NAMES = [
    ("\u6587" * 90,),
    ("\U0001f389" * 22,),  # "%F0%9F%8E%89" each
    ("x" * 400,),
    (".." * 100, "a/b" * 100),
    ("A" * 300, "B" * 300, "C"),
    ("A" * 300, "B" * 300),
    ("A" * 300, "B" * 299 + "C"),
    ("A" * 300,),
    ("A" * 299 + "B",),
]
DEEP = MailboxName(("x" * 200,) * 25)


@pytest.fixture(params=list(LAYOUTS.values()), ids=list(LAYOUTS))
def layout(request: pytest.FixtureRequest) -> tuple[ModuleType, Place, Callable[..., Session]]:
    found: tuple[ModuleType, Place, Callable[..., Session]] = request.param
    return found


def served(reader: Session) -> dict[MailboxName | None, list[bytes]]:
    """What a source serves, by mailbox."""
    value(reader, OpenSource())
    found: dict[MailboxName | None, list[bytes]] = {}
    for ref in value(reader, ListSource()):
        message = value(reader, Fetch(ref))
        found.setdefault(message.mailbox, []).append(octets_of(message))
    return found


def test_every_folder_has_a_directory_of_its_own_and_its_whole_name_comes_back(
    layout: tuple[ModuleType, Place, Callable[..., Session]], tmp_path: Path
) -> None:
    rig, place, reader = layout
    root = tmp_path / "backup"
    mailboxes = [INBOX, *map(MailboxName, NAMES)]
    for number, mailbox in enumerate(mailboxes):
        rig.store(root, [b"N: %d\r\n\r\nText\r\n" % number], mailbox)
    rig.store(root, [TWO], mailboxes[1])
    assert all(len(os.fsencode(path.name)) <= NAME_OCTETS for path in root.rglob("*"))
    assert len({place(root, mailbox) for mailbox in mailboxes}) == len(mailboxes)
    wanted = {mailbox: [b"N: %d\r\n\r\nText\r\n" % number] for number, mailbox in enumerate(mailboxes)}
    wanted[mailboxes[1]].append(TWO)
    assert served(reader(root, Digester, tmp_path)) == wanted
    assert rig.checked(root)[0] == []


def test_a_name_that_just_fits_stays_as_it_is(layout: tuple[ModuleType, Place, Callable[..., Session]]) -> None:
    _, place, _ = layout
    dot = len(place(Path(), MailboxName(("x",))).name) - 1
    assert place(Path(), MailboxName(("x" * (NAME_OCTETS - dot),))).name[dot:] == "x" * (NAME_OCTETS - dot)
    shortened = place(Path(), MailboxName(("x" * (NAME_OCTETS + 1 - dot),))).name
    assert len(shortened) == NAME_OCTETS
    assert shortened[dot:].startswith("x" * 230)


def test_no_folder_can_be_given_the_name_that_another_one_got(
    layout: tuple[ModuleType, Place, Callable[..., Session]],
) -> None:
    _, place, _ = layout
    taken = place(Path(), MailboxName(("x" * 300,)))
    for name in (taken.name, taken.name.lstrip(".")):
        assert place(Path(), MailboxName((name,))) != taken


@pytest.mark.parametrize("levels", [("\udcff",), ("\udcff" * 300,), ("x", "\udcff")])
def test_a_name_that_is_no_text_is_an_error_of_that_folder_alone(
    layout: tuple[ModuleType, Place, Callable[..., Session]], tmp_path: Path, levels: tuple[str, ...]
) -> None:
    session = layout[0].opened(tmp_path / "backup")
    (outcome,) = play(session, OpenMailbox(LANE, MailboxName(levels), create=True))
    assert isinstance(outcome.error, MailboxError)
    assert "cannot be a folder name" in outcome.error.what
    assert value(session, OpenMailbox(LANE, MailboxName(("z",)), create=True)).messages == 0


@pytest.mark.parametrize("is_dry", [False, True])
def test_a_path_that_is_too_long_for_the_disk_is_an_error_of_that_folder_alone(tmp_path: Path, is_dry: bool) -> None:
    root = tmp_path / "backup"
    mbox_rig.store(root, [ONE])
    session = mbox_rig.opened(root, is_dry=is_dry)
    (outcome,) = play(session, OpenMailbox(LANE, DEEP, create=True))
    assert isinstance(outcome.error, MailboxError)
    assert "the path is too long for the disk" in outcome.error.what
    assert value(session, OpenMailbox(LANE, INBOX, create=True)).messages == 1
    assert served(MboxReader(root, Digester, tmp_path)) == {INBOX: [ONE]}


def test_months_of_a_folder_with_a_long_name_are_compressed_and_missed_as_others_are(tmp_path: Path) -> None:
    pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")
    root, mailbox = tmp_path / "backup", MailboxName(("\u6587" * 90, "x" * 300))
    mbox_rig.store(root, [ONE], mailbox)
    mbox_rig.store(root, [TWO], mailbox, now=mbox_rig.DECEMBER)
    now = datetime(2027, 2, 1, tzinfo=UTC).timestamp()
    assert [Path(one.file).name for one in compress(root, [], clock=lambda: now)] == ["2026-11.mbox"]
    assert served(MboxReader(root, Digester, tmp_path)) == {mailbox: [ONE, TWO]}
    assert find_lost(root, mailbox, range(1, 4)) == [3]
