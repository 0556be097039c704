"""Targets for what stands on this machine: the state file, endpoints, references to secrets, the command line."""

from __future__ import annotations

import atexit
import io
import shutil
import tempfile
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path
from typing import Any

from migrate.books import MailboxMemory
from migrate.cli.options import parse
from migrate.config import parse_endpoint, parse_secret_ref
from migrate.config.endpoint import Side, parse_pin
from migrate.config.job import default_state_path
from migrate.errors import StateError, UsageError
from migrate.model import INBOX, Endpoint, Stage
from migrate.rules.dedupe import Digester, fingerprint
from migrate.state import State, open_state
from tests.state.support import copy_all, mail, refs

from .octets import Choices

_ACCOUNTS = ("alice@pop.example.org", "alice@imap.example.org")
_MESSAGES = 12
_SIDES: tuple[Side, Side] = ("source", "destination")


# --- the state file -----------------------------------------------------------------------------


def state_file(data: bytes) -> None:
    """A sound file with octets overwritten, or cut: it is refused and left as it is, or every answer is the old one."""
    choices = Choices(data)
    sound, answers, path = _sound()
    octets = bytearray(sound)
    if choices.number(4) == 3:
        del octets[choices.number(256) * 256 + choices.number(256) :]
    while (patch := choices.rest()) and octets:
        count = 1 + choices.number(16)
        at = (choices.number(256) * 65536 + choices.number(256) * 256 + choices.number(256)) % len(octets)
        new = bytes(choices.number(256) for _ in range(min(count, len(patch))))
        octets[at : at + len(new)] = new[: len(octets) - at]
    _put(path, bytes(octets))
    try:
        state = open_state(path, *_ACCOUNTS, digester=Digester, create=False)
    except StateError:
        assert path.read_bytes() == octets, "refused, and changed"
        return
    try:
        with suppress(StateError):
            assert _answers(state) == answers, "another answer than before"
    finally:
        state.close()


@cache
def _sound() -> tuple[bytes, list[Any], Path]:
    """The octets of a sound state file, what it answers, and the path where its damaged copies stand."""
    shm = Path("/dev/shm")
    directory = Path(tempfile.mkdtemp(prefix="pf-fuzz-", dir=shm if shm.is_dir() else None))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    path = directory / "state.sqlite"
    state = open_state(path, *_ACCOUNTS, digester=Digester, clock=lambda: 1000.0)
    state.begin_run(1000.0)
    state.begin_session()
    state.record_listing(refs(*((b"uidl-%d" % number, 100 + number) for number in range(1, _MESSAGES + 1))))
    state.remember_mailbox(INBOX, MailboxMemory(7, 1, 300))
    rows = copy_all(state, *((state.row(number), mail(str(number))) for number in range(1, _MESSAGES)))
    state.commit([(rows[0]._replace(stage=Stage.RELEASING),)])
    state.index(INBOX, [(uid, fingerprint(mail(str(uid))).key.index, uid) for uid in range(1000, 1010)])
    answers = _answers(state)
    state.close()
    return path.read_bytes(), answers, path


def _answers(state: State) -> list[Any]:
    """Every value that a run decides by."""
    found: list[Any] = [state.row(number) for number in range(1, _MESSAGES + 1)]
    indexes = [fingerprint(mail(str(number))).key.index for number in (*range(1, _MESSAGES), *range(1000, 1010))]
    found += [state.lookup(INBOX, indexes), state.tally(), state.open_mailboxes(), state.mailbox(INBOX)]
    found.append(state.unknown_uids(INBOX, range(1, 1100)))
    return [*found, state.unplaced(INBOX), state.awaiting_proof(100, 0), state.settle_open()]


def _put(path: Path, octets: bytes) -> None:
    for one in path.parent.iterdir():
        if one.is_dir():
            shutil.rmtree(one)
        else:
            one.unlink()
    path.touch(0o600)
    path.write_bytes(octets)


# --- words of a person --------------------------------------------------------------------------


def words_of_a_person(data: bytes) -> None:
    """Endpoints, pins, references to secrets and whole command lines end with a value or UsageError."""
    text = data.decode("utf-8", "surrogateescape")
    for side in _SIDES:
        with suppress(UsageError):
            parse_secret_ref(text, side=side)
        with suppress(UsageError):
            _check_endpoint(parse_endpoint(text, side=side), side)
    with suppress(UsageError):
        assert len(parse_pin(text, option="--source-pin")) == 32
    _check_options(text.split("\n"))


def _check_endpoint(endpoint: Endpoint, side: Side) -> None:
    if endpoint.path is not None:
        assert endpoint.path.is_absolute()
        return
    assert endpoint.user
    assert endpoint.host == endpoint.host.lower()
    assert 1 <= endpoint.port <= 65535
    name = default_state_path(endpoint, endpoint).name
    assert "/" not in name
    assert len(name.encode()) <= 255
    if str(endpoint).isascii() and not set("%:/@\\") & set(endpoint.user) and "\\" not in str(endpoint):
        again = parse_endpoint(str(endpoint), side=side, allow_clear=True)
        assert str(again) == str(endpoint), "what is shown does not read as itself"


def _check_options(words: list[str]) -> None:
    code: object = 0
    try:
        with redirect_stdout(io.StringIO()):
            parse(words)
    except UsageError:
        return
    except SystemExit as end:
        code = end.code
    assert not code, "left with another code than that of --help"
