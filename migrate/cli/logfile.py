"""The log file: one line per event or log record, with local time; no secret, no address above DEBUG."""

from __future__ import annotations

import json
import logging
import os
import stat
import traceback
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from ..errors import UsageError
from ..events import (
    Altered,
    Copied,
    Duplicate,
    Event,
    Fetched,
    Judged,
    Kept,
    SameId,
    ServedBack,
    SetAside,
    Settling,
    Verified,
)
from ..model import display

LINE_LIMIT = 2000  # characters
PER_MESSAGE = (
    Altered, Copied, Duplicate, Fetched, Judged, Kept, SameId, ServedBack, SetAside, Settling, Verified
)  # fmt: skip

logger = logging.getLogger("migrate")
# Without a handler, logging would write errors to the terminal.
logger.addHandler(logging.NullHandler())


class _Lines(logging.Formatter):
    """One safe line per record: time with offset, level, text."""

    def __init__(self, hide: Callable[[str], str]) -> None:
        super().__init__()
        self._hide = hide

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="seconds")
        return f"{when} {record.levelname} {display(self._hide(record.getMessage()), LINE_LIMIT)}"


class _File(logging.StreamHandler):  # type: ignore[type-arg]
    """Lines into the file; a full disk costs the log, not the run."""

    def handleError(self, record: logging.LogRecord) -> None:
        self.setLevel(logging.CRITICAL + 1)


def open_log(path: Path | None, hide: Callable[[str], str], *, verbose: bool) -> None:
    """Sends the log of this program to the file, made 0600; nowhere without a path. UsageError if it cannot be."""
    # Otherwise warnings of libraries would go to the terminal, with whatever they hold.
    logging.lastResort = None
    logger.propagate = False
    if path is None:
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        facts = os.fstat(handle)
        if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
            os.fchmod(handle, 0o600)
        stream = os.fdopen(handle, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as error:
        raise UsageError(f"--log-file: {display(str(path))} cannot be written: {error.strerror}") from None
    handler = _File(stream)
    handler.setFormatter(_Lines(hide))
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)


def is_open() -> bool:
    """Whether this run writes a log file."""
    return any(isinstance(handler, _File) for handler in logger.handlers)


def log_event(event: Event) -> None:
    """Records an event: INFO per run and mailbox, DEBUG per message."""
    level = logging.DEBUG if isinstance(event, PER_MESSAGE) else logging.INFO
    if logger.isEnabledFor(level):
        facts = event.as_json()
        logger.log(level, "%s %s", facts.pop("event"), json.dumps(facts, ensure_ascii=False))


def log_fault(error: BaseException) -> None:
    """Records an exception nobody expected: where it came from, without the values of variables."""
    for step in traceback.format_exception(type(error), error, error.__traceback__, chain=True):
        for text in step.rstrip().splitlines():
            logger.error("%s", text)
