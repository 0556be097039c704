"""What the tests of the IMAP destination share: letters, digests, the transcript of a login."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

from migrate.commands import Letter, OpenDest, OpenMailbox, Outcome
from migrate.model import (
    INBOX,
    DateSource,
    DedupeKey,
    Endpoint,
    Fingerprint,
    Flags,
    InternalDate,
    Message,
    Oddity,
    Protocol,
    Secret,
    Tls,
)
from migrate.stores.imap import ImapAppender
from tests.fakes.imap_script import Clock, Script, ScriptChannel, play, to_script

USER = "ann@example.org"
PASSWORD = 'can"ary\\pass word'
WHEN = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)
DATE = '" 2-Jan-2020 03:04:05 +0000"'

LOGIN = """
    S: * OK ready
    C: CAPABILITY
    S: * CAPABILITY IMAP4rev1 AUTH=PLAIN
    S: $t OK done
    C: AUTHENTICATE PLAIN
    S: +
    -: AGFubkBleGFtcGxlLm9yZwBjYW4iYXJ5XHBhc3Mgd29yZA==
    S: $t OK in
    C: CAPABILITY
    S: * CAPABILITY IMAP4rev1 UIDPLUS %s
    S: $t OK done
"""

SELECT = """
    C: SELECT "INBOX"
    S: * FLAGS (\\Answered \\Flagged \\Deleted \\Seen \\Draft)
    S: * OK [PERMANENTFLAGS (\\Answered \\Seen \\*)] limited
    S: * 3 EXISTS
    S: * 0 RECENT
    S: * OK [UIDVALIDITY 7] valid
    S: * OK [UIDNEXT 10] next
    S: $t OK [READ-WRITE] selected
"""


class Sha:
    """A digest of the octets alone."""

    def __init__(self) -> None:
        self._sha = hashlib.sha256()
        self._octets = 0

    def update(self, block: bytes) -> None:
        self._sha.update(block)
        self._octets += len(block)

    def finish(self) -> Fingerprint:
        return Fingerprint(self._octets, self._sha.digest(), None, Oddity.NONE, DedupeKey(b"", b"", False))


def print_of(octets: bytes) -> Fingerprint:
    digest = Sha()
    digest.update(octets)
    return digest.finish()


def letter(octets: bytes, flags: str = "", when: datetime = WHEN, path: Path | None = None) -> Letter:
    """A letter, from its file when one is given."""
    if path is not None:
        path.write_bytes(octets)
    data = octets if path is None else None
    message = Message(len(octets), b"", print_of(octets), data=data, path=path)
    return Letter(message, Flags(frozenset(flags.split())), InternalDate(when, DateSource.DATE))


def endpoint(port: int = 993, tls: Tls = Tls.IMPLICIT, user: str = USER) -> Endpoint:
    return Endpoint(Protocol.IMAP, user, "127.0.0.1", port, tls)


class Rig:
    """A session on a transcript."""

    def __init__(
        self,
        text: str,
        *,
        tls: Tls = Tls.IMPLICIT,
        user: str = USER,
        password: str = PASSWORD,
        piece: int = 1 << 20,
        take: int = 1 << 20,
        pace_s: float = 0.0,
    ) -> None:
        self.clock = Clock()
        self.script = Script(text)
        self.traced: list[str] = []
        is_secure = tls is Tls.IMPLICIT
        self.channel = ScriptChannel(
            self.script, self.clock, is_secure=is_secure, piece=piece, take=take, pace_s=pace_s
        )
        self.session = ImapAppender(
            endpoint(tls=tls, user=user),
            Secret(password),
            connect=to_script(self.channel),
            clock=self.clock,
            trace=lambda who, line: self.traced.append(f"{who}: {line.decode()}"),
        )

    def open(self) -> Outcome:
        (outcome,) = play(self.session, OpenDest(0))
        return outcome


def opened(capabilities: str, text: str, **cuts: int) -> Rig:
    """A session logged in, with INBOX selected, and the rest of the transcript before it."""
    rig = Rig(LOGIN % capabilities + SELECT + text, **cuts)  # type: ignore[arg-type]
    outcomes = play(rig.session, OpenDest(0), OpenMailbox(0, INBOX, create=False))
    assert [outcome.error for outcome in outcomes] == [None, None]
    return rig
