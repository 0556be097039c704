"""The table of branch coverage, from coverage's JSON report: python -m tests.measure REPORT. scripts/coverage makes it.

Ends with 0 when every critical part has all its lines and branches, and the rest together at least 90 %.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REST = 90.0  # per cent

# What has to be covered to the last branch: part -> places, a package with all its modules.
CRITICAL: dict[str, tuple[str, ...]] = {
    "transition table": ("migrate/model.py", "migrate/state/schema.py"),
    "deletion gate": ("migrate/engine/release.py", "migrate/engine/verdict.py"),
    "POP3 reader": ("migrate/wire/pop3/",),
    "IMAP reader": ("migrate/wire/imap/",),
}


@dataclass
class Sum:
    """Lines and branches, and how many of them a test has run."""

    there: int = 0
    run: int = 0

    def add(self, summary: dict[str, Any]) -> None:
        self.there += summary["num_statements"] + summary["num_branches"]
        self.run += summary["covered_lines"] + summary["covered_branches"]

    @property
    def share(self) -> float:
        return 100 * self.run / self.there if self.there else 0.0


def part_of(path: str) -> str:
    for part, places in CRITICAL.items():
        if any(path == place or (place.endswith("/") and path.startswith(place)) for place in places):
            return part
    return "all the rest"


def rows(files: dict[str, Any]) -> Iterator[tuple[str, Sum, float]]:
    """Each part, what of it was run, and what has to be."""
    sums = {part: Sum() for part in (*CRITICAL, "all the rest")}
    for path, one in files.items():
        sums[part_of(path)].add(one["summary"])
    for part, found in sums.items():
        yield part, found, 100.0 if part in CRITICAL else REST


def gaps(path: str, one: dict[str, Any]) -> str:
    lines = [str(line) for line in one["missing_lines"]]
    branches = [f"{start}->{'exit' if end < 0 else end}" for start, end in one["missing_branches"]]
    return f"{path}: not run: {', '.join([*lines, *branches])}"


def weakest(files: dict[str, Any]) -> Iterable[str]:
    of_rest = [
        (one["summary"]["percent_covered"], path) for path, one in files.items() if part_of(path) not in CRITICAL
    ]
    return [f"{path}: {share:.0f} %" for share, path in sorted(of_rest)[:8]]


def main() -> int:
    files: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())["files"]
    is_enough = True
    print("| part | lines and branches | run | share | wanted |")
    print("| --- " * 5 + "|")
    for part, found, wanted in rows(files):
        is_enough &= found.share >= wanted
        print(f"| {part} | {found.there:,} | {found.run:,} | {found.share:.1f} % | {wanted:.0f} % |")
    for path, one in files.items():
        if part_of(path) in CRITICAL and (one["missing_lines"] or one["missing_branches"]):
            print(gaps(path, one))
    print("Least of the rest: " + ", ".join(weakest(files)))
    return 0 if is_enough else 1


if __name__ == "__main__":
    sys.exit(main())
