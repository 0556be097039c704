"""Mail in mbox files with an index beside each: a directory that only ever grows.

DIR/INBOX/2026-11.mbox          mboxrd (wire.mbox), opened directly by other mail programs
DIR/INBOX/2026-11.mbox.index    one sealed line for each message (stores.mbox.index)
DIR/INBOX/2026-10.mbox.zst      a month that is over, compressed where that was asked for (stores.mbox.packed)
DIR/INBOX/2026-10.mbox.zst.age  the same, encrypted where that was asked for (stores.mbox.encrypt)
DIR/INBOX/pruned.index          one for each file that a person has deleted (stores.mbox.pruned)
"""

from .age import SECRET, Identity, identity_of, is_recipient
from .appender import MboxAppender
from .check import check, there_is
from .compress import Compressed, compress
from .encrypt import Hidden, encrypt
from .folder import LAYOUTS, Parts, find_lost
from .part import STATE
from .prune import Old, Rule, Spared, has_periods, newest_day, prune
from .reader import MboxReader, is_backup

__all__ = [
    "LAYOUTS",
    "SECRET",
    "STATE",
    "Compressed",
    "Hidden",
    "Identity",
    "MboxAppender",
    "MboxReader",
    "Old",
    "Parts",
    "Rule",
    "Spared",
    "check",
    "compress",
    "encrypt",
    "find_lost",
    "has_periods",
    "identity_of",
    "is_backup",
    "is_recipient",
    "newest_day",
    "prune",
    "there_is",
]
