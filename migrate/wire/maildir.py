"""Maildir: one file a message; what its name says, and how its lines end.

    name     = unique *("," field) [separator "2," *letter]     https://cr.yp.to/proto/maildir.html
    field    = "S=" octets / "W=" octets with CRLF line ends / whatever else a program notes ("U=17": mbsync)
    letter   = "D" / "F" / "P" / "R" / "S" / "T" / keyword      draft, flagged, passed on, replied, seen, trashed
    keyword  = "a" to "z", by the file dovecot-keywords         *( number SP name LF ), 0 stands for "a"

The separator is ":"; a disk that cannot hold one has "!" or ";" (Windows, VFAT), and "," was seen (Mailpile).
What names a message is ``unique`` alone: letters and fields are changed by every program that comes by.

A line ends in LF, as programs on Unix write and expect it; CRLF becomes LF where *every* line of the message ends in
CRLF. A message whose line ends are mixed stands as it is. Nothing else of it is changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping

from ..model import Flags, is_keyword
from .mbox import LineEnds

KEYWORDS_MAX = 26

_LETTERS = {
    "D": "\\Draft",
    "F": "\\Flagged",
    "P": "$Forwarded",
    "R": "\\Answered",
    "S": "\\Seen",
    "T": "\\Deleted",
}
LETTERED = frozenset(_LETTERS.values())  # flags that need no keyword
_NAME = re.compile(r"(?P<base>.+?)(?:[:;!,]2,(?P<letters>.*))?", re.DOTALL)
_SIZE = re.compile(r",W=([0-9]{1,15})(?=,|$)")
_KEYWORD_LINE = re.compile(rb"([0-9]{1,2}) ([^\n]+)")


# --- the name ---------------------------------------------------------------------------------


def unique_of(name: str) -> str:
    """The part of a file's name that stays the same as long as the message lives."""
    unique, comma, _ = name.partition(",")
    if not unique:
        return _base(name)
    # The comma may be that of the letters; one in front of it would have been found first.
    return unique[:-2] if comma and len(unique) > 2 and unique.endswith((":2", ";2", "!2")) else unique


def letters_of(name: str) -> str | None:
    """The letters in a file's name; None where it has no place for them."""
    found = _NAME.fullmatch(name)
    return found["letters"] if found else None


def size_of(name: str) -> int | None:
    """Octets of the message with CRLF line ends, where the name tells them."""
    found = _SIZE.search(_base(name))
    return int(found[1]) if found else None


def _base(name: str) -> str:
    found = _NAME.fullmatch(name)
    return found["base"] if found else name


def flags_of(letters: str, keywords: Mapping[str, str]) -> Flags:
    """What the letters say; ``keywords`` by letter. Letters that nobody explains say nothing."""
    names = [keywords.get(letter) or _LETTERS.get(letter) for letter in letters]
    return Flags(frozenset(name for name in names if name))


def letters_for(flags: Flags, keywords: Mapping[str, str]) -> str:
    """The letters that say it, in ASCII order; a keyword that has none is left out."""
    by_name = {name.lower(): letter for letter, name in keywords.items()}
    own = {name: letter for letter, name in _LETTERS.items()}
    names = flags.names
    found = {own[name] for name in names if name in own}
    found |= {by_name[name.lower()] for name in names if name.lower() in by_name}
    return "".join(sorted(found))


# --- the keywords of a folder -----------------------------------------------------------------


def parse_keywords(octets: bytes) -> dict[str, str]:
    """Keyword by letter, as dovecot-keywords has them. A line that says something else is passed over."""
    found = {}
    for line in octets.splitlines():
        match = _KEYWORD_LINE.fullmatch(line)
        name = match[2].decode("utf-8", "replace") if match else ""
        if match and int(match[1]) < KEYWORDS_MAX and is_keyword(name):
            found[chr(ord("a") + int(match[1]))] = name
    return found


def with_keywords(octets: bytes, wanted: Iterable[str]) -> bytes:
    """The file with a line more for each keyword that it lacks, as long as there are letters."""
    numbers = [int(match[1]) for line in octets.splitlines() if (match := _KEYWORD_LINE.fullmatch(line))]
    known = {name.lower() for name in parse_keywords(octets).values()}
    number = max(numbers, default=-1) + 1
    lines = []
    for name in wanted:
        if name.lower() not in known and number < KEYWORDS_MAX:
            lines.append(b"%d %b\n" % (number, name.encode("ascii")))
            known.add(name.lower())
            number += 1
    start = octets + b"\n" if lines and octets and not octets.endswith(b"\n") else octets
    return start + b"".join(lines)


# --- the lines --------------------------------------------------------------------------------


def stored_lines(blocks: Iterable[bytes], line_ends: LineEnds) -> Iterator[bytes]:
    """A message as it stands in its file. ``line_ends`` must be what ``survey`` finds."""
    held = b""
    for block in blocks:
        if line_ends is LineEnds.CRLF:
            block = held + block
            held = b"\r" if block.endswith(b"\r") else b""  # it may be half of a CRLF
            block = block[: len(block) - len(held)].replace(b"\r\n", b"\n")
        if block:
            yield block
    if held:
        yield held


def message_lines(blocks: Iterable[bytes], line_ends: LineEnds) -> Iterator[bytes]:
    """The message that stands in a file so."""
    for block in blocks:
        yield block.replace(b"\n", b"\r\n") if line_ends is LineEnds.CRLF else block


class Sizes:
    """Counts the octets of a file, and those that it would have with CRLF line ends: S and W of a name."""

    def __init__(self) -> None:
        self.octets = self.with_crlf = 0
        self._last = b""

    def update(self, block: bytes) -> None:
        if block:
            crlf = block.count(b"\r\n") + (self._last == b"\r" and block[:1] == b"\n")
            self.octets += len(block)
            self.with_crlf += len(block) + block.count(b"\n") - crlf
            self._last = block[-1:]
