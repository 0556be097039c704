"""A part of the damage programme; ``scripts/faults --only damage`` runs all of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .damage import Part, ended, killed, killed_early, run_cases

SEED = int(os.environ.get("POPFERRY_SEED", "20240229"))

PARTS = [
    Part(ended, "others"),
    Part(ended, "cuts"),
    Part(ended, "flips", 60, seed=SEED),
    Part(killed, "others"),
    Part(killed, "flips", 30, "-wal", SEED),
    Part(killed_early, "flips", 30, "-wal", SEED),
]


@pytest.mark.parametrize("part", PARTS, ids=lambda part: f"{part.make.__name__}-{part.kind}{part.suffix}")
def test_damage_is_refused_or_harmless_and_a_rebuild_loses_and_doubles_nothing(part: Part, tmp_path: Path) -> None:
    base = part.make(tmp_path / "base")
    trial = run_cases(base, part.cases(base), tmp_path, rebuild_every=5, finish_every=10)
    assert trial.violations == []
    assert trial.refused + trial.taken == trial.cases
    assert trial.cases >= 20
