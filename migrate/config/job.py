"""What one run is asked to do, and where its state file stands."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path

from ..model import Endpoint, Policy
from .secrets import Keeper, SecretRef

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
    timeout_s: float = 60.0

    @property
    def secret_variables(self) -> frozenset[str]:
        """The environment variables that hold a password of this job."""
        refs = (self.source_password, self.dest_password)
        return frozenset(ref.value for ref in refs if ref.keeper is Keeper.ENV)


def state_directory() -> Path:
    """The directory of the state files (XDG state directory); not made here."""
    import platformdirs

    return Path(platformdirs.user_state_dir("popferry", appauthor=False))


def default_state_path(source: Endpoint, dest: Endpoint) -> Path:
    """The state file of a pair of accounts: login and host of both ends, whatever scheme, port or mailbox."""
    accounts = (source.account, dest.account)
    # "\n" is in no account: two pairs never give the same text.
    digest = hashlib.sha256("\n".join(accounts).encode()).hexdigest()[:10]
    return state_directory() / f"{'--'.join(map(_safe, accounts))}-{digest}.sqlite"


def _safe(account: str) -> str:
    name = re.sub(r"[^A-Za-z0-9@._-]", "_", account)[:NAME_LIMIT]
    return re.sub(r"^[.-]", "_", name)
