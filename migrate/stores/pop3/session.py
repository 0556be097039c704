"""The POP3 source as a session (see ``stores.base``)."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Sequence
from pathlib import Path

from ...commands import CloseSource, Command, Delete, Digest, Fetch, ListSource, OpenSource, Outcome
from ...errors import Cause, MessageError, MigrateError, Retry, StoreError
from ...model import Endpoint, MessageRef, Secret
from ...wire.pop3 import Block, Quirk, Reply
from ..base import AGAIN_S, Channel, Collector
from .link import Link, Trace
from .login import LISTING, Account, CapaFailed, Greeted, greet, log_in
from .task import Steps, Task, fetch, leave, list_all, nothing, stay

RECEIVES = 4  # times that one turn takes in what has arrived: others want their turn too
STALL_OCTETS = 1000  # of a body in ``timeout_s``: a server that sends fewer has stalled
LIST_PATIENCE = 5  # times ``timeout_s``: some servers read the whole maildrop before the first line
KEEP_ALIVE_S = 120.0  # a session without work says NOOP this often; servers log out after 10 minutes, some earlier


class Pop3Reader:
    """A session that reads. It knows no command that deletes.

    RETRs are sent as they are submitted where the server offers PIPELINING
    after login, else one at a time; how many are under way is the caller's choice.
    """

    kinds: tuple[type[Command], ...] = (OpenSource, ListSource, Fetch, CloseSource)

    def __init__(
        self,
        endpoint: Endpoint,
        secret: Secret,
        *,
        connect: Callable[[Endpoint], Channel],
        digester: Callable[[], Digest],
        spill_dir: Path,
        clock: Callable[[], float],
        trace: Trace | None = None,
        timeout_s: float = 60.0,
    ) -> None:
        self.notices: list[tuple[str, bytes]] = []
        self.quirks: Counter[Quirk] = Counter()
        self._told: set[Quirk] = set()
        self._endpoint = endpoint
        self._secret = secret
        self._connect = connect
        self._digester = digester
        self._spill_dir = spill_dir
        self._clock = clock
        self._trace = trace
        self._timeout_s = timeout_s
        self._link: Link | None = None
        self._greeted: Greeted | None = None
        self._account: Account | None = None
        self._broken: StoreError | None = None
        self._waiting: deque[Command] = deque()  # submitted, not begun
        self._tasks: deque[Task] = deque()  # begun, not told
        self._lines: deque[tuple[bytes, Task]] = deque()  # to be sent
        self._owners: deque[Task] = deque()  # one for each reply that is owed
        self._early: Task | None = None  # a listing that nobody has asked for yet
        self._moved_at = 0.0  # when the server last got on
        self._received_then = 0  # octets received by then

    # The contract --------------------------------------------------------------------------
    def submit(self, command: Command) -> None:
        """Takes a command in. TypeError for one that this kind does not know."""
        if not isinstance(command, self.kinds):
            raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")
        self._waiting.append(command)
        if isinstance(command, CloseSource) and not command.quit and self._broken is None:
            self._drop(command)

    def turn(self) -> list[Outcome]:
        """Sends and receives what can be sent and received now. Value: commands that ended."""
        if self._broken is None:
            try:
                self._work()
            except StoreError as error:
                self._break(error)
        if self._broken is not None:
            self._fail_all(self._broken)
        for quirk in self.quirks.keys() - self._told:
            self._told.add(quirk)
            self.notices.append((f"The source is tolerated: {quirk.value}.", b""))
        outcomes = []
        while self._tasks and (outcome := self._tasks[0].outcome) is not None:
            self._tasks.popleft()
            if outcome.command is not None:
                outcomes.append(outcome)
        return outcomes

    def fileno(self) -> int | None:
        return None if self._link is None else self._link.channel.fileno()

    def wants_write(self) -> bool:
        return self._link is not None and self._link.has_unsent

    def is_ready(self) -> bool:
        if self._tasks and self._tasks[0].outcome is not None:
            return True
        if self._waiting and (self._broken is not None or self._may_begin(self._waiting[0])):
            return True
        return self._link is not None and self._link.channel.has_pending()

    def close(self) -> None:
        """Frees everything at once, without a word to the server. Never raises."""
        self._hang_up()
        if self._broken is None:
            self._broken = _closed()
        self._fail_all(self._broken)

    # Beginning -----------------------------------------------------------------------------
    def _work(self) -> None:
        self._begin()
        link = self._link
        if link is None:
            return
        if self._early is not None:
            self._hear(link)  # what came with the answers to the login
            if self._link is None:
                return
        for _ in range(RECEIVES):
            link.flush()
            if not link.receive():
                break
            self._hear(link)
            if self._link is None:
                return
            self._begin()
        self._watch_time(link)
        link.flush()

    def _may_begin(self, command: Command) -> bool:
        # Only RETR and DELE go behind one another: every other command waits for the answers before it.
        if not self._tasks:
            return self._early is None or self._early.outcome is not None or isinstance(command, ListSource)
        return isinstance(command, Fetch | Delete) and isinstance(self._tasks[-1].command, Fetch | Delete)

    def _begin(self) -> None:
        while self._waiting and self._may_begin(self._waiting[0]):
            command = self._waiting.popleft()
            if isinstance(command, ListSource) and self._early is not None:
                early, self._early = self._early, None
                early.serve(command)
                self._tasks.append(early)
            else:
                self._start(Task(command, self._steps(command)))
        self._send_lines()

    def _start(self, task: Task) -> None:
        self._tasks.append(task)
        self._lines.extend((line, task) for line in task.start())

    def _steps(self, command: Command) -> Steps:
        """What carries the command out."""
        if isinstance(command, OpenSource):
            return self._open(command)
        if self._link is None or self._account is None:
            return _not_open()
        match command:
            case ListSource():
                return list_all(self._account, self.quirks)
            case Fetch(ref=ref):
                return fetch(ref, lambda: Collector(self._digester, self._spill_dir), self._link.scrub)
            case _:
                return leave()

    def reach(self) -> bool:
        """Does ahead, blocking, what OpenSource does before the login. Raises nothing (stores.base.Reachable)."""
        began_s = self._clock()
        try:
            self._greeted = self._greet()
        except StoreError as error:
            if self._clock() - began_s < AGAIN_S:
                self._hang_up()
            else:
                self._break(error)
        return self._greeted is not None

    def _open(self, command: OpenSource) -> Steps:
        """Connects and logs in, blocking. Value: SourceFacts."""
        greeted, self._greeted = self._greeted, None
        if greeted is None or self._link is None or not self._link.is_quiet():
            self._hang_up()
            greeted = self._greet()
        assert self._link is not None
        self._account = log_in(
            *(self._link, self._endpoint, self._secret, greeted),
            timeout_s=self._timeout_s,
            will_list=command.will_list,
        )
        self._moved_at = self._clock()
        if self._account.is_listing:
            self._early = Task(None, list_all(self._account, self.quirks, is_sent=True))
            self._early.start()
            self._owners.extend([self._early] * len(LISTING))
        return self._account.facts
        yield ()

    def _greet(self) -> Greeted:
        try:
            return self._connected(ask_capa=True)
        except CapaFailed:
            self._hang_up()
            return self._connected(ask_capa=False)

    def _connected(self, *, ask_capa: bool) -> Greeted:
        channel = self._connect(self._endpoint)
        self._link = Link(channel, self._endpoint, self._secret, self._clock, self._trace)
        self._link.wire.quirks = self.quirks  # told with those of the listings
        return greet(self._link, self._endpoint, self._secret, timeout_s=self._timeout_s, ask_capa=ask_capa)

    # Going on ------------------------------------------------------------------------------
    def _send_lines(self) -> None:
        if self._link is None or self._account is None:
            return
        while self._lines and (self._account.can_pipeline or not self._owners):
            line, task = self._lines.popleft()
            if not self._owners:
                self._has_moved(self._link)
            self._owners.append(task)
            self._link.put(line)

    def _hear(self, link: Link) -> None:
        """Gives what was received to the tasks that wait for it."""
        wire = link.wire
        while (event := link.next_event()) is not None:
            task = self._owners[0]
            if not wire.in_body:
                self._owners.popleft()
            if type(event) is not Block:
                self._has_moved(link)
            if lines := task.take(event):
                self._lines.extend((line, task) for line in lines)
            if task.outcome is not None and isinstance(task.command, CloseSource):
                self._broken = _closed()
                self._hang_up()
                return

    def _has_moved(self, link: Link) -> None:
        self._moved_at = self._clock()
        self._received_then = link.received

    def _watch_time(self, link: Link) -> None:
        """Breaks a session whose server has stalled, and keeps one without work alive."""
        if link.channel.is_held:
            self._has_moved(link)  # it is we who wait
        idle_s = self._clock() - self._moved_at
        if not self._owners:
            if idle_s >= KEEP_ALIVE_S and not self._tasks:
                self._start(Task(None, stay()))
                self._send_lines()
        elif link.wire.in_body and link.received - self._received_then >= STALL_OCTETS:
            self._has_moved(link)
        else:
            is_listing = self._owners[0] is self._early or isinstance(self._owners[0].command, ListSource)
            limit_s = self._timeout_s * (LIST_PATIENCE if is_listing else 1)
            if idle_s >= limit_s:
                raise StoreError(f"the POP3 server did not answer for {limit_s:.0f} s")

    # Ending --------------------------------------------------------------------------------
    def _drop(self, command: Command) -> None:
        self._waiting.pop()
        self._fail_all(StoreError("the connection was dropped, as asked"))
        self._start(Task(command, nothing()))
        self._broken = _closed()
        self._hang_up()

    def _break(self, error: StoreError) -> None:
        self._broken = error if self._link is None else self._link.scrubbed(error)
        self._hang_up()

    def _fail_all(self, error: MigrateError) -> None:
        while self._waiting:
            self._tasks.append(Task(self._waiting.popleft(), nothing()))
        if self._early is not None:
            self._tasks.append(self._early)
            self._early = None
        for task in self._tasks:
            task.fail(error)
        self._lines.clear()
        self._owners.clear()

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.channel.close()
        self._link = None
        self._account = None


class Pop3Releaser(Pop3Reader):
    """A session that reads and deletes: the one place that knows DELE."""

    kinds = (*Pop3Reader.kinds, Delete)

    def _steps(self, command: Command) -> Steps:
        if isinstance(command, Delete):
            return _not_open() if self._link is None else _delete(command.refs, self._link.scrub)
        return super()._steps(command)


def _delete(refs: Sequence[MessageRef], scrub: Callable[[bytes], bytes]) -> Steps:
    """DELE of each -> tuple[MessageError | None, ...]."""
    results: list[MessageError | None] = []
    lines: Sequence[bytes] = [b"DELE %d" % ref.number for ref in refs]
    for _ in refs:
        reply = yield lines
        lines = ()
        assert isinstance(reply, Reply)
        if reply.is_ok:
            results.append(None)
        else:
            results.append(MessageError("the POP3 server did not delete the message", said=scrub(reply.line)))
    return tuple(results)


def _not_open() -> Steps:
    raise StoreError("the session is not open", cause=Cause.UNUSABLE, retry=Retry.NEVER)
    yield ()


def _closed() -> StoreError:
    return StoreError("the connection is closed")
