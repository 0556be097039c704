"""A migration of very many messages in one process: the real engine, driver, rules and state file, and servers that
make up every message when it is asked for.

    python -m tests.faults.ferryman COUNT DIRECTORY [deletion]

It prints one object of JSON: how long it took, the most memory the process ever had, and what went wrong.
"""

from __future__ import annotations

import json
import re
import sys
import time
from array import array
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from migrate.commands import (
    Append,
    Command,
    Delete,
    DestFacts,
    Digest,
    Fetch,
    FetchHeaders,
    ListSource,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    OpenSource,
    ReadBack,
    SearchUids,
    Served,
    SourceFacts,
)
from migrate.driver import Stop
from migrate.driver.loop import Driver
from migrate.engine.walk import walk
from migrate.errors import Exit
from migrate.events import Event, Finished
from migrate.model import AppendUid, Fingerprint, MailboxName, Message, Policy, Verify
from migrate.rules.dedupe import Digester
from migrate.state import open_state
from migrate.stores.base import Collector, LocalSession, header_fields
from migrate.stores.memory import ANY_FLAG, MemoryAppender, MemoryReader
from migrate.wire.pop3.listing import Listing, ListLines, UidlLines, join_listings

ACCOUNTS = ("many@source.invalid", "many@dest.invalid")
FOLDER = MailboxName(("Many",))
OCTETS = 600
LINES = 1000  # of a listing that come in one block
_BODY = (b"every line of it is as dull as the one before; " * 20)[:360] + b"\r\n"


def letter(number: int) -> bytes:
    """The message of that number: clean, unlike any other."""
    text = (
        b"Received: from relay.invalid by mx.invalid; Mon, 1 Jan 2024 00:00:00 +0000\r\nFrom: a@source.invalid\r\n"
        b"Message-ID: <%012d@source.invalid>\r\nSubject: %d\r\n\r\n%d\r\n" % (number, number, number)
    )
    return text + _BODY


class Maildrop:
    """A source of so many messages. What was deleted is a byte for each message."""

    def __init__(self, count: int) -> None:
        self.is_gone = bytearray(count + 1)
        self.is_gone[0] = 1

    def numbers(self) -> array[int]:
        return array("I", (number for number, gone in enumerate(self.is_gone) if not gone))


class Drawer:
    """One session at the source. The listing is held as the POP3 store holds it."""

    def __init__(self, maildrop: Maildrop, spill_dir: Path) -> None:
        self._maildrop = maildrop
        self._spill_dir = spill_dir
        self.numbers = maildrop.numbers()  # message number - 1 -> number of the letter
        self._marked = array("I")

    def listing(self) -> Listing:
        count = len(self.numbers)
        uidl, sizes = UidlLines(limit=count), ListLines(limit=count)
        for start in range(0, count, LINES):
            chunk = list(enumerate(self.numbers[start : start + LINES], start=start + 1))
            uidl.feed(b"".join(b"%d %08x\r\n" % one for one in chunk))
            sizes.feed(b"".join(b"%d %d\r\n" % (at, len(letter(number))) for at, number in chunk))
        listing = join_listings(count, uidl, sizes)
        assert listing is not None
        return listing

    def fetch(self, at: int) -> Message:
        collector = Collector(Digester, self._spill_dir)
        collector.update(letter(self.numbers[at - 1]))
        return collector.finish()

    def mark(self, at: int) -> None:
        self._marked.append(self.numbers[at - 1])

    def remove(self) -> None:
        for number in self._marked:
            self._maildrop.is_gone[number] = 1


class Source(LocalSession):
    """Reads and deletes."""

    kinds = (*MemoryReader.kinds, Delete)
    opens = OpenSource

    def __init__(self, maildrop: Maildrop, spill_dir: Path) -> None:
        super().__init__()
        self._make: Callable[[], Drawer] = lambda: Drawer(maildrop, spill_dir)
        self._drawer: Drawer | None = None

    def carry_out(self, command: Command) -> Any:
        if isinstance(command, OpenSource):
            self._drawer = self._make()
            count = len(self._drawer.numbers)
            return SourceFacts("letters made up", count, count * OCTETS, True, False)
        drawer = self._drawer
        assert drawer is not None
        match command:
            case ListSource():
                return drawer.listing()
            case Fetch(ref=ref):
                return drawer.fetch(ref.number)
            case Delete(refs=refs):
                for ref in refs:
                    drawer.mark(ref.number)
                return (None,) * len(refs)
            case _:
                if command.quit:  # type: ignore[attr-defined]
                    drawer.remove()
                self.close()
                return None

    def close(self) -> None:
        super().close()
        self._drawer = None


class Counted:
    """A mailbox that keeps the number of each letter, and looks at every octet that it is given."""

    def __init__(self) -> None:
        self.letters = array("I")  # uid - 1 -> number of the letter
        self.wrong = 0

    def store(self, octets: bytes) -> int:
        found = re.search(rb"Message-ID: <(\d+)@", octets)
        number = int(found[1]) if found else 0
        self.wrong += octets != letter(number)
        self.letters.append(number)
        return len(self.letters)

    def chosen(self, uids: Sequence[int]) -> list[tuple[int, bytes]]:
        return [(uid, letter(self.letters[uid - 1])) for uid in uids if 0 < uid <= len(self.letters)]


class Dest(LocalSession):
    """Appends and serves back."""

    kinds = MemoryAppender.kinds
    opens = OpenDest

    def __init__(self, mailbox: Counted) -> None:
        super().__init__()
        self._mailbox = mailbox

    def carry_out(self, command: Command) -> Any:
        box = self._mailbox
        match command:
            case OpenDest():
                return DestFacts("a mailbox that counts", has_uids=True, is_atomic=True, append_limit=None)
            case OpenMailbox():
                return MailboxStatus(1, len(box.letters) + 1, len(box.letters), ANY_FLAG)
            case Append(letters=letters):
                return tuple(AppendUid(1, box.store(b"".join(one.message.blocks()))) for one in letters)
            case SearchUids(low=low):
                return range(low, len(box.letters) + 1)
            case FetchHeaders(uids=uids, fields=fields):
                return [Served(uid, len(o), header_fields(o, fields) if fields else b"") for uid, o in box.chosen(uids)]
            case ReadBack(uids=uids, digester=digester):
                return {uid: _digest(digester(), octets) for uid, octets in box.chosen(uids)}
            case _:
                raise TypeError(type(command).__name__)


def _digest(digest: Digest, octets: bytes) -> Fingerprint:
    digest.update(octets)
    return digest.finish()


def memory_mb() -> float:
    """The most memory that this process ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


def ferry(maildrop: Maildrop, mailbox: Counted, directory: Path, policy: Policy) -> tuple[Exit, Finished]:
    """One run."""
    told: list[Finished] = []

    def emit(event: Event) -> None:
        if isinstance(event, Finished):
            told.append(event)

    def opener(command: OpenSource | OpenDest) -> Any:
        return Source(maildrop, directory) if isinstance(command, OpenSource) else Dest(mailbox)

    state = open_state(directory / "state.sqlite", *ACCOUNTS, digester=Digester)
    try:
        return Driver(state, opener, Stop(), emit).run(walk(policy, emit)), told[0]
    finally:
        state.close()


def main(count: int, directory: Path, *, has_deletion: bool) -> dict[str, Any]:
    """The figures of a migration and of a second run that must find nothing to do."""
    directory.mkdir(mode=0o700, exist_ok=True)
    maildrop, mailbox = Maildrop(count), Counted()
    policy = Policy(mailbox=FOLDER, verify=Verify.SAMPLE, settle_s=0.0, delete_after_s=0 if has_deletion else None)
    idle_mb = memory_mb()
    began = time.monotonic()
    code, finished = ferry(maildrop, mailbox, directory, policy)
    spent_s = time.monotonic() - began
    first_mb = memory_mb()
    again, _ = ferry(maildrop, mailbox, directory, policy)
    tally = finished.tally
    seen = bytearray(count + 1)
    for number in mailbox.letters:
        seen[number] = min(2, seen[number] + 1)
    return {
        "seconds": round(spent_s, 1),
        "idle_mb": round(idle_mb, 1),
        "rss_mb": round(max(first_mb, memory_mb()), 1),
        "state_mb": round(sum(path.stat().st_size for path in directory.iterdir()) / 2**20, 1),
        "exit": [int(code), int(again)],
        "books": [tally.listed, tally.copied, tally.verified, tally.released, tally.open],
        "lost": seen[1:].count(0),
        "twice": seen[1:].count(2),
        "altered": mailbox.wrong,
        "left": len(maildrop.numbers()),
    }


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), Path(sys.argv[2]), has_deletion="deletion" in sys.argv[3:])))
