"""Maildirs as a destination and a source: what stands on the disk, who else may change it, what others wrote."""

from __future__ import annotations

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import Append, Fetch, ListSource, OpenDest, OpenMailbox, OpenSource, ReadBack, SearchUids
from migrate.driver import Stop, check_job
from migrate.errors import Cause, Exit, MessageError, Retry, StoreError
from migrate.events import Checked, Counting, Event, ServedBack
from migrate.model import INBOX, MEMORY_LIMIT, Endpoint, MailboxName, Message, MessageRef, Protocol, Tls
from migrate.rules.dedupe import Digester, fingerprint
from migrate.stores.dirnames import directory_of, mailbox_of
from migrate.stores.lock import run_lock
from migrate.stores.maildir import MaildirReader, find_lost
from tests.conftest import CORPUS
from tests.support.mailgen import generate

from .contract import LANE, letter, octets_of, play, value
from .maildir_rig import appender, checked, delivered, held, opened, store

ONE, TWO, THREE = (b"N: %d\r\n\r\nText\r\n" % number for number in (1, 2, 3))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "Maildir"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


class Reading:
    """A session that reads what stands below a directory."""

    def __init__(self, root: Path, scratch: Path, **more: Any) -> None:
        self.spill = scratch / "letters"
        self.spill.mkdir(exist_ok=True)
        self.session = MaildirReader(root, Digester, self.spill, **more)
        self.facts = value(self.session, OpenSource())
        self.refs: list[MessageRef] = list(value(self.session, ListSource()))

    def fetch(self) -> list[Message]:
        return [value(self.session, Fetch(ref)) for ref in self.refs]

    def octets(self) -> list[bytes]:
        return [octets_of(message) for message in self.fetch()]

    def folders(self) -> Counter[str]:
        return Counter(str(message.mailbox) for message in self.fetch())

    def said(self) -> str:
        return "\n".join(text for text, _ in self.session.notices)


def put(root: Path, name: str, octets: bytes = b"N: x\n\nText\n", when: float = 1_000_000_000) -> Path:
    """A file of another program."""
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(octets)
    os.utime(path, (when, when))
    return path


# --- a destination ----------------------------------------------------------------------------


def test_the_directory_is_a_maildir_with_an_index_and_a_lock(root: Path) -> None:
    store(root, [ONE], MailboxName(("Sent", "2026")))
    (file,) = delivered(root / ".Sent.2026")
    assert names(root) == [
        ".Sent.2026/maildirfolder",
        f".Sent.2026/new/{file.name}",
        ".Sent.2026/popferry.index",
        ".Sent.2026/popferry.lock",
    ]
    assert file.read_bytes() == b"N: 1\n\nText\n", "LF, as programs on Unix have it"
    assert file.name.endswith(",S=11,W=14")
    assert file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("levels", "name"),
    [
        (("Sent",), ".Sent"),
        (("A", "b c"), ".A.b c"),
        (("D\u00e9j\u00e0 & co",), ".D&AOk-j&AOA- &- co"),
        (("v1.2", "a/b", "c\\2e"), ".v1\\2e2.a\\2fb.c\\5c2e"),
        (("inbox", "Sent"), ".INBOX.Sent"),
        (("tmp",), ".tmp"),
    ],
)
def test_a_folder_has_the_name_that_dovecot_gives_it(root: Path, levels: tuple[str, ...], name: str) -> None:
    mailbox = MailboxName(levels)
    assert directory_of(root, mailbox) == root / name
    assert mailbox_of(Path(name)) == mailbox


def test_line_ends_come_back_as_they_were_and_the_sizes_are_true(root: Path, tmp_path: Path) -> None:
    kinds = [
        b"A: 1\n\nlf\n",
        b"A: 2\r\n\r\ncrlf\r\n",
        b"A: 3\r\n\nmixed\n\r\n",
        b"A: 4\r\n\r\n\r\r\nx\r",
        b"no line end",
    ]
    large = b"A: 5\r\n\r\n" + b"0123456789abcd\r\n" * (MEMORY_LIMIT // 16 + 3)
    store(root, [*kinds, large])
    for path in delivered(root):
        octets = path.read_bytes()
        size, virtual = (int(part[2:]) for part in path.name.split(",")[1:])
        assert size == len(octets)
        assert virtual == len(octets) + octets.count(b"\n") - octets.count(b"\r\n")
    assert [one.octets for one in held(root)] == [*kinds, large]
    assert Reading(root, tmp_path).octets() == [*kinds, large]


def test_keywords_get_letters_and_those_for_which_there_is_none_are_kept_in_the_index(
    root: Path, tmp_path: Path
) -> None:
    root.mkdir()
    (root / "dovecot-keywords").write_bytes(b"0 old\n3 Blue\n")
    store(root, [ONE], flags="blue red $Forwarded \\Seen")
    assert (root / "dovecot-keywords").read_bytes() == b"0 old\n3 Blue\n4 $Forwarded\n5 red\n"
    assert delivered(root)[0].name.endswith(":2,PSdef")
    many = " ".join(f"k{number:02}" for number in range(30))
    store(root, [TWO], flags=many)
    assert (root / "dovecot-keywords").read_bytes().count(b"\n") == 22 + 2
    messages = Reading(root, tmp_path).fetch()
    assert [sorted(one.flags.names) for one in messages if one.flags] == [
        ["$Forwarded", "\\Seen", "blue", "red"],
        many.split(),
    ]
    file = delivered(root)[1]
    file.rename(file.with_name(file.name.partition(":")[0] + ":2,F"))
    (flags,) = [one.flags for one in Reading(root, tmp_path).fetch() if octets_of(one) == TWO]
    assert flags is not None
    assert flags.names == {"\\Flagged", *(f"k{number:02}" for number in range(20, 30))}


def test_a_keyword_file_that_another_program_is_writing_is_waited_for(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    lock = root / "dovecot-keywords.lock"
    lock.write_bytes(b"")
    (outcome,) = play(session, Append(LANE, INBOX, (letter(ONE, tmp_path, "blue"),)))
    assert isinstance(outcome.error, StoreError)
    assert (outcome.error.retry, outcome.error.cause) == (Retry.LATER, Cause.UNREACHABLE)
    assert "dovecot-keywords.lock" in str(outcome.error)
    assert lock.exists(), "it is not ours to remove"
    lock.unlink()
    store(root, [ONE], flags="blue")
    assert len(delivered(root)) == 1


def test_what_the_mailbox_has_already_gets_uids_and_is_served_with_the_line_ends_of_mail(root: Path) -> None:
    put(root, "cur/1.foreign:2,S", ONE.replace(b"\r\n", b"\n"))
    put(root, "new/2.foreign", TWO)
    session = opened(root)
    assert value(session, SearchUids(LANE, INBOX, 1)) == [1, 2]
    assert value(session, ReadBack(LANE, INBOX, [1, 2], Digester)) == {1: fingerprint(ONE), 2: fingerprint(TWO)}
    store(root, [THREE])
    put(root, "new/3.foreign", TWO)
    assert value(opened(root), SearchUids(LANE, INBOX, 1)) == [1, 2, 3, 4], "each keeps its own"
    assert checked(root)[0] == [], "they are not ours to prove"


def test_a_message_that_moved_is_the_same_one_for_a_session_that_is_open(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    value(session, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in (ONE, TWO, THREE))))
    for file in root.glob("new/*"):
        file.rename(root / "cur" / f"{file.name},U=7:2,RS")
    prints = {uid: fingerprint(octets) for uid, octets in enumerate((ONE, TWO, THREE), start=1)}
    assert value(session, ReadBack(LANE, INBOX, [1, 2, 3], Digester)) == prints
    assert value(session, SearchUids(LANE, INBOX, 1)) == [1, 2, 3]
    assert checked(root)[0] == []
    assert find_lost(root, INBOX, [1, 2, 3, 4]) == [4]


def test_a_proof_tells_how_far_it_is(root: Path) -> None:
    store(root, [ONE, TWO])
    store(root, [THREE], mailbox=MailboxName(("Sent",)))
    put(root, "new/3.foreign", TWO)
    octets = sum(path.stat().st_size for directory in (root, root / ".Sent") for path in delivered(directory))
    octets -= len(TWO)  # not ours to prove
    place = Endpoint(Protocol.MAILDIR, "", "", 0, Tls.NONE, path=root)
    events: list[Event] = []
    stop = Stop()
    try:
        assert check_job(place, events.append, stop) is Exit.OK
    finally:
        stop.end()
    read = [event for event in events if isinstance(event, ServedBack)]
    assert events[0] == Counting("backup", 3, octets)
    assert (sum(one.messages for one in read), sum(one.octets for one in read)) == (3, octets)
    assert events[-1] == Checked(3, 3, octets, 0, 0)


def test_no_uid_is_given_twice_where_the_index_lost_its_end_or_is_older(root: Path) -> None:
    store(root, [ONE, TWO])
    index = root / "popferry.index"
    older = index.read_bytes()
    store(root, [THREE])
    index.write_bytes(older + b'{"uid":3,"name"' + b"\0" * 300)
    assert value(opened(root), SearchUids(LANE, INBOX, 1))[2:] > [7], "five lines may have stood there"
    index.write_bytes(older)
    assert value(opened(root, floors={INBOX: 40}), SearchUids(LANE, INBOX, 1)) == [1, 2, 41]


def test_a_mailbox_whose_index_is_gone_has_another_uidvalidity(root: Path) -> None:
    store(root, [ONE])
    (root / "popferry.index").unlink()
    session = appender(root, now=2_000_000_000)
    value(session, OpenDest(LANE))
    status = value(session, OpenMailbox(LANE, INBOX, create=False))
    assert (status.uidvalidity, status.uidnext, status.messages) == (2_000_000_000, 2, 1)


def test_one_flipped_bit_is_always_found(root: Path) -> None:
    store(root, [ONE, TWO, THREE])
    for path in [*delivered(root), root / "popferry.index"]:
        octets = path.read_bytes()
        for place in range(0, len(octets) * 8, 41):
            broken = bytearray(octets)
            broken[place // 8] ^= 1 << place % 8
            path.write_bytes(broken)
            assert checked(root)[0] != [], (path, place)
        path.write_bytes(octets)
    assert checked(root)[0] == []


# --- a source ---------------------------------------------------------------------------------


def test_flags_and_dates_are_those_of_the_names_and_the_files(root: Path, tmp_path: Path) -> None:
    put(root, "dovecot-keywords", b"0 blue\n1 $Label1\n")
    flags = {
        "cur/1.a:2,": "",
        "cur/2.a:2,DFPRST": "$Forwarded \\Answered \\Draft \\Flagged \\Seen",
        "cur/3.a,S=1,W=2:2,Sabz": "$Label1 \\Seen blue",
        "cur/4.a!2,S": "\\Seen",
        "cur/5.a;2,FX": "\\Flagged",
        "cur/6.a,2,R": "\\Answered",
        "cur/7.a": None,
        "new/8.a": "",
        "new/9.a:2,S": "\\Seen",
    }
    for number, name in enumerate(flags):
        put(root, name, b"N: %d\n\n" % number, 1_000_000_000.75 + number)
    messages = Reading(root, tmp_path).fetch()
    assert [None if one.flags is None else str(one.flags) for one in messages] == list(flags.values())
    dates = [one.internaldate.when for one in messages if one.internaldate]
    assert dates == [datetime.fromtimestamp(1_000_000_000 + number, UTC) for number in range(9)]


@pytest.mark.parametrize(
    ("directory", "folder"),
    [
        ("", "INBOX"),
        (".Sent", "Sent"),
        (".Sent.2026", "Sent/2026"),
        ("Sent", "Sent"),
        ("Sent/2026", "Sent/2026"),
        ("Sent/.2026/.May", "Sent/2026/May"),
        ("INBOX", "INBOX"),
        ("INBOX/Sub", "INBOX/Sub"),
        (".D&AOk-j&AOA-", "D\u00e9j\u00e0"),
        ("D\u00e9j\u00e0", "D\u00e9j\u00e0"),
        ("R&D", "R&D"),
        ("v1.2", "v1.2"),
        ("new", "new"),
        ("tmp/deeper", "tmp/deeper"),
    ],
)
def test_trees_of_other_programs_are_read(root: Path, tmp_path: Path, directory: str, folder: str) -> None:
    put(root / directory, "new/1.a")
    put(root / directory, "cur/2.a:2,S")
    put(root / directory, "tmp/3.a")
    put(root / directory, "cur/.hidden")
    put(root, "popferry/state.sqlite")
    reading = Reading(root, tmp_path)
    assert reading.folders() == {folder: 2}
    assert [str(one) for one in reading.facts.mailboxes] == [folder]
    assert len({ref.uid for ref in reading.refs}) == 2


def test_reading_changes_nothing(root: Path, tmp_path: Path) -> None:
    for name in ("new/1.a", "cur/2.a:2,", ".Sent/new/3.a"):
        put(root, name)
    before = {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]}
    assert len(Reading(root, tmp_path).octets()) == 3
    assert {path: path.stat().st_mtime_ns for path in [root, *root.rglob("*")]} == before


def test_what_is_renamed_or_removed_between_listing_and_reading(root: Path, tmp_path: Path) -> None:
    files = [put(root, f"new/{number}.a", b"N: %d\n\n" % number) for number in range(20)]
    (root / "cur").mkdir()
    reading = Reading(root, tmp_path)
    for file in files[1:]:
        file.rename(root / "cur" / f"{file.name}:2,S")
    files[0].unlink()
    gone, *rest = play(reading.session, *map(Fetch, reading.refs))
    assert isinstance(gone.error, MessageError)
    assert "another program removed it" in str(gone.error)
    assert [str(outcome.value.flags) for outcome in rest] == ["\\Seen"] * 19
    again = Reading(root, tmp_path)
    assert [ref.uid for ref in again.refs] == [ref.uid for ref in reading.refs if ref.number > 1]


def test_nothing_is_missed_while_another_program_renames_all_the_time(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that is read while its names change may not show some of them at all."""
    for number in range(30):
        put(root, f"cur/{number:02}.a:2,")
    real, calls = os.scandir, iter(range(10**6))

    class Blinking:
        """Each look at cur misses one file that another program renames meanwhile."""

        def __init__(self, path: Any) -> None:
            self._entries = list(real(path))
            if Path(path) == root / "cur" and (call := next(calls)) < 7:
                file = sorted((root / "cur").iterdir())[call]
                file.rename(file.with_name(file.name + "S"))
                self._entries = [entry for entry in self._entries if entry.name != file.name]

        def __enter__(self) -> list[os.DirEntry[str]]:
            return self._entries

        def __exit__(self, *error: object) -> None: ...

    monkeypatch.setattr(os, "scandir", Blinking)
    assert len(Reading(root, tmp_path).octets()) == 30


def test_two_files_of_one_name_are_two_messages_and_two_names_of_one_file_are_one(root: Path, tmp_path: Path) -> None:
    put(root, "cur/1.a:2,", ONE)
    put(root, "cur/1.a:2,S", TWO)
    put(root, "new/2.a", THREE)
    os.link(root / "new/2.a", root / "cur/2.a:2,")
    reading = Reading(root, tmp_path)
    assert sorted(reading.octets()) == [ONE, TWO, THREE]
    assert len({ref.uid for ref in reading.refs}) == 3


def test_links_are_followed_once_and_what_is_no_message_is_told(root: Path, tmp_path: Path) -> None:
    elsewhere = put(tmp_path, "elsewhere/1.a")
    put(root, "cur/0.a:2,")
    (root / "cur" / "1.a:2,").symlink_to(elsewhere)
    (root / "cur" / "2.a:2,").symlink_to(tmp_path / "nowhere")
    (root / "loop").symlink_to(root)
    put(root, "3.a:2,S")
    reading = Reading(root, tmp_path)
    assert len(reading.octets()) == 2
    assert "cur/2.a:2, of" in reading.said()
    assert "3.a:2,S stand beside cur and new" in reading.said()


def test_an_unreadable_path_says_what_was_expected(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    with pytest.raises(StoreError, match="is no Maildir: expected a directory with cur and new"):
        Reading(root, tmp_path)
    with pytest.raises(StoreError, match="there is no"):
        Reading(root / "missing", tmp_path)


def test_what_was_stored_and_is_gone_is_told_when_it_is_read(root: Path, tmp_path: Path) -> None:
    store(root, [ONE, TWO])
    delivered(root)[0].unlink()
    reading = Reading(root, tmp_path)
    assert reading.octets() == [TWO]
    assert "1 messages that were stored" in reading.said()
    (finding,) = checked(root)[0]
    assert (finding.uid, finding.what[:8]) == (1, "missing:")


def test_a_part_is_chosen_by_header_and_date(root: Path, tmp_path: Path) -> None:
    for number in range(4):
        put(root, f"cur/{number}.a:2,", b"N: %d\n\nText\n" % number, 1_000_000_000 + number)

    def wanted(header: bytes, when: datetime | None) -> bool:
        assert when is not None
        return b"N: 3" in header or when.timestamp() == 1_000_000_001

    reading = Reading(root, tmp_path, wanted=wanted)
    assert reading.octets() == [b"N: 1\r\n\r\nText\r\n", b"N: 3\r\n\r\nText\r\n"]


@pytest.mark.parametrize("is_index_kept", [True, False], ids=["with its index", "without"])
def test_a_written_maildir_is_read_back(root: Path, tmp_path: Path, is_index_kept: bool) -> None:
    messages = list(generate(3, 40, odd=0))
    store(root, messages[:20], flags="\\Seen")
    store(root, messages[20:], MailboxName(("v1.2", "Sub")))
    if not is_index_kept:
        for path in root.rglob("popferry.index"):
            path.unlink()
    reading = Reading(root, tmp_path)
    assert reading.folders() == {"INBOX": 20, "v1.2/Sub": 20}
    assert Counter(reading.octets()) == Counter(messages)
    assert {one.internaldate.when for one in reading.fetch() if one.internaldate} == {
        datetime(2012, 2, 29, 23, 59, 58, tzinfo=UTC)
    }


# --- real ones --------------------------------------------------------------------------------

TREES = {
    "mailpile": {"INBOX": 12},
    "mu-testdir": {"INBOX": 19},
    "mu-testdir2": {"Foo": 3, "bar": 8, "wom_bat": 3},
    "neomutt-odd-dirs": {},
    "notmuch-default": {"INBOX": 26, "bar": 4, "bar/baz": 4, "foo": 5, "foo/baz": 4},
    "stalwart-maildir++": {"INBOX": 2, "My Folder": 2, "My Folder/Nested Folder": 2},
}


@pytest.mark.corpus
@pytest.mark.parametrize("tree", TREES)
def test_the_trees_of_the_corpus_are_read_to_the_last_message(tree: str, tmp_path: Path) -> None:
    root = CORPUS / "formats" / "maildir" / tree
    reading = Reading(root, tmp_path)
    assert reading.folders() == TREES[tree]
    files = [path for part in ("new", "cur") for path in root.rglob(f"{part}/[!.]*") if path.is_file()]
    loose = Counter(path.read_bytes().replace(b"\r\n", b"\n") for path in files)
    assert Counter(octets.replace(b"\r\n", b"\n") for octets in reading.octets()) == loose
    assert ("stand beside cur and new" in reading.said()) == (tree == "notmuch-default")


@pytest.mark.corpus
def test_a_maildir_in_a_tar_is_read_when_it_is_unpacked(tmp_path: Path, record_property: Callable[..., None]) -> None:
    with tarfile.open(CORPUS / "formats" / "maildir" / "laminas-maildir.tar") as tar:
        tar.extractall(tmp_path / "unpacked", filter="data")
    reading = Reading(tmp_path / "unpacked", tmp_path)
    assert reading.folders() == {"INBOX": 5, "subfolder/test": 1}
    record_property("messages in the trees of the corpus", sum(sum(tree.values()) for tree in TREES.values()) + 6)


def test_the_index_is_text_that_needs_no_program_of_ours(root: Path) -> None:
    store(root, [ONE], flags="\\Seen")
    head, entry, mark = map(json.loads, (root / "popferry.index").open())
    assert (head["maildir"], mark["end"]) == (["INBOX"], 1)
    assert (root / entry["name"]).exists()
    assert (entry["octets"], entry["line-ends"], entry["flags"]) == (len(ONE), "crlf", ["\\Seen"])


def test_names_that_are_no_text_are_names_too(root: Path, tmp_path: Path) -> None:
    put(root, "cur/1.\udcff\u00e9 x\n:2,S", ONE)
    put(root, ".Caf\udce9/new/2.a", TWO)
    reading = Reading(root, tmp_path)
    assert reading.octets() == [TWO, ONE] or reading.octets() == [ONE, TWO]
    assert {ref.uid for ref in reading.refs} == {b";1.\xff\xc3\xa9 x\n", b".Caf\xe9;2.a"}
    for _ in range(2):
        session = opened(root)
        assert value(session, ReadBack(LANE, INBOX, [1], Digester)) == {1: fingerprint(ONE)}


def test_one_run_at_a_time_writes_to_a_folder(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    with run_lock(root, name="popferry.lock"):
        (outcome,) = play(session, Append(LANE, INBOX, (letter(ONE, tmp_path),)))
    assert isinstance(outcome.error, StoreError)
    assert outcome.error.retry is Retry.LATER
    assert "another popferry writes to" in str(outcome.error)
    assert delivered(root) == []
