"""Commands under way on one connection: sent in order, answered by tag.

How far ahead of the answers we send is decided here. Overlapped: while one
command waits for its continuation nothing else is sent, and right behind its
literal the next command goes out. Lock-step: one command until its tagged
answer. Octets that arrive are taken in between writes, so that never both
sides wait for the other to read.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ...errors import StoreError
from ...model import Message
from ...wire.imap import (
    Continuation,
    Data,
    Event,
    Fetched,
    Pause,
    Segment,
    Status,
    Tagged,
    broken,
    exact_blocks,
    parse_fetch,
    said_goodbye,
)
from ...wire.imap.reader import LINE_LIMIT, LITERAL_LIMIT
from .link import Link

SEND_OCTETS = 256 * 1024  # gathered into one write
ROUNDS = 16  # writes and reads in one turn, before other lanes have theirs
NOISE_LIMIT = 8 * 1024 * 1024  # octets that nobody asked for, between two that somebody did
STALL_OCTETS = 1000  # fewer in the time limit, while something is owed: stalled


@dataclass(eq=False, slots=True)
class Exchange:
    """One IMAP command on the wire and who hears of its answers.

    ``on_data`` says whether the data was for it. ``on_sizes`` may be given
    many uids and sizes at once instead. ``line_limit`` and ``literal_limit``
    are what its answers may need.
    """

    tag: bytes
    segments: deque[Segment]
    on_done: Callable[[Tagged], None]
    on_data: Callable[[Data], bool] | None = None
    line_limit: int = LINE_LIMIT
    literal_limit: int = LITERAL_LIMIT
    on_sizes: Callable[[list[tuple[int, int]]], None] | None = None
    end: int | None = None  # where its last octet stands in all that is sent; None: not gathered yet
    has_begun: bool = False
    answer: Tagged | None = None


class Lane:
    """The commands of one connection that are not over."""

    def __init__(self, link: Link, tag_prefix: bytes, *, is_overlapped: bool) -> None:
        self._link = link
        self._channel = link.channel
        self._reader = link.reader
        self._tag_prefix = tag_prefix
        self._is_overlapped = is_overlapped
        self._count = 0
        self._unsent: deque[Exchange] = deque()  # not gathered to the end
        self._owed: dict[bytes, Exchange] = {}  # not answered, in order
        self._listeners: list[Exchange] = []
        self._fetched: tuple[Data, Fetched] | None = None  # the FETCH response that was read last
        self._blocks: Iterator[bytes] | None = None  # of the message being sent
        self._paused: Exchange | None = None
        self._chunk = memoryview(b"")
        self._gathered = 0  # octets of all chunks so far
        self._sent = 0  # octets that the channel took
        self._received = 0
        self._noise = 0
        self._mark = 0
        self._mark_s = link.clock()

    @property
    def is_idle(self) -> bool:
        return not self._owed and not self._unsent

    @property
    def end(self) -> str:
        return self._link.end

    @property
    def wants_write(self) -> bool:
        return bool(self._chunk)

    def new_tag(self) -> bytes:
        self._count += 1
        return self._tag_prefix + str(self._count).encode("ascii")

    def ask(
        self,
        line: bytes,
        on_done: Callable[[Tagged], None],
        on_data: Callable[[Data], bool] | None = None,
        *,
        line_limit: int = LINE_LIMIT,
        literal_limit: int = LITERAL_LIMIT,
        on_sizes: Callable[[list[tuple[int, int]]], None] | None = None,
    ) -> None:
        """Puts a command of one line behind what is under way."""
        tag = self.new_tag()
        segments: deque[Segment] = deque([tag + b" " + line + b"\r\n"])
        self.add(Exchange(tag, segments, on_done, on_data, line_limit, literal_limit, on_sizes))

    def add(self, exchange: Exchange) -> None:
        """Puts a command behind what is under way."""
        if self.is_idle:
            self._make_progress()
        self._unsent.append(exchange)
        self._owed[exchange.tag] = exchange
        if exchange.on_data is not None:
            self._listeners.append(exchange)
            self._set_limits()

    def fetched(self, data: Data) -> Fetched:
        """A FETCH response, read once although every command under way may want to see it."""
        if self._fetched is None or self._fetched[0] is not data:
            self._fetched = (data, parse_fetch(data))
        return self._fetched[1]

    def pump(self) -> None:
        """Sends and receives what can be now. StoreError when the connection is of no more use."""
        for _ in range(ROUNDS):
            self._take_events()
            has_sent = self._send()
            if not self._receive() and not has_sent:
                break
        self._take_events()
        if not self._chunk:
            self._gather()  # so that wants_write tells whether there is more
        self._check_stall()

    # Sending -------------------------------------------------------------------------------
    def _send(self) -> bool:
        if not self._chunk:
            self._gather()
        if not self._chunk:
            return False
        count = self._channel.send(self._chunk)
        self._chunk = self._chunk[count:]
        self._sent += count
        return count > 0

    def _gather(self) -> None:
        """Makes the next chunk: many small segments joined, or one block."""
        pieces: list[bytes] = []
        octets = 0
        while octets < SEND_OCTETS and (piece := self._next_piece()) is not None:
            pieces.append(piece)
            octets += len(piece)
            self._gathered += len(piece)
            if self._blocks is None and not self._unsent[0].segments:
                self._end_sending(self._unsent[0])
        self._chunk = memoryview(pieces[0] if len(pieces) == 1 else b"".join(pieces))

    def _next_piece(self) -> bytes | None:
        """The next octets that may be sent, or None when there are none or an answer must come first."""
        if self._blocks is not None:
            block = next(self._blocks, None)
            if block is not None:
                return block
            self._blocks = None
        while self._unsent and self._paused is None:
            exchange = self._unsent[0]
            if not exchange.segments:
                self._end_sending(exchange)
                continue
            if not exchange.has_begun and not self._may_begin(exchange):
                return None
            exchange.has_begun = True
            segment = exchange.segments[0]
            if segment is not Pause.CONTINUATION:
                exchange.segments.popleft()
                return self._octets_of(segment)
            if exchange.answer is not None:
                exchange.segments.clear()
            else:
                self._paused = exchange
        return None

    def _may_begin(self, exchange: Exchange) -> bool:
        return self._is_overlapped or next(iter(self._owed.values())) is exchange

    def _octets_of(self, segment: bytes | Message) -> bytes:
        if isinstance(segment, bytes):
            self._trace_sent(segment)
            return segment
        self._trace_sent(b"<%d octets>" % segment.octets)
        if segment.data is not None and len(segment.data) == segment.octets:
            return segment.data
        self._blocks = exact_blocks(segment)
        return next(self._blocks, b"")

    def _trace_sent(self, octets: bytes) -> None:
        if self._link.is_traced and octets != b"\r\n":
            self._link.trace("C", octets.removesuffix(b"\r\n"))

    def _end_sending(self, exchange: Exchange) -> None:
        self._unsent.popleft()
        exchange.end = self._gathered
        if exchange.answer is not None:
            self._finish(exchange, exchange.answer)

    # Receiving -----------------------------------------------------------------------------
    def _receive(self) -> bool:
        octets = self._channel.recv()
        if octets is None:
            return False
        self._received += len(octets)
        self._noise += len(octets)
        self._reader.feed(octets)
        self._take_events()
        if self._noise - self._reader.rest > NOISE_LIMIT:  # a line that has not ended may be what we wait for
            raise broken("it sends without end what nobody asked for")
        return True

    def _take_events(self) -> None:
        while True:
            self._take_sizes()
            event = self._reader.next_event()
            if event is None:
                break
            if self._link.is_traced:
                self._link.trace_event(event)
            self._take(event)
        while self._reader.quirks:
            self._link.quirk(*self._reader.quirks.pop())

    def _take_sizes(self) -> None:
        """Gives sizes that have come to the only one who listens. A trace has every line."""
        on_sizes = self._listeners[0].on_sizes if len(self._listeners) == 1 else None
        if on_sizes is not None and not self._link.is_traced and (sizes := self._reader.take_sizes()):
            on_sizes(sizes)
            self._noise = 0

    def _take(self, event: Event) -> None:
        match event:
            case Tagged():
                self._take_answer(event)
            case Continuation():
                self._continue()
            case Data():
                if event.name == b"EXISTS":
                    self._link.exists = event.number
                # Data that nobody wants is normal: EXISTS, RECENT, EXPUNGE, flags changed elsewhere.
                if any(listener.on_data(event) for listener in self._listeners if listener.on_data):
                    self._noise = 0
                self._fetched = None  # a window of a body may be in it
            case Status(status=b"BYE"):
                raise said_goodbye(event)
            case Status(code=b"ALERT"):
                self._link.notice("the IMAP server has a message for you", event.text)

    def _continue(self) -> None:
        # One "+" too many would let a literal go out that the next command's refusal turns into commands.
        if self._paused is None or self._chunk:
            raise broken("it asks for more where nothing is to come")
        self._paused.segments.popleft()
        self._paused = None

    def _take_answer(self, answer: Tagged) -> None:
        exchange = self._owed.get(answer.tag)
        if exchange is None or not exchange.has_begun or exchange.answer is not None:
            raise broken("it answers what was not asked", answer.said)
        is_out = exchange.end is not None and self._sent >= exchange.end - 2  # the last two are the line's end
        if answer.status == b"OK" and not is_out:
            raise broken("it says OK before it had the whole command", answer.said)
        if exchange is self._paused:
            exchange.segments.clear()
            self._paused = None
        if exchange.end is None:
            exchange.answer = answer  # what is left of it must still go out: the server passes over it
        else:
            self._finish(exchange, answer)
        self._make_progress()

    def _finish(self, exchange: Exchange, answer: Tagged) -> None:
        del self._owed[exchange.tag]
        if exchange.on_data is not None:
            self._listeners.remove(exchange)
            self._set_limits()
        exchange.on_done(answer)

    def _set_limits(self) -> None:
        self._reader.line_limit = max((one.line_limit for one in self._listeners), default=LINE_LIMIT)
        self._reader.literal_limit = max((one.literal_limit for one in self._listeners), default=LITERAL_LIMIT)

    # Stalling ------------------------------------------------------------------------------
    def _make_progress(self) -> None:
        self._noise = 0
        self._mark, self._mark_s = self._sent + self._received, self._link.clock()

    def _check_stall(self) -> None:
        moved = self._sent + self._received
        if self.is_idle or self._channel.is_held or moved - self._mark >= STALL_OCTETS:
            self._mark, self._mark_s = moved, self._link.clock()
        elif self._link.clock() - self._mark_s > self._link.timeout_s:
            raise StoreError(
                f"the IMAP server stalled: nothing to speak of in {self._link.timeout_s:.0f} seconds",
                hint="Run the same command again; what was sent is looked for first.",
            )
