"""The face on a real terminal (a pty): a bar that fits, lines above it, nothing left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ANSI_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def on_terminal(columns: int, **environment: str) -> str:
    """What a whole run writes on a terminal that wide."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    clean = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.cli.stand_in", "whole"],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        cwd=ROOT,
        env={**clean, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
    )
    os.close(slave)
    written = b""
    try:
        while block := os.read(master, 65536):
            written += block
    except OSError:  # Linux: EIO when the last process closed its end
        pass
    os.close(master)
    assert process.wait(timeout=30) == 3
    return written.decode()


def screen_lines(written: str) -> list[str]:
    """What stands on the screen at the end: later text on a line replaces earlier text."""
    lines = []
    for line in written.replace("\r\n", "\n").split("\n"):
        shown = ""
        for part in line.split("\r"):
            part = part.replace("\x1b[A", "")
            shown = part + shown[len(part) :]
        lines.append(shown.rstrip())
    return lines


def test_a_wide_terminal_shows_messages_octets_and_time_left() -> None:
    written = on_terminal(100)
    assert re.search(r"81\d of 5,004 messages, 41\.3 MB.*left", written)
    assert "Waiting 60 s: an upload of an interrupted run" in written
    for frame in re.split(r"[\r\n]", written):
        assert len(frame) <= 160 if "Set aside" in frame or "State" in frame or "status" in frame else 100


@pytest.mark.parametrize("columns", [30, 60])
def test_a_narrow_terminal_shows_what_fits(columns: int) -> None:
    written = on_terminal(columns)
    frames = [frame for frame in re.split(r"[\r\n]", written) if "of 5,004" in frame and "copied" not in frame]
    assert frames
    assert all(len(frame) <= columns for frame in frames)


def test_no_piece_of_bar_or_countdown_is_left_behind() -> None:
    lines = screen_lines(on_terminal(100))
    assert not [line for line in lines if "left" in line and "they left" not in line]
    assert not [line for line in lines if line.startswith("Waiting")]
    assert lines[0].startswith('Looked at 12 messages in "INBOX"; 2 came from')
    assert "  5,004  listed at the source" in lines


@pytest.mark.parametrize("environment", [{"NO_COLOR": "1"}, {}])
def test_no_colour_is_used(environment: dict[str, str]) -> None:
    assert not ANSI_COLOUR.search(on_terminal(100, **environment))


def test_a_dumb_terminal_gets_lines() -> None:
    written = on_terminal(100, TERM="dumb")
    assert "\r" not in written.replace("\r\n", "")
