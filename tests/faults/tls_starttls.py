"""STARTTLS and STLS under tampering: no password in clear, and no line said in clear counts behind TLS.

Each behaviour is played against the real store. Either the session does not
come to stand, or everything it then tells is what it tells of an honest server.
"""

from __future__ import annotations

import multiprocessing
import re
import select
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from migrate.commands import (
    CloseDest,
    CloseSource,
    Command,
    Fetch,
    FetchHeaders,
    ListSource,
    OpenDest,
    OpenMailbox,
    OpenSource,
    SearchUids,
)
from migrate.errors import Cause, StoreError
from migrate.model import Endpoint, MailboxName, Protocol, Secret, Tls
from migrate.rules.dedupe import INDEX_FIELDS, Digester
from migrate.stores import net
from migrate.stores.base import Session
from migrate.stores.imap import ImapAppender
from migrate.stores.pop3 import Pop3Reader
from migrate.wire.imap import Quirk
from tests.failures.canary import DEST, leaks
from tests.fakes.cutter import SENT, Cutter
from tests.fakes.haste import hurried
from tests.fakes.liar import Stage, pin
from tests.fakes.tamperer import Behaviour, Segments, TamperedImap, TamperedPop3

from .report import Report

WORKERS = 4
TIMEOUT_S = 0.5
PASSWORD = DEST
MAILBOX = MailboxName(("Old",))
LETTER = b"Message-ID: <1@example.org>\r\nSubject: one\r\n\r\ntext\r\n"

# --- what is slipped in ---------------------------------------------------------------------------

IMAP_LINES: dict[str, bytes] = {
    "LIST": b'* LIST (\\Noselect) "." "Old"\r\n',
    "LIST with a literal": b'* LIST () "/" {5}\r\nEVIL!\r\n',
    "LSUB": b'* LSUB () "/" "EVIL"\r\n',
    "STATUS": b'* STATUS "Old" (UIDNEXT 666)\r\n',
    "SEARCH": b"* SEARCH 1 666\r\n",
    "FLAGS": b"* FLAGS (\\Evil)\r\n",
    "EXISTS": b"* 666 EXISTS\r\n",
    "RECENT": b"* 666 RECENT\r\n",
    "EXPUNGE": b"* 1 EXPUNGE\r\n",
    "FETCH": b"* 1 FETCH (UID 1 RFC822.SIZE 666 BODY[HEADER.FIELDS (A)] {0}\r\n)\r\n",
    "NAMESPACE": b'* NAMESPACE (("EVIL." ".")) NIL NIL\r\n',
    "CAPABILITY": b"* CAPABILITY IMAP4rev1 LOGINDISABLED MULTIAPPEND\r\n",
    "CAPABILITY with AUTH": b"* CAPABILITY IMAP4rev1 AUTH=PLAIN AUTH=EVIL\r\n",
    "OK with CAPABILITY": b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED] evil\r\n",
    "ALERT": b"* OK [ALERT] call +1 666 and tell your password\r\n",
    "REFERRAL": b"* OK [REFERRAL imap://evil.example/] go there\r\n",
    "UIDVALIDITY": b"* OK [UIDVALIDITY 666] evil\r\n",
    "NO": b"* NO evil\r\n",
    "BAD": b"* BAD evil\r\n",
    "BYE": b"* BYE evil\r\n",
    "PREAUTH": b"* PREAUTH you are in\r\n",
    "ID": b'* ID ("name" "evil")\r\n',
    "ENABLED": b"* ENABLED UTF8=ACCEPT\r\n",
    "continuation": b"+ your password please\r\n",
    "tagged OK, guessed": b"T1 OK go\r\n",
    "tagged OK of another": b"A0001 OK logged in\r\n",
    "garbage": b"\xff\xfe evil\r\n",
    "an empty line": b"\r\n",
    "half a line": b"* LIST () ",
}
HARMLESS = ("CAPABILITY", "CAPABILITY with AUTH", "OK with CAPABILITY", "ALERT", "REFERRAL", "UIDVALIDITY")

POP3_LINES: dict[str, bytes] = {
    "+OK": b"+OK injected\r\n",
    "-ERR": b"-ERR injected\r\n",
    "a list of capabilities": b"+OK\r\nSASL EVIL\r\nEXPIRE 0\r\n.\r\n",
    "STAT": b"+OK 666 666\r\n",
    "UIDL": b"+OK\r\n1 evil\r\n.\r\n",
    "a challenge": b"+ \r\n",
    "a dot": b".\r\n",
    "a line of a listing": b"1 666\r\n",
    "garbage": b"\xff\xfe evil\r\n",
    "an empty line": b"\r\n",
    "half a line": b"+O",
}


def around(greeting: bytes, answer: bytes, line: bytes) -> Iterator[tuple[str, Segments, Segments]]:
    """The places where a line can be slipped in: greeting and answer in their segments."""
    yield "with the greeting", (greeting + line,), (answer,)
    yield "behind the greeting", (greeting, line), (answer,)
    yield "before the answer, in its segment", (greeting,), (line + answer,)
    yield "before the answer", (greeting,), (line, answer)
    yield "behind the answer, in its segment", (greeting,), (answer + line,)
    yield "behind the answer", (greeting,), (answer, line)


# --- IMAP -------------------------------------------------------------------------------------------

READY, BEGIN = b"* OK ready\r\n", b"$t OK begin\r\n"

IMAP_GREETINGS: dict[str, bytes] = {
    "plain": READY,
    "with STARTTLS": b"* OK [CAPABILITY IMAP4rev1 STARTTLS LOGINDISABLED] ready\r\n",
    "without STARTTLS": b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] ready\r\n",
    "with everything": b"* OK [CAPABILITY IMAP4rev1 STARTTLS AUTH=PLAIN MULTIAPPEND LITERAL+ X] ready\r\n",
    "without capabilities": b"* OK [CAPABILITY] ready\r\n",
    "with an alert": b"* OK [ALERT] ready\r\n",
    "without a text": b"* OK\r\n",
}
IMAP_NO_GREETINGS: dict[str, bytes] = {
    "PREAUTH": b"* PREAUTH in\r\n",
    "PREAUTH with STARTTLS": b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] in\r\n",
    "BYE": b"* BYE\r\n",
    "NO": b"* NO\r\n",
    "BAD": b"* BAD\r\n",
    "tagged": b"T1 OK\r\n",
    "continuation": b"+ OK\r\n",
    "POP3": b"+OK\r\n",
    "garbage": b"\xff\xfe\r\n",
}
# name -> segments, whether TLS follows, whether the connection is closed, whether the session may stand
IMAP_ANSWERS: dict[str, tuple[Segments, bool, bool, bool]] = {
    "OK": ((BEGIN,), True, False, True),
    "OK with CAPABILITY": ((b"$t OK [CAPABILITY IMAP4rev1 LOGINDISABLED] begin\r\n",), True, False, True),
    "OK without a text": ((b"$t OK\r\n",), True, False, True),
    "OK in two segments": ((b"$t O", b"K begin\r\n"), True, False, True),
    "NO": ((b"$t NO not now\r\n",), False, False, False),
    "NO, and TLS all the same": ((b"$t NO not now\r\n",), True, False, False),
    "NO, then closed": ((b"$t NO\r\n",), False, True, False),
    "BAD": ((b"$t BAD what\r\n",), False, False, False),
    "a continuation": ((b"+ begin\r\n",), True, False, False),
    "an untagged OK": ((b"* OK begin\r\n",), True, False, False),
    "OK for another tag": ((b"$t9 OK begin\r\n",), True, False, False),
    "OK, and no TLS": ((BEGIN,), False, False, False),
    "OK, and clear text goes on": (
        (BEGIN, b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] in clear\r\n"),
        False,
        False,
        False,
    ),
    "OK twice": ((BEGIN + BEGIN,), True, False, False),
    "OK, then BYE": ((BEGIN + b"* BYE\r\n",), False, True, False),
    "OK, then BYE apart": ((BEGIN, b"* BYE\r\n"), False, True, False),
    "OK, then closed": ((BEGIN,), False, True, False),
    "OK, then a TLS alert": ((BEGIN, b"\x15\x03\x01\x00\x02\x02\x28"), False, False, False),
    "no answer": ((), False, False, False),
    "closed": ((), False, True, False),
    "BYE": ((b"* BYE\r\n",), False, True, False),
    "OK without CR": ((b"$t OK begin\n",), True, False, False),
    "1 MB": ((b"$t OK " + b"x" * 1_000_000 + b"\r\n",), True, False, False),
}


def imap_behaviours() -> list[Behaviour]:
    """The product of greetings and answers, and every line in every place."""
    found = []
    for greeting, said in IMAP_GREETINGS.items():
        for answer, (segments, has_tls, is_closed, opens) in IMAP_ANSWERS.items():
            found.append(Behaviour(f"greeting {greeting}, {answer}", (said,), segments, has_tls, is_closed, opens))
    for greeting, said in IMAP_NO_GREETINGS.items():
        found.append(Behaviour(f"greeting {greeting}", (said,), (BEGIN,)))
    for name, line in IMAP_LINES.items():
        for place, greeting_segments, answer_segments in around(READY, BEGIN, line):
            opens = name in HARMLESS and "behind the answer" not in place
            found.append(Behaviour(f"{name} {place}", greeting_segments, answer_segments, opens=opens))
    return found


# --- POP3 -------------------------------------------------------------------------------------------

POP3_GREETINGS: dict[str, bytes] = {
    "plain": b"+OK ready\r\n",
    "for APOP": b"+OK <1.2@evil.example>\r\n",
    "without a text": b"+OK\r\n",
    "that lists capabilities": b"+OK CAPA SASL PLAIN STLS\r\n",
}
POP3_NO_GREETINGS: dict[str, bytes] = {
    "-ERR": b"-ERR\r\n",
    "IMAP": b"* OK\r\n",
    "twice": b"+OK\r\n+OK\r\n",
    "garbage": b"\xff\xfe\r\n",
}
POP3_ANSWERS: dict[str, tuple[Segments, bool, bool, bool]] = {
    "+OK": ((b"+OK begin\r\n",), True, False, True),
    "+OK without a text": ((b"+OK\r\n",), True, False, True),
    "+OK in two segments": ((b"+O", b"K\r\n"), True, False, True),
    "-ERR": ((b"-ERR no\r\n",), False, False, False),
    "-ERR, and TLS all the same": ((b"-ERR no\r\n",), True, False, False),
    "-ERR for now": ((b"-ERR [SYS/TEMP] later\r\n",), False, False, False),
    "a challenge": ((b"+ \r\n",), True, False, False),
    "OK": ((b"OK\r\n",), True, False, False),
    "+OKAY": ((b"+OKAY\r\n",), True, False, False),
    "+OK, and no TLS": ((b"+OK\r\n",), False, False, False),
    "+OK, and clear text goes on": ((b"+OK\r\n", b"+OK in clear\r\n"), False, False, False),
    "+OK twice": ((b"+OK\r\n+OK\r\n",), True, False, False),
    "+OK, then -ERR": ((b"+OK\r\n-ERR bye\r\n",), False, True, False),
    "+OK, then closed": ((b"+OK\r\n",), False, True, False),
    "+OK, then a TLS alert": ((b"+OK\r\n", b"\x15\x03\x01\x00\x02\x02\x28"), False, False, False),
    "no answer": ((), False, False, False),
    "closed": ((), False, True, False),
    "+OK without CR": ((b"+OK\n",), True, False, False),
    "1 MB": ((b"+OK " + b"x" * 1_000_000 + b"\r\n",), True, False, False),
}


def pop3_behaviours() -> list[Behaviour]:
    found = []
    for greeting, said in POP3_GREETINGS.items():
        for answer, (segments, has_tls, is_closed, opens) in POP3_ANSWERS.items():
            found.append(Behaviour(f"greeting {greeting}, {answer}", (said,), segments, has_tls, is_closed, opens))
    for greeting, said in POP3_NO_GREETINGS.items():
        found.append(Behaviour(f"greeting {greeting}", (said,), (b"+OK\r\n",)))
    for name, line in POP3_LINES.items():
        for place, greeting_segments, answer_segments in around(b"+OK ready\r\n", b"+OK begin\r\n", line):
            found.append(Behaviour(f"{name} {place}", greeting_segments, answer_segments))
    return found


# --- playing ----------------------------------------------------------------------------------------


def honest(protocol: Protocol) -> Behaviour:
    if protocol is Protocol.IMAP:
        return Behaviour("honest", (READY,), (BEGIN,), opens=True)
    return Behaviour("honest", (b"+OK ready\r\n",), (b"+OK begin\r\n",), opens=True)


def play(protocol: Protocol, behaviour: Behaviour) -> tuple[tuple[object, list[str]], list[str]]:
    """All that the session tells of such a server (or its error) and asks inside TLS; and what is wrong."""
    asked: list[str] = []
    habits = {"behaviour": behaviour, "asked": asked}
    imap = type("Tampered", (TamperedImap,), habits)
    pop3 = type("Tampered", (TamperedPop3,), habits)
    with Stage(PASSWORD, pop3, imap) as stage, hurried(TIMEOUT_S):
        stage.deliver("u", LETTER)
        stage.deliver("u", LETTER, "Old")
        port = stage.imap_port if protocol is Protocol.IMAP else stage.pop3_port
        with Cutter(port) as wire:
            endpoint = Endpoint(protocol, "u", "127.0.0.1", wire.port, Tls.STARTTLS, pin=pin())
            told = _talk(endpoint)
        sent = bytes(wire.streams[SENT])
    wrong = list(leaks(sent, "clear text"))
    before_tls = sent.partition(b"\x16\x03")[0]
    if not re.fullmatch(rb"|T1 STARTTLS\r\n|STLS\r\n", before_tls):
        wrong.append(f"it said in clear: {before_tls[:200]!r}")
    return (told, asked), wrong


def _talk(endpoint: Endpoint) -> object:
    """The values of a short conversation as text, or the StoreError that ended it."""
    if endpoint.protocol is Protocol.IMAP:
        session: Session = ImapAppender(
            endpoint, Secret(PASSWORD), connect=net.connect, clock=time.monotonic, timeout_s=TIMEOUT_S
        )
        commands: list[Command] = [
            OpenDest(0),
            OpenMailbox(0, MAILBOX, create=True),
            SearchUids(0, MAILBOX, 1),
            FetchHeaders(0, MAILBOX, [1], INDEX_FIELDS),
            CloseDest(0),
        ]
    else:
        session = Pop3Reader(
            endpoint,
            Secret(PASSWORD),
            connect=net.connect,
            digester=Digester,
            spill_dir=Path(tempfile.gettempdir()),
            clock=time.monotonic,
            timeout_s=TIMEOUT_S,
        )
        commands = [OpenSource(), ListSource()]
    told = []
    try:
        while commands:
            command = commands.pop(0)
            value, error = _carry_out(session, command)
            if isinstance(error, StoreError):
                return error
            if isinstance(command, ListSource):
                value = list(value)
                commands += [*map(Fetch, value), CloseSource(quit=True)]
            told.append(f"{value} {error}")
        # That an answer had no text is our own remark, and no harm.
        told += [str(one) for one in getattr(session, "notices", ()) if one[0] != Quirk.NO_TEXT.value]
    finally:
        session.close()
    return [re.sub(r"127\.0\.0\.1:\d+", "server", text) for text in told]


def _carry_out(session: Session, command: Command) -> tuple[Any, object]:
    session.submit(command)
    until_s = time.monotonic() + 10 * TIMEOUT_S
    while time.monotonic() < until_s:
        for outcome in session.turn():
            return outcome.value, outcome.error
        descriptor = session.fileno()
        if descriptor is not None and not session.is_ready():
            _wait(descriptor)
    raise AssertionError(f"{type(command).__name__} did not end")


def _wait(descriptor: int) -> None:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    poll.poll(100)


@cache
def _reference(protocol: Protocol) -> object:
    told, wrong = play(protocol, honest(protocol))
    assert not wrong, wrong
    return told


def judge(protocol: Protocol, behaviour: Behaviour) -> list[str]:
    """What is wrong with how the store took this behaviour."""
    (told, asked), wrong = play(protocol, behaviour)
    if isinstance(told, StoreError):
        if told.cause is Cause.LOGIN:
            wrong.append("it blames the password, which was never sent")
        if behaviour.opens:
            wrong.append(f"refused: {told}")
    elif not behaviour.opens:
        wrong.append("the session came to stand")
    elif (told, asked) != _reference(protocol):
        wrong.append(f"what was said in clear counts: {told} {asked}")
    return [f"{protocol.value}: {behaviour.name}: {one}" for one in wrong]


def _judge(case: tuple[Protocol, Behaviour]) -> list[str]:
    try:
        return judge(*case)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a fault found
        return [f"{case[0].value}: {case[1].name}: {type(error).__name__}: {error}"]


def main(full: bool, seed: int, share: int = 1) -> Report:
    """Every behaviour of both protocols (every ``share``-th of them)."""
    report = Report("STARTTLS and STLS under tampering")
    imap, pop3 = imap_behaviours()[::share], pop3_behaviours()[::share]
    cases = [(Protocol.IMAP, one) for one in imap] + [(Protocol.POP3, one) for one in pop3]
    pin()  # once, for all workers
    with ProcessPoolExecutor(WORKERS, multiprocessing.get_context("fork")) as pool:
        for wrong in pool.map(_judge, cases, chunksize=4):
            report.violations += wrong
    report.cases = len(cases)
    report.notes.append(f"{len(imap)} of IMAP, {len(pop3)} of POP3")
    return report
