"""Acceptance rules against brute force: greedy must follow the argmax, sampling must keep the target's law."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chisquare

from spectui.decoding.acceptance import accept_greedy, accept_sampling
from spectui.decoding.trees.shape import ROOT, Draw, TokenTree, TreeShape
from spectui.decoding.trees.spec import parse_shape
from tests.decoding.trees.test_shape import parents


def _tree(
    shape: TreeShape, token: list[int], draw: Draw = "deterministic", rows: NDArray[np.float32] | None = None
) -> TokenTree:
    missing = np.full(shape.size, np.nan)
    return TokenTree(
        np.asarray(token, dtype=np.int64), shape.parent, shape.depth, shape.rank, missing, missing, draw, rows
    )


@given(parents(), st.integers(0, 2**32 - 1))
def test_greedy_takes_the_longest_root_path_that_is_all_argmax(parent: list[int], seed: int) -> None:
    shape = TreeShape.from_parents("t", parent)
    rng = np.random.default_rng(seed)
    vocab = 3 + (shape.width or 1)
    token = [-1] * shape.size
    for node in {ROOT, *parent}:
        siblings = [i for i, p in enumerate(parent) if p == node]
        for i, t in zip(siblings, rng.permutation(vocab), strict=False):
            token[i] = int(t)
    argmax = rng.integers(0, vocab, shape.size + 1)
    verdict = accept_greedy(_tree(shape, token), argmax)

    def path_to(node: int) -> list[int]:
        return [] if node == ROOT else [*path_to(parent[node]), node]

    def all_argmax(path: list[int]) -> bool:
        return all(token[i] == argmax[parent[i] + 1] for i in path)

    best = max((p for i in range(ROOT, shape.size) if all_argmax(p := path_to(i))), key=len)
    assert list(verdict.path) == best
    assert verdict.bonus == argmax[(best[-1] if best else ROOT) + 1]


def _emitted(
    tree: TokenTree, rows: NDArray[np.float32], rng: np.random.Generator, count: int
) -> tuple[int, ...]:
    """The first `count` tokens of a round's output, continued by plain draws once the round is over.

    The target here is a table: what follows depends on the previous token only, which is how the
    rows of the tree were made too.
    """
    verdict = accept_sampling(tree, rows[[0, *(tree.token + 1)]], rng)
    out = [int(tree.token[i]) for i in verdict.path] + [verdict.bonus]
    while len(out) < count:
        out.append(int(rng.choice(len(rows) - 1, p=rows[out[-1] + 1] / rows[out[-1] + 1].sum())))
    return tuple(out[:count])


@pytest.mark.parametrize("draw", ["deterministic", "without_replacement"])
@pytest.mark.parametrize("spec", ["full:2x3", "chain:2", "full:2x2"])
def test_sampling_keeps_the_targets_distribution(draw: Draw, spec: str) -> None:
    """Chi-square over all two-token outputs of a four-token Markov chain whose draft disagrees with it.

    After so many trials a bonus drawn from p instead of the residual has 1e-13, and siblings drawn from a q that keeps
    those before them 7e-16.
    """
    vocab, trials = 4, 3000
    rng = np.random.default_rng(5)
    target = rng.dirichlet(np.full(vocab, 0.7), size=vocab + 1).astype(np.float32)
    draft = rng.dirichlet(np.full(vocab, 0.7), size=vocab + 1).astype(np.float32)
    shape = parse_shape(spec)
    counts: Counter[tuple[int, ...]] = Counter()
    for _ in range(trials):
        token = [0] * shape.size
        rows = np.full((shape.size + 1, vocab), np.nan, dtype=np.float32)
        for node in [ROOT, *range(shape.size)]:
            q = draft[0 if node == ROOT else token[node] + 1]
            rows[node + 1] = q
            siblings = np.flatnonzero(shape.parent == node)
            if draw == "deterministic":
                order = np.argsort(-q)
            else:
                order = rng.choice(vocab, vocab, replace=False, p=q / q.sum())
            for i, t in zip(siblings, order, strict=False):
                token[i] = int(t)
        counts[_emitted(_tree(shape, token, draw, rows), target, rng, 2)] += 1
    law = {(a, b): float(target[0, a]) * float(target[a + 1, b]) for a, b in product(range(vocab), repeat=2)}
    expected = np.asarray(list(law.values()))
    expected *= trials / expected.sum()
    observed = np.asarray([counts[pair] for pair in law])
    # Cells too small for the chi-square approximation are pooled.
    small = expected < 5.0
    observed = np.append(observed[~small], observed[small].sum())
    expected = np.append(expected[~small], expected[small].sum())
    assert chisquare(observed, expected).pvalue > 1e-3


def test_the_wrong_rule_for_a_tree_would_be_noticed() -> None:
    """Top-k children judged by the residual rule shift the law: the reason why a tree says how it was drawn."""
    target = np.asarray([0.5, 0.3, 0.2], dtype=np.float32)
    q = np.asarray([0.6, 0.3, 0.1], dtype=np.float32)
    shape = parse_shape("chain:1")
    lied = _tree(shape, [0], "without_replacement", np.stack([q, q]))
    rng = np.random.default_rng(0)
    rows = np.stack([target, target])
    first = []
    for _ in range(4000):
        verdict = accept_sampling(lied, rows, rng)
        first.append(0 if verdict.path else verdict.bonus)
    assert chisquare(np.bincount(first, minlength=3), 4000 * target / target.sum()).pvalue < 1e-6


def test_one_hot_rows_do_not_divide_by_zero() -> None:
    """A temperature near zero leaves one token; q's support can be used up while children remain."""
    shape = parse_shape("full:1x2")
    sure = np.asarray([0.0, 1.0, 0.0], dtype=np.float32)
    rng = np.random.default_rng(0)
    for draw in ("deterministic", "without_replacement"):
        tree = _tree(shape, [1, 2], draw, np.stack([sure, sure, sure]))
        verdict = accept_sampling(tree, np.stack([sure, sure, sure]), rng)
        assert verdict.path == (0,)
        assert verdict.bonus == 1


def test_a_random_tree_without_its_distributions_is_refused() -> None:
    tree = _tree(parse_shape("chain:1"), [0], "without_replacement")
    with pytest.raises(ValueError, match="distributions"):
        accept_sampling(tree, np.ones((2, 3), dtype=np.float32) / 3, np.random.default_rng(0))
