"""The recount: is everything that the source has at the destination? Asked of the servers, not of our books.

Both ends are read whole. Nothing is written at either of them: the source is
left without QUIT, the folder is not made. Only what was deleted at the source
cannot be recounted there; for that the digests of the state file stand in.
"""

from __future__ import annotations

from collections.abc import Callable

from ..commands import (
    CloseDest,
    CloseSource,
    ListSource,
    MailboxStatus,
    OpenMailbox,
    OpenSource,
    SearchUids,
)
from ..errors import Cause, Exit, MailboxError, MigrateError, Retry, StateError, StoreError
from ..events import Connected, Counting, Event, Judged, Notice, Recounted
from ..model import Fingerprint, MailboxName, Policy, display
from ..recount import FAULTS, Counts, Finding
from ..rules.fidelity import compare
from ..rules.place import places_of
from .reading import Reading, on_sheet
from .run import Run, Steps, Stopped
from .session import open_destination
from .walk import drop, passes, sentence

FINDINGS = 1000  # asked of the sheet at once


def audit(policy: Policy, emit: Callable[[Event], None]) -> Steps[Exit]:
    """The exit code of the recount, after the event Recounted. Where a run has its books stands a recount.Sheet."""
    run = Run(policy, emit)
    problems: list[MigrateError] = []
    counts: Counts | None = None
    try:
        yield from _take_released(run)
        problems = yield from passes(run, _one_pass)
        yield from drop(run)
        if not problems and not run.is_stopping:
            counts = yield from _judge(run)
    except StateError as error:
        problems = [error]
        yield from drop(run)
    except Stopped:
        counts = None
    differs = counts is not None and any(counts.tiers[tier] for tier in FAULTS)
    code = run.exit_code(problems, *([Exit.DIFFERENCES] if differs else []))
    emit(_recounted(counts, code, problems))
    return code


def _take_released(run: Run) -> Steps[None]:
    if run.policy.keeps_mailboxes:
        return  # nothing is ever deleted at a source that has mailboxes
    mailbox = run.policy.mailbox
    released = yield from on_sheet(run, lambda sheet: sheet.take_released(mailbox))
    if released is None:
        run.emit(Notice("There is no state file of these accounts: what was deleted at the source is not recounted."))
    elif released.elsewhere:
        run.emit(
            Notice(f"Deleted at the source and copied into other folders, not recounted here: {released.elsewhere:,}.")
        )


def _one_pass(run: Run) -> Steps[None]:
    """Logs in at both ends before anything is read, so that a wrong password is known at once."""
    yield from open_destination(run)
    yield from open_to_read(run)
    refs = yield from run.do(ListSource())
    run.has_worked = True
    messages, octets = yield from on_sheet(run, lambda sheet: sheet.take_listing(refs))
    run.emit(Counting("source", messages, octets))
    assert run.source is not None
    mailboxes = places_of(run.policy, run.source.mailboxes)
    there = 0
    for mailbox in mailboxes:
        there += yield from _look_into(run, mailbox)
    run.emit(Counting("destination", there, 0))
    yield from Reading(run, mailboxes).steps()
    yield from run.do(CloseSource(quit=False))
    yield from run.do(CloseDest(0))


def _look_into(run: Run, mailbox: MailboxName) -> Steps[int]:
    """How many messages of the mailbox are still to be read."""
    status = yield from open_if_there(run, mailbox)
    uids = [] if status is None else (yield from run.do(SearchUids(0, mailbox, 1)))
    uidvalidity = 0 if status is None else status.uidvalidity
    return (yield from on_sheet(run, lambda sheet: sheet.take_uids(mailbox, uidvalidity, uids)))


def open_if_there(run: Run, mailbox: MailboxName) -> Steps[MailboxStatus | None]:
    """Selects the mailbox at the destination; None, and told, where there is none of this name, or cannot be one."""
    try:
        status: MailboxStatus | None = yield from run.do(OpenMailbox(0, mailbox, create=False))
    except MailboxError:
        if not run.policy.keeps_mailboxes:
            raise
        status = None
    if status is None:
        run.emit(Notice(f"The folder {mailbox} is not at the destination."))
    return status


def open_to_read(run: Run) -> Steps[None]:
    """Opens a source session that only reads. StoreError where reading alone may delete."""
    run.source = yield from run.do(OpenSource(may_release=False))
    assert run.source is not None
    run.emit(Connected("source", run.source.greeting))
    run.fetched_at = yield from run.wall()
    if run.source.may_delete_on_fetch:
        error = StoreError(
            "this server may delete what is fetched (EXPIRE 0), so nothing is fetched only to be compared",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint="popferry migrate keeps every message safe before it lets go of it; --verify full has the "
            "destination serve back every octet.",
        )
        error.end = "source"
        raise error


# --- what came out ------------------------------------------------------------------------------


def _changes(sent: Fingerprint, served: Fingerprint) -> tuple[str, ...] | None:
    fidelity = compare(sent, served)
    return fidelity.changes if fidelity.is_same else None


def _judge(run: Run) -> Steps[Counts]:
    """Matches both sides of the sheet and names all that is not identical."""
    yield from on_sheet(run, lambda sheet: sheet.match(run.policy.dedupe, _changes))
    after: int | None = None
    while True:
        found: list[Finding] = yield from on_sheet(run, lambda sheet, after=after: sheet.findings(FINDINGS, after))  # type: ignore[misc]
        if not found:
            return (yield from on_sheet(run, lambda sheet: sheet.counts()))
        after = found[-1].number
        for finding in found:
            run.emit(_judged(run, finding))
        run.check_stop()


def _judged(run: Run, finding: Finding) -> Judged:
    is_named = run.policy.keeps_mailboxes and finding.mailbox is not None
    return Judged(
        uidl=display(finding.uidl),
        octets=finding.octets,
        tier=finding.tier.value,
        uid=finding.uid,
        mailbox=str(finding.mailbox) if is_named else "",
        changes=finding.changes,
        is_shared=finding.is_shared,
        is_released=finding.is_released,
        said=display(finding.said) if finding.said else "",
        reason=display(finding.reason, 1000),
    )


def _recounted(counts: Counts | None, code: Exit, problems: list[MigrateError]) -> Recounted:
    said = tuple(sentence(problem) for problem in problems)
    if counts is None:
        return Recounted(is_complete=False, exit=int(code), problems=said)
    return Recounted(
        is_complete=True,
        listed=counts.listed,
        released=counts.released,
        octets=counts.octets,
        **{tier.value: number for tier, number in counts.tiers.items()},
        shared=counts.shared,
        there=counts.there,
        copies=counts.copies,
        also_there=counts.also_there,
        exit=int(code),
        problems=said,
    )
