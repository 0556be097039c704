"""Months that are over, compressed: every octet can still be had, proved and restored, also after a kill."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.commands import OpenMailbox
from migrate.errors import Cause, StoreError
from migrate.model import INBOX
from migrate.stores.mbox import compress, find_lost, packed
from migrate.stores.mbox.compress import Compressed
from migrate.stores.mbox.packed import Packed, pack
from migrate.stores.mbox.part import Part
from migrate.stores.mbox.prune import Rule
from tests.engine.support import letter
from tests.support.mailgen import generate

from .contract import value
from .mbox_rig import checked, held, opened, store
from .test_mbox_prune import DECEMBER_2026, append, day, files, fill, killed, listed, names, pruned

pytest.importorskip("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")


def compressed(root: Path, notices: list[tuple[str, bytes]] | None = None, now: float = DECEMBER_2026) -> list[str]:
    done = compress(root, [] if notices is None else notices, clock=lambda: now, sleep=lambda seconds: None)
    return [one.file for one in done]


def test_what_is_over_is_compressed_and_says_what_it_said(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = list(generate(60, 30))
    for number in range(3):
        store(root, messages[10 * number : 10 * number + 10], now=day(2026, 9 + number))
    before = {path.name: path.read_bytes() for path in root.rglob("*.mbox")}
    index = {path: path.read_bytes() for path in root.rglob("*.index")}

    done = list(compress(root, [], clock=lambda: DECEMBER_2026))

    assert [one.file for one in done] == ["INBOX/2026-09.mbox", "INBOX/2026-10.mbox"]
    for one in done:
        path = root / f"{one.file}.zst"
        assert one == Compressed(one.file, len(before[path.stem]), path.stat().st_size)
        assert one.packed < one.octets / 2
        assert not path.with_name(path.stem).exists()
        if zstd := shutil.which("zstd"):
            given_back = subprocess.run([zstd, "-dc", str(path)], capture_output=True, check=True).stdout
            assert given_back == before[path.stem], "and any zstd gives back the file"
    assert {path: path.read_bytes() for path in root.rglob("*.index")} == index
    findings, read = checked(root)
    assert (findings, read.messages, read.octets) == ([], 30, sum(map(len, before.values())))
    assert listed(root) == messages
    assert len(find_lost(root, INBOX, range(1, 31))) == 0
    assert compressed(root) == [], "once is enough"
    store(root, [letter(1)], now=DECEMBER_2026)
    assert compressed(root) == ["INBOX/2026-11.mbox"], "the newest stays, also where its month is over"
    assert (checked(root)[0], listed(root)) == ([], [*messages, letter(1)])


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_any_octets_of_it_are_had_without_the_others(data: st.DataObject) -> None:
    scratch = Path(os.environ.get("TMPDIR", "/tmp")) / f"popferry-packed-{os.getpid()}"
    scratch.mkdir(exist_ok=True)
    try:
        octets = data.draw(st.binary(max_size=500)) * data.draw(st.integers(1, 5))
        path, target = scratch / "a.mbox", scratch / "a.mbox.zst"
        path.write_bytes(octets)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(packed, "FRAME", data.draw(st.integers(1, 400)))
            patch.setattr(packed, "BLOCK", data.draw(st.integers(1, 100)))
            pack(path, target)
            one = Packed(target)
            assert one.size == len(octets)
            for _ in range(5):
                start = data.draw(st.integers(0, len(octets) + 5))
                end = data.draw(st.integers(start, len(octets) + 9))
                assert b"".join(one.read(start, end)) == octets[start:end]
    finally:
        shutil.rmtree(scratch)


def test_a_flipped_bit_that_costs_an_octet_is_found_and_costs_its_frame_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Callable[[str, object], None]
) -> None:
    monkeypatch.setattr(packed, "FRAME", 2000)
    root = tmp_path / "backup"
    messages = list(generate(61, 30, odd=0))
    store(root, messages, now=day(2026, 10))
    store(root, [letter(1)], now=day(2026, 11))
    assert compressed(root) == ["INBOX/2026-10.mbox"]
    path = root / "INBOX/2026-10.mbox.zst"
    octets = path.read_bytes()
    frames = len(Packed(path)._places) - 1
    assert frames > 10
    rng = random.Random(61)
    lost, unread = [], 0
    for place in [rng.randrange(len(octets)) for _ in range(200)] + list(range(len(octets) - 17, len(octets))):
        path.write_bytes(octets[:place] + bytes([octets[place] ^ 1 << rng.randrange(8)]) + octets[place + 1 :])
        findings = checked(root)[0]
        if not findings:
            unread += 1  # a bit of the format that stands for nothing
            assert listed(root) == [*messages, letter(1)], f"the flip at {place} of {len(octets)} was not found"
        elif place < Packed(path)._places[-1]:
            lost.append(len(findings))
    path.write_bytes(octets)
    assert checked(root)[0] == []
    assert max(lost) < 10, "messages that a frame of 2,000 octets touches"
    assert unread < 10
    record_property("flipped bits, of these without any effect", (217, unread))


@pytest.mark.parametrize("cut", [1, 8, 9, 100, 10**6])
def test_a_file_that_is_cut_is_named_and_the_rest_is_restored(tmp_path: Path, cut: int) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    compressed(root)
    path = root / "INBOX/2026-08.mbox.zst"
    os.truncate(path, max(0, path.stat().st_size - cut))
    assert [one.uid for one in checked(root)[0]] == [1, 2, 3]
    assert {one.what[:7] for one in checked(root)[0]} == {"missing"}
    assert len(find_lost(root, INBOX, range(1, 13))) == 3
    rest = tmp_path / "rest"
    shutil.copytree(root, rest)
    (rest / "INBOX/2026-08.mbox.zst").unlink()
    (rest / "INBOX/2026-08.mbox.index").unlink()
    assert listed(rest) == messages[3:]


@pytest.mark.parametrize("octets", [b"", b"no zstd at all", b"\0" * 40, b"\xff" * 17 + b"\xb1\xea\x92\x8f"])
def test_something_else_under_its_name_holds_nothing(tmp_path: Path, octets: bytes) -> None:
    path = tmp_path / "x.mbox.zst"
    path.write_bytes(octets)
    assert Packed(path).size == 0
    assert list(Packed(path).read(0, 100)) == []


def test_what_is_not_whole_or_not_over_is_left_as_it_is(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    append(root / "INBOX/2026-08.mbox")
    path = root / "INBOX/2026-09.mbox"
    octets = path.read_bytes()
    path.write_bytes(octets[:200] + bytes([octets[200] ^ 1]) + octets[201:])
    before = files(root)
    notices: list[tuple[str, bytes]] = []
    assert compressed(root, notices, now=day(2026, 10)) == []
    assert files(root) == before
    assert [text for text, _ in notices] == [
        "INBOX/2026-09.mbox is damaged and is not compressed; popferry verify names what"
    ]


def test_one_file_for_all_time_and_what_another_program_holds_stay(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    store(root, [letter(1)], layout="one")
    store(root, [letter(2)], now=day(2026, 10))
    store(root, [letter(3)], now=day(2026, 11))
    (root / "INBOX/2026-10.mbox.lock").write_text("mutt")
    assert compressed(root) == []
    (root / "INBOX/2026-10.mbox.lock").unlink()
    assert compressed(root) == ["INBOX/2026-10.mbox"]


def test_compressed_months_are_pruned_like_others(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    compressed(root)
    assert names(pruned(root, Rule(before=date(2026, 10, 1)))) == ["INBOX/2026-08.mbox", "INBOX/2026-09.mbox"]
    assert [name for name in files(root) if "-08" in name or "-09" in name] == []
    assert (checked(root)[0], listed(root), len(find_lost(root, INBOX, range(1, 13)))) == ([], messages[6:], 0)


def test_a_compressed_file_is_never_written_to_and_without_its_index_it_is_an_mbox_file(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    compressed(root)
    for path in (root / "INBOX").glob("2026-11*"):
        path.unlink()
    path = root / "INBOX/2026-10.mbox.zst"
    octets = path.read_bytes()
    session = opened(root, now=day(2026, 10))  # a clock that was set back: by its name it is the file of this month
    assert value(session, OpenMailbox(0, INBOX, create=True)).uidnext > 1_000_000
    assert "2026-10.mbox is compressed; it is left as it is" in session.notices[0][0]
    store(root, [letter(50)], now=day(2026, 10))
    assert path.read_bytes() == octets
    assert max(one.uid for one in held(root)) > 1_000_000
    path.with_name("2026-10.mbox.index").unlink()
    assert sorted(listed(root)) == sorted([*messages[:9], letter(50)])


def test_a_name_stands_for_one_file_for_ever_also_where_the_clock_goes_back(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    assert "INBOX/2026-10.mbox" in compressed(root)
    index = root / "INBOX" / "2026-10.mbox.index"
    index.unlink()
    octets = (packed_file := index.with_name("2026-10.mbox.zst")).read_bytes()

    store(root, [letter(77)], now=day(2026, 10))
    store(root, [letter(78)], now=day(2026, 12))
    compressed(root, now=day(2027, 1))

    assert packed_file.read_bytes() == octets
    assert set(listed(root)) >= {*messages, letter(77), letter(78)}


def test_the_size_of_a_file_is_known_at_the_moment_when_it_is_compressed(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    part = Part(root / "INBOX" / "2026-10.mbox")
    kept = part.path.with_name("kept")
    os.link(part.path, kept)
    pack(part.path, part.packed_path)
    sizes: set[int] = set()
    is_over = threading.Event()

    def look() -> None:
        while not is_over.is_set():
            sizes.add(part.size())

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(3000):
        part.path.unlink()
        os.link(kept, part.path)
    is_over.set()
    looking.join()
    assert sizes == {kept.stat().st_size}


def test_without_the_library_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "backup"
    fill(root)
    compressed(root)
    monkeypatch.setitem(sys.modules, "compression.zstd", None)
    monkeypatch.setitem(sys.modules, "backports.zstd", None)
    Packed._last = None
    with pytest.raises(StoreError) as caught:
        checked(root)
    assert caught.value.cause is Cause.UNUSABLE
    assert "popferry[zstd]" in caught.value.hint


def test_a_kill_anywhere_costs_nothing_and_the_next_run_completes_it(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    last, seen = 0, set()
    while True:
        last += 1
        root = tmp_path / str(last) / "backup"
        messages = fill(root, months=3)
        if not killed(last, lambda root=root: compressed(root)):  # type: ignore[misc]
            break
        seen.add(tuple(name for name in files(root) if name.endswith((".mbox", ".zst"))))
        assert (checked(root)[0], listed(root)) == ([], messages), last
        store(root, [letter(70)], now=DECEMBER_2026)
        assert (checked(root)[0], listed(root)) == ([], [*messages, letter(70)]), last
        compressed(root)
        ends = ("09.mbox.zst", "10.mbox.zst", "11.mbox.zst", "12.mbox")
        left = [name for name in files(root) if name.endswith((".mbox", ".zst"))]
        assert left == [f"INBOX/2026-{end}" for end in ends], last
        assert (checked(root)[0], listed(root)) == ([], [*messages, letter(70)]), last
        shutil.rmtree(root.parent)
    assert any("INBOX/2026-09.mbox" in names and "INBOX/2026-09.mbox.zst" in names for names in seen)
    assert last > 20
    record_property("changes of the disk before each of which a run was killed", last - 1)
