"""The acceptance rules of `decoding.acceptance` as tensor operations: no value is looked at, nothing waits.

Row 0 of every ``[N + 1, ...]`` argument is the target's view after the root, row i + 1 after node i.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from spectui.decoding.trees.shape import IntArray

_NOTHING = 1e-12
"""A rejected residual of less mass had no probability in exact arithmetic."""

_LEAST = 1e-300
"""In place of the mass of a draft's distribution whose tokens are used up."""


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
    matches = (token == best.index_select(0, parent + 1)) & valid
    on_path = (matches | ~ancestors).all(dim=1)
    return Accepted(
        on_path, best.index_select(0, _last_row(on_path))[0], on_path.new_zeros((), dtype=torch.int64)
    )


def accept_target_draws(
    token: torch.Tensor,
    parent: torch.Tensor,
    ancestors: torch.Tensor,
    valid: torch.Tensor,
    p: torch.Tensor,
    uniforms: torch.Tensor,
) -> Accepted:
    """See `decoding.acceptance.accept_sampling`, of children that were not drawn: the target draws, and where that is
    a child it is accepted.

    `p` is ``[N + 1, V]``; `uniforms` ``[N + 1]`` are float64. The target draws behind all nodes at once, each time
    with the number of the node's depth, so that its draws on the path are those of the host.
    """
    depth = torch.cat([parent.new_zeros(1), ancestors.sum(dim=1)])
    drawn = _draw(p, uniforms.index_select(0, depth))
    accepted = accept_greedy(token, parent, ancestors, valid, drawn)
    return Accepted(accepted.on_path, accepted.bonus, accepted.on_path.sum() + 1)


def accept_sampling(
    token: torch.Tensor,
    parent: torch.Tensor,
    ancestors: torch.Tensor,
    children: torch.Tensor,
    valid: torch.Tensor,
    p: torch.Tensor,
    q: torch.Tensor,
    uniforms: torch.Tensor,
) -> Accepted:
    """See `decoding.acceptance.accept_sampling`, of children drawn without replacement: the same tests, by the same
    numbers.

    `children` ``[N + 1, W]`` has the nodes below each row in rank order and -1 where there is none; `q` is ``[N + 1,
    V]``. A child is tested when all siblings before it were refused, and then the residual and the number of tests
    before it are known whatever those numbers were: all rows are tested at once, rank by rank.
    """
    row = children + 1
    there, x = _behind_root(valid)[row], _behind_root(token)[row]
    limits, residual = _limits(p, q, x, there)
    # The number that each child is tested by: one for each valid child of its ancestors that comes no later.
    before = there.cumsum(dim=1) - there.long()
    place = torch.zeros(len(p), dtype=torch.int64, device=p.device)
    place.index_copy_(0, row.flatten(), torch.arange(children.numel(), device=p.device))
    place = place[1:]
    tests = before.flatten().index_select(0, place) + 1
    spent = _behind_root((ancestors * tests).sum(dim=1))
    passes = there & (uniforms[spent[:, None] + before] < limits)
    first = passes & (passes.cumsum(dim=1) == 1)
    on_path = (first.flatten().index_select(0, place) | ~ancestors).all(dim=1)
    last = _last_row(on_path)
    draws = (spent + there.sum(dim=1)).index_select(0, last)
    bonus = _draw(residual.index_select(0, last), uniforms.index_select(0, draws))
    return Accepted(on_path, bonus[0], draws[0] + 1)


def _limits(
    p: torch.Tensor, q: torch.Tensor, x: torch.Tensor, there: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Probabilities with which the children ``[N + 1, W]`` are accepted, infinite where only rounding would refuse one,
    and the residual ``[N + 1, V]`` where all of a row's are refused."""
    residual, draft = p.double(), q.double().nan_to_num_(0.0)
    residual /= residual.sum(dim=1, keepdim=True)
    limits = []
    for rank in range(x.shape[1]):
        here, tried = x[:, rank : rank + 1], there[:, rank : rank + 1]
        mass_of_draft = draft.sum(dim=1, keepdim=True).clamp_(min=_LEAST)
        drafted = draft.gather(1, here)
        rejected = (
            torch.addcdiv(residual, draft, mass_of_draft, value=-1.0).clamp_(min=0.0).scatter_(1, here, 0.0)
        )
        mass = rejected.sum(dim=1, keepdim=True)
        ratio = residual.gather(1, here) / (drafted / mass_of_draft)
        limits.append(ratio.masked_fill_(mass < _NOTHING, torch.inf))
        residual = torch.where(tried, rejected.div_(mass), residual)
        if rank + 1 < x.shape[1]:
            draft.scatter_(1, here, drafted.masked_fill_(tried, 0.0))
    return torch.cat(limits, dim=1), residual


def _draw(weights: torch.Tensor, u: torch.Tensor) -> torch.Tensor:
    """The tokens ``[n]`` that `u` ``[n]``, uniform in [0, 1), draw from the rows of `weights` ``[n, V]``."""
    cumulative = weights.cumsum(dim=1, dtype=torch.float64)
    # Less than the sum of all, so that the token behind which it lies has a positive weight.
    sought = u[:, None] * cumulative[:, -1:]
    return torch.searchsorted(cumulative, sought, right=True)[:, 0].clamp_(max=weights.shape[1] - 1)


def _last_row(on_path: torch.Tensor) -> torch.Tensor:
    """The row of the last node on the path ``[1]``, 0 where none is: siblings differ, so that the nodes of a path lie
    one below the other."""
    row = torch.arange(len(on_path) + 1, device=on_path.device)
    return (row * _behind_root(on_path)).amax(dim=0, keepdim=True)


def _behind_root(of_nodes: torch.Tensor) -> torch.Tensor:
    """``[N + 1]`` of ``[N]``: 0 for the root."""
    return torch.cat([of_nodes.new_zeros(1), of_nodes])


def children_table(parent: IntArray, rows: int, width: int) -> list[list[int]]:
    """``[rows][width]``: the nodes below each row in rank order, -1 where there is none."""
    table: list[list[int]] = [[] for _ in range(rows)]
    for node, above in enumerate(parent.tolist()):
        table[above + 1].append(node)
    return [line + [-1] * (width - len(line)) for line in table]
