"""A Maildir as the tests see it: sessions on it, and its truth read without the store's own code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from imapclient import imap_utf7

from migrate.commands import Append, OpenDest, OpenMailbox
from migrate.model import INBOX, MailboxName
from migrate.rules.dedupe import Digester
from migrate.stores.base import Finding, Session, Step, StoredAgain, Sum
from migrate.stores.maildir import MaildirAppender, MaildirReader, check

from .contract import Held, letter, value
from .mbox_rig import NOVEMBER

SYSTEM = {"D": "\\Draft", "F": "\\Flagged", "P": "$Forwarded", "R": "\\Answered", "S": "\\Seen", "T": "\\Deleted"}


def appender(root: Path, *, now: float = NOVEMBER, **more: Any) -> MaildirAppender:
    """A session that appends at that time, and does not wait for locks."""
    return MaildirAppender(root, clock=lambda: now, wait_s=more.pop("wait_s", 0.0), **more)


def opened(root: Path, mailbox: MailboxName = INBOX, **more: Any) -> MaildirAppender:
    """The same, with the mailbox open."""
    session = appender(root, **more)
    value(session, OpenDest(0))
    value(session, OpenMailbox(0, mailbox, create=True))
    return session


def store(root: Path, messages: Sequence[bytes], mailbox: MailboxName = INBOX, **more: Any) -> list[tuple[str, bytes]]:
    """Puts messages into a mailbox. Value: what the session had to say."""
    flags = more.pop("flags", "")
    session = opened(root, mailbox, **more)
    spill = root.with_name("spill")
    spill.mkdir(exist_ok=True)
    for octets in messages:
        value(session, Append(0, mailbox, (letter(octets, spill, flags),)))
    session.close()
    return session.notices


def checked(root: Path) -> tuple[list[Finding], Sum]:
    """What the proof says of a Maildir."""
    told, read = proof(root)
    return [one for one in told if isinstance(one, Finding)], read


def proof(root: Path) -> tuple[list[Finding | StoredAgain], Sum]:
    """The same, with what it had lost and has again."""
    steps = check(root, sleep=lambda seconds: None)
    told: list[Finding | StoredAgain] = []
    while True:
        try:
            found = next(steps)
        except StopIteration as end:
            return told, end.value
        if not isinstance(found, Step):
            told.append(found)


def directory_of(root: Path, mailbox: MailboxName) -> Path:
    return root if mailbox == INBOX else root / ("." + imap_utf7.encode(".".join(mailbox.levels)).decode())


def delivered(directory: Path) -> list[Path]:
    """Every file in new and cur."""
    return sorted([*directory.glob("new/*"), *directory.glob("cur/*")])


def held(directory: Path) -> list[Held]:
    """What the files of one Maildir say, and of their uids and line ends the index, by uid."""
    path = directory / "popferry.index"
    lines = list(map(json.loads, path.open())) if path.exists() else []
    known = {Path(one["name"]).name.split(",")[0]: one for one in lines if "stored" in one}
    names = {}
    if (directory / "dovecot-keywords").exists():
        for line in (directory / "dovecot-keywords").read_text().splitlines():
            number, name = line.split(" ")
            names[chr(97 + int(number))] = name
    found = []
    for file in delivered(directory):
        entry = known[file.name.split(",")[0]]
        octets = file.read_bytes()
        assert re.search(r",S=(\d+),W=(\d+)(?:,U=\d+)?(?::2,|$)", file.name), "sizes, as Dovecot and Courier have them"
        if entry["line-ends"] == "crlf":
            octets = octets.replace(b"\n", b"\r\n")
        letters = file.name.partition(":2,")[2]
        assert list(letters) == sorted(letters)
        flags = frozenset((SYSTEM | names)[one] for one in letters)
        assert file.stat().st_mtime % 1 == 0
        found.append(Held(entry["uid"], octets, flags, datetime.fromtimestamp(file.stat().st_mtime, UTC)))
    return sorted(found, key=lambda one: one.uid)


def all_held(root: Path) -> list[Held]:
    """The same of every Maildir at and below that one."""
    return [one for path in sorted(root.rglob("popferry.index")) for one in held(path.parent)]


class MaildirSource:
    """A Maildir as a source, written by popferry, or by another program and as it came over the wire."""

    def __init__(self, scratch: Path, *, is_own: bool) -> None:
        self.root = scratch / "Maildir"
        self.spill_dir = scratch / "letters"
        self.spill_dir.mkdir()
        self._is_own = is_own
        for name in ("cur", "new", "tmp"):
            (self.root / name).mkdir(parents=True)

    def load(self, messages: Sequence[bytes]) -> None:
        if self._is_own:
            store(self.root, messages)
            return
        count = len(delivered(self.root))
        for number, octets in enumerate(messages, start=count):
            part, letters = (("new", ""), ("cur", ":2,S"))[number % 2]
            (self.root / part / f"1{number:08}.P1.example.org{letters}").write_bytes(octets)

    def served(self, octets: bytes) -> bytes:
        if self._is_own or b"\r" in octets:
            return octets
        return octets.replace(b"\n", b"\r\n")

    def held(self) -> list[bytes]:
        if self._is_own:
            return [one.octets for one in held(self.root)]
        files = sorted(delivered(self.root), key=lambda path: path.name)
        return [self.served(path.read_bytes()) for path in files]

    def reader(self) -> Session:
        return MaildirReader(self.root, Digester, self.spill_dir)

    def cut(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))


class MaildirDest:
    """A Maildir as a destination."""

    has_uids = True

    def __init__(self, root: Path) -> None:
        self.root = root

    def appender(self) -> Session:
        return appender(self.root)

    def kept(self, octets: bytes) -> bytes:
        return octets

    def held(self, mailbox: MailboxName) -> list[Held]:
        return held(directory_of(self.root, mailbox))

    def remove(self, mailbox: MailboxName, uid: int) -> None:
        """As another program does it."""
        directory = directory_of(self.root, mailbox)
        lines = map(json.loads, (directory / "popferry.index").open())
        (name,) = [one["name"] for one in lines if one.get("uid") == uid]
        (directory / name).unlink()

    def cut(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))
