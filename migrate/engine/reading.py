"""Both ends read whole, side by side: of each message only the fingerprint is kept, on the sheet of a recount.

Memory is bounded by ``BUDGET``: octets asked of the source. What the
destination serves is digested where it arrives.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar, cast

from ..books import Books
from ..commands import Ask, Fetch, Outcome, ReadBack
from ..errors import MessageError
from ..events import Fetched, ServedBack
from ..model import MEMORY_LIMIT, Fingerprint, MailboxName, Message, MessageRef
from ..recount import Sheet
from ..rules.place import place_of
from .pump import Pump
from .run import Run, Steps
from .verdict import settled_digester

BUDGET = 16 * 1024 * 1024  # octets asked of the source
FETCHES = 4096  # of the source, under way
GUESS = 64 * 1024  # octets assumed for a message whose size the source did not list
REFS = 1024  # asked of the sheet at once
UIDS = 250  # read back with one command
READS = 2  # such commands under way
NOTES = 200  # fingerprints noted together

T = TypeVar("T")


def ask_sheet(call: Callable[[Sheet], T]) -> Ask:
    """The command that asks the sheet, which stands where a run has its books."""
    return Ask(cast(Callable[[Books], T], call))


def on_sheet(run: Run, call: Callable[[Sheet], T]) -> Steps[T]:
    value: T = yield from run.do(ask_sheet(call))
    return value


class Reading:
    """One pass over everything that the sheet lacks."""

    def __init__(self, run: Run, mailboxes: Sequence[MailboxName]) -> None:
        self.run = run
        self.pump = Pump(run)
        self.source = _Supply(self.pump, REFS, lambda sheet, limit, after: sheet.unread_refs(limit, after), _number)
        self.dest = deque((mailbox, self._supply_of(mailbox)) for mailbox in mailboxes)
        self.asked = 0  # octets
        self.fetching = 0
        self.reading = 0  # commands
        self.notes: list[tuple[int, MailboxName, Fingerprint]] = []

    def _supply_of(self, mailbox: MailboxName) -> _Supply[int]:
        return _Supply(
            self.pump, UIDS * READS, lambda sheet, limit, after: sheet.unread_uids(mailbox, limit, after), int
        )

    def steps(self) -> Steps[None]:
        """Ends when the sheet has everything, or after something fatal, which it raises."""
        yield from self.pump.steps(self._turn)
        if self.pump.fatal is not None:
            raise self.pump.fatal
        self.run.check_stop()

    def _turn(self) -> None:
        if self.pump.may_start:
            self.source.refill()
            while self.source.items and self._has_room(self.source.items[0]):
                self._fetch(self.source.items.popleft())
            self._read_on()
        # Also after a fault: what has arrived need not be fetched again.
        if self.notes and (len(self.notes) >= NOTES or not self.fetching):
            notes, self.notes = self.notes, []
            self._tell(lambda sheet: sheet.note_fetched(notes), len(notes))

    def _read_on(self) -> None:
        """Asks for the next copies: one mailbox after the other, so that each is selected once."""
        while self.dest:
            mailbox, supply = self.dest[0]
            supply.refill()
            while supply.items and self.reading < READS:
                self._read(mailbox, [supply.items.popleft() for _ in range(min(UIDS, len(supply.items)))])
            if not supply.is_empty:
                return
            self.dest.popleft()

    def _has_room(self, ref: MessageRef) -> bool:
        return self.fetching < FETCHES and (not self.asked or self.asked + _cost(ref) <= BUDGET)

    def _fetch(self, ref: MessageRef) -> None:
        self.asked += _cost(ref)
        self.fetching += 1
        self.pump.start(Fetch(ref), lambda outcome: self._fetched(ref, outcome))

    def _fetched(self, ref: MessageRef, outcome: Outcome) -> None:
        self.asked -= _cost(ref)
        self.fetching -= 1
        if isinstance(outcome.error, MessageError):
            what, words = outcome.error.what, outcome.error.said
            self._tell(lambda sheet: sheet.note_refused(ref.number, what, words), 1)
        elif outcome.error is not None:
            self.pump.fail(outcome.error)
        else:
            message: Message = outcome.value
            mailbox = place_of(self.run.policy, message.mailbox)
            self.notes.append((ref.number, mailbox, message.fingerprint))
            message.discard()
            self.run.emit(Fetched(message.octets))

    def _read(self, mailbox: MailboxName, uids: list[int]) -> None:
        self.reading += 1
        command = ReadBack(self.run.lanes[0], mailbox, uids, settled_digester)
        self.pump.start(command, lambda outcome: self._served(mailbox, uids, outcome))

    def _served(self, mailbox: MailboxName, uids: list[int], outcome: Outcome) -> None:
        self.reading -= 1
        if outcome.error is not None:
            self.pump.fail(outcome.error)
            return
        prints: dict[int, Fingerprint] = outcome.value
        self._tell(lambda sheet: sheet.note_served(mailbox, uids, prints), len(uids))
        self.run.emit(ServedBack(len(prints), sum(one.octets for one in prints.values())))

    def _tell(self, call: Callable[[Sheet], Any], messages: int) -> None:
        def told(outcome: Outcome) -> None:
            if outcome.error is not None:
                self.pump.fail(outcome.error)
            else:
                self.run.progress += messages

        self.pump.start(ask_sheet(call), told)


class _Supply(Generic[T]):
    """What of one end is still to be read, asked of the sheet a part at a time, in order."""

    def __init__(
        self, pump: Pump, limit: int, ask: Callable[[Sheet, int, int], list[T]], place: Callable[[T], int]
    ) -> None:
        self.items: deque[T] = deque()
        self._pump = pump
        self._limit = limit
        self._ask = ask
        self._place = place
        self._after = 0
        self._is_asking = False
        self._is_exhausted = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left of it, and nothing more will come."""
        return self._is_exhausted and not self.items

    def refill(self) -> None:
        if self._is_asking or self._is_exhausted or len(self.items) > self._limit // 2:
            return
        after = self._after
        self._is_asking = True
        self._pump.start(ask_sheet(lambda sheet: self._ask(sheet, self._limit, after)), self._got)

    def _got(self, outcome: Outcome) -> None:
        self._is_asking = False
        if outcome.error is not None:
            self._pump.fail(outcome.error)
            return
        found: list[T] = outcome.value
        self.items.extend(found)
        self._is_exhausted = len(found) < self._limit
        if found:
            self._after = self._place(found[-1])


def _number(ref: MessageRef) -> int:
    return ref.number


def _cost(ref: MessageRef) -> int:
    return min(GUESS if ref.octets is None else ref.octets, MEMORY_LIMIT)
