"""Proof that the destination has what it said it took (step 7 of the walk)."""

from __future__ import annotations

from collections.abc import Callable, Container, Sequence

from ..commands import Ask, Commit, FetchHeaders, Outcome, ReadBack, Served
from ..errors import MessageError, MigrateError
from ..events import Altered, Verified
from ..model import Checkpoint, Fingerprint, MailboxName, Stage, Verify
from ..rules.dedupe import Digester
from .aside import record_aside
from .pump import Pump
from .run import Run, Steps, uidl_text
from .verdict import DIFFERENT, is_anothers, judge, set_aside, settled_digester

SAMPLE = 32  # of so many messages about one is read back whole
CHUNK = 100


class Prover:
    """Proves rows that the destination acknowledged, beside whatever else is under way.

    The books need not know of the acknowledgement: what it was worth is recorded with the proof, or where none comes.
    """

    def __init__(self, pump: Pump, on_end: Callable[[Sequence[Checkpoint]], None] = lambda rows: None) -> None:
        self.pump = pump
        # Told of every row when the books know what came of it: APPENDED with its uid when no proof was to be had,
        # without one when it was not there.
        self.on_end = on_end
        self.run = pump.run
        self.proved = 0
        self.not_there = 0  # rows whose copy was not where it should be

    def prove(self, lane: int, rows: Sequence[Checkpoint]) -> None:
        """Starts the proof of rows APPENDED with a uid, all of one mailbox."""
        whole = [row for row in rows if self._needs_octets(row)]
        chosen = {row.id for row in whole}
        by_size = [row for row in rows if row.id not in chosen]
        if whole:
            self._read(lane, whole)
        if by_size:
            mailbox, uids = _where(by_size)
            self.pump.start(FetchHeaders(lane, mailbox, uids, ()), lambda outcome: self._sized(lane, by_size, outcome))

    def _needs_octets(self, row: Checkpoint) -> bool:
        self.proved += 1
        if self.run.wants_deletion or self.run.policy.verify is Verify.FULL or self.proved == 1:
            return True
        fingerprint = row.fingerprint
        assert fingerprint is not None
        # A server may change octets that are not clean; a clean message it must keep.
        return bool(fingerprint.oddities) or fingerprint.exact[0] % SAMPLE == 0

    def _sized(self, lane: int, rows: list[Checkpoint], outcome: Outcome) -> None:
        if outcome.error is not None:
            self._leave(rows, outcome.error)
            return
        served: dict[int | None, Served] = {one.uid: one for one in outcome.value}
        same: list[Checkpoint] = []
        other: list[Checkpoint] = []
        for row in rows:
            assert row.fingerprint is not None
            one = served.get(row.uid_dest)
            (same if one is not None and one.octets == row.fingerprint.octets else other).append(row)
        if same:
            self._commit([self._verified(row, "size") for row in same], "size")
        if other and self.pump.may_send:
            self._read(lane, other)
        elif other:
            self._leave(other)

    def _read(self, lane: int, rows: list[Checkpoint]) -> None:
        mailbox, uids = _where(rows)
        is_clean = all(row.fingerprint is not None and row.fingerprint.settled is None for row in rows)
        command = ReadBack(lane, mailbox, uids, Digester if is_clean else settled_digester)
        self.pump.start(command, lambda outcome: self._served(rows, outcome))

    def _served(self, rows: list[Checkpoint], outcome: Outcome) -> None:
        if outcome.error is not None:
            self._leave(rows, outcome.error)
            return
        good = []
        for row in rows:
            result = judge(row, outcome.value.get(row.uid_dest))
            if isinstance(result, MessageError):
                if result is DIFFERENT:
                    self._differs(row, outcome.value[row.uid_dest])
                else:
                    self._not_there(row)
                continue
            proof = "octets" + (f", changed: {'; '.join(result)}" if result else "")
            good.append(self._verified(row, proof))
            if result:
                self.run.emit(Altered(row.id, uidl_text(row), result))
        if good:
            self._commit(good, "octets")

    def _verified(self, row: Checkpoint, proof: str) -> Checkpoint:
        proven = self.run.number if proof.startswith("octets") else None
        at = row.verified_at or int(self.run.fetched_at)
        return row._replace(
            stage=Stage.VERIFIED, proof=proof, verified_at=at, proven_run=proven, reason="", is_spooled=False
        )

    def _commit(self, rows: list[Checkpoint], kind: str) -> None:
        ids = [row.id for row in rows]

        def done(outcome: Outcome) -> None:
            if outcome.error is not None:
                self.pump.fail(outcome.error)
                return
            self.on_end(rows)
            self.run.note_achieved(len(rows))
            self.run.emit(Verified(len(rows), kind))
            # Removing what was never spooled costs nothing, so nobody has to remember what was.
            if self.run.uses_spool:
                self.pump.start(Ask(lambda books: books.unspool(ids)), self._unspooled)

        self.pump.start(Commit(tuple(rows)), done)

    def _unspooled(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self.pump.fail(outcome.error)

    def _not_there(self, row: Checkpoint) -> None:
        """Perhaps not yet, perhaps under another uid: it is looked for at the end, by its octets."""
        self.not_there += 1
        self._leave([row._replace(uid_dest=None)])

    def _leave(self, rows: Sequence[Checkpoint], error: MigrateError | None = None) -> None:
        """Records rows as they are. After an error that is the end, and what is not recorded is looked for again."""
        if error is not None:
            self.pump.fail(error)

        def done(outcome: Outcome) -> None:
            if outcome.error is not None:
                self.pump.fail(outcome.error)
                return
            self.on_end(rows)

        self.pump.start(Commit(tuple(rows)), done)

    def _differs(self, row: Checkpoint, served: Fingerprint) -> None:
        """Refuses the row, unless another message of ours by the same index stands there: its uid is not true."""
        mailbox, indexes = row.mailbox, [served.key.index]
        assert mailbox is not None

        def known(outcome: Outcome) -> None:
            if outcome.error is not None:
                self._leave([row], outcome.error)
                return
            rows = (one.row for one in outcome.value.get(served.key.index, ()) if one.row)
            if is_anothers(served, row, rows):
                self._not_there(row)
            else:
                self._refuse(row, DIFFERENT)

        self.pump.start(Ask(lambda books: books.lookup(mailbox, indexes)), known)

    def _refuse(self, row: Checkpoint, error: MessageError) -> None:
        aside = set_aside(row, error, None, row.fetched_session)
        record_aside(self.pump, aside, error, lambda: self.on_end([aside]))


def _where(rows: Sequence[Checkpoint]) -> tuple[MailboxName, list[int]]:
    mailbox = rows[0].mailbox
    assert mailbox is not None
    return mailbox, [row.uid_dest for row in rows if row.uid_dest is not None]


def prove_rest(run: Run) -> Steps[int]:
    """Proves what earlier runs, or servers that do not say uids, left acknowledged and unproven.

    Value: how many are not where the destination said.
    """
    after = not_there = 0
    while True:
        rows = yield from run.ask(lambda books, after=after: books.awaiting_proof(1000, after))  # type: ignore[misc]
        if not rows:
            return not_there
        after = rows[-1].id
        # What an earlier run kept beside the state file has to go too.
        run.uses_spool = run.uses_spool or any(row.is_spooled for row in rows)
        pump = Pump(run)
        prover = Prover(pump)
        for chunk in _chunks(rows, run.mailboxes):
            prover.prove(run.lanes[0], chunk)
        yield from pump.steps(lambda: None)
        not_there += prover.not_there
        if pump.fatal is not None:
            raise pump.fatal
        run.check_stop()


def _chunks(rows: Sequence[Checkpoint], mailboxes: Container[MailboxName | None]) -> list[list[Checkpoint]]:
    groups: dict[MailboxName | None, list[Checkpoint]] = {}
    for row in rows:
        if row.mailbox in mailboxes:
            groups.setdefault(row.mailbox, []).append(row)
    return [group[i : i + CHUNK] for group in groups.values() for i in range(0, len(group), CHUNK)]
