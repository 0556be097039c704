"""The state file: one SQLite file for each pair of accounts, the only memory between two runs.

``open_state`` gives the books of a run (``books.Books``); ``rehearsal`` a
copy for a dry run; ``read_state`` answers ``popferry status``; ``open_memory``
is for simulators. ``rebuilding`` makes a new file in place of a lost one;
``TemporarySheet`` is what a recount is kept on.
"""

from .books import State
from .lock import no_run
from .opening import has_state, open_memory, open_state, rebind, rehearsal
from .rebuilding import NewState, Rebuilding, rebuilding
from .replace import set_aside
from .sheet import TemporarySheet
from .status import Aside, MailboxSummary, StateReader, Summary, read_state, state_files, unfinished_elsewhere

__all__ = [
    "Aside",
    "MailboxSummary",
    "NewState",
    "Rebuilding",
    "State",
    "StateReader",
    "Summary",
    "TemporarySheet",
    "has_state",
    "no_run",
    "open_memory",
    "open_state",
    "read_state",
    "rebind",
    "rebuilding",
    "rehearsal",
    "set_aside",
    "state_files",
    "unfinished_elsewhere",
]
