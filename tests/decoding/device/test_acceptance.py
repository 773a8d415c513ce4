"""The device's acceptance rules take the host's path by the same numbers, and keep the target's law by themselves."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from spectui.decoding import acceptance as on_host
from spectui.decoding.device.acceptance import Accepted, accept_sampling, accept_target_draws
from spectui.decoding.device.tree_index import tree_index
from spectui.decoding.trees.shape import ROOT, Draw, TokenTree, TreeShape
from spectui.decoding.trees.spec import parse_shape
from tests.decoding.trees.test_shape import parents

DRAWS: list[Draw] = ["deterministic", "without_replacement"]
ROUNDS = 25


class Numbers(np.random.Generator):
    """Gives `uniforms` one by one."""

    def __init__(self, uniforms: NDArray[np.float64]) -> None:
        super().__init__(np.random.PCG64(0))
        self.uniforms, self.used = uniforms, 0

    def random(self, *_: object, **__: object) -> float:  # type: ignore[override]
        self.used += 1
        return float(self.uniforms[self.used - 1])


def drafted_tree(
    shape: TreeShape, draft: NDArray[np.float32], draw: Draw, rng: np.random.Generator
) -> TokenTree:
    """`shape` filled from the rows of `draft`, row t + 1 behind token t and the first behind the root."""
    token, rows = np.zeros(shape.size, dtype=np.int64), np.empty((shape.size + 1, draft.shape[1]), np.float32)
    for node in range(ROOT, shape.size):
        q = rows[node + 1] = draft[0 if node == ROOT else token[node] + 1]
        children = np.flatnonzero(shape.parent == node)
        order = np.argsort(-q) if draw == "deterministic" else np.argsort(-q / rng.exponential(size=len(q)))
        token[children] = order[: len(children)]
    missing = np.full(shape.size, np.nan)
    drawn_from = None if draw == "deterministic" else rows
    return TokenTree(token, shape.parent, shape.depth, shape.rank, missing, missing, draw, drawn_from)


def judged(
    tree: TokenTree, valid: NDArray[np.bool_], p: NDArray[np.float32], uniforms: NDArray[np.float64]
) -> Accepted:
    index = tree_index(TreeShape("", tree.parent, tree.depth, tree.rank), torch.device("cpu"))
    nodes = torch.from_numpy(tree.token), index.parent, index.ancestors
    tensors = torch.from_numpy(valid), torch.from_numpy(p)
    if tree.draft_rows is None:
        return accept_target_draws(*nodes, *tensors, torch.from_numpy(uniforms))
    q = torch.from_numpy(tree.draft_rows)
    return accept_sampling(*nodes, index.table, *tensors, q, torch.from_numpy(uniforms))


def rows_of(vocab: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Distributions after the root and after each token, some tokens impossible."""
    rows = rng.dirichlet(np.full(vocab, 0.6), size=vocab + 1).astype(np.float32)
    rows[rng.random(rows.shape) < 0.2] = 0.0
    rows[:, 0] += 0.01
    out: NDArray[np.float32] = rows / rows.sum(axis=1, keepdims=True)
    return out


@settings(max_examples=40, deadline=None)
@given(parents(), st.integers(0, 2**32 - 1), st.sampled_from(DRAWS), st.booleans())
def test_paths_bonus_and_draws_are_the_hosts(parent: list[int], seed: int, draw: Draw, like: bool) -> None:
    """Of any shape, with drafts like the target and unlike it."""
    rng = np.random.default_rng(seed)
    shape = TreeShape.from_parents("t", parent)
    vocab = 3 + (shape.width or 1)
    target = rows_of(vocab, rng)
    draft = target if like else rows_of(vocab, rng)
    for _ in range(ROUNDS):
        tree = drafted_tree(shape, draft, draw, rng)
        p, numbers = target[[0, *(tree.token + 1)]], Numbers(rng.random(shape.size + 1))
        verdict = on_host.accept_sampling(tree, p, numbers)
        accepted = judged(tree, np.ones(shape.size, dtype=np.bool_), p, numbers.uniforms)
        assert tuple(np.flatnonzero(accepted.on_path.numpy())) == verdict.path
        assert (int(accepted.bonus), int(accepted.draws)) == (verdict.bonus, numbers.used)


@pytest.mark.parametrize("draw", DRAWS)
def test_nodes_without_probability_are_not_tested(draw: Draw) -> None:
    """The second of three children and all below it: as if the tree had not had them."""
    rng = np.random.default_rng(3)
    whole = parse_shape("paths:00,01,10,2")
    assert isinstance(whole, TreeShape)
    target, draft = rows_of(6, rng), rows_of(6, rng)
    for _ in range(40):
        tree = drafted_tree(whole, draft, draw, rng)
        valid = np.ones(whole.size, dtype=np.bool_)
        second = int(np.flatnonzero(whole.parent == ROOT)[1])
        valid[[second, *np.flatnonzero(whole.parent == second)]] = False
        kept = np.flatnonzero(valid)
        number = {ROOT: ROOT} | {int(old): new for new, old in enumerate(kept)}
        less = TokenTree(
            tree.token[kept], np.asarray([number[int(p)] for p in tree.parent[kept]]), tree.depth[kept],
            tree.rank[kept], tree.draft_logprob[kept], tree.draft_entropy[kept], draw,
            None if tree.draft_rows is None else tree.draft_rows[[0, *(kept + 1)]],
        )  # fmt: skip
        p, uniforms = target[[0, *(tree.token + 1)]], rng.random(whole.size + 1)
        a = judged(tree, valid, p, uniforms)
        b = judged(less, np.ones(less.size, dtype=np.bool_), p[[0, *(kept + 1)]], uniforms[: less.size + 1])
        assert np.flatnonzero(a.on_path.numpy()).tolist() == kept[b.on_path.numpy()].tolist()
        assert (int(a.bonus), int(a.draws)) == (int(b.bonus), int(b.draws))


@pytest.mark.parametrize("draw", DRAWS)
def test_the_first_token_follows_the_target(draw: Draw) -> None:
    """Chi-square of 1200 rounds whose draft disagrees."""
    rng = np.random.default_rng(11)
    target, draft = rows_of(5, rng), rows_of(5, rng)
    shape = parse_shape("full:3x2")
    assert isinstance(shape, TreeShape)
    counts: Counter[int] = Counter()
    for _ in range(1200):
        tree = drafted_tree(shape, draft, draw, rng)
        p = target[[0, *(tree.token + 1)]]
        accepted = judged(tree, np.ones(shape.size, dtype=np.bool_), p, rng.random(shape.size + 1))
        path = np.flatnonzero(accepted.on_path.numpy())
        counts[int(tree.token[path[0]]) if len(path) else int(accepted.bonus)] += 1
    possible = np.flatnonzero(target[0])
    assert set(counts) <= set(possible.tolist())
    law = target[0, possible].astype(np.float64)
    expected = 1200 * law / law.sum()
    assert chisquare([counts[int(t)] for t in possible], expected).pvalue > 1e-3
