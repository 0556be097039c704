"""One message at a time: is it new, known under another name, there already, or to be uploaded?

A case is a generator: it yields one command, is sent that command's value (or
thrown its error), and returns a Decision. Only messages that the books know
something about become cases; all others are uploaded without one.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from ..books import Candidate
from ..commands import Ask, Command, Commit, ReadBack
from ..events import Duplicate, SameId, Verified
from ..model import Checkpoint, Dedupe, Fingerprint, Message, Origin, Placement, Stage, Work
from ..rules.fidelity import compare
from ..rules.flags import admitted
from .run import Run, uidl_text
from .verdict import DIFFERENT, MISSING, judge, settled_digester


@dataclass(eq=False, slots=True)
class Case:
    """A fetched message on its way to a decision."""

    work: Work
    message: Message
    placement: Placement
    is_served: bool = True  # by the source now, not from the spool
    is_reported: bool = False  # that another message has the same Message-ID
    is_stale: bool = False  # a message with the same index ended while this one was being decided


def served_session(run: Run, case: Case) -> int | None:
    """What to record as the session that served these octets: the gate of deletion rests on it."""
    return run.session if case.is_served else case.work.row.fetched_session


def intended(run: Run, case: Case, uidnext: int) -> Checkpoint:
    """The row of a message that is about to be uploaded (R2)."""
    row, mailbox = case.work.row, case.placement.mailbox
    status = run.mailboxes[mailbox]
    return row._replace(
        stage=Stage.INTENDED,
        origin=Origin.COPIED,
        mailbox=mailbox,
        flags=admitted(case.placement.flags, status.permanent_flags),
        internaldate=case.placement.internaldate,
        fingerprint=case.message.fingerprint,
        uidvalidity=status.uidvalidity,
        uidnext=uidnext,
        uid_dest=None,
        reason="",
        attempts=row.attempts + 1,
        fetched_session=served_session(run, case),
    )


class Decision(Enum):
    UPLOAD = "upload"
    DONE = "done"  # its row says all
    LOOK_AGAIN = "look again"  # ask the books once more


UPLOAD, DONE, LOOK_AGAIN = Decision.UPLOAD, Decision.DONE, Decision.LOOK_AGAIN
CaseSteps = Generator[Command, Any, Decision]

# Stages in which a row's copy was seen at the destination. APPENDED is missing on purpose: nobody has seen it yet.
HELD = frozenset({Stage.VERIFIED, Stage.RELEASING, Stage.RELEASED})
TO_DO = frozenset({Stage.LISTED, Stage.SET_ASIDE})
# RELEASED is missing on purpose: the source confirmed that it is gone, so what shows up now is another message.
RENAMED = frozenset({Stage.APPENDED, Stage.VERIFIED, Stage.DUPLICATE, Stage.RELEASING})


def spool_first(run: Run, case: Case) -> CaseSteps:
    """For a source that may delete what it served: durable here before anything else happens."""
    row = case.work.row
    run.uses_spool = True
    yield Ask(lambda books: books.spool(row.id, case.message))
    kept = row._replace(fingerprint=case.message.fingerprint, is_spooled=True, fetched_session=run.session)
    yield Commit((kept,))
    case.work = case.work._replace(row=kept)
    return LOOK_AGAIN


def decide(run: Run, case: Case, candidates: Sequence[Candidate]) -> CaseSteps:
    """What to do with a message whose index the books know, or whose UIDL tells nothing."""
    if case.work.is_unsure and (yield from _identify(run, case, candidates)):
        return DONE
    if case.work.row.uid_dest is not None and (yield from _look_at_own_copy(run, case)):
        return DONE
    candidates = [one for one in candidates if one.row is None or one.row.id != case.work.row.id]
    if (yield from _renamed(run, case, candidates)):
        return DONE
    if (yield from _already_there(run, case, candidates)):
        return DONE
    return (yield from _twin_of_row(run, case, candidates))


def _identify(run: Run, case: Case, candidates: Sequence[Candidate]) -> Generator[Command, Any, bool]:
    """Whether nothing is left to do, once it is known which row this message is.

    The UIDL is repeated, missing or reused: content alone tells (R9). A row is
    taken by one message of a session at most, so twins keep a row each.
    """
    row, ref = case.work.row, case.work.ref
    if ref is None:
        return False
    content = case.message.fingerprint.key.content

    def is_it(one: Checkpoint) -> bool:
        if one.fingerprint is None or one.uid != ref.uid or one.id in run.matched:
            return False
        return one.fingerprint.key.content == content and one.fetched_session != run.session

    rows = [one.row for one in candidates if one.row is not None and one.row.id != row.id]
    match = next((one for one in [row, *rows] if is_it(one)), None)
    if match is None and row.fingerprint is None and row.id not in run.matched:
        match = row  # a place kept for a message of this UIDL that was never fetched
    if match is not None:
        run.matched.add(match.id)  # at once: twins are identified side by side
    if match is None:
        match = yield Ask(lambda books: books.split(ref))
        run.matched.add(match.id)
    elif match is not row:
        yield Ask(lambda books, match=match: books.bind(ref, match, row))  # type: ignore[misc]
    seen = match._replace(uid=ref.uid, octets=ref.octets)
    if match.stage not in TO_DO:
        seen = seen._replace(fetched_session=run.session)
        yield Commit((seen,))
        run.started -= 1  # it was known: another one may be begun in its place
        return True
    case.work = Work(seen, ref)
    return False


def _renamed(run: Run, case: Case, candidates: Sequence[Candidate]) -> Generator[Command, Any, bool]:
    """R11: a new UIDL with octets we know, whose old UIDL the source lists no more, is a new name.

    Whether nothing is left to do: a message that an earlier run left in the spool goes on, under its own row.
    """
    ref, row = case.work.ref, case.work.row
    if ref is None or row.attempts:
        return False
    for one in candidates:
        known = one.row
        if known is None or known.id in run.matched or known.fingerprint is None:
            continue
        # To be copied from the spool: under its new name it would be copied once more.
        is_to_do = known.stage in TO_DO and known.is_spooled
        if known.stage not in RENAMED and not is_to_do:
            continue
        if known.fingerprint.exact != case.message.fingerprint.exact:
            continue
        if (yield Ask(lambda books, known=known: books.is_listed(known.id))):  # type: ignore[misc]
            continue
        if known.id in run.matched:  # another case took it while we asked
            continue
        run.matched.add(known.id)
        yield Ask(lambda books, known=known: books.bind(ref, known, row))  # type: ignore[misc]
        seen = known._replace(uid=ref.uid, octets=ref.octets, fetched_session=run.session)
        yield Commit((seen,))
        if is_to_do and known.id not in run.aside:
            run.uses_spool = True
            case.work = Work(seen, ref)
            return False
        return True
    return False


def _read(run: Run, case: Case, uid: int) -> Generator[Command, Any, Fingerprint | None]:
    mailbox = case.placement.mailbox
    served = yield ReadBack(run.lanes[0], mailbox, [uid], settled_digester)
    found: Fingerprint | None = served.get(uid)
    content = None if found is None else found.key.content
    yield Ask(lambda books: books.learn(mailbox, uid, content))
    return found


def _look_at_own_copy(run: Run, case: Case) -> Generator[Command, Any, bool]:
    """Whether a message set aside after its upload has a good copy after all."""
    row = case.work.row
    assert row.uid_dest is not None
    served = yield from _read(run, case, row.uid_dest)
    verdict = judge(row._replace(fingerprint=case.message.fingerprint), served)
    if verdict is DIFFERENT:
        raise DIFFERENT
    if verdict is MISSING or served is None:
        case.work = case.work._replace(row=row._replace(uid_dest=None))
        return False
    yield from _adopt(run, case, row.uid_dest, served)
    return True


def _adopt(run: Run, case: Case, uid: int, served: Fingerprint) -> Generator[Command, Any, None]:
    """Takes a copy that the destination has as the copy of this message, and proves it in the same step."""
    changes = compare(case.message.fingerprint, served).changes
    found = case.work.row._replace(
        stage=Stage.APPENDED,
        origin=Origin.COPIED,
        mailbox=case.placement.mailbox,
        flags=case.placement.flags,
        internaldate=case.placement.internaldate,
        fingerprint=case.message.fingerprint,
        uidvalidity=run.mailboxes[case.placement.mailbox].uidvalidity,
        uid_dest=uid,
        reason="",
        fetched_session=served_session(run, case),
    )
    yield Commit((found,))
    proof = "octets" + (f", changed: {'; '.join(changes)}" if changes else "")
    at = int(run.fetched_at)
    proven = found._replace(stage=Stage.VERIFIED, proof=proof, verified_at=at, proven_run=run.number, is_spooled=False)
    yield Commit((proven,))
    if found.is_spooled:
        yield Ask(lambda books: books.unspool([found.id]))
    run.note_achieved(1)
    run.emit(Verified(1, "octets"))


def _already_there(run: Run, case: Case, candidates: Sequence[Candidate]) -> Generator[Command, Any, bool]:
    """Whether the destination has it in a copy that no row claims (R5), or had it before us.

    Octet for octet before any other, then the one that is nearest in size: else it might take what a server made
    of another message, which would find none.
    """
    mailbox, mine = case.placement.mailbox, case.message.fingerprint
    found: tuple[int, Fingerprint] | None = None
    for one in sorted(candidates, key=lambda one: abs((one.octets or 0) - mine.octets)):
        uid = one.uid
        if one.row is not None or uid is None or (mailbox, uid) in run.taken:
            continue
        is_window = uid >= run.floors[mailbox]
        if run.policy.dedupe is Dedupe.OFF and not is_window:
            continue
        # What a server makes of odd octets is other content, and may be a copy all the same.
        is_other = one.content not in (None, mine.key.content) and mine.settled is None and mine.munged is None
        if is_other and not is_window and run.policy.dedupe is Dedupe.CONTENT:
            _say_same_id(run, case, None)
            continue
        served = yield from _read(run, case, uid)
        if served is None or (mailbox, uid) in run.taken:
            continue
        if served.exact == mine.exact:
            found = uid, served
            break
        if found is None and (compare(mine, served).is_same or _is_duplicate(run, mine, served)):
            found = uid, served
        elif found is None:
            _say_same_id(run, case, None)
    if found is None:
        return False
    uid, served = found
    run.taken.add((mailbox, uid))
    if uid >= run.floors[mailbox] and compare(mine, served).is_same:
        yield from _adopt(run, case, uid, served)
    else:
        yield from _record_duplicate(run, case, None, uid)
    return True


def _twin_of_row(run: Run, case: Case, candidates: Sequence[Candidate]) -> CaseSteps:
    mine = case.message.fingerprint
    other: Checkpoint | None = None
    for one in candidates:
        row = one.row
        if row is None or row.fingerprint is None or not _holds_copy(row):
            continue
        if _is_duplicate(run, mine, row.fingerprint):
            yield from _record_duplicate(run, case, row, row.uid_dest)
            return DONE
        other = other or row
    if other is not None and other.fingerprint is not None and other.fingerprint.key.content != mine.key.content:
        _say_same_id(run, case, other)
    return UPLOAD


def _holds_copy(row: Checkpoint) -> bool:
    """Whether this row's own copy has been seen: a twin of it needs none. A twin's row never holds one."""
    return row.origin is not Origin.TWIN and (row.stage in HELD or row.stage is Stage.DUPLICATE)


def _is_duplicate(run: Run, mine: Fingerprint, other: Fingerprint) -> bool:
    match run.policy.dedupe:
        case Dedupe.OFF:
            return False
        case Dedupe.MESSAGE_ID if mine.key.has_message_id and other.key.has_message_id:
            return other.key.index == mine.key.index
        case _:
            return other.key == mine.key


def _record_duplicate(run: Run, case: Case, twin: Checkpoint | None, uid: int | None) -> Generator[Command, Any, None]:
    row = case.work.row
    twin_id = None if twin is None else twin.id
    mailbox = case.placement.mailbox
    ended = row._replace(
        stage=Stage.DUPLICATE,
        origin=Origin.THERE if twin is None else Origin.TWIN,
        mailbox=mailbox,
        flags=case.placement.flags,
        internaldate=case.placement.internaldate,
        fingerprint=case.message.fingerprint,
        uidvalidity=run.mailboxes[mailbox].uidvalidity,
        uid_dest=uid if twin is None else None,  # the twin's row claims the copy
        twin=twin_id,
        reason="",
        verified_at=int(run.fetched_at),
        fetched_session=served_session(run, case),
        is_spooled=False,
    )
    yield Commit((ended,))
    if row.is_spooled:
        yield Ask(lambda books: books.unspool([row.id]))
    run.note_achieved(1)
    run.emit(Duplicate(row.id, uidl_text(row), twin_id, "" if twin is None else uidl_text(twin), uid))


def _say_same_id(run: Run, case: Case, other: Checkpoint | None) -> None:
    if case.message.fingerprint.key.has_message_id and not case.is_reported:
        case.is_reported = True
        row = case.work.row
        twin = None if other is None else other.id
        run.emit(SameId(row.id, uidl_text(row), twin, "" if other is None else uidl_text(other)))


def twin_under_way(run: Run, case: Case, pending: dict[bytes, list[Case]]) -> Case | None:
    """The message under way that this one would be a duplicate of, if it arrives."""
    mine = case.message.fingerprint
    for other in pending.get(mine.key.index, ()):
        if other.placement.mailbox != case.placement.mailbox:
            continue
        if _is_duplicate(run, mine, other.message.fingerprint):
            return other
        if other.message.fingerprint.key.content != mine.key.content:
            _say_same_id(run, case, other.work.row)
    return None


def leave(peers: dict[bytes, list[Case]], case: Case) -> None:
    """The case is none any more of those with its index."""
    index = case.message.fingerprint.key.index
    if case in peers.get(index, ()):
        peers[index].remove(case)
        if not peers[index]:
            del peers[index]
