"""Target for mail files of other programs: any octets, as a file of any kind."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from migrate.commands import Fetch, ListSource, OpenSource
from migrate.errors import MessageError, StoreError
from migrate.rules.dedupe import Digester
from migrate.stores.files import FilesReader
from tests.stores.contract import octets_of, play

_NAMES = ("old", "old.mbox", "1.eml", "1.emlx", "1.partial.emlx", "old.mbox.gz", "12", "1.zip", "1.tar", "1.tgz")


def mail_file(data: bytes) -> None:
    """A file is refused, or every message that is listed has a name of its own and is served or set aside.

    The first octet chooses its name; an index as of imap-backup stands behind a NUL.
    """
    directory = _directory()
    name = _NAMES[data[0] % len(_NAMES)] if data else _NAMES[0]
    octets, found, index = data[1:].partition(b"\0index\0")
    path = directory / name
    path.write_bytes(octets)
    if found:
        path.with_suffix(".imap").write_bytes(index)
    reader = FilesReader(directory, Digester, directory)
    try:
        opened, listed = play(reader, OpenSource(), ListSource())
        if isinstance(opened.error, StoreError):
            return
        refs = list(listed.value)
        assert len({ref.uid for ref in refs}) == len(refs), "two messages of one name"
        for outcome in play(reader, *map(Fetch, refs)):
            if outcome.error is None:
                assert octets_of(outcome.value)
                continue
            assert isinstance(outcome.error, MessageError)
            assert "changed while it was read" not in outcome.error.what
    finally:
        reader.close()
        for one in directory.iterdir():
            one.unlink()


@cache
def _directory() -> Path:
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="pf-fuzz-", dir=shm if shm.is_dir() else None))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    return directory
