"""1: what nobody expected. Told without its text, which may hold anything; recorded in the log."""

from __future__ import annotations

import sys

import pytest

from .conftest import FIVE, MakeEnds, Popferry

# Each replaces one function by another that raises, with both passwords in the text of the exception.
FAULTY = """
import os, sys
import {module} as module

def faulty(*args, **named):
    raise ZeroDivisionError("cannot divide " + os.environ["PF_SOURCE"] + " by " + os.environ["PF_DEST"])

module.{name} = faulty
from migrate.cli import main
sys.exit(main())
"""

TOLD = "Popferry met a fault of its own (ZeroDivisionError); "
SAFE = "Nothing is lost. Run the same command to continue."

PLACES = {
    "rules": ("migrate.engine.transfer", "place"),
    "engine": ("migrate.engine.walk", "take_listing"),
    "state": ("migrate.state.books", "State.next_work"),
    "source": ("migrate.stores.pop3.session", "fetch"),
    "destination": ("migrate.stores.imap.upload", "append_segments"),
    "driver": ("migrate.driver.job", "walk"),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_fault_of_ours_is_1_and_loses_nothing(place: str, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*FIVE)
    module, name = PLACES[place]
    usual = popferry.program
    popferry.program = (sys.executable, "-c", FAULTY.format(module=module, name=name))
    ran = popferry.migrate(*both.words)
    ran.told(1, f"{TOLD}the log file says where.", SAFE)
    log = (popferry.place / "log").read_text()
    assert "ZeroDivisionError" in log
    assert "in faulty" in log
    popferry.program = usual
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)


def test_a_refusal_of_the_system_in_the_run_is_not_blamed_on_a_directory(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*FIVE)
    text = FAULTY.format(module="migrate.driver.loop", name="selectors.DefaultSelector")
    raised = 'ZeroDivisionError("cannot divide " + os.environ["PF_SOURCE"] + " by " + os.environ["PF_DEST"])'
    assert raised in text
    popferry.program = (sys.executable, "-c", text.replace(raised, 'OSError(24, "Too many open files")'))
    ran = popferry.migrate(*both.words)
    ran.told(1, f"{TOLD.replace('ZeroDivisionError', 'OSError')}the log file says where.", SAFE)


def test_a_fault_before_the_run_is_1(ends: MakeEnds, popferry: Popferry) -> None:
    popferry.program = (sys.executable, "-c", FAULTY.format(module="migrate.cli.migrate", name="policy_of"))
    popferry.run("migrate", *ends().words).told(1, f"{TOLD}with --log-file FILE the next run records where.", SAFE)


@pytest.mark.parametrize("manner", ["--json", "--no-progress"])
def test_a_result_that_cannot_be_written_is_1(manner: str, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*FIVE)
    popferry.program = ("sh", "-c", 'exec "$@" >/dev/full', "sh", *popferry.program)
    ran = popferry.run("migrate", *both.words, *popferry.usual, manner)
    ran.told(1, "The output could not be written: No space left on device.")
    both.check_complete(*FIVE)


@pytest.mark.parametrize("option", ["--trace", "--log-file"])
def test_a_record_without_room_does_not_stop_the_run(option: str, ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*FIVE)
    ran = popferry.migrate(*both.words, option, "/dev/full")
    ran.told(0)
    both.check_complete(*FIVE)
