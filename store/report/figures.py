"""The figures of a group of prompts: one task, or all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store import metrics
from store.report.correlation import Correlation
from store.report.counts import Ratio
from store.report.read import Floats
from store.report.resampling import SHARE, Draws, Pair, interval, means, ratios


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % interval. None stands for what cannot be known."""

    mean: float | None
    """Prompts weigh equally."""
    ci: Pair | None
    token_weighted: float | None
    """The ratio of sums over all prompts, in which long prompts weigh more."""
    prompts: int
    """Prompts with data."""


@dataclass(frozen=True)
class Step:
    """A hazard: the share that goes on to a depth, of all rounds (or families) together."""

    depth: int
    at_risk: int
    hazard: float | None
    ci: Pair | None
    survival: float | None
    """The product of the hazards up to here."""
    survival_ci: Pair | None


@dataclass(frozen=True)
class DepthRow:
    """All nodes of one depth, on and off the path."""

    depth: int
    nodes: int
    match: float | None
    overlap: float | None


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
    """The chain formula of each alpha, to the depth of the session's deepest tree."""
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
    icc: float | None
    """Intra-class correlation of `match`, see `clusters.icc`."""
    icc_ci: Pair | None
    design_effect: float | None

    @property
    def survival_length(self) -> float | None:
        """The sum of the survivals: the token-weighted accepted length, for trees of one shape without cuts."""
        known = [step.survival for step in self.on_path if step.survival is not None]
        return metrics.expected_length(known) if known else None


def estimate(ratio: Ratio, draws: Draws, within: Pair) -> Estimate:
    """The mean over prompts of a ratio, its interval cut to `within`, and the ratio of the sums."""
    values = ratio.per_prompt
    known = values[np.isfinite(values)]
    if not len(known):
        return Estimate(None, None, None, 0)
    pooled = float(ratio.top.sum() / ratio.bottom.sum())
    return Estimate(
        float(known.mean()),
        interval(means(draws, values), len(known), draws.strata, within=within),
        pooled,
        len(known),
    )


def chain_formula(alpha: Estimate, depth: int) -> Estimate:
    """`metrics.chain_expected_length` of an alpha; it grows with alpha, so the interval's ends go through it."""

    def through(value: float | None) -> float | None:
        return None if value is None else metrics.chain_expected_length(value, depth)

    ends = [metrics.chain_expected_length(end, depth) for end in alpha.ci or ()]
    return Estimate(
        through(alpha.mean),
        (ends[0], ends[1]) if ends else None,
        through(alpha.token_weighted),
        alpha.prompts,
    )


def steps(hazards: Sequence[Ratio], draws: Draws, *, first: Sequence[Ratio] = ()) -> list[Step]:
    """Hazards and survival by depth, with intervals from the same draws.

    `first` are the ratios of the depths before, which survival starts from. Ends at the first depth
    without data, as `metrics.survival` does.
    """
    found = []
    resampled = np.ones(len(draws.weights))
    survival: float | None = 1.0
    for depth, ratio in enumerate((*first, *hazards), 1):
        top, bottom = int(ratio.top.sum()), int(ratio.bottom.sum())
        value = metrics.hazard(top, bottom)
        drawn = ratios(draws.weights @ ratio.top, draws.weights @ ratio.bottom)
        resampled = resampled * drawn
        survival = None if survival is None or value is None else survival * value
        if depth <= len(first):
            continue
        prompts = int(np.count_nonzero(ratio.bottom))
        found.append(
            Step(
                depth,
                bottom,
                value,
                interval(drawn, prompts, draws.strata, within=SHARE),
                survival,
                None if survival is None else interval(resampled, prompts, draws.strata, within=SHARE),
            )
        )
    return found


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
