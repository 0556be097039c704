"""popferry, watched for a state file that it opens while it has it open: python -m tests.e2e.handles LOG WORD ...

Whoever closes one of two handles of a process on a file frees the locks that the other one holds (POSIX, fcntl).
"""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from urllib.parse import unquote

from migrate.cli.entry import enter
from migrate.state.database import Database

FILES = ("", "-wal", "-shm")  # all of them hold locks


def main() -> int:
    log = Path(sys.argv[1])
    held: list[str] = []
    told: list[str] = []
    close = Database.close

    def closed(db: Database) -> None:
        close(db)
        if str(db.path) in held:
            held.remove(str(db.path))

    def hear(event: str, about: tuple[object, ...]) -> None:
        if event not in ("open", "sqlite3.connect") or not isinstance(about[0], (str, bytes, os.PathLike)):
            return
        name = os.fsdecode(about[0])
        path = unquote(re.sub(r"^file:|\?.*$", "", name)) if event == "sqlite3.connect" else name
        told.extend(f"again {event} {name}" for one in held if path in [one + suffix for suffix in FILES])
        # One that is being made, under another name, is closed without Database.
        if event == "sqlite3.connect" and "immutable" not in name and path.startswith("/") and path[-4:] != ".new":
            held.append(path)
            told.append(f"first {path}")

    Database.close = closed  # type: ignore[method-assign, assignment]
    sys.addaudithook(hear)
    sys.argv = ["popferry", *sys.argv[2:]]
    try:
        return enter()
    finally:
        log.write_text("\n".join(told))


if __name__ == "__main__":
    sys.exit(main())
