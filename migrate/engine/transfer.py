"""The pipelined middle of a run: fetch, decide, intend, append, verify.

Many commands are under way at once; each has a handler for its outcome. The
order of safety is kept for every single message: its intent is durable before
its first octet is sent, its result is durable before anybody hears of it.

Memory is bounded by ``run.BUDGET``: octets asked of the source or held for
the destination, but for those that wait in the network. What cannot be decided
from the header and the books at once is a *case*: a small generator that asks
one thing after the other (engine.cases).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Any

from ..books import Candidate
from ..commands import Append, Ask, Command, Commit, DestFacts, Fetch, Letter, Outcome
from ..errors import MessageError, MigrateError
from ..events import Copied, Fetched, Notice
from ..model import MEMORY_LIMIT, AppendUid, Checkpoint, MailboxName, Message, Stage, Work
from ..rules.place import place
from . import cases
from .aside import record_aside
from .cases import DONE, LOOK_AGAIN, UPLOAD, Case, CaseSteps, Decision
from .lanes import fair_share, take_batch
from .proof import Prover
from .pump import Pump
from .refused import look_after_refusal
from .run import Run, Steps, said, uidl_text
from .uids import UidBook
from .verdict import set_aside

FETCHES = 1024  # RETR commands under way
NO_FOLDER = (
    "It stays at the source. Make the folder by hand at the destination and run the same command again; "
    "or name it alone in SOURCE, and another folder in DEST."
)
WORK_CHUNK = 512  # work items asked of the books at once
GUESS = 64 * 1024  # octets assumed for a message whose size the source did not list


class Transfer:
    """One pass over the work of a source session."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.pump = Pump(run)
        self.prover = Prover(self.pump, self._proved)
        self.work: deque[Work] = deque()
        self.after = 0  # id of the last work item asked for
        self.is_exhausted = False
        self.is_asking = False
        self.fetching = 0
        self.asked = 0  # octets
        self.arrived: list[Case] = []
        self.is_looking_up = False
        self.deciding: dict[bytes, list[Case]] = {}  # cases under way, by index
        self.behind: dict[bytes, list[Case]] = {}  # wait for a case of their index: what it takes is not theirs
        self.cases_open = 0
        self.ready: deque[Case] = deque()
        self.ready_octets = 0
        self.in_flight: dict[int, int] = dict.fromkeys(run.lanes, 0)  # batches from intent to answer
        # Messages between decision and durable answer, for twins that come behind them.
        self.pending: dict[bytes, list[Case]] = {}
        self.waiting: dict[int, list[Case]] = {}
        self.unproved: dict[int, Case] = {}  # acknowledged, with or without a uid, not yet proved
        self.deferred = 0  # twins of messages that can only be proved at the end: to be fetched once more
        self.apart: list[Work] = []  # a connection ended at them: each goes alone, when all else is safe
        self.is_alone = False
        self.late: list[Work] = []  # from the spool, when everything that is listed has been identified
        self.uids = {name: UidBook(status.uidnext) for name, status in run.mailboxes.items()}

    def steps(self) -> Steps[None]:
        """Ends when nothing is left to do, or something fatal came and nothing is under way. Raises that."""
        yield from self.pump.steps(self._turn)
        self._let_go()
        self.run.held.octets = 0
        if self.pump.fatal is not None:
            raise self.pump.fatal
        self.run.check_stop()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is on its way to a batch."""
        upstream = self.fetching or self.arrived or self.is_looking_up or self.cases_open or self.is_asking
        return not upstream

    def _turn(self) -> None:
        if self.pump.may_start:
            self._refill()
        if self.pump.may_send:
            self._look_up()
            self._flush()
        else:
            self._let_go()
        while self.apart and self.pump.may_start and self.pump.is_quiet:
            self.is_alone = True
            self.late.append(self.apart.pop(0))
            self._refill()

    def _let_go(self) -> None:
        """What will not be sent takes no room: while there is none, nothing that was asked for comes to its end."""
        for some in (self.arrived, self.ready, *self.waiting.values(), *self.behind.values()):
            self.run.loose += len(some)
            for case in some:
                self._drop(case)
        for held in (self.arrived, self.ready, self.waiting, self.behind):
            held.clear()

    # --- fetching ---------------------------------------------------------------------------

    def _refill(self) -> None:
        if self.run.is_limited:
            return  # for now: a message under way may turn out to be known
        if not self.is_exhausted and not self.is_asking and len(self.work) < WORK_CHUNK // 2:
            after = self.after
            self.is_asking = True
            self.pump.start(Ask(lambda books: books.next_work(WORK_CHUNK, after)), self._got_work)
        if self.late and self.is_exhausted and not self.work and self.is_idle:
            # A listed message without a UIDL of its own may have turned out to be one of these.
            self.work.extend(work for work in self.late if work.row.id not in self.run.matched)
            self.late.clear()
        while self.work and self.fetching < FETCHES and not self.run.is_limited:
            cost = self._cost(self.work[0])
            if not self.run.has_room(self.asked, cost, is_spooled=self.work[0].row.is_spooled):
                return
            self.run.started += 1
            self._fetch(self.work.popleft(), cost)

    def _cost(self, work: Work) -> int:
        listed = work.row.octets if work.ref is None else work.ref.octets
        return min(GUESS if listed is None else listed, MEMORY_LIMIT)

    def _got_work(self, outcome: Outcome) -> None:
        self.is_asking = False
        if outcome.error is not None:
            self.pump.fail(outcome.error)
            return
        fresh = [work for work in outcome.value if work.row.id not in self.run.aside and not self._is_held_back(work)]
        self.work.extend(work for work in fresh if work.ref is not None)
        self.late.extend(work for work in fresh if work.ref is None)
        self.is_exhausted = len(outcome.value) < WORK_CHUNK
        if outcome.value:
            self.after = outcome.value[-1].row.id

    def _is_held_back(self, work: Work) -> bool:
        """Whether it goes last, or not at all, because a connection ended at it."""
        if error := self.run.culprits.proven.get(work.row.id):
            self._set_aside(work.row, error, None)
        elif self.run.culprits.holds_back(work.row):
            self.apart.append(work)
        else:
            return False
        return True

    def _fetch(self, work: Work, cost: int) -> None:
        self.asked += cost
        self.fetching += 1
        row_id = work.row.id
        if work.row.is_spooled:
            self.run.uses_spool = True
            command: Command = Ask(lambda books: books.spooled(row_id))
        else:
            assert work.ref is not None
            command = Fetch(work.ref)
        self.pump.start(command, lambda outcome: self._fetched(work, cost, outcome))

    def _fetched(self, work: Work, cost: int, outcome: Outcome) -> None:
        self.fetching -= 1
        self.asked -= cost
        if isinstance(outcome.error, MessageError):
            if work.row.is_spooled and work.ref is not None:  # the spool is damaged, the source still has it
                self._fetch(work._replace(row=work.row._replace(is_spooled=False)), cost)
            else:
                self._set_aside(work.row, outcome.error, None)
            return
        if outcome.error is not None:
            self.pump.fail(outcome.error, [work], is_alone=self.is_alone)
            return
        message: Message = outcome.value
        self.run.held.octets += message.held
        self.run.emit(Fetched(message.octets))
        kept = (message.flags, message.internaldate, message.mailbox)
        placement = place(message.header, self.run.policy, self.run.fetched_at, *kept)
        case = Case(work, message, placement, is_served=not work.row.is_spooled)
        if not self._has_place(placement.mailbox):
            error = MessageError(f"the folder {placement.mailbox} cannot be used at the destination", hint=NO_FOLDER)
            self._set_aside(work.row, error, case)
            return
        facts = self.run.source
        if facts is not None and facts.may_delete_on_fetch and not work.row.is_spooled:
            self._spawn(case, cases.spool_first(self.run, case))
        else:
            self.arrived.append(case)

    def _has_place(self, mailbox: MailboxName) -> bool:
        """Whether the mailbox was opened at the destination."""
        return mailbox in self.run.mailboxes or not self.run.policy.keeps_mailboxes

    # --- deciding ---------------------------------------------------------------------------

    def _look_up(self) -> None:
        """Asks the books about everything that has arrived, in one question at a time."""
        if not self.arrived or self.is_looking_up:
            return
        batch, self.arrived = self.arrived, []
        self.is_looking_up = True
        mailbox = batch[0].placement.mailbox
        later = [case for case in batch if case.placement.mailbox != mailbox]
        batch = [case for case in batch if case.placement.mailbox == mailbox] if later else batch
        self.arrived.extend(later)
        indexes = list({case.message.fingerprint.key.index for case in batch})
        self.pump.start(
            Ask(lambda books: books.lookup(mailbox, indexes)), lambda outcome: self._looked_up(batch, outcome)
        )

    def _looked_up(self, batch: list[Case], outcome: Outcome) -> None:
        self.is_looking_up = False
        if outcome.error is not None:
            self.pump.fail(outcome.error)
            self.arrived = batch + self.arrived
            return
        known: dict[bytes, list[Candidate]] = outcome.value
        for case in batch:
            if case.message.fingerprint.key.index in self.deciding:
                self.behind.setdefault(case.message.fingerprint.key.index, []).append(case)
                continue
            candidates = known.get(case.message.fingerprint.key.index, [])
            candidates = [one for one in candidates if one.row is None or one.row.id != case.work.row.id]
            if not candidates and not case.work.is_unsure and case.work.row.uid_dest is None:
                self._decided(case, UPLOAD)
            else:
                self._spawn(case, cases.decide(self.run, case, candidates))

    def _spawn(self, case: Case, steps: CaseSteps) -> None:
        self.cases_open += 1
        case.is_stale = False
        self.deciding.setdefault(case.message.fingerprint.key.index, []).append(case)
        self._step(case, steps, None)

    def _despawn(self, case: Case) -> None:
        self.cases_open -= 1
        cases.leave(self.deciding, case)
        self.arrived.extend(self.behind.pop(case.message.fingerprint.key.index, []))

    def _step(self, case: Case, steps: CaseSteps, outcome: Outcome | None) -> None:
        try:
            if outcome is None:
                command = next(steps)
            elif outcome.error is not None:
                command = steps.throw(outcome.error)
            else:
                command = steps.send(outcome.value)
        except StopIteration as end:
            self._despawn(case)
            self._decided(case, end.value)
        except MessageError as error:
            self._despawn(case)
            self._set_aside(case.work.row, error, case)
        except MigrateError as error:
            self._despawn(case)
            self.run.loose += 1
            self._drop(case)
            self.pump.fail(error)
        else:
            self.pump.start(command, lambda outcome: self._step(case, steps, outcome))

    def _decided(self, case: Case, decision: Decision) -> None:
        if decision is LOOK_AGAIN or (decision is UPLOAD and case.is_stale):
            # Stale: a message with this index came to its end while we asked about this one.
            case.is_stale = False
            self.arrived.append(case)
        elif decision is DONE:
            self._drop(case)
        elif not self.pump.may_send:
            self.run.loose += 1
            self._drop(case)
        elif (first := cases.twin_under_way(self.run, case, self.pending)) is not None:
            if self.unproved.get(first.work.row.id) is first and first.work.row.uid_dest is None:
                self.deferred += 1
                self._drop(case)
                return
            self.waiting.setdefault(first.work.row.id, []).append(case)
        else:
            self.pending.setdefault(case.message.fingerprint.key.index, []).append(case)
            self.ready.append(case)
            self.ready_octets += case.message.octets

    def _drop(self, case: Case) -> None:
        if held := case.message.held:
            self.run.held.octets -= held
            case.message.discard()
            case.message = case.message.emptied()

    def _proved(self, rows: Sequence[Checkpoint]) -> None:
        """The books know of these rows what the destination said, and what came of the proof."""
        self.run.progress += sum(row.attempts == 1 for row in rows)
        if copied := [row for row in rows if row.stage is not Stage.SET_ASIDE]:
            self.run.emit(Copied(len(copied), sum(row.fingerprint.octets for row in copied if row.fingerprint)))
        for row in rows:
            if row.proven_run == self.run.number and row.mailbox is not None and row.uid_dest is not None:
                self.uids[row.mailbox].rise_above(row.uid_dest)
            case = self.unproved[row.id]
            if row.stage is not Stage.APPENDED:
                del self.unproved[row.id]
                self._settled(case)
            elif row.uid_dest is None:
                case.work = case.work._replace(row=row)
                self._defer_twins(case)

    def _defer_twins(self, case: Case) -> None:
        """It can be proved at the end only: twins that wait for it are fetched once more then."""
        twins = self.waiting.pop(case.work.row.id, [])
        self.deferred += len(twins)
        for twin in twins:
            self._drop(twin)

    def _settled(self, case: Case) -> None:
        """The books know the end of this message: its twins can be decided."""
        cases.leave(self.pending, case)
        for other in self.deciding.get(case.message.fingerprint.key.index, ()):
            other.is_stale = True
        self.arrived.extend(self.waiting.pop(case.work.row.id, []))
        self._drop(case)

    # --- sending ----------------------------------------------------------------------------

    def _flush(self) -> None:
        assert self.run.dest is not None
        facts = self.run.dest
        while self.ready:
            lane = min(self.in_flight, key=lambda one: self.in_flight[one])
            is_full = len(self.ready) >= facts.batch_count or self.ready_octets >= facts.batch_octets
            # A batch that is not full goes only when it would otherwise wait for nothing.
            if self.in_flight[lane] >= facts.in_flight or not (is_full or self.is_idle or not self.in_flight[lane]):
                return
            self._intend(lane, self._take_batch(facts))

    def _take_batch(self, facts: DestFacts) -> list[Case]:
        most = fair_share(facts, len(self.in_flight), len(self.ready)) if self.is_idle else facts.batch_count
        batch = take_batch(self.ready, most, facts.batch_octets)
        self.ready_octets -= sum(case.message.octets for case in batch)
        return batch

    def _intend(self, lane: int, batch: list[Case]) -> None:
        mailbox = batch[0].placement.mailbox
        uidnext = self.uids[mailbox].uidnext
        rows = [cases.intended(self.run, case, uidnext) for case in batch]
        self.in_flight[lane] += 1
        self.pump.start(Commit(tuple(rows)), lambda outcome: self._intended(lane, batch, rows, outcome))

    def _intended(self, lane: int, batch: list[Case], rows: list[Checkpoint], outcome: Outcome) -> None:
        if outcome.error is not None:
            self.pump.fail(outcome.error)
        if self.pump.is_broken:
            self.in_flight[lane] -= 1
            for case in batch:
                self._settled(case)
            return
        for case, row in zip(batch, rows, strict=True):
            case.work = case.work._replace(row=row)
        self._append(lane, batch)

    def _append(self, lane: int, batch: list[Case], *, apart: bool = False) -> None:
        letters = []
        for case in batch:
            row = case.work.row
            assert row.internaldate is not None
            letters.append(Letter(case.message, row.flags, row.internaldate))
        command = Append(lane, batch[0].placement.mailbox, tuple(letters), apart)
        self.pump.start(command, lambda outcome: self._appended(lane, batch, outcome, apart=apart))

    def _appended(self, lane: int, batch: list[Case], outcome: Outcome, *, apart: bool = False) -> None:
        refusal = outcome.error if isinstance(outcome.error, MessageError) else None
        apart = apart or len(batch) == 1
        if refusal is not None and not apart and not self.pump.is_broken:
            rows = [case.work.row for case in batch]
            book = self.uids[batch[0].placement.mailbox]
            look_after_refusal(self.pump, lane, rows, book, lambda error: self._refused(lane, batch, error))
            return
        self.in_flight[lane] -= 1
        if refusal is not None and apart:
            self._record(lane, batch, [refusal] * len(batch))
        elif outcome.error is not None:
            # Nothing is known: the rows stay INTENDED and are looked for, never sent again blindly.
            self.pump.fail(outcome.error, [case.work for case in batch], is_alone=self.is_alone)
            for case in batch:
                self._settled(case)
        else:
            self._record(lane, batch, outcome.value)

    def _refused(self, lane: int, batch: list[Case], error: MigrateError | None) -> None:
        """A batch was refused: its messages are sent apart, all at once, if nothing of it was stored."""
        if error is not None or self.pump.is_broken:
            self._appended(lane, batch, Outcome(None, error=error or self.pump.fatal))
            return
        self._append(lane, batch, apart=True)

    def _record(self, lane: int, batch: list[Case], results: Sequence[Any]) -> None:
        stored: list[Checkpoint] = []
        for case, result in zip(batch, results, strict=True):
            if isinstance(result, MessageError):
                self._set_aside(case.work.row, result, case)
                continue
            row = case.work.row._replace(stage=Stage.APPENDED, uid_dest=self._believed(case.work.row, result))
            case.work = case.work._replace(row=row)
            self._drop(case)
            self.unproved[row.id] = case
            stored.append(row)
        # The answer and its proof, which follows at once, are recorded together.
        if self.pump.may_send and (proving := [row for row in stored if row.uid_dest is not None]):
            self.prover.prove(lane, proving)
            stored = [row for row in stored if row.uid_dest is None]
        if stored:
            self.pump.start(Commit(tuple(stored)), lambda outcome: self._recorded(stored, outcome))

    def _believed(self, row: Checkpoint, said_uid: AppendUid | None) -> int | None:
        """The uid, unless the answer contradicts the intent: then it is as if none came."""
        assert row.mailbox is not None
        if said_uid is None or said_uid.uidvalidity != row.uidvalidity or said_uid.uid < (row.uidnext or 1):
            return None
        return said_uid.uid if self.uids[row.mailbox].claim(said_uid.uid) else None

    def _recorded(self, rows: list[Checkpoint], outcome: Outcome) -> None:
        if outcome.error is not None:
            self.pump.fail(outcome.error)
        else:
            self._proved(rows)

    # --- setting aside ----------------------------------------------------------------------

    def _set_aside(self, row: Checkpoint, error: MessageError, case: Case | None) -> None:
        if case is not None:
            self._drop(case)
        if row.stage not in (Stage.LISTED, Stage.INTENDED, Stage.APPENDED, Stage.SET_ASIDE):
            # It was copied long ago; we only could not make sure that it is still the same message.
            self.run.emit(Notice(f"Message {uidl_text(row)} could not be looked at: {error.what}.", said(error)))
            return
        session = cases.served_session(self.run, case) if case else None
        aside = set_aside(row, error, case.message if case else None, session)
        record_aside(self.pump, aside, error, partial(self._settled, case) if case else lambda: None)
