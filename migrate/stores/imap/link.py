"""One connection: its channel, its one reader, and blocking calls that end in time.

Everything that crosses the wire goes through here, so that this is also the
place where what is traced or shown loses credentials and bodies.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from ...errors import Retry, StoreError
from ...model import Endpoint, Secret, display
from ...wire.imap import Continuation, Data, Event, Quirk, Reader, Status, Tagged, broken
from ..base import Channel

Trace = Callable[[str, bytes], None]  # who speaks, C or S, and the line

CALL_VOLUME = 4 * 1024 * 1024  # octets that the answer to one blocking call may have
CALL_LITERAL = 64 * 1024

_QUOTED = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


class Link:
    """A channel with a reader; ``begin`` opens the time and the volume that one blocking call has."""

    def __init__(
        self,
        channel: Channel,
        clock: Callable[[], float],
        timeout_s: float,
        trace: Trace | None,
        end: str = "server",  # how texts call it: "source" or "destination"
    ) -> None:
        self.channel = channel
        self.end = end
        self.clock = clock
        self.timeout_s = timeout_s
        self.reader = Reader()
        self.notices: list[tuple[str, bytes]] = []
        self.answer: Tagged | None = None  # the last tagged answer seen in this call
        self.goodbye: Status | None = None
        self.exists: int | None = None  # messages that the selected mailbox has, as the server told last
        self._trace = trace
        self._secrets: tuple[bytes, ...] = ()
        self._named: set[Quirk] = set()
        self._deadline = 0.0
        self._volume = 0

    # What may be shown ---------------------------------------------------------------------
    def keep_secret(self, endpoint: Endpoint, secret: Secret) -> None:
        """From now on this password is shown in no form."""
        self._secrets = secret.forms(endpoint.user)

    def scrub(self, octets: bytes) -> bytes:
        """The octets with the password, in any form we know of, replaced."""
        for form in self._secrets:
            octets = octets.replace(form, b"***")
        return octets

    @property
    def is_traced(self) -> bool:
        return self._trace is not None

    def trace(self, who: str, octets: bytes) -> None:
        """Gives one line to the trace, if there is one; ``octets`` holds no body."""
        if self._trace is not None:
            # Made safe to show: a bare line feed in a line would forge the next one.
            self._trace(who, display(self.scrub(octets), 2000).encode("utf-8"))

    def trace_event(self, event: Event) -> None:
        """Traces an event with every literal, and every quoted string of a FETCH, replaced by its length."""
        match event:
            case Tagged():
                self.trace("S", event.tag + b" " + event.said)
            case Status():
                self.trace("S", b"* " + event.said)
            case Continuation():
                self.trace("S", b"+ " + event.text)
            case Data():
                self.trace("S", _without_bodies(event))

    def notice(self, text: str, said: bytes = b"") -> None:
        self.notices.append((text, self.scrub(said)))

    def quirk(self, quirk: Quirk, said: bytes) -> None:
        """Remembers a tolerance that was used, once each."""
        if quirk not in self._named:
            self._named.add(quirk)
            self.notice(quirk.value, said)

    # Blocking calls ------------------------------------------------------------------------
    def begin(self, timeout_s: float | None = None) -> None:
        """Starts a blocking call. No command of a lane may be under way."""
        self._deadline = self.clock() + (self.timeout_s if timeout_s is None else timeout_s)
        self._volume = CALL_VOLUME
        self.answer = self.goodbye = None
        while not self.reader.is_between:
            self.next_event()

    def send(self, octets: bytes) -> None:
        """Sends all of it, taking in what comes meanwhile, so that nobody waits for the other for ever."""
        view = memoryview(octets)
        while view:
            sent = self.channel.send(view)
            view = view[sent:]
            if not sent and not self._receive():
                self.channel.wait(write=True, timeout_s=self._time_left())

    def next_event(self) -> Event:
        """The next event, waited for."""
        while (event := self.reader.next_event()) is None:
            self._receive_or_wait()
        self.trace_event(event)
        return event

    def read_line(self, *, is_login: bool = False) -> bytes:
        """The next line without its CRLF, raw, waited for. The answer to a login may lack its CR."""
        while (line := self.reader.take_line()) is None:
            if is_login and (line := self.reader.take_bare_answer()) is not None:
                self.quirk(*self.reader.quirks.pop())
                return line
            self._receive_or_wait()
        return line

    def read_octets(self, count: int) -> bytes:
        """So many octets, raw, waited for."""
        if count > CALL_LITERAL:
            raise broken(f"a literal of {count} octets where at most {CALL_LITERAL} can come")
        while (octets := self.reader.take_octets(count)) is None:
            self._receive_or_wait()
        return octets

    def is_quiet(self) -> bool:
        """Whether the connection is there, and nothing came over it that nobody asked for."""
        try:
            return not self._receive()
        except StoreError:
            return False

    def _receive_or_wait(self) -> None:
        if not self._receive():
            self.channel.wait(write=False, timeout_s=self._time_left())
        self._time_left()

    def _receive(self) -> bool:
        octets = self.channel.recv()
        if octets is None:
            return False
        self._volume -= len(octets)
        if self._volume < 0:
            raise broken("an answer without end")
        self.reader.feed(octets)
        return True

    def _time_left(self) -> float:
        # One deadline for the whole call: a server that sends an octet a second must not hold us for ever.
        left = self._deadline - self.clock()
        if left <= 0:
            raise StoreError("the IMAP server took too long to answer", retry=Retry.NOW)
        return left


def _without_bodies(data: Data) -> bytes:
    parts = [part if index % 2 == 0 else b"<%d octets>" % len(part) for index, part in enumerate(data.parts)]
    text = b"".join(parts)
    if data.name == b"FETCH":
        text = _QUOTED.sub(lambda found: b'"<%d octets>"' % (len(found[0]) - 2), text)
    number = b"%d " % data.number if data.number is not None else b""
    return b"* " + number + data.name + (b" " + text if text else b"")
