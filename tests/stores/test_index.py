"""An index that the digest of its last mark proves says what its lines say, and nothing else is believed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO

import pytest

from migrate.commands import OpenDest, OpenMailbox, SearchUids
from migrate.model import INBOX, DateSource, Flags, InternalDate
from migrate.stores import maildir, mbox
from migrate.stores.maildir import index as maildir_index
from migrate.stores.mbox import index as mbox_index
from migrate.stores.record import SealedIndex, sealed
from migrate.wire.mbox import LineEnds, Note

from . import maildir_rig, mbox_rig
from .contract import LANE, value

ONE, TWO, THREE = (b"N: %d\r\n\r\nFrom here\r\n" % number for number in (1, 2, 3))
WHEN = InternalDate(datetime(2026, 11, 26, tzinfo=UTC), DateSource.STORE)
MANY = 2_000  # lines of some hundred octets: more than one block of the file


@dataclass(frozen=True)
class Kind:
    """A store that has an index. ``about`` is what its sessions have read, by the name of the option."""

    store: ModuleType
    lines: ModuleType
    rig: ModuleType
    about: str
    head: bytes
    entry: Callable[[int], bytes]

    def read(self, path: Path, lines: list[bytes]) -> Any:
        path.write_bytes(b"".join(lines))
        return self.lines.Index(path)

    def mark(self, end: int, lines: list[bytes] | None = None, **more: Any) -> bytes:
        """The line; with ``lines``, those that it proves."""
        before = b"" if lines is None else sha256(b"".join(lines)).digest()
        line: bytes = self.lines.Mark(end, before=before, **more).line()
        return line

    def proven(self, lines: list[bytes], end: int) -> list[bytes]:
        return [*lines, self.mark(end, lines)]

    def plain(self, lines: list[bytes], end: int) -> list[bytes]:
        return [*lines, self.mark(end)]

    def index(self, count: int) -> list[bytes]:
        """Lines of so many messages, with marks between them."""
        lines = [self.head, self.mark(0)]
        for number in range(count):
            lines.append(self.entry(number))
            if number % 7 == 0:
                lines.append(self.mark(number * 100 + 100, **self.more(number)))
        return lines

    def more(self, number: int) -> dict[str, Any]:
        """Some marks of a Maildir say that messages were never delivered."""
        return {"void": (number + 1, number + 2)} if self.store is maildir and number % 3 == 0 else {}

    def paths(self, root: Path) -> list[Path]:
        return sorted(root.rglob("*.index"))


def of_mbox(number: int) -> bytes:
    """The line of one message. Each has another length, and some look like other lines inside."""
    digest = sha256(b"%d" % number).digest()
    sender = ('\n{"uid":7,"offset":0,"length":1,"stored":"' if number % 500 == 3 else "ada") + "a" * (number % 83)
    return mbox_index.Entry(
        uid=number + (100 if number > 50 else 1),
        offset=number * 100,
        length=100,
        stored=digest,
        octets=90,
        exact=digest,
        internaldate=WHEN,
        flags=Flags(),
        sender=sender,
        note=Note(LineEnds.CRLF, True),
    ).line()


def of_maildir(number: int) -> bytes:
    """The same; every fifth is a message that somebody else delivered."""
    digest, uid = sha256(b"%d" % number).digest(), number + (100 if number > 50 else 1)
    name = f"cur/{number}.{'a' * (number % 83)},S=1:2,S"
    if number % 5 == 4:
        return maildir_index.Guest(uid, name).line()
    return maildir_index.Entry(
        uid=uid,
        name=name,
        length=100,
        stored=digest,
        octets=90 + number,
        exact=digest,
        internaldate=WHEN,
        flags=Flags(),
        line_ends=LineEnds.CRLF,
    ).line()


KINDS = [
    Kind(mbox, mbox_index, mbox_rig, "parts", mbox_index.Head(INBOX, 17, 1, 0).line(), of_mbox),
    Kind(maildir, maildir_index, maildir_rig, "indexes", maildir_index.Head(INBOX, 17).line(), of_maildir),
]


@pytest.fixture(params=KINDS, ids=["mbox", "maildir"])
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


def facts(index: Any) -> dict[str, Any]:
    """All that an index says; its size differs by the digest."""
    left_out = ("size", "_digest", "_opener")
    return {name: one for name, one in vars(index).items() if name not in left_out} | {"entries": list(index.entries())}


BEHIND = ["nothing", "an entry", "an entry and a mark", "a torn line"]


@pytest.mark.parametrize("count", [0, 1, 49, MANY])
@pytest.mark.parametrize("behind", BEHIND)
def test_an_index_says_the_same_whether_its_lines_are_proven_or_checked(
    kind: Kind, tmp_path: Path, count: int, behind: str
) -> None:
    lines, path = kind.index(count), tmp_path / "index"
    more = {
        "nothing": [],
        "an entry": [kind.entry(MANY)],
        "an entry and a mark": [kind.entry(MANY), kind.mark(MANY * 100 + 100)],
        "a torn line": [b'{"uid":1'],
    }[behind]
    one, other = (facts(kind.read(path, [*make(lines, count * 100), *more])) for make in (kind.proven, kind.plain))
    assert one.pop("entries") == other.pop("entries")
    if behind.startswith("an entry"):
        other["_lines"][-1] += len(kind.mark(0, [])) - len(kind.mark(0))  # behind a longer mark
    assert one == other
    assert len(one["uids"]) >= count


def test_lines_that_a_digest_proves_are_not_checked_again(kind: Kind, tmp_path: Path) -> None:
    lines, path = kind.index(49), tmp_path / "index"
    lines[20] = lines[20].replace(b'"check":"', b'"check":"0')
    assert kind.read(path, kind.proven(lines, 4900)).bad == []
    assert kind.read(path, kind.plain(lines, 4900)).bad == [21]


@pytest.mark.parametrize("place", [0, 30, 400, 401, 5_000, -2_000, -300, -120, -3])
def test_an_octet_that_changed_in_front_of_the_mark_is_found(kind: Kind, tmp_path: Path, place: int) -> None:
    path = tmp_path / "index"
    octets = bytearray(b"".join(kind.proven(kind.index(100), 10_000)))
    octets[place] ^= 1
    index = kind.read(path, [bytes(octets)])
    assert index.bad or index.tail
    assert bool(index.mark(10_000).before) == (not index.bad)


def test_a_line_taken_out_in_front_of_the_mark_is_as_if_there_were_no_digest(kind: Kind, tmp_path: Path) -> None:
    path, lines = tmp_path / "index", kind.index(100)
    last = kind.proven(lines, 10_000)[-1]
    one, other = (facts(kind.read(path, [*lines[:30], *lines[31:], mark])) for mark in (last, kind.mark(10_000)))
    assert one == other


@pytest.mark.parametrize("odd", [b'{"uid":5}\n', sealed({"uid": 5}), "head", b"\n", sealed({"uid": 5, "name": 'a"b'})])
def test_a_digest_over_a_line_that_is_not_as_ours_are_proves_nothing(
    kind: Kind, tmp_path: Path, odd: bytes | str
) -> None:
    path, lines = tmp_path / "index", kind.index(20)
    lines.insert(10, odd if isinstance(odd, bytes) else kind.head)
    assert facts(kind.read(path, kind.proven(lines, 2_000))) == facts(kind.read(path, kind.plain(lines, 2_000)))


def test_every_mark_has_the_digest_of_what_stands_in_front_of_it(kind: Kind, tmp_path: Path) -> None:
    root = tmp_path / "backup"
    kind.rig.store(root, [ONE, TWO])
    kind.rig.store(root, [THREE])
    before, marks = b"", 0
    (path,) = kind.paths(root)
    for line in path.read_bytes().splitlines(keepends=True):
        record = kind.lines.parse(line)
        if isinstance(record, kind.lines.Mark):
            marks += 1
            assert record.before == sha256(before).digest()
        before += line
    assert marks == 3


# --- once a run -------------------------------------------------------------------------------


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The indexes that are read, one after the other."""
    paths: list[Path] = []
    real = SealedIndex._read

    def watched(index: SealedIndex[Any], stream: BinaryIO) -> None:
        paths.append(index.path)
        real(index, stream)

    monkeypatch.setattr(SealedIndex, "_read", watched)
    return paths


def test_what_a_run_has_read_is_not_read_again_by_those_that_come_after(
    kind: Kind, tmp_path: Path, reads: list[Path]
) -> None:
    root, about = tmp_path / "backup", dict[Path, Any]()
    kind.rig.store(root, [ONE, TWO])
    reads.clear()
    kind.rig.store(root, [THREE], **{kind.about: about})
    assert kind.store.find_lost(root, INBOX, [1, 2, 3, 4], about) == [4]
    assert reads == kind.paths(root)


def test_what_somebody_else_wrote_since_is_read(kind: Kind, tmp_path: Path) -> None:
    root, about = tmp_path / "backup", dict[Path, Any]()
    kind.rig.opened(root, **{kind.about: about}).close()
    kind.rig.store(root, [ONE])
    session = kind.rig.appender(root, **{kind.about: about})
    value(session, OpenDest(LANE))
    value(session, OpenMailbox(LANE, INBOX, create=True))
    assert value(session, SearchUids(LANE, INBOX, 1)) == [1]
    kind.rig.store(root, [TWO])
    assert kind.store.find_lost(root, INBOX, [1, 2, 3], about) == [3]
    for path in root.rglob("*"):
        if path.suffix == ".mbox" or path.parent.name in ("new", "cur"):
            path.unlink()
    assert kind.store.find_lost(root, INBOX, [1, 2], about) == [1, 2]
