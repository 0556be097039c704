"""The pages about events and exit codes say what the code does, and nothing is left out."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from migrate import events
from migrate.books import Tally
from migrate.cli import report
from migrate.cli.options import EXIT_CODES
from migrate.errors import EXIT_PRECEDENCE, Exit

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVENTS = [
    kind
    for kind in vars(events).values()
    if isinstance(kind, type) and issubclass(kind, events.Event) and kind is not events.Event
]


def name_of(kind: type[events.Event]) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "-", kind.__name__).lower()


def section(name: str) -> str:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    found = re.search(rf"^### {re.escape(name)}\n(.*?)(?=^##|\Z)", page, re.MULTILINE | re.DOTALL)
    assert found, f"docs/events.md has no section {name}"
    return found[1]


@pytest.mark.parametrize("kind", EVENTS, ids=name_of)
def test_every_event_is_documented_with_its_fields_and_an_example(kind: type[events.Event]) -> None:
    text = section(name_of(kind))
    wanted = [one.name for one in fields(kind)]
    rows = re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    assert [name for row in rows for name in re.findall(r"`(\w+)`", row)] == wanted
    example = json.loads(re.search(r"```json\n(.*)\n```", text)[1])  # type: ignore[index]
    assert list(example) == ["event", *wanted]
    assert example["event"] == name_of(kind)
    if "tally" in example:
        assert list(example["tally"]) == [one.name for one in fields(Tally)]
        assert Tally(**example["tally"]).balances


def test_no_event_is_documented_that_does_not_exist() -> None:
    page = (DOCS / "events.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"^### (.*)$", page, re.MULTILINE)) == sorted(map(name_of, EVENTS))


def test_every_exit_code_is_documented_in_order() -> None:
    page = (DOCS / "exit-codes.md").read_text(encoding="utf-8")
    assert [int(code) for code in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)] == [int(code) for code in Exit]
    order = ", ".join(str(int(code)) for code in EXIT_PRECEDENCE)
    assert order in page
    assert order in EXIT_CODES


def test_a_damaged_backup_is_told_the_recipe_of_the_manual() -> None:
    commands = [line for line in report.GO_ON if line.startswith("  ")]
    lines = {line.partition(" #")[0].strip() for line in (DOCS / "backup.md").read_text(encoding="utf-8").splitlines()}
    assert len(commands) == 3
    assert {command.strip() for command in commands} <= lines


def test_no_text_of_the_program_leads_to_a_page_that_is_not_installed() -> None:
    for path in (DOCS.parent / "migrate").rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        told = docstrings(tree)
        texts = [node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in told]
        assert [node.lineno for node in texts if "docs/" in str(node.value)] == [], path.name


def docstrings(tree: ast.Module) -> set[int]:
    bodies = [node.body for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)]
    return {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
