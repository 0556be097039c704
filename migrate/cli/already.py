"""``--already-have FILE``: the UIDLs that another program has fetched, from the list that it keeps."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..errors import UsageError
from ..model import Endpoint, Protocol, display
from ..wire.uidls import Account, Uidls, Unreadable, read

SHOWN = 5  # accounts of a file that are named

# What getmail writes a "-" for, in the name of its list.
_NOT_IN_A_NAME = re.compile(r"[/\\:;<>|]+")

Already = tuple[tuple[str, frozenset[bytes]], ...]


def already_had(names: Sequence[str], source: Endpoint) -> Already:
    """The UIDLs of this account that the files name, each list with the reason. UsageError for every other file."""
    if names and source.protocol is not Protocol.POP3:
        raise UsageError(
            "--already-have: these files name messages of POP3 accounts, and SOURCE is none",
            hint="--baseline marks what is there now as done.",
        )
    return tuple(_of_file(Path(name).expanduser(), source) for name in names)


def _of_file(path: Path, source: Endpoint) -> tuple[str, frozenset[bytes]]:
    shown = f"--already-have: {display(str(path), 1000)}"
    try:
        lists = read(path.read_bytes())
    except (OSError, ValueError) as error:
        if isinstance(error, Unreadable):
            raise UsageError(f"{shown}, {error}", hint="Nothing of the file was used. Take it as it is.") from None
        why = getattr(error, "strerror", None) or "not a path"
        raise UsageError(f"{shown} cannot be read: {why}") from None
    _check_name(path, source, shown)
    return f"{lists.program} has it already", frozenset(_own(lists, source, shown))


def _own(lists: Uidls, source: Endpoint, shown: str) -> set[bytes]:
    """Those of the source. UIDLs of two accounts may be the same, so they are of that account or none."""
    if None in lists.accounts:
        return lists.accounts[None]
    own: Account = (source.user, source.host.lower())
    if own not in lists.accounts:
        others = [f"{display(user)}@{display(host)}" for user, host in filter(None, lists.accounts)]
        more = f" and {len(others) - SHOWN:,} more" if len(others) > SHOWN else ""
        has = f"it has those of {', '.join(others[:SHOWN])}{more}" if others else "it names no account"
        raise UsageError(
            f"{shown} ({lists.program}) has no list of {display(source.account)}: {has}",
            hint="If one of these is the same account by another name, write that name in a copy of the file.",
        )
    return lists.accounts[own]


def _check_name(path: Path, source: Endpoint, shown: str) -> None:
    """A list of getmail tells its account by its name alone: oldmail-HOST-PORT-USER."""
    if not path.name.startswith("oldmail-"):
        return
    host, user = (re.escape(_NOT_IN_A_NAME.sub("-", text)) for text in (source.host, source.user))
    if not re.fullmatch(f"oldmail-(?i:{host})-[0-9]+-{user}", path.name):
        raise UsageError(
            f"{shown} is by its name not of {display(source.account)}: expected oldmail-HOST-PORT-USER",
            hint="If it is the same account by another name, give a copy of the file a name without oldmail-.",
        )
