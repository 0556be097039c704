"""What a server did to the messages that it took: each copy found again, whatever was done to it, and named.

It shares no code with the product, and looks only at octets: those that were sent and those that were served.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

NUL_AS_80 = "NUL as 0x80"
CUT_AT_NUL = "cut at NUL"
AS_X = "8-bit header octets as X"
CR_DROPPED = "bare CR dropped"
EOL_ADDED = "final line end added"
EOL_CUT = "final line end cut"
FIELDS_ADDED = "header lines added"
FIELDS_REMOVED = "header lines taken out"
FROM_CUT = "first line (From ...) taken out"
SPACED = "spaces of the header changed"
OTHER = "other"

# Header lines that mbox servers keep their books in: they write them into messages, and take out what others wrote.
_BOOKS = re.compile(rb"(?im)^(x-uid|x-imapbase|x-imap|x-uidl|status|x-status|x-keywords):[^\n]*\n(?:[ \t][^\n]*\n)*")
_FROM = re.compile(rb"\A>?From [^\n]*\n")
_SPACE = re.compile(rb"[ \t\r\n]+")
_X = re.compile(rb"[\x80-\xff]")


class Pairs(NamedTuple):
    """``found``: (sent, kept) of each message found again; then those missing, and copies that are nobody's."""

    found: list[tuple[bytes, bytes]]
    missing: list[bytes]
    strange: list[bytes]


def pair(sent: Iterable[bytes], kept: Iterable[bytes]) -> Pairs:
    """Each message with its copy. Equal octets first; then by ever weaker forms of both."""
    missing, strange = Counter(sent), Counter(kept)
    same = missing & strange
    found = [(octets, octets) for octets in same.elements()]
    missing, strange = missing - same, strange - same
    for form in (_lines, _plain, _plain_until_nul, _body):
        left: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for octets in strange.elements():
            left[form(octets)].append(octets)
        for octets in list(missing.elements()):
            if copies := left.get(form(octets)):
                copy = copies.pop()
                found.append((octets, copy))
                missing[octets] -= 1
                strange[copy] -= 1
        missing, strange = +missing, +strange
    return Pairs(found, list(missing.elements()), list(strange.elements()))


def _split(octets: bytes) -> tuple[bytes, bytes]:
    """Header and the rest with its empty line, without any CR."""
    header, empty, body = octets.replace(b"\r", b"").partition(b"\n\n")
    return header + b"\n", empty[1:] + body


def _lines(octets: bytes) -> bytes:
    return octets.replace(b"\r", b"").rstrip(b"\n")


def _plain(octets: bytes) -> bytes:
    """Without line ends, a server's own header lines, and what servers are known to do to NULs and headers."""
    header, body = _split(octets.replace(b"\0", b"\x80"))
    header = _BOOKS.sub(b"", _FROM.sub(b"", header))
    return _SPACE.sub(b"", _X.sub(b"X", header)) + body.rstrip(b"\n")


def _plain_until_nul(octets: bytes) -> bytes:
    return _plain(octets.partition(b"\0")[0])


def _body(octets: bytes) -> bytes:
    """The last resort: the text of the body, where there is one."""
    return _split(octets)[1].strip() or octets


# --- by name ------------------------------------------------------------------------------------


def named(sent: bytes, kept: bytes) -> tuple[str, ...]:
    """What was done to the message; nothing is named that does not show, and what no name explains is ``OTHER``."""
    if sent == kept:
        return ()
    names = tuple(_names(sent, kept))
    return names if _without(names, sent) == _without(names, kept) else (*names, OTHER)


def _names(sent: bytes, kept: bytes) -> Iterator[str]:
    if b"\0" in sent and b"\0" not in kept:
        is_kept_as_80 = _plain(sent) == _plain(kept)
        yield NUL_AS_80 if is_kept_as_80 else CUT_AT_NUL
        sent = sent.replace(b"\0", b"\x80") if is_kept_as_80 else sent.partition(b"\0")[0]
    (header, _), (header_kept, _) = _split(sent), _split(kept)
    books, books_kept = _books(header), _books(header_kept)
    if books_kept - books:
        yield FIELDS_ADDED
    if books - books_kept:
        yield FIELDS_REMOVED
    if _FROM.match(header) and not _FROM.match(header_kept):
        yield FROM_CUT
    if _spaces(header) != _spaces(header_kept):
        yield SPACED
    if _X.search(header) and not _X.search(header_kept):
        yield AS_X
    is_cut = sent.endswith(b"\r\n") and not kept.endswith(b"\n")
    if _bare_crs(sent) != _bare_crs(kept) - (is_cut and kept.endswith(b"\r")):
        yield CR_DROPPED
    if not sent.endswith(b"\n") and kept.endswith(b"\n"):
        yield EOL_ADDED
    if is_cut:
        yield EOL_CUT


def _without(names: tuple[str, ...], octets: bytes) -> bytes:
    """The octets as they would be the same of both, if these names were all."""
    if CUT_AT_NUL in names:
        octets = octets.partition(b"\0")[0]
    if NUL_AS_80 in names:
        octets = octets.replace(b"\0", b"\x80")
    header, empty, body = octets.partition(b"\r\n\r\n")
    if {FIELDS_ADDED, FIELDS_REMOVED, FROM_CUT, SPACED} & set(names):
        header = header.replace(b"\r\n", b"\n") + b"\n"
    if FROM_CUT in names:
        header = _FROM.sub(b"", header)
    if FIELDS_ADDED in names or FIELDS_REMOVED in names:
        header = _BOOKS.sub(b"", header)
    if SPACED in names:
        header = _SPACE.sub(b"", header)
    if AS_X in names:
        header = _X.sub(b"X", header)
    octets = header + empty + body
    if CR_DROPPED in names:
        octets = octets.replace(b"\r", b"")
    if {EOL_ADDED, EOL_CUT, CUT_AT_NUL} & set(names):
        octets = octets.rstrip(b"\r\n")
    return octets


def _spaces(header: bytes) -> list[bytes]:
    return _SPACE.findall(_BOOKS.sub(b"", _FROM.sub(b"", header)).rstrip())


def _books(header: bytes) -> Counter[bytes]:
    return Counter(found[0] for found in _BOOKS.finditer(header))


def _bare_crs(octets: bytes) -> int:
    return octets.count(b"\r") - octets.count(b"\r\n")
