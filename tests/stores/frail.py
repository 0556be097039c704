"""The unchanged engine into files, on a disk whose power goes at any step."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from migrate.commands import Command, DestFacts, OpenDest, OpenSource
from migrate.model import INBOX, Dedupe, Verify
from migrate.stores import disk
from migrate.stores.base import Finding, LocalSession, Session, Sum
from tests.engine.support import Between, Crash

from .contract import Held
from .mbox_rig import NOVEMBER


def three_at_a_time(facts: DestFacts) -> DestFacts:
    """Facts of a store that takes few messages in an Append, so that there are several steps between."""
    return DestFacts(facts.greeting, facts.has_uids, facts.is_atomic, None, in_flight=2, batch_count=3)


class IntoFiles(Between):
    """A maildrop in memory, and a directory of files."""

    def __init__(self, scratch: Path, messages: list[bytes]) -> None:
        super().__init__(scratch, messages)
        self.root = scratch / "backup"
        self.now = NOVEMBER
        self.policy = self._policy({"mailbox": INBOX, "dedupe": Dedupe.OFF, "verify": Verify.FULL})

    def session(self) -> LocalSession:
        """An Appender of these files."""
        raise NotImplementedError

    def held(self) -> Sequence[Held]:
        """What they hold, read without the store."""
        raise NotImplementedError

    def checked(self) -> tuple[list[Finding], Sum]:
        """What the proof says of them."""
        raise NotImplementedError

    def _open(self, command: OpenSource | OpenDest) -> Session:
        if isinstance(command, OpenSource):
            return super()._open(command)
        session = self.session()
        carry_out = session.carry_out

        def watched(command: Command) -> Any:
            self.sent.append(command)
            return carry_out(command)

        session.carry_out = watched  # type: ignore[method-assign]
        return session

    def assert_all_there_once(self, where: object = "") -> None:
        assert Counter(one.octets for one in self.held()) == self.source(), where
        assert self.checked()[0] == [], where


class Frail:
    """A disk whose power goes at the ``last`` step: nothing of it is done, half of it, or all."""

    steps_of_the_disk: tuple[str, ...] = ("sync", "cut", "place", "remove")

    def __init__(self, monkeypatch: pytest.MonkeyPatch, last: int, share: float) -> None:
        self.steps = 0
        self.last = last
        self.share = share
        for name in self.steps_of_the_disk:
            monkeypatch.setattr(disk, name, self._whole(getattr(disk, name)))
        real = disk.write

        def write(handle: int, blocks: Iterable[bytes]) -> None:
            octets = b"".join(blocks)
            if self._is_over():
                real(handle, [octets[: int(len(octets) * self.share)]])
                raise Crash
            real(handle, [octets])

        monkeypatch.setattr(disk, "write", write)

    def _is_over(self) -> bool:
        self.steps += 1
        return self.steps == self.last

    def _whole(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*words: Any) -> Any:
            if self._is_over():
                if self.share >= 0.5:
                    real(*words)
                raise Crash
            return real(*words)

        return step


def dies(there: IntoFiles, last: int, share: float, **changes: Any) -> bool:
    """Whether the run got as far as that step, and died."""
    with pytest.MonkeyPatch.context() as patch:
        Frail(patch, last, share)
        try:
            there.migrate(**changes)
        except Crash:
            return True
    return False
