"""How a simulated life opens its stores: those in memory, or the real ones, which speak octets to model servers."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Protocol

from migrate import model
from migrate.commands import Append, Command, OpenDest, OpenSource, Outcome
from migrate.model import Endpoint, Secret, Tls
from migrate.rules.dedupe import Digester
from migrate.stores.base import Session
from migrate.stores.imap import ImapAppender
from migrate.stores.pop3 import Pop3Reader, Pop3Releaser
from tests.failures.canary import REAL

from .channel import ModelChannel
from .faults import Kind
from .imap_peer import ImapPeer
from .maildrop import SimReader, SimReleaser
from .pop3_peer import Pop3Peer
from .profiles import Profile
from .servers import Servers, SimAppender

_TURNS = 50  # that may bring nothing before both ends are said to wait for each other
_SECRET = Secret(REAL)


class SimSession(Session, Protocol):
    """A session that something can befall."""

    mood: Kind | None
    """What befalls the commands submitted from now on."""


class WireSession:
    """A real store on a model channel, turned until each command has its outcome."""

    def __init__(self, session: Session, channel: ModelChannel, peer: Pop3Peer | ImapPeer, rng: random.Random) -> None:
        self.notices = session.notices
        self._session = session
        self._channel = channel
        self._peer = peer
        self._rng = rng
        self._owed = 0
        self.mood: Kind | None = None

    def submit(self, command: Command) -> None:
        self._befall(command)
        self._owed += 1
        self._session.submit(command)

    def turn(self) -> list[Outcome]:
        outcomes: list[Outcome] = []
        quiet = 0
        while len(outcomes) < self._owed:
            news = self._session.turn()
            outcomes += news
            quiet = 0 if news or self._session.is_ready() else quiet + 1
            assert quiet < _TURNS, "the store waits for nothing"
        self._owed = 0
        return outcomes

    def _befall(self, command: Command) -> None:
        """What the fault of this command does to the octets, or to the server."""
        is_append = isinstance(command, Append)
        if isinstance(self._peer, ImapPeer):
            self._peer.mood = self.mood if is_append else None
        if isinstance(command, OpenSource | OpenDest):
            return
        match self.mood:
            case Kind.CUT_BEFORE:
                # Of a short command perhaps all; of an upload any part.
                self._channel.cut_sent = self._rng.randrange(0, 2000 if is_append else 12)
            case Kind.CUT:
                self._channel.cut_received = self._rng.randrange(0, 60)
            case Kind.BYE if not is_append:
                self._channel.cut_received = 0

    def fileno(self) -> int | None:
        return self._session.fileno()

    def wants_write(self) -> bool:
        return self._session.wants_write()

    def is_ready(self) -> bool:
        return self._session.is_ready()

    def close(self) -> None:
        self._session.close()


def open_session(
    command: OpenSource | OpenDest, profile: Profile, servers: Servers, rng: random.Random, spill_dir: Path
) -> SimSession:
    """A session of the kind that the command asks for."""
    if profile.wire:
        return _open_on_wire(command, profile, servers, rng, spill_dir)
    if isinstance(command, OpenDest):
        return SimAppender(servers.server)
    kind = SimReleaser if command.may_release else SimReader
    return kind(servers.maildrop, Digester, spill_dir)


def _open_on_wire(
    command: OpenSource | OpenDest, profile: Profile, servers: Servers, rng: random.Random, spill_dir: Path
) -> SimSession:
    peer: Pop3Peer | ImapPeer
    if isinstance(command, OpenDest):
        peer = ImapPeer(servers.server, profile.wire)
        channel = ModelChannel(peer)
        session: Session = ImapAppender(
            Endpoint(model.Protocol.IMAP, "new", "model", 143, Tls.NONE),
            _SECRET,
            connect=lambda endpoint: channel,
            clock=_stands_still,
            tag_prefix=b"T",
        )
    else:
        peer = Pop3Peer(servers.maildrop, has_pipelining=profile.has_pipelining)
        channel = ModelChannel(peer)
        kind = Pop3Releaser if command.may_release else Pop3Reader
        session = kind(
            Endpoint(model.Protocol.POP3, "old", "model", 110, Tls.NONE),
            _SECRET,
            connect=lambda endpoint: channel,
            digester=Digester,
            spill_dir=spill_dir,
            clock=_stands_still,
        )
    return WireSession(session, channel, peer, rng)


def _stands_still() -> float:
    """The clock of the stores: a model server answers at once or never."""
    return 0.0
