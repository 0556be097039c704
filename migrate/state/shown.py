"""What the last listing showed that left nothing to do, so that the same one need not be compared again.

It is noted as a digest, with how many rows stood in each stage. The same digest
and the same stages mean the same: every row had come to its end, and a row
that has moved since stands in another stage.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import Protocol, runtime_checkable

from ..books import ListingFacts
from ..model import MessageRef, Stage
from .database import Database

# A row in one of these has nothing to come, whatever the source shows.
_ENDS = frozenset(stage.value for stage in (Stage.VERIFIED, Stage.DUPLICATE, Stage.SKIPPED, Stage.RELEASED, Stage.GONE))


@runtime_checkable
class Compact(Protocol):
    """A listing that is held in a few long pieces."""

    def parts(self) -> Sequence[bytearray | array[int]]:
        """The pieces: equal for two listings when, and only when, they show the same."""


def digest_of(listing: Iterable[MessageRef]) -> str:
    """What tells the listing from every other one; nothing where that is dear to find out."""
    if not isinstance(listing, Compact):
        return ""
    made = sha256()
    for part in listing.parts():
        made.update(b"%d:" % memoryview(part).nbytes)
        made.update(part)
    return made.hexdigest()


def as_before(db: Database, digest: str) -> ListingFacts | None:
    """What the listing with this digest means, if it was the last one and no row has moved since."""
    noted = str(db.meta("listing") or "").split()
    if not digest or noted[:1] != [digest] or noted[4:] != _stages(db):
        return None
    messages, octets, vanished = map(int, noted[1:4])
    return ListingFacts(messages, octets, new=0, done=messages, open=0, unsure=0, vanished_open=0, vanished=vanished)


def note(db: Database, digest: str, facts: ListingFacts) -> None:
    """Notes a listing if nothing is left to do, for it or for any row; inside a transaction."""
    stages = _stages(db)
    is_done = bool(digest) and not facts.unsure and all(one.partition("=")[0] in _ENDS for one in stages)
    told = (digest, str(facts.messages), str(facts.octets), str(facts.vanished), *stages)
    noted = " ".join(told) if is_done else ""
    if noted != (db.meta("listing") or ""):
        db.set_meta("listing", noted)


def _stages(db: Database) -> list[str]:
    """How many rows stand in each stage."""
    counted = db.ask("SELECT stage, count(*) FROM message GROUP BY stage ORDER BY stage")
    return [f"{stage}={count}" for stage, count in counted]
