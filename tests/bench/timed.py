"""popferry itself, told apart from the start of Python: python -m tests.bench.timed FACTS.json ARGUMENT ...

Writes when the first connection was begun, how much CPU was used, and the most memory that was held.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path


def main() -> int:
    facts = Path(sys.argv[1])
    first: list[float] = []

    def hear(event: str, _: tuple[object, ...]) -> None:
        if event == "socket.connect" and not first:
            first.append(time.monotonic())

    sys.addaudithook(hear)
    sys.argv = ["popferry", *sys.argv[2:]]
    from migrate.cli.entry import enter

    code = enter()
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    told = {
        "first_s": first[0] if first else 0.0,
        "end_s": time.monotonic(),
        "cpu_s": used.ru_utime + used.ru_stime,
        "peak_mb": int(peak.split()[1]) * 1024 / 1e6,
    }
    facts.write_text(json.dumps(told))
    return code


if __name__ == "__main__":
    sys.exit(main())
