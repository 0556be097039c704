"""Mail for the bench, the same for the same name, with the sizes that real mailboxes have."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random

SEED = 2026
KB, MB = 1000, 1_000_000
LINE = 76


@dataclass(frozen=True)
class MailSet:
    """So many messages; ``large_in`` of ``large`` are between 5 and 20 MB, or all of one size."""

    name: str
    count: int
    median: int  # octets of a body
    spread: float  # sigma of the logarithm of the size
    large: int = 0
    exact: int = 0  # octets of the only message

    def messages(self, count: int = 0) -> Iterator[bytes]:
        """The octets of each, with CRLF line ends; ``count``: of the first so many."""
        rng = Random(f"{SEED} {self.name}")
        lines = _lines(rng)
        large = set(rng.sample(range(self.count), self.large))
        for number in range(count or self.count):
            if self.exact:
                size = self.exact
            elif number in large:
                size = rng.randint(5 * MB, 20 * MB)
            else:
                size = int(self.median * math.exp(rng.gauss(0.0, self.spread)))
            yield _message(self.name, number, size, lines, rng.randrange(len(lines) // LINE))


SETS = {
    one.name: one
    for one in (
        MailSet("small", 10_000, median=3_300, spread=0.35),
        MailSet("mixed", 5_000, median=7_300, spread=1.25, large=12),
        MailSet("large", 1, median=0, spread=0.0, exact=200 * MB),
    )
}


def _lines(rng: Random) -> bytes:
    """About a megabyte of lines, as an attachment has them."""
    text = base64.b64encode(rng.randbytes(750 * KB))
    return b"".join(text[start : start + LINE - 2] + b"\r\n" for start in range(0, len(text) - LINE, LINE - 2))


def _message(name: str, number: int, size: int, lines: bytes, first: int) -> bytes:
    header = (
        f"Return-Path: <writer{number % 97}@example.org>\r\n"
        f"Received: from mx{number % 7}.example.org (mx{number % 7}.example.org [192.0.2.{number % 250}])\r\n"
        f"\tby mail.example.net (Postfix) with ESMTPS id 4F{number:08X}\r\n"
        f"\tfor <reader@example.net>; {_date(number)}\r\n"
        f"Date: {_date(number)}\r\n"
        f"From: Writer {number % 97} <writer{number % 97}@example.org>\r\n"
        "To: Reader <reader@example.net>\r\n"
        f"Subject: Letter {number} of a {name} mailbox\r\n"
        f"Message-ID: <{name}.{number:06d}@example.org>\r\n"
        "MIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n"
        "\r\n"
    ).encode()
    start = first * LINE
    body = lines[start : start + size]
    while len(body) < size:
        body += lines[: size - len(body)]
    return header + body[: max(0, size - 2) // LINE * LINE] + b"the end\r\n"


def _date(number: int) -> str:
    minutes = number * 37
    day, month = minutes // 1440 % 28 + 1, ("Jan", "Feb", "Mar", "Apr", "May", "Jun")[minutes // 40320 % 6]
    return f"{day} {month} 2019 {minutes // 60 % 24:02d}:{minutes % 60:02d}:00 +0000"
