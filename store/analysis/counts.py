"""Sums per prompt over nodes and rounds, from one pass of `bincount`: sufficient statistics."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.analysis.resampling import ratios
from spectui.store.counts.intervals import Figure, ratio_of
from spectui.store.reading.columns import Bools, Floats, Ints

ALPHAS = ("overlap", "match", "rank1_match", "at_risk")
"""The definitions of acceptance: overlap, match, match of the drafter's first choice, accepted at risk."""


@dataclass(frozen=True)
class Ratio:
    """A ratio of two sums over prompts, each [prompts]."""

    top: Floats
    bottom: Floats

    @property
    def per_prompt(self) -> Floats:
        """[prompts], NaN where a prompt says nothing."""
        return ratios(self.top, self.bottom)

    def figure(self, weight: Floats | None = None) -> Figure:
        """The ratio of the sums, weighted by `weight` [prompts]."""
        return ratio_of(self.top, self.bottom, weight)

    def select(self, chosen: Bools | Ints) -> Ratio:
        """The ratio of some of the prompts."""
        return Ratio(self.top[chosen], self.bottom[chosen])


class Counts:
    """Sums per prompt of a session, each computed when first asked for."""

    def __init__(self, data: Measured) -> None:
        self.data = data
        self.prompts = len(data.prompts)
        self._owner = data.node_prompt

    @cached_property
    def tasks(self) -> tuple[str, ...]:
        """Tasks in the order in which they first appear."""
        return tuple(dict.fromkeys(prompt.task for prompt in self.data.prompts))

    @cached_property
    def task(self) -> Ints:
        """[prompts], the index of a prompt's task."""
        place = {task: index for index, task in enumerate(self.tasks)}
        return np.array([place[prompt.task] for prompt in self.data.prompts], dtype=np.int64)

    @cached_property
    def rounds(self) -> Floats:
        """[prompts], rounds of each."""
        return np.bincount(self.data.round_prompt, minlength=self.prompts).astype(np.float64)

    @cached_property
    def nodes(self) -> Floats:
        """[prompts], nodes of each."""
        return self._sum(None)

    @cached_property
    def alphas(self) -> dict[str, Ratio]:
        """Definition of acceptance -> sums over nodes."""
        data = self.data
        first = data.rank == 0
        return {
            "overlap": self._mean(data.overlap),
            "match": Ratio(self._sum(data.match), self._sum(data.judged)),
            "rank1_match": Ratio(self._sum(data.match & first), self._sum(first & data.judged)),
            "at_risk": Ratio(self._sum(data.accepted), self._sum(data.at_risk)),
        }

    @cached_property
    def families(self) -> Ratio:
        """(Families with the target's argmax, families): siblings differ, so at most one child of a parent is it."""
        judged = self.data.judged
        _, first, place = np.unique(self.data.family[judged], return_index=True, return_inverse=True)
        matched = np.bincount(place, self.data.match[judged], len(first)) > 0
        owner = self._owner[judged][first]
        return Ratio(
            np.bincount(owner, matched, self.prompts).astype(np.float64),
            np.bincount(owner, minlength=self.prompts).astype(np.float64),
        )

    @cached_property
    def acceptance_chance(self) -> tuple[Ratio, Ratio]:
        """Sums over parents, and parents: at least and at most how likely one drawn child of a parent is accepted.

        That is the sum of min(p, q) over all tokens. Of those that were not drafted it is between nothing and what p,
        or q, has left.
        """
        data = self.data
        _, first, place = np.unique(data.family, return_index=True, return_inverse=True)
        q, shared = data.draft_p, data.overlap
        p = np.where(shared < 1, shared * q, np.nan) if data.target_p is None else data.target_p
        sums = [np.bincount(place, np.nan_to_num(each), len(first)) for each in (np.minimum(p, q), p, q)]
        known = np.bincount(place, np.isfinite(q) & np.isfinite(p), len(first)) == np.bincount(place)
        least = np.minimum(sums[0], 1.0)
        most = least + np.maximum(np.minimum(1 - sums[1], 1 - sums[2]), 0.0)
        owner = self._owner[first][known]
        parents = np.bincount(owner, minlength=self.prompts).astype(np.float64)
        return (
            Ratio(np.bincount(owner, least[known], self.prompts).astype(np.float64), parents),
            Ratio(np.bincount(owner, most[known], self.prompts).astype(np.float64), parents),
        )

    @cached_property
    def lengths(self) -> dict[str, Ratio]:
        """`accepted_length` and `tokens_per_round` -> sums over rounds."""
        sums = {"accepted_length": self.data.accepted_length, "tokens_per_round": self.data.tokens}
        return {
            name: Ratio(
                np.bincount(self.data.round_prompt, values, self.prompts).astype(np.float64), self.rounds
            )
            for name, values in sums.items()
        }

    @cached_property
    def entropies(self) -> dict[str, Ratio]:
        """`draft_entropy` and `target_entropy`, nats -> sums over parents: however many children one has, it is one."""
        return {
            "draft_entropy": self._mean_over_parents(self.data.draft_entropy),
            "target_entropy": self._mean_over_parents(self.data.target_entropy),
        }

    @cached_property
    def deep(self) -> list[Floats]:
        """Depth 1, 2, ... -> [prompts], rounds whose tree reaches it."""
        deepest = np.zeros(len(self.data.round_prompt), np.int64)
        np.maximum.at(deepest, self.data.node_round, self.data.depth)
        return [
            np.bincount(self.data.round_prompt, deepest >= depth, self.prompts).astype(np.float64)
            for depth in range(1, self.data.max_depth + 1)
        ]

    def depth_shares(self, chosen: Bools | Ints) -> list[float]:
        """Depth 1, 2, ... -> share of rounds of the prompts `chosen` whose tree reaches it."""
        rounds = max(float(self.rounds[chosen].sum()), 1.0)
        return [float(each[chosen].sum()) / rounds for each in self.deep]

    @cached_property
    def on_path(self) -> list[Ratio]:
        """Depth 1, 2, ... -> (rounds that went on to it, rounds at risk there); see `metrics.hazard`."""
        data = self.data
        at_risk = self._rounds_by_depth(data.at_risk)
        return [
            Ratio(top, bottom) for top, bottom in zip(self._by_depth(data.accepted), at_risk, strict=True)
        ]

    @cached_property
    def reached(self) -> list[Ratio]:
        """Depth 1, 2, ... -> (rounds whose path reached it, rounds that were not cut before); see `metrics.reached`."""
        data = self.data
        cut = np.zeros(len(data.round_prompt), np.bool_) if data.cut is None else data.cut
        by_depth = []
        for depth in range(1, data.max_depth + 1):
            there = data.accepted_length >= depth
            sums = (
                np.bincount(data.round_prompt[each], minlength=self.prompts) for each in (there, there | ~cut)
            )
            by_depth.append(Ratio(*(each.astype(np.float64) for each in sums)))
        return by_depth

    @cached_property
    def off_path(self) -> list[Ratio]:
        """Depth 1, 2, ... -> (families with the target's argmax, families), of parents off the path.

        What the target would have said there is known for every node. It is conditional on a rejected
        prefix: another population, which is why it stands apart.
        """
        data = self.data
        off = ~data.on_path & data.judged
        _, first = np.unique(data.family[off], return_index=True)
        depth, owner = data.depth[off][first], self._owner[off][first]
        families = self._grid(owner, depth)
        # Siblings differ, so at most one of a family is the argmax.
        matches = self._by_depth(data.match & off)
        return [Ratio(top, bottom) for top, bottom in zip(matches, families, strict=True)]

    @cached_property
    def nodes_by_depth(self) -> Floats:
        """[depths, prompts], nodes of each."""
        return self._by_depth(None)

    @cached_property
    def match_by_depth(self) -> list[Ratio]:
        """Depth 1, 2, ... -> (nodes that match, nodes of which that is known)."""
        matches, judged = self._by_depth(self.data.match), self._by_depth(self.data.judged)
        return [Ratio(top, bottom) for top, bottom in zip(matches, judged, strict=True)]

    @cached_property
    def overlap_by_depth(self) -> list[Ratio]:
        """Depth 1, 2, ... -> (sum of overlaps, nodes with one)."""
        known = np.isfinite(self.data.overlap)
        sums = self._grid(self._owner, self.data.depth, np.nan_to_num(self.data.overlap))
        return [Ratio(top, bottom) for top, bottom in zip(sums, self._by_depth(known), strict=True)]

    def _sum(self, values: Bools | Floats | None) -> Floats:
        return np.bincount(self._owner, values, self.prompts).astype(np.float64)

    def _mean(self, values: Floats) -> Ratio:
        return Ratio(self._sum(np.nan_to_num(values)), self._sum(np.isfinite(values)))

    def _mean_over_parents(self, values: Floats) -> Ratio:
        """Of values that siblings share, or do not know."""
        known = np.flatnonzero(np.isfinite(values))
        first = known[np.unique(self.data.family[known], return_index=True)[1]]
        owner = self._owner[first]
        sums = (np.bincount(owner, weights, self.prompts) for weights in (values[first], None))
        return Ratio(*(each.astype(np.float64) for each in sums))

    def _by_depth(self, chosen: Bools | None) -> Floats:
        if chosen is None:
            return self._grid(self._owner, self.data.depth)
        return self._grid(self._owner[chosen], self.data.depth[chosen])

    def _rounds_by_depth(self, chosen: Bools) -> Floats:
        """[depths, prompts]: rounds with at least one of the chosen nodes at that depth."""
        deepest = self.data.max_depth + 1
        both = np.unique(self.data.node_round[chosen] * deepest + self.data.depth[chosen])
        return self._grid(self.data.round_prompt[both // deepest], both % deepest)

    def _grid(self, owner: Ints, depth: Ints, weights: Floats | None = None) -> Floats:
        """[depths, prompts] sums."""
        depths = self.data.max_depth
        flat = np.bincount((depth - 1) * self.prompts + owner, weights, depths * self.prompts)
        return flat.astype(np.float64).reshape(depths, self.prompts)
