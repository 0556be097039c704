"""The steps of a row: the table as it was decided, and that no history of steps gets past it or leaves a torn file."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from migrate.books import MailboxMemory
from migrate.errors import Exit, StateError
from migrate.model import INBOX, OPEN, TRANSITIONS, Checkpoint, Origin, Stage
from migrate.state import State, open_memory
from migrate.state.checks import problems

from .support import DEST, SOURCE, digester, fingerprint, mail, memory_state, refs

ROWS = (1, 2, 3)

# Written down a second time on purpose: whoever changes what is legal changes it knowingly.
DECIDED = """
listed: intended, appended, duplicate, skipped, set aside, gone
intended: appended, verified, listed, set aside
appended: verified, listed, set aside
verified: releasing, listed
releasing: released, verified, duplicate
released: releasing, listed
duplicate: releasing, listed
skipped: listed
set aside: listed, intended, appended, verified, duplicate, gone
gone: listed
"""


def _decided() -> dict[Stage, frozenset[Stage]]:
    lines = [line.split(": ") for line in DECIDED.strip().splitlines()]
    return {Stage(before): frozenset(map(Stage, after.split(", "))) for before, after in lines}


def _begun() -> State:
    state = memory_state()
    state.begin_session()
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 1))
    state.record_listing(refs(*((b"u%d" % number, 10) for number in ROWS)))
    return state


def _way_to(goal: Stage) -> list[Stage]:
    ways: list[list[Stage]] = [[Stage.LISTED]]
    while ways[0][-1] is not goal:
        way = ways.pop(0)
        ways += [[*way, stage] for stage in sorted(_decided()[way[-1]], key=str) if stage not in way]
    return ways[0][1:]


def test_the_table_of_legal_steps_is_the_one_that_was_decided() -> None:
    assert _decided() == TRANSITIONS
    assert frozenset({Stage.LISTED, Stage.INTENDED, Stage.APPENDED}) == OPEN


@pytest.mark.parametrize("before", list(Stage))
@pytest.mark.parametrize("after", list(Stage))
def test_the_file_takes_the_steps_that_were_decided_and_refuses_every_other(before: Stage, after: Stage) -> None:
    state = _begun()
    for stage in _way_to(before):
        state.commit([(state.row(1)._replace(stage=stage),)])
    row = state.row(1)._replace(stage=after)
    if after is before or after in _decided()[before]:
        state.commit([(row,)])
        assert state.row(1).stage is after
    else:
        with pytest.raises(StateError, match="illegal transition") as caught:
            state.commit([(row,)])
        assert caught.value.exit is Exit.UNEXPECTED
        assert state.row(1).stage is before


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        ("UPDATE message SET id = 9 WHERE id = 1", "a row changed its id"),
        ("INSERT INTO message (uid, stage, seal) VALUES (x'', 'verified', x'')", "a new row is listed"),
        ("DELETE FROM message WHERE id = 2", "is kept"),
        ("DELETE FROM message WHERE id = 3", "is kept"),
    ],
)
def test_whatever_writes_to_the_file_meets_the_guards(statement: str, why: str) -> None:
    state = _begun()
    row = state.row(2)._replace(stage=Stage.INTENDED, mailbox=INBOX, uidvalidity=7)
    state.commit([(row,)])
    claimed = state.row(3)._replace(mailbox=INBOX, uidvalidity=7, uid_dest=5)
    state.commit([(claimed,)])
    with pytest.raises(StateError, match=why), state._db.transaction() as connection:
        connection.execute(statement)
    assert [state.row(number).stage for number in ROWS] == [Stage.LISTED, Stage.INTENDED, Stage.LISTED]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE message SET id = 1, attempts = 2 WHERE id = 1",
        "INSERT INTO message (uid, stage, seal) VALUES (x'', 'listed', x'')",
        "DELETE FROM message WHERE id = 1",
    ],
)
def test_the_guards_let_pass_what_is_harmless(statement: str) -> None:
    state = _begun()
    with state._db.transaction() as connection:
        assert connection.execute(statement).rowcount == 1


class Steps(RuleBasedStateMachine):
    """Rows of one file, driven by steps that may be legal or not; ``model`` is what the file must say."""

    state: State
    model: dict[int, Checkpoint]

    @initialize()
    def begin(self) -> None:
        self.state = _begun()
        self.model = {number: self.state.row(number) for number in ROWS}

    def _is_legal(self, row: Checkpoint) -> bool:
        before = self.model[row.id]
        if row.stage is not before.stage and row.stage not in TRANSITIONS[before.stage]:
            return False
        others = [one for one in self.model.values() if one.id != row.id and one.uid_dest is not None]
        return row.uid_dest is None or row.uid_dest not in {one.uid_dest for one in others}

    @rule(
        number=st.sampled_from(ROWS),
        stage=st.sampled_from(list(Stage)),
        uid=st.none() | st.integers(1, 3),
        origin=st.none() | st.sampled_from(list(Origin)),
    )
    def step(self, number: int, stage: Stage, uid: int | None, origin: Origin | None) -> None:
        row = self.model[number]._replace(
            stage=stage,
            origin=origin,
            uid_dest=uid,
            mailbox=INBOX,
            uidvalidity=7,
            fingerprint=fingerprint(mail(str(number))),
            attempts=self.model[number].attempts + 1,
        )
        if self._is_legal(row):
            self.state.commit([(row,)])
            self.model[number] = row
            return
        with pytest.raises(StateError) as caught:
            self.state.commit([(row,)])
        assert caught.value.exit is Exit.UNEXPECTED

    @rule(stage=st.sampled_from(list(Stage)))
    def two_at_once(self, stage: Stage) -> None:
        """Either both are recorded or neither."""
        rows = [self.model[number]._replace(stage=stage) for number in ROWS[:2]]
        try:
            self.state.commit([tuple(rows)])
        except StateError:
            assert not all(map(self._is_legal, rows))
            return
        assert all(map(self._is_legal, rows))
        self.model |= {row.id: row for row in rows}

    @rule(shown=st.sets(st.sampled_from(ROWS)))
    def list_again(self, shown: set[int]) -> None:
        """A listing brings back what was gone, and what it lacks is gone or, where it was being deleted, released."""
        self.state.begin_session()
        self.state.record_listing(refs(*((self.model[number].uid, 10) for number in sorted(shown))))
        self.state.mark_vanished()
        for number, row in self.model.items():
            is_shown = number in shown
            after = row.stage
            if is_shown and row.stage is Stage.GONE:
                after = Stage.LISTED
            elif not is_shown and row.stage in (Stage.LISTED, Stage.SET_ASIDE):
                after = Stage.GONE
            elif not is_shown and row.stage is Stage.RELEASING:
                after = Stage.RELEASED
            self.model[number] = row._replace(stage=after)

    @precondition(lambda self: self.model)
    @rule()
    def open_again(self) -> None:
        image = self.state.image()
        self.state.close()
        self.state = open_memory(SOURCE, DEST, digester=digester, clock=lambda: 1000.0, image=image)

    @invariant()
    def the_file_says_what_was_recorded_and_is_sound(self) -> None:
        if not hasattr(self, "state"):
            return
        assert {number: self.state.row(number) for number in ROWS} == self.model
        assert list(problems(self.state._db)) == []
        claims = [row.uid_dest for row in self.model.values() if row.uid_dest is not None]
        assert len(claims) == len(set(claims)), "one uid, two rows"
        tally = self.state.tally()
        assert tally.balances
        assert tally.listed == len(ROWS)

    def teardown(self) -> None:
        if hasattr(self, "state"):
            self.state.close()


TestSteps = Steps.TestCase
TestSteps.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
