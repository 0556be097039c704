"""Answers to UIDL, LIST, STAT and CAPA -> values (RFC 1939 §5 and §7, RFC 2449 §5).

    uidl-line   = number SP 1*70%x21-7E CRLF
    list-line   = number SP octets [SP *OCTET] CRLF
    stat        = "+OK" SP number SP octets [SP *OCTET]
    capa-line   = name *(SP parameter) CRLF

A listing may hold a million messages: it is kept in arrays, and a MessageRef
is made when somebody asks for it. Blocks that keep to the grammar are read in
bulk; only the others are read line by line.
"""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Iterator
from itertools import accumulate, pairwise
from operator import le

from ...model import MessageRef
from ..refs import Refs
from .core import LINE_LIMIT, broken
from .quirks import Quirk

UIDL_LIMIT = 70
_UNKNOWN = -1
_NUMBER_LIMIT = 2**32
_OCTETS_LIMIT = 2**36  # no message has 64 GiB; the sum of a million such sizes still fits 63 bits
_AT_ONCE = 100_000  # hashes in one set
_BARE_LIMIT = 10_000_000  # messages believed without any listing

_UIDL_LINES = re.compile(rb"(?:[1-9][0-9]{0,8} [\x21-\x7e]{1,70}\r\n)*+")
_LIST_LINES = re.compile(rb"(?:[1-9][0-9]{0,8} [0-9]{1,10}\r\n)*+")
_LINE = re.compile(rb"[ \t]*([0-9]{1,20})(?:[ \t](.*))?\Z", re.DOTALL)
_SIZE = re.compile(rb"[ \t]*([0-9]{1,20})(?:[ \t]|\Z)")
_PLAIN_UIDL = re.compile(rb"[\x21-\x7e]*\Z")
_STAT = re.compile(rb"([0-9]{1,20})[ \t]+([0-9]{1,20})(?:[ \t]|\Z)")


class NumberedLines:
    """Reads the body of UIDL or LIST as its blocks come; ``limit`` bounds how many lines it may have."""

    def __init__(self, *, limit: int) -> None:
        self.numbers = array("I")
        self.quirks: Counter[Quirk] = Counter()
        self._limit = limit
        self._rest = b""

    def feed(self, block: bytes) -> None:
        """Takes in a block. StoreError for a line that is none, or one too many."""
        data = self._rest + block if self._rest else block
        cut = data.rfind(b"\r\n") + 2
        if cut < 2:
            cut = 0
        if len(data) - cut > LINE_LIMIT:
            raise broken(f"a line of a listing with more than {LINE_LIMIT} octets")
        lines, self._rest = (data, b"") if cut == len(data) else (data[:cut], data[cut:])
        if lines:
            self._read(lines)
        if len(self.numbers) > self._limit:
            raise broken(f"a listing of more than {self._limit} messages, which is not what STAT said")

    def _read(self, lines: bytes) -> None:
        raise NotImplementedError

    def _reorder(self, order: list[int]) -> None:
        """Brings what stands behind the numbers into this order of the old places."""
        raise NotImplementedError

    def sort(self) -> None:
        """Brings the lines into the order of their numbers, if they are not."""
        numbers = self.numbers
        if all(map(le, numbers, numbers[1:])):
            return
        self.quirks[Quirk.ORDER] += 1
        order = sorted(range(len(numbers)), key=numbers.__getitem__)
        self.numbers = array("I", (numbers[at] for at in order))
        self._reorder(order)

    def _texts(self, lines: bytes) -> Iterator[bytes]:
        """What stands behind each number; the numbers are taken in."""
        for line in lines[:-2].split(b"\r\n"):
            match = _LINE.match(line)
            number = int(match[1]) if match else 0
            if match is None or not 0 < number < _NUMBER_LIMIT:
                raise broken("a line of a listing without a message number", line)
            self.numbers.append(number)
            yield match[2] or b""


class UidlLines(NumberedLines):
    """The body of UIDL. Every uid is kept exactly as it came; what is odd about it is counted."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.uids = bytearray()  # one behind the other
        self.ends = array("Q")  # where each one ends
        self._hashes = array("q")

    def _read(self, lines: bytes) -> None:
        if _UIDL_LINES.fullmatch(lines):
            words = lines.split()
            self.numbers.extend(map(int, words[::2]))
            self._keep(words[1::2])
        else:
            uids = list(self._texts(lines))
            for uid in uids:
                self._judge(uid)
            self._keep(uids)

    def _keep(self, uids: list[bytes]) -> None:
        begin = len(self.uids)
        self.uids += b"".join(uids)
        self.ends.extend(list(accumulate(map(len, uids), initial=begin))[1:])
        self._hashes.extend(map(hash, uids))

    def _judge(self, uid: bytes) -> None:
        if not uid:
            self.quirks[Quirk.UIDL_BLANK] += 1
        if len(uid) > UIDL_LIMIT:
            self.quirks[Quirk.UIDL_LONG] += 1
        if not _PLAIN_UIDL.match(uid):
            self.quirks[Quirk.UIDL_OCTETS] += 1

    def _reorder(self, order: list[int]) -> None:
        starts = array("Q", [0, *self.ends])
        uids = [bytes(self.uids[starts[at] : starts[at + 1]]) for at in order]
        self.uids = bytearray(b"".join(uids))
        self.ends = array("Q", accumulate(map(len, uids)))

    def count_repeated(self) -> None:
        """Counts the uids that several messages have; called once, at the end of the body."""
        # In parts: one set of a million hashes would weigh more than the whole listing.
        parts = 1 + len(self._hashes) // _AT_ONCE
        different = sum(len({one for one in self._hashes if one % parts == part}) for part in range(parts))
        if repeated := len(self._hashes) - different:
            self.quirks[Quirk.UIDL_REPEATED] += repeated
        self._hashes = array("q")


class ListLines(NumberedLines):
    """The body of LIST. A size that is no number, or that no message has, is not known."""

    def __init__(self, *, limit: int) -> None:
        super().__init__(limit=limit)
        self.octets = array("q")

    def _read(self, lines: bytes) -> None:
        if _LIST_LINES.fullmatch(lines):
            words = lines.split()
            self.numbers.extend(map(int, words[::2]))
            self.octets.extend(map(int, words[1::2]))
            return
        for text in self._texts(lines):
            match = _SIZE.match(text)
            octets = int(match[1]) if match else _UNKNOWN
            if not 0 <= octets < _OCTETS_LIMIT:
                octets = _UNKNOWN
                self.quirks[Quirk.LIST_SIZE] += 1
            self.octets.append(octets)

    def _reorder(self, order: list[int]) -> None:
        self.octets = array("q", (self.octets[at] for at in order))


class Listing(Refs):
    """Every message of a maildrop, in the order of the message numbers; a MessageRef is made on demand."""

    def __init__(self, numbers: array[int], uidl: UidlLines | None, sizes: ListLines | None) -> None:
        self._numbers = numbers
        self._uids, self._ends = (uidl.uids, uidl.ends) if uidl else (bytearray(), array("Q", [0]) * len(numbers))
        self._octets = sizes.octets if sizes else array("q", [_UNKNOWN]) * len(numbers)

    def __len__(self) -> int:
        return len(self._numbers)

    def __iter__(self) -> Iterator[MessageRef]:
        uids = self._uids
        begin = 0
        for number, end, octets in zip(self._numbers, self._ends, self._octets, strict=True):
            yield MessageRef(bytes(uids[begin:end]), number, None if octets == _UNKNOWN else octets)
            begin = end

    def parts(self) -> tuple[bytearray | array[int], ...]:
        """What the listing is made of: equal only for listings that show the same (``state.shown.Compact``)."""
        return self._numbers, self._uids, self._ends, self._octets

    def _ref(self, at: int) -> MessageRef:
        begin = self._ends[at - 1] if at else 0
        octets = self._octets[at]
        uid = bytes(self._uids[begin : self._ends[at]])
        return MessageRef(uid, self._numbers[at], None if octets == _UNKNOWN else octets)


def join_listings(messages: int, uidl: UidlLines | None, sizes: ListLines | None) -> Listing | None:
    """The listing that STAT, UIDL and LIST agree on, None when they do not.

    A body is None where the server refused the command. With neither, the
    messages are 1 to ``messages``: nothing was deleted in the source session.
    """
    bodies: list[NumberedLines] = [body for body in (uidl, sizes) if body is not None]
    for body in bodies:
        if len(body.numbers) != messages:
            return None
        body.sort()
    if not bodies and messages > _BARE_LIMIT:
        raise broken(f"{messages} messages, and no listing of them")
    usual = numbers = array("I", range(1, messages + 1))
    for body in bodies:
        numbers = body.numbers
        if numbers != usual and any(one >= other for one, other in pairwise(numbers)):
            return None  # a number twice
    if uidl is not None and sizes is not None and uidl.numbers != sizes.numbers:
        return None
    if uidl is not None:
        uidl.count_repeated()
    return Listing(numbers, uidl, sizes)


def parse_stat(text: bytes) -> tuple[int, int]:
    """Messages and octets (RFC 1939 §5). StoreError for anything else."""
    match = _STAT.match(text)
    if match is None or int(match[1]) >= _NUMBER_LIMIT:
        raise broken("its answer to STAT", text)
    return int(match[1]), int(match[2])


def parse_capabilities(body: bytes) -> dict[bytes, tuple[bytes, ...]]:
    """Capability name -> parameters, all in capitals (RFC 2449 §5). A name said twice has the parameters of both.

    StoreError where a status line stands among them: no name has a "+" (RFC 2449 §3), so one answer came too many.
    """
    capabilities: dict[bytes, tuple[bytes, ...]] = {}
    for line in body.upper().split(b"\r\n"):
        words = line.split()
        if words and words[0] in (b"+OK", b"-ERR"):
            raise broken("an answer that nobody asked for", line)
        if words:
            capabilities[words[0]] = capabilities.get(words[0], ()) + tuple(words[1:])
    return capabilities
