"""The octets of one file, unpacked where it is compressed, with lines as they end today; in order, in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...model import BLOCK
from ...wire.foreign import ends_in_cr
from ..kinds import HEAD_OCTETS
from .octets import PACKED_SUFFIXES, Damaged, Octets, Unpacked, WithLf, decoder_for


def unpacked_name(name: str) -> str:
    """The name that the file has when it is unpacked."""
    lower = name.lower()
    if lower.endswith((".tgz", ".tbz2", ".txz", ".tbz", ".tzst", ".tlz")):
        return name[: name.rindex(".")] + ".tar"
    return next((name[: -len(suffix)] for suffix in PACKED_SUFFIXES if lower.endswith(suffix)), name)


class Stream:
    """A file that is open for reading. Whoever has it closes it. OSError where it cannot be opened.

    ``opens`` and ``opens_again`` give its octets, the second one for reading beside the first. Their size is None where
    the file is compressed: going back in one means to unpack it again.
    """

    def __init__(self, opens: Callable[[], Octets], opens_again: Callable[[], Octets] | None = None) -> None:
        self.damage = ""  # why the octets ended before the file did
        self._opens_again = opens_again or opens
        raw = opens()
        try:
            self.octets, self.head = self._understood(raw)
        except BaseException:
            raw.close()
            raise

    @property
    def size(self) -> int | None:
        return self.octets.size

    def _understood(self, raw: Octets) -> tuple[Octets, bytes]:
        self.octets = raw
        head = b"".join(self.blocks(0, HEAD_OCTETS))
        if (make := decoder_for(head)) is not None:
            self.octets = Unpacked(raw, make)
            head = b"".join(self.blocks(0, HEAD_OCTETS))
        if ends_in_cr(head):
            self.octets = WithLf(self.octets)
            head = b"".join(self.blocks(0, HEAD_OCTETS))
        return self.octets, head

    def again(self) -> Stream:
        """The same file, opened once more."""
        return Stream(self._opens_again)

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The octets between, fewer where there are fewer: ``damage`` then says why, if the file is not whole."""
        end = self.size if end is None else end
        try:
            while end is None or start < end:
                block = self.octets.read(start, BLOCK if end is None else min(BLOCK, end - start))
                if not block:
                    return
                start += len(block)
                yield block
        except (OSError, Damaged) as error:
            self.damage = f"{error}" or type(error).__name__

    def measured(self) -> int:
        """How many octets there are; what does not say so is read to its end."""
        return sum(map(len, self.blocks())) if self.size is None else self.size

    def close(self) -> None:
        self.octets.close()
