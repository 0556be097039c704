"""Servers that lie: every behaviour of the table against the real stores, driver and state file."""

from __future__ import annotations

import multiprocessing
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from migrate.model import Tls
from tests.fakes.liar import pin

from . import hostile_imap_append, hostile_imap_door, hostile_imap_select, hostile_pop3
from .hostile_play import GROWTH_KIB, Outcome, Row, play
from .report import Report

WORKERS = 8  # on two cores: most rows wait for a deadline
NEVER_S = 60.0  # a row that has not ended by then never ends


def _named(protocol: str, *tables: list[Row]) -> list[Row]:
    return [replace(row, name=f"{protocol} {row.name}") for rows in tables for row in rows]


# The lie comes after the login: TLS makes no difference to it.
INSIDE = [
    *_named("IMAP", hostile_imap_select.ROWS, hostile_imap_append.ROWS),
    *_named("POP3", hostile_pop3.INSIDE),
]
ROWS = [*_named("IMAP", hostile_imap_door.ROWS), *_named("POP3", hostile_pop3.DOOR), *INSIDE]


def play_all(rows: Iterable[Row], workers: int = WORKERS) -> Iterator[Outcome]:
    """The outcomes as they come. Each row has a process of its own: its memory is its own, and it can be ended."""
    waiting = list(rows)[::-1]
    running: dict[Connection, tuple[Row, float, multiprocessing.context.ForkProcess]] = {}
    fork = multiprocessing.get_context("fork")
    while waiting or running:
        while waiting and len(running) < workers:
            row = waiting.pop()
            here, there = fork.Pipe(duplex=False)
            process = fork.Process(target=_play, args=(row, there))
            process.start()
            there.close()
            running[here] = (row, time.monotonic(), process)
        ready = wait(list(running), timeout=1.0)
        for pipe, (row, began_s, process) in list(running.items()):
            if pipe in ready:
                try:
                    outcome = pipe.recv()
                except EOFError:
                    outcome = Outcome(row.name, violations=["the process died"])
            elif time.monotonic() - began_s > NEVER_S:
                outcome = Outcome(row.name, violations=[f"it did not end in {NEVER_S:.0f} s"])
                process.kill()
            else:
                continue
            del running[pipe]
            pipe.close()
            process.join()
            yield outcome


def _play(row: Row, pipe: Connection) -> None:
    try:
        outcome = play(row)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
        outcome = Outcome(row.name, violations=[f"{type(error).__name__}: {error}"])
    pipe.send(outcome)
    pipe.close()


def over_tls(rows: Iterable[Row]) -> list[Row]:
    """The same rows with TLS from the first octet, and with STARTTLS."""
    return [
        replace(row, name=f"{row.name} ({tls.value})", tls=tls) for row in rows for tls in (Tls.IMPLICIT, Tls.STARTTLS)
    ]


def main(full: bool, seed: int, rows: list[Row] | None = None) -> Report:
    """Quick: every row in clear. Full: those whose lie comes after the login with both kinds of TLS too."""
    report = Report("servers that lie")
    asked = ROWS if rows is None else rows
    if full:
        asked = asked + over_tls(INSIDE)
    pin()  # made once, before there are many processes
    longest, largest = Outcome(""), Outcome("")
    for outcome in play_all(asked):
        report.cases += 1
        report.violations += [f"{outcome.row}: {wrong}" for wrong in outcome.violations]
        longest = max(longest, outcome, key=lambda one: one.took_s)
        largest = max(largest, outcome, key=lambda one: one.growth_kib)
    counts = Counter(row.must.value for row in asked)
    report.notes.append(", ".join(f"{count} {must}" for must, count in sorted(counts.items())))
    report.notes.append(f"longest run {longest.took_s:.1f} s ({longest.row})")
    report.notes.append(f"most memory {largest.growth_kib / 1024:.1f} MiB of {GROWTH_KIB // 1024} ({largest.row})")
    return report
