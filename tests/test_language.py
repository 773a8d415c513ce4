"""Protects the language: a docstring begins with what a thing is or does, and names say what they hold or do."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sources import ROOMS, ROOT

QUESTIONS = re.compile(r"(What|Which|How|Whether|Where|Why|Who|When)\b")
"""First words of an indirect question, which says neither what a thing is nor what it does."""

SAYS_NOTHING = {"found", "own", "mine", "theirs", "told", "said", "given"}
"""Names that tell where a value comes from instead of what it is; tests must do without the first."""


def problems(tree: ast.AST, names: set[str]) -> Iterator[str]:
    """Docstrings, also of constants, that begin with a question, and names that are one of `names`, with their lines.

    A function's name may not be a question either.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            text = node.value.value
            if isinstance(text, str) and QUESTIONS.match(text.strip()):
                yield f"{node.lineno}: docstring: {text.strip().splitlines()[0]}"
        name = None
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            name = node.id
        elif isinstance(node, ast.arg):
            name = node.arg
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            name = node.attr.lstrip("_")
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = node.name.lstrip("_")
            if re.match(r"(what|which|how|whether|why)_", name):
                yield f"{node.lineno}: function: {name}"
        if name in names:
            yield f"{node.lineno}: name: {name}"  # type: ignore[attr-defined]


def in_file(path: Path) -> list[str]:
    """The problems of a file of this project."""
    names = {"found"} if path.relative_to(ROOT).parts[0] == "tests" else SAYS_NOTHING
    return list(problems(ast.parse(path.read_text(encoding="utf-8")), names))


@pytest.mark.parametrize("room", [*ROOMS, "tests"])
def test_docstrings_and_names_say_what_a_thing_is(room: str) -> None:
    files = sorted((ROOT / room).rglob("*.py"))
    assert files
    assert {str(path.relative_to(ROOT)): lines for path in files if (lines := in_file(path))} == {}


@pytest.mark.parametrize(
    "code",
    [
        '"""What a module is about."""',
        'class A:\n    """Which one it is."""',
        'def a():\n    """Whether it is."""',
        'async def a():\n    """\n    Where it is.\n    """',
        'A = 1\n"""What it is."""',
        "def found(): pass",
        "def _why_not(): pass",
        "found = 1",
        "found: int = 1",
        "for index, found in (): pass",
        "[found for found in ()]",
        "def a(found): pass",
        "lambda found: 1",
        "with a as found: pass",
        "(found := 1)",
        "a.found = 1",
    ],
)
def test_each_way_to_say_nothing_is_seen(code: str) -> None:
    assert list(problems(ast.parse(code), {"found"}))


def test_other_words_pass() -> None:
    code = (
        '"""Whatever holds, whenever."""\nfound_tree = 1\nprint(found)\ndef a():\n    """True when it is."""'
    )
    assert not list(problems(ast.parse(code), {"found"}))
