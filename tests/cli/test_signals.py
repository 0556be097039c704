"""Ctrl-C and SIGTERM, sent to a process: what it says, and with which code it ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from migrate.cli import texts

from .script import STATE

ROOT = Path(__file__).resolve().parents[2]


@contextmanager
def stand_in(*words: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.cli.stand_in", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT) as process:
        try:
            yield process
        finally:
            process.kill()


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    for line in process.stderr:
        if text in line:
            return
    pytest.fail(f"the process ended without saying {text!r}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_ends_the_run_in_order(number: signal.Signals, code: int) -> None:
    with stand_in("wait") as process:
        wait_for(process, "ready")
        process.send_signal(number)
        out, err = process.communicate(timeout=30)
    assert process.returncode == code
    lines = err.splitlines()
    assert lines[0] == texts.STOPPING
    assert lines[-3:] == ["Stopped.", "Nothing is lost. Run the same command to continue.", f"State: {STATE}"]
    assert "5,004  listed at the source" in out


def test_a_stop_before_the_listing_says_that_nothing_was_copied() -> None:
    with stand_in("early") as process:
        wait_for(process, "ready")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert err.splitlines() == [
        f"{texts.STOPPING} This run copied nothing.",
        "Stopped. This run copied nothing.",
        "Nothing is lost. Run the same command to continue.",
        f"State: {STATE}",
    ]


@pytest.mark.parametrize("mode", ["stubborn", "deaf"])
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_the_run_at_once(mode: str, number: signal.Signals, code: int) -> None:
    with stand_in(mode) as process:
        wait_for(process, "ready")
        process.send_signal(number)
        wait_for(process, "Stopping after")
        process.send_signal(number)
        _, err = process.communicate(timeout=30)
    assert process.returncode == code
    assert err.splitlines()[-2:] == ["Nothing is lost. Run the same command to continue.", f"State: {STATE}"]
    assert "Traceback" not in err


def test_quiet_still_answers_a_signal() -> None:
    with stand_in("wait", str(texts.ALWAYS)) as process:
        wait_for(process, "ready")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err.splitlines()[0] == texts.STOPPING


def test_an_unexpected_fault_shows_no_traceback_and_no_text_of_the_exception() -> None:
    with stand_in("fault") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "canary" not in err
    assert "Popferry met a fault of its own (ZeroDivisionError); with --log-file FILE" in err
    assert err.splitlines()[-1] == f"State: {STATE}"


def test_an_error_that_ends_the_run_is_one_sentence_with_the_servers_words_quoted() -> None:
    with stand_in("refused") as process:
        _, err = process.communicate(timeout=30)
    assert process.returncode == 10
    assert err.splitlines()[0] == (r'Source: The server refused the login. The server said: "-ERR [AUTH] no \x1b[31m"')
