"""The tools that Debian packages, each on its half of the job: POP3 to Maildir, or Maildir to IMAP; and as keepers of
a nightly backup: POP3 to mbox, or IMAP to Maildir.

Each gets a directory of its own and a configuration that asks for the same: everything that it has not fetched yet,
nothing deleted, no line added. A peer that is not installed is named and left out.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from .ground import PATIENCE_S, Ground
from .runs import Measured


class Failed(RuntimeError):
    """A peer did not do what it was to do. Seen: getmail 6.18.11 misses the end of its own child, when busy."""


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


def _mpop(place: Path, port: int, user: str, delivery: str = "maildir") -> list[str]:
    if delivery == "maildir":
        _maildir(place / "mail")
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
only_new on
received_header off
delivery {delivery} {place / "mail"}
uidls_file {place}/uidls
""",
        lambda config: ["mpop", f"--file={config}", "--quiet", "a"],
    )


def _getmail(place: Path, port: int, user: str, delivery: str = "Maildir") -> list[str]:
    mail = place / "mail"
    if delivery == "Maildir":
        _maildir(mail)
    else:
        mail.touch()
    for known in place.glob("oldmail-*"):  # its name tells the port, which a slow line changes
        known.rename(place / f"oldmail-127.0.0.1-{port}-{user}")
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
type = {delivery}
path = {mail}{"/" * mail.is_dir()}
[options]
read_all = false
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


def _fetchmail(place: Path, port: int, user: str, delivery: str = "bsmtp") -> list[str]:
    config = f"""\
poll 127.0.0.1 service {port} protocol POP3 uidl auth password
  username "{user}" password "secret" keep no rewrite sslproto ""
"""
    mail = place / "mail"
    # It knows no mbox: formail, which is made for that, gives a message its From_ line.
    given = ["--bsmtp", str(mail)] if delivery == "bsmtp" else ["--mda", f"formail >> {mail}"]
    more = [*given, "--idfile", str(place / "ids"), "--pidfile", str(place / "pid")]
    return _with_config(place, "fetchmailrc", config, lambda path: ["fetchmail", "-f", str(path), "--silent", *more])


def _mbsync(place: Path, port: int, user: str, sync: str = "PushNew") -> list[str]:
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
Sync {sync}
Create Near
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

# What keeps a backup of POP3 in one mbox file, and of IMAP in a Maildir. A slow one begins with a list of what it
# fetched before.
KEEPERS = (
    Peer("mpop", "mpop", "mpop", ("--version",), partial(_mpop, delivery="mbox")),
    Peer("getmail6", "getmail6", "getmail", ("--version",), partial(_getmail, delivery="Mboxrd"), is_slow=True),
    Peer("fetchmail", "fetchmail", "fetchmail", ("--version",), partial(_fetchmail, delivery="mda"), is_slow=True),
)
MIRROR = Peer("mbsync", "isync", "mbsync", ("--version",), partial(_mbsync, sync="PullNew"))


def fetch(peer: Peer, ground: Ground, port: int, user: str, count: int) -> Measured:
    """A fetcher takes all ``count`` messages of this user. One that breaks off begins anew, once."""
    place = _fresh(ground.directory / peer.name)
    try:
        measured = _run(peer.configure(place, port, user), place)
    except Failed as failure:
        # Seen: getmail6 gives up on a process of its own.
        print(f"{peer.name} begins anew: {failure}", file=sys.stderr)
        place = _fresh(place)
        measured = _run(peer.configure(place, port, user), place)
    check(peer.name, _count(place / "mail", b"\nDATA"), count)
    shutil.rmtree(place)
    return measured


def keep(peer: Peer, place: Path, port: int, user: str, count: int) -> Measured:
    """One night: what is new comes into the directory, which stays. ``count``: so many messages it holds then."""
    place.mkdir(mode=0o700, exist_ok=True)
    measured = _run(peer.configure(place, port, user), place)
    check(peer.name, kept(place), count)
    return measured


def remember(peer: Peer, place: Path, port: int, user: str, uidls: Iterable[bytes]) -> None:
    """Makes the directory of a peer that has fetched these, by the list that it keeps."""
    place.mkdir(mode=0o700)
    name, line = {
        "getmail6": (f"oldmail-127.0.0.1-{port}-{user}", b"%b\0001500000000\n"),
        "fetchmail": ("ids", f"{user}@127.0.0.1 %b\n".encode()),
    }[peer.name]
    path = place / name
    path.write_bytes(b"".join(line % uidl for uidl in uidls))
    path.chmod(0o600)


def kept(place: Path) -> int:
    """The messages in the mbox files or the Maildir below a directory."""
    mails = [place / "mail"] if (place / "mail").exists() else list(place.rglob("*.mbox"))
    mails = mails or [mail for mail in (place / "INBOX", place) if (mail / "new").exists()]
    return sum(_count(mail, b"\nFrom ") for mail in mails)


def _count(mail: Path, mark: bytes) -> int:
    """Messages in a Maildir, or in a file in which a mark stands before each."""
    if mail.is_dir():
        return sum(1 for one in (*(mail / "new").iterdir(), *(mail / "cur").iterdir()))
    octets = mail.read_bytes() if mail.exists() else b""
    return (b"\n" + octets).count(mark)


def check(name: str, got: int, count: int) -> None:
    """Nothing is worth measuring that did not arrive, or came twice."""
    if got != count:
        raise Failed(f"{name} has {got} messages, and should have {count}")


def upload(peer: Peer, ground: Ground, port: int, messages: Iterable[bytes]) -> Measured:
    """An uploader puts a Maildir with these messages into an empty INBOX."""
    place = _fresh(ground.directory / peer.name)
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
        raise Failed(f"{command[0]} ended with {done.returncode}: {done.stdout[-500:]}{done.stderr[-1000:]}")
    return Measured(seconds, seconds)


def _fresh(place: Path) -> Path:
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
