"""The committer: everything that touches the state file, in a thread of its own."""

from __future__ import annotations

import os
import threading
from collections import deque
from queue import SimpleQueue

from ..books import Books
from ..commands import Ask, Command, Commit, Outcome
from ..errors import MigrateError


class Committer(threading.Thread):
    """Runs everything that touches the state file, in order, in a thread of its own.

    Commits that wait together share one transaction.
    """

    def __init__(self, books: Books, wake: int) -> None:
        super().__init__(name="committer", daemon=True)
        self._books = books
        self._wake = wake
        self._queue: SimpleQueue[Command | None] = SimpleQueue()
        self.ended: deque[Outcome] = deque()
        self.fault: Exception | None = None  # one that nobody expected: for the driver to raise

    def submit(self, command: Command | None) -> None:
        self._queue.put(command)

    def run(self) -> None:
        try:
            self._work()
        except Exception as error:  # noqa: BLE001 - a thread that died in silence would be waited for for ever
            self.fault = error
            os.write(self._wake, b"f")

    def _work(self) -> None:
        while True:
            commands = [self._queue.get()]
            while not self._queue.empty():
                commands.append(self._queue.get())
            for group in _groups(commands):
                if group[0] is None:
                    return
                self.ended.extend(carry_out(self._books, group))
                os.write(self._wake, b"c")


def _groups(commands: list[Command | None]) -> list[list[Command]]:
    """Commands in order, neighbouring Commits together. ``[None]`` is the end."""
    groups: list[list[Command]] = []
    for command in commands:
        if groups and isinstance(command, Commit) and isinstance(groups[-1][0], Commit):
            groups[-1].append(command)
        else:
            groups.append([command])  # type: ignore[list-item]
    return groups


def carry_out(books: Books, group: list[Command]) -> list[Outcome]:
    """The outcomes of one Ask, or of Commits that share a transaction."""
    try:
        if isinstance(group[0], Ask):
            return [Outcome(group[0], group[0].call(books))]
        books.commit([command.rows for command in group if isinstance(command, Commit)])
        return [Outcome(command) for command in group]
    except MigrateError as error:
        return [Outcome(command, error=error) for command in group]
