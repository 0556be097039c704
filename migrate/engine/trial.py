"""One message first: whether the destination keeps its copy of a message that the source deletes.

The maildrop and the INBOX of one account are one mailbox under two names: there, every message "is there already",
and its copy is the message itself. The names do not tell: accounts have aliases, ports are forwarded, and a Maildir
may be that of the server. So a message whose copy we did not upload is not deleted before a session has shown that
nothing leaves its mailbox of the destination when the source deletes. That one deletes one such message of each
mailbox, whose octets are kept here until then, and which is copied back where its copy went with it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from ..commands import CloseDest, Commit, Fetch, FetchHeaders, OpenDest, OpenMailbox, SearchUids
from ..errors import MessageError
from ..events import Notice
from ..model import Checkpoint, MailboxName, Message, Origin, Stage, Work
from .run import Run, Steps, Trial

MOST = 100  # messages of a mailbox that are tried, one after the other, until one of them can be deleted
FIRST = "One message is deleted first: the others follow once the destination is seen to keep its copy."
BACK = "A message left {} when the source deleted it. It is copied back: its octets were kept here."
ONE = "what the source deletes leaves {} too: both are one mailbox"
LEFT = "{:,} messages at the source wait with their deletion for the next run."


def holder_of(run: Run, row: Checkpoint) -> Steps[Checkpoint]:
    """The row that claims the copy: its own, or that of its twin."""
    if row.twin is None:
        return row
    holder: Checkpoint = yield from run.ask(lambda books, twin=row.twin: books.row(twin))  # type: ignore[misc]
    return holder


def may_go(run: Run, works: Sequence[Work], waiting: dict[MailboxName, list[Work]]) -> Steps[list[Work]]:
    """Those that need no trial; the others wait, by the mailbox that has their copy."""
    ready: list[Work] = []
    for work in works:
        holder = yield from holder_of(run, work.row)
        mailbox = holder.mailbox
        is_apart = mailbox is None or (yield from _is_apart(run, mailbox))
        if mailbox is not None and is_apart is False:
            run.forbid_deletion(ONE.format(mailbox))
            return []
        if mailbox is None or is_apart or _is_uploaded(work.row):
            ready.append(work)
            continue
        run.waiting += 1
        some = waiting.setdefault(mailbox, [])
        if len(some) < MOST:
            some.append(work)
    return ready


def _is_uploaded(row: Checkpoint) -> bool:
    """Whether its copy came with our own upload. One that is older was found in its place by the server."""
    is_new = row.uidnext is not None and row.uid_dest is not None and row.uid_dest >= row.uidnext
    return row.origin is Origin.COPIED and is_new


def _is_apart(run: Run, mailbox: MailboxName) -> Steps[bool | None]:
    if mailbox not in run.apart:
        run.apart[mailbox] = yield from run.ask(lambda books: books.is_apart(mailbox))
    return run.apart[mailbox]


def _note(run: Run, mailbox: MailboxName, is_apart: bool) -> Steps[None]:
    yield from run.ask(lambda books: books.note_apart(mailbox, is_apart))
    run.apart[mailbox] = is_apart


def keep_back(run: Run, work: Work) -> Steps[Work | None]:
    """The work, once the octets of its message are durable here. None: the source does not serve them any more."""
    assert work.ref is not None
    try:
        message: Message = yield from run.do(Fetch(work.ref))
    except MessageError:
        return None
    try:
        known = work.row.fingerprint
        if known is None or known.key.content != message.fingerprint.key.content:
            return None
        holder = yield from holder_of(run, work.row)
        yield from run.ask(lambda books: books.keep_back(holder.id))
        yield from run.ask(lambda books: books.spool(holder.id, message))
    finally:
        message.discard()
    holder = holder._replace(is_spooled=True)
    yield from run.do(Commit((holder,)))
    return work._replace(row=holder) if holder.id == work.row.id else work


def begin(run: Run, lane: int, mailbox: MailboxName, row_id: int) -> Steps[None]:
    """Counts what the mailbox holds, now that the row's message is marked for deletion at the source."""
    uids = yield from run.do(SearchUids(lane, mailbox, 1))
    below = uids[-1] + 1 if uids else 1
    run.trials[mailbox] = Trial(row_id, run.mailboxes[mailbox].uidvalidity, below, len(uids))
    run.waiting -= 1
    if FIRST not in run.told:
        run.told.add(FIRST)
        run.emit(Notice(FIRST))


def end_trials(run: Run, *, is_listed_anew: bool) -> Steps[bool]:
    """Whether something has to be copied back. What a killed run kept is looked after as well.

    ``is_listed_anew``: the source was listed since the session that deleted.
    """
    trials = dict(run.trials)
    run.trials.clear()
    rows = yield from run.ask(lambda books: books.kept_back())
    if not rows:
        return False
    lane = max(run.lanes) + 1
    yield from run.do(OpenDest(lane))
    is_back = False
    for row in rows:
        assert row.mailbox is not None
        trial = trials.get(row.mailbox)
        if trial is not None and is_listed_anew:
            still = trial.row
            if (yield from run.ask(lambda books, still=still: books.is_listed(still))):  # type: ignore[misc]
                trial = None  # nothing was deleted
        is_back |= yield from _end(run, lane, row, trial)
    yield from run.do(CloseDest(lane))
    return is_back


def _end(run: Run, lane: int, row: Checkpoint, trial: Trial | None) -> Steps[bool]:
    """Whether the copy of the row, whose octets are kept here, went with the message."""
    mailbox = row.mailbox
    assert mailbox is not None
    status = yield from run.do(OpenMailbox(lane, mailbox, create=False))
    is_there = False
    if status is not None and row.uid_dest is not None and status.uidvalidity == row.uidvalidity:
        is_there = bool((yield from run.do(FetchHeaders(lane, mailbox, [row.uid_dest], ()))))
    if is_there and trial is not None and trial.uidvalidity == row.uidvalidity:
        uids = yield from run.do(SearchUids(lane, mailbox, 1))
        if bisect_left(uids, trial.below) == trial.messages:
            yield from _note(run, mailbox, True)
        else:
            run.forbid_deletion(f"messages left {mailbox} at the destination while the source deleted some")
    if is_there:
        yield from run.do(Commit((row._replace(is_spooled=False),)))
        yield from run.ask(lambda books: books.unspool([row.id]))
        return False
    yield from _note(run, mailbox, False)
    run.forbid_deletion(ONE.format(mailbox))
    if row.stage is Stage.RELEASING:
        row = row._replace(stage=Stage.RELEASED)
        yield from run.do(Commit((row,)))
    lost = row._replace(stage=Stage.LISTED, origin=None, uid_dest=None, twin=None)
    yield from run.do(Commit((lost._replace(proof="", verified_at=None, proven_run=None),)))
    run.note_achieved(1)
    run.emit(Notice(BACK.format(mailbox)))
    return True
