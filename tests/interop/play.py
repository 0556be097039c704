"""One server in its roles: migrations with the real command, compared by readers that share no code with it.

python -m tests.interop.play NAME COUNT      prints one line of JSON for each role
"""

from __future__ import annotations

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import CORPUS
from tests.e2e.ferry import Ferry, Ran
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate, odd_messages
from tests.support.raw import RawImap, RawPop3

from . import account, change
from .chroot import bring_up_loopback
from .place import DESTINATION, SOURCE, Kind, Place
from .result import Result
from .servers import KINDS

SEED = 2026
GENERATED = 500
PATIENCE_S = 3600
OPTIONS = ("--dedupe", "off", "--verify", "full", "--settle", "0.2")


def messages(count: int) -> list[bytes]:
    """Real messages from the corpus, or made ones where it is absent; ``count`` of them, 0: all."""
    if CORPUS.is_dir():
        found = [path.read_bytes() for path in sorted((CORPUS / "eml").rglob("*")) if path.is_file()]
    else:
        odd = list(odd_messages(SEED).values())
        found = [*generate(SEED, GENERATED - len(odd), odd=0), *odd]
    return random.Random(SEED).sample(found, count) if 0 < count < len(found) else found


def play(kind: Kind, sent: Sequence[bytes]) -> Iterator[Result]:
    """The roles of one server, one after the other, on the same running server."""
    with kind.start() as place:
        name = f"{kind.name} {place.version}"
        if DESTINATION in kind.roles:
            yield as_destination(name, place, sent)
        if SOURCE in kind.roles:
            if place.fill is not None:
                place.fill(sent)
            yield as_source(name, place)


def _migrate(result: Result, source: str, dest: str, secrets: tuple[str, str]) -> Ran:
    with tempfile.TemporaryDirectory(prefix="pf-interop-") as directory:
        home = Path(directory)
        environment = {
            **os.environ,
            "OLD_PASSWORD": secrets[0],
            "NEW_PASSWORD": secrets[1],
            "XDG_STATE_HOME": str(home / "xdg"),
        }
        migration = Ferry(source, dest, home / "state.sqlite", environment, patience_s=PATIENCE_S)
        began_s = time.monotonic()
        ran = migration.run(*OPTIONS)
        result.seconds = time.monotonic() - began_s
    result.violations += account.ended(ran)
    return ran


def as_destination(name: str, place: Place, sent: Sequence[bytes]) -> Result:
    """Out of a Dovecot, into the server."""
    result = Result(name, DESTINATION, offered=len(sent))
    with Dovecot() as old:
        old.deliver_many("old", sent)
        served = old.served_pop3("old")
        source = f"pop3+insecure://old@127.0.0.1:{old.pop3_port}"
        dest = f"imap+insecure://{place.user}@127.0.0.1:{place.imap_port}/{place.folder}"
        ran = _migrate(result, source, dest, (old.password, place.password))
    with RawImap("127.0.0.1", place.imap_port, place.user, place.password) as imap:
        kept = [one.octets for one in imap.stored(place.folder)]
    pairs = change.pair([octets for _, octets in served], kept)
    result.accepted = len(pairs.found)
    result.identical = sum(one == other for one, other in pairs.found)
    result.changed = Counter(", ".join(change.named(*found)) for found in pairs.found if found[0] != found[1])
    result.refused = account.refusals(ran)
    if differ := sum(map(account.is_stored, ran.all("set-aside"))):
        result.notes.append(f"{differ:,} set aside as kept with other octets")
    result.violations += account.untold(ran, served, pairs)
    if result.accepted + result.refused.total() != result.offered:
        result.violations.append("accepted and refused are not what was offered")
    return result


def as_source(name: str, place: Place) -> Result:
    """Out of the server, into a Dovecot."""
    result = Result(name, SOURCE)
    served = _served(place)
    uidls = [uidl for uidl, _ in served]
    result.offered = len(served)
    with Dovecot() as new:
        source = f"pop3+insecure://{place.user}@127.0.0.1:{place.pop3_port}"
        dest = f"imap+insecure://new@127.0.0.1:{new.imap_port}/Old"
        ran = _migrate(result, source, dest, (place.password, new.password))
        kept = Counter(one.octets for one in new.stored("new", "Old"))
    # How Dovecot keeps what it gets is known: see its own rows.
    wanted = Counter(new.kept(octets) for _, octets in served)
    result.accepted = (wanted & kept).total()
    for _, octets in served:
        names = ", ".join(change.named(octets, new.kept(octets)))
        result.changed.update([f"{names} (by Dovecot)"] if names else [])
    result.refused = account.refusals(ran)
    if repeated := len(uidls) - len(set(uidls)):
        result.notes.append(f"{repeated:,} UIDLs that another message had before")
    missing, strange = wanted - kept, kept - wanted
    if missing and place.keeps_books:
        # What it serves differs from one session to the next: the one after the run may say the same as the run saw.
        after = Counter(new.kept(octets) for _, octets in _served(place))
        again = strange & after
        result.accepted += again.total()
        result.notes += [f"{again.total():,} as served after the run, not before"] if again else []
        strange -= again
        for one, _ in change.pair(missing.elements(), again.elements()).found:
            missing[one] -= 1
        missing = +missing
    result.identical = result.accepted - result.changed.total()
    if missing.total() != result.refused.total():
        result.violations.append(f"{missing.total()} missing: {next(iter(missing), b'')[:200]!r}")
    if strange:
        result.violations.append(f"{strange.total()} that nobody had: {next(iter(strange))[:200]!r}")
    if len(ran.all("altered")) != result.changed.total():
        result.violations.append(f"{len(ran.all('altered'))} told to be altered, {result.changed.total()} seen")
    return result


def _served(place: Place) -> list[tuple[bytes, bytes]]:
    """(uidl, octets) of every message, read twice where reading changes it."""
    served: list[tuple[bytes, bytes]] = []
    for _ in range(2 if place.keeps_books else 1):
        with RawPop3("127.0.0.1", place.pop3_port, place.user, place.password, utf8=place.has_utf8) as pop3:
            served = [(uidl, pop3.retrieve(number)) for number, uidl in enumerate(pop3.uidls(), start=1)]
            pop3.command("QUIT")  # some keep the mailbox locked for who does not say it
    return served


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
