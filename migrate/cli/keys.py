"""The keys of encrypted backups, as options: public ones to encrypt to, and the file of a secret one to read with."""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from pathlib import Path

from ..config import Job, get_identity
from ..errors import StoreError, UsageError
from ..model import Endpoint, Protocol, Secret, display
from ..stores.disk import below
from ..stores.mbox import SECRET, is_recipient
from ..stores.mbox import identity_of as read_with

ENCRYPTED = ".mbox.zst.age"
FILE_LIMIT = 64 * 1024
MAKE_ONE = "age-keygen -o FILE makes a pair of keys, and shows the public one."
INSTALL = 'Install it with: pip install "popferry[age]"'


def recipients_of(options: argparse.Namespace) -> tuple[str, ...]:
    """The public keys that old months are encrypted to; none where that was not asked for. UsageError."""
    if not options.encrypt_to:
        return ()
    if options.layout == "one":
        raise UsageError("--encrypt-to: with --layout one no file is ever over, and nothing would be encrypted")
    _want_library("--encrypt-to")
    if not has_zstd():
        raise UsageError("--encrypt-to compresses first, and the library for zstd is not installed", hint=INSTALL)
    found: dict[str, None] = {}
    for text in options.encrypt_to:
        found.update(dict.fromkeys([text] if text.startswith("age1") else _keys_in(text)))
    for key in found:
        if not is_recipient(key):
            raise UsageError(
                f"--encrypt-to: {display(key, 100)} is no public key of age: a character of it is wrong or missing",
                hint=MAKE_ONE,
            )
    return tuple(found)


def _keys_in(text: str) -> list[str]:
    """The public keys in a file, as ``age -R`` reads it: one a line, empty lines and comments between them."""
    if SECRET in text.upper():
        # Not repeated: it is on the screen and in the history of the shell already.
        raise UsageError(
            "--encrypt-to: this is a secret key, which is not needed here and should be on no command line",
            hint="Make a new pair of keys, and give the public one, which begins with age1.",
        )
    try:
        with Path(text).expanduser().open("rb") as stream:
            octets = stream.read(FILE_LIMIT + 1)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "not a path"
        raise UsageError(
            f"--encrypt-to: expected a public key (age1...) or a file of them; {display(text, 200)}: {why}",
            hint=MAKE_ONE,
        ) from None
    lines = [line.strip() for line in octets.decode("utf-8", "replace").splitlines()]
    keys = [line for line in lines if line and not line.startswith("#")]
    if any(SECRET in key.upper() for key in keys):
        raise UsageError(
            f"--encrypt-to: {display(text, 200)} has a secret key, which does not belong on this machine",
            hint="age-keygen -y FILE shows the public one, which is all that is needed here.",
        )
    if len(octets) > FILE_LIMIT or not keys or not all(key.startswith("age1") for key in keys):
        raise UsageError(
            f"--encrypt-to: expected lines that begin with age1, got something else in {display(text, 200)}",
            hint="Keys of SSH are not taken. " + MAKE_ONE,
        )
    return keys


def identity_of(options: argparse.Namespace, job: Job) -> Secret:
    """The secret keys that were named, empty without. UsageError where there have to be some, or they are none."""
    path: str | None = getattr(options, "identity", None)
    if path is None:
        for place in _read(options, job):
            _check_readable(place)
        return Secret("")
    secret = get_identity(path)
    _want_library("--identity")
    try:
        read_with(secret)
    except ValueError:
        raise UsageError(
            "--identity: a key in this file is damaged: a character of it is wrong or missing",
            hint="Take it from where you keep a second copy of it.",
        ) from None
    return secret


def _read(options: argparse.Namespace, job: Job) -> list[Endpoint]:
    """The places whose messages are certain to be read."""
    match options.command:
        case "migrate" | "restore":
            return [job.source]
        case "rebuild":
            return [job.source, job.dest]
        case "verify" if options.dest is not None:
            return [job.source, job.dest]
        case _:
            return []


def _check_readable(place: Endpoint) -> None:
    if place.path is None or place.protocol is not Protocol.MBOX:
        return
    found = (path for path in ([place.path] if place.path.is_file() else below(place.path)))
    try:
        count = sum(path.name.endswith(ENCRYPTED) for path in found)
    except StoreError as error:
        raise UsageError(error.what, hint=error.hint) from error
    if count:
        raise UsageError(
            f"files that are encrypted in this backup: {count:,}; they cannot be read without their secret key",
            hint="Name the file that has it with --identity FILE.",
        )


def _want_library(option: str) -> None:
    if not _is_there("pyrage"):
        raise UsageError(f"{option} needs the library for encrypted files, which is not installed", hint=INSTALL)


def has_zstd() -> bool:
    """Whether Python has the library, or the extra is installed."""
    return any(_is_there(name) for name in ("compression.zstd", "backports.zstd"))


def _is_there(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False  # not even the package that it would stand in
