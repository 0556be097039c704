"""IMAP as destination and as source: ``ImapAppender`` and ``ImapReader``, one session for one connection.

link      the connection: its channel, its one reader, what a blocking call may take
client    IMAPClient over our own connection
login     greeting, STARTTLS, login, capabilities
mailbox   names at the IMAP edge: find, create, select
lane      commands under way: pipelined, overlapped or in lock-step
upload    Append and SearchUids on a lane
look      FetchHeaders and ReadBack on a lane
session   the contract of ``stores.base``, as far as both kinds have it
appender  what appends and looks
fetching  Fetch on a lane: messages of a source, and those that it does not hand out
reader    an account as a source
"""

from .appender import ImapAppender
from .reader import ImapReader

__all__ = ["ImapAppender", "ImapReader"]
