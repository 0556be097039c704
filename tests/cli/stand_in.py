"""A ``popferry migrate`` whose driver plays a script, as a process of its own: for signals and terminals.

    python -m tests.cli.stand_in MODE [level]

whole      plays a whole run
wait       plays a beginning, then waits for the stop, and ends in order
early      waits for the stop before anything was listed
stubborn   does not end at the first stop, only when KeyboardInterrupt comes
deaf       does not end at KeyboardInterrupt either
fault      raises something nobody expected
"""

from __future__ import annotations

import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from migrate.cli import migrate, signals, texts
from migrate.cli.face import Face, Manner
from migrate.config import Job, parse_endpoint
from migrate.driver import Stop
from migrate.errors import Cause, Exit, StoreError
from migrate.events import Event, Finished
from migrate.model import Policy, Secret

from .script import BOOKS, SETTLING_RUN, STATE, WHOLE_RUN


def play(mode: str) -> Callable[[Job, Secret, Secret, Callable[[Event], None], Stop], Exit]:
    def run_job(job: Job, source: Secret, dest: Secret, emit: Callable[[Event], None], stop: Stop) -> Exit:
        if mode == "early":
            _pause(stop, lambda: stop.is_wanted)
            return Exit.INTERRUPTED
        if mode == "refused":
            error = StoreError("the server refused the login", cause=Cause.LOGIN, said=b"-ERR [AUTH] no \x1b[31m")
            error.end = "source"
            raise error
        for event in [*SETTLING_RUN, *WHOLE_RUN[:6]]:
            emit(event)
        if mode == "fault":
            raise ZeroDivisionError("the canary-7c2e secret")
        while mode == "deaf":
            try:
                _pause(stop, lambda: False)
            except KeyboardInterrupt:
                continue
        if mode != "whole":
            _pause(stop, lambda: stop.is_wanted and mode == "wait")
            emit(Finished(BOOKS, 130, ()))
            return Exit.INTERRUPTED
        for event in WHOLE_RUN[6:]:
            emit(event)
            time.sleep(0.05)  # a bar is drawn a few times a second: what the terminal shows is the test
        return Exit.SET_ASIDE

    return run_job


def _pause(stop: Stop, is_over: Callable[[], bool]) -> None:
    print("ready", file=sys.stderr, flush=True)
    while not is_over():
        select.select([], [], [], 0.05)


def main() -> int:
    signals.GRACE_S = 0.3
    # A test's parent may have blocked or ignored it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    source = parse_endpoint("pop3s://alice@pop.example.org", side="source")
    dest = parse_endpoint("imaps://alice@imap.example.org", side="destination")
    job = Job(source, dest, Policy(), STATE)
    level = int(sys.argv[2]) if len(sys.argv) > 2 else texts.NORMAL
    face = Face(sys.stdout, sys.stderr, Manner(level))
    code = migrate.carry_out(job, (Secret("x"), Secret("y")), face, Stop(), play(sys.argv[1]))
    assert threading.current_thread() is threading.main_thread()
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
