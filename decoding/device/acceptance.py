"""The acceptance rules of `decoding.acceptance` as tensor operations: no value is looked at, nothing waits.

Row 0 of every ``[N + 1, ...]`` argument is the target's view after the root, row i + 1 after node i.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from spectui.decoding.trees.shape import ROOT, IntArray

_NOTHING = 1e-12
"""A rejected residual of less mass had no probability in exact arithmetic."""


@dataclass(frozen=True)
class Accepted:
    """The path as tensors: `on_path` ``[N]`` of booleans, `bonus` and `draws` scalars."""

    on_path: torch.Tensor
    bonus: torch.Tensor
    draws: torch.Tensor
    """Uniform numbers used; the generator is advanced by as many."""


def accept_greedy(
    token: torch.Tensor,
    parent: torch.Tensor,
    ancestors: torch.Tensor,
    valid: torch.Tensor,
    best: torch.Tensor,
) -> Accepted:
    """See `decoding.acceptance.accept_greedy`.

    `token`, `parent` and `valid` are ``[N]``, `best` ``[N + 1]``; `ancestors` ``[N, N]`` is true where the
    column is the row's ancestor or itself. A node is on the path when it and all its ancestors match.
    """
    matches = (token == best[parent + 1]) & valid
    on_path = (matches[None, :] | ~ancestors).all(dim=1)
    # Siblings differ, so the nodes on the path lie one below the other: the last of them is the deepest.
    row = torch.arange(1, len(token) + 1, device=token.device)
    last = (row * on_path).amax() if len(token) else torch.zeros((), dtype=torch.int64, device=token.device)
    return Accepted(on_path, best[last], torch.zeros((), dtype=torch.int64, device=token.device))


def accept_sampling(
    token: torch.Tensor,
    children: torch.Tensor,
    valid: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor | None,
    uniforms: torch.Tensor,
    depth: int,
) -> Accepted:
    """See `decoding.acceptance.accept_sampling`: the same tests in the same order, hence the same draws.

    `children` ``[N + 1, W]`` has the nodes below each row in rank order and -1 where there is none; `p` and,
    for trees drawn without replacement, `q` are ``[N + 1, V]``; `uniforms` are as many float64 as could be
    used; `depth` is that of the tree.
    """
    if q is None:
        return _follow_draws(token, children, valid, p, uniforms, depth)
    device = p.device
    node = torch.full((), ROOT, dtype=torch.int64, device=device)
    alive = torch.ones((), dtype=torch.bool, device=device)
    draws = torch.zeros((), dtype=torch.int64, device=device)
    on_path = torch.zeros(len(token) + 1, dtype=torch.bool, device=device)  # the last entry is a bin
    final = torch.zeros(p.shape[1], dtype=torch.float64, device=device)
    column = torch.arange(p.shape[1], device=device)
    for level in range(depth + 1):
        row = (node + 1)[None]
        residual = _normalised(p.index_select(0, row)[0].double())
        draft = _normalised(q.index_select(0, row)[0].double().nan_to_num(0.0))
        chosen = torch.full((), ROOT, dtype=torch.int64, device=device)
        below = children.index_select(0, row)[0]
        for rank in range(children.shape[1] if level < depth else 0):
            child = below[rank]
            tried = (child >= 0) & alive & (chosen < 0)
            if len(token):
                tried = tried & valid[child.clamp(min=0)]
            x = token[child.clamp(min=0)][None]
            is_x = column == x
            u = uniforms.index_select(0, draws[None])[0]
            draws = draws + tried
            ratio = residual.index_select(0, x)[0] / draft.index_select(0, x)[0]
            rejected = (residual - draft).clamp(min=0.0).masked_fill(is_x, 0.0)
            mass = rejected.sum()
            taken = tried & ((u < ratio) | (mass < _NOTHING))
            chosen = torch.where(taken, child, chosen)
            refused = tried & ~taken
            residual = torch.where(refused, rejected / mass, residual)
            without = draft.masked_fill(is_x, 0.0)
            rest = without.sum()
            draft = torch.where(refused, torch.where(rest > 0.0, without / rest, without), draft)
        final = torch.where(alive, residual, final)
        alive = alive & (chosen >= 0)
        node = torch.where(alive, chosen, node)
        on_path.index_fill_(0, torch.where(alive, chosen, len(token))[None], True)
    return Accepted(on_path[:-1], _draw(final, uniforms.index_select(0, draws[None])[0]), draws + 1)


def _follow_draws(
    token: torch.Tensor,
    children: torch.Tensor,
    valid: torch.Tensor,
    p: torch.Tensor,
    uniforms: torch.Tensor,
    depth: int,
) -> Accepted:
    """`accept_sampling` of children that were not drawn: the target draws, and where that is a child it is accepted."""
    node = torch.full((), ROOT, dtype=torch.int64, device=p.device)
    alive = torch.ones((), dtype=torch.bool, device=p.device)
    draws = torch.zeros((), dtype=torch.int64, device=p.device)
    on_path = torch.zeros(len(token) + 1, dtype=torch.bool, device=p.device)  # the last entry is a bin
    bonus = torch.zeros((), dtype=torch.int64, device=p.device)
    for level in range(depth + 1):
        row = (node + 1)[None]
        x = _draw(p.index_select(0, row)[0].double(), uniforms.index_select(0, draws[None])[0])
        draws = draws + alive
        bonus = torch.where(alive, x, bonus)
        if level == depth or not len(token):
            break
        below = children.index_select(0, row)[0]
        child = below.clamp(min=0)
        taken = (below >= 0) & valid[child] & (token[child] == x)
        alive = alive & taken.any()
        # Siblings differ: at most one is what was drawn.
        node = torch.where(alive, (below * taken).sum(), node)
        on_path.index_fill_(0, torch.where(alive, node, len(token))[None], True)
    return Accepted(on_path[:-1], bonus, draws)


def _draw(weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The token that `u`, uniform in [0, 1), draws from float64 `weights` ``[V]``."""
    cumulative = weights.cumsum(0)
    drawn = torch.searchsorted(cumulative, (u * cumulative[-1])[None], right=True)[0]
    # The last positive entry guards against u falling beyond a cumulative sum that rounds below 1.
    last = (torch.arange(len(weights), device=weights.device) * (weights > 0.0)).amax()
    return torch.minimum(drawn, last)


def children_table(parent: IntArray, rows: int, width: int) -> list[list[int]]:
    """``[rows][width]``: the nodes below each row in rank order, -1 where there is none."""
    table: list[list[int]] = [[] for _ in range(rows)]
    for node, above in enumerate(parent.tolist()):
        table[above + 1].append(node)
    return [line + [-1] * (width - len(line)) for line in table]


def _normalised(weights: torch.Tensor) -> torch.Tensor:
    return weights / weights.sum()
