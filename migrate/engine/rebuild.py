"""A new state file from what both ends have, where the old one is lost.

The source is listed and fetched, and every message is bound to the copy that
the destination has of it, one copy for one message, wherever in the folder it
stands: nobody remembers any more which of them are ours (R5, R6). What has no
copy stays LISTED for the next migration. Nothing is uploaded, nothing deleted,
and the source is left without QUIT, so that it counts nothing as fetched.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, cast

from ..books import Books, MailboxMemory, Tally
from ..commands import CloseDest, CloseSource, Commit, ListSource, Outcome
from ..errors import Exit, MigrateError, Retry, StateError, StoreError
from ..events import Counting, Event, Finished, Notice, Scanned
from ..model import MailboxName, Policy
from ..rules.place import places_of
from .audit import open_if_there, open_to_read
from .cases import UPLOAD, Case, Decision, served_session
from .recover import scan, settle
from .run import Run, Steps, Stopped
from .session import open_destination
from .transfer import Transfer
from .walk import drop, passes, sentence


@dataclass(frozen=True, slots=True)
class TakenUp:
    """What became of the messages that the old state had kept beside it."""

    messages: int  # of rows that need them
    damaged: int  # left where they are
    after: int  # rows above this id were made for messages that the source lists no more


class NewBooks(Books, Protocol):
    """The books of a state in the making."""

    def take_up(self) -> tuple[int, int, int]:
        """Takes the spool of the old state over; called when every listed message is fetched. Value: how many
        messages, how many are damaged and left, and the highest row id before those it made."""


def rebuild(policy: Policy, emit: Callable[[Event], None]) -> Steps[Exit]:
    """The exit code, after the event Finished. The books are complete when it is OK or SET_ASIDE."""
    run = Run(policy, emit)
    problems: list[MigrateError] = []
    tally = Tally()
    try:
        wall = yield from run.wall()
        run.number, _ = yield from run.ask(lambda books: books.begin_run(wall))
        # Whoever lost the state file may have lost a run with it.
        yield from settle(run, 0)
        problems = yield from passes(run, _one_pass)
        yield from drop(run)
        tally = yield from run.ask(lambda books: books.tally())
        if tally.set_aside:
            yield from _lower_floor(run)
    except StateError as error:
        problems = [error]
        yield from drop(run)
    except Stopped:
        tally = Tally()
    code = run.exit_code(problems, *tally.codes)
    emit(Finished(tally, int(code), tuple(sentence(problem) for problem in problems)))
    return code


def _one_pass(run: Run) -> Steps[None]:
    run.taken.clear()
    run.mailboxes.clear()
    yield from open_destination(run)
    yield from open_to_read(run)
    assert run.source is not None
    for mailbox in places_of(run.policy, run.source.mailboxes):
        yield from _look_into(run, mailbox)
    yield from _begin_session(run)
    refs = yield from run.do(ListSource())
    run.has_worked = True
    listing = yield from run.ask(lambda books: books.record_listing(refs))
    run.emit(Counting("source", listing.open + listing.unsure, listing.octets))
    yield from Rebinding(run).steps()
    yield from _take_up_spool(run)
    yield from run.do(CloseSource(quit=False))
    yield from run.do(CloseDest(0))


def _look_into(run: Run, mailbox: MailboxName) -> Steps[None]:
    status = yield from open_if_there(run, mailbox)
    if status is None:
        return
    run.mailboxes[mailbox] = status
    # Every copy may be ours, so each may be adopted; for later runs, all of this was there before them.
    run.floors[mailbox] = 1
    yield from _remember(run, mailbox, MailboxMemory(status.uidvalidity, status.uidnext, scanned=1))
    looked_at = yield from scan(run, mailbox)
    run.emit(Scanned(str(mailbox), looked_at, 0))


def _remember(run: Run, mailbox: MailboxName, fresh: MailboxMemory) -> Steps[None]:
    known = yield from run.ask(lambda books: books.mailbox(mailbox))
    if known is None:
        yield from run.ask(lambda books: books.remember_mailbox(mailbox, fresh))
    elif known.uidvalidity != fresh.uidvalidity:
        error = StoreError(
            f"the destination renumbered {mailbox} while it was read",
            retry=Retry.LATER,
            hint="Run the same command again.",
        )
        error.end = "destination"
        raise error


def _lower_floor(run: Run) -> Steps[None]:
    """What could not be fetched now may have its copy among what is there: later runs may still adopt that."""
    for mailbox in run.mailboxes:
        known = yield from run.ask(lambda books, mailbox=mailbox: books.mailbox(mailbox))  # type: ignore[misc]
        if known is not None:
            floor = replace(known, floor=1)
            yield from run.ask(lambda books, mailbox=mailbox, floor=floor: books.remember_mailbox(mailbox, floor))  # type: ignore[misc]


def _begin_session(run: Run) -> Steps[None]:
    run.session = yield from run.ask(lambda books: books.begin_session())
    run.matched.clear()


def _take_up_spool(run: Run) -> Steps[None]:
    """What the old state had kept beside it, perhaps as the only copy, is kept for the new one."""
    taken = TakenUp(*(yield from run.ask(lambda books: cast(NewBooks, books).take_up())))
    if taken.damaged:
        run.emit(Notice(f"Messages in the spool that are damaged and were left there: {taken.damaged:,}."))
    if taken.messages:
        run.emit(Notice(f"Messages taken over from the spool of the old state file: {taken.messages:,}."))
        yield from Rebinding(run, after=taken.after).steps()


class Rebinding(Transfer):
    """Fetches what is listed, and binds it to what the destination has. Starts no upload."""

    def __init__(self, run: Run, *, after: int = 0) -> None:
        super().__init__(run)
        self.after = after

    def _has_place(self, mailbox: MailboxName) -> bool:
        return True  # where no such folder is, no copy is, and the next migration makes both

    def _decided(self, case: Case, decision: Decision) -> None:
        if decision is not UPLOAD or case.is_stale:
            super()._decided(case, decision)
            return
        # It has no copy. What it is stays in the books: its copy in the spool is found by that.
        row = case.work.row._replace(
            fingerprint=case.message.fingerprint, fetched_session=served_session(self.run, case)
        )
        self._drop(case)
        self.pump.start(Commit((row,)), self._left_open)

    def _left_open(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.pump.fail(outcome.error)
        else:
            self.run.progress += 1
