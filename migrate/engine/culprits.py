"""The messages at which a connection ends: one of them never stops the others.

A server may hang up at one message, whatever is done: each time it is the first that was asked for and not served, or
among the first that were sent and not answered. The second time it is left until all others are safe, and goes alone
then (``Transfer``). If the connection ends there once more, the next pass sets it aside by name: behind its look at the
destination, which adopts what was stored without an answer (R4, R5).

A server that ends at everything is not understood so: after three such messages without a good one between them no more
are left out, and the run ends with the server's error.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from ..errors import MessageError, MigrateError, Retry, StoreError
from ..model import Checkpoint, Stage

ENDS = "the connection ends at this message"
IN_A_ROW = 3  # messages (or batches of them) without a good one between


@dataclass(slots=True)
class Culprits:
    """What a run knows of such messages, by the id of their rows."""

    proven: dict[int, MessageError] = field(default_factory=dict)  # it ended at them alone: to be set aside
    learned: int = 0  # how often something new came out: the next pass will go otherwise
    _known: set[int] = field(default_factory=set)  # from an earlier run
    _once: set[int] = field(default_factory=set)
    _twice: set[int] = field(default_factory=set)
    _ends: int = 0  # how often some of them were left until all others are safe
    _in_a_row: dict[bool, int] = field(default_factory=dict)  # without a good one between: among others, alone
    _progress: int = 0  # of the run, when it ended last

    def holds_back(self, row: Checkpoint) -> bool:
        """Whether it goes alone, when all else is safe."""
        if row.stage is Stage.SET_ASIDE and row.reason.startswith(ENDS):
            self._known.add(row.id)
        return row.id in self._twice or row.id in self._known

    def note(self, rows: set[int], error: MigrateError, progress: int, *, is_alone: bool) -> None:
        """A connection ended with this error when it owed first what was asked of these rows.

        ``progress`` is that of the run. ``is_alone``: nothing else was under way.
        """
        if not isinstance(error, StoreError) or error.retry is not Retry.NOW or not error.end:
            return
        if progress > self._progress:
            self._in_a_row.clear()
        self._progress = progress
        fresh = rows if is_alone else (rows & self._once) - self._twice
        self._once |= rows
        is_new = not rows <= self._known
        times = self._in_a_row.get(is_alone, 0)
        most = max(IN_A_ROW, self._ends) if is_alone else IN_A_ROW
        if not fresh or (times >= most and is_new):
            return
        self._in_a_row[is_alone] = times + is_new
        self.learned += 1
        if is_alone:
            self.proven.update(dict.fromkeys(fresh, _ends_at(error)))
        else:
            self._twice |= fresh
            self._ends += 1


def _ends_at(error: StoreError) -> MessageError:
    return MessageError(
        f"{ENDS}: {error.end}: {error.what}",
        said=error.said,
        hint="It stays at the source, and all others go on without it. The next run tries it again, last of all; "
        f"if it ends the same way, whoever runs the {error.end} has to look at it.",
    )
