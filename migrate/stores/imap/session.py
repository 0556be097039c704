"""What both kinds of IMAP session have: a queue of commands, one lane, outcomes in the order of the commands.

Opening, selecting and closing block and happen when nothing is under way;
everything else shares the lane.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import ClassVar

from ...commands import Command, Outcome
from ...errors import Cause, MailboxError, MigrateError, Retry, StoreError
from ...model import Endpoint, Secret
from ...wire.imap import CRLF
from ..base import AGAIN_S, Channel
from .lane import Lane
from .link import Link, Trace
from .login import Account, Greeted, greet, log_in
from .mailbox import Mailboxes
from .upload import Job

GOODBYE_S = 5.0  # for LOGOUT, at most


class ImapSession:
    """One connection. ``trace`` is given each line of the wire without credentials and bodies.

    ``notices`` holds what is worth a line for people (a tolerated quirk, the
    server's own ALERT), each with the server's words; who shows them empties it.
    """

    kinds: ClassVar[tuple[type[Command], ...]]
    closes: ClassVar[type[Command]]  # ends well also where the connection is broken
    end: ClassVar[str]

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
        self._jobs: deque[tuple[Sequence[Command], Job]] = deque()
        self._outcomes: list[Outcome] = []
        self._error: MigrateError | None = None
        self._link: Link | None = None
        self._greeted: Greeted | None = None
        self._account: Account | None = None
        self._lane: Lane | None = None
        self._mailboxes: Mailboxes | None = None

    # The contract --------------------------------------------------------------------------
    def submit(self, command: Command) -> None:
        if not isinstance(command, self.kinds):
            raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")
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
        self._account = self._lane = self._mailboxes = None
        if self._error is None:
            self._error = StoreError(f"the connection to the {self.end} was closed")
        self._hang_up()

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
        raise NotImplementedError

    @property
    def _is_idle(self) -> bool:
        return self._lane is None or (not self._jobs and self._lane.is_idle)

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
            commands = self._take(command)
            if job is not None:
                self._jobs.append((commands, job))

    def _take(self, command: Command) -> Sequence[Command]:
        """Takes the commands out of the queue that were begun together."""
        return [self._commands.popleft()]

    def _begin(self, command: Command) -> Job | None:
        """The job that was begun, or None when the command is over and has its outcome."""
        raise NotImplementedError

    def _reap(self) -> None:
        while self._jobs and self._jobs[0][1].is_done:
            commands, job = self._jobs.popleft()
            self._outcomes += self._ends(commands, job)

    def _ends(self, commands: Sequence[Command], job: Job) -> list[Outcome]:
        """The outcomes of the commands that this job carried out."""
        return [Outcome(command, job.value, job.error) for command in commands]

    # Opening and closing -------------------------------------------------------------------
    def reach(self) -> bool:
        """Does ahead, blocking, what opening does before the login. Raises nothing (stores.base.Reachable)."""
        began_s = self._clock()
        try:
            self._greeted = self._greet()
        except MigrateError as error:
            if self._clock() - began_s < AGAIN_S:
                self._hang_up()
            else:
                self._break(error)
        return self._greeted is not None

    def _open(self) -> Account:
        if self._account is not None:
            raise StoreError("the session is open already", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        greeted, self._greeted = self._greeted, None
        if greeted is None or self._link is None or not self._link.is_quiet():
            self._hang_up()
            greeted = self._greet()
        assert self._link is not None
        self._account = log_in(self._link, self._endpoint, self._secret, greeted)
        self._mailboxes = Mailboxes(self._account)
        self._lane = Lane(self._link, self._tag_prefix, is_overlapped=self._account.is_overlapped)
        return self._account

    def _greet(self) -> Greeted:
        self._link = Link(self._connect(self._endpoint), self._clock, self._timeout_s, self._trace, self.end)
        self._link.notices = self.notices
        return greet(self._link, self._endpoint, self._secret)

    def _hang_up(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.channel.close()

    def _log_out(self) -> None:
        """Says LOGOUT and goes: what was stored was answered, so nothing depends on the goodbye."""
        account = self._account
        if account is not None and self._lane is not None:
            line = self._lane.new_tag() + b" LOGOUT"
            try:
                account.link.begin(min(GOODBYE_S, self._timeout_s))
                account.link.trace("C", line)
                account.link.send(line + CRLF)
            except StoreError:
                pass  # we are leaving anyway
        self.close()

    # Ending --------------------------------------------------------------------------------
    def _break(self, error: MigrateError) -> None:
        self._show_no_secret(error)
        if isinstance(error, StoreError) and not error.end:
            error.end = self.end
        self._reap()
        self._error = error
        self.close()

    def _end_all(self, error: MigrateError) -> None:
        for commands, _ in self._jobs:
            self._outcomes += [Outcome(command, error=error) for command in commands]
        self._jobs.clear()
        while self._commands:
            command = self._commands.popleft()
            self._outcomes.append(Outcome(command, error=None if isinstance(command, self.closes) else error))

    def _show_no_secret(self, error: MigrateError) -> None:
        if self._link is not None:
            error.said = self._link.scrub(error.said)
