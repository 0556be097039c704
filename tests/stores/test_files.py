"""Mail files that other programs wrote: what is found in them, and that nothing of it is lost or named twice."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.commands import CloseSource, Fetch, ListSource, OpenSource
from migrate.errors import MessageError, StoreError
from migrate.model import BLOCK, DateSource, InternalDate
from migrate.rules.dedupe import Digester
from migrate.stores.base import Session
from migrate.stores.files import FilesReader, Shelf
from migrate.stores.files.octets import OnDisk
from migrate.stores.files.stream import Stream
from migrate.stores.mbox import is_backup
from migrate.stores.mboxes import Found, Told, mbox
from tests.support.mailgen import generate

from .contract import octets_of, play, value
from .files_rig import ASCTIME, Read, crlf, emlx, lf, lzip, stored, zstd_compress
from .mbox_rig import store

WHEN = InternalDate(datetime(2015, 2, 12, 10, 11, 12, tzinfo=UTC), DateSource.FROM_LINE)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory."""
    made = tmp_path / "Mail"
    made.mkdir()
    return made


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    return lambda path, **more: Read(path, tmp_path / "letters", **more)


def letter(number: int, body: bytes = b"Text\r\n", more: bytes = b"") -> bytes:
    return b"Subject: %d\r\nMessage-ID: <%d@example.net>\r\n%b\r\n%b" % (number, number, more, body)


# --- mbox files -------------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ["", "mboxo", "mboxrd"])
@pytest.mark.parametrize("eol", [b"\n", b"\r\n"], ids=["LF", "CRLF"])
def test_every_message_of_an_mbox_file_is_read(root: Path, read: Callable[..., Read], quote: str, eol: bytes) -> None:
    loaded = list(generate(11, 40, odd=0))
    path = root / "old"
    path.write_bytes(b"".join(stored(octets, quote=quote) for octets in loaded).replace(b"\n", eol))
    found = read(path)
    assert found.octets() == loaded
    assert found.facts.messages == 40
    assert [ref.octets for ref in found.refs] == [len(octets) for octets in loaded]
    assert {message.internaldate for message in found.messages()} == {WHEN}
    assert found.notices == []


QUOTED = b"Lines:\r\n>From you\r\nand\r\n>>From us\r\n"
UNQUOTED = b"Lines:\r\nFrom you\r\nand\r\n>From us\r\n"


@pytest.mark.parametrize(
    ("line", "more", "want"),
    [
        (b"From ada@example.net " + ASCTIME, b"", QUOTED),
        (b"From mboxrd@z " + ASCTIME, b"", UNQUOTED),
        (b"From \r", b"", UNQUOTED),
        # Lengths of the body as it stands in the file, before it was quoted, on the wire, and one that is wrong.
        (b"From ada@example.net " + ASCTIME, b"Content-Length: 31\r\n", QUOTED),
        (b"From ada@example.net " + ASCTIME, b"Content-Length: 29\r\n", UNQUOTED),
        (b"From ada@example.net " + ASCTIME, b"Content-Length: 33\r\n", UNQUOTED),
        (b"From ada@example.net " + ASCTIME, b"Content-Length: 30\r\n", QUOTED),
    ],
)
def test_quoting_is_undone_only_where_it_is_proven(
    root: Path, read: Callable[..., Read], line: bytes, more: bytes, want: bytes
) -> None:
    assert len(lf(QUOTED)) == 31
    assert len(lf(UNQUOTED)) == 29
    path = root / "old"
    path.write_bytes(stored(letter(1, QUOTED, more), line) + stored(letter(2), line))
    found = read(path)
    assert found.octets() == [letter(1, want, more), letter(2)]
    assert ["stay as they are" in text for text in found.notices] == [True] * (want is QUOTED), (
        "and what stays is named"
    )


def test_a_line_that_is_not_quoted_proves_that_nothing_was(root: Path, read: Callable[..., Read]) -> None:
    body = b">From you\r\nFrom me\r\n"
    path = root / "old"
    path.write_bytes(stored(letter(1, body), b"From \r"))
    assert read(path).octets() == [letter(1, body)]


def test_a_content_length_keeps_a_message_with_from_lines_whole(root: Path, read: Callable[..., Read]) -> None:
    inner = b"".join(stored(letter(number)) for number in (7, 8))
    more = b"Content-Length: %d\r\n" % len(inner[:-1])
    whole = letter(1, crlf(inner[:-1]), more)
    for others in ([letter(2), letter(3)], []):
        path = root / "old"
        path.write_bytes(b"".join(map(stored, [whole, *others])))
        assert read(path).octets() == [whole, *others]


@pytest.mark.parametrize("wrong", [0, 3, 10, 10**6, 10**14])
def test_a_content_length_that_does_not_fit_swallows_nothing(root: Path, read: Callable[..., Read], wrong: int) -> None:
    loaded = [letter(number, more=b"Content-Length: %d\r\n" % wrong) for number in range(1, 6)]
    (root / "old").write_bytes(b"".join(map(stored, loaded)))
    assert read(root / "old").octets() == loaded


@pytest.mark.parametrize("short", range(2, 8))
def test_a_content_length_that_ends_a_little_before_a_from_line_swallows_nothing(
    root: Path, read: Callable[..., Read], short: int
) -> None:
    inner = stored(letter(2))[:-1]
    body = b"Text\n\n" + inner
    loaded = [letter(1, more=b"Content-Length: %d\r\n" % (len(body) - short)), letter(2), letter(3)]
    (root / "old").write_bytes(b"".join(map(stored, loaded)))
    assert read(root / "old").octets() == loaded
    loaded[0] = letter(1, more=b"Content-Length: %d\r\n" % len(body))
    (root / "old").write_bytes(b"".join(map(stored, loaded)))
    assert len(read(root / "old").refs) == 2, "this one fits, and nobody can tell"


@pytest.mark.parametrize("front", range(10))
def test_sizes_and_quoting_are_right_wherever_the_file_is_cut_into_blocks(
    root: Path, read: Callable[..., Read], front: int
) -> None:
    line = b">From \r\n"
    loaded = [letter(1, b"x" * front + b"\r\n" + line * (3 * BLOCK // len(line)), b"X: y\r\n"), letter(2)]
    for from_line in (b"From mboxrd@z " + ASCTIME, b"From ada@example.net " + ASCTIME):
        text = b"".join(stored(octets, from_line, quote="mboxrd") for octets in loaded)
        (root / "old").write_bytes(text.replace(b"\n", b"\r\n"))
        found = read(root / "old")
        octets = found.octets()
        assert [ref.octets for ref in found.refs] == [len(one) for one in octets]
        assert (octets == loaded) == from_line.startswith(b"From mboxrd@z ")


def test_the_empty_line_between_messages_is_of_the_format_and_no_other(root: Path, read: Callable[..., Read]) -> None:
    loaded = [letter(1, b"Text\r\n\r\n\r\n"), letter(2, b""), letter(3, b"\r\n"), letter(4, b"no line end")]
    path = root / "old"
    path.write_bytes(b"".join(map(stored, loaded)))
    assert read(path).octets() == [*loaded[:3], letter(4, b"no line end\r\n")], "but for a last line that it ended"
    path.write_bytes(b"".join(map(stored, loaded))[:-1])
    assert read(path).octets()[:3] == loaded[:3], "the last message may lack it"


def test_messages_without_an_empty_line_before_them_are_found(root: Path, read: Callable[..., Read]) -> None:
    loaded = [b"From: ada@example.net\r\n" + letter(number) for number in range(5)]
    (root / "old").write_bytes(b"".join(stored(octets)[:-1] for octets in loaded))
    assert read(root / "old").octets() == loaded


def test_a_first_message_without_from_line_is_a_message(root: Path, read: Callable[..., Read]) -> None:
    for front in (b"", b"\n\n", b"\r\n", b"\xef\xbb\xbf"):
        (root / "old").write_bytes(front + stored(letter(1)).partition(b"\n")[2] + stored(letter(2)))
        assert read(root / "old").octets() == [letter(1), letter(2)]


def test_octets_that_are_no_message_are_named_and_the_rest_is_read(root: Path, read: Callable[..., Read]) -> None:
    (root / "old").write_bytes(stored(b"") + b"\n" + stored(letter(1)))
    found = read(root / "old")
    assert found.octets() == [letter(1)]
    assert found.notices == ['"old": the From_ line at offset 0 has no message behind it']


@pytest.mark.parametrize("torn", [b"\0" * 5000, b"ject: a torn one\n\nText\n\n", b"\n\n\0" * 100_000])
def test_a_file_that_lost_its_beginning_gives_the_rest(root: Path, read: Callable[..., Read], torn: bytes) -> None:
    (root / "old.mbox").write_bytes(torn + b"\n" + stored(letter(1)) + stored(letter(2)))
    found = read(root)
    fault, *rest = play(found.session, *map(Fetch, found.refs))
    assert isinstance(fault.error, MessageError)
    assert "octets at offset" in fault.error.what
    assert [octets_of(outcome.value) for outcome in rest] == [letter(1), letter(2)]
    if len(torn) < 60_000:
        (root / "old.mbox").rename(root / "old")
        assert len(read(root).refs) == 3, "whatever its name"


def test_flags_of_the_header_are_left_to_the_header(root: Path, read: Callable[..., Read]) -> None:
    (root / "old").write_bytes(stored(letter(1, more=b"Status: RO\r\nX-Status: AF\r\n")))
    (message,) = read(root / "old").messages()
    assert message.flags is None
    assert b"Status: RO" in message.header


# --- Thunderbird ------------------------------------------------------------------------------

MARKS = b"X-Account-Key: account4\r\nX-UIDL: 0000%d\r\nX-Mozilla-Status: %04x\r\nX-Mozilla-Status2: %08x\r\n"


def test_a_thunderbird_profile_gives_its_folders_and_no_deleted_message(root: Path, read: Callable[..., Read]) -> None:
    def kept(number: int, status: int = 1, status2: int = 0) -> bytes:
        # As Thunderbird writes: the From_ line and what it got with CRLF, its own fields with LF.
        return b"From - %b\r\n%b%b\r\n" % (ASCTIME, lf(MARKS % (number, status, status2)), letter(number))

    account = root / "pop.example.org"
    (account / "Inbox.sbd" / "Work.sbd").mkdir(parents=True)
    (account / "Inbox").write_bytes(kept(1) + kept(2, 0x0009) + kept(3, 0x0004) + kept(4, 0x0008))
    (account / "Inbox.sbd" / "Work").write_bytes(kept(5))
    (account / "Inbox.sbd" / "Work.sbd" / "A.B").write_bytes(kept(6))
    (account / "Trash").write_bytes(b"")
    for name in ("Inbox.msf", "popstate.dat", "msgFilterRules.dat", "Trash.msf"):
        (account / name).write_bytes(b'// <!-- <mdb:mork:z v="1.4"/> -->')
    found = read(account)
    assert found.by_mailbox() == {"INBOX": 2, "INBOX/Work": 1, "INBOX/Work/A.B": 1}
    assert read(root).by_mailbox()["pop.example.org/Inbox/Work"] == 1
    assert found.octets()[0] == MARKS % (1, 1, 0) + letter(1), "lines end as mail has it"
    assert found.notices == [
        '"Inbox": messages that Thunderbird had deleted, and not yet removed from the file, are left out: 2 '
        f"(the first at offset {len(kept(1))})"
    ]


BESIDE = (
    "Report.dat",
    "Padlock.lock",
    "Site.index",
    "a.plist",
    "lock",
    "Old.msf",
    "filterlog.html",
    "table_of_contents",
)


def test_a_folder_that_is_called_as_what_stands_beside_mail_is_read(root: Path, read: Callable[..., Read]) -> None:
    for number, name in enumerate(BESIDE):
        (root / name).write_bytes(stored(letter(number)))
        (root / f"{name}.msf").write_bytes(b'// <!-- <mdb:mork:z v="1.4"/> -->')
    found = read(root)
    assert found.by_mailbox() == dict.fromkeys(BESIDE, 1)
    assert found.notices == []


def test_what_mail_programs_keep_beside_the_mail_is_not_worth_a_line(root: Path, read: Callable[..., Read]) -> None:
    kept = {
        "popstate.dat": b"# POP3 State File\n# This is a generated file! Do not edit.\n\n*pop.example.org ada\nk 1 2\n",
        "msgFilterRules.dat": b'version="9"\nlogging="no"\nname="From: bob"\nenabled="yes"\n',
        "training.dat": b"\xfe\xed\xfa\xce\0\0\0\1",
        "Inbox.msf": b'// <!-- <mdb:mork:z v="1.4"/> -->\n< <(a=c)> // (f=iso-8859-1)\n',
        "Inbox.lock": b"4711\n",
        "table.plist": b'<?xml version="1.0" encoding="UTF-8"?>\n<plist version="1.0"/>\n',
        "filterlog.html": b"<p>Applied filter to message from ada@example.net - Subject: x at Thu Feb 12</p>\n",
        "old.index": b"\x1f\x8bnot compressed",
        "empty.dat": b"",
        "7.2.emlxpart": stored(letter(7)),  # what Apple Mail took out of a message
        "Maildir/dovecot-uidlist": b"3 V1423735872 N3 G0b\n1 :1423735873.M1P2.host,S=66\n",
        "Maildir/subscriptions": b"V\t2\n\nSent\n",
        "Maildir/cur/1423735873.M1P2.host,S=66:2,S": letter(2),
        "Maildir/new/1423735874.M1P2.host,S=66": letter(3),
        "Inbox": stored(letter(1)),
    }
    for name, octets in kept.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(octets)
    found = read(root)
    assert found.by_mailbox() == {"INBOX": 1, "Maildir": 2}
    assert found.notices == []


# --- single messages, Apple Mail, imap-backup -------------------------------------------------


def test_a_tree_of_letters_gives_a_mailbox_for_each_directory(root: Path, read: Callable[..., Read]) -> None:
    for number, name in enumerate(["a.eml", "Work/b.eml", "Work/2026/c.EML", "MH/1", "MH/12", "Work/From.eml"]):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        front = b"From - " + ASCTIME + b"\n" if name.endswith("From.eml") else b""
        path.write_bytes(front + letter(number))
    (root / "MH" / ".mh_sequences").write_text("cur: 1")
    found = read(root)
    assert found.by_mailbox() == {"": 1, "Work": 2, "Work/2026": 1, "MH": 2}
    assert sorted(found.octets()) == [letter(number) for number in range(6)]
    assert found.notices == []


@pytest.mark.parametrize("name", ["a.eml", "a", "a.txt", "7"])
def test_a_letter_keeps_the_empty_lines_at_its_end(root: Path, read: Callable[..., Read], name: str) -> None:
    octets = letter(1, b"Text\r\n\r\n\r\n")
    (root / name).write_bytes(octets)
    found = read(root)
    assert found.octets() == [octets]
    assert [ref.octets for ref in found.refs] == [len(octets)]


def test_one_letter_is_a_source(root: Path, read: Callable[..., Read]) -> None:
    (root / "a.eml").write_bytes(b"no header at all\n")
    (message,) = read(root / "a.eml").messages()
    assert (octets_of(message), message.mailbox) == (b"no header at all\r\n", None)


def test_a_letter_that_quotes_an_mbox_file_is_one_message(root: Path, read: Callable[..., Read]) -> None:
    octets = letter(1, crlf(b"Look:\n\n" + stored(letter(2))))
    (root / "a.eml").write_bytes(octets)
    assert read(root).octets() == [octets]


def test_emlx_files_come_with_flags_and_date(root: Path, read: Callable[..., Read]) -> None:
    bundle = root / "Inbox.mbox" / "2B0F" / "Data" / "1" / "Messages"
    bundle.mkdir(parents=True)
    (root / "Inbox.mbox" / "Old.mbox" / "Messages").mkdir(parents=True)
    received = int(datetime(2018, 1, 26, 21, 1, 18, tzinfo=UTC).timestamp())
    # Bit 33, and all ones where attachments are counted, as Mail writes them; then: draft, deleted, forwarded.
    (bundle / "1.emlx").write_bytes(emlx(letter(1), flags=0x2_0003_FC15, received=received))
    (bundle / "2.emlx").write_bytes(emlx(letter(2), flags=0b1_0100_0010))
    (root / "Inbox.mbox" / "Old.mbox" / "Messages" / "3.emlx").write_bytes(emlx(letter(3)))
    (root / "Inbox.mbox" / "Info.plist").write_text("<plist/>")
    one, two, three = read(root).messages()
    assert [octets_of(message) for message in (one, two, three)] == [letter(1), letter(2), letter(3)]
    assert [str(message.mailbox) for message in (one, two, three)] == ["INBOX", "INBOX", "INBOX/Old"]
    assert [str(message.flags) for message in (one, two, three)] == [
        "\\Answered \\Flagged \\Seen",
        "$Forwarded \\Draft",
        "",
    ]
    assert one.internaldate == InternalDate(datetime(2018, 1, 26, 21, 1, 18, tzinfo=UTC), DateSource.STORE)
    assert two.internaldate is None


@pytest.mark.parametrize("harm", ["no length", "too long", "too short", "no property list"])
def test_a_damaged_emlx_gives_its_message_and_is_named(root: Path, read: Callable[..., Read], harm: str) -> None:
    octets = {
        "no length": emlx(letter(1)).partition(b"\n")[2],
        "too long": emlx(letter(1), count=5000),
        "too short": emlx(letter(1), count=20),
        "no property list": emlx(letter(1)).partition(b"<?xml")[0],
    }[harm]
    (root / "1.emlx").write_bytes(octets)
    found = read(root)
    assert found.octets() == [letter(1)]
    (notice,) = found.notices
    assert notice.startswith('"1.emlx": its ')


def test_a_property_list_in_the_text_of_a_message_is_not_that_of_the_file(
    root: Path, read: Callable[..., Read]
) -> None:
    whole = emlx(b"", flags=1)
    text = b"Subject: my settings\r\n\r\n" + crlf(whole[whole.index(b"<?xml") :]) + b"That is all.\r\n"
    octets = lf(text)
    (root / "1.emlx").write_bytes(b"%-10d\n" % len(octets) + octets)
    (root / "2.emlx").write_bytes(emlx(text, flags=1))
    found = read(root)
    assert found.octets() == [text, text]
    assert found.notices == ['"1.emlx": its property list is missing: flags and date come from the header']


def test_an_apple_export_is_the_mailbox_of_its_name(root: Path, read: Callable[..., Read]) -> None:
    (root / "Work.mbox").mkdir()
    (root / "Work.mbox" / "mbox").write_bytes(stored(letter(1)))
    (root / "Work.mbox" / "table_of_contents").write_bytes(b"\0\1")
    assert read(root).by_mailbox() == {"Work": 1}
    assert read(root / "Work.mbox").by_mailbox() == {"": 1}


def test_imap_backup_folders_come_with_their_flags(root: Path, read: Callable[..., Read]) -> None:
    body = b"Text\r\n>From: you\r\nFrom me\r\nFromage\r\n"
    loaded = [letter(1, body), letter(2), letter(3)]
    # It quotes every line that begins with From, keeps the CRs, and adds an empty line that ends in LF.
    texts = [
        b"From ada@example.net %b\n%b\n"
        % (ASCTIME, octets.replace(b"\n>From", b"\n>>From").replace(b"\nFrom", b"\n>From"))
        for octets in loaded
    ]
    (root / "Sent%3a; a").mkdir()
    path = root / "Sent%3a; a" / "2026.mbox"
    path.write_bytes(b"".join(texts))
    flags = [["Seen", "Recent", "$Forwarded"], ["Deleted", "Flagged"]]
    messages = [
        {"uid": number, "offset": sum(map(len, texts[:number])), "length": len(texts[number]), "flags": flags[number]}
        for number in (0, 1)
    ]
    path.with_suffix(".imap").write_text(json.dumps({"version": 3.1, "uid_validity": 5, "messages": messages}))
    found = read(root)
    assert found.octets() == loaded
    assert [str(message.flags or "-") for message in found.messages()] == ["$Forwarded \\Seen", "\\Flagged", "-"]
    assert found.by_mailbox() == {"Sent: a/2026": 3}
    assert found.notices == []
    path.with_suffix(".imap").write_text("{}")
    assert read(root).octets()[1:] == loaded[1:], "without a good index it is an mbox file as any other"


# --- compressed, damaged, unreadable ----------------------------------------------------------

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".lz": lzip,
    ".zst": zstd_compress,
}


def cut(octets: bytes, suffix: str) -> bytes:
    return octets[: len(octets) * 2 // 3] if suffix != ".bz2" else octets[:-100_000]


def flip(octets: bytes, suffix: str) -> bytes:
    at = len(octets) * 2 // 3 if suffix != ".bz2" else len(octets) - 100_000
    return octets[:at] + bytes((octets[at] ^ 4,)) + octets[at + 1 :]


@pytest.mark.parametrize("suffix", PACKERS)
def test_compressed_files_are_read_in_any_order(root: Path, read: Callable[..., Read], suffix: str) -> None:
    loaded = list(generate(12, 30, odd=0))
    path = root / f"old.mbox{suffix}"
    texts = list(map(stored, loaded))
    # Several streams, one behind the other, are one file.
    path.write_bytes(PACKERS[suffix](b"".join(texts[:20])) + PACKERS[suffix](b"".join(texts[20:])))
    found = read(root)
    backwards = [octets_of(value(found.session, Fetch(ref))) for ref in reversed(found.refs)]
    assert backwards == loaded[::-1]
    assert found.by_mailbox() == {"old": 30}


@pytest.mark.parametrize("harm", [cut, flip], ids=["cut", "flip"])
@pytest.mark.parametrize("suffix", PACKERS)
def test_a_damaged_compressed_file_gives_what_can_be_read_and_is_set_aside(
    root: Path, read: Callable[..., Read], suffix: str, harm: Callable[[bytes, str], bytes]
) -> None:
    loaded = [letter(number, os.urandom(30_000).hex().encode() + b"\r\n") for number in range(20)]
    octets = PACKERS[suffix](b"".join(map(stored, loaded)))
    (root / f"old.mbox{suffix}").write_bytes(harm(octets, suffix))
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert isinstance(outcomes[-1].error, MessageError)
    assert "damaged" in outcomes[-1].error.what
    whole = [octets_of(outcome.value) for outcome in outcomes[:-1] if outcome.error is None]
    assert whole[:12] == loaded[:12]
    # The last one is cut where the octets ended. Deflate may go on behind a wrong octet: its checksum says so.
    assert whole != loaded
    assert harm is flip or len(whole) < 20


@pytest.mark.parametrize("suffix", PACKERS)
def test_a_wrong_checksum_takes_no_octet_away_and_is_named(root: Path, read: Callable[..., Read], suffix: str) -> None:
    loaded = [letter(number) for number in range(3)]
    octets = PACKERS[suffix](b"".join(map(stored, loaded)))
    at = {".gz": -8, ".bz2": -5, ".xz": -22, ".lz": -20, ".zst": -1}[suffix]
    (root / f"old.mbox{suffix}").write_bytes(octets[:at] + bytes((octets[at] ^ 1,)) + octets[len(octets) + at + 1 :])
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert [octets_of(outcome.value) for outcome in outcomes if outcome.error is None] == loaded
    assert "damaged" in str(outcomes[-1].error)


def test_a_file_that_needs_a_library_which_is_not_there_is_set_aside(
    root: Path, read: Callable[..., Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "a.eml").write_bytes(letter(1))
    (root / "b.mbox.zst").write_bytes(zstd_compress(stored(letter(2))))
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    found = read(root)
    one, fault = play(found.session, *map(Fetch, found.refs))
    assert octets_of(one.value) == letter(1)
    assert 'pip install "popferry[zstd]"' in str(fault.error)


def test_a_dictionary_that_would_fill_the_memory_is_not_made(root: Path, read: Callable[..., Read]) -> None:
    (root / "a.mbox.lz").write_bytes(b"LZIP\1\x1e" + b"\0" * 40)  # 1 GiB
    (root / "b.mbox.xz").write_bytes(lzma.compress(stored(letter(1)), filters=[{"id": 0x21, "dict_size": 1 << 30}]))
    found = read(root)
    assert [str(outcome.error) for outcome in play(found.session, *map(Fetch, found.refs))] == [
        '"a.mbox.lz": damaged (Unsupported options); what stands before is read',
        '"b.mbox.xz": damaged (Memory usage limit exceeded); what stands before is read',
    ]


# --- classic Mac OS ---------------------------------------------------------------------------


def test_lines_that_end_in_cr_alone_are_lines(root: Path, read: Callable[..., Read]) -> None:
    loaded = [*generate(13, 30, odd=0), letter(77, b"Text\r\n" * (BLOCK // 3))]
    line = b"From ???@??? " + ASCTIME
    texts = [stored(octets.replace(b"\r", b""), line).replace(b"\n", b"\r") for octets in loaded]
    (root / "In").write_bytes(b"".join(texts))
    found = read(root)
    assert found.octets() == loaded
    assert found.by_mailbox() == {"In": 31}
    assert {message.internaldate for message in found.messages()} == {WHEN}
    uids = [ref.uid for ref in found.refs]
    (root / "In").write_bytes(b"".join(texts).replace(b"\r", b"\n"))
    assert [ref.uid for ref in read(root).refs] == uids, "they are the same messages"
    (root / "In").write_bytes(gzip.compress(b"".join(texts)))
    assert [ref.uid for ref in read(root).refs] == uids


@pytest.mark.parametrize("front", range(6))
def test_a_line_end_of_another_kind_that_comes_late_stays_one(
    root: Path, read: Callable[..., Read], front: int
) -> None:
    body = b"x" * (BLOCK - 60 + front) + b"\r\n" + b"y\n" * 40
    text = stored(letter(1)).replace(b"\n", b"\r") + b"From ada " + ASCTIME + b"\rSubject: 2\r\r" + body + b"\r"
    (root / "In").write_bytes(text)
    assert read(root).octets() == [letter(1), b"Subject: 2\r\n\r\n" + crlf(body)]


def test_a_cr_in_a_file_of_other_lines_is_an_octet_as_any_other(root: Path, read: Callable[..., Read]) -> None:
    bare = letter(1).replace(b"\r\n", b"\r")
    (root / "a.eml").write_bytes(bare)
    assert read(root).octets() == [bare], "and so it is in a message that may have come with no other line end"
    (root / "a.eml").unlink()
    (root / "old").write_bytes(stored(b"Subject: 1\n\na\rb\rFrom ada " + ASCTIME + b"\rSubject: 2\r\rc\n"))
    (found,) = read(root).octets()
    assert found.count(b"\r") == 4 + 4, "those of the text, and those of its lines"
    (root / "old").write_bytes(b"Some text\rand more\rSubject: no header\r")
    assert "no mail" in read(root).notices[0]


# --- Maildir ----------------------------------------------------------------------------------


def test_maildirs_among_other_files_are_read_with_what_their_names_say(root: Path, read: Callable[..., Read]) -> None:
    for name, number in (
        ("Mail/cur/1.a:2,RS", 1),
        ("Mail/cur/2.a!2,FTa", 2),
        ("Mail/cur/3.a", 3),
        ("Mail/new/4.a", 4),
        ("Mail/.Sent.2026/cur/5.a:2,", 5),
        ("Mail/.Entw&APw-rfe/new/6.a", 6),
        ("Mail/Work/cur/7.a:2,S", 7),
        ("Mail/tmp/8.a", 8),
        ("Mail/.hidden/9.eml", 9),
        ("old.eml", 10),
    ):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(letter(number))
        os.utime(path, (1_000_000_000, 1_000_000_000))
    (root / "Mail" / "new" / ".gitkeep").touch()
    (root / "Mail" / "dovecot-keywords").write_text("0 blue\n")
    (root / "Mail" / "dovecot-uidlist").write_text("3 V1\n")
    (root / "Mail" / "maildirsize").write_text("0S\n")
    found = read(root)
    assert found.notices == []
    by_number = {int(octets_of(one).split()[1]): one for one in found.messages()}
    assert {number: str(one.mailbox) for number, one in by_number.items()} == {
        **dict.fromkeys((1, 2, 3, 4), "Mail"),
        5: "Mail/Sent/2026",
        6: "Mail/Entwürfe",
        7: "Mail/Work",
        10: "None",
    }
    flags = {number: None if one.flags is None else str(one.flags) for number, one in by_number.items()}
    assert flags == {
        1: "\\Answered \\Seen",
        2: "\\Flagged blue",
        3: None,
        **dict.fromkeys((4, 5, 6), ""),
        7: "\\Seen",
        10: None,
    }
    assert by_number[1].internaldate == InternalDate(datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC), DateSource.STORE)
    assert by_number[10].internaldate is None
    (root / "Mail" / "popferry.index").touch()
    found = read(root)
    assert [ref.is_fault for ref in found.refs] == [True, False], "a backup of ours is read by its own reader"


def test_what_cannot_be_read_is_set_aside_and_the_others_are_read(root: Path, read: Callable[..., Read]) -> None:
    (root / "a.eml").write_bytes(letter(1))
    (root / "b.msg").write_bytes(b"\xd0\xcf\x11\xe0")
    (root / "c.pst").write_bytes(b"!BDN\0")
    (root / "d.mbox.gz").write_bytes(b"\x1e\x8b\x08\0")
    (root / "e.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    (root / "f.txt").write_bytes(b"Dear all\n")
    (root / "g.mbox.zst.age").write_bytes(b"age-encryption.org/v1\n-> X25519 abc\n")
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, False]
    assert len({ref.uid for ref in found.refs}) == 4
    assert found.notices == [
        '"e.7z": a 7z archive; unpack it first',
        '"f.txt": no mail: expected a From_ line or the header of a message, found "Dear all"',
        '"g.mbox.zst.age": encrypted with age; decrypt it first (age -d)',
    ]


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="no file here that refuses to be read by anybody")
def test_a_file_that_refuses_to_be_read_is_set_aside(root: Path, read: Callable[..., Read]) -> None:
    (root / "a.eml").write_bytes(letter(1))
    (root / "b.eml").symlink_to("/proc/self/mem")
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert [outcome.error is None for outcome in outcomes] == [True, False]
    assert '"b.eml"' in str(outcomes[1].error)


def test_a_link_that_may_lead_to_mail_and_is_not_followed_is_set_aside(root: Path, read: Callable[..., Read]) -> None:
    elsewhere = root.with_name("elsewhere")
    elsewhere.mkdir()
    (elsewhere / "b.eml").write_bytes(letter(2))
    (root / "a.eml").write_bytes(letter(1))
    (root / "c.eml").symlink_to(elsewhere / "b.eml")
    (root / "d.eml").symlink_to("nothing")
    (root / "e").symlink_to(elsewhere)
    (root / "f.mbox").symlink_to("f.mbox")
    for name, target in (("circle", root), (".hidden", "nothing"), ("lock", "127.0.1.1:+4242")):
        (root / name).symlink_to(target)
    os.mkfifo(root / "pipe.mbox")
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert [octets_of(one.value) for one in outcomes if one.error is None] == [letter(1), letter(2)]
    assert [one.error.what for one in outcomes if one.error is not None] == [
        '"d.eml": a link that leads nowhere; nothing of it is read',
        '"e": a link to a directory elsewhere; it is not followed, name that one itself',
        '"f.mbox": a link that leads nowhere; nothing of it is read',
    ]
    assert found.notices == []


def test_a_file_that_holds_no_mail_is_no_source(root: Path, read: Callable[..., Read]) -> None:
    (root / "photo").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(StoreError, match='"photo": no mail') as caught:
        read(root / "photo")
    assert ".eml" in caught.value.hint
    with pytest.raises(StoreError, match="there is no"):
        read(root / "nothing")
    os.mkfifo(root / "pipe")
    with pytest.raises(StoreError, match="neither a file nor a directory"):
        read(root / "pipe")


def test_a_directory_without_mail_says_so(root: Path, read: Callable[..., Read]) -> None:
    assert read(root).notices == [f"no mail was found in {root}"]


def test_a_choice_that_no_message_answers_is_not_a_file_without_mail(root: Path, read: Callable[..., Read]) -> None:
    (root / "mbox").write_bytes(b"From a@b Thu Nov 26 00:00:00 2026\nSubject: 1\n\nOne\n\n" * 2)
    assert read(root, wanted=lambda header, when: False).notices == [f"of 2 messages in {root} none was asked for"]


def test_a_backup_among_other_files_is_set_aside(root: Path, read: Callable[..., Read]) -> None:
    store(root / "backup", [letter(2)])
    assert is_backup(root)
    assert is_backup(root / "backup")
    assert is_backup(root / "backup" / "INBOX" / "2026-11.mbox")
    (root / "backup" / ".popferry").mkdir()
    (root / "a.eml").write_bytes(letter(1))
    assert is_backup(root / "backup")
    assert not is_backup(root), "the files beside it would be passed over"
    found = read(root)
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert [outcome.error is None for outcome in outcomes] == [True, False]
    assert "backup of popferry" in str(outcomes[1].error)


def test_many_files_without_mail_are_not_all_named(root: Path, read: Callable[..., Read]) -> None:
    for number in range(50):
        (root / f"{number:02}.png").write_bytes(b"\x89PNG")
    (root / "a.eml").write_bytes(letter(1))
    notices = read(root).notices
    assert len(notices) == 21
    assert notices[-1] == "... and 30 other files without mail"


# --- names ------------------------------------------------------------------------------------


def names(path: Path, read: Callable[..., Read]) -> list[bytes]:
    return [ref.uid for ref in read(path).refs]


def test_a_message_keeps_its_name_while_its_neighbours_come_and_go(root: Path, read: Callable[..., Read]) -> None:
    path = root / "old"
    texts = [stored(letter(number)) for number in range(4)]
    path.write_bytes(b"".join(texts))
    before = names(path, read)
    path.write_bytes(b"".join([texts[3], texts[0], stored(letter(9)), texts[1]]))
    after = names(path, read)
    assert [after[1], after[3], after[0]] == [before[0], before[1], before[3]]
    assert after[2] not in before
    path.write_bytes(b"".join(texts)[:-1])
    assert names(path, read) == before, "whether an empty line follows or not"
    path.write_bytes(b"".join(texts).replace(b"\n", b"\r\n"))
    assert names(path, read) == before, "and however lines end"
    marks = b"Subject", b"Status: RO\nX-Mozilla-Status: 0001\nSubject"
    path.write_bytes(b"".join(texts).replace(*marks))
    assert names(path, read) == before, "and when it was read"


def test_equal_messages_have_names_of_their_own(root: Path, read: Callable[..., Read]) -> None:
    (root / "a").write_bytes(stored(letter(1)) * 3)
    (root / "b").write_bytes(stored(letter(1)))
    found = names(root, read)
    assert len(set(found)) == 4
    (root / "a").write_bytes(stored(letter(1)) * 2)
    assert set(names(root, read)) < set(found)


def test_messages_that_differ_in_one_octet_anywhere_have_other_names(root: Path, read: Callable[..., Read]) -> None:
    octets = stored(letter(1, b"Text\r\n" * 3))
    variants = {octets[:at] + b"~" + octets[at + 1 :] for at in range(octets.find(b"Subject: ") + 9, len(octets) - 2)}
    (root / "a").write_bytes(b"".join(sorted(variants)))
    whole = [one for one in read(root / "a").refs if not one.uid.endswith(b";2")]
    # A "~" in place of the line end in front of the body makes the rest of it header.
    assert len({ref.uid for ref in whole}) >= len(variants) - 3


# --- the session ------------------------------------------------------------------------------


def test_reading_changes_and_locks_nothing(root: Path, read: Callable[..., Read]) -> None:
    (root / "old").write_bytes(stored(letter(1)))
    before = (root / "old").stat()
    found = read(root)
    assert found.octets() == [letter(1)]
    assert sorted(path.name for path in root.iterdir()) == ["old"]
    after = (root / "old").stat()
    assert (after.st_mtime_ns, after.st_size, after.st_ino) == (before.st_mtime_ns, before.st_size, before.st_ino)
    with (root / "old").open("ab") as stream:
        stream.write(stored(letter(2)))
    assert octets_of(value(found.session, Fetch(found.refs[0]))) == letter(1), "another program may append meanwhile"
    with pytest.raises(TypeError):
        found.session.submit(OpenSource(may_release=True))


def test_a_file_that_changes_between_listing_and_fetching_is_noticed(root: Path, read: Callable[..., Read]) -> None:
    texts = [stored(letter(number)) for number in range(3)]
    (root / "old").write_bytes(b"".join(texts))
    found = read(root)
    (root / "old").write_bytes(b"".join(texts[1:]))
    outcomes = play(found.session, *map(Fetch, found.refs))
    assert all(isinstance(outcome.error, MessageError) for outcome in outcomes)
    (root / "old").unlink()
    found.session.close()


def test_the_next_session_of_a_run_reads_only_what_changed_the_files(root: Path, tmp_path: Path) -> None:
    (root / "old").write_bytes(stored(letter(1)) + stored(letter(2, b">From x\r\n")))
    shelf = Shelf()

    def session() -> tuple[Session, list[bytes]]:
        made = FilesReader(root, Digester, tmp_path, shelf=shelf)
        value(made, OpenSource())
        refs = list(value(made, ListSource()))
        return made, [octets_of(value(made, Fetch(ref))) for ref in refs]

    first, octets = session()
    listing = shelf.listing
    assert len(first.notices) == 1
    value(first, CloseSource(quit=True))
    second, again = session()
    assert shelf.listing is listing
    assert (again, second.notices) == (octets, [])
    with (root / "old").open("ab") as stream:
        stream.write(stored(letter(3)))
    _, more = session()
    assert more == [*octets, letter(3)]


def test_a_long_listing_gives_the_loop_back(root: Path, tmp_path: Path) -> None:
    (root / "old").write_bytes(b"".join(stored(letter(number)) for number in range(5)))
    clock = iter(range(1000))
    session = FilesReader(root, Digester, tmp_path, monotonic=lambda: float(next(clock)))
    session.submit(OpenSource())
    turns = 1
    while not (outcomes := session.turn()):
        assert session.is_ready()
        turns += 1
    assert turns > 3
    assert outcomes[0].value.messages == 5


def test_only_what_is_wanted_is_listed(root: Path, read: Callable[..., Read]) -> None:
    (root / "old").write_bytes(b"".join(stored(letter(number)) for number in range(5)))
    found = read(root, wanted=lambda header, when: when is None and b"Subject: 3" in header)
    assert found.octets() == [letter(3)]


MEASURE = """
import resource, sys
from pathlib import Path
from migrate.commands import Fetch, ListSource, OpenSource
from migrate.rules.dedupe import Digester
from migrate.stores.files import FilesReader
session = FilesReader(Path(sys.argv[1]), Digester, Path(sys.argv[2]))
def value(command):
    session.submit(command)
    while not (outcomes := session.turn()):
        pass
    return outcomes[0].value
value(OpenSource())
for ref in value(ListSource()):
    value(Fetch(ref)).discard()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file_nor_with_a_message(root: Path, tmp_path: Path) -> None:
    def peak_kib(messages: int, lines: int) -> int:
        path = root / "old"
        with path.open("wb") as stream:
            for number in range(messages):
                stream.write(b"From ada@example.net %b\nSubject: %d\n\n" % (ASCTIME, number))
                for _ in range(lines // 1000):
                    stream.write((b"0123456789" * 7 + b"\n") * 1000)
                stream.write(b"\n")
        command = [sys.executable, "-c", MEASURE, str(path), str(tmp_path)]
        return int(subprocess.run(command, check=True, capture_output=True).stdout)

    small = peak_kib(20, 1000)
    assert peak_kib(3000, 1000) < small + 20_000, "213 MB of small messages"
    assert peak_kib(1, 3_000_000) < small + 30_000, "and one of 213 MB"


# --- no octet is lost -------------------------------------------------------------------------

PARTS = [
    b"From ada@example.net " + ASCTIME + b"\n",
    b"From - " + ASCTIME + b"\r\nX-Mozilla-Status: 0001\r\n",
    b"From \r\n",
    b"Subject: x\n",
    b"Content-Length: 60\n",
    b"Content-Length: 300\r\n",
    b"\n",
    b"\r\n",
    b">From you\nFrom me\n",
    b"\0\xff\r",
    b"Text " * 60 + b"\n",
]


@given(st.lists(st.sampled_from(PARTS), max_size=40), st.binary(max_size=20))
def test_every_octet_of_an_mbox_file_is_in_a_message_or_of_the_format_or_named(
    tmp_path_factory: pytest.TempPathFactory, parts: list[bytes], front: bytes
) -> None:
    octets = front + b"".join(parts)
    path = tmp_path_factory.getbasetemp() / "any.mbox"
    path.write_bytes(octets)
    stream = Stream(lambda: OnDisk(path))
    found = [one for one in mbox(stream) if one is not None]
    stream.close()
    left, place = b"", 0
    for one in (one for one in found if isinstance(one, Found)):
        assert place <= one.start <= one.end <= len(octets), "in order, none twice"
        left += octets[place : one.start] + b"\n"
        place = one.end
    left += octets[place:]
    named = sum(isinstance(one, Told) and "are no message" in one.what for one in found)
    rest = [line for line in left.removeprefix(b"\xef\xbb\xbf").splitlines() if line and not line.startswith(b"From ")]
    # What begins like a compressed file and is none is named as damaged, by the reader of the whole file.
    assert named or stream.damage or not rest, "From_ lines and empty lines"
