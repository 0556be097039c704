"""The servers by name, in the order in which they are played."""

from __future__ import annotations

from .beside import HOODIECROW, PYMAP, dovecot
from .place import Kind
from .rooted import COURIER, CYRUS, MAILUTILS, POPA3D, SOLID

KINDS: dict[str, Kind] = {
    "dovecot-maildir": dovecot("maildir"),
    "dovecot-mdbox": dovecot("mdbox"),
    "pymap": PYMAP,
    "hoodiecrow": HOODIECROW,
    "popa3d": POPA3D,
    "solid-pop3d": SOLID,
    "mailutils": MAILUTILS,
    "cyrus": CYRUS,
    "courier": COURIER,
}
