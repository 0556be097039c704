"""2: a command line, a configuration or a secret reference that is wrong. Told before anything is done."""

from __future__ import annotations

import os
import sys

import pytest

from .canary import SOURCE
from .conftest import MakeEnds, Popferry

POP, IMAP = "pop3s://alice@pop.example.org", "imaps://bob@imap.example.org"

# The words after the program's name, what was wrong, what to do.
WRONG: dict[str, tuple[list[str], list[str]]] = {
    "nothing": ([], ["expected a command: migrate", "popferry --help"]),
    "a misspelt command": (["migrat", POP, IMAP], ["not a command", "Did you mean migrate?"]),
    "a command to come": (["doctor", POP], ["popferry doctor is not there yet", "migrate"]),
    "no endpoint": (["migrate"], ["expected SOURCE and DEST", "popferry migrate --help"]),
    "one endpoint": (["migrate", POP], ["expected DEST"]),
    "three endpoints": (["migrate", POP, IMAP, POP], ["one argument too many"]),
    "a misspelt option": (
        ["migrate", POP, IMAP, "--setle", "1"],
        ["there is no option --setle", "Did you mean --settle?"],
    ),
    "an abbreviated option": (["migrate", POP, IMAP, "--fold", "A"], ["there is no option --fold", "--folder"]),
    "both quiet and verbose": (["migrate", POP, IMAP, "-q", "-v"], ["not allowed with"]),
    "mbox without a path": (["migrate", POP, "mbox:"], ["DEST: expected a path behind mbox:", "mbox:./mail"]),
    "deletion from files": (
        ["migrate", "mbox:/backup", IMAP, "--delete-after", "verified"],
        ["--delete-after: nothing is ever deleted from files"],
    ),
    "files into themselves": (
        ["migrate", "mbox:/backup/INBOX", "mbox:/backup"],
        ["SOURCE and DEST are the same files"],
    ),
    "no directory for a backup": (["backup", POP, ""], ["DIR: expected a directory", "like ~/mail-backup"]),
    "a backup into an account": (["backup", POP, IMAP], ["DIR: expected a directory"]),
    "no backup to restore": (["restore", "/nonexistent/backup", IMAP], ["there is no backup /nonexistent/backup"]),
    "no backup to verify": (["verify", "/nonexistent/backup"], ["there is no backup /nonexistent/backup"]),
    "a directory without a backup": (["verify", os.path.dirname(__file__)], ["there is no backup /"]),
    "one account to verify": (["verify", POP], ["expected DEST, or the directory of a backup"]),
    "no day": (["restore", "/", IMAP, "--since", "soon"], ["--since: expected a day like 2026-11-26, got soon"]),
    "no layout": (["backup", POP, "d", "--layout", "day"], ["--layout: expected month or year or one, got day"]),
    "a layout of a Maildir": (["backup", POP, "maildir:d", "--layout", "year"], ["--layout is for mbox files"]),
    "a compressed Maildir": (["backup", POP, "maildir:d", "--compress"], ["--compress is for mbox files"]),
    "an encrypted Maildir": (
        ["backup", POP, "maildir:d", "--encrypt-to", "age1x"],
        ["--encrypt-to is for mbox files"],
    ),
    "nobody to encrypt to": (
        ["backup", POP, "d", "--encrypt-to", "alice"],
        ["--encrypt-to: expected a public key (age1...) or a file of them; alice:", "age-keygen -o FILE"],
    ),
    "no identity": (["verify", os.path.dirname(__file__), "--identity", "/nonexistent"], ["there is no backup /"]),
    "a Maildir to prune": (
        ["prune", "maildir:d", "--keep", "12"],
        ["prune is for mbox files", "What is deleted there is missing"],
    ),
    "no Maildir to verify": (["verify", "maildir:/nonexistent/m"], ["there is no backup /nonexistent/m", "migrate"]),
    "deletion from a Maildir": (
        ["migrate", "maildir:./Maildir", IMAP, "--delete-after", "verified"],
        ["nothing is ever deleted from files"],
    ),
    "an unknown scheme": (
        ["migrate", "http://pop.example.org", IMAP],
        ["SOURCE: http:// is not known", "Write it like pop3s://"],
    ),
    "a misspelt scheme": (
        ["migrate", POP, "imapss://bob@imap.example.org"],
        ["DEST: imapss:// is not known", "Did you mean imaps://?"],
    ),
    "one slash": (["migrate", "pop3s:alice@pop.example.org", IMAP], ["SOURCE: expected pop3s:// with two slashes"]),
    "an address alone": (["migrate", "alice@example.org", IMAP], ["SOURCE: ", "address alone is not enough yet"]),
    "no user": (["migrate", "pop3s://pop.example.org", IMAP], ["SOURCE: expected a user name before the host"]),
    "no host": (["migrate", "pop3s://alice@", IMAP], ["SOURCE: expected a server"]),
    "no port": (["migrate", "pop3s://alice@pop.example.org:x", IMAP], ["SOURCE: expected a port from 1 to 65535"]),
    "mail written to POP3": (["migrate", POP, POP], ["DEST: a POP3 server takes no mail"]),
    "a folder in a POP3 account": (["migrate", POP + "/Archive", IMAP], ["SOURCE: a POP3 account has one maildrop"]),
    "an empty folder name": (["migrate", POP, IMAP + "/a//b"], ["DEST: expected a folder name without an empty part"]),
    "clear text to another machine": (
        ["migrate", "pop3+insecure://al@pop.example.org", IMAP],
        ["would send the password in clear text", "--send-password-in-clear"],
    ),
    "two folders": (
        ["migrate", POP, IMAP + "/A", "--folder", "B"],
        ["--folder and a folder in DEST cannot stand together", "Take one of them out"],
    ),
    "a folder of slashes": (["migrate", POP, IMAP, "--folder", "a//b"], ["--folder: expected a name like Archive"]),
    "deletion after nonsense": (
        ["migrate", POP, IMAP, "--delete-after", "soon"],
        ["--delete-after: expected verified, or days like 30d, got soon"],
    ),
    "deletion after no days": (
        ["migrate", POP, IMAP, "--delete-after", "0d"],
        ["--delete-after: expected verified, or days like 30d, got 0d"],
    ),
    "deletion unlimited by nothing": (
        ["migrate", POP, IMAP, "--max-delete", "5"],
        ["--max-delete limits --delete-after, which is not given"],
    ),
    "half a message": (
        ["migrate", POP, IMAP, "--limit", "0.5"],
        ["--limit: expected a whole number from 1 up, got 0.5"],
    ),
    "too many connections": (
        ["migrate", POP, IMAP, "--connections", "33"],
        ["--connections: expected a whole number from 1 to 32"],
    ),
    "no time to settle": (["migrate", POP, IMAP, "--settle", "nan"], ["--settle: expected seconds from 0 to 86400"]),
    "no rule to dedupe by": (
        ["migrate", POP, IMAP, "--dedupe", "yes"],
        ["--dedupe: expected content or message-id or off"],
    ),
    "a mark that is none": (
        ["migrate", POP, IMAP, "--mark", "new"],
        ["--mark: expected seen or unseen or auto, got new"],
    ),
    "a proof that is none": (["migrate", POP, IMAP, "--verify", "no"], ["--verify: expected sample or full, got no"]),
    "a short pin": (
        ["migrate", POP, IMAP, "--source-pin", "sha256:abc"],
        ["--source-pin: expected sha256: and 64 hexadecimal digits", "openssl x509"],
    ),
    "a state file without a name": (["migrate", POP, IMAP, "--state", ""], ["--state: expected the name of a file"]),
    "a log in no directory": (
        ["migrate", POP, IMAP, "--log-file", "/nowhere/log"],
        ["--log-file: /nowhere/log cannot be written"],
    ),
    "nobody to ask": (
        ["migrate", POP, IMAP],
        ["--source-password: there is no terminal to ask for the password of the source", "env:NAME"],
    ),
    "an empty reference": (
        ["migrate", POP, IMAP, "--source-password", "env:"],
        ["--source-password: expected something after env:"],
    ),
    "a missing variable": (
        ["migrate", POP, IMAP, "--source-password", "env:NO_SUCH"],
        ["the environment has no variable NO_SUCH"],
    ),
    "an empty variable": (
        ["migrate", POP, IMAP, "--source-password", "env:EMPTY"],
        ["--source-password: the password is empty"],
    ),
    "a variable of two lines": (
        ["migrate", POP, IMAP, "--source-password", "env:TWO"],
        ["the password holds a line end or a NUL"],
    ),
    "a missing file": (
        ["migrate", POP, IMAP, "--source-password", "file:/nowhere/pw"],
        ["/nowhere/pw cannot be read: No such file"],
    ),
    "a directory": (["migrate", POP, IMAP, "--source-password", "file:/"], ["is not a file"]),
    "a missing command": (
        ["migrate", POP, IMAP, "--source-password", "cmd:no-such-program x"],
        ["no-such-program cannot be started"],
    ),
    "a failing command": (
        ["migrate", POP, IMAP, "--source-password", "cmd:false"],
        ["false ended with code 1 and gave no password"],
    ),
    "an open quotation": (
        ["migrate", POP, IMAP, "--source-password", "cmd:echo 'x"],
        ["a quotation mark in the command is not closed"],
    ),
    "half a status": (["status", POP], ["expected SOURCE and DEST, or neither"]),
    "the status of nothing": (
        ["status", "--state", "/nowhere/state"],
        ["here is no state file /nowhere/state", "Nothing was migrated with it yet"],
    ),
}

# The same with a password where none may stand: it is never said back. @ stands for the password.
BETRAYED: dict[str, tuple[list[str], list[str]]] = {
    "in the source": (
        ["migrate", "pop3s://alice:@@pop.example.org", IMAP],
        ["SOURCE: a password cannot stand here", "--source-password"],
    ),
    "in the destination": (
        ["migrate", POP, "imaps://bob:@@imap.example.org/A"],
        ["DEST: a password cannot stand here", "--dest-password"],
    ),
    "as its own reference": (
        ["migrate", POP, IMAP, "--source-password", "@"],
        ["--source-password: expected prompt, keyring, env:NAME", "other people"],
    ),
    "joined to its option": (
        ["migrate", POP, IMAP, "--dest-password=@"],
        ["--dest-password: expected prompt, keyring, env:NAME"],
    ),
    "as a reference of no kind": (
        ["migrate", POP, IMAP, "--source-password", "pass:@"],
        ["--source-password: expected prompt, keyring"],
    ),
    "as a variable": (
        ["migrate", POP, IMAP, "--source-password", "env:@"],
        ["expected the name of an environment variable"],
    ),
    "as an option that is none": (
        ["migrate", POP, IMAP, "--password", "@"],
        ["there is no option --password", "A password is never an option."],
    ),
    "joined to an option that is none": (["migrate", POP, IMAP, "--password=@"], ["there is no option --password"]),
    "joined to a short option": (
        ["migrate", POP, IMAP, "-p@"],
        ["there is no option -p", "A password is never an option."],
    ),
    "as one word too many": (["migrate", POP, IMAP, "@"], ["one argument too many"]),
    "as the command": (["@"], ["the first word is not a command"]),
    "as the port": (["migrate", "pop3s://alice@pop.example.org:@", IMAP], ["SOURCE: "]),
    "as the user": (["migrate", "pop3s://:@@pop.example.org", IMAP], ["SOURCE: "]),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_line_is_2(case: str, popferry: Popferry) -> None:
    words, essence = WRONG[case]
    popferry.environment |= {"EMPTY": "", "TWO": f"{SOURCE}\nmore"}
    ran = popferry.run(*words)
    ran.told(2, *essence)
    assert ran.out == ""
    assert len(ran.err.splitlines()) <= 2, "a sentence, and what to do"
    assert not list(popferry.place.rglob("*.sqlite*"))


@pytest.mark.parametrize("case", BETRAYED)
def test_a_password_on_the_command_line_is_2_and_not_said_back(case: str, popferry: Popferry) -> None:
    words, essence = BETRAYED[case]
    words = [word.replace("@", SOURCE, 1) if word.startswith(("@", "-", "env", "pass")) else word for word in words]
    words = [word.replace(":@", f":{SOURCE}", 1) if "://" in word else word for word in words]
    popferry.run(*words, may_show=True).told(2, *essence)


def test_a_password_file_that_others_can_read_is_2(popferry: Popferry) -> None:
    for mode, code in (0o640, "group"), (0o604, "others"):
        path = popferry.place.parent / f"password-{code}"
        path.write_text(SOURCE)
        path.chmod(mode)
        ran = popferry.run("migrate", POP, IMAP, "--source-password", f"file:{path}")
        ran.told(2, f"{path} can be used by other users.", f"chmod 600 {path} closes it to them.")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_password_file_of_somebody_else_is_2(popferry: Popferry) -> None:
    path = popferry.place.parent / "password"
    path.write_text(SOURCE)
    os.chown(path, 65534, 65534)
    ran = popferry.run("migrate", POP, IMAP, "--source-password", f"file:{path}")
    ran.told(2, f"{path} belongs to another user.")


def test_what_a_failing_command_printed_is_not_shown(popferry: Popferry) -> None:
    program = popferry.place.parent / "keeper"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{SOURCE}\nEND\nexit 3\n")
    program.chmod(0o700)
    ran = popferry.run("migrate", POP, IMAP, "--source-password", f"cmd:{program}")
    ran.told(2, f"{program} ended with code 3 and gave no password.")


def test_a_trace_in_no_directory_is_2(ends: MakeEnds, popferry: Popferry) -> None:
    ran = popferry.migrate(*ends().words, "--trace", "/nowhere/trace")
    ran.told(2, "/nowhere/trace cannot be written: No such file or directory.")


def test_the_state_of_another_pair_of_accounts_is_2(ends: MakeEnds, popferry: Popferry) -> None:
    both = ends()
    popferry.migrate(*both.words).told(0)
    source, dest = both.words
    before = popferry.state.read_bytes()
    ran = popferry.migrate(source.replace("alice", "anna"), dest)
    ran.told(2, "belongs to another pair: alice@127.0.0.1 to bob@127.0.0.1, not anna@127.0.0.1", "--rebind OLD NEW")
    ran.told(2, "Nothing was done.")
    assert popferry.state.read_bytes() == before


def test_a_pin_for_an_end_without_tls_is_2(ends: MakeEnds, popferry: Popferry) -> None:
    ran = popferry.migrate(*ends().words, "--source-pin", "sha256:" + "0" * 64)
    ran.told(2, "--source-pin: an endpoint without TLS has no certificate.")


def test_a_program_without_its_keyring_names_the_command(popferry: Popferry) -> None:
    hidden = "import sys; sys.modules['keyring'] = None; from migrate.cli import main; sys.exit(main())"
    popferry.program = (sys.executable, "-c", hidden)
    ran = popferry.run("migrate", POP, IMAP, "--dest-password", "env:PF_DEST", "--source-password", "keyring")
    ran.told(2, "the system keyring needs an extra that is not installed.", 'Install it with: pip install "popferry')
