"""The options that are about the keeping of a backup: ``prune``, ``schedule``, what is encrypted, ``verify DIR``."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from ..errors import UsageError

# What popferry verify needs where it asks servers.
_OF_ACCOUNTS = (
    "--source-password", "--dest-password", "--source-pin", "--dest-pin", "--send-password-in-clear", "--state",
    "--folder", "--dedupe", "--trace",
)  # fmt: skip


class Age(NamedTuple):
    """So many days, months or years."""

    number: int
    unit: str  # d, m, y


def add_encrypt_to(add: Callable[..., Any]) -> None:
    """The option of ``popferry backup`` that encrypts."""
    add("--encrypt-to", metavar="WHOM", action="append", default=[],
        help="compress and encrypt what is over: to a public key (age1...), or to all in a file of them, one a line; "
        "may be repeated (needs the extra popferry[age])")  # fmt: skip


def add_identity(add: Callable[..., Any]) -> None:
    """The option of every command that may read in a backup."""
    add("--identity", metavar="FILE", help="the secret keys that read encrypted months, as age-keygen writes them")


def add_prune(places: Any, exit_codes: str, add_talk: Callable[..., None]) -> Any:
    """The parser of ``popferry prune``."""
    parser = places.add_parser(
        "prune",
        help="delete old months from a backup: the only command that can",
        description="Says which files of a backup an age or a number takes: whole months that are over, each with its\n"
        "index. With --yes it deletes them. Backups do not fetch again what was deleted, also where the\n"
        "source still has it, and verify does not miss it. A month is that in which a message was stored.",
        epilog=exit_codes,
    )
    add = parser.add_argument
    add("source", metavar="DIR", help="the directory of the backup")
    rule = parser.add_argument_group("which files (one of both)").add_mutually_exclusive_group(required=True)
    rule.add_argument("--older-than", type=_age, metavar="AGE",
        help="months that were over so long ago: days, months or years, like 400d, 24m, 3y")  # fmt: skip
    rule.add_argument("--keep", type=_number, metavar="N", help="all but the newest N months of each folder")
    add("--yes", action="store_true", help="delete them; without it, it is only said")
    add_talk(parser, "say more", "say nothing on success, but what will be deleted", has_servers=False)
    return parser


def check_alone(argv: Sequence[str]) -> None:
    """UsageError where ``popferry verify`` has one place, and an option that only two accounts could use."""
    names = (word.partition("=")[0] for word in takewhile(lambda word: word != "--", argv))
    if (name := next((name for name in names if name in _OF_ACCOUNTS), None)) is not None:
        raise UsageError(
            f"{name} is for comparing two accounts, and DEST is missing",
            hint="Write DEST; or prove a backup, which needs no such option: popferry verify DIR.",
        )


def add_schedule(places: Any, endpoints: str) -> Any:
    """The parser of ``popferry schedule``."""
    parser = places.add_parser(
        "schedule",
        help="print what makes a backup run every night: systemd units, or a line for cron",
        description="Prints a systemd service and timer, and a line for cron, for this machine. Changes nothing.",
        epilog=endpoints,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a POP3 account, or an IMAP account with all its folders")
    add("dest", metavar="DIR", help="the directory of the backup")
    add("--source-password", metavar="WHERE", default="prompt", help="where its password is, as backup will be told")
    add("--state", metavar="FILE", help="state file, as backup will be told (default: one in the backup)")
    add("--at", type=_time, default="03:15", metavar="HH:MM", help="when, in the zone of this machine (default: 03:15)")
    add("--system", action="store_true", help="units of the system, for a machine on which nobody logs in")
    parser.set_defaults(dest_password="prompt", send_password_in_clear=False)
    return parser


def _age(text: str) -> Age:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([dmy])", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"expected days, months or years like 400d, 24m or 3y, got {text}")
    return Age(int(found[1]), found[2])


def _number(text: str) -> int:
    if not re.fullmatch(r"[1-9][0-9]{0,3}", text):
        raise argparse.ArgumentTypeError(f"expected a number of months from 1 to 9999, got {text}")
    return int(text)


def _time(text: str) -> str:
    if not re.fullmatch(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]", text):
        raise argparse.ArgumentTypeError(f"expected a time like 03:15, got {text}")
    return text
