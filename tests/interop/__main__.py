"""scripts/interop: the corpus through every server that can be installed, as a table; 0 when nothing differs untold."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

from tests.conftest import CORPUS, NO_DOVECOT, is_dovecot_here

from . import chroot
from .result import Result, page, table
from .servers import KINDS

ROOT = Path(__file__).resolve().parent.parent.parent
SHOWN = 10  # violations of a row


def main() -> int:
    args = _arguments()
    if not is_dovecot_here():
        print(f"{NO_DOVECOT}: it holds the messages that the others get.")
        return 1
    began_s = time.monotonic()
    print(_about(args.messages), flush=True)
    results: list[Result] = []
    names = args.only or list(KINDS)
    # One after the other: they share a base. Then side by side: a server is waited for more than it works.
    why_not = {name: _install(name) for name in names}
    with ThreadPoolExecutor(args.jobs) as pool:
        for rows in pool.map(lambda name: _rows(name, why_not[name], args.messages), names):
            results += rows
            for result in rows:
                print(result.line, *(f"  ! {one}" for one in result.violations[:SHOWN]), sep="\n", flush=True)
    about = f"{_about(args.messages)}, {time.monotonic() - began_s:,.0f} s for all of it"
    print(f"\n{about}\n\n{table(results)}")
    if args.write:
        (ROOT / "docs/interop.md").write_text(page(results, about), encoding="utf-8")
    is_all_run = not any(result.not_run for result in results)
    return int(any(result.violations for result in results) or (args.require_all and not is_all_run))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/interop", description=__doc__)
    parser.add_argument("--messages", type=int, default=0, metavar="N", help="a sample; without it, all of the corpus")
    parser.add_argument("--only", action="append", choices=list(KINDS), default=[], help="may be given several times")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="servers played at a time (default: 2)")
    parser.add_argument("--write", action="store_true", help="write docs/interop.md")
    parser.add_argument("--require-all", action="store_true", help="a server that cannot be run here is a failure")
    args = parser.parse_args()
    if args.write and args.only:
        parser.error("docs/interop.md is about all servers: --write goes without --only")
    return args


def _about(count: int) -> str:
    what = "the corpus of real messages" if CORPUS.is_dir() else "made messages (the corpus is absent)"
    sample = f"a sample of {count:,} from " if count else ""
    machine = f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    return f"{date.today()}, {machine}, {sample}{what}"


def _install(name: str) -> str:
    """Why this server cannot be had here; empty: it can."""
    kind = KINDS[name]
    why = chroot.why_not() if kind.needs_chroot else ""
    if why:
        return why
    try:
        kind.install()
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        return f"could not be installed ({' '.join(str(error).split())[:200]})"
    return ""


def _rows(name: str, why_not: str, count: int) -> list[Result]:
    """The rows of one server, each role one."""
    kind = KINDS[name]
    if why_not:
        return [Result(kind.name, role, not_run=why_not) for role in kind.roles]
    namespaces = chroot.IN_NAMESPACES if kind.needs_chroot else ()
    command = [*namespaces, sys.executable, "-m", "tests.interop.play", name, str(count)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    results = [Result.from_json(line) for line in done.stdout.splitlines() if line.startswith("{")]
    broke = f"it broke: {done.stderr[-1500:]}"
    if done.returncode and results:
        results[-1].violations.append(broke)
    return results + [Result(kind.name, role, violations=[broke]) for role in kind.roles[len(results) :]]


if __name__ == "__main__":
    sys.exit(main())
