"""Large things in little memory: one message of 200 MB, and a maildrop of 100,000 messages."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.embedded import Embedded
from tests.support.embedded.pop3 import Pop3Session
from tests.support.embedded.session import Mail
from tests.support.mailgen import generate, large
from tests.support.relay import Relay

from .ferry import ferry

pytestmark = [pytest.mark.dovecot, pytest.mark.slow]

FOLDER = "Old"
OCTETS = 200_000_000
LISTED = 100_000
MIB = 1024  # KiB

Record = Callable[[str, object], None]


@pytest.fixture
def quiet_dovecot() -> Iterator[Dovecot]:
    """Without raw logs, which would be as large as the mail."""
    with Dovecot() as server:
        yield server


def digest_of(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def test_a_message_of_200_mb_is_resumed_after_a_kill_and_deleted_in_less_than_128_mb(
    quiet_dovecot: Dovecot, tmp_path: Path, record_property: Record
) -> None:
    server = quiet_dovecot
    small = list(generate(5, 3, odd=0))
    path = large(tmp_path / "large", OCTETS)
    expected = sorted([digest_of(path), *(hashlib.sha256(octets).hexdigest() for octets in small)])
    server.deliver_file("old", path)
    server.deliver_many("old", small)
    migration = ferry(tmp_path / "state.sqlite", server, "old", server, "new", FOLDER)
    options = ("--delete-after", "verified", "--settle", "0.3")

    with Relay(server.imaps_port, hold_sent=OCTETS // 3) as cable:
        process = migration.through(cable.port).start(*options)
        assert cable.is_holding.wait(120)
        process.kill()
        process.wait()
    left = {one.name for one in tmp_path.rglob("letter-*")}
    ran, peak_kib = migration.measure(*options)

    record_property("peak memory with a message of 200 MB", f"{peak_kib / MIB:.1f} MiB")
    assert ran.code == 0
    assert peak_kib < 128_000_000 // 1024
    assert left, "it was killed in the middle of the upload"
    found = sorted(hashlib.sha256(message.octets).hexdigest() for message in server.stored("new", FOLDER))
    assert found == expected
    assert server.served_pop3("old") == []
    assert (ran.tally["copied"], ran.tally["released"]) == (4, 4)
    assert [one.name for one in tmp_path.rglob("letter-*")] == [], "what waited on the disk is gone"


class LongUidls(Pop3Session):
    """UIDLs as long as they may be (RFC 1939 §7)."""

    def _uidl(self, mail: Mail) -> bytes:
        return b"%070x" % mail.uid


@pytest.mark.parametrize("options", [("--dry-run",), ("--limit", "5")], ids=["dry run", "first messages"])
def test_a_hundred_thousand_listed_messages_stay_under_200_mb(
    quiet_dovecot: Dovecot, tmp_path: Path, options: tuple[str, ...], record_property: Record
) -> None:
    with Embedded(pop3=LongUidls) as source:
        source.deliver_many("old", [b"Subject: one of many\r\n\r\nbody\r\n"] * LISTED)
        migration = ferry(tmp_path / "state.sqlite", source, "old", quiet_dovecot, "new", FOLDER)

        ran, peak_kib = migration.measure("--dedupe", "off", *options)

    record_property(f"peak memory with 100,000 listed messages, {options[0]}", f"{peak_kib / MIB:.1f} MiB")
    assert (ran.code, ran.err) == (0, "")
    assert ran.all("listed")[0]["messages"] == LISTED
    assert peak_kib < 200_000_000 // 1024
    copied = 0 if "--dry-run" in options else 5
    assert len(quiet_dovecot.stored("new", FOLDER)) == copied
