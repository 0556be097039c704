"""A lost state file is made anew from both servers: nothing is uploaded twice, nothing is lost."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from migrate.commands import Append, CloseSource, Command, Delete, Fetch, FetchHeaders, ReadBack
from migrate.errors import Cause, Exit, MessageError, Retry, StateError, StoreError
from migrate.events import Finished, Notice, Reconnecting, Settling
from migrate.rules.dedupe import Digester
from migrate.state import open_state, read_state, unfinished_elsewhere
from migrate.stores.memory import MemoryMailbox

from .support import ACCOUNTS, OLD, Between, Crash, letter

RECEIVED = b"Received: by mx.example.org\r\n"


@pytest.fixture
def between(tmp_path: Path) -> Between:
    """Ten messages of twelve are migrated, with somebody else's mail before and behind them."""
    between = Between(tmp_path, [letter(n) for n in range(12)])
    between.store(letter(900))
    assert between.migrate(dedupe="off", limit=10) is Exit.OK
    between.store(letter(901))
    return between


def lose(between: Between) -> None:
    between.state_path.unlink()


def cut(between: Between) -> bytes:
    """The damaged file."""
    os.truncate(between.state_path, between.state_path.stat().st_size - 4096)
    return between.state_path.read_bytes()


def files(between: Between) -> list[str]:
    """What stands beside the state file, but the lock."""
    names = {path.name for path in between.state_path.parent.iterdir()} - {"spill", "state.sqlite.lock"}
    return sorted(names)


def ends_well(between: Between, **policy: object) -> int:
    """How many messages the next run uploads; then everything is there, once."""
    wanted = between.source() + Counter([letter(900), letter(901)])
    assert between.migrate(**policy) is Exit.OK
    uploaded = between.appended()
    assert between.stored() == wanted
    assert between.migrate(**policy) is Exit.OK
    assert between.appended() == 0
    return uploaded


@pytest.mark.parametrize("dedupe", ["content", "off", "message-id"])
@pytest.mark.parametrize("damage", [lose, cut])
def test_after_it_only_what_is_missing_is_uploaded(
    damage: Callable[[Between], object], dedupe: str, between: Between
) -> None:
    damage(between)
    assert between.rebuild(dedupe=dedupe) is Exit.OK
    assert not any(isinstance(command, Append | Delete) for command in between.sent)
    assert [command.quit for command in between.sent if isinstance(command, CloseSource)] == [False]
    assert between.rows() == {"verified": 10, "listed": 2}
    tally = between.one(Finished).tally
    assert (tally.listed, tally.copied, tally.verified, tally.open) == (12, 10, 10, 2)
    assert ends_well(between, dedupe=dedupe) == 2


def test_a_sound_file_is_left_as_it_is(between: Between) -> None:
    before = between.state_path.read_bytes()
    with pytest.raises(StateError, match="is sound") as caught:
        between.rebuild()
    assert caught.value.exit is Exit.USAGE
    assert "move it away" in caught.value.hint
    assert between.state_path.read_bytes() == before
    assert files(between) == ["state.sqlite"]
    assert between.migrate(dedupe="off") is Exit.OK


def test_the_file_of_another_pair_of_accounts_is_left_as_it_is(between: Between) -> None:
    lose(between)
    open_state(between.state_path, "bob@source", "bob@dest", digester=Digester).close()
    with pytest.raises(StateError, match="another pair") as caught:
        between.rebuild()
    assert caught.value.exit is Exit.USAGE


def test_every_damaged_file_is_kept_under_a_name_of_its_own(between: Between) -> None:
    first = cut(between)
    assert between.rebuild() is Exit.OK
    second = cut(between)
    assert between.rebuild() is Exit.OK
    directory = between.state_path.parent
    assert files(between) == ["state.sqlite", "state.sqlite.corrupt-1", "state.sqlite.corrupt-2"]
    assert (directory / "state.sqlite.corrupt-1").read_bytes() == first
    assert (directory / "state.sqlite.corrupt-2").read_bytes() == second
    assert between.state_path.stat().st_mode & 0o777 == 0o600


def test_what_was_put_aside_does_not_forbid_deletion(between: Between) -> None:
    cut(between)
    assert between.rebuild() is Exit.OK
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert unfinished_elsewhere(between.state_path, ACCOUNTS[0]) == ""
    assert between.maildrop.mails == []
    assert between.stored() == Counter([letter(n) for n in (*range(12), 900, 901)])


def test_each_copy_is_taken_for_one_message_only(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1)] * 5)
    for octets in (letter(900), letter(901), letter(1), letter(1), letter(1)):
        between.store(octets)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.rows() == {"verified": 3, "listed": 2}
    assert ends_well(between, dedupe="off") == 2


def test_twins_share_a_copy_unless_every_message_is_wanted(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1), letter(1), letter(2), letter(2, header=RECEIVED)])
    assert between.migrate() is Exit.OK
    lose(between)
    assert between.rebuild() is Exit.OK
    assert between.rows() == {"verified": 2, "duplicate": 2}
    assert between.migrate() is Exit.OK
    assert between.appended() == 0


class CrLf(MemoryMailbox):
    """Mends bare line feeds."""

    def keep(self, octets: bytes) -> bytes:
        return octets.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def test_copies_that_the_server_changed_are_recognised(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1, body=b"\nbare"), letter(2)], make_mailbox=CrLf)
    assert between.migrate(dedupe="off") is Exit.OK
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.rows() == {"verified": 2}
    with read_state(between.state_path) as reader:
        assert ["changed: bare LF" in row.proof for row in reader.altered()] == [True]
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.appended() == 0


@pytest.mark.parametrize("uid", [None, b"same"])
def test_messages_without_a_uidl_of_their_own_are_told_by_content(uid: bytes | None, tmp_path: Path) -> None:
    between = Between(tmp_path, [])
    between.maildrop.has_uids = uid is not None
    for octets in (letter(1), letter(2), letter(2)):
        between.maildrop.deliver(octets, uid)
    between.store(letter(900))
    between.store(letter(901))
    assert between.migrate(dedupe="off") is Exit.OK
    for octets in (letter(3), letter(2)):
        between.maildrop.deliver(octets, uid)
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.one(Finished).tally.copied == 3
    assert ends_well(between, dedupe="off") == 2


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    between = Between(tmp_path, [letter(1)])
    assert between.rebuild() is Exit.OK
    assert OLD not in between.server.mailboxes
    assert "is not at the destination" in between.all(Notice)[0].text
    assert between.rows() == {"listed": 1}
    assert between.migrate() is Exit.OK


def test_it_waits_for_uploads_of_a_run_that_was_lost_with_its_file(between: Between) -> None:
    lose(between)
    assert between.rebuild(settle_s=0.02) is Exit.OK
    assert [event.left_s for event in between.all(Settling)] == [0.02, 0.0]


def test_a_copy_that_arrives_late_is_adopted_by_the_next_run(between: Between) -> None:
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    between.store(letter(10))
    assert ends_well(between, dedupe="off") == 1


def test_a_message_that_the_source_does_not_serve_is_set_aside(between: Between) -> None:
    lose(between)

    def refuse(command: Command) -> None:
        if isinstance(command, Fetch) and command.ref.number == 3:
            raise MessageError("the source refused the message", said=b"-ERR no")

    between.on_command = refuse
    assert between.rebuild(dedupe="off") is Exit.SET_ASIDE
    assert between.rows() == {"verified": 9, "listed": 2, "set aside": 1}
    between.on_command = lambda command: None
    assert ends_well(between, dedupe="off") == 2


def test_a_source_that_may_delete_what_it_served_is_not_read(between: Between) -> None:
    lose(between)
    between.maildrop.may_delete_on_fetch = True
    assert between.rebuild() is Exit.SOURCE_UNUSABLE
    assert files(between) == []
    assert not any(isinstance(command, Fetch) for command in between.sent)


# --- interruptions ------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Fetch, ReadBack, FetchHeaders])
def test_a_cut_connection_is_made_again(kind: type[Command], between: Between) -> None:
    lose(between)
    left = [1 if kind is FetchHeaders else 5]

    def break_off(command: Command) -> None:
        left[0] -= isinstance(command, kind)
        if left[0] == 0:
            left[0] = -1
            raise StoreError("the connection was cut")

    between.on_command = break_off
    assert between.rebuild(dedupe="off") is Exit.OK
    assert len(between.all(Reconnecting)) == 1
    assert between.rows() == {"verified": 10, "listed": 2}
    assert ends_well(between, dedupe="off") == 2


@pytest.mark.parametrize("kind", [Fetch, ReadBack, CloseSource])
def test_a_kill_leaves_the_damaged_file_and_the_next_try_begins_anew(kind: type[Command], between: Between) -> None:
    damaged = cut(between)

    def die(command: Command) -> None:
        if isinstance(command, kind):
            raise Crash

    between.on_command = die
    with pytest.raises(Crash):
        between.rebuild(dedupe="off")
    between.on_command = lambda command: None
    assert between.state_path.read_bytes() == damaged
    with pytest.raises(StateError, match="damaged"):
        between.migrate(dedupe="off")
    assert between.rebuild(dedupe="off") is Exit.OK
    assert ends_well(between, dedupe="off") == 2


def test_when_it_fails_nothing_is_changed(between: Between) -> None:
    damaged = cut(between)

    def refuse(command: Command) -> None:
        if isinstance(command, Fetch):
            raise StoreError("the server is of no use", cause=Cause.UNUSABLE, retry=Retry.NEVER)

    between.on_command = refuse
    assert between.rebuild(dedupe="off") is Exit.SOURCE_UNUSABLE
    assert between.state_path.read_bytes() == damaged
    assert files(between) == ["state.sqlite"]


# --- the spool ----------------------------------------------------------------------------------


def spool(between: Between, row_id: int, octets: bytes) -> Path:
    """A message that the old state keeps beside it."""
    directory = between.state_path.with_name("state.sqlite.spool")
    directory.mkdir(mode=0o700, exist_ok=True)
    digest = Digester()
    digest.update(octets)
    header = octets.index(b"\r\n\r\n") + 4
    path = directory / f"{row_id}-{header}-{digest.finish().exact.hex()}"
    path.write_bytes(octets)
    return path


def test_what_only_the_spool_has_is_kept_and_uploaded(between: Between) -> None:
    spool(between, 3, letter(77))
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert any("from the spool" in notice.text for notice in between.all(Notice))
    assert between.rows() == {"verified": 10, "listed": 3}
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.stored() == Counter([letter(n) for n in (*range(12), 77, 900, 901)])
    assert files(between) in (["state.sqlite"], ["state.sqlite", "state.sqlite.spool"])
    assert not list(between.state_path.parent.glob("*.spool/*"))


def test_what_the_spool_has_and_the_destination_too_is_not_uploaded(between: Between) -> None:
    spool(between, 3, letter(901))  # the source lists it no more
    spool(between, 4, letter(5))  # it still does
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.rows() == {"verified": 11, "listed": 2}
    assert ends_well(between, dedupe="off") == 2
    assert not list(between.state_path.parent.glob("*.spool/*"))


def test_what_the_spool_has_and_the_source_too_becomes_one_message(between: Between) -> None:
    spool(between, 1, letter(11))  # under a number that another message has now
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.rows() == {"verified": 10, "listed": 2}
    between.maildrop.mails.pop()  # only the spool has it now
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.stored()[letter(11)] == 1


def test_a_damaged_message_of_the_spool_stays_where_it_can_be_found(between: Between) -> None:
    path = spool(between, 3, letter(77))
    path.write_bytes(letter(77).replace(b"Text", b"Txet"))
    cut(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert any("damaged and were left there: 1" in notice.text for notice in between.all(Notice))
    assert "state.sqlite.corrupt-1.spool" in files(between)
    assert (between.state_path.with_name("state.sqlite.corrupt-1.spool") / path.name).exists()
    assert ends_well(between, dedupe="off") == 2


# --- what nobody can know -----------------------------------------------------------------------


def test_the_copy_of_a_message_deleted_at_the_source_is_taken_for_its_twin(tmp_path: Path) -> None:
    """The stated limit: which of two identical messages the copy belonged to stood in the lost file alone."""
    between = Between(tmp_path, [letter(1)])
    assert between.migrate(dedupe="off", delete_after_s=0) is Exit.OK
    between.maildrop.deliver(letter(1))
    lose(between)
    assert between.rebuild(dedupe="off") is Exit.OK
    assert between.rows() == {"verified": 1}
    assert between.migrate(dedupe="off") is Exit.OK
    assert between.stored() == Counter([letter(1)])
