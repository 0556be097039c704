"""ImapAppender: one connection to an IMAP server as a session (the contract of ``stores.base``).

Opening, selecting and closing block and happen when nothing is under way;
appends, searches and read-backs share the lane, and their outcomes come in
the order of the commands.
"""

from __future__ import annotations

import os
import re
from collections import deque
from collections.abc import Callable
from typing import Any

from ...commands import (
    Append,
    CloseDest,
    Command,
    FetchHeaders,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    Outcome,
    ReadBack,
    SearchUids,
)
from ...errors import Cause, MailboxError, MigrateError, Retry, StoreError
from ...model import Endpoint, MailboxName, Secret
from ..base import Channel
from .lane import Lane
from .link import Link, Trace
from .login import Account, Refused, call, log_in
from .look import HeadersJob, ReadBackJob
from .mailbox import Mailboxes, Selected
from .upload import AppendJob, Job, SearchJob

GOODBYE_S = 5.0  # for LOGOUT, at most

_FIELD = re.compile(r"[A-Za-z0-9-]+\Z")  # those that need no quotes (RFC 3501 §9 header-fld-name)


class ImapAppender:
    """One lane. ``trace`` is given each line of the wire without credentials and bodies.

    ``notices`` holds what is worth a line for people (a tolerated quirk, the
    server's own ALERT), each with the server's words; who shows them empties it.
    """

    kinds = (OpenDest, OpenMailbox, Append, SearchUids, FetchHeaders, ReadBack, CloseDest)

    def __init__(
        self,
        endpoint: Endpoint,
        secret: Secret,
        *,
        connect: Callable[[Endpoint], Channel],
        clock: Callable[[], float],
        trace: Trace | None = None,
        timeout_s: float = 60.0,
        tag_prefix: bytes | None = None,
    ) -> None:
        self.notices: list[tuple[str, bytes]] = []
        self._endpoint = endpoint
        self._secret = secret
        self._connect = connect
        self._clock = clock
        self._trace = trace
        self._timeout_s = timeout_s
        # Not to be guessed, so that no answer can be sent ahead of its question.
        self._tag_prefix = tag_prefix or b"P" + os.urandom(3).hex().upper().encode("ascii") + b"."
        self._commands: deque[Command] = deque()
        self._jobs: deque[tuple[Command, Job]] = deque()
        self._outcomes: list[Outcome] = []
        self._error: MigrateError | None = None
        self._link: Link | None = None
        self._account: Account | None = None
        self._lane: Lane | None = None
        self._mailboxes: Mailboxes | None = None
        self._selected: Selected | None = None

    # The contract --------------------------------------------------------------------------
    def submit(self, command: Command) -> None:
        if not isinstance(command, self.kinds):
            raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")
        if isinstance(command, FetchHeaders) and not all(_FIELD.match(name) for name in command.fields):
            raise TypeError("not the name of a header field")
        self._commands.append(command)

    def turn(self) -> list[Outcome]:
        try:
            if self._error is None:
                self._work()
        except MigrateError as error:
            self._break(error)
        if self._error is not None:
            self._end_all(self._error)
        outcomes, self._outcomes = self._outcomes, []
        return outcomes

    def fileno(self) -> int | None:
        return self._link.channel.fileno() if self._link else None

    def wants_write(self) -> bool:
        return self._lane is not None and self._lane.wants_write

    def is_ready(self) -> bool:
        if self._outcomes or (self._commands and (self._error is not None or self._may_start(self._commands[0]))):
            return True
        return self._link is not None and self._link.channel.has_pending()

    def close(self) -> None:
        link, self._link = self._link, None
        self._account = self._lane = self._mailboxes = self._selected = None
        if self._error is None:
            self._error = StoreError("the connection to the destination was closed")
        if link is not None:
            link.channel.close()

    # Working -------------------------------------------------------------------------------
    def _work(self) -> None:
        while True:
            self._start()
            if self._lane is not None:
                self._lane.pump()
            self._reap()
            if self._error is not None or not self._commands or not self._may_start(self._commands[0]):
                return

    def _may_start(self, command: Command) -> bool:
        """Whether the command need not wait for those under way."""
        if self._lane is None or (not self._jobs and self._lane.is_idle):
            return True
        return isinstance(command, Append | SearchUids | FetchHeaders | ReadBack) and self._is_selected(command.mailbox)

    def _is_selected(self, mailbox: MailboxName) -> bool:
        return self._selected is not None and self._selected.mailbox == mailbox

    def _start(self) -> None:
        while self._error is None and self._commands and self._may_start(self._commands[0]):
            command = self._commands[0]
            try:
                job = self._begin(command)
            except MailboxError as error:
                self._show_no_secret(error)
                self._commands.popleft()
                self._outcomes.append(Outcome(command, error=error))
                continue
            self._commands.popleft()
            if job is not None:
                self._jobs.append((command, job))

    def _begin(self, command: Command) -> Job | None:
        """The job that was begun, or None when the command is over and has its outcome."""
        match command:
            case OpenDest():
                self._outcomes.append(Outcome(command, self._open()))
                return None
            case CloseDest():
                self._log_out()
                self._outcomes.append(Outcome(command))
                return None
        if self._account is None or self._lane is None:
            raise StoreError("the session is not open", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        match command:
            case OpenMailbox(mailbox=mailbox, create=create):
                self._outcomes.append(Outcome(command, self._select(mailbox, create=create)))
                return None
            case Append():
                return AppendJob(self._account, self._lane, self._need(command.mailbox), command)
            case SearchUids():
                self._need(command.mailbox)
                return SearchJob(self._account.link, self._lane, command)
            case FetchHeaders():
                self._need(command.mailbox)
                return HeadersJob(self._lane, command)
            case ReadBack():
                self._need(command.mailbox)
                return ReadBackJob(self._lane, command)
            case _:
                raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _reap(self) -> None:
        while self._jobs and self._jobs[0][1].is_done:
            command, job = self._jobs.popleft()
            self._outcomes.append(Outcome(command, job.value, job.error))

    # Opening and closing -------------------------------------------------------------------
    def _open(self) -> Any:
        if self._link is not None:
            raise StoreError("the session is open already", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        channel = self._connect(self._endpoint)
        self._link = Link(channel, self._clock, self._timeout_s, self._trace)
        self._link.notices = self.notices
        self._account = log_in(self._link, self._endpoint, self._secret)
        self._mailboxes = Mailboxes(self._account)
        self._lane = Lane(self._link, self._tag_prefix, is_overlapped=self._account.is_overlapped)
        return self._account.facts

    def _select(self, mailbox: MailboxName, *, create: bool) -> MailboxStatus | None:
        assert self._mailboxes is not None
        self._selected = None
        self._selected = self._mailboxes.open(mailbox, create=create)
        return self._selected.status if self._selected else None

    def _need(self, mailbox: MailboxName) -> Selected:
        if not self._is_selected(mailbox) and self._select(mailbox, create=False) is None:
            raise MailboxError(f"the folder {mailbox} is not at the destination")
        assert self._selected is not None
        return self._selected

    def _log_out(self) -> None:
        account = self._account
        if account is not None:
            try:
                call(account.link, "LOGOUT", account.client.logout, min(GOODBYE_S, self._timeout_s))
            except (StoreError, Refused):
                pass  # we are leaving anyway
        self.close()

    # Ending --------------------------------------------------------------------------------
    def _break(self, error: MigrateError) -> None:
        self._show_no_secret(error)
        if isinstance(error, StoreError) and not error.end:
            error.end = "destination"
        self._reap()
        self._error = error
        self.close()

    def _end_all(self, error: MigrateError) -> None:
        for command, _ in self._jobs:
            self._outcomes.append(Outcome(command, error=error))
        self._jobs.clear()
        while self._commands:
            command = self._commands.popleft()
            self._outcomes.append(Outcome(command, error=None if isinstance(command, CloseDest) else error))

    def _show_no_secret(self, error: MigrateError) -> None:
        if self._link is not None:
            error.said = self._link.scrub(error.said)
