"""Mail files that other programs wrote, read and never changed: one file, or a directory of them.

    octets, stream  what is stored, unpacked as it is read        opening  the file of it, also in an archive
    entries, tree   which files there are, and their mailboxes    archives the members of zip and tar
    formats, mboxes, apple  what a file is, and its messages      imap_backup  flags that stand beside
    gauge           size and name of a message                    lister, listing  all of it, as a source lists it

Backups of our own, with an index beside each file, are read by ``stores.mbox``.
"""

from .reader import FilesReader, Shelf

__all__ = ["FilesReader", "Shelf"]
