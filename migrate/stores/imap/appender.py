"""ImapAppender: one connection to an IMAP server that appends and looks (the contract of ``stores.base``)."""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

from ...commands import (
    Append,
    CloseDest,
    Command,
    DestFacts,
    FetchHeaders,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    Outcome,
    ReadBack,
    SearchUids,
)
from ...errors import Cause, MailboxError, Retry, StoreError
from ...model import MailboxName
from .look import HeadersJob, ReadBackJob
from .mailbox import Selected
from .session import ImapSession
from .upload import AppendJob, Job, SearchJob

_FIELD = re.compile(r"[A-Za-z0-9-]+\Z")  # those that need no quotes (RFC 3501 §9 header-fld-name)


class ImapAppender(ImapSession):
    """One lane."""

    kinds = (OpenDest, OpenMailbox, Append, SearchUids, FetchHeaders, ReadBack, CloseDest)
    closes = CloseDest
    end = "destination"

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._selected: Selected | None = None

    def submit(self, command: Command) -> None:
        if isinstance(command, FetchHeaders) and not all(_FIELD.match(name) for name in command.fields):
            raise TypeError("not the name of a header field")
        super().submit(command)

    def close(self) -> None:
        super().close()
        self._selected = None

    # Working -------------------------------------------------------------------------------
    def _may_start(self, command: Command) -> bool:
        if self._is_idle:
            return True
        return isinstance(command, Append | SearchUids | FetchHeaders | ReadBack) and self._is_selected(command.mailbox)

    def _is_selected(self, mailbox: MailboxName) -> bool:
        return self._selected is not None and self._selected.mailbox == mailbox

    def _begin(self, command: Command) -> Job | None:
        match command:
            case OpenDest():
                self._outcomes.append(Outcome(command, self._open_dest(command)))
                return None
            case CloseDest():
                self._log_out()
                self._outcomes.append(Outcome(command))
                return None
        if self._account is None or self._lane is None:
            raise StoreError("the session is not open", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        match command:
            case OpenMailbox(mailbox=mailbox, create=create):
                self._outcomes.append(Outcome(command, self._select(mailbox, create=create)))
                return None
            case Append():
                return AppendJob(self._account, self._lane, self._need(command.mailbox), command)
            case SearchUids():
                self._need(command.mailbox)
                return SearchJob(self._account.link, self._lane, command)
            case FetchHeaders():
                self._need(command.mailbox)
                return HeadersJob(self._lane, command)
            case ReadBack():
                self._need(command.mailbox)
                return ReadBackJob(self._lane, command.uids, command.digester)
            case _:
                raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _open_dest(self, command: OpenDest) -> DestFacts:
        facts = self._open().facts
        assert self._mailboxes is not None
        if command.mailbox is not None:
            # The other connections have to wait where it is selected in front of an Append.
            with suppress(MailboxError):  # which that Append will tell
                self._select(command.mailbox, create=False)
        # A round trip, which a run into one folder that a person has named does without.
        return replace(facts, separator=self._mailboxes.separator()) if command.asks_separator else facts

    # Selecting -----------------------------------------------------------------------------
    def _select(self, mailbox: MailboxName, *, create: bool) -> MailboxStatus | None:
        assert self._mailboxes is not None
        self._selected = None
        self._selected = self._mailboxes.open(mailbox, create=create)
        return self._selected.status if self._selected else None

    def _need(self, mailbox: MailboxName) -> Selected:
        if not self._is_selected(mailbox) and self._select(mailbox, create=False) is None:
            raise MailboxError(f"the folder {mailbox} is not at the destination")
        assert self._selected is not None
        return self._selected
