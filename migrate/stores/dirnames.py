"""Directories and the mailboxes they are: written as Maildir++, read in whatever way they are nested.

    DIR/{new,cur,tmp}                 INBOX
    DIR/.Sent.2026                    Sent/2026: Maildir++, "." between levels (Dovecot, Courier, mbsync)
    DIR/Sent/2026, DIR/Sent/.2026     the same, as offlineimap and mbsync write it too

Names are in modified UTF-7 (RFC 3501 §5.1.3); one that is none is taken as it stands. What cannot stand in a level of
Maildir++ is written as the plug-in listescape of Dovecot does: "." as "\\2e", "/" as "\\2f", "\\" as "\\5c". Of a name
that is too long for a disk the beginning stands there, "\\~", and a digest; the index in the folder has all of it.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path

from ..errors import MailboxError
from ..model import INBOX, MailboxName, display

MESSAGES = ("new", "cur")  # in the order in which a file moves
PARTS = (*MESSAGES, "tmp")
NAME_OCTETS = 255  # of one directory: NAME_MAX of every disk that Linux and macOS write to, but for encrypted ones

_DIGEST_DIGITS = 16
_SHORTENED = b"\\~"  # no name that is whole has it: a "\\" in one is written otherwise
_ESCAPES = {".": "\\2e", "/": "\\2f", "\\": "\\5c"}


def directory_of(root: Path, mailbox: MailboxName) -> Path:
    """Where a mailbox stands. MailboxError when it can have no directory."""
    if mailbox == INBOX:
        return root
    text = ".".join(map(_escaped, mailbox.levels))
    return root / name_of(text, _encoded, mark=_SHORTENED)


def name_of(text: str, encode: Callable[[str], bytes], *, mark: bytes) -> str:
    """The name of a directory for a text: encoded, and shortened where it is too long for one.

    A short one is the beginning, ``mark`` and a digest of all of it. ``mark`` has to be octets that ``encode`` never
    gives: so no other text has this name. MailboxError where it is none that can be written.
    """
    try:
        octets = encode(text)
        if len(octets) > NAME_OCTETS:
            end = mark + sha256(octets).hexdigest()[:_DIGEST_DIGITS].encode()
            room = NAME_OCTETS - len(end)
            # An encoding is never cut: what is encoded is a shorter text.
            fitting = bisect_right(range(len(text)), room, key=lambda count: len(encode(text[:count]))) - 1
            octets = encode(text[:fitting]) + end
    except UnicodeError as error:
        raise MailboxError(f"{display(text)} cannot be a folder name: it is no text") from error
    return os.fsdecode(octets)


def mailbox_of(relative: Path) -> MailboxName:
    """The mailbox of a directory below the root."""
    return MailboxName(levels_of(relative.parts) or INBOX.levels)


def levels_of(parts: Iterable[str]) -> tuple[str, ...]:
    """The levels of a mailbox, by the directories that lead to it."""
    levels: list[str] = []
    for part in parts:
        levels += part[1:].split(".") if part.startswith(".") else [part]
    return tuple(_decoded(level) for level in levels if level)


def directories_below(root: Path) -> Iterator[Path]:
    """Every Maildir at and below ``root``, in the order of their names. OSError where one cannot be read."""
    seen: set[tuple[int, int]] = set()

    def walk(directory: Path) -> Iterator[Path]:
        facts = directory.stat()
        if (facts.st_dev, facts.st_ino) in seen:
            return  # a link that leads back
        seen.add((facts.st_dev, facts.st_ino))
        is_maildir = bool(parts_of(directory))
        if is_maildir:
            yield directory
        with os.scandir(directory) as entries:
            names = sorted(entry.name for entry in entries if entry.is_dir())
        for name in names:
            if not is_maildir or name not in PARTS or parts_of(directory / name):
                yield from walk(directory / name)

    yield from walk(root)


def parts_of(directory: Path) -> list[Path]:
    """The directories of a Maildir that hold its messages, new ones first; none where it is no Maildir."""
    found = [directory / name for name in MESSAGES]
    # A folder may be called "new", too.
    return [path for path in found if path.is_dir() and not any((path / name).is_dir() for name in MESSAGES)]


def _encoded(text: str) -> bytes:
    from imapclient import imap_utf7  # heavy, and the INBOX needs none

    octets: bytes = imap_utf7.encode(text)
    return b"." + octets


def _escaped(level: str) -> str:
    return "".join(_ESCAPES.get(char, char) for char in level)


def _decoded(level: str) -> str:
    from imapclient import imap_utf7

    octets = os.fsencode(level)
    try:
        text = imap_utf7.decode(octets)
        level = text if imap_utf7.encode(text) == octets else level
    except ValueError:
        pass  # another program wrote UTF-8
    return display(re.sub(r"\\(2e|2f|5c)", lambda found: chr(int(found[1], 16)), level), 1000)
