"""Victims under strace."""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import cache

from .account import Account
from .nursery import PATIENCE_S, ROOT
from .victim import Order, write_order

KILL = "signal=KILL"


@cache
def unusable() -> str:
    """Why strace cannot be used here; empty: it can."""
    program = shutil.which("strace")
    if program is None:
        return "strace is not installed"
    tried = subprocess.run(
        [program, "-qq", "-e", "trace=fsync", sys.executable, "-c", ""], capture_output=True, text=True, check=False
    )
    return f"strace may not trace here: {tried.stderr.strip()[-200:]}" if tried.returncode else ""


def run_under(options: list[str], order: Order, account: Account) -> int:
    """The exit code of a victim whose calls strace meddles with."""
    # Not among what the runs leave: it has the passwords, as the environment of the victim.
    path = write_order(order, account.directory.with_name(f"order-{account.directory.name}-{account.runs}.json"))
    # Seen: with --seccomp-bpf, which is quicker, no signal is sent (strace 6.1, Linux).
    quick = [] if any(KILL in option for option in options) else ["--seccomp-bpf"]
    command = ["strace", "-f", "-qq", *quick, *options, sys.executable, "-m", "tests.faults.victim", str(path)]
    return subprocess.run(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=PATIENCE_S, check=False
    ).returncode
