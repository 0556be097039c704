"""FetchHeaders and ReadBack on a lane: sizes, header fields and every octet, as the server serves them now.

Only uids that were asked for count, each once; what is missing is asked for
again after a NOOP, because some servers show a new message only then.
Bodies of more than a window are read in windows (RFC 3501 §6.4.5 partial),
a few under way at a time, so that no message stands in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ...commands import Digest, FetchHeaders, Served
from ...errors import MigrateError
from ...model import HEADER_LIMIT
from ...wire.imap import Fetched, Section, Tagged, broken, uid_chunks, uid_set
from ...wire.imap.reader import LITERAL_LIMIT
from .lane import Lane
from .upload import refused_to_look

CHUNK_UIDS = 500
WINDOW = 1024 * 1024  # octets of a body asked for at a time
FEW_UIDS = 8  # whose first octets are asked for together with their sizes
FIRST = WINDOW // FEW_UIDS  # octets of each
IN_FLIGHT = 4  # FETCH commands of one job under way

BODY_UIDS = 100
BODY_LIMIT = 8 * 1024 * 1024  # of a literal: a size that was said is a hint, and some servers know no windows
EXCESS = 16 * 1024 * 1024  # octets beyond the announced size before we stop believing the server

Take = Callable[[Fetched], bool]  # says whether the data was for it


class _FetchJob:
    """FETCH commands for many uids, a few under way at a time."""

    def __init__(self, lane: Lane, uids: Sequence[int]) -> None:
        self.is_done = False
        self.value: Any = None
        self.error: MigrateError | None = None
        self._lane = lane
        self._asked = dict.fromkeys(uids)  # in the order asked
        self._waiting: deque[Callable[[], None]] = deque()
        self._open = 0
        self._has_asked_again = False
        self._ask(list(self._asked))
        self._go_on()

    def _fetch(self, uids: Sequence[int], items: bytes, take: Take, limit: int) -> None:
        """Asks when it is its turn."""
        line = b"UID FETCH %s (%s)" % (uid_set(uids), items)
        self._waiting.append(lambda: ask_fetch(self._lane, line, lambda answer: self._end(answer, uids), take, limit))

    def _end(self, answer: Tagged, uids: Sequence[int]) -> None:
        if answer.status != b"OK":
            self._refused(answer, uids)
        self._follow(uids)
        self._close_one()

    def _close_one(self) -> None:
        self._open -= 1
        self._go_on()

    def _go_on(self) -> None:
        while self._waiting and self._open < IN_FLIGHT:
            self._open += 1
            self._waiting.popleft()()
        if self._open or self.is_done:
            return
        missing = self._missing()
        if missing and not self._has_asked_again:
            self._has_asked_again = True
            self._open += 1
            self._ask(missing)
            self._lane.ask(b"NOOP", lambda answer: self._end(answer, ()))
        else:
            self.value = self._result()
            self.is_done = True

    def _ask(self, uids: Sequence[int]) -> None:
        raise NotImplementedError

    def _refused(self, answer: Tagged, uids: Sequence[int]) -> None:
        """Takes a NO or BAD to a question about these uids; raises StoreError where that ends the session."""
        # NO may mean that one of them was just expunged (RFC 2180 §4.1.2): what is missing is asked for again.
        if self._has_asked_again:
            raise refused_to_look(answer, self._lane.end)

    def _follow(self, uids: Sequence[int]) -> None:
        """What the end of a FETCH for these uids makes possible."""

    def _missing(self) -> list[int]:
        raise NotImplementedError

    def _result(self) -> Any:
        raise NotImplementedError


def ask_fetch(lane: Lane, line: bytes, on_done: Callable[[Tagged], None], take: Take, limit: int) -> None:
    """Sends a FETCH whose literals have at most ``limit`` octets."""
    lane.ask(line, on_done, lambda data: data.name == b"FETCH" and take(lane.fetched(data)), literal_limit=limit)


class HeadersJob(_FetchJob):
    """One FetchHeaders: size and header fields."""

    def __init__(self, lane: Lane, command: FetchHeaders) -> None:
        fields = " ".join(command.fields).upper().encode("ascii")
        self._has_fields = bool(fields)
        self._items = b"UID RFC822.SIZE" + (b" BODY.PEEK[HEADER.FIELDS (%s)]" % fields if fields else b"")
        self._sizes: dict[int, int] = {}
        self._headers: dict[int, bytes] = {}
        super().__init__(lane, command.uids)

    def _ask(self, uids: Sequence[int]) -> None:
        for chunk in uid_chunks(uids, CHUNK_UIDS):
            self._fetch(chunk, self._items, self._take, HEADER_LIMIT)

    def _take(self, fetched: Fetched) -> bool:
        uid = fetched.uid
        if uid is None or uid not in self._asked:
            return False
        is_new = False
        if fetched.size is not None and uid not in self._sizes:
            self._sizes[uid] = fetched.size
            is_new = True
        for section in fetched.sections:
            if section.name.startswith(b"HEADER.FIELDS") and uid not in self._headers:
                self._headers[uid] = section.data or b""
                is_new = True
        return is_new

    def _missing(self) -> list[int]:
        has_header = self._headers if self._has_fields else self._asked
        return [uid for uid in self._asked if uid not in self._sizes or uid not in has_header]

    def _result(self) -> list[Served]:
        if any(uid in self._sizes or uid in self._headers for uid in self._missing()):
            raise broken("it serves a message without its size or header")
        return [Served(uid, self._sizes[uid], self._headers.get(uid, b"")) for uid in self._asked if uid in self._sizes]


class ReadBackJob(_FetchJob):
    """Messages whole: sizes first, then small bodies many at a time, and large ones in windows.

    Of a few messages the first octets are asked for with the sizes: for most that is all there is.
    Value: what ``digester`` makes of each, by uid.
    """

    sizes = b"UID RFC822.SIZE"  # what is asked for first
    looks_ahead = True

    def __init__(self, lane: Lane, uids: Sequence[int], digester: Callable[[], Digest]) -> None:
        self._digester = digester
        self._sizes: dict[int, int] = {}
        self._planned: set[int] = set()
        self._prints: dict[int, Any] = {}  # what the digests made
        super().__init__(lane, uids)

    def _ask(self, uids: Sequence[int]) -> None:
        self._ask_bodies([uid for uid in uids if uid in self._sizes])
        unsized = [uid for uid in uids if uid not in self._sizes]
        if self.looks_ahead and 0 < len(unsized) <= FEW_UIDS and not self._has_asked_again:
            self._fetch(unsized, self.sizes + b" BODY.PEEK[]<0.%d>" % FIRST, self._take_first, BODY_LIMIT)
            return
        for chunk in uid_chunks(unsized, CHUNK_UIDS):
            self._fetch(chunk, self.sizes, self._take_size, LITERAL_LIMIT)

    def _take_first(self, fetched: Fetched) -> bool:
        is_new = self._take_size(fetched)
        uid, body = fetched.uid, _body(fetched, 0)
        if is_new and uid is not None and body is not None:
            octets = body.data or b""
            # Whole where the size says so too, and fewer came than were asked for. Else it is asked for again, whole.
            if len(octets) == self._sizes[uid] < FIRST:
                self._came(uid, self._print(octets))
        return is_new

    def _came(self, uid: int, made: Any) -> None:
        """A message is here, whole."""
        self._prints[uid] = made

    def _drop(self, digest: Any) -> None:
        """Forgets what was gathered of a message that did not come whole."""

    def _print(self, octets: bytes) -> Any:
        digest = self._digester()
        digest.update(octets)
        return digest.finish()

    def _take_size(self, fetched: Fetched) -> bool:
        uid, size = fetched.uid, fetched.size
        if uid is None or size is None or uid not in self._asked or uid in self._sizes:
            return False
        self._sizes[uid] = size
        return True

    def _ask_bodies(self, uids: Sequence[int]) -> None:
        for group, octets in groups((uid, self._sizes[uid]) for uid in uids):
            if octets > WINDOW:
                self._waiting.append(self._windows(group[0], octets))
            else:
                self._fetch(group, b"UID BODY.PEEK[]", self._take_body, BODY_LIMIT)

    def _take_body(self, fetched: Fetched) -> bool:
        body = _body(fetched, 0)
        uid = fetched.uid
        if body is None or uid is None or uid in self._prints or not 0 <= self._sizes.get(uid, -1) <= WINDOW:
            return False
        self._came(uid, self._print(body.data or b""))
        return True

    def _windows(self, uid: int, size: int) -> Callable[[], None]:
        digest = self._digester()

        def end(is_served: bool) -> None:
            if is_served:
                self._came(uid, digest.finish())
            else:
                self._drop(digest)
            self._close_one()

        def refused(answer: Tagged) -> None:
            self._refused(answer, [uid])

        return lambda: _Windows(self._lane, uid, size, digest, end, refused).go_on()

    def _follow(self, uids: Sequence[int]) -> None:
        fresh = [uid for uid in uids if uid in self._sizes and uid not in self._planned and uid not in self._prints]
        self._planned.update(fresh)
        self._ask_bodies(fresh)

    def _missing(self) -> list[int]:
        return [uid for uid in self._asked if uid not in self._prints]

    def _result(self) -> dict[int, Any]:
        return {uid: self._prints[uid] for uid in self._asked if uid in self._prints}


def groups(sized: Iterable[tuple[int, int]]) -> Iterator[tuple[list[int], int]]:
    """Uids that are asked for together, and their octets: no more than a window; a larger message stands alone."""
    group: list[int] = []
    octets = 0
    for uid, size in sized:
        if group and (octets + size > WINDOW or len(group) == BODY_UIDS):
            yield group, octets
            group, octets = [], 0
        group.append(uid)
        octets += size
    if group:
        yield group, octets


def _body(fetched: Fetched, offset: int) -> Section | None:
    """The first body of the response that begins at this octet."""
    for section in fetched.sections:
        if section.name == b"" and (section.origin == offset or (section.origin is None and offset == 0)):
            return section
    return None


@dataclass(eq=False, slots=True)
class _Window:
    offset: int
    body: Section | None = None
    is_done: bool = False


class _Windows:
    """One large body, read from its first octet until the server has no more. Tells the end whether it came whole."""

    def __init__(
        self,
        lane: Lane,
        uid: int,
        size: int,
        digest: Digest,
        on_end: Callable[[bool], None],
        on_refusal: Callable[[Tagged], None],  # of a window, once; may raise
    ) -> None:
        self._lane = lane
        self._uid = uid
        self._size = size
        self._digest = digest
        self._on_end = on_end
        self._on_refusal = on_refusal
        self._depth = IN_FLIGHT
        self._position = 0  # octets digested
        self._next = 0  # first octet not asked for
        self._out: deque[_Window] = deque()
        self._has_ended = False
        self._is_served = False

    def go_on(self) -> None:
        """Keeps a few windows under way."""
        while not self._has_ended and len(self._out) < self._depth and (self._next < self._size or not self._out):
            self._ask(_Window(self._next))
        if not self._out:
            self._on_end(self._is_served)

    def _ask(self, window: _Window) -> None:
        self._next = window.offset + WINDOW
        self._out.append(window)
        line = b"UID FETCH %d (UID BODY.PEEK[]<%d.%d>)" % (self._uid, window.offset, WINDOW)

        def take(fetched: Fetched) -> bool:
            body = _body(fetched, window.offset)
            if fetched.uid != self._uid or body is None or window.body is not None:
                return False
            window.body = body
            return True

        ask_fetch(self._lane, line, lambda answer: self._end(window, answer), take, BODY_LIMIT)

    def _end(self, window: _Window, answer: Tagged) -> None:
        if answer.status != b"OK" and not self._has_ended:
            self._break_off()
            self._on_refusal(answer)
        window.is_done = True
        while self._out and self._out[0].is_done:
            self._use(self._out.popleft())
        self.go_on()

    def _break_off(self) -> None:
        self._has_ended, self._is_served = True, False

    def _use(self, window: _Window) -> None:
        if self._has_ended or window.offset != self._position:
            return
        if window.body is None and self._position < self._size:
            self._break_off()  # expunged meanwhile, or not to be read: the octets so far are no message
            return
        data = window.body.data or b"" if window.body else b""
        self._is_served = self._is_served or window.body is not None
        self._digest.update(data)
        self._position += len(data)
        is_whole = window.body is not None and window.body.origin is None  # a server that knows no windows
        if not data or is_whole:
            self._has_ended = True
        elif len(data) > WINDOW or self._position > self._size + EXCESS:
            raise broken("it serves more of a message than there can be")
        elif len(data) < WINDOW:
            # Less than asked for: that was the end, or the server gives only so much at a time.
            self._has_ended = self._position >= self._size
            self._next, self._depth = self._position, 1
