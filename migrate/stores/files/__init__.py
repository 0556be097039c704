"""Mail files that other programs wrote, read and never changed: one file, or a directory of them.

    octets, stream  what is stored, unpacked as it is read        opening  the file of it, also in an archive
    entries, tree   which files there are, and their mailboxes    archives the members of zip and tar
    formats, apple  the messages of a file                        imap_backup  flags that stand beside
    lister, listing all of it, as a source lists it

What a file is, and the messages of an mbox file, is told by ``stores.kinds`` and ``stores.mboxes``, for backups too.
Backups of our own, with an index beside each file, are read by ``stores.mbox``.
"""

from .reader import FilesReader, Shelf

__all__ = ["FilesReader", "Shelf"]
