"""mbox files as a destination and a source: what stands on the disk, who may write, what others wrote there."""

from __future__ import annotations

import errno
import json
import mailbox
import os
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from migrate.commands import (
    Append,
    CloseSource,
    Fetch,
    ListSource,
    OpenDest,
    OpenMailbox,
    OpenSource,
    ReadBack,
    SearchUids,
)
from migrate.driver import Stop, check_job
from migrate.errors import Cause, Exit, MessageError, Retry, StoreError
from migrate.events import Checked, Counting, Event, ServedBack
from migrate.model import INBOX, DateSource, Endpoint, InternalDate, MailboxName, Protocol, Tls
from migrate.rules.dedupe import Digester, fingerprint
from migrate.stores import disk
from migrate.stores.base import Collector
from migrate.stores.mbox import MboxReader, lock
from migrate.stores.mbox import appender as appender_module
from migrate.stores.mbox.folder import JUMP
from migrate.stores.mbox.index import Index
from tests.support.mailgen import generate, large, odd_messages

from .contract import LANE, letter, octets_of, play, value
from .mbox_rig import DECEMBER, NOVEMBER, appender, checked, held, opened, store

ONE, TWO, THREE = (b"N: %d\r\n\r\nFrom here\r\n" % number for number in (1, 2, 3))
FOREIGN = b"From bob@example.org Thu Nov 26 10:00:00 2026\nSubject: by hand\n\n>From there\n\n"
BY_HAND = b"Subject: by hand\r\n\r\n>From there\r\n"  # nothing proves that the ">" was added


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "backup"


def names(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


def fetched(root: Path, scratch: Path, **more: Any) -> list[bytes]:
    """Every message that the directory serves as a source."""
    reader = MboxReader(root, Digester, scratch, **more)
    value(reader, OpenSource())
    messages = [value(reader, Fetch(ref)) for ref in value(reader, ListSource())]
    return [octets_of(message) for message in messages]


# --- files ------------------------------------------------------------------------------------


def test_files_and_directories_are_their_owners_alone(root: Path) -> None:
    before = os.umask(0)
    try:
        store(root, [ONE])
    finally:
        os.umask(before)
    for path in root.rglob("*"):
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_an_index_can_be_used_without_any_program_of_ours(root: Path) -> None:
    """The recipe of docs/backup.md."""
    store(root, [ONE, TWO])
    path = root / "INBOX" / "2026-11.mbox"
    entry = [json.loads(line) for line in path.with_suffix(".mbox.index").open()][3]
    recipe = f"tail -c +{entry['offset'] + 1} '{path}' | head -c {entry['length']} | sha256sum"
    said = subprocess.run(["sh", "-c", recipe], capture_output=True, text=True, check=True).stdout
    assert entry["uid"] == 2
    assert said.split()[0] == entry["stored"]


def test_a_proof_can_be_stopped(root: Path) -> None:
    store(root, [ONE, TWO])
    stop = Stop()
    events: list[Event] = []
    place = Endpoint(Protocol.MBOX, "", "", 0, Tls.NONE, path=root)
    assert check_job(place, events.append, stop) is Exit.OK
    size = path_size(root)
    assert events == [Counting("backup", 2, size), ServedBack(2, size), Checked(1, 2, size, 0, 0)]
    stop.request()
    try:
        assert check_job(place, events.append, stop) is Exit.INTERRUPTED
    finally:
        stop.end()
    assert events[3:] == events[:1], "what there is was looked at, and nothing read"


def path_size(root: Path) -> int:
    return (root / "INBOX" / "2026-11.mbox").stat().st_size


def test_a_new_month_begins_a_new_file_and_the_old_ones_never_change_again(root: Path) -> None:
    store(root, [ONE, TWO])
    old = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("2026-11.*")}
    store(root, [THREE], now=DECEMBER)
    store(root, [ONE], now=DECEMBER)
    assert {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in root.rglob("2026-11.*")} == old
    assert [(one.uid, one.octets) for one in held(root)] == [(1, ONE), (2, TWO), (3, THREE), (4, ONE)]
    assert [name for name in names(root) if name.endswith(".mbox")] == ["INBOX/2026-11.mbox", "INBOX/2026-12.mbox"]
    assert checked(root)[0] == []


@pytest.mark.parametrize(("layout", "name"), [("year", "2026"), ("one", "all")])
def test_other_layouts_have_fewer_files(root: Path, layout: str, name: str) -> None:
    store(root, [ONE], layout=layout)
    store(root, [TWO], layout=layout, now=DECEMBER)
    assert names(root) == ["INBOX/.lock", f"INBOX/{name}.mbox", f"INBOX/{name}.mbox.index"]


def test_a_month_without_mail_makes_no_file(root: Path) -> None:
    store(root, [ONE])
    store(root, [], now=DECEMBER)
    assert "INBOX/2026-12.mbox" not in names(root)


def test_other_programs_find_every_message_in_the_file(root: Path) -> None:
    messages = [octets for octets in odd_messages().values() if octets]
    store(root, messages)
    box = mailbox.mbox(root / "INBOX" / "2026-11.mbox", create=False)
    assert len(box) == len(messages)
    box.close()


@pytest.mark.parametrize(
    ("levels", "place"),
    [
        (("INBOX",), "INBOX"),
        (("Old", "Caf\u00e9 2"), "Old/Caf\u00e9 2"),
        (("..", "x"), "%2E%2E/x"),
        (("a/b",), "a%2Fb"),
        (("2026-11.mbox",), "2026-11%2Embox"),
        (("%2E",), "%252E"),
        (("-rf $(x)",), "-rf %24%28x%29"),
    ],
)
def test_a_mailbox_is_a_directory_that_no_name_leads_out_of(root: Path, levels: tuple[str, ...], place: str) -> None:
    store(root, [ONE], MailboxName(levels))
    assert (root / place / "2026-11.mbox").is_file()
    assert len(list(root.rglob("*.mbox"))) == 1


def test_the_from_line_has_sender_and_internal_date(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    sent = letter(
        b"Return-Path: <ada@example.net>\r\n\r\nx\r\n", tmp_path, "", datetime(2004, 2, 29, 1, 2, 3, tzinfo=UTC)
    )
    value(session, Append(LANE, INBOX, (sent,)))
    octets = (root / "INBOX" / "2026-11.mbox").read_bytes()
    assert octets == b"From ada@example.net Sun Feb 29 01:02:03 2004\nReturn-Path: <ada@example.net>\n\nx\n\n"


def test_a_dry_session_touches_nothing(root: Path, tmp_path: Path) -> None:
    session = appender(root, is_dry=True)
    value(session, OpenDest(LANE))
    assert value(session, OpenMailbox(LANE, INBOX, create=False)) is None
    assert not root.exists()
    store(root, [ONE])
    (root / "INBOX" / "2026-11.mbox").open("ab").write(FOREIGN)
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    session = appender(root, is_dry=True)
    value(session, OpenDest(LANE))
    assert value(session, OpenMailbox(LANE, INBOX, create=False)).messages == 1
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_a_file_is_no_place_for_a_backup(root: Path) -> None:
    root.write_bytes(b"")
    (outcome,) = play(appender(root), OpenDest(LANE))
    assert isinstance(outcome.error, StoreError)
    assert "is not a directory" in outcome.error.what


def test_a_message_that_changed_on_its_way_is_refused(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    one = letter(ONE, tmp_path)
    changed = one.message._replace(data=TWO)
    answers = value(session, Append(LANE, INBOX, (one._replace(message=changed), one)))
    assert isinstance(answers[0], MessageError)
    assert [(at.uid, at.octets) for at in held(root)] == [(answers[1].uid, ONE)]


def test_a_large_message_is_never_whole_in_memory(root: Path, tmp_path: Path) -> None:
    octets = 40 * 1024 * 1024
    path = large(tmp_path / "large", octets)
    collector = Collector(Digester, tmp_path)
    with path.open("rb") as stream:
        while block := stream.read(65536):
            collector.update(block)
    message = collector.finish()
    when = InternalDate(datetime(2026, 1, 1, tzinfo=UTC), DateSource.RECEIVED)
    sent = letter(ONE, tmp_path)._replace(message=message, internaldate=when)
    session = opened(root)
    reader = MboxReader(root, Digester, tmp_path)
    tracemalloc.start()
    value(session, Append(LANE, INBOX, (sent,)))
    assert value(session, ReadBack(LANE, INBOX, [1], Digester))[1] == message.fingerprint
    value(reader, OpenSource())
    again = value(reader, Fetch(value(reader, ListSource())[0]))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert again.fingerprint == message.fingerprint
    assert peak < octets * 3 // 4, "a message of 8 MiB may be held, this one not"
    assert checked(root)[0] == []


def test_a_disk_without_hard_links_will_do(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", link)
    store(root, [ONE, TWO])
    store(root, [THREE], now=DECEMBER)
    assert [one.octets for one in held(root)] == [ONE, TWO, THREE]
    assert checked(root)[0] == []
    assert not [name for name in names(root) if name.endswith(".part")]


def test_old_indexes_are_not_read_for_a_new_message(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(root, [ONE, TWO])
    store(root, [THREE], now=DECEMBER)
    read: list[str] = []
    real = Index._read

    def watched(index: Index, stream: BinaryIO) -> None:
        read.append(index.path.name)
        real(index, stream)

    monkeypatch.setattr(Index, "_read", watched)
    session = appender(root, now=DECEMBER)
    value(session, OpenDest(LANE))
    assert value(session, OpenMailbox(LANE, INBOX, create=True)).messages == 3
    assert value(session, SearchUids(LANE, INBOX, 3)) == [3]
    assert read == ["2026-12.mbox.index"]
    assert value(session, SearchUids(LANE, INBOX, 2)) == [2, 3]
    assert read == ["2026-12.mbox.index", "2026-11.mbox.index"]


# --- locks ------------------------------------------------------------------------------------


def test_a_dotlock_of_another_program_is_waited_for_and_named(root: Path, tmp_path: Path) -> None:
    store(root, [ONE])
    now = [0.0]
    session = opened(root, wait_s=30.0, monotonic=lambda: now[0])
    dotlock = root / "INBOX" / "2026-11.mbox.lock"
    dotlock.write_bytes(b"4711")
    session.submit(Append(LANE, INBOX, (letter(TWO, tmp_path),)))
    session.submit(Append(LANE, INBOX, (letter(THREE, tmp_path),)))
    assert session.turn() == []
    assert not session.is_ready(), "the loop would turn without a pause"
    now[0] = 29.9
    assert session.turn() == []
    now[0] = 30.1
    first, second = session.turn()
    assert isinstance(first.error, StoreError)
    assert first.error is second.error
    assert first.error.retry is Retry.LATER
    assert str(dotlock) in first.error.what
    assert "4711" in first.error.what
    assert dotlock.exists(), "it is not ours to remove"
    assert [one.octets for one in held(root)] == [ONE]


def test_a_lock_that_is_given_up_in_time_is_only_waited_for(root: Path, tmp_path: Path) -> None:
    session = opened(root, wait_s=30.0)
    dotlock = root / "INBOX" / "2026-11.mbox.lock"
    dotlock.write_bytes(b"")
    session.submit(Append(LANE, INBOX, (letter(ONE, tmp_path),)))
    assert session.turn() == []
    dotlock.unlink()
    (outcome,) = session.turn()
    assert outcome.error is None
    assert session.is_ready() is False
    assert not dotlock.exists()


def test_a_dotlock_that_a_killed_run_left_is_removed_and_named(root: Path) -> None:
    store(root, [ONE])
    (root / "INBOX" / "2026-11.mbox.lock").write_bytes(b"popferry 4711\n")
    ((text, said),) = store(root, [TWO])
    assert "2026-11.mbox.lock" in text
    assert said == b"popferry 4711"
    assert [one.octets for one in held(root)] == [ONE, TWO]
    assert names(root) == ["INBOX/.lock", "INBOX/2026-11.mbox", "INBOX/2026-11.mbox.index"]


@pytest.fixture
def hold() -> Iterator[Callable[[Path, str], None]]:
    """Has another process lock a file in that way until the test ends."""
    others: list[subprocess.Popen[bytes]] = []

    def take(path: Path, how: str) -> None:
        code = f"import fcntl, sys; f = open(sys.argv[1], 'r+b'); fcntl.{how}; print(flush=True); sys.stdin.read()"
        other = subprocess.Popen([sys.executable, "-c", code, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        others.append(other)
        assert other.stdout is not None
        other.stdout.readline()

    yield take
    for other in others:
        other.communicate()


@pytest.mark.parametrize(
    ("name", "how", "who"),
    [
        ("2026-11.mbox", "lockf(f, fcntl.LOCK_EX)", "another program holds"),
        (".lock", "flock(f, fcntl.LOCK_EX)", "another popferry writes to"),
    ],
)
def test_a_lock_of_the_kernel_is_honoured(
    root: Path, tmp_path: Path, hold: Callable[[Path, str], None], name: str, how: str, who: str
) -> None:
    session = opened(root)
    hold(root / "INBOX" / name, how)
    (outcome,) = play(session, Append(LANE, INBOX, (letter(ONE, tmp_path),)))
    assert isinstance(outcome.error, StoreError)
    assert who in outcome.error.what
    assert held(root) == []


def test_readers_wait_while_a_run_writes(root: Path, tmp_path: Path, hold: Callable[[Path, str], None]) -> None:
    store(root, [ONE])
    hold(root / "INBOX" / ".lock", "flock(f, fcntl.LOCK_EX)")
    (outcome,) = play(MboxReader(root, Digester, tmp_path, wait_s=0.0), OpenSource())
    assert isinstance(outcome.error, StoreError)
    with pytest.raises(StoreError, match="writing all the time"):
        checked(root)


def test_two_runs_share_a_mailbox_and_no_uid(root: Path, tmp_path: Path) -> None:
    first, second = opened(root), opened(root)
    answers = []
    for number, session in enumerate((first, second, second, first, second, first)):
        answers += value(session, Append(LANE, INBOX, (letter(b"N: %d\r\n\r\n" % number, tmp_path),)))
    assert [answer.uid for answer in answers] == [1, 2, 3, 4, 5, 6]
    assert value(first, SearchUids(LANE, INBOX, 1)) == value(second, SearchUids(LANE, INBOX, 1)) == [1, 2, 3, 4, 5, 6]
    assert checked(root)[0] == []


# --- what others wrote ------------------------------------------------------------------------


def test_octets_of_another_program_are_left_alone_and_a_new_file_goes_on(root: Path, tmp_path: Path) -> None:
    store(root, [ONE])
    path = root / "INBOX" / "2026-11.mbox"
    with path.open("ab") as stream:
        stream.write(FOREIGN)
    before = path.read_bytes()
    ((text, _),) = store(root, [TWO])
    assert "did not write" in text
    assert store(root, [THREE]) == [], "told once"
    assert path.read_bytes() == before
    assert [(one.uid, one.octets) for one in held(root)] == [(1, ONE), (2 + JUMP, TWO), (3 + JUMP, THREE)]
    assert fetched(root, tmp_path) == [ONE, BY_HAND, TWO, THREE]
    ((finding,), _) = checked(root)
    assert (finding.file, finding.offset) == ("INBOX/2026-11.mbox", len(before) - len(FOREIGN))
    assert "extra" in finding.what


def test_a_program_that_appends_between_two_of_ours_is_noticed(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    value(session, Append(LANE, INBOX, (letter(ONE, tmp_path),)))
    path = root / "INBOX" / "2026-11.mbox"
    with path.open("ab") as stream:
        stream.write(FOREIGN)
    before = path.read_bytes()
    (answer,) = value(session, Append(LANE, INBOX, (letter(TWO, tmp_path),)))
    assert answer.uid == 2 + JUMP
    assert path.read_bytes() == before
    assert value(session, ReadBack(LANE, INBOX, [1, answer.uid], Digester)) == {
        1: fingerprint(ONE),
        answer.uid: fingerprint(TWO),
    }


def test_a_program_that_had_the_lock_just_before_us_is_noticed(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(root)
    path = root / "INBOX" / "2026-11.mbox"
    real = lock.file_lock

    def slow(name: Path, notices: list[tuple[str, bytes]]) -> AbstractContextManager[int]:
        if path.stat().st_size == 0:
            path.write_bytes(FOREIGN)
        return real(name, notices)

    monkeypatch.setattr(appender_module, "file_lock", slow)
    (answer,) = value(session, Append(LANE, INBOX, (letter(ONE, tmp_path),)))
    assert path.read_bytes() == FOREIGN
    assert value(session, ReadBack(LANE, INBOX, [answer.uid], Digester)) == {answer.uid: fingerprint(ONE)}


@pytest.mark.parametrize("before", range(7), ids=lambda number: f"before write {number}")
def test_a_program_that_asks_for_no_lock_and_writes_between_costs_nothing(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, before: int
) -> None:
    """In front of a message of ours, in the middle of one, behind it."""
    session = opened(root)
    path = root / "INBOX" / "2026-11.mbox"
    real, count = os.write, 0

    def write(handle: int, octets: bytes) -> int:
        nonlocal count
        if os.readlink(f"/proc/self/fd/{handle}") == str(path):
            if count == before:
                with path.open("ab") as stream:
                    stream.write(FOREIGN)
            count += 1
        return real(handle, octets)

    monkeypatch.setattr(os, "write", write)
    letters = (letter(ONE, tmp_path), letter(TWO, tmp_path), letter(b"", tmp_path), letter(THREE, tmp_path))
    first, second, empty, third = value(session, Append(LANE, INBOX, letters))
    monkeypatch.undo()
    assert isinstance(empty, MessageError)
    uids = [first.uid, second.uid, third.uid]
    assert value(session, ReadBack(LANE, INBOX, uids, Digester)) == dict(
        zip(uids, map(fingerprint, (ONE, TWO, THREE)), strict=True)
    )
    assert [one.octets for one in held(root)] == [ONE, TWO, THREE], "each once"
    assert path.read_bytes().count(FOREIGN) == (before < count)
    assert {one.what.partition(":")[0] for one in checked(root)[0]} <= {"extra"}
    store(root, [ONE])
    assert [one.octets for one in held(root)] == [ONE, TWO, THREE, ONE]


def test_a_file_of_another_program_is_not_touched(root: Path, tmp_path: Path) -> None:
    (root / "INBOX").mkdir(parents=True)
    (root / "INBOX" / "2026-11.mbox").write_bytes(FOREIGN)
    store(root, [ONE])
    assert (root / "INBOX" / "2026-11.mbox").read_bytes() == FOREIGN
    assert (root / "INBOX" / "2026-11.2.mbox").is_file()
    assert len(fetched(root, tmp_path)) == 2


def test_one_file_without_an_index_is_a_source_too(root: Path, tmp_path: Path) -> None:
    """Messages of ours are what they were, with their internal date; others are read as those of any mail file."""
    store(root, [ONE, b"Return-Path: <eve@example.org>\r\n\r\n>From me\r\nFrom you\r\n"])
    path = root / "INBOX" / "2026-11.mbox"
    path.with_name("2026-11.mbox.index").unlink()
    with path.open("ab") as stream:
        stream.write(FOREIGN + FOREIGN[:-1].replace(b"bob", b"eve"))
    reader = MboxReader(path, Digester, tmp_path)
    facts = value(reader, OpenSource())
    refs = value(reader, ListSource())
    messages = [value(reader, Fetch(ref)) for ref in refs]
    assert [octets_of(message) for message in messages] == [
        ONE,
        b"Return-Path: <eve@example.org>\r\n\r\n>From me\r\nFrom you\r\n",
        BY_HAND,
        BY_HAND,
    ]
    assert (facts.messages, facts.octets) == (4, sum(message.octets for message in messages))
    assert [ref.uid for ref in refs] == [message.fingerprint.exact.hex().encode() for message in messages]
    stored = InternalDate(datetime(2012, 2, 29, 23, 59, 58, tzinfo=UTC), DateSource.STORE)
    written = InternalDate(datetime(2026, 11, 26, 10, tzinfo=UTC), DateSource.FROM_LINE)
    assert [message.internaldate for message in messages] == [stored, stored, written, written]
    assert {message.flags for message in messages} == {None}


# --- as a source ------------------------------------------------------------------------------


def test_flags_and_internal_date_come_with_a_message(root: Path, tmp_path: Path) -> None:
    session = opened(root)
    sent = letter(ONE, tmp_path, "\\Seen $Forwarded", datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC))
    value(session, Append(LANE, INBOX, (sent,)))
    reader = MboxReader(root, Digester, tmp_path)
    value(reader, OpenSource())
    (ref,) = value(reader, ListSource())
    message = value(reader, Fetch(ref))
    assert message.flags == sent.flags
    assert message.internaldate == InternalDate(sent.internaldate.when, DateSource.STORE)
    assert ref.uid == b"INBOX;UIDVALIDITY=%d;UID=1" % int(NOVEMBER)
    assert message.mailbox == INBOX


def test_only_what_is_wanted_is_listed(root: Path, tmp_path: Path) -> None:
    store(root, [ONE, TWO, THREE])
    asked: list[tuple[bytes, datetime | None]] = []

    def wanted(header: bytes, when: datetime | None) -> bool:
        asked.append((header, when))
        return header.startswith(b"N: 2")

    assert fetched(root, tmp_path, wanted=wanted) == [TWO]
    assert [when for _, when in asked] == [datetime(2012, 2, 29, 23, 59, 58, tzinfo=UTC)] * 3


def test_a_reader_makes_no_file(root: Path, tmp_path: Path) -> None:
    store(root, [ONE])
    (root / "INBOX" / ".lock").unlink()
    before = names(root)
    assert fetched(root, tmp_path) == [ONE]
    assert checked(root)[0] == []
    assert names(root) == before


def test_nothing_is_ever_released(root: Path, tmp_path: Path) -> None:
    root.mkdir()
    reader = MboxReader(root, Digester, tmp_path)
    with pytest.raises(TypeError):
        reader.submit(OpenSource(may_release=True))
    value(reader, OpenSource())
    value(reader, CloseSource(quit=True))


def test_a_source_that_is_not_there_is_told(root: Path, tmp_path: Path) -> None:
    (outcome,) = play(MboxReader(root, Digester, tmp_path), OpenSource())
    assert isinstance(outcome.error, StoreError)
    assert "there is no" in outcome.error.what


# --- a disk that refuses ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "cause"), [(errno.ENOSPC, Cause.FULL), (errno.EDQUOT, Cause.FULL), (errno.EIO, Cause.UNUSABLE)]
)
def test_a_disk_that_refuses_ends_the_session_and_the_next_one_cuts_what_was_begun(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, cause: Cause
) -> None:
    store(root, [ONE])
    before = (root / "INBOX" / "2026-11.mbox").read_bytes()
    session = opened(root)
    real = disk.write

    def write(handle: int, blocks: Iterable[bytes]) -> None:
        octets = b"".join(blocks)
        if octets.startswith(b"From "):
            real(handle, [octets[:30]])
            raise OSError(code, os.strerror(code))
        real(handle, [octets])

    monkeypatch.setattr(disk, "write", write)
    (outcome,) = play(session, Append(LANE, INBOX, (letter(TWO, tmp_path),)))
    assert isinstance(outcome.error, StoreError)
    assert outcome.error.cause is cause
    monkeypatch.undo()
    ((text, _),) = store(root, [])
    assert "30 octets of an unfinished message" in text
    assert (root / "INBOX" / "2026-11.mbox").read_bytes() == before
    store(root, list(generate(1, 3)))
    assert checked(root)[0] == []
    assert len(held(root)) == 4
