"""The ground on which victims fall: real servers, an account for each case, and the cases side by side."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.failures.canary import REAL
from tests.support.dovecot import Dovecot
from tests.support.embedded import Embedded
from tests.support.embedded.pop3 import Pop3Session
from tests.support.server import MailServer

from .account import Account
from .nursery import Nursery
from .profiles import Profile, small_messages
from .report import Report


class _Deleting(Pop3Session):
    """A POP3 server that deletes what it served once the session ends with QUIT, and says so (RFC 2449 §6.7)."""

    def serve(self) -> None:
        self._served: set[int] = set()
        super().serve()

    def do_capa(self) -> None:
        self._lines([b"USER", b"UIDL", b"TOP", b"PIPELINING", b"EXPIRE 0", b"RESP-CODES"])

    def do_retr(self, number: str) -> None:
        super().do_retr(number)
        self._served.add(self._mail(number)[0])

    def do_quit(self) -> None:
        self._marked |= self._served
        super().do_quit()


class Ground:
    """The servers of the programme, started when they are first needed, and a directory for the state files."""

    def __init__(self) -> None:
        # A killed process leaves what it wrote to the kernel, on any file system: the quickest will do.
        quick = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
        self.directory = Path(tempfile.mkdtemp(prefix="pf-faults-", dir=quick))
        self._dovecots: dict[str | None, Dovecot] = {}
        self._deleting: Embedded | None = None
        self._lock = threading.RLock()
        self._users = 0
        # Dovecot ends with the thread that started it (PR_SET_PDEATHSIG): one that lasts.
        self._starter = ThreadPoolExecutor(1)

    def __enter__(self) -> Ground:
        return self

    def __exit__(self, *_: object) -> None:
        for server in self._dovecots.values():
            server.__exit__(None, None, None)
        if self._deleting is not None:
            self._deleting.__exit__(None, None, None)
        self._starter.shutdown()
        shutil.rmtree(self.directory, ignore_errors=True)

    def dovecot(self, capability: str | None = None) -> Dovecot:
        with self._lock:
            if capability not in self._dovecots:
                # Titles tell which connections of a dead client the server has not let go of yet.
                extra = "verbose_proctitle = yes"
                server = Dovecot(password=REAL, capability=capability, extra=extra)
                self._dovecots[capability] = self._starter.submit(server.__enter__).result()
            return self._dovecots[capability]

    def complaints(self) -> list[str]:
        """What the servers wrote down that is no news of logins."""
        lines = [line for server in self._dovecots.values() for line in server.complaints().splitlines()]
        return [line for line in lines if ": Info: " not in line]

    def deleting(self) -> Embedded:
        """The source that deletes what was fetched."""
        with self._lock:
            if self._deleting is None:
                self._deleting = Embedded(password=REAL, pop3=_Deleting).__enter__()
            return self._deleting

    def account(self, profile: Profile, seed: int, messages: Iterable[bytes] | None = None) -> Account:
        """A migration of its own, with its messages delivered."""
        with self._lock:
            self._users += 1
            name = f"n{self._users}"
        # The servers are started under the lock, the mail is delivered side by side.
        dest = self.dovecot(profile.capability)
        source: MailServer = self.deleting() if profile.deletes_on_fetch else dest
        directory = self.directory / name
        directory.mkdir(mode=0o700)
        return Account(profile, source, dest, name, directory, messages or small_messages(seed, profile.messages))


Case = Callable[[Nursery], list[str]]


def play_all(cases: Iterable[tuple[str, Case]], workers: int = 2) -> tuple[int, list[str]]:
    """How many cases were played, side by side, and what was wrong, each with the name that replays it."""
    todo = iter(cases)
    lock = threading.Lock()
    wrong: list[str] = []
    count = 0

    def work() -> None:
        nonlocal count
        with Nursery() as nursery:
            while True:
                with lock:
                    name, case = next(todo, ("", None))
                if case is None:
                    return
                try:
                    found = case(nursery)
                except Exception as error:  # noqa: BLE001 - whatever it is, the case did not go well
                    found = [f"{type(error).__name__}: {error}"]
                with lock:
                    count += 1
                    wrong.extend(f"{name}: {one}" for one in found)

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return count, wrong


def merged(name: str, *parts: Report) -> Report:
    """Several reports as one."""
    whole = Report(name)
    for part in parts:
        whole.cases += part.cases
        whole.violations += part.violations
        whole.not_run += part.not_run
        whole.notes += [f"{part.name}: {note}" for note in part.notes]
    return whole
