"""A backup that was damaged: the damage is always named, what is whole comes back, and the next run goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import Append, Fetch, FetchHeaders, ListSource, OpenSource, ReadBack, SearchUids
from migrate.errors import MessageError, StoreError
from migrate.model import INBOX, MailboxName
from migrate.rules.choose import Chosen
from migrate.rules.dedupe import Digester
from migrate.stores.mbox import MboxReader, find_lost, folder, is_backup, there_is
from migrate.stores.mbox.folder import JUMP
from tests.support.mailgen import odd_messages

from .contract import LANE, letter, octets_of, play, value
from .mbox_rig import DECEMBER, checked, held, opened, store

SEED = 20261126
ODD = [octets for octets in odd_messages().values() if 0 < len(octets) < 20_000]
NOBODY = 65534
NEW = b"Subject: the next one\r\n\r\nNew\r\n"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of two months, each of several batches."""
    root = tmp_path_factory.mktemp("sound") / "backup"
    store(root, ODD[:20])
    store(root, ODD[20:40], now=DECEMBER)
    assert checked(root)[0] == []
    return root


@pytest.fixture
def fresh(sound: Path, tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of it, each time anew."""
    root = tmp_path / "backup"

    def copy() -> Path:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(sound, root)
        return root

    return copy


def files(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("2026*") if path.is_file())


def served(root: Path, scratch: Path, wanted: Chosen | None = None) -> Iterator[bytes | MessageError]:
    """What the directory serves, message by message."""
    scratch.mkdir(exist_ok=True)
    reader = MboxReader(root, Digester, scratch, wanted=wanted)
    value(reader, OpenSource())
    for ref in value(reader, ListSource()):
        (outcome,) = play(reader, Fetch(ref))
        assert outcome.error is None or isinstance(outcome.error, MessageError)
        yield outcome.error or octets_of(outcome.value)


def test_one_flipped_bit_is_always_found_named_and_costs_one_message(
    fresh: Callable[[], Path], tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Bits of the mbox files and, as often, of their indexes."""
    rng = random.Random(SEED)
    root = fresh()
    whole = Counter(held_octets(root))
    everything = [[path for path in files(root) if path.suffix == suffix] for suffix in (".mbox", ".index")]
    found: Counter[str] = Counter()
    for trial in range(1000):
        path = rng.choice(everything[trial % 2])
        before = path.read_bytes()
        place, bit = rng.randrange(len(before)), 1 << rng.randrange(8)
        path.write_bytes(before[:place] + bytes([before[place] ^ bit]) + before[place + 1 :])
        findings, _ = checked(root)
        where = (trial, path.name, place, bit, findings)
        assert {one.file for one in findings} == {f"INBOX/{path.name.removesuffix('.index')}"}, where
        hit = entries_hit(path, before, place)
        named = {one.uid for one in findings if one.uid is not None}
        assert named == {one["uid"] for one in hit}, where
        if path.suffix == ".mbox":
            ((finding,), (entry,)) = findings, hit
            assert (finding.offset, finding.message) == (entry["offset"], entry["sha256"]), where
        else:
            number = before[:place].count(b"\n") + 1
            assert any(one.what.startswith(f"line {number} of its index is damaged") for one in findings), where
        found[path.suffix] += 1
        if trial % 10 < 2:
            good = Counter(one for one in served(root, tmp_path / "letters") if isinstance(one, bytes))
            assert (whole - good).total() <= max(1, len(hit)), where
        path.write_bytes(before)
    record_property("flipped bits, all found and named, of files and of indexes", (found[".mbox"], found[".index"]))
    assert checked(root)[0] == []


def entries_hit(path: Path, before: bytes, place: int) -> list[dict[str, Any]]:
    """The entries of the messages that an octet at that place belongs to, or whose lines it spoils: a line end that
    is gone makes one line of two."""
    index = before if path.suffix == ".index" else path.with_suffix(".mbox.index").read_bytes()
    entries = []
    start = 0
    for line in index.splitlines(keepends=True):
        one = json.loads(line)
        if path.suffix == ".index":
            is_hit = start <= place < start + len(line) or place == start - 1
        else:
            is_hit = "uid" in one and one["offset"] <= place < one["offset"] + one["length"]
        if is_hit and "uid" in one:
            entries.append(one)
        start += len(line)
    return entries


def held_octets(root: Path) -> list[bytes]:
    return [one.octets for one in held(root)]


def test_a_flipped_bit_of_a_message_is_named_by_file_offset_uid_and_digest(
    fresh: Callable[[], Path], tmp_path: Path
) -> None:
    root = fresh()
    path = root / "INBOX" / "2026-11.mbox"
    octets = path.read_bytes()
    place = octets.index(b"\nSubject: ") + 4
    path.write_bytes(octets[:place] + b"!" + octets[place + 1 :])
    ((finding,), told) = checked(root)
    first, *others = served(root, tmp_path / "letters")
    assert isinstance(first, MessageError)
    assert "uid 1 in 2026-11.mbox at offset 0 is damaged" in first.what
    assert others == ODD[1:40]
    assert (finding.file, finding.offset, finding.uid) == ("INBOX/2026-11.mbox", 0, 1)
    assert finding.message == exact_of(ODD[0])
    assert "damaged" in finding.what
    assert (told.files, told.messages) == (2, 40)
    assert told.octets == sum(path.stat().st_size for path in files(root) if path.suffix == ".mbox")


def exact_of(octets: bytes) -> str:
    digester = Digester()
    digester.update(octets)
    return digester.finish().exact.hex()


@pytest.mark.parametrize("which", [".mbox", ".index"])
def test_a_truncated_file_is_found_earlier_messages_come_back_and_the_next_run_goes_on(
    fresh: Callable[[], Path], tmp_path: Path, which: str, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(SEED)
    trials = 250
    root = fresh()
    for trial in range(trials):
        sound = fresh()
        path = sound / "INBOX" / f"2026-12.mbox{'.index' if which == '.index' else ''}"
        octets = path.read_bytes()
        size = rng.randrange(len(octets))
        path.write_bytes(octets[:size])
        findings, _ = checked(root)
        # Without its last mark an index has lost nothing: what stands behind the mark before is read and found whole.
        is_whole = which == ".index" and size >= octets.rindex(b'\n{"end"') + 1
        assert findings or is_whole, (trial, size)
        store(root, [NEW], now=DECEMBER)
        good = Counter(one for one in served(root, tmp_path / "letters") if isinstance(one, bytes))
        # Octets without an index are read as those of any other file, whose lines end as mail's do.
        whole = ODD[:40] if which == ".index" else ODD[: whole_below(sound, size)]
        lost = Counter(map(ending, whole)) - Counter(map(ending, good.elements()))
        assert not lost, (trial, size, list(lost)[:1])
        kept = Counter(held_octets(root))
        assert not Counter([*ODD[:20], NEW]) - kept, (trial, size)
        assert not kept - good, (trial, size)
        assert good[NEW] == 1
        uids = [one.uid for one in held(root)]
        assert len(set(uids)) == len(uids), (trial, size)
    record_property(f"truncated {which} files, every earlier message recovered", trials)


def whole_below(root: Path, size: int) -> int:
    """How many messages of both files are whole when the second one is so long."""
    lines = (root / "INBOX" / "2026-12.mbox.index").read_bytes().splitlines()
    entries = [one for one in map(json.loads, lines) if "uid" in one]
    return 20 + len([one for one in entries if one["offset"] + one["length"] <= size])


def ending(octets: bytes) -> bytes:
    """The message without what only an index can tell: how its lines end, and whether the last one does."""
    return octets.replace(b"\r", b"").removesuffix(b"\n")


def test_a_message_whose_octets_are_gone_is_in_no_answer(fresh: Callable[[], Path]) -> None:
    root = fresh()
    path = root / "INBOX" / "2026-12.mbox"
    path.write_bytes(path.read_bytes()[:-1])
    session = opened(root, now=DECEMBER)
    assert value(session, SearchUids(LANE, INBOX, 39)) == [39]
    assert [one.uid for one in value(session, FetchHeaders(LANE, INBOX, [39, 40], ()))] == [39]
    assert list(value(session, ReadBack(LANE, INBOX, [39, 40], Digester))) == [39]


def test_an_index_that_lost_lines_gives_no_uid_twice(fresh: Callable[[], Path]) -> None:
    root = fresh()
    path = root / "INBOX" / "2026-12.mbox.index"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-6]))
    store(root, [NEW], now=DECEMBER)
    assert max(one.uid for one in held(root)) > 40 + JUMP - 10


def test_a_line_taken_out_of_the_index_is_missed(fresh: Callable[[], Path]) -> None:
    root = fresh()
    path = root / "INBOX" / "2026-11.mbox.index"
    lines = path.read_bytes().splitlines(keepends=True)
    gone = next(number for number, line in enumerate(lines) if line.startswith(b'{"uid":7,'))
    path.write_bytes(b"".join(lines[:gone] + lines[gone + 1 :]))
    findings, _ = checked(root)
    assert any(one.uid == 7 and "missing" in one.what for one in findings)
    assert any("extra" in one.what for one in findings), "its octets are still there"


@pytest.mark.parametrize(
    "lost", ["2026-11.mbox", "2026-11.mbox.index", "2026-11.*", "2026-12.mbox", "2026-12.mbox.index"]
)
def test_a_lost_file_is_missed(fresh: Callable[[], Path], lost: str) -> None:
    root = fresh()
    for path in (root / "INBOX").glob(lost):
        path.unlink()
    findings, _ = checked(root)
    assert findings
    store(root, [NEW], now=DECEMBER)
    assert NEW in held_octets(root)


def test_a_message_cut_out_of_both_files_is_missed(fresh: Callable[[], Path]) -> None:
    root = fresh()
    for suffix in ("", ".index"):
        path = root / "INBOX" / f"2026-11.mbox{suffix}"
        octets = path.read_bytes()
        end = octets.rindex(b'{"uid":20,') if suffix else octets.rindex(b"\n\nFrom ") + 2
        path.write_bytes(octets[:end])
    findings, _ = checked(root)
    assert [(one.uid, one.file) for one in findings] == [(20, "INBOX/2026-12.mbox")]
    assert "missing: uids 20 to 20" in findings[0].what


# --- what a crash leaves ----------------------------------------------------------------------


def unfinished(root: Path, tmp_path: Path, octets: bytes = NEW) -> tuple[bytes, bytes]:
    """What an Append of these octets would add to file and index, entries first and the mark behind."""
    other = tmp_path / "other"
    shutil.copytree(root, other)
    store(other, [octets], now=DECEMBER)
    added = []
    for suffix in ("", ".index"):
        name = f"INBOX/2026-12.mbox{suffix}"
        added.append((other / name).read_bytes()[(root / name).stat().st_size :])
    shutil.rmtree(other)
    return added[0], added[1]


def append(root: Path, mbox: bytes, index: bytes) -> None:
    for suffix, octets in (("", mbox), (".index", index)):
        with (root / "INBOX" / f"2026-12.mbox{suffix}").open("ab") as stream:
            stream.write(octets)


def test_every_prefix_of_an_append_is_put_right(fresh: Callable[[], Path], tmp_path: Path) -> None:
    mbox, index = unfinished(fresh(), tmp_path, b"Subject: x\r\n\r\n>From y\r\n")
    entry, _ = index.splitlines(keepends=True)
    states = [(b"", index[:size]) for size in range(0, len(entry) + 1, 7)]
    states += [(mbox[:size], entry) for size in range(len(mbox) + 1)]
    states += [(mbox, index[:size]) for size in range(len(entry), len(index))]
    for number, (in_mbox, in_index) in enumerate(states):
        root = fresh()
        append(root, in_mbox, in_index)
        store(root, [], now=DECEMBER)
        assert checked(root)[0] == [], number
        is_whole = in_mbox == mbox
        assert len(held(root)) == 40 + is_whole, number
        store(root, [NEW], now=DECEMBER)
        assert [one.uid for one in held(root)] == list(range(1, 42 + is_whole)), number
        assert len(files(root)) == 4, "no new file was needed"


@pytest.mark.parametrize(
    "change",
    [
        lambda mbox: mbox[:20] + b"From bob@example.org Thu Nov 26 10:00:00 2026\n",
        lambda mbox: mbox + b"x",
        lambda mbox: b"From eve@example.org Thu Nov 26 10:00:00 2026\n\nx\n",
        lambda mbox: b"\0" * (len(mbox) + 1),
        lambda mbox: b"\0" * 9 + mbox[9:],
        lambda mbox: mbox[:60] + b"\nFrom ",
    ],
    ids=["torn, then another's", "whole, and more", "another's", "more zeros", "zeros in front", "another's line"],
)
def test_what_may_be_somebody_elses_is_never_cut(
    fresh: Callable[[], Path], tmp_path: Path, change: Callable[[bytes], bytes]
) -> None:
    root = fresh()
    mbox, index = unfinished(root, tmp_path)
    entry, _ = index.splitlines(keepends=True)
    append(root, change(mbox), entry)
    path = root / "INBOX" / "2026-12.mbox"
    before = path.read_bytes()
    store(root, [NEW], now=DECEMBER)
    assert path.read_bytes() == before
    assert (root / "INBOX" / "2026-12.2.mbox").is_file()
    assert held_octets(root).count(NEW) == 1 + (change(mbox).startswith(mbox))


@pytest.mark.parametrize("whole", [0, 1, 50, -1])
def test_zeros_in_place_of_a_message_of_ours_are_cut(fresh: Callable[[], Path], tmp_path: Path, whole: int) -> None:
    root = fresh()
    mbox, index = unfinished(root, tmp_path)
    entry, _ = index.splitlines(keepends=True)
    append(root, mbox[:whole] + b"\0" * (len(mbox) - len(mbox[:whole])), entry)
    ((text, _),) = store(root, [ODD[0]], now=DECEMBER)
    assert "unfinished message" in text
    assert checked(root)[0] == []
    assert held_octets(root)[40:] == [ODD[0]]


@pytest.mark.parametrize("when", ["file_lock", "_without_zeros"])
def test_what_another_program_appends_to_a_torn_file_while_we_look_at_it_is_not_cut(
    fresh: Callable[[], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Just before we had the lock, or without any."""
    root = fresh()
    mbox, index = unfinished(root, tmp_path)
    append(root, mbox[:30], index.splitlines(keepends=True)[0])
    path = root / "INBOX" / "2026-12.mbox"
    foreign = b"\nFrom eve@example.org Thu Nov 26 10:00:00 2026\n\nx\n"
    real = getattr(folder, when)

    def late(*words: Any) -> Any:
        if foreign not in path.read_bytes():
            with path.open("ab") as stream:
                stream.write(foreign)
        return real(*words)

    monkeypatch.setattr(folder, when, late)
    store(root, [NEW], now=DECEMBER)
    assert path.read_bytes().endswith(mbox[:30] + foreign)
    assert held_octets(root)[40:] == [NEW]
    assert {one.what.partition(":")[0] for one in checked(root)[0]} == {"extra"}


def test_octets_that_lost_their_index_are_never_cut(fresh: Callable[[], Path], tmp_path: Path) -> None:
    root = fresh()
    mbox, index = unfinished(root, tmp_path)
    append(root, mbox, index[:40])
    paths = [root / "INBOX" / "2026-12.mbox", root / "INBOX" / "2026-12.mbox.index"]
    before = [path.read_bytes() for path in paths]
    store(root, [ODD[0]], now=DECEMBER)
    assert [path.read_bytes() for path in paths] == before, "what is left of the line may help somebody"
    assert Counter(served(root, tmp_path / "letters"))[NEW] == 1, "and it is given back"


def test_of_an_index_that_lost_its_end_what_it_still_knows_is_there(fresh: Callable[[], Path], tmp_path: Path) -> None:
    """A batch has its mark at its end: with that gone, its first messages are whole all the same."""
    root = fresh()
    session = opened(root, now=DECEMBER)
    batch = [b"N: %d\r\n\r\nText\r\n" % number for number in range(5)]
    value(session, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in batch)))
    path = root / "INBOX" / "2026-12.mbox.index"
    octets = path.read_bytes()
    path.write_bytes(octets[: octets.index(b'{"uid":44,') + 50])
    store(root, [NEW], now=DECEMBER)
    assert path.read_bytes().startswith(octets[: octets.index(b'{"uid":44,') + 50])
    assert find_lost(root, INBOX, range(1, 46)) == [44, 45]
    uids = value(opened(root, now=DECEMBER), SearchUids(LANE, INBOX, 40))
    assert uids[:-1] == [40, 41, 42, 43]
    store(root, [NEW], now=DECEMBER)
    assert len(files(root)) == 6, "the file that was begun goes on"


def test_a_batch_of_which_some_are_whole_keeps_these(fresh: Callable[[], Path], tmp_path: Path) -> None:
    root = fresh()
    other = tmp_path / "other"
    shutil.copytree(root, other)
    session = opened(other, now=DECEMBER)
    batch = [b"N: %d\r\n\r\nText\r\n" % number for number in range(5)]
    value(session, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in batch)))
    mbox = (other / "INBOX" / "2026-12.mbox").read_bytes()[(root / "INBOX" / "2026-12.mbox").stat().st_size :]
    index = (other / "INBOX" / "2026-12.mbox.index").read_bytes()
    index = index[(root / "INBOX" / "2026-12.mbox.index").stat().st_size :]
    append(root, mbox[: len(mbox) * 7 // 10], b"".join(index.splitlines(keepends=True)[:-1]))
    store(root, [NEW], now=DECEMBER)
    assert held_octets(root)[40:] == [*batch[:3], NEW]
    assert checked(root)[0] == []


def test_a_file_that_is_gone_is_named_once_and_the_others_are_proved_and_restored(
    fresh: Callable[[], Path], tmp_path: Path
) -> None:
    root = fresh()
    (root / "INBOX" / "2026-11.mbox").unlink()
    (finding,), read = checked(root)
    assert (finding.file, finding.uid) == ("INBOX/2026-11.mbox", 1)
    assert finding.what == "missing: the whole file, messages in it: 20, uids 1 to 20"
    assert (read.files, read.messages) == (2, 40)
    for wanted in (None, Chosen(subject="is in none of them")):
        found = list(served(root, tmp_path / "spill", wanted))
        assert [octets for octets in found if isinstance(octets, bytes)] == ([] if wanted else ODD[20:40])
        assert sum(isinstance(error, MessageError) for error in found) == 20, "nobody can tell that they are not meant"


# --- directories that are links, or cannot be read --------------------------------------------


def test_a_folder_that_was_moved_to_another_disk_and_linked_is_proved_and_restored(tmp_path: Path) -> None:
    root, elsewhere = tmp_path / "backup", tmp_path / "elsewhere"
    sent = MailboxName(("Sent",))
    store(root, ODD[:1])
    store(root, ODD[1:2], sent)
    (root / "Sent").rename(elsewhere)
    (root / "Sent").symlink_to(elsewhere)
    (elsewhere / "loop").symlink_to(root)
    (root / "nowhere").symlink_to(root / "nowhere")

    findings, read = checked(root)

    assert (findings, read.files, read.messages) == ([], 2, 2)
    assert is_backup(root)
    assert Counter(served(root, tmp_path / "spill")) == Counter(ODD[:2])
    store(root, ODD[2:3], sent)
    assert Counter(served(root, tmp_path / "spill")) == Counter(ODD[:3])


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_folder_that_cannot_be_read_is_an_error_and_not_an_empty_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_refused: bool
) -> None:
    root = tmp_path / "backup"
    store(root, ODD[:1])
    (root / ("Sent" if is_refused else "lost+found")).mkdir(mode=0)
    monkeypatch.chdir(tmp_path)
    is_root = os.geteuid() == 0
    if is_root:  # whom no mode keeps out
        for path in (tmp_path, *tmp_path.rglob("*")):
            os.chown(path, NOBODY, NOBODY)
        os.seteuid(NOBODY)
    try:
        if is_refused:
            with pytest.raises(StoreError, match="backup/Sent: Permission denied"):
                there_is(Path("backup"))
        else:
            assert there_is(Path("backup")).messages == 1
    finally:
        if is_root:
            os.seteuid(0)
