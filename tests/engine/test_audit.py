"""The recount: what it says of each message of the source, and that it changes nothing."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from migrate.commands import Append, CloseSource, Command, Delete, Fetch, ReadBack
from migrate.errors import Exit, MessageError, StateError, StoreError
from migrate.events import Judged, Notice, Reconnecting, Recounted
from migrate.model import MailboxName
from migrate.rules.fidelity import NUL_AS_80
from migrate.stores.memory import MemoryMailbox

from .support import OLD, Between, letter

RECEIVED = b"Received: by mx.example.org\r\n"


class NulAs80(MemoryMailbox):
    """Keeps mail as Dovecot does."""

    def keep(self, octets: bytes) -> bytes:
        return octets.replace(b"\0", b"\x80")


@pytest.fixture
def between(tmp_path: Path) -> Between:
    """Ten messages, migrated."""
    between = Between(tmp_path, [letter(n) for n in range(10)])
    assert between.migrate() is Exit.OK
    return between


def tiers(event: Recounted) -> dict[str, int]:
    names = ("identical", "altered", "duplicate", "differs", "missing", "unread")
    return {name: value for name in names if (value := getattr(event, name))}


def recount(between: Between, **policy: object) -> tuple[Exit, Recounted]:
    """The code and the result; the numbers add up."""
    code = between.verify(**policy)
    event = between.one(Recounted)
    assert event.exit == code
    assert sum(tiers(event).values()) == event.listed + event.released
    assert event.copies + event.also_there == event.there
    return code, event


def test_what_was_migrated_is_identical(between: Between) -> None:
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.OK, {"identical": 10})
    assert (event.listed, event.there, event.also_there, event.is_complete) == (10, 10, 0, True)
    assert event.octets == sum(len(letter(n)) for n in range(10))
    assert between.all(Judged) == []


def test_a_message_that_is_gone_from_the_destination_is_named_with_uidl_and_size(between: Between) -> None:
    del between.box.kept[4]
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 9, "missing": 1})
    judged = between.one(Judged)
    assert (judged.tier, judged.uidl, judged.octets, judged.uid) == ("missing", "00000004", len(letter(3)), None)


def test_a_message_that_came_later_is_missing_until_it_is_migrated(between: Between) -> None:
    between.maildrop.deliver(letter(10))
    assert recount(between)[0] is Exit.DIFFERENCES
    assert between.migrate() is Exit.OK
    assert recount(between)[0] is Exit.OK


def test_a_copy_with_another_octet_differs(between: Between) -> None:
    kept = between.box.kept.pop(4)
    uid = between.store(kept.octets.replace(b"Text", b"Test"))
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 9, "differs": 1})
    judged = between.one(Judged)
    assert (judged.tier, judged.uidl, judged.uid) == ("differs", "00000004", uid)
    assert (event.copies, event.also_there) == (10, 0)


def test_what_stands_at_the_destination_in_the_place_of_nobody_is_no_difference(between: Between) -> None:
    between.store(letter(900))
    between.store(letter(901, header=RECEIVED))
    code, event = recount(between)
    assert (code, event.there, event.copies, event.also_there) == (Exit.OK, 12, 10, 2)


def test_named_changes_are_told_and_are_no_difference(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1), letter(2, body=b"\0"), letter(3, body=b"\0")], make_mailbox=NulAs80)
    assert between.migrate() is Exit.OK
    code, event = recount(between, dedupe="off")
    assert (code, tiers(event)) == (Exit.OK, {"identical": 1, "altered": 2})
    assert [one.changes for one in between.all(Judged)] == [(NUL_AS_80,), (NUL_AS_80,)]
    assert [one.uid for one in between.all(Judged)] == [2, 3]


def test_of_two_that_a_copy_may_be_of_the_one_with_fewer_oddities_gets_it(tmp_path: Path) -> None:
    with_both, with_nul = letter(1, body=b"\0\n."), letter(1, body=b"\0\r\n.")
    between = Between(tmp_path, [with_both, with_nul])
    between.store(with_both.replace(b"\0", b"\x80"))
    between.store(with_nul.replace(b"\0", b"\x80"))
    code, event = recount(between, dedupe="off")
    assert (code, tiers(event)) == (Exit.OK, {"altered": 2})


def test_other_volatile_headers_are_a_duplicate_unless_every_message_is_wanted(between: Between) -> None:
    del between.box.kept[4]
    uid = between.store(letter(3, header=RECEIVED))
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.OK, {"identical": 9, "duplicate": 1})
    assert (between.one(Judged).tier, between.one(Judged).uid) == ("duplicate", uid)
    code, event = recount(between, dedupe="off")
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 9, "differs": 1})
    assert between.one(Judged).changes == ("only volatile headers differ",)


def test_one_copy_serves_twins_unless_every_message_is_wanted(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1), letter(1), letter(1, header=RECEIVED)])
    assert between.migrate() is Exit.OK
    assert between.box.uidnext == 2
    code, event = recount(between)
    assert (code, tiers(event), event.shared) == (Exit.OK, {"identical": 2, "duplicate": 1}, 2)
    assert (event.there, event.copies) == (1, 1)
    code, event = recount(between, dedupe="off")
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 1, "missing": 2})
    assert between.migrate(dedupe="off") is Exit.OK
    between.state_path.unlink()
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.migrate(dedupe="off") is Exit.OK
    assert recount(between, dedupe="off")[0] is Exit.OK


def test_by_message_id_alone_another_content_is_the_same_mail(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1), letter(1, body=b"more"), letter(2)])
    assert between.migrate(dedupe="message-id") is Exit.OK
    assert recount(between, dedupe="message-id")[0] is Exit.OK
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 2, "missing": 1})


# --- what was deleted at the source -------------------------------------------------------------


def test_what_was_deleted_at_the_source_is_recounted_from_its_digests(between: Between) -> None:
    assert between.migrate(delete_after_s=0, max_delete=6) is Exit.OK
    assert len(between.maildrop.mails) == 4
    code, event = recount(between)
    assert (code, tiers(event), event.listed, event.released) == (Exit.OK, {"identical": 10}, 4, 6)
    del between.box.kept[2]
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 9, "missing": 1})
    judged = between.one(Judged)
    assert (judged.uidl, judged.octets, judged.is_released) == ("00000002", len(letter(1)), True)


def test_what_was_deleted_and_is_listed_again_is_counted_once(between: Between) -> None:
    first = between.maildrop.mails[0]
    assert between.migrate(delete_after_s=0, max_delete=1) is Exit.OK
    between.maildrop.deliver(first.octets, first.uid)
    _, event = recount(between, dedupe="off")
    assert (event.listed, event.released, tiers(event)) == (10, 0, {"identical": 10})
    # The same UIDL for another message: then both count.
    between.maildrop.mails[-1].octets = letter(77)
    code, event = recount(between, dedupe="off")
    assert (code, event.listed, event.released) == (Exit.DIFFERENCES, 10, 1)


def test_what_was_deleted_after_a_copy_into_another_folder_is_not_looked_for_here(between: Between) -> None:
    assert between.migrate(delete_after_s=0) is Exit.OK
    code, event = recount(between, mailbox=MailboxName(("Other",)))
    assert (code, event.listed, event.released) == (Exit.OK, 0, 0)
    assert "other folders, not recounted here: 10" in between.all(Notice)[0].text


def test_without_a_state_file_it_says_what_it_cannot_know(between: Between) -> None:
    between.state_path.unlink()
    code, _ = recount(between)
    assert code is Exit.OK
    assert "no state file" in between.all(Notice)[0].text


def test_a_damaged_state_file_is_no_witness(between: Between) -> None:
    assert between.migrate(delete_after_s=0) is Exit.OK
    octets = between.state_path.read_bytes()
    between.state_path.write_bytes(octets[: len(octets) // 2])
    with pytest.raises(StateError) as caught:
        between.verify()
    assert caught.value.exit is Exit.STATE_DAMAGED
    assert "popferry rebuild" in caught.value.hint


# --- what it does to the servers ----------------------------------------------------------------


def test_it_changes_nothing_and_leaves_the_source_without_quit(between: Between) -> None:
    before = between.source(), between.stored(), between.box.uidnext
    recount(between)
    assert (between.source(), between.stored(), between.box.uidnext) == before
    assert not any(isinstance(command, Append | Delete) for command in between.sent)
    assert [command.quit for command in between.sent if isinstance(command, CloseSource)] == [False]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1)])
    code, event = recount(between)
    assert (code, tiers(event), event.there) == (Exit.DIFFERENCES, {"missing": 1}, 0)
    assert OLD not in between.server.mailboxes


def test_a_source_that_may_delete_what_it_served_is_not_read(between: Between) -> None:
    between.maildrop.may_delete_on_fetch = True
    assert between.verify() is Exit.SOURCE_UNUSABLE
    event = between.one(Recounted)
    assert not event.is_complete
    assert "may delete what is fetched" in event.problems[0]
    assert not any(isinstance(command, Fetch) for command in between.sent)


@pytest.mark.parametrize("said", [b"-ERR no", b""])
def test_a_message_that_the_source_does_not_serve_is_not_compared_and_that_counts(
    said: bytes, between: Between
) -> None:
    def refuse(command: Command) -> None:
        if isinstance(command, Fetch) and command.ref.number == 3:
            raise MessageError("the source refused the message", said=said)

    between.on_command = refuse
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.DIFFERENCES, {"identical": 9, "unread": 1})
    judged = between.one(Judged)
    assert (judged.uidl, judged.reason, judged.said) == ("00000003", "the source refused the message", said.decode())
    assert event.also_there == 1


@pytest.mark.parametrize("kind", [Fetch, ReadBack])
def test_a_cut_connection_costs_nothing_that_was_read(kind: type[Command], tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(1000)])
    assert between.migrate() is Exit.OK
    cut = [3] if kind is ReadBack else [700]
    fetched: Counter[int] = Counter()

    def break_off(command: Command) -> None:
        if isinstance(command, Fetch):
            fetched[command.ref.number] += 1
        if isinstance(command, kind):
            cut[0] -= 1
            if cut[0] == 0:
                raise StoreError("the connection was cut")

    between.on_command = break_off
    code, event = recount(between)
    assert (code, tiers(event)) == (Exit.OK, {"identical": 1000})
    assert len(between.all(Reconnecting)) == 1
    # Only the one that broke, and none that was noted before, is fetched again.
    assert fetched.total() <= 1001


def test_what_has_another_uidl_after_a_cut_is_fetched_again(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(n) for n in range(500)])
    assert between.migrate() is Exit.OK
    cut = [400]

    def renumber(command: Command) -> None:
        cut[0] -= isinstance(command, Fetch)
        if cut[0] == 0:
            cut[0] = -1
            between.maildrop.mails[5].octets = letter(5, body=b"#")
            between.maildrop.mails[5].uid = b"new"
            raise StoreError("the connection was cut")

    between.on_command = renumber
    code, _ = recount(between)
    assert code is Exit.DIFFERENCES
    assert between.one(Judged).uidl == "new"


# --- against counting by hand -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(25))
def test_it_counts_as_one_would_by_hand(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    pool = [letter(n, header=RECEIVED * chance.randrange(2), body=chance.choice([b"", b"x"])) for n in range(6)] + [b""]
    between = Between(tmp_path, chance.choices(pool, k=chance.randrange(15)))
    for octets in chance.choices(pool, k=chance.randrange(15)):
        between.store(octets)
    source, there = between.source(), between.stored()
    code, event = recount(between, dedupe="off")
    both = source & there
    assert event.identical == both.total()
    assert event.differs + event.missing == (source - there).total()
    assert event.also_there + event.differs == (there - source).total()
    assert (code is Exit.OK) == (not source - there)
    code, event = recount(between)
    assert event.identical == sum(count for octets, count in source.items() if octets in there)
