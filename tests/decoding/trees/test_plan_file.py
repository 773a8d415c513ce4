"""Protects: a plan file reads back, also one written when it was a file of budgets, and what is none is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.trees.plan_file import Identity, TreePlan, differences, read_plan, save_plan
from spectui.tui.start import anchored

HERE = Identity("embedded 1234", "eagle 77", "Zen", "float32", 2)


def test_a_plan_file_reads_back(tmp_path: Path) -> None:
    plan = TreePlan(
        HERE, {"code": "dynamic:3x2", "chat": "dynamic:2-8x4@0.2/0.4"}, "chain:2", "a run", {"code": 1.5}
    )
    save_plan(plan, tmp_path / "b.json")
    assert read_plan(tmp_path / "b.json") == plan
    assert plan.tree_of("code") == "dynamic:3x2"
    assert plan.tree_of("unheard of") == "chain:2"


def test_what_differs_is_named() -> None:
    assert differences(HERE, HERE) == []
    other = Identity("embedded 1234", "recycling", "Xeon", "float32", 4)
    assert differences(HERE, other) == [
        "the drafter was eagle 77 and is recycling",
        "the machine was Zen and is Xeon",
        "the number of threads was 2 and is 4",
    ]
    # A file of a session whose costs nobody measured knows names alone.
    assert differences(Identity("embedded", "eagle", ""), HERE) == []


@pytest.mark.parametrize("name", ["spectui tree plan", "spectui tree budgets"])
def test_files_of_either_name_are_read(tmp_path: Path, name: str) -> None:
    """Plans were called budgets once, and people have kept such files."""
    plan = TreePlan(HERE, {"code": "dynamic:3x2"}, "chain:2")
    save_plan(plan, tmp_path / "b.json")
    data = json.loads((tmp_path / "b.json").read_text())
    assert data["format"] == "spectui tree plan"
    (tmp_path / "b.json").write_text(json.dumps(data | {"format": name}))
    assert read_plan(tmp_path / "b.json") == plan


PAIR = '"identity": {"target": "a", "drafter": "b", "device": "c"}, '
HEAD = '{"format": "spectui tree plan", "version": 1, '


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[]", "is no plan file"),
        ('{"format": "other"}', "is no plan file"),
        ('{"format": "spectui tree plan", "version": 9}', "another version"),
        ("[" * 100_000, "is not JSON"),
        (HEAD + '"identity": {}, "trees": {}, "other": "chain:1"}', "identity.target is missing"),
        (HEAD + '"identity": ["a"], "trees": {}, "other": "chain:1"}', "'identity' is a list"),
        (HEAD + PAIR + '"trees": ["chain:1"], "other": "chain:1"}', "'trees' is a list"),
        (HEAD + PAIR + '"trees": {"code": [[0], [1]]}, "other": "chain:1"}', "the tree of code is a list"),
        (HEAD + PAIR + '"trees": {"code": "auto"}, "other": "chain:1"}', "the tree of code: tree 'auto'"),
        (HEAD + PAIR + '"trees": {"code": "full:20x20"}, "other": "chain:1"}', "more than 512 nodes"),
        (HEAD + PAIR + '"trees": {}}', "other.* is missing"),
        (HEAD + PAIR + '"trees": {}, "other": "chain:1", "session": 3}', "session is 3; it must be text"),
        (HEAD + '"identity": {"target": "a", "drafter": "b", "threads": "two"}}', "threads is 'two'"),
        (HEAD + '"identity": {"target": "a", "drafter": 2}}', "identity.drafter is 2; it must be text"),
        (
            HEAD + '"identity": {"target": "a", "drafter": "b", "device": "c"}, "trees": {"x": "bush:3"},'
            ' "other": "chain:1"}',
            "bush:3",
        ),
    ],
)
def test_what_is_no_plan_file_is_refused_in_a_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=message) as refused:
        read_plan(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="No such file"):
        read_plan(tmp_path / "none.json")


def test_a_tree_that_the_drafter_cannot_draft_is_refused_before_the_run(tmp_path: Path) -> None:
    save_plan(TreePlan(HERE, {"code": "dynamic:3x2"}, "chain:1"), tmp_path / "b.json")
    config = RunConfig(draft="eagle", tree=f"auto:{tmp_path / 'b.json'}")
    assert anchored(config) == config
    for draft, message in (("recycling", "recycling has none"), ("lookup", "lookup has none")):
        with pytest.raises(UsageError, match=message):
            anchored(config.changed(draft=draft))
