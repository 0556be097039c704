"""The few things that are done to files, each in one place: a disk that refuses is told as a StoreError."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import Cause, MailboxError, Retry, StoreError
from ..model import BLOCK, display

LOST_AND_FOUND = "lost+found"

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """OSError becomes a StoreError that names the path; a MailboxError where that is too long for the disk."""
    try:
        yield
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            where = display(str(error.filename or path), 100)
            hint = "Name a directory with a shorter path, or a folder without those above it."
            raise MailboxError(f"{where}: the path is too long for the disk", hint=hint) from error
        raise trouble(error, path) from error


def trouble(error: OSError, path: Path) -> StoreError:
    """What a refusal of the disk means."""
    where = display(str(error.filename or path), 1000)
    what = error.strerror or type(error).__name__
    if error.errno in _FULL:
        return StoreError(
            f"{where}: {what}", cause=Cause.FULL, retry=Retry.LATER, hint="Make room there, then run it again."
        )
    return StoreError(
        f"{where}: {what}", cause=Cause.UNUSABLE, retry=Retry.NEVER, hint="Check that it is there, and its owner."
    )


def below(root: Path) -> Iterator[Path]:
    """Every path below ``root``, also behind links to directories; none is entered twice.

    StoreError where one cannot be read: passed over, it would seem to hold nothing.
    """
    entered: set[tuple[int, int]] = set()

    def refuse(error: OSError) -> None:
        # What went meanwhile held nothing; the other one is root's, at the top of a file system.
        if not isinstance(error, FileNotFoundError) and Path(error.filename).name != LOST_AND_FOUND:
            raise trouble(error, root) from error

    for place, directories, names in os.walk(root, onerror=refuse, followlinks=True):
        with suppress(FileNotFoundError):
            facts = os.stat(place)
            if (facts.st_dev, facts.st_ino) in entered:
                directories.clear()
                continue
            entered.add((facts.st_dev, facts.st_ino))
        yield from (Path(place, name) for name in (*directories, *names))


def make_directory(path: Path) -> None:
    """Makes the directory and what is missing above it, each for its owner alone, durably."""
    if path.is_dir():
        return
    make_directory(path.parent)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        return
    sync_directory(path.parent)


def sync_directory(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync(handle)
    finally:
        os.close(handle)


def sync(handle: int) -> None:
    """What was written lasts from now on."""
    os.fsync(handle)


def write(handle: int, blocks: Iterable[bytes]) -> None:
    """Writes every octet."""
    for block in blocks:
        view = memoryview(block)
        while view:
            view = view[os.write(handle, view) :]


def cut(path: Path, size: int, seen: int) -> bool:
    """Takes away what stands behind ``size``, durably. The caller knows that it is ours, up to ``seen``.

    Value: whether it was done; it is not where the file has become longer than that, by somebody who asked for no lock.
    """
    handle = os.open(path, os.O_WRONLY | os.O_NOFOLLOW)
    try:
        if os.fstat(handle).st_size > seen:
            return False
        os.ftruncate(handle, size)
        sync(handle)
    finally:
        os.close(handle)
    return True


def create(path: Path, octets: bytes = b"") -> None:
    """Makes a file that is whole or not there, for its owner alone; FileExistsError where the name is taken."""
    place(_made(path, octets), path)
    sync_directory(path.parent)


def replace(path: Path, octets: bytes) -> None:
    """Gives the file these octets, whole or not at all, durably; makes it where there is none."""
    os.rename(_made(path, octets), path)
    sync_directory(path.parent)


def _made(path: Path, octets: bytes) -> Path:
    """A file beside it that holds these octets durably, under another name."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        write(handle, [octets])
        sync(handle)
    finally:
        os.close(handle)
    return part


def remove(path: Path) -> None:
    """Takes the file away, durably."""
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def place(part: Path, path: Path) -> None:
    """Gives a file its name. FileExistsError where the name is taken; ``part`` is gone either way."""
    try:
        os.link(part, path)
    except FileExistsError:
        raise
    except OSError:
        if path.exists():
            raise FileExistsError(path) from None
        os.rename(part, path)  # a disk without hard links (FAT)
    finally:
        part.unlink(missing_ok=True)


def size_of(path: Path) -> int:
    """Its octets; 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read(path: Path, start: int, end: int) -> Iterator[bytes]:
    """The octets between, in blocks; fewer where the file is shorter."""
    with path.open("rb") as stream:
        stream.seek(start)
        left = end - start
        while left > 0 and (block := stream.read(min(BLOCK, left))):
            left -= len(block)
            yield block


def append(path: Path, lines: Iterable[bytes], *, is_synced: bool = True) -> None:
    """Writes lines behind the last one of a file."""
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW)
    try:
        write(handle, [b"".join(lines)])
        if is_synced:
            sync(handle)
    finally:
        os.close(handle)
