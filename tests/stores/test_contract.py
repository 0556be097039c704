"""Every store passes the contract suite: memory, files, POP3 and IMAP against Dovecot and the embedded server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.commands import CloseSource, Fetch, ListSource, OpenSource
from migrate.model import Tls
from tests.support.dovecot import Dovecot
from tests.support.embedded import Embedded
from tests.support.mailgen import generate
from tests.support.relay import Relay

from .contract import AppenderContract, ReaderContract, ReleaserContract, play, value
from .files_rig import LettersSource, MboxFileSource
from .harness import ImapServerSource, MemoryDest, MemorySource, ServerDest, ServerSource
from .maildir_rig import MaildirDest, MaildirSource
from .mbox_rig import MboxDest, MboxSource


class TestMemoryReader(ReleaserContract):
    @pytest.fixture(params=[True, False], ids=["uids", "no uids"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> MemorySource:
        return MemorySource(tmp_path, has_uids=request.param)


class TestMemoryAppender(AppenderContract):
    @pytest.fixture(params=[(True, True), (True, False), (False, False)], ids=["atomic", "one by one", "without uids"])
    def dest(self, request: pytest.FixtureRequest) -> MemoryDest:
        has_uids, is_atomic = request.param
        return MemoryDest(has_uids=has_uids, is_atomic=is_atomic)


class TestMboxReader(ReaderContract):
    @pytest.fixture
    def source(self, tmp_path: Path) -> MboxSource:
        return MboxSource(tmp_path)


class TestFilesReader(ReaderContract):
    @pytest.fixture(params=[MboxFileSource, LettersSource], ids=["mbox", "eml"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> MboxFileSource | LettersSource:
        made: MboxFileSource | LettersSource = request.param(tmp_path)
        return made


class TestMboxAppender(AppenderContract):
    @pytest.fixture(params=["month", "year", "one"])
    def dest(self, request: pytest.FixtureRequest, tmp_path: Path) -> MboxDest:
        return MboxDest(tmp_path / "backup", layout=request.param)


class TestMaildirReader(ReaderContract):
    @pytest.fixture(params=[True, False], ids=["own", "foreign"])
    def source(self, request: pytest.FixtureRequest, tmp_path: Path) -> MaildirSource:
        return MaildirSource(tmp_path, is_own=request.param)


class TestMaildirAppender(AppenderContract):
    @pytest.fixture
    def dest(self, tmp_path: Path) -> MaildirDest:
        return MaildirDest(tmp_path / "Maildir")


@pytest.fixture
def trusted(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> Dovecot:
    """The shared server, its authority known to the program."""
    monkeypatch.setenv("SSL_CERT_FILE", str(dovecot.ca_file))
    return dovecot


@pytest.mark.dovecot
class TestPop3Reader(ReleaserContract):
    @pytest.fixture(params=[Tls.IMPLICIT, Tls.STARTTLS], ids=["pop3s", "stls"])
    def source(
        self, request: pytest.FixtureRequest, trusted: Dovecot, user: str, tmp_path: Path
    ) -> Iterator[ServerSource]:
        port = trusted.pop3s_port if request.param is Tls.IMPLICIT else trusted.pop3_port
        trusted.deliver_many(user, [])
        with Relay(port) as relay:
            yield ServerSource(trusted, user, tmp_path, relay, request.param)


@pytest.mark.dovecot
def test_a_reader_sends_no_dele(trusted: Dovecot, user: str, tmp_path: Path) -> None:
    trusted.deliver_many(user, generate(10, 20, odd=0))
    with Relay(trusted.pop3s_port) as relay:
        reader = ServerSource(trusted, user, tmp_path, relay, Tls.IMPLICIT).reader()
        value(reader, OpenSource())
        play(reader, *(Fetch(ref) for ref in value(reader, ListSource())))
        value(reader, CloseSource(quit=True))
    sent = trusted.commands(user).upper()
    assert sent.count(b"RETR ") == 20
    assert b"DELE" not in sent


@pytest.mark.dovecot
class TestImapReader(ReaderContract):
    @pytest.fixture(params=[Tls.IMPLICIT, Tls.STARTTLS], ids=["imaps", "starttls"])
    def source(
        self, request: pytest.FixtureRequest, trusted: Dovecot, user: str, tmp_path: Path
    ) -> Iterator[ImapServerSource]:
        port = trusted.imaps_port if request.param is Tls.IMPLICIT else trusted.imap_port
        trusted.deliver_many(user, [])
        with Relay(port) as relay:
            yield ImapServerSource(trusted, user, tmp_path, relay, request.param)


@pytest.mark.dovecot
class TestImapAppender(AppenderContract):
    @pytest.fixture(params=[Tls.IMPLICIT, Tls.STARTTLS], ids=["imaps", "starttls"])
    def dest(self, request: pytest.FixtureRequest, trusted: Dovecot, user: str) -> Iterator[ServerDest]:
        port = trusted.imaps_port if request.param is Tls.IMPLICIT else trusted.imap_port
        with Relay(port) as relay:
            yield ServerDest(trusted, user, relay, request.param)


LADDER = {
    "no MULTIAPPEND": "IMAP4rev1 NAMESPACE UIDPLUS LITERAL+",
    "no LITERAL+": "IMAP4rev1 NAMESPACE UIDPLUS MULTIAPPEND",
    "LITERAL-": "IMAP4rev1 NAMESPACE UIDPLUS LITERAL-",
    "nothing": "IMAP4rev1",
}


@pytest.fixture(scope="module", params=list(LADDER.values()), ids=list(LADDER))
def lesser_dovecot(request: pytest.FixtureRequest) -> Iterator[Dovecot]:
    """A Dovecot that offers less than it can."""
    with Dovecot(capability=request.param) as server:
        yield server


@pytest.mark.dovecot
class TestImapAppenderOnLesserServers(AppenderContract):
    @pytest.fixture
    def dest(self, lesser_dovecot: Dovecot, user: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerDest]:
        monkeypatch.setenv("SSL_CERT_FILE", str(lesser_dovecot.ca_file))
        with Relay(lesser_dovecot.imaps_port) as relay:
            yield ServerDest(lesser_dovecot, user, relay, Tls.IMPLICIT)


@pytest.fixture(scope="module")
def embedded() -> Iterator[Embedded]:
    with Embedded() as server:
        yield server


@pytest.fixture
def trusted_embedded(embedded: Embedded, monkeypatch: pytest.MonkeyPatch) -> Embedded:
    monkeypatch.setenv("SSL_CERT_FILE", str(embedded.ca_file))
    return embedded


class TestPop3ReaderOnTheEmbeddedServer(ReleaserContract):
    @pytest.fixture
    def source(self, trusted_embedded: Embedded, user: str, tmp_path: Path) -> Iterator[ServerSource]:
        with Relay(trusted_embedded.pop3s_port) as relay:
            yield ServerSource(trusted_embedded, user, tmp_path, relay, Tls.IMPLICIT)


class TestImapAppenderOnTheEmbeddedServer(AppenderContract):
    @pytest.fixture
    def dest(self, trusted_embedded: Embedded, user: str) -> Iterator[ServerDest]:
        with Relay(trusted_embedded.imaps_port) as relay:
            yield ServerDest(trusted_embedded, user, relay, Tls.IMPLICIT)
