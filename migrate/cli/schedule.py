"""``popferry schedule``: the text that makes a backup run every night. Nothing is written, and no secret is read."""

from __future__ import annotations

import argparse
import os
import pwd
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..config import Keeper, SecretRef, digest, parse_endpoint, parse_secret_ref
from ..errors import Exit, UsageError
from ..model import Endpoint, Protocol, display
from .backup import directory
from .face import Output
from .migrate import path_of

# What needs no right that a user lacks, and no file system of its own.
PLAIN = """\
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX AF_NETLINK
SystemCallArchitectures=native
SystemCallFilter=@system-service"""

# The same and more, where the system's own manager starts it.
STRICT = """\
CapabilityBoundingSet=
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictNamespaces=yes"""


@dataclass(frozen=True, slots=True)
class Night:
    """A backup that runs every night."""

    source: Endpoint
    root: Path
    words: Sequence[str]  # the whole command
    writes: Sequence[Path]  # the directories that it writes to
    at: str
    is_system: bool
    has_command: bool  # the password comes from another program

    @property
    def name(self) -> str:
        """Of the units: without the @ that would make one of a template, and another for each SOURCE and DIR."""
        account = self.source.account
        ends = digest(account, str(self.source), str(self.root))[:6]
        return f"popferry-{re.sub(r'[^A-Za-z0-9.-]', '-', account)[:100]}-{ends}"


def run(options: argparse.Namespace) -> Exit:
    """Prints the units and the line. UsageError where the command could not run with nobody there."""
    night = night_of(options)
    out, err = Output(sys.stdout), Output(sys.stderr)
    for line in page(night):
        out.line(line)
    if not night.root.is_dir():
        err.line(f"{display(str(night.root), 1000)} is not there yet. Make the first backup by hand:")
        err.line(f"  {shlex.join(word for word in night.words if word != '-q')}")
    return out.checked(Exit.OK, err, may_be_left=True)


def night_of(options: argparse.Namespace) -> Night:
    """The backup that the options describe."""
    source = parse_endpoint(options.source, side="source")
    if source.path is not None:
        raise UsageError("SOURCE: expected a POP3 or IMAP account, got files")
    ref = parse_secret_ref(options.source_password, side="source")
    place, state = directory(options.dest), path_of(options.state, "--state")
    root = place.path
    assert root is not None
    dest = place.account if place.protocol is Protocol.MAILDIR else str(root)
    words = [*_command(), "backup", "-q", options.source, dest]
    words += ["--source-password", _reference(ref, is_system=options.system)]
    words += [] if state is None else ["--state", str(state)]
    writes = [root] if state is None or state.is_relative_to(root) else [root, state.parent]
    return Night(source, root, words, writes, options.at, options.system, ref.keeper is Keeper.CMD)


def _command() -> list[str]:
    """This program, by its whole path."""
    started = Path(sys.argv[0])
    if started.name == "popferry":
        found = shutil.which(sys.argv[0]) or str(started)
        return [str(Path(found).absolute())]
    return [str(Path(sys.executable).absolute()), "-m", "migrate"]


def _reference(ref: SecretRef, *, is_system: bool) -> str:
    """The reference as it is understood wherever the command is started from."""
    match ref.keeper:
        case Keeper.PROMPT:
            raise UsageError(
                "--source-password: nobody is there at night to type it; expected keyring, file:PATH or cmd:COMMAND",
                hint="file:PATH names a file that only you can read, with the password in its first line.",
            )
        case Keeper.ENV:
            raise UsageError(
                "--source-password: cron and systemd do not have this variable; expected file:PATH or cmd:COMMAND"
            )
        case Keeper.KEYRING if is_system:
            raise UsageError("--source-password: the keyring is open only while you are logged in; expected file:PATH")
        case Keeper.KEYRING:
            return "keyring"
        case Keeper.FILE:
            return f"file:{Path(ref.value).expanduser().absolute()}"
        case Keeper.CMD:
            first, *rest = shlex.split(ref.value) or [""]
            return f"cmd:{shlex.join([shutil.which(first) or first, *rest])}"


# --- the text -------------------------------------------------------------------------------


def page(night: Night) -> Iterator[str]:
    """Everything that is printed, in lines."""
    place = "/etc/systemd/system" if night.is_system else "~/.config/systemd/user"
    manager = "sudo systemctl" if night.is_system else "systemctl --user"
    yield f"# --- {place}/{night.name}.service"
    yield from service(night)
    yield ""
    yield f"# --- {place}/{night.name}.timer"
    yield from timer(night)
    yield ""
    yield f"# Then: {manager} daemon-reload && {manager} enable --now {night.name}.timer"
    if not night.is_system:
        yield f"# Units of a user run while that user is logged in; with this, always: loginctl enable-linger {_user()}"
    yield ""
    yield "# --- or, with cron (crontab -e): it mails what is printed, and with -q that is trouble alone"
    yield cron(night)
    yield ""
    yield "# Two runs at once do no harm: the second ends with code 30."


def service(night: Night) -> Iterator[str]:
    """The unit that makes one backup."""
    yield "[Unit]"
    yield f"Description=Backup of {_escaped(display(night.source.account))}"
    if night.is_system:
        yield "Wants=network-online.target"
        yield "After=network-online.target"
    yield ""
    yield "[Service]"
    yield "Type=oneshot"
    # A dollar sign stands for a variable in a command (systemd.service(5)), and for itself in a path.
    yield "ExecStart=" + " ".join(_quoted(word).replace("$", "$$") for word in night.words)
    yield "# 4: temporary trouble, the next night goes on"
    yield "SuccessExitStatus=4"
    yield "Nice=10"
    yield PLAIN
    if not night.is_system:
        return
    yield f"User={_user()}"
    yield STRICT
    if not any(path.is_relative_to(place) for path in night.writes for place in ("/tmp", "/var/tmp")):
        yield "PrivateTmp=yes"
    if night.has_command:
        yield "# A program that knows passwords may have to write in its home."
        yield "ProtectSystem=full"
        return
    yield "ProtectSystem=strict"
    yield "ProtectHome=read-only"
    for path in night.writes:
        yield f"ReadWritePaths={_quoted(str(path))}"


def timer(night: Night) -> Iterator[str]:
    """The unit that starts the other one."""
    yield from (
        "[Unit]",
        f"Description=Backup of {_escaped(display(night.source.account))}, every night",
        "",
        "[Timer]",
    )
    yield f"OnCalendar=*-*-* {night.at}:00"
    yield from (
        "RandomizedDelaySec=30min",
        "# A night that the machine slept through is made up for.",
        "Persistent=true",
    )
    yield from ("", "[Install]", "WantedBy=timers.target")


def cron(night: Night) -> str:
    """The line of a crontab (crontab(5): an unescaped percent sign ends the command)."""
    hour, minute = night.at.split(":")
    return f"{int(minute)} {int(hour)} * * *  {shlex.join(night.words)}".replace("%", "\\%")


def _quoted(word: str) -> str:
    """One word of a unit (systemd.syntax(7)): quotes and specifiers mean nothing in it."""
    word = _escaped(word).replace("\\", "\\\\").replace('"', '\\"')
    return word if re.fullmatch(r"[\w@%+=:,./-]+", word, re.ASCII) else f'"{word}"'


def _escaped(text: str) -> str:
    return text.replace("%", "%%")


def _user() -> str:
    """Who makes the backup: its name, or its number where that has none (in a container), which systemd takes too."""
    uid = os.geteuid()
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
