"""``popferry migrate``: options -> Job -> run -> exit code."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..config import Job, default_state_path, get_secret, is_loopback, parse_endpoint, parse_pin, parse_secret_ref
from ..errors import Exit, MigrateError, UsageError, exit_of
from ..events import Event
from ..model import INBOX, Dedupe, Endpoint, MailboxName, Mark, Policy, Protocol, Secret, Tls, Verify
from . import keys, logfile, report, texts
from .already import already_had
from .face import Face, Manner
from .redact import Redactor
from .signals import Signals, Stoppable

RunJob = Callable[[Job, Secret, Secret, Callable[[Event], None], Any], Exit]


def run(options: argparse.Namespace) -> Exit:
    """Does the migration that the options ask for. UsageError before anything was done."""

    def run_job() -> RunJob:
        from ..driver import run_job

        return run_job

    return start(options, Face, run_job)


def start(
    options: argparse.Namespace, make_face: Callable[..., Face], load: Callable[[], RunJob], job: Job | None = None
) -> Exit:
    """Asks for the passwords and carries out what ``load`` gives: it imports what is heavy once they are known."""
    job = job or job_of(options)
    hide = Redactor()
    logfile.open_log(job.log_path, hide, verbose=options.verbose)
    face = make_face(sys.stdout, sys.stderr, manner_of(options, job), hide=hide, log=logfile.log_event)
    variables = job.secret_variables
    # What reads a backup stands where a server has its password.
    source_secret = dest_secret = keys.identity_of(options, job)
    for line in source_secret.reveal().splitlines():
        hide.learn("", Secret(line))
    if job.source.path is None:
        source_secret = get_secret(job.source_password, job.source, side="source", withhold=variables)
        hide.learn(job.source.user, source_secret)
    if job.dest.path is None:
        dest_secret = get_secret(job.dest_password, job.dest, side="destination", withhold=variables)
        hide.learn(job.dest.user, dest_secret)
    run_job = load()
    from ..driver import Stop

    return carry_out(job, (source_secret, dest_secret), face, Stop(), run_job)


def carry_out(job: Job, secrets: tuple[Secret, Secret], face: Face, stop: Stoppable, run_job: RunJob) -> Exit:
    """The exit code of one run, told to the person; a signal decides over everything else."""

    def say_stopping() -> None:
        # In a signal handler: the stream may be in the middle of a write, so straight to the descriptor.
        face.has_said_stopping = True
        _write_stderr([texts.stopping(face.is_listed)])

    def at_once() -> None:
        _write_stderr(report.closing(Exit.INTERRUPTED, None, job.state_path, is_listed=face.is_listed))

    with Signals(stop, say_stopping, at_once) as signals:
        try:
            code = run_job(job, *secrets, face.hear, stop)
        except KeyboardInterrupt:
            code = Exit.INTERRUPTED
        except MigrateError as error:
            code = exit_of(error)
            if signals.exit is None:
                face.fail(error)
            logfile.logger.error("%s", report.failure(error))
        except Exception as error:  # noqa: BLE001 - a fault of ours: the person still learns where things stand
            code = Exit.UNEXPECTED
            logfile.log_fault(error)
            face.fail(error)
        signals.is_over = True
        return face.end(signals.exit or code, job.state_path)


def _write_stderr(lines: list[str]) -> None:
    try:
        # A terminal stands in the middle of a line: a bar, or the ^C that it echoed.
        lines = ["", *lines] if os.isatty(2) else lines
        os.write(2, ("\n".join(lines) + "\n").encode(errors="backslashreplace"))
    except OSError:
        # Nobody listens any more; the stop itself goes on.
        return


# --- options -> Job -------------------------------------------------------------------------


def job_of(options: argparse.Namespace) -> Job:
    """The job that the options describe. UsageError where they contradict each other."""
    allow_clear = options.send_password_in_clear
    source = parse_endpoint(options.source, side="source", allow_clear=allow_clear)
    dest = parse_endpoint(options.dest, side="destination", allow_clear=allow_clear)
    source = _pinned(source, options.source_pin, "--source-pin")
    dest = _pinned(dest, options.dest_pin, "--dest-pin")
    if options.max_delete is not None and options.delete_after is None:
        raise UsageError("--max-delete limits --delete-after, which is not given; nothing would be deleted")
    if source.path is not None and dest.path is not None and _are_nested(source.path.resolve(), dest.path.resolve()):
        raise UsageError("SOURCE and DEST are the same files: every message would be there twice")
    if source.path is not None and options.delete_after is not None:
        raise UsageError("--delete-after: nothing is ever deleted from files")
    if dest.path is not None and (options.connections or 1) > 1:
        raise UsageError("--connections is for servers; files are written by one", hint="Leave it out.")
    if source.protocol is Protocol.IMAP:
        _check_imap_source(options)
    policy = policy_of(options, source, dest)
    is_same = source.protocol is dest.protocol is Protocol.IMAP and source.account == dest.account
    if is_same and (policy.keeps_mailboxes or source.mailbox == policy.mailbox):
        raise UsageError(
            "SOURCE and DEST are the same account: what is copied would be there to be copied again",
            hint="From one folder of it into another: write both, behind SOURCE and DEST.",
        )
    if source.protocol is Protocol.POP3 and policy.mailbox == INBOX and _is_one_account(source, dest):
        raise UsageError(
            "SOURCE and DEST are the same mailbox: POP3 shows what stands in the INBOX",
            hint="Into another folder of the account: write it behind DEST.",
        )
    return Job(
        source=source,
        dest=dest,
        policy=policy,
        state_path=path_of(options.state, "--state") or default_state_path(source, dest),
        source_password=parse_secret_ref(options.source_password, side="source"),
        dest_password=parse_secret_ref(options.dest_password, side="destination"),
        allow_clear=allow_clear,
        trace_path=path_of(options.trace, "--trace"),
        log_path=path_of(options.log_file, "--log-file"),
    )


def _is_one_account(source: Endpoint, dest: Endpoint) -> bool:
    """As providers name their servers: pop.example.org and imap.example.org. Ports of this machine lead anywhere."""
    if dest.protocol is not Protocol.IMAP or source.user != dest.user or is_loopback(source.host):
        return False
    one, other = (re.sub("^(pop|imap)[0-9]*[.]", "", end.host.lower()) for end in (source, dest))
    return one == other


def _are_nested(one: Path, other: Path) -> bool:
    return one.is_relative_to(other) or other.is_relative_to(one)


def _check_imap_source(options: argparse.Namespace) -> None:
    if options.delete_after is not None:
        raise UsageError("--delete-after: nothing is deleted from an IMAP account", hint="Delete it there yourself.")


def policy_of(options: argparse.Namespace, source: Endpoint, dest: Endpoint) -> Policy:
    """The part of the options that the engine decides by."""
    mailbox = _mailbox(options.folder, dest)
    is_named = options.folder is not None or dest.mailbox is not None
    if source.mailbox is not None and not is_named:
        mailbox = source.mailbox
    is_account = source.protocol is Protocol.IMAP and source.mailbox is None
    has_all = is_account or source.path is not None
    return Policy(
        mailbox=mailbox,
        keeps_mailboxes=has_all,
        root=mailbox if has_all and is_named else None,
        dedupe=Dedupe(options.dedupe),
        mark=Mark(options.mark),
        verify=Verify(options.verify),
        delete_after_s=options.delete_after,
        max_delete=options.max_delete,
        limit=options.limit,
        lanes=options.connections,
        settle_s=options.settle,
        accept_missing=options.accept_missing,
        dry_run=options.dry_run,
        baseline=options.baseline,
        already=already_had(options.already_have, source),
    )


def manner_of(options: argparse.Namespace, job: Job) -> Manner:
    """How this run talks."""
    # A script that reads events needs no talk beside them.
    normal = texts.ALWAYS if options.quiet or options.json else texts.NORMAL
    level = texts.VERBOSE if options.verbose else normal
    return Manner(level, options.json, not options.no_progress, job.policy.dry_run, job.policy.limit)


def _mailbox(folder: str | None, dest: Endpoint) -> MailboxName:
    if folder is None:
        return dest.mailbox or INBOX
    if dest.mailbox is not None:
        raise UsageError(
            "--folder and a folder in DEST cannot stand together", hint="Take one of them out of the command."
        )
    try:
        return MailboxName.parse(folder)
    except ValueError:
        raise UsageError(
            "--folder: expected a name like Archive or Archive/2020, without control characters",
            hint="A slash inside a name is written %2F.",
        ) from None


def _pinned(endpoint: Endpoint, pin: str | None, option: str) -> Endpoint:
    if pin is None:
        return endpoint
    octets = parse_pin(pin, option=option)
    if endpoint.tls is Tls.NONE:
        raise UsageError(f"{option}: an endpoint without TLS has no certificate")
    return replace(endpoint, pin=octets)


def path_of(text: str | None, option: str) -> Path | None:
    if text is None:
        return None
    if not text or "\0" in text:
        raise UsageError(f"{option}: expected the name of a file")
    return Path(text).expanduser().absolute()
