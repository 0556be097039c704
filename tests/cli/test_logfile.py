"""The log file: private, one safe line per event, no secret."""

from __future__ import annotations

import logging
import re
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.cli import logfile
from migrate.cli.redact import Redactor
from migrate.errors import UsageError
from migrate.events import Connected, Notice
from migrate.model import Secret

from .script import WHOLE_RUN

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d (INFO|DEBUG|ERROR|WARNING) \S.*")


@pytest.fixture(autouse=True)
def _logger() -> Iterator[None]:
    """The logger as it was, whatever the test adds."""
    logger, before = logfile.logger, logging.lastResort
    handlers, level = list(logger.handlers), logger.level
    yield
    for handler in set(logger.handlers) - set(handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.setLevel(level)
    logger.propagate = True
    logging.lastResort = before


def write(path: Path, *, verbose: bool = False, hide: Redactor | None = None) -> list[str]:
    logfile.open_log(path, hide or Redactor(), verbose=verbose)
    for event in WHOLE_RUN:
        logfile.log_event(event)
    return path.read_text(encoding="utf-8").splitlines()


def test_the_log_has_a_line_with_local_time_for_each_event_of_the_run(tmp_path: Path) -> None:
    lines = write(tmp_path / "log")
    assert all(LINE.fullmatch(line) for line in lines)
    assert [line.split()[2] for line in lines] == ["connected", "scanned", "connected", "listed", "listed", "finished"]


def test_the_verbose_log_has_a_line_for_each_message(tmp_path: Path) -> None:
    lines = write(tmp_path / "log", verbose=True)
    assert len(lines) == len(WHOLE_RUN)
    assert sum(" DEBUG set-aside " in line for line in lines) == 2


def test_the_log_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch(mode=0o644)
    write(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_log_grows(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    assert write(path)[0] == "before"


def test_a_log_line_holds_no_secret_and_no_control_character(tmp_path: Path) -> None:
    hide = Redactor()
    hide.learn("alice", Secret("canary-99"))
    logfile.open_log(tmp_path / "log", hide, verbose=True)
    logfile.log_event(Notice("x", "-ERR canary-99\r\n2026-01-01 forged \x1b[31m"))
    logfile.logger.warning("PASS %s", "canary-99")
    text = (tmp_path / "log").read_text()
    assert "canary-99" not in text
    assert text.count("\n") == 2
    assert "\x1b" not in text


def test_a_fault_is_recorded_with_its_place_and_without_values(tmp_path: Path) -> None:
    hide = Redactor()
    hide.learn("alice", Secret("canary-99"))
    logfile.open_log(tmp_path / "log", hide, verbose=False)
    try:
        local = "canary-" + "99"
        raise ZeroDivisionError(local)
    except ZeroDivisionError as error:
        logfile.log_fault(error)
    text = (tmp_path / "log").read_text()
    assert "test_logfile.py" in text
    assert "ZeroDivisionError: ***" in text
    assert "canary-99" not in text


def test_a_log_that_cannot_be_written_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--log-file"):
        logfile.open_log(tmp_path / "none" / "log", Redactor(), verbose=False)


def test_a_full_disk_costs_the_log_and_not_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    logfile.open_log(Path("/dev/full"), Redactor(), verbose=False)
    for _ in range(3):
        logfile.log_event(Connected("source", "x"))
    assert capsys.readouterr().err == ""


def test_without_a_log_file_nothing_goes_to_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    logfile.open_log(None, Redactor(), verbose=True)
    logfile.logger.error("x")
    logging.getLogger("imapclient").warning("y")
    assert capsys.readouterr().err == ""
