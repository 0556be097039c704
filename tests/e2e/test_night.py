"""What a night does not do: load what it does not need, and log in more often than it has to."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate

from .nightly import Nightly

pytestmark = [pytest.mark.dovecot]


@pytest.fixture
def nightly(tmp_path: Path, dovecot: Dovecot, user: str) -> Nightly:
    return Nightly(tmp_path, dovecot, user)


def test_a_night_from_pop3_into_mbox_files_loads_no_other_store_and_no_other_engine(nightly: Nightly) -> None:
    nightly.deliver(list(generate(1, 3, odd=0)))
    nightly.ferry.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    ran = nightly.backup("-q", is_json=False)
    assert ran.code == 0
    loaded = {line.rpartition("|")[2].strip() for line in ran.err.splitlines() if line.startswith("import time:")}
    assert {"migrate.stores.pop3.session", "migrate.stores.mbox.appender", "migrate.engine.walk"} <= loaded
    rooms = ("migrate.stores.files", "migrate.stores.maildir", "migrate.stores.imap", "migrate.wire.imap")
    engines = ("migrate.engine.audit", "migrate.engine.rebuild")
    libraries = ("imapclient", "pyrage", "keyring", "importlib.metadata", "zipfile", "tarfile")
    assert not loaded & {*rooms, *engines, *libraries}


@pytest.mark.parametrize("protocol", ["pop3", "imap"])
def test_a_night_after_a_night_logs_in_once(nightly: Nightly, protocol: str) -> None:
    nightly.deliver(list(generate(1, 5, odd=0)))
    words = nightly.words()
    if protocol == "imap":
        words[1] = f"imaps://{nightly.old}@localhost:{nightly.dovecot.imaps_port}/INBOX"

    def logins(new: int) -> int:
        if new:
            nightly.deliver(list(generate(10 + new, new, odd=0)))
        ran = nightly.run(*words)
        assert (ran.code, ran.tally["open"]) == (0, 0)
        assert sum(nightly.kept().values()) == ran.tally["listed"] == 5 + new * (new + 1) // 2
        return sum(event["end"] == "source" for event in ran.all("connected"))

    first, *nights = [logins(new) for new in (0, 1, 2, 3)]
    assert first == 2
    assert nights == ([2, 1, 1] if protocol == "pop3" else [1, 1, 1])
