"""Passwords: from where, under which conditions, and never in a message."""

from __future__ import annotations

import io
import os
import pickle
import shlex
import sys
import types
from pathlib import Path

import pytest

from migrate.config import Keeper, SecretRef, get_secret, parse_secret_ref, secrets
from migrate.errors import UsageError
from migrate.model import Endpoint, Protocol, Tls

ALICE = Endpoint(Protocol.POP3, "alice@example.org", "pop.example.org", 995, Tls.IMPLICIT)
CANARY = "canary-5b1f-pässword"


def secret(text: str, **more: list[str]) -> str:
    return get_secret(parse_secret_ref(text, side="source"), ALICE, side="source", **more).reveal()


def refusal(text: str) -> UsageError:
    with pytest.raises(UsageError) as caught:
        secret(text)
    assert CANARY not in caught.value.what + caught.value.hint + repr(caught.value)
    assert "--source-password" in caught.value.what
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(CANARY + "\n", encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A command that does what its standard input file says: octets on stdout, exit code."""
    path = tmp_path / "keeper.py"
    path.write_text(
        "import os, sys\n"
        "sys.stdout.buffer.write(os.fsencode(sys.argv[1]).decode('unicode_escape').encode('latin-1'))\n"
        "sys.exit(int(sys.argv[2]) if len(sys.argv) > 2 else 0)\n"
    )
    return path


def command(program: Path, *arguments: str) -> str:
    return "cmd:" + shlex.join([sys.executable, str(program), *arguments])


@pytest.mark.parametrize(
    ("text", "ref"),
    [
        ("prompt", SecretRef(Keeper.PROMPT)),
        ("keyring", SecretRef(Keeper.KEYRING)),
        ("env:MAIL_PW", SecretRef(Keeper.ENV, "MAIL_PW")),
        ("file:/etc/x", SecretRef(Keeper.FILE, "/etc/x")),
        ("file:a:b", SecretRef(Keeper.FILE, "a:b")),
        ("cmd:pass show isp", SecretRef(Keeper.CMD, "pass show isp")),
    ],
)
def test_a_reference_means(text: str, ref: SecretRef) -> None:
    assert parse_secret_ref(text, side="source") == ref


@pytest.mark.parametrize("text", ["", CANARY, f"pass:{CANARY}", "env:", "file: ", "cmd:", f"env:A={CANARY}", "file:\0"])
def test_another_text_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(UsageError, match="--dest-password") as caught:
        parse_secret_ref(text, side="destination")
    assert CANARY not in caught.value.what + caught.value.hint


def test_a_reference_does_not_show_its_value() -> None:
    assert CANARY not in repr(SecretRef(Keeper.CMD, f"echo {CANARY}"))


def test_env_gives_the_variable_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PW", f" {CANARY} ")
    assert secret("env:MAIL_PW") == f" {CANARY} "


def test_a_missing_variable_is_named() -> None:
    assert "no variable POPFERRY_TEST_NONE" in refusal("env:POPFERRY_TEST_NONE").what


@pytest.mark.parametrize(
    ("value", "what"),
    [("", "empty"), (f"{CANARY}\r\nDELE 1", "line end"), (f"{CANARY}\n", "line end"), (CANARY + "\udcff", "not UTF-8")],
)
def test_a_password_that_no_server_takes_is_refused(value: str, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PW", value)
    assert what in refusal("env:MAIL_PW").what


def test_file_gives_its_first_line(file: Path) -> None:
    assert secret(f"file:{file}") == CANARY
    file.write_bytes(CANARY.encode() + b"\r\nsecond line\n")
    assert secret(f"file:{file}") == CANARY
    file.write_bytes(CANARY.encode())
    assert secret(f"file:{file}") == CANARY


def test_file_knows_the_home_directory(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(file.parent))
    assert secret(f"file:~/{file.name}") == CANARY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o610, 0o644, 0o777])
def test_a_file_that_others_can_use_is_refused(file: Path, mode: int) -> None:
    file.chmod(mode)
    error = refusal(f"file:{file}")
    assert "can be used by other users" in error.what
    assert "chmod 600" in error.hint


def test_a_file_of_another_user_is_refused(file: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    os.chown(file, 12345, -1)
    assert "belongs to another user" in refusal(f"file:{file}").what


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "empty"),
        (b"\n" + CANARY.encode(), "empty"),
        (b"a\0b\n", "NUL"),
        (b"a\rb\n", "line end"),
        (b"\xff\xfe\n", "not UTF-8"),
        (b"\xef\xbb\xbf" + CANARY.encode(), "byte order mark"),
        (b"x" * 20_000, "longer than"),
    ],
)
def test_a_file_with_another_content_is_refused(file: Path, content: bytes, what: str) -> None:
    file.write_bytes(content)
    assert what in refusal(f"file:{file}").what


def test_what_is_not_a_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refusal(f"file:{tmp_path / 'pipe'}").what
    assert "is not a file" in refusal(f"file:{tmp_path}").what
    assert "No such file" in refusal(f"file:{tmp_path / 'none'}").what


def test_cmd_gives_the_first_line_of_the_output(program: Path) -> None:
    assert secret(command(program, "s3cret word\\nlogin: alice\\n")) == "s3cret word"


def test_cmd_uses_no_shell(program: Path, tmp_path: Path) -> None:
    harm = tmp_path / "harm"
    assert secret(command(program, f"$(touch {harm}); touch {harm}")) == f"$(touch {harm}); touch {harm}"
    assert not harm.exists()


def test_a_command_that_fails_is_refused_without_its_output(program: Path, capfd: pytest.CaptureFixture[str]) -> None:
    error = refusal(command(program, "canary-5b1f-p\\xc3\\xa4ssword", "3"))
    assert "ended with code 3" in error.what
    assert CANARY not in "".join(capfd.readouterr())


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("cmd:/nonexistent/keeper show", "cannot be started: No such file"),
        ('cmd:pass "show', "not closed"),
        ("cmd:''", "cannot be started"),
    ],
)
def test_a_command_that_cannot_be_started_is_named(text: str, what: str) -> None:
    assert what in refusal(text).what


def test_a_command_that_hangs_is_ended(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_S", 0.2)
    hang = shlex.join([sys.executable, "-c", "import signal; signal.pause()"])
    assert "gave no answer" in refusal(f"cmd:{hang}").what


def test_a_command_does_not_inherit_the_variables_with_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PW", CANARY)
    show = "cmd:" + shlex.join([sys.executable, "-c", "import os; print(os.environ.get('MAIL_PW', 'none'))"])
    assert secret(show, withhold=["MAIL_PW"]) == "none"


def test_prompt_without_a_terminal_says_what_to_write(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(CANARY))
    error = refusal("prompt")
    assert "there is no terminal" in error.what
    assert "file:PATH" in error.hint
    monkeypatch.setattr(sys, "stdin", None)
    assert "there is no terminal" in refusal("prompt").what


def test_keyring_without_its_extra_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)
    assert 'pip install "popferry[keyring]"' in refusal("keyring").hint


class _KeyringError(Exception):
    pass


def _install_keyring(monkeypatch: pytest.MonkeyPatch, kept: dict[tuple[str, str], str]) -> None:
    """A keyring package with a few entries: the real one needs a desktop session."""
    package, errors = types.ModuleType("keyring"), types.ModuleType("keyring.errors")

    def get_password(service: str, account: str) -> str | None:
        if not kept:
            raise _KeyringError(CANARY)
        return kept.get((service, account))

    vars(package).update(get_password=get_password, errors=errors)
    vars(errors).update(KeyringError=_KeyringError)
    monkeypatch.setitem(sys.modules, "keyring", package)
    monkeypatch.setitem(sys.modules, "keyring.errors", errors)


def test_keyring_is_asked_for_the_account(monkeypatch: pytest.MonkeyPatch) -> None:
    _install_keyring(monkeypatch, {("popferry", "alice@example.org@pop.example.org"): CANARY})
    assert secret("keyring") == CANARY


def test_keyring_without_the_account_says_how_to_store_it(monkeypatch: pytest.MonkeyPatch) -> None:
    _install_keyring(monkeypatch, {("popferry", "bob"): CANARY})
    assert refusal("keyring").hint == "keyring set popferry alice@example.org@pop.example.org stores one."


def test_a_locked_keyring_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    _install_keyring(monkeypatch, {})
    assert "gave no answer" in refusal("keyring").what


def test_a_secret_is_not_shown_and_not_pickled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAIL_PW", CANARY)
    kept = get_secret(SecretRef(Keeper.ENV, "MAIL_PW"), ALICE, side="source")
    assert CANARY not in f"{kept} {kept!r} {[kept]}"
    with pytest.raises(TypeError):
        pickle.dumps(kept)
