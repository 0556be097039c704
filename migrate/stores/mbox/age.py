"""Files that only the holder of a secret key can read: the age format (age-encryption.org/v1), by the library pyrage.

    recipient = "age1" ...                   public: who holds it can encrypt, and read nothing
    identity  = "AGE-SECRET-KEY-1" ...       secret: never shown, never in an error

``age -d -i FILE`` gives back what was encrypted. Encrypting holds a few blocks in memory, whatever the size. The format
is read from its beginning to its end, and messages are wanted from anywhere: so a file is decrypted into a nameless
temporary file, two at a time (a file and its index), which are gone when nobody reads them any more, also after a kill.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ...errors import Cause, Retry, StoreError
from ...model import Secret, display
from .. import disk

if TYPE_CHECKING:
    from pyrage import x25519

SUFFIX = ".age"
SECRET = "AGE-SECRET-KEY-1"
HELD = 2  # decrypted files at a time

_STRANGER = "No matching keys found"  # as the library says it


def library() -> Any:
    """pyrage. StoreError where it is not installed."""
    try:
        import pyrage
    except ImportError:
        raise StoreError(
            "the library for encrypted files is not installed",
            cause=Cause.UNUSABLE,
            retry=Retry.NEVER,
            hint='Install it with: pip install "popferry[age]"',
        ) from None
    return pyrage


def is_recipient(text: str) -> bool:
    """Whether it is a public key, with its check digits."""
    try:
        library().x25519.Recipient.from_str(text)
    except library().RecipientError:
        return False
    return True


def locked(path: Path) -> StoreError:
    """What stops a reader that has no key."""
    return StoreError(
        f"{display(str(path), 1000)} is encrypted, and no identity was given",
        cause=Cause.UNUSABLE,
        retry=Retry.NEVER,
        hint="Name the file that has the secret key with --identity FILE.",
    )


class NotTheKey(StoreError):
    """These keys are for other files; or the first lines of this one are damaged, which looks the same."""


class Identity:
    """The secret keys of one person. Decrypted files stand in ``directory``, without a name."""

    def __init__(self, keys: Sequence[x25519.Identity], directory: Path | None = None) -> None:
        self._keys = list(keys)
        self._directory = directory
        self._held: dict[tuple[Path, int, int, int], Plain] = {}

    def plain(self, path: Path) -> Plain:
        """What the file holds. NotTheKey where these keys are not for it; FileNotFoundError where there is none."""
        facts = path.stat()
        name = (path, facts.st_ino, facts.st_size, facts.st_mtime_ns)
        plain = self._held.pop(name, None)
        if plain is None:
            while len(self._held) >= HELD:
                del self._held[next(iter(self._held))]
            plain = self._decrypted(path)
        self._held[name] = plain  # the last one used is the last to go
        return plain

    def _decrypted(self, path: Path) -> Plain:
        rage = library()
        handle = tempfile.TemporaryFile(dir=self._directory, buffering=0)  # noqa: SIM115 - it outlives this call
        sink = _Sink(handle.fileno())
        try:
            with path.open("rb") as stream:
                rage.decrypt_io(stream, sink, self._keys)
        except rage.DecryptError as error:
            if str(error) == _STRANGER:
                raise NotTheKey(
                    f"the identity has no key that {display(str(path), 1000)} is encrypted to",
                    cause=Cause.UNUSABLE,
                    retry=Retry.NEVER,
                    hint="The file of --identity may have several keys, one a line, where older months have another.",
                ) from None
            return Plain(handle, is_whole=False)
        except OSError:
            if sink.error is not None:
                raise sink.error from None
            # The library cannot go on behind an octet that is not right; what came before it was.
            return Plain(handle, is_whole=False)
        if sink.error is not None:
            raise sink.error
        return Plain(handle, is_whole=True)


def identity_of(secret: Secret, directory: Path | None = None) -> Identity | None:
    """The identity of these keys, one a line; None where the secret is empty. ValueError where one is no key."""
    lines = secret.reveal().split()
    if not lines:
        return None
    rage = library()
    try:
        return Identity([rage.x25519.Identity.from_str(line) for line in lines], directory)
    except rage.IdentityError:
        raise ValueError("not a secret key of age") from None


def nothing() -> Plain:
    """What is left of a file that is damaged from its first lines on."""
    return Plain(tempfile.TemporaryFile(buffering=0), is_whole=False)


class Plain:
    """A decrypted file. Where it is not whole, it ends before what is damaged."""

    def __init__(self, handle: BinaryIO, *, is_whole: bool) -> None:
        self._handle = handle
        self.is_whole = is_whole

    def open(self) -> BinaryIO:
        """A reader with a place of its own, which may outlive this object."""
        return io.BufferedReader(_Window(os.dup(self._handle.fileno())))


class _Window(io.RawIOBase):
    """An open file, read from a place that nobody else moves."""

    def __init__(self, handle: int) -> None:
        self._handle, self._place = handle, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = os.preadv(self._handle, [buffer], self._place)
        self._place += count
        return count

    def seek(self, place: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: os.fstat(self._handle).st_size}[whence]
        self._place = base + place
        return self._place

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()


class _Sink:
    """Where the library writes to. It loses the error of its last write; here it is found."""

    def __init__(self, handle: int) -> None:
        self._handle = handle
        self.error: OSError | None = None

    def write(self, block: bytes) -> int:
        try:
            disk.write(self._handle, [block])
        except OSError as error:
            self.error = error
            raise
        return len(block)

    def flush(self) -> None:
        """Nothing is held back."""


def encrypt(path: Path, target: Path, recipients: Sequence[str]) -> Identity:
    """Writes what the file holds into ``target``, encrypted and durable. FileExistsError where that is there.

    Value: a witness, whose public key was made for this file and stands in it beside the recipients'. It can read
    back what stands on the disk, now, and lives in this process alone.
    """
    rage = library()
    witness = rage.x25519.Identity.generate()
    keys = [*map(rage.x25519.Recipient.from_str, recipients), witness.to_public()]
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        sink = _Sink(handle)
        with path.open("rb") as stream:
            try:
                rage.encrypt_io(stream, sink, keys)
            except (rage.EncryptError, OSError):
                if sink.error is None:
                    raise
        if sink.error is not None:
            raise sink.error
        disk.sync(handle)
    finally:
        os.close(handle)
    return Identity([witness], target.parent)
