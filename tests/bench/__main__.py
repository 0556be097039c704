"""popferry, the raw limit and the peers in one run.

python -m tests.bench [--quick] [--rows PART] [--mail NAME] [--round-trip MS] [--rounds N] [--no-peers] [--write]
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from . import cases, nights, peers, rungs, runs
from .ground import Ground, write_appends
from .mail import SETS, MailSet
from .report import Beside, Row, chart, peer_table, table

DOCS = Path(__file__).resolve().parent.parent.parent / "docs"
MARKS = ("<!-- bench -->", "<!-- /bench -->")
SAMPLE, SMALL_SAMPLE = 1000, 150  # messages for a slow peer, without and with a delay
SINGLE = f"{rungs.BASE} LITERAL+"

Measure = Callable[[argparse.Namespace], Iterator[Row]]


def main() -> int:
    options = _options()
    began = time.monotonic()
    rows = _told(options, MOVING)
    more = _told(options, CASES)
    told = f"{_machine()}, {options.rounds} rounds, {time.monotonic() - began:.0f} s for all of it"
    names = [peer.name for peer in (*peers.FETCHERS, *peers.UPLOADERS)]
    tables = "\n\n".join(filter(None, (table(rows), peer_table(rows, names), table(more))))
    print(f"\n{told}\n\n{tables}")
    if options.write:
        _write(told, rows, tables)
    return 0


def _told(options: argparse.Namespace, parts: Mapping[str, Measure]) -> list[Row]:
    """The rows of those parts that were asked for, each told as soon as it is there."""
    rows: list[Row] = []
    for name, measure in parts.items():
        for row in measure(options) if name in options.rows else ():
            rows.append(row)
            print(table([row]).splitlines()[-1], flush=True)
    return rows


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description="popferry, the raw limit and the peers in one run"
    )
    parser.add_argument("--quick", action="store_true", help="small mail, 0 and 20 ms, less of it")
    parser.add_argument(
        "--rows",
        action="append",
        choices=[*MOVING, *CASES],
        metavar="PART",
        help=f"only these rows: {', '.join([*MOVING, *CASES])}",
    )
    parser.add_argument("--mail", action="append", choices=sorted(SETS), help="only these sets")
    parser.add_argument("--round-trip", action="append", type=int, metavar="MS", help="only these round trips")
    parser.add_argument("--rounds", type=int, help="how often each is measured (3, quick 2; medians)")
    parser.add_argument("--no-peers", action="store_true", help="without the other tools")
    parser.add_argument("--write", action="store_true", help="into docs/performance.md and docs/performance.svg")
    options = parser.parse_args()
    if not options.rows:
        options.rows = [*MOVING, *(CASES if "small" in (options.mail or ["small"]) else ())]
    if options.no_peers:
        options.rows = [part for part in options.rows if part != "peers"]
    options.rounds = options.rounds or (2 if options.quick else 3)
    options.mail = options.mail or (["small"] if options.quick else ["small", "mixed", "large"])
    options.round_trip = options.round_trip or ([0, 20] if options.quick else [0, 20, 50, 100])
    return options


def _migrations(options: argparse.Namespace) -> Iterator[Row]:
    with Ground() as ground:
        for mail in _sets(options):
            round_trips = [0] if mail.name == "large" else options.round_trip
            for round_trip_ms in round_trips:
                yield from _migration(ground, mail, round_trip_ms, options)
            if mail.name == "small":
                yield from _migration(ground, mail, 0, options, tls=True)


def _singles(options: argparse.Namespace) -> Iterator[Row]:
    small = SETS["small"]
    if small in _sets(options) and not options.quick:
        with Ground(capability=SINGLE) as ground:
            yield from _single_appends(ground, small, options)


def _peers(options: argparse.Namespace) -> Iterator[Row]:
    with Ground() as ground:
        for mail in _sets(options):
            if mail.name != "large":
                for round_trip_ms in options.round_trip:
                    yield from _halves(ground, mail, round_trip_ms, options)


def _sets(options: argparse.Namespace) -> list[MailSet]:
    return [SETS[name] for name in options.mail]


def _migration(
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
    own = Row(mail.name, round_trip_ms, f"popferry{over}", mail.count, beside=[Beside(limit.runs)])
    source, dest = ground.source, ground.dest
    ports = [source.pop3s_port, dest.imaps_port] if tls else [source.pop3_port, dest.imap_port]
    with ground.line(round_trip_ms, ports) as far:
        for _ in range(options.rounds):
            limit.runs.append(runs.limit(ground, far, user, mail.count, stream, tls=tls))
            own.runs.append(runs.popferry(ground, far, user, mail.count, tls=tls))
    yield limit
    yield own


def _single_appends(ground: Ground, mail: MailSet, options: argparse.Namespace) -> Iterator[Row]:
    """LITERAL+ without MULTIAPPEND: against what the server takes in single APPENDs."""
    ground.fill(mail, mail.name)
    stream = ground.directory / "singles"
    write_appends(stream, mail.messages(), is_single=True)
    limit = Row(mail.name, 0, "the limit of single APPENDs", mail.count)
    own = Row(mail.name, 0, "popferry on single APPENDs", mail.count, beside=[Beside(limit.runs)])
    ports = [ground.source.pop3_port, ground.dest.imap_port]
    for _ in range(options.rounds):
        limit.runs.append(runs.limit(ground, ports, mail.name, mail.count, stream))
        own.runs.append(runs.popferry(ground, ports, mail.name, mail.count))
    yield limit
    yield own


def _halves(ground: Ground, mail: MailSet, round_trip_ms: int, options: argparse.Namespace) -> Iterator[Row]:
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


def _write(told: str, rows: list[Row], tables: str) -> None:
    """Puts the tables between their marks, and draws the chart."""
    page = DOCS / "performance.md"
    text = page.read_text()
    before, _, rest = text.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    page.write_text(
        f"{before}{MARKS[0]}\n{told}.\n\n![Messages a second](performance.svg)\n\n{tables}\n{MARKS[1]}{after}"
    )
    if rows:
        (DOCS / "performance.svg").write_text(chart(rows))


# What moves mail, and is drawn; and the rest, which is best read.
MOVING: dict[str, Measure] = {"migrations": _migrations, "singles": _singles, "peers": _peers}
CASES: dict[str, Measure] = {
    "rungs": rungs.measure,
    "second": cases.second_runs,
    "refusal": cases.refusals,
    "listing": cases.listings,
    "scan": cases.scans,
    "nights": nights.measure,
}


if __name__ == "__main__":
    sys.exit(main())
