"""A POP3 server that follows a transcript in memory: a ``base.Channel`` without sockets, threads or time.

    S: text      sends a line
    S> text      sends octets without line end (escapes of Python are understood in both)
    C: text      needs exactly this line; ``...`` at the end stands for anything
    TLS          needs TLS to begin here
    END          ends the connection
    PAUSE        what follows comes only after the client has found nothing to read
    CONNECT      needs a new connection, which the rest belongs to
    # ...        a remark

A client line that is not the next one, or that comes before the client has read what the server said
before it, is an AssertionError. ``step`` cuts what the server sends into pieces of so many octets.
"""

from __future__ import annotations

import codecs
import re
from pathlib import Path

from migrate.errors import StoreError
from migrate.model import Endpoint

_STEP = re.compile(r"(S:|S>|C:|TLS|END|PAUSE|CONNECT) ?(.*)\Z", re.DOTALL)


class Clock:
    """A clock that moves only when somebody waits in vain."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Dialogue:
    """The transcript of one or more connections; ``connect`` and ``clock`` are what a session is given."""

    def __init__(self, text: str, *, step: int = 0) -> None:
        lines = [line.strip() for line in text.splitlines()]
        self._steps = [self._parse(line) for line in lines if line and not line.startswith("#")]
        self._at = 0
        self._step = step
        self.clock = Clock()
        self.received = b""  # every octet that came from the client
        self.channels: list[DialogueChannel] = []

    @classmethod
    def read(cls, path: Path, *, step: int = 0) -> Dialogue:
        return cls(path.read_text(encoding="utf-8"), step=step)

    def _parse(self, line: str) -> tuple[str, bytes]:
        found = _STEP.match(line)
        assert found, f"not a step: {line}"
        kind, octets = found[1], codecs.escape_decode(found[2].encode("utf-8"))[0]
        assert isinstance(octets, bytes)
        return kind, octets + b"\r\n" if kind in ("S:", "C:") else octets

    @property
    def left(self) -> list[tuple[str, bytes]]:
        """The steps that were not reached."""
        return self._steps[self._at :]

    def connect(self, endpoint: Endpoint) -> DialogueChannel:
        if self.channels:
            self.next_is("END")
            assert self.next_is("CONNECT"), f"a new connection, where {self.left[:1]} was due"
            self.channels[-1].close()
        channel = DialogueChannel(self, endpoint, self._step)
        self.channels.append(channel)
        return channel

    def next_is(self, kind: str) -> bool:
        """Takes the next step if it is of that kind."""
        if not self.left or self.left[0][0] != kind:
            return False
        self._at += 1
        return True

    def said_next(self) -> bytes:
        """What the server says before it needs something."""
        said = b""
        while self.left and self.left[0][0] in ("S:", "S>"):
            said += self.left[0][1]
            self._at += 1
        return said

    def hear(self, line: bytes, *, has_unread: bool) -> None:
        """Compares a client's line with the one that is due."""
        kind, due = self.left[0] if self.left else ("nothing", b"")
        assert kind == "C:", f"the client says {line!r} where {kind} {due!r} was due"
        was_pipelined = self._steps[self._at - 1][0] == "C:"
        assert was_pipelined or not has_unread, f"the client says {line!r} before it has read what was said"
        is_same = line.startswith(due[:-5]) if due.endswith(b"...\r\n") else line == due
        assert is_same, f"the client says {line!r} where {due!r} was due"
        self._at += 1


class DialogueChannel:
    is_held = False

    def __init__(self, dialogue: Dialogue, endpoint: Endpoint, step: int) -> None:
        self._dialogue = dialogue
        self._endpoint = endpoint
        self._step = step
        self._inbox = b""
        self._unread = b""
        self.is_secure = endpoint.tls.value == "implicit"
        self.is_closed = False

    @property
    def about(self) -> str:
        return f"{self._endpoint.host}:{self._endpoint.port}, {'TLS' if self.is_secure else 'no TLS'}"

    def _check(self) -> None:
        if self.is_closed:
            raise StoreError("the channel is closed")
        self._unread += self._dialogue.said_next()

    def send(self, data: bytes | memoryview) -> int:
        self._check()
        self._dialogue.received += bytes(data)
        self._inbox += bytes(data)
        while b"\r\n" in self._inbox:
            line, _, self._inbox = self._inbox.partition(b"\r\n")
            self._dialogue.hear(line + b"\r\n", has_unread=bool(self._unread))
            self._unread += self._dialogue.said_next()
        return len(data)

    def recv(self) -> bytes | None:
        self._check()
        count = self._step or len(self._unread)
        data, self._unread = self._unread[:count], self._unread[count:]
        if data:
            return data
        if self._dialogue.left and self._dialogue.left[0][0] == "END":
            raise StoreError("the server ended the connection")
        self._dialogue.next_is("PAUSE")
        return None

    def wait(self, *, write: bool, timeout_s: float) -> None:
        self._check()
        if not self._unread and not write:
            self._dialogue.clock.now += timeout_s
            raise StoreError("nothing came in time")

    def start_tls(self) -> None:
        self._check()
        assert not self._unread, "TLS begins on octets that were not read"
        assert self._dialogue.next_is("TLS"), f"TLS begins where {self._dialogue.left[:1]} was due"
        self.is_secure = True

    def has_pending(self) -> bool:
        if self.is_closed:
            return False
        self._check()
        return bool(self._unread)

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self.is_closed = True
