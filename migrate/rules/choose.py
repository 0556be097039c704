"""Which messages of a backup are meant: by their date and by what their header says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..model import DateSource
from ..wire.header import text_of, values
from .dates import internal_date

_LATEST = 4_102_444_800.0  # the year 2100: every date is believed


@dataclass(frozen=True, slots=True)
class Chosen:
    """Whether a message with this header and internal date is meant: everything that is not None has to be true.

    Texts are parts of the field, in capitals or not; a Message-ID is meant whole, with or without its brackets. Where
    the source keeps no date, the header tells it; of a message without any nobody can tell when it was: it is meant.
    Where the header is lost (no octets of it), the dates alone decide, so that the message is named and not left out.
    """

    since: datetime | None = None
    before: datetime | None = None
    sender: str | None = None
    subject: str | None = None
    message_id: str | None = None

    def __call__(self, header: bytes, when: datetime | None) -> bool:
        if when is None and (self.since or self.before):
            date = internal_date(header, _LATEST)
            when = None if date.source is DateSource.FETCHED else date.when
        if when is not None and self.since is not None and when < self.since:
            return False
        if when is not None and self.before is not None and when >= self.before:
            return False
        if not header:
            return True
        if self.message_id is not None and not _has_id(header, self.message_id):
            return False
        return _has(header, b"from", self.sender) and _has(header, b"subject", self.subject)


def _has(header: bytes, name: bytes, wanted: str | None) -> bool:
    if wanted is None:
        return True
    return any(wanted.casefold() in text_of(value).casefold() for value in values(header, name))


def _has_id(header: bytes, wanted: str) -> bool:
    bare = wanted.strip().strip("<>")
    return any(text_of(value).strip().strip("<>") == bare for value in values(header, b"message-id"))
