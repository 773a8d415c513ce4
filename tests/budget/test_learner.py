"""Protects: a task comes to the tree that pays for it, whatever was expected; files are for whom they were made."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from decoding.budget.files import Budget, Identity, differences, read_budget, save_budget
from decoding.budget.learner import EXPLORE, Learner
from decoding.budget.prices import Priced
from decoding.budget.prior import candidates_of
from decoding.costs import Costs, Machine, Timing
from decoding.errors import UsageError
from decoding.profiles import Profile
from decoding.tree import TokenTree, parse_tree


def priced(row_ms: float, level_ms: float) -> Priced:
    verify = {n: Timing(10 + row_ms * n, 10.0, 10.0, 1) for n in (1, 4, 8, 13)}
    level, other = Timing(level_ms, level_ms, level_ms, 1), Timing(0.5, 0.5, 0.5, 1)
    return Priced(Costs(Machine("t", "d", "x", "f", 1, "0"), verify, level, other, 0, ""), "planted")


def drafted(tree: str, q: float, rng: np.random.Generator, hit: float) -> tuple[TokenTree, list[int]]:
    """A dynamic tree as a draft that is always `q` sure of its first child, and right with chance `hit`, grows it."""
    shape = parse_tree(tree)
    size, depth = shape.size, shape.max_depth
    parent, at, rank, logprob = [-1], [1], [0], [float(np.log(q))]
    for d in range(2, depth + 1):
        parent.append(d - 2)
        at.append(d)
        rank.append(0)
        logprob.append(float(np.log(q)))
    while len(parent) < size:
        parent.append(-1)
        at.append(1)
        rank.append(sum(p == -1 for p in parent) - 1)
        logprob.append(float(np.log((1 - q) / 12)))
    path: list[int] = []
    while len(path) < depth and rng.random() < hit:
        path.append(len(path))
    token, above, depths, ranks = (np.array(a, dtype=np.int64) for a in (range(size), parent, at, rank))
    return TokenTree(token, above, depths, ranks, np.array(logprob), np.zeros(size)), path


def test_each_task_comes_to_the_tree_that_pays_for_it() -> None:
    """One task is nearly always right, the other hardly ever: long paths pay for one, and not for the other."""
    price = priced(1.0, 1.0)
    profile = Profile(((0.55, 0.1), (0.5, 0.1)))
    learner = Learner(candidates_of("eagle", profile, price), price)
    rng = np.random.default_rng(1)
    used: dict[str, list[int]] = {"sure": [], "lost": []}
    for _ in range(1200):
        for task, hit in (("sure", 0.95), ("lost", 0.05)):
            chosen = learner.next(task)
            tree, path = drafted(chosen.shape.name, 0.6, rng, hit)
            learner.observe(task, tree, path, chosen.shape, cut=False)
            if chosen.kind != "explore":
                used[task].append(chosen.shape.max_depth)
    assert learner.next("sure").shape.max_depth > learner.next("lost").shape.max_depth
    assert np.mean(used["sure"][-100:]) > np.mean(used["lost"][-100:])
    assert {learner.next(t).kind for t in used} & {"learned"}


def test_exploring_is_rare() -> None:
    price = priced(1.0, 1.0)
    learner = Learner(candidates_of("eagle", None, price), price)
    rng = np.random.default_rng(0)
    kinds = []
    for _ in range(400):
        chosen = learner.next("a")
        kinds.append(chosen.kind)
        learner.observe("a", *drafted(chosen.shape.name, 0.5, rng, 0.5), chosen.shape, cut=False)
    assert kinds.count("explore") <= 400 // EXPLORE


@pytest.mark.parametrize("draft", ["eagle", "recycling", "lookup", "/some/model"])
def test_every_drafter_has_trees_that_it_can_draft(draft: str) -> None:
    found = candidates_of(draft, None, priced(1.0, 0.5))
    assert len(found) > 1
    for name, candidate in found.items():
        assert parse_tree(name).size == candidate.shape.size


HERE = Identity("embedded 1234", "eagle 77", "Zen", "float32", 2)


def test_a_budget_file_reads_back(tmp_path: Path) -> None:
    budget = Budget(
        HERE, {"code": "dynamic:3x2", "chat": "dynamic:2-8x4@0.2/0.4"}, "chain:2", "a run", {"code": 1.5}
    )
    save_budget(budget, tmp_path / "b.json")
    assert read_budget(tmp_path / "b.json") == budget
    assert budget.tree_of("code") == "dynamic:3x2"
    assert budget.tree_of("unheard of") == "chain:2"


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


HEAD = '{"format": "spectui tree budgets", "version": 1, '


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "is not JSON"),
        ("[]", "is no budget file"),
        ('{"format": "other"}', "is no budget file"),
        ('{"format": "spectui tree budgets", "version": 9}', "another version"),
        (HEAD + '"identity": {}, "trees": {}, "other": "chain:1"}', "incomplete"),
        (
            HEAD + '"identity": {"target": "a", "drafter": "b", "device": "c"}, "trees": {"x": "bush:3"},'
            ' "other": "chain:1"}',
            "bush:3",
        ),
    ],
)
def test_what_is_no_budget_file_is_refused_in_a_line(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "b.json"
    path.write_text(text)
    with pytest.raises(UsageError, match=said) as refused:
        read_budget(path)
    assert "\n" not in str(refused.value)
    with pytest.raises(UsageError, match="No such file"):
        read_budget(tmp_path / "none.json")
