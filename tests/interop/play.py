"""One server in its roles: migrations with the real command, compared by readers that share no code with it.

python -m tests.interop.play NAME COUNT      prints one line of JSON for each role
"""

from __future__ import annotations

import os
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.conftest import CORPUS
from tests.e2e.ferry import Ferry, Ran
from tests.support.dovecot import Dovecot, served_form, stored_form
from tests.support.mailgen import generate, odd_messages
from tests.support.raw import RawImap, RawPop3

from . import change
from .chroot import bring_up_loopback
from .result import Result
from .servers import KINDS, Kind, Place, corpus_files, scratch

SEED = 2026
GENERATED = 500
MAY_END_WITH = (0, 3)  # done, or done but for what was set aside


def messages(count: int) -> list[bytes]:
    """Real messages from the corpus, or made ones where it is absent; ``count`` of them, 0: all."""
    if CORPUS.is_dir():
        found = [served_form(path.read_bytes()) for path in corpus_files(CORPUS)]
    else:
        odd = list(odd_messages(SEED).values())
        found = [served_form(octets) for octets in [*generate(SEED, GENERATED - len(odd), odd=0), *odd]]
    return random.Random(SEED).sample(found, count) if count else found


def play(kind: Kind, sent: Sequence[bytes]) -> Iterator[Result]:
    with kind.start() as place:
        name = f"{kind.name} {place.version}"
        if "destination" in kind.roles:
            yield as_destination(name, place, sent)
        if "source" in kind.roles:
            if place.fill is not None:
                place.fill(sent)
            yield as_source(name, place)


def _migrate(source: str, dest: str, secrets: tuple[str, str]) -> Ran:
    with scratch() as directory:
        environment = {**os.environ, "OLD_PASSWORD": secrets[0], "NEW_PASSWORD": secrets[1]}
        migration = Ferry(source, dest, Path(directory) / "state" / "state.sqlite", environment, patience_s=3600)
        return migration.run("--dedupe", "off", "--verify", "full", "--settle", "0.2")


# --- as destination -----------------------------------------------------------------------------


def as_destination(name: str, place: Place, sent: Sequence[bytes]) -> Result:
    result = Result(name, "destination", offered=len(sent))
    with Dovecot() as old:
        old.deliver_many("old", sent)
        served = old.served_pop3("old")
        began_s = time.monotonic()
        ran = _migrate(
            f"pop3+insecure://old@127.0.0.1:{old.pop3_port}",
            f"imap+insecure://{place.user}@127.0.0.1:{place.imap_port}/{place.folder}",
            (old.password, place.password),
        )
        result.seconds = time.monotonic() - began_s
    result.violations += _ended(ran)
    kept = _stored(place)
    pairs, missing, strange = change.pair([octets for _, octets in served], kept)
    result.accepted = len(pairs)
    result.identical = sum(one == other for one, other in pairs)
    result.changed = dict(Counter(change.named(one, other) for one, other in pairs if one != other))
    result.refused = dict(Counter(_reason(event) for event in ran.all("set-aside") if not _is_kept(event)))
    if strange:
        result.violations.append(f"{len(strange)} copies that are nobody's")
    told = {event["uidl"] for name in ("altered", "set-aside") for event in ran.all(name)}
    aside = {event["uidl"] for event in ran.all("set-aside")}
    result.violations += _untold(served, pairs, missing, told, aside)
    return result


def _ended(ran: Ran) -> list[str]:
    if ran.code in MAY_END_WITH and ran.tally["open"] == 0:
        return []
    return [f"the run ended with {ran.code}: {ran.err[-500:]}"]


def _stored(place: Place) -> list[bytes]:
    assert place.imap_port is not None
    with RawImap("127.0.0.1", place.imap_port, place.user, place.password) as imap:
        return [one.octets for one in imap.stored(place.folder)]


def _is_kept(event: dict[str, Any]) -> bool:
    """Whether the message was stored, and set aside because the copy is another one."""
    return "keeps other octets" in event["reason"]


def _reason(event: dict[str, Any]) -> str:
    """The server's words without its tag, or ours."""
    said: str = event["said"] or event["reason"]
    return re.sub(r"^[A-Z0-9.]+ (?=NO|BAD)", "", said)[:100]


def _untold(
    served: Sequence[tuple[bytes, bytes]],
    pairs: Sequence[tuple[bytes, bytes]],
    missing: Sequence[bytes],
    told: set[str],
    aside: set[str],
) -> Iterator[str]:
    """Differences and refusals of which the command said nothing, counted for each group of identical messages."""
    uidls = defaultdict(set)
    for uidl, octets in served:
        uidls[octets].add(uidl.decode())
    changed = Counter(one for one, other in pairs if one != other)
    refused = Counter(missing)
    for octets in changed.keys() | refused.keys():
        if len(uidls[octets] & told) < changed[octets] + refused[octets]:
            yield f"a difference was not told: UIDL {sorted(uidls[octets])[0]}, {octets[:60]!r}"
        if len(uidls[octets] & aside) < refused[octets]:
            yield f"a message is missing and was not set aside: UIDL {sorted(uidls[octets])[0]}, {octets[:60]!r}"


# --- as source ----------------------------------------------------------------------------------


def as_source(name: str, place: Place) -> Result:
    result = Result(name, "source")
    assert place.pop3_port is not None
    with RawPop3("127.0.0.1", place.pop3_port, place.user, place.password, wants_utf8=True) as pop3:
        uidls = pop3.uidls()
        served = [pop3.retrieve(number) for number in range(1, len(uidls) + 1)]
        pop3.command("QUIT")
    result.offered = len(served)
    with Dovecot() as new:
        began_s = time.monotonic()
        ran = _migrate(
            f"pop3+insecure://{place.user}@127.0.0.1:{place.pop3_port}",
            f"imap+insecure://new@127.0.0.1:{new.imap_port}/Old",
            (place.password, new.password),
        )
        result.seconds = time.monotonic() - began_s
        kept = Counter(one.octets for one in new.stored("new", "Old"))
    result.violations += _ended(ran)
    wanted = Counter(map(stored_form, served))
    result.accepted = (wanted & kept).total()
    result.identical = sum(count for octets, count in (wanted & kept).items() if octets in set(served))
    if result.accepted > result.identical:
        result.changed["by Dovecot, as in its own row"] = result.accepted - result.identical
    if repeated := len(uidls) - len(set(uidls)):
        result.changed[f"{_NOTE} UIDLs that repeat"] = repeated
    for what, difference in (("missing", wanted - kept), ("that nobody had", kept - wanted)):
        if difference:
            result.violations.append(f"{difference.total()} {what}: {next(iter(difference))[:80]!r}")
    return result


_NOTE = "(not a change)"


def main() -> int:
    name, count = sys.argv[1], int(sys.argv[2])
    kind = KINDS[name]
    if kind.needs_chroot:
        bring_up_loopback()
    for result in play(kind, messages(count)):
        print(result.to_json(), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
