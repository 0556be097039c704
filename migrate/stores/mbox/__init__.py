"""Mail in mbox files with an index beside each: a directory that only ever grows.

DIR/INBOX/2026-11.mbox          mboxrd (wire.mbox), opened directly by other mail programs
DIR/INBOX/2026-11.mbox.index    one sealed line for each message (stores.mbox.index)
DIR/INBOX/2026-10.mbox.zst      a month that is over, compressed where that was asked for (stores.mbox.packed)
DIR/INBOX/pruned.index          one for each file that a person has deleted (stores.mbox.pruned)
"""

from .appender import MboxAppender
from .check import check, there_is
from .compress import Compressed, compress
from .folder import LAYOUTS, find_lost
from .prune import Old, Rule, Spared, has_periods, prune
from .reader import MboxReader, is_backup

__all__ = [
    "LAYOUTS",
    "Compressed",
    "MboxAppender",
    "MboxReader",
    "Old",
    "Rule",
    "Spared",
    "check",
    "compress",
    "find_lost",
    "has_periods",
    "is_backup",
    "prune",
    "there_is",
]
