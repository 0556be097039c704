"""How fuzz octets become choices, and what their pieces are."""

from __future__ import annotations

from itertools import pairwise


class Choices:
    """Takes numbers from the front of the octets; what is left is what the reader gets."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, below: int) -> int:
        """A number from 0; 0 when nothing is left."""
        if self._at >= len(self._data):
            return 0
        self._at += 1
        return self._data[self._at - 1] % below

    def cuts(self, most: int = 7) -> list[int]:
        """Up to ``most`` distances between places to cut at."""
        return [self.number(256) for _ in range(self.number(most + 1))]

    def rest(self) -> bytes:
        return self._data[self._at :]


def pieces(octets: bytes, cuts: list[int]) -> list[bytes]:
    """The octets cut after these distances, the last of which goes on to the end; no cut: octet by octet."""
    if not cuts:
        return [octets[at : at + 1] for at in range(len(octets))]
    places = [0]
    for cut in cuts:
        places.append(min(places[-1] + cut, len(octets)))
    return [octets[a:b] for a, b in pairwise([*places, len(octets)])]
