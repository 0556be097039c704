"""The deletion at the source: last, only when asked for, and through two gates.

A message is deleted only when, in this run, the destination has served it back
whole and it matched (the first gate), it is still there now on a connection of
its own (R8), and, in this very source session, the source has served octets
with the same content under the number that is deleted (the second gate, R9).
RELEASING is durable before DELE; RELEASED only after QUIT was answered +OK.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Sequence

from ..commands import CloseDest, Commit, Delete, Fetch, FetchHeaders, OpenDest, OpenMailbox, ReadBack
from ..errors import MessageError, StoreError
from ..events import Deleted, Deleting, Kept, Notice
from ..model import Checkpoint, Fingerprint, MailboxName, Message, Origin, Stage, Work
from ..rules.fidelity import compare
from .run import Run, Steps, uidl_text
from .trial import begin, holder_of, keep_back, may_go
from .verdict import settled_digester

CHUNK = 100  # messages that pass the gates together
ALWAYS = 2**62  # later than every clock
FETCH_CHUNK = 8  # messages fetched again at once: each is held in memory up to 2 MiB only while compared


def release(run: Run) -> Steps[array[int]]:
    """The ids of the rows whose deletion was asked of the source: gone once QUIT is answered +OK."""
    marked = array("q")  # not the rows: a million of them are too many to hold until QUIT
    run.waiting = 0
    after_s = run.policy.delete_after_s
    if after_s is None or run.deletion_off:
        return marked
    wall = yield from run.wall()
    if run.deletion_off:  # the clock jumped while we copied
        return marked
    before = verified_before(wall, after_s)
    left = None if run.policy.max_delete is None else run.policy.max_delete - run.marked
    limit, octets = yield from run.ask(lambda books: books.count_releasable(before, left))
    if not limit or not (yield from _make_safe(run)):
        return marked
    run.again = 0
    run.emit(Deleting(limit, octets))
    lane = max(run.lanes) + 1
    yield from run.do(OpenDest(lane))
    after = 0
    waiting: dict[MailboxName, list[Work]] = {}
    while len(marked) < limit:
        chunk = min(CHUNK, limit - len(marked))
        works = yield from run.ask(lambda books, n=chunk, after=after: books.releasable(n, after, before))  # type: ignore[misc]
        if not works:
            break
        after = works[-1].row.id
        marked.extend((yield from _release_some(run, lane, (yield from may_go(run, works, waiting)))))
        run.check_stop()
        if run.deletion_off:
            waiting.clear()
            break
    for mailbox, some in waiting.items():
        marked.extend((yield from _try_one(run, lane, mailbox, some[: limit - len(marked)])))
    yield from run.do(CloseDest(lane))
    return marked


def verified_before(wall: float, after_s: int) -> int:
    """Up to when a message has to have been verified to be deleted now."""
    # "As soon as verified" asks no clock: one that was set back an hour would hide what was verified just now.
    return int(wall - after_s) if after_s else ALWAYS


def confirm(run: Run, marked: array[int]) -> Steps[None]:
    """After +OK to QUIT: the rows are RELEASED."""
    for start in range(0, len(marked), 200):
        ids = marked[start : start + 200]
        rows: list[Checkpoint] = yield from run.ask(lambda books, ids=ids: [books.row(one) for one in ids])  # type: ignore[misc]
        yield from run.do(Commit(tuple(row._replace(stage=Stage.RELEASED) for row in rows)))
        for row in rows:
            run.kept.pop(row.id, None)  # another session of this run had kept it
    if marked:
        # What the source confirmed before and shows again is no progress: else it could keep us for ever.
        run.note_achieved(len(marked) - run.again)
        run.emit(Deleted(len(marked)))
    if run.again:
        run.emit(Notice(f"Of these the source had said before that they are deleted, and still had them: {run.again}."))


def _make_safe(run: Run) -> Steps[bool]:
    """Whether QUIT can lose nothing: what the source session served and nobody has is spooled now."""
    if run.loose:
        return False
    unsafe: list[Work] = yield from run.ask(lambda books: books.retrieved_unsafe(run.session))
    for work in unsafe:
        if work.ref is None:
            return False
        try:
            message: Message = yield from run.do(Fetch(work.ref))
            try:
                yield from run.ask(lambda books, work=work, message=message: books.spool(work.row.id, message))  # type: ignore[misc]
            finally:
                message.discard()
        except MessageError:
            run.emit(Notice("Nothing is deleted now: a message that the source served could not be kept safe here."))
            return False
        kept = work.row._replace(is_spooled=True, fingerprint=message.fingerprint)
        yield from run.do(Commit((kept,)))
    return True


def _try_one(run: Run, lane: int, mailbox: MailboxName, works: Sequence[Work]) -> Steps[list[int]]:
    """The first of them that can be deleted, with its octets kept here."""
    for work in works:
        if marked := (yield from _release_some(run, lane, [work], keeps_it=True)):
            yield from begin(run, lane, mailbox, marked[0])
            return marked
        run.check_stop()
    return []


def _release_some(run: Run, lane: int, works: Sequence[Work], *, keeps_it: bool = False) -> Steps[list[int]]:
    works = yield from _gate_source(run, works)
    works = yield from _gate_destination(run, lane, works)
    if keeps_it and works:
        kept = yield from keep_back(run, works[0])
        works = [] if kept is None else [kept]
    rows = [w.row._replace(stage=Stage.RELEASING, fetched_session=run.session) for w in works]
    if not rows:
        return []
    yield from run.do(Commit(tuple(rows)))
    refs = tuple(work.ref for work in works if work.ref is not None)
    answers = yield from run.do(Delete(refs))
    marked: list[int] = []
    refused: list[Checkpoint] = []
    for row, work, answer in zip(rows, works, answers, strict=True):
        if answer is None:
            marked.append(row.id)
            run.marked += 1
            run.again += work.row.stage is Stage.RELEASED
        else:
            back = Stage.VERIFIED if work.row.origin is Origin.COPIED else Stage.DUPLICATE
            refused.append(row._replace(stage=back))
            _keep(run, work.row, "the source refused to delete it")
    if refused:
        yield from run.do(Commit(tuple(refused)))
    return marked


def _keep(run: Run, row: Checkpoint, reason: str) -> None:
    """Told at the end of the run: another session may still delete it."""
    run.kept[row.id] = Kept(row.id, uidl_text(row), reason)


def _gate_source(run: Run, works: Sequence[Work]) -> Steps[list[Work]]:
    """Those whose octets the source session has served: fetched again where it has not yet."""
    passed = [work for work in works if work.row.fetched_session == run.session]
    again = [work for work in works if work.row.fetched_session != run.session and work.ref is not None]
    for start in range(0, len(again), FETCH_CHUNK):
        chunk = again[start : start + FETCH_CHUNK]
        outcomes = yield from run.gather([Fetch(work.ref) for work in chunk if work.ref is not None])
        for work, outcome in zip(chunk, outcomes, strict=True):
            if isinstance(outcome.error, MessageError):
                _keep(run, work.row, "the source did not serve it again")
                continue
            if outcome.error is not None:
                raise outcome.error
            if _has_content(work.row, outcome.value.fingerprint):
                passed.append(work)
            else:
                yield from _take_in(run, work, outcome.value)
            outcome.value.discard()
        run.check_stop()
    return sorted(passed, key=lambda work: work.row.id)


def _take_in(run: Run, work: Work, message: Message) -> Steps[None]:
    """A UIDL was given to another message: that one gets a row, is kept safe here and copied next."""
    ref = work.ref
    assert ref is not None
    row = yield from run.ask(lambda books: books.split(ref))
    yield from run.ask(lambda books: books.spool(row.id, message))
    yield from run.do(Commit((row._replace(is_spooled=True, fingerprint=message.fingerprint),)))
    run.note_achieved(1)
    run.emit(Notice(f"The source shows another message under the UIDL {uidl_text(work.row)}: it is copied too."))


def _has_content(row: Checkpoint, fingerprint: Fingerprint) -> bool:
    return row.fingerprint is not None and row.fingerprint.key.content == fingerprint.key.content


def _gate_destination(run: Run, lane: int, works: Sequence[Work]) -> Steps[list[Work]]:
    """Those whose copy was read back whole in this run, and is there now on a fresh connection."""
    holders: dict[int, Checkpoint] = {}  # by id of the row to release: the row that has the copy
    for work in works:
        holder = yield from holder_of(run, work.row)
        reason = _unfit(run, work.row, holder)
        if reason:
            _keep(run, work.row, reason)
        else:
            holders[work.row.id] = holder
    good = yield from _prove_now(run, lane, list({row.id: row for row in holders.values()}.values()))
    passed = []
    for work in works:
        held = holders.get(work.row.id)
        if held is None:
            continue
        if held.id in good:
            proven = good[held.id] if held.id == work.row.id else work.row
            passed.append(work._replace(row=proven))
        else:
            _keep(run, work.row, "the destination does not show its copy any more")
    return passed


def _unfit(run: Run, row: Checkpoint, holder: Checkpoint) -> str:
    """Why the copy in ``holder`` does not allow the deletion of ``row``; empty: it may."""
    status = None if holder.mailbox is None else run.mailboxes.get(holder.mailbox)
    if status is None or holder.uid_dest is None or holder.uidvalidity != status.uidvalidity:
        return "its copy could not be found again at the destination"
    if holder.fingerprint is None or not _has_content(row, holder.fingerprint):
        return "the message it is a duplicate of has other content"
    if not status.has_sticky_uids and holder.proven_run != run.number:
        return "the destination's UIDs do not last"
    return ""


def _prove_now(run: Run, lane: int, holders: Sequence[Checkpoint]) -> Steps[dict[int, Checkpoint]]:
    """By id, the rows whose copy matched in full in this run and is still there."""
    groups: dict[MailboxName, list[Checkpoint]] = defaultdict(list)
    for row in holders:
        assert row.mailbox is not None
        groups[row.mailbox].append(row)
    good: dict[int, Checkpoint] = {}
    for mailbox, rows in groups.items():
        status = yield from run.do(OpenMailbox(lane, mailbox, create=False))
        if status is None or status.uidvalidity != run.mailboxes[mailbox].uidvalidity:
            raise StoreError(f"the folder {mailbox} was replaced at the destination during the run")
        for start in range(0, len(rows), CHUNK):
            good.update((yield from _prove_chunk(run, lane, mailbox, rows[start : start + CHUNK])))
    return good


def _prove_chunk(run: Run, lane: int, mailbox: MailboxName, rows: Sequence[Checkpoint]) -> Steps[dict[int, Checkpoint]]:
    uids = [row.uid_dest for row in rows if row.uid_dest is not None]
    there = {one.uid for one in (yield from run.do(FetchHeaders(lane, mailbox, uids, ())))}
    stale = [row for row in rows if row.proven_run != run.number and row.uid_dest in there]
    served: dict[int | None, Fingerprint] = {}
    if stale:
        old = [row.uid_dest for row in stale if row.uid_dest is not None]
        served = yield from run.do(ReadBack(lane, mailbox, old, settled_digester))
    good, renewed = {}, []
    for row in rows:
        if row.uid_dest not in there:
            continue
        copy = served.get(row.uid_dest)
        if row.proven_run == run.number:
            good[row.id] = row
        elif copy is not None and row.fingerprint is not None and _matches(row, copy):
            good[row.id] = row._replace(proven_run=run.number)
            renewed.append(good[row.id])
    if renewed:
        yield from run.do(Commit(tuple(renewed)))
    return good


def _matches(row: Checkpoint, copy: Fingerprint) -> bool:
    """Whether the copy is the message; one that was there before us may differ in volatile headers."""
    assert row.fingerprint is not None
    return compare(row.fingerprint, copy).is_same or (row.origin is Origin.THERE and _has_content(row, copy))
