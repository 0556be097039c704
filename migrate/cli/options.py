"""The command line as argparse sees it. Imports nothing heavy: ``--help`` is instant."""

from __future__ import annotations

import argparse
import difflib
import math
import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any, NoReturn

from .. import __version__
from ..errors import UsageError
from .keeping import add_encrypt_to, add_identity, add_prune, add_schedule, check_alone

COMMANDS = ("migrate", "backup", "restore", "verify", "prune", "schedule", "rebuild", "status")
NOT_YET = ("doctor", "login")
_ALL = "migrate, backup, restore, verify, prune, schedule, rebuild and status"

EXIT_CODES = """\
exit codes (tens tell the side):
    0  everything is accounted for
    1  unexpected: a fault of popferry
    2  usage or configuration
    3  finished, some messages set aside
    4  temporary trouble (unreachable, busy, throttled): run again
   10  the source refused the login
   11  the source is unusable (certificate, protocol)
   20  the destination refused the login
   21  the destination is unusable
   22  the destination is full
   30  another run holds the state file
   31  the state file is damaged or from a newer version
   32  the state file or the spool cannot be written
   40  verification found differences
  130  interrupted (Ctrl-C), safe to resume
  143  terminated (SIGTERM), safe to resume
Where several apply, the first of 1, 2, 31, 32, 30, 10, 20, 11, 21, 22, 40, 4, 3; signals win."""

ENDPOINTS = """\
endpoints:
  pop3s://alice@pop.example.org              995, TLS from the first octet (the default for a bare host)
  pop3://alice@pop.example.org               110, STLS required
  imaps://alice@imap.example.org/Archive     993, TLS from the first octet; the path is the folder (default INBOX)
  imap://alice@imap.example.org              143, STARTTLS required
  pop3+insecure:// and imap+insecure://      clear text, to this machine only
  mbox:/home/alice/mail                      a directory of mbox files, with an index beside each: a backup
  maildir:/home/alice/Maildir                a Maildir with its folders, of whatever program
  ~/Mail/old.mbox                            as a source, a path: mail files that any program wrote (mbox, .eml,
                                             .emlx, Maildir; zip and tar with them), one or a directory of them
An @ in a user name is written as it is: pop3s://alice@example.org@pop.example.org

passwords:
  prompt (default), keyring, env:NAME, file:PATH (a file only you can read), cmd:COMMAND (first line of its output)"""


class Parser(argparse.ArgumentParser):
    """argparse that raises UsageError, abbreviates nothing, and repeats no argument it does not know."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(
            allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter, add_help=False, **settings
        )
        self.add_argument("-h", "--help", action="help", help="show this help and exit")
        self.add_argument("--version", action="version", version=f"popferry {__version__}", help="show the version")

    def error(self, message: str) -> NoReturn:
        message = re.sub(r"^argument (?:-\w/)?", "", message)
        message = re.sub(r"(not allowed with )argument (?:-\w/)?", r"\1", message)
        if required := re.fullmatch(r"the following arguments are required: (.*)", message):
            message = f"expected {required[1].replace(', ', ' and ')}"
        raise UsageError(message, hint=f"{self.prog} --help shows what is possible.")


def parse(argv: Sequence[str]) -> argparse.Namespace:
    """The options of a command line; ``command`` names the command, ``words`` follow it. UsageError if it is wrong."""
    parser, commands = _build()
    _check_command(parser, argv)
    options, unknown = parser.parse_known_args(argv)
    if unknown:
        raise _unknown(commands[options.command], unknown)
    if options.command == "status":
        _check_status(options)
    if options.command == "verify" and options.dest is None:
        check_alone(argv)
    options.words = argv[1:]
    return options


def _check_command(parser: Parser, argv: Sequence[str]) -> None:
    if not argv:
        raise UsageError(
            f"expected a command: {_ALL.replace(' and ', ' or ')}", hint="popferry --help shows what is possible."
        )
    name = argv[0]
    if name in COMMANDS or name in ("-h", "--help", "--version"):
        return
    if name.startswith("-"):
        raise _unknown(parser, argv)
    if name in NOT_YET:
        raise UsageError(f"popferry {name} is not there yet", hint=f"This version has: {_ALL}.")
    close = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"Did you mean {close[0]}?" if close else "Write popferry migrate SOURCE DEST, or popferry status."
    # The word is not repeated: it may be anything.
    raise UsageError("the first word is not a command", hint=hint)


def _unknown(parser: argparse.ArgumentParser, unknown: Sequence[str]) -> UsageError:
    hint = f"{parser.prog} --help shows what is possible."
    first = next((word for word in unknown if word.startswith("-") and word != "-"), None)
    if first is None:
        return UsageError("one argument too many", hint=hint)
    # Neither values nor what is glued to a short option is repeated: it may be a password.
    name = first.partition("=")[0] if first.startswith("--") else first[:2]
    known = [option for action in parser._actions for option in action.option_strings]
    if "pass" in name or name.startswith("-p"):
        hint = "A password is never an option. Say where it is: --source-password and --dest-password."
    elif close := difflib.get_close_matches(name, known, n=1):
        hint = f"Did you mean {close[0]}?"
    return UsageError(f"there is no option {name}", hint=hint)


def _check_status(options: argparse.Namespace) -> None:
    if (options.source is None) != (options.dest is None):
        raise UsageError("expected SOURCE and DEST, or neither")
    if options.state and options.source:
        raise UsageError("expected SOURCE and DEST, or --state FILE, not both")
    if options.rebind and not (options.state or options.source):
        raise UsageError("--rebind needs to know which state file: expected --state FILE, or SOURCE and DEST")


def _build() -> tuple[Parser, dict[str, Parser]]:
    parser = Parser(
        prog="popferry",
        description="Moves mail out of POP3 accounts into IMAP folders: no loss, no duplicate, nothing altered.",
        epilog=f"popferry COMMAND --help shows the options of a command.\n\n{EXIT_CODES}",
    )
    places = parser.add_subparsers(dest="command", metavar="COMMAND", required=True, parser_class=Parser)
    migrate = places.add_parser(
        "migrate",
        help="copy what is not there yet; run it again to resume or to top up",
        description="Copies every message of SOURCE that DEST does not have yet. Run it again to resume or to top up.\n"
        "Nothing is deleted at the source unless --delete-after asks for it.",
        epilog=f"{ENDPOINTS}\n\n{EXIT_CODES}",
    )
    _add_migrate(migrate)
    backup = places.add_parser(
        "backup",
        help="keep a copy of a POP3 or IMAP account in files; made for every night",
        description="Copies every message of SOURCE that DIR does not have yet into mbox files, one for each month, "
        "with an\nindex beside each; or into a Maildir (maildir:DIR). Nothing is ever deleted, at either end.",
        epilog=f"{ENDPOINTS}\n\n{EXIT_CODES}",
    )
    _add_backup(backup)
    restore = places.add_parser(
        "restore",
        help="put a backup, or a part of it, back into an IMAP account",
        description="Copies the messages of a backup, or of mail files that other programs wrote, into DEST, with "
        "their\ndates and flags. What DEST has already is not copied again.",
        epilog=f"{ENDPOINTS}\n\n{EXIT_CODES}",
    )
    _add_restore(restore)
    verify = places.add_parser(
        "verify",
        help="prove a backup, or compare both accounts, message by message",
        description="With SOURCE and DEST: reads every message of SOURCE and of the folder at DEST, and says of each\n"
        "message of SOURCE whether DEST has it: octet for octet, with named changes, otherwise, or not.\n"
        "With the directory of a backup alone: reads every octet of it, and names what is not as it was stored;\n"
        "options about accounts are refused then.\n"
        "Changes nothing.",
        epilog=f"{ENDPOINTS}\n\n{EXIT_CODES}",
    )
    _add_verify(verify)
    prune = add_prune(places, EXIT_CODES, _add_talk)
    schedule = add_schedule(places, ENDPOINTS)
    rebuild = places.add_parser(
        "rebuild",
        help="make a new state file where the old one is lost or damaged",
        description="Reads both accounts and makes a new state file: what DEST has is recognised by its content and is "
        "not\ncopied again. Copies nothing, deletes nothing; popferry migrate goes on from there.",
        epilog=f"{ENDPOINTS}\n\n{EXIT_CODES}",
    )
    _add_rebuild(rebuild)
    status = places.add_parser(
        "status",
        help="what the state file knows: done, open, set aside, deleted",
        description="Shows what a state file knows; without arguments, every state file in its usual place.",
        epilog=EXIT_CODES,
    )
    _add_status(status)
    return parser, {
        "migrate": migrate,
        "backup": backup,
        "restore": restore,
        "verify": verify,
        "prune": prune,
        "schedule": schedule,
        "rebuild": rebuild,
        "status": status,
    }


def _add_migrate(parser: Parser) -> None:
    _add_ends(parser)
    add_identity(parser.add_argument)
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, touch nothing")

    what = parser.add_argument_group("what is copied, and how")
    _add_place(what)
    add = what.add_argument
    add("--mark", type=_one_of("seen", "unseen", "auto"), default="auto", metavar="seen|unseen|auto",
        help="read or unread; auto: the marks in the headers decide, else unread (default: auto)")  # fmt: skip
    add("--verify", type=_one_of("sample", "full"), default="sample", metavar="sample|full",
        help="how much the destination serves back for comparison (default: sample)")  # fmt: skip
    _add_had(add)
    add("--limit", type=_whole(1), metavar="N", help="copy at most N messages in this run")
    add("--accept-missing", action="store_true",
        help="messages that left the source before they were copied are recorded as gone")  # fmt: skip

    delete = parser.add_argument_group("deletion at the source")
    add = delete.add_argument
    add("--delete-after", type=_delay, metavar="verified|Nd",
        help="delete what the destination served back and matched: at once, or N days later")  # fmt: skip
    add("--max-delete", type=_whole(0), metavar="N", help="delete at most N messages in this run")

    link = parser.add_argument_group("connections")
    add = link.add_argument
    add(
        "--connections",
        type=_whole(1, 32),
        metavar="N",
        help="connections to a server as destination (default: 1, or 4 where each message costs a round trip)",
    )
    _add_settle(link)
    _add_link(link)
    _add_talk(
        parser, "say more: each message set aside, each duplicate", "say nothing on success, but what will be deleted"
    )


def _add_backup(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", help="a POP3 account, an IMAP account with all its folders, or mail files")
    add("dest", metavar="DIR", help="the directory of the backup: mbox files, or maildir:DIR")
    add("--source-password", metavar="WHERE", default="prompt", help="where its password is (default: prompt)")
    add("--state", metavar="FILE", help="state file (default: one in the backup for each account)")
    add("--dry-run", action="store_true", help="say what would happen, touch nothing")
    add = parser.add_argument_group("what is copied, and how").add_argument
    add("--layout", type=_one_of("month", "year", "one"), metavar="month|year|one",
        help="a new mbox file for each month, each year, or never (default: month)")  # fmt: skip
    add("--compress", action="store_true", help="compress what is over, with zstd (needs the extra popferry[zstd])")
    add_encrypt_to(add)
    add_identity(add)
    _add_dedupe(add, "off")
    _add_had(add)
    add("--limit", type=_whole(1), metavar="N", help="copy at most N messages in this run")
    add("--accept-missing", action="store_true",
        help="messages that left the source before they were copied are recorded as gone")  # fmt: skip
    _add_link(parser.add_argument_group("connections"), "source")
    _add_talk(parser, "say more: each message set aside, each duplicate")
    # No upload of a dead run can arrive later, and reading back costs nothing here.
    given = {"dry_run", "limit", "accept_missing", "baseline", "already_have"}
    left = {name: value for name, value in _UNASKED.items() if name not in given}
    parser.set_defaults(**left | {"verify": "full", "settle": 0.0}, folder=None, dest_password="prompt", dest_pin=None)


def _add_restore(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="DIR", help="the directory of the backup, maildir:DIR, or mail files of other programs")
    add("dest", metavar="DEST", help="an IMAP account, and the folder in it")
    add("--dest-password", metavar="WHERE", default="prompt", help="where its password is (default: prompt)")
    add("--state", metavar="FILE", help="state file (default: one for each backup, account and choice)")
    add_identity(add)
    add("--dry-run", action="store_true", help="say what would happen, touch nothing")
    add = parser.add_argument_group("which messages (all that is given has to be true)").add_argument
    add("--since", type=_day, metavar="YYYY-MM-DD", help="of this day or later")
    add("--before", type=_day, metavar="YYYY-MM-DD", help="of an earlier day")
    add("--from", dest="sender", metavar="TEXT", help="with this in their From")
    add("--subject", metavar="TEXT", help="with this in their Subject")
    add("--message-id", metavar="ID", help="with this Message-ID")
    _add_place(parser.add_argument_group("what is copied, and how"))
    link = parser.add_argument_group("connections")
    link.add_argument("--connections", type=_whole(1, 32), default=1, metavar="N",
        help="connections to a server as destination (default: 1)")  # fmt: skip
    _add_settle(link)
    _add_link(link, "dest")
    _add_talk(parser, "say more: each message set aside, each duplicate")
    given = {"dry_run", "connections", "settle"}
    left = {name: value for name, value in _UNASKED.items() if name not in given}
    parser.set_defaults(**left, source_password="prompt", source_pin=None)


def _add_verify(parser: Parser) -> None:
    _add_ends(parser, is_dest_needed=False)
    add_identity(parser.add_argument)
    _add_place(parser.add_argument_group("what is compared"))
    _add_link(parser.add_argument_group("connections"))
    _add_talk(parser, "say more: each message that is there changed, or with other volatile headers")
    parser.set_defaults(**_UNASKED)


def _add_rebuild(parser: Parser) -> None:
    _add_ends(parser)
    add_identity(parser.add_argument)
    _add_place(parser.add_argument_group("what is recognised"))
    link = parser.add_argument_group("connections")
    _add_settle(link)
    _add_link(link)
    _add_talk(parser, "say more: each duplicate")
    parser.set_defaults(**{name: value for name, value in _UNASKED.items() if name != "settle"})


# What only a migration asks for, as a command that is none has it.
_UNASKED: dict[str, Any] = {
    "dry_run": False,
    "mark": "auto",
    "verify": "sample",
    "limit": None,
    "accept_missing": False,
    "baseline": False,
    "already_have": [],
    "delete_after": None,
    "max_delete": None,
    "connections": None,
    "settle": 60.0,
}


def _add_ends(parser: Parser, *, is_dest_needed: bool = True) -> None:
    add = parser.add_argument
    source = "a POP3 or IMAP account, or mail files"
    source += "" if is_dest_needed else "; without DEST the directory of a backup"
    add("source", metavar="SOURCE", help=source)
    nargs = {} if is_dest_needed else {"nargs": "?"}
    add("dest", metavar="DEST", help="an IMAP account, and the folder in it", **nargs)  # type: ignore[arg-type]
    add("--source-password", metavar="WHERE", default="prompt", help="where its password is (default: prompt)")
    add("--dest-password", metavar="WHERE", default="prompt", help="where its password is (default: prompt)")
    add("--state", metavar="FILE", help="state file (default: one for each pair of accounts)")


def _add_place(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--folder", metavar="NAME", help="folder at the destination (default: the path of DEST, else INBOX)")
    _add_dedupe(add, "content")


def _add_dedupe(add: Callable[..., Any], default: str) -> None:
    add("--dedupe", type=_one_of("content", "message-id", "off"), default=default, metavar="content|message-id|off",
        help=f"which messages are the same (default: {default})")  # fmt: skip


def _add_had(add: Callable[..., Any]) -> None:
    add("--baseline", action="store_true",
        help="only the first time: mark what is at the source now as done, without fetching it")  # fmt: skip
    add("--already-have", metavar="FILE", action="append", default=[],
        help="mark as done what another program fetched, by its list of UIDLs: of getmail (oldmail-...), "
        "fetchmail (.fetchids), mpop or Thunderbird (popstate.dat); may be repeated")  # fmt: skip


def _add_settle(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--settle", type=_seconds, default=60.0, metavar="SECONDS",
        help="after an interruption, wait so long for uploads under way (default: 60)")  # fmt: skip


def _add_link(group: argparse._ArgumentGroup, *ends: str) -> None:
    add = group.add_argument
    for end in ends or ("source", "dest"):
        name = "source" if end == "source" else "destination"
        add(f"--{end}-pin", metavar="sha256:HEX", help=f"take this certificate of the {name}, and no other")
    add("--send-password-in-clear", action="store_true",
        help="let +insecure endpoints send password and mail unencrypted to another machine")  # fmt: skip


def _add_talk(parser: Parser, verbose: str, quiet: str = "say nothing on success", *, has_servers: bool = True) -> None:
    talk = parser.add_argument_group("output")
    add = talk.add_argument
    add("--json", action="store_true", help="one event per line on stdout")
    add("--no-progress", action="store_true", help="no progress bar")
    add("--log-file", metavar="FILE", help="append a log to this file; with -v one line per message")
    if has_servers:
        add("--trace", metavar="FILE", help="record the dialogue with both servers, without passwords and mail")
    add = talk.add_mutually_exclusive_group().add_argument
    add("-q", "--quiet", action="store_true", help=quiet)
    add("-v", "--verbose", action="store_true", help=verbose)


def _add_status(parser: Parser) -> None:
    add = parser.add_argument
    add("source", metavar="SOURCE", nargs="?", help="the source of a migration")
    add("dest", metavar="DEST", nargs="?", help="its destination")
    add("--state", metavar="FILE", help="a state file")
    add("--json", action="store_true", help="everything as JSON, one object for each state file")
    add("--rebind", nargs=2, metavar=("OLD", "NEW"), help="the server OLD is called NEW now: follow it")


class _one_of:
    """A type for argparse: one of a few words."""

    def __init__(self, *words: str) -> None:
        self.words = words

    def __call__(self, text: str) -> str:
        if text not in self.words:
            raise argparse.ArgumentTypeError(f"expected {' or '.join(self.words)}, got {text}")
        return text


class _whole:
    """A type for argparse: a whole number within bounds."""

    def __init__(self, least: int, most: int = 10**9) -> None:
        self.least, self.most = least, most

    def __call__(self, text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,12}", text) or not self.least <= int(text) <= self.most:
            upto = f" to {self.most}" if self.most < 10**9 else " up"
            raise argparse.ArgumentTypeError(f"expected a whole number from {self.least}{upto}, got {text}")
        return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 86400:
        raise argparse.ArgumentTypeError(f"expected seconds from 0 to 86400, got {text}")
    return value


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a day like 2026-11-26, got {text}") from None


def _delay(text: str) -> int:
    """Seconds of ``verified`` (0) or ``Nd``."""
    if text == "verified":
        return 0
    if not re.fullmatch(r"[1-9][0-9]{0,3}d", text):
        raise argparse.ArgumentTypeError(f"expected verified, or days like 30d, got {text}")
    return int(text[:-1]) * 86400
