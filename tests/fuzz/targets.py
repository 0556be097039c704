"""Every target by its name, with the octets to begin with.

A target is a function that takes any octets and ends with None. A reader under test ends with a value or a
declared error; whatever else leaves the target is a fault found, and so is a second of its time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from . import cases, files, letters, mailfiles, seeds, wires


@dataclass(frozen=True)
class Target:
    """``seeds`` are octets to begin with; ``found`` are those that once found a fault, kept for ever."""

    run: Callable[[bytes], None]
    seeds: tuple[bytes, ...]
    found: tuple[bytes, ...]
    tries: int  # mutations in the quick programme


TARGETS: dict[str, Target] = {
    "pop3": Target(wires.pop3_server, seeds.POP3, cases.POP3, 40_000),
    "imap": Target(wires.imap_reader, seeds.IMAP, cases.IMAP, 20_000),
    "header": Target(letters.message_header, seeds.HEADER, cases.HEADER, 5_000),
    "shown": Target(letters.shown_text, seeds.SHOWN, cases.SHOWN, 10_000),
    "state": Target(files.state_file, seeds.STATE, cases.STATE, 500),
    "mailfile": Target(mailfiles.mail_file, seeds.MAIL_FILE, cases.MAIL_FILE, 2_000),
    "words": Target(files.words_of_a_person, seeds.WORDS, cases.WORDS, 2_000),
}
