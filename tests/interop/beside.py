"""Servers that run beside everything else, as any user: Dovecot, pymap, hoodiecrow."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tests.support.dovecot import Dovecot

from .chroot import CACHE
from .place import BOTH, DESTINATION, PATIENCE_S, USER, Kind, Place, free_port, wait_for


@contextmanager
def _process(*command: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)


def dovecot(mail_format: str) -> Kind:
    @contextmanager
    def start() -> Iterator[Place]:
        with Dovecot(mail_format=mail_format) as server:
            yield Place(
                version=server.version,
                imap_port=server.imap_port,
                pop3_port=server.pop3_port,
                folder="Old",
                password=server.password,
                fill=lambda messages: server.deliver_many(USER, messages),
            )

    return Kind(f"Dovecot ({mail_format})", BOTH, lambda: None, start)


def _install_pymap() -> None:
    place = CACHE / "pymap"
    if not (place / "bin/pymap").exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        subprocess.run([str(place / "bin/pip"), "install", "--quiet", "pymap"], check=True, stderr=subprocess.DEVNULL)


@contextmanager
def _pymap() -> Iterator[Place]:
    port, program = free_port(), CACHE / "pymap/bin/pymap"
    ask = "from importlib.metadata import version; print(version('pymap'))"
    said = subprocess.run([program.with_name("python"), "-c", ask], capture_output=True, text=True, check=True)
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-tls", "dict", "--demo-data")
    with _process(str(program), *options):
        wait_for(port)
        yield Place(said.stdout.strip(), imap_port=port, folder="Old", user="demouser", password="demopass")


_SERVE = """\
const hoodiecrow = require('hoodiecrow-imap');
const plugins = ['UIDPLUS', 'LITERALPLUS', 'NAMESPACE', 'SPECIAL-USE'];
const folders = {separator: '/', folders: {}};
hoodiecrow({plugins, users: {test: {password: 'secret'}}, storage: {INBOX: {messages: []}, '': folders}})
  .listen(process.argv[2], '127.0.0.1');
"""


def _install_hoodiecrow() -> None:
    place = CACHE / "hoodiecrow"
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise RuntimeError("needs node and npm")
    if not (place / "node_modules/hoodiecrow-imap").exists():
        place.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--silent", "--no-audit", "--no-fund", "--prefix", str(place), "hoodiecrow-imap"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    (place / "serve.js").write_text(_SERVE)


@contextmanager
def _hoodiecrow() -> Iterator[Place]:
    place, port = CACHE / "hoodiecrow", free_port()
    package = json.loads((place / "node_modules/hoodiecrow-imap/package.json").read_text())
    with _process("node", str(place / "serve.js"), str(port)):
        wait_for(port)
        yield Place(package["version"], imap_port=port, folder="Old")


PYMAP = Kind("pymap", (DESTINATION,), _install_pymap, _pymap)
HOODIECROW = Kind("hoodiecrow", (DESTINATION,), _install_hoodiecrow, _hoodiecrow)
