"""Searches for octets that a target does not end well with, guided by coverage: python -m tests.fuzz TARGET ...

With atheris (the group ``fuzz`` of pyproject.toml), or, where it is not installed, with the mutator beside this
file for the same time. Ends with 0 when nothing was found; the last line says how many octets were tried.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

LIMIT_MB = 1024


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target")
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--scratch", help="where the search keeps its octets and what it found (default: a new directory)"
    )
    parser.add_argument("--without-atheris", action="store_true")
    args = parser.parse_args()
    atheris = None if args.without_atheris else _atheris()
    if atheris is None:
        return _by_chance(args.target, args.seconds, args.seed)
    _guided(atheris, args.target, args.seconds, args.seed, args.scratch)
    return 0


def _atheris() -> Any:
    try:
        import atheris
    except ImportError:
        return None
    return atheris


def _guided(atheris: Any, name: str, seconds: int, seed: int, scratch: str | None) -> None:
    """Ends the process: libFuzzer does not come back."""
    with atheris.instrument_imports(include=["migrate"]):
        from .targets import TARGETS
    target = TARGETS[name]
    corpus = Path(tempfile.mkdtemp(prefix="pf-corpus-", dir=scratch))
    for number, octets in enumerate((*target.found, *target.seeds)):
        (corpus / f"{number}").write_bytes(octets)
    options = {"max_total_time": seconds, "seed": seed, "max_len": 4096, "timeout": 2, "rss_limit_mb": LIMIT_MB}
    words = [f"-{key}={value}" for key, value in options.items()]
    words += ["-print_final_stats=1", "-verbosity=0", f"-artifact_prefix={corpus}/"]
    atheris.Setup([sys.argv[0], *words, str(corpus)], target.run, internal_libfuzzer=True)
    atheris.Fuzz()


def _by_chance(name: str, seconds: int, seed: int) -> int:
    from .mutator import mutations
    from .targets import TARGETS
    from .watch import fault_of, watched

    target = TARGETS[name]
    known = (*target.found, *target.seeds)
    end = time.monotonic() + seconds
    tried = 0
    with watched():
        for octets in itertools.chain(known, mutations(known, seed, sys.maxsize)):
            tried += 1
            if fault := fault_of(target.run, octets):
                print(fault)
                return 1
            if time.monotonic() > end:
                break
    print(f"stat::number_of_executed_units: {tried}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
