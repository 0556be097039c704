"""Messages that other programs wrote into the files of a backup: each comes back whole, as from any mail file."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from migrate.commands import Fetch, ListSource, OpenSource
from migrate.model import DateSource, InternalDate, Message, Policy
from migrate.rules.dedupe import Digester
from migrate.rules.place import place
from migrate.stores.mbox import MboxReader
from migrate.wire.mbox import FROM

from .contract import octets_of, value
from .mbox_rig import NOVEMBER, store

ONE, TWO, THREE = (b"N: %d\r\n\r\nFrom here\r\n" % number for number in (1, 2, 3))
NAME = "2026-11.mbox"
MORE = b"Return-Path: <ada@example.org>\n"  # makes the From_ line below one as ours are: mutt writes the same


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def read(root: Path) -> tuple[list[Message], list[str]]:
    """Every message that the directory serves, and what is said."""
    reader = MboxReader(root, Digester, root.parent)
    value(reader, OpenSource())
    messages = [value(reader, Fetch(ref)) for ref in value(reader, ListSource())]
    return messages, [text for text, _ in reader.notices]


def stranger(
    body: bytes, *, line: bytes = b"From ada@example.org Thu Nov 26 12:00:00 2026", more: bytes = b""
) -> bytes:
    """A message as another program writes it into the file: with LF, and nothing quoted."""
    header = b"Date: Mon, 2 Mar 2020 10:00:00 +0000\nSubject: a poem\n" + more
    return b"%b\n%b\n%b\n" % (line, header, body)


def append(root: Path, octets: bytes) -> None:
    with (root / "INBOX" / NAME).open("ab") as stream:
        stream.write(octets)


def lose_index(root: Path) -> None:
    (root / "INBOX" / f"{NAME}.index").unlink()


POEM = b"Hello,\n\nFrom Russia with love.\nYours\n"
PATCH = b"Hello,\n\nFrom 1f2e3d Mon Sep 17 00:00:00 2001\nFrom: ada@example.org\n\nText\n"
LONG = b"Content-Length: %d\n" % len(PATCH)


@pytest.mark.parametrize(
    ("body", "more"),
    [
        (POEM, b""),
        (POEM, MORE),
        (PATCH, LONG),
        (PATCH, MORE + LONG),
        (b"Hello,\n>From you\nFrom me\n", b""),
        (b"Hello,\n>From you\nFrom me\n", MORE),
    ],
)
@pytest.mark.parametrize("is_index_lost", [False, True])
def test_no_line_of_a_message_that_another_program_appended_is_lost(
    root: Path, body: bytes, more: bytes, is_index_lost: bool
) -> None:
    store(root, [ONE])
    added = [stranger(body, more=more), stranger(b"The next\n")]
    append(root, b"".join(added))
    store(root, [TWO])
    if is_index_lost:
        lose_index(root)
    messages, _ = read(root)
    wanted = [one.partition(b"\n")[2][:-1].replace(b"\n", b"\r\n") for one in added]
    assert sorted(map(octets_of, messages)) == sorted([ONE, *wanted, TWO])


def test_the_date_of_a_from_line_is_asked_last_where_another_program_wrote_it(root: Path) -> None:
    store(root, [ONE])
    append(root, stranger(POEM))
    (ours, other), _ = read(root)
    assert ours.internaldate is not None
    assert ours.internaldate.source is DateSource.STORE
    assert other.internaldate == InternalDate(datetime(2026, 11, 26, 12, tzinfo=UTC), DateSource.FROM_LINE)
    placed = place(other.header, Policy(), NOVEMBER, other.flags, other.internaldate, other.mailbox)
    assert placed.internaldate.when == datetime(2020, 3, 2, 10, tzinfo=UTC), "what the header says"


def test_what_thunderbird_deleted_behind_messages_of_ours_is_left_out_and_said(root: Path) -> None:
    store(root, [ONE])
    append(root, stranger(POEM, line=b"From - Thu Nov 26 12:00:00 2026\nX-Mozilla-Status: 0009"))
    messages, (text,) = read(root)
    assert [octets_of(message) for message in messages] == [ONE]
    assert text.startswith(f"{NAME}: messages that Thunderbird had deleted")


def test_a_quoting_that_nothing_proves_is_left_and_said(root: Path) -> None:
    store(root, [ONE])
    append(root, stranger(b">From you\n"))
    (_, other), (text,) = read(root)
    assert octets_of(other).endswith(b"\r\n\r\n>From you\r\n")
    assert text.startswith(f'{NAME}: lines that begin with ">From " stay')


def test_a_content_length_in_a_message_of_ours_takes_in_no_other_one(root: Path) -> None:
    """A sender may write any. Those of our files are told by their From_ lines, which no message of them has inside."""
    store(root.with_name("trial"), [b"Content-Length: 0\r\n\r\nx\r\n", TWO])
    octets = (root.with_name("trial") / "INBOX" / NAME).read_bytes()
    body = octets.index(b"\n\nx\n") + 2
    first = b"Content-Length: %d\r\n\r\nx\r\n" % (len(octets) - 1 - body)
    store(root, [first, TWO, THREE])
    lose_index(root)
    assert octets.count(FROM) == 3, "two lines, and one that is quoted"
    assert [octets_of(message) for message in read(root)[0]] == [first, TWO, THREE]


def test_what_stands_in_front_of_the_last_mark_is_ours_whatever_its_from_line_has_become(root: Path) -> None:
    store(root, [ONE, TWO])
    append(root, stranger(b">From you\n"))
    path = root / "INBOX" / NAME
    path.write_bytes(path.read_bytes().replace(b"From MAILER-DAEMON", b"From MAILER-DAEMOM", 1))
    index = path.with_name(f"{NAME}.index")
    index.write_bytes(index.read_bytes().replace(b'{"uid":1,', b'{"uid":9,', 1))
    messages, _ = read(root)
    assert [octets_of(message) for message in messages[:2]] == [TWO, ONE]
    assert octets_of(messages[2]).endswith(b"\r\n\r\n>From you\r\n")
