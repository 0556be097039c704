"""A POP3 session played against a transcript, for the tests of the POP3 source."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import Command, Fetch, OpenSource, Outcome
from migrate.errors import StoreError
from migrate.model import Endpoint, Message, MessageRef, Protocol, Secret, Tls
from migrate.rules.dedupe import Digester
from migrate.stores.pop3 import Pop3Reader
from tests.fakes.dialogue import Dialogue

DIALOGUES = Path(__file__).parent.parent / "dialogues" / "pop3"
STEPS = [0, 1, 2, 3, 5, 7, 64]
TIMEOUT_S = 60.0

# A login that everything below can begin with: pipelining, UIDLs, two messages.
LOGIN = """
S: +OK ready
C: CAPA
S: -ERR
C: USER mrose
S: +OK
C: PASS tanstaaf
S: +OK
C: CAPA
S: +OK
S: UIDL
S: PIPELINING
S: .
C: STAT
S: +OK 2 320
"""
LOCKSTEP = LOGIN.replace("S: PIPELINING\n", "")
ONE, TWO = MessageRef(b"aa", 1, 120), MessageRef(b"bb", 2, 200)


class Play:
    """A session and the transcript that it is played against."""

    def __init__(
        self,
        dialogue: Dialogue,
        spill_dir: Path,
        kind: type[Pop3Reader] = Pop3Reader,
        *,
        tls: Tls = Tls.IMPLICIT,
        user: str = "mrose",
        password: str = "tanstaaf",
    ) -> None:
        self.dialogue = dialogue
        self.trace: list[tuple[str, bytes]] = []
        self.session = kind(
            Endpoint(Protocol.POP3, user, "pop.example.org", 995, tls),
            Secret(password),
            connect=dialogue.connect,
            digester=Digester,
            spill_dir=spill_dir,
            clock=dialogue.clock,
            trace=lambda who, line: self.trace.append((who, line)),
            timeout_s=TIMEOUT_S,
        )

    def outcomes(self, *commands: Command) -> list[Outcome]:
        """The outcomes of commands submitted at once; a turn without any takes a second."""
        for command in commands:
            self.session.submit(command)
        outcomes: list[Outcome] = []
        while len(outcomes) < len(commands):
            assert self.dialogue.clock.now < 10_000, "nothing moves"
            is_ready = self.session.is_ready()
            news = self.session.turn()
            outcomes += news
            if not news and not is_ready:
                self.dialogue.clock.now += 1
        assert [outcome.command for outcome in outcomes] == list(commands)
        return outcomes

    def value(self, command: Command) -> Any:
        (outcome,) = self.outcomes(command)
        if outcome.error is not None:
            raise outcome.error
        return outcome.value

    def error(self, command: Command) -> StoreError:
        (outcome,) = self.outcomes(command)
        assert isinstance(outcome.error, StoreError), outcome
        return outcome.error

    def octets(self, command: Fetch) -> bytes:
        message: Message = self.value(command)
        return b"".join(message.blocks())


Start = Callable[..., Play]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    def started(text: str, kind: type[Pop3Reader] = Pop3Reader, *, step: int = 0, **more: Any) -> Play:
        return Play(Dialogue(text, step=step), tmp_path, kind, **more)

    return started


@pytest.fixture
def opened(start: Start) -> Start:
    """As ``start``, the login done; the text begins after it."""

    def logged_in(text: str, kind: type[Pop3Reader] = Pop3Reader, *, login: str = LOGIN, **more: Any) -> Play:
        play = start(login + text, kind, **more)
        play.value(OpenSource())
        return play

    return logged_in


def text_of(name: str) -> str:
    return (DIALOGUES / name).read_text(encoding="utf-8")
