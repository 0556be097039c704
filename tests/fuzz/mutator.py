"""New octets from known ones, by chance and repeatable: for where no coverage guides the search."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

LARGEST = 4096

# Octets that mean something to one reader or another.
_WORDS = (
    *(
        b"\r\n",
        b"\n",
        b"\r",
        b".",
        b"..",
        b"\r\n.\r\n",
        b"\0",
        b" ",
        b"\t",
        b"\xff",
        b"\x80",
        b"\xef\xbb\xbf",
        b"\x1b[",
    ),
    *(b"+OK", b"-ERR", b"+ ", b"* ", b"a1 OK", b"(", b")", b"[", b"]", b'"', b"\\", b"{3}", b"{3+}\r\n", b"~{0}\r\n"),
    *(
        b":",
        b"/",
        b"@",
        b"%",
        b"%2F",
        b"=?utf-8?q?",
        b"?=",
        b"<",
        b">",
        b"--",
        b"-",
        b"0",
        b"1",
        b"65536",
        b"4294967296",
    ),
    *(b"99999999999999999999", b"\xe2\x80\xae", b"\xed\xa0\x80", b"NIL", b"UID ", b"Date: ", b"Received: "),
)


def mutations(seeds: Sequence[bytes], seed: int, count: int) -> Iterator[bytes]:
    """So many new octets. The same seed gives the same ones."""
    rng = random.Random(seed)
    for _ in range(count):
        octets = bytearray(rng.choice(seeds))
        for _ in range(1 << rng.randrange(4)):
            rng.choice(_CHANGES)(octets, seeds, rng)
        yield bytes(octets[:LARGEST])


def _span(octets: bytearray, rng: random.Random) -> slice:
    at = rng.randrange(len(octets) + 1)
    return slice(at, min(len(octets), at + rng.choice((1, 2, 4, 16, 64))))


def _flip(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if octets:
        octets[rng.randrange(len(octets))] ^= 1 << rng.randrange(8)


def _replace(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    if octets:
        octets[rng.randrange(len(octets))] = rng.randrange(256)


def _remove(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    del octets[_span(octets, rng)]


def _repeat(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    span = _span(octets, rng)
    octets[span.start : span.start] = bytes(octets[span]) * rng.choice((1, 1, 2, 30))


def _insert_word(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    span = _span(octets, rng)
    octets[span if rng.random() < 0.3 else slice(span.start, span.start)] = rng.choice(_WORDS)


def _splice(octets: bytearray, seeds: Sequence[bytes], rng: random.Random) -> None:
    other = bytearray(rng.choice(seeds))
    octets[_span(octets, rng)] = other[_span(other, rng)]


_CHANGES: tuple[Callable[[bytearray, Sequence[bytes], random.Random], None], ...] = (
    *(_flip, _replace, _remove, _repeat, _insert_word, _insert_word, _splice),
)
