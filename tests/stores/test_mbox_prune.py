"""Old files are deleted whole, on a person's word alone; what is left is as good as before, also after a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import CloseSource, Fetch, FetchHeaders, ListSource, OpenMailbox, OpenSource, SearchUids
from migrate.model import INBOX, MailboxName
from migrate.rules.dedupe import Digester
from migrate.stores import disk
from migrate.stores.mbox import MboxReader, Old, Rule, Spared, find_lost, has_periods, newest_day
from migrate.stores.mbox.closed import ELSEWHERE, FAULTY, NOT_READ_BACK, UNKNOWN, go_on
from migrate.stores.mbox.part import Part
from migrate.stores.mbox.prune import ONE_FILE, prune
from migrate.stores.record import sealed
from tests.engine.support import letter

from .contract import value
from .mbox_rig import checked, held, opened, store

SENT = MailboxName(("Sent",))
DECEMBER_2026 = datetime(2026, 12, 15, tzinfo=UTC).timestamp()


def day(year: int, month: int) -> float:
    return datetime(year, month, 15, tzinfo=UTC).timestamp()


def fill(root: Path, months: int = 4, **more: Any) -> list[bytes]:
    """Three messages a month, up to November 2026. Value: all of them."""
    messages = [letter(number) for number in range(3 * months)]
    for number in range(months):
        store(root, messages[3 * number : 3 * number + 3], now=day(2026, 12 - months + number), **more)
    return messages


def pruned(root: Path, rule: Rule, *, now: float = DECEMBER_2026, **more: Any) -> list[Old | Spared]:
    more = {"is_real": True, "unproven": {}, **more}
    return list(prune(root, rule, clock=lambda: now, sleep=lambda seconds: None, **more))


def files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and path.name != ".lock")


def names(found: list[Old | Spared]) -> list[str]:
    return [one.file for one in found if isinstance(one, Old)]


def reasons(found: list[Old | Spared]) -> list[tuple[str, str]]:
    return [(one.file, one.reason) for one in found if isinstance(one, Spared)]


def listed(root: Path) -> list[bytes]:
    """What a restoration would copy of it."""
    spill = root.with_name("spill")
    spill.mkdir(exist_ok=True)
    session = MboxReader(root, Digester, spill)
    value(session, OpenSource())
    messages = [b"".join(value(session, Fetch(ref)).blocks()) for ref in value(session, ListSource())]
    value(session, CloseSource(quit=True))
    return messages


# --- which files ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "gone"),
    [
        (Rule(before=date(2026, 8, 31)), []),
        (Rule(before=date(2026, 9, 1)), ["08"]),
        (Rule(before=date(2026, 9, 30)), ["08"]),
        (Rule(before=date(2026, 11, 1)), ["08", "09", "10"]),
        (Rule(before=date(2030, 1, 1)), ["08", "09", "10", "11"]),
        (Rule(keep=1), ["08", "09", "10"]),
        (Rule(keep=3), ["08"]),
        (Rule(keep=4), []),
        (Rule(keep=9), []),
    ],
)
def test_a_rule_takes_the_months_that_were_over_by_then(tmp_path: Path, rule: Rule, gone: list[str]) -> None:
    root = tmp_path / "backup"
    fill(root)
    before = files(root)
    would = pruned(root, rule, is_real=False)
    assert names(would) == [f"INBOX/2026-{month}.mbox" for month in gone]
    assert files(root) == before, "it was only said"
    assert pruned(root, rule) == would
    assert [name for name in before if name not in files(root)] == [
        f"INBOX/2026-{month}.mbox{end}" for month in gone for end in ("", ".index")
    ]


def test_it_is_said_how_much_goes_and_from_when_it_is(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    octets = (root / "INBOX/2026-08.mbox").stat().st_size
    (one,) = pruned(root, Rule(before=date(2026, 9, 1)))
    when = held(root)[0].when
    assert one == Old("INBOX/2026-08.mbox", 3, octets, when, when)


def test_the_month_that_is_not_over_stays(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    assert names(pruned(root, Rule(before=date(2099, 1, 1)), now=day(2026, 11))) == [
        f"INBOX/2026-{month}.mbox" for month in ("08", "09", "10")
    ]
    assert [one.uid for one in held(root)] == [10, 11, 12]


def test_the_newest_file_goes_when_its_month_is_over_and_uids_go_on(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    before = json.loads((root / "INBOX/2026-11.mbox.index").open().readline())
    assert len(names(pruned(root, Rule(before=date(2099, 1, 1))))) == 4
    assert files(root) == ["INBOX/2026-12.mbox", "INBOX/2026-12.mbox.index", "INBOX/pruned.index"]
    assert pruned(root, Rule(before=date(2099, 1, 1)), now=day(2027, 6)) == [], "an empty file is no gain"
    session = opened(root, now=DECEMBER_2026)
    status = value(session, OpenMailbox(0, INBOX, create=True))
    assert (status.uidnext, status.uidvalidity, status.messages) == (13, before["uidvalidity"], 0)
    store(root, [letter(50)], now=DECEMBER_2026)
    assert [one.uid for one in held(root)] == [13]
    assert checked(root)[0] == []


def test_every_folder_is_looked_at_and_several_files_of_a_month_go_together(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    store(root, [letter(1)], now=day(2026, 8))
    (root / "INBOX/2026-08.mbox").open("ab").write(b"From x@y Thu Nov 26 00:00:00 2026\n\nOther\n\n")
    store(root, [letter(2)], now=day(2026, 8))
    store(root, [letter(3)], now=day(2026, 11))
    fill(root, mailbox=SENT)
    found = pruned(root, Rule(keep=1))
    assert names(found) == ["INBOX/2026-08.2.mbox", *(f"Sent/2026-{month}.mbox" for month in ("08", "09", "10"))]
    assert reasons(found) == [("INBOX/2026-08.mbox", UNKNOWN)]


def test_a_month_that_was_begun_for_nothing_is_not_one_of_those_that_are_kept(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    opened(root, now=DECEMBER_2026)
    part = root / "INBOX/2026-12.mbox"
    go_on(root, Part(root / "INBOX/2026-11.mbox"), lambda: DECEMBER_2026, [])
    assert part.exists()
    assert names(pruned(root, Rule(keep=3))) == ["INBOX/2026-08.mbox"]
    assert newest_day(root) == date(2026, 12, 31)
    assert newest_day(tmp_path / "none") is None


def test_years_are_months_of_twelve(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    for year in (2024, 2025, 2026):
        store(root, [letter(year)], now=day(year, 6), layout="year")
    assert names(pruned(root, Rule(before=date(2025, 12, 31)))) == ["INBOX/2024.mbox"]
    assert names(pruned(root, Rule(before=date(2027, 1, 1)))) == ["INBOX/2025.mbox"]
    assert names(pruned(root, Rule(before=date(2027, 1, 1)), now=day(2027, 2))) == ["INBOX/2026.mbox"]
    assert files(root) == ["INBOX/2027.mbox", "INBOX/2027.mbox.index", "INBOX/pruned.index"]


def test_one_file_for_all_time_is_never_over(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    store(root, [letter(1)], layout="one")
    assert not has_periods(root)
    assert pruned(root, Rule(before=date(2099, 1, 1))) == [Spared("INBOX/all.mbox", ONE_FILE)]
    store(root, [letter(2)])
    store(root, [letter(3)], now=DECEMBER_2026)
    assert has_periods(root)
    found = pruned(root, Rule(keep=1))
    assert (names(found), reasons(found)) == (["INBOX/2026-11.mbox"], [("INBOX/all.mbox", ONE_FILE)])
    assert checked(root)[0] == []


# --- what stays all the same ------------------------------------------------------------------


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def append(path: Path) -> None:
    path.open("ab").write(b"From x@y Thu Nov 26 00:00:00 2026\n\nOther\n\n")


def spoil(path: Path) -> None:
    index = path.with_name(path.name + ".index")
    index.write_bytes(index.read_bytes().replace(b'{"uid":2,', b'{"uid":7,'))


def unmark(path: Path) -> None:
    index = path.with_name(path.name + ".index")
    index.write_bytes(b"".join(index.read_bytes().splitlines(True)[:-1]))


def unlink(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [(cut, FAULTY), (append, UNKNOWN), (spoil, FAULTY), (unmark, FAULTY), (unlink, FAULTY)],
)
def test_a_file_that_is_not_what_its_index_says_stays(
    tmp_path: Path, damage: Callable[[Path], None], reason: str
) -> None:
    root = tmp_path / "backup"
    fill(root)
    path = root / "INBOX/2026-08.mbox"
    damage(path)
    before = {name: (root / name).read_bytes() for name in files(root) if "2026-08" in name}
    found = pruned(root, Rule(keep=2))
    assert (names(found), reasons(found)) == (["INBOX/2026-09.mbox"], [("INBOX/2026-08.mbox", reason)])
    assert {name: (root / name).read_bytes() for name in files(root) if "2026-08" in name} == before


def test_what_nobody_has_read_back_yet_stays(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    found = pruned(root, Rule(keep=1), unproven={INBOX: 6, SENT: 1})
    assert names(found) == ["INBOX/2026-08.mbox"]
    assert reasons(found) == [(f"INBOX/2026-{month}.mbox", NOT_READ_BACK) for month in ("09", "10")]


def test_a_folder_that_is_not_where_it_was_made_stays(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    (root / "INBOX").rename(root / "Old")
    assert reasons(pruned(root, Rule(keep=3))) == [("Old/2026-08.mbox", ELSEWHERE)]
    assert reasons(pruned(root / "Old", Rule(keep=3))) == [("2026-08.mbox", ELSEWHERE)]


def test_a_file_that_another_program_holds_stays(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    dotlock = root / "INBOX/2026-08.mbox.lock"
    dotlock.write_text("mutt")
    ((name, reason),) = reasons(pruned(root, Rule(keep=3)))
    assert (name, "another program holds" in reason) == ("INBOX/2026-08.mbox", True)
    dotlock.unlink()
    assert names(pruned(root, Rule(keep=3))) == ["INBOX/2026-08.mbox"]


def test_foreign_files_are_none_of_its_business(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    (root / "INBOX/2020-01.mbox").write_bytes(b"From a@b Thu Nov 26 00:00:00 2026\n\nMine\n\n")
    (root / "INBOX/2020-02.txt").write_bytes(b"notes")
    assert names(pruned(root, Rule(keep=3))) == ["INBOX/2026-08.mbox"]
    assert {"INBOX/2020-01.mbox", "INBOX/2020-02.txt"} < set(files(root))


# --- afterwards -------------------------------------------------------------------------------


def test_what_was_deleted_is_neither_missing_nor_lost(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    assert len(names(pruned(root, Rule(keep=2)))) == 2
    findings, read = checked(root)
    assert (findings, read.files, read.messages) == ([], 2, 6)
    assert len(find_lost(root, INBOX, range(1, 13))) == 0
    assert listed(root) == messages[6:]
    session = opened(root, now=DECEMBER_2026)
    assert value(session, SearchUids(0, INBOX, 1)) == list(range(7, 13))
    assert value(session, FetchHeaders(0, INBOX, [1, 7], ()))[0].uid == 7
    assert value(session, OpenMailbox(0, INBOX, create=True)).messages == 6


def test_a_file_that_stays_before_one_that_went_counts_its_own_messages_alone(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    append(root / "INBOX/2026-08.mbox")
    assert names(pruned(root, Rule(keep=1))) == ["INBOX/2026-09.mbox", "INBOX/2026-10.mbox"]
    status = value(opened(root, now=DECEMBER_2026), OpenMailbox(0, INBOX, create=True))
    assert (status.messages, status.uidnext) == (6, 13)
    assert [one.what[:5] for one in checked(root)[0]] == ["extra"]


@pytest.mark.parametrize("order", [("08", "09"), ("09", "08"), ("09", "10"), ("10", "08")])
def test_what_is_missing_beside_it_is_found_all_the_same(tmp_path: Path, order: tuple[str, str]) -> None:
    """One file was deleted by a prune, another one by an accident."""
    root = tmp_path / "backup"
    fill(root)
    kept, lost = order
    for path in (root / "INBOX").glob("2026-*"):
        if not path.name.startswith((f"2026-{kept}", "2026-11")):
            shutil.move(path, tmp_path / path.name)
    # Only one file is old enough for the rule: the others are put back afterwards.
    month = int(kept)
    assert names(pruned(root, Rule(before=date(2026, month + 1, 1)))) == [f"INBOX/2026-{kept}.mbox"]
    for path in tmp_path.glob("2026-*"):
        if not path.name.startswith(f"2026-{lost}"):
            shutil.move(path, root / "INBOX" / path.name)
    first = 3 * (int(lost) - 8) + 1
    findings = checked(root)[0]
    assert [one.what for one in findings] == [f"missing: uids {first} to {first + 2}, before this file"]
    assert len(find_lost(root, INBOX, range(1, 13))) == 3


def test_without_the_record_what_was_deleted_is_missing(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    pruned(root, Rule(keep=2))
    (root / "INBOX/pruned.index").unlink()
    assert [one.what for one in checked(root)[0]] == ["missing: uids 1 to 6, before this file"]
    assert len(find_lost(root, INBOX, range(1, 13))) == 6


def test_a_damaged_line_of_the_record_is_named_and_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    pruned(root, Rule(keep=2))
    record = root / "INBOX/pruned.index"
    record.write_bytes(record.read_bytes().replace(b'"first":4', b'"first":5'))
    findings = checked(root)[0]
    assert [one.file for one in findings] == ["INBOX/pruned.index", "INBOX/2026-10.mbox"]
    assert findings[1].what == "missing: uids 4 to 6, before this file"
    assert len(find_lost(root, INBOX, range(1, 13))) == 3
    assert names(pruned(root, Rule(keep=1))) == ["INBOX/2026-10.mbox"]
    assert len(find_lost(root, INBOX, range(1, 13))) == 3, "and the record goes on behind it"


@pytest.mark.parametrize(
    "change", [{"pruned": "../../x.mbox"}, {"pruned": 7}, {"first": "1"}, {"octets": None}, {"more": 1}]
)
def test_a_line_of_the_record_that_popferry_would_not_write_is_damaged(tmp_path: Path, change: dict[str, Any]) -> None:
    root = tmp_path / "backup"
    fill(root)
    pruned(root, Rule(keep=3))
    record = root / "INBOX/pruned.index"
    one = json.loads(record.read_bytes())
    one.pop("check")
    record.write_bytes(sealed(one | change))
    assert checked(root)[0][0].what == "line 1 is damaged: which file was deleted cannot be read"
    assert len(find_lost(root, INBOX, range(1, 13))) == 3


def test_a_record_of_another_mailbox_of_the_name_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    pruned(root, Rule(keep=2))
    record = (root / "INBOX/pruned.index").read_bytes()
    shutil.rmtree(root)
    store(root, [letter(1)], now=day(2027, 1))
    (root / "INBOX/pruned.index").write_bytes(record)
    assert len(find_lost(root, INBOX, [1, 2, 3])) == 2


def test_the_name_of_a_deleted_file_is_not_given_again_where_the_clock_goes_back(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    assert "INBOX/2026-11.mbox" in names(pruned(root, Rule(before=date(2027, 1, 1)), now=day(2027, 3)))
    store(root, [letter(98)], now=day(2027, 3))
    store(root, [letter(99)], now=day(2026, 11))
    assert listed(root) == [letter(98), letter(99)]
    (newest,) = (path for path in root.rglob("*.mbox") if letter(99).replace(b"\r", b"") in path.read_bytes())
    newest.unlink()
    assert any(finding.uid == 14 for finding in checked(root)[0]), "no person has deleted it"
    pruned(root, Rule(keep=9), now=day(2027, 3))
    assert newest.with_name(f"{newest.name}.index").exists()


def test_files_that_were_put_back_count_as_before(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    messages = fill(root)
    shutil.copytree(root, tmp_path / "copy")
    pruned(root, Rule(keep=2))
    for path in (tmp_path / "copy/INBOX").glob("2026-0*"):
        shutil.copy(path, root / "INBOX")
    assert checked(root)[0] == []
    assert listed(root) == messages
    assert value(opened(root, now=DECEMBER_2026), OpenMailbox(0, INBOX, create=True)).messages == 12


# --- kill -9 ----------------------------------------------------------------------------------

CHANGES = ("rename", "unlink", "link", "fsync", "write", "open", "ftruncate")


def killed(last: int, act: Callable[[], object]) -> bool:
    """Whether the process that acts got as far as that change of the disk; then it was killed right before it."""
    child = os.fork()
    if not child:
        steps = 0
        try:
            for name in CHANGES:
                real = getattr(os, name)

                def change(*words: Any, real: Any = real, name: str = name, **more: Any) -> Any:
                    nonlocal steps
                    steps += name != "open" or bool(words[1] & os.O_CREAT)
                    if steps == last:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return real(*words, **more)

                setattr(os, name, change)
            act()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, -signal.SIGKILL), "the prune itself failed"
    return code != 0


def whole_months(root: Path, messages: list[bytes]) -> list[bytes]:
    """The messages of the months whose mbox file is there."""
    there = {path.name for path in (root / "INBOX").glob("2026-*.mbox")}
    return [octets for at, octets in enumerate(messages) if f"2026-{8 + at // 3:02}.mbox" in there]


def test_a_prune_that_is_killed_anywhere_leaves_a_sound_backup_and_is_completed_by_the_next(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    rule = Rule(before=date(2099, 1, 1))  # all four months, so that a new file is begun too
    last, seen = 0, set()
    while True:
        last += 1
        root = tmp_path / str(last) / "backup"
        messages = fill(root)
        if not killed(last, lambda root=root: pruned(root, rule)):  # type: ignore[misc]
            break
        left = whole_months(root, messages)
        seen.add(len(left))

        assert checked(root)[0] == [], last
        assert listed(root) == left, last
        assert len(find_lost(root, INBOX, range(1, 13))) == 0, last
        store(root, [letter(70)], now=DECEMBER_2026)
        assert max(one.uid for one in held(root)) == 13, last
        assert checked(root)[0] == [], last
        found = pruned(root, rule)
        assert (reasons(found), len(names(found))) == ([], len(left) // 3), last
        # A kill between the two names of a new file leaves the first one, as it does in a backup.
        rest = [name for name in files(root) if not name.endswith(".part")]
        assert rest == ["INBOX/2026-12.mbox", "INBOX/2026-12.mbox.index", "INBOX/pruned.index"], last
        lines = (root / "INBOX/pruned.index").read_bytes().splitlines()
        assert sorted(json.loads(line)["first"] for line in lines) == [1, 4, 7, 10], last
        assert (checked(root)[0], listed(root)) == ([], [letter(70)]), last
        shutil.rmtree(root.parent)
    assert seen == {12, 9, 6, 3, 0}
    assert last > 40
    record_property("changes of the disk before each of which a prune was killed", last - 1)


def test_the_record_is_durable_before_the_first_octet_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "backup"
    fill(root)
    steps: list[str] = []
    for name in ("sync_directory", "sync", "remove"):
        real = getattr(disk, name)

        def step(what: Any, name: str = name, real: Any = real) -> None:
            where = os.readlink(f"/proc/self/fd/{what}") if isinstance(what, int) else str(what)
            steps.append(f"{name} {Path(where).name}")
            real(what)

        monkeypatch.setattr(disk, name, step)
    pruned(root, Rule(keep=3))
    folder = ["sync_directory INBOX", "sync INBOX"]
    assert steps == [
        *("sync pruned.index.part", *folder),
        *("remove 2026-08.mbox", *folder),
        *("remove 2026-08.mbox.index", *folder),
    ]


def test_a_dotlock_that_a_killed_prune_left_goes_with_the_rest(tmp_path: Path) -> None:
    root = tmp_path / "backup"
    fill(root)
    pruned(root, Rule(keep=3))
    (root / "INBOX/2026-08.mbox.lock").write_text("popferry 1\n")
    pruned(root, Rule(keep=3))
    assert not (root / "INBOX/2026-08.mbox.lock").exists()
