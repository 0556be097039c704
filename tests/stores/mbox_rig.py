"""mbox files as the tests see them: sessions on a directory, and its truth read without the store's own code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from migrate.commands import Append, OpenDest, OpenMailbox
from migrate.model import INBOX, MailboxName
from migrate.rules.dedupe import Digester
from migrate.stores.base import Finding, Session, Step, StoredAgain, Sum
from migrate.stores.mbox import Identity, MboxAppender, MboxReader, check

from .contract import Held, letter, value

NOVEMBER = datetime(2026, 11, 26, tzinfo=UTC).timestamp()
DECEMBER = datetime(2026, 12, 1, tzinfo=UTC).timestamp()


def appender(root: Path, *, layout: str = "month", now: float = NOVEMBER, **more: Any) -> MboxAppender:
    """A session that appends on that day, and does not wait for locks."""
    return MboxAppender(root, layout=layout, clock=lambda: now, wait_s=more.pop("wait_s", 0.0), **more)


def opened(root: Path, mailbox: MailboxName = INBOX, **more: Any) -> MboxAppender:
    """The same, with the mailbox open."""
    session = appender(root, **more)
    value(session, OpenDest(0))
    value(session, OpenMailbox(0, mailbox, create=True))
    return session


def store(root: Path, messages: Sequence[bytes], mailbox: MailboxName = INBOX, **more: Any) -> list[tuple[str, bytes]]:
    """Puts messages into a mailbox. Value: what the session had to say."""
    session = opened(root, mailbox, **more)
    spill = root.with_name("spill")
    spill.mkdir(exist_ok=True)
    for octets in messages:
        value(session, Append(0, mailbox, (letter(octets, spill),)))
    session.close()
    return session.notices


def checked(root: Path, identity: Identity | None = None) -> tuple[list[Finding], Sum]:
    """What the proof says of a directory."""
    told, read = proof(root, identity)
    return [one for one in told if isinstance(one, Finding)], read


def proof(root: Path, identity: Identity | None = None) -> tuple[list[Finding | StoredAgain], Sum]:
    """The same, with what it had lost and has again."""
    steps = check(root, identity, sleep=lambda seconds: None)
    told: list[Finding | StoredAgain] = []
    while True:
        try:
            found = next(steps)
        except StopIteration as end:
            return told, end.value
        if not isinstance(found, Step):
            told.append(found)


def held(directory: Path) -> list[Held]:
    """What the index files below a directory and the octets beside them say, by uid."""
    found = []
    for path in directory.rglob("*.mbox.index"):
        file = path.with_suffix("").read_bytes() if path.with_suffix("").exists() else b""
        for line in path.read_bytes().split(b"\n")[:-1]:  # one that is not ended was torn off
            try:
                one = json.loads(line)
            except ValueError:
                continue
            if "uid" not in one or "check" not in one:
                continue
            stored = file[one["offset"] : one["offset"] + one["length"]]
            if len(stored) < one["length"]:
                continue
            octets = re.sub(rb"(?m)^>(>*From )", rb"\1", stored.split(b"\n", 1)[1][:-1])
            octets = octets if one["final-line-end"] else octets[:-1]
            octets = octets.replace(b"\n", b"\r\n") if one["line-ends"] == "crlf" else octets
            when = datetime.fromisoformat(one["internaldate"])
            found.append(Held(one["uid"], octets, frozenset(one["flags"]), when))
    return sorted(found, key=lambda one: one.uid)


class MboxSource:
    """A directory of mbox files as a source."""

    def __init__(self, scratch: Path) -> None:
        self.root = scratch / "backup"
        self.root.mkdir()
        self.spill_dir = scratch / "letters"
        self.spill_dir.mkdir()

    def load(self, messages: Sequence[bytes]) -> None:
        store(self.root, messages)

    def served(self, octets: bytes) -> bytes:
        return octets

    def held(self) -> list[bytes]:
        return [one.octets for one in held(self.root)]

    def reader(self) -> Session:
        return MboxReader(self.root, Digester, self.spill_dir)

    def cut(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))


class MboxDest:
    """A directory of mbox files as a destination."""

    has_uids = True

    def __init__(self, root: Path, *, layout: str) -> None:
        self.root = root
        self.layout = layout

    def appender(self) -> Session:
        return appender(self.root, layout=self.layout)

    def kept(self, octets: bytes) -> bytes:
        return octets

    def held(self, mailbox: MailboxName) -> list[Held]:
        return held(self._directory(mailbox))

    def remove(self, mailbox: MailboxName, uid: int) -> None:
        """Nothing is ever removed; a damaged line of the index has the same effect."""
        (path,) = self._directory(mailbox).glob("*.index")
        path.write_bytes(path.read_bytes().replace(b'{"uid":%d,' % uid, b'{"uie":%d,' % uid))

    def cut(self) -> None:
        self.root.rename(self.root.with_name("elsewhere"))

    def _directory(self, mailbox: MailboxName) -> Path:
        return self.root.joinpath(*mailbox.levels)
