"""The one suite that every store passes: what ``migrate.stores.base`` promises, seen from the caller.

A store takes part with a harness (``SourceHarness`` or ``DestHarness``), which knows how to make sessions and
tells the truth about the mailbox behind them without the store's own code. A test class inherits the contract
and gives the harness as a fixture, see ``test_contract``.
"""

from __future__ import annotations

import select
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest

from migrate.commands import (
    Append,
    CloseDest,
    CloseSource,
    Command,
    Delete,
    DestFacts,
    Fetch,
    FetchHeaders,
    Letter,
    ListSource,
    MailboxStatus,
    OpenDest,
    OpenMailbox,
    OpenSource,
    Outcome,
    ReadBack,
    SearchUids,
    Served,
    SourceFacts,
)
from migrate.errors import MailboxError, MessageError, StoreError
from migrate.model import (
    INBOX,
    MEMORY_LIMIT,
    AppendUid,
    DateSource,
    Flags,
    InternalDate,
    MailboxName,
    Message,
    MessageRef,
)
from migrate.rules.dedupe import Digester, fingerprint
from migrate.stores.base import Collector, Session
from tests.support.mailgen import generate, odd_messages

PATIENCE_S = 60  # without anything to receive or send


class SourceHarness(Protocol):
    """A source behind sessions that read it."""

    spill_dir: Path

    def load(self, messages: Sequence[bytes]) -> None:
        """Puts messages behind those that are there."""

    def served(self, octets: bytes) -> bytes:
        """What the source serves of loaded octets."""

    def held(self) -> list[bytes]:
        """What the source holds now, as it would serve it."""

    def reader(self) -> Session: ...

    def cut(self) -> None:
        """Breaks every session."""


class ReleasableHarness(SourceHarness, Protocol):
    """A source that can also be released."""

    def releaser(self) -> Session: ...


class Held(NamedTuple):
    """A message at the destination."""

    uid: int
    octets: bytes
    flags: frozenset[str]
    when: datetime


class DestHarness(Protocol):
    """A destination behind sessions that append to it."""

    has_uids: bool

    def appender(self) -> Session: ...

    def kept(self, octets: bytes) -> bytes:
        """What the destination keeps of appended octets."""

    def held(self, mailbox: MailboxName) -> list[Held]:
        """What it holds now, by uid."""

    def remove(self, mailbox: MailboxName, uid: int) -> None: ...

    def cut(self) -> None: ...


def play(session: Session, *commands: Command) -> list[Outcome]:
    """The outcomes of the commands, submitted all at once; their order and number are checked on the way."""
    for command in commands:
        session.submit(command)
    outcomes: list[Outcome] = []
    idle_s = 0
    while len(outcomes) < len(commands):
        idle_s = 0 if _await(session) else idle_s + 1
        assert idle_s < PATIENCE_S, f"{len(commands) - len(outcomes)} commands are owed and nothing moves"
        outcomes += session.turn()
    assert [outcome.command for outcome in outcomes] == list(commands), "one outcome for each command, in order"
    return outcomes


def _await(session: Session) -> bool:
    """Whether the session has something to do, at the latest after a second."""
    descriptor = session.fileno()
    if session.is_ready() or descriptor is None:
        return session.is_ready()
    ready = select.select([descriptor], [descriptor] if session.wants_write() else [], [], 1.0)
    return any(ready)


def value(session: Session, command: Command) -> Any:
    """The value of one command, which must not fail."""
    return _value(play(session, command)[0])


def _value(outcome: Outcome) -> Any:
    if outcome.error is not None:
        raise outcome.error
    return outcome.value


def octets_of(message: Message) -> bytes:
    return b"".join(message.blocks())


def letter(octets: bytes, spill_dir: Path, flags: str = "", when: datetime | None = None) -> Letter:
    collector = Collector(Digester, spill_dir)
    collector.update(octets)
    instant = when or datetime(2012, 2, 29, 23, 59, 58, tzinfo=UTC)
    return Letter(collector.finish(), Flags(frozenset(flags.split())), InternalDate(instant, DateSource.RECEIVED))


# --- sources --------------------------------------------------------------------------------


class ReaderContract:
    """What a Reader owes. Needs the fixture ``source``."""

    @pytest.fixture
    def reader(self, source: SourceHarness) -> Iterator[Session]:
        session = source.reader()
        yield session
        session.close()

    def test_an_empty_source_lists_nothing(self, reader: Session) -> None:
        facts: SourceFacts = value(reader, OpenSource())
        assert (facts.messages, facts.octets) == (0, 0)
        assert list(value(reader, ListSource())) == []
        assert value(reader, CloseSource(quit=True)) is None

    def test_every_message_is_listed_once_with_uid_and_size(self, source: SourceHarness, reader: Session) -> None:
        loaded = list(generate(1, 50, odd=0))
        source.load(loaded)
        facts: SourceFacts = value(reader, OpenSource())
        refs: list[MessageRef] = list(value(reader, ListSource()))
        assert facts.messages == len(refs) == 50
        assert [ref.number for ref in refs] == list(range(1, 51))
        assert len({ref.uid for ref in refs}) == (50 if facts.has_uids else 1)
        assert [ref.octets for ref in refs] == [len(octets) for octets in loaded]

    def test_outcomes_come_in_the_order_of_the_commands(self, source: SourceHarness, reader: Session) -> None:
        loaded = list(generate(2, 120, odd=0))
        source.load(loaded)
        value(reader, OpenSource())
        refs = list(value(reader, ListSource()))
        backwards = [Fetch(ref) for ref in reversed(refs)]
        messages = [_value(outcome) for outcome in play(reader, *backwards)]
        assert [octets_of(message) for message in messages] == loaded[::-1]

    def test_odd_messages_arrive_with_exactly_their_octets(self, source: SourceHarness, reader: Session) -> None:
        odd = odd_messages()
        source.load(list(odd.values()))
        value(reader, OpenSource())
        refs = list(value(reader, ListSource()))
        outcomes = play(reader, *(Fetch(ref) for ref in refs))
        for (name, octets), outcome in zip(odd.items(), outcomes, strict=True):
            message: Message = _value(outcome)
            want = source.served(octets)
            assert octets_of(message) == want, name
            assert message.octets == len(want), name
            assert want.startswith(message.header), name
            assert message.fingerprint == fingerprint(want), name

    def test_a_large_message_stands_in_a_file_until_discarded(self, source: SourceHarness, reader: Session) -> None:
        octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * (MEMORY_LIMIT // 18 + 1)
        source.load([octets])
        value(reader, OpenSource())
        message: Message = value(reader, Fetch(value(reader, ListSource())[0]))
        assert message.data is None
        assert message.path is not None
        assert message.path.parent == source.spill_dir
        assert octets_of(message) == octets
        message.discard()
        assert list(source.spill_dir.iterdir()) == []

    def test_a_message_that_is_not_there_does_not_break_the_rest(self, source: SourceHarness, reader: Session) -> None:
        loaded = list(generate(3, 3, odd=0))
        source.load(loaded)
        value(reader, OpenSource())
        refs = list(value(reader, ListSource()))
        bad = MessageRef(b"no-such-uid", 99, None)
        good, missing, also_good = play(reader, Fetch(refs[0]), Fetch(bad), Fetch(refs[2]))
        assert octets_of(_value(good)) == loaded[0]
        assert isinstance(missing.error, MessageError)
        assert octets_of(_value(also_good)) == loaded[2]

    def test_a_reader_cannot_delete(self, source: SourceHarness, reader: Session) -> None:
        source.load([b"A: b\r\n\r\n"])
        value(reader, OpenSource())
        refs = tuple(value(reader, ListSource()))
        with pytest.raises(TypeError):
            reader.submit(Delete(refs))
        value(reader, CloseSource(quit=True))
        assert len(source.held()) == 1

    def test_a_reader_knows_no_command_of_an_appender(self, reader: Session) -> None:
        with pytest.raises(TypeError):
            reader.submit(OpenDest(0))

    def test_reading_and_quitting_deletes_nothing(self, source: SourceHarness, reader: Session) -> None:
        loaded = list(generate(4, 5, odd=0))
        source.load(loaded)
        value(reader, OpenSource())
        play(reader, *(Fetch(ref) for ref in value(reader, ListSource())))
        value(reader, CloseSource(quit=True))
        assert source.held() == loaded

    def test_a_broken_session_ends_all_it_owes_with_one_error(self, source: SourceHarness, reader: Session) -> None:
        source.load(list(generate(9, 20, odd=0)))
        value(reader, OpenSource())
        refs = list(value(reader, ListSource()))
        source.cut()
        outcomes = play(reader, *(Fetch(ref) for ref in refs))
        errors = {id(outcome.error): outcome.error for outcome in outcomes}
        assert len(errors) == 1
        (error,) = errors.values()
        assert isinstance(error, StoreError)
        assert play(reader, ListSource())[0].error is error, "so does every later one"

    def test_closing_twice_is_harmless(self, reader: Session) -> None:
        value(reader, OpenSource())
        reader.close()
        reader.close()


class ReleaserContract(ReaderContract):
    """What a Releaser owes, and its Reader. Needs the fixture ``source`` of a ``ReleasableHarness``."""

    @pytest.fixture
    def releaser(self, source: ReleasableHarness) -> Iterator[Session]:
        session = source.releaser()
        yield session
        session.close()

    def test_what_was_marked_stays_when_the_session_is_dropped(self, source: SourceHarness, releaser: Session) -> None:
        loaded = list(generate(5, 5, odd=0))
        source.load(loaded)
        value(releaser, OpenSource(may_release=True))
        refs = tuple(value(releaser, ListSource()))
        assert value(releaser, Delete(refs)) == (None,) * 5
        value(releaser, CloseSource(quit=False))
        assert source.held() == loaded

    def test_delete_and_quit_deletes_exactly_those(self, source: SourceHarness, releaser: Session) -> None:
        loaded = list(generate(6, 40, odd=0))
        source.load(loaded)
        value(releaser, OpenSource(may_release=True))
        refs = tuple(value(releaser, ListSource()))
        assert value(releaser, Delete(refs[::2])) == (None,) * 20
        assert value(releaser, CloseSource(quit=True)) is None
        assert source.held() == loaded[1::2]

    def test_a_delete_that_is_refused_says_so_for_that_message(self, source: SourceHarness, releaser: Session) -> None:
        loaded = list(generate(7, 3, odd=0))
        source.load(loaded)
        value(releaser, OpenSource(may_release=True))
        refs = list(value(releaser, ListSource()))
        results = value(releaser, Delete((refs[0], MessageRef(b"none", 77, None), refs[2])))
        assert results[0] is None
        assert isinstance(results[1], MessageError)
        assert results[2] is None
        value(releaser, CloseSource(quit=True))
        assert source.held() == [loaded[1]]

    def test_uids_stay_when_other_messages_are_deleted(self, source: SourceHarness, releaser: Session) -> None:
        source.load(list(generate(8, 4, odd=0)))
        value(releaser, OpenSource(may_release=True))
        before = list(value(releaser, ListSource()))
        value(releaser, Delete((before[0],)))
        value(releaser, CloseSource(quit=True))
        again = source.reader()
        value(again, OpenSource())
        assert [ref.uid for ref in value(again, ListSource())] == [ref.uid for ref in before[1:]]
        again.close()


# --- destinations ---------------------------------------------------------------------------

LANE = 0
FOLDER = MailboxName(("Moved", "D\u00e9j\u00e0 l\u00e0"))


class AppenderContract:
    """What an Appender owes. Needs the fixture ``dest``."""

    @pytest.fixture
    def appender(self, dest: DestHarness) -> Iterator[Session]:
        session = dest.appender()
        yield session
        session.close()

    @pytest.fixture
    def facts(self, appender: Session) -> DestFacts:
        facts: DestFacts = value(appender, OpenDest(LANE))
        return facts

    def test_the_facts_tell_whether_appends_say_where(self, dest: DestHarness, facts: DestFacts) -> None:
        assert facts.has_uids == dest.has_uids

    @pytest.mark.parametrize("mailbox", [INBOX, FOLDER], ids=str)
    def test_it_is_opened_for_a_mailbox_whether_that_is_there_or_not(
        self, dest: DestHarness, appender: Session, tmp_path: Path, mailbox: MailboxName
    ) -> None:
        facts: DestFacts = value(appender, OpenDest(LANE, mailbox=mailbox))
        assert facts.has_uids == dest.has_uids
        value(appender, OpenMailbox(LANE, INBOX, create=True))
        (octets,) = generate(1, 1, odd=0)
        value(appender, Append(LANE, INBOX, (letter(octets, tmp_path),)))
        assert [kept.octets for kept in dest.held(INBOX)] == [octets]
        assert value(appender, OpenMailbox(LANE, FOLDER, create=False)) is None

    def test_a_missing_mailbox_is_none_and_not_made(
        self, dest: DestHarness, appender: Session, facts: DestFacts
    ) -> None:
        assert value(appender, OpenMailbox(LANE, FOLDER, create=False)) is None
        assert value(appender, OpenMailbox(LANE, FOLDER, create=False)) is None
        assert dest.held(FOLDER) == []

    def test_a_missing_mailbox_is_made_when_asked(self, appender: Session, facts: DestFacts) -> None:
        made: MailboxStatus = value(appender, OpenMailbox(LANE, FOLDER, create=True))
        again: MailboxStatus = value(appender, OpenMailbox(LANE, FOLDER, create=True))
        assert made.uidvalidity > 0
        assert made.uidnext >= 1
        assert made.messages == 0
        assert (made.uidvalidity, made.uidnext) == (again.uidvalidity, again.uidnext)

    def test_the_status_counts_what_was_appended(self, appender: Session, facts: DestFacts, tmp_path: Path) -> None:
        before: MailboxStatus = value(appender, OpenMailbox(LANE, INBOX, create=False))
        value(appender, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in generate(1, 3, odd=0))))
        after: MailboxStatus = value(appender, OpenMailbox(LANE, INBOX, create=False))
        assert after.messages == before.messages + 3
        assert after.uidnext >= before.uidnext + 3
        assert after.uidvalidity == before.uidvalidity

    @pytest.mark.parametrize("mailbox", [INBOX, FOLDER], ids=str)
    def test_odd_messages_are_kept_and_served_back(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path, mailbox: MailboxName
    ) -> None:
        value(appender, OpenMailbox(LANE, mailbox, create=True))
        odd = [octets for octets in odd_messages().values() if octets]
        for octets in odd:
            value(appender, Append(LANE, mailbox, (letter(octets, tmp_path),)))
        held = dest.held(mailbox)
        assert [found.octets for found in held] == [dest.kept(octets) for octets in odd]
        uids = [found.uid for found in held]
        prints = value(appender, ReadBack(LANE, mailbox, uids, Digester))
        assert prints == {found.uid: fingerprint(found.octets) for found in held}

    @pytest.mark.parametrize("mailbox", [INBOX, FOLDER], ids=str)
    def test_a_second_lane_appends_and_looks_where_the_first_one_opened_the_mailbox(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path, mailbox: MailboxName
    ) -> None:
        value(appender, OpenMailbox(LANE, mailbox, create=True))
        other = dest.appender()
        value(other, OpenDest(LANE + 1, mailbox=mailbox))
        loaded = list(generate(3, 6, odd=0))
        for octets, session in zip(loaded, [other, appender] * 3, strict=True):
            lane = LANE if session is appender else LANE + 1
            value(session, Append(lane, mailbox, (letter(octets, tmp_path),)))
        held = dest.held(mailbox)
        assert [kept.octets for kept in held] == loaded
        uids = [kept.uid for kept in held]
        assert uids == sorted(uids)
        assert list(value(other, SearchUids(LANE + 1, mailbox, 1))) == uids
        for session in (appender, other):
            lane = LANE if session is appender else LANE + 1
            assert value(session, ReadBack(lane, mailbox, uids, Digester)) == dict(
                zip(uids, map(fingerprint, loaded), strict=True)
            )
        other.close()

    def test_nothing_is_appended_where_no_mailbox_is(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        (octets,) = generate(4, 1, odd=0)
        (outcome,) = play(appender, Append(LANE, FOLDER, (letter(octets, tmp_path),)))
        assert isinstance(outcome.error, MailboxError)
        assert dest.held(FOLDER) == []

    def test_batches_pipelined_arrive_in_order_and_say_where(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, FOLDER, create=True))
        loaded = list(generate(2, 90, odd=0))
        letters = [letter(octets, tmp_path) for octets in loaded]
        outcomes = play(
            appender, *(Append(LANE, FOLDER, tuple(letters[start : start + 9])) for start in range(0, 90, 9))
        )
        held = dest.held(FOLDER)
        assert [found.octets for found in held] == loaded
        answers = [answer for outcome in outcomes for answer in _value(outcome)]
        status: MailboxStatus = value(appender, OpenMailbox(LANE, FOLDER, create=False))
        truth = [AppendUid(status.uidvalidity, found.uid) for found in held]
        # Who promised nothing may still say it, but then it is true.
        assert answers == truth or (not facts.has_uids and answers == [None] * 90)

    def test_a_large_message_goes_from_its_file(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        octets = b"Subject: large\r\n\r\n" + b"0123456789abcdef\r\n" * (MEMORY_LIMIT // 18 + 1)
        large = letter(octets, tmp_path)
        assert large.message.path is not None
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        value(appender, Append(LANE, INBOX, (letter(b"A: b\r\n\r\n", tmp_path), large)))
        assert [found.octets for found in dest.held(INBOX)] == [b"A: b\r\n\r\n", octets]
        uid = dest.held(INBOX)[1].uid
        assert value(appender, ReadBack(LANE, INBOX, [uid], Digester)) == {uid: fingerprint(octets)}
        assert large.message.path.exists(), "who made the message discards it"

    def test_flags_and_internaldate_arrive(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        sent = [
            ("", datetime(1998, 7, 3, 10, 0, 0, tzinfo=UTC)),
            ("\\Seen", datetime(2004, 2, 29, 0, 0, 0, tzinfo=timezone(timedelta(hours=-8)))),
            ("\\Seen \\Answered \\Flagged \\Draft", datetime(2019, 12, 31, 23, 59, 59, tzinfo=UTC)),
            ("$Forwarded blue", datetime(2010, 3, 9, 1, 2, 3, tzinfo=timezone(timedelta(hours=5, minutes=45)))),
        ]
        letters = tuple(
            letter(b"N: %d\r\n\r\n" % number, tmp_path, flags, when) for number, (flags, when) in enumerate(sent)
        )
        value(appender, Append(LANE, INBOX, letters))
        held = dest.held(INBOX)
        assert [found.flags for found in held] == [frozenset(flags.split()) for flags, _ in sent]
        assert [found.when for found in held] == [when for _, when in sent]

    def test_a_refused_message_leaves_the_session_usable(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        """An octet-less message is what every destination here refuses."""
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        before, after = (letter(octets, tmp_path) for octets in (b"A: 1\r\n\r\n", b"A: 2\r\n\r\n"))
        letters = (before, letter(b"", tmp_path), after)
        (outcome,) = play(appender, Append(LANE, INBOX, letters))
        if facts.is_atomic:
            assert isinstance(outcome.error, MessageError)
            assert dest.held(INBOX) == []
            (outcome,) = play(appender, Append(LANE, INBOX, letters, apart=True))
        answers = _value(outcome)
        assert isinstance(answers[1], MessageError)
        assert not any(isinstance(answer, MessageError) for answer in (answers[0], answers[2]))
        assert [found.octets for found in dest.held(INBOX)] == [b"A: 1\r\n\r\n", b"A: 2\r\n\r\n"]
        count = len(dest.held(INBOX))
        value(appender, Append(LANE, INBOX, (after,)))
        assert len(dest.held(INBOX)) == count + 1

    def test_an_append_to_a_mailbox_that_is_gone_is_an_error(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        (outcome,) = play(appender, Append(LANE, FOLDER, (letter(b"A: b\r\n\r\n", tmp_path),)))
        assert isinstance(outcome.error, MailboxError | StoreError) or isinstance(_value(outcome)[0], MessageError)
        assert dest.held(FOLDER) == []

    def test_search_gives_uids_from_low_on_and_none_above_the_last(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        assert list(value(appender, SearchUids(LANE, INBOX, 1))) == []
        value(appender, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in generate(3, 6, odd=0))))
        uids = [found.uid for found in dest.held(INBOX)]
        assert list(value(appender, SearchUids(LANE, INBOX, 1))) == uids
        assert list(value(appender, SearchUids(LANE, INBOX, uids[3]))) == uids[3:]
        # "n:*" would give the last message although its uid is lower (RFC 3501 §6.4.8).
        assert list(value(appender, SearchUids(LANE, INBOX, uids[-1] + 1))) == []

    def test_headers_come_for_the_uids_asked_and_only_those(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        loaded = list(generate(4, 6, odd=0))
        value(appender, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in loaded)))
        uids = [found.uid for found in dest.held(INBOX)]
        asked = [uids[1], uids[4], uids[5] + 1000]
        served: list[Served] = value(appender, FetchHeaders(LANE, INBOX, asked, ("Message-ID", "Subject")))
        assert [found.uid for found in served] == [uids[1], uids[4]]
        assert [found.octets for found in served] == [len(loaded[1]), len(loaded[4])]
        for found, octets in zip(served, (loaded[1], loaded[4]), strict=True):
            lines = [line for line in octets.split(b"\r\n") if line.startswith((b"Message-ID:", b"Subject:"))]
            assert sorted(line for line in found.header.split(b"\r\n") if line) == sorted(lines)

    def test_without_fields_only_the_octets_are_told(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        value(appender, Append(LANE, INBOX, (letter(b"A: b\r\n\r\nfive\r\n", tmp_path),)))
        uid = dest.held(INBOX)[0].uid
        assert value(appender, FetchHeaders(LANE, INBOX, [uid], ())) == [Served(uid, 14, b"")]

    def test_a_uid_that_is_gone_is_absent_from_every_answer(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        loaded = list(generate(5, 3, odd=0))
        value(appender, Append(LANE, INBOX, tuple(letter(octets, tmp_path) for octets in loaded)))
        first, gone, last = (found.uid for found in dest.held(INBOX))
        dest.remove(INBOX, gone)
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        assert list(value(appender, SearchUids(LANE, INBOX, 1))) == [first, last]
        assert [found.uid for found in value(appender, FetchHeaders(LANE, INBOX, [first, gone, last], ()))] == [
            first,
            last,
        ]
        prints = value(appender, ReadBack(LANE, INBOX, [first, gone, last], Digester))
        assert prints == {first: fingerprint(loaded[0]), last: fingerprint(loaded[2])}

    def test_asking_for_no_uid_gives_nothing(self, appender: Session, facts: DestFacts) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        assert value(appender, FetchHeaders(LANE, INBOX, [], ())) == []
        assert value(appender, ReadBack(LANE, INBOX, [], Digester)) == {}

    def test_many_uids_in_one_question_are_all_answered(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        letters = tuple(letter(b"N: %d\r\n\r\n" % number, tmp_path) for number in range(600))
        play(appender, *(Append(LANE, INBOX, letters[start : start + 100]) for start in range(0, 600, 100)))
        # Every other one: no range makes the question short.
        uids = [found.uid for found in dest.held(INBOX)][::2]
        assert [found.uid for found in value(appender, FetchHeaders(LANE, INBOX, uids, ("N",)))] == uids
        assert list(value(appender, ReadBack(LANE, INBOX, uids, Digester))) == uids

    def test_commands_of_all_kinds_may_be_owed_at_once(
        self, dest: DestHarness, appender: Session, tmp_path: Path
    ) -> None:
        octets = b"A: b\r\n\r\n"
        outcomes = play(
            appender,
            OpenDest(LANE),
            OpenMailbox(LANE, FOLDER, create=True),
            Append(LANE, FOLDER, (letter(octets, tmp_path),)),
            SearchUids(LANE, FOLDER, 1),
            FetchHeaders(LANE, FOLDER, [1], ()),
            Append(LANE, FOLDER, (letter(octets, tmp_path),)),
            ReadBack(LANE, FOLDER, [1, 2], Digester),
            CloseDest(LANE),
        )
        values = [_value(outcome) for outcome in outcomes]
        assert list(values[3])[:1] == [1], "what was appended before is seen; what comes behind may be"
        assert values[4] == [Served(1, 8, b"")]
        assert values[6] == {1: fingerprint(octets), 2: fingerprint(octets)}
        assert values[7] is None

    def test_an_appender_knows_no_command_of_a_reader(self, appender: Session) -> None:
        for command in (OpenSource(), ListSource(), Delete(())):
            with pytest.raises(TypeError):
                appender.submit(command)

    def test_a_broken_session_ends_all_it_owes_with_one_error(
        self, dest: DestHarness, appender: Session, facts: DestFacts, tmp_path: Path
    ) -> None:
        value(appender, OpenMailbox(LANE, INBOX, create=False))
        dest.cut()
        letters = [letter(octets, tmp_path) for octets in generate(6, 5, odd=0)]
        outcomes = play(appender, *(Append(LANE, INBOX, (sent,)) for sent in letters), SearchUids(LANE, INBOX, 1))
        errors = {id(outcome.error): outcome.error for outcome in outcomes}
        assert len(errors) == 1
        (error,) = errors.values()
        assert isinstance(error, StoreError)
        assert play(appender, OpenMailbox(LANE, INBOX, create=False))[0].error is error, "so does every later one"
        assert play(appender, CloseDest(LANE))[0].error is None

    def test_closing_twice_is_harmless(self, appender: Session, facts: DestFacts) -> None:
        appender.close()
        appender.close()
