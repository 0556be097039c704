"""The POP3 source: ``Pop3Reader``, and ``Pop3Releaser``, which alone knows DELE.

link      the connection: channel, protocol core, blocking calls that end in time, what is traced and shown
login     greeting, STLS, capabilities, login
task      one command under way: what it sends and what its replies mean
session   the contract of ``stores.base``
"""

from .session import Pop3Reader, Pop3Releaser

__all__ = ["Pop3Reader", "Pop3Releaser"]
