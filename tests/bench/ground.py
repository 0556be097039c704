"""What the bench stands on: private Dovecots whose mail is in memory, a slow line, the raw limit."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.dovecot import Dovecot

from .mail import MailSet

HERE = Path(__file__).resolve().parent
MEMORY = Path("/dev/shm")
PATIENCE_S = 1800.0
BATCH, BATCH_OCTETS = 100, 4 * 1024 * 1024  # of a MULTIAPPEND


class Ground:
    """Two Dovecots, the programs in C, and a directory in memory, while the block lasts.

    ``mail_format``: of the destination. ``capability``: what it says it can, None: all. ``extra``: more lines of
    its configuration.
    """

    def __init__(self, mail_format: str = "mdbox", capability: str | None = None, extra: str = "") -> None:
        self._stack = contextlib.ExitStack()
        self._mail_format = mail_format
        self._capability = capability
        self._extra = extra
        self._users = 0

    def __enter__(self) -> Ground:
        with self._stack as stack:
            place = MEMORY if MEMORY.is_dir() else None
            self.directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pf-bench-", dir=place)))
            self.disk = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pf-bench-")))
            for name, libraries in (("limit", ("-lssl", "-lcrypto")), ("delay", ())):
                program = str(self.directory / name)
                subprocess.run(["cc", "-O2", "-o", program, str(HERE / f"{name}.c"), *libraries], check=True)
            self.source = stack.enter_context(Dovecot(mail_format="mdbox", place=place))
            self.dest = stack.enter_context(
                Dovecot(mail_format=self._mail_format, capability=self._capability, extra=self._extra, place=place)
            )
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    # --- mail -------------------------------------------------------------------------------

    def fill(self, mail: MailSet, user: str, count: int = 0) -> int:
        """Puts a set (the first ``count`` of it) into the source's INBOX of this user; the number of messages."""
        return self.put(mail.messages(count), user)

    def put(self, messages: Iterable[bytes], user: str) -> int:
        """Puts messages into the source's INBOX of this user; how many there were."""
        number = self._append(self.source, messages, user)
        with self.source.pop3(user) as pop3:  # once, so that what Dovecot keeps beside the mail is there
            pop3.uidls()
        return number

    def crowd(self, mail: MailSet, user: str, count: int) -> None:
        """Puts a set into the destination's INBOX of this user."""
        self._append(self.dest, mail.messages(count), user)

    def _append(self, server: Dovecot, messages: Iterable[bytes], user: str) -> int:
        stream = self.directory / f"fill.{user}"
        number = write_appends(stream, messages)
        self.send(((server.imap_port, self.imap_preamble(user), stream),))
        stream.unlink()
        return number

    def new_user(self) -> str:
        """Nobody at the destination so far."""
        self._users += 1
        return f"new{self._users}"

    def forget(self, user: str) -> None:
        """Gives the memory of that user's mail at the destination back."""
        shutil.rmtree(self.dest.directory / "mail" / user, ignore_errors=True)

    # --- raw streams ------------------------------------------------------------------------

    def imap_preamble(self, user: str) -> Path:
        return self._file(f"imap.{user}", f"x LOGIN {user} secret\r\nx SELECT INBOX\r\n")

    def pop3_preamble(self, user: str) -> Path:
        return self._file(f"pop3.{user}", f"USER {user}\r\nPASS secret\r\n")

    def retrieve_all(self, count: int) -> Path:
        """The stream that asks POP3 for all messages."""
        return self._file(f"retr.{count}", "".join(f"RETR {n}\r\n" for n in range(1, count + 1)) + "QUIT\r\n")

    def list_all(self, last: range = range(0)) -> Path:
        """The stream that asks POP3 what there is, and for the messages of these numbers."""
        retrieved = "".join(f"RETR {n}\r\n" for n in last)
        return self._file("list", f"STAT\r\nUIDL\r\nLIST\r\n{retrieved}QUIT\r\n")

    def list_mailbox(self, last: range = range(0)) -> Path:
        """The same of IMAP, for the mailbox that the preamble selected."""
        fetched = f"x FETCH {last.start}:{last.stop - 1} BODY.PEEK[]\r\n" if last else ""
        return self._file("list", f"x FETCH 1:* (UID RFC822.SIZE)\r\n{fetched}x LOGOUT\r\n")

    def _file(self, name: str, text: str) -> Path:
        path = self.directory / name
        path.write_text(text)
        return path

    def send(self, streams: Iterable[tuple[int, Path, Path]], *, tls: bool = False) -> float:
        """Seconds that prepared streams need, all at once: (port, preamble, stream) each."""
        command = [str(self.directory / "limit")]
        for port, preamble, stream in streams:
            command += [f"tls:{port}" if tls else str(port), str(preamble), str(stream)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE_S)
        return float(done.stdout)

    # --- lines ------------------------------------------------------------------------------

    @contextmanager
    def line(self, round_trip_ms: int, ports: list[int]) -> Iterator[list[int]]:
        """The same ports at the end of a line with that round trip; 0: the ports themselves."""
        if not round_trip_ms:
            yield ports
            return
        command = [str(self.directory / "delay"), str(round_trip_ms * 500), *map(str, ports)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as relay:
            assert relay.stdout is not None
            try:
                yield [int(relay.stdout.readline()) for _ in ports]
            finally:
                relay.terminate()


def write_appends(path: Path, messages: Iterable[bytes], *, is_single: bool = False) -> int:
    """An IMAP stream that puts them into INBOX, in batches or one by one; how many there are."""
    number = 0
    with path.open("wb") as out:
        batch: list[bytes] = []
        octets = 0
        for message in messages:
            if batch and (is_single or len(batch) == BATCH or octets + len(message) > BATCH_OCTETS):
                _write_batch(out, number, batch)
                number, batch, octets = number + len(batch), [], 0
            batch.append(message)
            octets += len(message)
        _write_batch(out, number, batch)
        number += len(batch)
        out.write(b"z LOGOUT\r\n")
    return number


def _write_batch(out: object, number: int, batch: list[bytes]) -> None:
    write = out.write  # type: ignore[attr-defined]
    write(b"b%d APPEND INBOX" % number)
    for message in batch:
        write(b' () "15-Mar-2019 10:00:00 +0000" {%d+}\r\n' % len(message))
        write(message)
    write(b"\r\n")
