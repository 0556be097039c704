"""The demo: a private mail server, an old POP3 account, one migration killed in the middle and resumed, and the proof.

Everything stays on 127.0.0.1, in directories that are removed at the end. The proof does not use popferry's own
code: it reads both accounts with the raw clients of ``tests/support`` and compares with the octets that were loaded.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.support.dovecot import Dovecot, find_dovecot  # noqa: E402
from tests.support.embedded import Embedded  # noqa: E402
from tests.support.mailgen import generate, odd_messages  # noqa: E402
from tests.support.relay import Relay  # noqa: E402
from tests.support.server import MailServer  # noqa: E402

MESSAGES = 500
SEED = 2026
FOLDER = "Old account"
OLD, NEW = "ada@old.example", "ada@new.example"
PASSWORD = "canary-7f3a"
PATIENCE_S = 120


def main() -> int:
    title("A private mail server")
    with private_server() as server, tempfile.TemporaryDirectory(prefix="pf-demo-") as scratch:
        say(f"Started {server.name} on 127.0.0.1: POP3 and IMAP over TLS, with a certificate made for this minute.")
        loaded = load(server)
        # The cable to the destination stops carrying after about a third of the mail: the moment for the kill.
        with Relay(server.imaps_port, hold_sent=sum(map(len, loaded)) // 3) as cable:
            command = migrate_command(server, cable.port, Path(scratch) / "state.sqlite")
            environment = child_environment(server)
            kill_in_the_middle(server, cable, command, environment, len(loaded))
            title("The same command again")
            if not runs_well(command, environment):
                return 1
            title("And once more, to see that nothing is left to do")
            if not runs_well(command, environment):
                return 1
        return prove(server, loaded)


def private_server() -> Dovecot | Embedded:
    if find_dovecot() is not None:
        return Dovecot(password=PASSWORD, rawlog=True)
    say("Dovecot is not here. The server embedded in popferry's tests takes its place: it is not a real one.")
    return Embedded(password=PASSWORD)


def load(server: MailServer) -> list[bytes]:
    title("An old account")
    odd = list(odd_messages(SEED).values())
    usual = generate(SEED, MESSAGES - len(odd), odd=0)
    loaded = [server.served(octets) for octets in [*usual, *odd]]
    server.deliver_many(OLD, loaded)
    server.deliver_many(NEW, [])
    say(f"{len(loaded)} messages, {megabytes(sum(map(len, loaded)))}.")
    say(f"{len(odd)} of them are as odd as real mail gets: a line of a million octets, NULs, lone dots,")
    say("bare CRs, no header, no body, broken dates, Message-IDs that repeat, identical twins.")
    return loaded


def migrate_command(server: MailServer, imaps_port: int, state: Path) -> list[str]:
    return [
        *(str(Path(sys.executable).parent / "popferry"), "migrate"),
        f"pop3s://{OLD}@localhost:{server.pop3s_port}",
        f"imaps://{NEW}@localhost:{imaps_port}/{FOLDER}",
        *("--source-password", "env:OLD_PASSWORD", "--dest-password", "env:NEW_PASSWORD"),
        *("--dedupe", "off", "--verify", "full", "--settle", "2", "--state", str(state)),
    ]


def child_environment(server: MailServer) -> dict[str, str]:
    secrets = {"OLD_PASSWORD": PASSWORD, "NEW_PASSWORD": PASSWORD}
    return {**os.environ, **secrets, "SSL_CERT_FILE": str(server.ca_file), "PYTHONUNBUFFERED": "1"}


def kill_in_the_middle(
    server: MailServer, cable: Relay, command: list[str], environment: dict[str, str], count: int
) -> None:
    title("The migration, killed in the middle")
    show(command)
    process = subprocess.Popen(command, env=environment, stderr=subprocess.STDOUT)
    try:
        if not cable.is_holding.wait(PATIENCE_S):
            raise RuntimeError("the migration did not get as far as a third of the mail")
    finally:
        process.kill()
        process.wait()
    cable.cut()
    stored = len(server.stored(NEW, FOLDER))
    say(f"\nKilled with SIGKILL. At that moment the destination holds {stored} of {count} messages,")
    say("and may still be storing what it had received.")


def runs_well(command: list[str], environment: dict[str, str]) -> bool:
    say("$ popferry migrate ...")
    code = subprocess.run(
        command, env=environment, stderr=subprocess.STDOUT, timeout=PATIENCE_S, check=False
    ).returncode
    if code != 0:
        say(f"That should have ended with exit code 0; it ended with {code}.")
    return code == 0


def prove(server: MailServer, loaded: list[bytes]) -> int:
    title("The proof, message by message")
    expected = Counter(map(server.kept, loaded))
    found = Counter(message.octets for message in server.stored(NEW, FOLDER))
    missing, extra = expected - found, found - expected
    doubled = sum((extra & Counter(dict.fromkeys(expected, len(loaded)))).values())
    altered = sum(server.kept(octets) != octets for octets in loaded)
    is_source_whole = [octets for _, octets in server.served_pop3(OLD)] == loaded
    deletions = server.commands(OLD).upper().count(b"DELE ")
    rows = [
        (len(loaded), "messages loaded into the old account"),
        (found.total(), "messages in the new one, read with another client than popferry's"),
        (missing.total(), "missing"),
        (doubled, "there twice"),
        (extra.total() - doubled, f"altered otherwise than {server.name} does itself"),
        (altered, f"of them without a NUL or a CR that {server.name} keeps for nobody"),
        (deletions, "deletions asked of the old account"),
    ]
    for number, meaning in rows:
        say(f"{number:>7,}  {meaning}")
    if missing or extra or deletions or not is_source_whole:
        say("This is not what should have happened.")
        return 1
    say("Every message is there exactly once, and the old account is as it was.")
    return 0


def title(text: str) -> None:
    print(f"\n== {text}\n", flush=True)


def say(text: str) -> None:
    print(text, flush=True)


def show(command: list[str]) -> None:
    """The command as one would type it, the options by pairs on lines of their own."""
    words = [shlex.quote(word) for word in ["popferry", *command[1:]]]
    say("$ " + " ".join(words[:2]))
    for start in range(2, len(words), 2):
        say("    " + " ".join(words[start : start + 2]))


def megabytes(octets: int) -> str:
    return f"{octets / 1_000_000:.1f} MB"


if __name__ == "__main__":
    sys.exit(main())
