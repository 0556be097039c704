"""The contract of a store: how the driver plays a place where mail lives.

A store is opened as a *session*. A session is given commands and turns them
into outcomes, without ever blocking the loop in ``turn``. Three kinds exist,
so that code that reads cannot delete:

Reader    OpenSource(may_release=False), ListSource, Fetch, CloseSource
Releaser  the same, and Delete; made only when deletion was asked for
Appender  OpenDest, OpenMailbox, Append, SearchUids, FetchHeaders, ReadBack, CloseDest

Promises a session makes
- Exactly one outcome for each command, in the order of ``submit``.
- A command that this kind does not know raises TypeError in ``submit``: a
  fault of the caller, never sent to a server.
- The octets of a fetched Message are those the server sent, after the
  protocol's own transparency (RFC 1939 §3 dot-stuffing) was undone; a message
  above ``MEMORY_LIMIT`` stands in a temporary file under ``spill_dir``.
- An Append is never repeated by the store. An AppendUid or None in its value
  means that the server said OK after the whole message went out.
- After a StoreError the session is broken: every command still owed ends with
  that error, and so does every later one; but for a Fetch whose message had come
  whole by then. A MessageError leaves it usable.
- Foreign exceptions do not leave ``submit`` and ``turn``; credentials appear
  in no error.

What the caller may not assume
- that a size listed is the size served; that a uid is unique or stays;
- that a message is stored because APPEND was answered OK (read it back);
- that a command has been sent when ``submit`` returns.

Opening (connect, TLS, login) and selecting may block for up to the session's
deadline; everything else moves only in ``turn``. ``turn`` is called when one
of the descriptors is ready, and at least every second. The first ``turn``
opens and is called in a thread of its own; nothing else is called before it
is over, and every later call comes from one other thread. Whoever does not
want to wait for it closes the channel, which ends what waits for a server.
"""

from __future__ import annotations

import os
import tempfile
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Protocol

from ..commands import CloseDest, Command, Digest, Outcome
from ..errors import Cause, Exit, MigrateError, Retry, StateError, StoreError
from ..model import HEADER_LIMIT, MEMORY_LIMIT, Fingerprint, Message


class Session(Protocol):
    """One opened store."""

    notices: list[tuple[str, bytes]]
    """What is worth a line for people, with the server's words: quirks, alerts. Whoever reads it empties it."""

    def submit(self, command: Command) -> None:
        """Takes a command in. Its outcome comes from a later ``turn``."""

    def turn(self) -> list[Outcome]:
        """Sends and receives what can be sent and received now. Value: commands that ended."""

    def fileno(self) -> int | None:
        """The descriptor to wait for, None when there is nothing to wait for."""

    def wants_write(self) -> bool:
        """Whether the loop should wait for writability too."""

    def is_ready(self) -> bool:
        """Whether ``turn`` has outcomes or work without waiting for a descriptor."""

    def close(self) -> None:
        """Frees everything at once, without a word to the server. Never raises."""


AGAIN_S = 2.0  # what ``reach`` did not get is asked for again, unless it took so long to be refused
AHEAD = 16 * 1024 * 1024  # octets that a source may be asked for beyond what is held: they wait in the network


class Reachable(Session, Protocol):
    """A session at a server that has work before its login, which locks nothing there."""

    def reach(self) -> bool:
        """Connects, secures and asks what the server can do: may block, is called first, once and before ``submit``.

        Value: whether it came so far. Raises nothing. OpenSource goes on from there where the connection is still
        good, and else begins anew.
        """


class Channel(Protocol):
    """An octet stream to a server, never blocking but in ``wait`` (net.TcpChannel, and fakes).

    Every method but ``close`` raises StoreError (cause UNREACHABLE, retry NOW)
    when the connection is broken; ``recv`` also when it ended. ``close`` may be
    called from another thread, while a method waits.
    """

    @property
    def is_secure(self) -> bool:
        """Whether TLS protects the stream."""

    @property
    def about(self) -> str:
        """Host, port and TLS version, for people."""

    def send(self, data: bytes | memoryview) -> int:
        """How many octets were taken now; 0 when none can be."""

    def recv(self) -> bytes | None:
        """What has arrived, or None when nothing has. The end of the stream is a StoreError."""

    def wait(self, *, write: bool, timeout_s: float) -> None:
        """Blocks until octets can be received (or sent, if ``write``). StoreError after ``timeout_s``."""

    def start_tls(self) -> None:
        """Begins TLS on the stream with verified certificate. StoreError (UNUSABLE) when it fails."""

    @property
    def is_held(self) -> bool:
        """Whether nothing is to be taken in now: ``recv`` gives None, ``fileno`` too, but for whoever waits."""

    def has_pending(self) -> bool:
        """Whether ``recv`` would give something although the descriptor is not readable (TLS buffer)."""

    def fileno(self) -> int | None: ...

    def close(self) -> None: ...


class LocalSession:
    """What every session without a connection has: a queue of commands, one outcome for each, in order."""

    kinds: tuple[type[Command], ...] = ()
    opens: type[Command]

    def __init__(self) -> None:
        self.notices: list[tuple[str, bytes]] = []
        self._owed: deque[Command] = deque()
        self._broken: StoreError | None = None
        self._is_open = False

    def submit(self, command: Command) -> None:
        if not isinstance(command, self.kinds):
            raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")
        self._owed.append(command)

    def turn(self) -> list[Outcome]:
        outcomes = []
        while self._owed:
            outcomes.append(self._end(self._owed.popleft()))
        return outcomes

    def _end(self, command: Command) -> Outcome:
        if isinstance(command, CloseDest):
            self.close()
            return Outcome(command)
        try:
            if self._broken is not None:
                raise self._broken
            if isinstance(command, self.opens):
                self._is_open = True
            elif not self._is_open:
                raise StoreError("the session is not open", cause=Cause.UNUSABLE, retry=Retry.NEVER)
            return Outcome(command, self.carry_out(command))
        except StoreError as error:
            self._broken = error
            return Outcome(command, error=error)
        except MigrateError as error:
            return Outcome(command, error=error)

    def carry_out(self, command: Command) -> Any:
        """The value of one command, or the error that ended it, raised."""
        raise NotImplementedError

    def fileno(self) -> int | None:
        return None

    def wants_write(self) -> bool:
        return False

    def is_ready(self) -> bool:
        return bool(self._owed)

    def close(self) -> None:
        self._is_open = False


class Collector:
    """Gathers one message from blocks: in memory, above MEMORY_LIMIT in a file under ``spill_dir``.

    The digest is fed as the blocks come, so that nothing is read twice.
    StateError (STATE_UNWRITABLE) when the file cannot be written.
    """

    def __init__(self, digester: Callable[[], Digest], spill_dir: Path) -> None:
        self._digest = digester()
        self._spill_dir = spill_dir
        self._blocks: list[bytes] = []
        self._header = bytearray()
        self._header_ended = False
        self._octets = 0
        self._file: IO[bytes] | None = None
        self._path: Path | None = None

    def update(self, block: bytes) -> None:
        if not block:
            return
        self._digest.update(block)
        self._octets += len(block)
        if self._file is None:
            self._blocks.append(block)
            if self._octets > MEMORY_LIMIT:
                self._spill()
        else:
            self._write(block)
        if not self._header_ended:
            self._grow_header(block)

    def finish(self) -> Message:
        path = None
        if self._file is not None:
            try:
                self._file.close()
            except OSError as error:
                raise self._unwritable(error) from error
            path = self._path
        data = b"".join(self._blocks) if path is None else None
        return Message(self._octets, bytes(self._header), self._digest.finish(), data, path)

    def abandon(self) -> None:
        """Removes what was gathered."""
        if self._file is not None:
            with suppress(OSError):  # the last octets do not fit on the disk: they are not wanted any more
                self._file.close()
        if self._path is not None:
            self._path.unlink(missing_ok=True)
        self._blocks.clear()

    def _spill(self) -> None:
        try:
            # mkstemp makes the file 0600 and never follows a link.
            handle, name = tempfile.mkstemp(prefix="letter-", dir=self._spill_dir)
            self._file = os.fdopen(handle, "wb")
        except OSError as error:
            raise self._unwritable(error) from error
        self._path = Path(name)
        blocks, self._blocks = self._blocks, []
        for block in blocks:
            self._write(block)

    def _write(self, block: bytes) -> None:
        assert self._file is not None
        try:
            self._file.write(block)
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StateError:
        return StateError(
            f"a large message could not be written to {self._spill_dir}: {error.strerror}",
            exit=Exit.STATE_UNWRITABLE,
            hint="Free some space there, then run the same command again.",
        )

    def _grow_header(self, block: bytes) -> None:
        """Takes in what belongs to the header; ``block`` is searched no further than the header goes."""
        if not self._header and (end := header_end(block, 0)) > 0:
            self._header += block[:end]
            self._header_ended = True
            return
        start = max(0, len(self._header) - 3)
        self._header += block[: HEADER_LIMIT - len(self._header)]
        if (end := header_end(self._header, start)) > 0:
            del self._header[end:]
            self._header_ended = True
        self._header_ended = self._header_ended or len(self._header) >= HEADER_LIMIT


def collected(digester: Callable[[], Digest], spill_dir: Path, blocks: Iterable[bytes]) -> Message:
    """The message of these blocks. What they or the Collector raise leaves nothing behind."""
    collector = Collector(digester, spill_dir)
    try:
        for block in blocks:
            collector.update(block)
        return collector.finish()
    except BaseException:
        collector.abandon()
        raise


def digested(digest: Digest, blocks: Iterable[bytes]) -> Fingerprint:
    """The fingerprint of these blocks, which nobody needs otherwise."""
    for block in blocks:
        digest.update(block)
    return digest.finish()


def watched(blocks: Iterable[bytes], watch: Callable[[bytes], object]) -> Iterator[bytes]:
    """The same blocks; ``watch`` sees each one on its way."""
    for block in blocks:
        watch(block)
        yield block


def header_end(octets: bytes | bytearray, start: int) -> int:
    """Where the first empty line ends, behind CRLF or LF line ends; 0 when there is none before HEADER_LIMIT."""
    crlf = octets.find(b"\n\r\n", start, HEADER_LIMIT)
    bare = octets.find(b"\n\n", start, HEADER_LIMIT if crlf < 0 else crlf + 1)
    if bare >= 0:
        return bare + 2
    return crlf + 3 if crlf >= 0 else 0


def header_fields(octets: bytes, names: Iterable[str]) -> bytes:
    """The header fields of these names as they stand, and an empty line (RFC 3501 §6.4.5 HEADER.FIELDS)."""
    wanted = {name.lower().encode() for name in names}
    found, is_wanted, start = [], False, 0
    while start < len(octets):
        end = octets.find(b"\n", start) + 1 or len(octets)
        line, start = octets[start:end].removesuffix(b"\n").removesuffix(b"\r"), end
        if not line:
            break
        if line[:1] not in (b" ", b"\t"):
            is_wanted = line.partition(b":")[0].rstrip().lower() in wanted
        if is_wanted:
            found.append(line)
    return b"".join(line + b"\r\n" for line in [*found, b""])


def beginning(blocks: Iterator[bytes]) -> bytes:
    """So much of a message that its header is in it, up to HEADER_LIMIT."""
    octets = b""
    for block in blocks:
        octets += block
        if b"\n\r\n" in octets or b"\n\n" in octets or len(octets) >= HEADER_LIMIT:
            break
    return octets[:HEADER_LIMIT]


# --- the proof of a backup ----------------------------------------------------------------------

STEP = 4 * 1024 * 1024  # octets between two steps, about
UNFINISHED = "an interrupted backup left it unfinished; the next one puts that right"
DAMAGED = "damaged: its octets are not those that were stored"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was stored. ``message`` is the SHA-256 that it had; offset where a file has many."""

    file: str
    offset: int | None
    uid: int | None
    message: str
    what: str


@dataclass(frozen=True, slots=True)
class StoredAgain:
    """Messages that a file has lost and that are whole in the backup, stored again later: no fault."""

    file: str
    messages: int
    uid: int | None  # the lowest that was lost; None where the index has lost it


@dataclass(frozen=True, slots=True)
class Sum:
    """What was read."""

    files: int
    messages: int
    octets: int  # of the files
    unread: int = 0  # messages of files that are encrypted


@dataclass(frozen=True, slots=True)
class Step:
    """So much more was read; here one may stop."""

    messages: int
    octets: int


Proof = Generator[Finding | StoredAgain | Step, None, Sum]
"""Everything that is wrong with a backup, what it had lost and has again, how far it is; in the end what was read."""
