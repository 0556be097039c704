"""What one run is asked to do, and where its state file stands."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from ..model import Endpoint, Policy, Protocol
from .secrets import Keeper, SecretRef

STATE_IN_BACKUP = {
    Protocol.MBOX: ".popferry",
    Protocol.MAILDIR: "popferry",  # a dot would make it a folder of the mail
}
NAME_LIMIT = 60  # characters of one account in a file name; the hash tells long ones apart


@dataclass(frozen=True, slots=True)
class Job:
    """One migration, complete but for the passwords themselves."""

    source: Endpoint
    dest: Endpoint
    policy: Policy
    state_path: Path
    source_password: SecretRef = field(default_factory=SecretRef)
    dest_password: SecretRef = field(default_factory=SecretRef)
    allow_clear: bool = False  # passwords may go in clear text to another machine
    trace_path: Path | None = None
    log_path: Path | None = None
    layout: str = "month"  # of new mbox files: month, year or one
    compress: bool = False  # mbox files of months that are over
    recipients: tuple[str, ...] = ()  # public keys that such files are encrypted to
    is_backup: bool = False  # what it stored before has to be there, whoever may delete from it
    wanted: Callable[[bytes, datetime | None], bool] | None = None  # of files: by header and internal date
    timeout_s: float = 60.0

    @property
    def accounts(self) -> tuple[str, str]:
        """Whose the state file is. One that stands in its own backup goes where that is moved."""
        path = self.dest.path
        is_inside = path is not None and self.state_path.is_relative_to(path)
        return self.source.account, self.dest.protocol.value if is_inside else self.dest.account

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that hold a password of this job."""
        refs = (self.source_password, self.dest_password)
        return frozenset(ref.value for ref in refs if ref.keeper is Keeper.ENV)


def state_directory() -> Path:
    """The directory of the state files (XDG state directory); not made here."""
    import platformdirs

    return Path(platformdirs.user_state_dir("popferry", appauthor=False))


def default_state_path(source: Endpoint, dest: Endpoint, part: str = "") -> Path:
    """The state file of a pair of accounts: login and host of both ends, whatever scheme, port or mailbox.

    That of a backup stands in it. ``part`` names what of the source is meant, where that is not all of it.
    """
    more = [part] if part else []
    if dest.path is not None:
        name = f"{_safe(source.account)}-{digest(source.account, *more)}.sqlite"
        return dest.path / STATE_IN_BACKUP[dest.protocol] / name
    accounts = (source.account, dest.account)
    return state_directory() / f"{'--'.join(map(_safe, accounts))}-{digest(*accounts, *more)}.sqlite"


def digest(*texts: str) -> str:
    """Ten digits that tell these texts from others."""
    # "\n" is in no account: other accounts never give the same text.
    return hashlib.sha256("\n".join(texts).encode(errors="surrogateescape")).hexdigest()[:10]


def _safe(account: str) -> str:
    name = re.sub(r"[^A-Za-z0-9@._-]", "_", account)[:NAME_LIMIT]
    return re.sub(r"^[.-]", "_", name)
