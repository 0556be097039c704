"""Programs of other people that read mbox files: each shows the subjects that it finds, message by message.

``READERS`` has them by name. A reader gets a file that it may change, an empty directory, and gives the subject of each
message in the order of the file, None where it shows none. FileNotFoundError where the program is not here.
"""

from __future__ import annotations

import mailbox
import os
import pty
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from .dovecot import Dovecot

Subjects = list[bytes | None]
Reader = Callable[[Path, Path], Subjects]

PATIENCE_S = 240
_NEXT = b"\n=-=-= the next message =-=-=\n"


_HEADER_END = re.compile(rb"\r?\n\r?\n")
_SUBJECT = re.compile(rb"(?im)^subject:((?:.*\n[ \t])*.*)$")


def subject_of(octets: bytes) -> bytes | None:
    """The first Subject, with single spaces, by no code of the product."""
    found = _SUBJECT.search(_HEADER_END.split(octets, maxsplit=1)[0])
    return None if found is None else b" ".join(found[1].split())


def python(path: Path, scratch: Path) -> Subjects:
    box = mailbox.mbox(path, create=False)
    try:
        found: list[str | None] = [None if one["subject"] is None else str(one["subject"]) for one in box]
    finally:
        box.close()
    return [None if one is None else b" ".join(one.encode(errors="surrogateescape").split()) for one in found]


def mutt(path: Path, scratch: Path) -> Subjects:
    """On a terminal of its own: all messages are tagged and piped out."""
    program, shown = _program("mutt"), scratch / "shown"
    keys = f"<tag-pattern>~A<enter><tag-prefix><pipe-message>cat >{shown}<enter><exit>"
    settings = {
        "folder": str(scratch), "spoolfile": "/dev/null", "mailcap_path": "/dev/null", "sort": "mailbox-order",
        "pipe_sep": _NEXT.decode().replace("\n", "\\n"), "sleep_time": "0",
    }  # fmt: skip
    switches = "wait_key=no pipe_decode=no pipe_split=no quit=yes header_cache=''"
    lines = [f'set {name}="{value}"' for name, value in settings.items()] + [f"set {one}" for one in switches.split()]
    (scratch / "muttrc").write_text("\n".join(lines) + "\n")
    _on_a_terminal([program, "-n", "-F", str(scratch / "muttrc"), "-R", "-f", str(path), "-e", f'push "{keys}"'])
    pieces = shown.read_bytes().split(_NEXT)
    return [subject_of(one) for one in (pieces[:-1] if not pieces[-1] else pieces)]


def _on_a_terminal(command: list[str]) -> None:
    environment = os.environ | {"TERM": "xterm", "LC_ALL": "C.UTF-8", "COLUMNS": "80", "LINES": "24"}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        ["timeout", str(PATIENCE_S), *command],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
    )
    os.close(theirs)
    said = b""
    try:
        while block := os.read(ours, 65536):
            said = (said + block)[-2000:]
    except OSError:
        pass  # the terminal is closed
    finally:
        os.close(ours)
    if code := process.wait():
        raise RuntimeError(f"{command[0]} ended with {code}: {said!r}")


def formail(path: Path, scratch: Path) -> Subjects:
    """It counts a message only where two header fields follow, unless it is told that one will do (-m 1)."""
    script = 'cat >"$0"/$FILENO'
    with path.open("rb") as stream:
        _run([_program("formail"), "-m", "1", "-s", "sh", "-c", script, str(scratch)], stdin=stream.fileno())
    return [subject_of(one.read_bytes()) for one in sorted(scratch.iterdir(), key=lambda one: int(one.name))]


def mblaze(path: Path, scratch: Path) -> Subjects:
    """Its delivery splits an mbox file into a Maildir, and takes the quoting back."""
    for name in ("cur", "new", "tmp"):
        (scratch / name).mkdir()
    with path.open("rb") as stream:
        _run([_program("mdeliver"), "-M", str(scratch)], stdin=stream.fileno())
    _program("mlist")
    names = _run(["mlist", str(scratch)]).decode().split()
    return [subject_of(Path(one).read_bytes()) for one in sorted(names, key=lambda name: int(_number(name)))]


def _number(name: str) -> str:
    found = re.search(r"P[0-9]+Q([0-9]+)\.", name)
    assert found is not None, name
    return found[1]


def dovecot(path: Path, scratch: Path) -> Subjects:
    """Its mbox driver, by IMAP."""
    try:
        with Dovecot(mail_format="mbox") as server:
            server.place_mbox("reader", path)
            with server.imap("reader") as imap:
                # It gives uids by headers of its own (X-UID), which it finds in mail too; writing cures that.
                imap.command("SELECT INBOX")
            return [subject_of(one.octets) for one in server.stored("reader")]
    except RuntimeError as error:
        if "not installed" in str(error):
            raise FileNotFoundError("dovecot") from error
        raise


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise FileNotFoundError(name)
    return found


def _run(command: list[str], stdin: int = subprocess.DEVNULL) -> bytes:
    done = subprocess.run(command, stdin=stdin, capture_output=True, timeout=PATIENCE_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{shlex.join(command)} ended with {done.returncode}: {done.stderr.decode()[-500:]}")
    return done.stdout


READERS: dict[str, Reader] = {
    "Python mailbox": python,
    "mutt": mutt,
    "Dovecot": dovecot,
    "formail": formail,
    "mblaze": mblaze,
}
