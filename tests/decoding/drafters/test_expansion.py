"""Dynamic trees: whichever nodes are chosen, they must make a tree, and the best one the draft believes in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spectui.decoding.drafters.expansion import Expander, best_nodes
from spectui.decoding.errors import UsageError
from spectui.decoding.trees.shape import ROOT, BoolArray, IntArray
from spectui.decoding.trees.spec import parse_tree

WIDTH = 5


@st.composite
def scored_trees(draw: st.DrawFn) -> tuple[list[int], list[float], list[int]]:
    """Parents, log-probabilities of whole paths and depths of a tree grown level by level; ties are common."""
    parent: list[int] = []
    reach: list[float] = []
    depth: list[int] = []
    frontier = [ROOT]
    for level in range(1, draw(st.integers(1, 4)) + 1):
        made: list[int] = []
        for above in frontier:
            steps = draw(st.lists(st.sampled_from([0.0, -0.5, -1.0, -7.0]), max_size=4))
            for step in sorted(steps, reverse=True):
                parent.append(above)
                reach.append(step + (0.0 if above == ROOT else reach[above]))
                depth.append(level)
                made.append(len(parent) - 1)
        frontier = [i for i in made if draw(st.booleans())]
    return parent, reach, depth


@given(scored_trees(), st.integers(1, 30))
def test_the_best_nodes_have_their_ancestors_and_better_siblings(
    tree: tuple[list[int], list[float], list[int]], count: int
) -> None:
    parent, reach, depth = tree
    chosen = best_nodes(reach, depth, count)
    assert chosen == sorted(set(chosen))
    assert len(chosen) == min(count, len(parent))
    for i in chosen:
        assert parent[i] == ROOT or parent[i] in chosen
        assert all(j in chosen for j in range(i) if parent[j] == parent[i])
    refused = [reach[i] for i in range(len(reach)) if i not in chosen]
    assert not refused or not chosen or min(reach[i] for i in chosen) >= max(refused)


def _law(seed: int, sharpness: float) -> Callable[[tuple[int, ...]], torch.Tensor]:
    """A draft that is a function of the path alone: logits ``[WIDTH]`` after any path of tokens."""

    def logits(path: tuple[int, ...]) -> torch.Tensor:
        rng = np.random.default_rng([seed, len(path), *path])
        return torch.from_numpy(np.round(rng.normal(size=WIDTH) * sharpness, 1).astype(np.float32))

    return logits


class _Draft:
    """Answers `Score` calls from a law and counts them; finds a node's path by its mask, as a model would."""

    def __init__(self, law: Callable[[tuple[int, ...]], torch.Tensor]) -> None:
        self.law = law
        self.fed: list[int] = []
        self.calls = 0
        self.previous: list[tuple[int, ...]] = [()]

    def score(self, token: IntArray, depth: IntArray, mask: BoolArray, above: IntArray) -> torch.Tensor:
        self.calls += 1
        self.fed += token.tolist()
        paths = [tuple(self.fed[slot] for slot in np.flatnonzero(row)) for row in mask]
        assert [len(path) for path in paths] == depth.tolist()
        assert [path[:-1] for path in paths] == [self.previous[row] for row in above]
        self.previous = paths
        return torch.stack([self.law(path) for path in paths])


@given(
    st.integers(0, 10_000),
    st.sampled_from([1, 2, 3, 4, 4, 4, 16]),
    st.integers(1, 4),
    st.sampled_from([0.0, 1.5, 3.0]),
)
def test_a_dynamic_tree_is_the_best_of_all_trees_of_its_size(
    seed: int, nodes: int, depth: int, sharpness: float
) -> None:
    """Against all paths there are, where the frontier is no restriction; stopping early may lose nothing."""
    law = _law(seed, sharpness)
    draft = _Draft(law)
    expander = Expander(parse_tree(f"dynamic:{nodes}x{depth}"), WIDTH, WIDTH)
    tree = expander.grow(law(())[None], draft.score, 32).tree
    tree.check()
    assert tree.size <= nodes
    assert tree.depth.max() <= depth
    reach: list[float] = []
    for i in range(tree.size):
        reach.append(tree.draft_logprob[i] + (reach[tree.parent[i]] if tree.parent[i] != ROOT else 0.0))
    everything: list[float] = []
    level: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    for _ in range(depth):
        level = [
            ((*path, t), so_far + float(p))
            for path, so_far in level
            for t, p in enumerate(law(path).log_softmax(-1))
        ]
        everything += [so_far for _, so_far in level]
    if nodes <= 4:  # the frontier holds every node that could have a chosen child
        assert sorted(reach, reverse=True) == pytest.approx(
            sorted(everything, reverse=True)[:nodes], abs=1e-5
        )
    assert draft.calls < depth


def test_nothing_is_expanded_that_cannot_pay() -> None:
    """A draft that is sure of nothing fills the tree with the root's children and is asked no further."""
    flat = _Draft(lambda _: torch.zeros(WIDTH))
    tree = Expander(parse_tree("dynamic:4x4"), WIDTH, WIDTH).grow(torch.zeros(1, WIDTH), flat.score, 32).tree
    assert tree.parent.tolist() == [ROOT] * 4
    assert flat.calls == 1  # equal probabilities: the children of the first might have been as good
    sure = _Draft(lambda _: torch.tensor([50.0, 0.0, 0.0, 0.0, 0.0]))
    root = torch.tensor([[50.0, 0.0, 0.0, 0.0, 0.0]])
    tree = Expander(parse_tree("dynamic:4x4"), WIDTH, WIDTH).grow(root, sure.score, 32).tree
    assert tree.parent.tolist() == [-1, 0, 1, 2]


@pytest.mark.parametrize("spec", ["dynamic:9x4", "full:3x2", "chain:4", "paths:001,1"])
@pytest.mark.parametrize("most", [0, 1, 2])
def test_no_tree_is_deeper_than_there_is_room(spec: str, most: int) -> None:
    draft = _Draft(_law(1, 1.0))
    grown = Expander(parse_tree(spec), WIDTH, WIDTH).grow(torch.zeros(1, WIDTH), draft.score, most)
    assert (grown.tree.depth.max() if grown.tree.size else 0) == most
    assert draft.calls == max(0, most - 1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("spec", ["dynamic:6x3", "full:2x2"])
def test_columns_are_translated_to_the_targets_tokens(spec: str, temperature: float) -> None:
    ids = np.asarray([2, 3, 5, 7, 11])
    logits = _law(3, 1.0)
    expander = Expander(parse_tree(spec), 13, WIDTH, ids=ids, temperature=temperature)

    def score(token: IntArray, depth: IntArray, mask: BoolArray, above: IntArray) -> torch.Tensor:
        assert np.isin(token, ids).all()
        return torch.stack([logits(())] * len(token))

    tree = expander.grow(logits(())[None], score, 8).tree
    assert np.isin(tree.token, ids).all()
    p = logits(()).softmax(-1).numpy()
    assert np.exp(tree.draft_logprob) == pytest.approx(p[np.searchsorted(ids, tree.token)], abs=1e-6)
    if temperature and spec.startswith("full"):
        assert tree.draw == "without_replacement"
        assert tree.draft_rows is not None
        assert tree.draft_rows[0, ids] == pytest.approx(p, abs=1e-6)
        assert np.delete(tree.draft_rows[0], ids).sum() == 0.0
    else:
        assert (tree.draw, tree.draft_rows) == ("deterministic", None)


def test_more_siblings_than_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="6 siblings"):
        Expander(parse_tree("full:1x6"), WIDTH, WIDTH)
    Expander(parse_tree("dynamic:60x6"), WIDTH, WIDTH)
