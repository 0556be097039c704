"""One command under way: the lines it sends, and what their replies mean.

A task's steps are a generator: it yields lines to send, is given the events of
their replies in order, and returns the command's value or raises its error.
Dropping the generator cleans up behind it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

from ...commands import Command, Outcome
from ...errors import Cause, MessageError, MigrateError, Retry, StoreError
from ...model import Message, MessageRef
from ...wire.pop3 import Block, Event, Listing, ListLines, Quirk, Reply, UidlLines, join_listings, parse_stat
from ..base import Collector
from .login import LISTING, Account, is_busy, refused_command

_Body = TypeVar("_Body", UidlLines, ListLines)
Steps = Generator[Sequence[bytes], Event, Any]

_SPARE_LINES = 1000  # that a listing may have beyond STAT's number before it counts as endless


class Task:
    """A command and its steps. ``command`` is None for what the session does on its own account."""

    __slots__ = ("_steps", "command", "outcome")

    def __init__(self, command: Command | None, steps: Steps) -> None:
        self.command = command
        self.outcome: Outcome | None = None
        self._steps = steps

    def start(self) -> Sequence[bytes]:
        """The first lines to send."""
        return self._advance(None)

    def take(self, event: Event) -> Sequence[bytes]:
        """Takes an event of one of its replies in. Value: more lines to send. A StoreError is raised."""
        if self.outcome is not None:
            return ()  # it failed on our side; the rest of its reply means nothing
        return self._advance(event)

    def _advance(self, event: Event | None) -> Sequence[bytes]:
        try:
            return next(self._steps) if event is None else self._steps.send(event)
        except StopIteration as end:
            self.outcome = Outcome(self.command, end.value)
        except StoreError:
            raise
        except MigrateError as error:
            self.outcome = Outcome(self.command, error=error)
        return ()

    def serve(self, command: Command) -> None:
        """What was begun on the session's own account is done for this command from now on."""
        self.command = command
        if self.outcome is not None:
            self.outcome = Outcome(command, self.outcome.value, self.outcome.error)

    def fail(self, error: MigrateError) -> None:
        """Ends it from outside, unless it has ended."""
        if self.outcome is None:
            self._steps.close()
            self.outcome = Outcome(self.command, error=error)


def nothing(value: Any = None) -> Steps:
    """Ends at once with that value."""
    return value
    yield ()


def fetch(ref: MessageRef, collect: Callable[[], Collector], scrub: Callable[[bytes], bytes]) -> Steps:
    """RETR -> Message. What LIST said of its size is not looked at."""
    reply = yield (b"RETR %d" % ref.number,)
    assert isinstance(reply, Reply)
    if not reply.is_ok:
        raise MessageError(
            "the POP3 server did not hand out the message",
            said=scrub(reply.line),
            hint="It stays at the source. If the next run ends the same way, its provider has to look at it.",
        )
    collector = collect()
    try:
        while isinstance(event := (yield ()), Block):
            collector.update(event.octets)
        message: Message = collector.finish()
    except BaseException:
        _abandon(collector)
        raise
    return message


def _abandon(collector: Collector) -> None:
    try:
        collector.abandon()
    except OSError:
        # What was still buffered found no room. The file is closed now, and can be removed.
        collector.abandon()


def leave() -> Steps:
    """QUIT -> None, when the server says +OK (RFC 1939 §6)."""
    reply = yield (b"QUIT",)
    assert isinstance(reply, Reply)
    if not reply.is_ok:
        raise StoreError(
            "the POP3 server refused the end of the session; some of what was marked is perhaps not deleted",
            said=reply.line,
        )


def stay() -> Steps:
    """NOOP, whatever the server says to it."""
    yield (b"NOOP",)


def list_all(account: Account, quirks: Counter[Quirk], *, is_sent: bool = False) -> Steps:
    """STAT, UIDL and LIST -> Listing. Asked once more when the three do not agree.

    STAT costs a round trip where commands cannot be pipelined: there the one of the login counts first, and where
    UIDL and LIST went right behind it (``is_sent``).
    """
    facts = account.facts
    lines: Sequence[bytes] = () if is_sent else LISTING if facts.has_uids else LISTING[1:]
    for known in (None if account.can_pipeline and not is_sent else facts.messages, None):
        listing = yield from _list_once(facts.has_uids, quirks, known, lines)
        if listing is not None:
            return listing
        lines = LISTING if facts.has_uids else LISTING[1:]
    raise StoreError(
        "the POP3 server contradicts itself: STAT, UIDL and LIST do not name the same messages",
        cause=Cause.UNUSABLE,
        retry=Retry.LATER,
        hint="Another program may be changing the maildrop; run the same command again later.",
    )


def _list_once(
    has_uids: bool, quirks: Counter[Quirk], messages: int | None, lines: Sequence[bytes]
) -> Generator[Sequence[bytes], Event, Listing | None]:
    if messages is None:
        stat = yield (b"STAT", *lines)
        lines = ()
        assert isinstance(stat, Reply)
        if not stat.is_ok:
            raise refused_command("STAT", stat)
        messages, _ = parse_stat(stat.text)
    limit = messages + _SPARE_LINES
    uidl = None
    if has_uids:
        uidl = yield from _read_body("UIDL", UidlLines(limit=limit), lines)
        lines = ()
    sizes = yield from _read_body("LIST", ListLines(limit=limit), lines)
    listing = join_listings(messages, uidl, sizes)
    for body in (uidl, sizes):
        if body is not None:
            quirks.update(body.quirks)
    return listing


def _read_body(name: str, body: _Body, lines: Sequence[bytes]) -> Generator[Sequence[bytes], Event, _Body | None]:
    """The body of UIDL or LIST, None when the server refuses the command. ``lines`` are sent first."""
    reply = yield lines
    assert isinstance(reply, Reply)
    if not reply.is_ok:
        if is_busy(reply):
            raise refused_command(name, reply)
        return None
    while isinstance(event := (yield ()), Block):
        body.feed(event.octets)
    return body
