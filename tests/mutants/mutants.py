"""What can be changed in a module so that its tests should notice: one small change in the syntax tree a mutant."""

from __future__ import annotations

import ast
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLS: dict[str, str] = {"any": "all", "all": "any", "min": "max", "max": "min", "sorted": "list"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: in which line, what it was and what it is, and the whole module with it."""

    line: int
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        """As a line of the report."""
        return f"{self.line}: {_short(self.before)}  ->  {_short(self.after)}"


Change = tuple[ast.AST, str, object]
"""A node, one of its fields, and what to put there."""


def mutants_of(source: str) -> list[Mutant]:
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    made: list[Mutant] = []
    for index, (node, _, _) in enumerate(_changes(tree)):
        mutated = copy.deepcopy(tree)
        target, name, value = list(_changes(mutated))[index]
        before = ast.unparse(_spoken(target))
        if name == "replace":
            assert callable(value)
            value(target)
        else:
            setattr(target, name, value)
        after = ast.unparse(_spoken(target)) if name != "replace" else str(getattr(value, "words", "removed"))
        made.append(Mutant(int(getattr(node, "lineno", 0)), before, after, ast.unparse(mutated)))
    return sorted(made, key=lambda mutant: mutant.line)


def _changes(tree: ast.Module) -> Iterator[Change]:
    for node in _living(tree):
        yield from _expression(node)
        yield from _statement(node)


def _living(node: ast.AST) -> Iterator[ast.AST]:
    """Every node that runs: no annotations, decorators, class keywords, docstrings, imports, assertions, logs."""
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "type_params"):
            continue
        if name == "keywords" and isinstance(node, ast.ClassDef):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and not _is_idle(child):
                yield child
                yield from _living(child)


def _is_idle(node: ast.AST) -> bool:
    if isinstance(node, ast.Import | ast.ImportFrom | ast.Assert):
        return True
    if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
        return True
    if isinstance(node, ast.AnnAssign | ast.Assign) and isinstance(node.value, ast.Constant | None):
        return isinstance(node.value, type(None)) or isinstance(node.value.value, str)
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    return isinstance(node, ast.Expr) and ast.unparse(node).startswith(("log.", "super().__init__"))


def _expression(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare):
        for index, each in enumerate(node.ops):
            yield node, "ops", [*node.ops[:index], _COMPARISONS[type(each)](), *node.ops[index + 1 :]]
    elif isinstance(node, ast.BoolOp):
        yield node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif isinstance(node, ast.BinOp | ast.AugAssign) and type(node.op) in _ARITHMETIC:
        yield node, "op", _ARITHMETIC[type(node.op)]()
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        if isinstance(node.op, ast.USub):
            yield node, "op", ast.UAdd()
        else:
            yield node, "operand", ast.UnaryOp(ast.Not(), node.operand)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in _CALLS:
        yield node, "func", ast.Name(_CALLS[node.func.id], ast.Load())
    elif isinstance(node, ast.Set) and len(node.elts) > 1:
        for index in range(len(node.elts)):
            yield node, "elts", [*node.elts[:index], *node.elts[index + 1 :]]
    elif isinstance(node, ast.Constant) and not isinstance(node.value, str | bytes):
        if isinstance(node.value, bool):
            yield node, "value", not node.value
        elif isinstance(node.value, int | float):
            yield node, "value", node.value + 1 if isinstance(node.value, int) else node.value * 2 + 1


def _statement(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.If | ast.While | ast.IfExp) and not isinstance(node.test, ast.Compare | ast.UnaryOp):
        yield node, "test", ast.UnaryOp(ast.Not(), node.test)
    for name in ("body", "orelse", "finalbody"):
        block = getattr(node, name, None)
        if not isinstance(block, list):
            continue
        for index, each in enumerate(block):
            if isinstance(each, ast.Break | ast.Continue):
                other = ast.Continue() if isinstance(each, ast.Break) else ast.Break()
                yield each, "replace", _put(block, index, other)
            elif (isinstance(each, ast.Raise | ast.AugAssign) or _is_call(each)) and not _is_idle(each):
                yield each, "replace", _put(block, index, ast.Pass())


def _is_call(node: ast.AST) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Call | ast.YieldFrom | ast.Yield)


def _put(block: list[ast.stmt], index: int, other: ast.stmt) -> Callable[[ast.AST], None]:
    def put(_: ast.AST) -> None:
        block[index] = ast.copy_location(other, block[index])

    put.words = ast.unparse(other)  # type: ignore[attr-defined]
    return put


def _spoken(node: ast.AST) -> ast.AST:
    """What a report shows of a node: of a statement with a body, only its head."""
    if isinstance(node, ast.If | ast.While):
        return node.test
    return node


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 70 else f"{line[:67]}..."
