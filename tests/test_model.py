"""The nouns: what cannot be held, and what is put right when it is made."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from pathlib import Path

import pytest

from migrate.model import (
    BLOCK,
    DateSource,
    Flags,
    InternalDate,
    MailboxName,
    Message,
    Secret,
    is_keyword,
)
from migrate.rules.dedupe import fingerprint


class Nowhere(tzinfo):
    """A zone that does not know its offset."""

    def utcoffset(self, when: datetime | None) -> timedelta | None:
        return None

    def dst(self, when: datetime | None) -> timedelta | None:
        return None

    def tzname(self, when: datetime | None) -> str | None:
        return None


@pytest.mark.parametrize("levels", [(), ("",), ("a", ""), ("a\x1bb",), ("a\r\nb",)])
def test_a_mailbox_name_without_a_level_or_with_a_control_character_cannot_be_made(levels: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="mailbox name"):
        MailboxName(levels)


def test_inbox_is_written_in_capitals_and_names_are_composed() -> None:
    assert MailboxName(("inbox", "Inbox")).levels == ("INBOX", "Inbox")
    assert MailboxName(("\u0131nbox",)).levels == ("\u0131nbox",), "a dotless i: another folder"
    assert MailboxName(("e\u0301",)).levels == ("é",)
    assert MailboxName.parse(str(MailboxName(("a/b", "100%", "%2F")))).levels == ("a/b", "100%", "%2F")


@pytest.mark.parametrize("name", ["", "two words", "\\Recent", "a*", "a]", "é"])
def test_what_is_no_keyword_cannot_be_held_as_a_flag(name: str) -> None:
    assert not is_keyword(name)
    with pytest.raises(ValueError, match="not a flag"):
        Flags(frozenset({name}))


def test_system_flags_are_written_in_one_way() -> None:
    assert Flags(frozenset({"\\SEEN", "\\answered", "Work"})).names == {"\\Seen", "\\Answered", "Work"}


@pytest.mark.parametrize("zone", [None, Nowhere()])
def test_a_date_without_an_offset_cannot_be_an_internal_date(zone: tzinfo | None) -> None:
    with pytest.raises(ValueError, match="time zone"):
        InternalDate(datetime(2020, 1, 1, tzinfo=zone), DateSource.DATE)


def test_an_internal_date_has_whole_seconds_and_its_own_offset() -> None:
    zone = timezone(timedelta(hours=2))
    when = InternalDate(datetime(2020, 1, 1, 1, 2, 3, 999999, tzinfo=zone), DateSource.DATE).when
    assert (when.microsecond, when.utcoffset()) == (0, timedelta(hours=2))
    assert InternalDate(datetime(2020, 1, 1, tzinfo=UTC), DateSource.DATE).when.microsecond == 0


def test_a_secret_is_not_pickled_or_shown() -> None:
    secret = Secret("canary-7f3a")
    assert "canary" not in repr(secret)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(secret)


def test_a_message_holds_its_octets_a_block_of_its_file_or_nothing(tmp_path: Path) -> None:
    octets = b"x" * (BLOCK + 5)
    (tmp_path / "message").write_bytes(octets)
    print_ = fingerprint(octets)
    whole = Message(len(octets), b"", print_, data=octets)
    filed = Message(len(octets), b"", print_, path=tmp_path / "message")
    assert (whole.held, filed.held, whole.emptied().held) == (len(octets), BLOCK, 0)
    assert list(whole.blocks()) == [octets]
    assert list(map(len, filed.blocks())) == [BLOCK, 5]
    whole.discard()
    filed.discard()
    filed.discard()
    assert not (tmp_path / "message").exists()
