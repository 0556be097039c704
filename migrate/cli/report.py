"""The end of a run in words: the books as a table, what went wrong, what to do next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..books import Tally
from ..errors import Exit, MigrateError, StoreError
from ..events import Checked, Pruned, Recounted, SetAside, WouldDo
from ..model import display
from . import logfile
from .texts import NOTHING_COPIED, count, sentence, size, trouble, which

SHOWN = 5  # messages set aside that are named one by one without -v

SAFE = "Nothing is lost. Run the same command to continue."

# Of a backup (docs/backup.md has the same).
GO_ON = (
    "What is named here is taken from another copy of the backup, file and index both. Or, as long as the source has "
    "it, a new backup is made of both:",
    "  popferry migrate --dedupe off mbox:DIR mbox:NEW",
    "  popferry rebuild --dedupe off --settle 0 SOURCE mbox:NEW",
    "  popferry backup SOURCE NEW",
    "In place of mbox: it is maildir: for a Maildir, also in front of the NEW of the last line.",
)
KEPT = "What was kept at the source was not safe to delete. A run with -v names each message with its reason."

Row = tuple[int, str]


def books(tally: Tally, copied: int | None = None, octets: int = 0) -> list[str]:
    """The table of the books: every part that is not zero, their sum, and what some of them are.

    ``copied`` is what the last run did; it is told where earlier runs did the rest.
    """
    parts: list[Row] = [
        (tally.copied, f"copied ({size(tally.octets)})"),
        (tally.there, "already there"),
        (tally.duplicate, "duplicate, not copied"),
        (tally.skipped, "skipped: not fetched, as --baseline or --already-have asked"),
        (tally.set_aside, "set aside"),
        (tally.gone, "gone from the source before they were copied"),
        (tally.open, "still open"),
    ]
    notes: list[Row] = [
        (tally.verified, "served back by the destination and verified"),
        (tally.altered, "changed by the destination: popferry status --json tells how"),
        (tally.released, "deleted at the source"),
    ]
    if not tally.balances:
        parts.append((tally.listed - sum(number for number, _ in parts), "unaccounted for: a fault of popferry"))
    width = max(len(f"{number:,}") for number, _ in [*parts, (tally.listed, "")]) + 2
    lines = [_row(row, width) for row in parts if row[0]]
    lines += ["  " + "-" * (width - 2)] if lines else []
    if copied is not None and copied != tally.copied:
        new = f"{count(copied)} ({size(octets)})" if copied else "nothing"
        lines.insert(0, f"This run copied {new}. All runs together:")
    lines.append(_row((tally.listed, "listed at the source"), width))
    notes = [row for row in notes if row[0]]
    if notes:
        lines += ["", "Of these:", *(_row(row, width) for row in notes)]
    return lines


def _row(row: Row, width: int) -> str:
    return f"{row[0]:>{width},}  {row[1]}"


def would_do(event: WouldDo) -> list[str]:
    """The answer of a dry run."""
    there = [
        f'"{name}" would be created.' if holds is None else f'"{name}" holds {count(holds)}.'
        for name, holds in event.mailboxes
    ]
    places = [f'"{name}"' for name, _ in event.mailboxes]
    where = f" into {places[0] if len(places) == 1 else f'{len(places):,} folders'}" if places else ""
    what = f" ({size(event.octets)})" if event.copy else ""
    rows: list[Row] = [(event.copy, f"would be copied{where}{what}")]
    if event.unsure:
        rows.append((event.unsure, "would be fetched first: only their content tells whether they are done"))
    rows.append((event.done, "done"))
    width = max(len(f"{number:,}") for number, _ in [*rows, (event.delete, "")]) + 2
    would_delete = f"Would delete {count(event.delete)} at the source." if event.delete else "Would delete nothing."
    last = [f"{there[0]} {would_delete}"] if len(there) == 1 else [*there, would_delete]
    return ["Dry run: nothing was touched.", *(_row(row, width) for row in rows), *last]


def recount(event: Recounted) -> list[str]:
    """The table of a recount: every tier that is not empty, their sum, and what the destination has."""
    parts: list[Row] = [
        (event.identical, "identical, octet for octet"),
        (event.altered, "there with named changes"),
        (event.duplicate, "there as the same content with other volatile headers"),
        (event.differs, "DIFFER"),
        (event.missing, "MISSING"),
        (event.unread, "not compared: the source did not serve them"),
    ]
    notes: list[Row] = [
        (event.shared, "served by the copy of another message"),
        (event.released, "deleted at the source, compared by the digests of the state file"),
    ]
    total = event.listed + event.released
    what = "listed at the source" + (" or deleted there" if event.released else "")
    width = max(len(f"{number:,}") for number in (total, event.there)) + 2
    lines = [_row(row, width) for row in parts if row[0]]
    lines += ["  " + "-" * (width - 2)] if lines else []
    lines.append(_row((total, f"{what} ({size(event.octets)})"), width))
    notes = [row for row in notes if row[0]]
    if notes:
        lines += ["", "Of these:", *(_row(row, width) for row in notes)]
    there = [(event.copies, "for messages of the source"), (event.also_there, "also there, from elsewhere")]
    lines += ["", "At the destination:", *(_row(row, width) for row in there if row[0])]
    return [*lines, "  " + "-" * (width - 2), _row((event.there, "messages"), width)]


def checked(event: Checked) -> str:
    """What was read of a backup, and how much of it is not as it was stored."""
    read = f"Read {count(event.messages)} in {count(event.files, 'file')} ({size(event.octets)})"
    if event.unread:
        read += f"; not read, in encrypted files: {count(event.unread)}"
    return f"{read}; {count(event.damaged, 'fault')}." if event.damaged else f"{read}."


def pruned(event: Pruned) -> str:
    """What was deleted from a backup, or would be."""
    if not event.files:
        return "Nothing is old enough to be deleted." if event.is_deleted else "Nothing would be deleted."
    what = f"{count(event.files, 'file')} with {count(event.messages)} ({size(event.octets)}) from the backup"
    return f"Deleted {what}." if event.is_deleted else f"Would delete {what}. Nothing was deleted."


def rebuilt(tally: Tally) -> list[str]:
    """The table of a rebuild: what the new state file knows."""
    parts: list[Row] = [
        (tally.copied, "found at the destination"),
        (tally.there, "at the destination with other volatile headers"),
        (tally.duplicate, "duplicate of one of these"),
        (tally.set_aside, "set aside"),
        (tally.open, "not at the destination"),
    ]
    width = max(len(f"{number:,}") for number, _ in [*parts, (tally.listed, "")]) + 2
    lines = [_row(row, width) for row in parts if row[0]]
    lines += ["  " + "-" * (width - 2)] if lines else []
    return [*lines, _row((tally.listed, "listed at the source or in the spool"), width)]


def set_aside(events: Sequence[SetAside], total: int) -> list[str]:
    """The first messages of this run that were set aside, each with its reason."""
    lines = [
        f"Set aside: {which(one.row, one.uidl)}. {trouble(one.reason, one.said, one.hint)}" for one in events[:SHOWN]
    ]
    if total > len(lines) > 0:
        lines.append(f"And {total - len(lines):,} more were set aside.")
    return lines


def closing(
    exit: Exit, tally: Tally | None, state_path: Path, *, is_listed: bool, is_dry_run: bool = False, kept: int = 0
) -> list[str]:
    """The last lines: where we stand and what to do next. An unfinished run ends with its state file.

    ``kept``: messages that were not deleted at the source, although asked for.
    """
    status = f"popferry status --state {display(str(state_path))}"
    if exit is Exit.OK:
        if tally is not None and tally.open and not is_dry_run:
            return [f"{count(tally.open)} left for later: run the same command to continue."]
        return [] if is_dry_run else ["Everything is accounted for."]
    if exit is Exit.SET_ASIDE:
        lines = [KEPT] if kept else []
        if tally is None or tally.set_aside or not kept:
            lines += ["The next run tries what was set aside again. Every reason:", f"  {status}"]
        return lines
    if exit is Exit.DIFFERENCES:
        return ["popferry verify DIR names what is not as it was stored, and says how to go on."]
    lines = []
    if exit in (Exit.INTERRUPTED, Exit.TERMINATED):
        lines.append("Stopped." if is_listed else f"Stopped. {NOTHING_COPIED}")
    lines.append(NEXT.get(exit, SAFE))
    if exit is not Exit.USAGE:
        lines.append(f"State: {display(str(state_path))}")
    return lines


_AFTER = "Nothing is lost. When that is put right, run the same command to continue."
NEXT = {
    Exit.SOURCE_LOGIN: _AFTER,
    Exit.SOURCE_UNUSABLE: _AFTER,
    Exit.DEST_LOGIN: _AFTER,
    Exit.DEST_UNUSABLE: _AFTER,
    Exit.DEST_FULL: "Nothing is lost. When there is room again, run the same command to continue.",
    Exit.STATE_LOCKED: "Nothing was done. Run the same command when the other run has ended.",
    Exit.STATE_DAMAGED: "Nothing was done; the file is left as it is.",
    Exit.STATE_UNWRITABLE: _AFTER,
    Exit.UNEXPECTED: SAFE,
    Exit.USAGE: "Nothing was done.",
}


def failure(error: MigrateError) -> str:
    """One error as one line: what happened, the server's words, what to do."""
    end = f"{error.end}: " if isinstance(error, StoreError) and error.end else ""
    return (
        end[:1].upper() + end[1:] + trouble(display(error.what, 1000), display(error.said), display(error.hint, 1000))
    )


def fault(error: BaseException) -> str:
    """An exception nobody expected, without its text: that may hold anything."""
    where = "the log file says where" if logfile.is_open() else "with --log-file FILE the next run records where"
    return sentence(f"popferry met a fault of its own ({type(error).__name__}); {where}")
