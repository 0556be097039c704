"""Before anything is sent: look at the destination and find what is ours there.

The rules of recovery (docs/architecture.md): wait for uploads of dead
connections (R4), prove the uids that it named (R7), scan every uid not seen yet (R1), let rows that the
destination acknowledged claim their copies first, one uid for one row (R6),
adopt a copy of an open intent instead of sending it again (R2, R5), and take
every uid as void when UIDVALIDITY changed (R10).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Sequence
from dataclasses import replace
from itertools import groupby

from ..books import Candidate, MailboxMemory
from ..commands import Commit, FetchHeaders, MailboxStatus, OpenMailbox, ReadBack, SearchUids
from ..errors import MessageError
from ..events import Doubled, Notice, Scanned, SetAside, Settling
from ..model import Checkpoint, Fingerprint, MailboxName, Origin, Stage
from ..rules.dedupe import INDEX_FIELDS, index_of
from ..rules.fidelity import compare
from .proof import prove_rest
from .run import Run, Steps, uidl_text
from .verdict import DIFFERENT, MISSING, is_anothers, set_aside, settled_digester

SCAN_CHUNK = 2000  # messages whose headers are asked for at once
READ_CHUNK = 50  # messages read back at once
INTERRUPTED = "an upload of an interrupted run may still arrive at the destination"
NOT_SEEN_YET = "the destination said OK and does not show it yet"

# Without a uid these have no proof of being at the destination.
UNSURE = frozenset({Stage.INTENDED, Stage.APPENDED})
UNSEEN = UNSURE | {Stage.SET_ASIDE}  # all others were seen at the destination once


def recover(run: Run) -> Steps[None]:
    """Selects every mailbox that matters and leaves no INTENDED row behind."""
    run.has_settled = yield from _settle(run)
    named = yield from run.ask(lambda books: books.open_mailboxes())
    own = [] if run.policy.keeps_mailboxes or run.policy.mailbox in named else [run.policy.mailbox]
    for mailbox in [*named, *own]:
        yield from look_at(run, mailbox, create=mailbox == run.policy.mailbox, is_first=True)


def look_at(run: Run, mailbox: MailboxName, *, create: bool, is_first: bool = False) -> Steps[None]:
    """Selects the mailbox and finds what is ours there; afterwards it may be appended to.

    ``is_first``: it is scanned once more before that (R1), so what has nothing new to show need not be scanned now.
    """
    status = yield from run.do(OpenMailbox(run.lanes[0], mailbox, create=create))
    if status is None:
        run.emit(Notice(f"The folder {mailbox} is not at the destination any more."))
        rows = yield from run.ask(lambda books: books.unplaced(mailbox))
        yield from _list_again(run, [row for row in rows if row.stage in UNSURE])
        return
    run.mailboxes[mailbox] = status
    yield from _check_uidvalidity(run, mailbox, status)
    # First of all: a uid that a server invented for one row would hide the copy of another from the scan.
    unseen = yield from prove_rest(run)
    if unseen and not run.has_settled:
        yield from settle(run, unseen, NOT_SEEN_YET)
        run.has_settled = True
    if is_first and (yield from _has_nothing_new(run, mailbox, status)):
        return
    looked_at = yield from scan(run, mailbox)
    adopted = yield from claim(run, mailbox)
    if looked_at or adopted:
        run.emit(Scanned(str(mailbox), looked_at, adopted))
    run.check_stop()


def _has_nothing_new(run: Run, mailbox: MailboxName, status: MailboxStatus) -> Steps[bool]:
    """Whether nothing of ours is looked for, and the server says that nothing came since the last scan."""
    if (yield from run.ask(lambda books: books.unplaced(mailbox))):
        return False
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    assert memory is not None
    return not status.messages or 0 < status.uidnext <= memory.scanned


def _settle(run: Run) -> Steps[bool]:
    is_open: bool = yield from run.ask(lambda books: books.settle_open())
    if is_open:
        tally = yield from run.ask(lambda books: books.tally())
        yield from settle(run, tally.open)
    return is_open


def settle(run: Run, messages: int, reason: str = INTERRUPTED) -> Steps[None]:
    """Waits until what is under way has arrived, or never will (R4)."""
    left = run.policy.settle_s
    while left > 0:
        run.emit(Settling(left, messages, reason))
        step = min(1.0, left)
        yield from run.wait(step)
        left -= step
    run.emit(Settling(0.0, messages, reason))


def _check_uidvalidity(run: Run, mailbox: MailboxName, status: MailboxStatus) -> Steps[None]:
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    if status.uidvalidity == 0:
        run.forbid_deletion(f"the destination gives no UIDVALIDITY for {mailbox}")
    if memory is not None and memory.uidvalidity == status.uidvalidity:
        if status.uidnext < memory.floor:
            # UIDNEXT never goes down (RFC 3501 §2.3.1.1), so the one before was not true: copies of ours may be below.
            memory = replace(memory, floor=1, scanned=1, looked=1)
            yield from run.ask(lambda books, memory=memory: books.remember_mailbox(mailbox, memory))  # type: ignore[misc]
        run.floors[mailbox] = memory.floor
        return
    floor = status.uidnext
    if memory is not None:
        touched = yield from run.ask(lambda books: books.forget_uids(mailbox))
        run.emit(Notice(f"The destination renumbered {mailbox}: {touched} messages are looked for again by content."))
        floor = 1
    run.floors[mailbox] = floor
    fresh = MailboxMemory(status.uidvalidity, floor, scanned=1)
    yield from run.ask(lambda books: books.remember_mailbox(mailbox, fresh))


def search(run: Run, mailbox: MailboxName) -> Steps[SearchUids]:
    """What asks the destination for all that a scan of the mailbox has to look at."""
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    assert memory is not None
    return SearchUids(run.lanes[0], mailbox, memory.scanned)


def scan(run: Run, mailbox: MailboxName, uids: Sequence[int] | None = None) -> Steps[int]:
    """How many messages were looked at: every uid of the mailbox that neither index nor a row knew.

    ``uids``: what ``search`` has brought just now.
    """
    lane = run.lanes[0]
    if uids is None:
        uids = yield from run.do((yield from search(run, mailbox)))
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    assert memory is not None
    fresh: list[int] = yield from run.ask(lambda books: books.unknown_uids(mailbox, uids))
    open_rows = (yield from _under_way(run, mailbox)) if fresh else []
    unserved: set[int] = set()
    for start in range(0, len(fresh), SCAN_CHUNK):
        chunk = fresh[start : start + SCAN_CHUNK]
        served = yield from run.do(FetchHeaders(lane, mailbox, chunk, INDEX_FIELDS))
        entries = [(one.uid, index_of(one.header)[0], one.octets) for one in served]
        entries = yield from _look_closer(run, mailbox, entries, open_rows)
        yield from run.ask(lambda books, entries=entries: books.index(mailbox, entries))  # type: ignore[misc]
        unserved.update(set(chunk) - {one.uid for one in served})
        run.check_stop()
    if uids:
        # What SEARCH names and FETCH does not serve was not seen: the next scan begins there.
        seen = replace(memory, scanned=max(memory.scanned, min(unserved, default=uids[-1] + 1)))
        yield from run.ask(lambda books: books.remember_mailbox(mailbox, seen))
    return len(fresh)


Entry = tuple[int, bytes, int]  # uid, index, octets


def _under_way(run: Run, mailbox: MailboxName) -> Steps[list[Checkpoint]]:
    """The rows whose copy may have come since their intent."""
    uidvalidity = run.mailboxes[mailbox].uidvalidity
    rows = yield from run.ask(lambda books: books.unplaced(mailbox))
    return [row for row in rows if row.stage in UNSURE and row.fingerprint and row.uidvalidity == uidvalidity]


def _look_closer(
    run: Run, mailbox: MailboxName, entries: list[Entry], open_rows: Sequence[Checkpoint]
) -> Steps[list[Entry]]:
    """The entries; of what came since the lowest open intent and has the index of no open row, from the whole message.

    A server may see other fields than we do: behind a bare CR or a NUL, in a header that is very long.
    """
    wanted = {row.fingerprint.key.index for row in open_rows if row.fingerprint}
    low = min((row.uidnext or 1 for row in open_rows), default=None)
    if low is None:
        return entries
    read = yield from read_back(run, mailbox, [uid for uid, index, _ in entries if uid >= low and index not in wanted])
    return [(uid, read[uid].key.index if uid in read else index, octets) for uid, index, octets in entries]


def claim(run: Run, mailbox: MailboxName, *, is_final: bool = False) -> Steps[int]:
    """How many rows without a uid found their copy. What has none is listed again.

    ``is_final``: we are at the end of a session that uploaded; what was
    acknowledged and is not there stays as it is, see ``give_up``.
    """
    rows = yield from run.ask(lambda books: books.unplaced(mailbox))
    rows = [row for row in rows if row.fingerprint is not None]
    if not rows:
        return 0
    free, disputed, known = yield from _free_copies(run, mailbox, rows)
    status = run.mailboxes[mailbox]
    changed: list[Checkpoint] = []
    missing: list[Checkpoint] = []
    found = 0
    taken = _take_all(rows, free, status, is_final=is_final)
    for row in rows:
        uid = taken.get(row.id)
        if uid is not None:
            found += 1
            # A copy found again under a new UIDVALIDITY is nothing new, else a server that changes it would hold us.
            run.progress += row.stage in UNSURE
            if uid in disputed:
                changed.append(disputed[uid]._replace(uid_dest=None))
            changed.append(_placed(row, status.uidvalidity, uid))
        else:
            missing.append(row)
    yield from _commit_all(run, changed)
    altered = _take_altered([row for row in missing if row.stage in UNSURE], free, disputed, status, known)
    yield from _refuse(run, altered, DIFFERENT)
    told = {row.id for row in altered}
    if not is_final:
        yield from _list_again(run, [row for row in missing if row.stage in UNSURE and row.id not in told])
    return found


def not_placed(run: Run, mailbox: MailboxName) -> Steps[list[Checkpoint]]:
    """What the destination acknowledged and nobody knows the place of."""
    rows = yield from run.ask(lambda books: books.unplaced(mailbox))
    return [row for row in rows if row.stage is Stage.APPENDED]


def give_up(run: Run, rows: Sequence[Checkpoint]) -> Steps[None]:
    """Sets aside what was acknowledged and did not come into view; the next run tries it again."""
    yield from _refuse(run, rows, MISSING)


def _refuse(run: Run, rows: Sequence[Checkpoint], error: MessageError) -> Steps[None]:
    yield from _commit_all(run, [set_aside(row, error, None, None) for row in rows])
    for row in rows:
        run.aside.add(row.id)
        run.emit(SetAside(row.id, uidl_text(row), error.what, "", error.hint))


def _list_again(run: Run, rows: Sequence[Checkpoint]) -> Steps[None]:
    """Looked for and not there: it was never stored, or the server's OK was not true."""
    yield from _commit_all(run, [row._replace(stage=Stage.LISTED, origin=None, uid_dest=None) for row in rows])


def _commit_all(run: Run, rows: Sequence[Checkpoint]) -> Steps[None]:
    for start in range(0, len(rows), 200):
        yield from run.do(Commit(tuple(rows[start : start + 200])))


# Copies that no row claims, by index and then by uid ascending: twins share an index.
Free = dict[bytes, dict[int, Fingerprint]]
Known = dict[bytes, list[Checkpoint]]  # rows by their index, whatever they claim


def _free_copies(
    run: Run, mailbox: MailboxName, rows: Sequence[Checkpoint]
) -> Steps[tuple[Free, dict[int, Checkpoint], Known]]:
    """Copies at the destination that one of these rows may be: those that no row claims, and
    those that a row set aside claims although other octets were found there, with that row.
    With all rows that go by the same indexes."""
    indexes = list({row.fingerprint.key.index for row in rows if row.fingerprint})
    uids: set[int] = set()
    disputed: dict[int, Checkpoint] = {}
    known: Known = {}
    for start in range(0, len(indexes), 500):
        part = indexes[start : start + 500]
        found: dict[bytes, list[Candidate]] = yield from run.ask(
            lambda books, part=part: books.lookup(mailbox, part)  # type: ignore[misc]
        )
        known.update((index, [one.row for one in candidates if one.row]) for index, candidates in found.items())
        for one in (candidate for candidates in found.values() for candidate in candidates):
            if one.row is None and one.uid is not None:
                uids.add(one.uid)
            elif one.row is not None and one.row.stage is Stage.SET_ASIDE and one.row.uid_dest is not None:
                disputed[one.row.uid_dest] = one.row
    free: Free = defaultdict(dict)
    for uid, served in (yield from read_back(run, mailbox, sorted(uids | disputed.keys()))).items():
        free[served.key.index][uid] = served
    return free, disputed, known


def read_back(run: Run, mailbox: MailboxName, uids: Sequence[int]) -> Steps[dict[int, Fingerprint]]:
    """The fingerprints of these copies as served now, by uid ascending; missing ones are left out."""
    served: dict[int, Fingerprint] = {}
    for start in range(0, len(uids), READ_CHUNK):
        command = ReadBack(run.lanes[0], mailbox, uids[start : start + READ_CHUNK], settled_digester)
        part = yield from run.do(command)
        served.update((uid, part[uid]) for uid in command.uids if uid in part)
    return served


def _lowest(row: Checkpoint, status: MailboxStatus, *, is_final: bool) -> int:
    """The lowest uid that a copy made by this row's intent can have."""
    if row.uidnext is None or row.uidvalidity != status.uidvalidity:
        return 1  # the bracket holds only under the UIDVALIDITY of the intent
    # Before we append anything no intent can have seen a higher UIDNEXT than there is now, unless it was not true.
    return row.uidnext if is_final or row.uidnext <= status.uidnext else 1


def _take_all(rows: Sequence[Checkpoint], free: Free, status: MailboxStatus, *, is_final: bool) -> dict[int, int]:
    """By id of the row, the uids of the copies that the rows take, in the order of ``books.unplaced``.

    Among rows of the same standing, a copy that is one's own octet for octet is taken before one with changes:
    else a message that was lost would take the copy of another that looks as it would look changed.
    """
    taken: dict[int, int] = {}
    for _, group in groupby(rows, key=lambda row: row.stage if row.stage in UNSEEN else None):
        equals = list(group)
        for is_exact in (True, False):
            for row in equals:
                if row.id in taken:
                    continue
                uid = _take(row, free, _lowest(row, status, is_final=is_final), is_exact=is_exact)
                if uid is not None:
                    taken[row.id] = uid
    return taken


def _take(row: Checkpoint, free: Free, low: int, *, is_exact: bool) -> int | None:
    """The uid of the free copy of this row's message from ``low`` on that is nearest in size, which is free no more."""
    sent = row.fingerprint
    assert sent is not None
    twins = free.get(sent.key.index, {})
    fit = [
        uid
        for uid, served in twins.items()
        if uid >= low and (sent.exact == served.exact if is_exact else compare(sent, served).is_same)
    ]
    uid = min(fit, key=lambda one: abs(twins[one].octets - sent.octets), default=None)
    if uid is not None:
        del twins[uid]
    return uid


def _take_altered(
    rows: Sequence[Checkpoint], free: Free, disputed: Container[int], status: MailboxStatus, known: Known
) -> list[Checkpoint]:
    """Those rows with a copy that came since their intent, goes by their index, and holds other octets; with its uid.

    A server that adds header lines made it of ours: sent again, it would be there twice, and altered again. What was
    changed least goes first: copies of the same content, then others. What is another message of ours with the same
    index, as it was sent, is a second copy of that one and none of this.
    """
    found: dict[int, Checkpoint] = {}
    for is_close in (True, False):
        for row in rows:
            if row.id in found or row.fingerprint is None or row.uidvalidity != status.uidvalidity:
                continue
            copies = free.get(row.fingerprint.key.index, {})
            for uid, copy in copies.items():
                is_fit = copy.key == row.fingerprint.key or not is_close
                is_fit = is_fit and uid >= (row.uidnext or 1) and uid not in disputed
                if is_fit and not is_anothers(copy, row, known.get(copy.key.index, ())):
                    found[row.id] = row._replace(stage=Stage.APPENDED, uid_dest=uid)
                    del copies[uid]
                    break
    return list(found.values())


def _placed(row: Checkpoint, uidvalidity: int, uid: int) -> Checkpoint:
    stage = Stage.APPENDED if row.stage in (Stage.INTENDED, Stage.SET_ASIDE) else row.stage
    origin = row.origin or Origin.COPIED
    return row._replace(stage=stage, origin=origin, uidvalidity=uidvalidity, uid_dest=uid, reason="")


def look_for_doubles(run: Run, mailbox: MailboxName, uids: Sequence[int] | None) -> Steps[None]:
    """The second look of a run (R4): a second copy of what we uploaded is reported, if it came since the last look.

    Also where the first is in another folder: the person may have named a new one since. ``uids`` as in ``scan``.
    """
    yield from scan(run, mailbox, uids)
    memory = yield from run.ask(lambda books: books.mailbox(mailbox))
    assert memory is not None
    low = max(memory.looked, run.floors[mailbox])
    suspects = yield from run.ask(lambda books: books.suspects(mailbox, low))
    served = yield from read_back(run, mailbox, suspects)
    indexes = list({one.key.index for one in served.values()})
    known: dict[bytes, list[Checkpoint]] = yield from run.ask(lambda books: books.holders(indexes))
    # A copy that the server altered is not what we sent: two of them are compared with each other.
    altered = [
        row for rows in known.values() for row in rows if row.stage is Stage.SET_ASIDE and row.mailbox == mailbox
    ]
    own = yield from read_back(run, mailbox, sorted({row.uid_dest for row in altered if row.uid_dest is not None}))
    doubles: dict[int, list[int]] = defaultdict(list)
    rows: dict[int, Checkpoint] = {}
    for uid, one in served.items():
        for row in known[one.key.index]:
            first = own.get(row.uid_dest or 0, row.fingerprint) if row.mailbox == mailbox else row.fingerprint
            if first is not None and (first.exact == one.exact or compare(first, one).is_same):
                doubles[row.id].append(uid)
                rows[row.id] = row
                break
    for row_id, copies in doubles.items():
        row = rows[row_id]
        assert row.uid_dest is not None
        places = ((str(row.mailbox), row.uid_dest), *((str(mailbox), uid) for uid in copies))
        run.emit(Doubled(row_id, uidl_text(row), places))
    if memory.looked != memory.scanned:
        # Only now: what a run has seen and did not live to tell, the next one tells.
        seen = replace(memory, looked=memory.scanned)
        yield from run.ask(lambda books: books.remember_mailbox(mailbox, seen))
