"""What a file is, told from its first octets, and the messages in it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from ...model import DateSource, Flags, InternalDate, display
from ...wire.foreign import BOM, Quoting, Separators, begins_header
from ...wire.mbox import FROM
from .gauge import Gauge
from .stream import Stream

MBOX_SUFFIXES = (".mbox", ".mbx")


class Kind(Enum):
    MBOX = "mbox"
    LETTER = "letter"  # one message: .eml, a file of an MH folder
    EMLX = "emlx"
    EMPTY = "empty"
    OUTLOOK = "outlook"  # mail, and not readable here
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Found:
    """One message of a file: its stored octets from ``start`` up to ``end``."""

    start: int
    end: int
    octets: int
    digest: bytes
    header: bytes = field(repr=False)
    quoting: Quoting = Quoting.UNKNOWN
    flags: Flags | None = None
    date: InternalDate | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """What is worth a line for people; with ``is_fault`` something could not be read, and the run says so."""

    what: str
    is_fault: bool = False


Scan = Iterator[Found | Told | None]  # None: nothing yet, a good moment to do something else

# What the first octets of a file that holds no mail we can read make it.
_OTHERS = {
    b"PK\x03\x04": "a zip archive; unpack it first",
    b"LZIP": "compressed with lzip; unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed with zstd; unpack it first",
    b"age-encryption.org/v1": "encrypted with age; decrypt it first (age -d)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an Office file",
    b"SQLite format 3": "a database",
}
_TAR_AT = 257


def kind_of(name: str, head: bytes) -> tuple[Kind, str]:
    """What the file of that name is, from its first (unpacked) octets; for the last two, what was found."""
    lower = name.lower()
    text = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if lower.endswith(".emlx"):
        return Kind.EMLX, ""
    if not text:
        return Kind.EMPTY, ""
    if text.startswith(FROM) and _has_messages(head):
        return Kind.MBOX, ""
    if lower.endswith(".eml") or begins_header(head):
        return Kind.LETTER, ""
    # A disk may have lost the beginning of an mbox file: what stands behind it is read.
    if lower.endswith(MBOX_SUFFIXES) or _has_messages(head):
        return Kind.MBOX, ""
    if head.startswith(b"!BDN"):
        return Kind.OUTLOOK, "an Outlook data file; readpst makes mbox files of it"
    if lower.endswith(".msg"):
        return Kind.OUTLOOK, "an Outlook message; msgconvert makes an .eml file of it"
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return Kind.OTHER, what
    if head[_TAR_AT : _TAR_AT + 5] == b"ustar":
        return Kind.OTHER, "a tar archive; unpack it first"
    first = display(text[:40].splitlines()[0])
    return Kind.OTHER, f'no mail: expected a From_ line or the header of a message, found "{first}"'


def _has_messages(head: bytes) -> bool:
    separators = Separators()
    return any(is_beginning for is_beginning, _ in (*separators.update(head), *separators.finish()))


def letter(stream: Stream) -> Scan:
    """The one message that the file is."""
    gauge = Gauge()
    for block in stream.blocks():
        gauge.update(block)
        yield None
    gauge.finish()
    yield Found(0, gauge.length, gauge.octets, gauge.digest, gauge.header)


def stored(when: datetime | None) -> InternalDate | None:
    """A date that the file keeps beside the message."""
    return None if when is None else InternalDate(when, DateSource.STORE)
