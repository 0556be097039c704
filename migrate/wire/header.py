"""The header block of a message: split it, read the few fields we need, never rewrite.

    header  = *( field / junk ) empty-line          RFC 5322 §2.1, §2.2
    field   = name *WSP ":" value                   WSP before the colon is obsolete (§4.5) and read
    value   = *octet *( line-end WSP *octet )       folding, §2.2.3
    encoded = "=?" charset "?" ( Q / B ) "?" text "?="                            RFC 2047 §2

Read with forgiveness, since mail is old: CRLF, bare LF or (where there is no
LF at all) bare CR end a line; a byte order mark, empty lines and a From_ line
before the first field are passed over; a line without a colon, or whose name
is no field name, is junk and so is what is folded onto it; without an empty
line everything is header. Nothing here raises on any octets, and the time is
linear in them.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

_BOM = b"\xef\xbb\xbf"
_NAME = re.compile(rb"[!-9;-~]+")
_STARTS = (b"\xef", b"\r", b"\n")  # of a byte order mark or an empty line
# Encoded text holds no "?" (RFC 2047 §2), so each try ends at the next one: linear.
_ENCODED = re.compile(r"=\?([^?\s]{1,60})\?([QqBb])\?([^?\r\n]*)\?=")
# Codecs that are no charsets of mail, or slow on long input.
_NOT_CHARSETS = frozenset({"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"})


def fields(header: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yields (name lower-cased, value as received with its folding), top down."""
    name = b""
    parts: list[bytes] = []
    for line in _lines(header):
        if line[:1] in (b" ", b"\t"):
            parts.append(line)
            continue
        if name:
            yield name, b"\n".join(parts).rstrip(b"\r")
        name, value = _split(line)
        parts = [value]
    if name:
        yield name, b"\n".join(parts).rstrip(b"\r")


def _lines(header: bytes) -> Iterator[bytes]:
    """The lines of the block without their LF, from the first that is not empty to the empty one."""
    if b"\n" not in header:
        header = header.replace(b"\r", b"\n")
    for line in header.removeprefix(_BOM).lstrip(b"\r\n").split(b"\n"):
        if not line.strip(b"\r"):
            return
        yield line


def _split(line: bytes) -> tuple[bytes, bytes]:
    """Name and value of a field's first line; an empty name when it is junk."""
    name, colon, value = line.partition(b":")
    name = name.rstrip(b" \t")
    # A From_ line has colons in its time, and spaces before them.
    return (name.lower(), value) if colon and _NAME.fullmatch(name) else (b"", b"")


def values(header: bytes, name: bytes) -> list[bytes]:
    """Every value of the fields of that name, unfolded and stripped, top down."""
    return [unfold(value).strip() for _, value in pick(header, frozenset({name.lower()}))]


def first(header: bytes, name: bytes) -> bytes | None:
    """The topmost value of that name, unfolded and stripped, or None."""
    return next(iter(values(header, name)), None)


def pick(header: bytes, wanted: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    """(name lower-cased, value as received) of the fields whose name is wanted, top down.

    The same fields as ``fields`` gives, in one pass of one regex.
    """
    if b"\n" not in header:
        header = header.replace(b"\r", b"\n")
    if header[:1] in _STARTS:
        header = header.removeprefix(_BOM).lstrip(b"\r\n")
    found = []
    for match in _finder(wanted).finditer(b"\n" + header):
        name, value = match.groups()
        if name is None:  # the empty line
            break
        found.append((name.lower(), value))
    return found


@lru_cache(maxsize=16)
def _finder(wanted: frozenset[bytes]) -> re.Pattern[bytes]:
    names = b"|".join(re.escape(name) for name in sorted(wanted))
    field = rb"(" + names + rb")[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)"
    return re.compile(rb"\n(?:" + field + rb"|\r*\n)", re.IGNORECASE)


def unfold(value: bytes) -> bytes:
    """The value on one line: line ends before white space are gone (RFC 5322 §2.2.3)."""
    if b"\n" not in value:
        return value
    value = b"\n".join([line.rstrip(b"\r") for line in value.split(b"\n")])
    return value.replace(b"\n ", b" ").replace(b"\n\t", b"\t")


def text_of(value: bytes) -> str:
    """The value as text, with its RFC 2047 encoded words decoded; for people and labels, never for identity.

    What cannot be decoded stands there as it was or as U+FFFD. The result may
    hold any character: it goes through ``display`` before it is shown.
    """
    value = unfold(value)
    try:
        text = value.decode("utf-8")
    except UnicodeDecodeError:
        text = value.decode("latin-1")
    return _decode_words(text).strip() if "=?" in text else text.strip()


def _decode_words(text: str) -> str:
    """Encoded words replaced by their text. Neighbours of one charset are joined before they are
    decoded: encoders cut inside a character, although RFC 2047 §5 forbids it."""
    out: list[str] = []
    charset, octets, done = "", bytearray(), 0
    for word in _ENCODED.finditer(text):
        between = text[done : word.start()]
        next_charset = word[1].partition("*")[0].lower()  # RFC 2231 §5: charset*language
        is_neighbour = bool(charset) and not between.strip()
        if not is_neighbour or next_charset != charset:
            out.append(_to_text(bytes(octets), charset))
            octets.clear()
        if not is_neighbour:
            out.append(between)
        octets += _octets_of(word[2], word[3])
        charset, done = next_charset, word.end()
    out.append(_to_text(bytes(octets), charset))
    out.append(text[done:])
    return "".join(out)


def _octets_of(encoding: str, text: str) -> bytes:
    """The octets of one encoded word; the text itself where its encoding is broken."""
    raw = text.encode("utf-8")
    if encoding in "Qq":
        return binascii.a2b_qp(raw, header=True)
    try:
        return binascii.a2b_base64(raw + b"=" * (-len(raw) % 4))
    except binascii.Error:
        return raw


def _to_text(octets: bytes, charset: str) -> str:
    if not octets:
        return ""
    try:
        if codecs.lookup(charset).name not in _NOT_CHARSETS:
            return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        # Seen: "x-unknown", "unknown-8bit", names with a NUL. Read as UTF-8 below.
        return octets.decode("utf-8", "replace")
    return octets.decode("utf-8", "replace")
