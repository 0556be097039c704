"""What a run is put together from: the state file, the sessions, the engine, the loop.

The kinds of stores, and the engines that few commands need, are imported where one is opened: to start with all of
them takes a nightly backup longer than to look at its mail.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from ..books import Books
from ..commands import OpenDest, OpenSource
from ..engine.run import Held
from ..engine.walk import walk
from ..errors import Exit, StateError, StoreError, UsageError
from ..events import Checked, Compressed, Counting, Damaged, Encrypted, Event, Notice, ServedBack, StoredAgain
from ..model import Checkpoint, Endpoint, MailboxName, Policy, Secret
from ..model import Protocol as Wire
from ..rules.dedupe import Digester
from ..state import (
    State,
    TemporarySheet,
    has_state,
    open_state,
    read_state,
    rebuilding,
    rehearsal,
    set_aside,
    state_files,
    unfinished_elsewhere,
)
from ..stores import mbox, net
from ..stores.base import Channel, Finding, Session, Step
from .loop import Driver, Opener
from .opening import closable
from .prune import unproven
from .stop import Stop

if TYPE_CHECKING:
    from ..stores.maildir import Indexes


class JobLike(Protocol):
    """What a run needs to know (config.Job)."""

    @property
    def source(self) -> Endpoint: ...
    @property
    def dest(self) -> Endpoint: ...
    @property
    def policy(self) -> Policy: ...
    @property
    def state_path(self) -> Path: ...
    @property
    def allow_clear(self) -> bool: ...
    @property
    def trace_path(self) -> Path | None: ...
    @property
    def timeout_s(self) -> float: ...
    @property
    def accounts(self) -> tuple[str, str]: ...
    @property
    def layout(self) -> str: ...
    @property
    def compress(self) -> bool: ...
    @property
    def recipients(self) -> tuple[str, ...]: ...
    @property
    def is_backup(self) -> bool: ...
    @property
    def wanted(self) -> Callable[[bytes, datetime | None], bool] | None: ...


NO_SECRET = Secret("")
Trace = Callable[[str, bytes], None]


def run_job(
    job: JobLike, source_secret: Secret, dest_secret: Secret, emit: Callable[[Event], None], stop: Stop
) -> Exit:
    """The exit code of one migration, after its Finished event.

    Raises StateError or UsageError when the run could not even begin.
    """
    with _books(job) as state, _spill_dir(job) as spill_dir, _trace(job.trace_path, emit) as trace:
        forbid = ""
        if job.policy.delete_after_s is not None and not job.policy.dry_run:
            forbid = unfinished_elsewhere(job.state_path, job.source.account)
        # Files that were put back from an older copy would give uids once more that rows of ours claim.
        files = None if job.dest.path is None else _Files(job, is_dry=job.policy.dry_run, floors=state.highest_uids())
        held = Held()
        opener = _opener(job, source_secret, dest_secret, spill_dir, trace, files, lambda: held.is_full)
        code = _driver(job, state, opener, stop, emit, held).run(walk(job.policy, emit, forbid, held))
        # From mail that is read where it stands a person may delete, as from a server.
        grows = job.dest.protocol is Wire.MBOX or job.is_backup
        is_done = not job.policy.dry_run and code in (Exit.OK, Exit.SET_ASIDE, Exit.TEMPORARY)
        if files is not None and grows and is_done:
            lost = _tell_lost(files, state, emit)
            if job.compress or job.recipients:
                _close_months(job, emit)
            return Exit.DIFFERENCES if lost else code
    return code


def _driver(
    job: JobLike, books: Books, opener: Opener, stop: Stop, emit: Callable[[Event], None], held: Held | None = None
) -> Driver:
    return Driver(books, opener, stop, emit, can_reach=job.source.path is None, held=held)


def _path_of(place: Endpoint) -> Path:
    """Where files are."""
    assert place.path is not None
    return place.path


class _Files:
    """The files at the destination of a run, and what its sessions have read of their indexes."""

    def __init__(self, job: JobLike, *, is_dry: bool, floors: Mapping[MailboxName, int]) -> None:
        self.root = _path_of(job.dest)
        self.is_maildir = job.dest.protocol is Wire.MAILDIR
        self._layout, self._is_dry, self._floors = job.layout, is_dry, floors
        self._parts: mbox.Parts = {}
        self._indexes: Indexes = {}

    def appender(self, keys: mbox.Identity | None) -> Session:
        """A new session. ``is_dry``: it only reads. ``keys``: with them it reads in old months."""
        is_dry, floors = self._is_dry, self._floors
        if self.is_maildir:
            from ..stores import maildir

            return maildir.MaildirAppender(self.root, is_dry=is_dry, floors=floors, indexes=self._indexes)
        return mbox.MboxAppender(
            self.root, layout=self._layout, is_dry=is_dry, floors=floors, parts=self._parts, identity=keys
        )

    def find_lost(self, mailbox: MailboxName, uids: list[int]) -> list[int]:
        """Those of these uids that are not there."""
        if self.is_maildir:
            from ..stores import maildir

            return maildir.find_lost(self.root, mailbox, uids, self._indexes)
        return mbox.find_lost(self.root, mailbox, uids, self._parts)


def _tell_lost(files: _Files, state: State, emit: Callable[[Event], None]) -> int:
    """How many messages the state file knows to be stored that are not there; each mailbox is told of.

    From a server a person may delete what was copied; a backup only grows. Into mbox files the next run fetches what
    the source still has.
    """
    lost = 0
    for mailbox, (uids, without) in state.stored().items():
        gone = files.find_lost(mailbox, uids)
        if count := len(gone) + without:
            what = f"missing: {count:,} of the messages that were stored before"
            # What is missing from a Maildir may stand in another folder of it: fetched again, it would be there twice.
            if not files.is_maildir and (again := state.list_again(mailbox, gone)):
                what += f"; the source still has {again:,}, and the next run fetches them again"
            emit(Damaged(str(mailbox), None, None, "", what))
        lost += count
    return lost


def _close_months(job: JobLike, emit: Callable[[Event], None]) -> None:
    """Compresses what is over, or encrypts it. StoreError where the disk refuses; the backup itself is done by then."""
    notices: list[tuple[str, bytes]] = []
    root = _path_of(job.dest)
    try:
        steps: Iterator[mbox.Compressed | mbox.Hidden] = mbox.compress(root, notices)
        if job.recipients:
            paths = {job.state_path, *state_files(root / mbox.STATE)}
            steps = mbox.encrypt(root, job.recipients, notices, unproven=unproven(sorted(paths)))
        for one in steps:
            if isinstance(one, mbox.Hidden):
                emit(Encrypted(one.file, one.messages, one.octets))
            else:
                emit(Compressed(one.file, one.octets, one.packed))
    except StoreError as error:
        error.end = "destination"
        raise
    finally:
        for text, _ in notices:
            emit(Notice(text))


def verify_job(
    job: JobLike, source_secret: Secret, dest_secret: Secret, emit: Callable[[Event], None], stop: Stop
) -> Exit:
    """The exit code of one recount, after its Recounted event. Changes nothing, and may run beside a migration.

    Raises StateError where there is a state file that cannot be believed.
    """
    from ..engine.audit import audit

    with _released(job) as released, _scratch_dir() as spill_dir, _trace(job.trace_path, emit) as trace:
        sheet = TemporarySheet(released)
        try:
            files = None if job.dest.path is None else _Files(job, is_dry=True, floors={})
            opener = _opener(job, source_secret, dest_secret, spill_dir, trace, files)
            # The sheet stands where a migration has its books; the engine knows (engine.reading.ask_sheet).
            return _driver(job, cast(Books, sheet), opener, stop, emit).run(audit(job.policy, emit))
        finally:
            sheet.close()


def check_job(place: Endpoint, emit: Callable[[Event], None], stop: Stop, identity: Secret = NO_SECRET) -> Exit:
    """The exit code of the proof of a backup, after its Checked event. StoreError when it cannot be read."""
    try:
        return _check(place, emit, stop, identity)
    except StoreError as error:
        error.end = "source"
        raise


def _check(place: Endpoint, emit: Callable[[Event], None], stop: Stop, identity: Secret) -> Exit:
    damaged = 0
    path = _path_of(place)
    if place.protocol is Wire.MAILDIR:
        from ..stores import maildir

        there, steps = maildir.there_is(path), maildir.check(path)
    else:
        keys = mbox.identity_of(identity)
        there, steps = mbox.there_is(path, keys), mbox.check(path, keys)
    emit(Counting("backup", there.messages, there.octets))
    while not stop.is_wanted:
        try:
            step = next(steps)
        except StopIteration as end:
            code = Exit.DIFFERENCES if damaged else Exit.OK
            read = end.value
            emit(Checked(read.files, read.messages, read.octets, damaged, int(code), read.unread))
            return code
        if isinstance(step, Step):
            emit(ServedBack(step.messages, step.octets))
        elif isinstance(step, Finding):
            damaged += 1
            emit(Damaged(step.file, step.offset, step.uid, step.message, step.what))
        else:
            emit(StoredAgain(step.file, step.messages, step.uid))
    return Exit.INTERRUPTED


@contextmanager
def _released(job: JobLike) -> Iterator[Iterator[Checkpoint] | None]:
    """What the state file of these accounts says was deleted at the source; None where there is no state file."""
    if not has_state(job.state_path):
        yield None
        return
    with read_state(job.state_path) as reader:
        reader.check_accounts(*job.accounts)
        yield reader.released()


@contextmanager
def _scratch_dir() -> Iterator[Path]:
    """Where large messages stand while they are compared: nobody else's, and gone afterwards."""
    try:
        directory = tempfile.TemporaryDirectory(prefix="popferry-")
    except OSError as error:
        raise StateError(
            f"no directory for temporary files can be made: {error.strerror}",
            exit=Exit.STATE_UNWRITABLE,
            hint="Name a directory with free space with TMPDIR.",
        ) from error
    with directory as name:
        yield Path(name)


def rebuild_job(
    job: JobLike, source_secret: Secret, dest_secret: Secret, emit: Callable[[Event], None], stop: Stop
) -> Exit:
    """The exit code of one rebuild, after its Finished event. The new state file counts after OK and SET_ASIDE.

    Raises StateError when it could not even begin: USAGE where the old file is sound.
    """
    from ..engine.rebuild import rebuild

    accounts = job.accounts
    with rebuilding(job.state_path, *accounts, digester=Digester) as making:
        if making.damage:
            # Without the path, which names the accounts.
            name = set_aside(Path("state"), making.number).suffix
            emit(Notice(f"The state file is damaged; it will be kept beside the new one, its name ending in {name}."))
        files = None if job.dest.path is None else _Files(job, is_dry=job.policy.dry_run, floors={})
        with _spill_dir(job) as spill_dir, _trace(job.trace_path, emit) as trace:
            opener = _opener(job, source_secret, dest_secret, spill_dir, trace, files)
            code = _driver(job, making.state, opener, stop, emit).run(rebuild(job.policy, emit))
        if code in (Exit.OK, Exit.SET_ASIDE):
            making.finish()
        return code


@contextmanager
def _books(job: JobLike) -> Iterator[State]:
    accounts = job.accounts
    if job.policy.dry_run:
        state = rehearsal(job.state_path, *accounts, digester=Digester)
    else:
        state = open_state(job.state_path, *accounts, digester=Digester)
    try:
        yield state
    finally:
        state.close()


@contextmanager
def _spill_dir(job: JobLike) -> Iterator[Path]:
    """Where this run's large messages wait, beside the state file; what a killed run left goes first."""
    path = job.state_path.with_name(job.state_path.name + (".dry-run" if job.policy.dry_run else ".transit"))
    if not job.policy.dry_run:
        shutil.rmtree(path, ignore_errors=True)
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StateError(
                f"the directory {path} cannot be used: {error.strerror}",
                exit=Exit.STATE_UNWRITABLE,
                hint="Check its owner and its free space.",
            ) from error
    try:
        yield path
    finally:
        if not job.policy.dry_run:
            shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _trace(path: Path | None, emit: Callable[[Event], None]) -> Iterator[Trace | None]:
    """A function that writes one line of wire dialogue; credentials and bodies are replaced before."""
    if path is None:
        yield None
        return
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise UsageError(f"the trace file {path} cannot be written: {error.strerror}") from error
    began = time.monotonic()
    is_lost = False
    # Not buffered: what a killed run had traced is there.
    with os.fdopen(handle, "wb", buffering=0) as stream:

        def trace(who: str, line: bytes) -> None:
            nonlocal is_lost
            if is_lost:
                return
            try:
                stream.write(f"{time.monotonic() - began:9.3f} {who} ".encode() + line.rstrip(b"\r\n") + b"\n")
            except OSError as error:
                is_lost = True  # a full disk costs the trace, not the run
                emit(Notice(f"nothing more is written to the trace file {path}: {error.strerror}"))

        yield trace


def _opener(
    job: JobLike,
    source_secret: Secret,
    dest_secret: Secret,
    spill_dir: Path,
    trace: Trace | None,
    files: _Files | None,
    is_full: Callable[[], bool] | None = None,
) -> Opener:
    """What opens a session. ``files``: those at the destination, if it is no server. ``is_full``: whether the run
    holds all it may."""

    def connect(endpoint: Endpoint) -> Channel:
        is_source = endpoint is job.source
        return closable(
            net.connect(
                endpoint,
                timeout_s=min(30.0, job.timeout_s),
                allow_clear=job.allow_clear,
                is_full=is_full if is_source else None,
            )
        )

    def named(name: str) -> Trace | None:
        return None if trace is None else lambda who, line: trace(f"{name} {who}", line)

    open_files: Callable[[], Session] | None = None

    def open_session(command: OpenSource | OpenDest) -> Session:
        nonlocal open_files
        if isinstance(command, OpenDest):
            if files is not None:
                return files.appender(mbox.identity_of(dest_secret, spill_dir))
            from ..stores.imap import ImapAppender

            return ImapAppender(
                job.dest,
                dest_secret,
                connect=connect,
                clock=time.monotonic,
                trace=named(f"imap{command.lane}"),
                timeout_s=job.timeout_s,
            )
        if job.source.path is not None:
            open_files = open_files or _opener_of_files(job, source_secret, spill_dir)
            return open_files()
        return _server_reader(job.source, may_release=command.may_release)(
            job.source,
            source_secret,
            connect=connect,
            digester=Digester,
            spill_dir=spill_dir,
            clock=time.monotonic,
            trace=named(job.source.protocol.value),
            timeout_s=job.timeout_s,
        )

    return open_session


def _server_reader(source: Endpoint, *, may_release: bool) -> Callable[..., Session]:
    if source.protocol is Wire.IMAP:
        from ..stores.imap import ImapReader

        return ImapReader
    from ..stores.pop3 import Pop3Reader, Pop3Releaser

    return Pop3Releaser if may_release else Pop3Reader


def _opener_of_files(job: JobLike, secret: Secret, spill_dir: Path) -> Callable[[], Session]:
    """What opens a session at a source that is files, and keeps from one to the next what was read."""
    path, wanted, told = _path_of(job.source), job.wanted, set[str]()
    if job.source.protocol is Wire.MAILDIR:
        from ..stores.maildir import MaildirReader

        return lambda: MaildirReader(path, Digester, spill_dir, wanted=wanted)
    if mbox.is_backup(path):
        return lambda: mbox.MboxReader(
            path, Digester, spill_dir, wanted=wanted, identity=mbox.identity_of(secret, spill_dir), told=told
        )
    from ..stores.files import FilesReader, Shelf

    shelf = Shelf()
    return lambda: FilesReader(path, Digester, spill_dir, wanted=wanted, shelf=shelf)
