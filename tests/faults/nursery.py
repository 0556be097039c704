"""Victims for the tests: processes of the real command, forked quickly, watched, killed."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from .victim import Order

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 120.0
STOPPED = 1000  # what ``Victim.wait`` gives for a process that was stopped


class Victim:
    """One process, which ends or is stopped (SIGSTOP)."""

    def __init__(self, pid: int, told: queue.Queue[int]) -> None:
        self.pid = pid
        self._told = told
        self._next: int | None = None  # heard, not yet given
        self._is_over = False

    def has_moved(self, timeout_s: float) -> bool:
        """Whether it ended, or was stopped, within that time."""
        if self._next is None:
            try:
                self._next = self._told.get(timeout=timeout_s)
            except queue.Empty:
                return False
        return True

    def wait(self) -> int:
        """The exit code, negative for the signal that ended it; or STOPPED. Nothing is told of it after its end."""
        assert not self._is_over
        if not self.has_moved(PATIENCE_S):
            where = Path(f"/proc/{self.pid}/wchan").read_text()
            self.kill()
            raise RuntimeError(f"the process neither ended nor stopped in {PATIENCE_S:.0f} s; it was in {where}")
        code, self._next = self._next, None
        assert code is not None
        self._is_over = code != STOPPED
        return code

    def end(self) -> int:
        """The exit code of a process that should end by itself. One that is stopped instead is killed."""
        while (code := self.wait()) == STOPPED:
            self.kill()
        return code

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def resume(self) -> None:
        """Lets a stopped process go on."""
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        # Once its end was told, the pid may be another's.
        if not self._is_over and self._next is None and self._told.empty():
            try:
                os.kill(self.pid, number)
            except ProcessLookupError:
                return


class Nursery:
    """A process that has everything imported and forks victims; used by one thread.

    Ends, with all of them, when the block ends.
    """

    def __enter__(self) -> Nursery:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.victim"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._told: dict[int, queue.Queue[int]] = {}
        self._born: dict[int, queue.Queue[int]] = {}
        self._count = 0
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(timeout=PATIENCE_S)
        self._listener.join(timeout=PATIENCE_S)
        self._process.stdout.close()

    def start(self, order: Order) -> Victim:
        """A victim on its way."""
        assert self._process.stdin is not None
        self._count += 1
        born = self._born[self._count] = queue.Queue()
        line = json.dumps({"number": self._count, "order": asdict(order)}) + "\n"
        self._process.stdin.write(line.encode())
        self._process.stdin.flush()
        pid = born.get(timeout=PATIENCE_S)
        return Victim(pid, self._told[pid])

    def run(self, order: Order) -> int:
        """The exit code of a victim, negative for the signal that ended it."""
        return self.start(order).end()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            if "number" in told:
                # A pid that comes again: what was told of its former owner is not for the new one.
                self._told[told["pid"]] = queue.Queue()
                self._born.pop(told["number"]).put(told["pid"])
            else:
                self._told[told["pid"]].put(STOPPED if told["code"] is None else told["code"])
