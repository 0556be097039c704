"""What the source session's listing leaves to do, and which message is which row once its content is known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..model import Checkpoint, MessageRef, Stage, Work
from .database import Database, fault
from .listing import OPEN, Listing, new_rows
from .rows import SELECTED, checkpoint_of
from .schema import quoted

_RELEASABLE = quoted(Stage.VERIFIED, Stage.DUPLICATE, Stage.RELEASING, Stage.RELEASED)
_TO_COPY = quoted(Stage.LISTED, Stage.INTENDED, Stage.SET_ASIDE)
_UNSAFE = quoted(Stage.LISTED, Stage.INTENDED, Stage.APPENDED, Stage.SET_ASIDE)

# What the listing says of the row beside it; all NULL where it does not show the row.
_SHOWN = "b.number, b.uid, b.octets, b.is_unsure AND NOT b.is_resolved"

# A duplicate is as old as its own proof, or as the copy that serves it.
_FROM_RELEASABLE = f"""
FROM bound b CROSS JOIN message m ON m.id = b.row LEFT JOIN message t ON t.id = m.twin
WHERE m.stage IN ({_RELEASABLE}) AND (NOT b.is_unsure OR m.fetched_session = :session)
  AND coalesce(m.verified_at, t.verified_at) <= :before AND b.row > :after"""


class Bindings:
    """Questions about the listing, and the two ways in which a message finds its row."""

    def __init__(self, db: Database, listing: Listing) -> None:
        self._db = db
        self._listing = listing

    # --- what is to do -------------------------------------------------------------------------

    def next_work(self, limit: int, after: int) -> list[Work]:
        self._listing.complete_for(OPEN)
        works: list[Work] = []
        for stage in (Stage.LISTED, Stage.SET_ASIDE):
            works += self._works(
                f"SELECT {SELECTED}, {_SHOWN} FROM message m LEFT JOIN bound b ON b.row = m.id"
                " WHERE m.stage = ? AND m.id > ? AND (b.row IS NOT NULL OR m.is_spooled) ORDER BY m.id LIMIT ?",
                (stage.value, after, limit),
            )
        works += self._virtual_work(limit, after)
        works.sort(key=lambda work: work.row.id)
        return works[:limit]

    def _works(self, sql: str, values: Any) -> list[Work]:
        mailboxes = self._db.mailboxes()
        return [
            Work(
                checkpoint_of(record[:-4], mailboxes),
                None if record[-4] is None else MessageRef(record[-3], record[-4], record[-2]),
                bool(record[-1]),
            )
            for record in self._db.ask(sql, values)
        ]

    def _virtual_work(self, limit: int, after: int) -> list[Work]:
        if not self._listing.virtual:
            return []
        records = self._db.ask(
            "SELECT row, uid, number, octets FROM bound WHERE row > ? AND row BETWEEN ? AND ?"
            " AND NOT EXISTS (SELECT 1 FROM message m WHERE m.id = bound.row) ORDER BY row LIMIT ?",
            (after, self._listing.virtual.start, self._listing.virtual.stop - 1, limit),
        )
        return [
            Work(Checkpoint(row, uid, octets), MessageRef(uid, number, octets), is_unsure=True)
            for row, uid, number, octets in records
        ]

    def virtual(self, row_id: int) -> Checkpoint | None:
        """The row that a message would get, while it has none."""
        if row_id not in self._listing.virtual:
            return None
        records = self._db.ask("SELECT row, uid, octets FROM bound WHERE row = ?", (row_id,))
        return Checkpoint(*records[0]) if records else None

    def releasable(self, limit: int, after: int, before: int, session: int) -> list[Work]:
        self._listing.complete()
        return self._works(
            f"SELECT {SELECTED}, {_SHOWN} {_FROM_RELEASABLE} ORDER BY b.row LIMIT :limit",
            {"session": session, "before": before, "after": after, "limit": limit},
        )

    def count_releasable(self, before: int, session: int, limit: int | None) -> tuple[int, int]:
        self._listing.complete()
        values = {"session": session, "before": before, "after": 0}
        return self._sum(
            f"SELECT coalesce(b.octets, m.size, 0) AS octets {_FROM_RELEASABLE} ORDER BY b.row", values, limit
        )

    def count_open(self, limit: int | None) -> tuple[int, int]:
        self._listing.complete_for(_TO_COPY)
        return self._sum(
            "SELECT coalesce(b.octets, m.octets, 0) AS octets FROM message m LEFT JOIN bound b ON b.row = m.id"
            f" WHERE m.stage IN ({_TO_COPY}) AND (b.row IS NOT NULL OR m.is_spooled)"
            " AND NOT ifnull(b.is_unsure AND NOT b.is_resolved, 0) ORDER BY m.id",
            {},
            limit,
        )

    def _sum(self, sql: str, values: dict[str, int], limit: int | None) -> tuple[int, int]:
        """How many records the statement gives, up to that limit, and the sum of their octets."""
        # To SQLite, every number below zero is no limit.
        values = values | {"limit": -1 if limit is None else max(0, limit)}
        [(count, octets)] = self._db.ask(f"SELECT count(*), ifnull(sum(octets), 0) FROM ({sql} LIMIT :limit)", values)
        return count, octets

    def retrieved_unsafe(self, session: int) -> list[Work]:
        self._listing.complete_for(_UNSAFE)
        return self._works(
            f"SELECT {SELECTED}, {_SHOWN} FROM message m LEFT JOIN bound b ON b.row = m.id"
            f" WHERE m.stage IN ({_UNSAFE}) AND m.fetched_session = ? AND NOT m.is_spooled ORDER BY m.id",
            (session,),
        )

    def fetched_in(self, sessions: Sequence[str], limit: int) -> list[Work]:
        """Messages of the listing with nothing left to do that were fetched in these sessions, the smallest first."""
        self._listing.complete()
        numbers = ", ".join(str(int(session)) for session in sessions)
        return self._works(
            f"SELECT {SELECTED}, {_SHOWN} FROM message m CROSS JOIN bound b ON b.row = m.id WHERE m.stage IN"
            f" ({_RELEASABLE}) AND m.fetched_session IN ({numbers}) AND NOT b.is_unsure ORDER BY b.octets LIMIT ?",
            (limit,),
        )

    def is_listed(self, row_id: int) -> bool:
        self._listing.complete()
        return bool(self._db.ask("SELECT 1 FROM bound WHERE row = ?", (row_id,)))

    # --- which message is which row ------------------------------------------------------------

    def bind(self, ref: MessageRef, keep: Checkpoint, placeholder: int) -> bool:
        """Whether the placeholder ceased to be, now that ``ref`` is the message of ``keep``.

        A placeholder that an earlier listing made stays when ``keep`` has had
        this UIDL before: the listing shows as many messages of the UIDL as
        before, so it is some other message's, or gone.
        """
        self._listing.complete()
        with self._db.transaction() as c:
            if self.is_listed(keep.id) and not self._is_bound(ref, keep.id):
                raise fault(f"the listing shows the message of row {keep.id} under another number already")
            if not c.execute(
                "UPDATE bound SET row = ?, is_resolved = 1 WHERE number = ?", (keep.id, ref.number)
            ).rowcount:
                raise fault(f"the source session's listing has no message number {ref.number}")
            if placeholder not in self._listing.fresh and keep.uid == ref.uid:
                c.execute("INSERT OR IGNORE INTO spare SELECT uid, id FROM blank WHERE id = ?", (placeholder,))
                return False
            content = None if keep.fingerprint is None else keep.fingerprint.key.content
            return bool(
                c.execute(
                    "DELETE FROM message WHERE id = ? AND id <> ? AND stage = 'listed' AND uid_dest IS NULL"
                    " AND (content IS NULL OR content = ?)"
                    " AND NOT EXISTS (SELECT 1 FROM bound b WHERE b.row = message.id)",
                    (placeholder, keep.id, content),
                ).rowcount
            )

    def _is_bound(self, ref: MessageRef, row_id: int) -> bool:
        return bool(self._db.ask("SELECT 1 FROM bound WHERE number = ? AND row = ?", (ref.number, row_id)))

    def split(self, ref: MessageRef) -> Checkpoint:
        self._listing.complete()
        with self._db.transaction() as c:
            row_id = self._db.take("message")
            changed = c.execute("UPDATE bound SET row = ?, is_resolved = 1 WHERE number = ?", (row_id, ref.number))
            if not changed.rowcount:
                raise fault(f"the source session's listing has no message number {ref.number}")
            c.execute("UPDATE bound SET uid = ?, octets = ? WHERE number = ?", (ref.uid, ref.octets, ref.number))
            c.execute(new_rows("bound WHERE row = ?"), (row_id,))
        return Checkpoint(row_id, ref.uid, ref.octets)

    def make_real(self, row_id: int, *, is_known: bool) -> None:
        """Makes the row that was only a number until now, if it is one; inside a transaction.

        Where its content is known to be new, it takes the place of a row of its
        UIDL that was never fetched and that the listing no longer needs.
        """
        if row_id not in self._listing.virtual:
            return
        c = self._db.connection
        uids = c.execute(
            "SELECT uid FROM bound WHERE row = ? AND NOT EXISTS (SELECT 1 FROM message m WHERE m.id = bound.row)",
            (row_id,),
        ).fetchall()
        if not uids:
            return
        c.execute(new_rows("bound WHERE row = ?"), (row_id,))
        if is_known:
            spare = c.execute(
                "SELECT s.uid, s.id FROM spare s JOIN message m ON m.id = s.id"
                " WHERE s.uid = ? AND m.stage = 'listed' AND m.exact IS NULL AND NOT m.is_spooled LIMIT 1",
                uids[0],
            ).fetchone()
            if spare is not None:
                c.execute("DELETE FROM message WHERE id = ?", spare[1:])
                c.execute("DELETE FROM spare WHERE uid = ? AND id = ?", spare)
