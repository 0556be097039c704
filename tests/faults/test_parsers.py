"""A part of the parsers' programme; ``scripts/faults --only parsers`` runs more of it."""

from __future__ import annotations

import os
import random
from contextlib import suppress

import pytest

from migrate.errors import UsageError
from tests.fuzz.__main__ import _by_chance
from tests.fuzz.mutator import mutations
from tests.fuzz.octets import pieces
from tests.fuzz.targets import TARGETS
from tests.fuzz.watch import LIMIT_S, fault_of, watched

from .parsers import _what_was_found

SEED = int(os.environ.get("POPFERRY_SEED", "20240229"))


@pytest.mark.parametrize("name", TARGETS)
def test_known_octets_and_what_is_made_of_them_end_with_a_value_or_a_declared_error(name: str) -> None:
    target = TARGETS[name]
    known = (*target.found, *target.seeds)
    with watched():
        faults = [fault for octets in known if (fault := fault_of(target.run, octets))]
        changed = mutations(known, SEED, target.tries // 20)
        faults += [fault for octets in changed if (fault := fault_of(target.run, octets))]
    assert faults == []


def test_another_exception_and_a_second_are_faults_and_a_declared_error_is_none() -> None:
    def declared(octets: bytes) -> None:
        with suppress(UsageError):
            raise UsageError("expected")

    def undeclared(octets: bytes) -> None:
        raise KeyError(octets)

    def endless(octets: bytes) -> None:
        while True:
            pass

    with watched():
        assert fault_of(declared, b"x") == ""
        assert "KeyError" in fault_of(undeclared, b"x")
        assert fault_of(endless, b"x") == f"more than {LIMIT_S} s for b'x'"


def test_what_a_guided_search_found_is_told_with_its_octets() -> None:
    told = "INFO: seed corpus\n === Uncaught Python exception: ===\nAssertionError: cut\n  File x\nBase64: ABt4\n"
    assert _what_was_found(told) == "AssertionError: cut for b'\\x00\\x1bx'"
    assert _what_was_found("libFuzzer: timeout after 2 seconds\n") == "libFuzzer: timeout after 2 seconds"


def test_a_search_by_chance_ends_in_time_and_counts_its_tries(capsys: pytest.CaptureFixture[str]) -> None:
    assert _by_chance("imap", 0, SEED) == 0
    assert "stat::number_of_executed_units: 1\n" in capsys.readouterr().out


def test_the_same_seed_makes_the_same_octets() -> None:
    assert list(mutations([b"abc", b""], 5, 50)) == list(mutations([b"abc", b""], 5, 50))
    assert len(set(mutations([b"abc"], 5, 50))) > 25


def test_pieces_are_the_octets_in_their_order() -> None:
    rng = random.Random(SEED)
    for _ in range(100):
        octets = rng.randbytes(rng.randrange(30))
        assert b"".join(pieces(octets, [rng.randrange(9) for _ in range(rng.randrange(5))])) == octets
