"""The default place of a state file: one for each pair of accounts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from migrate.config import Job, default_state_path, parse_endpoint, state_directory
from migrate.model import Policy


def path(source: str, dest: str) -> Path:
    return default_state_path(parse_endpoint(source, side="source"), parse_endpoint(dest, side="destination"))


@pytest.fixture(autouse=True)
def _state_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_the_state_file_stands_in_the_state_directory_under_both_accounts(tmp_path: Path) -> None:
    found = path("pop3s://alice@pop.example.org", "imaps://bob@imap.example.org/Old")
    assert found.parent == state_directory() == tmp_path / "popferry"
    assert found.name.startswith("alice@pop.example.org--bob@imap.example.org-")
    assert found.suffix == ".sqlite"


def test_scheme_port_and_folder_do_not_change_the_state_file() -> None:
    first = path("pop3s://alice@pop.example.org", "imaps://bob@imap.example.org/Old")
    assert first == path("pop3://alice@POP.example.org:1110", "imap://bob@imap.example.org:1143")


def test_another_account_has_another_state_file() -> None:
    paths = {
        path(source, dest)
        for source in ("pop3s://alice@h", "pop3s://Alice@h", "pop3s://alice@h2", "pop3s://a%2F@h", "pop3s://a_@h")
        for dest in ("imaps://bob@h", "imaps://bob@h2")
    }
    assert len(paths) == 10


@pytest.mark.parametrize("user", ["..%2F..%2Fetc%2Fpasswd", ".hidden", "-rf", "a b'\"$(x)", "é" * 200, "con"])
def test_no_account_leads_out_of_the_directory(user: str) -> None:
    found = path(f"pop3s://{user}@pop.example.org", "imaps://bob@imap.example.org")
    assert found.parent == state_directory()
    assert len(found.name.encode()) <= 200
    assert found.name[0] not in ".-"
    assert set("/\\ '\"$") & set(found.name) == set()


def test_the_state_file_of_a_backup_stands_in_it(tmp_path: Path) -> None:
    found = path("pop3s://alice@pop.example.org", f"mbox:{tmp_path}/backup")
    assert found.parent == tmp_path / "backup" / ".popferry"
    assert found.name.startswith("alice@pop.example.org-")
    assert path("pop3s://alice@other.example.org", f"mbox:{tmp_path}/backup") != found


def test_the_state_file_of_a_maildir_stands_in_it_and_is_no_folder_of_the_mail(tmp_path: Path) -> None:
    found = path("pop3s://alice@pop.example.org", f"maildir:{tmp_path}/Maildir")
    assert found.parent == tmp_path / "Maildir" / "popferry"


def test_a_backup_that_is_moved_keeps_its_accounts_unless_the_state_file_stands_elsewhere(tmp_path: Path) -> None:
    source = parse_endpoint("pop3s://alice@pop.example.org", side="source")
    jobs = []
    for name in ("one", "two"):
        dest = parse_endpoint(f"mbox:{tmp_path}/{name}", side="destination")
        jobs.append(Job(source, dest, Policy(), default_state_path(source, dest)))
    assert jobs[0].accounts == jobs[1].accounts == ("alice@pop.example.org", "mbox")
    elsewhere = replace(jobs[0], state_path=tmp_path / "state")
    assert elsewhere.accounts == ("alice@pop.example.org", f"mbox:{tmp_path}/one")


def test_each_part_of_a_backup_that_is_restored_has_books_of_its_own() -> None:
    source = parse_endpoint("mbox:/backup", side="source")
    for text in ("imaps://bob@imap.example.org", "mbox:/other"):
        dest = parse_endpoint(text, side="destination")
        assert len({default_state_path(source, dest, part) for part in ("", "since 2020", "since 2021")}) == 3
