"""The prover by itself: what it asks, and what each answer or error makes of a row."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from migrate.books import Candidate
from migrate.commands import Ask, Command, Commit, FetchHeaders, Outcome, ReadBack, Served
from migrate.engine.proof import Prover, prove_rest
from migrate.engine.pump import Pump
from migrate.engine.run import Run, Stopped
from migrate.engine.verdict import is_anothers, set_aside
from migrate.errors import MessageError, MigrateError, StoreError
from migrate.events import Event, SetAside
from migrate.model import INBOX, Checkpoint, Policy, Stage
from migrate.rules.dedupe import fingerprint

from .support import letter

ERROR = StoreError("it is gone")
ONE, OTHER = letter(1), letter(1).replace(b"Text", b"Test")  # of one Message-ID


def appended(number: int, octets: bytes = ONE, **more: Any) -> Checkpoint:
    row = Checkpoint(
        number, b"u%d" % number, len(octets), Stage.APPENDED, mailbox=INBOX, fingerprint=fingerprint(octets)
    )
    return row._replace(uidvalidity=1, uidnext=1, uid_dest=number, **more)


class Bench:
    """A prover and its pump, answered by hand."""

    def __init__(self, **policy: Any) -> None:
        self.events: list[Event] = []
        self.run = Run(Policy(**policy), self.events.append, number=7)
        self.pump = Pump(self.run)
        self.ended: list[Checkpoint] = []
        self.prover = Prover(self.pump, self.ended.extend)
        self._steps: Generator[Sequence[Command], Outcome, None] = self.pump.steps(lambda: None)
        self.asked: list[Command] = []

    def prove(self, *rows: Checkpoint) -> None:
        self.prover.prove(0, rows)
        self.asked = list(next(self._steps))

    def answer(self, value: Any = None, error: MigrateError | None = None) -> Command | None:
        """Answers the first question. Value: the next one, None when there is none."""
        try:
            self.asked += self._steps.send(Outcome(self.asked.pop(0), value, error))
        except StopIteration:
            assert self.asked == []
        return self.asked[0] if self.asked else None


def not_ours(bench: Bench, row: Checkpoint, *candidates: Candidate) -> Command | None:
    """Under the uid of the row other octets with its index are served; these are what the books know of the index."""
    bench.prove(row)
    assert isinstance(bench.asked[0], ReadBack)
    served = fingerprint(OTHER)
    assert isinstance(bench.answer({row.uid_dest: served}), Ask)
    return bench.answer({served.key.index: list(candidates)})


def committed(command: Command | None) -> Checkpoint:
    assert isinstance(command, Commit)
    (row,) = command.rows
    return row


def test_a_copy_of_another_row_under_our_uid_says_only_that_ours_is_elsewhere() -> None:
    bench = Bench()
    wanted = appended(3)
    asked = not_ours(bench, wanted, Candidate(None, uid=9), Candidate(appended(4, OTHER)))
    assert committed(asked) == wanted._replace(uid_dest=None)
    assert bench.ended == []
    assert bench.answer() is None
    assert bench.ended == [wanted._replace(uid_dest=None)]
    assert bench.prover.not_there == 1
    assert bench.events == []


def test_a_copy_that_is_nobodys_sets_the_row_aside_in_this_run() -> None:
    bench = Bench()
    aside = committed(not_ours(bench, appended(3), Candidate(None, uid=9)))
    assert (aside.stage, aside.uid_dest) == (Stage.SET_ASIDE, 3)
    assert bench.run.aside == set()
    assert bench.answer() is None
    assert bench.run.aside == {3}
    assert bench.ended == [aside]
    assert [type(event) for event in bench.events] == [SetAside]
    assert bench.prover.not_there == 0


def _sizes(bench: Bench) -> None:
    """Brings it to the question for the size of the second row."""
    rows = [appended(1), appended(2, letter(2))]
    assert rows[1].fingerprint is not None
    bench.prove(*rows)
    assert [type(one) for one in bench.asked] == [ReadBack, FetchHeaders]
    bench.asked.reverse()


def _octets(bench: Bench) -> None:
    bench.prove(appended(1))


def _place(bench: Bench) -> None:
    bench.prove(appended(1))
    bench.answer({})


def _others(bench: Bench) -> None:
    bench.prove(appended(1))
    bench.answer({1: fingerprint(OTHER)})


def _refusal(bench: Bench) -> None:
    not_ours(bench, appended(1))


@pytest.mark.parametrize("until", [_sizes, _octets, _place, _others, _refusal])
def test_an_error_anywhere_is_fatal_and_ends_no_row(until: Callable[[Bench], None]) -> None:
    bench = Bench()
    until(bench)
    bench.answer(error=ERROR)
    assert bench.pump.fatal is ERROR
    assert (bench.ended, bench.events, bench.run.aside) == ([], [], set())


@pytest.mark.parametrize("until", [_sizes, _octets, _others])
def test_what_could_not_be_looked_at_is_recorded_as_acknowledged(until: Callable[[Bench], None]) -> None:
    bench = Bench()
    until(bench)
    bench.answer(error=ERROR)
    row = committed(next(one for one in bench.asked if isinstance(one, Commit)))
    assert (row.stage, row.uid_dest) == (Stage.APPENDED, row.id)
    bench.asked.reverse()
    bench.answer()
    assert bench.ended == [row]
    assert bench.pump.fatal is ERROR


def test_when_a_stop_is_wanted_nothing_more_is_read_back() -> None:
    bench = Bench()
    _sizes(bench)
    bench.run.note_stop()
    bench.answer([Served(2, 1)])  # of another size
    assert [type(one) for one in bench.asked] == [ReadBack, Commit]
    assert committed(bench.asked[1]).stage is Stage.APPENDED


class Rest:
    """``prove_rest`` of rows that the books give, answered by hand."""

    def __init__(self, *rows: Checkpoint) -> None:
        self.run = Run(Policy(), lambda event: None, number=7)
        self.run.mailboxes = {INBOX: None}  # type: ignore[dict-item]  # only the name is looked at
        self.steps = prove_rest(self.run)
        (self.asked,) = next(self.steps)
        self.answer(list(rows))

    def answer(self, value: Any = None, error: MigrateError | None = None) -> None:
        (self.asked,) = self.steps.send(Outcome(self.asked, value, error))


def test_the_rest_says_how_many_are_not_there() -> None:
    rows = Rest(appended(1))
    rows.answer({})
    rows.answer()  # the commit
    assert isinstance(rows.asked, Ask)
    with pytest.raises(StopIteration) as end:
        rows.answer([])
    assert end.value.value == 1


def test_what_ends_the_rest_is_raised() -> None:
    rest = Rest(appended(1))
    rest.answer(error=ERROR)
    assert committed(rest.asked) == appended(1)
    with pytest.raises(StoreError) as error:
        rest.answer()
    assert error.value is ERROR


def test_a_stop_ends_the_rest() -> None:
    rest = Rest(appended(1))
    rest.run.is_stopping = True
    rest.answer({1: fingerprint(ONE)})
    with pytest.raises(Stopped):
        rest.answer()


@pytest.mark.parametrize("is_spooled", [False, True])
def test_the_rest_knows_whether_something_of_it_is_spooled(is_spooled: bool) -> None:
    rest = Rest(appended(1, is_spooled=is_spooled))
    assert rest.run.uses_spool is is_spooled
    rest.answer({1: fingerprint(ONE)})
    if is_spooled:
        rest.answer()
        assert isinstance(rest.asked, Ask)


def test_what_was_spooled_before_stays_known() -> None:
    run = Run(Policy(), lambda event: None, uses_spool=True)
    steps = prove_rest(run)
    (asked,) = next(steps)
    steps.send(Outcome(asked, [appended(1)]))  # of a mailbox that is not open
    assert run.uses_spool


# --- whose copy it is ---------------------------------------------------------------------------


def test_a_copy_is_anothers_when_one_of_the_other_rows_was_sent_so() -> None:
    copy, row = fingerprint(OTHER), appended(3)
    without = appended(5)._replace(fingerprint=None)
    assert is_anothers(copy, row, [without, appended(4), appended(6, OTHER)])
    assert not is_anothers(copy, row, [without, appended(4)])
    assert not is_anothers(copy, row, [])
    assert not is_anothers(fingerprint(ONE), row, [row]), "of the row itself it is no question"


def test_the_reason_of_a_row_set_aside_is_cut_at_500_characters() -> None:
    aside = set_aside(appended(1), MessageError("x" * 501), None, None)
    assert aside.reason == "x" * 500 + "..."
