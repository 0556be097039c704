"""Messages kept beside the state file until the destination has them for certain.

``<state>.spool/<row>-<octets of the header>-<SHA-256>``: no text of a server
goes into a name. A file is whole or not there: it is written under another
name, synced, renamed, and the directory synced.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple, Protocol

from ..commands import Digest
from ..errors import MessageError, StateError
from ..model import BLOCK, MEMORY_LIMIT, Fingerprint, Message
from .database import translated, unwritable
from .place import make_directory, sync_directory

_NAME = re.compile(r"([0-9]{1,19})-([0-9]{1,19})-([0-9a-f]{64})")
_TEMPORARY = ".part"

Digester = Callable[[], Digest]


class Kept(NamedTuple):
    """What the name of a spool file says."""

    row_id: int
    header_octets: int
    exact: bytes

    @property
    def name(self) -> str:
        return f"{self.row_id}-{self.header_octets}-{self.exact.hex()}"


class Spool(Protocol):
    """Where messages are kept; every method raises StateError when the disk refuses."""

    def keep(self, row_id: int, message: Message) -> None: ...

    def get(self, row_id: int) -> Message:
        """The message. MessageError when it is damaged or missing."""

    def move(self, row_id: int, to: int) -> None: ...

    def remove(self, row_ids: Iterable[int]) -> None: ...

    def kept(self) -> list[Kept]: ...

    def sweep(self) -> None:
        """Removes what a killed run left half-written."""


def _missing() -> MessageError:
    return MessageError("its copy in the spool is missing", hint="It is fetched again if the source still has it.")


def _checked(kept: Kept, header: bytes, print_: Fingerprint, data: bytes | None) -> Message:
    if print_.exact != kept.exact or len(header) != kept.header_octets:
        raise MessageError("its copy in the spool is damaged", hint="It is fetched again if the source still has it.")
    return Message(print_.octets, header, print_, data)


class FileSpool:
    """The spool of a state file, used under its lock: nobody else changes the directory."""

    def __init__(self, directory: Path, digester: Digester) -> None:
        self._directory = directory
        self._digester = digester
        self._known: dict[int, list[Kept]] | None = None

    def keep(self, row_id: int, message: Message) -> None:
        kept = Kept(row_id, len(message.header), message.fingerprint.exact)
        with translated(self._directory):
            if not self._directory.exists():
                make_directory(self._directory)
            older = [other for other in self._of(row_id) if other != kept]
            self._write(kept, message.blocks())
            self._names()[row_id] = [kept]
            for other in older:
                (self._directory / other.name).unlink(missing_ok=True)

    def _write(self, kept: Kept, blocks: Iterator[bytes]) -> None:
        temporary = self._directory / (kept.name + _TEMPORARY)
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        digest = sha256()
        try:
            with os.fdopen(handle, "wb") as stream:
                os.fchmod(stream.fileno(), 0o600)
                for block in blocks:
                    digest.update(block)
                    stream.write(block)
                stream.flush()
                os.fsync(stream.fileno())
            if digest.digest() != kept.exact:
                raise unwritable(self._directory, "a message changed on its way there; check the health of the disk")
            os.rename(temporary, self._directory / kept.name)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_directory(self._directory)

    def get(self, row_id: int) -> Message:
        kept = next(iter(self._of(row_id)), None)
        if kept is None:
            raise _missing()
        path = self._directory / kept.name
        try:
            with translated(self._directory):
                return self._read(kept, path)
        except StateError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                raise _missing() from error
            raise

    def _read(self, kept: Kept, path: Path) -> Message:
        is_large = path.stat().st_size > MEMORY_LIMIT
        digest = self._digester()
        blocks: list[bytes] = []
        header = b""
        with path.open("rb") as stream:
            while block := stream.read(BLOCK):
                digest.update(block)
                if len(header) < kept.header_octets:
                    header += block[: kept.header_octets - len(header)]
                if not is_large:
                    blocks.append(block)
        message = _checked(kept, header, digest.finish(), None if is_large else b"".join(blocks))
        if not is_large:
            return message
        # Whoever gets the message removes its file: it gets a name of its own.
        copy = self._directory / f"{kept.name}.out{_TEMPORARY}"
        copy.unlink(missing_ok=True)
        try:
            os.link(path, copy)
        except OSError:
            shutil.copyfile(path, copy)  # a file system without hard links
            copy.chmod(0o600)
        return Message(message.octets, header, message.fingerprint, None, copy)

    def move(self, row_id: int, to: int) -> None:
        with translated(self._directory):
            for kept in self._of(row_id):
                moved = kept._replace(row_id=to)
                os.rename(self._directory / kept.name, self._directory / moved.name)
                self._names().setdefault(to, []).append(moved)
                sync_directory(self._directory)
            self._names().pop(row_id, None)

    def remove(self, row_ids: Iterable[int]) -> None:
        with translated(self._directory):
            for row_id in row_ids:
                for kept in self._names().pop(row_id, []):
                    (self._directory / kept.name).unlink(missing_ok=True)

    def kept(self) -> list[Kept]:
        return [kept for row_id in sorted(self._names()) for kept in self._names()[row_id]]

    def _of(self, row_id: int) -> list[Kept]:
        return self._names().get(row_id, [])

    def _names(self) -> dict[int, list[Kept]]:
        if self._known is None:
            self._known = {}
            with translated(self._directory):
                for name in sorted(os.listdir(self._directory)) if self._directory.is_dir() else ():
                    if match := _NAME.fullmatch(name):
                        kept = Kept(int(match[1]), int(match[2]), bytes.fromhex(match[3]))
                        self._known.setdefault(kept.row_id, []).append(kept)
        return self._known

    def sweep(self) -> None:
        with translated(self._directory):
            if self._directory.is_dir():
                for name in os.listdir(self._directory):
                    if name.endswith(_TEMPORARY):
                        (self._directory / name).unlink()


class MemorySpool:
    """A spool without a disk, for a state in memory."""

    def __init__(self, digester: Digester) -> None:
        self._digester = digester
        self._messages: dict[int, tuple[Kept, bytes]] = {}

    def keep(self, row_id: int, message: Message) -> None:
        kept = Kept(row_id, len(message.header), message.fingerprint.exact)
        self._messages[row_id] = kept, b"".join(message.blocks())

    def get(self, row_id: int) -> Message:
        if row_id not in self._messages:
            raise _missing()
        kept, data = self._messages[row_id]
        digest = self._digester()
        digest.update(data)
        return _checked(kept, data[: kept.header_octets], digest.finish(), data)

    def move(self, row_id: int, to: int) -> None:
        if row_id in self._messages:
            kept, data = self._messages.pop(row_id)
            self._messages[to] = kept._replace(row_id=to), data

    def remove(self, row_ids: Iterable[int]) -> None:
        for row_id in row_ids:
            self._messages.pop(row_id, None)

    def kept(self) -> list[Kept]:
        return [kept for kept, _ in self._messages.values()]

    def sweep(self) -> None:
        """Nothing is ever half-written here."""
