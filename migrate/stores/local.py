"""What sources and destinations in files share: which command is which step, and what they say of themselves.

A session of this kind comes before the one that queues its commands (LocalSession, PatientSession) in the bases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from ..commands import (
    Append,
    CloseDest,
    CloseSource,
    Command,
    DestFacts,
    Fetch,
    FetchHeaders,
    ListSource,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    OpenSource,
    ReadBack,
    SearchUids,
    Served,
    SourceFacts,
)
from ..errors import Cause, MailboxError, Retry, StoreError
from ..model import SYSTEM_FLAGS, AppendUid, Fingerprint, MailboxName, Message, MessageRef, display
from . import disk
from .base import LocalSession

ANY_FLAG = frozenset({*SYSTEM_FLAGS, "\\*"})

Wanted = Callable[[bytes, datetime | None], bool]  # chooses by header and internal date which messages are listed


class FileSource(LocalSession):
    """Mail files that are read. Nothing is ever deleted from them."""

    kinds = (OpenSource, ListSource, Fetch, CloseSource)
    opens = OpenSource
    what: ClassVar[str]  # "mbox files in"
    _root: Path

    def submit(self, command: Command) -> None:
        if isinstance(command, OpenSource) and command.may_release:
            raise TypeError("nothing is ever deleted from files")
        super().submit(command)

    def carry_out(self, command: Command) -> Any:
        with disk.translated(self._root):
            match command:
                case OpenSource():
                    return self._open()
                case ListSource():
                    return self._listed()
                case Fetch(ref=ref):
                    return self._fetch(ref)
                case CloseSource():
                    self.close()
                    return None
                case _:
                    raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _open(self) -> SourceFacts:
        raise NotImplementedError

    def _listed(self) -> Sequence[MessageRef]:
        raise NotImplementedError

    def _fetch(self, ref: MessageRef) -> Message:
        raise NotImplementedError

    def _facts(self, messages: int, octets: int, mailboxes: Sequence[MailboxName | None]) -> SourceFacts:
        return SourceFacts(
            greeting=f"{self.what} {display(str(self._root), 1000)}",
            messages=messages,
            octets=octets,
            has_uids=True,
            may_delete_on_fetch=False,
            mailboxes=tuple(mailboxes),
        )

    def _missing(self) -> StoreError:
        """For a root that is not there."""
        return StoreError(f"there is no {display(str(self._root), 1000)}", cause=Cause.UNUSABLE, retry=Retry.NEVER)


class Refreshed(Protocol):
    """A folder that takes in what other runs have written."""

    def refresh(self) -> None: ...


F = TypeVar("F", bound=Refreshed)


class FileDest(LocalSession, Generic[F]):
    """Mail files that are written: what an Append promised is on the disk."""

    kinds = (OpenDest, OpenMailbox, Append, SearchUids, FetchHeaders, ReadBack, CloseDest)
    opens = OpenDest
    what: ClassVar[str]
    hint: ClassVar[str]  # for a root that is a file
    _root: Path
    _folders: dict[MailboxName, F]

    def carry_out(self, command: Command) -> Any:
        with disk.translated(self._root):
            match command:
                case OpenDest():
                    return self._facts()
                case OpenMailbox():
                    return self._open(command)
                case Append():
                    return self._append(command)
                case SearchUids(mailbox=mailbox, low=low):
                    return self._uids(self._folder(mailbox), low)
                case FetchHeaders():
                    return self._headers(command)
                case ReadBack():
                    return self._read_back(command)
                case _:
                    raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _facts(self) -> DestFacts:
        root = display(str(self._root), 1000)
        if self._root.exists() and not self._root.is_dir():
            what = f"{root} is not a directory"
            raise StoreError(what, cause=Cause.UNUSABLE, retry=Retry.NEVER, hint=self.hint)
        return DestFacts(f"{self.what} {root}", True, False, None, in_flight=2)

    def _folder(self, mailbox: MailboxName) -> F:
        if mailbox not in self._folders and self._open(OpenMailbox(-1, mailbox, create=False)) is None:
            raise MailboxError(f"the mailbox {mailbox} is not at the destination")
        folder = self._folders[mailbox]
        folder.refresh()
        return folder

    def _open(self, command: OpenMailbox) -> MailboxStatus | None:
        raise NotImplementedError

    def _append(self, command: Append) -> tuple[AppendUid | Exception, ...]:
        raise NotImplementedError

    def _uids(self, folder: F, low: int) -> list[int]:
        raise NotImplementedError

    def _headers(self, command: FetchHeaders) -> list[Served]:
        raise NotImplementedError

    def _read_back(self, command: ReadBack) -> dict[int, Fingerprint]:
        raise NotImplementedError
