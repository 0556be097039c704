"""``popferry status``: what the state files know, for people or as JSON; and ``--rebind``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from ..config import STATE_IN_BACKUP, default_state_path, parse_endpoint, state_directory
from ..errors import Exit, StateError, UsageError, first_of
from ..events import Skipped
from ..model import Checkpoint, display
from ..state import StateReader, Summary, read_state, rebind
from . import report, texts
from .face import Output

SHOWN = 20  # messages set aside that are named; --json names all


def run(options: argparse.Namespace) -> Exit:
    """Tells what the state files know. The worst code of all that could not be read."""
    out, err = Output(sys.stdout), Output(sys.stderr)
    codes: set[Exit] = set()
    if options.rebind:
        return out.checked(_rebind(_only(options), *options.rebind, out=out, err=err), err)
    paths = _paths(options)
    if not paths and not options.json:
        out.line(f"There is no state file in {display(str(state_directory()))} yet.")
    for number, path in enumerate(paths):
        try:
            with read_state(path) as reader:
                lines = [json.dumps(facts(reader))] if options.json else [*([""] if number else []), *page(reader)]
        except StateError as error:
            err.line(f"{display(str(path), 1000)}:")
            err.line(report.failure(error))
            codes.add(error.exit)
            continue
        for line in lines:
            out.line(line)
    return out.checked(first_of(codes), err, may_be_left=True)


def _only(options: argparse.Namespace) -> Path:
    if options.state is not None:
        return Path(options.state).expanduser().absolute()
    # Nothing is sent anywhere: a clear-text endpoint is as good a name as any.
    source = parse_endpoint(options.source, side="source", allow_clear=True)
    dest = parse_endpoint(options.dest, side="destination", allow_clear=True)
    return default_state_path(source, dest)


def _paths(options: argparse.Namespace) -> list[Path]:
    if options.state is not None or options.source is not None:
        return [_only(options)]
    return sorted(state_directory().glob("*.sqlite"))


# --- for people -----------------------------------------------------------------------------


def page(reader: StateReader) -> Iterator[str]:
    """What one state file knows, in lines."""
    summary = reader.summary()
    yield f"{display(summary.source)} to {_dest(summary)}"
    yield f"State: {display(str(summary.path), 1000)}"
    yield _last_run(summary)
    if not summary.tally.listed and reader.reached() is None:
        yield "The source was never reached yet."
        return
    yield from report.books(summary.tally)
    for reason, count in reader.skipped().items():
        yield texts.skipped(Skipped(count, display(reason, 1000)))
    if not summary.tally.set_aside:
        return
    yield ""
    yield "Set aside, tried again by the next run:"
    for number, one in enumerate(reader.set_aside()):
        if number == SHOWN:
            yield f"  and {summary.tally.set_aside - SHOWN:,} more: --json names them all"
            break
        reason = texts.ended(one.reason)
        yield f"  {texts.which(one.row, one.uidl)}, {texts.count(one.attempts, 'attempt')}: {reason}"


def _dest(summary: Summary) -> str:
    """The destination. A state file that stands in its backup names it only by its kind."""
    is_inside = (summary.dest, summary.path.parent.name) in {(one.value, name) for one, name in STATE_IN_BACKUP.items()}
    return display(f"{summary.dest}:{summary.path.parent.parent}" if is_inside else summary.dest, 1000)


def _last_run(summary: Summary) -> str:
    if summary.is_running:
        return f"Run {summary.runs:,} is under way, since {local(summary.began)}."
    if summary.began is None:
        return "No run yet."
    began, alive = local(summary.began), local(summary.alive)
    return f"Runs: {summary.runs:,}. The last one began at {began} and wrote last at {alive}."


def local(when: float | None) -> str:
    """The time in the zone of this machine, with its offset."""
    return "?" if when is None else datetime.fromtimestamp(when).astimezone().isoformat(" ", "seconds")


# --- as JSON --------------------------------------------------------------------------------


def facts(reader: StateReader) -> dict[str, Any]:
    """Everything that one state file knows and a script may want (docs/status.md)."""
    summary = reader.summary()
    return {
        "state": display(str(summary.path), 5000),
        "source": display(summary.source),
        "destination": display(summary.dest),
        "is_running": summary.is_running,
        "runs": summary.runs,
        "created": _iso(summary.created),
        "began": _iso(summary.began),
        "alive": _iso(summary.alive),
        "tally": asdict(summary.tally),
        "stages": {stage.value: count for stage, count in summary.stages.items()},
        "mailboxes": [{**asdict(box), "name": display(str(box.name))} for box in summary.mailboxes],
        "skipped": reader.skipped(),
        "set_aside": [asdict(one) for one in reader.set_aside()],
        "not_copied": [_twinned(row, twin) for row, twin in reader.not_copied()],
        "altered": [
            {"row": row.id, "uidl": display(row.uid), "proof": display(row.proof, 1000)} for row in reader.altered()
        ],
    }


def _twinned(row: Checkpoint, twin: Checkpoint | None) -> dict[str, Any]:
    copy = row if twin is None else twin
    return {
        "row": row.id,
        "uidl": display(row.uid),
        "twin": row.twin,
        "twin_uidl": display(twin.uid) if twin else "",
        "mailbox": display(str(copy.mailbox)) if copy.mailbox else None,
        "twin_uid": copy.uid_dest,
    }


def _iso(when: float | None) -> str | None:
    return None if when is None else datetime.fromtimestamp(when).astimezone().isoformat(timespec="seconds")


# --- a renamed server or account ------------------------------------------------------------


def _rebind(path: Path, old: str, new: str, *, out: Output, err: Output) -> Exit:
    try:
        with read_state(path) as reader:
            changes = renamed(reader.accounts(), old, new)
        for before, after in changes:
            rebind(path, before, after)
    except StateError as error:
        err.line(report.failure(error))
        return error.exit
    for before, after in changes:
        out.line(f"{display(before)} is called {display(after)} from now on.")
    out.line(f"Add this to the next popferry migrate: --state {display(str(path), 1000)}")
    return Exit.OK


def renamed(accounts: tuple[str, str], old: str, new: str) -> list[tuple[str, str]]:
    """Which account is called what from now on. ``old`` and ``new`` are both hosts, or both user@host."""
    if ("@" in old) != ("@" in new) or not old or not new:
        raise UsageError("--rebind: expected two servers, or two accounts", hint="Write --rebind OLD NEW.")
    old, new = _lower_host(old), _lower_host(new)
    found: list[tuple[str, str]] = []
    for account in dict.fromkeys(accounts):
        user, _, host = account.rpartition("@")
        if account == old:
            found.append((account, new))
        elif host == old:
            found.append((account, f"{user}@{new}"))
    if not found:
        raise UsageError(
            f"--rebind: this state file is of {display(accounts[0])} to {display(accounts[1])}",
            hint="Write the old name as it stands there.",
        )
    return found


def _lower_host(text: str) -> str:
    user, at, host = text.rpartition("@")
    return f"{user}{at}{host.lower()}"
