"""After a refused batch: is anything of it at the destination all the same?

MULTIAPPEND stores all or none (RFC 3502 §6.3.11). A server that refuses the
batch for its third message and keeps the first two would have them twice when
the messages are sent again. So it is looked at before: R5 for a batch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ..commands import FetchHeaders, Outcome, SearchUids
from ..errors import MigrateError, StoreError
from ..model import Checkpoint
from ..rules.dedupe import INDEX_FIELDS, index_of
from .pump import Pump
from .uids import UidBook

Then = Callable[[MigrateError | None], None]


def look_after_refusal(pump: Pump, lane: int, rows: Sequence[Checkpoint], uids: UidBook, then: Then) -> None:
    """Calls ``then`` with None when nothing of these rows was stored, else with the error that ends this pass.

    The next pass finds what was stored and sends only the rest.
    """
    mailbox = rows[0].mailbox
    assert mailbox is not None
    low = min(row.uidnext or 1 for row in rows)
    ours = {row.fingerprint.key.index for row in rows if row.fingerprint is not None}

    def searched(outcome: Outcome) -> None:
        strangers = [] if outcome.error else [uid for uid in outcome.value if not uids.holds(uid)]
        if outcome.error or not strangers:
            then(outcome.error)
        else:
            pump.start(FetchHeaders(lane, mailbox, strangers, INDEX_FIELDS), looked)

    def looked(outcome: Outcome) -> None:
        if outcome.error is None and any(index_of(one.header)[0] in ours for one in outcome.value):
            then(StoreError("the destination refused messages and seems to have stored some of them"))
        else:
            then(outcome.error)

    pump.start(SearchUids(lane, mailbox, low), searched)
