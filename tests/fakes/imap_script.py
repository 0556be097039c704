"""An IMAP server that follows a transcript, in memory or on 127.0.0.1.

    S: text         sends a line; ``$a`` is the tag of the command called a, ``$t`` that of the last one
    S> text         sends octets without line end (escapes of Python are understood)
    C: text         needs this command with any tag; ``...`` stands for anything
    C a: text       the same, and calls it a
    -: text         needs a line without a tag (the rest of a command)
    L: 5            needs so many octets of a literal; they are kept in ``literals``
    TLS             needs TLS to begin here
    END             closes the connection

A client that does otherwise is an AssertionError, raised in the client's ``send``.
"""

from __future__ import annotations

import codecs
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from migrate.commands import Command, Outcome
from migrate.errors import StoreError
from migrate.model import Endpoint
from migrate.stores.base import Session

_STEP = re.compile(r"(S:|S>|C(?: \w+)?:|-:|L:|TLS|END) ?(.*)\Z", re.DOTALL)


class Script:
    """What the server does, step by step, without any I/O."""

    def __init__(self, text: str) -> None:
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        self._steps = [self._parse(line) for line in lines]
        self._tags: dict[str, str] = {}
        self._inbox = b""
        self.literals: list[bytes] = []
        self.received = b""
        self.has_ended = False

    def _parse(self, line: str) -> tuple[str, str]:
        found = _STEP.match(line)
        assert found, f"not a step: {line}"
        return found[1], found[2]

    @property
    def left(self) -> list[tuple[str, str]]:
        """The steps that were not done."""
        return self._steps

    @property
    def wants_tls(self) -> bool:
        return bool(self._steps) and self._steps[0][0] == "TLS"

    def begin_tls(self) -> bytes:
        assert self.wants_tls, "TLS begins where the transcript has none"
        self._steps.pop(0)
        return self.feed(b"")

    def feed(self, octets: bytes) -> bytes:
        """What the server answers to these octets."""
        self.received += octets
        self._inbox += octets
        out = b""
        while self._steps and not self.has_ended and not self.wants_tls:
            kind, text = self._steps[0]
            if kind in ("S:", "S>"):
                out += self._say(kind, text)
            elif kind == "END":
                self.has_ended = True
            elif not self._hear(kind, text):
                break
            self._steps.pop(0)
        if not self._steps and self._inbox:
            raise AssertionError(f"the client sends what nobody waits for: {self._inbox[:200]!r}")
        return out

    def _say(self, kind: str, text: str) -> bytes:
        text = re.sub(r"\$([a-z]+)", lambda found: self._tags[found[1]], text)
        if kind == "S>":
            return codecs.decode(text, "unicode_escape").encode("latin-1")
        return text.encode("latin-1") + b"\r\n"

    def _hear(self, kind: str, text: str) -> bool:
        if kind == "L:":
            count = int(text)
            if len(self._inbox) < count:
                return False
            self.literals.append(self._inbox[:count])
            self._inbox = self._inbox[count:]
            return True
        line, end, rest = self._inbox.partition(b"\r\n")
        if not end:
            return False
        self._inbox = rest
        said = line.decode("latin-1")
        if kind != "-:":
            tag, _, said = said.partition(" ")
            self._tags["t"] = self._tags[kind[1:-1].strip() or "t"] = tag
        pattern = re.escape(text).replace(r"\.\.\.", ".*")
        assert re.fullmatch(pattern, said, re.DOTALL), f"expected {text!r}, got {said!r}"
        return True


class Clock:
    """Time that passes when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class ScriptChannel:
    """A channel to a script, in memory (base.Channel).

    ``piece``: octets that ``recv`` gives at a time; ``take``: octets that ``send`` takes at a time;
    ``pace_s``: how long each ``recv`` lasts.
    """

    is_held = False

    about = "script"

    def __init__(
        self,
        script: Script,
        clock: Clock,
        *,
        is_secure: bool = True,
        piece: int = 1 << 20,
        take: int = 1 << 20,
        pace_s: float = 0.0,
    ) -> None:
        self.script = script
        self.is_secure = is_secure
        self.is_closed = False
        self._clock = clock
        self._piece, self._take, self._pace_s = piece, take, pace_s
        self._outbox = script.feed(b"")

    def send(self, data: bytes | memoryview) -> int:
        octets = bytes(data)[: self._take]
        if self.script.has_ended:
            raise StoreError("the connection broke")
        self._outbox += self.script.feed(octets)
        return len(octets)

    def recv(self) -> bytes | None:
        if not self._outbox:
            if self.script.has_ended:
                raise StoreError("the server closed the connection")
            return None
        self._clock.now_s += self._pace_s
        octets, self._outbox = self._outbox[: self._piece], self._outbox[self._piece :]
        return octets

    def wait(self, *, write: bool, timeout_s: float) -> None:
        if not self._outbox and not write and not self.script.has_ended:
            self._clock.now_s += timeout_s
            raise StoreError("the server did not answer")

    def start_tls(self) -> None:
        if self._outbox:
            raise StoreError("TLS failed: clear text in the way")
        self.is_secure = True
        self._outbox += self.script.begin_tls()

    def has_pending(self) -> bool:
        return bool(self._outbox) or self.script.has_ended

    def fileno(self) -> int | None:
        return None

    def close(self) -> None:
        self.is_closed = True


def play(session: Session, *commands: Command, idle: Callable[[], None] = lambda: None) -> list[Outcome]:
    """The outcomes of the commands, as many as come before nothing moves any more.

    ``idle`` is called whenever a turn brought nothing.
    """
    for command in commands:
        session.submit(command)
    outcomes: list[Outcome] = []
    quiet = 0
    while len(outcomes) < len(commands) and quiet < 20:
        news = session.turn()
        outcomes += news
        quiet = 0 if news or session.is_ready() else quiet + 1
        if not news:
            idle()
    return outcomes


@contextmanager
def served(text: str) -> Iterator[tuple[int, Script]]:
    """The port of 127.0.0.1 where the script is played to one client."""
    script = Script(text)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = threading.Thread(target=_serve, args=(listener, script), daemon=True)
        server.start()
        yield listener.getsockname()[1], script
    server.join(timeout=10)


def _serve(listener: socket.socket, script: Script) -> None:
    try:
        client, _ = listener.accept()
    except OSError:
        return  # nobody came
    with client:
        client.sendall(script.feed(b""))
        while not script.has_ended and (octets := client.recv(65536)):
            client.sendall(script.feed(octets))


def to_script(channel: ScriptChannel) -> Callable[..., ScriptChannel]:
    """A ``connect`` that gives this channel."""

    def connect(endpoint: Endpoint) -> ScriptChannel:
        return channel

    return connect
