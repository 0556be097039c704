"""A root of its own for servers whose packages exclude one another: made once, used through an overlay that vanishes.

A server that needs one runs in namespaces of its own (network, mounts, processes): its ports, files and processes are
gone when its rows are done, whatever happened. In there port 110 is free, and users can be made.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "popferry-interop"
RELEASE = "bookworm"
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
IN_NAMESPACES = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child")


def why_not() -> str:
    """Why no chroot can be used here; empty: it can."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [program for program in ("unshare", "debootstrap", "ip") if shutil.which(program) is None]
    if lacking:
        return f"needs {', '.join(lacking)}"
    done = subprocess.run([*IN_NAMESPACES, "true"], capture_output=True, check=False)
    return "needs namespaces, which this machine forbids" if done.returncode else ""


def prepare(name: str, packages: Sequence[str]) -> None:
    """A root with these packages in the cache, of an earlier run or made now. Making one needs the network."""
    root = CACHE / name
    if (root / "ready").exists():
        return
    base = _base()
    # Whatever is killed in between leaves a root that is not ready, and is made anew.
    shutil.rmtree(root, ignore_errors=True)
    _run("cp", "-a", str(base), str(root))
    (root / "ready").unlink()
    shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
    _run("chroot", str(root), "apt-get", "update", "-qq")
    install = ("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages)
    _run("chroot", str(root), "env", "DEBIAN_FRONTEND=noninteractive", *install)
    (root / "ready").touch()


def _base() -> Path:
    base = CACHE / RELEASE
    if not (base / "ready").exists():
        shutil.rmtree(base, ignore_errors=True)
        base.parent.mkdir(parents=True, exist_ok=True)
        _run("debootstrap", "--variant=minbase", RELEASE, str(base))
        policy = base / "usr/sbin/policy-rc.d"  # no package starts a service of its own
        policy.write_text("#!/bin/sh\nexit 101\n")
        policy.chmod(0o755)
        (base / "ready").touch()
    return base


def _run(*command: str) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:4])} ended with {done.returncode}: {done.stdout[-600:]}")


class Chroot:
    """A prepared root under an overlay, for a process in namespaces of its own."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, script: str) -> str:
        """What the shell script prints inside. Daemons that it starts go on."""
        # A daemon keeps what it inherits: a pipe would never end.
        output = self.path.parent / "output"
        with output.open("w") as stream:
            done = subprocess.run(
                ["chroot", str(self.path), "sh", "-e"],
                input=script,
                stdout=stream,
                stderr=subprocess.STDOUT,
                text=True,
                timeout=120,
                check=False,
            )
        said = output.read_text()
        if done.returncode:
            raise RuntimeError(f"a script in the chroot ended with {done.returncode}: {said[-800:]}")
        return said

    def start(self, *command: str) -> None:
        """A server that stays in the foreground; it ends with the namespace."""
        subprocess.Popen(["chroot", str(self.path), *command], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def version(self, package: str) -> str:
        """The upstream part of a Debian version. Seen: "5.0.13+1.0.16-3+deb12u1", "2:3.15-4"."""
        said = self.run(f"dpkg-query -W -f '${{Version}}' {package}")
        return said.rpartition(":")[2].partition("-")[0].partition("+")[0]


@contextmanager
def entered(name: str, place: Path) -> Iterator[Chroot]:
    """The root of that name, mounted in the directory ``place``. What is written there is kept nowhere."""
    _run("mount", "-t", "tmpfs", "tmpfs", str(place))
    upper, work, root = place / "upper", place / "work", place / "root"
    for directory in (upper, work, root):
        directory.mkdir()
    upper.chmod(0o755)
    layers = f"lowerdir={CACHE / name},upperdir={upper},workdir={work}"
    try:
        _run("mount", "-t", "overlay", "overlay", "-o", layers, str(root))
        _run("mount", "-t", "proc", "proc", str(root / "proc"))
        for directory in (root / "dev", root / "run"):
            _run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", str(directory))
        for device in DEVICES:
            _run("cp", "-a", f"/dev/{device}", str(root / "dev" / device))
        (root / "run/lock").mkdir()
        (root / "run/lock").chmod(0o1777)
        _listen_at(root / "dev/log")
        yield Chroot(root)
    finally:
        _run("umount", "--lazy", "--recursive", str(place))


def _listen_at(path: Path) -> None:
    """Somebody at /dev/log: solid-pop3d answers nothing without."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.bind(str(path))
    path.chmod(0o666)

    def listen() -> None:
        while True:
            listener.recv(65536)

    threading.Thread(target=listen, daemon=True).start()


def bring_up_loopback() -> None:
    _run("ip", "link", "set", "lo", "up")
