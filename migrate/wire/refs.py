"""The messages of a source as a sequence that may be a million long: a MessageRef is made on demand."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from ..model import MessageRef


class Refs(Sequence[MessageRef]):
    """What a listing is made of says how long it is, and what stands at a place."""

    @abstractmethod
    def _ref(self, at: int) -> MessageRef:
        """The message at this place, which is one of them."""

    @overload
    def __getitem__(self, index: int) -> MessageRef: ...
    @overload
    def __getitem__(self, index: slice) -> list[MessageRef]: ...

    def __getitem__(self, index: int | slice) -> MessageRef | list[MessageRef]:
        if isinstance(index, slice):
            return [self._ref(at) for at in range(*index.indices(len(self)))]
        at = index + len(self) if index < 0 else index
        if not 0 <= at < len(self):
            raise IndexError("no such message in the listing")
        return self._ref(at)
