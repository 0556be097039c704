"""The files that may hold mail below a directory, and the mailbox that each belongs to.

Work/2019.mbox  Work/old            mbox files: Work/2019, Work/old
Work/1.eml  Work/12 (MH)            messages of Work
Inbox.sbd/Work                      Thunderbird: INBOX/Work
Work/cur/1:2,S  Work/.Old/cur/...   Maildir: Work, Work/Old
Work.mbox/mbox  Work.mbox/.../Messages/1.emlx  Work.mbox/Old.mbox/...     Apple Mail: Work, Work/Old

An archive is as if it had been unpacked where it stands.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...model import MailboxName
from ..dirnames import levels_of
from ..disk import LOST_AND_FOUND
from ..kinds import MBOX_SUFFIXES, Kind
from . import imap_backup
from .apple import RAW_SUFFIX
from .archives import Member
from .entries import Entry, Facts, facts_of, in_archive, on_disk
from .stream import unpacked_name

_THUNDERBIRDS = ".sbd"
# What mail programs keep beside the mail, mostly: a folder may be called so too.
_BESIDE = (".msf", ".dat", ".plist", ".lock", ".index")
_BESIDE_NAMES = frozenset({"table_of_contents", "Icon\r", "filterlog.html", "lock"})
_OURS = frozenset({".popferry", "popferry.index"})
_PARTIAL = ".partial.emlx"
_KEYWORDS = "dovecot-keywords"
_MESSAGES = ("new", "cur")
_BESIDE_A_MAILDIR = re.compile(r"dovecot.*|courier.*|maildirsize|maildirfolder|subscriptions")
_NOT_MAIL_DIRECTORIES = (".mozmsgs",)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class File:
    """One file: its path below the root (``""``: the root itself), and where its directory belongs.

    Of a member of an archive the path is a label, and ``archive`` the file that it stands in.
    """

    path: str
    levels: tuple[str, ...]
    facts: Facts = (0, 0, 0)
    trouble: str = ""  # why nothing of it is read
    archive: File | None = None
    member: Member | None = None
    index: File | None = None  # what imap-backup keeps beside an mbox file
    in_new: bool | None = None  # of a Maildir: whether it stands in new or in cur
    keywords: File | None = None  # of a Maildir
    taken_out: tuple[tuple[str, File], ...] | None = None  # of a .partial.emlx: what Apple Mail took out, by part
    is_beside: bool = False  # what has such a name is mostly no mail, and then not worth a line

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class _Place:
    """A directory: its path with "/" at its end, the mailbox that it is, and what it stands in."""

    path: str
    levels: tuple[str, ...]
    archive: File | None = None
    is_bundle: bool = False  # of Apple Mail, or in one
    in_maildir: bool = False
    attachments: Entry | None = None  # what Apple Mail took out of the messages here

    def file(self, entry: Entry) -> File:
        return File(self.path + entry.name, self.levels, entry.facts, entry.trouble, self.archive, entry.member)


def walk(root: Path) -> Iterator[File]:
    """Every file below ``root`` that may hold mail, in an order that stays, and directories that are not read.

    OSError where the root itself cannot be read.
    """
    if not root.is_dir():
        yield _alone(root)
        return
    is_bundle = root.name.lower().endswith(".mbox")
    yield from _below(on_disk(root.resolve(), root), _Place("", (), is_bundle=is_bundle))


def walk_archive(archive: File, members: Iterable[Member], root: Path) -> list[File]:
    """The same for the members of an archive, in the order in which they stand in it."""
    is_bundle = root.name.lower().endswith(".mbox")
    place = _Place(f"{archive.path}/" if archive.path else "", archive.levels, archive, is_bundle=is_bundle)
    files = list(_below(in_archive(members), place))
    return sorted(files, key=lambda file: file.member.start if file.member is not None else 0)


def mailbox_of(file: File, kind: Kind, root: Path) -> MailboxName | None:
    """The mailbox of its messages; None where only the person can know: the file or the directory that was named."""
    levels = file.levels
    is_bundled = file.name == "mbox" and (file.path != "mbox" or root.name.lower().endswith(".mbox"))
    is_letter = unpacked_name(file.name).lower().endswith(".eml")
    if kind is Kind.MBOX and file.path and not is_letter and not is_bundled:
        name = _stem(file.name)
        if file.index is not None:
            levels, name = tuple(map(imap_backup.unescaped, levels)), imap_backup.unescaped(name)
        levels = (*levels, name)
    clean = tuple(_level(level) for level in levels)
    return MailboxName(clean) if clean else None


def _alone(root: Path) -> File:
    """The one file that was named, with what its program keeps elsewhere."""
    file = File("", (), facts_of(root.stat()))
    if (index := imap_backup.index_of(root)) != root and index.exists():
        return replace(file, index=File(str(index.absolute()), ()))
    if root.name.lower().endswith(_PARTIAL):
        above = root.absolute().parent.parent
        attachments = Entry("Attachments", inside=lambda: on_disk(above, above / "Attachments"))
        place = _Place(f"{root.absolute().parent}/", ())
        files = _inside(Entry("", inside=lambda: on_disk(above, root.absolute().parent)))
        taken = _taken_out(root.name, files, _attachments(attachments, f"{above}/Attachments/", place), place)
        return replace(file, taken_out=taken)
    return file


def _below(entries: list[Entry], place: _Place) -> Iterator[File]:
    names = {entry.name for entry in entries}
    if names & _OURS:
        what = "a backup of popferry; it is not read with other files"
        yield File(place.path.rstrip("/"), place.levels, trouble=what, archive=place.archive)
        return
    if _is_maildir(entries, place):
        yield from _maildir(entries, place)
        return
    has_messages = "Messages" in names
    attachments = next((one for one in entries if one.name == "Attachments" and one.inside), None)
    is_partial = any(name.lower().endswith(_PARTIAL) for name in names)
    taken: dict[str, list[tuple[str, File]]] = {}
    if is_partial and place.attachments is not None:
        above = place.path.rstrip("/").rpartition("/")[0]
        taken = _attachments(place.attachments, f"{above}/Attachments/" if above else "Attachments/", place)
    for entry in entries:
        if entry.name.startswith(".") or entry.name == LOST_AND_FOUND:
            continue
        if entry.inside is not None:
            # What Apple Mail took out of messages stands in Attachments.
            is_taken_out = entry.name == "Attachments" and (place.is_bundle or has_messages)
            if is_taken_out or entry.name.lower().endswith(_NOT_MAIL_DIRECTORIES):
                continue
            is_bundle = place.is_bundle or entry.name.lower().endswith(".mbox") or has_messages
            levels = _levels_inside(place.levels, entry.name, is_bundle=place.is_bundle)
            inner = _Place(f"{place.path}{entry.name}/", levels, place.archive, is_bundle=is_bundle)
            yield from _directory(entry, replace(inner, attachments=attachments if entry.name == "Messages" else None))
        elif not _is_of_another(entry.name, names):
            file = _with_beside(entry, entries, place, taken)
            yield replace(file, is_beside=entry.name.lower().endswith(_BESIDE) or entry.name in _BESIDE_NAMES)


def _directory(entry: Entry, place: _Place) -> Iterator[File]:
    try:
        assert entry.inside is not None
        entries = entry.inside()
    except OSError as error:
        yield File(place.path.rstrip("/"), place.levels, trouble=f"{error.strerror}; nothing of it is read")
        return
    yield from _below(entries, place)


def _with_beside(entry: Entry, entries: list[Entry], place: _Place, taken: dict[str, list[tuple[str, File]]]) -> File:
    """The file, with what its program keeps beside it."""
    file = place.file(entry)
    if entry.name.lower().endswith(_PARTIAL):
        return replace(file, taken_out=_taken_out(entry.name, entries, taken, place))
    index = imap_backup.index_of(Path(entry.name)).name
    if index != entry.name:
        beside = next((one for one in entries if one.name == index and one.inside is None), None)
        return file if beside is None else replace(file, index=place.file(beside))
    return file


def _levels_inside(levels: tuple[str, ...], name: str, *, is_bundle: bool) -> tuple[str, ...]:
    """Where a directory belongs. Inside a bundle of Apple Mail only another bundle is a mailbox."""
    if name.lower().endswith(".mbox"):
        return (*levels, name[: -len(".mbox")])
    if is_bundle or name == "Messages":
        return levels
    return (*levels, name.removesuffix(_THUNDERBIRDS))


def _is_of_another(name: str, names: set[str]) -> bool:
    """Whether it belongs to another file, which is read with it."""
    lower = name.lower()
    if lower.endswith(imap_backup.SUFFIX):
        return f"{name[: -len(imap_backup.SUFFIX)]}.mbox" in names
    return lower.endswith(RAW_SUFFIX)


# --- Apple Mail -------------------------------------------------------------------------------


def _attachments(attachments: Entry, path: str, place: _Place) -> dict[str, list[tuple[str, File]]]:
    """What stands in Attachments/NUMBER/PART/NAME, by the number of the message."""
    taken: dict[str, list[tuple[str, File]]] = {}
    for message in _inside(attachments):
        for part in _inside(message):
            inner = replace(place, path=f"{path}{message.name}/{part.name}/")
            files = [inner.file(entry) for entry in _inside(part) if entry.inside is None and entry.name[0] != "."]
            taken.setdefault(message.name, []).extend((part.name, file) for file in files)
    return taken


def _taken_out(
    name: str, entries: list[Entry], taken: dict[str, list[tuple[str, File]]], place: _Place
) -> tuple[tuple[str, File], ...]:
    """What belongs to that message: also the files NUMBER.PART.emlxpart beside it (Mac OS X 10.4 and 10.5)."""
    number = name.partition(".")[0]
    beside = re.compile(rf"{re.escape(number)}\.([0-9.]+)\.emlxpart")
    parts = [(found[1], place.file(one)) for one in entries if (found := beside.fullmatch(one.name))]
    return (*taken.get(number, ()), *parts)


def _inside(entry: Entry) -> list[Entry]:
    """What is in it, nothing where it cannot be read: then it is missing, and that is told."""
    try:
        return entry.inside() if entry.inside is not None else []
    except OSError:
        return []


# --- Maildir ----------------------------------------------------------------------------------


def _is_maildir(entries: list[Entry], place: _Place) -> bool:
    """Whether it has cur or new, and nothing that would make it a directory which is only called so."""
    directories = {entry.name for entry in entries if entry.inside is not None}
    if not directories & {*_MESSAGES}:
        return False
    is_sure = place.in_maildir or len(directories & {*_MESSAGES, "tmp"}) > 1
    return is_sure or all(entry.name.startswith(".") or entry.name in _MESSAGES for entry in entries)


def _maildir(entries: list[Entry], place: _Place) -> Iterator[File]:
    keywords = next((place.file(one) for one in entries if one.name == _KEYWORDS and one.inside is None), None)
    for entry in sorted(entries, key=lambda one: one.name == "cur"):  # what moves meanwhile goes from new to cur
        if entry.inside is None:
            if not entry.name.startswith("."):
                is_beside = _BESIDE_A_MAILDIR.fullmatch(entry.name) is not None
                yield replace(place.file(entry), is_beside=is_beside)
            continue
        path = f"{place.path}{entry.name}/"
        if entry.name in _MESSAGES:
            yield from _messages(entry, replace(place, path=path), keywords)
        elif entry.name != "tmp" and not (entry.name.startswith(".") and not _holds_messages(entry)):
            levels = (*place.levels, *levels_of([entry.name]))
            yield from _directory(entry, _Place(path, levels, place.archive, in_maildir=True))


def _messages(entry: Entry, place: _Place, keywords: File | None) -> Iterator[File]:
    assert entry.inside is not None
    try:
        entries = entry.inside()
    except OSError as error:
        yield File(place.path.rstrip("/"), place.levels, trouble=f"{error.strerror}; nothing of it is read")
        return
    for one in entries:
        if one.name.startswith("."):
            continue
        if one.inside is not None:
            levels = (*place.levels, *levels_of([one.name]))
            yield from _directory(one, replace(place, path=f"{place.path}{one.name}/", levels=levels))
        else:
            yield replace(place.file(one), in_new=entry.name == "new", keywords=keywords)


def _holds_messages(entry: Entry) -> bool:
    return any(one.inside is not None and one.name in _MESSAGES for one in _inside(entry))


# --- names ------------------------------------------------------------------------------------


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
