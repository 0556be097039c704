"""What the state file knows of the destination: its mailboxes, what they held before us, which uid is whose.

One uid belongs to at most one row (rule R6): a unique index of ``message``
holds that. ``served`` is the index of everything else in a mailbox; a uid that
a row claims later is left out when it is read.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence

from ..books import Candidate, MailboxMemory
from ..model import Checkpoint, MailboxName, Stage
from .database import Database
from .rows import damaged_row, seal_small, sealed
from .schema import quoted

# Rows that were seen at the destination claim before those that it only acknowledged: else a twin that was never
# stored would take the copy of one whose source is gone.
_CLAIM_ORDER = "m.stage WHEN 'appended' THEN 1 WHEN 'intended' THEN 2 WHEN 'set aside' THEN 3"
_SAFE_STAGES = (Stage.VERIFIED, Stage.RELEASING, Stage.RELEASED)
_SAFE = quoted(*_SAFE_STAGES)
_OTHERS = quoted(*(stage for stage in Stage if stage not in _SAFE_STAGES))
_UNDER_WAY = quoted(Stage.INTENDED, Stage.APPENDED)
_THERE_BEFORE = f"(stage = '{Stage.DUPLICATE.value}' AND twin IS NULL)"
_NOT_SAFE = quoted(Stage.LISTED, Stage.INTENDED, Stage.APPENDED, Stage.SET_ASIDE)
_NO_CANDIDATES = quoted(Stage.LISTED, Stage.GONE)
LOOKUP_CHUNK = 128  # indexes asked for in one statement; a power of two


class Destination:
    def __init__(self, db: Database) -> None:
        self._db = db

    # --- mailboxes -----------------------------------------------------------------------------

    def mailbox(self, name: MailboxName) -> MailboxMemory | None:
        number = self._db.mailbox_id(name)
        if number is None:
            return None
        [columns] = self._db.ask(
            "SELECT id, name, uidvalidity, floor, scanned, looked, seal FROM mailbox WHERE id = ?", (number,)
        )
        if columns[-1] != seal_small(*columns[:-1]):
            raise damaged_row(f"the mailbox {number}")
        uidvalidity, floor, scanned, looked = columns[2:6]
        return None if uidvalidity is None else MailboxMemory(uidvalidity, floor, scanned, looked)

    def remember_mailbox(self, name: MailboxName, memory: MailboxMemory) -> None:
        before = self.mailbox(name)
        with self._db.transaction() as c:
            number = self._db.ensure_mailbox(name)
            known = (memory.uidvalidity, memory.floor, memory.scanned, memory.looked)
            c.execute(
                "UPDATE mailbox SET uidvalidity = ?, floor = ?, scanned = ?, looked = ?, seal = ? WHERE id = ?",
                (*known, seal_small(number, str(name), *known), number),
            )
        if before is None or before.floor != memory.floor:
            # From here on all that comes above the floor can be found to be ours, also by a file whose log is lost.
            self._db.checkpoint()

    def is_apart(self, name: MailboxName) -> bool | None:
        memory = self.mailbox(name)
        if memory is None:
            return None
        known: int | None = self._db.meta(self._apart(name, memory))
        return None if known is None else bool(known)

    def note_apart(self, name: MailboxName, is_apart: bool) -> None:
        memory = self.mailbox(name)
        assert memory is not None
        with self._db.transaction():
            self._db.set_meta(self._apart(name, memory), int(is_apart))

    def _apart(self, name: MailboxName, memory: MailboxMemory) -> str:
        return f"apart {self._db.mailbox_id(name)} {memory.uidvalidity}"

    def forget_uids(self, name: MailboxName) -> int:
        with self._db.transaction() as c:
            number = self._db.ensure_mailbox(name)
            # A proof was of the copy under that uid.
            touched = c.execute(
                "UPDATE message SET uid_dest = NULL, proven_run = NULL,"
                f" seal = {sealed(uid_dest='NULL', proven_run='NULL')} WHERE mailbox = ? AND uid_dest IS NOT NULL",
                (number,),
            ).rowcount
            c.execute("DELETE FROM served WHERE mailbox = ?", (number,))
        return int(touched)

    def open_mailboxes(self) -> list[MailboxName]:
        names = self._db.mailboxes()
        # Rows are asked about only for one that no run has worked on.
        used = self._db.ask(
            "SELECT id FROM mailbox WHERE uidvalidity IS NOT NULL"
            " OR EXISTS (SELECT 1 FROM message m WHERE m.mailbox = mailbox.id) ORDER BY id"
        )
        return [names[number] for (number,) in used]

    # --- uids ----------------------------------------------------------------------------------

    def stored(self) -> dict[MailboxName, tuple[list[int], int]]:
        found: dict[MailboxName, tuple[list[int], int]] = {}
        claimed = "SELECT uid_dest FROM message WHERE mailbox = ? AND uid_dest IS NOT NULL ORDER BY uid_dest"
        unsafe = f"SELECT uid_dest FROM message WHERE stage IN ({_NOT_SAFE}) AND mailbox = ? AND uid_dest IS NOT NULL"
        # A duplicate that is none of another row's message has a copy of its own: it was there before us.
        safe = f"stage IN ({_SAFE}) OR " if self._lacks_claims() else ""
        lost = f"SELECT count(*) FROM message WHERE mailbox = ? AND uid_dest IS NULL AND ({safe}{_THERE_BEFORE})"
        for number, name in self._db.mailboxes().items():
            not_safe = {uid for (uid,) in self._db.ask(unsafe, (number,))}
            uids = [uid for (uid,) in self._db.ask(claimed, (number,)) if uid not in not_safe]
            found[name] = (uids, int(self._db.one(lost, (number,))))
        return found

    def highest_uids(self) -> dict[MailboxName, int]:
        names = self._db.mailboxes()
        rows = self._db.ask("SELECT mailbox, max(uid_dest) FROM message WHERE uid_dest IS NOT NULL GROUP BY mailbox")
        return {names[number]: uid for number, uid in rows}

    def _lacks_claims(self) -> bool:
        """Whether any row that was safe claims no uid. Two indexes tell it, without a look at the rows."""
        return bool(
            self._db.one(
                f"SELECT (SELECT count(*) FROM message WHERE stage IN ({_SAFE}))"
                " - (SELECT count(*) FROM message WHERE uid_dest IS NOT NULL)"
                f" + (SELECT count(*) FROM message WHERE stage IN ({_OTHERS}) AND uid_dest IS NOT NULL)"
            )
        )

    def unplaced(self, name: MailboxName) -> list[Checkpoint]:
        safe = f", {_SAFE}" if self._lacks_claims() else ""
        return self._db.checkpoints(
            f"WHERE m.mailbox = ? AND m.uid_dest IS NULL AND (m.origin IS NULL OR m.origin = 'copied') AND"
            f" (m.stage IN ({_UNDER_WAY}{safe}) OR (m.stage = 'set aside' AND m.uidvalidity IS NOT NULL))"
            f" ORDER BY CASE {_CLAIM_ORDER} ELSE 0 END, m.id",
            (self._db.mailbox_id(name),),
        )

    def unknown_uids(self, name: MailboxName, uids: Sequence[int]) -> list[int]:
        number = self._db.mailbox_id(name)
        wanted = sorted(uids)
        served = "SELECT uid FROM served WHERE mailbox = ? AND uid BETWEEN ? AND ? ORDER BY uid"
        return list(_without(wanted, heapq.merge(self._claimed(number, wanted), self._among(served, number, wanted))))

    def _claimed(self, number: int | None, wanted: Sequence[int]) -> Iterator[int]:
        # Claims under an older UIDVALIDITY do not exist: ``forget_uids`` took them away.
        claimed = "SELECT uid_dest FROM message WHERE mailbox = ? AND uid_dest BETWEEN ? AND ? ORDER BY uid_dest"
        return self._among(claimed, number, wanted)

    def _among(self, sql: str, number: int | None, wanted: Sequence[int]) -> Iterator[int]:
        """What the question gives between the first and the last of the uids that are wanted."""
        if wanted:
            for (uid,) in self._db.stream(sql, (number, wanted[0], wanted[-1])):
                yield uid

    # --- index ---------------------------------------------------------------------------------

    def suspects(self, name: MailboxName, low: int) -> list[int]:
        number = self._db.mailbox_id(name)
        records = self._db.ask(
            "SELECT DISTINCT s.uid FROM served s JOIN message m ON m.idx = s.idx"
            " WHERE s.mailbox = ? AND s.uid >= ? AND m.uid_dest IS NOT NULL AND NOT EXISTS"
            " (SELECT 1 FROM message c WHERE c.mailbox = s.mailbox AND c.uid_dest = s.uid) ORDER BY s.uid",
            (number, low),
        )
        return [uid for (uid,) in records]

    def holders(self, indexes: Sequence[bytes]) -> dict[bytes, list[Checkpoint]]:
        where = "WHERE m.idx = ? AND m.uid_dest IS NOT NULL ORDER BY m.id"
        return {index: self._db.checkpoints(where, (index,)) for index in indexes}

    def index(self, name: MailboxName, served: Sequence[tuple[int, bytes, int]]) -> None:
        with self._db.transaction() as c:
            number = self._db.ensure_mailbox(name)
            c.executemany(
                "INSERT OR REPLACE INTO served (mailbox, uid, idx, octets, seal) VALUES (?, ?, ?, ?, ?)",
                (
                    (number, uid, index, octets, seal_small(number, uid, index, octets, None))
                    for uid, index, octets in served
                ),
            )

    def learn(self, name: MailboxName, uid: int, content: bytes | None) -> None:
        number = self._db.mailbox_id(name)
        with self._db.transaction() as c:
            if content is None:
                c.execute("DELETE FROM served WHERE mailbox = ? AND uid = ?", (number, uid))
                return
            c.execute(
                "UPDATE served SET content = ?1, seal = seal_small(mailbox, uid, idx, octets, ?1)"
                " WHERE mailbox = ?2 AND uid = ?3",
                (content, number, uid),
            )

    def lookup(self, name: MailboxName, indexes: Sequence[bytes]) -> dict[bytes, list[Candidate]]:
        number = self._db.mailbox_id(name)
        wanted = list(dict.fromkeys(indexes))
        known = set[bytes]()
        for start in range(0, len(wanted), LOOKUP_CHUNK):
            known |= self._known(number, wanted[start : start + LOOKUP_CHUNK])
        found: dict[bytes, list[Candidate]] = {}
        for index in wanted:
            if index not in known:
                continue
            candidates = [Candidate(row) for row in self._rows_with(number, index)]
            candidates += self._served_with(number, index)
            if candidates:
                found[index] = candidates
        return found

    def _known(self, number: int | None, indexes: Sequence[bytes]) -> set[bytes]:
        """Those that anything goes by. Of a first migration that is next to none: one question instead of hundreds."""
        # Some are asked for twice, so that there are a few such statements and not one of each length: they are kept.
        places = 1 << (len(indexes) - 1).bit_length()
        indexes = [*indexes, *indexes[: places - len(indexes)]]
        marks = ", ".join("?" * places)
        sql = f"SELECT idx FROM message WHERE idx IN ({marks})"
        if number is None:
            return {idx for (idx,) in self._db.ask(sql, indexes)}
        sql += f" UNION ALL SELECT idx FROM served WHERE mailbox = ? AND idx IN ({marks})"
        return {idx for (idx,) in self._db.ask(sql, (*indexes, number, *indexes))}

    def _rows_with(self, number: int | None, index: bytes) -> list[Checkpoint]:
        # A message set aside before it had a place has no mailbox yet.
        return self._db.checkpoints(
            f"WHERE m.idx = ? AND (m.stage NOT IN ({_NO_CANDIDATES}) OR m.is_spooled)"
            " AND (m.mailbox = ? OR m.mailbox IS NULL) ORDER BY m.id",
            (index, number),
        )

    def _served_with(self, number: int | None, index: bytes) -> Iterator[Candidate]:
        if number is None:
            return
        for *columns, seal in self._db.ask(
            "SELECT mailbox, uid, idx, octets, content, seal FROM served s WHERE mailbox = ? AND idx = ?"
            " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.mailbox = s.mailbox AND m.uid_dest = s.uid) ORDER BY uid",
            (number, index),
        ):
            if seal != seal_small(*columns):
                raise damaged_row(f"the entry of uid {columns[1]}")
            yield Candidate(None, columns[1], columns[3], columns[4])


def _without(wanted: Iterable[int], known: Iterable[int]) -> Iterator[int]:
    """What is wanted and not known; both ascend."""
    knowns = iter(known)
    other = next(knowns, None)
    for one in wanted:
        while other is not None and other < one:
            other = next(knowns, None)
        if other != one:
            yield one
