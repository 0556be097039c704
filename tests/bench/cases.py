"""What a migration meets beside much mail: nothing new, a message that is refused, more messages than usual."""

from __future__ import annotations

import argparse
import re
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime

from migrate.errors import Exit
from tests.support.dovecot import find_dovecot
from tests.support.embedded import Embedded
from tests.support.embedded.pop3 import Pop3Session
from tests.support.embedded.session import Mail

from . import runs
from .ground import Ground
from .mail import SETS, MailSet
from .report import Beside, Row

TINY = MailSet("tiny", 100_000, median=200, spread=0.2)
QUICK_TINY = 5_000
AMONG = 1_000  # messages around the refused one
LISTED, QUICK_LISTED = 1_000_000, 50_000
CROWD, QUICK_CROWD = 200_000, 10_000
AT_MOST_MB = "<= 200 MB"
# A Dovecot that compresses mail takes none that looks compressed already: this is a header field, and how bzip2 begins.
REFUSED_FIELD = b"BZh91AY&SY: yes\r\n"


# --- nothing new ----------------------------------------------------------------------------


def second_runs(options: argparse.Namespace) -> Iterator[Row]:
    """A run over a maildrop that has not changed since the one before, against its raw listing."""
    count = QUICK_TINY if options.quick else TINY.count
    with Ground() as ground:
        ground.fill(TINY, TINY.name, count)
        ports = [ground.source.pop3_port, ground.dest.imap_port]
        runs.popferry(ground, ports, TINY.name, count, new="again")
        for round_trip_ms in options.round_trip:
            raw = Row(TINY.name, round_trip_ms, "the raw listing", count)
            beside = Beside(raw.runs, "times as long as the raw listing", "<= 1.3", is_duration=True)
            own = Row(TINY.name, round_trip_ms, "popferry, nothing new", count, beside=[beside])
            with ground.line(round_trip_ms, ports) as far:
                for _ in range(options.rounds):
                    raw.runs.append(runs.raw_listing(ground, far[0], TINY.name))
                    own.runs.append(runs.popferry(ground, far, TINY.name, count, new="again"))
            yield raw
            yield own


# --- a message that is refused --------------------------------------------------------------


def refusals(options: argparse.Namespace) -> Iterator[Row]:
    """One message in the middle that the destination refuses, against the same mail without it."""
    with Ground(extra=f"mail_plugins = {_compressing()}") as ground:
        good = list(SETS["small"].messages(AMONG - 1))
        ground.put(good, "good")
        middle = AMONG // 2
        ground.put([*good[:middle], REFUSED_FIELD + good[middle], *good[middle:]], "refused")
        ports = [ground.source.pop3_port, ground.dest.imap_port]
        for round_trip_ms in options.round_trip:
            plain = Row("small", round_trip_ms, "popferry, none refused", len(good))
            beside = Beside(plain.runs, "times as long as without it", "<= 1.15", is_duration=True)
            row = Row("small", round_trip_ms, "popferry, one refused", AMONG, beside=[beside])
            with ground.line(round_trip_ms, ports) as far:
                for _ in range(options.rounds):
                    plain.runs.append(runs.popferry(ground, far, "good", len(good)))
                    row.runs.append(runs.popferry(ground, far, "refused", len(good), code=Exit.SET_ASIDE))
            yield plain
            yield row


def _compressing() -> str:
    """The plugin's name, which changed with 2.4."""
    said = subprocess.run([find_dovecot() or "dovecot", "--version"], capture_output=True, text=True, check=True).stdout
    return "zlib" if re.match(r"2\.[0-3]\.", said) else "mail_compress"


# --- many messages --------------------------------------------------------------------------


def listings(options: argparse.Namespace) -> Iterator[Row]:
    """A source that lists a million: the first run takes one of them, and so does the one after it."""
    count = QUICK_LISTED if options.quick else LISTED
    first = Row("listed", 0, "popferry, one copied of all that is listed", count, wanted=AT_MOST_MB)
    later = Row("listed", 0, "popferry, all of them known but one", count, wanted=AT_MOST_MB)
    with Ground() as ground, Embedded(pop3=_maildrop(count)) as source:
        ports = [source.pop3_port, ground.dest.imap_port]
        for _ in range(options.rounds):
            user = ground.new_user()
            for row in (first, later):  # all messages have the same octets: the second one is there already
                row.runs.append(runs.popferry(ground, ports, "listed", 1, "--limit", "1", new=user))
            ground.forget(user)
            runs.forget_state(ground, "listed", user)
    yield first
    yield later


def _maildrop(count: int) -> type[Pop3Session]:
    """A maildrop of so many, the same octets under UIDLs as long as those of Dovecot."""
    octets = next(TINY.messages(1))
    numbers = range(1, count + 1)
    sizes = b"+OK\r\n%b.\r\n" % b"".join(b"%d %d\r\n" % (number, len(octets)) for number in numbers)
    uidls = b"+OK\r\n%b.\r\n" % b"".join(b"%d %016x\r\n" % (number, number) for number in numbers)

    class Maildrop(Pop3Session):
        def do_stat(self) -> None:
            self.send(b"+OK %d %d\r\n" % (count, count * len(octets)))

        def do_list(self) -> None:
            self.send(sizes)

        def do_uidl(self, number: str = "") -> None:
            self.send(uidls)

        def _mail(self, number: str) -> tuple[int, Mail]:
            return int(number) - 1, Mail(int(number), octets, "", datetime.now(UTC))

    return Maildrop


def scans(options: argparse.Namespace) -> Iterator[Row]:
    """A destination with much mail in it, which the first run looks at; its one message is among it."""
    count = QUICK_CROWD if options.quick else CROWD
    row = Row(TINY.name, 0, "popferry, a destination that is full of mail", count, wanted=AT_MOST_MB)
    with Ground() as ground:
        ground.fill(TINY, "one", 1)
        ground.crowd(TINY, "crowd", count)
        ports = [ground.source.pop3_port, ground.dest.imap_port]
        for _ in range(options.rounds):
            row.runs.append(runs.popferry(ground, ports, "one", count, new="crowd"))
            runs.forget_state(ground, "one", "crowd")
    yield row
