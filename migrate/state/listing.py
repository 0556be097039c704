"""What one listing of the source means: which row each message that it shows is.

A UIDL that stands alone, with the listed size that its one row has, is its
row. Where a UIDL is missing, repeated, or shows another size, only the content
tells (``is_unsure``). Such a message is bound to a row of its UIDL of which
nothing was ever copied; those are interchangeable. Where there is none left,
it gets a number for a row that comes to be only when its content turns out to
be new, and else is bound to the row that it is (``work.Bindings.bind``). So no
row with known content is ever taken for a message that nobody has looked at.

As many rows are made at once as there are certainly unknown messages: more of
the UIDL in the listing than rows that are not yet released.

A listing that shows what the last one showed means the same again, where that
one left nothing to do (``shown``). It is bound only when somebody asks which
message is which row (``complete``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from typing import Any

from ..books import ListingFacts
from ..model import MessageRef, Stage
from .database import Database
from .rows import sealed
from .schema import COLUMNS, quoted
from .shown import as_before, digest_of, note

LARGEST = 2**63 - 1  # a listed size is a hint; SQLite holds no larger number

OPEN = quoted(Stage.LISTED, Stage.SET_ASIDE)
TO_COPY = (Stage.LISTED.value, Stage.INTENDED.value, Stage.SET_ASIDE.value)
_LEFT = (Stage.RELEASING, Stage.RELEASED, Stage.GONE)  # no wonder when the source shows them no more
LEFT = quoted(*_LEFT)

_FRESH = dict.fromkeys(COLUMNS, "NULL") | {
    "stage": f"'{Stage.LISTED.value}'",
    "flags": "''",
    "proof": "''",
    "reason": "''",
    "attempts": "0",
    "is_spooled": "0",
}


def new_rows(source: str, *, id: str = "row") -> str:
    """The statement that makes LISTED rows from columns ``id``, uid and octets of a source."""
    seal = sealed(**_FRESH | {"id": id, "uid": "uid", "octets": "octets"})
    return (
        f"INSERT INTO message (id, uid, octets, stage, seal) SELECT {id}, uid, octets, '{Stage.LISTED.value}', {seal}"
        f" FROM {source}"
    )


class Listing:
    """The table ``bound`` of the source session: message number -> row."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._late: Iterable[MessageRef] | None = None  # means what the one before meant, and is not bound yet
        self.fresh = range(0)  # ids of the rows that this listing made
        self.virtual = range(0)  # ids given to messages that have no row yet

    def record(self, refs: Iterable[MessageRef]) -> ListingFacts:
        """What the listing means. One transaction; without news nothing is written."""
        digest = digest_of(refs)
        before = as_before(self._db, digest)
        if before is None:
            self._late = None
            return self._bind(refs, digest)
        self._late, self.fresh, self.virtual = refs, range(0), range(0)
        return self._since_count(before)

    def complete(self) -> None:
        """Binds what was not bound yet; outside a transaction. Whoever asks about ``bound`` calls it before."""
        if self._late is not None:
            self._bind(self._late, digest_of(self._late))
            self._late = None

    def complete_for(self, stages: str) -> None:
        """The same where a row is in one of these stages; else the listing has nothing to say about any."""
        if self._late is not None and self._db.ask(f"SELECT 1 FROM message WHERE stage IN ({stages}) LIMIT 1"):
            self.complete()

    def _bind(self, refs: Iterable[MessageRef], digest: str) -> ListingFacts:
        with self._db.transaction() as c:
            self._take_in(c, refs)
            if not self._is_plain(c):
                self._find_unsure(c)
            new = self._number_new(c)
            fresh, virtual = self._bind_unsure(c, new)
            c.execute("CREATE INDEX IF NOT EXISTS temp.bound_row ON bound (row)")
            if fresh:
                c.execute(new_rows("bound WHERE row BETWEEN ? AND ? ORDER BY row"), (fresh.start, fresh.stop - 1))
            self._bring_back(c)
            self._wipe(c)
            facts = self._facts(c, len(fresh))
            note(self._db, digest, facts)
        self.fresh, self.virtual = fresh, virtual
        return facts

    def _take_in(self, c: sqlite3.Connection, refs: Iterable[MessageRef]) -> None:
        for name in ("bound_row", "bound_uid"):
            c.execute(f"DROP INDEX IF EXISTS temp.{name}")
        for table in ("bound", "unsure", "blank", "spare", "pair"):
            c.execute(f"DELETE FROM temp.{table}")
        # With the row of this UIDL and size, if it stands alone (``_is_plain``): asked on its way in it costs a third.
        c.executemany(
            "INSERT INTO bound (number, uid, octets, is_fault, row) VALUES"
            " (?1, ?2, ?3, ?4, (SELECT m.id FROM message m WHERE m.uid = ?2 AND m.octets IS ?3))",
            _columns(refs),
        )
        c.execute("CREATE INDEX temp.bound_row ON bound (row)")

    def _is_plain(self, c: sqlite3.Connection) -> bool:
        """Whether no message is unsure: each UIDL stands alone, in the listing and among the rows, with one size."""
        is_doubtful = c.execute(
            # Two of the listing are one row.
            "SELECT (SELECT count(row) - count(DISTINCT row) FROM bound)"
            # One is a row that shares its UIDL with other rows, or has none.
            " OR EXISTS (SELECT 1 FROM (SELECT uid FROM message GROUP BY uid HAVING count(*) > 1 OR uid = x'') d"
            " CROSS JOIN message m ON m.uid = d.uid CROSS JOIN bound b ON b.row = m.id)"
            # One is no row, and has the UIDL of one, or the same as another, or none.
            " OR EXISTS (SELECT 1 FROM bound b CROSS JOIN message m ON m.uid = b.uid WHERE b.row IS NULL)"
            " OR (SELECT count(*) - count(DISTINCT nullif(uid, x'')) FROM bound WHERE row IS NULL)"
        ).fetchone()[0]
        return not is_doubtful

    def _find_unsure(self, c: sqlite3.Connection) -> None:
        c.execute("DROP INDEX temp.bound_row")
        c.execute("UPDATE bound SET row = NULL")
        c.execute("CREATE INDEX temp.bound_uid ON bound (uid)")
        mark = "UPDATE bound SET is_unsure = 1 WHERE uid IN (SELECT uid FROM unsure) AND NOT is_unsure"
        c.execute("INSERT INTO unsure (uid) SELECT uid FROM bound GROUP BY uid HAVING count(*) > 1 OR uid = x''")
        c.execute(mark)
        # Only UIDLs that stand alone here are compared: of a source without any, all rows have the same.
        c.execute(
            "INSERT INTO unsure (uid) SELECT b.uid FROM bound b JOIN message m ON m.uid = b.uid"
            " WHERE NOT b.is_unsure GROUP BY b.uid HAVING count(*) > 1 OR max(m.octets IS NOT b.octets)"
        )
        c.execute(mark)
        c.execute("UPDATE bound SET row = (SELECT m.id FROM message m WHERE m.uid = bound.uid) WHERE NOT is_unsure")

    def _number_new(self, c: sqlite3.Connection) -> range:
        """Numbers of new rows for the messages whose UIDL nobody has seen."""
        count = c.execute("SELECT count(*) FROM bound WHERE row IS NULL AND NOT is_unsure").fetchone()[0]
        first = self._db.take("message", count)
        if count:
            c.execute(
                "INSERT INTO pair SELECT number, ? + row_number() OVER (ORDER BY number) - 1 FROM bound"
                " WHERE row IS NULL AND NOT is_unsure",
                (first,),
            )
            self._take_pairs(c)
        return range(first, first + count)

    def _take_pairs(self, c: sqlite3.Connection) -> None:
        c.execute(
            "UPDATE bound SET row = (SELECT p.row FROM pair p WHERE p.number = bound.number)"
            " WHERE number IN (SELECT number FROM pair)"
        )
        c.execute("UPDATE blank SET is_taken = 1 WHERE id IN (SELECT row FROM pair)")
        c.execute("DELETE FROM pair")

    # --- unsure messages -----------------------------------------------------------------------

    def _bind_unsure(self, c: sqlite3.Connection, new: range) -> tuple[range, range]:
        """All numbers of new rows, and those given to messages without a row."""
        if c.execute("SELECT 1 FROM unsure LIMIT 1").fetchone() is None:
            return new, range(0)
        c.execute(
            "INSERT INTO blank (id, uid, octets, rank) SELECT m.id, m.uid, m.octets,"
            " CASE m.stage WHEN 'listed' THEN 0 WHEN 'set aside' THEN 1 ELSE 2 END"
            " FROM unsure u JOIN message m ON m.uid = u.uid WHERE NOT m.is_spooled AND"
            " (m.stage IN ('listed', 'gone') OR (m.stage = 'set aside' AND m.uidvalidity IS NULL))"
        )
        # The same size first. What is gone comes back only with the size that it had.
        self._match(c, "uid, octets", "uid, octets", "1", _uid_and_octets)
        self._match(c, "uid", "uid", "rank < 2", _uid_only)
        c.execute(
            "UPDATE unsure SET refs = (SELECT count(*) FROM bound b WHERE b.uid = unsure.uid), rows ="
            " (SELECT count(*) FROM message m WHERE m.uid = unsure.uid AND m.stage NOT IN ('released', 'gone'))"
            " + (SELECT count(*) FROM blank k WHERE k.uid = unsure.uid AND k.rank = 2 AND k.is_taken)"
        )
        return self._number_unsure(c, new)

    def _match(
        self, c: sqlite3.Connection, ref_order: str, blank_order: str, which: str, key: Callable[[Any], Any]
    ) -> None:
        refs = c.execute(
            f"SELECT uid, octets, number FROM bound WHERE is_unsure AND row IS NULL ORDER BY {ref_order}, number"
        )
        blanks = c.execute(
            f"SELECT uid, octets, id FROM blank WHERE NOT is_taken AND {which} ORDER BY {blank_order}, rank, id"
        )
        c.executemany("INSERT INTO pair VALUES (?, ?)", ((r[2], b[2]) for r, b in _pairs(refs, blanks, key)))
        self._take_pairs(c)

    def _number_unsure(self, c: sqlite3.Connection, new: range) -> tuple[range, range]:
        left = c.execute("SELECT count(*) FROM bound WHERE row IS NULL").fetchone()[0]
        unknown = c.execute("SELECT ifnull(sum(max(0, refs - rows)), 0) FROM unsure").fetchone()[0]
        first = self._db.take("message", left)
        with_row, without = iter(range(first, first + unknown)), iter(range(first + unknown, first + left))

        def numbered() -> Iterator[tuple[int, int]]:
            uid, place = None, 0
            for number, ref_uid, lacking in c.execute(
                "SELECT b.number, b.uid, u.refs - u.rows FROM bound b JOIN unsure u ON u.uid = b.uid"
                " WHERE b.row IS NULL ORDER BY b.uid, b.number"
            ):
                uid, place = (uid, place + 1) if ref_uid == uid else (ref_uid, 0)
                yield number, next(with_row if place < lacking else without)

        c.executemany("INSERT INTO pair VALUES (?, ?)", numbered())
        self._take_pairs(c)
        # Both ranges were taken from one counter, one after the other.
        start = new.start if new else first
        return range(start, first + unknown), range(first + unknown, first + left)

    def _bring_back(self, c: sqlite3.Connection) -> None:
        listed = f"'{Stage.LISTED.value}'"
        c.execute(
            f"UPDATE message SET stage = {listed}, seal = {sealed(stage=listed)}"
            " WHERE stage = 'gone' AND EXISTS (SELECT 1 FROM bound b WHERE b.row = message.id)"
        )

    def _wipe(self, c: sqlite3.Connection) -> None:
        """Forgets what was fetched for rows that any message of their UIDL may now take."""
        columns = (
            "size", "exact", "settled", "oddities", "idx", "content", "has_message_id", "fetched_session"
        )  # fmt: skip
        nothing = dict.fromkeys(columns, "NULL")
        c.execute(
            f"UPDATE message SET {', '.join(f'{column} = NULL' for column in columns)}, seal = {sealed(**nothing)}"
            " WHERE exact IS NOT NULL AND id IN (SELECT row FROM bound WHERE is_unsure)"
        )

    # --- what it means -------------------------------------------------------------------------

    def _facts(self, c: sqlite3.Connection, new: int) -> ListingFacts:
        open_rows = f"m.stage IN ({OPEN}) AND NOT m.is_spooled"
        shown = "SELECT count(*) FROM message m CROSS JOIN bound b ON b.row = m.id WHERE NOT b.is_unsure"
        messages, octets, unsure = c.execute(
            "SELECT count(*), ifnull(sum(octets), 0), ifnull(sum(is_unsure), 0) FROM bound"
        ).fetchone()
        stages = self._shown()
        to_copy = sum(stages.get(stage, 0) for stage in TO_COPY)
        return self._since_count(
            ListingFacts(
                messages=messages,
                octets=octets,
                new=new,
                done=messages - unsure - to_copy,
                open=to_copy,
                unsure=unsure,
                vanished_open=self._vanished(open_rows, self._db.one(f"{shown} AND {open_rows}")),
                vanished=self._vanished(f"m.stage NOT IN ({LEFT})", _staying(stages)),
            )
        )

    def _since_count(self, facts: ListingFacts) -> ListingFacts:
        """With what was noted when the source was last counted (``Books.note_counted``)."""
        left = facts.vanished - (self._db.meta("counted_vanished") or 0)
        return replace(facts, counted=self._db.meta("counted") or 0, left_since=left)

    def _shown(self) -> dict[str, int]:
        """How many rows of each stage the listing shows, without what is unsure; the index of stages tells it."""
        return dict(
            self._db.ask(
                "SELECT m.stage, count(*) FROM message m INDEXED BY message_stage CROSS JOIN bound b ON b.row = m.id"
                " WHERE NOT b.is_unsure GROUP BY m.stage"
            )
        )

    def vanished(self) -> int:
        """How many rows are known, were not released, and are not in the listing."""
        self.complete()
        return self._vanished(f"m.stage NOT IN ({LEFT})", _staying(self._shown()))

    def _vanished(self, which: str, shown: int) -> int:
        """How many of these rows the listing lacks; of a group of unsure ones, as many as it shows too few.

        ``shown``: how many it shows, without what is unsure.
        """
        known = self._db.one(f"SELECT count(*) FROM message m WHERE {which}")
        unsure = self._db.one(
            "SELECT ifnull(sum(min(refs, there)), 0) FROM (SELECT u.refs AS refs, count(*) AS there"
            f" FROM unsure u JOIN message m ON m.uid = u.uid WHERE {which} GROUP BY u.uid)"
        )
        return int(known - shown - unsure)

    def skip(self, reason: str, uids: Collection[bytes] | None, baseline: float | None) -> int:
        """How many LISTED rows became SKIPPED: those of these UIDLs, or all; ``baseline``: noted as the time of it.

        Not those that were fetched before: a backup has lost them, or a run was cut off, and they are to be copied.
        Nor what cannot be read: that is told by every run as long as it is so.
        """
        self.complete_for(f"'{Stage.LISTED.value}'")
        named = "" if uids is None else " AND b.uid IN (SELECT uid FROM named)"
        with self._db.transaction() as c:
            c.executemany("INSERT OR IGNORE INTO named VALUES (?)", ((uid,) for uid in uids or ()))
            skipped = f"'{Stage.SKIPPED.value}'"
            changed = c.execute(
                f"UPDATE message SET stage = {skipped}, reason = ?1, seal = {sealed(stage=skipped, reason='?1')}"
                f" WHERE stage = '{Stage.LISTED.value}' AND NOT is_spooled AND uid_dest IS NULL"
                " AND exact IS NULL AND EXISTS"
                f" (SELECT 1 FROM bound b WHERE b.row = message.id AND NOT b.is_unsure AND NOT b.is_fault{named})",
                (reason,),
            ).rowcount
            c.execute("DELETE FROM named")
            if baseline is not None:
                self._db.set_meta("baseline", baseline)
        return int(changed)

    def mark_vanished(self, session: int) -> int:
        """How many open rows became GONE because the listing lacks them; RELEASING ones became RELEASED.

        Rows whose UIDL stands for a message that nobody has looked at yet are left as they are.
        """
        lacking = (
            "NOT is_spooled AND NOT EXISTS (SELECT 1 FROM bound b WHERE b.row = message.id) AND uid NOT IN ("
            "SELECT b.uid FROM bound b LEFT JOIN message m ON m.id = b.row"
            " WHERE b.is_unsure AND NOT b.is_resolved AND m.fetched_session IS NOT ?)"
        )
        self.complete_for(f"{OPEN}, '{Stage.RELEASING.value}'")
        with self._db.transaction() as c:
            gone = self._turn(c, Stage.GONE, f"stage IN ({OPEN}) AND {lacking}", session)
            lacking = lacking.removeprefix("NOT is_spooled AND ")
            self._turn(c, Stage.RELEASED, f"stage = '{Stage.RELEASING.value}' AND {lacking}", session)
        return gone

    def _turn(self, c: sqlite3.Connection, stage: Stage, which: str, session: int) -> int:
        new = f"'{stage.value}'"
        statement = f"UPDATE message SET stage = {new}, seal = {sealed(stage=new)} WHERE {which}"
        return int(c.execute(statement, (session,)).rowcount)


def _staying(stages: dict[str, int]) -> int:
    """How many of these rows the source should still show."""
    return sum(stages.values()) - sum(stages.get(stage.value, 0) for stage in _LEFT)


def _columns(refs: Iterable[MessageRef]) -> Iterator[tuple[int, bytearray, int | None, int]]:
    """What is bound of each. A bytearray goes in as it is; of bytes and booleans SQLite's module asks what to make."""
    for uid, number, octets, is_fault in refs:
        yield number, bytearray(uid), octets if octets is None or octets < LARGEST else LARGEST, 1 if is_fault else 0


def _uid_and_octets(record: Any) -> tuple[bytes, int]:
    return record[0], -1 if record[1] is None else record[1]


def _uid_only(record: Any) -> bytes:
    uid: bytes = record[0]
    return uid


def _pairs(left: Iterable[Any], right: Iterable[Any], key: Callable[[Any], Any]) -> Iterator[tuple[Any, Any]]:
    """Pairs of records with the same key, each record once at most; both sides ascend by key."""
    rights = iter(right)
    other = next(rights, None)
    for one in left:
        while other is not None and key(other) < key(one):
            other = next(rights, None)
        if other is None:
            return
        if key(other) == key(one):
            yield one, other
            other = next(rights, None)
