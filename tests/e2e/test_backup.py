"""``popferry backup``, ``verify`` and ``restore`` as a person has them: real POP3, files, real IMAP."""

from __future__ import annotations

import hashlib
import json
import mailbox
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import pytest

from tests.stores.mbox_rig import checked, held
from tests.support.embedded import Embedded
from tests.support.embedded.imap import ImapSession
from tests.support.mailgen import generate

from .ferry import PATIENCE_S, ROOT, Json, Ran, ferry
from .liars import SHUT, KeepsAFolderShut, ListsOneTooFew
from .nightly import FOLDER, Nightly, assert_goes_on_after_a_rebuild, assert_restored, torture
from .test_corpus import expected_changes

pytestmark = [pytest.mark.dovecot]


def test_a_torture_set_goes_from_pop3_into_files_into_imap_and_into_files_again(nightly: Nightly) -> None:
    served = nightly.deliver(torture())

    assert_round_trip(nightly, served)

    box = mailbox.mbox(next(nightly.root.rglob("*.mbox")), create=False)
    assert len(box) == len(served)
    box.close()
    proof = nightly.verify()
    assert (proof.code, proof.one("checked")["messages"], proof.all("damaged")) == (0, len(served), [])
    again = nightly.restore("--dedupe", "off")
    assert (again.code, again.all("copied")) == (0, [])
    assert_restored(nightly, served)


@pytest.mark.corpus
@pytest.mark.slow
def test_the_whole_corpus_goes_from_pop3_into_files_into_imap_and_into_files_again(
    nightly: Nightly, corpus: list[Path], record_property: Callable[[str, object], None]
) -> None:
    delivered = [path.read_bytes() for path in corpus]
    served = nightly.deliver(delivered)
    altered = assert_round_trip(nightly, served)
    assert checked(nightly.root)[0] == []
    by_pop3 = sum(
        octets.replace(b"\r\n", b"\n") != there.replace(b"\r\n", b"\n")
        for octets, there in zip(delivered, served, strict=True)
    )
    record_property(
        "messages; final line end added by POP3; octet for octet at the end; altered by IMAP and named",
        (len(served), by_pop3, len(served) - altered, altered),
    )


def assert_round_trip(nightly: Nightly, served: list[bytes]) -> int:
    """From POP3 into files, into IMAP, into files again: what is not octet for octet at the end was named, with the
    change that the IMAP server made. Value: how many."""
    ran = nightly.backup()
    assert (ran.code, ran.err) == (0, "")
    assert nightly.kept() == Counter(served), "octet for octet, whatever they are"
    assert ran.tally["copied"] == ran.tally["verified"] == len(served)
    assert ran.tally["altered"] == 0

    back = nightly.restore("--dedupe", "off")

    assert (back.code, back.err) == (0, "")
    assert_restored(nightly, served)
    by_uid = {one.uid: one.octets for one in held(nightly.root)}
    named = {int(event["uidl"].rpartition("UID=")[2]): event["changes"] for event in back.all("altered")}
    kept = nightly.dovecot.kept
    assert set(named) == {uid for uid, octets in by_uid.items() if kept(octets) != octets}
    for uid, changes in named.items():
        words = [word for change in changes for word in ("NUL", "CR") if word in change.split()]
        assert words == expected_changes(by_uid[uid], kept(by_uid[uid])), (uid, changes)

    again = nightly.backup_of_restored()

    assert (again.code, again.err, again.tally["altered"]) == (0, "", 0)
    assert Counter(one.octets for one in held(nightly.second)) == Counter(map(kept, served))
    assert checked(nightly.second)[0] == []
    return len(named)


def test_dates_and_flags_are_as_they_were(nightly: Nightly) -> None:
    header = b"Date: Mon, 1 Mar 2010 12:00:00 +0100\r\nStatus: RO\r\nX-Status: AF\r\nX-Keywords: blue\r\n"
    nightly.deliver([header + b"Subject: one\r\n\r\nText\r\n"])
    assert nightly.backup().code == 0
    (kept,) = held(nightly.root)
    # As if the header had said nothing: it is the index that counts.
    (index,) = nightly.root.rglob("*.index")
    assert kept.flags == {"\\Seen", "\\Answered", "\\Flagged", "blue"}
    assert kept.when == datetime(2010, 3, 1, 11, tzinfo=UTC)
    rewrite(index, lambda line: line | {"internaldate": "2001-02-03T04:05:06-08:00", "flags": ["\\Draft", "red"]})
    assert nightly.restore().code == 0
    (one,) = nightly.stored()
    assert one.flags - {"\\Recent"} == {"\\Draft", "red"}
    assert one.internaldate == datetime(2001, 2, 3, 12, 5, 6, tzinfo=UTC)


def rewrite(index: Path, change: Callable[[Json], Json]) -> None:
    """Changes the entries of an index, with the checks that make them good."""
    lines = []
    for line in index.read_bytes().splitlines():
        one = json.loads(line)
        one.pop("check")
        text = json.dumps(change(one) if "uid" in one else one, separators=(",", ":")).encode()
        lines.append(text[:-1] + b',"check":"%s"}\n' % hashlib.sha256(text).hexdigest()[:16].encode())
    index.write_bytes(b"".join(lines))


def test_a_backup_that_lost_every_index_is_restored_whole(nightly: Nightly) -> None:
    served = nightly.deliver([*generate(5, 20, odd=0), b"Subject: x\r\n\r\nFrom you\r\n"])
    assert nightly.backup().code == 0
    for index in nightly.root.rglob("*.index"):
        index.unlink()
    back = nightly.restore()
    assert (back.code, back.err) == (0, "")
    assert_restored(nightly, served)


def test_what_others_put_into_a_backup_is_restored_or_named(nightly: Nightly) -> None:
    """Behind a message of ours, and in files of their own; in a copy that has no state beside it."""
    served = nightly.deliver(list(generate(5, 20, odd=0)))
    assert nightly.backup().code == 0
    shutil.rmtree(nightly.root / ".popferry")
    poem = b"Subject: a poem\n\nHello,\n\nFrom Russia with love.\nYours\n"
    with next(nightly.root.rglob("*.mbox")).open("ab") as stream:
        stream.write(b"From ada@example.org Thu Nov 26 12:00:00 2026\n" + poem + b"\n")
    (nightly.root / "letter.eml").write_bytes(poem)
    (nightly.root / "photo.png").write_bytes(b"\x89PNG")
    back = nightly.restore()
    assert (back.code, back.tally["set_aside"]) == (3, 1)
    assert '"letter.eml": no part of the backup' in str(back.events)
    assert str(back.events).count("photo.png") == 1, "told once"
    assert_restored(nightly, [*served, poem.replace(b"\n", b"\r\n")])


def test_every_night_adds_what_is_new_and_nothing_else(nightly: Nightly) -> None:
    first, second = list(generate(1, 30)), list(generate(2, 20))
    served = nightly.deliver(first)
    assert nightly.backup("-q", is_json=False) == Ran(0, [], "")
    before = {path: path.read_bytes() for path in nightly.root.rglob("2*") if path.is_file()}
    assert nightly.backup("-q", is_json=False) == Ran(0, [], ""), "quiet, and nothing to do"
    assert {path: path.read_bytes() for path in nightly.root.rglob("2*") if path.is_file()} == before
    served += nightly.deliver(second)
    ran = nightly.backup()
    assert (ran.code, ran.tally["listed"], ran.tally["copied"]) == (0, 50, 50)
    assert nightly.kept() == Counter(served)
    for path, octets in before.items():
        assert path.read_bytes().startswith(octets), "files only grow"
    assert len(nightly.dovecot.served_pop3(nightly.old)) == 50, "and nothing is deleted"


def test_a_backup_goes_on_where_it_was_moved_to(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(3, 5, odd=0)))
    assert nightly.backup().code == 0
    nightly.root = nightly.root.rename(nightly.root.with_name("elsewhere"))
    served += nightly.deliver(list(generate(4, 5, odd=0)))
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"], ran.one("listed")["new"] if len(ran.all("listed")) == 1 else 5) == (0, 10, 5)
    assert nightly.kept() == Counter(served)


def test_a_backup_without_its_state_file_is_refused_and_goes_on_after_a_rebuild(nightly: Nightly) -> None:
    assert_goes_on_after_a_rebuild(nightly, ".popferry")


def test_a_renamed_account_is_not_stored_again_by_a_command_without_its_state_file(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(7, 5, odd=0)))
    assert nightly.backup().code == 0
    (state,) = (nightly.root / ".popferry").glob("*.sqlite")
    assert nightly.run("status", "--state", str(state), "--rebind", "localhost", "127.0.0.1", is_json=False).code == 0
    nightly.ferry = replace(nightly.ferry, source=nightly.ferry.source.replace("localhost", "127.0.0.1"))
    refused = nightly.backup(is_json=False)
    assert (refused.code, f"--state {state}" in refused.err) == (2, True)
    assert nightly.backup("--state", str(state)).code == 0
    assert nightly.kept() == Counter(served)


def test_two_at_once_do_no_harm_and_the_second_says_why(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(5, 400, odd=0)))
    command = [sys.executable, "-m", "migrate", *nightly.words(), "--json"]
    both = [
        subprocess.Popen(
            command, env=nightly.ferry.environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(2)
    ]
    said = [one.communicate(timeout=PATIENCE_S) for one in both]
    codes = sorted(one.returncode for one in both)
    assert codes in ([0, 0], [0, 30])
    if codes == [0, 30]:
        assert any(b"nother run holds the state file" in err for _, err in said)
    assert nightly.backup().code == 0
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []


def test_two_accounts_share_a_directory(nightly: Nightly, tmp_path: Path, user: str) -> None:
    (tmp_path / "other").mkdir()
    other = Nightly(tmp_path / "other", nightly.dovecot, f"second-{user}")
    other.root = nightly.root
    other.ferry = replace(other.ferry, environment=nightly.ferry.environment)
    served = nightly.deliver(list(generate(6, 20, odd=0))) + other.deliver(list(generate(7, 20, odd=0)))
    assert (nightly.backup().code, other.backup().code, nightly.backup().code) == (0, 0, 0)
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []
    assert len(list((nightly.root / ".popferry").glob("*.sqlite"))) == 2


def test_a_killed_backup_is_completed_by_the_next(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(8, 600)))
    command = [sys.executable, "-m", "migrate", *nightly.words(), "--json"]
    kills = 0
    for _ in range(4):
        process = subprocess.Popen(command, env=nightly.ferry.environment, cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        for line in process.stdout:
            if json.loads(line)["event"] == "copied":
                break
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
        process.stdout.close()
    assert kills
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"]) == (0, 600)
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []


def test_damage_is_named_with_code_40_and_the_rest_is_restored(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(9, 10, odd=0)))
    assert nightly.backup().code == 0
    path = next(nightly.root.rglob("*.mbox"))
    octets = path.read_bytes()
    third = held(nightly.root)[2]
    entry = next(line for line in map(json.loads, path.with_suffix(".mbox.index").open()) if line.get("uid") == 3)
    place = entry["offset"] + 200
    path.write_bytes(octets[:place] + bytes([octets[place] ^ 1]) + octets[place + 1 :])

    ran = nightly.verify()

    assert ran.code == 40
    told = ran.one("damaged")
    assert (told["file"], told["offset"], told["uid"]) == (f"INBOX/{path.name}", entry["offset"], 3)
    assert told["message"] == hashlib.sha256(third.octets).hexdigest()
    assert ran.one("checked")["damaged"] == 1
    for_people = nightly.verify(is_json=False)
    assert for_people.code == 40
    assert f"INBOX/{path.name}, offset {entry['offset']:,}, uid 3" in for_people.err
    assert "Read 10 messages in 1 file" in for_people.err

    back = nightly.restore()

    assert (back.code, back.tally["set_aside"]) == (3, 1)
    assert "uid 3" in back.one("set-aside")["reason"]
    assert_restored(nightly, [one for one in served if one != third.octets])


@pytest.mark.parametrize("lost", ["INBOX", "INBOX/*.mbox", "INBOX/*.index"])
def test_a_backup_that_lost_its_files_says_so_and_fetches_again_what_the_source_still_has(
    nightly: Nightly, lost: str
) -> None:
    served = nightly.deliver([*generate(13, 6, odd=0), *[b"Subject: twin\r\n\r\nText\r\n"] * 2])
    assert nightly.backup().code == 0
    for path in list(nightly.root.glob(lost)):
        path.rename(nightly.root.with_name(f"lost-{path.name}"))
    served += nightly.deliver([b"Subject: new\r\n\r\nNew\r\n"])
    ran = nightly.backup()
    assert (ran.code, ran.one("damaged")["file"]) == (40, "INBOX")
    assert "8 of the messages" in ran.one("damaged")["what"]
    assert "the source still has 8" in ran.one("damaged")["what"]
    assert nightly.kept()[served[-1]] == 1, "and goes on with what is new"

    ran = nightly.backup()

    assert (ran.code, ran.all("damaged"), ran.tally["copied"]) == (0, [], 9)
    assert nightly.kept() == Counter(served)
    assert nightly.backup().all("copied") == []
    proof = nightly.verify()
    assert (proof.code, proof.all("damaged")) == (0, [])
    assert [one["messages"] for one in proof.all("stored-again")] == ([] if lost == "INBOX" else [8])
    told = nightly.verify(is_json=False)
    assert told.code == 0
    assert ("lost 8 messages, and stored again since" in told.err) is (lost != "INBOX")


def test_a_backup_that_lost_what_the_source_has_no_more_says_so_every_night(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(13, 6, odd=0)))
    assert nightly.backup().code == 0
    (nightly.root / "INBOX").rename(nightly.root.with_name("lost"))
    with nightly.dovecot.pop3(nightly.old) as pop3:
        for number in range(1, 5):
            pop3.command(f"DELE {number}")
        pop3.command("QUIT")
    ran = nightly.backup()
    assert (ran.code, ran.one("damaged")["what"].count("6 of the messages")) == (40, 1)
    assert "the source still has 2" in ran.one("damaged")["what"]
    quiet = nightly.backup("-q", is_json=False)
    assert quiet.code == 40
    assert "INBOX: missing: 4 of the messages that were stored before." in quiet.err
    assert "popferry verify DIR" in quiet.err
    assert nightly.kept() == Counter(served[4:])
    assert nightly.backup().code == 40


@pytest.mark.parametrize("is_twin_new", [False, True])
def test_what_only_a_duplicate_of_the_lost_message_still_has_is_fetched_again(
    nightly: Nightly, is_twin_new: bool
) -> None:
    """The source has the content, under the name of a message that was never copied for the sake of the other."""
    first, second = (b"Received: %b\r\nMessage-ID: <a@b.c>\r\n\r\nText\r\n" % name for name in (b"one", b"two"))
    nightly.deliver([first, *([] if is_twin_new else [second])])
    assert nightly.backup("--dedupe", "content").code == 0
    next(nightly.root.rglob("*.mbox")).unlink()
    with nightly.dovecot.pop3(nightly.old) as pop3:
        pop3.command("DELE 1")
        pop3.command("QUIT")
    nightly.deliver([second] if is_twin_new else [])
    ran = nightly.backup("--dedupe", "content")
    assert ran.code == 40
    assert "missing: 1 of the messages that were stored before; the source still has 1" in ran.one("damaged")["what"]

    assert nightly.backup("--dedupe", "content").code == 0

    kept = Counter(one.octets for one in held(nightly.root))
    assert kept == Counter([nightly.dovecot.served(second)])
    assert nightly.backup("--dedupe", "content").all("fetched") == []


def test_files_that_were_put_back_from_an_older_copy_are_told_and_go_on(nightly: Nightly) -> None:
    nightly.deliver(list(generate(14, 5, odd=0)))
    assert nightly.backup().code == 0
    shutil.copytree(nightly.root / "INBOX", nightly.root.with_name("older"))
    nightly.deliver(list(generate(15, 5, odd=0)))
    assert nightly.backup().code == 0
    shutil.rmtree(nightly.root / "INBOX")
    shutil.copytree(nightly.root.with_name("older"), nightly.root / "INBOX")
    served = nightly.deliver(list(generate(16, 5, odd=0)))
    ran = nightly.backup()
    assert ran.code == 40
    assert "5 of the messages" in ran.one("damaged")["what"]
    assert not Counter(served) - nightly.kept()
    assert [one.uid for one in held(nightly.root)] == [*range(1, 6), *range(11, 16)]
    assert "missing in its index: uids 6 to 10" in nightly.verify().one("damaged")["what"]


def test_the_recipe_of_the_manual_makes_a_damaged_backup_whole(nightly: Nightly) -> None:
    twins = [
        b"Received: by %s\r\nMessage-ID: <t@example.org>\r\n\r\nText\r\n" % host for host in (b"one", b"two", b"two")
    ]
    served = nightly.deliver([*twins, *generate(10, 20)])
    assert nightly.backup().code == 0
    path = next(nightly.root.rglob("*.mbox"))
    octets = path.read_bytes()
    path.write_bytes(octets[:300] + bytes([octets[300] ^ 1]) + octets[301 : len(octets) // 2])
    assert nightly.verify().code == 40

    copied, rebuilt = make_whole(nightly)

    assert 0 < copied == rebuilt < len(served)
    assert nightly.kept() == Counter(served)
    assert nightly.verify().code == 0


def make_whole(nightly: Nightly) -> tuple[int, int]:
    """The recipe, from which the backup goes on in another directory. Value: messages copied, messages known again."""
    old, nightly.root = nightly.root, nightly.root.with_name("new")
    new = f"mbox:{nightly.root}"
    password = ("--source-password", "env:OLD_PASSWORD")
    whole = nightly.run("migrate", "--dedupe", "off", f"mbox:{old}", new)
    rebuilt = nightly.run("rebuild", "--dedupe", "off", "--settle", "0", nightly.ferry.source, new, *password)
    ran = nightly.backup()
    assert (whole.code in (0, 3), rebuilt.code, ran.code) == (True, 0, 0)
    return whole.tally["copied"], rebuilt.tally["copied"]


@pytest.mark.parametrize("suffix", [".mbox", ".index"])
@pytest.mark.parametrize("trial", range(2))
def test_a_truncated_backup_says_what_is_gone_goes_on_and_ends_complete(
    nightly: Nightly, suffix: str, trial: int
) -> None:
    served = nightly.deliver(list(generate(30, 12, odd=0)))
    assert nightly.backup("--layout", "one").code == 0
    (path,) = nightly.root.rglob(f"*{suffix}")
    octets = path.read_bytes()
    first = len(octets) // 4
    path.write_bytes(octets[: Random(f"{suffix} {trial}").randrange(first, len(octets) - 200)])
    left = nightly.kept()
    assert 0 < left.total() < 12
    assert nightly.verify().code == 40
    served += nightly.deliver([b"Subject: new\r\n\r\nNew\r\n"])

    ran = nightly.backup("--layout", "one")

    assert ran.code == 40
    assert f"{12 - left.total()} of the messages" in ran.one("damaged")["what"]
    assert nightly.kept() == left + Counter(served[12:]), "every earlier message, and the new one"
    ran = nightly.backup("--layout", "one")
    assert (ran.code, ran.all("damaged")) == (0, [])
    assert nightly.kept() == Counter(served), "complete, and each once"
    assert nightly.backup("--layout", "one").all("copied") == []
    proof = nightly.verify()
    assert (proof.code, proof.all("damaged")) == (0, [])
    assert proof.one("stored-again")["messages"] == 12 - left.total()
    # Octets that only lost their lines are messages too; the same content is not restored twice.
    back = nightly.restore()
    assert back.code == (3 if suffix == ".mbox" else 0), "what is not whole is set aside, by name"
    assert_restored(nightly, served)


def test_a_flipped_bit_is_named_by_the_command(nightly: Nightly) -> None:
    nightly.deliver(list(generate(31, 8)))
    assert nightly.backup("--layout", "one").code == 0
    (path,) = nightly.root.rglob("*.mbox")
    index = path.with_suffix(".mbox.index")
    entries = [one for one in map(json.loads, index.open()) if "uid" in one]
    for number, place in enumerate((0, 700, -1)):
        entry = entries[number * 3]
        octets = path.read_bytes()
        at = entry["offset"] + place % entry["length"]
        path.write_bytes(octets[:at] + bytes([octets[at] ^ 1]) + octets[at + 1 :])
        ran = nightly.verify()
        told = ran.one("damaged")
        assert (ran.code, told["uid"], told["message"]) == (40, entry["uid"], entry["sha256"])
        path.write_bytes(octets)
    lines = index.read_bytes()
    at = lines.index(b'{"uid":5,') + 60
    index.write_bytes(lines[:at] + bytes([lines[at] ^ 1]) + lines[at + 1 :])
    ran = nightly.verify()
    assert (ran.code, [one["uid"] for one in ran.all("damaged") if one["uid"]]) == (40, [5])
    index.write_bytes(lines)
    assert nightly.verify().code == 0


def test_a_part_that_is_restored_in_another_zone_is_not_there_twice(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(14, 3, odd=0)))
    assert nightly.backup().code == 0
    for zone, copied in (("UTC", 3), ("Europe/Paris", 0)):
        nightly.ferry.environment["TZ"] = zone
        ran = nightly.restore("--since", "1990-01-01", "--dedupe", "off")
        assert (ran.code, sum(event["messages"] for event in ran.all("copied"))) == (0, copied)
    assert_restored(nightly, served)


@pytest.mark.parametrize(
    ("options", "numbers"),
    [
        (("--since", "2010-03-03"), [3, 4, 5]),
        (("--before", "2010-03-03"), [1, 2]),
        (("--since", "2010-03-02", "--before", "2010-03-04"), [2, 3]),
        (("--from", "eve"), [2, 4]),
        (("--subject", "d\u00c9J\u00c0"), [5]),
        (("--message-id", "<3@example.org>"), [3]),
        (("--message-id", "3@example.org"), [3]),
        (("--from", "eve", "--since", "2010-03-03"), [4]),
        (("--subject", "nothing like it"), []),
    ],
)
def test_a_part_is_restored_and_the_whole_afterwards(
    nightly: Nightly, options: tuple[str, ...], numbers: list[int]
) -> None:
    who = {1: b"Ada", 2: b"Eve", 3: b"ada", 4: b"EVE", 5: b"Bob"}
    subject = {5: "=?utf-8?Q?d=C3=A9j=C3=A0_vu?="}
    messages = {
        number: b"Date: %d Mar 2010 12:00:00 +0000\r\nFrom: %s <x@example.org>\r\nSubject: %s\r\n"
        b"Message-ID: <%d@example.org>\r\n\r\nText\r\n"
        % (number, who[number], subject.get(number, "plain").encode(), number)
        for number in who
    }
    nightly.deliver(list(messages.values()))
    assert nightly.backup().code == 0
    for _ in range(2):
        ran = nightly.restore(*options)
        assert (ran.code, ran.tally["listed"]) == (0, len(numbers))
        assert sorted(one.octets for one in nightly.stored()) == sorted(messages[number] for number in numbers)
    whole = nightly.restore()
    assert (whole.code, whole.tally["copied"], whole.tally["there"]) == (0, 5 - len(numbers), len(numbers))
    assert len(nightly.stored()) == 5


def test_a_dry_run_touches_nothing(nightly: Nightly) -> None:
    nightly.deliver(list(generate(11, 5, odd=0)))
    ran = nightly.backup("--dry-run")
    assert (ran.code, ran.one("would-do")["copy"]) == (0, 5)
    assert not nightly.root.exists()
    assert nightly.backup("--limit", "2").code == 0
    before = {path: path.read_bytes() for path in nightly.root.rglob("*") if path.is_file()}
    assert nightly.backup("--dry-run").one("would-do")["copy"] == 3
    assert {path: path.read_bytes() for path in nightly.root.rglob("*") if path.is_file()} == before


def test_files_are_an_endpoint_of_every_command(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(12, 10, odd=0)))
    files = replace(nightly.ferry, dest=f"mbox:{nightly.root}", state=nightly.root.with_name("other.sqlite"))
    assert files.run().code == 0
    assert nightly.kept() == Counter(served)
    counted = files.other("verify").one("recounted")
    assert (counted["exit"], counted["identical"]) == (0, 10)
    files.state.unlink()
    assert files.other("rebuild", "--settle", "0").tally["copied"] == 10
    ran = files.run()
    assert (ran.code, ran.all("copied")) == (0, [])
    back = replace(nightly.ferry, source=f"mbox:{next(nightly.root.rglob('*.mbox'))}")
    assert back.run().code == 0
    assert_restored(nightly, served)


def test_a_full_disk_is_code_22_and_the_next_run_goes_on(nightly: Nightly) -> None:
    """The limit of the size of files stands for a disk; it lets the state file be made and the mbox file not."""
    served = nightly.deliver([b"A: %d\r\n\r\n" % number + b"x" * 70 * 10_000 + b"\r\n" for number in range(6)])
    limited = (
        "import resource, runpy, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000)); "
        "runpy.run_module('migrate', run_name='__main__')"
    )
    done = subprocess.run(
        [sys.executable, "-c", limited, *nightly.words(), "--json"],
        env=nightly.ferry.environment,
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 22, done.stderr
    began = time.monotonic()
    ran = nightly.backup()
    assert (ran.code, ran.tally["copied"]) == (0, 6)
    assert time.monotonic() - began < 30, "nothing is waited for: no upload is under way"
    assert nightly.kept() == Counter(served)
    assert checked(nightly.root)[0] == []


@pytest.mark.parametrize(
    ("liar", "code", "says"),
    [(KeepsAFolderShut, 3, "Shut of the source cannot be read"), (ListsOneTooFew, 4, "has 2 messages in a")],
)
def test_a_source_that_does_not_show_all_it_has_ends_a_backup_with_an_error(
    tmp_path: Path, liar: type[ImapSession], code: int, says: str
) -> None:
    """A quiet night would be believed: a folder that is left out has to be heard of."""
    with Embedded(imap=liar) as source:
        source.deliver_many("old", generate(1, 2, odd=0))
        source.deliver_many("old", generate(2, 2, odd=0), SHUT.decode())
        dest = ferry(tmp_path / "state.sqlite", source, "old", source, "new", FOLDER)
        address = f"imaps://old@localhost:{source.imaps_port}"
        words = ("backup", address, str(tmp_path / "backup"), "--source-password", "env:OLD_PASSWORD", "-q")
        done = subprocess.run(
            [sys.executable, "-m", "migrate", *words],
            env=dest.environment,
            cwd=ROOT,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert says in done.stderr.decode()
    assert done.returncode == code
    assert sum(len(mailbox.mbox(path)) for path in (tmp_path / "backup").rglob("*.mbox")) == (2 if code == 3 else 0), (
        "what can be read is there"
    )
