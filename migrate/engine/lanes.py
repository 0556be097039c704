"""The other connections to the destination: opened while the first one works already, they share what is left."""

from __future__ import annotations

from collections import deque

from ..commands import CloseDest, DestFacts, OpenDest, Outcome
from ..errors import StoreError
from ..events import Notice
from .cases import Case
from .pump import Pump
from .run import Run, said


def open_lanes(run: Run, pump: Pump, in_flight: dict[int, int], messages: int) -> None:
    """Begins to open as many as are asked for, or as help with this server, for so many messages.

    Each is in ``run.lanes`` and ``in_flight`` once it is open. Those that cannot be had are told of.
    """
    assert run.dest is not None
    wanted = max(1, min(run.policy.lanes or run.dest.lanes, messages) // run.slowness)
    opening = {lane for lane in range(wanted) if lane not in run.lanes}
    refusals: list[StoreError] = []

    def opened(lane: int, outcome: Outcome) -> None:
        opening.discard(lane)
        if isinstance(outcome.error, StoreError):
            refusals.append(outcome.error)
            pump.start(CloseDest(lane), lambda _: None)
        elif outcome.error is not None:
            pump.fail(outcome.error)
        else:
            run.lanes = (*run.lanes, lane)
            in_flight[lane] = 0
        if refusals and not opening and not run.is_stopping:
            why = refusals[0]
            run.emit(Notice(f"Going on with {len(run.lanes)} of {wanted} connections: {why.what}.", said(why)))

    mailbox = None if run.policy.keeps_mailboxes else run.policy.mailbox
    for lane in sorted(opening):
        pump.start(OpenDest(lane, mailbox=mailbox), lambda outcome, lane=lane: opened(lane, outcome))  # type: ignore[misc]


def fair_share(facts: DestFacts, lanes: int, left: int) -> int:
    """How many of the last ``left`` messages go next as a batch, so that no connection has much to do at the end alone.

    Where messages keep a connection waiting; elsewhere a batch is as large as it may be.
    """
    if lanes == 1 or facts.lanes == 1:
        return facts.batch_count
    return min(facts.batch_count, -(-left // (lanes * facts.in_flight)))


def take_batch(ready: deque[Case], most: int, octets: int) -> list[Case]:
    """Takes from the front what goes as one batch: of one mailbox, at most so many and so long, but one in any case."""
    batch = [ready.popleft()]
    octets -= batch[0].message.octets
    while ready and len(batch) < most and ready[0].placement.mailbox == batch[0].placement.mailbox:
        octets -= ready[0].message.octets
        if octets < 0:
            break
        batch.append(ready.popleft())
    return batch
