"""The tools that Debian packages, each on its half of the job: POP3 to Maildir, or Maildir to IMAP.

Each gets a directory of its own in memory and a configuration that asks for the same: everything, nothing deleted,
no line added. A peer that is not installed is named and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from .ground import PATIENCE_S, Ground
from .runs import Measured

Configure = Callable[[Path, int, str], list[str]]  # (directory, port, user) -> the command


@dataclass(frozen=True)
class Peer:
    """``is_slow``: a sample of its mail is enough, and where there is a delay a smaller one."""

    name: str
    package: str
    program: str
    version: tuple[str, ...]
    configure: Configure
    is_slow: bool = False

    @property
    def is_here(self) -> bool:
        return shutil.which(self.program) is not None

    def told_version(self) -> str:
        done = subprocess.run([self.program, *self.version], capture_output=True, text=True, check=False)
        words = next((line for line in done.stdout.splitlines() if any(c.isdigit() for c in line)), "?").split()
        return next((word.partition("+")[0].strip(",.") for word in words if word[0].isdigit()), "?")


def _mpop(place: Path, port: int, user: str) -> list[str]:
    return _with_config(
        place,
        "mpoprc",
        f"""\
account a
host 127.0.0.1
port {port}
user {user}
password secret
auth user
tls off
keep on
only_new off
received_header off
delivery maildir {_maildir(place / "mail")}
uidls_file {place}/uidls
""",
        lambda config: ["mpop", f"--file={config}", "--quiet", "a"],
    )


def _getmail(place: Path, port: int, user: str) -> list[str]:
    return _with_config(
        place,
        "getmailrc",
        f"""\
[retriever]
type = SimplePOP3Retriever
server = 127.0.0.1
port = {port}
username = {user}
password = secret
[destination]
type = Maildir
path = {_maildir(place / "mail")}/
[options]
read_all = true
delete = false
delivered_to = false
received = false
""",
        lambda config: [*_as_nobody(place), "getmail", f"--getmaildir={place}", f"--rcfile={config}", "--quiet"],
    )


def _as_nobody(place: Path) -> list[str]:
    """Before a command that delivers nothing as root; the directory is then nobody's."""
    if os.geteuid() != 0:
        return []
    place.parent.chmod(0o711)
    for path in (place, *place.rglob("*")):
        shutil.chown(path, "nobody", "nogroup")
    return ["setpriv", "--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]


def _fetchmail(place: Path, port: int, user: str) -> list[str]:
    config = f"""\
poll 127.0.0.1 service {port} protocol POP3 auth password
  username "{user}" password "secret" keep fetchall no rewrite sslproto ""
"""
    more = ["--bsmtp", str(place / "mail"), "--idfile", str(place / "ids"), "--pidfile", str(place / "pid")]
    return _with_config(place, "fetchmailrc", config, lambda path: ["fetchmail", "-f", str(path), "--silent", *more])


def _mbsync(place: Path, port: int, user: str) -> list[str]:
    return _with_config(
        place,
        "mbsyncrc",
        f"""\
IMAPStore far
Host 127.0.0.1
Port {port}
User {user}
Pass secret
SSLType None
AuthMechs LOGIN

MaildirStore near
Path {place}/
Inbox {place}/INBOX
SubFolders Verbatim

Channel c
Far :far:
Near :near:
Sync PushNew
SyncState {place}/state-
""",
        lambda config: ["mbsync", "-q", "-c", str(config), "c"],
    )


def _offlineimap(place: Path, port: int, user: str) -> list[str]:
    return _with_config(
        place,
        "offlineimaprc",
        f"""\
[general]
accounts = a
metadata = {place}/metadata
ui = quiet
[Account a]
localrepository = near
remoterepository = far
[Repository near]
type = Maildir
localfolders = {place}
[Repository far]
type = IMAP
remotehost = 127.0.0.1
remoteport = {port}
remoteuser = {user}
remotepass = secret
ssl = no
starttls = no
folderfilter = lambda name: name == "INBOX"
""",
        lambda config: ["offlineimap", "-c", str(config), "-o"],
    )


FETCHERS = (
    Peer("mpop", "mpop", "mpop", ("--version",), _mpop),
    Peer("getmail6", "getmail6", "getmail", ("--version",), _getmail, is_slow=True),
    Peer("fetchmail", "fetchmail", "fetchmail", ("--version",), _fetchmail, is_slow=True),
)
UPLOADERS = (
    Peer("mbsync", "isync", "mbsync", ("--version",), _mbsync),
    Peer("offlineimap3", "offlineimap3", "offlineimap", ("--version",), _offlineimap, is_slow=True),
)


def fetch(peer: Peer, ground: Ground, port: int, user: str, count: int) -> Measured:
    """A fetcher takes all ``count`` messages of this user."""
    place = _fresh(ground, peer)
    measured = _run(peer.configure(place, port, user), place)
    mail = place / "mail"
    if mail.is_dir():
        got = sum(1 for one in (*(mail / "new").iterdir(), *(mail / "cur").iterdir()))
    else:  # BSMTP
        got = mail.read_bytes().count(b"\nDATA") if mail.exists() else 0
    if got != count:
        raise RuntimeError(f"{peer.name} fetched {got} of {count}")
    shutil.rmtree(place)
    return measured


def upload(peer: Peer, ground: Ground, port: int, messages: Iterable[bytes]) -> Measured:
    """An uploader puts a Maildir with these messages into an empty INBOX."""
    place = _fresh(ground, peer)
    folder = _maildir(place / "INBOX") / "cur"
    count = 0
    for count, octets in enumerate(messages, start=1):
        (folder / f"{1_500_000_000 + count}.M0P1.localhost:2,").write_bytes(octets.replace(b"\r\n", b"\n"))
    user = ground.new_user()
    measured = _run(peer.configure(place, port, user), place)
    with ground.dest.imap(user) as imap:
        lines, _ = imap.command("STATUS INBOX (MESSAGES)")[0]
    if lines != b"* STATUS INBOX (MESSAGES %d)\r\n" % count:
        raise RuntimeError(f"{peer.name} should have uploaded {count}: {lines!r}")
    ground.forget(user)
    shutil.rmtree(place)
    return measured


def _run(command: list[str], place: Path) -> Measured:
    environment = {**os.environ, "HOME": str(place)}
    began = time.monotonic()
    done = subprocess.run(
        command, env=environment, cwd=place, capture_output=True, text=True, check=False, timeout=PATIENCE_S
    )
    seconds = time.monotonic() - began
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return Measured(seconds, seconds)


def _fresh(ground: Ground, peer: Peer) -> Path:
    place = ground.directory / peer.name
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(mode=0o700)
    return place


def _maildir(path: Path) -> Path:
    for made in (path, *(path / name for name in ("cur", "new", "tmp"))):
        made.mkdir(mode=0o700, exist_ok=True)
    return path


def _with_config(place: Path, name: str, text: str, command: Callable[[Path], list[str]]) -> list[str]:
    config = place / name
    config.write_text(text)
    config.chmod(0o600)
    return command(config)
