"""What a file is, told from its first octets."""

from __future__ import annotations

from enum import Enum

from ..model import display
from ..wire.foreign import BOM, begins_header, has_messages
from ..wire.mbox import FROM
from ..wire.tar import is_tar

MBOX_SUFFIXES = (".mbox", ".mbx")
HEAD_OCTETS = 64 * 1024  # that are looked at


class Kind(Enum):
    MBOX = "mbox"
    LETTER = "letter"  # one message: .eml, a file of an MH folder
    EMLX = "emlx"
    ZIP = "zip"
    TAR = "tar"
    EMPTY = "empty"
    OUTLOOK = "outlook"  # mail, and not readable here
    OTHER = "other"


# What the first octets of a file that holds no mail we can read make it.
_OTHERS = {
    b"age-encryption.org/v1": "encrypted with age; decrypt it first (age -d)",
    b"7z\xbc\xaf\x27\x1c": "a 7z archive; unpack it first",
    b"Rar!\x1a\x07": "a RAR archive; unpack it first",
    b"\xd0\xcf\x11\xe0": "an Office file",
    b"SQLite format 3": "a database",
}
_HEADER_OCTETS = 512
_ZIPS = (b"PK\x03\x04", b"PK\x05\x06")


def kind_of(name: str, head: bytes) -> tuple[Kind, str]:
    """What the file of that name is, from its first (unpacked) octets; for the last two, what was found."""
    lower = name.lower()
    text = head.removeprefix(BOM).lstrip(b" \t\r\n")
    if lower.endswith(".emlx"):
        return Kind.EMLX, ""
    if head.startswith(_ZIPS):
        return Kind.ZIP, ""
    if is_tar(head):
        return Kind.TAR, ""
    if lower.endswith((".zip", ".tar")) and b"\0" in head[:_HEADER_OCTETS]:
        return Kind(lower[-3:]), ""  # a disk may have lost the beginning
    if not text:
        return Kind.EMPTY, ""
    if text.startswith(FROM) and has_messages(head):
        return Kind.MBOX, ""
    if lower.endswith(".eml") or begins_header(head):
        return Kind.LETTER, ""
    # A disk may have lost the beginning of an mbox file: what stands behind it is read.
    if lower.endswith(MBOX_SUFFIXES) or has_messages(head):
        return Kind.MBOX, ""
    if head.startswith(b"!BDN"):
        return Kind.OUTLOOK, "an Outlook data file; readpst makes mbox files of it"
    if lower.endswith(".msg"):
        return Kind.OUTLOOK, "an Outlook message; msgconvert makes an .eml file of it"
    for magic, what in _OTHERS.items():
        if head.startswith(magic):
            return Kind.OTHER, what
    first = display(text[:40].splitlines()[0])
    return Kind.OTHER, f'no mail: expected a From_ line or the header of a message, found "{first}"'
