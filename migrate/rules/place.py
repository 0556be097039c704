"""Where a message goes and how: mailbox, flags and date."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from ..model import INBOX, Flags, InternalDate, MailboxName, Placement, Policy
from .dates import internal_date
from .flags import flags_of, marked

SUBSTITUTE = "_"


def place(
    header: bytes,
    policy: Policy,
    fetched_at: float,
    flags: Flags | None = None,
    internaldate: InternalDate | None = None,
    mailbox: MailboxName | None = None,
) -> Placement:
    """What becomes of a message with that header block. ``fetched_at``: seconds since the epoch.

    ``flags``, ``internaldate`` and ``mailbox``: as the source keeps them; then the header is not asked
    (but for a date that is only that of a From_ line).
    """
    flags = flags_of(header, policy.mark) if flags is None else marked(flags, policy.mark)
    return Placement(place_of(policy, mailbox), flags, internal_date(header, fetched_at, internaldate))


def places_of(policy: Policy, mailboxes: Iterable[MailboxName | None]) -> list[MailboxName]:
    """The mailboxes at the destination for the messages of a source that has these, each once."""
    if not policy.keeps_mailboxes:
        return [policy.mailbox]
    return list(dict.fromkeys(place_of(policy, mailbox) for mailbox in mailboxes))


def place_of(policy: Policy, mailbox: MailboxName | None) -> MailboxName:
    """The mailbox at the destination for a message that stood in this one at the source.

    A level of the source may hold the sign that the destination writes between levels: there it would be two levels,
    or refused. It becomes "_". Nothing else changes, and what a person named (``mailbox``, ``root``) never does.
    """
    if mailbox is None or not policy.keeps_mailboxes:
        return policy.mailbox
    if policy.separator:
        mailbox = MailboxName(tuple(level.replace(policy.separator, SUBSTITUTE) for level in mailbox.levels))
    if policy.root is None:
        return mailbox
    return policy.root if mailbox == INBOX else MailboxName((*policy.root.levels, *mailbox.levels))


def renamed(policy: Policy, mailboxes: Iterable[MailboxName | None]) -> Iterator[str]:
    """A sentence for each mailbox of the source that cannot have its name at the destination."""
    plain = replace(policy, separator="")
    sources: dict[MailboxName, list[MailboxName]] = {}
    for mailbox in dict.fromkeys(mailboxes):
        if mailbox is not None:
            sources.setdefault(place_of(policy, mailbox), []).append(mailbox)
    for target, names in sources.items():
        for name in names:
            if place_of(plain, name) != target:
                others = ", ".join(f'"{other}"' for other in names if other != name)
                yield (
                    f'The folder "{name}" is "{target}" at the destination, which writes "{policy.separator}" between '
                    f"folders" + (f", together with {others}." if others else ".")
                )
