"""Drafters are told apart by what they state of themselves: their names decide nothing outside their own folder."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.registry import DRAFT_MODEL, EAGLE, KINDS, draft_help, kind_in
from tests.sources import trees

DRAFTERS = "decoding/drafters/"
OTHER_MEANINGS = {
    ("decoding/trees/spec.py", "recycling"),  # as in the tree recycling:8
    ("decoding/checkpoints/foreign.py", "eagle"),  # as `speculators` calls EAGLE-1, which is not drafted with
}
"""Files and words that happen to be the name of a drafter."""
ASKING = ("startswith", "endswith", "get", "index", "removeprefix")


def _decided_by(tree: ast.AST) -> Iterator[ast.expr]:
    """Everything that a branch may depend on: what is compared, matched, looked up or asked for its beginning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare):
            yield from (node.left, *node.comparators)
        elif isinstance(node, ast.MatchValue):
            yield node.value
        elif isinstance(node, ast.Subscript):
            yield node.slice
        elif isinstance(node, ast.Dict):
            yield from (key for key in node.keys if key is not None)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in ASKING:
            yield from node.args


def names_that_decide(tree: ast.AST) -> list[str]:
    """Names of drafters, as text or as ``EAGLE.name``, that something in `tree` may branch on."""
    return [
        part.value if isinstance(part, ast.Constant) else part.value.id.lower()
        for expression in _decided_by(tree)
        for part in ast.walk(expression)
        if (isinstance(part, ast.Constant) and part.value in KINDS)
        or (
            isinstance(part, ast.Attribute)
            and part.attr == "name"
            and isinstance(part.value, ast.Name)
            and part.value.id.lower() in KINDS
        )
    ]


def test_no_source_but_the_drafters_own_depends_on_their_names() -> None:
    decided = {
        (file, name)
        for file, tree in trees().items()
        if not file.startswith(DRAFTERS)
        for name in names_that_decide(tree)
    }
    assert decided == OTHER_MEANINGS


@pytest.mark.parametrize(
    "code",
    [
        "draft == 'lookup'", "draft in ('recycling', other)", "'eagle' != draft", "{'eagle': 1}", "trees['lookup']",
        "trees.get('lookup')", "draft.startswith('eagle')", "draft == EAGLE.name",
        "match draft:\n case 'lookup': pass",
    ],
)  # fmt: skip
def test_a_branch_on_a_name_is_seen(code: str) -> None:
    assert names_that_decide(ast.parse(code))


def test_every_kind_is_offered_where_drafters_are_chosen() -> None:
    for kind in KINDS.values():
        assert f"{kind.name} ({kind.help})" in draft_help()


def test_ids_and_folders_are_drafted_with_as_models_until_their_files_are_seen(tmp_path: Path) -> None:
    assert RunConfig(draft="some/head").kind is DRAFT_MODEL
    assert RunConfig(draft="model").kind is DRAFT_MODEL
    assert kind_in(tmp_path) is DRAFT_MODEL
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLMEagle3"]}')
    assert kind_in(tmp_path) is EAGLE
