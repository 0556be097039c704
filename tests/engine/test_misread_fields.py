"""A destination that sees other header fields than we do: what it took is found all the same."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from migrate.commands import Append, Command, ReadBack
from migrate.errors import Exit
from migrate.events import Doubled
from migrate.model import HEADER_LIMIT
from migrate.stores import memory
from migrate.stores.base import header_fields

from .support import Between, Crash, letter

ODD = [
    b"From: a@b\r\n\rMessage-ID: <1@x>\r\nSubject: s\r\n\r\nbody\r\n",
    b"From: a@b\r\nMessage\r-ID: <2@x>\r\nSubject: s\r\n\r\nbody\r\n",
    b"From: a@b\r\nMessage-ID\0: <3@x>\r\nSubject: s\r\n\r\nbody\r\n",
    b"X: %s\r\nMessage-ID: <4@x>\r\nSubject: s\r\n\r\nbody\r\n" % (b"x" * 2 * HEADER_LIMIT),
]


@pytest.fixture(autouse=True)
def server_that_drops_cr_and_nul(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Dovecot reads a header that it serves in part."""
    monkeypatch.setattr(
        memory, "header_fields", lambda octets, names: header_fields(re.sub(rb"\0|\r(?!\n)", b"", octets), names)
    )


def crash_after_append(between: Between) -> None:
    """The server has the messages, and the state file only the intent."""
    carried: list[Command] = []

    def watch(command: Command) -> None:
        if carried:
            raise Crash
        if isinstance(command, Append):
            for one in command.letters:
                between.store(b"".join(one.message.blocks()))
            carried.append(command)
            raise Crash

    between.on_command = watch
    with pytest.raises(Crash):
        between.migrate(dedupe="off")
    between.on_command = lambda command: None


def read(between: Between) -> list[int]:
    """The uids that were read back, in order."""
    return [uid for command in between.sent if isinstance(command, ReadBack) for uid in command.uids]


@pytest.mark.parametrize("dedupe", ["off", "content"])
@pytest.mark.parametrize("odd", ODD, ids=["CR before a name", "CR in a name", "NUL in a name", "behind a long field"])
def test_what_an_interrupted_run_sent_is_found_and_not_sent_again(tmp_path: Path, odd: bytes, dedupe: str) -> None:
    between = Between(tmp_path, [odd])
    crash_after_append(between)
    assert between.migrate(dedupe=dedupe) is Exit.OK
    assert between.appended() == 0
    assert between.stored() == Counter([odd])
    assert between.all(Doubled) == []


def test_where_the_destination_names_no_uids_nothing_is_sent_twice(tmp_path: Path) -> None:
    between = Between(tmp_path, ODD, has_uids=False)
    for _ in range(2):
        assert between.migrate(dedupe="off") is Exit.OK
        assert between.stored() == Counter(ODD)


def test_others_mail_is_read_only_where_it_came_since_an_open_intent_and_once(tmp_path: Path) -> None:
    between = Between(tmp_path, ODD[:1])
    for number in range(10, 14):
        between.store(letter(number))
    crash_after_append(between)
    later = between.store(letter(20))
    assert between.migrate(dedupe="off") is Exit.OK
    assert sorted(set(read(between))) == [5, later]
    assert read(between).count(later) == 1
    between.store(letter(21))
    assert between.migrate(dedupe="off") is Exit.OK
    assert read(between) == []
