"""popferry, the raw limit and the peers in one run.

python -m tests.bench [--quick] [--mail NAME] [--round-trip MS] [--rounds N] [--no-peers] [--write]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import peers, runs
from .ground import Ground, write_appends
from .mail import SETS, MailSet
from .report import Row, chart, table

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
MARKS = ("<!-- bench -->", "<!-- /bench -->")
SAMPLE, SMALL_SAMPLE = 1000, 150  # messages for a slow peer, without and with a delay
SINGLE = "IMAP4rev1 SASL-IR LITERAL+ UIDPLUS ID ENABLE NAMESPACE UNSELECT CHILDREN SPECIAL-USE"


def main() -> int:
    options = _options()
    began = time.monotonic()
    rows: list[Row] = []
    for row in _measure(options):
        rows.append(row)
        print(table([row]).splitlines()[-1], flush=True)
    told = f"{_machine()}, {options.rounds} rounds, {time.monotonic() - began:.0f} s for all of it"
    print(f"\n{told}\n\n{table(rows)}")
    if options.write:
        _write(told, rows)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="popferry, the raw limit and the peers in one run"
    )
    parser.add_argument("--quick", action="store_true", help="small mail, 0 and 20 ms, less of it")
    parser.add_argument("--mail", action="append", choices=sorted(SETS), help="only these sets")
    parser.add_argument("--round-trip", action="append", type=int, metavar="MS", help="only these round trips")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is measured (medians)")
    parser.add_argument("--no-peers", action="store_true", help="without the other tools")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md and docs/performance.svg")
    options = parser.parse_args()
    options.mail = options.mail or (["small"] if options.quick else ["small", "mixed", "large"])
    options.round_trip = options.round_trip or ([0, 20] if options.quick else [0, 20, 50, 100])
    return options


def _measure(options: argparse.Namespace) -> Iterator[Row]:
    sets = [SETS[name] for name in options.mail]
    with Ground() as ground:
        for mail in sets:
            round_trips = [0] if mail.name == "large" else options.round_trip
            for round_trip_ms in round_trips:
                yield from _migrations(ground, mail, round_trip_ms, options)
            if mail.name == "small":
                yield from _migrations(ground, mail, 0, options, tls=True)
    small = SETS["small"]
    if small in sets and not options.quick:
        with Ground(capability=SINGLE) as ground:
            yield from _singles(ground, small, options)
    if not options.no_peers:
        with Ground() as ground:
            for mail in sets:
                if mail.name != "large":
                    for round_trip_ms in options.round_trip:
                        yield from _peers(ground, mail, round_trip_ms, options)


def _migrations(
    ground: Ground, mail: MailSet, round_trip_ms: int, options: argparse.Namespace, *, tls: bool = False
) -> Iterator[Row]:
    """The limit and popferry, round by round."""
    user = mail.name
    stream = ground.directory / f"appends.{mail.name}"
    if not stream.exists():
        ground.fill(mail, user)
        write_appends(stream, mail.messages())
    over = " over TLS" if tls else ""
    limit = Row(mail.name, round_trip_ms, f"the limit{over}", mail.count)
    own = Row(mail.name, round_trip_ms, f"popferry{over}", mail.count, against=limit.runs)
    source, dest = ground.source, ground.dest
    ports = [source.pop3s_port, dest.imaps_port] if tls else [source.pop3_port, dest.imap_port]
    with ground.line(round_trip_ms, ports) as far:
        for _ in range(options.rounds):
            limit.runs.append(runs.limit(ground, far, user, mail.count, stream, tls=tls))
            own.runs.append(runs.popferry(ground, far, user, mail.count, tls=tls))
    yield limit
    yield own


def _singles(ground: Ground, mail: MailSet, options: argparse.Namespace) -> Iterator[Row]:
    """LITERAL+ without MULTIAPPEND: against what the server takes in single APPENDs."""
    ground.fill(mail, mail.name)
    stream = ground.directory / "singles"
    write_appends(stream, mail.messages(), is_single=True)
    limit = Row(mail.name, 0, "the limit of single APPENDs", mail.count)
    own = Row(mail.name, 0, "popferry, single APPENDs", mail.count, against=limit.runs)
    ports = [ground.source.pop3_port, ground.dest.imap_port]
    for _ in range(options.rounds):
        limit.runs.append(runs.limit(ground, ports, mail.name, mail.count, stream))
        own.runs.append(runs.popferry(ground, ports, mail.name, mail.count))
    yield limit
    yield own


def _peers(ground: Ground, mail: MailSet, round_trip_ms: int, options: argparse.Namespace) -> Iterator[Row]:
    """Each on its half of the job. A slow one gets a sample, and is left out where mail is large and far."""
    for peer in (*peers.FETCHERS, *peers.UPLOADERS):
        is_fetcher = peer in peers.FETCHERS
        what = f"{peer.name}, {'POP3 to Maildir' if is_fetcher else 'Maildir to IMAP'}"
        if not peer.is_here:
            print(f"{peer.name} is not installed ({peer.package})", file=sys.stderr)
            continue
        if peer.is_slow and round_trip_ms and mail.name != "small":
            continue
        count = (SMALL_SAMPLE if round_trip_ms else SAMPLE) if peer.is_slow else mail.count
        if is_fetcher:
            user = f"{mail.name}-{count}"
            if not (ground.source.directory / "mail" / user).exists():
                ground.fill(mail, user, count)
        row = Row(mail.name, round_trip_ms, what, count)
        ports = [ground.source.pop3_port, ground.dest.imap_port]
        with ground.line(round_trip_ms, ports) as (pop3, imap):
            for _ in range(options.rounds):
                if is_fetcher:
                    row.runs.append(peers.fetch(peer, ground, pop3, user, count))
                else:
                    row.runs.append(peers.upload(peer, ground, imap, mail.messages(count)))
        yield row


def _machine() -> str:
    cpu = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), "?"
    )
    versions = ", ".join(
        f"{peer.name} {peer.told_version()}" for peer in (*peers.FETCHERS, *peers.UPLOADERS) if peer.is_here
    )
    with Ground() as ground:
        dovecot = ground.dest.name
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores ({cpu}), Linux {platform.release()}, "
        f"Python {platform.python_version()}, {dovecot}, {versions}"
    )


def _lines(path: str) -> Sequence[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def _write(told: str, rows: list[Row]) -> None:
    """Puts the table between its marks, and draws the chart."""
    page = DOCS / "performance.md"
    text = page.read_text()
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(
        f"{before}{MARKS[0]}\n{told}.\n\n![Messages a second](performance.svg)\n\n{table(rows)}\n{MARKS[1]}{after}"
    )
    (DOCS / "performance.svg").write_text(chart(rows))


if __name__ == "__main__":
    sys.exit(main())
