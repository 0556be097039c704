"""FetchJob: messages of an IMAP source, and which of them it does not hand out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from ...errors import MessageError
from ...model import Flags, Message, is_keyword
from ...wire.imap import Fetched, Tagged, reaches_all
from .lane import Lane
from .look import BODY_LIMIT, WINDOW, ReadBackJob, ask_fetch, groups
from .upload import refused_to_look

REFUSALS = 8  # of messages in a row, before one that was served has to show that the others still are

_GONE = MessageError("the source does not have it any more")
_HINT = "It stays at the source. If the next run ends the same way, its provider has to look at it."
_NOT_SERVED = MessageError("the source lists the message and does not hand it out", hint=_HINT)


@dataclass(slots=True)
class Witness:
    """A message of a folder that was served, or the last one while none was, and how many in a row were refused since.

    Some messages cannot be read for years, and all others come. A server that refuses whatever it is asked is ill,
    and would have every message set aside: then the witness does not come either.
    """

    uid: int
    refusals: int = 0


class FetchJob(ReadBackJob):
    """Messages of one folder, and what the source keeps beside each: together, where the listed size says small.

    ``listed``: that size of each uid, a hint. A message that turns out larger is asked for again, in windows.
    What does not come is asked for again alone.
    """

    sizes = b"UID RFC822.SIZE FLAGS INTERNALDATE"
    looks_ahead = False  # what is copied is what the server gives when it is asked for all of it

    def __init__(
        self, lane: Lane, listed: dict[int, int | None], collector: Callable[[], Any], witness: Witness
    ) -> None:
        self.kept: dict[int, Fetched] = {}
        self._refusals: dict[int, MessageError] = {}
        self._listed = listed
        self._witness = witness
        super().__init__(lane, list(listed), collector)

    def why_not(self, uid: int) -> MessageError:
        """Why a message that was asked for did not come."""
        return self._refusals.get(uid) or (_NOT_SERVED if uid in self.kept else _GONE)

    def came(self) -> dict[int, Message]:
        """The messages that have come whole so far, by uid."""
        return self._result()

    def _ask(self, uids: Sequence[int]) -> None:
        if self._has_asked_again:
            for uid in uids:
                super()._ask([uid])
            return
        small = [uid for uid in uids if self._is_small(uid)]
        for group, _ in groups((uid, self._listed[uid] or 0) for uid in small):
            self._fetch(group, self.sizes + b" BODY.PEEK[]", self._take_all, BODY_LIMIT)
        super()._ask([uid for uid in uids if uid not in small])

    def _is_small(self, uid: int) -> bool:
        listed = self._listed[uid]
        return listed is not None and listed <= WINDOW

    def _refused(self, answer: Tagged, uids: Sequence[int]) -> None:
        if reaches_all(answer) or not uids:
            super()._refused(answer, uids)
        elif self._has_asked_again:
            (uid,) = uids
            if uid not in self._prints:  # else it came all the same
                self._planned.add(uid)
                self._refusals[uid] = MessageError(
                    "the source did not hand out the message", said=answer.said, hint=_HINT
                )
                self._doubt(answer)

    def _doubt(self, answer: Tagged) -> None:
        """One more was refused: after some in a row, asks whether anything is served at all."""
        witness, asked = self._witness, self._witness.uid
        witness.refusals += 1
        if witness.refusals != REFUSALS:
            return

        def take(fetched: Fetched) -> bool:
            # The text, since a part of the whole could be taken for the message by a job that waits for it.
            is_it = fetched.uid == asked and any(section.name == b"TEXT" for section in fetched.sections)
            if is_it:
                witness.refusals = 0
            return is_it

        def end(_: Tagged) -> None:
            if witness.refusals:
                raise refused_to_look(answer, self._lane.end)
            self._close_one()

        self._open += 1
        ask_fetch(self._lane, b"UID FETCH %d (UID BODY.PEEK[TEXT]<0.1>)" % asked, end, take, BODY_LIMIT)

    def _came(self, uid: int, made: Any) -> None:
        super()._came(uid, made)
        self._witness.uid, self._witness.refusals = uid, 0

    def _drop(self, digest: Any) -> None:
        digest.abandon()

    def _take_all(self, fetched: Fetched) -> bool:
        is_new = self._take_size(fetched)
        return self._take_body(fetched) or is_new

    def _take_size(self, fetched: Fetched) -> bool:
        is_new = super()._take_size(fetched)
        if is_new and fetched.uid is not None:
            self.kept[fetched.uid] = fetched
        return is_new


_KEPT = frozenset({"\\answered", "\\draft", "\\flagged", "\\seen"})


def flags_from(words: Sequence[bytes]) -> Flags:
    """The flags of a FETCH answer that go with the message.

    \\Deleted does not: a mail that is moved because it is to be kept would vanish. \\Recent is the server's.
    """
    names = (word.decode("ascii", "replace") for word in words)
    return Flags(frozenset(name for name in names if name.lower() in _KEPT or is_keyword(name)))
