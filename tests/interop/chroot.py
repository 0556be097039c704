"""A root of its own for servers whose packages exclude one another: made once, used through an overlay that vanishes.

A row that needs one runs in namespaces of its own (network, mounts, processes): its ports, files and processes are gone
when it ends, whatever happened.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "popferry-interop"
RELEASE = "bookworm"
PATIENCE_S = 120
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
IN_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child")


def is_possible() -> str:
    """Why no chroot can be made here; empty: it can."""
    if os.geteuid() != 0:
        return "needs root"
    return "" if shutil.which("unshare") and shutil.which("debootstrap") else "needs unshare and debootstrap"


def prepare(name: str, packages: Sequence[str]) -> Path:
    """A root with these packages, of this machine's making or an earlier run's. Needs the network."""
    root = CACHE / name
    if (root / "ready").exists():
        return root
    base = CACHE / RELEASE
    if not (base / "ready").exists():
        shutil.rmtree(base, ignore_errors=True)
        base.parent.mkdir(parents=True, exist_ok=True)
        _run("debootstrap", "--variant=minbase", RELEASE, str(base))
        policy = base / "usr/sbin/policy-rc.d"
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (base / "ready").touch()
    shutil.rmtree(root, ignore_errors=True)
    _run("cp", "-a", str(base), str(root))
    (root / "ready").unlink()
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    _run("chroot", str(root), "apt-get", "update", "-qq")
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    _run("chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", *install)
    (root / "ready").touch()
    return root


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout[-600:]}")


class Chroot:
    """An overlay on a prepared root, in the namespaces of this process. What is written there is kept nowhere."""

    def __init__(self, name: str) -> None:
        lower = CACHE / name
        place = Path(tempfile.mkdtemp(prefix="pf-root-"))
        _run("mount", "-t", "tmpfs", "tmpfs", str(place))
        upper, work, self.root = place / "upper", place / "work", place / "root"
        for made in (upper, work, self.root):
            made.mkdir()
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(self.root))
        _run("mount", "-t", "proc", "proc", str(self.root / "proc"))
        for directory in ("dev", "run"):
            _run("mount", "-t", "tmpfs", "tmpfs", str(self.root / directory))
        for device in DEVICES:
            _run("cp", "-a", f"/dev/{device}", str(self.root / "dev" / device))
        (self.root / "run/lock").mkdir()
        self._log()

    def _log(self) -> None:
        """Somebody who listens at /dev/log: some servers will not go on without."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        listener.bind(str(self.root / "dev/log"))
        os.chmod(self.root / "dev/log", 0o666)

        def listen() -> None:
            while True:
                listener.recv(65536)

        threading.Thread(target=listen, daemon=True).start()

    def run(self, script: str) -> str:
        """What the shell script prints inside. Daemons that it starts go on."""
        done = subprocess.run(
            ["chroot", str(self.root), "sh", "-e"],
            input=script,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"{done.stdout[-300:]} {done.stderr[-600:]}")
        return done.stdout

    def start(self, *command: str) -> None:
        """A server that stays in the foreground."""
        subprocess.Popen(["chroot", str(self.root), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def version(self, package: str) -> str:
        return self.run(f"dpkg-query -W -f '${{Version}}' {package}").partition("-")[0].partition("+")[0]


def bring_up_loopback() -> None:
    _run("ip", "link", "set", "lo", "up")
