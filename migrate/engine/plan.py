"""The dry run: what a run would do, from two listings, touching nothing."""

from __future__ import annotations

from ..commands import CloseSource, ListSource, OpenMailbox
from ..errors import MailboxError
from ..events import Notice, WouldDo
from ..rules.place import places_of
from .release import verified_before
from .run import Run, Steps, said
from .session import open_source, take_listing


def dry_run(run: Run) -> Steps[None]:
    """Says what would be copied and deleted. Fetches nothing, creates nothing, leaves without QUIT."""
    policy = run.policy
    yield from open_source(run, may_release=False)
    mailboxes = yield from _look_at_places(run)
    listing = yield from take_listing(run, (yield from run.do(ListSource())))
    copy, octets = yield from run.ask(lambda books: books.count_open(policy.limit))
    delete = 0
    if policy.delete_after_s is not None:
        before = verified_before(run.fetched_at, policy.delete_after_s)
        done, _ = yield from run.ask(lambda books: books.count_releasable(before))
        delete = done + (copy if policy.delete_after_s == 0 else 0)
        delete = delete if policy.max_delete is None else min(delete, policy.max_delete)
    run.emit(WouldDo(copy, octets, listing.unsure, listing.done, delete, mailboxes))
    yield from run.do(CloseSource(quit=False))


def _look_at_places(run: Run) -> Steps[tuple[tuple[str, int | None], ...]]:
    """The mailboxes at the destination, and how many messages each holds; None where it is not there."""
    assert run.source is not None
    found: list[tuple[str, int | None]] = []
    for mailbox in places_of(run.policy, run.source.mailboxes):
        try:
            status = yield from run.do(OpenMailbox(run.lanes[0], mailbox, create=False))
        except MailboxError as error:
            if not run.policy.keeps_mailboxes:
                raise
            run.emit(Notice(f"{error.what}. {error.hint}", said(error)))
            continue
        found.append((str(mailbox), None if status is None else status.messages))
    return tuple(found)
