"""The files that may hold mail below a directory, and the mailbox that each belongs to.

Work/2019.mbox  Work/old            mbox files: Work/2019, Work/old
Work/1.eml  Work/12 (MH)            messages of Work
Inbox.sbd/Work                      Thunderbird: INBOX/Work
Work.mbox/mbox  Work.mbox/.../Messages/1.emlx  Work.mbox/Old.mbox/...     Apple Mail: Work, Work/Old
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...model import MailboxName
from ..disk import LOST_AND_FOUND
from . import imap_backup
from .formats import MBOX_SUFFIXES, Kind
from .stream import unpacked_name

_THUNDERBIRDS = ".sbd"
# What mail programs keep beside the mail: never mail.
_BESIDE = (".msf", ".dat", ".plist", ".lock", ".index")
_BESIDE_NAMES = frozenset({"table_of_contents", "Icon\r", "filterlog.html", "lock"})
_OUR_STATE = ".popferry"
_MAILDIR = frozenset({"cur", "new"})
_NOT_MAIL_DIRECTORIES = (".mozmsgs",)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path below the root (``""``: the root itself), and where its directory belongs."""

    path: str
    levels: tuple[str, ...]
    stat: tuple[int, int, int] = (0, 0, 0)  # inode, size, time of the last change
    trouble: str = ""  # of a directory: why nothing in it is read

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


def walk(root: Path) -> Iterator[File]:
    """Every file below ``root`` that may hold mail, in an order that stays, and directories that are not read.

    OSError where the root itself cannot be read.
    """
    if not root.is_dir():
        yield File("", (), _stat(root.stat()))
        return
    yield from _below(root.resolve(), root, "", (), is_bundle=root.name.lower().endswith(".mbox"))


def mailbox_of(file: File, kind: Kind, root: Path) -> MailboxName | None:
    """The mailbox of its messages; None where only the person can know: the file or the directory that was named."""
    levels = file.levels
    is_bundled = file.name == "mbox" and (file.path != "mbox" or root.name.lower().endswith(".mbox"))
    is_letter = unpacked_name(file.name).lower().endswith(".eml")
    if kind is Kind.MBOX and file.path and not is_letter and not is_bundled:
        name = _stem(file.name)
        if imap_backup.index_of(root / file.path).exists():
            levels, name = tuple(map(imap_backup.unescaped, levels)), imap_backup.unescaped(name)
        levels = (*levels, name)
    clean = tuple(_level(level) for level in levels)
    return MailboxName(clean) if clean else None


def _below(root: Path, directory: Path, path: str, levels: tuple[str, ...], *, is_bundle: bool) -> Iterator[File]:
    try:
        entries = sorted(os.scandir(directory), key=lambda entry: entry.name)
    except OSError as error:
        if not path:
            raise
        yield File(path.rstrip("/"), levels, trouble=f"{error.strerror}; nothing of it is read")
        return
    names = {entry.name for entry in entries}
    if names >= _MAILDIR or _OUR_STATE in names:
        is_ours = _OUR_STATE in names
        what = (
            "a backup of popferry" if is_ours else "a Maildir, which popferry reads with maildir: in front of its path"
        )
        yield File(path.rstrip("/"), levels, trouble=f"{what}; it is not read with other files")
        return
    for entry in entries:
        if entry.name.startswith(".") or entry.name == LOST_AND_FOUND:
            continue
        inner = f"{path}{entry.name}"
        if entry.is_dir(follow_symlinks=False):
            # What Apple Mail took out of messages stands in Attachments.
            is_taken_out = entry.name == "Attachments" and (is_bundle or "Messages" in names)
            if is_taken_out or entry.name.lower().endswith(_NOT_MAIL_DIRECTORIES):
                continue
            is_inside = is_bundle or entry.name.lower().endswith(".mbox") or "Messages" in names
            place = _inside(levels, entry.name, is_bundle=is_bundle)
            yield from _below(root, Path(entry.path), inner + "/", place, is_bundle=is_inside)
        elif not _is_beside(entry.name, names):
            yield from _one(root, entry, inner, levels)


def _one(root: Path, entry: os.DirEntry[str], inner: str, levels: tuple[str, ...]) -> Iterator[File]:
    """The file that stands there, or the link that may lead to mail and is not followed."""
    try:
        facts = entry.stat()
    except OSError as error:
        if entry.is_symlink():
            yield File(inner, levels, trouble="a link that leads nowhere; nothing of it is read")
        elif not isinstance(error, FileNotFoundError):  # else it went meanwhile
            yield File(inner, levels, trouble=f"{error.strerror}; nothing of it is read")
        return
    if stat.S_ISREG(facts.st_mode):
        yield File(inner, levels, _stat(facts))
    elif stat.S_ISDIR(facts.st_mode) and not Path(entry.path).resolve().is_relative_to(root):
        yield File(inner, levels, trouble="a link to a directory elsewhere; it is not followed, name that one itself")


def _inside(levels: tuple[str, ...], name: str, *, is_bundle: bool) -> tuple[str, ...]:
    """Where a directory belongs. Inside a bundle of Apple Mail only another bundle is a mailbox."""
    if name.lower().endswith(".mbox"):
        return (*levels, name[: -len(".mbox")])
    if is_bundle or name == "Messages":
        return levels
    return (*levels, name.removesuffix(_THUNDERBIRDS))


def _is_beside(name: str, names: set[str]) -> bool:
    lower = name.lower()
    if lower.endswith(_BESIDE) or name in _BESIDE_NAMES:
        return True
    return lower.endswith(imap_backup.SUFFIX) and f"{name[: -len(imap_backup.SUFFIX)]}.mbox" in names


def _stem(name: str) -> str:
    name = unpacked_name(name)
    return name.rpartition(".")[0] or name if name.lower().endswith(MBOX_SUFFIXES) else name


def _level(name: str) -> str:
    """The name as text: of octets that are no UTF-8, as Latin-1; control characters become "_"."""
    octets = os.fsencode(name)
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        text = octets.decode("latin-1")
    return _CONTROL.sub("_", text) or "_"


def _stat(facts: os.stat_result) -> tuple[int, int, int]:
    return facts.st_ino, facts.st_size, facts.st_mtime_ns
