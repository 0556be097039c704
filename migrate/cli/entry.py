"""From the words of a command line to an exit code; every error becomes one plain sentence."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence

from ..errors import Exit, UsageError
from .options import parse


def enter() -> int:
    """The exit code of this process; what the console script and ``python -m migrate`` call."""
    _keep_secrets_in()
    _fill_descriptors()
    # A run makes many objects and next to no cycles: looking for them at the usual pace takes a tenth of its time.
    gc.set_threshold(20_000, 10, 10)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None and hasattr(stream, "reconfigure"):
            # A name that the terminal's character set lacks is shown, not a reason to stop.
            stream.reconfigure(errors="backslashreplace")
    try:
        return int(run(sys.argv[1:]))
    finally:
        _flush()


def run(argv: Sequence[str]) -> Exit:
    """Carries one command line out."""
    try:
        options = parse(argv)
        if options.command == "status":
            from . import status

            return status.run(options)
        if options.command == "schedule":
            from . import schedule

            return schedule.run(options)
        _forbid_dumps()
        if options.command in ("backup", "restore"):
            from . import backup

            return backup.run(options)
        if options.command == "verify":
            from . import verify

            return verify.run(options)
        if options.command == "prune":
            from . import prune

            return prune.run(options)
        if options.command == "rebuild":
            from . import rebuild

            return rebuild.run(options)
        from . import migrate

        return migrate.run(options)
    except UsageError as error:
        return _usage(error)
    except KeyboardInterrupt:
        _say("\nStopped. Nothing was done.")
        return Exit.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last door: no traceback reaches a person
        return _fault(error)


def _usage(error: UsageError) -> Exit:
    from ..model import display
    from .texts import ended

    _say(f"popferry: {ended(display(error.what, 500))}")
    if error.hint:
        _say(ended(display(error.hint, 500)))
    return Exit.USAGE


def _fault(error: Exception) -> Exit:
    from .logfile import log_fault
    from .report import SAFE, fault

    log_fault(error)
    _say(fault(error))
    _say(SAFE)
    return Exit.UNEXPECTED


def _say(text: str) -> None:
    # A closed descriptor 2 makes sys.stderr None, and print would take stdout instead.
    if sys.stderr is not None:
        print(text, file=sys.stderr)


def _flush() -> None:
    """Ends quietly where nobody reads the output to its end (``popferry --help | head``), or where it has no room."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _keep_secrets_in() -> None:
    """Makes every file of this process private to its owner."""
    os.umask(0o077)


def _fill_descriptors() -> None:
    """Makes standard descriptors that are closed lead nowhere: else a socket or a file would get their numbers."""
    while (handle := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(handle, True)
    os.close(handle)


def _forbid_dumps() -> None:
    """Keeps passwords out of core dumps."""
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        import ctypes

        pr_set_dumpable = 4  # prctl(2): nobody else may attach to this process or read its memory
        ctypes.CDLL(None).prctl(pr_set_dumpable, 0, 0, 0, 0)
