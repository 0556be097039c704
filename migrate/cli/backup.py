"""``popferry backup`` and ``popferry restore``: the migration of ``cli.migrate``, with files at one end."""

from __future__ import annotations

import argparse
import json
import os
import shlex
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, date, datetime, time
from pathlib import Path

from ..config import FILES, STATE_IN_BACKUP, Job, default_state_path
from ..errors import Exit, StateError, StoreError, UsageError
from ..model import Endpoint, Protocol, Tls, display
from ..rules.choose import Chosen
from ..stores.disk import below
from . import keys
from .face import Face
from .migrate import RunJob, job_of, start


def run(options: argparse.Namespace) -> Exit:
    """Does the backup or the restoration that the options ask for. UsageError before anything was done."""

    def run_job() -> RunJob:
        from ..driver import run_job

        return run_job

    job = backup_of(options) if options.command == "backup" else restoration_of(options)
    return start(options, Face, run_job, job)


MAILDIR_INDEX = "popferry.index"  # in each folder that a run has stored messages in


def backup_of(options: argparse.Namespace) -> Job:
    """The job of a backup."""
    dest = directory(options.dest)
    if dest.protocol is Protocol.MAILDIR and (options.layout is not None or options.compress or options.encrypt_to):
        option = "--compress" if options.compress else "--encrypt-to" if options.encrypt_to else "--layout"
        raise UsageError(f"{option} is for mbox files; a Maildir has a file for each message")
    options.dest = dest.account
    recipients = keys.recipients_of(options)
    if options.compress and not keys.has_zstd():
        raise UsageError(
            "--compress needs the library for zstd, which is not installed",
            hint='Install it with: pip install "popferry[zstd]"',
        )
    job = replace(job_of(options), layout=options.layout or "month", compress=options.compress, is_backup=True)
    _check_known(options, job)
    return replace(job, recipients=recipients)


def _check_known(options: argparse.Namespace, job: Job) -> None:
    """UsageError where all that a backup has would be stored once more, since the state file that knows it is missing.

    A state file of another account that stands in the directory tells whose the messages are.
    """
    root = job.dest.path
    assert root is not None
    if job.policy.baseline or not _is_missing(job.state_path) or not _has_index(root, job.dest.protocol):
        return
    known = dict(_accounts_in(root / STATE_IN_BACKUP[job.dest.protocol]))
    if state := known.get(job.source.account):
        raise UsageError(
            f"another state file of this account stands in {display(str(root), 1000)}: with a new one, every message "
            "would be stored again",
            hint=f"Add --state {shlex.quote(str(state))} to this command.",
        )
    if known:
        return
    words = ["popferry", "rebuild", "--dedupe", "off", "--settle", "0"]
    words += [] if options.state is None else ["--state", options.state]
    words += [options.source, job.dest.account]
    raise UsageError(
        f"{display(str(root), 1000)} holds a backup and the state file of this account is not there: every message "
        f"would be stored again. It stands in {STATE_IN_BACKUP[job.dest.protocol]} of the directory, or where --state "
        "said",
        hint=f"If it is lost: {shlex.join(words)} makes a new one, and copies nothing.",
    )


def _is_missing(path: Path) -> bool:
    """Whether no state file is there, nor what is left of one. What else is wrong with it the run tells."""
    if os.path.lexists(path):
        return False
    from ..state import has_state

    try:
        return not has_state(path)
    except StateError:
        return False


def _has_index(root: Path, protocol: Protocol) -> bool:
    suffix = MAILDIR_INDEX if protocol is Protocol.MAILDIR else ".mbox.index"
    return any(found.name.endswith(suffix) for found in there(root))


def _accounts_in(directory: Path) -> Iterator[tuple[str, Path]]:
    """The source of each state file of a directory that can be read."""
    from ..state import read_state, state_files

    with suppress(StateError):
        for path in state_files(directory):
            with suppress(StateError), read_state(path) as reader:
                yield reader.accounts()[0], path


def restoration_of(options: argparse.Namespace) -> Job:
    """The job of a restoration. What was chosen has a state file of its own, so that its books are about that alone."""
    options.source = _restorable(options.source).account
    job = job_of(options)
    chosen = Chosen(
        _midnight(options.since), _midnight(options.before), options.sender, options.subject, options.message_id
    )
    if chosen == Chosen():
        return job
    if options.state is None:
        names = (_choice(options), _choice_before(chosen))
        paths = [default_state_path(job.source, job.dest, name) for name in names]
        job = replace(job, state_path=next((path for path in paths if os.path.exists(path)), paths[0]))
    return replace(job, wanted=chosen)


def _choice(options: argparse.Namespace) -> str:
    """What was chosen, as it was written: names a state file, so it is the same in every zone and every version."""
    given = {name: getattr(options, name) for name in ("since", "before", "sender", "subject", "message_id")}
    return json.dumps({name: str(value) for name, value in given.items() if value is not None})


def _choice_before(chosen: Chosen) -> str:
    """The same as it named the first state files, which go on being used. It has the zone of the machine in it."""
    return (
        f"Chosen(since={chosen.since!r}, before={chosen.before!r}, sender={chosen.sender!r}, "
        f"subject={chosen.subject!r}, message_id={chosen.message_id!r})"
    )


def directory(text: str) -> Endpoint:
    """The place that was given: a directory of mbox files, with or without ``mbox:``, or ``maildir:`` and a Maildir."""
    scheme, colon, path = text.partition(":")
    protocol = FILES.get(scheme) if colon else None
    path = text if protocol is None else path
    if not path or "://" in path or "\0" in path:
        raise UsageError("DIR: expected a directory", hint="A backup is a directory of its own, like ~/mail-backup.")
    return Endpoint(protocol or Protocol.MBOX, "", "", 0, Tls.NONE, path=Path(path).expanduser().absolute())


def existing(text: str) -> Endpoint:
    """The same, where there is a backup: a disk that is not mounted is no empty backup."""
    place = directory(text)
    path = place.path
    assert path is not None
    is_maildir = path.is_dir() and any(found.name == MAILDIR_INDEX for found in there(path))
    hint = "Write the directory that popferry backup was given."
    if place.protocol is Protocol.MAILDIR:
        is_there = is_maildir
        hint += " popferry migrate copies a Maildir that others wrote."
    else:
        is_there = path.is_file() or any(".mbox" in found.name for found in there(path))
        hint = f"There is one in a Maildir: write maildir:{display(str(path), 1000)}" if is_maildir else hint
    if not is_there:
        raise UsageError(f"there is no backup {path}", hint=hint)
    return place


def _restorable(text: str) -> Endpoint:
    """The same, or mail files of other programs."""
    place = directory(text)
    path = place.path
    assert path is not None
    if place.protocol is Protocol.MAILDIR or (path / MAILDIR_INDEX).exists():
        return existing(text)
    if not path.is_file() and not any(found.is_file() for found in there(path)):
        hint = "Write the directory that popferry backup was given, or the path of mail files."
        raise UsageError(f"there is no backup {path}, and no mail file", hint=hint)
    return place


def there(path: Path) -> Iterator[Path]:
    """Everything below a directory. UsageError where it cannot be read."""
    try:
        yield from below(path)
    except StoreError as error:
        raise UsageError(error.what, hint=error.hint) from error


def _midnight(day: date | None) -> datetime | None:
    """When that day begins in the zone of this machine; in UTC where its calendar has no such moment."""
    if day is None:
        return None
    midnight = datetime.combine(day, time())
    try:
        return midnight.astimezone()
    except (ValueError, OverflowError):  # 0001-01-01: the moment may be in the year before it
        return midnight.replace(tzinfo=UTC)
