"""The process that is killed: the real command, with named points at which it can die or stop.

The product knows nothing of this. A victim imports it, puts a counter around the places where it touches the
world, and runs the command line. A point is named by what is done there and how often that was done before:
"commit(intended) #3: durable", "imap0 APPEND #2: sent", "state renamed #1".

    python -m tests.faults.victim              forks a victim for each order on its input (see ``nursery``)
    python -m tests.faults.victim ORDER.json   is one victim
"""

from __future__ import annotations

import json
import os
import re
import select
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any

import migrate.cli.entry as entry
import migrate.cli.migrate as command
from migrate.commands import Append, Command, Commit, DestFacts, OpenDest, OpenSource, Outcome, SourceFacts
from migrate.config import Job
from migrate.driver import job, loop
from migrate.engine import walk
from migrate.errors import MigrateError
from migrate.model import Endpoint, Protocol
from migrate.state import State
from migrate.state import file as state_file
from migrate.state import lock as state_lock
from migrate.state import place as state_place
from migrate.state import spool as state_spool
from migrate.state.lock import RunLock
from migrate.state.spool import FileSpool
from migrate.stores import base as stores_base
from migrate.stores import net
from migrate.stores.base import Channel

BOOKS = (
    *("begin_run", "begin_session", "record_listing", "mark_vanished", "bind", "split", "spool", "unspool"),
    *("remember_mailbox", "forget_uids", "index", "learn", "tidy_spool", "close"),
)
ANSWER_S = 5.0  # the longest that an answer is waited for, to die with it unread


@dataclass
class Order:
    """What one victim is to run, and what befalls it."""

    argv: list[str]
    environment: dict[str, str]
    out: str  # file for what it prints
    err: str
    kill: str = ""  # the point at which it dies
    signal: int = signal.SIGKILL  # what it is sent there
    stop: str = ""  # the point at which it is stopped (SIGSTOP)
    record: str = ""  # file for the names of all points that it passes
    source: dict[str, Any] = field(default_factory=dict)  # SourceFacts that the source claims
    dest: dict[str, Any] = field(default_factory=dict)  # DestFacts that the destination claims
    memory_limit: int = 0  # a message above it goes through a file
    timeout_s: float = 0.0
    file_limit: int = 0  # RLIMIT_FSIZE
    clock_s: float = 0.0  # how wrong the clock is
    longest_pause_s: float = 0.0  # before it tries again
    jump_at: str = ""  # the point at which it jumps
    jump_s: float = 0.0


class Points:
    """Counts the points as they are passed; dies or stops at the one that was ordered."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._record = open(order.record, "w") if order.record else None  # noqa: SIM115 - as long as the process
        self.has_jumped = False

    def reach(self, what: str, then: str = "") -> None:
        """The process is at this point: ``what`` it does, and how far it is with it."""
        with self._lock:
            self._seen[what + then] += 1
            name = _name(what, self._seen[what + then], then)
            if self._record is not None:
                self._record.write(name + "\n")
                self._record.flush()
        if name == self._order.jump_at:
            self.has_jumped = True
        if name == self._order.stop:
            os.kill(os.getpid(), signal.SIGSTOP)
        if name == self._order.kill:
            die(self._order.signal)

    def is_next(self, what: str, then: str) -> bool:
        """Whether the next time at this point is the ordered end."""
        return self._order.signal == signal.SIGKILL and self._order.kill == _name(
            what, self._seen[what + then] + 1, then
        )


def _name(what: str, count: int, then: str) -> str:
    return f"{what} #{count}" + (f": {then}" if then else "")


def die(number: int = signal.SIGKILL) -> None:
    os.kill(os.getpid(), number)
    if number == signal.SIGKILL:
        signal.pause()


# --- the places where the product touches the world ---------------------------------------------


def arm(order: Order) -> Points:
    """Puts the points into this process."""
    points = Points(order)
    _arm_driver(points, order)
    _arm_state(points)
    _arm_files(points)
    _arm_channels(points)
    _arm_clock(points, order)
    if order.memory_limit:
        for module in (stores_base, state_spool):
            module.MEMORY_LIMIT = order.memory_limit  # type: ignore[attr-defined]
    if order.longest_pause_s:
        walk.LONGEST_PAUSE_S = order.longest_pause_s
    if order.timeout_s:
        job_of = command.job_of

        def impatient(options: Any) -> Job:
            return replace(job_of(options), timeout_s=order.timeout_s)

        command.job_of = impatient
    return points


def _arm_driver(points: Points, order: Order) -> None:
    start, end, run = loop.Driver._start, loop.Driver._end, loop.Driver.run

    def _start(self: loop.Driver, command: Command) -> None:
        if not isinstance(command, Commit):
            points.reach(type(command).__name__, "asked")
        start(self, command)

    def _end(self: loop.Driver, place: int, outcome: Outcome) -> None:
        points.reach(type(outcome.command).__name__, "ended")
        end(self, place, _claimed(outcome, order))

    def _run(self: loop.Driver, engine: Any) -> Any:
        code = run(self, engine)
        points.reach("the run", "ended")
        return code

    loop.Driver._start, loop.Driver._end, loop.Driver.run = _start, _end, _run  # type: ignore[method-assign]


def _claimed(outcome: Outcome, order: Order) -> Outcome:
    """The outcome as servers of other abilities would have it."""
    value = outcome.value
    match outcome.command:
        case OpenSource() if isinstance(value, SourceFacts):
            return outcome._replace(value=replace(value, **order.source))
        case OpenDest() if isinstance(value, DestFacts):
            return outcome._replace(value=replace(value, **order.dest))
        case Append() if isinstance(value, tuple) and order.dest.get("has_uids") is False:
            kept = tuple(one if isinstance(one, MigrateError) else None for one in value)
            return outcome._replace(value=kept)
    return outcome


def _around(points: Points, kind: type, names: tuple[str, ...], room: str) -> None:
    """A point before and a point after each of these methods."""
    for name in names:
        method = getattr(kind, name)

        def wrapped(*args: Any, _method: Any = method, _what: str = f"{room} {name}", **kwargs: Any) -> Any:
            points.reach(_what, "begins")
            value = _method(*args, **kwargs)
            points.reach(_what, "done")
            return value

        setattr(kind, name, wraps(method)(wrapped))


def _arm_state(points: Points) -> None:
    commit = State.commit

    def _commit(self: State, batches: Any) -> None:
        what = f"commit({', '.join(sorted({row.stage.value for rows in batches for row in rows}))})"
        points.reach(what, "begins")
        commit(self, batches)
        points.reach(what, "durable")

    State.commit = _commit  # type: ignore[method-assign]
    _around(points, State, BOOKS, "books")
    _around(points, RunLock, ("leave", "release"), "lock")
    _around(points, FileSpool, ("keep", "move", "remove", "sweep"), "spool")
    # The hooks of the state file, each named by what was done.
    _open_state_with(hook=lambda step: points.reach(f"state {step}"))


def _open_state_with(**settings: Any) -> None:
    """The run opens its state file with these settings too."""
    module: Any = job
    module.open_state = partial(module.open_state, **settings)


class _Watched:
    """The module ``os`` as one module of the product sees it, with points around what changes a disk."""

    calls = ("open", "fsync", "rename", "link", "ftruncate", "pwrite", "write")

    def __init__(self, points: Points, room: str) -> None:
        for name in self.calls:
            setattr(self, name, self._around(points, f"{room} {name}", getattr(os, name)))

    @staticmethod
    def _around(points: Points, what: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            points.reach(what, "begins")
            value = call(*args, **kwargs)
            points.reach(what, "done")
            return value

        return wrapped

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


def _arm_files(points: Points) -> None:
    modules = {"file": state_file, "lock": state_lock, "directory": state_place, "spool": state_spool}
    for room, module in modules.items():
        module.os = _Watched(points, room)  # type: ignore[attr-defined]


# Commands by which what was sent is named. Nothing else of it is looked at.
_POP3 = re.compile(rb"(?m)^(STLS|CAPA|USER|PASS|AUTH|STAT|UIDL|LIST|RETR|DELE|RSET|NOOP|QUIT)\b")
_IMAP = re.compile(
    rb"(?m)^[A-Z0-9.]+ ((?:UID )?(?:APPEND|SEARCH|FETCH|SELECT|EXAMINE|CREATE|SUBSCRIBE|LIST|NAMESPACE|STATUS"
    rb"|STARTTLS|CAPABILITY|LOGIN|AUTHENTICATE|NOOP|LOGOUT|ID|ENABLE|CLOSE|UNSELECT))\b"
)


class _Wire:
    """A channel with points: half of it sent, all of it sent, answer there but unread, answer read."""

    def __init__(self, channel: Channel, name: str, points: Points) -> None:
        self._channel = channel
        self._name = name
        self._points = points
        self._grammar = _POP3 if name.startswith("pop3") else _IMAP
        self._asked = ""

    def send(self, data: bytes | memoryview) -> int:
        found = self._grammar.search(bytes(data))
        what = f"{self._name} {found[1].decode('ascii') if found else 'octets'}"
        if self._points.is_next(what, "half sent"):
            self._channel.send(bytes(data)[: len(data) // 2])
            die()
        sent = self._channel.send(data)
        if sent:
            self._points.reach(what, "half sent")
            self._points.reach(what, "sent")
            self._asked = what
        return sent

    def recv(self) -> bytes | None:
        asked = self._asked
        if asked and self._points.is_next(asked, "answer unread"):
            try:
                self._channel.wait(write=False, timeout_s=ANSWER_S)
            finally:
                die()
        octets = self._channel.recv()
        if asked and octets:
            self._asked = ""
            self._points.reach(asked, "answer unread")
            self._points.reach(asked, "answer read")
        return octets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)


def _arm_channels(points: Points) -> None:
    connect = net.connect
    made: Counter[str] = Counter()

    def _connect(endpoint: Endpoint, **settings: Any) -> Any:
        kind = "pop3" if endpoint.protocol is Protocol.POP3 else "imap"
        name = f"{kind}-{made[kind]}"
        made[kind] += 1
        points.reach(f"{name} connect", "begins")
        channel = connect(endpoint, **settings)
        points.reach(f"{name} connect", "done")
        return _Wire(channel, name, points)

    net.connect = _connect


def _arm_clock(points: Points, order: Order) -> None:
    if not order.clock_s and not order.jump_s:
        return
    real = time.time

    def wrong() -> float:
        return real() + order.clock_s + (order.jump_s if points.has_jumped else 0.0)

    time.time = wrong
    _open_state_with(clock=wrong)


# --- the process --------------------------------------------------------------------------------


def live(order: Order) -> None:
    """Runs the command in this process, which ends here."""
    os.environ.update(order.environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for path, descriptor in ((order.out, 1), (order.err, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), descriptor)
    if order.file_limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (order.file_limit, order.file_limit))
    arm(order)
    sys.argv = ["popferry", *order.argv]
    code = 99
    try:
        code = entry.enter()
    finally:
        os._exit(code)


def nursery() -> None:
    """Forks a victim for each line of JSON on the input; tells their pids, and later how each one ended.

    A fork of a process that has everything imported is ready in a few milliseconds. It ends, and its victims with
    it, when its input ends.
    """
    orders, answers = os.dup(0), os.dup(1)
    wake_out, wake_in = os.pipe()
    os.set_blocking(wake_in, False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    signal.set_wakeup_fd(wake_in)
    alive: set[int] = set()
    rest = b""
    while True:
        ready, _, _ = select.select([orders, wake_out], [], [])
        if wake_out in ready:
            os.read(wake_out, 4096)
            _tell_ended(alive, answers)
        if orders in ready:
            block = os.read(orders, 1 << 16)
            if not block:
                break
            *lines, rest = (rest + block).split(b"\n")
            for line in lines:
                alive.add(_fork(line, (orders, answers, wake_out, wake_in)))
    for pid in alive:
        os.kill(pid, signal.SIGKILL)


def _fork(line: bytes, ours: tuple[int, ...]) -> int:
    given = json.loads(line)
    pid = os.fork()
    if pid:
        os.write(ours[1], json.dumps({"number": given["number"], "pid": pid}).encode() + b"\n")
        return pid
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for descriptor in ours:
        os.close(descriptor)
    live(Order(**given["order"]))
    return 0


def _tell_ended(alive: set[int], answers: int) -> None:
    while alive:
        pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
        if not pid:
            return
        is_stopped = os.WIFSTOPPED(status)
        if not is_stopped:
            alive.discard(pid)
        code = None if is_stopped else os.waitstatus_to_exitcode(status)
        os.write(answers, json.dumps({"pid": pid, "code": code}).encode() + b"\n")


def load() -> None:
    """Everything that a run imports only when it needs it."""
    import imapclient  # noqa: F401
    import tqdm  # noqa: F401
    import truststore  # noqa: F401


def write_order(order: Order, path: Path) -> Path:
    """The order as a file: what a victim of its own process is given."""
    path.write_text(json.dumps(asdict(order)))
    return path


if __name__ == "__main__":
    if len(sys.argv) > 1:
        live(Order(**json.loads(Path(sys.argv[1]).read_text())))
    load()
    nursery()
