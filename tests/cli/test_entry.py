"""The command line: usage errors, help, version; no traceback, no secret, nothing heavy imported."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from migrate import __version__
from migrate.cli import entry
from migrate.cli.backup import backup_of, restoration_of
from migrate.cli.migrate import job_of
from migrate.cli.options import parse
from migrate.config import Job, default_state_path
from migrate.errors import EXIT_PRECEDENCE, Exit, UsageError
from migrate.model import INBOX, Dedupe, MailboxName, Mark, Policy, Verify
from migrate.rules.choose import Chosen

SRC, DST = "pop3s://alice@pop.example.org", "imaps://bob@imap.example.org"
CANARY = "hunter2-canary"
HEAVY = ("imapclient", "tqdm", "dateutil", "xxhash", "ssl", "sqlite3", "platformdirs", "truststore", "logging")


def popferry(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "migrate", *words],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **more},
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["migrate", "--help"],
        ["backup", "--help"],
        ["restore", "--help"],
        ["verify", "--help"],
        ["prune", "--help"],
        ["schedule", "--help"],
        ["rebuild", "--help"],
        ["status", "--help"],
        ["--version"],
    ],
)
def test_help_imports_nothing_heavy(words: list[str]) -> None:
    code = (
        "import sys\n"
        "from migrate.cli import entry\n"
        f"try:\n    entry.run({words!r})\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
    )
    assert said_by(code) == "[]"


def said_by(code: str) -> str:
    """What this program says on stderr."""
    # Coverage, when it measures, imports some of what is looked for itself.
    bare = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=bare)
    return done.stderr.strip()


def test_imapclient_is_imported_only_for_a_session_that_needs_it() -> None:
    code = "import sys, migrate.cli.backup, migrate.driver.job\nprint('imapclient' in sys.modules, file=sys.stderr)\n"
    assert said_by(code) == "False"


@pytest.mark.parametrize(
    "words",
    [[], *([name] for name in ("migrate", "backup", "restore", "verify", "rebuild", "status"))],
    ids=lambda words: " ".join(words) or "popferry",
)
def test_help_lists_every_exit_code(words: list[str]) -> None:
    done = popferry(*words, "--help")
    assert done.returncode == 0
    codes = re.findall(r"^ +(\d+)  \S", done.stdout, re.MULTILINE)
    assert [int(code) for code in codes] == [int(code) for code in Exit]
    order = ", ".join(str(int(code)) for code in EXIT_PRECEDENCE)
    assert f"the first of {order};" in done.stdout


@pytest.mark.parametrize("words", [["--version"], ["migrate", "--version"]])
def test_version(words: list[str]) -> None:
    assert popferry(*words).stdout == f"popferry {__version__}\n"


# words, a part of the first line, a part of the second
WRONG: list[tuple[list[str], str, str]] = [
    (
        [],
        "expected a command: migrate, backup, restore, verify, prune, schedule, rebuild or status.",
        "popferry --help",
    ),
    (["migarte", SRC, DST], "the first word is not a command", "Did you mean migrate?"),
    (["xyzzy"], "the first word is not a command", "popferry migrate SOURCE DEST"),
    (
        ["doctor", SRC],
        "popferry doctor is not there yet",
        "migrate, backup, restore, verify, prune, schedule, rebuild and status",
    ),
    (["backup", SRC], "expected DIR", "popferry backup --help"),
    (["backup", SRC, "d", "--delete-after", "verified"], "there is no option --delete-after", ""),
    (["backup", SRC, "d"], "--source-password: there is no terminal", "file:PATH"),
    (["restore", __file__, DST], "--dest-password: there is no terminal", "file:PATH"),
    (["migrate"], "expected SOURCE and DEST", "popferry migrate --help"),
    (["migrate", SRC], "expected DEST", "popferry migrate --help"),
    (["migrate", SRC, DST, "one", "more"], "one argument too many", "popferry migrate --help"),
    (["migrate", SRC, DST, "--dryrun"], "there is no option --dryrun", "Did you mean --dry-run?"),
    (["migrate", SRC, DST, "--delete"], "there is no option --delete", ""),
    (["migrate", SRC, DST, "--limit"], "--limit: expected one argument", ""),
    (["migrate", SRC, DST, "--limit", "0"], "--limit: expected a whole number from 1 up, got 0", ""),
    (["migrate", SRC, DST, "--limit", "many"], "--limit: expected a whole number from 1 up, got many", ""),
    (["migrate", SRC, DST, "--connections", "33"], "--connections: expected a whole number from 1 to 32", ""),
    (
        ["migrate", SRC, "mbox:./d", "--connections", "4"],
        "--connections is for servers; files are written by one",
        "Leave",
    ),
    (
        ["restore", str(Path(__file__).parent), "maildir:./d", "--connections", "2"],
        "--connections is for servers",
        "Leave",
    ),
    (["migrate", SRC, DST, "--settle", "nan"], "--settle: expected seconds from 0 to 86400, got nan", ""),
    (["migrate", SRC, DST, "--settle", "-1"], "--settle: expected", ""),
    (["migrate", SRC, DST, "--delete-after", "now"], "--delete-after: expected verified, or days like 30d", ""),
    (["migrate", SRC, DST, "--delete-after", "0d"], "--delete-after: expected verified, or days like 30d", ""),
    (["migrate", SRC, DST, "--max-delete", "5"], "--max-delete limits --delete-after", ""),
    (["migrate", SRC, DST, "--dedupe", "uidl"], "--dedupe: expected content or message-id or off, got uidl", ""),
    (["migrate", SRC, DST, "--mark", "read"], "--mark: expected seen or unseen or auto, got read", ""),
    (["migrate", SRC, DST, "--verify", "no"], "--verify: expected sample or full, got no", ""),
    (["migrate", SRC, DST, "-q", "-v"], "--verbose: not allowed with --quiet", ""),
    (["migrate", SRC, f"{DST}/A", "--folder", "B"], "--folder and a folder in DEST cannot stand together", "Take one"),
    (["migrate", SRC, DST, "--folder", "a//b"], "--folder: expected a name", ""),
    (["migrate", SRC, DST, "--folder", ""], "--folder: expected a name", ""),
    (["migrate", SRC, DST, "--source-pin", "ab"], "--source-pin: expected sha256:", "openssl"),
    (["migrate", "pop3+insecure://a@localhost", DST, "--source-pin", "sha256:" + "ab" * 32], "without TLS", ""),
    (["migrate", SRC, DST, "--state", ""], "--state: expected the name of a file", ""),
    (["migrate", "alice@gmail.com", DST], "SOURCE: an address alone", "pop3s://ADDRESS@SERVER"),
    (["migrate", DST, SRC], "DEST: a POP3 server takes no mail", "imaps://"),
    (["migrate", DST, DST, "--delete-after", "verified"], "nothing is deleted from an IMAP account", "yourself"),
    *(
        ([name, DST, more], "SOURCE and DEST are the same account", "From one folder of it into another")
        for name in ("migrate", "verify", "rebuild")
        for more in (DST, f"{DST}/Copy")
    ),
    (["migrate", f"{DST}/A", f"{DST.replace('imap.', 'IMAP.')}/A"], "are the same account", "write both"),
    *(
        (["migrate", f"{pop}://ann@{one}", f"imaps://ann@{other}/INBOX"], "are the same mailbox", "another folder")
        for pop, one, other in (
            ("pop3s", "mail.example.org", "Mail.example.org"),
            ("pop3", "pop3.example.org", "imap.example.org"),
        )
    ),
    (["migrate", SRC, DST], "--source-password: there is no terminal", "file:PATH"),
    (["migrate", SRC, DST, "--source-password", "env:POPFERRY_NONE"], "no variable POPFERRY_NONE", ""),
    (["migrate", SRC, DST, "--log-file", "/nonexistent/x"], "--log-file: /nonexistent/x cannot be written", ""),
    (["verify"], "expected SOURCE", "popferry verify --help"),
    (["verify", SRC, DST, "--delete-after", "verified"], "there is no option --delete-after", ""),
    (["verify", SRC, DST, "--dry-run"], "there is no option --dry-run", "popferry verify --help"),
    (["verify", SRC, f"{DST}/A", "--folder", "B"], "--folder and a folder in DEST cannot stand together", "Take one"),
    (["verify", SRC, DST], "--source-password: there is no terminal", "file:PATH"),
    *(
        (
            ["verify", place, *words],
            f"{words[0].partition('=')[0]} is for comparing two accounts",
            "popferry verify DIR",
        )
        for place, *words in (
            (SRC, "--source-password", "prompt"),
            ("DIR", "--dest-password=env:A"),
            ("DIR", "--source-pin", "nonsense"),
            ("DIR", "--dest-pin", "nonsense"),
            ("DIR", "--send-password-in-clear"),
            ("DIR", "--state", "S"),
            ("DIR", "--folder", "X"),
            ("DIR", "--dedupe", "content"),
            ("DIR", "--trace", "F"),
        )
    ),
    (["prune", "DIR", "--keep", "1", "--trace", "F"], "there is no option --trace", "popferry prune --help"),
    (["rebuild", SRC], "expected DEST", "popferry rebuild --help"),
    (["rebuild", SRC, DST, "--limit", "3"], "there is no option --limit", ""),
    (["rebuild", SRC, DST, "--settle", "-1"], "--settle: expected", ""),
    (["status", SRC], "expected SOURCE and DEST, or neither", ""),
    (["status", SRC, DST, "--state", "x"], "not both", ""),
    (["status", "--rebind", "a", "b"], "--rebind needs to know which state file", ""),
]


@pytest.mark.parametrize(("words", "what", "hint"), WRONG, ids=[" ".join(row[0])[:80] for row in WRONG])
def test_a_usage_error_is_code_2_and_a_plain_sentence(
    words: list[str], what: str, hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert entry.run(words) is Exit.USAGE
    out, err = capsys.readouterr()
    lines = [*err.splitlines(), ""]
    assert out == ""
    assert lines[0].startswith("popferry: ")
    assert what.lower() in lines[0].lower()
    assert hint in lines[1]
    assert len(lines) <= 3
    assert lines[0].endswith((".", "?"))


@pytest.mark.parametrize(
    "words",
    [
        ["migrate", f"pop3s://alice:{CANARY}@pop.example.org", DST],
        ["migrate", SRC, f"imaps://alice:{CANARY}@imap.example.org"],
        ["migrate", SRC, DST, "--source-password", CANARY],
        ["migrate", SRC, DST, f"--dest-password={CANARY}"],
        ["migrate", SRC, DST, "--password", CANARY],
        ["migrate", SRC, DST, f"--password={CANARY}"],
        ["migrate", SRC, DST, f"-p{CANARY}"],
        ["migrate", SRC, DST, "-p", CANARY],
        ["migrate", "--password", CANARY, SRC, DST],
        ["migrate", SRC, DST, CANARY],
        [CANARY, SRC, DST],
        ["--password", CANARY, "migrate", SRC, DST],
        ["status", SRC, DST, CANARY],
    ],
)
def test_a_password_on_the_command_line_is_refused_and_not_repeated(words: list[str]) -> None:
    done = popferry(*words)
    assert done.returncode == 2
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_an_option_that_looks_like_a_password_is_answered_with_the_right_ones() -> None:
    with pytest.raises(UsageError, match="no option --passwd") as caught:
        parse(["migrate", SRC, DST, "--passwd", CANARY])
    assert "--source-password" in caught.value.hint


def test_text_of_the_command_line_is_shown_safely() -> None:
    done = popferry("migrate", SRC, DST, "--dedupe", "\x1b[31mred")
    assert "\x1b" not in done.stderr
    assert r"got \x1b[31mred" in done.stderr


def test_without_options_the_job_is_the_careful_one() -> None:
    job = job_of(parse(["migrate", SRC, DST]))
    assert job.policy == Policy()
    assert job.policy.delete_after_s is None
    assert (job.allow_clear, job.trace_path, job.log_path) == (False, None, None)


def test_every_option_reaches_the_job(tmp_path: Path) -> None:
    words = (
        f"migrate {SRC} {DST} --state {tmp_path}/s --dry-run --folder Old/2020 --delete-after 30d --dedupe message-id "
        f"--mark seen --verify full --max-delete 7 --connections 4 --limit 9 --source-pin sha256:{'ab' * 32} "
        f"--dest-pin sha256:{'cd' * 32} --json --trace {tmp_path}/t --log-file {tmp_path}/l -v --no-progress "
        "--accept-missing --settle 0.5 --source-password env:A --dest-password file:b --send-password-in-clear"
    )
    job = job_of(parse(words.split()))
    assert job.policy == Policy(
        mailbox=MailboxName(("Old", "2020")),
        dedupe=Dedupe.MESSAGE_ID,
        mark=Mark.SEEN,
        verify=Verify.FULL,
        delete_after_s=30 * 86400,
        max_delete=7,
        limit=9,
        lanes=4,
        settle_s=0.5,
        accept_missing=True,
        dry_run=True,
    )
    assert (job.source.pin, job.dest.pin) == (b"\xab" * 32, b"\xcd" * 32)
    assert (job.state_path, job.trace_path, job.log_path) == (tmp_path / "s", tmp_path / "t", tmp_path / "l")
    assert job.allow_clear
    assert job.secret_variables == {"A"}


@pytest.mark.parametrize(
    ("words", "mailbox"),
    [
        ([DST], INBOX),
        ([f"{DST}/Archive"], MailboxName(("Archive",))),
        ([DST, "--folder", "Archive"], MailboxName(("Archive",))),
        ([DST, "--folder", "a%2Fb/c"], MailboxName(("a/b", "c"))),
        ([f"{DST}/", "--folder", "inbox"], INBOX),
    ],
)
def test_the_folder_comes_from_the_option_or_from_dest(words: list[str], mailbox: MailboxName) -> None:
    assert job_of(parse(["migrate", SRC, *words])).policy.mailbox == mailbox


@pytest.mark.parametrize("command", ["verify", "rebuild"])
def test_what_only_a_migration_asks_for_is_as_in_one_without_options(command: str) -> None:
    words = [command, SRC, f"{DST}/Old", "--dedupe", "off", "--state", "/x/s"]
    job = job_of(parse(words))
    assert job.policy == Policy(mailbox=MailboxName(("Old",)), dedupe=Dedupe.OFF)
    assert job.state_path == Path("/x/s")


def test_clear_text_to_another_machine_needs_the_option_that_says_so() -> None:
    words = ["migrate", "pop3+insecure://alice@pop.example.org", DST]
    with pytest.raises(UsageError, match="clear text"):
        job_of(parse(words))
    assert job_of(parse([*words, "--send-password-in-clear"])).allow_clear


def test_an_interrupted_prompt_is_code_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupt(prompt: str) -> str:
        raise KeyboardInterrupt

    class Keyboard:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Keyboard())
    monkeypatch.setattr("getpass.getpass", interrupt)
    assert entry.run(["migrate", SRC, DST]) is Exit.INTERRUPTED
    assert "Nothing was done" in capsys.readouterr().err


def test_a_backup_copies_everything_and_has_everything_served_back(tmp_path: Path) -> None:
    job = backup_of(parse(["backup", SRC, str(tmp_path / "b")]))
    assert job.policy == Policy(dedupe=Dedupe.OFF, verify=Verify.FULL, settle_s=0.0)
    assert (job.dest.path, job.layout, job.wanted) == (tmp_path / "b", "month", None)
    assert job.state_path.parent == tmp_path / "b" / ".popferry"


def test_every_option_of_a_backup_reaches_the_job(tmp_path: Path) -> None:
    words = (
        f"backup {SRC} {tmp_path}/b --state {tmp_path}/s --dry-run --layout year --dedupe content --limit 3 "
        f"--accept-missing --source-pin sha256:{'ab' * 32} --source-password env:A -q --log-file {tmp_path}/l"
    )
    job = backup_of(parse(words.split()))
    wanted = Policy(verify=Verify.FULL, settle_s=0.0, limit=3, accept_missing=True, dry_run=True)
    assert job.policy == wanted
    assert (job.layout, job.state_path, job.source.pin) == ("year", tmp_path / "s", b"\xab" * 32)
    assert job.secret_variables == {"A"}


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Moves this process into a zone; afterwards it is at home again."""

    def move(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield move
    monkeypatch.undo()
    time.tzset()


def restored_with(path: Path, *options: str) -> Job:
    (path / "2026-11.mbox").touch()
    return restoration_of(parse(["restore", str(path), DST, *options]))


def test_a_choice_has_the_same_state_file_in_every_zone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: Callable[[str], None]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    choices = [
        ("--since", "2026-01-01"),
        ("--before", "2026-01-01"),
        ("--since", "2026-01-01", "--from", "ada"),
        ("--subject", "ada"),
        ("--subject", os.fsdecode(b"\xff")),
        ("--message-id", "ada"),
    ]
    zone("UTC")
    paths = [restored_with(tmp_path, *choice).state_path for choice in choices]
    assert len(set(paths)) == len(choices)
    zone("Europe/Paris")
    assert [restored_with(tmp_path, *choice).state_path for choice in choices] == paths


def test_a_state_file_with_the_zone_in_its_name_goes_on_being_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zone: Callable[[str], None]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    zone("Europe/Paris")
    named = (
        "Chosen(since=datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone("
        "datetime.timedelta(seconds=3600), 'CET')), before=None, sender=\"o'b\", subject=None, message_id=None)"
    )
    choice = ("--since", "2026-01-01", "--from", "o'b")
    job = restored_with(tmp_path, *choice)
    old = default_state_path(job.source, job.dest, named)
    assert job.state_path != old
    old.parent.mkdir(parents=True)
    old.touch()
    assert restored_with(tmp_path, *choice).state_path == old
    job.state_path.touch()
    assert restored_with(tmp_path, *choice).state_path == job.state_path


@pytest.mark.parametrize("name", ["UTC", "Pacific/Kiritimati", "America/New_York"])
@pytest.mark.parametrize("day", ["0001-01-01", "9999-12-31"])
def test_the_first_and_the_last_day_can_be_chosen(
    tmp_path: Path, zone: Callable[[str], None], name: str, day: str
) -> None:
    zone(name)
    when = datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-12)))
    for option, is_meant in (("--since", day < "2"), ("--before", day > "2")):
        wanted = restored_with(tmp_path, option, day).wanted
        assert wanted is not None
        assert wanted(b"", when) is is_meant


def test_every_option_of_a_restoration_reaches_the_job(tmp_path: Path) -> None:
    (tmp_path / "2026-11.mbox").touch()
    words = (
        f"restore {tmp_path} {DST} --dry-run --since 2026-01-31 --before 2026-02-01 --from ada --subject x "
        "--message-id y --folder Old --dedupe off --connections 2 --settle 1 --dest-password env:B"
    )
    job = restoration_of(parse(words.split()))
    old = MailboxName(("Old",))
    assert (job.policy.mailbox, job.policy.root, job.policy.keeps_mailboxes) == (old, old, True)
    assert (job.policy.dedupe, job.policy.lanes, job.policy.settle_s, job.policy.dry_run) == (Dedupe.OFF, 2, 1.0, True)
    assert job.source.path == tmp_path
    assert isinstance(job.wanted, Chosen)
    assert (job.wanted.sender, job.wanted.subject, job.wanted.message_id) == ("ada", "x", "y")
    since, before = job.wanted.since, job.wanted.before
    assert since is not None
    assert before is not None
    assert since.isoformat()[:19] == "2026-01-31T00:00:00"
    assert since.utcoffset() is not None
    assert (before - since).days == 1
    assert job.state_path != restoration_of(parse(["restore", str(tmp_path), DST])).state_path
