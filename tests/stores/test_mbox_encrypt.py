"""Months that are over, encrypted: without the key all goes on, with it everything is there, also after a kill."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import CloseSource, Fetch, FetchHeaders, ListSource, OpenMailbox, OpenSource, ReadBack, SearchUids
from migrate.errors import Cause, MessageError, StoreError
from migrate.model import INBOX, MailboxName, Secret
from migrate.rules.dedupe import Digester
from migrate.stores.mbox import Hidden, MboxReader, age, encrypt, find_lost, identity_of, packed
from migrate.stores.mbox.age import Identity, is_recipient
from migrate.stores.mbox.index import stored
from migrate.stores.mbox.part import Part
from migrate.stores.mbox.prune import Old, Rule
from tests.engine.support import letter
from tests.support.mailgen import generate

from .contract import value
from .mbox_rig import checked, held, opened, store
from .test_mbox_compress import compressed
from .test_mbox_prune import DECEMBER_2026, append, day, files, fill, killed, names, pruned

pyrage = pytest.importorskip("pyrage")
pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

PAIR = pyrage.x25519.Identity.generate()
PUBLIC, SECRET = str(PAIR.to_public()), str(PAIR)
OTHER = str(pyrage.x25519.Identity.generate())


def encrypted(
    root: Path, notices: list[tuple[str, bytes]] | None = None, now: float = DECEMBER_2026, **more: Any
) -> list[str]:
    more = {"unproven": {}, "recipients": (PUBLIC,), **more}
    notices = [] if notices is None else notices
    done = encrypt(root, notices=notices, clock=lambda: now, sleep=lambda seconds: None, **more)
    return [one.file for one in done if isinstance(one, Hidden)]


def holder(secret: str = SECRET) -> Identity:
    found = identity_of(Secret(secret))
    assert found is not None
    return found


def session_on(root: Path, identity: Identity | None) -> MboxReader:
    spill = root.with_name("spill")
    spill.mkdir(exist_ok=True)
    return MboxReader(root, Digester, spill, identity=identity)


def restored(root: Path, identity: Identity | None) -> tuple[list[bytes], int]:
    """What a restoration would copy, and how many messages it would set aside."""
    session = session_on(root, identity)
    value(session, OpenSource())
    messages, aside = [], 0
    for ref in value(session, ListSource()):
        try:
            messages.append(b"".join(value(session, Fetch(ref)).blocks()))
        except MessageError:
            aside += 1
    value(session, CloseSource(quit=True))
    return messages, aside


def test_what_is_over_is_encrypted_and_says_what_it_said_to_its_holder(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = list(generate(70, 30))
    for number in range(3):
        store(root, messages[10 * number : 10 * number + 10], now=day(2026, 9 + number))
    was = {path.name: path.read_bytes() for path in root.rglob("2026-*")}

    assert encrypted(root) == [f"INBOX/2026-{month}.mbox" for month in ("09", "10", "11")], "also the newest"

    left = [f"2026-{month}.mbox{end}" for month in ("09", "10", "11") for end in (".index", ".index.age", ".zst.age")]
    assert files(root) == sorted(f"INBOX/{name}" for name in (*left, "2026-12.mbox", "2026-12.mbox.index"))
    findings, read = checked(root)
    octets = sum(path.stat().st_size for path in root.rglob("*.age"))
    assert (findings, read.messages, read.unread, read.octets) == ([], 0, 30, octets)
    findings, read = checked(root, holder())
    assert (findings, read.messages, read.unread) == ([], 30, 0)
    assert read.octets == octets + sum(len(text) for name, text in was.items() if name.endswith(".mbox"))
    assert restored(root, holder()) == (messages, 0)
    assert len(find_lost(root, INBOX, range(1, 31))) == 0
    assert len(find_lost(root, INBOX, range(1, 33))) == 2
    before = {path: path.read_bytes() for path in root.rglob("*.age")}
    assert encrypted(root) == [], "once is enough"
    assert {path: path.read_bytes() for path in root.rglob("*.age")} == before
    store(root, [letter(1)], now=DECEMBER_2026)
    assert [one.uid for one in held(root)] == [31], "uids go on"
    assert encrypted(root, now=day(2027, 1)) == ["INBOX/2026-12.mbox"]
    assert restored(root, holder()) == ([*messages, letter(1)], 0)


@pytest.mark.skipif(not shutil.which("age") or not shutil.which("zstd"), reason="age and zstd are not here")
def test_the_program_age_gives_back_the_backup_octet_for_octet(tmp_path: Path) -> None:
    root, key = tmp_path / "backup", tmp_path / "key"
    messages = list(generate(71, 40))
    store(root, messages, now=day(2026, 10))
    was = {path.name: path.read_bytes() for path in root.rglob("2026-10*")}
    subprocess.run(["age-keygen", "-o", str(key)], check=True, capture_output=True)
    public = subprocess.run(["age-keygen", "-y", str(key)], check=True, capture_output=True, text=True).stdout.strip()
    assert encrypted(root, recipients=(PUBLIC, public)) == ["INBOX/2026-10.mbox"]
    key.with_name("mine").write_text(SECRET + "\n")
    for identity in (key, key.with_name("mine")):
        for name, pipe in (("2026-10.mbox", ["zstd", "-dc"]), ("2026-10.mbox.index", ["cat"])):
            (path,) = root.glob(f"INBOX/{name}*.age") if "index" in name else root.glob("INBOX/*.zst.age")
            given = subprocess.run(
                ["age", "-d", "-i", str(identity), str(path)], check=True, capture_output=True
            ).stdout
            assert subprocess.run(pipe, input=given, check=True, capture_output=True).stdout == was[name]
    # Put back so, it is the backup that it was.
    for path in root.rglob("2026-10*"):
        path.unlink()
    for name, octets in was.items():
        (root / "INBOX" / name).write_bytes(octets)
    assert (checked(root)[0], restored(root, None)) == ([], (messages, 0))


def test_without_the_key_nothing_of_a_message_is_told(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    octets = b"Return-Path: <ada@secret.example>\r\nSubject: topsecret\r\nMessage-ID: <hidden@x>\r\n\r\nClandestine\r\n"
    store(root, [octets, letter(2)], now=day(2026, 10))
    assert b"ada@secret.example" in b"".join(path.read_bytes() for path in root.rglob("*.index"))
    encrypted(root)
    there = b"".join(path.read_bytes() for path in root.rglob("2026-10*"))
    for word in (b"ada@", b"secret.example", b"topsecret", b"hidden", b"Clandestine", b"stored", b"sender", b"flags"):
        assert word not in there
    assert (root / "INBOX/2026-10.mbox.index").read_bytes().count(b"\n") == 2


def test_whoever_asks_for_a_message_without_the_key_is_told_before_anything_is_done(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    encrypted(root)
    for identity, says in ((None, "no identity was given"), (holder(OTHER), "has no key that")):
        with pytest.raises(StoreError) as caught:
            value(session_on(root, identity), OpenSource())
        assert (says in caught.value.what, caught.value.cause) == (True, Cause.UNUSABLE)
        assert "AGE-SECRET" not in repr(caught.value) + caught.value.hint + str(caught.value.__cause__)
    session = opened(root, now=DECEMBER_2026)
    assert value(session, SearchUids(0, INBOX, 1)) == list(range(1, 13))
    for command in (FetchHeaders(0, INBOX, [3], ("message-id",)), ReadBack(0, INBOX, [3], Digester)):
        with pytest.raises(StoreError, match="no identity was given"):
            value(session, command)
        session = opened(root, now=DECEMBER_2026)
    session = opened(root, now=DECEMBER_2026, identity=holder())
    assert value(session, FetchHeaders(0, INBOX, [3], ()))[0].uid == 3
    status = value(session, OpenMailbox(0, INBOX, create=True))
    assert (status.messages, status.uidnext) == (12, 13)


@pytest.mark.parametrize("which", ["2026-10.mbox.zst.age", "2026-10.mbox.index.age", "2026-10.mbox.index"])
def test_a_flipped_bit_is_found_without_the_key_and_the_rest_is_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, which: str
) -> None:
    monkeypatch.setattr(packed, "FRAME", 20_000)
    root = tmp_path / "backup"
    messages = list(generate(72, 60, odd=0))
    store(root, messages, now=day(2026, 10))
    store(root, [letter(1)], now=day(2026, 11))
    encrypted(root)
    path = root / "INBOX" / which
    octets = path.read_bytes()
    rng = random.Random(72)
    counts = []
    for place in [*(rng.randrange(len(octets)) for _ in range(25)), 0, len(octets) - 2, len(octets) - 1]:
        path.write_bytes(octets[:place] + bytes([octets[place] ^ 1 << rng.randrange(8)]) + octets[place + 1 :])
        assert any("2026-10" in one.file for one in checked(root)[0]), f"{place} of {len(octets)} was not found"
        assert checked(root, holder())[0], place
        found, _ = restored(root, holder())
        assert letter(1) in found, place
        assert len(set(messages) - set(found)) <= (0 if "index" in which else len(messages)), place
        counts.append(len(found))
    path.write_bytes(octets)
    assert (checked(root)[0], checked(root, holder())[0]) == ([], [])
    if which.endswith(".zst.age"):
        assert max(counts) > 10, "what stands in front of the damage is had"


@pytest.mark.parametrize("which", ["2026-10.mbox.zst.age", "2026-10.mbox.index.age"])
def test_a_lost_file_is_named_and_is_missed_by_the_next_backup(tmp_path: Path, which: str) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    encrypted(root)
    (root / "INBOX" / which).unlink()
    for identity in (None, holder()):
        assert any(one.file == f"INBOX/{which}" and "whole file" in one.what for one in checked(root, identity)[0])
    assert len(find_lost(root, INBOX, range(1, 13))) == 3
    found, _ = restored(root, holder())
    # Without its index what is restored has its content, and LF line ends became CRLF.
    assert set(messages[:6] + messages[9:]) <= set(found)
    assert (messages[7] in found) == which.endswith(".index.age")


def test_what_is_not_whole_or_not_read_back_stays_and_it_is_told(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    append(root / "INBOX/2026-08.mbox")
    path = root / "INBOX/2026-09.mbox"
    octets = path.read_bytes()
    path.write_bytes(octets[:200] + bytes([octets[200] ^ 1]) + octets[201:])
    notices: list[tuple[str, bytes]] = []
    assert encrypted(root, notices, unproven={INBOX: 11}) == ["INBOX/2026-10.mbox"]
    told = "\n".join(text for text, _ in notices)
    assert "INBOX/2026-08.mbox is not encrypted: it holds octets that its index does not know" in told
    assert "INBOX/2026-09.mbox is damaged and is not compressed" in told
    assert path.exists()
    assert (root / "INBOX/2026-11.mbox").exists(), "nobody has read all of it back yet"
    assert "INBOX/2026-11.mbox" in encrypted(root)
    (root / "INBOX").rename(root / "Old")
    store(root / "x", [letter(5)], now=day(2026, 11))
    shutil.move(root / "x/INBOX", root / "Away")
    assert encrypted(root) == []


def test_a_part_of_it_is_chosen_by_header_and_date(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    encrypted(root)
    spill = tmp_path / "spill"
    spill.mkdir(exist_ok=True)
    header = messages[4].partition(b"\r\n\r\n")[0].splitlines()[0]
    session = MboxReader(root, Digester, spill, identity=holder(), wanted=lambda octets, when: header in octets)
    value(session, OpenSource())
    refs = value(session, ListSource())
    assert [b"".join(value(session, Fetch(ref)).blocks()) for ref in refs] == [one for one in messages if header in one]
    assert 0 < len(refs) < len(messages)
    session.close()


def test_months_that_were_compressed_before_are_encrypted_too(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    assert len(compressed(root)) == 3
    assert len(encrypted(root)) == 4
    assert restored(root, holder()) == (messages, 0)


def test_a_folder_that_gets_no_more_mail_is_encrypted_as_well(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    sent = MailboxName(("Sent", "Old"))
    store(root, [letter(1)], sent, now=day(2026, 3))
    store(root, [letter(2)], now=day(2026, 11))
    assert encrypted(root, now=day(2026, 11)) == ["Sent/Old/2026-03.mbox"]
    assert encrypted(root, now=day(2026, 12)) == ["INBOX/2026-11.mbox"]
    assert encrypted(root, now=day(2027, 3)) == [], "a file without a message has nothing to hide"
    assert sorted(restored(root, holder())[0]) == [letter(1), letter(2)]


def test_encrypted_months_are_pruned_like_others_and_their_dates_are_told(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    would = pruned(root, Rule(keep=2), is_real=False)
    encrypted(root)
    store(root, [letter(50)], now=DECEMBER_2026)
    assert pruned(root, Rule(keep=3), is_real=False) == would
    assert isinstance(would[0], Old)
    assert names(pruned(root, Rule(keep=3))) == ["INBOX/2026-08.mbox", "INBOX/2026-09.mbox"]
    assert [name for name in files(root) if "-08" in name or "-09" in name] == []
    assert (checked(root)[0], len(find_lost(root, INBOX, range(1, 14)))) == ([], 0)
    assert restored(root, holder()) == ([*messages[6:], letter(50)], 0)


def test_a_line_that_cannot_be_read_is_as_if_the_messages_were_lost_and_the_key_finds_them(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    encrypted(root)
    index = root / "INBOX/2026-10.mbox.index"
    index.write_bytes(index.read_bytes().replace(b'"first":7', b'"first":8', 1))
    assert "damaged" in " ".join(one.what for one in checked(root)[0])
    index.unlink()
    assert restored(root, holder()) == (messages, 0)
    assert checked(root)[0] != []


# --- what goes, and when ----------------------------------------------------------------------


def test_nothing_goes_where_the_encrypted_file_does_not_give_everything_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    compressed(root)
    real = pyrage.encrypt_io
    for which in (".zst", ".index"):

        def lies(reader: Any, writer: Any, recipients: Any, which: str = which) -> None:
            """A library that loses the end of one kind of file, and says nothing."""
            octets = reader.read()
            is_meant = (which == ".index") == octets.startswith(b"{")
            real(__import__("io").BytesIO(octets[:-1] if is_meant else octets), writer, recipients)

        monkeypatch.setattr(pyrage, "encrypt_io", lies)
        notices: list[tuple[str, bytes]] = []
        assert encrypted(root, notices) == []
        assert len(notices) == 4
        assert [name for name in files(root) if "age" in name or "part" in name] == []
    monkeypatch.undo()
    assert (checked(root)[0], restored(root, None)) == ([], (messages, 0))


def test_a_disk_that_is_full_at_any_write_costs_nothing(tmp_path: Path) -> None:
    """The library says nothing of a write that fails at its end."""
    root = tmp_path / "whole"
    messages = list(generate(73, 60, odd=0))
    store(root, messages, now=day(2026, 10))
    store(root, [letter(1)], now=day(2026, 11))
    compressed(root)
    number = 0
    while True:
        number += 1
        copy = tmp_path / str(number)
        shutil.copytree(root, copy)
        left = number
        with pytest.MonkeyPatch.context() as patch:

            def write(handle: int, octets: Any, real: Any = os.write) -> int:
                nonlocal left
                left -= 1
                if not left:
                    raise OSError(28, "No space left on device")
                return int(real(handle, octets))

            patch.setattr(os, "write", write)
            try:
                encrypted(copy, now=day(2026, 11))
            except StoreError as error:
                is_full = error.cause is Cause.FULL
            else:
                assert left > 0, f"write {number} failed, and nobody said so"
                break
        assert is_full
        assert checked(copy, holder())[0] == [], number
        assert restored(copy, holder()) == ([*messages, letter(1)], 0), number
        shutil.rmtree(copy)
    assert number > 8
    assert [path.name for path in copy.rglob("*.age")] != []


def test_a_kill_anywhere_costs_nothing_and_the_next_run_completes_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    last, seen = 0, set()
    while True:
        last += 1
        root = tmp_path / str(last) / "backup"
        messages = fill(root, months=2)
        if not killed(last, lambda root=root: encrypted(root)):  # type: ignore[misc]
            break
        there = {name.removeprefix("INBOX/2026-10.mbox") for name in files(root) if "2026-10" in name}
        short = len((root / "INBOX/2026-10.mbox.index").read_bytes().splitlines()) == 2
        assert short <= ({".zst.age", ".index.age"} <= there), f"{last}: the index went before its octets were there"
        assert short or there & {"", ".zst"}, f"{last}: the only copy went before the index said so"
        seen.add((short, ".zst" in there, ".zst.age" in there))
        assert (checked(root)[0], len(find_lost(root, INBOX, range(1, 7)))) == ([], 0), last
        assert (checked(root, holder())[0], restored(root, holder())) == ([], (messages, 0)), last
        store(root, [letter(70)], now=DECEMBER_2026)
        encrypted(root)
        ends = [f"2026-{month}.mbox{end}" for month in (10, 11) for end in (".index", ".index.age", ".zst.age")]
        left = [name for name in files(root) if not name.endswith(".part")]
        assert left == sorted(f"INBOX/{end}" for end in (*ends, "2026-12.mbox", "2026-12.mbox.index")), last
        assert (checked(root, holder())[0], restored(root, holder())) == ([], ([*messages, letter(70)], 0)), last
        shutil.rmtree(root.parent)
    assert {(False, True, True), (True, True, True), (True, False, True)} <= seen
    assert last > 40
    record_property("changes of the disk before each of which a run was killed", last - 1)


def test_what_a_killed_run_left_is_kept_where_the_encrypted_file_is_damaged(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    compressed(root)
    path = root / "INBOX/2026-10.mbox.zst"
    octets = path.read_bytes()
    encrypted(root)
    hidden = path.with_name(path.name + ".age")
    path.write_bytes(octets)
    *rest, last = hidden.read_bytes()
    hidden.write_bytes(bytes([*rest, last ^ 1]))
    notices: list[tuple[str, bytes]] = []
    encrypted(root, notices)
    assert path.read_bytes() == octets
    assert "damaged; what it was made of is kept" in notices[0][0]


# --- keys -------------------------------------------------------------------------------------


def test_the_header_names_nobody_else_than_the_recipients_and_a_key_that_is_gone(tmp_path: Path) -> None:
    path, target = tmp_path / "a", tmp_path / "a.age"
    path.write_bytes(b"octets")
    witness = age.encrypt(path, target, (PUBLIC,))
    assert len(re.findall(rb"^-> X25519 ", target.read_bytes(), re.MULTILINE)) == 2
    assert witness.plain(target).open().read() == holder().plain(target).open().read() == b"octets"
    again = age.encrypt(path, tmp_path / "b.age", (PUBLIC,))
    with pytest.raises(StoreError):
        again.plain(target)


def test_a_key_with_a_wrong_character_is_none(tmp_path: Path) -> None:
    assert is_recipient(PUBLIC)
    for place in (5, 20, len(PUBLIC) - 1):
        wrong = PUBLIC[:place] + ("q" if PUBLIC[place] != "q" else "p") + PUBLIC[place + 1 :]
        assert not is_recipient(wrong)
    assert not is_recipient(SECRET)
    with pytest.raises(ValueError, match="not a secret key") as caught:
        identity_of(Secret(SECRET[:-1]))
    assert caught.value.__cause__ is None
    assert SECRET[:30] not in repr(caught.value)
    assert identity_of(Secret("")) is None


def test_two_readers_of_a_decrypted_file_have_places_of_their_own(tmp_path: Path) -> None:
    paths = []
    for name in "abc":
        path = tmp_path / name
        path.write_bytes(name.encode() * 100_000)
        age.encrypt(path, tmp_path / f"{name}.age", (PUBLIC,))
        paths.append(tmp_path / f"{name}.age")
    one = holder()
    first, second = one.plain(paths[0]).open(), one.plain(paths[0]).open()
    assert first.read(10) == second.read(10) == b"a" * 10
    assert first.seek(-5, os.SEEK_END) == 99_995
    assert (first.read(), second.tell()) == (b"a" * 5, 10)
    for path in paths[1:]:
        assert len(one.plain(path).open().read()) == 100_000
    assert second.read(3) == b"aaa", "also when its file is held no more"
    assert one.plain(paths[2]) is one.plain(paths[2])


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "backup"
    fill(root)
    encrypted(root)
    monkeypatch.setitem(sys.modules, "pyrage", None)
    with pytest.raises(StoreError) as caught:
        identity_of(Secret(SECRET))
    assert (caught.value.cause, "popferry[age]" in caught.value.hint) == (Cause.UNUSABLE, True)
    assert checked(root)[0] == [], "to prove the files needs none"


_PEAK = r"""
import re, sys
from pathlib import Path
from migrate.model import Secret
from migrate.stores.mbox import age, packed
path, public, secret = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
age.encrypt(path, path.with_suffix(".age"), (public,))
one = age.identity_of(Secret(secret), path.parent)
with one.plain(path.with_suffix(".age")).open() as stream:
    while stream.read(65536): pass
print(re.search(r"VmHWM:\s*([0-9]+)", Path("/proc/self/status").read_text())[1])
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="it is read from /proc")
def test_the_memory_does_not_grow_with_the_file(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    peaks = []
    for megabytes in (1, 60):
        path = tmp_path / f"{megabytes}.bin"
        with path.open("wb") as stream:
            for _ in range(megabytes):
                stream.write(os.urandom(1 << 20))
        command = [sys.executable, "-c", _PEAK, str(path), PUBLIC, SECRET]
        peaks.append(int(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    record_property("peak of 1 MB and of 60 MB, in KB", peaks)
    assert peaks[1] - peaks[0] < 4000


def test_what_is_stored_is_told_by_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert stored(path) == (3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    with pytest.raises(FileNotFoundError):
        stored(tmp_path / "none")
    assert Part(tmp_path / "none.mbox").encrypted is None
