"""Where a password comes from: a reference in text -> Secret. Never the password itself.

    reference = "prompt" / "keyring" / "env:" NAME / "file:" PATH / "cmd:" COMMAND

No message of this module holds what a secret, a file or a command gave.
"""

from __future__ import annotations

import getpass
import os
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from ..errors import UsageError
from ..model import Endpoint, Secret, display
from .endpoint import Side, password_option

SERVICE = "popferry"  # the name of our entries in the keyring
SECRET_LIMIT = 16 * 1024  # octets; an OAuth token has a few thousand
COMMAND_TIMEOUT_S = 120.0  # a person may have to unlock a password store
IDENTITY = "--identity"
KEY = b"AGE-SECRET-KEY-1"
FORMS = "prompt, keyring, env:NAME, file:PATH or cmd:COMMAND"

_PROTECTED = (b"-----BEGIN AGE ENCRYPTED FILE-----", b"age-encryption.org/v1")


class Keeper(Enum):
    """Who keeps the password."""

    PROMPT = "prompt"
    KEYRING = "keyring"
    ENV = "env"
    FILE = "file"
    CMD = "cmd"


@dataclass(frozen=True, slots=True)
class SecretRef:
    """Where to get a password. ``value`` is a variable, a path or a command, never shown."""

    keeper: Keeper = Keeper.PROMPT
    value: str = field(default="", repr=False)


def parse_secret_ref(text: str, *, side: Side) -> SecretRef:
    """The reference that the text names. UsageError else, without repeating the text."""
    option = password_option(side)
    if text in (Keeper.PROMPT.value, Keeper.KEYRING.value):
        return SecretRef(Keeper(text))
    name, colon, value = text.partition(":")
    if not colon or name not in ("env", "file", "cmd"):
        raise UsageError(
            f"{option}: expected {FORMS}",
            hint="The password itself cannot stand here: other people on this machine could read it.",
        )
    if not value.strip() or "\0" in value:
        raise UsageError(f"{option}: expected something after {name}:")
    if name == "env" and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise UsageError(f"{option}: expected the name of an environment variable after env:")
    return SecretRef(Keeper(name), value)


def get_secret(ref: SecretRef, endpoint: Endpoint, *, side: Side, withhold: Collection[str] = ()) -> Secret:
    """The password of an endpoint. UsageError when it cannot be had.

    ``withhold`` names environment variables that a command must not inherit.
    """
    option = password_option(side)
    if ref.keeper is Keeper.PROMPT:
        text = _prompt(endpoint, side, option)
    elif ref.keeper is Keeper.KEYRING:
        text = _keyring(endpoint, option)
    elif ref.keeper is Keeper.ENV:
        text = _env(ref.value, option)
    elif ref.keeper is Keeper.FILE:
        text = _first_line(_file(ref.value, option), option)
    else:
        text = _first_line(_command(ref.value, option, withhold), option)
    return _checked(text, option)


def get_identity(text: str) -> Secret:
    """The secret keys of a file as age-keygen writes it, one a line. UsageError when they cannot be had.

    Whether they are keys is not looked at, but for how they begin.
    """
    octets = _file(text, IDENTITY)
    lines = [line.strip() for line in octets.splitlines()]
    keys = [line for line in lines if line and not line.startswith(b"#")]
    if lines and lines[0] in _PROTECTED:
        raise UsageError(
            f"{IDENTITY}: the keys in this file are protected by a passphrase",
            hint="age -d gives them back; write them to a file that only you can read, and remove it afterwards.",
        )
    if len(octets) > SECRET_LIMIT or not keys or not all(key.startswith(KEY) and key.isascii() for key in keys):
        raise UsageError(
            f"{IDENTITY}: expected lines that begin with {KEY.decode()}, got something else",
            hint="age-keygen -o FILE makes such a file.",
        )
    return Secret(b"\n".join(keys).decode("ascii"))


def _checked(text: str, option: str) -> Secret:
    if not text:
        raise UsageError(f"{option}: the password is empty")
    if any(mark in text for mark in "\r\n\0"):
        # In POP3 and IMAP these octets end a command: the rest of the password would be the next one.
        raise UsageError(f"{option}: the password holds a line end or a NUL, which no mail server takes")
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise UsageError(f"{option}: the password is not UTF-8")
    return Secret(text)


def _prompt(endpoint: Endpoint, side: Side, option: str) -> str:
    if sys.stdin is None or not sys.stdin.isatty():
        raise UsageError(
            f"{option}: there is no terminal to ask for the password of the {side}",
            hint=f"Say where it is with {option} and one of keyring, env:NAME, file:PATH, cmd:COMMAND.",
        )
    try:
        return getpass.getpass(f"Password of {display(endpoint.user)} at {endpoint.host} (the {side}): ")
    except EOFError:
        raise UsageError(f"{option}: no password was typed") from None


def _keyring(endpoint: Endpoint, option: str) -> str:
    try:
        import keyring
        import keyring.errors
    except ImportError:
        raise UsageError(
            f"{option}: the system keyring needs an extra that is not installed",
            hint='Install it with: pip install "popferry[keyring]"',
        ) from None
    account = endpoint.account
    try:
        found: str | None = keyring.get_password(SERVICE, account)
    except keyring.errors.KeyringError as error:
        raise UsageError(
            f"{option}: the system keyring gave no answer ({type(error).__name__})",
            hint="Unlock it, or use another place: env:NAME, file:PATH, cmd:COMMAND.",
        ) from None
    if found is None:
        raise UsageError(
            f"{option}: the system keyring has no password for this account",
            hint=f"keyring set {SERVICE} {shlex.quote(display(account))} stores one.",
        )
    return found


def _env(name: str, option: str) -> str:
    value = os.environ.get(name)
    if value is None:
        raise UsageError(f"{option}: the environment has no variable {name}")
    return value


def _file(text: str, option: str) -> bytes:
    path = Path(text).expanduser()
    shown = display(str(path))
    try:
        # Not blocking: a pipe that nobody feeds would wait for ever.
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise UsageError(f"{option}: {shown} cannot be read: {why}") from None
    try:
        _judge(os.fstat(handle), shown, option)
        return os.read(handle, SECRET_LIMIT + 1)
    except OSError as error:
        raise UsageError(f"{option}: {shown} cannot be read: {error.strerror}") from None
    finally:
        os.close(handle)


def _judge(facts: os.stat_result, shown: str, option: str) -> None:
    """Refuses what is not a private file of ours. The opened file is judged: its name may lead elsewhere by now."""
    if not stat.S_ISREG(facts.st_mode):
        raise UsageError(f"{option}: {shown} is not a file")
    if facts.st_uid != os.geteuid():
        raise UsageError(f"{option}: {shown} belongs to another user")
    if stat.S_IMODE(facts.st_mode) & 0o077:
        raise UsageError(
            f"{option}: {shown} can be used by other users", hint=f"chmod 600 {shlex.quote(shown)} closes it to them."
        )


def _command(text: str, option: str, withhold: Collection[str]) -> bytes:
    try:
        argv = shlex.split(text)
    except ValueError:
        raise UsageError(f"{option}: a quotation mark in the command is not closed") from None
    if not argv:
        raise UsageError(f"{option}: expected a command after cmd:")
    program = display(argv[0])
    environment = {name: value for name, value in os.environ.items() if name not in withhold}
    try:
        # No shell. What the command says to a person (stderr) goes to the terminal as it is.
        done = subprocess.run(argv, stdout=subprocess.PIPE, env=environment, timeout=COMMAND_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise UsageError(f"{option}: {program} gave no answer in {COMMAND_TIMEOUT_S:.0f} s") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a command"
        raise UsageError(f"{option}: {program} cannot be started: {why}") from None
    if done.returncode:
        raise UsageError(f"{option}: {program} ended with code {done.returncode} and gave no password")
    return done.stdout


def _first_line(octets: bytes, option: str) -> str:
    line = octets.split(b"\n", 1)[0].removesuffix(b"\r")
    if len(line) > SECRET_LIMIT:
        raise UsageError(f"{option}: the first line is longer than {SECRET_LIMIT} octets")
    if line.startswith(b"\xef\xbb\xbf"):
        raise UsageError(f"{option}: the first line begins with a byte order mark; save it without one")
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(f"{option}: the password is not UTF-8") from None
