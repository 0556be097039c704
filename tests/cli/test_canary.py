"""A password that nobody may see: a whole run with a real server leaves it in no output, argument list or file."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from ..support.dovecot import Dovecot

CANARY = "canary-61d0.Secret_word"
USER = "alice@example.org"
FORMS = [
    CANARY.encode(),
    quote(CANARY, safe="").encode(),
    CANARY.encode().hex().encode(),
    base64.b64encode(CANARY.encode()).rstrip(b"="),
    base64.b64encode(f"\0{USER}\0{CANARY}".encode()).rstrip(b"="),
]


def popferry(server: Dovecot, home: Path, *words: str, password: str = CANARY) -> subprocess.CompletedProcess[bytes]:
    secret = home / "password"
    secret.touch(mode=0o600)
    secret.write_text(password)
    command = [
        sys.executable, "-m", "migrate", "migrate",
        f"pop3s://{USER}@localhost:{server.pop3s_port}", f"imap://{USER}@localhost:{server.imap_port}/Copy",
        "--source-password", "env:SECRET", "--dest-password", f"file:{secret}", "--settle", "0",
        "--log-file", str(home / "log"), "--trace", str(home / "trace"), *words,
    ]  # fmt: skip
    environment = {**os.environ, "SECRET": password, "XDG_STATE_HOME": str(home), "SSL_CERT_FILE": str(server.ca_file)}
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, env=environment, cwd=root
    ) as process:
        arguments = Path(f"/proc/{process.pid}/cmdline")
        seen = arguments.read_bytes() if arguments.exists() else b""
        out, err = process.communicate(timeout=120)
    secret.unlink()
    files = b"".join(path.read_bytes() for path in home.rglob("*") if path.is_file())
    modes = {path: path.stat().st_mode & 0o077 for path in home.rglob("*")}
    for form in FORMS:
        assert form not in seen + out + err + files
    assert not [path for path, mode in modes.items() if mode]
    assert b"Traceback" not in err
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@pytest.mark.dovecot
@pytest.mark.parametrize("manner", [["-v"], ["--json", "-v"], ["-q"]], ids=" ".join)
def test_a_password_appears_nowhere(manner: list[str], tmp_path: Path) -> None:
    with Dovecot(password=CANARY) as server:
        server.deliver_many(USER, [b"Subject: %d\r\n\r\nText\r\n" % number for number in range(3)])
        done = popferry(server, tmp_path, *manner)
        assert done.returncode == 0, done.stderr
        assert (b"3  copied" in done.stdout) == (manner == ["-v"])
        assert (done.stdout + done.stderr == b"") == (manner == ["-q"])


@pytest.mark.dovecot
@pytest.mark.parametrize("manner", [["-v"], ["--json"]], ids=" ".join)
def test_a_refused_password_appears_nowhere(manner: list[str], tmp_path: Path) -> None:
    with Dovecot(password="another") as server:
        done = popferry(server, tmp_path, *manner)
    assert done.returncode == 20
    assert b"refused the login" in done.stderr
    assert done.stderr.splitlines()[-1].startswith(b"State: ")
