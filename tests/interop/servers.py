"""The servers: how each is installed, started and filled."""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.dovecot import Dovecot

from .chroot import CACHE, Chroot, prepare

PATIENCE_S = 30.0
PASSWORD = "secret"
USER = "test"


@dataclass(frozen=True)
class Place:
    """A running server. ``fill``: puts messages where POP3 serves them, unless a migration does."""

    version: str
    imap_port: int | None = None
    pop3_port: int | None = None
    folder: str = "INBOX"  # that a migration goes into
    user: str = USER
    password: str = PASSWORD
    fill: Callable[[Sequence[bytes]], None] | None = None


@dataclass(frozen=True)
class Kind:
    """How a server is had. ``packages``: of a root of its own, without them it runs beside everything else."""

    name: str
    install: Callable[[], object]  # with the network
    start: Callable[[], contextlib.AbstractContextManager[Place]]
    roles: tuple[str, ...]
    needs_chroot: bool = False


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for(port: int) -> None:
    """Until somebody greets at the port."""
    end_s = time.monotonic() + PATIENCE_S
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as found:
                if found.recv(64):
                    return
        except OSError:
            pass
        if time.monotonic() > end_s:
            raise RuntimeError(f"nobody greets at port {port}")
        time.sleep(0.1)


@contextmanager
def _process(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


# --- beside everything else -----------------------------------------------------------------------


def _dovecot(mail_format: str) -> Kind:
    @contextmanager
    def start() -> Iterator[Place]:
        with Dovecot(mail_format=mail_format) as server:
            yield Place(server.version, server.imap_port, server.pop3_port, "Old", password=server.password)

    return Kind(f"Dovecot ({mail_format})", lambda: None, start, ("destination",))


def _install_pymap() -> None:
    place = CACHE / "pymap"
    if not (place / "bin/pymap").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin/pip"), "install", "--quiet", "pymap"], check=True)


@contextmanager
def _pymap() -> Iterator[Place]:
    port = free_port()
    program = CACHE / "pymap/bin/pymap"
    asked = subprocess.run([program.with_name("pip"), "show", "pymap"], capture_output=True, text=True, check=True)
    version = re.search(r"(?m)^Version: (.*)$", asked.stdout)
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict", "--demo-data")
    with _process(str(program), *options):
        wait_for(port)
        yield Place(version[1] if version else "?", port, folder="Old", user="demouser", password="demopass")


_HOODIECROW = """\
const hoodiecrow = require('hoodiecrow-imap');
const plugins = ['UIDPLUS', 'LITERALPLUS', 'NAMESPACE', 'SPECIAL-USE'];
const folders = {separator: '/', folders: {}};
hoodiecrow({plugins, users: {test: {password: 'secret'}}, storage: {INBOX: {messages: []}, '': folders}})
  .listen(process.argv[2], '127.0.0.1');
"""


def _install_hoodiecrow() -> None:
    place = CACHE / "hoodiecrow"
    if not (place / "node_modules/hoodiecrow-imap").exists():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), "hoodiecrow-imap"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (place / "serve.js").write_text(_HOODIECROW)


@contextmanager
def _hoodiecrow() -> Iterator[Place]:
    place, port = CACHE / "hoodiecrow", free_port()
    package = (place / "node_modules/hoodiecrow-imap/package.json").read_text()
    version = re.search(r'"version": "(.*?)"', package)
    with _process(shutil.which("node") or "node", str(place / "serve.js"), str(port)):
        wait_for(port)
        yield Place(version[1] if version else "?", port, folder="Old")


# --- in a root of their own -----------------------------------------------------------------------

IMAP_PORT, POP3_PORT = 10143, 10110


def _rooted(
    name: str, packages: Sequence[str], start: Callable[[Chroot], Place], roles: tuple[str, ...], title: str = ""
) -> Kind:
    @contextmanager
    def run() -> Iterator[Place]:
        yield start(Chroot(name))

    return Kind(title or name, lambda: prepare(name, packages), run, roles, needs_chroot=True)


def _add_user(root: Chroot) -> None:
    root.run(f"useradd -m {USER}; echo {USER}:{PASSWORD} | chpasswd")


def _spool(root: Chroot) -> Callable[[Sequence[bytes]], None]:
    """Fills /var/mail: an mbox with LF line ends, in which lines that begin with "From " are quoted."""

    def fill(messages: Sequence[bytes]) -> None:
        path = root.root / "var/mail" / USER
        with path.open("wb") as spool:
            for octets in messages:
                lines = re.sub(rb"(?m)^From ", b">From ", octets.replace(b"\r\n", b"\n"))
                spool.write(b"From nobody@example.org Thu Jan  1 00:00:00 2020\n" + lines)
                spool.write(b"\n" if lines.endswith(b"\n") else b"\n\n")
        root.run(f"chown {USER}:mail /var/mail/{USER}; chmod 660 /var/mail/{USER}")

    return fill


def _popa3d(root: Chroot) -> Place:
    _add_user(root)
    root.run("popa3d -D >/dev/null 2>&1")
    wait_for(110)
    return Place(root.version("popa3d"), pop3_port=110, fill=_spool(root))


def _solid(root: Chroot) -> Place:
    _add_user(root)
    root.start("solid-pop3d")
    wait_for(110)
    return Place(root.version("solid-pop3d"), pop3_port=110, fill=_spool(root))


def _mailutils(root: Chroot) -> Place:
    _add_user(root)
    for program, port in (("pop3d", POP3_PORT), ("imap4d", IMAP_PORT)):
        config = root.root / f"etc/{program}.conf"
        config.write_text(
            f"mode daemon;\nforeground no;\npidfile /run/{program}.pid;\nserver 127.0.0.1:{port} {{ }};\n"
            "logging { syslog no; };\n"
        )
        root.run(f"{program} --config-file=/etc/{program}.conf")
        wait_for(port)
    _spool(root)([])
    return Place(root.version("mailutils-imap4d"), IMAP_PORT, POP3_PORT)


_COURIER = f"""\
useradd -r -m -d /srv/mail vmail
mkdir -p /srv/mail/{USER} /run/courier/authdaemon
maildirmake.courier /srv/mail/{USER}/Maildir || maildirmake /srv/mail/{USER}/Maildir
chown -R vmail:vmail /srv/mail
chown -R courier /run/courier
sed -i 's/^authmodulelist=.*/authmodulelist="authuserdb"/' /etc/courier/authdaemonrc
userdb {USER} set uid=$(id -u vmail) gid=$(id -g vmail) home=/srv/mail/{USER} mail=/srv/mail/{USER}/Maildir
printf '{PASSWORD}\\n{PASSWORD}\\n' | userdbpw -md5 | userdb {USER} set systempw
makeuserdb
sed -i 's/^ADDRESS=.*/ADDRESS=127.0.0.1/' /etc/courier/imapd /etc/courier/pop3d
sed -i 's/^PORT=.*/PORT={IMAP_PORT}/;s/^IMAPDSTART=.*/IMAPDSTART=YES/' /etc/courier/imapd
sed -i 's/^PORT=.*/PORT={POP3_PORT}/;s/^POP3DSTART=.*/POP3DSTART=YES/' /etc/courier/pop3d
for daemon in authdaemond imapd pop3d; do $daemon start >/dev/null 2>&1; done
"""


def _courier(root: Chroot) -> Place:
    root.run(_COURIER)
    wait_for(IMAP_PORT)
    wait_for(POP3_PORT)
    return Place(root.version("courier-imap"), IMAP_PORT, POP3_PORT)


_CYRUS = f"""\
mkdir -p /srv/conf /srv/spool /srv/socket
cat >/srv/imapd.conf <<END
configdirectory: /srv/conf
proc_path: /srv/conf/proc
mboxname_lockpath: /srv/conf/lock
defaultpartition: default
partition-default: /srv/spool
admins: cyrus
altnamespace: yes
unixhierarchysep: yes
virtdomains: off
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_mech_list: PLAIN LOGIN
sasl_sasldb_path: /srv/sasldb2
sasl_auxprop_plugin: sasldb
popminpoll: 0
servername: localhost
END
cat >/srv/cyrus.conf <<END
START {{
  recover cmd="/usr/lib/cyrus/bin/ctl_cyrusdb -C /srv/imapd.conf -r"
}}
SERVICES {{
  imap cmd="imapd -C /srv/imapd.conf" listen="127.0.0.1:{IMAP_PORT}" prefork=1
  pop3 cmd="pop3d -C /srv/imapd.conf" listen="127.0.0.1:{POP3_PORT}" prefork=1
}}
END
chown -R cyrus:mail /srv
for host in localhost $(hostname); do
  for user in {USER} cyrus; do echo {PASSWORD} | saslpasswd2 -p -c -f /srv/sasldb2 -u $host $user; done
done
chown cyrus /srv/sasldb2
/usr/lib/cyrus/bin/master -C /srv/imapd.conf -M /srv/cyrus.conf -p /run/cyrus.pid -d
"""


def _cyrus(root: Chroot) -> Place:
    root.run(_CYRUS)
    wait_for(IMAP_PORT)
    with ExitStack() as stack:
        admin = stack.enter_context(socket.create_connection(("127.0.0.1", IMAP_PORT), timeout=PATIENCE_S))
        stream = stack.enter_context(admin.makefile("rwb", buffering=0))
        for line in (f"a LOGIN cyrus {PASSWORD}", f"b CREATE user/{USER}"):
            stream.write(line.encode() + b"\r\n")
            while not (answer := stream.readline()).startswith(line[:2].encode()):
                if not answer:
                    raise RuntimeError("Cyrus hung up")
    return Place(root.version("cyrus-imapd"), IMAP_PORT, POP3_PORT)


BOTH = ("destination", "source")
_CYRUS_PACKAGES = ("cyrus-imapd", "cyrus-pop3d", "cyrus-admin", "sasl2-bin", "libsasl2-modules")
_COURIER_PACKAGES = ("courier-imap", "courier-pop", "courier-base", "courier-authdaemon", "courier-authlib-userdb")

KINDS = {
    "dovecot-maildir": _dovecot("maildir"),
    "dovecot-mdbox": _dovecot("mdbox"),
    "cyrus": _rooted("cyrus", _CYRUS_PACKAGES, _cyrus, BOTH, "Cyrus"),
    "courier": _rooted("courier", _COURIER_PACKAGES, _courier, BOTH, "Courier"),
    "mailutils": _rooted("mailutils", ("mailutils-pop3d", "mailutils-imap4d"), _mailutils, BOTH, "GNU Mailutils"),
    "popa3d": _rooted("popa3d", ("popa3d",), _popa3d, ("source",)),
    "solid-pop3d": _rooted("solid-pop3d", ("solid-pop3d",), _solid, ("source",)),
    "pymap": Kind("pymap", _install_pymap, _pymap, ("destination",)),
    "hoodiecrow": Kind("hoodiecrow", _install_hoodiecrow, _hoodiecrow, ("destination",)),
}


def scratch() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="pf-interop-")


def corpus_files(directory: Path) -> list[Path]:
    return sorted(path for path in (directory / "eml").rglob("*") if path.is_file())
