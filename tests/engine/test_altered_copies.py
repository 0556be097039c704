"""A destination that writes header lines into what it keeps, and names no uids: its copies are found all the same."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from migrate.commands import Append, Command, SearchUids
from migrate.errors import Exit
from migrate.events import SetAside
from migrate.stores.memory import MemoryMailbox

from .support import Between, letter

BOOKS = b"X-UID: 1\r\n"


class Bookkeeper(MemoryMailbox):
    """Keeps every message with a line of its own on top."""

    def keep(self, octets: bytes) -> bytes:
        return BOOKS + octets


@pytest.mark.parametrize("has_uids", [True, False])
@pytest.mark.parametrize("dedupe", ["off", "content"])
def test_a_changed_copy_is_told_as_one_and_not_sent_again(tmp_path: Path, has_uids: bool, dedupe: str) -> None:
    messages = [letter(n) for n in range(5)]
    between = Between(tmp_path, messages, has_uids=has_uids, make_mailbox=Bookkeeper)
    for _ in range(3):
        assert between.migrate(dedupe=dedupe, verify="full") is Exit.SET_ASIDE
        assert {event.reason for event in between.all(SetAside)} == {
            "the destination keeps other octets than it was sent"
        }
        assert between.stored() == Counter(BOOKS + octets for octets in messages)
    assert not any(isinstance(command, Append) for command in between.sent)


def test_what_was_lost_is_told_apart_from_what_was_changed(tmp_path: Path) -> None:
    messages = [letter(n) for n in range(6)]
    between = Between(tmp_path, messages, has_uids=False, make_mailbox=Bookkeeper)
    lost: list[int] = []

    def lose(command: Command) -> None:
        if isinstance(command, SearchUids) and between.box.kept and not lost:
            lost.extend(list(between.box.kept)[::2])
            for uid in lost:
                del between.box.kept[uid]

    between.on_command = lose
    assert between.migrate(dedupe="off", verify="full") is Exit.SET_ASIDE
    reasons = Counter(event.reason for event in between.all(SetAside))
    assert reasons == {
        "the destination keeps other octets than it was sent": 3,
        "the destination said OK but does not have it": 3,
    }
    between.migrate(dedupe="off", verify="full")
    assert between.stored() == Counter(BOOKS + octets for octets in messages)
