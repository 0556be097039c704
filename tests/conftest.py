"""What every test may ask for: a shared Dovecot, a user of its own, the corpus; skips are named at the end."""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from .support.dovecot import Dovecot, find_dovecot, has_protocols

ROOT = Path(__file__).resolve().parent.parent
CORPUS = Path(os.environ.get("POPFERRY_CORPUS") or ROOT.parent / "shared" / "corpus")
NO_DOVECOT = "Dovecot (with POP3 and IMAP) is not installed here"

# Nothing here depends on a time: on a busy machine an example may take as long as it likes.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")

_users = itertools.count(1)


def is_dovecot_here() -> bool:
    program = find_dovecot()
    return program is not None and has_protocols(program)


def pytest_configure() -> None:
    # Who starts the tests in the background may have them ignore SIGINT, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("dovecot") and not is_dovecot_here():
        if os.environ.get("POPFERRY_REQUIRE_DOVECOT") == "1":
            pytest.fail(f"{NO_DOVECOT}, and POPFERRY_REQUIRE_DOVECOT=1 asks for it", pytrace=False)
        pytest.skip(NO_DOVECOT)
    if item.get_closest_marker("corpus") and not CORPUS.is_dir():
        pytest.skip(f"the corpus of real messages is not at {CORPUS} (POPFERRY_CORPUS)")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    _tell_figures(terminalreporter)
    skipped = terminalreporter.stats.get("skipped", [])
    if not skipped:
        terminalreporter.write_line("No test was skipped.")
        return
    terminalreporter.section(f"{len(skipped)} skipped, by name")
    for report in skipped:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
        terminalreporter.write_line(f"{report.nodeid}: {reason.removeprefix('Skipped: ')}")


def _tell_figures(terminalreporter: pytest.TerminalReporter) -> None:
    """Seeds and measured figures, which tests record with ``record_property``."""
    ended = [report for kind in ("passed", "failed") for report in terminalreporter.stats.get(kind, [])]
    told = [(report.nodeid, *figure) for report in ended if report.when == "call" for figure in report.user_properties]
    if told:
        terminalreporter.section("seeds and figures")
    for nodeid, name, figure in told:
        terminalreporter.write_line(f"{nodeid}: {name}: {figure}")


@pytest.fixture(scope="session")
def dovecot() -> Iterator[Dovecot]:
    """One server for the whole run, with raw logs; every test uses a ``user`` of its own."""
    with Dovecot(rawlog=True) as server:
        yield server


@pytest.fixture
def user() -> str:
    """A name that no other test uses: an empty mailbox on ``dovecot``."""
    return f"user{next(_users)}@example.org"


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    """The files of the shared corpus, in order. Mark the test with ``corpus``."""
    return sorted(path for path in (CORPUS / "eml").rglob("*") if path.is_file())
