"""The walk of a run, from the first connection to the report.

One pass is: look at the destination (recover), then, session by session, list
the source, copy (transfer), prove, release. Whatever breaks a pass, the next
one begins where the state file stands: recovery inside a run and after a crash
are one path.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..books import ListingFacts, Tally
from ..commands import CloseDest, CloseSource, Command, ListSource, OpenMailbox, ReachSource
from ..errors import Cause, Exit, MailboxError, MigrateError, Retry, StateError, StoreError, UsageError
from ..events import Event, Finished, Gone, Notice, Reconnecting
from ..model import MailboxName, Policy, display
from ..rules.place import places_of, renamed
from .again import fetch_again
from .copying import Copying
from .lanes import open_lanes
from .plan import dry_run
from .proof import prove_rest
from .recover import NOT_SEEN_YET, claim, give_up, look_at, look_for_doubles, not_placed, recover, scan, search, settle
from .release import confirm, release
from .run import DAY_S, Held, Run, Steps, Stopped, said
from .session import (
    check_baseline,
    check_listing,
    is_followed,
    may_list_again,
    may_quit,
    need_not_count,
    note_shown,
    open_destination,
    open_source,
    shows_the_same,
    take_listing,
)
from .trial import LEFT, end_trials

RETRIES = 5  # passes that achieve nothing before the run gives up
FIRST_RETRIES = 2  # the same while nothing has worked yet: a wrong host or a dead server is told in seconds
LONGEST_PAUSE_S = 60.0
SLOW_RETRIES = 3  # the same where the destination asks us to slow down and had taken something before
SLOW_PAUSE_S = 30.0  # where a destination asks us to slow down and does not say for how long


def walk(
    policy: Policy, emit: Callable[[Event], None], forbid_deletion: str = "", held: Held | None = None
) -> Steps[Exit]:
    """The exit code of the whole run, after the event Finished.

    ``forbid_deletion`` is a reason, known from outside, why nothing may be deleted. ``held`` shows how much is held.
    """
    run = Run(policy, emit, held or Held())
    if forbid_deletion:
        run.forbid_deletion(forbid_deletion)
    problems: list[MigrateError] = []
    try:
        yield from _begin(run)
        problems = yield from passes(run, _one_pass)
    except StateError as error:
        problems = [error]
    yield from drop(run)
    tally = Tally()
    try:
        tally = yield from run.ask(lambda books: books.tally())
    except StateError as error:
        problems.append(error)
    exit_code = run.exit_code(problems, *_told(run, tally))
    for kept in run.kept.values():
        emit(kept)
    emit(Finished(tally, int(exit_code), tuple(sentence(problem) for problem in problems)))
    return exit_code


def _begin(run: Run) -> Steps[None]:
    wall = run.fetched_at = yield from run.wall()
    run.number, last_alive = yield from run.ask(lambda books: books.begin_run(wall))
    if last_alive is not None and wall < last_alive - DAY_S:
        run.forbid_deletion("the clock of this machine stands more than a day before the last run")


def passes(run: Run, one_pass: Callable[[Run], Steps[None]]) -> Steps[list[MigrateError]]:
    """What ended the run, if something did: a pass that broke is followed by another one while that may help."""
    failures = 0
    while True:
        before, learned = run.progress, run.culprits.learned
        try:
            yield from one_pass(run)
            return []
        except Stopped:
            return []
        except (MailboxError, UsageError) as error:
            return [error]
        except StoreError as error:
            gained = run.progress - before
            failures = 1 if gained or run.culprits.learned > learned else failures + 1
            if run.is_stopping:
                return []
            if failures > _patience(run, error):
                return [error]
            if gained and _asks_to_slow_down(error):
                run.slow_down(gained)
            try:
                yield from _pause(run, error, failures)
            except Stopped:
                return []


def _patience(run: Run, error: StoreError) -> int:
    """How many passes in a row may fail like this, and achieve nothing, before the run gives up."""
    if _asks_to_slow_down(error):
        return SLOW_RETRIES if run.progress else 0
    if run.has_worked:
        # A source that is busy now (IN-USE) may still hold the session that we have just lost.
        is_ours = error.retry is Retry.LATER and error.cause is Cause.UNREACHABLE and error.end == "source"
        return RETRIES if error.retry is Retry.NOW or is_ours else 0
    return FIRST_RETRIES if error.retry is Retry.NOW and error.cause is Cause.UNREACHABLE else 0


def _asks_to_slow_down(error: StoreError) -> bool:
    """Whether the destination has enough for now; while it takes something in between, we go on."""
    return error.retry is Retry.LATER and error.cause is Cause.UNREACHABLE and error.end == "destination"


def _pause(run: Run, error: StoreError, failures: int) -> Steps[None]:
    yield from drop(run)
    pause_s = min(2.0 ** (failures - 1), LONGEST_PAUSE_S)
    if _asks_to_slow_down(error):
        pause_s = min(error.wait_s or SLOW_PAUSE_S * 2 ** (failures - 1), 10 * LONGEST_PAUSE_S)
    run.emit(Reconnecting(error.end, error.what, said(error), pause_s))
    yield from run.wait(pause_s)


def drop(run: Run) -> Steps[None]:
    """Closes whatever is open. The source is dropped without QUIT: nothing is deleted, nothing counts as fetched."""
    for command in (CloseSource(quit=False), *(CloseDest(lane) for lane in (*run.lanes, max(run.lanes) + 1))):
        try:
            yield from run.do(command)
        except StoreError:
            continue  # it was broken already, which is why we are here


def _one_pass(run: Run) -> Steps[None]:
    run.taken.clear()
    run.mailboxes.clear()
    run.uses_spool = False
    run.shown = None
    run.last_look.clear()
    run.trials.clear()
    yield from check_baseline(run)
    yield from open_destination(run)
    yield from _tell_elsewhere(run)
    if run.policy.dry_run:
        yield from dry_run(run)
        return
    yield from recover(run)
    yield from prove_rest(run)
    while (yield from _one_session(run)) or (yield from end_trials(run, is_listed_anew=False)):
        run.check_stop()
    if run.waiting and not run.deletion_off:
        run.emit(Notice(LEFT.format(run.waiting)))
    for mailbox in run.mailboxes:
        yield from look_for_doubles(run, mailbox, run.last_look.get(mailbox))
    for lane in run.lanes:
        yield from run.do(CloseDest(lane))


def _tell_elsewhere(run: Run) -> Steps[None]:
    """Names the folders that earlier runs copied into: what stands there is done, whatever folder is meant now."""
    if run.policy.keeps_mailboxes:
        return
    for mailbox in (yield from run.ask(lambda books: books.open_mailboxes())):
        text = (
            f"Earlier runs copied into {mailbox}: that stands there, and is not copied again into {run.policy.mailbox}."
        )
        if mailbox != run.policy.mailbox and text not in run.told:
            run.told.add(text)
            run.emit(Notice(text))


def _one_session(run: Run) -> Steps[bool]:
    """Whether the source should be listed again: it may show more once these messages are fetched."""
    before = run.achieved
    yield from open_source(run, may_release=run.wants_deletion)
    run.check_stop()
    if (yield from shows_the_same(run)):
        yield from _close_source(run, quit=True, goes_on=False)
        return False
    known = list(run.mailboxes)
    yield from _look_at_others(run)
    listing = yield from take_listing(run, (yield from run.do(ListSource())))
    yield from check_listing(run, listing)
    note_shown(run, listing)
    yield from end_trials(run, is_listed_anew=True)
    run.has_worked = True
    yield from _copy(run, listing, known)
    marked = yield from release(run)
    quit_ok = yield from may_quit(run)
    if marked and not quit_ok:
        run.emit(Notice("Nothing was deleted now: not every message that the source served is safe."))
    again: int | None = None
    if quit_ok and not run.is_limited and run.achieved == before and not marked:
        again = yield from fetch_again(run)
        quit_ok = yield from may_quit(run)
    goes_on = not run.is_limited and (run.achieved > before or bool(marked) or again is not None)
    goes_on = goes_on and (again is not None or not (yield from need_not_count(run, listing)))
    goes_on = quit_ok and (goes_on or bool(run.trials))
    yield from _close_source(run, quit=quit_ok, goes_on=goes_on)
    if quit_ok:
        yield from confirm(run, marked)
    if not goes_on:
        return False
    run.tried = run.tried if again is None else again
    has_achieved = run.achieved > before or again is not None
    return (yield from may_list_again(run, has_achieved=has_achieved, has_deleted=bool(marked)))


def _search(run: Run, mailboxes: Sequence[MailboxName], *beside: Command) -> Steps[dict[MailboxName, Sequence[int]]]:
    """What a scan of each mailbox has to look at. The commands ``beside`` go with the searches: none waits."""
    commands = list(beside)
    for mailbox in mailboxes:
        commands.append((yield from search(run, mailbox)))
    values = yield from run.do_all(commands)
    return dict(zip(mailboxes, values[len(beside) :], strict=True))


def _scan_all(run: Run, mailboxes: Sequence[MailboxName]) -> Steps[None]:
    found = yield from _search(run, mailboxes)
    for mailbox, uids in found.items():
        yield from scan(run, mailbox, uids)


def _close_source(run: Run, *, quit: bool, goes_on: bool) -> Steps[None]:
    """Ends the session. Beside it the next one is reached, or the last look at the destination is begun."""
    assert run.source is not None
    if goes_on and not run.source.login_delay_s:
        yield from run.do(ReachSource(run.wants_deletion))
    run.last_look = yield from _search(run, () if goes_on else list(run.mailboxes), CloseSource(quit))
    if quit:
        yield from run.ask(lambda books: books.end_session())


def _look_at_others(run: Run) -> Steps[None]:
    """Opens the mailboxes for those of the source, in which no row of ours stands yet."""
    assert run.source is not None
    if not run.policy.keeps_mailboxes:
        return
    told: set[str] = set()
    for text in renamed(run.policy, run.source.mailboxes):
        if text not in run.told:
            run.told.add(text)
            run.emit(Notice(text))
    for mailbox in places_of(run.policy, run.source.mailboxes):
        if mailbox in run.mailboxes:
            continue
        try:
            yield from look_at(run, mailbox, create=True)
        except MailboxError as error:
            # Its messages are set aside, one by one; the others go on.
            text = f"{error.what}. {error.hint}"
            if text not in told:  # of a level that several of them have
                told.add(text)
                run.emit(Notice(text, said(error)))


def _copy(run: Run, listing: ListingFacts, known: Sequence[MailboxName]) -> Steps[None]:
    """Copies what is listed, and proves. Twins of messages that could only be proved at the end are fetched once more.

    Nobody else has the maildrop now. What another machine uploaded into a ``known`` mailbox before it let go of the
    maildrop is seen here, by a look behind our login (R1); the other mailboxes were looked at behind it already.
    """
    look = _scan_all(run, known) if known else None
    while True:
        before = run.achieved
        transfer, look = Copying(run, look, is_followed=is_followed(run, listing)), None
        open_lanes(run, transfer.pump, transfer.in_flight, listing.open)
        yield from transfer.steps()
        yield from _settle_books(run)
        if not transfer.deferred:
            return
        if run.achieved == before:
            run.loose += transfer.deferred
            return


def _settle_books(run: Run) -> Steps[None]:
    """After the copying: finds copies that have no uid yet, proves the rest, names what left the source."""
    for mailbox in run.mailboxes:
        if (yield from not_placed(run, mailbox)):
            yield from _look_anew(run, mailbox)
            if unseen := (yield from not_placed(run, mailbox)):
                # Servers that answer before they have stored show it a little later.
                yield from settle(run, len(unseen), NOT_SEEN_YET)
                yield from _look_anew(run, mailbox)
                yield from give_up(run, (yield from not_placed(run, mailbox)))
    yield from prove_rest(run)
    gone = yield from run.ask(lambda books: books.mark_vanished())
    if gone:
        run.emit(Gone(gone))


def _look_anew(run: Run, mailbox: MailboxName) -> Steps[None]:
    # Seen: GNU Mailutils 3.15 shows what came into the selected mailbox only when it is selected anew.
    status = yield from run.do(OpenMailbox(run.lanes[0], mailbox, create=False))
    if status is None or status.uidvalidity != run.mailboxes[mailbox].uidvalidity:
        raise StoreError(f"the folder {mailbox} was replaced at the destination during the run")
    yield from scan(run, mailbox)
    yield from claim(run, mailbox, is_final=True)


def _told(run: Run, tally: Tally) -> list[Exit]:
    codes = list(tally.codes)
    if run.kept:
        codes.append(Exit.SET_ASIDE)
    if tally.open and run.policy.limit is None and not run.policy.dry_run:
        codes.append(Exit.TEMPORARY)
    return codes


def sentence(problem: MigrateError) -> str:
    end = f"{problem.end}: " if isinstance(problem, StoreError) and problem.end else ""
    words = f' The server said: "{display(problem.said)}"' if problem.said else ""
    hint = f" {problem.hint}" if problem.hint else ""
    return f"{end}{problem.what}.{words}{hint}"
