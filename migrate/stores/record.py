"""The lines of an index: JSON objects, one a line, only ever appended, each with the proof that it is whole.

line = JSON object whose last member is "check": the first 16 digits of the SHA-256 of the rest of it
"""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

LINE_LIMIT = 1024 * 1024  # a longer line is none of ours

_LINE = re.compile(rb'(\{.*),"check":"([0-9a-f]{16})"\}\n')


def sealed(record: dict[str, Any]) -> bytes:
    """The line of a record."""
    text = json.dumps(record, separators=(",", ":")).encode("ascii")
    return text[:-1] + b',"check":"%s"}\n' % _check(text)


def unsealed(line: bytes) -> dict[str, Any] | None:
    """The record of a line; None when it is damaged."""
    text = whole(line)
    try:
        record = None if text is None else json.loads(text)
    except ValueError:
        return None  # written by a program that we are not
    return record if isinstance(record, dict) else None


def whole(line: bytes) -> bytes | None:
    """The same as its JSON text, for a reader that needs little of it."""
    found = _LINE.fullmatch(line)
    if found is None:
        return None
    text = found[1] + b"}"
    return text if _check(text) == found[2] else None


def _check(text: bytes) -> bytes:
    return sha256(text).hexdigest()[:16].encode("ascii")
