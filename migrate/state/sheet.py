"""The sheet of a recount: the digests of both ends in a nameless temporary file, and who is whose copy.

A copy serves one message of the source: pairs are made by rank within
messages that are alike, all in SQL, so that a million messages need neither
memory nor patience. Only what is not clean is judged one by one.
"""

from __future__ import annotations

import sqlite3
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from ..errors import Exit, StateError
from ..model import Checkpoint, Dedupe, Fingerprint, MailboxName, MessageRef
from ..recount import Counts, Finding, Judge, Released, Tier
from .listing import LARGEST
from .rows import fingerprint_of, settled_column

FORMS = 100  # different messages with one index that are compared with one message of the source

_PRINT = ("size", "exact", "settled", "oddities", "idx", "content", "has_id")
_COLUMNS = ", ".join(_PRINT)
_TYPES = "size INTEGER, exact BLOB, settled BLOB, oddities INTEGER, idx BLOB, content BLOB, has_id INTEGER"

_TABLES = f"""
CREATE TABLE source (
  number INTEGER PRIMARY KEY,
  uid BLOB NOT NULL,
  octets INTEGER,
  folder INTEGER,
  {_TYPES},
  tier TEXT,
  copy INTEGER,
  changes TEXT NOT NULL DEFAULT '',
  is_shared INTEGER NOT NULL DEFAULT 0,
  reason TEXT NOT NULL DEFAULT '',
  said BLOB NOT NULL DEFAULT x''
);
CREATE TABLE listed (number INTEGER PRIMARY KEY, uid BLOB NOT NULL, octets INTEGER);
CREATE TABLE dest (uid INTEGER PRIMARY KEY, folder INTEGER NOT NULL, {_TYPES}, is_taken INTEGER NOT NULL DEFAULT 0);
CREATE TABLE shown (uid INTEGER PRIMARY KEY);
CREATE TABLE pair (number INTEGER PRIMARY KEY, uid INTEGER NOT NULL);
"""

# A copy goes by its mailbox and its uid in one number: the mailboxes are counted from 0, and a uid has 32 bits.
_UIDS = 1 << 32

_SETTLED = "substr(settled, 1, 32)"  # without the munged form that may stand after it

_NOT_ONE_FIELD = "\x1f"  # between the changes of one message: in none of their names


class TemporarySheet:
    """recount.Sheet. It vanishes when closed. ``released``: rows that the state file says were
    deleted at the source; None where there is no state file."""

    def __init__(self, released: Iterable[Checkpoint] | None = None) -> None:
        self._released = released
        self._folders: dict[MailboxName, int] = {}
        self._uidvalidities: dict[int, int] = {}
        with _translated():
            # An empty name: SQLite keeps it in memory, and in a nameless temporary file when it grows.
            self._db = sqlite3.connect("", isolation_level=None, check_same_thread=False)
            for pragma in ("journal_mode = OFF", "synchronous = OFF", "temp_store = FILE", "cache_size = -8000"):
                self._db.execute(f"PRAGMA {pragma}")
            self._db.executescript(_TABLES)

    def close(self) -> None:
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Many changes at once. There is no way back from an error: the sheet is of no more use then."""
        with _translated():
            self._db.execute("BEGIN")
            yield self._db
            self._db.execute("COMMIT")

    def _ask(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with _translated():
            return self._db.execute(sql, values).fetchall()

    # --- the source ----------------------------------------------------------------------------

    def take_released(self, mailbox: MailboxName) -> Released | None:
        if self._released is None:
            return None
        taken = elsewhere = 0
        folder = self._folder(mailbox)
        with self._transaction() as c:
            for row in self._released:
                if row.mailbox != mailbox or row.fingerprint is None:
                    elsewhere += 1
                    continue
                taken += 1
                c.execute(
                    f"INSERT INTO source (number, uid, octets, folder, {_COLUMNS})"
                    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (-taken, row.uid, row.octets, folder, *_values(row.fingerprint)),
                )
        return Released(taken, elsewhere)

    def take_listing(self, refs: Iterable[MessageRef]) -> tuple[int, int]:
        with self._transaction() as c:
            c.execute("DELETE FROM listed")
            c.executemany(
                "INSERT INTO listed VALUES (?, ?, ?)",
                ((r.number, r.uid, r.octets if r.octets is None else min(r.octets, LARGEST)) for r in refs),
            )
            c.execute(
                "DELETE FROM source WHERE number > 0 AND NOT EXISTS (SELECT 1 FROM listed l WHERE"
                " l.number = source.number AND l.uid = source.uid AND l.octets IS source.octets AND l.uid <> x'')"
            )
            c.execute("INSERT OR IGNORE INTO source (number, uid, octets) SELECT number, uid, octets FROM listed")
            c.execute("DELETE FROM listed")
        [(messages, octets)] = self._ask(f"SELECT count(*), ifnull(sum(octets), 0) FROM source WHERE {_UNREAD}")
        return messages, octets

    def unread_refs(self, limit: int, after: int) -> list[MessageRef]:
        rows = self._ask(
            f"SELECT uid, number, octets FROM source WHERE {_UNREAD} AND number > ? ORDER BY number LIMIT ?",
            (after, limit),
        )
        return [MessageRef(*row) for row in rows]

    def note_fetched(self, prints: Sequence[tuple[int, MailboxName, Fingerprint]]) -> None:
        records = ((number, *_values(found), self._folder(mailbox)) for number, mailbox, found in prints)
        self._note("source", "number", records, (*_PRINT, "folder"))

    def note_refused(self, number: int, reason: str, said: bytes) -> None:
        noted = (Tier.UNREAD.value, reason, said, number)
        with self._transaction() as c:
            c.execute("UPDATE source SET tier = ?, reason = ?, said = ? WHERE number = ?", noted)

    def _note(self, table: str, key: str, records: Iterable[Sequence[Any]], columns: Sequence[str] = _PRINT) -> None:
        places = ", ".join(f"{column} = ?{place}" for place, column in enumerate(columns, 2))
        with self._transaction() as c:
            c.executemany(f"UPDATE {table} SET {places} WHERE {key} = ?1", records)

    # --- the destination -----------------------------------------------------------------------

    def _folder(self, mailbox: MailboxName) -> int:
        return self._folders.setdefault(mailbox, len(self._folders))

    def take_uids(self, mailbox: MailboxName, uidvalidity: int, uids: Sequence[int]) -> int:
        folder = self._folder(mailbox)
        with self._transaction() as c:
            if uidvalidity != self._uidvalidities.setdefault(folder, uidvalidity):
                c.execute("DELETE FROM dest WHERE folder = ?", (folder,))
                self._uidvalidities[folder] = uidvalidity
            c.execute("DELETE FROM shown")
            c.executemany("INSERT OR IGNORE INTO shown VALUES (?)", ((folder * _UIDS + uid,) for uid in uids))
            c.execute("DELETE FROM dest WHERE folder = ? AND uid NOT IN (SELECT uid FROM shown)", (folder,))
            c.execute("INSERT OR IGNORE INTO dest (uid, folder) SELECT uid, ? FROM shown", (folder,))
            c.execute("DELETE FROM shown")
        return int(self._ask("SELECT count(*) FROM dest WHERE exact IS NULL AND folder = ?", (folder,))[0][0])

    def unread_uids(self, mailbox: MailboxName, limit: int, after: int) -> list[int]:
        first = self._folder(mailbox) * _UIDS
        rows = self._ask(
            "SELECT uid FROM dest WHERE exact IS NULL AND uid > ? AND uid < ? ORDER BY uid LIMIT ?",
            (first + after, first + _UIDS, limit),
        )
        return [uid - first for (uid,) in rows]

    def note_served(self, mailbox: MailboxName, uids: Sequence[int], prints: Mapping[int, Fingerprint]) -> None:
        first = self._folder(mailbox) * _UIDS
        self._note("dest", "uid", ((first + uid, *_values(found)) for uid, found in prints.items()))
        with self._transaction() as c:
            c.executemany("DELETE FROM dest WHERE uid = ?", ((first + uid,) for uid in uids if uid not in prints))

    # --- who is whose copy ---------------------------------------------------------------------

    def match(self, dedupe: Dedupe, judge: Judge) -> None:
        with _translated():
            for name, column in (("exact", "exact"), ("settled", _SETTLED), ("idx", "idx")):
                self._db.execute(f"CREATE INDEX IF NOT EXISTS dest_{name} ON dest ({column})")
        self._drop_listed_again()
        self._pair(Tier.IDENTICAL, "exact")
        self._judge_unclean(judge)
        if dedupe is not Dedupe.OFF:
            self._share(Tier.IDENTICAL, "d.exact = source.exact")
            self._share_altered(Tier.ALTERED, "AND t.exact = source.exact", "t.changes")
            self._pair(Tier.DUPLICATE, "idx, content, has_id")
            self._share(Tier.DUPLICATE, "d.idx = source.idx AND d.content = source.content")
            self._share_altered(Tier.DUPLICATE)
        if dedupe is Dedupe.MESSAGE_ID:
            self._pair(Tier.DUPLICATE, "idx", "has_id")
            self._share(Tier.DUPLICATE, "d.idx = source.idx AND d.has_id", "AND has_id")
        self._pair(Tier.DIFFERS, "idx, content, has_id", changes="only volatile headers differ")
        self._pair(Tier.DIFFERS, "idx")
        with self._transaction() as c:
            c.execute("UPDATE source SET tier = ? WHERE tier IS NULL", (Tier.MISSING.value,))

    def _drop_listed_again(self) -> None:
        """What was deleted at the source and stands in its listing again is counted there."""
        with self._transaction() as c:
            c.execute(
                f"INSERT INTO pair SELECT r.number, l.number FROM ({_ranked('source', 'number', 'uid, content')}"
                f" WHERE number < 0) r JOIN ({_ranked('source', 'number', 'uid, content')} WHERE number > 0) l"
                " USING (uid, content, place)"
            )
            c.execute("DELETE FROM source WHERE number IN (SELECT number FROM pair)")
            c.execute("DELETE FROM pair")

    def _pair(self, tier: Tier, key: str, also: str = "1", changes: str = "") -> None:
        """Messages without a copy and copies without a message, alike in ``key``: one for one, in order."""
        key = f"folder, {key}"
        with self._transaction() as c:
            c.execute(
                f"INSERT INTO pair SELECT s.number, d.uid FROM ({_ranked('source', 'number', key)}"
                f" WHERE tier IS NULL AND exact IS NOT NULL AND {also}) s"
                f" JOIN ({_ranked('dest', 'uid', key)} WHERE NOT is_taken AND {also}) d USING ({key}, place)"
            )
            c.execute(
                "UPDATE source SET tier = ?, changes = ?, copy = (SELECT p.uid FROM pair p WHERE p.number ="
                " source.number) WHERE number IN (SELECT number FROM pair)",
                (tier.value, changes),
            )
            c.execute("UPDATE dest SET is_taken = 1 WHERE uid IN (SELECT uid FROM pair)")
            c.execute("DELETE FROM pair")

    def _share(self, tier: Tier, alike: str, also: str = "") -> None:
        """The copy of another message serves those that are left and alike."""
        found = f"SELECT min(d.uid) FROM dest d WHERE {alike} AND d.folder = source.folder"
        with self._transaction() as c:
            c.execute(
                f"UPDATE source SET tier = ?, is_shared = 1, copy = ({found})"
                f" WHERE tier IS NULL AND exact IS NOT NULL {also} AND ({found}) IS NOT NULL",
                (tier.value,),
            )

    def _share_altered(self, tier: Tier, also: str = "", changes: str = "''") -> None:
        """The altered copy of another message serves those with the content of that message.

        A copy whose header was munged has another content than the message itself.
        """
        altered = f"tier = '{Tier.ALTERED.value}'"
        alike = "t.content = source.content AND t.idx = source.idx AND t.folder = source.folder"
        twins = f"FROM source t WHERE t.{altered} AND {alike} {also}"
        with self._transaction() as c:
            c.execute(f"CREATE INDEX IF NOT EXISTS source_altered ON source (content) WHERE {altered}")
            c.execute(
                "UPDATE source SET tier = ?, is_shared = 1,"
                f" (copy, changes) = (SELECT t.copy, {changes} {twins} LIMIT 1)"
                f" WHERE tier IS NULL AND exact IS NOT NULL AND EXISTS (SELECT 1 {twins})",
                (tier.value,),
            )

    def _judge_unclean(self, judge: Judge) -> None:
        """Finds copies with named changes: of what is not clean, those with fewest oddities choose first."""
        with self._transaction() as c:
            unclean = "FROM source WHERE tier IS NULL AND oddities"
            kinds = [kind for (kind,) in c.execute(f"SELECT DISTINCT oddities {unclean} <> 0")]
            for kind in sorted(kinds, key=int.bit_count):
                numbers = array("q", (n for (n,) in c.execute(f"SELECT number {unclean} = ? ORDER BY number", (kind,))))
                for number in numbers:
                    self._judge_one(c, number, judge)

    def _judge_one(self, c: sqlite3.Connection, number: int, judge: Judge) -> None:
        folder, *values = c.execute(f"SELECT folder, {_COLUMNS} FROM source WHERE number = ?", (number,)).fetchone()
        sent = _print(values)
        for column, value in (("exact", sent.munged), (_SETTLED, sent.settled), ("idx", sent.key.index)):
            if value is None:
                continue
            forms = c.execute(
                f"SELECT min(uid), {_COLUMNS} FROM dest WHERE {column} = ? AND folder = ? AND exact IS NOT NULL"
                # Nearest first: what a server made of another message may be taken for this one, too much changed.
                f" AND NOT is_taken GROUP BY exact ORDER BY abs(size - ?), min(uid) LIMIT {FORMS}",
                (value, folder, sent.octets),
            ).fetchall()
            for uid, *values in forms:
                changes = judge(sent, _print(values))
                if changes is not None:
                    c.execute(
                        "UPDATE source SET tier = ?, copy = ?, changes = ? WHERE number = ?",
                        (Tier.ALTERED.value, uid, _NOT_ONE_FIELD.join(changes), number),
                    )
                    c.execute("UPDATE dest SET is_taken = 1 WHERE uid = ?", (uid,))
                    return

    # --- what came out -------------------------------------------------------------------------

    def counts(self) -> Counts:
        tiers = {Tier(name): count for name, count in self._ask("SELECT tier, count(*) FROM source GROUP BY tier")}
        [(listed, released, shared, octets)] = self._ask(
            "SELECT ifnull(sum(number > 0), 0), ifnull(sum(number < 0), 0), ifnull(sum(is_shared), 0),"
            " ifnull(sum(coalesce(size, octets, 0)), 0) FROM source"
        )
        [(there, copies)] = self._ask("SELECT count(*), ifnull(sum(is_taken), 0) FROM dest")
        return Counts({tier: tiers.get(tier, 0) for tier in Tier}, listed, released, shared, there, copies, octets)

    def findings(self, limit: int, after: int | None) -> list[Finding]:
        rows = self._ask(
            "SELECT number, uid, coalesce(size, octets), tier, copy, folder, changes, is_shared, reason, said"
            " FROM source WHERE tier <> ? AND number > ? ORDER BY number LIMIT ?",
            (Tier.IDENTICAL.value, -LARGEST if after is None else after, limit),
        )
        mailboxes = dict(enumerate(self._folders))
        return [
            Finding(
                number,
                uid,
                octets,
                Tier(tier),
                None if copy is None else copy % _UIDS,
                mailboxes.get(folder),
                _split(changes),
                bool(is_shared),
                reason,
                said,
            )
            for number, uid, octets, tier, copy, folder, changes, is_shared, reason, said in rows
        ]


_UNREAD = "number > 0 AND exact IS NULL AND tier IS NULL"


def _ranked(table: str, name: str, key: str) -> str:
    """The beginning of a question: rows with their place among those that are alike."""
    return f"SELECT {name}, {key}, row_number() OVER (PARTITION BY {key} ORDER BY {name}) AS place FROM {table}"


def _split(changes: str) -> tuple[str, ...]:
    return tuple(changes.split(_NOT_ONE_FIELD)) if changes else ()


def _values(found: Fingerprint) -> tuple[Any, ...]:
    key, settled = found.key, settled_column(found)
    return found.octets, found.exact, settled, found.oddities.value, key.index, key.content, int(key.has_message_id)


def _print(values: Sequence[Any]) -> Fingerprint:
    return fingerprint_of(*values)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(
            f"the temporary file of the recount cannot be used ({error})",
            exit=Exit.STATE_UNWRITABLE,
            hint="Free some space in the directory for temporary files, or name another one with TMPDIR.",
        ) from error
