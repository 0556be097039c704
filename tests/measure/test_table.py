"""The table of coverage: what counts to which part, and when it is not enough."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from .__main__ import CRITICAL, main, part_of
from .__main__ import __file__ as here

ROOT = Path(here).resolve().parent.parent.parent


def report(tmp_path: Path, critical: int, rest: int) -> str:
    """A report of one critical module and another one, with so many of 100 lines run."""

    def one(run: int) -> dict[str, object]:
        summary = {"num_statements": 100, "num_branches": 0, "covered_lines": run, "covered_branches": 0}
        summary["percent_covered"] = run
        return {"summary": summary, "missing_lines": list(range(run, 100)), "missing_branches": []}

    path = tmp_path / "report.json"
    path.write_text(
        json.dumps({"files": {"migrate/engine/release.py": one(critical), "migrate/cli/face.py": one(rest)}})
    )
    return str(path)


@pytest.mark.parametrize(("critical", "rest", "code"), [(100, 90, 0), (99, 100, 1), (100, 89, 1)])
def test_one_line_less_than_asked_is_not_enough(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    critical: int,
    rest: int,
    code: int,
) -> None:
    others = [place for places in CRITICAL.values() for place in places]
    assert "migrate/engine/release.py" in others
    monkeypatch.setattr(sys, "argv", ["x", report(tmp_path, critical, rest)])
    monkeypatch.setattr("tests.measure.__main__.CRITICAL", {"deletion gate": ("migrate/engine/release.py",)})
    assert main() == code
    assert ("migrate/engine/release.py: not run: 99" in capsys.readouterr().out) is (critical == 99)


def test_every_critical_place_is_there() -> None:
    for places in CRITICAL.values():
        for place in places:
            assert (ROOT / place).exists(), place
    assert part_of("migrate/wire/pop3/core.py") == "POP3 reader"
    assert part_of("migrate/wire/header.py") == "all the rest"
