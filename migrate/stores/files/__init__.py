"""Mail files that other programs wrote, read and never changed: one file, or a directory of them.

    tree     which files there are, and the mailbox of each
    formats  what a file is; one message alone        mboxes, apple   the messages in the others
    gauge    size and name of a message               imap_backup     flags that stand beside

Backups of our own, with an index beside each file, are read by ``stores.mbox``.
"""

from .reader import FilesReader, Shelf

__all__ = ["FilesReader", "Shelf"]
