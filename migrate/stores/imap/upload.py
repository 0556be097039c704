"""Append and SearchUids on a lane: what is sent, and what the answers mean."""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Sequence
from operator import lt
from typing import Any, Protocol

from ...commands import Append, Letter, SearchUids
from ...errors import MessageError, MigrateError, StoreError
from ...model import AppendUid
from ...wire.imap import (
    Data,
    Quirk,
    Tagged,
    append_segments,
    append_uids,
    broken,
    parse_search,
    reaches_all,
    refusal,
)
from .lane import Exchange, Lane
from .link import Link
from .login import Account
from .mailbox import Selected

SEARCH_LINE = 16 * 1024 * 1024  # a line with all uids of a mailbox of more than a million messages
SEARCH_UIDS = 4 * 1024 * 1024
SEARCH_ANSWERS = 10_000  # to one SEARCH: servers give one, some a few


class Job(Protocol):
    """A command of the session under way: over when ``is_done``, with a value or an error."""

    is_done: bool
    value: Any
    error: MigrateError | None


class AppendJob:
    """One Append: as one command where that is all or none and wanted so, else one command for each letter."""

    def __init__(self, account: Account, lane: Lane, selected: Selected, command: Append) -> None:
        self.value: Any = None
        self.error: MigrateError | None = None
        self._account = account
        self._lane = lane
        self._selected = selected
        self._results: list[AppendUid | MessageError | None] = [self._too_large(one) for one in command.letters]
        fit = [index for index, result in enumerate(self._results) if result is None]
        self._open = 0
        if account.facts.is_atomic and len(fit) > 1 and not command.apart:
            self._send(command.letters, fit)
        else:
            for index in fit:
                self._send(command.letters, [index])
        self._end_when_done()

    def _too_large(self, letter: Letter) -> MessageError | None:
        limit, octets = self._account.facts.append_limit, letter.message.octets
        if limit is None or octets <= limit:
            return None
        return MessageError(
            f"the message has {octets} octets, the destination takes at most {limit}",
            hint="Raise the size limit at the destination, or fetch this message another way.",
        )

    def _send(self, letters: Sequence[Letter], places: list[int]) -> None:
        tag = self._lane.new_tag()
        uploads = [letters[place] for place in places]
        segments = append_segments(tag, self._selected.wire_name, uploads, self._account.literals)
        octets = uploads[0].message.octets if len(uploads) == 1 else None
        self._open += 1
        self._lane.add(Exchange(tag, deque(segments), lambda answer: self._take(answer, places, octets)))

    def _take(self, answer: Tagged, places: list[int], octets: int | None) -> None:
        self._open -= 1
        if answer.status == b"OK":
            if self._account.link.exists == 0:
                self._account.link.exists = None  # a server that does not tell of what came: it is not empty any more
            for place, uid in zip(places, self._uids(answer, len(places)), strict=True):
                self._results[place] = uid
        else:
            error = refusal(answer, octets)
            error.said = self._account.link.scrub(error.said)
            if isinstance(error, StoreError):
                raise error
            if octets is None:
                self.error = error
            else:
                self._results[places[0]] = error
        self._end_when_done()

    def _uids(self, answer: Tagged, count: int) -> Sequence[AppendUid | None]:
        if answer.code != b"APPENDUID":
            return [None] * count
        selected = self._selected
        uids = append_uids(answer, count, selected.status.uidvalidity, selected.floor)
        if uids is None:
            self._account.link.quirk(Quirk.APPENDUID, answer.said)
            return [None] * count
        selected.floor = uids[-1].uid + 1
        return uids

    def _end_when_done(self) -> None:
        self.is_done = not self._open
        if self.is_done and self.error is None:
            self.value = tuple(self._results)


class SearchJob:
    """One SearchUids."""

    def __init__(self, link: Link, lane: Lane, command: SearchUids) -> None:
        self.is_done = False
        self.value: Any = None
        self.error: MigrateError | None = None
        self._low = max(1, command.low)
        self._found: array[int] = array("L")
        self._answers = 0
        self._is_empty = True  # no uid was named, not even one below
        self._is_last = False
        self._has_changed = self._is_again = False
        self._open = 0  # commands
        self._link = link
        self._lane = lane
        # What was stored just now, or by other connections, may come into view only with a NOOP. Dovecot puts a NOOP
        # off while there is a command behind it, and tells behind the SEARCH what came: then that was too early.
        self._open += 1
        lane.ask(b"NOOP", self._end, self._watch)
        self._ask(self._range)

    @property
    def _range(self) -> bytes:
        return b"UID %d:*" % self._low

    def _ask(self, key: bytes) -> None:
        self._open += 1
        self._lane.ask(b"UID SEARCH " + key, self._end, self._take, line_limit=SEARCH_LINE)

    def _watch(self, data: Data) -> bool:
        self._has_changed = self._has_changed or data.name in (b"EXISTS", b"RECENT", b"EXPUNGE")
        return False

    def _take(self, data: Data) -> bool:
        if data.name != b"SEARCH":
            return self._watch(data)
        self._answers += 1
        count = sum(part.count(b" ") for part in data.parts) + 1  # at most so many uids, before they are read
        if len(self._found) + count > SEARCH_UIDS or self._answers > SEARCH_ANSWERS:
            raise broken("its answer to SEARCH has no end")
        self._is_empty = self._is_empty and not any(part.strip() for part in data.parts)
        self._found.extend(parse_search(data, self._low))
        return True

    def _end(self, answer: Tagged) -> None:
        if answer.status != b"OK":
            raise refused_to_look(answer, self._link.end)
        self._open -= 1
        if self._open:
            return
        if self._has_changed and not self._is_again:
            self._is_again = True
            self._found, self._is_empty = array("L"), True
            self._ask(self._range)
            return
        if self._is_empty and not self._is_last and self._link.exists != 0:
            # The range holds the last message whatever its uid (RFC 3501 §9): the mailbox is empty, or that is wrong.
            self._is_last = True
            self._ask(b"ALL")
            return
        if self._is_last and not self._is_empty:
            self._link.quirk(Quirk.SEARCH_RANGE, b"")
        found = self._found
        is_plain = all(map(lt, found, found[1:]))  # the usual case; sorting a million weighs ten times as much
        self.value = found if is_plain else array("L", sorted(set(found)))
        self.is_done = True


def refused_to_look(answer: Tagged, end: str) -> StoreError:
    """The error for a NO or BAD to SEARCH or FETCH: never taken for "not there"."""
    error = refusal(answer)
    # What it says of room and of rights is about storing.
    if isinstance(error, StoreError) and (end == "destination" or reaches_all(answer)):
        return error
    return StoreError(
        f"the {end} would not show what it holds",
        said=answer.said,
        hint="Run the same command again later.",
    )
