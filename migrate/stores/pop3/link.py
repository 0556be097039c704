"""One connection: its channel, its protocol core, and blocking calls that end in time.

Every octet that crosses the wire goes through here, so that this is also the
place where what is traced or shown loses credentials and bodies.
"""

from __future__ import annotations

from collections.abc import Callable

from ...errors import Retry, StoreError
from ...model import Endpoint, Secret, display
from ...wire.pop3 import END, Block, Challenge, Event, Pop3Wire, Reply, broken
from ..base import Channel

Trace = Callable[[str, bytes], None]

ANSWER_LIMIT = 1024 * 1024  # octets of the multi-line answer to a blocking call


class TimedOut(StoreError):
    """The server did not answer in time."""


class Link:
    """A channel with a protocol core. ``ask`` blocks; ``put``, ``flush``, ``receive`` and ``next_event`` never do."""

    def __init__(
        self,
        channel: Channel,
        endpoint: Endpoint,
        secret: Secret,
        clock: Callable[[], float],
        trace: Trace | None,
    ) -> None:
        self.channel = channel
        self.clock = clock
        self.wire = Pop3Wire()
        self.received = 0  # octets
        self._out = bytearray()
        self._trace = trace
        self._body_octets = 0
        self._secrets = secret.forms(endpoint.user)

    # What may be shown ---------------------------------------------------------------------
    def scrub(self, octets: bytes) -> bytes:
        """The octets with the password, in any form we know of, replaced."""
        for form in self._secrets:
            octets = octets.replace(form, b"***")
        return octets

    def trace(self, who: str, line: bytes) -> None:
        """Gives one line to the trace, if there is one; ``line`` holds no body."""
        if self._trace is not None:
            # Made safe to show: an escape sequence would act on the terminal of whoever reads it.
            self._trace(who, display(self.scrub(line).rstrip(b"\r\n"), 2000).encode("utf-8"))

    def scrubbed(self, error: StoreError) -> StoreError:
        """The same error, its server text safe to show."""
        error.said = self.scrub(error.said)
        return error

    # Without blocking ----------------------------------------------------------------------
    def put(self, command: bytes, shown: bytes = b"") -> None:
        """Takes a command in; ``flush`` sends it. ``shown`` stands for it in the trace."""
        self._out += self.wire.send(command)
        if self._trace is not None:
            self.trace("C", shown or command)

    @property
    def has_unsent(self) -> bool:
        return bool(self._out)

    def flush(self) -> None:
        """Sends what the channel takes now."""
        while self._out:
            with memoryview(self._out) as view:
                sent = self.channel.send(view)
            if not sent:
                return
            del self._out[:sent]

    def receive(self) -> bool:
        """Takes in what has arrived. Whether something had."""
        data = self.channel.recv()
        if data is None:
            return False
        self.received += len(data)
        self.wire.receive_data(data)
        return True

    def is_quiet(self) -> bool:
        """Whether the connection is there, and nothing came over it that nobody asked for."""
        try:
            return not self.receive()
        except StoreError:
            return False

    def next_event(self) -> Event | None:
        """The next event of what was received, None when there is none yet."""
        event = self.wire.next_event()
        if self._trace is not None and event is not None:
            self._trace_event(event)
        return event

    def _trace_event(self, event: Event) -> None:
        if isinstance(event, Block):
            self._body_octets += len(event.octets)
        elif event is END:
            self.trace("S", b"<%d octets> ." % self._body_octets)
            self._body_octets = 0
        elif isinstance(event, Reply):
            self.trace("S", event.line)
        elif isinstance(event, Challenge):
            self.trace("S", b"+ " + event.text)

    # Blocking ------------------------------------------------------------------------------
    def ask(self, command: bytes, timeout_s: float, shown: bytes = b"") -> tuple[Reply, bytes]:
        """The reply to a command and the body that came with it. Nothing else may be under way."""
        self.put(command, shown)
        return self.read(timeout_s)

    def read(self, timeout_s: float) -> tuple[Reply, bytes]:
        """The next complete reply and its body. A challenge on the way is a StoreError."""
        reply = self.read_event(deadline := self.clock() + timeout_s)
        if not isinstance(reply, Reply):
            raise broken("a challenge out of place")
        body = bytearray()
        while self.wire.in_body:
            event = self.read_event(deadline)
            if isinstance(event, Block):
                body += event.octets
            if len(body) > ANSWER_LIMIT:
                raise broken(f"an answer of more than {ANSWER_LIMIT} octets")
        return reply, bytes(body)

    def read_event(self, deadline: float) -> Event:
        """The next event, waited for. TimedOut after the deadline, however much trickles in."""
        while (event := self.next_event()) is None:
            self.flush()
            if self.receive():
                if self.clock() > deadline:
                    raise _timed_out()
                continue
            left_s = deadline - self.clock()
            if left_s <= 0:
                raise _timed_out()
            self._wait(left_s)
        return event

    def _wait(self, left_s: float) -> None:
        try:
            self.channel.wait(write=self.has_unsent, timeout_s=left_s)
        except StoreError:
            # Either the time is over, or the channel is broken; ``receive`` tells which.
            self.flush()
            if not self.receive():
                raise _timed_out() from None

    def respond(self, text: bytes, shown: bytes) -> None:
        """Answers a challenge."""
        self._out += self.wire.respond(text)
        self.trace("C", shown)
        self.flush()


def _timed_out() -> TimedOut:
    return TimedOut("the POP3 server did not answer in time", retry=Retry.NOW)
