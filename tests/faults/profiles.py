"""The kinds of migration of the fault programme, and their mail."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests.support.mailgen import generate, odd_messages

_ODD = (
    "identical twin, first",
    "identical twin, second",
    "shared message-id, first body",
    "shared message-id, second body",
    "nul in the body",
    "dot lines",
    "no message-id",
    "bare cr",
)
PLAIN_CAPABILITY = "IMAP4rev1 LITERAL+ NAMESPACE"
STRICT_CAPABILITY = "IMAP4rev1 UIDPLUS NAMESPACE"


@dataclass(frozen=True)
class Profile:
    """A kind of migration between two kinds of servers."""

    name: str
    options: tuple[str, ...]
    capability: str | None = None  # what Dovecot's IMAP offers
    deletes_on_fetch: bool = False  # the source: what was fetched is gone after QUIT
    dest: dict[str, Any] = field(default_factory=dict)  # DestFacts as the victim shall see them
    memory_limit: int = 0
    scheme: str = "{}s"
    messages: int = 14

    @property
    def has_deletion(self) -> bool:
        return "--delete-after" in self.options

    @property
    def is_collapsing(self) -> bool:
        """Whether twins are kept once."""
        return "off" not in self.options


DELETE = ("--delete-after", "verified")
ALL = ("--dedupe", "off")
SMALL = {"batch_count": 3, "in_flight": 2}

PROFILES = (
    Profile("deletion", (*DELETE, *ALL), dest=SMALL),
    Profile(
        "no uids, one at a time",
        (*DELETE, *ALL),
        PLAIN_CAPABILITY,
        dest={**SMALL, "has_uids": False},
        scheme="{}+insecure",
    ),
    Profile("source deletes what was fetched", ALL, deletes_on_fetch=True, dest=SMALL),
    Profile("twins collapse", DELETE, dest=SMALL),
    Profile("nothing is deleted", ALL, dest=SMALL),
    Profile("three connections", (*DELETE, *ALL, "--connections", "3"), dest={"batch_count": 2, "in_flight": 2}),
    Profile("through files", (*DELETE, *ALL, "--verify", "full"), dest=SMALL, memory_limit=700, scheme="{}+insecure"),
    Profile("lock-step", (*DELETE, *ALL), STRICT_CAPABILITY, dest={"batch_count": 1}, scheme="{}"),
)

# Everything that the disk is asked for: state file, spool and deletion.
SPOOL_AND_RELEASE = Profile("spool and release", (*DELETE, *ALL), deletes_on_fetch=True, dest=SMALL)


def profile_named(name: str) -> Profile:
    return next(profile for profile in (*PROFILES, SPOOL_AND_RELEASE) if profile.name == name)


def small_messages(seed: int, count: int) -> Iterator[bytes]:
    """So many messages that are quickly moved, some of them odd, two of them twins."""
    found = odd_messages(seed)
    odd = [found[name] for name in _ODD][: count * 2 // 3]
    yield from odd
    for octets in generate(seed, count - len(odd), odd=0):
        header, _, body = octets.partition(b"\r\n\r\n")
        yield header + b"\r\n\r\n" + body[:400].rpartition(b"\r\n")[0] + b"\r\n"
