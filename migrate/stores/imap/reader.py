"""ImapReader: an IMAP account as a source. It reads with EXAMINE and BODY.PEEK: nothing changes there.

A message is named by its folder, UIDVALIDITY and UID (as in RFC 5092), so that a
folder whose UIDVALIDITY changes is a folder of new messages, never one whose old
messages are gone; content tells which of them are known.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...commands import CloseSource, Command, Digest, Fetch, ListSource, OpenSource, Outcome, SourceFacts
from ...errors import Cause, MailboxError, MessageError, MigrateError, Retry, StoreError
from ...model import DateSource, InternalDate, MessageRef
from ...wire.imap import Data, Fetched, Tagged, reaches_all
from ..base import AHEAD, Collector
from .fetching import FetchJob, Witness, flags_from
from .look import BODY_UIDS
from .mailbox import Folder
from .session import ImapSession
from .upload import Job

JOBS = 4  # of fetching under way


class ImapReader(ImapSession):
    """A session that reads every folder, or the one that the endpoint names. It knows no command that deletes."""

    kinds = (OpenSource, ListSource, Fetch, CloseSource)
    closes = CloseSource
    end = "source"

    def __init__(self, *args: Any, digester: Callable[[], Digest], spill_dir: Path, **options: Any) -> None:
        super().__init__(*args, **options)
        self._digester = digester
        self._spill_dir = spill_dir
        self._folders: list[Folder] = []
        self._validities: list[int] = []  # of the folders, as listed
        self._examined = -1  # the folder that is selected
        self._ahead: tuple[int, int] | None = None  # what the one folder said when the session was opened
        self.there = 0  # messages in the folder that is being listed
        self._unreadable: dict[int, MessageError] = {}  # folders that cannot be selected
        self._witnesses: dict[int, Witness] = {}  # of the folders that have messages
        # Of each message by its number, from 1.
        self._folder_of = array("L", [0])
        self._uid_of = array("L", [0])

    def submit(self, command: Command) -> None:
        if isinstance(command, OpenSource) and command.may_release:
            raise TypeError("nothing is deleted from an IMAP source")
        super().submit(command)
        if isinstance(command, CloseSource) and not command.quit and self._error is None:
            self._error = StoreError("the connection to the source was closed")
            self.close()

    # Working -------------------------------------------------------------------------------
    def _work(self) -> None:
        super()._work()
        while self._jobs and isinstance(job := self._jobs[0][1], ListJob) and not job.is_done and self._is_quiet:
            job.go_on()  # selecting blocks, so it is not done while answers are taken in
            super()._work()

    @property
    def _is_quiet(self) -> bool:
        return self._lane is not None and self._lane.is_idle

    def _may_start(self, command: Command) -> bool:
        if self._is_idle:
            return True
        if not isinstance(command, Fetch) or not all(isinstance(job, FetchJob) for _, job in self._jobs):
            return False
        return len(self._jobs) < JOBS and 0 <= self._place(command)[0] == self._examined

    def _begin(self, command: Command) -> Job | None:
        match command:
            case OpenSource():
                self._outcomes.append(Outcome(command, self._open_source()))
                return None
            case CloseSource():
                self._log_out()
                self._outcomes.append(Outcome(command))
                return None
        if self._mailboxes is None or self._lane is None:
            raise StoreError("the session is not open", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        match command:
            case ListSource():
                self._examined = -1
                self._validities = []
                self._unreadable = {}
                self._folder_of, self._uid_of = array("L", [0]), array("L", [0])
                return ListJob(self)
            case Fetch():
                group = self._group(command)
                folder = self._place(command)[0]
                lost = _NO_SUCH if folder < 0 else self._unreadable.get(folder)
                if lost is not None:
                    self._outcomes += [Outcome(one, error=lost) for one in group]
                    return None
                self._examine(folder)
                listed = {self._place(one)[1]: one.ref.octets for one in group if isinstance(one, Fetch)}
                return FetchJob(self._lane, listed, self._collector, self._witnesses[folder])
            case _:
                raise TypeError(f"{type(self).__name__} does not know {type(command).__name__}")

    def _collector(self) -> Collector:
        return Collector(self._digester, self._spill_dir)

    def _open_source(self) -> SourceFacts:
        account = self._open()
        assert self._mailboxes is not None
        only = self._endpoint.mailbox
        self._folders = self._mailboxes.folders(only)
        if only is not None and not self._folders:
            raise StoreError(f"the source has no folder {only}", cause=Cause.UNUSABLE, retry=Retry.NEVER)
        return SourceFacts(
            greeting=account.facts.greeting,
            messages=self._look_at() if only is not None else sum(map(self._mailboxes.count, self._folders)),
            octets=0,
            has_uids=True,
            may_delete_on_fetch=False,
            ahead=AHEAD,
            hides_nothing=True,
            mailboxes=tuple(dict.fromkeys(folder.mailbox for folder in self._folders)),
        )

    def _look_at(self) -> int:
        """How many messages the one folder has: it is selected already. 0 where the listing will say why not."""
        assert self._mailboxes is not None
        try:
            self._ahead = self._mailboxes.examine(self._folders[0])
        except MailboxError:
            return 0
        return self._ahead[1]

    # Fetching ------------------------------------------------------------------------------
    def _place(self, command: Command) -> tuple[int, int]:
        """Folder and uid of a message."""
        assert isinstance(command, Fetch)
        number, uid = command.ref.number, command.ref.uid
        if not 0 < number < len(self._uid_of):
            return -1, 0
        folder = self._folder_of[number]
        return (folder, self._uid_of[number]) if uid == self._name(folder, self._uid_of[number]) else (-1, 0)

    def _name(self, folder: int, uid: int) -> bytes:
        return b"%b;UIDVALIDITY=%d;UID=%d" % (self._folders[folder].wire_name, self._validities[folder], uid)

    def _group(self, first: Command) -> list[Command]:
        """The commands in front of the queue that one job carries out."""
        folder = self._place(first)[0]
        group: list[Command] = []
        for command in self._commands:
            if len(group) == BODY_UIDS or not isinstance(command, Fetch) or self._place(command)[0] != folder:
                break
            group.append(command)
        return group

    def _take(self, command: Command) -> Sequence[Command]:
        group = self._group(command) if isinstance(command, Fetch) else [command]
        for _ in group:
            self._commands.popleft()
        return group

    def _ends(self, commands: Sequence[Command], job: Job) -> list[Outcome]:
        if not isinstance(job, FetchJob) or job.error is not None:
            return super()._ends(commands, job)
        return [self._fetched(command, job) for command in commands]

    def _end_all(self, error: MigrateError) -> None:
        # Where the server hung up without a word: the messages of a group that came whole stand in front of the one
        # at which it did.
        if self._jobs and not error.said and isinstance(job := self._jobs[0][1], FetchJob):
            commands, _ = self._jobs.popleft()
            job.value = job.came()
            came = [self._place(command)[1] in job.value for command in commands]
            self._outcomes += [
                self._fetched(command, job) if is_whole else Outcome(command, error=error)
                for command, is_whole in zip(commands, came, strict=True)
            ]
        super()._end_all(error)

    def _fetched(self, command: Command, job: FetchJob) -> Outcome:
        folder, uid = self._place(command)
        message = job.value.pop(uid, None)
        if message is None:
            error = job.why_not(uid)
            self._show_no_secret(error)
            return Outcome(command, error=error)
        kept = job.kept[uid]
        when = None if kept.internaldate is None else InternalDate(kept.internaldate, DateSource.STORE)
        flags = None if kept.flags is None else flags_from(kept.flags)
        mailbox = self._folders[folder].mailbox
        return Outcome(command, message._replace(flags=flags, internaldate=when, mailbox=mailbox))

    def _examine(self, folder: int) -> None:
        if folder == self._examined:
            return
        assert self._mailboxes is not None
        self._examined = -1
        try:
            uidvalidity = self._mailboxes.examine(self._folders[folder])[0]
        except MailboxError as error:
            raise StoreError(error.what, said=error.said) from error
        if uidvalidity != self._validities[folder]:
            raise StoreError("a folder of the source was replaced while it was read")
        self._examined = folder

    # Listing -------------------------------------------------------------------------------
    def list_next(
        self,
        take: Callable[[Data], bool],
        take_sizes: Callable[[list[tuple[int, int]]], None],
        on_done: Callable[[Tagged], None],
    ) -> bool:
        """Asks for the sizes in the next folder that has messages; False when there is none left."""
        assert self._mailboxes is not None
        assert self._lane is not None
        while len(self._validities) < len(self._folders):
            folder = len(self._validities)
            try:
                uidvalidity, self.there = self._ahead or self._mailboxes.examine(self._folders[folder])
            except MailboxError as error:
                # Left out, its messages would be missing from a backup that says it is complete.
                self._unreadable[folder] = MessageError(error.what, said=error.said, hint=error.hint)
                uidvalidity, self.there = 0, 0
            self._ahead = None  # a second listing selects it anew
            self._validities.append(uidvalidity)
            # An empty one is selected too; where it cannot be, none is.
            self._examined = -1 if folder in self._unreadable else folder
            if self.there:
                self._lane.ask(b"UID FETCH 1:* (UID RFC822.SIZE)", on_done, take, on_sizes=take_sizes)
                return True
        return False

    def list_uids(self, take: Callable[[Data], bool], on_done: Callable[[Tagged], None]) -> None:
        """Asks what there is in the folder that is being listed, without sizes."""
        assert self._lane is not None
        self._lane.ask(b"UID FETCH 1:* (UID)", on_done, take)

    def read(self, data: Data) -> Fetched:
        assert self._lane is not None
        return self._lane.fetched(data)

    def unreadable_refs(self) -> list[MessageRef]:
        """One for each folder that cannot be read, with a uid that no message has: so the books know of it."""
        refs = []
        for folder in self._unreadable:
            refs.append(MessageRef(self._name(folder, 0), len(self._uid_of), None, is_fault=True))
            self._folder_of.append(folder)
            self._uid_of.append(0)
        return refs

    def refs(self, sizes: Mapping[int, int | None]) -> list[MessageRef]:
        """The messages of the folder that was listed last, by uid."""
        folder = len(self._validities) - 1
        self._witnesses[folder] = Witness(max(sizes))
        refs = []
        for uid in sorted(sizes):
            refs.append(MessageRef(self._name(folder, uid), len(self._uid_of), sizes[uid]))
            self._folder_of.append(folder)
            self._uid_of.append(uid)
        return refs


_NO_SUCH = MessageError("the source has no such message")


class ListJob:
    """ListSource: folder after folder, each selected when nothing is under way.

    A folder that does not tell all its sizes is asked for its uids alone: for a size, some servers read the message.
    """

    def __init__(self, reader: ImapReader) -> None:
        self.is_done = False
        self.value: Any = None
        self.error: MigrateError | None = None
        self._reader = reader
        self._refs: list[MessageRef] = []
        self._sizes: dict[int, int | None] = {}  # of the folder that is listed now; None: it does not tell
        self._wants_sizes = True

    def go_on(self) -> None:
        """The folder that was under way is listed: goes on with the next."""
        if self._sizes:
            self._refs += self._reader.refs(self._sizes)
        self._sizes = {}
        self._wants_sizes = True
        if not self._reader.list_next(self._take, self._take_sizes, self._end):
            self.value = self._refs + self._reader.unreadable_refs()
            self.is_done = True

    def _take_sizes(self, sizes: list[tuple[int, int]]) -> None:
        self._sizes.update(sizes)

    def _take(self, data: Data) -> bool:
        if data.name != b"FETCH":
            return False
        fetched = self._reader.read(data)
        if fetched.uid is None or (fetched.size is None and self._wants_sizes):
            return False
        if self._sizes.get(fetched.uid) is None:
            self._sizes[fetched.uid] = fetched.size
        return True

    def _end(self, answer: Tagged) -> None:
        is_whole = answer.status == b"OK" and len(self._sizes) >= self._reader.there
        if not is_whole and self._wants_sizes and not reaches_all(answer):
            self._wants_sizes = False
            self._reader.list_uids(self._take, self._end)
            return
        if answer.status != b"OK":
            raise StoreError(
                "the source would not list one of its folders",
                said=answer.said,
                hint="Run the same command again later.",
            )
        if len(self._sizes) < self._reader.there:
            raise StoreError(f"the source has {self._reader.there} messages in a folder and lists {len(self._sizes)}")
