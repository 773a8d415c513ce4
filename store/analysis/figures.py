"""The figures of a group of prompts: one task, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from spectui.store.analysis.correlation import Correlation
from spectui.store.analysis.counts import Ratio
from spectui.store.analysis.resampling import SHARE
from spectui.store.counts import metrics
from spectui.store.counts.intervals import (
    Figure,
    Pair,
    ends,
    mean_interval,
    pair,
    ratio_interval,
    standard_error,
)
from spectui.store.reading.columns import Floats, Ints


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. None stands for unknown."""

    mean: float | None
    """Prompts weigh equally; of accepted length and tokens per round, rounds do, as everywhere else."""
    ci: Pair | None
    token_weighted: float | None
    """The ratio of sums over all prompts, in which long prompts weigh more."""
    prompts: int
    """Prompts with data."""
    per_prompt: float | None = None
    """The mean over prompts, where `mean` is over rounds."""


@dataclass(frozen=True)
class Step:
    """Acceptance at a depth, of all rounds (or families) together."""

    depth: int
    at_risk: int
    hazard: float | None
    """The share of rounds that goes on to this depth, where the tree goes on (or of families that hold the argmax)."""
    ci: Pair | None
    survival: float | None
    """The share that reaches this depth, of all rounds that were not cut before; see `steps_off_path` for families."""
    survival_ci: Pair | None
    rounds: int = 0
    """Rounds that survival is a share of; 0 off the path."""


@dataclass(frozen=True)
class DepthRow:
    """All nodes of one depth, on and off the path."""

    depth: int
    nodes: int
    match: float | None
    overlap: float | None


@dataclass(frozen=True)
class Clustering:
    """Likeness of one prompt's families (children of one parent) in holding the target's argmax."""

    icc: float
    """Intra-class correlation, see `clusters.icc`."""
    icc_ci: Pair | None
    design_effect: float
    design_effect_ci: Pair | None


@dataclass(frozen=True)
class GroupFigures:
    """Everything measured on a group of prompts. Entropies in nats."""

    name: str
    prompts: int
    rounds: int
    nodes: int
    alpha: dict[str, Estimate]
    """By definition, see `counts.ALPHAS`."""
    expected_length: dict[str, Estimate]
    """The chain formula of each alpha, to the depth of each round's tree."""
    accepted_length: Estimate
    tokens_per_round: Estimate
    on_path: list[Step]
    off_path: list[Step]
    """From depth 2; survival is what it were if every step below the first had the hazard seen off the path."""
    depths: list[DepthRow]
    draft_entropy: Estimate
    target_entropy: Estimate
    rho: dict[str, Correlation]
    """Draft entropy with "match" and with "overlap"."""
    rho_target: dict[str, Correlation]
    """Target entropy with the same."""
    clustering: Clustering | None
    acceptance_chance: tuple[Estimate, ...] | None
    """At least and at most, see `counts.Counts.acceptance_chance`."""

    @property
    def survival_length(self) -> float | None:
        """The sum of the survivals: the token-weighted accepted length where no path was cut."""
        known = [step.survival for step in self.on_path if step.survival is not None]
        return metrics.expected_length(known) if known else None


def estimate(ratio: Ratio, task: Ints, within: Pair) -> Estimate:
    """The mean over prompts of a ratio, its interval cut to `within`, and the ratio of the sums."""
    values = ratio.per_prompt
    known = values[np.isfinite(values)]
    if not len(known):
        return Estimate(None, None, None, 0)
    pooled = float(ratio.top.sum() / ratio.bottom.sum())
    return Estimate(float(known.mean()), pair(mean_interval(values, within, task)), pooled, len(known))


def estimate_over_rounds(ratio: Ratio, task: Ints, within: Pair) -> Estimate:
    """The ratio of sums, and its interval as it is on every screen."""
    over_prompts = estimate(ratio, task, within)
    ci = pair(ratio_interval(ratio.top, ratio.bottom, within, task))
    return Estimate(
        over_prompts.token_weighted, ci, over_prompts.token_weighted, over_prompts.prompts, over_prompts.mean
    )


def chain_formula(alpha: Estimate, shares: Sequence[float]) -> Estimate:
    """`metrics.chain_expected_length` of an alpha; it grows with alpha, so the interval's ends go through it."""

    def through(value: float | None) -> float | None:
        return None if value is None else metrics.chain_expected_length(value, shares)

    ends = [metrics.chain_expected_length(end, shares) for end in alpha.ci or ()]
    return Estimate(
        through(alpha.mean),
        (ends[0], ends[1]) if ends else None,
        through(alpha.token_weighted),
        alpha.prompts,
    )


def steps_on_path(hazards: Sequence[Ratio], reached: Sequence[Ratio], task: Ints) -> list[Step]:
    """Hazards and survival by depth, of rounds."""
    steps = []
    for depth, (hazard, survival) in enumerate(zip(hazards, reached, strict=True), 1):
        value, ci = _of_sums(hazard, task)
        share, share_ci = _of_sums(survival, task)
        steps.append(
            Step(depth, int(hazard.bottom.sum()), value, ci, share, share_ci, int(survival.bottom.sum()))
        )
    return steps


def steps_off_path(first: Ratio, families: Sequence[Ratio], task: Ints) -> list[Step]:
    """Hazards by depth from 2, of families below a rejected node; survival is what it were if every step below the
    first, whose rounds are `first`, had that hazard. Its interval is by the delta method.
    """
    steps = []
    survival, _ = _of_sums(first, task)
    moved = _relative(first, survival)
    for depth, ratio in enumerate(families, 2):
        value, ci = _of_sums(ratio, task)
        survival = None if survival is None or value is None else survival * value
        moved = moved + _relative(ratio, value)
        survival_ci = None
        if survival is not None:
            error = standard_error(Figure(survival, survival * moved, first.bottom), task)
            survival_ci = None if error is None else ends(survival, error, SHARE)
        steps.append(Step(depth, int(ratio.bottom.sum()), value, ci, survival, survival_ci))
    return steps


def _of_sums(ratio: Ratio, task: Ints) -> tuple[float | None, Pair | None]:
    value = metrics.hazard(int(ratio.top.sum()), int(ratio.bottom.sum()))
    return value, pair(ratio_interval(ratio.top, ratio.bottom, SHARE, task))


def _relative(ratio: Ratio, value: float | None) -> Floats:
    """[prompts]: what each moves the logarithm of a ratio of sums by."""
    if not value:
        return np.zeros(len(ratio.top))
    return np.asarray((ratio.top / value - ratio.bottom) / ratio.bottom.sum())


def depth_rows(nodes: Floats, match: Sequence[Ratio], overlap: Sequence[Ratio]) -> list[DepthRow]:
    """Match and overlap of all nodes by depth, token-weighted; `nodes` [depths, prompts]."""
    return [
        DepthRow(
            depth,
            int(count.sum()),
            metrics.ratio(float(matched.top.sum()), float(matched.bottom.sum())),
            metrics.mean_overlap(float(shared.top.sum()), int(shared.bottom.sum())),
        )
        for depth, (count, matched, shared) in enumerate(zip(nodes, match, overlap, strict=True), 1)
    ]
