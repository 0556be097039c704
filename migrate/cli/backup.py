"""``popferry backup`` and ``popferry restore``: the migration of ``cli.migrate``, with files at one end."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, datetime, time
from importlib.util import find_spec
from pathlib import Path

from ..commands import Tally
from ..config import Job, default_state_path
from ..errors import Exit, StoreError, UsageError
from ..rules.choose import Chosen
from ..stores.mbox import below
from .face import Face
from .migrate import RunJob, job_of, start


def run(options: argparse.Namespace) -> Exit:
    """Does the backup or the restoration that the options ask for. UsageError before anything was done."""

    def run_job() -> RunJob:
        from ..driver import run_job

        return run_job

    if options.command == "backup":
        return start(options, BackupFace, run_job, backup_of(options))
    return start(options, Face, run_job, restoration_of(options))


class BackupFace(Face):
    """Hears a backup."""

    def _closing(self, exit: Exit, tally: Tally | None, state_path: Path) -> list[str]:
        if exit is Exit.DIFFERENCES:
            return ["popferry verify DIR names what is not as it was stored. docs/backup.md says how to go on."]
        return super()._closing(exit, tally, state_path)


def backup_of(options: argparse.Namespace) -> Job:
    """The job of a backup."""
    options.dest = f"mbox:{directory(options.dest)}"
    if options.compress and not has_zstd():
        raise UsageError(
            "--compress needs the library for zstd, which is not installed",
            hint='Install it with: pip install "popferry[zstd]"',
        )
    return replace(job_of(options), layout=options.layout, compress=options.compress)


def has_zstd() -> bool:
    """Whether Python has the library, or the extra is installed."""
    return any(_is_there(name) for name in ("compression.zstd", "backports.zstd"))


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # not even the package that it would stand in


def restoration_of(options: argparse.Namespace) -> Job:
    """The job of a restoration. What was chosen has a state file of its own, so that its books are about that alone."""
    path = directory(options.source)
    if not path.is_file() and not any(found.is_file() for found in there(path)):
        hint = "Write the directory that popferry backup was given, or the path of mail files."
        raise UsageError(f"there is no backup {path}, and no mail file", hint=hint)
    options.source = f"mbox:{path}"
    job = job_of(options)
    chosen = Chosen(
        _midnight(options.since), _midnight(options.before), options.sender, options.subject, options.message_id
    )
    if chosen == Chosen():
        return job
    if options.state is None:
        job = replace(job, state_path=default_state_path(job.source, job.dest, repr(chosen)))
    return replace(job, wanted=chosen)


def directory(text: str) -> Path:
    """The absolute path that was given, with or without ``mbox:``."""
    text = text.removeprefix("mbox:")
    if not text or "://" in text or "\0" in text:
        raise UsageError("DIR: expected a directory", hint="A backup is a directory of its own, like ~/mail-backup.")
    return Path(text).expanduser().absolute()


def existing(text: str) -> Path:
    """The same, where there is a backup: a disk that is not mounted is no empty backup."""
    path = directory(text)
    if not path.is_file() and not any(".mbox" in found.name for found in there(path)):
        raise UsageError(f"there is no backup {path}", hint="Write the directory that popferry backup was given.")
    return path


def there(path: Path) -> Iterator[Path]:
    """Everything below a directory. UsageError where it cannot be read."""
    try:
        yield from below(path)
    except StoreError as error:
        raise UsageError(error.what, hint=error.hint) from error


def _midnight(day: date | None) -> datetime | None:
    """When that day begins in the zone of this machine."""
    return None if day is None else datetime.combine(day, time()).astimezone()
