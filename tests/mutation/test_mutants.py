"""The mutants themselves: each is another module than the one on the disk, and only in one place."""

from __future__ import annotations

import ast
import sys

import pytest

from migrate.model import TRANSITIONS, Stage

from .mutants import Hook, control, mutants, source_of

MODULE = "migrate.engine.verdict"


def test_every_mutant_compiles_and_differs_from_the_module_and_from_the_others() -> None:
    whole = ast.dump(control(MODULE).tree)
    dumps = [ast.dump(one.tree) for one in mutants(MODULE)]
    assert len(dumps) > 10
    assert whole not in dumps
    assert len(set(dumps)) == len(dumps)
    for one in mutants(MODULE):
        Hook(one).code()


def test_a_mutant_is_named_by_the_line_that_is_changed() -> None:
    lines = source_of(MODULE).read_text().splitlines()
    for one in mutants(MODULE):
        assert lines[one.lines.start - 1].strip() == one.text
        assert one.key == (MODULE, one.text, one.change)


def test_every_step_of_the_table_is_left_out_once() -> None:
    changes = [one.change for one in mutants("migrate.model", ("TRANSITIONS",))]
    left_out = [change for change in changes if change.startswith("without Stage.")]
    assert len(left_out) == sum(map(len, TRANSITIONS.values()))
    too_many = [stage for stage, steps in TRANSITIONS.items() if Stage.RELEASED not in steps]
    assert changes.count("with Stage.RELEASED") == len(too_many)


def test_a_module_that_was_imported_already_cannot_be_replaced() -> None:
    assert "migrate.model" in sys.modules
    with pytest.raises(RuntimeError, match="imported already"):
        Hook(control("migrate.model")).install()
