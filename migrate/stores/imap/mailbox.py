"""Mailboxes at the IMAP edge: the name as the server writes it, and the mailbox found, made and selected.

NAMESPACE gives prefix and delimiter (RFC 2342); names travel in modified
UTF-7 (RFC 3501 §5.1.3) and are compared in NFC. All calls block.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from imapclient import imap_utf7
from imapclient.exceptions import IMAPClientReadOnlyError

from ...commands import MailboxStatus
from ...errors import MailboxError, StoreError
from ...model import SYSTEM_FLAGS, MailboxName, display, folded
from ...wire.imap import Quirk, Tagged, quoted, refusal
from .client import Refused, call
from .login import Account

NUMBER_MAX = 0xFFFFFFFF


@dataclass(slots=True)
class Selected:
    """The mailbox that a connection works on. ``floor``: no message that comes now has a lower uid."""

    mailbox: MailboxName
    wire_name: bytes
    status: MailboxStatus
    floor: int


@dataclass(frozen=True, slots=True)
class Folder:
    """A mailbox that can be selected, and its name as the server writes it."""

    mailbox: MailboxName
    wire_name: bytes


class Mailboxes:
    """The mailboxes of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._client = account.client
        self._end = account.link.end
        self._client.folder_encode = False  # names are ours: one that cannot be decoded must not hide the others
        self._home: tuple[str, str | None] | None = None  # prefix and delimiter of the personal namespace

    def separator(self) -> str:
        """What stands between the levels of a name; "" where the server has no levels."""
        return self._home_namespace()[1] or ""

    def open(self, mailbox: MailboxName, *, create: bool) -> Selected | None:
        """The mailbox, selected; None when it is not there and shall not be made. MailboxError when it cannot be."""
        name = self._find(mailbox)
        if name is None:
            if not create:
                return None
            name = self._create(mailbox)
        return self._select(mailbox, name)

    def folders(self, only: MailboxName | None = None) -> list[Folder]:
        """Every mailbox of the account that can be selected, INBOX first, or the one asked for if it is there."""
        if only is not None:
            name = self._find(only)
            return [] if name is None else [Folder(only, name)]
        try:
            lines = self._call("LIST", lambda: self._client.list_folders("", "*"))
        except Refused as refused:
            answer = refused.answer
        else:
            names = [name for flags, _, listed in lines if _can_be_selected(flags) and (name := _as_listed(listed))]
            names = list(dict.fromkeys(b"INBOX" if name.upper() == b"INBOX" else name for name in names))
            names.sort(key=lambda name: name != b"INBOX")
            return [Folder(self._our_name(name), name) for name in names]
        raise self._refused("the folders cannot be listed", answer)

    def count(self, folder: Folder) -> int:
        """How many messages the server says are there; 0 where it does not say."""
        try:
            told = self._call("STATUS", lambda: self._client.folder_status(folder.wire_name, ["MESSAGES"]))
        except Refused:
            return 0
        return _number(told.get(b"MESSAGES"))

    def examine(self, folder: Folder) -> tuple[int, int]:
        """UIDVALIDITY and how many messages there are; it is selected read-only. MailboxError when it cannot be."""
        try:
            answers = self._call("EXAMINE", lambda: self._client.select_folder(folder.wire_name, readonly=True))
        except Refused as refused:
            answer = refused.answer
        else:
            return _number(answers.get(b"UIDVALIDITY")), _number(answers.get(b"EXISTS"))
        raise MailboxError(
            f"the folder {folder.mailbox} of the source cannot be read",
            said=answer.said,
            hint="Whoever runs the source has to make it readable. All others are read.",
        )

    def _our_name(self, name: bytes) -> MailboxName:
        """The name without the prefix of the personal namespace. What is no text in it stands as it is written."""
        text = _decoded(name) or display(name)
        prefix, delimiter = self._home_namespace()
        if prefix and folded(text).startswith(folded(prefix)) and len(text) > len(prefix):
            text = text[len(prefix) :]
        levels = [level for level in (text.split(delimiter) if delimiter else [text]) if level]
        return MailboxName(tuple(display(level, 1000) for level in levels) or ("unnamed",))

    def _call(self, what: str, action: Callable[[], Any]) -> Any:
        return call(self._account.link, what, action)

    # Names ---------------------------------------------------------------------------------
    def _server_name(self, mailbox: MailboxName) -> str:
        if mailbox.levels == ("INBOX",):
            return "INBOX"
        prefix, delimiter = self._home_namespace()
        if len(mailbox.levels) > 1 and not delimiter:
            raise MailboxError(
                f"the {self._end} has no folders within folders, so {mailbox} cannot be there",
                hint="Choose a folder name without a slash.",
            )
        for level in mailbox.levels:
            if delimiter and delimiter in level:
                sign = display(delimiter)
                raise MailboxError(
                    f'"{display(level)}" cannot be a folder name: the {self._end} separates folders with "{sign}"',
                    hint=f'Choose a name without "{sign}"; write / between the levels of folders.',
                )
        name = (delimiter or "").join(mailbox.levels)
        fold = folded(prefix[:5]) == "INBOX"  # INBOX alone is the same in any case (RFC 3501 §5.1)
        start = (name + (delimiter or ""))[: len(prefix)]
        return name if start == prefix or (fold and folded(start) == folded(prefix)) else prefix + name

    def _home_namespace(self) -> tuple[str, str | None]:
        if self._home is None:
            self._home = self._ask_namespace() or self._ask_delimiter()
        return self._home

    def _ask_namespace(self) -> tuple[str, str | None] | None:
        if "NAMESPACE" not in self._account.capabilities:
            return None
        try:
            personal = self._call("NAMESPACE", lambda: self._client.namespace().personal)
        except Refused:
            return None
        match personal:
            case ((bytes() as prefix, (str() | None) as delimiter), *_):
                return _decoded(prefix) or "", delimiter or None
            case _:
                return None

    def _ask_delimiter(self) -> tuple[str, str | None]:
        try:
            return "", self._call("LIST", lambda: _delimiter(self._client.list_folders("", "")))
        except Refused:
            return "", None

    def _find(self, mailbox: MailboxName) -> bytes | None:
        """The name under which the server lists the mailbox."""
        name = self._server_name(mailbox)
        if name == "INBOX":
            return b"INBOX"
        found = self._list(_encoded(name), name)
        if found is None and not name.isascii():
            # Perhaps written with combining accents (NFD): look among its siblings.
            delimiter = self._home_namespace()[1]
            parent = name[: name.rindex(delimiter) + 1] if delimiter and delimiter in name else ""
            found = self._list(_encoded(parent) + b"%", name)
        return found

    def _list(self, pattern: bytes, wanted: str) -> bytes | None:
        try:
            found: bytes | None = self._call("LIST", lambda: _pick(self._client.list_folders("", pattern), wanted))
        except Refused as refused:
            answer = refused.answer
        else:
            return found
        raise self._refused(f"the {self._end} does not list the folder {display(wanted)}", answer)

    # Making and selecting ------------------------------------------------------------------
    def _create(self, mailbox: MailboxName) -> bytes:
        name = _encoded(self._server_name(mailbox))
        try:
            self._call("CREATE", lambda: self._client.create_folder(name))
        except Refused as refused:
            answer = refused.answer
        else:
            self._subscribe(name)
            return name
        # Somebody else may have made it meanwhile: then it is there, and that was wanted.
        found = self._find(mailbox)
        if found is not None:
            return found
        if answer.code == b"ALREADYEXISTS" or b"already exist" in answer.text.lower():
            return name
        raise self._refused(f"the folder {mailbox} could not be made at the destination", answer)

    def _subscribe(self, name: bytes) -> None:
        try:
            self._call("SUBSCRIBE", lambda: self._client.subscribe_folder(name))
        except Refused as refused:
            self._account.link.notice("the new folder could not be subscribed to", refused.answer.said)

    def _select(self, mailbox: MailboxName, name: bytes) -> Selected:
        try:
            answers, is_read_only = self._call("SELECT", lambda: self._select_or_examine(name))
        except Refused as refused:
            answer = refused.answer
        else:
            status = self._status(name, answers)
            if not self._account.facts.has_uids and not is_read_only:
                self._only_look(name)
            return Selected(mailbox, quoted(name), status, status.uidnext)
        raise self._refused(f"the folder {mailbox} cannot be opened at the destination", answer)

    def _only_look(self, name: bytes) -> None:
        """Opens it read-only: all that is asked of an open mailbox, and old servers may spoil one open for writing.

        Seen: GNU Mailutils 3.15 writes a selected mailbox back as it was when it was opened, without what APPEND
        added since.
        """
        try:
            self._call("EXAMINE", lambda: self._client.select_folder(name, readonly=True))
        except Refused:
            self._call("SELECT", lambda: self._select_or_examine(name))

    def _select_or_examine(self, name: bytes) -> tuple[dict[bytes, Any], bool]:
        try:
            return self._client.select_folder(name), False
        except IMAPClientReadOnlyError:
            # imaplib will not go on in a mailbox that came READ-ONLY unless it was asked for so.
            return self._client.select_folder(name, readonly=True), True

    def _status(self, name: bytes, answers: dict[bytes, Any]) -> MailboxStatus:
        messages = _number(answers.get(b"EXISTS"))
        uidvalidity = _number(answers.get(b"UIDVALIDITY"))
        if not uidvalidity:
            self._account.link.quirk(Quirk.UIDVALIDITY, b"")
        return MailboxStatus(
            uidvalidity=uidvalidity,
            uidnext=_number(answers.get(b"UIDNEXT")) or self._find_uidnext(name, messages),
            messages=messages,
            permanent_flags=_permanent_flags(answers),
            has_sticky_uids=b"UIDNOTSTICKY" not in answers,
        )

    def _find_uidnext(self, name: bytes, messages: int) -> int:
        """UIDNEXT where SELECT did not tell: from STATUS, else above the highest uid."""
        try:
            told = self._call("STATUS", lambda: self._client.folder_status(name, ["UIDNEXT"]))
        except Refused:
            told = {}
        uidnext = _number(told.get(b"UIDNEXT"))
        if uidnext or not messages:
            return uidnext or 1
        try:
            uids = self._call("SEARCH", lambda: list(self._client.search([b"UID", b"*"])))
        except Refused as refused:
            answer = refused.answer
        else:
            return max((_number(uid) for uid in uids), default=0) + 1
        raise self._refused("the destination does not tell which uids it has", answer)

    def _refused(self, what: str, answer: Tagged) -> MailboxError | StoreError:
        error = refusal(answer)
        if isinstance(error, StoreError) and answer.code not in (b"NOPERM", b"TRYCREATE"):
            return error
        hint = "Choose another folder with --folder, or make it by hand at the destination."
        if self._end == "source":
            hint = "Name another folder in SOURCE, or none: then all are read."
        return MailboxError(what, said=answer.said, hint=hint)


def _encoded(name: str) -> bytes:
    """The name in modified UTF-7. MailboxError when it is no text."""
    try:
        return bytes(imap_utf7.encode(name))
    except UnicodeError as error:
        raise MailboxError(f"{display(name)} cannot be a folder name: it is no text") from error


def _decoded(name: bytes) -> str | None:
    """The name as text, composed (NFC); None where it is no modified UTF-7."""
    try:
        text = imap_utf7.decode(name)
        return unicodedata.normalize("NFC", text) if imap_utf7.encode(text) == name else None
    except ValueError:
        return None


def _pick(lines: list[Any], wanted: str) -> bytes | None:
    """The name among the LIST answers that is the wanted one and can be selected."""
    for flags, _, listed in lines:
        name = _as_listed(listed)
        if _can_be_selected(flags) and _decoded(name) == wanted:
            return name
    return None


def _as_listed(name: Any) -> bytes:
    return name.encode("ascii") if isinstance(name, str) else bytes(name)  # IMAPClient reads "5" as a number


def _can_be_selected(flags: Any) -> bool:
    return not {flag.lower() for flag in flags} & {b"\\noselect", b"\\nonexistent"}


def _delimiter(lines: list[Any]) -> str | None:
    return next((line[1].decode("ascii") for line in lines if line[1]), None)


def _number(value: Any) -> int:
    """The value if it is a number of 32 bits, else 0."""
    return value if isinstance(value, int) and 0 < value <= NUMBER_MAX else 0


def _permanent_flags(answers: dict[bytes, Any]) -> frozenset[str]:
    flags = answers.get(b"PERMANENTFLAGS")
    if flags is None:
        # RFC 3501 §7.1: without it, all flags that are there can be changed permanently.
        flags = [flag for flag in answers.get(b"FLAGS", ()) if flag.lower() != b"\\recent"]
        flags = flags or [flag.encode("ascii") for flag in SYSTEM_FLAGS]
    return frozenset(flag.decode("utf-8", "backslashreplace") for flag in flags)
