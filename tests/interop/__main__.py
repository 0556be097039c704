"""scripts/interop: the corpus through every server that can be installed, as a table; 0 when nothing differs untold."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

from tests.conftest import CORPUS, is_dovecot_here

from . import chroot
from .result import Result, page, table
from .servers import KINDS

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_S = 3600


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/interop", description=__doc__)
    parser.add_argument("--messages", type=int, default=0, metavar="N", help="a sample; without it, all of the corpus")
    parser.add_argument("--only", action="append", choices=list(KINDS), default=[], help="may be given several times")
    parser.add_argument("--write", action="store_true", help="write docs/interop.md")
    parser.add_argument("--require-all", action="store_true", help="a server that cannot be run here is a failure")
    args = parser.parse_args()
    if not is_dovecot_here():
        print("Dovecot is needed: it holds the messages that the others get.")
        return 1
    what = "the corpus of real messages" if CORPUS.is_dir() else "made messages (the corpus is absent)"
    about = f"{date.today()}, {platform.platform()}, {what}"
    print(about, flush=True)
    results: list[Result] = []
    for name in args.only or KINDS:
        for result in run(name, args.messages):
            results.append(result)
            print(result.row.strip(), flush=True)
            print("".join(f"  ! {one}\n" for one in result.violations[:10]), end="", flush=True)
    print("\n" + table(results))
    if args.write:
        (ROOT / "docs/interop.md").write_text(page(results, about), encoding="utf-8")
    is_whole = not any(result.not_run for result in results)
    return int(any(result.violations for result in results) or (args.require_all and not is_whole))


def run(name: str, count: int) -> Iterator[Result]:
    """The rows of one server, each role one. What it needs is installed first."""
    kind = KINDS[name]
    why = chroot.is_possible() if kind.needs_chroot else ""
    if not why:
        try:
            kind.install()
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            why = f"it could not be installed ({error})"[:200]
    if why:
        yield from (Result(kind.name, role, not_run=why) for role in kind.roles)
        return
    command = [*(chroot.IN_NAMESPACES if kind.needs_chroot else ()), sys.executable, "-m", "tests.interop.play"]
    done = subprocess.run(
        [*command, name, str(count)], cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    results = [Result.from_json(line) for line in done.stdout.splitlines() if line.startswith("{")]
    yield from results
    for role in kind.roles[len(results) :]:
        yield Result(kind.name, role, violations=[f"it broke: {done.stderr[-800:]}"])


if __name__ == "__main__":
    sys.exit(main())
