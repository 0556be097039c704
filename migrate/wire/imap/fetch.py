"""FETCH and SEARCH data -> values; uids -> sets (RFC 3501 §7.4.2, §7.2.5, §9 sequence-set).

    msg-att  = "(" name SP value *(SP name SP value) ")"
    name     = "UID" / "RFC822.SIZE" / "FLAGS" / "INTERNALDATE" / "BODY" section ["<" number ">"]
               / others, which are skipped

Items come in any order. Nothing is parsed recursively, so that no nesting
is too deep.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from .reader import Data, broken

UID_MAX = 0xFFFFFFFF
_SEARCH_PART = 64 * 1024  # octets of a SEARCH answer read at once

_TOKEN = re.compile(
    rb" *(?:(?P<paren>[()])"
    rb'|"(?P<quoted>[^"\\]*(?:\\.[^"\\]*)*)"'
    rb"|(?P<name>[A-Za-z0-9.-]+)\[(?P<section>[^\]]*)\](?:<(?P<origin>[0-9]{1,18})>)?"
    rb'|(?P<atom>[^ ()"]+))',
    re.DOTALL,
)
# What most servers answer when only the size is asked for.
_SIZE_ONLY = re.compile(rb"\(UID ([0-9]{1,9}) RFC822\.SIZE ([0-9]{1,18})\)")
_DATE_TIME = re.compile(
    rb" *([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4}) +([0-9]{2}):([0-9]{2}):([0-9]{2}) +([+-])([0-9]{2})([0-9]{2}) *"
)
_NAMES = (b"JAN", b"FEB", b"MAR", b"APR", b"MAY", b"JUN", b"JUL", b"AUG", b"SEP", b"OCT", b"NOV", b"DEC")
_MONTHS = {name: number for number, name in enumerate(_NAMES, 1)}
_ESCAPED = re.compile(rb"\\(.)", re.DOTALL)
_NUMBERS = re.compile(rb"[0-9 ]*\Z")
_MODSEQ = re.compile(rb"\(MODSEQ [0-9]+\) *\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Section:
    """A body or a part of it: ``name`` is what stands between the brackets, in capitals.

    ``origin`` is where the octets begin when only a part was asked for;
    ``data`` is None where the server said NIL.
    """

    name: bytes
    origin: int | None
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Fetched:
    """What one FETCH response says, as far as it is asked for here."""

    uid: int | None
    size: int | None
    sections: tuple[Section, ...]
    flags: tuple[bytes, ...] | None = None
    internaldate: datetime | None = None


# A token: what it is, and its value.
_Token = tuple[str, bytes | None, Section | None]


def parse_fetch(data: Data) -> Fetched:
    """The uid, size and bodies of a FETCH response. StoreError when its list is malformed."""
    if len(data.parts) == 1 and (match := _SIZE_ONLY.fullmatch(data.parts[0])):
        return Fetched(int(match[1]), int(match[2]), ())
    tokens = _tokens(data.parts)
    if next(tokens, None) != ("(", None, None):
        raise broken("a FETCH answer without a list", data.parts[0])
    uid = size = flags = when = None
    sections: list[Section] = []
    for kind, name, section in tokens:
        if kind == ")":
            return Fetched(uid, size, tuple(sections), flags, when)
        if kind not in ("atom", "section") or name is None:
            raise broken("a FETCH answer with an item that has no name", data.parts[0])
        name = name.upper()
        value_kind, value, words = _value(tokens, data)
        if section is not None:
            if name == b"BODY" and value_kind != "list":
                sections.append(Section(section.name, section.origin, value))
        elif name == b"UID":
            uid = _number(value, UID_MAX, data)
        elif name == b"RFC822.SIZE":
            size = _number(value, (1 << 63) - 1, data)
        elif name == b"FLAGS" and value_kind == "list":
            flags = tuple(words)
        elif name == b"INTERNALDATE" and value is not None:
            when = parse_internaldate(value)
    raise broken("a FETCH answer that ends within its list", data.parts[0])


def _value(tokens: Iterator[_Token], data: Data) -> tuple[str, bytes | None, list[bytes]]:
    """The next value: a string or atom, None for NIL, or ("list", None) for a list, and the atoms in that."""
    depth = 0
    words: list[bytes] = []
    for kind, value, section in tokens:
        if kind == "(":
            depth += 1
        elif kind == ")":
            depth -= 1
            if depth < 0:
                break
            if depth == 0:
                return "list", None, words
        elif depth == 0 and section is None:
            is_nil = kind == "atom" and value is not None and value.upper() == b"NIL"
            return kind, None if is_nil else value, words
        elif depth == 1 and kind == "atom" and value is not None:
            words.append(value)
    raise broken("a FETCH answer with an item that has no value", data.parts[0])


def _tokens(parts: Sequence[bytes]) -> Iterator[_Token]:
    for index, part in enumerate(parts):
        if index % 2:
            yield "literal", part, None
            continue
        position = 0
        while match := _TOKEN.match(part, position):
            position = match.end()
            if match["paren"]:
                yield match["paren"].decode("ascii"), None, None
            elif match["quoted"] is not None:
                yield "quoted", _ESCAPED.sub(rb"\1", match["quoted"]), None
            elif match["name"]:
                origin = int(match["origin"]) if match["origin"] else None
                yield "section", match["name"].upper(), Section(match["section"].upper(), origin, None)
            else:
                yield "atom", match["atom"], None
        if part[position:].strip(b" "):
            raise broken("a FETCH answer that cannot be read", part)


def _number(value: bytes | None, limit: int, data: Data) -> int:
    if value is None or not value.isdigit() or len(value) > 19 or int(value) > limit:
        raise broken("a FETCH answer with an impossible number", data.parts[0])
    return int(value)


def parse_internaldate(text: bytes) -> datetime | None:
    """The date-time of FETCH INTERNALDATE (RFC 3501 §9), with its offset; None where it is none."""
    match = _DATE_TIME.fullmatch(text)
    month = _MONTHS.get(match[2].upper()) if match else None
    if match is None or month is None:
        return None
    offset = timedelta(hours=int(match[8]), minutes=int(match[9]))
    zone = timezone(-offset if match[7] == b"-" else offset) if offset < timedelta(hours=24) else UTC
    try:
        clock = (int(match[4]), int(match[5]), int(match[6]))
        return datetime(int(match[3]), month, int(match[1]), *clock, tzinfo=zone)
    except ValueError:
        return None


def parse_search(data: Data, low: int) -> array[int]:
    """The uids >= ``low`` of a SEARCH response, as they came. StoreError when they are no uids.

    ``low:*`` also gives the last message when its uid is lower (RFC 3501 §6.4.8).
    """
    text = b"".join(data.parts)
    if not _NUMBERS.match(text):
        text = _MODSEQ.sub(b"", text)
        if not _NUMBERS.match(text):
            raise broken("a SEARCH answer that is not made of numbers", text)
    uids = array("L")
    at = 0
    while at < len(text):  # in parts: a million words at once would weigh ten times what the uids do
        end = text.find(b" ", at + _SEARCH_PART)
        end = len(text) if end < 0 else end
        uids.extend(_uids_in(text[at:end], low))
        at = end
    return uids


def _uids_in(text: bytes, low: int) -> list[int]:
    words = text.split()
    if words and max(map(len, words)) > 10:
        raise broken("a SEARCH answer with an impossible number", text)
    uids = [uid for uid in map(int, words) if uid >= low]
    if uids and (min(uids) < 1 or max(uids) > UID_MAX):
        raise broken("a SEARCH answer with an impossible number", text)
    return uids


def uid_set(uids: Iterable[int]) -> bytes:
    """These uids and no others as a sequence-set: ``1:3,7``."""
    ranges: list[str] = []
    first = last = 0
    for uid in sorted(set(uids)):
        if first and uid == last + 1:
            last = uid
            continue
        if first:
            ranges.append(f"{first}:{last}" if last > first else str(first))
        first = last = uid
    if first:
        ranges.append(f"{first}:{last}" if last > first else str(first))
    return ",".join(ranges).encode("ascii")


def uid_chunks(uids: Iterable[int], count: int) -> Iterator[list[int]]:
    """The uids ascending, each once, in lists of at most ``count``.

    500 make a line below the 8,000 octets that every server takes (RFC 2683 §3.2.1.5).
    """
    ordered = sorted(set(uids))
    for start in range(0, len(ordered), count):
        yield ordered[start : start + count]
