"""URLs, references to secrets and options -> Job."""

from .endpoint import FILES, SCHEMES, Side, is_loopback, parse_endpoint, parse_pin
from .job import STATE_IN_BACKUP, Job, default_state_path, digest, state_directory
from .secrets import Keeper, SecretRef, get_identity, get_secret, parse_secret_ref

__all__ = [
    "FILES",
    "SCHEMES",
    "STATE_IN_BACKUP",
    "Job",
    "Keeper",
    "SecretRef",
    "Side",
    "default_state_path",
    "digest",
    "get_identity",
    "get_secret",
    "is_loopback",
    "parse_endpoint",
    "parse_pin",
    "parse_secret_ref",
    "state_directory",
]
