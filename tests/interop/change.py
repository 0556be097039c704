"""What a server did to the messages that it took: each copy found again, whatever was done to it, and named."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator

# Header lines that mbox servers write into messages.
_ADDED = re.compile(rb"(?im)^(x-uid|x-imapbase|x-uidl|status|x-status|x-keywords):[^\n]*\n(?:[ \t][^\n]*\n)*")


def pair(sent: Iterable[bytes], kept: Iterable[bytes]) -> tuple[list[tuple[bytes, bytes]], list[bytes], list[bytes]]:
    """(sent, kept) of each message found again, those that are missing, and copies that are nobody's.

    Equal octets first; then by ever weaker forms of both.
    """
    missing, strange = Counter(sent), Counter(kept)
    pairs: list[tuple[bytes, bytes]] = []
    same = missing & strange
    pairs += [(octets, octets) for octets in same.elements()]
    missing, strange = missing - same, strange - same
    for form in (_plain, _plain_until_nul, _body):
        left: defaultdict[bytes, list[bytes]] = defaultdict(list)
        for octets in strange.elements():
            left[form(octets)].append(octets)
        for octets in list(missing.elements()):
            if found := left.get(form(octets)):
                copy = found.pop()
                pairs.append((octets, copy))
                missing[octets] -= 1
                strange[copy] -= 1
    return pairs, list((+missing).elements()), list((+strange).elements())


def _plain(octets: bytes) -> bytes:
    """Without line ends, added header lines, and what servers are known to do to NULs and 8-bit headers."""
    octets = octets.replace(b"\r", b"").replace(b"\0", b"\x80")
    header, empty, body = octets.partition(b"\n\n")
    header = _ADDED.sub(b"", header + b"\n")
    header = bytes(88 if octet >= 0x80 else octet for octet in header)
    return (header + empty + body).rstrip(b"\n")


def _plain_until_nul(octets: bytes) -> bytes:
    return _plain(octets.partition(b"\0")[0])


def _body(octets: bytes) -> bytes:
    """The last resort: the text of the body."""
    return b"body" + octets.replace(b"\r", b"").partition(b"\n\n")[2].strip()


def named(sent: bytes, kept: bytes) -> str:
    """What was done to the message, for people."""
    return ", ".join(_named(sent, kept)) or "otherwise"


def _named(sent: bytes, kept: bytes) -> Iterator[str]:
    added = sorted(
        {found.decode().title() for found in _ADDED.findall(_header(kept))}
        - {found.decode().title() for found in _ADDED.findall(_header(sent))}
    )
    if added:
        yield f"header lines added ({', '.join(added)})"
    if b"\0" in sent and b"\0" not in kept:
        yield "NUL as 0x80" if kept.count(b"\x80") > sent.count(b"\x80") else "cut at or without its NUL"
    if not _header(sent).isascii() and _header(kept).isascii():
        yield "8-bit header octets as X"
    if _bare(sent) != _bare(kept):
        yield "bare CR dropped or moved"
    if not sent.endswith(b"\n") and kept.endswith(b"\n"):
        yield "final line end added"
    if _ADDED.sub(b"", _header(sent)) != _header(sent) and len(_header(kept)) < len(_header(sent)):
        yield "header lines of its own taken out"


def _header(octets: bytes) -> bytes:
    return octets.replace(b"\r", b"").partition(b"\n\n")[0] + b"\n"


def _bare(octets: bytes) -> int:
    return octets.count(b"\r") - octets.count(b"\r\n")
