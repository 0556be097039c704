"""4: trouble that may pass. Nothing is lost, and the same command goes on."""

from __future__ import annotations

import socket
import sys
from itertools import count

import pytest

from ..support.embedded.session import ServerSession
from ..support.relay import Relay
from .conftest import FIVE, MakeEnds, Popferry
from .servers import fickle, greeting, hanging_up, imap_refusing, losing_once, pop3_answering

AGAIN = "Nothing is lost. Run the same command to continue."
# Waits one second for a server instead of a minute.
HASTY = """
import sys
from migrate.config import Job
Job.__init__.__defaults__ = (*Job.__init__.__defaults__[:-1], 1.0)  # timeout_s
from migrate.cli import main
sys.exit(main())
"""


def test_a_server_that_refuses_connections_is_told_within_seconds(ends: MakeEnds, popferry: Popferry) -> None:
    source, dest = ends().words
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets it meanwhile
        nobody = f"127.0.0.1:{closed.getsockname()[1]}"
        runs = {
            "source": popferry.another("a").begin_migration(f"pop3s://alice@{nobody}", dest),
            "destination": popferry.another("b").begin_migration(source, f"imaps://bob@{nobody}"),
        }
        for end, running in runs.items():
            ran = running.wait()
            ran.told(4, f"{end.capitalize()}: {nobody} refuses connections. Trying again in 1 s.")
            ran.told(4, f"{nobody} refuses connections. Check host and port; or the server is down for now.", AGAIN)
            assert ran.err.count("Trying again") == 2


def test_a_host_that_does_not_exist_is_told_at_once(ends: MakeEnds, popferry: Popferry) -> None:
    ran = popferry.migrate("pop3s://alice@nobody.invalid", ends().words[1])
    ran.told(4, "the host name nobody.invalid was not found. Check the spelling of the host and the network")


BUSY_SOURCES: dict[str, tuple[type[ServerSession], list[str]]] = {
    "in use": (
        pop3_answering("pass", b"-ERR [IN-USE] locked by another session"),
        ["does not open the maildrop now", "Another program may have it open"],
    ),
    "login delay": (
        pop3_answering("pass", b"-ERR [LOGIN-DELAY] wait 60 s"),
        ["does not open the maildrop now", "a pause between two logins"],
    ),
    "in words": (pop3_answering("pass", b"-ERR maildrop already locked"), ["does not open the maildrop now"]),
    "greeting": (greeting(b"-ERR too many connections\r\n"), ["turned us away", '"-ERR too many connections"']),
    "listing": (pop3_answering("stat", b"-ERR [SYS/TEMP] index is being rebuilt"), ["busy"]),
}


@pytest.mark.parametrize("case", BUSY_SOURCES)
def test_a_busy_source_is_4(case: str, ends: MakeEnds, popferry: Popferry) -> None:
    kind, essence = BUSY_SOURCES[case]
    popferry.migrate(*ends(pop3=kind).words).told(4, "Source: ", AGAIN, *essence)


BUSY_DESTINATIONS: dict[str, tuple[type[ServerSession], list[str]]] = {
    "greeting": (
        hanging_up(b"* BYE [UNAVAILABLE] too many connections\r\n"),
        ["turned us away", "too many connections"],
    ),
    "login": (imap_refusing("login", "[UNAVAILABLE] come back later"), ["asks to slow down or come back later"]),
    "throttled": (
        imap_refusing("append", "[LIMIT] Rate limit hit."),
        ["asks to slow down", '"NO [LIMIT] Rate limit hit."'],
    ),
    "select": (imap_refusing("select", "[INUSE] being moved"), ["asks to slow down"]),
}


@pytest.mark.parametrize("case", BUSY_DESTINATIONS)
def test_a_busy_destination_is_4(case: str, ends: MakeEnds, popferry: Popferry) -> None:
    kind, essence = BUSY_DESTINATIONS[case]
    both = ends(imap=kind)
    both.deliver(*FIVE)
    popferry.migrate(*both.words).told(4, "Destination: ", "run the same command again", AGAIN, *essence)


@pytest.mark.parametrize("end", ["source", "destination"])
def test_a_silent_server_is_told_with_what_it_may_wait_for(end: str, ends: MakeEnds, popferry: Popferry) -> None:
    popferry.program = (sys.executable, "-c", HASTY)
    both = ends(pop3=greeting(b""), imap=greeting(b"")) if end == "destination" else ends(pop3=greeting(b""))
    scheme = "pop3s" if end == "source" else "imaps"
    ran = popferry.migrate(*both.words)
    ran.told(4, f"{end.capitalize()}: 127.0.0.1:", "said nothing for", f"write {scheme}://", AGAIN)


def test_a_connection_cut_in_the_middle_is_mended_in_the_same_run(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    both.deliver(*FIVE)
    with Relay(both.source.pop3_port, cut_received=600) as relay:
        ran = popferry.migrate(f"pop3+insecure://alice@127.0.0.1:{relay.port}", both.words[1])
    ran.told(0, "Source: 127.0.0.1:", "ended the connection. Trying again in 1 s.")
    both.check_complete(*FIVE)


def test_a_destination_that_asks_for_a_pause_gets_it_and_then_the_rest(ends: MakeEnds, popferry: Popferry) -> None:
    appends = count(1)
    words = "Request is throttled. Suggested Backoff Time: 1600 milliseconds"
    both = ends(imap=imap_refusing("append", words, lambda tokens: next(appends) == 4))
    both.deliver(*FIVE)
    ran = popferry.migrate(*both.words)
    ran.told(0, "Destination: the IMAP server asks to slow down", "Trying again in 2 s.")
    both.check_complete(*FIVE)


def test_a_source_that_still_holds_our_lost_session_is_waited_for(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends(pop3=losing_once())
    both.deliver(*FIVE)
    ran = popferry.migrate(*both.words)
    ran.told(0, "does not open the maildrop now", "[IN-USE]", "Trying again in 2 s.")
    both.check_complete(*FIVE)


def test_a_source_suddenly_empty_is_4_and_accept_missing_ends_it(ends: MakeEnds, popferry: Popferry) -> None:
    kind = fickle()
    both = ends(pop3=kind)
    both.deliver(*FIVE)
    popferry.migrate(*both.words, "--limit", "2").told(0)
    kind.is_empty = True
    ran = popferry.migrate(*both.words)
    ran.told(4, "Source: the source is suddenly empty, with 3 messages still to copy.", "--accept-missing", AGAIN)
    ran = popferry.migrate(*both.words, "--accept-missing")
    ran.told(0, "3 messages are gone: they left the source before they were copied.")
    assert "3  gone from the source before they were copied" in ran.out
    popferry.migrate(*both.words).told(0)
    kind.is_empty = False
    popferry.migrate(*both.words).told(0)
    both.check_complete(*FIVE)
