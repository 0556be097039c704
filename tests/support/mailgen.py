"""Messages of our own making, the same ones for the same seed, with every oddity that real mailboxes have.

All come as a server would send them, with CRLF line ends, unless the oddity is about line ends.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from pathlib import Path
from random import Random

_WORDS = (
    "harbour",
    "lantern",
    "copper",
    "window",
    "orchard",
    "Tuesday",
    "ledger",
    "ribbon",
    "gravel",
    "meadow",
    "kettle",
    "signal",
    "parcel",
    "thunder",
    "violin",
    "button",
    "corridor",
    "almond",
    "ferry",
    "anchor",
    "whisper",
    "candle",
    "mirror",
    "the",
    "a",
    "of",
    "with",
    "under",
    "beyond",
    "before",
    "and",
    "then",
    "quietly",
    "seven",
    "twelve",
    "painted",
    "sends",
    "keeps",
    "finds",
    "carries",
    "forgets",
    "opens",
    "closes",
    "answers",
    "waits",
)
_NAMES = ("ada", "brice", "chloe", "denis", "elsa", "farid", "gwen", "hugo", "ines", "jules")
_START = datetime(2003, 4, 1, 8, 30, tzinfo=UTC)

Build = Callable[[Random, int], bytes]


def generate(seed: int, count: int, *, size: str = "small", odd: float = 0.1) -> Iterator[bytes]:
    """So many messages. ``size``: "small" (about 4 kB each) or "mixed" (300 octets to 1 MB, most small).

    ``odd`` is the share of odd ones, among them twins of earlier messages and repeated Message-IDs;
    with ``odd=0`` every message is clean, multipart now and then, and unlike any other.
    """
    kinds = list(ODD.values())
    before: list[bytes] = []
    for number in range(count):
        rng = Random(f"{seed}:{number}")
        if rng.random() >= odd:
            message = _usual(rng, number, size)
        elif before and rng.random() < 0.15:
            message = rng.choice(before)
        else:
            message = rng.choice(kinds)(rng, number)
        before = [*before[-9:], message] if len(message) < 100_000 else before
        yield message


def odd_messages(seed: int = 0) -> dict[str, bytes]:
    """One message for every oddity, by name; "twin" names hold the octets of another once more."""
    made = {name: build(Random(f"{seed}:{name}"), index) for index, (name, build) in enumerate(ODD.items())}
    shared = _header(Random(f"{seed}:shared"), 9_000)
    return {
        **made,
        "identical twin, first": made["plain"],
        "identical twin, second": made["plain"],
        "shared message-id, first body": shared + b"\r\nThe first body.\r\n",
        "shared message-id, second body": shared + b"\r\nThe second body, which differs.\r\n",
    }


def large(path: Path, octets: int, *, seed: int = 0) -> Path:
    """A clean message of exactly so many octets, written to ``path`` in blocks; never whole in memory."""
    rng = Random(seed)
    block = b"".join(base64.b64encode(rng.randbytes(57)) + b"\r\n" for _ in range(1000))
    header = _header(rng, 0) + b"\r\n"
    left = octets - len(header) - 2
    if left < 0:
        raise ValueError("too small for a header")
    with path.open("wb") as stream:
        stream.write(header)
        while left >= len(block):
            stream.write(block)
            left -= len(block)
        # Cutting a CRLF in two would leave a bare CR; letters alone never do.
        stream.write(b"z" * left + b"\r\n")
    return path


# --- the usual ------------------------------------------------------------------------------


def _header(rng: Random, number: int, instead: dict[str, bytes] | None = None, without: tuple[str, ...] = ()) -> bytes:
    """A header block without the empty line. ``instead`` replaces or adds fields, ``without`` leaves some out."""
    sender, reader = rng.choice(_NAMES), rng.choice(_NAMES)
    zone = timezone(timedelta(minutes=rng.choice((-480, -300, 0, 60, 120, 330, 345))))
    sent = (_START + timedelta(minutes=number * 97, seconds=rng.randrange(60))).astimezone(zone)
    arrived = (sent + timedelta(seconds=rng.randrange(1, 90))).astimezone(UTC)
    fields: dict[str, bytes] = {
        "Return-Path": b"<%s@example.net>" % sender.encode(),
        "Received": b"from relay.example.net (relay.example.net [192.0.2.%d])\r\n\tby mx.example.org with ESMTPS"
        b" id %08x;\r\n\t%s" % (rng.randrange(1, 250), rng.getrandbits(32), format_datetime(arrived).encode()),
        "Date": format_datetime(sent).encode(),
        "From": b"%s <%s@example.net>" % (sender.title().encode(), sender.encode()),
        "To": b"%s@example.org" % reader.encode(),
        "Subject": b" ".join(word.encode() for word in rng.sample(_WORDS, 4)),
        "Message-ID": b"<%d.%016x@example.net>" % (number, rng.getrandbits(64)),
    }
    fields.update(instead or {})
    return b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in fields.items() if name not in without)


def _text(rng: Random, octets: int) -> bytes:
    """Lines of words, about so many octets."""
    lines = []
    while octets > 0:
        line = " ".join(rng.choices(_WORDS, k=11)).encode() + b"\r\n"
        lines.append(line)
        octets -= len(line)
    return b"".join(lines)


def _usual(rng: Random, number: int, size: str) -> bytes:
    octets = rng.randrange(2_000, 6_000) if size == "small" else _mixed_size(rng)
    if octets > 20_000 or rng.random() < 0.2:
        return _multipart(rng, number, octets)
    return _header(rng, number) + b"\r\n" + _text(rng, octets)


def _mixed_size(rng: Random) -> int:
    if rng.random() < 0.01:
        return rng.randrange(50_000, 1_000_000)
    return max(300, int(rng.lognormvariate(7.6, 1.4)))


def _multipart(rng: Random, number: int, octets: int) -> bytes:
    boundary = b"=_%016x" % rng.getrandbits(64)
    attached = base64.encodebytes(rng.randbytes(octets * 3 // 5)).replace(b"\n", b"\r\n")
    return (
        _header(rng, number, {"MIME-Version": b"1.0", "Content-Type": b'multipart/mixed; boundary="%s"' % boundary})
        + b"\r\n--%s\r\nContent-Type: text/plain\r\n\r\n" % boundary
        + _text(rng, octets // 5)
        + b"--%s\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n" % boundary
        + attached
        + b"--%s--\r\n" % boundary
    )


# --- the odd --------------------------------------------------------------------------------


def _body(octets: bytes) -> Build:
    """The usual header before these octets; ``%d`` in them is the message's number."""
    return lambda rng, number: _header(rng, number) + b"\r\n" + octets.replace(b"%d", b"%d" % number)


def _fields(**instead: bytes) -> Build:
    """The usual message with these header fields (``_`` for ``-``); ``%d`` in them is the message's number."""

    def build(rng: Random, number: int) -> bytes:
        numbered = {name.replace("_", "-"): value.replace(b"%d", b"%d" % number) for name, value in instead.items()}
        return _header(rng, number, numbered) + b"\r\n" + _text(rng, 400)

    return build


def _without(*names: str) -> Build:
    return lambda rng, number: _header(rng, number, without=names) + b"\r\nNumber %d\r\n" % number + _text(rng, 300)


def _before(prefix: bytes) -> Build:
    """The usual message after these octets."""
    return lambda rng, number: prefix + _header(rng, number) + b"\r\n" + _text(rng, 200)


def _plain(rng: Random, number: int) -> bytes:
    return _header(rng, number) + b"\r\n" + _text(rng, 900)


def _line_ends(change: Callable[[bytes], bytes]) -> Build:
    return lambda rng, number: change(_plain(rng, number))


def _every_other(octets: bytes, end: bytes) -> bytes:
    lines = octets.split(b"\r\n")
    return b"".join(line + (b"\r\n" if index % 2 else end) for index, line in enumerate(lines[:-1]))


ODD: dict[str, Build] = {
    "plain": _plain,
    "multipart": lambda rng, number: _multipart(rng, number, 6_000),
    "multipart without its end": lambda rng, number: _multipart(rng, number, 2_000)[:-40],
    "html": _fields(Content_Type=b"text/html; charset=utf-8"),
    "attached message": lambda rng, number: (
        _header(rng, number, {"Content-Type": b"message/rfc822"}) + b"\r\n" + _plain(rng, number + 1)
    ),
    # Lines
    "line of a million octets": lambda rng, number: _header(rng, number) + b"\r\n" + b"w" * 1_000_000 + b"\r\n",
    "line of 3000 octets": lambda rng, number: _header(rng, number) + b"\r\n" + b"v" * 3_000 + b"\r\nend\r\n",
    "dot lines": _body(b".\r\n..\r\n...\r\n.%d\r\n.hidden\r\nx.\r\n"),
    "lone dot line": _body(b"before %d\r\n.\r\nafter\r\n"),
    "ends in a lone dot": _body(b"last %d\r\n.\r\n"),
    "ends in a dot without line end": _body(b"last %d\r\n."),
    "looks like protocol": _body(b"+OK %d\r\n-ERR no\r\n* 1 FETCH (BODY[] {3}\r\na OK done\r\n"),
    "from lines in the body": _body(b"\r\nFrom here %d\r\n>From there\r\n>>From both\r\n"),
    # Octets
    "nul in the body": _body(b"a\x00b %d\x00\r\n\x00\r\n"),
    "nul in the header": _fields(Subject=b"nul\x00 here %d"),
    "control octets": _body(bytes(c for c in range(1, 32) if c not in b"\r\n") + b"\x7f %d\r\n"),
    "8-bit body": _body("caf\u00e9 %d \u2014 \u65e5\u672c\u8a9e\r\n".encode()),
    "every octet": _body(bytes(c for c in range(1, 256) if c not in b"\r\n") + b" %d\r\n"),
    "8-bit header, utf-8": _fields(Subject="d\u00e9j\u00e0 vu %d".encode()),
    "8-bit header, latin-1": _fields(Subject="d\u00e9j\u00e0 vu %d".encode("latin-1")),
    # Line ends
    "bare cr": _body(b"one\rtwo %d\r\rthree\r\n"),
    "cr before crlf": _body(b"one %d\r\r\ntwo\r\r\r\n"),
    "ends in cr": _body(b"one %d\r\ntwo\r"),
    "bare lf": _line_ends(lambda octets: octets.replace(b"\r\n", b"\n")),
    "mixed line ends": _line_ends(lambda octets: _every_other(octets, b"\n")),
    "bare cr only": _line_ends(lambda octets: octets.replace(b"\r\n", b"\r")),
    "no final line end": _line_ends(lambda octets: octets[:-2]),
    "many empty lines at the end": _body(b"%d\r\n\r\n\r\n\r\n"),
    # Shape
    "no empty line": _header,
    "no empty line, no final line end": lambda rng, number: _header(rng, number)[:-2],
    "empty body": lambda rng, number: _header(rng, number) + b"\r\n",
    "no header": lambda rng, number: b"\r\nOnly a body %d.\r\n" % number,
    "not a message": lambda rng, number: b"neither header nor body %d\r\n" % number,
    "one line without line end": lambda rng, number: b"tiny%d" % number,
    "header of one field": lambda rng, number: b"X: %d\r\n\r\n" % number,
    "leading from line": _before(b"From ada@example.net Tue Apr  1 08:30:00 2003\r\n"),
    "leading quoted from line": _before(b">From ada@example.net Tue Apr  1 08:30:00 2003\r\n"),
    "leading empty line": _before(b"\r\n"),
    "leading folded line": _before(b" folded onto nothing\r\n"),
    "byte order mark": _before(b"\xef\xbb\xbf"),
    "junk line in the header": _before(b"X-One: 1\r\nthis line has no colon\r\n"),
    "space before the colon": _before(b"X-Space : yes\r\n"),
    "blank folded line": _before(b"X-Blank: a\r\n \r\n b\r\n"),
    "folded": _fields(Subject=b"folded\r\n over\r\n\tthree lines %d", References=b"<a@b>\r\n <c@d>\r\n <e@f>"),
    "hundred header fields": _before(b"".join(b"X-Field-%d: %d\r\n" % (n, n) for n in range(100))),
    "field of 30 kB": _before(b"X-Long: " + b"l" * 30_000 + b"\r\n"),
    "repeated fields": _before(
        b"Subject: first\r\nFrom: other@example.net\r\nDate: Mon, 1 Jan 1996 00:00:00 +0000\r\n"
    ),
    # Message-ID
    "no message-id": _without("Message-ID"),
    "no message-id, no date": _without("Message-ID", "Date", "Received"),
    "empty message-id": _fields(Message_ID=b"", X_Number=b"%d"),
    "message-id without brackets": _fields(Message_ID=b"bare.%d@example.net"),
    "message-id with spaces": _fields(Message_ID=b"< spaced out %d @ example.net >"),
    "message-id with words around": _fields(Message_ID=b"see <worded.%d@example.net> (added by hand)"),
    "message-id with 8-bit octets": _fields(Message_ID=b"<h\xf4te.%d@example.net>"),
    "message-id folded": _fields(Message_ID=b"\r\n <folded.%d@example.net>"),
    "two message-ids": _before(b"Message-Id: <other.two@example.net>\r\n"),
    "lower-case field names": _line_ends(lambda octets: octets.replace(b"Message-ID:", b"message-id:")),
    # Dates
    "no date": _without("Date"),
    "no date, no received": _without("Date", "Received"),
    "date of words": _fields(Date=b"yesterday at noon", Received=b"by nobody"),
    "date with a two-digit year": _fields(Date=b"Fri, 3 Jul 98 10:00:00 EST"),
    "date in year 2094": _fields(Date=b"Fri, 2 Jul 2094 10:00:00 +0000"),
    "date in year 1": _fields(Date=b"Mon, 1 Jan 0001 00:00:00 +0000"),
    "date with zone +9999": _fields(Date=b"Mon, 1 Mar 2010 00:00:00 +9999"),
    "date 31 February": _fields(Date=b"Wed, 31 Feb 2010 25:61:61 +0000"),
    "date with leap second": _fields(Date=b"Thu, 31 Dec 1998 23:59:60 +0000"),
    "date without zone": _fields(Date=b"Mon, 1 Mar 2010 12:00:00"),
    # Marks
    "status RO": _fields(Status=b"RO", X_Status=b"A"),
    "status O": _fields(Status=b"O", X_Keywords=b"blue, $Forwarded  green"),
    "mozilla marks": _fields(X_Mozilla_Status=b"0007", X_Mozilla_Status2=b"00000000", X_Mozilla_Keys=b"$label1 odd"),
    "gmail labels": _fields(X_GM_THRID=b"1234567890", X_Gmail_Labels=b'Inbox,Starred,"With, comma",Unread'),
    "gmail labels, encoded": _fields(X_Gmail_Labels=b"=?UTF-8?Q?Archiv=C3=A9s,Non_lus?="),
    "uidl and content-length headers": _fields(X_UIDL=b"abcdef%d", Content_Length=b"99999", Lines=b"3"),
}
