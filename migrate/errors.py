"""Errors by how far they reach: message < mailbox < store < job.

Every error carries two voices that are never mixed: ``said``, the octets a
server or a file gave us (untrusted, shown only through ``display``), and
``hint``, our own sentence saying what to do next. ``retry`` tells the one
retry wrapper whether trying again can help.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum, IntEnum


class Retry(Enum):
    """When trying again may help."""

    NOW = "now"  # a fresh connection in this run
    LATER = "later"  # a later run
    NEVER = "never"  # only after a person changed something


class Exit(IntEnum):
    """The exit codes of the command; tens tell the side (1x source, 2x destination)."""

    OK = 0
    UNEXPECTED = 1
    USAGE = 2
    SET_ASIDE = 3
    TEMPORARY = 4
    SOURCE_LOGIN = 10
    SOURCE_UNUSABLE = 11
    DEST_LOGIN = 20
    DEST_UNUSABLE = 21
    DEST_FULL = 22
    STATE_LOCKED = 30
    STATE_DAMAGED = 31
    STATE_UNWRITABLE = 32
    DIFFERENCES = 40
    INTERRUPTED = 130
    TERMINATED = 143


# Where several apply, the first of these is the code of the run; signals win over all.
EXIT_PRECEDENCE = (
    Exit.UNEXPECTED,
    Exit.USAGE,
    Exit.STATE_DAMAGED,
    Exit.STATE_UNWRITABLE,
    Exit.STATE_LOCKED,
    Exit.SOURCE_LOGIN,
    Exit.DEST_LOGIN,
    Exit.SOURCE_UNUSABLE,
    Exit.DEST_UNUSABLE,
    Exit.DEST_FULL,
    Exit.DIFFERENCES,
    Exit.TEMPORARY,
    Exit.SET_ASIDE,
)


class Cause(Enum):
    """What kind of trouble a store is in; with the end it decides the exit code."""

    UNREACHABLE = "unreachable"  # no connection, cut, timed out, busy, throttled
    LOGIN = "login"  # the server refused the credentials
    UNUSABLE = "unusable"  # certificate, protocol, missing ability
    FULL = "full"  # quota


class MigrateError(Exception):
    """Any trouble this program can name. ``str()`` is one plain sentence without server text."""

    retry: Retry = Retry.NEVER

    def __init__(
        self,
        what: str,
        *,
        hint: str = "",
        said: bytes = b"",
        retry: Retry | None = None,
    ) -> None:
        super().__init__(what)
        self.what = what
        self.hint = hint
        self.said = said
        if retry is not None:
            self.retry = retry


class MessageError(MigrateError):
    """One message cannot go on: set it aside, go on with the rest."""

    retry = Retry.LATER


class MailboxError(MigrateError):
    """One mailbox cannot be used: leave it, go on with the others."""


class StoreError(MigrateError):
    """This end cannot be used any more on this connection."""

    retry = Retry.NOW

    def __init__(
        self,
        what: str,
        *,
        cause: Cause = Cause.UNREACHABLE,
        hint: str = "",
        said: bytes = b"",
        retry: Retry | None = None,
    ) -> None:
        super().__init__(what, hint=hint, said=said, retry=retry)
        self.cause = cause
        # Set by whoever opened the store: "source" or "destination".
        self.end = ""
        self.wait_s = 0.0  # how long the server asks us to stay away; 0: it does not say


class StateError(MigrateError):
    """The state file or the spool cannot be trusted or written; ``exit`` says which."""

    def __init__(self, what: str, *, exit: Exit, hint: str = "") -> None:
        super().__init__(what, hint=hint)
        self.exit = exit


class UsageError(MigrateError):
    """The command line, a configuration or a secret reference is wrong."""


def exit_of(error: MigrateError) -> Exit:
    """The exit code of an error that ended a run."""
    if isinstance(error, StateError):
        return error.exit
    if isinstance(error, UsageError):
        return Exit.USAGE
    if isinstance(error, MailboxError):
        return Exit.DEST_UNUSABLE  # those of the source are a StoreError, or set their messages aside
    if not isinstance(error, StoreError):
        return Exit.UNEXPECTED  # one message never ends a run
    is_source = error.end == "source"
    return {
        Cause.UNREACHABLE: Exit.TEMPORARY,
        Cause.LOGIN: Exit.SOURCE_LOGIN if is_source else Exit.DEST_LOGIN,
        Cause.UNUSABLE: Exit.SOURCE_UNUSABLE if is_source else Exit.DEST_UNUSABLE,
        Cause.FULL: Exit.SOURCE_UNUSABLE if is_source else Exit.DEST_FULL,
    }[error.cause]


def first_of(codes: Iterable[Exit]) -> Exit:
    """The code of a run to which several apply: the first in EXIT_PRECEDENCE. OK where none does."""
    return min(codes, key=EXIT_PRECEDENCE.index, default=Exit.OK)
