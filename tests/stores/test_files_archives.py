"""Archives of mail files: read where they are, as if they had been unpacked there, and never a name of one believed."""

from __future__ import annotations

import gzip
import io
import os
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from shutil import which

import pytest

from migrate.commands import Fetch
from migrate.errors import MessageError, StoreError
from migrate.stores.files import archives

from .archive_rig import ARCHIVES, MESSAGES, PROGRAMS, letter, mixed_tree, on_disk, packed_by, tarred, zipped
from .contract import octets_of, play
from .files_rig import Read, stored
from .test_files import MEASURE


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """An empty directory."""
    made = tmp_path / "Mail"
    made.mkdir()
    return made


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., Read]:
    return lambda path, **more: Read(path, tmp_path / "letters", **more)


def seen(found: Read) -> list[tuple[bytes, bytes, str, str, str]]:
    """All that a source tells of its messages, whatever their order."""
    return sorted(
        (ref.uid, octets_of(one), str(one.mailbox), str(one.flags), str(one.internaldate))
        for ref, one in zip(found.refs, found.messages(), strict=True)
    )


def served(found: Read) -> tuple[list[bytes], list[str]]:
    """What is served, and why the rest is not."""
    outcomes = play(found.session, *map(Fetch, found.refs))
    faults = [str(outcome.error) for outcome in outcomes if outcome.error is not None]
    return [octets_of(outcome.value) for outcome in outcomes if outcome.error is None], faults


MBOXES = {
    f"{name}.mbox": b"".join(stored(letter(number)) for number in numbers)
    for name, numbers in {
        "a": (1, 2),
        "b": (3, 4),
        "c": (5, 6),
    }.items()
}
LETTERS = [letter(number) for number in range(1, 7)]


# --- the same as unpacked ---------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHIVES)
def test_an_archive_is_as_if_it_had_been_unpacked(root: Path, read: Callable[..., Read], name: str) -> None:
    tree = mixed_tree()
    on_disk(root, tree)
    want = read(root)
    assert len(want.refs) == MESSAGES
    assert not any(ref.is_fault for ref in want.refs)
    archive = root.with_name("archives") / name
    archive.parent.mkdir()
    archive.write_bytes(ARCHIVES[name](tree))
    for path in (archive.parent, archive):
        found = read(path)
        assert seen(found) == seen(want)
        assert not any("damaged" in notice for notice in found.notices), found.notices
    (root.with_name("archives") / "Old").mkdir()
    archive.rename(archive.parent / "Old" / name)
    assert read(archive.parent).by_mailbox().keys() == {
        "Old" if box == "" else f"Old/{box.replace('INBOX', 'Inbox')}" for box in want.by_mailbox()
    }, "where it stands"


@pytest.mark.parametrize("name", PROGRAMS)
def test_archives_of_other_programs(root: Path, read: Callable[..., Read], name: str, tmp_path: Path) -> None:
    tree = mixed_tree()
    tree["Long/" + "x" * 60 + "/" + "y" * 90 + ".eml"] = letter(77)
    tree["日本語/" + "é" * 40] = stored(letter(78))
    if "v7" in name or "ustar" in PROGRAMS[name]:
        tree = {one: octets for one, octets in tree.items() if len(one.encode()) < 100}
    on_disk(root, tree)
    archive = tmp_path / name
    if not packed_by(PROGRAMS[name], root, archive):
        pytest.skip(f"{PROGRAMS[name][0]} is not installed")
    found, want = read(archive), read(root)
    assert [one[:4] for one in seen(found)] == [one[:4] for one in seen(want)]


def test_several_parts_of_a_takeout_are_several_files(root: Path, read: Callable[..., Read]) -> None:
    name = "Takeout/Mail/All mail Including Spam and Trash"
    for number in (1, 2):
        octets = b"".join(stored(letter(10 * number + one)) for one in range(3))
        (root / f"takeout-20261126T000000Z-00{number}.zip").write_bytes(zipped({name + ".mbox": octets}))
    (root / "takeout-20261126T000000Z-003.tgz").write_bytes(gzip.compress(tarred({name + ".mbox": stored(letter(99))})))
    found = read(root)
    assert found.by_mailbox() == {name: 7}
    assert sorted(found.octets()) == sorted(letter(number) for number in (10, 11, 12, 20, 21, 22, 99))
    uids = [ref.uid for ref in found.refs]
    (root / "takeout-20261126T000000Z-001.zip").unlink()
    assert {ref.uid for ref in read(root).refs} < set(uids), "and each message keeps its name"


def test_members_are_had_in_any_order(root: Path, read: Callable[..., Read]) -> None:
    for name in ("deflated.zip", "a.tgz", "stored.zip", "pax.tar"):
        (root / name).write_bytes(ARCHIVES[name](MBOXES))
    found = read(root)
    backwards = [octets_of(outcome.value) for outcome in play(found.session, *map(Fetch, reversed(found.refs)))]
    assert backwards == found.octets()[::-1]
    assert sorted(backwards) == sorted(LETTERS * 4)


def test_a_message_that_holds_others_is_joined_in_an_archive_too(root: Path, read: Callable[..., Read]) -> None:
    inner = stored(letter(7)) + stored(letter(8))[:-1]
    outer = stored(letter(1, inner.replace(b"\n", b"\r\n"), b"Content-Length: %d\r\n" % len(inner)))
    tree = {"a.mbox": outer + stored(letter(2)), "b.mbox": stored(letter(3))}
    for name in ("deflated.zip", "a.tgz"):
        (root / name).write_bytes(ARCHIVES[name](tree))
        assert len(read(root / name).refs) == 3


def test_an_archive_without_mail_is_named_in_one_line(root: Path, read: Callable[..., Read]) -> None:
    (root / "a.eml").write_bytes(letter(1))
    (root / "photos.zip").write_bytes(zipped({f"{number}.png": b"\x89PNG" for number in range(30)}))
    (root / "more.zip").write_bytes(zipped({"photos.zip": zipped({"a.eml": letter(2)}), "b.eml": letter(3)}))
    found = read(root)
    assert sorted(found.octets()) == [letter(1), letter(3)]
    assert found.notices == [
        '"more.zip/photos.zip": an archive in an archive; unpack it first',
        '"photos.zip": an archive without mail',
    ]
    with pytest.raises(StoreError, match="an archive without mail") as caught:
        read(root / "photos.zip")
    assert "zip, tar" in caught.value.hint


def test_a_file_that_changes_between_listing_and_fetching_is_noticed(root: Path, read: Callable[..., Read]) -> None:
    for name in ("deflated.zip", "a.tgz", "pax.tar"):
        path = root / name
        path.write_bytes(ARCHIVES[name](MBOXES))
        found = read(path)
        path.write_bytes(ARCHIVES[name]({"a.mbox": stored(letter(8)) * 2}))
        # A small file may have been read whole before.
        outcomes = play(found.session, *map(Fetch, found.refs))
        for octets, outcome in zip(LETTERS, outcomes, strict=True):
            assert isinstance(outcome.error, MessageError) or octets_of(outcome.value) == octets


# --- damage -----------------------------------------------------------------------------------


def check(found: Read, lost_at_most: int, where: object) -> None:
    """Whatever is not served whole is named, and it is not more than that."""
    messages, faults = served(found)
    lost = [one for one in LETTERS if one not in messages]
    assert len(lost) <= lost_at_most, where
    assert not lost or faults or found.notices, where
    assert not [one for one in messages if one not in LETTERS] or faults, where


STEP = 13


@pytest.mark.parametrize("first", range(STEP) if os.environ.get("POPFERRY_EVERY_BIT") else [0])
@pytest.mark.parametrize("name", ["stored.zip", "deflated.zip", "piped.zip", "stored-piped.zip", "gnu.tar"])
def test_a_bit_that_flips_costs_the_messages_of_its_own_member_at_most(
    root: Path, read: Callable[..., Read], name: str, first: int
) -> None:
    octets = ARCHIVES[name](MBOXES)
    size = 6 * 512 if name.endswith(".tar") else len(octets)
    path = root / name
    for bit in range(first, size * 8, STEP):
        if name.endswith(".tar") and bit // 8 // 512 % 2:
            continue  # its data have no checksum: nobody can tell
        path.write_bytes(octets[: bit // 8] + bytes((octets[bit // 8] ^ 1 << bit % 8,)) + octets[bit // 8 + 1 :])
        check(read(root), 2, bit)


@pytest.mark.parametrize("name", ["stored.zip", "deflated.zip", "piped.zip", "gnu.tar", "a.tgz", "a.tar.xz"])
def test_an_archive_that_is_cut_gives_what_stands_before(root: Path, read: Callable[..., Read], name: str) -> None:
    octets = ARCHIVES[name](MBOXES)
    whole = octets.rstrip(b"\0") if name.endswith(".tar") else octets
    path = root / name
    before = 0
    for size in range(1, len(octets), 23):
        path.write_bytes(octets[:size])
        found = read(root)
        messages, faults = served(found)
        assert messages[: len(messages) - 1] == LETTERS[: max(0, len(messages) - 1)], size
        assert len(messages) >= before - 1, size
        before = len(messages)
        assert faults or size < 4 or size >= len(whole) + 1, f"{size}: that it is cut is named"
    assert before >= 5 or name in ("a.tgz", "a.tar.xz")


def test_a_directory_that_is_gone_costs_nothing_but_a_line(root: Path, read: Callable[..., Read]) -> None:
    for name in ("stored.zip", "deflated.zip", "piped.zip", "stored-piped.zip", "wide.zip"):
        octets = ARCHIVES[name](MBOXES)
        (root / name).write_bytes(octets[: octets.index(b"PK\x01\x02")])
        messages, faults = served(read(root / name))
        assert messages == LETTERS, name
        assert len(faults) == 1
        assert "its directory is damaged, or its end is missing" in faults[0]


def test_what_stands_in_one_member_costs_the_others_nothing(root: Path, read: Callable[..., Read]) -> None:
    tree = {"a.mbox": MBOXES["a.mbox"], "b.mbox": os.urandom(300_000).hex().encode(), "c.mbox": MBOXES["c.mbox"]}
    tree["b.mbox"] = stored(letter(3)) + stored(letter(4, tree["b.mbox"]))
    octets = zipped(tree)
    at = len(octets) // 2
    (root / "a.zip").write_bytes(octets[:at] + os.urandom(9) + octets[at + 9 :])
    messages, faults = served(read(root))
    assert set(messages) >= {*map(letter, (1, 2, 3, 5, 6))}
    (fault,) = faults
    assert fault.startswith('"a.zip/b.mbox": damaged (')


def test_a_stored_member_whose_checksum_is_wrong_is_named(root: Path, read: Callable[..., Read]) -> None:
    octets = ARCHIVES["stored.zip"](MBOXES)
    (root / "a.zip").write_bytes(octets.replace(b"Subject: 3", b"Subject: 8"))
    messages, faults = served(read(root))
    assert len(messages) == 6
    why = "its checksum is wrong: not every octet is what was packed"
    assert faults == [f'"a.zip/b.mbox": damaged ({why}); what stands before is read']


def test_two_members_of_one_name_are_both_read(root: Path, read: Callable[..., Read]) -> None:
    one, two = (tarred({"a.mbox": stored(letter(number))}) for number in (1, 2))
    (root / "a.tar").write_bytes(one[:1024] + two)
    with zipfile.ZipFile(root / "b.zip", "w") as archive:
        archive.writestr("a.mbox", stored(letter(3)))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.mbox", stored(letter(4)))
    assert sorted(read(root).octets()) == [letter(number) for number in (1, 2, 3, 4)]
    wrong = (root / "b.zip").read_bytes().replace(b"Subject", b"subject")
    (root / "b.zip").write_bytes(wrong)
    uids = [ref.uid for ref in read(root).refs if ref.is_fault]
    assert uids == [b"unreadable;b.zip/a.mbox", b"unreadable;b.zip/a.mbox;2"]


# --- what is not read -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["zip", "-q", "-P", "secret"], ["7z", "a", "-bd", "-tzip", "-psecret", "-mem=AES256"]]
)
def test_an_encrypted_member_is_named_and_the_others_are_read(
    root: Path, read: Callable[..., Read], words: list[str], tmp_path: Path
) -> None:
    if which(words[0]) is None or which("zip") is None:
        pytest.skip(f"{words[0]} or zip is not installed")
    on_disk(tmp_path / "tree", MBOXES)
    archive = str(root / "a.zip")
    for command in ([*words, archive, "b.mbox"], ["zip", "-q", archive, "a.mbox", "c.mbox"]):
        subprocess.run(command, cwd=tmp_path / "tree", check=True, stdout=subprocess.DEVNULL)
    messages, faults = served(read(root))
    assert sorted(messages) == [letter(number) for number in (1, 2, 5, 6)]
    assert faults == ['"a.zip/b.mbox": it is encrypted; unpack it first']


def test_a_member_that_is_packed_in_a_way_nobody_here_knows_is_named(root: Path, read: Callable[..., Read]) -> None:
    octets = bytearray(zipped(MBOXES))
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        place = octets.index(magic, octets.index(magic) + 1) + at
        octets[place : place + 2] = b"\x09\0"  # Deflate64
    (root / "a.zip").write_bytes(octets)
    messages, faults = served(read(root))
    assert messages == [letter(number) for number in (1, 2, 5, 6)]
    assert faults == ['"a.zip/b.mbox": it is compressed in a way that is not read here (9); unpack it first']


def test_many_members_of_one_trouble_are_one_line(root: Path, read: Callable[..., Read]) -> None:
    octets = bytearray(zipped({f"{number:03}.eml": letter(number) for number in range(100)} | {"x.eml": letter(999)}))
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        for _ in range(100):
            place = octets.index(magic, place + 1)
            octets[place + at] |= 1
    (root / "a.zip").write_bytes(octets)
    messages, faults = served(read(root))
    assert messages == [letter(999)]
    assert faults == ['"a.zip/000.eml": it is encrypted; unpack it first (and 99 more in this archive)']


def test_a_sparse_member_is_named(root: Path, read: Callable[..., Read]) -> None:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        info = tarfile.TarInfo("a.mbox")
        info.pax_headers = {"GNU.sparse.major": "1"}
        archive.addfile(info)
        info = tarfile.TarInfo("b.mbox")
        info.size = len(MBOXES["b.mbox"])
        archive.addfile(info, io.BytesIO(MBOXES["b.mbox"]))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE):
            info = tarfile.TarInfo("b.eml")
            info.type, info.linkname = kind, "/etc/passwd"
            archive.addfile(info)
    (root / "a.tar").write_bytes(target.getvalue())
    messages, faults = served(read(root))
    assert messages == [letter(3), letter(4)]
    assert faults == ['"a.tar/a.mbox": its empty parts were left out (sparse); it is not read']


# --- hostile ones -----------------------------------------------------------------------------

HOSTILE = [
    "../../../../etc/cron.d/a.eml",
    "/etc/passwd/b.eml",
    "x/../../c.eml",
    "..",
    "C:\\Windows\\d.eml",
    "a\x1b[2J\r\n/e.eml",
    "/" * 40 + "f.eml",
    "x/" * 500 + "g.eml",
    "h" * 60_000 + ".eml",
    "~/i.eml",
    "nul/\udcff\udcfe/j.eml",
    "INBOX/cur/new/tmp/k.eml",
]


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_names_are_labels_and_lead_nowhere(root: Path, read: Callable[..., Read], kind: str, tmp_path: Path) -> None:
    target = io.BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(target, "w") as archive:
            for number, name in enumerate(HOSTILE):
                archive.writestr(zipfile.ZipInfo(name.encode("utf-8", "replace").decode()), letter(number))
    else:
        tree = {name: letter(number) for number, name in enumerate(HOSTILE)}
        target.write(tarred(tree, tarfile.GNU_FORMAT))
    (root / f"a.{kind}").write_bytes(target.getvalue())
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    found = read(root)
    messages, faults = served(found)
    assert len(messages) == len(HOSTILE) - 2
    assert faults[0].endswith(": its name in the archive is too long; it is not read (and 1 more in this archive)")
    assert set(messages) < set(map(letter, range(len(HOSTILE))))
    boxes = [box.levels for box in found.facts.mailboxes if box is not None]
    assert not any({"", ".", ".."} & set(levels) for levels in boxes)
    assert {level for levels in boxes for level in levels if "[2J" in level} == {"a_[2J__"}
    assert sorted(str(path) for path in tmp_path.rglob("*")) == sorted([*before, str(tmp_path / "letters")])


def test_members_without_number_are_not_all_read(
    root: Path, read: Callable[..., Read], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MEMBERS_MAX", 10)
    for name in ("a.zip", "b.tgz"):
        octets = ARCHIVES["deflated.zip" if name == "a.zip" else "a.tgz"]({f"{n}.eml": letter(n) for n in range(20)})
        (root / name).write_bytes(octets)
        messages, faults = served(read(root / name))
        assert len(messages) == 10
        assert "more than 10 members" in faults[0]


def test_a_header_that_promises_what_is_not_there_fills_no_memory(root: Path, read: Callable[..., Read]) -> None:
    info = tarfile.TarInfo("a.mbox")
    info.size = 1 << 40
    (root / "a.tar").write_bytes(info.tobuf() + stored(letter(1)))
    long = tarfile.TarInfo("b")
    long.type, long.size = b"L", 1 << 40
    (root / "b.tar").write_bytes(long.tobuf() + stored(letter(2)))
    messages, faults = served(read(root))
    assert messages == [letter(1)]
    assert any("octets are missing" in fault for fault in faults)
    assert any("the end of the archive is missing" in fault for fault in faults)


def peak_kib(path: Path, spill: Path) -> int:
    command = [sys.executable, "-c", MEASURE, str(path), str(spill)]
    return int(subprocess.run(command, check=True, capture_output=True).stdout)


@pytest.mark.slow
def test_memory_does_not_grow_with_what_is_packed(root: Path, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    with (tree / "a.mbox").open("wb") as stream:
        for number in range(1000):
            stream.write(b"From ada Thu Feb 12 10:11:12 2015\nSubject: %d\n\n" % number)
            stream.write((b"0123456789" * 7 + b"\n") * 3000 + b"\n")
    (tree / "b.mbox").write_bytes(stored(letter(1)))
    for name in ("b.mbox", "c.bin"):
        with (tree / name).open("ab") as stream:
            stream.truncate(300_000_000)  # a message of zeros, and what is no mail
    (root / "small.zip").write_bytes(zipped(MBOXES))
    small = peak_kib(root / "small.zip", tmp_path)
    for method in (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED):
        with zipfile.ZipFile(root / "large.zip", "w", method) as archive:
            for path in tree.iterdir():
                archive.write(path, path.name)
        assert peak_kib(root / "large.zip", tmp_path) < small + 40_000, method
    with tarfile.open(root / "large.tgz", "w:gz", compresslevel=1) as packed:
        packed.add(tree, "Mail")
    assert (root / "large.tgz").stat().st_size < 10_000_000
    assert peak_kib(root / "large.tgz", tmp_path) < small + 40_000
