"""The house: which room may import which, and who alone may touch the world. The tables are the rule."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "migrate"
MODULES = sorted(PACKAGE.rglob("*.py"))
LINES_AT_MOST = 450

# A place is a module or a package, without the leading "migrate."; a package stands for all its modules.
# The first row whose place contains the module is the one that counts. "." means the place itself: its modules
# may import one another; "+" the same for a store of several modules (stores/imap/). "*" means every room.
ROOMS: list[tuple[str, str]] = [
    ("model", "errors"),
    ("errors", ""),
    ("books", "model errors"),
    ("commands", "model errors books"),
    ("events", "model errors books"),
    ("recount", "model errors"),
    ("wire", ". model errors"),
    ("rules", ". model errors wire.header"),
    ("stores.base", "model errors commands"),
    ("stores.net", "model errors stores.base"),
    ("stores.memory", "model errors commands stores.base"),
    ("stores.disk", "model errors"),
    ("stores.record", "model"),
    ("stores.zstd", ""),
    ("stores.dirnames", "model errors"),
    ("stores.lock", "model errors commands stores.base"),
    ("stores.lost", "stores.base"),
    ("stores.kinds", "model wire"),
    ("stores.gauge", "model wire stores.base"),
    ("stores.mboxes", "model wire stores.gauge"),
    ("stores.local", "model errors commands stores.base stores.disk"),
    (
        "stores",
        "+ model errors commands wire stores.base stores.net stores.disk stores.record stores.lock stores.lost"
        " stores.local stores.zstd stores.dirnames stores.kinds stores.gauge stores.mboxes",
    ),
    ("state", ". model errors books commands recount"),
    ("engine", ". model errors events books commands recount rules"),
    (
        "driver",
        ". model errors events books commands recount engine stores state rules.dedupe",
    ),  # hands the digester to the stores
    ("config", ". model errors"),
    ("cli", "*"),
    ("__main__", "cli"),
    ("", ""),  # migrate/__init__.py
]

# Third parties: where alone each may be imported. What is not named here may not be imported at all.
THIRD_PARTIES: dict[str, str] = {
    "imapclient": "stores.imap stores.dirnames",
    "truststore": "stores.net",
    "xxhash": "rules.dedupe state.file",
    "dateutil": "rules.dates",
    "platformdirs": "config cli",
    "keyring": "config",
    "tqdm": "cli",
    "backports": "stores.zstd",  # which Python has from 3.14 on
    "compression": "stores.zstd",
    "pyrage": "stores.mbox.age",
}

# The standard library: where alone each of these may be imported.
GUARDED: dict[str, str] = {
    "socket": "stores.net",
    "ssl": "stores.net",
    "imaplib": "stores.imap",
    "sqlite3": "state",
    "fcntl": "state stores.lock stores.mbox",
    "threading": "driver cli.signals cli.progress",  # the last seconds of a stop; the lock of tqdm
    "selectors": "driver",
    # Row checksums; certificate pins; the index of a backup; a message in a mail file; the state file's name.
    "hashlib": "rules.dedupe state stores.net stores.record stores.dirnames stores.gauge stores.mbox stores.maildir"
    " stores.files config.job",
    "subprocess": "config",
    "tomllib": "config",
    "getpass": "config cli",
    "signal": "cli driver",
    "poplib": "",  # breaks on lines over 2048 octets and loses line ends
    "asyncio": "",
    "multiprocessing": "",
    "pickle": "",
}

# The pure rooms know no file, no clock, no chance, no environment and no log.
PURE = ("wire", "rules", "model", "errors", "events", "books", "commands", "recount", "engine")
IMPURE = ("time", "os", "random", "logging", "secrets", "tempfile", "io", "shutil", "glob", "uuid", "sys")


class Import(NamedTuple):
    """One imported module, absolute, and the line where it is."""

    name: str
    line: int


def room_of(path: Path) -> str:
    """The module's place: ``stores.pop3``, ``state`` for state/__init__.py, ``""`` for the package itself."""
    parts = list(path.relative_to(PACKAGE).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


def imports(path: Path) -> Iterator[Import]:
    """Every import of the file, lazy and conditional ones too; ``from x import y`` also as ``x.y``."""
    package = ["migrate", *path.relative_to(PACKAGE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (Import(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            origin = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                is_module = _is_module(f"{origin}.{alias.name}")
                yield Import(f"{origin}.{alias.name}" if is_module else origin, node.lineno)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).split(".")[-1] in ("__import__", "import_module"):
            # Only a name that can be read here can be held against the tables.
            given = node.args[0] if node.args else None
            yield Import(str(given.value) if isinstance(given, ast.Constant) else "a computed name", node.lineno)


def _is_module(name: str) -> bool:
    if not name.startswith("migrate."):
        return False
    place = ROOT.joinpath(*name.split("."))
    return place.is_dir() or place.with_suffix(".py").exists()


def is_within(name: str, places: str) -> bool:
    """Whether the module is one of the places, or stands in one of them."""
    return any(name == place or name.startswith(place + ".") for place in places.split())


def row_of(room: str) -> tuple[str, str]:
    return next((place, allowed) for place, allowed in ROOMS if place in {room, ""} or room.startswith(place + "."))


def fault(room: str, imported: str) -> str | None:
    """Why this room may not import that module, or None."""
    top, _, rest = imported.partition(".")
    if top == "migrate":
        place, allowed = row_of(room)
        own = {".": place, "+": ".".join(room.split(".")[:2])}
        places = " ".join(own.get(name, name) for name in allowed.split())
        if allowed == "*" or rest == "" or is_within(rest, places):
            return None
        return f"the room {place or 'migrate'} may import only: {allowed or 'nothing of the house'}"
    if top in THIRD_PARTIES:
        return None if is_within(room, THIRD_PARTIES[top]) else f"{top} is for {THIRD_PARTIES[top]} alone"
    if top not in sys.stdlib_module_names:
        return f"{top} is no package that the house uses"
    if top in GUARDED and not is_within(room, GUARDED[top]):
        return f"{top} is for {GUARDED[top] or 'nobody'} alone"
    if top in IMPURE and is_within(room, " ".join(PURE)):
        return f"{top} does not belong in a pure room"
    return None


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_imports_only_what_its_room_may(path: Path) -> None:
    room = room_of(path)
    faults = [
        f"{name_of(path)}:{line}: imports {name}: {why}" for name, line in imports(path) if (why := fault(room, name))
    ]
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_has_a_docstring_and_one_idea_in_at_most_450_lines(path: Path) -> None:
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), f"{name_of(path)} has no docstring"
    lines = len(text.splitlines())
    assert lines <= LINES_AT_MOST, f"{name_of(path)} has {lines} lines: split it by idea"


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_error_is_swallowed(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        where = f"{name_of(path)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"{where}: a bare except"
            is_silent = all(isinstance(step, ast.Pass) for step in node.body)
            caught = ast.unparse(node.type)
            assert not (is_silent and caught in ("Exception", "BaseException")), f"{where}: {caught} is swallowed"
        if isinstance(node, ast.keyword) and node.arg == "errors" and isinstance(node.value, ast.Constant):
            assert node.value.value != "ignore", f'{where}: errors="ignore"'


def test_every_room_has_a_row() -> None:
    without = {room for path in MODULES if (room := room_of(path)) and row_of(room)[0] == ""}
    assert not without, f"not in the table of rooms: {sorted(without)}"


@pytest.mark.parametrize("top", [*PURE, "stores.memory", "stores.base"])
def test_the_table_itself_keeps_arrows_pointing_down(top: str) -> None:
    """Nothing below the doors may know what stands above them."""
    for above in ("cli", "config", "driver", "state"):
        assert fault(top, f"migrate.{above}") is not None


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("wire.pop3", "migrate.commands"),
        ("wire.pop3", "time"),
        ("wire.imap", "migrate.stores.net"),
        ("rules.dedupe", "migrate.wire.pop3"),
        ("rules.flags", "xxhash"),
        ("rules.dates", "os.path"),
        ("stores.pop3", "socket"),
        ("stores.pop3", "migrate.rules.dedupe"),
        ("stores.pop3", "migrate.stores.imap"),
        ("stores.pop3", "imapclient"),
        ("stores.memory", "migrate.stores.net"),
        ("stores.mbox", "migrate.stores.pop3"),
        ("state.schema", "migrate.engine"),
        ("engine.run", "sqlite3"),
        ("engine.run", "migrate.driver"),
        ("engine", "time"),
        ("config", "migrate.cli"),
        ("cli.entry", "sqlite3"),
        ("cli.entry", "requests"),
        ("model", "migrate.commands"),
    ],
)
def test_a_forbidden_import_is_noticed(room: str, imported: str) -> None:
    assert fault(room, imported) is not None


@pytest.mark.parametrize(
    ("room", "imported"),
    [
        ("wire.pop3", "migrate.model"),
        ("rules.dedupe", "xxhash"),
        ("rules.dedupe", "migrate.wire.header"),
        ("stores.pop3", "migrate.wire.pop3"),
        ("stores.imap.bulk", "migrate.stores.imap.session"),
        ("stores.net", "ssl"),
        ("state.schema", "sqlite3"),
        ("state.schema", "migrate.state.lock"),
        ("engine.run", "migrate.engine.plan"),
        ("engine.run", "migrate.rules.dedupe"),
        ("driver", "threading"),
        ("cli.entry", "migrate.driver"),
        ("cli.progress", "tqdm"),
    ],
)
def test_an_allowed_import_passes(room: str, imported: str) -> None:
    assert fault(room, imported) is None


def test_lazy_and_relative_imports_are_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "PACKAGE", tmp_path / "migrate")
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    for place in ("wire/imap.py", "stores/net.py"):
        (PACKAGE / place).parent.mkdir(parents=True)
        (PACKAGE / place).touch()
    module = PACKAGE / "wire" / "pop3.py"
    module.write_text("def f():\n    from ..stores import net\n    import ssl, os.path\n    from . import imap\n")
    assert {name for name, _ in imports(module)} == {"migrate.stores.net", "ssl", "os.path", "migrate.wire.imap"}
