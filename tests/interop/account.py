"""Whether the command told everything that the script sees: nothing missing, nothing changed in silence."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tests.e2e.ferry import Json, Ran

from . import change

MAY_END_WITH = (0, 3)  # done, or done but for what was set aside

# A change as this script names it, and a word that the command's own name for it has.
_WORDS = {change.NUL_AS_80: "NUL", change.CR_DROPPED: "bare CR", change.EOL_ADDED: "final", change.AS_X: "8-bit"}


@dataclass
class _Alike:
    """Messages of the same octets: which copy is whose cannot be told among them."""

    uidls: set[str] = field(default_factory=set)
    changes: list[tuple[str, ...]] = field(default_factory=list)  # of the copies that differ
    missing: int = 0


def ended(ran: Ran) -> Iterator[str]:
    """Why the run did not come to its end."""
    if ran.code not in MAY_END_WITH or not ran.all("finished") or ran.tally["open"]:
        problems = [problem for event in ran.all("finished") for problem in event["problems"]]
        yield f"the run ended with {ran.code}: {problems} {ran.err[-500:]}"


def is_stored(event: Json) -> bool:
    """Whether a message that was set aside is at the destination all the same, as other octets."""
    return "keeps other octets" in event["reason"]


def refusals(ran: Ran) -> Counter[str]:
    """The messages set aside and not stored, by the reason."""
    return Counter(_reason(event) for event in ran.all("set-aside") if not is_stored(event))


def _reason(event: Json) -> str:
    said = re.sub(r"^\S+ (NO|BAD) ", "", str(event["said"]))
    said = re.sub(r"\[[A-Z0-9.-]+\] ", "", said)
    return (said or str(event["reason"])).strip()[:100]


def untold(ran: Ran, served: Sequence[tuple[bytes, bytes]], pairs: change.Pairs) -> Iterator[str]:
    """Every difference between what is there and what the command told about it. UIDLs are unique here."""
    altered = {event["uidl"]: " ".join(event["changes"]) for event in ran.all("altered")}
    aside = {event["uidl"]: event for event in ran.all("set-aside")}
    groups: defaultdict[bytes, _Alike] = defaultdict(_Alike)
    for uidl, octets in served:
        groups[octets].uidls.add(uidl.decode())
    for sent, kept in pairs.found:
        if sent != kept:
            groups[sent].changes.append(change.named(sent, kept))
    for sent in pairs.missing:
        groups[sent].missing += 1
    for octets, group in groups.items():
        for fault in _faults(group, altered, aside):
            yield f"{fault}: UIDL {min(group.uidls)}, {octets[:60]!r}"
    if pairs.strange:
        yield f"{len(pairs.strange)} copies that are nobody's: {pairs.strange[0][:200]!r}"


def _faults(group: _Alike, altered: dict[str, str], aside: dict[str, Json]) -> Iterator[str]:
    refused = sum(uidl in aside and not is_stored(aside[uidl]) for uidl in group.uidls)
    differs = sum(uidl in aside and is_stored(aside[uidl]) for uidl in group.uidls)
    told = [altered[uidl] for uidl in group.uidls & altered.keys()]
    if group.missing != refused:
        yield f"{group.missing} missing, {refused} told to be refused"
    if len(group.changes) != len(told) + differs:
        yield f"{len(group.changes)} changed, {len(told)} told to be altered, {differs} told to differ"
    for text in told:
        words = {word for word in _WORDS.values() if word in text}
        if not any(words == _words(names) for names in group.changes):
            yield f"told: {text}; seen: {group.changes}"


def _words(names: tuple[str, ...]) -> set[str]:
    return {_WORDS.get(name, name) for name in names}
