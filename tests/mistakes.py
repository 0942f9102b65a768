"""Small mistakes in Python source: a comparison turned, a constant off by one, a check left out. See tests/mutants.py.

Names, annotations, decorators and the words of messages are left as they are.
"""

import ast
import builtins
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any, NamedTuple

COMPARISONS: dict[type, tuple[type, ...]] = {
    ast.Lt: (ast.LtE, ast.GtE), ast.LtE: (ast.Lt, ast.Gt), ast.Gt: (ast.GtE, ast.LtE), ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,), ast.NotEq: (ast.Eq,), ast.Is: (ast.IsNot,), ast.IsNot: (ast.Is,), ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}  # fmt: skip
ARITHMETIC: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
}  # fmt: skip
SKIPPED = ("annotation", "returns", "decorator_list", "bases", "format_spec", "ctx")


class Mutant(NamedTuple):
    name: str  # "module.function: before -> after", without line numbers, shortened and numbered
    text: str  # "file:line: before -> after", numbered if that happens again
    lines: range  # of which one is run before the mistake can show; empty: it is run on import
    code: CodeType


def mutants(path: Path) -> list[Mutant]:
    tree = ast.parse(path.read_text())
    found: list[Mutant] = []
    seen: Counter[str] = Counter()

    def numbered(text: str) -> str:
        seen[text] += 1
        return text + f" ({seen[text]})" * (seen[text] > 1)

    for change, undo, function, line, before, after, lines in _changes(tree):
        name = numbered(f"{path.stem}.{function}: {_short(before)} -> {_short(after)}")
        text = numbered(f"{path.name}:{line}: {before} -> {after}")
        change()
        found.append(Mutant(name, text, lines, compile(tree, str(path), "exec")))
        undo()
    return found


def _short(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:18]} ... {text[-18:]}"


Change = tuple[Callable[[], None], Callable[[], None], str, int, str, str, range]


def _changes(tree: ast.Module) -> Iterator[Change]:
    """What to do to the tree, how to undo it, where it is, and what it is."""
    for statement, body, index, function, alone in _statements(tree, None):
        lines, where = _lines(statement, function), function.name if function else "module"
        for new in _instead_of_statement(statement, alone, function):
            before = ast.unparse(statement).splitlines()[0]
            after = "its body" if isinstance(new, ast.If) else ast.unparse(new)
            yield *_swap(body, index, statement, new), where, statement.lineno, before, after, lines
        words = isinstance(statement, ast.Raise)
        for holder, key, node in _expressions(statement):
            for new in _instead(node, words, holder):
                yield *_swap(holder, key, node, new), where, node.lineno, ast.unparse(node), ast.unparse(new), lines


def _swap(holder: Any, key: Any, old: ast.AST, new: ast.AST) -> tuple[Callable[[], None], Callable[[], None]]:
    ast.fix_missing_locations(ast.copy_location(new, old))
    put = holder.__setitem__ if isinstance(holder, list) else lambda key, node: setattr(holder, key, node)
    return lambda: put(key, new), lambda: put(key, old)


def _lines(statement: ast.stmt, function: ast.FunctionDef | None) -> range:
    """Those of a statement's head; none for what runs on import, as defaults do."""
    if function is None or isinstance(statement, ast.FunctionDef):
        return range(0)
    body = getattr(statement, "body", None)
    return range(statement.lineno, body[0].lineno if body else (statement.end_lineno or 0) + 1)


def _statements(node: Any, function: Any) -> Iterator[tuple[ast.stmt, list[ast.stmt], int, Any, bool]]:
    """Every statement, the list that holds it and its place there, the function around it, and if an `if` is for it."""
    for name in ("body", "orelse", "finalbody", "handlers"):
        body = getattr(node, name, [])
        alone = isinstance(node, ast.If) and len(body) == 1 and not node.orelse
        for index, statement in enumerate(body if isinstance(body, list) else []):
            documentation = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not documentation and ast.unparse(statement)[:7] != "__all__":
                yield statement, body, index, function, alone
            yield from _statements(statement, statement if isinstance(statement, ast.FunctionDef) else function)


def _instead_of_statement(node: Any, alone: bool, function: ast.FunctionDef | None) -> Iterator[Any]:
    """Nothing, where a condition that is never met is not the same; or the body without what is around it."""
    if isinstance(node, ast.Try | ast.With):
        yield ast.If(ast.Constant(True), node.body, [])
    last = function is not None and function.body[-1] is node
    removable = isinstance(node, ast.Expr | ast.Raise | ast.Delete | ast.AugAssign)
    removable |= isinstance(node, ast.Return) and not last
    removable |= isinstance(node, ast.Assign) and function is not None and _known_before(node, function)
    if removable and not alone:
        yield ast.Pass()
    if isinstance(node, ast.Return) and node.value and not isinstance(node.value, ast.Constant):
        yield ast.Return(ast.Constant(None))


def _known_before(node: ast.Assign, function: ast.FunctionDef) -> bool:
    """Whether there is something in its place without an assignment: else it is a NameError, which shows at once."""
    names = [place.id for place in ast.walk(node) if isinstance(place, ast.Name) and isinstance(place.ctx, ast.Store)]
    bound = [place.arg for place in ast.walk(function) if isinstance(place, ast.arg)]
    for place in ast.walk(function):
        bound += [place.id] if isinstance(place, ast.Name) and isinstance(place.ctx, ast.Store) else []
        bound += place.names if isinstance(place, ast.Global) else []
    return all(bound.count(name) > 1 for name in names)


def _expressions(node: Any) -> Iterator[tuple[Any, Any, Any]]:
    """Every expression of a statement, what holds it and where; those of statements inside are not of it."""
    for name, value in ast.iter_fields(node):
        if name in SKIPPED:
            continue
        for key, part in enumerate(value) if isinstance(value, list) else [(name, value)]:
            if isinstance(part, ast.expr):
                yield value if isinstance(value, list) else node, key, part
            if isinstance(part, ast.AST) and not isinstance(part, ast.stmt | ast.excepthandler):
                yield from _expressions(part)


def _instead(node: Any, words: bool, holder: Any) -> Iterator[ast.expr]:
    """What may stand in an expression's place; `words`: it is part of a message."""
    if isinstance(holder, ast.If | ast.While):
        yield from (ast.Constant(True), ast.Constant(False))
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        yield ast.BoolOp(ast.Or() if isinstance(node.op, ast.And) else ast.And(), node.values)
        for value in node.values:
            rest = [other for other in node.values if other is not value]
            yield ast.BoolOp(node.op, rest) if len(rest) > 1 else rest[0]
    elif isinstance(node, ast.UnaryOp):
        yield node.operand
    elif isinstance(node, ast.BinOp):
        if isinstance(node.op, ast.BitOr):  # of types
            yield from (node.left, node.right)
        elif other := ARITHMETIC.get(type(node.op)):
            yield ast.BinOp(node.left, other(), node.right)
    elif isinstance(node, ast.IfExp):
        yield from (node.body, node.orelse)
    elif isinstance(node, ast.Constant):
        yield from _other_constants(node.value, words or isinstance(holder, ast.JoinedStr))
    elif isinstance(node, ast.Call):
        yield from _called(node)
    elif isinstance(node, ast.List | ast.Tuple) and len(node.elts) > 1 and isinstance(node.ctx, ast.Load):
        choice = isinstance(holder, ast.Compare | ast.Call | ast.ExceptHandler | list)
        constants = all(isinstance(part, ast.Constant | ast.Name) for part in node.elts)
        for part in node.elts if choice and constants and not words else ():
            yield type(node)([other for other in node.elts if other is not part], ast.Load())


def _compared(node: ast.Compare) -> Iterator[ast.expr]:
    for i, operator in enumerate(node.ops):
        for other in COMPARISONS[type(operator)]:
            yield ast.Compare(node.left, [*node.ops[:i], other(), *node.ops[i + 1 :]], node.comparators)
        letters = getattr(node.comparators[i], "value", None)
        if isinstance(operator, ast.In | ast.NotIn) and isinstance(letters, str):
            for letter in letters:
                yield ast.Compare(node.left, node.ops, [ast.Constant(letters.replace(letter, ""))])


def _other_constants(value: Any, words: bool) -> Iterator[ast.expr]:
    if isinstance(value, bool):
        yield ast.Constant(not value)
    elif isinstance(value, int | float):
        yield from (ast.Constant(value + 1), ast.Constant(value - 1))
    elif isinstance(value, str) and not words and " " not in value:
        yield ast.Constant(f"{value}_")


def _called(node: ast.Call) -> Iterator[ast.expr]:
    """Without one of its keywords; only its first argument, if the function is one of ours, which may check it."""
    for keyword in node.keywords:
        if keyword.arg:
            yield ast.Call(node.func, node.args, [other for other in node.keywords if other is not keyword])
    ours = isinstance(node.func, ast.Name) and node.func.id.islower() and not hasattr(builtins, node.func.id)
    if ours and node.args and not isinstance(node.args[0], ast.Starred):
        yield node.args[0]
