"""Octets that once found a fault, with what it was; they are tried before everything else."""

from __future__ import annotations

POP3: tuple[bytes, ...] = ()
IMAP: tuple[bytes, ...] = ()
HEADER: tuple[bytes, ...] = ()
SHOWN: tuple[bytes, ...] = ()
STATE: tuple[bytes, ...] = ()
WORDS: tuple[bytes, ...] = ()
