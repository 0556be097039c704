"""IMAP servers that lie about a mailbox: SELECT, STATUS, SEARCH, FETCH, LOGOUT."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, ClassVar

from migrate.errors import Exit
from tests.fakes.liar_imap import LyingImap, imap

from .hostile_play import Must, Row

REFUSED, CONTAINED, TOLERATED = Must.REFUSED, Must.CONTAINED, Must.TOLERATED
OK, LATER, UNUSABLE, ASIDE = Exit.OK, Exit.TEMPORARY, Exit.DEST_UNUSABLE, Exit.SET_ASIDE

ALL_FLAGS = b"(\\Answered \\Flagged \\Deleted \\Seen \\Draft)"


def selected(*lines: bytes, code: bytes = b"[READ-WRITE] ") -> type[LyingImap]:
    """A server that says exactly these lines to every SELECT. ``%d`` stands for UIDNEXT where a line has it."""

    def do_select(self: LyingImap, tokens: list[bytes]) -> bytes:
        self._mailbox = self._find(tokens[0])
        for line in lines:
            self.send((line % self._mailbox.uidnext if b"%d" in line else line) + b"\r\n")
        return code

    return imap(do_select=do_select, do_examine=do_select)


FLAGS = b"* FLAGS " + ALL_FLAGS
EXISTS, VALID, NEXT = b"* 0 EXISTS", b"* OK [UIDVALIDITY 1] yes", b"* OK [UIDNEXT %d] yes"


def _changing() -> type[LyingImap]:
    """Another UIDVALIDITY at every SELECT."""
    count = iter(range(100, 10_000))

    def do_select(self: LyingImap, tokens: list[bytes]) -> bytes:
        self._mailbox = self._find(tokens[0])
        self.send(
            b"\r\n".join((FLAGS, EXISTS, b"* OK [UIDVALIDITY %d] new" % next(count), NEXT % self._mailbox.uidnext))
        )
        self.send(b"\r\n")
        return b"[READ-WRITE] "

    return imap(do_select=do_select)


SELECT = [
    Row("SELECT: READ-ONLY, and stores all the same", TOLERATED, OK,
        imap=selected(FLAGS, EXISTS, VALID, NEXT, code=b"[READ-ONLY] ")),
    Row("SELECT: UIDVALIDITY 0", CONTAINED, OK, imap=selected(FLAGS, EXISTS, b"* OK [UIDVALIDITY 0] no", NEXT)),
    Row("SELECT: no UIDVALIDITY", CONTAINED, OK, imap=selected(FLAGS, EXISTS, NEXT)),
    Row("SELECT: UIDVALIDITY twice", CONTAINED, LATER, or_code=OK,
        imap=selected(FLAGS, EXISTS, VALID, b"* OK [UIDVALIDITY 2] no", NEXT)),
    Row("SELECT: UIDVALIDITY of 11 digits", CONTAINED, OK,
        imap=selected(FLAGS, EXISTS, b"* OK [UIDVALIDITY 99999999999] no", NEXT)),
    Row("SELECT: UIDVALIDITY that is a word", REFUSED, UNUSABLE,
        imap=selected(FLAGS, EXISTS, b"* OK [UIDVALIDITY x] no", NEXT)),
    Row("SELECT: UIDVALIDITY below zero", CONTAINED, OK,
        imap=selected(FLAGS, EXISTS, b"* OK [UIDVALIDITY -1] no", NEXT)),
    Row("SELECT: another UIDVALIDITY each time", CONTAINED, LATER, or_code=OK, imap=_changing()),
    Row("SELECT: no UIDNEXT", TOLERATED, OK, imap=selected(FLAGS, EXISTS, VALID)),
    Row("SELECT: UIDNEXT always 1", TOLERATED, OK, imap=selected(FLAGS, EXISTS, VALID, b"* OK [UIDNEXT 1] yes")),
    Row("SELECT: UIDNEXT far too high", CONTAINED, OK, or_code=ASIDE,
        imap=selected(FLAGS, EXISTS, VALID, b"* OK [UIDNEXT 4294967295] yes")),
    Row("SELECT: UIDNEXT of 20 digits", TOLERATED, OK,
        imap=selected(FLAGS, EXISTS, VALID, b"* OK [UIDNEXT 99999999999999999999] yes")),
    Row("SELECT: 4 billion messages", TOLERATED, OK, imap=selected(FLAGS, b"* 4294967295 EXISTS", VALID, NEXT)),
    Row("SELECT: 4 billion messages and no UIDNEXT", TOLERATED, OK,
        imap=selected(FLAGS, b"* 4294967295 EXISTS", VALID)),
    Row("SELECT: EXISTS of 20 digits", TOLERATED, OK,
        imap=selected(FLAGS, b"* 99999999999999999999 EXISTS", VALID, NEXT)),
    Row("SELECT: no EXISTS", TOLERATED, OK, imap=selected(FLAGS, VALID, NEXT)),
    Row("SELECT: PERMANENTFLAGS empty", TOLERATED, OK,
        imap=selected(FLAGS, EXISTS, VALID, NEXT, b"* OK [PERMANENTFLAGS ()] no")),
    Row("SELECT: PERMANENTFLAGS odd", TOLERATED, OK,
        imap=selected(FLAGS, EXISTS, VALID, NEXT, b'* OK [PERMANENTFLAGS ("x" \\\xff 7 NIL \\*)] no')),
    Row("SELECT: PERMANENTFLAGS that are no list", CONTAINED, UNUSABLE, or_code=OK,
        imap=selected(FLAGS, EXISTS, VALID, NEXT, b"* OK [PERMANENTFLAGS 7] no")),
    Row("SELECT: no FLAGS", TOLERATED, OK, imap=selected(EXISTS, VALID, NEXT)),
    Row("SELECT: UIDNOTSTICKY", TOLERATED, OK, imap=selected(FLAGS, EXISTS, VALID, NEXT, b"* NO [UIDNOTSTICKY] no")),
    Row("SELECT: nothing but OK", CONTAINED, OK, imap=selected()),
    Row("SELECT refused", REFUSED, UNUSABLE, imap=imap(instead={"select": b"$t NO [NONEXISTENT] gone\r\n"})),
    Row("SELECT said to be busy", REFUSED, LATER, imap=imap(instead={"select": b"$t NO [INUSE] later\r\n"})),
    Row("SELECT answered BAD", REFUSED, UNUSABLE, imap=imap(instead={"select": b"$t BAD\r\n"})),
    Row("SELECT never answered", REFUSED, LATER, imap=imap(hangs="select")),
    Row("SELECT hung up", REFUSED, LATER, imap=imap(closes="select")),
    Row("SELECT and BYE", REFUSED, LATER, imap=imap(instead={"select": b"* BYE now\r\n"}, leaves="select")),
    Row("SELECT with a literal bomb", REFUSED, UNUSABLE,
        imap=imap(before={"select": b"* LIST () NIL {99999999999999999999}\r\n"})),
    Row("SELECT with endless lines", REFUSED, UNUSABLE, or_code=LATER, imap=imap(floods={"select": b"* 7 RECENT\r\n"})),
]  # fmt: skip


def searched(answer: bytes) -> type[LyingImap]:
    return imap(instead={"uid_search": answer + b"\r\n$t OK done\r\n"})


def _ascending(self: LyingImap) -> bytes:
    """Never the same uid twice, and never an end."""
    low = 1
    while True:
        self.send(b"".join(b"* SEARCH %d %d\r\n" % (uid, uid + 1) for uid in range(low, low + 2000, 2)))
        low += 2000


def _eight_million(self: LyingImap) -> bytes:
    """Eight million times the same uid in one line."""
    self.send(b"* SEARCH")
    for _ in range(1000):
        self.send(b" 7" * 8000)
    return b"\r\n$t OK done\r\n"


SEARCH = [
    Row("SEARCH finds nothing ever", TOLERATED, OK, imap=searched(b"* SEARCH")),
    Row("SEARCH without an answer", TOLERATED, OK, imap=imap(instead={"uid_search": b"$t OK done\r\n"})),
    Row("SEARCH finds what is not there", TOLERATED, OK, imap=searched(b"* SEARCH 5000 5001 5002")),
    Row("SEARCH finds uid 0", TOLERATED, OK, imap=searched(b"* SEARCH 0")),
    Row("SEARCH finds uids beyond 32 bits", REFUSED, UNUSABLE, imap=searched(b"* SEARCH 4294967296")),
    Row("SEARCH finds words", REFUSED, UNUSABLE, imap=searched(b"* SEARCH one two")),
    Row("SEARCH finds a number of 5,000 digits", REFUSED, UNUSABLE, imap=searched(b"* SEARCH " + b"9" * 5000)),
    Row("SEARCH finds the same uid again and again", TOLERATED, OK, imap=searched(b"* SEARCH" + b" 1" * 10_000)),
    Row("SEARCH finds 8 million uids in one line", REFUSED, UNUSABLE,
        imap=imap(instead={"uid_search": _eight_million})),
    Row("SEARCH finds more each time", REFUSED, UNUSABLE, or_code=LATER, imap=imap(instead={"uid_search": _ascending})),
    Row("SEARCH refused", REFUSED, LATER, imap=imap(instead={"uid_search": b"$t NO\r\n"})),
    Row("SEARCH never answered", REFUSED, LATER, imap=imap(hangs="uid_search")),
    Row("SEARCH endless", REFUSED, UNUSABLE, or_code=LATER, imap=imap(floods={"uid_search": b"* SEARCH 1 2 3\r\n"})),
    Row("SEARCH one line without end", REFUSED, UNUSABLE, or_code=LATER,
        imap=imap(before={"uid_search": b"* SEARCH "}, floods={"uid_search": b"7 "})),
    Row("SEARCH hidden: what was stored comes to light at the end only", CONTAINED, OK, or_code=ASIDE,
        imap=imap(append_code=lambda *_: b"", instead={"uid_search": b"* SEARCH\r\n$t OK\r\n"})),
    Row("NOOP refused", REFUSED, LATER, imap=imap(instead={"noop": b"$t NO\r\n"})),
    Row("NOOP never answered", REFUSED, LATER, imap=imap(hangs="noop")),
]  # fmt: skip

Rewrite = Callable[[bytes], bytes]


class _Rewriting(LyingImap):
    """Changes what it says to one command."""

    rewrites: ClassVar[dict[str, Rewrite]] = {}
    _said: list[bytes] | None = None  # what is held back while it is rewritten

    def _answer(self, name: str, tokens: list[bytes]) -> None:
        if name not in self.rewrites:
            super()._answer(name, tokens)
            return
        self._said = []
        super()._answer(name, tokens)
        said, self._said = b"".join(self._said), None
        self.send(self.rewrites[name](said).replace(b"$t", self.tag))

    def send(self, octets: bytes) -> None:
        if self._said is None:
            super().send(octets)
        else:
            self._said.append(octets)


def fetched(rewrite: Rewrite, **more: Any) -> type[LyingImap]:
    return type("Rewriting", (_Rewriting,), {"rewrites": {"uid_fetch": rewrite}, **more})


def bodies(rewrite: Callable[[re.Match[bytes]], bytes]) -> type[LyingImap]:
    """Changes every FETCH response that has a body: (number, uid, octets) of the match.

    A body that was asked for together with its size keeps that size, as far as it is one.
    """
    pattern = re.compile(rb"\* (\d+) FETCH \(UID (\d+) (RFC822\.SIZE \d+ )?BODY\[\](<0>)? \{(\d+)\}\r\n")

    def all_bodies(said: bytes) -> bytes:
        out, at = b"", 0
        while match := pattern.search(said, at):
            end = match.end() + int(match[5])
            whole = re.compile(rb"(?s)(\d+) (\d+) (.*)").fullmatch(
                b"%b %b " % (match[1], match[2]) + said[match.end() : end]
            )
            assert whole is not None
            label = b"%bBODY[]%b " % (match[3] or b"", match[4] or b"")
            out += said[at : match.start()] + rewrite(whole).replace(b"BODY[] ", label)
            at = end + 3  # ")" and the line's end
        return out + said[at:]

    return fetched(all_bodies)


def body(number: bytes, uid: bytes, octets: bytes) -> bytes:
    return b"* %b FETCH (UID %b BODY[] {%d}\r\n%b)\r\n" % (number, uid, len(octets), octets)


def announces(size: bytes) -> type[LyingImap]:
    """A server whose bodies have this size, as it says, and never come."""
    return bodies(lambda m: b"* 1 FETCH (UID %b BODY[] {%b}\r\n" % (m[2], size))


FETCH = [
    Row("FETCH: the other UID", CONTAINED, ASIDE, imap=bodies(lambda m: body(m[1], b"%d" % (int(m[2]) + 7), m[3]))),
    Row("FETCH: no UID", CONTAINED, ASIDE,
        imap=bodies(lambda m: b"* 1 FETCH (BODY[] {%d}\r\n%b)\r\n" % (len(m[3]), m[3]))),
    Row("FETCH: UIDs exchanged", CONTAINED, OK,  # each message is found under the other uid, and both are there
        imap=bodies(lambda m: body(m[1], {b"2": b"3", b"3": b"2"}.get(m[2], m[2]), m[3]))),
    Row("FETCH: two bodies, the wrong one first", CONTAINED, ASIDE,
        imap=bodies(lambda m: body(m[1], m[2], b"X" + m[3][1:]) + body(m[1], m[2], m[3]))),
    Row("FETCH: two bodies, the wrong one last", TOLERATED, OK,
        imap=bodies(lambda m: body(m[1], m[2], m[3]) + body(m[1], m[2], b"X" + m[3][1:]))),
    Row("FETCH: body one octet short", CONTAINED, ASIDE, imap=bodies(lambda m: body(m[1], m[2], m[3][:-1]))),
    Row("FETCH: body one octet long", CONTAINED, ASIDE, imap=bodies(lambda m: body(m[1], m[2], m[3] + b"\n"))),
    Row("FETCH: literal larger than its body", CONTAINED, UNUSABLE, or_code=LATER,
        imap=bodies(lambda m: b"* 1 FETCH (UID %b BODY[] {%d}\r\n%b)\r\n" % (m[2], len(m[3]) + 10, m[3]))),
    Row("FETCH: literal smaller than its body", CONTAINED, UNUSABLE,
        imap=bodies(lambda m: b"* 1 FETCH (UID %b BODY[] {%d}\r\n%b)\r\n" % (m[2], len(m[3]) - 10, m[3]))),
    Row("FETCH: literal {0}", CONTAINED, ASIDE, imap=bodies(lambda m: body(m[1], m[2], b""))),
    *(Row(f"FETCH: literal {{{size}}}", CONTAINED, UNUSABLE, imap=announces(size.encode()))
      for size in ("-1", "3000000000", "900000000000", "99999999999999999999", "1e3", "", "0x10", "7+-")),
    Row("FETCH: 60,000 parentheses", CONTAINED, UNUSABLE,
        imap=bodies(lambda m: b"* 1 FETCH (UID %b BODY " % m[2] + b"(" * 60_000 + b"\r\n")),
    Row("FETCH: 60,000 parentheses, closed", CONTAINED, ASIDE,
        imap=bodies(lambda m: b"* 1 FETCH (UID %b ENVELOPE " % m[2] + b"(" * 30_000 + b")" * 30_000 + b")\r\n")),
    Row("FETCH: body NIL", CONTAINED, ASIDE, imap=bodies(lambda m: b"* 1 FETCH (UID %b BODY[] NIL)\r\n" % m[2])),
    Row("FETCH: body as a quoted string", TOLERATED, OK,
        imap=bodies(lambda m: body(m[1], m[2], m[3]).replace(b"FETCH (UID", b'FETCH (X "a\\"b" UID'))),
    Row("FETCH: another section", CONTAINED, ASIDE,
        imap=bodies(lambda m: body(m[1], m[2], m[3]).replace(b"[]", b"[TEXT]"))),
    Row("FETCH: no body at all", CONTAINED, ASIDE, imap=bodies(lambda m: b"* 1 FETCH (UID %b FLAGS ())\r\n" % m[2])),
    Row("FETCH: nothing but OK", CONTAINED, ASIDE, imap=imap(instead={"uid_fetch": b"$t OK done\r\n"})),
    Row("FETCH: answers of others and EXPUNGE between", TOLERATED, OK,
        imap=bodies(lambda m: b"* 9 FETCH (FLAGS (\\Seen))\r\n* 7 EXPUNGE\r\n* 5 EXISTS\r\n" + body(m[1], m[2], m[3]))),
    Row("FETCH: 8-bit rubbish between", CONTAINED, UNUSABLE,
        imap=bodies(lambda m: b"\xff\xfe\r\n" + body(m[1], m[2], m[3]))),
    Row("FETCH: sizes of 0", TOLERATED, OK,
        imap=fetched(lambda said: re.sub(rb"RFC822.SIZE \d+", b"RFC822.SIZE 0", said))),
    Row("FETCH: sizes of 9 EB", CONTAINED, UNUSABLE, or_code=OK,
        imap=fetched(lambda said: re.sub(rb"RFC822.SIZE \d+", b"RFC822.SIZE 9223372036854775807", said))),
    Row("FETCH: sizes below zero", CONTAINED, UNUSABLE,
        imap=fetched(lambda said: re.sub(rb"RFC822.SIZE \d+", b"RFC822.SIZE -5", said))),
    Row("FETCH: sizes of 2 MB", CONTAINED, OK, or_code=ASIDE,
        imap=fetched(lambda said: re.sub(rb"RFC822.SIZE \d+", b"RFC822.SIZE 2000000", said))),
    Row("FETCH: no sizes", CONTAINED, UNUSABLE,
        imap=fetched(lambda said: re.sub(rb" RFC822.SIZE \d+", b"", said))),
    Row("FETCH: refused", CONTAINED, LATER, imap=imap(instead={"uid_fetch": b"$t NO\r\n"})),
    Row("FETCH: BAD", CONTAINED, LATER, imap=imap(instead={"uid_fetch": b"$t BAD\r\n"})),
    Row("FETCH: never answered", CONTAINED, LATER, imap=imap(hangs="uid_fetch")),
    Row("FETCH: hung up", CONTAINED, LATER, imap=imap(closes="uid_fetch")),
    Row("FETCH: one octet at a time", CONTAINED, LATER, imap=imap(trickles="uid_fetch")),
    Row("FETCH: endless bodies", CONTAINED, UNUSABLE, or_code=LATER,
        imap=imap(floods={"uid_fetch": body(b"1", b"99", b"x" * 1000)})),
    Row("FETCH: endless answers for the asked UID", CONTAINED, UNUSABLE, or_code=LATER,
        imap=imap(floods={"uid_fetch": b"* 1 FETCH (UID 1 RFC822.SIZE 7)\r\n"})),
    Row("FETCH: a line without end", CONTAINED, UNUSABLE, or_code=LATER,
        imap=imap(before={"uid_fetch": b"* 1 FETCH (UID 1 "}, floods={"uid_fetch": b"x"})),
    Row("FETCH: quoted string without end", CONTAINED, UNUSABLE,
        imap=fetched(lambda said: b'* 1 FETCH (UID 1 BODY[] "\r\n$t OK\r\n')),
    Row("FETCH: names in small letters", TOLERATED, OK,
        imap=fetched(lambda said: said.replace(b"RFC822.SIZE", b"rfc822.size").replace(b"BODY[]", b"body[]"))),
    Row("LOGOUT: never answered", TOLERATED, OK, imap=imap(hangs="logout")),
    Row("LOGOUT: hung up", TOLERATED, OK, imap=imap(closes="logout")),
    Row("LOGOUT: refused", TOLERATED, OK, imap=imap(instead={"logout": b"$t NO stay\r\n"})),
    Row("LOGOUT: endless", TOLERATED, OK, imap=imap(floods={"logout": b"* OK wait\r\n"})),
]  # fmt: skip

ROWS = [*SELECT, *SEARCH, *FETCH]
