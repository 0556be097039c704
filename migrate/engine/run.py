"""What all phases of one run share: policy, numbers, the way to ask the world for something."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from ..books import Books
from ..commands import Ask, Command, DestFacts, Instant, MailboxStatus, Now, Outcome, SourceFacts, Wait
from ..errors import Exit, MigrateError, exit_of, first_of
from ..events import DeletionOff, Event, Kept, Stopping
from ..model import Checkpoint, MailboxName, Policy, display
from .culprits import Culprits

DAY_S = 86400
FEW = 100  # messages on one connection
BUDGET = 6 * 1024 * 1024  # octets held until the destination has them
NEAR = 2 * 1024 * 1024  # held at least; more where an answer is long on its way:
AHEAD_PER_S = 40 * 1024 * 1024  # as many as can be sent by then

T = TypeVar("T")

# A phase yields commands to start and is sent one outcome at a time.
Steps = Generator[Sequence[Command], Outcome, T]


class Stopped(Exception):
    """A person asked to stop, and nothing is in flight."""


@dataclass(slots=True)
class Held:
    """Octets of messages that a run holds in memory: where it is full, no more is taken in from the source.

    ``answer_s``: how long the destination takes at least to answer.
    """

    octets: int = 0
    answer_s: float = 0.0

    @property
    def is_full(self) -> bool:
        return self.octets >= min(BUDGET, NEAR + self.answer_s * AHEAD_PER_S)

    def note_answer(self, seconds: float) -> None:
        """An Append or SearchUids was answered after so long."""
        self.answer_s = min(self.answer_s or seconds, seconds)


@dataclass(frozen=True, slots=True)
class Trial:
    """What a mailbox of the destination held before QUIT deleted that row's message at the source."""

    row: int
    uidvalidity: int
    below: int  # of the uids below this
    messages: int  # there were so many


@dataclass(slots=True)
class Run:
    """The facts of this run that several phases need. Nothing here is durable."""

    policy: Policy
    emit: Callable[[Event], None]
    held: Held = field(default_factory=Held)
    number: int = 0
    session: int = 0  # of the source
    began: Instant | None = None
    # Wall time of the last login at the source, before the first one of the begin of the run: the date of a message
    # that tells none, and the time of a proof.
    fetched_at: float = 0.0
    is_stopping: bool = False
    has_skipped: bool = False  # what a person does not want fetched is marked: what comes later is new
    has_worked: bool = False  # both ends were reached and the source was listed
    deletion_off: str = ""  # why nothing may be deleted in this run; empty: it may
    source: SourceFacts | None = None
    shown: tuple[int, int] | None = None  # messages and octets of a source that hides nothing (session.note_shown)
    tried: int | None = None  # the row of a message that was fetched once more to see whether it is hidden then
    dest: DestFacts | None = None
    lanes: tuple[int, ...] = (0,)
    has_settled: bool = False  # in this pass: what an earlier run had under way has arrived, or never will
    slowness: int = 1  # of the connections that would help, this part is used
    mailboxes: dict[MailboxName, MailboxStatus] = field(default_factory=dict)
    floors: dict[MailboxName, int] = field(default_factory=dict)  # MailboxMemory.floor of each
    last_look: dict[MailboxName, Sequence[int]] = field(default_factory=dict)  # uids since the last scan, at the end
    taken: set[tuple[MailboxName, int]] = field(default_factory=set)  # uids adopted in this pass
    matched: set[int] = field(default_factory=set)  # rows that a message of the source session turned out to be
    told: set[str] = field(default_factory=set)  # what a person has to read once, not in every session
    uses_spool: bool = False
    started: int = 0  # messages begun in this run, for --limit, but for those that turned out to be known
    loose: int = (
        0  # messages fetched in this source session that neither the destination nor the spool nor a row knows of
    )
    apart: dict[MailboxName, bool | None] = field(default_factory=dict)  # Books.is_apart of each that was asked about
    trials: dict[MailboxName, Trial] = field(default_factory=dict)  # begun in the source session before this one
    waiting: int = 0  # messages that the last session left undeleted until a trial has ended
    marked: int = 0  # messages that the source took for deletion in this run, for --max-delete
    again: int = 0  # of those marked in the source session, how many the source had confirmed as deleted before
    kept: dict[int, Kept] = field(default_factory=dict)  # rows whose deletion was asked for and refused by the gates
    aside: set[int] = field(default_factory=set)  # rows set aside in this run: the next run tries them again
    culprits: Culprits = field(default_factory=Culprits)
    achieved: int = 0  # messages that came to a good end, or were deleted: another listing may bring more
    progress: int = 0  # the same, and first copies: tells a retry that it is worth while

    @property
    def wants_deletion(self) -> bool:
        return self.policy.delete_after_s is not None and not self.policy.dry_run

    @property
    def is_limited(self) -> bool:
        """Whether as many messages were begun as are wanted."""
        return self.policy.limit is not None and self.started >= self.policy.limit

    def has_room(self, asked: int, cost: int, *, is_spooled: bool) -> bool:
        """Whether so many octets may be asked for beside those that were asked for and have not come."""
        ahead = 0 if self.source is None or is_spooled else self.source.ahead
        taken = asked + self.held.octets
        return not taken or taken + cost <= BUDGET + ahead

    def note_achieved(self, messages: int) -> None:
        self.achieved += messages
        self.progress += messages

    def slow_down(self, messages: int) -> None:
        """The destination asked for it after so many messages: few were too fast, many were enough for once."""
        self.slowness = self.slowness * 2 if messages < FEW * len(self.lanes) else 1

    def forbid_deletion(self, reason: str) -> None:
        """Nothing is deleted in this run from now on. Only the first reason is said."""
        if self.wants_deletion and not self.deletion_off:
            self.emit(DeletionOff(reason))
        self.deletion_off = self.deletion_off or reason

    def note_stop(self) -> None:
        if not self.is_stopping:
            self.is_stopping = True
            self.emit(Stopping())

    def do(self, command: Command) -> Steps[Any]:
        """The value of one command. Raises its error. Nothing else may be owed."""
        outcome = yield (command,)
        while outcome.command is not command:
            if outcome.command is not None:
                raise AssertionError(f"an outcome nobody waits for: {type(outcome.command).__name__}")
            self.note_stop()
            outcome = yield ()
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def ask(self, call: Callable[[Books], T]) -> Steps[T]:
        value: T = yield from self.do(Ask(call))
        return value

    def gather(self, commands: Sequence[Command]) -> Steps[list[Outcome]]:
        """The outcomes of commands that are all under way at once, in their order."""
        ended: dict[Command, Outcome] = {}
        outcome = yield commands
        while True:
            if outcome.command is None:
                self.note_stop()
            else:
                ended[outcome.command] = outcome
            if len(ended) == len(commands):
                return [ended[command] for command in commands]
            outcome = yield ()

    def do_all(self, commands: Sequence[Command]) -> Steps[list[Any]]:
        """The values of commands that are all under way at once. Raises the first error when all have ended."""
        outcomes = yield from self.gather(commands)
        for outcome in outcomes:
            if outcome.error is not None:
                raise outcome.error
        return [outcome.value for outcome in outcomes]

    def wait(self, seconds: float) -> Steps[None]:
        yield from self.do(Wait(seconds))
        self.check_stop()

    def wall(self) -> Steps[float]:
        """The time of day. A clock that jumped since the run began makes every date doubtful: no deletion."""
        now: Instant = yield from self.do(Now())
        began = self.began = self.began or now
        jump_s = (now.wall - began.wall) - (now.monotonic - began.monotonic)
        if abs(jump_s) > DAY_S:
            self.forbid_deletion("the clock of this machine jumped by more than a day during this run")
        return now.wall

    def exit_code(self, problems: Sequence[MigrateError], *told: Exit) -> Exit:
        """The code of the run, of what ended it and of what its books have ``told``. A stop wins over all."""
        return Exit.INTERRUPTED if self.is_stopping else first_of([*map(exit_of, problems), *told])

    def check_stop(self) -> None:
        if self.is_stopping:
            raise Stopped


def uidl_text(row: Checkpoint) -> str:
    """The UIDL as people may see it."""
    return display(row.uid)


def said(error: MigrateError) -> str:
    return display(error.said) if error.said else ""
