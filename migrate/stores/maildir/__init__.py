"""Mail in a Maildir with its folders: one file a message, which other programs read, move and delete as they like.

DIR/{new,cur,tmp}            INBOX
DIR/.Sent.2026/{new,cur,tmp} a folder, as Dovecot and Courier have it (Maildir++)
DIR/popferry.index           one checked JSON line for each message (stores.maildir.index); in every folder its own
"""

from .appender import MaildirAppender
from .check import check, there_is
from .folder import Indexes, find_lost
from .reader import MaildirReader

__all__ = ["Indexes", "MaildirAppender", "MaildirReader", "check", "find_lost", "there_is"]
