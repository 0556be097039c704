"""One small wrong change of a module at a time, and the hook that imports the module with it.

Nothing on the disk is touched: a mutant is a changed syntax tree, compiled when the module is imported.
"""

from __future__ import annotations

import ast
import copy
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

ROOT = Path(__file__).resolve().parent.parent.parent

_COMPARED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    **{ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn},
    **{ast.NotIn: ast.In, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt},
}
_COUNTED: dict[type[ast.operator], type[ast.operator]] = {
    **{ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult},
}
_BLOCKS = ("body", "orelse", "finalbody")
# Words of SQL. A guard that never fires is the loss of that guard.
_SQL = (
    (" <> ", " = "),
    (" OR ", " AND "),
    (" AND NOT ", " AND "),
    ("WHEN ", "WHEN 0 AND "),
    (" IS NOT NULL", " IS NULL"),
)


@dataclass(frozen=True)
class Mutant:
    """``lines`` are those of the statement that is changed, ``text`` the first of them."""

    module: str
    lines: range
    text: str
    change: str
    tree: ast.Module

    @property
    def key(self) -> tuple[str, str, str]:
        """What names it also when lines have moved."""
        return self.module, self.text, self.change


def mutants(module: str, names: Sequence[str] = ()) -> Iterator[Mutant]:
    """Every mutant of a module, or of the functions and assignments of these names in it."""
    path = source_of(module)
    source = path.read_text()
    lines = source.splitlines()
    tree = ast.parse(source, str(path))
    for top in tree.body:
        if names and _name_of(top) not in names:
            continue
        for statement in [node for node in ast.walk(top) if isinstance(node, ast.stmt)]:
            for changed, change, undo in _changes(statement):
                ast.fix_missing_locations(tree)
                line = lines[changed.lineno - 1].strip()
                where = range(changed.lineno, _head_end(changed) + 1)
                yield Mutant(module, where, line, change, copy.deepcopy(tree))
                undo()


def control(module: str) -> Mutant:
    """The module as it is, imported the way a mutant is."""
    return Mutant(module, range(0), "", "no change", ast.parse(source_of(module).read_text()))


def source_of(module: str) -> Path:
    return ROOT.joinpath(*module.split(".")).with_suffix(".py")


def _name_of(node: ast.stmt) -> str:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return node.name
    targets = [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
    return next((target.id for target in targets if isinstance(target, ast.Name)), "")


def _head_end(statement: ast.stmt) -> int:
    """The last line of the statement, without the statements inside it."""
    body = getattr(statement, "body", None)
    return max(statement.lineno, body[0].lineno - 1 if body else statement.end_lineno or 0)


def _changes(statement: ast.stmt) -> Iterator[tuple[ast.stmt, str, Undo]]:
    """Changes the statement in place, its expressions and which steps it has, one after the other.

    Gives the step that is another one now, the change in words, and what puts it back.
    """
    for at, block, step in _steps(statement):
        if _is_removable(step):
            yield step, f"without: {ast.unparse(step)[:90]}", _put(statement, block, ast.Pass(), at)
    if isinstance(statement, ast.Return) and not _is_nothing(statement.value):
        yield statement, "return nothing", _put(statement, "value", ast.Constant(None))
    if isinstance(statement, ast.If | ast.While) and not isinstance(
        statement.test, ast.Compare | ast.BoolOp | ast.UnaryOp
    ):
        negated = ast.UnaryOp(ast.Not(), statement.test)
        yield statement, f"not: {ast.unparse(statement.test)[:90]}", _put(statement, "test", negated)
    for owner, name, place, node in _expressions(statement):
        for new, change in _other(node):
            yield statement, change, _put(owner, name, new, place)


def _steps(statement: ast.stmt) -> Iterator[tuple[int, str, ast.stmt]]:
    for name in _BLOCKS:
        steps = getattr(statement, name, None)
        if isinstance(steps, list):
            yield from ((place, name, step) for place, step in enumerate(steps))


def _is_removable(step: ast.stmt) -> bool:
    """Whether the module still compiles and names are still bound without it; a docstring is no step."""
    if isinstance(step, ast.Expr):
        return not isinstance(step.value, ast.Constant)
    if isinstance(step, ast.Assign):
        return not isinstance(step.targets[0], ast.Name | ast.Tuple)
    return isinstance(step, ast.AugAssign | ast.Raise | ast.Continue | ast.Break)


def _is_nothing(value: ast.expr | None) -> bool:
    return value is None or (isinstance(value, ast.Constant) and value.value in (None, ""))


class Undo:
    """Puts back what was changed."""

    def __init__(self, owner: ast.AST, name: str, old: object, place: int | None = None) -> None:
        self.owner, self.name, self.old, self.place = owner, name, old, place

    def __call__(self) -> None:
        if self.place is None:
            setattr(self.owner, self.name, self.old)
        else:
            getattr(self.owner, self.name)[self.place] = self.old


def _put(owner: ast.AST, name: str, new: ast.AST, place: int | None = None) -> Undo:
    if place is None:
        undo = Undo(owner, name, getattr(owner, name))
        setattr(owner, name, new)
    else:
        undo = Undo(owner, name, getattr(owner, name)[place], place)
        getattr(owner, name)[place] = new
    return undo


def _expressions(top: ast.AST) -> Iterator[tuple[ast.AST, str, int | None, ast.expr]]:
    """Every expression below a statement, with where it hangs."""
    for name, value in ast.iter_fields(top):
        if name in ("annotation", "returns") or (name in _BLOCKS and isinstance(value, list)):
            continue
        hanging: list[tuple[int | None, object]] = [*enumerate(value)] if isinstance(value, list) else [(None, value)]
        for place, node in hanging:
            if isinstance(node, ast.expr):
                yield top, name, place, node
            if isinstance(node, ast.AST) and not isinstance(node, ast.stmt | ast.arguments):
                yield from _expressions(node)


def _other(node: ast.expr) -> Iterator[tuple[ast.expr, str]]:
    """What may stand in the place of an expression, and the change in words."""
    shown = ast.unparse(node)[:90]
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARED:
            yield _new(node, ops=[_COMPARED[type(op)]()]), f"{type(op).__name__} swapped: {shown}"
        case ast.Compare(ops=ops):
            yield _new(node, ops=[_COMPARED[type(op)]() for op in ops]), f"all swapped: {shown}"
        case ast.BoolOp(op=op, values=values):
            yield _new(node, op=ast.Or() if isinstance(op, ast.And) else ast.And()), f"and/or: {shown}"
            for left_out in values:
                rest = [value for value in values if value is not left_out]
                short = rest[0] if len(rest) == 1 else _new(node, values=rest)
                yield short, f"without {ast.unparse(left_out)}: {shown}"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand, f"without not: {shown}"
        case ast.IfExp(body=body, orelse=orelse):
            yield _new(node, body=orelse, orelse=body), f"other way round: {shown}"
        case ast.BinOp(op=op) if type(op) in _COUNTED:
            yield _new(node, op=_COUNTED[type(op)]()), f"{type(op).__name__} swapped: {shown}"
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value), f"not {value}"
        case ast.Constant(value=int() as value):
            yield ast.Constant(value + 1), f"{value} + 1"
        case ast.Constant(value=str() as text):
            for old, new in _SQL:
                if old in text:
                    yield (
                        ast.Constant(text.replace(old, new, 1)),
                        f"{old.strip()} -> {new.strip()}: {text[:40].strip()}",
                    )
        case ast.Set(elts=elements):
            for element in elements:
                rest = [one for one in elements if one is not element]
                yield _new(node, elts=rest) if rest else _empty(), f"without {ast.unparse(element)}"
            # One step too many.
            if "Stage.RELEASED" not in map(ast.unparse, elements):
                yield _new(node, elts=[*elements, ast.parse("Stage.RELEASED", mode="eval").body]), "with Stage.RELEASED"
        case ast.ListComp(generators=[part]) | ast.GeneratorExp(generators=[part]) | ast.DictComp(generators=[part]):
            if part.ifs:
                bare = ast.comprehension(target=part.target, iter=part.iter, ifs=[], is_async=0)
                yield _new(node, generators=[bare]), f"without its if: {shown}"


def _new(node: ast.expr, **changed: object) -> ast.expr:
    new = copy.copy(node)
    for name, value in changed.items():
        setattr(new, name, value)
    return new


def _empty() -> ast.expr:
    return ast.Call(func=ast.Name("set", ast.Load()), args=[], keywords=[])


class Hook(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Gives the mutant when its module is imported."""

    def __init__(self, mutant: Mutant) -> None:
        self.mutant = mutant

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != self.mutant.module:
            return None
        return importlib.util.spec_from_file_location(name, source_of(name), loader=self)

    def exec_module(self, module: ModuleType) -> None:
        exec(self.code(), module.__dict__)

    def code(self) -> CodeType:
        return compile(self.mutant.tree, str(source_of(self.mutant.module)), "exec")

    def install(self) -> None:
        if self.mutant.module in sys.modules:
            raise RuntimeError(f"{self.mutant.module} was imported already")
        sys.meta_path.insert(0, self)
