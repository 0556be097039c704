"""A destination that stores X for the 8-bit octets of a header: known, named, and nothing else passes for it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from migrate.commands import Append, Command, ReadBack
from migrate.errors import Exit
from migrate.events import Altered, Doubled, Finished, Judged, Recounted, SetAside
from migrate.model import Flags, InternalDate
from migrate.rules.dedupe import Digester
from migrate.rules.fidelity import MUNGED
from migrate.state import open_state
from migrate.stores.memory import MemoryMailbox

from .support import ACCOUNTS, Between, Crash, letter

ODD = b"X-Name: Ren\xc3\xa9e\r\n"
RECEIVED = b"Received: by mx.example.org\r\n"


def munge(octets: bytes) -> bytes:
    header, empty, body = octets.partition(b"\r\n\r\n")
    return re.sub(rb"[\x80-\xff]", b"X", header) + empty + body


class Munging(MemoryMailbox):
    """Keeps mail as Cyrus does."""

    def keep(self, octets: bytes) -> bytes:
        return munge(octets)


class Careless(MemoryMailbox):
    """Takes the X for the body too."""

    def keep(self, octets: bytes) -> bytes:
        return re.sub(rb"[\x80-\xff]", b"X", octets)


LETTERS = [letter(0), letter(1, header=ODD), letter(2, header=ODD, body=b"\xe9"), letter(3, body=b"\xe9")]


@pytest.mark.parametrize("verify", ["sample", "full"])
def test_it_is_altered_by_name_and_the_run_ends_well(tmp_path: Path, verify: str) -> None:
    between = Between(tmp_path, LETTERS, make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    assert [one.changes for one in between.all(Altered)] == [(MUNGED,), (MUNGED,)]
    assert between.one(Finished).tally.altered == 2
    assert between.stored() == Counter(map(munge, LETTERS))
    assert between.migrate() is Exit.OK
    assert between.appended() == 0
    assert between.verify() is Exit.OK
    found = between.one(Recounted)
    assert (found.identical, found.altered, found.also_there) == (2, 2, 0)
    assert [one.changes for one in between.all(Judged)] == [(MUNGED,), (MUNGED,)]


def test_what_was_proven_so_is_deleted_and_recounted_afterwards(tmp_path: Path) -> None:
    between = Between(tmp_path, LETTERS, make_mailbox=Munging)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert not between.source()
    assert between.stored() == Counter(map(munge, LETTERS))
    assert between.verify() is Exit.OK
    found = between.one(Recounted)
    assert (found.released, found.identical, found.altered) == (4, 2, 2)


def test_what_was_proven_in_an_earlier_run_is_proven_again_before_it_is_deleted(tmp_path: Path) -> None:
    between = Between(tmp_path, LETTERS, make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert not between.source()


def test_a_copy_with_x_in_the_body_too_is_set_aside_and_kept(tmp_path: Path) -> None:
    between = Between(tmp_path, LETTERS[1:3], make_mailbox=Careless)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert between.source() == Counter([LETTERS[2]])
    assert len(between.all(SetAside)) == 1
    assert between.verify() is Exit.DIFFERENCES


def crash_after_append(between: Between) -> None:
    """The server has the messages, and the state file only the intent."""
    carried: list[Command] = []

    def watch(command: Command) -> None:
        if carried:
            raise Crash
        if isinstance(command, Append):
            for one in command.letters:
                between.store(between.box.keep(b"".join(one.message.blocks())))
            carried.append(command)
            raise Crash

    between.on_command = watch
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None


@pytest.mark.parametrize("message_id", [b"", b"<Ren\xe9e@example.org>", b"<\xe9@Caf\xe9.example>"])
def test_a_munged_copy_of_an_upload_that_was_cut_off_is_found_and_not_sent_again(
    tmp_path: Path, message_id: bytes
) -> None:
    letters = [letter(1, header=ODD, message_id=message_id)]
    between = Between(tmp_path, letters, make_mailbox=Munging)
    crash_after_append(between)
    assert between.migrate() is Exit.OK
    assert between.appended() == 0
    assert between.stored() == Counter(map(munge, letters))
    assert between.all(Doubled) == []
    assert between.verify() is Exit.OK


@pytest.mark.parametrize("message_id", [b"", b"<Ren\xe9e@example.org>"])
def test_after_the_loss_of_the_state_file_munged_copies_are_found(tmp_path: Path, message_id: bytes) -> None:
    letters = [letter(1, header=ODD, message_id=message_id), letter(2, header=ODD)]
    between = Between(tmp_path, letters, make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    between.state_path.unlink()
    assert between.rebuild() is Exit.OK
    assert between.migrate() is Exit.OK
    assert between.appended() == 0
    assert between.stored() == Counter(map(munge, letters))


class Losing(MemoryMailbox):
    """Says OK to a message with 8-bit octets in its header and does not keep it."""

    def store(self, octets: bytes, flags: Flags, internaldate: InternalDate) -> int:
        if octets == munge(octets):
            return super().store(octets, flags, internaldate)
        return self.uidnext - 1


def test_the_copy_of_a_munged_twin_is_not_taken_for_one_that_was_lost(tmp_path: Path) -> None:
    odd = letter(1, header=ODD)
    between = Between(tmp_path, [odd, munge(odd)], make_mailbox=Losing, has_uids=False)
    assert between.migrate(delete_after_s=0) is Exit.SET_ASIDE
    assert between.source() == Counter([odd])
    assert between.stored() == Counter([munge(odd)])


def test_duplicates_of_a_munged_message_are_served_by_its_copy(tmp_path: Path) -> None:
    odd = letter(1, header=ODD)
    between = Between(tmp_path, [odd, odd, RECEIVED + odd], make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    assert between.stored() == Counter([munge(odd)])
    assert between.verify() is Exit.OK
    found = between.one(Recounted)
    assert (found.altered, found.duplicate, found.shared) == (2, 1, 2)
    assert between.migrate(delete_after_s=0) is Exit.OK
    assert not between.source()
    assert between.verify() is Exit.OK


def test_messages_that_are_one_when_munged_need_a_copy_each(tmp_path: Path) -> None:
    odd, other = letter(1, header=ODD), letter(1, header=ODD.replace(b"\xa9", b"\xa8"))
    between = Between(tmp_path, [odd, other], make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    assert between.stored() == Counter({munge(odd): 2})
    assert between.verify() is Exit.OK
    assert between.one(Recounted).shared == 0
    del between.box.kept[1]
    assert between.verify() is Exit.DIFFERENCES


def test_a_message_id_that_is_the_same_only_when_munged_makes_no_duplicate(tmp_path: Path) -> None:
    letters = [letter(1, message_id=b"<\xe9@example.org>"), letter(1, message_id=b"<\xe8@example.org>")]
    letters += [letter(1, message_id=b"<X@example.org>")]
    between = Between(tmp_path, letters)
    assert between.migrate(dedupe="message-id") is Exit.OK
    assert between.stored() == Counter(letters)
    assert between.verify(dedupe="message-id") is Exit.OK
    assert between.one(Recounted).identical == 3


# --- rows that the version before the munged form wrote ----------------------------------------------


def test_what_an_older_version_uploaded_is_altered_once_it_is_fetched_again(tmp_path: Path) -> None:
    between = Between(tmp_path, LETTERS[1:2], make_mailbox=Munging)
    between.on_command = crash_at_read_back
    with pytest.raises(Crash):
        between.migrate()
    between.on_command = lambda command: None
    forget_munged(between)
    assert between.migrate() is Exit.SET_ASIDE
    assert between.migrate() is Exit.OK
    assert between.appended() == 0
    assert between.one(Finished).tally.altered == 1


def crash_at_read_back(command: Command) -> None:
    if isinstance(command, ReadBack):
        raise Crash


def test_what_an_older_version_verified_is_not_deleted_by_a_guess(tmp_path: Path) -> None:
    between = Between(tmp_path, LETTERS[1:2], make_mailbox=Munging)
    assert between.migrate() is Exit.OK
    forget_munged(between)
    between.migrate(delete_after_s=0)
    assert between.source() == Counter(LETTERS[1:2])


def forget_munged(between: Between) -> None:
    state = open_state(between.state_path, *ACCOUNTS, digester=Digester)
    try:
        row = state.row(1)
        assert row.fingerprint is not None
        state.commit([(row._replace(fingerprint=row.fingerprint._replace(munged=None)),)])
    finally:
        state.close()
