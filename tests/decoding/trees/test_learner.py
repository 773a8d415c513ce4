"""Protects: a task comes to the tree that pays for it, whatever was expected; files are for whom they were made."""

from __future__ import annotations

import numpy as np
import pytest

from spectui.decoding.trees.advise.prices import Priced
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.decoding.trees.learn.learner import EAGER, EARLY, EXPLORE, Learner
from spectui.decoding.trees.learn.pace import Pace
from spectui.decoding.trees.learn.prior import candidates_of
from spectui.decoding.trees.learn.subtree_replay import Seen, covers
from spectui.decoding.trees.profile import Profile
from spectui.decoding.trees.shape import TokenTree, TreeShape
from spectui.decoding.trees.spec import parse_tree


def priced(row_ms: float, level_ms: float) -> Priced:
    verify = {n: Timing(10 + row_ms * n, 10.0, 10.0, 1) for n in (1, 4, 8, 13)}
    level, other = Timing(level_ms, level_ms, level_ms, 1), Timing(0.5, 0.5, 0.5, 1)
    return Priced(Costs(Machine("t", "d", "x", "f", 1, "0"), verify, {1: level}, other, 0, ""), "planted")


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
    assert 0 < kinds.count("explore") <= EARLY // EAGER + (400 - EARLY) // EXPLORE


@pytest.mark.parametrize("smaller", ["chain:1", "full:1x2", "chain:2", "full:2x2"])
def test_a_round_shows_what_a_smaller_tree_takes_for_its_tokens(smaller: str) -> None:
    """Walked over a text whose every token is the draft's first (.5), second (.2) or neither, both ways."""
    rank = np.random.default_rng(3).choice(3, p=[0.5, 0.2, 0.3], size=30_000)
    large, small = parse_tree("full:3x2"), parse_tree(smaller)
    assert isinstance(large, TreeShape)
    assert isinstance(small, TreeShape)

    def accepted(shape: TreeShape, place: int) -> list[int]:
        table = {
            (p, r): i for i, (p, r) in enumerate(zip(shape.parent.tolist(), shape.rank.tolist(), strict=True))
        }
        path: list[int] = []
        while (child := table.get((path[-1] if path else -1, int(rank[place + len(path)])))) is not None:
            path.append(child)
        return path

    truth, place = 0, 0
    while place < len(rank) - 10:
        place += len(accepted(small, place)) + 1
        truth += 1
    per_round = place / truth
    tree, shown, place = TokenTree.from_shape(large, large.rank), 0.0, 0
    while place < len(rank) - 10:
        path = accepted(large, place)
        rounds = Seen(tree, path).shown(small, per_round)
        assert rounds is not None
        shown += rounds
        place += len(path) + 1
    assert place / shown == pytest.approx(per_round, rel=0.015)
    assert covers(large, small)
    assert not covers(small, large)


def test_of_dynamic_trees_those_are_covered_that_have_room_beside_the_deeper_levels() -> None:
    for drafted, shape, is_so in (
        ("dynamic:6x3", "dynamic:4x2", True), ("dynamic:4x3", "dynamic:4x2", False),
        ("dynamic:4x3", "dynamic:4x3", True), ("dynamic:8x2", "dynamic:3x3", False),
        ("dynamic:4-8x3@0.2/0", "dynamic:2x2", False), ("chain:3", "dynamic:2x2", False),
    ):  # fmt: skip
        assert covers(parse_tree(drafted), parse_tree(shape)) is is_so


def test_costs_follow_the_rounds_and_the_tree_follows_the_costs() -> None:
    """Drafting takes ten times what was measured: deep trees stop paying, though they bring what they did."""
    price = priced(1.0, 0.3)
    profile = Profile(((0.7, 0.1), (0.7, 0.1)))
    learner = Learner(candidates_of("eagle", profile, price), price)
    rng = np.random.default_rng(5)
    first = learner.next("a").shape
    for _ in range(400):
        shape = learner.next("a").shape
        tree, path = drafted(shape.name, 0.6, rng, 0.7)
        took = (3.0 * shape.max_depth, price.costs.verify_ms(tree.size + 1), 0.5)
        learner.observe("a", tree, path, shape, cut=False, took=took)
    assert learner.next("a").shape.max_depth < first.max_depth


def test_nodes_that_cost_less_than_was_measured_are_found_out() -> None:
    """A small tree seems best by far, so that none of another size contends: one is drafted all the same."""
    price = priced(6.0, 0.3)
    learner = Learner(candidates_of("eagle", Profile(((0.7, 0.1), (0.7, 0.1))), price), price)
    rng = np.random.default_rng(5)
    first = learner.next("a").shape
    for _ in range(600):
        shape = learner.next("a").shape
        tree, path = drafted(shape.name, 0.6, rng, 0.85)
        took = (0.3 * shape.max_depth, 16.0 + 0.2 * tree.size, 0.5)
        learner.observe("a", tree, path, shape, cut=False, took=took)
    assert first.size <= 2
    assert learner.next("a").shape.size >= 4


def test_a_machine_that_is_busy_for_a_while_changes_no_cost_for_good() -> None:
    pace = Pace(priced(1.0, 1.0).costs)
    usual = pace.ms(4, 2)
    for _ in range(20):
        pace.observe(4, 2, (2000.0, 5000.0, 900.0))
    assert pace.ms(4, 2) > 1.5 * usual
    for _ in range(1500):
        pace.observe(4, 2, (2.0, 15.0, 0.5))
    assert pace.ms(4, 2) == pytest.approx(usual, rel=0.01)


def test_what_nodes_cost_is_told_from_what_a_forward_costs() -> None:
    """Where trees of several sizes are verified; of one alone both are slower alike."""
    pace = Pace(priced(1.0, 1.0).costs)
    for number in range(400):
        nodes = (3, 12)[number % 2]
        pace.observe(nodes, 2, (2.0, 11.0 + 3.0 * nodes, 0.5))
    assert pace.ms(12, 2) - pace.ms(3, 2) == pytest.approx(27.0, rel=0.1)
    assert pace.ms(3, 2) == pytest.approx(11.0 + 9.0 + 2.5, rel=0.05)
    for size in (2, 5, 10):
        alone = Pace(priced(1.0, 1.0).costs)
        for _ in range(100):
            alone.observe(size, 2, (2.0, 2.0 * (11.0 + size), 0.5))
            assert alone.slope == pytest.approx(alone.factors[1])


def test_what_nodes_cost_is_told_apart_from_what_the_minute_costs() -> None:
    """Large trees in quick minutes and small ones in slow ones, and now and then one between: that does not make
    nodes cheap."""
    pace = Pace(priced(1.0, 1.0).costs)
    for usual, speed in ((3, 1.0), (12, 0.6)) * 4:
        for number in range(100):
            nodes = 7 if number % 10 == 5 else usual
            pace.observe(nodes, 2, (2.0, speed * (11.0 + nodes), 0.5))
    assert 0.6 < pace.slope < 1.0
    assert pace.error(3, 12) > pace.error(3, 5) > 0.0 == pace.error(3, 3)


def test_noise_drives_no_task_from_the_tree_that_pays() -> None:
    """On a server whose speed drifts, by text that is harder than was expected."""
    verify = {n: Timing(40.0 + 1.5 * n, 40.0, 40.0, 1) for n in (1, 4, 8, 13, 17, 25)}
    level, other = Timing(4.0, 4.0, 4.0, 1), Timing(0.5, 0.5, 0.5, 1)
    price = Priced(Costs(Machine("t", "d", "x", "f", 1, "0"), verify, {1: level}, other, 0, ""), "planted")
    hit, kept = 0.5, []

    def rate(depth: int, size: int) -> float:
        """Tokens per millisecond: only first children are ever right."""
        return sum(hit**d for d in range(depth + 1)) / price.ms(size, depth)

    best = max(rate(depth, depth) for depth in range(1, 9))
    for seed in range(6):
        rng = np.random.default_rng(seed)
        learner = Learner(candidates_of("eagle", Profile(((0.52, 0.12, 0.06, 0.04),) * 8), price), price)
        drift = 0.0
        for number in range(1000):
            task = "abcd"[number // 40 % 4]
            drift = 0.97 * drift + 0.03 * rng.normal()
            busy = float(np.exp(drift + 0.05 * rng.normal()))
            chosen = learner.next(task)
            tree, path = drafted(chosen.shape.name, 0.7, rng, hit)
            took = (busy * 4.0 * chosen.shape.max_depth, busy * price.costs.verify_ms(tree.size + 1), 0.5)
            learner.observe(task, tree, path, chosen.shape, cut=False, took=took)
            if chosen.kind != "explore":
                kept.append(rate(chosen.shape.max_depth, chosen.shape.size) / best)
    assert np.mean(kept) > 0.95


def test_a_measured_tree_is_expected_to_bring_what_it_brought() -> None:
    profile = Profile(((0.6, 0.2), (0.5, 0.2)), trees={"dynamic:2x2": 1.9, "dynamic:4x2": 2.6})
    found = candidates_of("eagle", profile, priced(1.0, 0.5))
    assert found["dynamic:2x2"].tokens == 1.9
    assert found["dynamic:4x2"].tokens == 2.6
    unmeasured = candidates_of("eagle", Profile(profile.hits), priced(1.0, 0.5))
    assert found["dynamic:4x3"].tokens > unmeasured["dynamic:4x3"].tokens


@pytest.mark.parametrize("draft", ["eagle", "recycling", "lookup", "/some/model"])
def test_every_drafter_has_trees_that_it_can_draft(draft: str) -> None:
    found = candidates_of(draft, None, priced(1.0, 0.5))
    assert len(found) > 1
    for name, candidate in found.items():
        assert parse_tree(name).size == candidate.shape.size
