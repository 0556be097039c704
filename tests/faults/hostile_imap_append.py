"""IMAP servers that lie about what they store: APPEND, its literals, its answers, APPENDUID."""

from __future__ import annotations

import threading
from datetime import datetime
from typing import Any

from migrate.errors import Exit
from tests.fakes.liar_imap import LyingImap, imap
from tests.support.embedded.imap import No
from tests.support.embedded.session import Mailbox

from .hostile_play import LETTERS, Must, Row

REFUSED, CONTAINED, TOLERATED = Must.REFUSED, Must.CONTAINED, Must.TOLERATED
OK, LATER, UNUSABLE, ASIDE, FULL = Exit.OK, Exit.TEMPORARY, Exit.DEST_UNUSABLE, Exit.SET_ASIDE, Exit.DEST_FULL

SYNC = b"IMAP4rev1 UIDPLUS NAMESPACE"
MULTI = b"IMAP4rev1 LITERAL+ UIDPLUS NAMESPACE MULTIAPPEND"


def stores(how: Any, **more: Any) -> type[LyingImap]:
    """A server that keeps a message in its own way: ``how(self, mailbox, octets, flags, when)``."""
    return imap(store=how, **more)


def coded(code: bytes, **more: Any) -> type[LyingImap]:
    """A server with this response code in its OK to APPEND."""
    return imap(append_code=lambda self, uidvalidity, first, last: code, **more)


def keeps(change: Any) -> Any:
    """Keeps other octets than it was given."""

    def store(self: LyingImap, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
        mailbox.add(change(octets), flags, when)

    return store


def _twice(self: LyingImap, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
    for _ in range(2):
        mailbox.add(octets, flags, when)


def _elsewhere(self: LyingImap, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
    assert self.account is not None
    self.account.mailboxes.setdefault("Junk", Mailbox()).add(octets, flags, when)


def _nowhere(self: LyingImap, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
    mailbox.uidnext += 1


def _later(delay_s: float) -> Any:
    """Keeps a message when its answer is long out."""

    def store(self: LyingImap, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
        def land() -> None:
            with self.house.lock:
                mailbox.add(octets, flags, when)

        timer = threading.Timer(delay_s, land)
        timer.daemon = True
        timer.start()

    return store


class ThenRefuses(LyingImap):
    """Keeps it, and says that it did not."""

    words = "sorry"

    def do_append(self, tokens: list[bytes]) -> bytes:
        super().do_append(tokens)
        raise No(self.words)


class Picky(LyingImap):
    """Takes no message that holds one word."""

    word = b"second"
    words = "not that one"

    def do_append(self, tokens: list[bytes]) -> bytes:
        if any(self.word in token for token in tokens):
            raise No(self.words)
        return super().do_append(tokens)


class First(LyingImap):
    """Of a batch it keeps the first message only, and says OK to all."""

    capability = MULTI

    def store(self, mailbox: Mailbox, octets: bytes, flags: str, when: datetime) -> None:
        if LETTERS[1] != octets:
            super().store(mailbox, octets, flags, when)


def _first_then(self: LyingImap, words: bytes) -> bytes:
    """Keeps it, then says this instead of the usual answer."""
    with self.house.lock:
        self.do_append(self.tokens)
    return words


def _never_again(self: LyingImap) -> bytes:
    with self.house.lock:
        self.do_append(self.tokens)
    self.hang()
    return b""


def refuses(words: str) -> type[LyingImap]:
    return imap(instead={"append": b"$t NO " + words.encode() + b"\r\n"})


LITERALS = [
    Row("APPEND: OK instead of +", REFUSED, UNUSABLE,
        imap=imap(capability=SYNC, instead={"continuation": b"$t OK [APPENDUID 1 1] stored\r\n"}), says="OK before"),
    Row("APPEND: NO instead of +", CONTAINED, ASIDE,
        imap=imap(capability=SYNC, turned_away=b"$t NO not that\r\n")),
    Row("APPEND: BAD instead of +", CONTAINED, ASIDE, imap=imap(capability=SYNC, turned_away=b"$t BAD not that\r\n")),
    Row("APPEND: + never comes", REFUSED, LATER, imap=imap(capability=SYNC, hangs="continuation")),
    Row("APPEND: hung up instead of +", REFUSED, LATER, imap=imap(capability=SYNC, closes="continuation")),
    Row("APPEND: + twice", CONTAINED, UNUSABLE,
        imap=imap(capability=SYNC, instead={"continuation": b"+ go\r\n+ go\r\n"})),
    Row("APPEND: + without a space", TOLERATED, OK, imap=imap(capability=SYNC, instead={"continuation": b"+\r\n"})),
    Row("APPEND: + with garbage", TOLERATED, OK,
        imap=imap(capability=SYNC, instead={"continuation": b"+\xff\x1b[2J go\r\n"})),
    Row("APPEND: + of 1 MB", CONTAINED, UNUSABLE,
        imap=imap(capability=SYNC, instead={"continuation": b"+ " + b"x" * 1_000_000 + b"\r\n"})),
    Row("APPEND: BYE instead of +", REFUSED, LATER,
        imap=imap(capability=SYNC, instead={"continuation": b"* BYE no room\r\n"})),
    Row("APPEND: + though LITERAL+ was offered", CONTAINED, UNUSABLE, imap=imap(before={"append": b"+ go\r\n"})),
    Row("APPEND: + before anything was sent", REFUSED, UNUSABLE, imap=imap(after={"select": b"+ go\r\n"})),
    Row("APPEND: OK before the literal is out", CONTAINED, UNUSABLE,
        imap=imap(capability=SYNC, instead={"continuation": b"$t OK quick\r\n+ go\r\n"})),
    Row("APPEND: answered for a tag that comes later", CONTAINED, UNUSABLE,
        imap=imap(instead={"append": b"A99999 OK [APPENDUID 1 1] done\r\n"})),
    Row("APPEND: answered twice", CONTAINED, UNUSABLE,
        imap=imap(after={"append": b"$t OK again\r\n"})),
    Row("MULTIAPPEND: keeps the first only", CONTAINED, ASIDE, imap=First),
    Row("MULTIAPPEND: offered, refused as syntax", CONTAINED, ASIDE,
        imap=type("Refusing", (Picky,), {"capability": MULTI, "word": b"", "words": "no MULTIAPPEND here"})),
    Row("MULTIAPPEND: one poisoned message", CONTAINED, ASIDE, imap=type("Picky", (Picky,), {"capability": MULTI}),
        says="not that one"),
]  # fmt: skip

STORED = [
    Row("APPEND: OK and not stored", CONTAINED, ASIDE, imap=stores(_nowhere), says="does not have it"),
    Row("APPEND: OK and not stored, no APPENDUID", CONTAINED, ASIDE, imap=stores(_nowhere, append_code=lambda *_: b"")),
    Row("APPEND: NO, though stored", CONTAINED, ASIDE, imap=ThenRefuses),
    Row("APPEND: NO, though stored, in batches", CONTAINED, ASIDE, or_code=OK,
        imap=type("Then", (ThenRefuses,), {"capability": MULTI})),
    Row("APPEND: BAD, though stored", CONTAINED, ASIDE, imap=imap(instead={
        "append": lambda self: _first_then(self, b"$t BAD what\r\n")})),
    Row("APPEND: stored, then BYE", CONTAINED, LATER, or_code=OK,
        imap=imap(instead={"append": lambda self: _first_then(self, b"* BYE full moon\r\n")}, leaves="append")),
    Row("APPEND: stored, then hung up", CONTAINED, LATER, or_code=OK, imap=imap(
        instead={"append": lambda self: _first_then(self, b"")}, leaves="append")),
    Row("APPEND: stored, never answered", CONTAINED, LATER, or_code=OK, imap=imap(instead={"append": _never_again})),
    Row("APPEND: stored twice", CONTAINED, OK, imap=stores(_twice), extra=3),
    Row("APPEND: stored a little later", CONTAINED, OK, imap=stores(_later(0.02))),
    Row("APPEND: stored in another folder", CONTAINED, ASIDE, imap=stores(_elsewhere), extra=3, reported=0),
    Row("APPEND: stored without its end", CONTAINED, ASIDE,
        imap=stores(keeps(lambda octets: octets[:-7])), is_other=True, then=ASIDE),
    Row("APPEND: stored empty", CONTAINED, ASIDE, imap=stores(keeps(lambda octets: b"")), is_other=True),
    Row("APPEND: one octet changed", CONTAINED, ASIDE,
        imap=stores(keeps(lambda octets: octets[:-3] + b"#" + octets[-2:])), is_other=True, then=ASIDE),
    Row("APPEND: a header field added", CONTAINED, ASIDE,
        imap=stores(keeps(lambda octets: b"X-Scanned: yes\r\n" + octets)), is_other=True, then=ASIDE),
    Row("APPEND: another message stored", CONTAINED, ASIDE,
        imap=stores(keeps(lambda octets: b"Subject: spam\r\n\r\nbuy\r\n")), is_other=True),
    Row("APPEND: line ends changed", CONTAINED, ASIDE, or_code=OK,
        imap=stores(keeps(lambda octets: octets.replace(b"\r\n", b"\n"))), is_other=True, then=ASIDE),
    Row("APPEND: one refused, the others go on", CONTAINED, ASIDE, imap=Picky, says="not that one"),
    Row("APPEND: all refused", CONTAINED, ASIDE, imap=refuses("no")),
    Row("APPEND: all BAD", CONTAINED, ASIDE, imap=imap(instead={"append": b"$t BAD\r\n"})),
    Row("APPEND: TRYCREATE for ever", CONTAINED, LATER, imap=refuses("[TRYCREATE] make it first")),
    Row("APPEND: OVERQUOTA", CONTAINED, FULL, imap=refuses("[OVERQUOTA] full")),
    Row("APPEND: full, in words", CONTAINED, FULL, imap=refuses("Quota exceeded (mailbox for user is full)")),
    Row("APPEND: LIMIT", CONTAINED, LATER, imap=refuses("[LIMIT] slow down")),
    Row("APPEND: throttled, in words", CONTAINED, LATER,
        imap=refuses("Request is throttled. Suggested Backoff Time: 9 ms")),
    Row("APPEND: no rights", CONTAINED, UNUSABLE, imap=refuses("[NOPERM] not yours")),
    Row("APPEND: logged out meanwhile", CONTAINED, LATER, imap=refuses("[AUTHENTICATIONFAILED] who are you")),
    Row("APPEND: escape sequences in the refusal", CONTAINED, ASIDE, imap=refuses("\x1b[2J\x1b]0;x\x07 \x85 no")),
    Row("APPEND: refused in 60,000 words", CONTAINED, ASIDE, imap=refuses("no " * 20_000)),
    Row("APPEND: refused in 1 MB", CONTAINED, UNUSABLE, imap=refuses("no " * 400_000)),
    Row("APPEND: never answered, not stored", CONTAINED, LATER, imap=imap(hangs="append")),
    Row("APPEND: hung up, not stored", CONTAINED, LATER, imap=imap(closes="append")),
    Row("APPEND: EXISTS and EXPUNGE in thousands", TOLERATED, OK,
        imap=imap(before={"append": b"* 5 EXISTS\r\n* 9 EXPUNGE\r\n" * 5000})),
    Row("APPEND: endless EXISTS", CONTAINED, UNUSABLE, or_code=LATER, imap=imap(floods={"append": b"* 5 EXISTS\r\n"})),
    Row("APPEND: one octet at a time", CONTAINED, OK, or_code=LATER, imap=imap(trickles="append")),
    Row("APPEND: OK without a text", TOLERATED, OK,
        imap=imap(instead={"append": lambda self: _first_then(self, b"$t OK\r\n")})),
]  # fmt: skip

_CODES = {
    "0 0": b"[APPENDUID 0 0] ",
    "a range for one": b"[APPENDUID 1 1:5] ",
    "words": b"[APPENDUID x y] ",
    "below zero": b"[APPENDUID -1 -1] ",
    "no uid": b"[APPENDUID 1 ] ",
    "nothing": b"[APPENDUID] ",
    "beyond 32 bits": b"[APPENDUID 1 4294967296] ",
    "20 digits": b"[APPENDUID 1 99999999999999999999] ",
    "another UIDVALIDITY": b"[APPENDUID 7 1] ",
    "always uid 1": b"[APPENDUID 1 1] ",
    "a uid far too high": b"[APPENDUID 1 4000000000] ",
    "a set backwards": b"[APPENDUID 1 3:1] ",
    "commas": b"[APPENDUID 1 1,2,3] ",
    "not closed": b"[APPENDUID 1 1 ",
    "twice": b"[APPENDUID 1 1] [APPENDUID 1 2] ",
    "small letters": b"[appenduid 1 1] ",
    "in another place": b"[ALERT] [APPENDUID 1 1] ",
}

# A uid that names no copy or another one is found out when the copy is read back: then it is looked for, or set aside.
APPENDUID = [
    *(Row(f"APPENDUID: {name}", CONTAINED, OK, or_code=ASIDE, imap=coded(code)) for name, code in _CODES.items()),
    *(Row(f"APPENDUID in batches: {name}", CONTAINED, OK, or_code=ASIDE, imap=coded(code, capability=MULTI))
      for name, code in _CODES.items()),
    Row("APPENDUID: of the message before", CONTAINED, OK, or_code=ASIDE,
        imap=imap(append_code=lambda self, uidvalidity, first, last: b"[APPENDUID 1 %d] " % max(1, first - 1))),
    Row("APPENDUID: of the message to come", CONTAINED, OK, or_code=ASIDE,
        imap=imap(append_code=lambda self, uidvalidity, first, last: b"[APPENDUID 1 %d] " % (last + 1))),
]  # fmt: skip

ROWS = [*LITERALS, *STORED, *APPENDUID]
