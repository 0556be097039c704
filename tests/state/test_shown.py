"""The same listing again: it means what it meant, and whoever asks which message is which row gets the same answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

import pytest

from migrate.model import INBOX, Checkpoint, MessageRef, Stage
from migrate.state import State
from migrate.state.shown import digest_of

from .support import copy_all, intended, mail, memory_state, refs, verified

LISTED = [(b"a", 10), (b"b", 20), (b"c", 30)]


def done(listed: list[tuple[bytes, int]] = LISTED, *, missing: int = 0) -> State:
    """All of it copied by session 1; session 2 was shown all but the last ``missing``."""
    state = memory_state()
    state.begin_session()
    state.record_listing(refs(*listed))
    copy_all(state, *((work.row, mail(str(work.row.id))) for work in state.next_work(10, 0)))
    state.begin_session()
    state.record_listing(refs(*listed[: len(listed) - missing]))
    return state


def bound(state: State) -> int:
    return int(state.database.one("SELECT count(*) FROM bound"))


def shown_again(state: State, listed: list[tuple[bytes, int]] = LISTED) -> State:
    state.database.connection.execute("DELETE FROM bound")  # of the session before: nobody may need it
    state.begin_session()
    state.record_listing(refs(*listed))
    return state


def test_the_same_listing_means_the_same_and_is_not_bound() -> None:
    state, compared = done(missing=1), done(missing=1)
    for one in (state, compared):
        one.note_counted(2)
        one.begin_session()
        one.database.connection.execute("DELETE FROM bound")
    facts = state.record_listing(refs(*LISTED[:2]))
    assert (facts.messages, facts.octets, facts.done, facts.vanished, facts.counted) == (2, 30, 2, 1, 2)
    assert facts == compared.record_listing(list(refs(*LISTED[:2])))
    assert (bound(state), bound(compared)) == (0, 2)
    assert state.next_work(10, 0) == []
    assert state.retrieved_unsafe(1) == []
    assert state.mark_vanished() == 0
    assert bound(state) == 0


def _move(state: State, stage: Stage) -> None:
    """Some row moves while nobody has asked which message is which row."""
    state.commit([(state.row(1)._replace(stage=stage, uid_dest=None),)])


def _work(state: State) -> Any:
    _move(state, Stage.LISTED)
    return state.next_work(10, 0)


def _unsafe(state: State) -> Any:
    _move(state, Stage.LISTED)
    return state.retrieved_unsafe(1)


def _gone(state: State) -> Any:
    _move(state, Stage.LISTED)
    return state.mark_vanished(), state.tally()


def _released_now(state: State) -> Any:
    _move(state, Stage.RELEASING)
    return state.mark_vanished(), state.row(1).stage


def _skip(state: State) -> Any:
    _move(state, Stage.LISTED)
    state.database.connection.execute("UPDATE message SET exact = NULL WHERE id = 1")
    return state.skip("not wanted", None)


def _bind(state: State) -> Any:
    state.bind(MessageRef(b"b", 2, 20), state.row(2), state.row(2))
    return state.count_releasable(2000)


def _counted(state: State) -> Any:
    state.note_counted(3)
    return state.database.meta("counted_vanished")


def _fetched(state: State) -> Any:
    state.begin_session()
    state.record_listing(refs(*LISTED))
    return state.cut_off(5)


QUESTIONS: dict[str, Callable[[State], Any]] = {
    "releasable": lambda state: state.releasable(10, 0, 2000),
    "how many are releasable": lambda state: state.count_releasable(2000),
    "listed": lambda state: [state.is_listed(number) for number in (1, 2, 3)],
    "work": _work,
    "unsafe": _unsafe,
    "bind": _bind,
    "count": _counted,
    "skip": _skip,
    "split": lambda state: (state.split(MessageRef(b"b", 2, 20)), state.next_work(10, 0)),
    "cut off": _fetched,
    "gone": _gone,
    "released": _released_now,
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_whoever_asks_gets_the_answer_of_a_listing_that_was_compared(question: str) -> None:
    late, compared = done(), done()
    shown_again(late)
    assert bound(late) == 0
    compared.begin_session()
    compared.record_listing(list(refs(*LISTED)))
    assert bound(compared) == 3
    assert QUESTIONS[question](late) == QUESTIONS[question](compared)


@pytest.mark.parametrize(
    "listed",
    [
        LISTED[:2],
        [*LISTED, (b"d", 40)],
        [(b"a", 10), (b"b", 20), (b"c", 31)],
        [(b"b", 20), (b"a", 10), (b"c", 30)],
        [(b"a", 10), (b"a", 10), (b"c", 30)],
    ],
)
def test_another_listing_is_compared(listed: list[tuple[bytes, int]]) -> None:
    assert bound(shown_again(done(), listed)) == len(listed)


def _again_to_copy(state: State) -> None:
    state.list_again(INBOX, [102])


def _released(state: State) -> None:
    for stage in (Stage.RELEASING, Stage.RELEASED):
        state.commit([(state.row(3)._replace(stage=stage),)])


@pytest.mark.parametrize("move", [_again_to_copy, _released])
def test_when_a_row_has_moved_the_same_listing_is_compared(move: Callable[[State], None]) -> None:
    state = done()
    move(state)
    assert bound(shown_again(state)) == 3


def _intended(row: Checkpoint) -> Checkpoint:
    return intended(row, mail("c"))


@pytest.mark.parametrize(
    "leave",
    [
        lambda row: row,
        _intended,
        lambda row: row._replace(stage=Stage.SET_ASIDE, reason="refused"),
    ],
)
def test_a_listing_that_leaves_something_to_do_is_always_compared(leave: Callable[[Checkpoint], Checkpoint]) -> None:
    state = memory_state()
    for _ in range(3):
        state.begin_session()
        state.record_listing(refs((b"a", 10)))
        state.commit([(leave(state.row(1)),)])
        assert bound(state) == 1


def test_a_listing_without_uidls_is_always_compared() -> None:
    listed = [(b"", 10), (b"", 20)]
    assert bound(shown_again(done(listed), listed)) == 2


def test_a_listing_after_another_one_is_compared() -> None:
    state = done()
    shown_again(state, LISTED[:2])
    assert bound(shown_again(state)) == 3
    assert bound(shown_again(state)) == 0


class Pieces:
    """What is held in these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[MessageRef]:
        return iter(())

    def parts(self) -> list[bytearray]:
        return [bytearray(piece) for piece in self._pieces]


def test_where_a_piece_ends_is_a_part_of_what_is_shown() -> None:
    assert digest_of(Pieces(b"ab", b"c")) != digest_of(Pieces(b"a", b"bc"))
    assert digest_of(Pieces(b"", b"c")) == digest_of(Pieces(b"", b"c")) != digest_of(Pieces(b"c"))
    assert digest_of([]) == ""


# --- any history ------------------------------------------------------------------------------


class Books:
    """The same steps with two books: one may take a listing as the one before, the other always compares."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.states = (memory_state(), memory_state())
        self.listed: list[tuple[bytes, int]] = []
        self.session = self.same(State.begin_session)
        self.uid = 100
        self.late = 0

    def same(self, step: Callable[[State], Any]) -> Any:
        """What the step gives, which is the same in both books."""
        one, other = map(step, self.states)
        assert one == other
        return one

    def step(self) -> None:
        self.rng.choice([*[self.list] * 3, *[self.copy] * 3, self.lose, self.release, self.ask])()
        self.same(lambda state: state.database.ask("SELECT * FROM message ORDER BY id"))
        if bound(self.states[0]):
            self.same(lambda state: state.database.ask("SELECT number, uid, row, is_unsure FROM bound ORDER BY number"))

    def list(self) -> None:
        if self.rng.random() < 0.25 or not self.listed:
            uids = self.rng.sample([b"a", b"b", b"c", b"d"], self.rng.randint(1, 4))
            repeat = [b"a"] if self.rng.random() < 0.1 else []
            self.listed = [(uid, self.rng.choice((10, 10, 10, 20))) for uid in [*uids, *repeat]]
        self.session = self.same(State.begin_session)
        shown = refs(*self.listed)
        self.states[0].database.connection.execute("DELETE FROM bound")
        facts = [state.record_listing(one) for state, one in zip(self.states, (shown, list(shown)), strict=True)]
        assert facts[0] == facts[1]
        self.late += not bound(self.states[0])

    def copy(self) -> None:
        for work in self.same(lambda state: state.next_work(10, 0)):
            if work.is_unsure or self.rng.random() < 0.05:
                continue
            self.uid += 1
            row = intended(work.row, mail(str(work.row.id)), self.session)
            self.commit(row)
            if self.rng.random() < 0.05:
                self.commit(row._replace(stage=Stage.SET_ASIDE, reason="refused"))
            else:
                self.commit(verified(row._replace(uid_dest=self.uid)))

    def lose(self) -> None:
        uid = self.rng.randint(101, max(101, self.uid))
        self.same(lambda state: state.list_again(INBOX, [uid]))

    def release(self) -> None:
        for work in self.same(lambda state: state.releasable(10, 0, 2000)):
            if self.rng.random() < 0.5:
                self.commit(releasing := work.row._replace(stage=Stage.RELEASING, fetched_session=self.session))
                self.commit(releasing._replace(stage=self.rng.choice((Stage.RELEASED, Stage.VERIFIED))))

    def ask(self) -> None:
        questions: list[Callable[[State], Any]] = [
            State.mark_vanished,
            State.tally,
            lambda state: state.note_counted(2),
            lambda state: state.retrieved_unsafe(self.session),
            lambda state: [state.is_listed(number) for number in range(1, 9)],
            lambda state: state.skip("not wanted", None),
            lambda state: state.skip("not wanted", [b"b"]),
        ]
        self.same(self.rng.choice(questions))

    def commit(self, row: Checkpoint) -> None:
        self.same(lambda state: state.commit([(row,)]))


def test_no_history_tells_the_two_apart() -> None:
    late = 0
    for seed in range(60):
        books = Books(seed)
        for _ in range(40):
            books.step()
        late += books.late
    assert late > 60, "too few listings were taken as the one before"
