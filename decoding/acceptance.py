"""Acceptance rules: the path of a speculative tree that the target takes. Pure: arrays in, path and bonus out.

Row 0 of every ``[N + 1, ...]`` argument is the target's view after the root, row i + 1 after node i.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectui.decoding.trees.shape import ROOT, IntArray, TokenTree

Rows = NDArray[np.float32] | NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """`path`: accepted node indices from the root downwards; `bonus`: the target's own next token."""

    path: tuple[int, ...]
    bonus: int


def accept_greedy(tree: TokenTree, argmax: IntArray) -> Verdict:
    """Follow the child that is the target's argmax until there is none.

    `argmax` is ``[N + 1]``. The bonus is the argmax after the last accepted node, so the output is
    exactly that of greedy decoding whatever was drafted.
    """
    return _follow(tree, lambda node: int(argmax[node + 1]))


def accept_sampling(tree: TokenTree, target_rows: Rows, rng: np.random.Generator) -> Verdict:
    """Draw a path and a bonus so that the output follows `target_rows` exactly (lossless).

    `target_rows` is ``[N + 1, V]``, distributions after temperature and top-p.

    * Children that were not drawn (top-k of anything): the target draws its token, and where that is a child
      it is accepted. Nothing accepts more: testing the children one by one (EAGLE, arXiv 2401.15077, section
      3.3) accepts them with the same probability. And each token takes one number of `rng`, so that the output
      is the same whatever was drafted.
    * Drawn without replacement from q: tried in rank order against the *residual* r, which starts as the
      target's p. Child x is accepted with probability min(1, r(x)/q(x)); when rejected, r becomes
      norm((r - q)+), q(x) becomes 0 and q is normalised again (recursive rejection sampling; Sequoia,
      arXiv 2402.12374, algorithm 1).

    Using the second test on children that were not drawn would change the distribution, which is why the
    tree carries how it was drawn. Raises `ValueError` for a tree drawn at random without its q.
    """
    if tree.draw == "without_replacement" and tree.draft_rows is None:
        raise ValueError("a tree drawn without replacement must carry the draft's distributions")
    if tree.draw == "deterministic":
        return _follow(tree, lambda node: _draw(target_rows[node + 1].astype(np.float64), rng))
    children: dict[int, list[int]] = {}
    for i, p in enumerate(tree.parent.tolist()):
        children.setdefault(p, []).append(i)
    path: list[int] = []
    node = ROOT
    while True:
        residual = _normalised(np.asarray(target_rows[node + 1], dtype=np.float64))
        chosen, residual = _try_children(tree, node, children.get(node, []), residual, rng)
        if chosen is None:
            return Verdict(tuple(path), _draw(residual, rng))
        path.append(chosen)
        node = chosen


def _follow(tree: TokenTree, choose: Callable[[int], int]) -> Verdict:
    """The path of children that carry the token that `choose` gives behind their parent."""
    children = {
        (p, t): i for i, (p, t) in enumerate(zip(tree.parent.tolist(), tree.token.tolist(), strict=True))
    }
    path: list[int] = []
    node = ROOT
    while (child := children.get((node, token := choose(node)))) is not None:
        path.append(child)
        node = child
    return Verdict(tuple(path), token)


def _try_children(
    tree: TokenTree, node: int, children: list[int], residual: NDArray[np.float64], rng: np.random.Generator
) -> tuple[int | None, NDArray[np.float64]]:
    """The accepted child of `node` or None, and the residual the bonus is then drawn from."""
    if not children or tree.draft_rows is None:
        return None, residual
    q = _normalised(tree.draft_rows[node + 1].astype(np.float64))
    for child in children:
        x = int(tree.token[child])
        if rng.random() < residual[x] / q[x]:
            return child, residual
        rejected = np.maximum(residual - q, 0.0)
        rejected[x] = 0.0
        if rejected.sum() < 1e-12:
            # Rejection had no probability in exact arithmetic; only rounding brings us here.
            return child, residual
        residual = _normalised(rejected)
        q = q.copy()
        q[x] = 0.0
        if q.sum() > 0.0:
            q = _normalised(q)
    return None, residual


def _normalised(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    out: NDArray[np.float64] = weights / weights.sum()
    return out


def _draw(p: NDArray[np.float64], rng: np.random.Generator) -> int:
    cumulative = np.cumsum(p)
    # The last positive entry guards against u falling beyond a cumulative sum that rounds below 1.
    index = int(np.searchsorted(cumulative, rng.random() * cumulative[-1], side="right"))
    return min(index, int(np.flatnonzero(p)[-1]))
