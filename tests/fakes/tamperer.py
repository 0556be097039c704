"""Servers whose clear-text part somebody tampers with: segments before, around and behind the answer to STARTTLS.

Behind TLS they are honest, and note what they were asked.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import ClassVar

from tests.support.embedded.session import Mail, Mailbox

from .liar_imap import LyingImap
from .liar_pop3 import LyingPop3

GAP_S = 0.02  # between two segments, so that they arrive apart

Segments = tuple[bytes, ...]


@dataclass(frozen=True)
class Behaviour:
    """What is said in clear: segments of the greeting, then of the answer to STARTTLS or STLS.

    ``$t`` stands for the tag. ``has_tls``: TLS begins behind the answer; else the connection is ``is_closed`` or
    stays open, and nothing more comes. ``opens``: the session
    comes to stand all the same, and as if nothing were.
    """

    name: str
    greeting: Segments
    answer: Segments
    has_tls: bool = True
    is_closed: bool = False
    opens: bool = False


class _Tampered:
    behaviour: ClassVar[Behaviour]
    asked: ClassVar[list[str]]  # inside TLS

    def say(self, segments: Segments, tag: bytes = b"") -> None:
        for index, segment in enumerate(segments):
            if index:
                _NEVER.wait(GAP_S)
            self.send(segment.replace(b"$t", tag))  # type: ignore[attr-defined]


_NEVER = threading.Event()


class TamperedImap(_Tampered, LyingImap):
    """IMAP with a behaviour; ``asked`` gets the commands inside TLS without their tags."""

    def serve(self) -> None:
        self._mailbox = Mailbox()
        self.tag = b""
        self.say(self.behaviour.greeting)
        tag = self.read_line().partition(b" ")[0]
        self.say(self.behaviour.answer, tag)
        if self.behaviour.is_closed:
            return
        if not self.behaviour.has_tls:
            self.hang()
        self.start_tls()
        while not self.is_done:
            self.tag, word, *tokens = self._command()
            name = word.decode("latin-1").lower()
            if name == "uid":
                name = "uid_" + tokens.pop(0).decode("latin-1").lower()
            self.asked.append(name)
            self.answer(name, tokens)


class TamperedPop3(_Tampered, LyingPop3):
    """POP3 with a behaviour."""

    def serve(self) -> None:
        self._mails: list[Mail] = []
        self._marked: set[int] = set()
        self._retrieved: set[int] = set()
        self.say(self.behaviour.greeting)
        self.read_line()
        self.say(self.behaviour.answer)
        if self.behaviour.is_closed:
            return
        if not self.behaviour.has_tls:
            self.hang()
        self.start_tls()
        while not self.is_done:
            word, *arguments = self.read_line().decode("latin-1").split(" ")
            self.asked.append(word.lower())
            self.answer(word.lower(), arguments)
