"""Whether two messages are one mail: an index to find candidates, digests to decide.

index and ``settled`` are computed from the *canonical* octets: NUL as 0x80,
no CR. These are the changes that servers make to what they store, so a copy
that went through one of them has the same index and ``settled``, and
``fidelity`` tells whether it is one. Between two messages of a source they are
a difference: "A\\rB" and "AB" are two mails, and each of them may be the only one.

content covers the octets of the body without final line ends, and every line of
the header but the volatile fields: those that differ between two deliveries
of one mail, or that programs write into it afterwards. A difference anywhere
else makes another mail. Where a MUA could see the header's lines otherwise
than we do (after a CR inside a line, a line of white space, a line that is
no field), no field counts as volatile: nothing can hide in one. A header with
NUL, a bare CR or LF counts octet for octet.

index covers what IMAP serves under ``INDEX_FIELDS``. xxh3 is no proof: anyone
can make two messages with one index (it finds, ``content`` decides).
"""

from __future__ import annotations

import hashlib
import re
from functools import lru_cache

import xxhash

from ..model import HEADER_LIMIT, DedupeKey, Fingerprint, Oddity

INDEX_FIELDS = ("Message-ID", "From", "Date", "Subject", "To")

_INDEX_NAMES = frozenset(name.lower().encode("ascii") for name in INDEX_FIELDS)
_FALLBACK = (b"from", b"date", b"subject", b"to")

_VOLATILE = frozenset(
    b"received return-path delivered-to x-original-to envelope-to delivery-date authentication-results dkim-signature"
    b" status x-status x-keywords x-uidl x-tuid content-length lines"
    # Written into the message by mbox servers (mailutils, UW) beside Status.
    b" x-uid x-imap x-imapbase".split()
)
_VOLATILE_PREFIXES = (b"arc-", b"x-spam-", b"x-virus-", b"x-mozilla-", b"x-gmail-", b"x-gm-", b"x-ms-exchange-")

_NUL_AS_80 = bytes.maketrans(b"\0", b"\x80")
# Cyrus stores an X for every 8-bit octet of a header (munge8bit); the index must still find the message.
_EIGHT_BIT_AS_X = bytes.maketrans(bytes(range(128, 256)), b"X" * 128)

_PLAIN_ID = re.compile(rb" *<([^<>()\" ]+@[^<>()\"@ ]+)> *")
_IN_ANGLES = re.compile(rb"<((?:\"[^\"]*\"|[^>\"])*)>")
_COMMENT_PARTS = re.compile(rb"\\.|[()\"]|[^\\()\"]+|\\", re.DOTALL)
# What programs write where they have no Message-ID of their own; the first one is empty.
_PLACEHOLDERS = frozenset(
    b" @ 0 1 0@localhost blank blank@localhost none none@none null null@null nil undefined unknown"
    b" n/a na empty no-message-id message-id".split(b" ")
)

_STEP = 256 * 1024  # octets of a long message that are digested at a time
_EMPTY_LINE = re.compile(rb"\r*\n")
_HEADER_END = re.compile(rb"\n\r*\n")
# What is folded onto a line. A line of white space is not: some programs take it for the end of the header.
_VALUE = rb"([^\n]*(?:\n[ \t]+[^ \t\r\n][^\n]*)*)"
# Name, colon and value of a field, or a line without a colon.
_FIELD = re.compile(rb"([^\n:]*)(:?)" + _VALUE + rb"\n?")
_INDEX_FIELD = re.compile(rb"\n(" + b"|".join(sorted(_INDEX_NAMES)) + rb")[ \t]*:" + _VALUE, re.IGNORECASE)
_SPACE = re.compile(rb"[ \t]")
_JUNK = b""
_CR_INSIDE = re.compile(rb"\r[^\r\n]")


def fingerprint(data: bytes) -> Fingerprint:
    """The Fingerprint of a whole message in memory."""
    digester = Digester()
    digester.update(data)
    return digester.finish()


def index_of(header: bytes) -> tuple[bytes, bool]:
    """(16 octets, whether they come from an ASCII Message-ID), from a header block or from the fields
    that IMAP serves for ``INDEX_FIELDS``: the same for both."""
    end, _ = _bounds(header)
    found: dict[bytes, list[bytes]] = {}
    for name, value in _INDEX_FIELD.findall(b"\n" + _canonical(header[:end])):
        found.setdefault(name.lower(), []).append(b" ".join(value.split()))
    return _index(found)


# --- the header --------------------------------------------------------------------------------


def _bounds(data: bytes) -> tuple[int, int]:
    """Where the header ends and where the body begins: at the first line without octets but CR,
    or at HEADER_LIMIT. Stricter than wire.header: this is the header that servers see."""
    if data[:1] in (b"\r", b"\n") and (empty := _EMPTY_LINE.match(data)):
        return 0, empty.end()
    if end := _HEADER_END.search(data, 0, HEADER_LIMIT):
        return end.start(), end.end()
    end_of_all = min(len(data), HEADER_LIMIT)
    return end_of_all, end_of_all


def _canonical(octets: bytes) -> bytes:
    """NUL as 0x80, without CR: the lines end in LF."""
    return octets.translate(_NUL_AS_80 if b"\0" in octets else None, b"\r")


def _with_crlf(canonical: bytes) -> bytes:
    """Canonical octets with CRLF line ends: what clean mail was before. Faster than to count its line ends."""
    return canonical.replace(b"\n", b"\r\n")


def _index(found: dict[bytes, list[bytes]]) -> tuple[bytes, bool]:
    """The index of these values of the index fields, in whatever order they came."""
    ids = found.get(b"message-id", ())
    usable = sorted({normal for value in ids if (normal := _normal_id(_folded(value)))})
    if usable:
        # Folded, two ids may be one: they find, and no rule may go by them alone.
        return xxhash.xxh3_128_digest(b"id\n" + b"\n".join(usable)), all(map(bytes.isascii, ids))
    parts = [b"%s:%s\n" % (name, value) for name in _FALLBACK for value in sorted(map(_folded, found.get(name, ())))]
    return xxhash.xxh3_128_digest(b"fields\n" + b"".join(parts)), False


def _folded(value: bytes) -> bytes:
    return value if value.isascii() else value.translate(_EIGHT_BIT_AS_X)


def _normal_id(value: bytes) -> bytes:
    """The Message-ID without comments, brackets and white space, its domain in lower case; b"" when unusable."""
    if plain := _PLAIN_ID.fullmatch(value):
        inner = plain[1]
    else:
        inner = _first_in_angles(value if value.lstrip(b" ")[:1] == b"<" else _without_comments(value))
    inner = inner.replace(b" ", b"")
    left, at, domain = inner.rpartition(b"@")
    inner = left + at + domain.lower()
    return b"" if inner.lower() in _PLACEHOLDERS else inner


def _first_in_angles(value: bytes) -> bytes:
    start = value.find(b"<")
    if start < 0:
        return value
    if inside := _IN_ANGLES.match(value, start):
        return inside[1]
    # A quote that does not end: up to the first bracket, or all there is.
    return value[start + 1 :].partition(b">")[0]


def _without_comments(value: bytes) -> bytes:
    """The value without (comments), which nest (RFC 5322 §3.2.2); unchanged when they do not balance."""
    if b"(" not in value:
        return value
    kept: list[bytes] = []
    depth, is_quoted = 0, False
    for part in _COMMENT_PARTS.findall(value):
        if part == b'"' and not depth:
            is_quoted = not is_quoted
        if part == b"(" and not is_quoted:
            depth += 1
        elif part == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(part)
    return value if depth or is_quoted else b"".join(kept)


def _read_header(lines: bytes, may_hide: bool) -> tuple[bytes, bool, bytes]:
    """Index, whether it comes from the Message-ID, and the canonical text of what is not volatile.

    ``lines`` end in LF or CRLF and hold no other CR. With ``may_hide`` no field counts as volatile.
    """
    found: dict[bytes, list[bytes]] = {}
    kept: list[bytes] = []
    for name, colon, value in _FIELD.findall(lines):
        kind = (_kind(name) if len(name) < 128 else _kind_of(name)) if colon else _JUNK
        if kind is None:
            if not may_hide:
                continue
            kind = name.lower()
        words = b" ".join(value.split())
        if not kind:
            # Some programs take junk for the end of the header and show what follows.
            may_hide = True
            # The space in front keeps it apart from every field.
            kind = b" " + name.rstrip(b"\r") + colon
        elif kind in _INDEX_NAMES:
            found.setdefault(kind, []).append(words)
        kept.append(kind)
        kept.append(words)
    # Names and words hold no LF. The last two come from _FIELD matching once more at the end.
    return *_index(found), b"\n".join(kept[:-2])


def _read_unclean(beginning: bytes, end: int) -> tuple[bytes, bool, bytes]:
    """As ``_read_header``, of a header that ends at ``end`` in what stands before the body; it may hold anything."""
    header = beginning[:end]
    index, has_message_id, text = _read_header(_canonical(header), _CR_INSIDE.search(header) is not None)
    if b"\0" in beginning or _with_crlf(_canonical(beginning)) != beginning:
        # The CR in front keeps it apart from the text of every other header.
        text = b"\r" + beginning
    return index, has_message_id, text


def _kind_of(name: bytes) -> bytes | None:
    """The name in lower case; None when the field is volatile, _JUNK when it is no field."""
    lower = name.lower()
    # "Received :" is not volatile: some programs take it for the end of the header.
    if lower in _VOLATILE or (lower.startswith(_VOLATILE_PREFIXES) and not _SPACE.search(lower)):
        return None
    lower = lower.rstrip(b" \t")
    return _JUNK if _SPACE.search(lower) else lower


# Few names make up nearly all mail. Long ones are not kept: a message can be full of them.
_kind = lru_cache(maxsize=1024)(_kind_of)


# --- the digests -------------------------------------------------------------------------------


class Digester:
    """Makes the Fingerprint of one message from its octets, given in blocks cut anywhere.

    With ``settle`` the Fingerprint has ``settled`` even for a clean message:
    for a read-back, where clean octets may be what an unclean message became.
    Holds at most HEADER_LIMIT octets and one block.
    """

    __slots__ = ("_blocks", "_held", "_settle", "_stream")

    def __init__(self, settle: bool = False) -> None:
        self._settle = settle
        self._blocks: list[bytes] = []
        self._held = 0
        self._stream: _Stream | None = None

    def update(self, block: bytes) -> None:
        if self._stream is not None:
            self._stream.update(block)
            return
        self._blocks.append(block)
        self._held += len(block)
        if self._held > HEADER_LIMIT:
            blocks, self._blocks = self._blocks, []
            if not _HEADER_END.search(blocks[0]):
                blocks = [b"".join(blocks)]
            self._stream = _Stream(blocks[0])
            for later in blocks[1:]:
                self._stream.update(later)

    def finish(self) -> Fingerprint:
        if self._stream is not None:
            return self._stream.finish(self._settle)
        blocks = self._blocks
        return _whole(blocks[0] if len(blocks) == 1 else b"".join(blocks), self._settle)


def _whole(data: bytes, settle: bool) -> Fingerprint:
    """The Fingerprint of a message in memory, in as few passes as can be."""
    end, start = _bounds(data)
    header, body = data[:end], data[start:]
    has_nul = b"\0" in data
    if not has_nul and _with_crlf(_canonical(data)) == data:
        oddities = _oddities(0, 0, 0, data[-1:], has_nul, header.isascii())
    else:
        counts = data.count(b"\n"), data.count(b"\r"), data.count(b"\r\n")
        oddities = _oddities(*counts, data[-1:], has_nul, header.isascii())
    settled = munged = None
    if settle or _is_unclean(oddities):
        settled = hashlib.sha256(_canonical(data).removesuffix(b"\n")).digest()
    if oddities is not Oddity.NONE and Oddity.EIGHT_BIT_HEADER in oddities:
        folded = _munged(header)
        folded.update(memoryview(data)[end:])
        munged = folded.digest()
    if _is_unclean(oddities):
        index, has_message_id, text = _read_unclean(data[:start], end)
    else:
        index, has_message_id, text = _read_header(header, False)
    content = _content(text)
    kept, rest, _ = _split_end(body)
    content.update(kept)
    content.update(rest)
    key = DedupeKey(index, content.digest(), has_message_id)
    return Fingerprint(len(data), hashlib.sha256(data).digest(), settled, oddities, key, munged)


def _oddities(lf: int, cr: int, crlf: int, last: bytes, has_nul: bool, is_ascii_header: bool) -> Oddity:
    """The oddities, from how many line ends of each kind there are and what the last octet is."""
    if lf == cr == crlf and last == b"\n" and not has_nul and is_ascii_header:
        return Oddity.NONE
    return (
        (Oddity.NUL if has_nul else Oddity.NONE)
        | (Oddity.BARE_LF if lf > crlf else Oddity.NONE)
        | (Oddity.BARE_CR if cr > crlf else Oddity.NONE)
        | (Oddity.NO_FINAL_EOL if last != b"\n" else Oddity.NONE)
        | (Oddity.NONE if is_ascii_header else Oddity.EIGHT_BIT_HEADER)
    )


def _is_unclean(oddities: Oddity) -> bool:
    return oddities is not Oddity.NONE and oddities is not Oddity.EIGHT_BIT_HEADER


def _content(text: bytes) -> hashlib._Hash:
    """The content digest begun with the header's text; its length keeps it apart from the body."""
    return hashlib.sha256(b"%d\n%s" % (len(text), text))


def _split_end(octets: bytes) -> tuple[bytes, bytes, int]:
    """The octets up to the CR and LF at their end, those of these that are no final line end, how many CRLF follow."""
    kept = octets.rstrip(b"\r\n")
    tail = octets[len(kept) :].replace(b"\r\n", b"\0")
    rest = tail.rstrip(b"\0")
    return kept, rest.replace(b"\0", b"\r\n"), len(tail) - len(rest)


def _munged(header: bytes) -> hashlib._Hash:
    """The digest of the munged octets begun with the header; what follows comes as it is."""
    return hashlib.sha256(header.translate(_EIGHT_BIT_AS_X))


class _Stream:
    """The digests of a message too long to be held; they equal those of ``_whole``."""

    def __init__(self, beginning: bytes) -> None:
        """``beginning`` holds the whole header: the line that ends it, or more than HEADER_LIMIT."""
        end, start = _bounds(beginning)
        header = beginning[:end]
        self._index, self._has_message_id, text = _read_unclean(beginning[:start], end)
        self._is_ascii_header = header.isascii()
        self._content = _content(text)
        self._exact = hashlib.sha256()
        self._munged: hashlib._Hash | None = None
        # Whether the message is clean is known at its end only.
        self._settled = hashlib.sha256()
        self._octets = self._lf = self._cr = self._crlf = 0
        self._has_nul = False
        self._last = b""
        self._line_ends = 0  # CRLFs of the body held back: the final ones do not count
        self._has_held_cr = False  # the last octet, behind these: it may be of one more
        self._has_held_lf = False
        canonical = _canonical(beginning[:start])
        self._count(beginning[:start], _with_crlf(canonical))
        self._settle(canonical)
        if not self._is_ascii_header:
            self._munged = _munged(header)
            self._munged.update(beginning[end:start])
        self.update(beginning[start:])

    def update(self, block: bytes) -> None:
        # In steps: each of the forms of a block is as long as the block.
        for at in range(0, len(block), _STEP):
            self._take(block[at : at + _STEP])

    def _take(self, block: bytes) -> None:
        canonical = _canonical(block)
        expanded = _with_crlf(canonical)
        self._count(block, expanded)
        if self._munged is not None:
            self._munged.update(block)
        self._settle(canonical)
        if self._has_held_cr:
            block = b"\r" + block
        self._has_held_cr = block[-1:] == b"\r"
        kept, rest, line_ends = _split_end(block.removesuffix(b"\r"))
        if kept or rest:
            self._release_line_ends()
            self._content.update(kept)
            self._content.update(rest)
        self._line_ends += line_ends

    def _release_line_ends(self) -> None:
        """They are counted, not held: a message may be nothing else."""
        while self._line_ends:
            some = min(self._line_ends, 65536)
            self._content.update(b"\r\n" * some)
            self._line_ends -= some

    def _count(self, block: bytes, expanded: bytes) -> None:
        """Takes a block in as it came; ``expanded`` is what it would be if it were clean."""
        if not block:
            return
        self._exact.update(block)
        self._octets += len(block)
        if expanded != block:
            self._lf += block.count(b"\n")
            self._cr += block.count(b"\r")
            self._crlf += block.count(b"\r\n") + (self._last == b"\r" and block[:1] == b"\n")
            self._has_nul = self._has_nul or b"\0" in block
        self._last = block[-1:]

    def _settle(self, canonical: bytes) -> None:
        if not canonical:
            return
        if self._has_held_lf:
            self._settled.update(b"\n")
        self._has_held_lf = canonical[-1:] == b"\n"
        self._settled.update(canonical.removesuffix(b"\n"))

    def finish(self, settle: bool) -> Fingerprint:
        counts = self._lf, self._cr, self._crlf
        oddities = _oddities(*counts, self._last, self._has_nul, self._is_ascii_header)
        settled = self._settled.digest() if settle or _is_unclean(oddities) else None
        if self._has_held_cr:
            self._release_line_ends()
            self._content.update(b"\r")
        key = DedupeKey(self._index, self._content.digest(), self._has_message_id)
        munged = None if self._munged is None else self._munged.digest()
        return Fingerprint(self._octets, self._exact.digest(), settled, oddities, key, munged)
