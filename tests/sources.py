"""The source of the rooms as syntax trees, for tests that look for what may stand in one place alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("prompts", "decoding", "recorder", "servers", "store", "tui")


@cache
def trees() -> dict[str, ast.Module]:
    """Path below the root -> its syntax tree."""
    paths = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
    return {str(path.relative_to(ROOT)): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def calls(tree: ast.AST) -> Iterator[tuple[str, str, ast.Call]]:
    """Every call: the function it stands in ("" at the top), what is called as ``a.b.c``, and the call itself."""

    def below(node: ast.AST, where: str) -> Iterator[tuple[str, str, ast.Call]]:
        for child in ast.iter_child_nodes(node):
            inner = where
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                inner = f"{where}.{child.name}".lstrip(".")
            if isinstance(child, ast.Call):
                yield inner, dotted(child.func), child
            yield from below(child, inner)

    yield from below(tree, "")


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of an expression; what is no name is "?"."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else "?"


def imported(tree: ast.AST) -> dict[str, str]:
    """Names that the imports of a file bind, anywhere in it -> ``module`` or ``module.name`` that they stand for."""
    bound: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                name = alias.asname or alias.name.partition(".")[0]
                bound[name] = alias.name if alias.asname else name
        elif isinstance(node, ast.ImportFrom) and node.module:
            bound |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    return bound


def resolved(name: str, bound: dict[str, str]) -> str:
    """A called name with its first part replaced by what an import bound it to."""
    first, dot, rest = name.partition(".")
    return bound.get(first, first) + dot + rest
