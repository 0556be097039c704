"""A real Dovecot of the test's own: POP3 and IMAP on free ports of 127.0.0.1, any user, one password.

It needs nothing outside a short temporary directory, runs as root (mail processes then run as an unprivileged
user) and as an ordinary user, and understands the configuration of 2.3 and of 2.4.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from types import TracebackType

from .dovecot_config import Settings
from .server import PROTOCOLS, MailServer

START_S = 20


def find_dovecot() -> str | None:
    """The program's path, or None. /usr/sbin is searched too: an ordinary user's PATH lacks it."""
    path = os.environ.get("PATH", "") + os.pathsep + os.pathsep.join(("/usr/sbin", "/usr/local/sbin"))
    return shutil.which("dovecot", path=path)


def has_protocols(program: str) -> bool:
    """Whether the POP3 and the IMAP halves are both installed."""
    places = [Path("/usr/lib/dovecot"), Path("/usr/libexec/dovecot"), Path(program).parent.parent / "libexec/dovecot"]
    return any((place / "pop3").exists() and (place / "imap").exists() for place in places)


def served_form(octets: bytes) -> bytes:
    """What Dovecot's POP3 serves of a delivered file: bare LF as CRLF, and a final line end where none is."""
    octets = re.sub(rb"(?<!\r)\n", b"\r\n", octets)
    return octets if octets.endswith(b"\r\n") else octets + b"\r\n"


def stored_form(octets: bytes) -> bytes:
    """What Dovecot's IMAP holds after an APPEND of these octets: NUL as 0x80, bare LF as CRLF, without one CR
    before each CRLF and one at the end. All other octets stay."""
    octets = re.sub(rb"(?<!\r)\n", b"\r\n", octets.replace(b"\0", b"\x80"))
    return re.sub(rb"\r(?=\r\n|\Z)", b"", octets)


class Dovecot(MailServer):
    """A running server while the ``with`` block lasts; everything it made is removed afterwards.

    ``capability``: exactly this IMAP capability list, to hide abilities (they still work, nobody is told).
    ``auth_delay``: seconds before a wrong password is answered. ``mail_format``: "maildir", "mdbox" or "mbox".
    ``rawlog``: what clients send after login is kept, TLS or not, see ``commands``.
    ``extra``: more lines of configuration. ``place``: where its directory is made, else where temporary files go.
    """

    name = "Dovecot"

    def __init__(
        self,
        *,
        password: str = "secret",
        capability: str | None = None,
        auth_delay: int = 0,
        mail_format: str = "maildir",
        rawlog: bool = False,
        extra: str = "",
        place: Path | None = None,
    ) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_.-]+", password):
            raise ValueError("a password here is made of letters, digits, and _ . -")
        self.password = password
        self._capability = capability
        self._auth_delay = auth_delay
        self._mail_format = mail_format
        self._rawlog = rawlog
        self._extra = extra
        self._place = place
        self._delivered = 0
        self._known: set[Path] = set()

    # --- life ---------------------------------------------------------------------------------

    def __enter__(self) -> Dovecot:
        program = find_dovecot()
        if program is None:
            raise RuntimeError("Dovecot is not installed")
        # A directory of its own: paths of unix sockets are short, and the mail user must be able to enter.
        self.directory = Path(tempfile.mkdtemp(prefix="pf-dovecot-", dir=self._place))
        try:
            self._prepare(program)
            self._start(program)
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()
        shutil.rmtree(self.directory, ignore_errors=True)

    def stop(self) -> None:
        """Ends the server and every connection; the mail stays until the block ends."""
        process = getattr(self, "_process", None)
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def start(self) -> None:
        """Starts it again after ``stop``, on the same ports, with the same mail."""
        program = find_dovecot()
        assert program is not None
        self._launch(program)

    def _prepare(self, program: str) -> None:
        self.directory.chmod(0o711)
        is_root = os.geteuid() == 0
        self._uid, self._gid = (pwd.getpwnam("nobody")[2:4]) if is_root else (os.geteuid(), os.getegid())
        self._mail = self.directory / "mail"
        self._raw = self.directory / "raw"
        self.log = self.directory / "log"
        for made in (self._mail, self._raw):
            made.mkdir()
            os.chown(made, self._uid, self._gid)
        self.make_certificate()
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        version = re.match(r"\d+\.\d+\.\d+", said)  # Seen: "2.3.19.1 (9b53102964)", "2.4.1-4 (7d8c0e5759)"
        if version is None:
            raise RuntimeError(f"not a version of Dovecot: {said}")
        self.version = version[0]
        self.name = f"Dovecot {self.version}"

    def _start(self, program: str) -> None:
        for _ in range(5):
            self._ports = dict(zip(PROTOCOLS, free_ports(len(PROTOCOLS)), strict=True))
            self._config = self.directory / "dovecot.conf"
            self._config.write_text(self._settings().text())
            try:
                self._launch(program)
            except _PortTaken:
                continue
            return
        raise RuntimeError("no free ports for Dovecot in five tries")

    def _settings(self) -> Settings:
        return Settings(
            version=self.version,
            directory=self.directory,
            uid=self._uid,
            gid=self._gid,
            ports=self._ports,
            password=self.password,
            mail_format=self._mail_format,
            auth_delay=self._auth_delay,
            capability=self._capability,
            rawlog=self._rawlog,
            extra=self._extra,
        )

    def _launch(self, program: str) -> None:
        command = [program, "-F", "-c", str(self._config)]
        if setpriv := shutil.which("setpriv"):
            # Ends with the test run even when that is killed.
            command = [setpriv, "--pdeathsig", "TERM", "--", *command]
        output = (self.directory / "output").open("wb")
        with output:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        self.pid = self._process.pid
        for protocol in ("pop3", "imap"):
            self._await_greeting(self._ports[protocol])

    def _await_greeting(self, port: int) -> None:
        for _ in range(START_S * 50):
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=START_S) as probe:
                    if probe.recv(1):
                        return
            except OSError:
                pass  # not listening yet
            try:
                self._process.wait(timeout=0.02)
            except subprocess.TimeoutExpired:
                continue
            said = self.complaints()
            raise _PortTaken() if "Address already in use" in said else RuntimeError(f"Dovecot ended: {said}")
        raise RuntimeError(f"Dovecot gave no greeting in {START_S} s: {self.complaints()}")

    def complaints(self) -> str:
        """What it wrote to its log and its output."""
        return "".join(
            path.read_text(errors="replace") for path in (self.directory / "output", self.log) if path.exists()
        )

    # --- mail in ----------------------------------------------------------------------------

    def deliver_many(
        self,
        user: str,
        messages: Iterable[bytes],
        mailbox: str = "INBOX",
        *,
        flags: str = "",
        when: datetime | None = None,
    ) -> None:
        """Octets with CRLF line ends are served exactly; Dovecot serves a bare LF as CRLF. ``flags``: letters
        of Maildir (S seen, R answered, F flagged, D draft, T deleted)."""
        if self._mail_format != "maildir":
            with self.imap(user) as imap:
                for octets in messages:
                    imap.append(mailbox, octets)
            return
        folder = self._maildir(user, mailbox) / "cur"
        for octets in messages:
            self._delivered += 1
            # Dovecot gives UIDs to new files in the order of these names.
            name = f"{1_000_000_000 + self._delivered}.M0P{os.getpid()}.localhost"
            self._write(folder / f"{name},S={len(octets)}:2,{flags}", octets, when)

    def deliver_file(self, user: str, source: Path, mailbox: str = "INBOX") -> None:
        """Moves a (large) file into the mailbox as a message; CRLF line ends expected."""
        self._delivered += 1
        name = f"{1_000_000_000 + self._delivered}.M0P{os.getpid()}.localhost"
        target = self._maildir(user, mailbox) / "cur" / f"{name},S={source.stat().st_size}:2,"
        shutil.move(source, target)
        os.chown(target, self._uid, self._gid)

    def place_mbox(self, user: str, source: Path) -> None:
        """Copies an mbox file to where the INBOX of that user is. Needs ``mail_format`` "mbox"."""
        root = self._mail / user / "mbox"
        for made in (root.parent, root):
            self._own_directory(made)
        self._write(root / "inbox", source.read_bytes(), None)

    def _write(self, path: Path, octets: bytes, when: datetime | None) -> None:
        with path.open("wb") as stream:
            stream.write(octets)
        os.chown(path, self._uid, self._gid)
        if when is not None:
            os.utime(path, (when.timestamp(), when.timestamp()))

    def _maildir(self, user: str, mailbox: str) -> Path:
        self.prepare(user)
        root = self._mail / user / "Maildir"
        folder = root if mailbox == "INBOX" else root / ("." + mailbox.replace("/", "."))
        for made in (root.parent, root, folder, *(folder / name for name in ("cur", "new", "tmp"))):
            self._own_directory(made)
        return folder

    def maildir(self, user: str) -> Path:
        """The Maildir of a user, for somebody else to write to; call ``adopt`` before the server reads it."""
        return self._maildir(user, "INBOX")

    def adopt(self, root: Path) -> None:
        """Gives the mail that stands there to the user that the server runs as."""
        for path in [root, *root.rglob("*")]:
            if path.suffix != ".sqlite" and path.name != "popferry":
                os.chown(path, self._uid, self._gid)

    def _own_directory(self, path: Path) -> None:
        if path not in self._known:
            self._known.add(path)
            path.mkdir(mode=0o700, exist_ok=True)
            os.chown(path, self._uid, self._gid)

    # --- the server's truth -----------------------------------------------------------------

    def prepare(self, user: str) -> None:
        """Makes room for the raw log of a user; ``deliver`` does it too."""
        self._own_directory(self._raw / user)

    def served(self, octets: bytes) -> bytes:
        return served_form(octets)

    def kept(self, octets: bytes) -> bytes:
        return stored_form(octets)

    def commands(self, user: str) -> bytes:
        """Every octet that this user's clients sent after login, session by session (needs ``rawlog``)."""
        assert self._rawlog, "this Dovecot keeps no raw log"
        logs = sorted((self._raw / user).glob("*.in"))
        return b"".join(re.sub(rb"(?m)^\d+\.\d+ ", b"", log.read_bytes()) for log in logs)


class _PortTaken(Exception):
    """Somebody else took the port between the search and the start."""


def free_ports(count: int) -> list[int]:
    """So many TCP ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [listener.getsockname()[1] for listener in sockets]
