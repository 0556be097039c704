"""``popferry schedule``: what it prints is taken by systemd and cron, and what that starts makes a backup."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from migrate.cli.options import parse
from migrate.cli.schedule import Night, cron, night_of, page, service, timer
from migrate.errors import UsageError
from tests.support.dovecot import Dovecot
from tests.support.mailgen import generate

from .ferry import PATIENCE_S, ROOT
from .nightly import Nightly

SRC = "pop3s://alice@pop.example.org"
ODD = ("pop3s://a%20b%25c@pop.example.org", 'back "$HOME" up %i', "file:/home/a b/$pass%word")


def night(*words: str) -> Night:
    return night_of(parse(["schedule", *words]))


def command_of(lines: list[str]) -> list[str]:
    """The words of ExecStart, as systemd.service(5) says that they are read."""
    (line,) = (line for line in lines if line.startswith("ExecStart="))
    return [word.replace("$$", "$").replace("%%", "%") for word in shlex.split(line.removeprefix("ExecStart="))]


def verify(directory: Path, one: Night, *options: str) -> str:
    """What systemd itself has to say about the units."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed here")
    paths = [directory / f"{one.name}.service", directory / f"{one.name}.timer"]
    for path, lines in zip(paths, (service(one), timer(one)), strict=True):
        path.write_text("\n".join(lines) + "\n")
    done = subprocess.run(
        ["systemd-analyze", "verify", *options, *map(str, paths)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(directory)},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    return done.stdout + done.stderr + (f"code {done.returncode}" if done.returncode else "")


# --- what is printed --------------------------------------------------------------------------


@pytest.mark.parametrize("password", ["file:/home/alice/.pw", "cmd:cat /home/alice/.pw"])
@pytest.mark.parametrize("manager", ["--user", "--system"])
def test_systemd_finds_nothing_wrong_with_the_units(tmp_path: Path, manager: str, password: str) -> None:
    options = ["--system"] if manager == "--system" else []
    one = night(SRC, str(tmp_path), "--source-password", password, "--state", str(tmp_path / "s" / "x"), *options)
    assert verify(tmp_path, one, manager) == ""


def test_systemd_would_say_so(tmp_path: Path) -> None:
    one = night(SRC, str(tmp_path), "--source-password", "file:/x")
    broken = Night(one.source, one.root, ["/no/such/program"], one.writes, "25:99", is_system=True, has_command=False)
    said = verify(tmp_path, broken)
    assert "25:99" in said
    assert "/no/such/program" in said


@pytest.mark.parametrize("options", [[], ["--system"]])
def test_odd_names_mean_themselves_in_a_unit_and_in_a_crontab(tmp_path: Path, options: list[str]) -> None:
    source, directory, password = ODD
    one = night(source, str(tmp_path / directory), "--source-password", password, *options)
    wanted = ["backup", "-q", source, str(tmp_path / directory), "--source-password", password]
    assert command_of(list(service(one)))[-6:] == wanted
    assert verify(tmp_path, one) == ""
    line = cron(one)
    assert not re.search(r"(?<!\\)%", line), "cron ends the command there"
    assert shlex.split(line.replace("\\%", "%"))[-6:] == wanted


def test_the_units_are_of_the_user_or_of_the_system(tmp_path: Path) -> None:
    mine = list(page(night(SRC, str(tmp_path), "--source-password", "keyring")))
    assert re.fullmatch(r"# --- ~/\.config/systemd/user/popferry-alice-pop\.example\.org-\w{6}\.service", mine[0])
    assert any("systemctl --user" in line for line in mine)
    assert any("enable-linger" in line for line in mine)
    assert not any(line.startswith(("User=", "ProtectSystem", "ReadWritePaths")) for line in mine)
    state = tmp_path / "state" / "x.sqlite"
    words = ("--source-password", "file:pw", "--state", str(state), "--at", "23:05", "--system")
    system = list(page(night(SRC, str(tmp_path / "b"), *words)))
    assert re.fullmatch(r"# --- /etc/systemd/system/popferry-alice-pop\.example\.org-\w{6}\.service", system[0])
    for line in ("ProtectSystem=strict", f"ReadWritePaths={tmp_path / 'b'}", f"ReadWritePaths={state.parent}"):
        assert line in system
    assert "OnCalendar=*-*-* 23:05:00" in system
    assert any(line.startswith("5 23 * * *  ") for line in system)
    assert f"file:{Path('pw').absolute()}" in command_of(system)


def test_no_two_backups_have_the_same_unit(tmp_path: Path) -> None:
    host = "pop.example.org"
    sources = [f"pop3s://{user}@{host}" for user in ("jean_dupont", "jean-dupont", "jean%2Bdupont", "a" * 200)]
    sources += [f"{scheme}://jean-dupont@{host}" for scheme in ("imaps", "pop3")]
    sources += [f"imaps://jean-dupont@{host}/Sent", f"pop3s://{'a' * 199}b@{host}", f"pop3s://jean-dupont@{host}:1995"]
    nights = [night(one, str(tmp_path / where), "--source-password", "file:/x") for one in sources for where in "ab"]
    names = {one.name for one in nights}
    assert len(names) == 2 * len(sources)
    assert night(sources[0], str(tmp_path / "a"), "--source-password", "keyring").name in names, "it does not change"
    assert all(re.fullmatch(r"[A-Za-z0-9.-]{1,200}", name) for name in names)


def test_a_user_without_a_name_has_a_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 54321)  # as in a container, where nobody is in /etc/passwd
    one = night(SRC, str(tmp_path), "--source-password", "file:/pw", "--system")
    assert "User=54321" in list(page(one))
    assert verify(tmp_path, one) == ""
    mine = night(SRC, str(tmp_path), "--source-password", "file:/pw")
    assert any(line.endswith("loginctl enable-linger 54321") for line in page(mine))


def test_a_maildir_stays_one(tmp_path: Path) -> None:
    root = tmp_path / "Maildir"
    lines = list(page(night(SRC, f"maildir:{root}", "--source-password", "file:/pw", "--system")))
    assert f"maildir:{root}" in command_of(lines)
    assert f"ReadWritePaths={root}" in lines


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([SRC, "/b"], "nobody is there at night"),
        ([SRC, "/b", "--source-password", "env:PW"], "do not have this variable"),
        ([SRC, "/b", "--source-password", "keyring", "--system"], "only while you are logged in"),
        (["mbox:/x", "/b", "--source-password", "file:/x"], "POP3 or IMAP account"),
        ([SRC, "imaps://a@b", "--source-password", "file:/x"], "expected a directory"),
        ([SRC, "/b", "--source-password", "file:/x", "--at", "24:00"], "a time like 03:15"),
        ([SRC, "/b", "--source-password", "secret"], "expected prompt"),
    ],
)
def test_what_could_not_run_at_night_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        night(*words)


# --- what is started --------------------------------------------------------------------------


@pytest.fixture
def nightly(tmp_path: Path, dovecot: Dovecot, user: str) -> Nightly:
    made = Nightly(tmp_path, dovecot, user)
    secret = tmp_path / "pass word"
    secret.write_text(dovecot.password + "\n")
    secret.chmod(0o600)
    return made


def of(nightly: Nightly, *options: str) -> Night:
    secret = nightly.root.with_name("pass word")
    return night(nightly.ferry.source, str(nightly.root), "--source-password", f"file:{secret}", *options)


def run(nightly: Nightly, words: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, env=nightly.ferry.environment, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


@pytest.mark.dovecot
def test_the_line_for_cron_makes_a_backup_and_speaks_only_of_trouble(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(50, 4, odd=0)))
    command = cron(of(nightly)).split("  ", 1)[1].replace("\\%", "%")
    done = run(nightly, ["/bin/sh", "-c", command])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert nightly.kept() == Counter(served)
    nightly.root.with_name("pass word").unlink()
    done = run(nightly, ["/bin/sh", "-c", command])
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot be read" in done.stderr


@pytest.mark.dovecot
def test_the_service_needs_no_system_call_that_its_unit_forbids(nightly: Nightly, tmp_path: Path) -> None:
    if not shutil.which("strace") or not shutil.which("systemd-analyze"):
        pytest.skip("strace or systemd-analyze is not installed here")
    served = nightly.deliver(list(generate(51, 4, odd=0)))
    trace = tmp_path / "trace"
    one = of(nightly, "--system")
    done = run(nightly, ["strace", "-f", "-qq", "-o", str(trace), *command_of(list(service(one)))])
    if "ptrace" in done.stderr:
        pytest.skip("nobody may trace here")
    assert (done.returncode, nightly.kept()) == (0, Counter(served))
    used = set(re.findall(r"^\d+ +(\w+)\(", trace.read_text(errors="replace"), re.MULTILINE))
    assert {"openat", "fsync", "connect"} < used
    assert used - allowed("@system-service") == set()
    assert "mount" not in allowed("@system-service")


def allowed(group: str) -> set[str]:
    """The system calls of a group, with those of the groups in it."""
    said = subprocess.run(["systemd-analyze", "syscall-filter", group], capture_output=True, text=True, check=True)
    names = {line.strip() for line in said.stdout.splitlines()[1:] if line.strip() and "#" not in line}
    return names.union(*(allowed(name) for name in names if name.startswith("@")))


@pytest.mark.dovecot
def test_the_service_writes_nowhere_but_where_its_unit_lets_it(nightly: Nightly) -> None:
    served = nightly.deliver(list(generate(52, 4, odd=0)))
    nightly.root.mkdir()
    one = of(nightly, "--system")
    unit = list(service(one))
    assert "ProtectSystem=strict" in unit
    paths = [
        line.partition("=")[2].strip('"').replace("%%", "%") for line in unit if line.startswith("ReadWritePaths=")
    ]
    # As ProtectSystem=strict and ReadWritePaths= do it: every file system for reading only, but for these.
    writable = "".join(
        f"mount --bind {word} {word} && mount -o remount,bind,rw {word} && " for word in map(shlex.quote, paths)
    )
    outside = shlex.quote(str(nightly.root.with_name("outside")))
    sandbox = (
        "mount --make-rprivate / && for m in $(awk '{print $5}' /proc/self/mountinfo); do "
        "case $m in /proc*|/sys*|/dev*) ;; *) mount -o remount,bind,ro $m || exit 99 ;; esac; done && "
        f'{writable} ! touch {outside} 2>/dev/null && exec "$@"'
    )
    done = run(nightly, ["unshare", "-m", "sh", "-c", sandbox, "sh", *command_of(unit)])
    if done.returncode == 99 or "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip("no file systems of one's own here: needs root")
    assert (done.returncode, done.stderr) == (0, "")
    assert nightly.kept() == Counter(served)
