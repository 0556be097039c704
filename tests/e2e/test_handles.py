"""A state file that is open is opened by nobody else in the same process: closing that would free its locks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.mailgen import generate

from .ferry import PATIENCE_S, ROOT
from .nightly import CARE, Nightly

pytestmark = [pytest.mark.dovecot]


def watched(nightly: Nightly, code: int, words: list[str]) -> list[str]:
    """What was opened a second time by a run that ended with this code, and had its state file open."""
    log = nightly.root.with_name("handles")
    done = subprocess.run(
        [sys.executable, "-m", "tests.e2e.handles", str(log), *words],
        env=nightly.ferry.environment,
        cwd=ROOT,
        capture_output=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == code, done.stderr.decode()
    told = log.read_text().splitlines()
    assert any(line.startswith("first ") for line in told)
    return [line for line in told if line.startswith("again ")]


def in_maildir(path: Path) -> list[Path]:
    return [*path.glob("new/*"), *path.glob("cur/*")]


@pytest.mark.parametrize("place", ["", "maildir:"])
def test_a_backup_opens_its_state_file_once(nightly: Nightly, place: str) -> None:
    nightly.deliver(list(generate(61, 4, odd=0)))
    words = nightly.words()
    words[2] = place + words[2]
    assert watched(nightly, 0, words) == []
    assert watched(nightly, 0, words) == [], "the second night"
    for path in [*nightly.root.rglob("*.mbox"), *in_maildir(nightly.root)]:
        path.unlink()
    assert watched(nightly, 40, words) == [], "what is lost is listed again"
    assert watched(nightly, 40 if place else 0, words) == []


def test_a_deletion_opens_its_state_file_once(nightly: Nightly) -> None:
    """Although it looks whether other state files in the directory still need what the source has."""
    nightly.deliver(list(generate(62, 4, odd=0)))
    nightly.ferry.state = nightly.root.with_name("states") / "state.sqlite"
    words = nightly.ferry.command("--delete-after", "verified", *CARE)
    assert watched(nightly, 0, words[words.index("migrate", 3) :]) == []
