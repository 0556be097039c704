"""The dry run: what a run would do, from two listings, touching nothing."""

from __future__ import annotations

from ..commands import CloseSource, ListSource, OpenMailbox
from ..events import WouldDo
from .run import Run, Steps
from .session import open_source, take_listing


def dry_run(run: Run) -> Steps[None]:
    """Says what would be copied and deleted. Fetches nothing, creates nothing, leaves without QUIT."""
    mailbox = run.policy.mailbox
    status = yield from run.do(OpenMailbox(run.lanes[0], mailbox, create=False))
    yield from open_source(run, may_release=False)
    listing = yield from take_listing(run, (yield from run.do(ListSource())))
    delete = 0
    if run.policy.delete_after_s is not None:
        before = int(run.fetched_at - run.policy.delete_after_s)
        done, _ = yield from run.ask(lambda books: books.count_releasable(before))
        coming = listing.open if run.policy.delete_after_s == 0 else 0
        delete = min(done + coming, run.policy.max_delete if run.policy.max_delete is not None else done + coming)
    copy = listing.open if run.policy.limit is None else min(listing.open, run.policy.limit)
    run.emit(
        WouldDo(
            copy=copy,
            octets=listing.octets,
            unsure=listing.unsure,
            done=listing.done,
            delete=delete,
            mailbox=str(mailbox),
            mailbox_exists=status is not None,
            mailbox_messages=0 if status is None else status.messages,
        )
    )
    yield from run.do(CloseSource(quit=False))
