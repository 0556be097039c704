"""What imap-backup keeps beside its mbox files: NAME.imap, JSON with the flags of each message.

{"version":3.1,"uid_validity":1,"messages":[{"uid":1,"offset":0,"length":2411,"flags":["Seen"]}]}
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from ...model import SYSTEM_FLAGS, Flags, is_keyword

SUFFIX = ".imap"
INDEX_OCTETS = 256 * 1024 * 1024  # of one that is read
# \Deleted is left out as everywhere, and \Recent is the server's.
_SYSTEM = {flag[1:].lower(): flag for flag in SYSTEM_FLAGS if flag != "\\Deleted"}
_DROPPED = ("deleted", "recent")
_ESCAPED = re.compile(r"%([0-9a-fA-F]{1,6});")


def index_of(path: Path) -> Path:
    """Where the index of an mbox file stands, if imap-backup wrote it."""
    return path.with_suffix(SUFFIX)


def read_flags(octets: bytes) -> dict[int, Flags] | None:
    """The flags of each message, by the offset of its From_ line; None where this is no index that can be read."""
    kept: dict[frozenset[str], Flags] = {}
    flags: dict[int, Flags] = {}

    def take(one: dict[str, Any]) -> dict[str, Any]:
        if isinstance(offset := one.get("offset"), int):
            words = one.get("flags")
            names = frozenset(map(str, words if isinstance(words, list) else ()))
            flags[offset] = kept.setdefault(names, _flags(names))
            return {}  # nothing of a message stays in memory but that
        return one

    try:
        index = json.loads(octets, object_hook=take)
    except (ValueError, RecursionError):
        return None
    return flags if isinstance(index, dict) and "uid_validity" in index else None


def _flags(names: frozenset[str]) -> Flags:
    words = (name.removeprefix("\\") for name in names if name.removeprefix("\\").lower() not in _DROPPED)
    found = (_SYSTEM.get(word.lower(), word) for word in words)
    return Flags(frozenset(name for name in found if name in SYSTEM_FLAGS or is_keyword(name)))


def unescaped(name: str) -> str:
    """The name of a folder as the server has it: imap-backup writes ":" as "%3a;"."""
    return _ESCAPED.sub(lambda found: _character(int(found[1], 16)), name)


def _character(number: int) -> str:
    return chr(number) if number < 0x110000 and not 0xD800 <= number < 0xE000 else "\ufffd"
