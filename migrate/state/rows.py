"""Checkpoint <-> row of the table ``message``, and the seals that rows carry.

A seal is a digest over every column of a row and its id, so that a flipped bit
and two rows that changed places are both found. ``seal_message`` is also a SQL
function, for statements that write many rows at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from ..errors import Exit, StateError
from ..model import (
    Checkpoint,
    DateSource,
    DedupeKey,
    Fingerprint,
    Flags,
    InternalDate,
    MailboxName,
    Oddity,
    Origin,
    Stage,
)
from .schema import COLUMNS

SEAL_OCTETS = 8
HOW_TO_REBUILD = (
    "popferry rebuild SOURCE DEST makes a new one from what both accounts hold; nothing is uploaded twice. It takes "
    "the same --state FILE; of a backup it is popferry rebuild --dedupe off SOURCE mbox:DIR, or maildir:DIR."
)

_NO_DIGEST = bytes(32)  # stands for no settled form before a munged one

Values = tuple[Any, ...]

_STAGES = {stage.value: stage for stage in Stage}
_ORIGINS = {origin.value: origin for origin in Origin}
_SOURCES = {source.value: source for source in DateSource}

# "m.id, m.uid, ..., m.seal": what ``checkpoint_of`` reads.
SELECTED = ", ".join(f"m.{column}" for column in (*COLUMNS, "seal"))


def sealed(**changed: str) -> str:
    """The SQL expression of a row's seal, with the columns that the statement sets as they will be."""
    return f"seal_message({', '.join(changed.get(column, column) for column in COLUMNS)})"


def seal_message(
    id: int,
    uid: bytes,
    octets: int | None,
    stage: str,
    origin: str | None,
    mailbox: int | None,
    flags: str,
    internaldate: str | None,
    date_source: str | None,
    size: int | None,
    exact: bytes | None,
    settled: bytes | None,
    oddities: int | None,
    idx: bytes | None,
    content: bytes | None,
    *rest: Any,
) -> bytes:
    """The seal of a row given its columns in order; octets that no seal equals when they have a wrong type."""
    # ``ascii`` quotes texts the same way in every Python; numbers and None cannot run into each other.
    head = (
        f"{id},{octets},{stage},{origin},{mailbox},{internaldate},{date_source},"
        f"{size},{oddities},{'-' if flags == '' else flags!a},{rest!a}"
    )
    try:
        # Only NULL is nothing: a hit can turn it into a 0 or an empty text, and these are no digests.
        parts = (
            head.encode(),
            b"-" if exact is None else exact,
            b"-" if settled is None else settled,
            b"-" if idx is None else idx,
            b"-" if content is None else content,
            uid,
        )
        return blake2b(b"\0".join(parts), digest_size=SEAL_OCTETS).digest()
    except (TypeError, ValueError):
        return b""


def seal_small(*columns: Any) -> bytes:
    """The seal of a row of ``meta``, ``mailbox`` or ``served``, given its columns in order."""
    return blake2b(ascii(columns).encode("ascii"), digest_size=SEAL_OCTETS).digest()


def values_of(row: Checkpoint, mailbox: int | None) -> Values:
    """The columns of the row, then its seal."""
    id, uid, octets, stage, origin, _, flags, date, print_, *rest, is_spooled = row
    when = source = None
    if date is not None:
        when, source = date.when.isoformat(), date.source._value_
    if print_ is None:
        content: Values = (None, None, None, None, None, None, None)
    else:
        size, exact, _, oddities, key, _ = print_
        settled = settled_column(print_)
        content = (size, exact, settled, oddities._value_, key.index, key.content, int(key.has_message_id))
    flags_text = str(flags) if flags.names else ""
    origin_text = None if origin is None else origin._value_
    head: Values = (id, uid, octets, stage._value_, origin_text, mailbox, flags_text, when, source)
    values = (*head, *content, *rest, int(is_spooled))
    return (*values, seal_message(*values))


def checkpoint_of(record: Sequence[Any], mailboxes: dict[int, MailboxName]) -> Checkpoint:
    """The row, read as ``SELECTED``. StateError when its seal does not fit."""
    *values, seal = record
    if seal_message(*values) != seal:
        raise damaged_row(f"the row of message {values[0]}")
    (id, uid, octets, stage, origin, mailbox, flags, when, source) = values[:9]
    (size, exact, settled, oddities, idx, content, has_message_id) = values[9:16]
    (uidvalidity, uidnext, uid_dest, twin, proof, reason, attempts, verified_at, run, session, spooled) = values[16:]
    return Checkpoint(
        id=id,
        uid=uid,
        octets=octets,
        stage=_STAGES[stage],
        origin=None if origin is None else _ORIGINS[origin],
        mailbox=None if mailbox is None else mailboxes[mailbox],
        flags=_flags(flags),
        internaldate=None if when is None else InternalDate(datetime.fromisoformat(when), _SOURCES[source]),
        fingerprint=None
        if exact is None
        else fingerprint_of(size, exact, settled, oddities, idx, content, has_message_id),
        uidvalidity=uidvalidity,
        uidnext=uidnext,
        uid_dest=uid_dest,
        twin=twin,
        proof=proof,
        reason=reason,
        attempts=attempts,
        verified_at=verified_at,
        proven_run=run,
        fetched_session=session,
        is_spooled=bool(spooled),
    )


def settled_column(made: Fingerprint) -> bytes | None:
    """The digests ``settled`` and ``munged`` as one column: None, 32 octets (only settled) or 64."""
    return made.settled if made.munged is None else (made.settled or _NO_DIGEST) + made.munged


def fingerprint_of(
    size: int, exact: bytes, settled: bytes | None, oddities: int, idx: bytes, content: bytes, has_message_id: int
) -> Fingerprint:
    """The Fingerprint from its columns in order."""
    munged = None
    if settled is not None and len(settled) > len(_NO_DIGEST):
        settled, munged = settled[: len(_NO_DIGEST)], settled[len(_NO_DIGEST) :]
        settled = None if settled == _NO_DIGEST else settled
    key = DedupeKey(idx, content, bool(has_message_id))
    return Fingerprint(size, exact, settled, Oddity(oddities), key, munged)


@lru_cache(maxsize=1024)
def _flags(text: str) -> Flags:
    return Flags(frozenset(text.split()))


def damaged_row(what: str) -> StateError:
    return StateError(
        f"the state file is damaged: {what} does not fit its checksum",
        exit=Exit.STATE_DAMAGED,
        hint=HOW_TO_REBUILD,
    )
