"""Mail files that other programs wrote: where a message begins in an mbox file, and what its octets were.

No grammar holds for all of them (RFC 4155 says so itself), so a line is taken for a From_ line on evidence:

    dated     "From " *any day-name month day hour ":" minute     every mail program, UNIX and Gmail Takeout
    marker    "From " / "From -"                                  Thunderbird
    address   "From " 1*non-space "@" 1*non-space                 Gmail, some exports

A dated one is believed at the beginning and behind an empty line, the others there if a header follows; without the
empty line (seen: list archives, Zend, Roundcube) a dated one or a marker, if the next line is a field that mail has.
What is no From_ line by this ("From Russia with love") belongs to the message around it.

Of the quoting, only what is proven is undone: a ">" that nobody added is an octet of the message.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from enum import IntEnum

from .header import fields
from .mbox import FROM, Lines

BOM = b"\xef\xbb\xbf"

_DAY = rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)"
_MONTH = rb"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
_TIME = rb"[0-9]{1,2}:[0-9]{2}"
_DATED = re.compile(
    rb"[ \t]%b,?[ \t]+(?:%b[ \t]+[0-9]{1,2}|[0-9]{1,2}[ \t]+%b[ \t]+[0-9]{4})[ \t]+%b" % (_DAY, _MONTH, _MONTH, _TIME)
)
_MARKERS = (b"From", b"From -")
_ADDRESS = re.compile(rb"From [^\s@]+@\S+\s*")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_KNOWN = (
    rb"(?:from|to|cc|bcc|subject|date|received|return-path|message-id|mime-version|delivered-to|sender|reply-to|status"
    rb"|references|in-reply-to|organi[sz]ation|newsgroups|path|lines|envelope-to|delivery-date|authentication-results"
    rb"|(?:x|content|list|arc|resent|dkim|domainkey)-[!-9;-~]+)[ \t]*:"
)
_MAIL_FIELD = re.compile(_KNOWN, re.IGNORECASE)
_ANY_MAIL_FIELD = re.compile(rb"\n" + _KNOWN, re.IGNORECASE)

_LINE_OCTETS = 1000  # of a From_ line
_LOOK_OCTETS = 1400  # what is needed behind the beginning of one to tell: the line, and the beginning of the next
_BEGINNING = b"\n" + FROM


def begins_message(line: bytes, after: bytes, *, is_behind_empty: bool) -> bool:
    """Whether ``line`` is a From_ line. ``after`` is the line behind it, ``b""`` at the end of the file.

    ``is_behind_empty``: an empty line or nothing stands before it.
    """
    is_marker = line.rstrip() in _MARKERS
    is_dated = _DATED.search(line) is not None
    if not is_behind_empty:
        return (is_marker or is_dated) and _MAIL_FIELD.match(after) is not None
    # Seen: a From_ line of the system before (UUCP), quoted, as the first line of the header.
    has_header = _FIELD.match(after) is not None or after.startswith(b">From ")
    return is_dated or (has_header and (is_marker or _ADDRESS.fullmatch(line) is not None))


def begins_header(octets: bytes) -> bool:
    """Whether the first lines are header fields of a mail, as far as a few octets tell."""
    head = octets.removeprefix(BOM).lstrip(b"\r\n")
    header = b"\n" + re.split(rb"\n\r?\n", head, maxsplit=1)[0]
    return _FIELD.match(head) is not None and _ANY_MAIL_FIELD.search(header) is not None


def ends_in_cr(octets: bytes) -> bool:
    """Whether the lines of an mbox file that begins so end in CR alone, as classic Mac OS wrote them (Eudora).

    In so many octets there is no LF, and read with LF in place of each CR they begin with a From_ line. A message
    without one proves nothing: it may have come with such line ends, which are then octets of it.
    """
    if b"\r" not in octets or b"\n" in octets:
        return False
    text = octets.removeprefix(BOM).lstrip(b" \t\r").replace(b"\r", b"\n")
    return text.startswith(FROM) and has_messages(text)


def has_messages(octets: bytes) -> bool:
    """Whether a message of an mbox file begins in them."""
    separators = Separators()
    return any(is_beginning for is_beginning, _ in (*separators.update(octets), *separators.finish()))


class Separators:
    """Cuts an mbox file into messages, in octets given in blocks cut anywhere. A piece that begins one says so.

    The pieces, one behind the other, are the file.
    """

    def __init__(self) -> None:
        self._before = b"\n\n"  # the last octets that were given on; a file begins as behind an empty line
        self._held = b""
        self._is_first = True

    def update(self, block: bytes) -> list[tuple[bool, bytes]]:
        return self._take(block, is_last=False)

    def finish(self) -> list[tuple[bool, bytes]]:
        return self._take(b"", is_last=True)

    def _take(self, block: bytes, *, is_last: bool) -> list[tuple[bool, bytes]]:
        pieces: list[tuple[bool, bytes]] = []
        held = self._held + block
        if self._is_first and (len(held) >= len(BOM) or is_last):
            self._is_first = False
            if held.startswith(BOM):
                pieces.append((False, BOM))
                held = held[len(BOM) :]
        octets = self._before + held
        start, is_beginning = len(self._before), False
        stop = len(octets) if is_last else max(start, len(octets) - len(_BEGINNING) + 1)
        found = octets.find(_BEGINNING, max(0, start - 1))
        while found >= 0:
            at = found + 1
            if not is_last and len(octets) - at < _LOOK_OCTETS:
                stop = at  # what comes decides
                break
            if _is_cut(octets, at):
                if at > start:
                    pieces.append((is_beginning, octets[start:at]))
                start, is_beginning = at, True
            found = octets.find(_BEGINNING, at)
        if stop > start:
            pieces.append((is_beginning, octets[start:stop]))
        self._before, self._held = octets[max(0, stop - 3) : stop], octets[stop:]
        return pieces


def _is_cut(octets: bytes, at: int) -> bool:
    end = octets.find(b"\n", at, at + _LINE_OCTETS)
    line = octets[at : end if end >= 0 else len(octets)]
    if end < 0 and len(line) >= _LINE_OCTETS:
        return False
    after = octets[end + 1 : end + 1 + _LOOK_OCTETS - _LINE_OCTETS].partition(b"\n")[0] if end >= 0 else b""
    is_behind_empty = octets[max(0, at - 3) : at].endswith((b"\n\n", b"\n\r\n"))
    return begins_message(line, after, is_behind_empty=is_behind_empty)


# --- what the octets were ---------------------------------------------------------------------


class Quoting(IntEnum):
    """What was done to lines that begin with "From ", as far as it is proven."""

    UNKNOWN = 0  # nothing is undone
    MBOXRD = 1  # one ">" more before each ">*From "
    EVERY_FROM = 2  # the same before each ">*From", with or without a space, in the header too (imap-backup)


_UNQUOTE = {
    Quoting.MBOXRD: re.compile(rb"\n>(>*From )"),
    Quoting.EVERY_FROM: re.compile(rb"\n>(>*From)"),
}


def quoting_of(line: bytes) -> Quoting:
    """What the From_ line proves about who wrote the message there.

    Thunderbird writes an empty one ("From ", CRLF) since it quotes by mboxrd; public-inbox names the format in it.
    """
    if line == b"From \r\n" or line.startswith(b"From mboxrd@z "):
        return Quoting.MBOXRD
    return Quoting.UNKNOWN


class ForeignDecoder(Lines):
    """Stored lines to the octets of the message: what is proven to be quoted is not any more, lines end in CRLF."""

    def __init__(self, quoting: Quoting) -> None:
        super().__init__()
        self._unquote = _UNQUOTE.get(quoting)

    def update(self, block: bytes) -> bytes:
        return self._original(self._take(block))

    def finish(self) -> bytes:
        return self._original(self._rest())

    def _original(self, octets: bytes) -> bytes:
        if self._unquote is not None and b"From" in octets:
            octets = self._unquote.sub(rb"\n\1", octets)
        # A CR and its LF are never in two calls.
        return octets[1:].replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def original(blocks: Iterable[bytes], quoting: Quoting) -> Iterator[bytes]:
    """The octets of a message, in blocks, from its stored lines."""
    decoder = ForeignDecoder(quoting)
    for block in blocks:
        yield decoder.update(block)
    yield decoder.finish()


# --- what mail programs write into the header -------------------------------------------------

_CHANGING = re.compile(
    rb"^(?:status|x-status|x-keywords|x-uid|x-imap|x-imapbase|content-length|x-mozilla-status2?|x-mozilla-keys)"
    rb"[ \t]*:[^\n]*(?:\n[ \t][^\n]*)*(?:\n|\Z)",
    re.IGNORECASE | re.MULTILINE,
)
_THUNDERBIRDS = frozenset({b"x-account-key", b"x-uidl", b"x-mozilla-status", b"x-mozilla-status2", b"x-mozilla-keys"})
_EXPUNGED = 0x0008


def lasting(header: bytes) -> bytes:
    """The header without the fields that mail programs rewrite in the file, when a message is read or saved."""
    return _CHANGING.sub(b"", header)


def is_expunged(line: bytes, header: bytes) -> bool:
    """Whether Thunderbird has deleted the message and not yet compacted the file.

    Not where it is only marked as deleted at an IMAP server (X-Mozilla-Status2): it is shown there, and can come back.
    Believed only in the fields that it writes on top, behind a From_ line of its own: a sender can write them too.
    """
    if not line.startswith(b"From -") and line.rstrip() != b"From":
        return False
    for name, value in fields(header):
        if name not in _THUNDERBIRDS:
            return False
        if name == b"x-mozilla-status":
            digits = value.strip()
            return re.fullmatch(rb"[0-9A-Fa-f]{1,8}", digits) is not None and bool(int(digits, 16) & _EXPUNGED)
    return False
