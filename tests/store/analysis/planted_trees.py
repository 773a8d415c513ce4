"""Greedy sessions of any tree with a known truth, made as the columns that a report reads: no database, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.reading.columns import Bools, Ints
from tests.store.analysis.planted import prompt_of, summary_of

CHAIN = (None, 0, 1)
FULL = (None, None, 0, 0, 1, 1, *(parent for parent in range(2, 6) for _ in range(2)))
"""chain:3 and full:3x2 by parent."""
UNEVEN = (None, None, None, 0, 3)
"""Three children of the root, below the first of them a chain."""

Tree = Sequence[int | None]


@dataclass(frozen=True)
class Truth:
    """Acceptance of the text of one task."""

    hazard: Sequence[float]
    """Chance that one child of a family matches, by its depth from 1."""
    off_path: float = 1.0
    """Factor of that below a rejected node."""
    tree: Tree = FULL
    prompts: int = 12
    rounds: int | Sequence[int] = 20
    """Of each prompt."""


class _Part(NamedTuple):
    """Columns of the nodes of one task's rounds, [R, N] each."""

    depth: Ints
    rank: Ints
    family: Ints
    match: Bools
    accepted: Bools
    on_path: Bools


def planted_trees(
    tasks: Mapping[str, Truth], *, icc: float = 0.0, first: float = 0.7, seed: int = 0
) -> Measured:
    """A session; a prompt's chances are its task's times one factor of its own.

    The factor is drawn so that the chance at depth 1 has the beta distribution of intra-class correlation `icc`.
    The first sibling is `first` times as likely as all to be the one that matches, those beside it share the rest.
    """
    rng = np.random.default_rng(seed)
    task_of: list[str] = []
    rounds_of: list[int] = []
    parts: list[_Part] = []
    widths: list[int] = []
    for name, truth in tasks.items():
        for index in range(truth.prompts):
            count = truth.rounds if isinstance(truth.rounds, int) else truth.rounds[index % len(truth.rounds)]
            parts.append(_prompt(truth, count, _factor(truth.hazard[0], icc, rng), first, rng))
            task_of.append(name)
            rounds_of.append(count)
            widths.append(len(truth.tree))
    round_prompt = np.repeat(np.arange(len(task_of)), rounds_of)
    round_width = np.repeat(widths, rounds_of)
    node_round = np.repeat(np.arange(len(round_prompt)), round_width)
    start = np.repeat(np.cumsum(round_width) - round_width, round_width)
    accepted = np.concatenate([part.accepted.ravel() for part in parts])
    length = np.bincount(node_round, accepted, len(round_prompt)).astype(np.int64)
    on_path = np.concatenate([part.on_path.ravel() for part in parts])
    q = rng.random(len(node_round)) * 0.9 + 0.05
    return Measured(
        summary=summary_of(task_of, len(round_prompt), len(node_round)),
        prompts=tuple(prompt_of(index, task) for index, task in enumerate(task_of)),
        round_prompt=round_prompt,
        accepted_length=length,
        tokens=length + 1,
        node_round=node_round,
        family=np.concatenate([part.family.ravel() for part in parts]) + start + node_round,
        depth=np.concatenate([part.depth.ravel() for part in parts]),
        rank=np.concatenate([part.rank.ravel() for part in parts]),
        draft_p=q,
        overlap=np.minimum(1.0, rng.random(len(q)) / q),
        draft_entropy=4 * rng.random(len(q)),
        target_entropy=3 * rng.random(len(q)),
        match=np.concatenate([part.match.ravel() for part in parts]),
        accepted=accepted,
        on_path=on_path,
        at_risk=on_path,
    )


def _prompt(truth: Truth, rounds: int, factor: float, first: float, rng: np.random.Generator) -> _Part:
    tree = truth.tree
    depth: list[int] = []
    rank: list[int] = []
    for parent in tree:
        depth.append(1 if parent is None else depth[parent] + 1)
        rank.append(sum(1 for other in tree[: len(rank)] if other == parent))
    match = np.zeros((rounds, len(tree)), np.bool_)
    accepted = np.zeros_like(match)
    on_path = np.zeros_like(match)
    for parent in dict.fromkeys(tree):
        children = [node for node, above in enumerate(tree) if above == parent]
        on = np.ones(rounds, np.bool_) if parent is None else accepted[:, parent]
        chance = truth.hazard[depth[children[0]] - 1] * factor * np.where(on, 1.0, truth.off_path)
        hit = rng.random(rounds) < np.minimum(chance, 1.0)
        others = max(len(children) - 1, 1)
        share = [1.0] if len(children) == 1 else [first, *[(1 - first) / others] * others]
        which = rng.choice(len(children), size=rounds, p=share)
        for place, child in enumerate(children):
            match[:, child] = hit & (which == place)
            accepted[:, child] = match[:, child] & on
            on_path[:, child] = on
    # As `read_session` numbers families: by their parent's place, those of the root below all others.
    family = np.array([0 if parent is None else parent + 1 for parent in tree])
    wide = (rounds, len(tree))
    return _Part(
        np.broadcast_to(depth, wide),
        np.broadcast_to(rank, wide),
        np.broadcast_to(family, wide),
        match,
        accepted,
        on_path,
    )


def _factor(mean: float, icc: float, rng: np.random.Generator) -> float:
    if icc == 0.0:
        return 1.0
    strength = 1 / icc - 1
    return float(rng.beta(mean * strength, (1 - mean) * strength)) / mean


def alike(truth: Truth, names: Sequence[str] = ("code", "math", "logic", "chat")) -> dict[str, Truth]:
    """The same truth for each task."""
    return dict.fromkeys(names, truth)
