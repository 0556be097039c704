"""Octets that once found a fault, with what it was; they are tried before everything else."""

from __future__ import annotations

POP3: tuple[bytes, ...] = ()
IMAP: tuple[bytes, ...] = ()
# The limit of a shown line was taken before control characters were made visible: 300 of them became 3,000 characters.
HEADER: tuple[bytes, ...] = (b"\x00\x00Subject: " + b"\x1b" * 100 + b"\r\n\r\n",)
SHOWN: tuple[bytes, ...] = (b"\x1b" * 200 + b"\0password",)
STATE: tuple[bytes, ...] = ()
WORDS: tuple[bytes, ...] = ()
MAIL_FILE: tuple[bytes, ...] = ()
