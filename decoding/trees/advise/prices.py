"""Costs of a session's rounds: those kept with it, or estimates from its own rounds."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from spectui.decoding.errors import DecodingError
from spectui.decoding.trees import costs as costs_module
from spectui.decoding.trees.advise.positions import Rounds, deepest
from spectui.decoding.trees.costs import Costs, Machine, Timing
from spectui.store.analysis.resampling import SEED
from spectui.store.reading.columns import Floats, Ints
from spectui.store.rows import SessionSummary

MEASURED = "measured on its machine"
FITTED = "measured on its machine and fitted to this session's rounds, which took {factor} times as long"
ESTIMATED = "estimated from its own rounds"
AGREE = 1.15
"""Factor by which kept costs and a session's rounds may differ; beyond, one of both had a machine that was slow."""
LITTLE = 0.05
"""Drafting that takes less than this share of a forward is not fitted."""
FEWEST_ROUNDS = 20
"""Rounds that tell more of their time than kept costs do."""

DRAWS = 200
DRIFT = 0.035
"""Standard deviation, as a share, of the cost of a forward of many rows relative to one of few, from one measurement to
another; sizes near each other drift together. Predicted speed-ups were off by 4 to 9 % at worst."""
DOUBLINGS = 3.0
"""Doublings of a size over which costs drift by `DRIFT`."""


@dataclass(frozen=True)
class Priced:
    """Costs with their source and their uncertainty."""

    costs: Costs
    source: str

    @cached_property
    def _draws(self) -> list[Costs]:
        """Costs drawn at random, as far off as measurements and drift may be."""
        rng = np.random.default_rng(SEED)
        return [_draw(self.costs, rng) for _ in range(DRAWS)]

    def factors(self, nodes: float, levels: float) -> Floats:
        """``[DRAWS]``: logarithms of what such a round may cost over what `costs` say."""
        known = self._known_factors.get((nodes, levels))
        if known is None:
            whole = self.costs.round_ms(nodes, levels)
            drawn = [each.round_ms(nodes, levels) for each in self._draws]
            known = np.log(np.maximum(drawn, 1e-9) / max(whole, 1e-9))
            self._known_factors[nodes, levels] = known
        return known

    @cached_property
    def _known_factors(self) -> dict[tuple[float, float], Floats]:
        return {}

    @property
    def plain_ms(self) -> float:
        """Milliseconds of a round that drafts nothing: one token."""
        return self.costs.round_ms(0, 0)


def _draw(costs: Costs, rng: np.random.Generator) -> Costs:
    def moved(timings: Mapping[int, Timing]) -> dict[int, Timing]:
        """Each size off by its own error, and by a random walk from the smallest size on."""
        drawn, walk, before = {}, 0.0, 0
        for size, timing in sorted(timings.items()):
            walk += rng.normal() * DRIFT * (math.log2(size / before) / DOUBLINGS if before else 1.0) ** 0.5
            before = size
            factor = math.exp(walk + rng.normal() * _error(timing))
            drawn[size] = _scaled(timing, factor)
        return drawn

    other = moved({1: costs.other})[1]
    return replace(costs, verify=moved(costs.verify), draft=moved(costs.draft), other=other)


def _error(timing: Timing) -> float:
    """Standard error of a median, as a share of it."""
    if not timing.median or not timing.count:
        return 0.0
    return 1.25 * (timing.high - timing.low) / (1.35 * math.sqrt(timing.count) * timing.median)


def prices_of(summary: SessionSummary, rounds: Rounds) -> Priced:
    """The costs of a session's rounds. Raises `DecodingError` when it has none and too few rounds to estimate them."""
    if summary.devices > 1:
        raise DecodingError(
            f"session '{summary.name}' was decoded on {summary.devices} classes of devices, whose times are not added "
            "up; advise on a session of one, such as a shard"
        )
    kept = None if summary.costs is None else costs_module.from_dict(summary.costs)
    return Priced(_estimated(summary, rounds), ESTIMATED) if kept is None else _fitted(kept, summary, rounds)


def _fitted(kept: Costs, summary: SessionSummary, rounds: Rounds) -> Priced:
    """Kept costs; where the session's own rounds took another time, scaled to these.

    Kept costs were measured once, and cannot tell that the machine was slow all the time. What slows a machine slows
    forwards of few and of many rows, and drafting, by unlike factors: so each is fitted, that of one row by plain
    decoding measured during the run.
    """
    count = len(rounds.prompt)
    sizes = np.bincount(rounds.nodes.round, minlength=count)
    levels = deepest(rounds.nodes, count)
    drafted = sizes > 0
    if drafted.sum() < FEWEST_ROUNDS:
        return Priced(kept, MEASURED)
    verify = _factor(rounds.verify_ms[drafted], sizes[drafted] + 1, kept.verify_ms)
    draft = _factor(rounds.draft_ms[drafted], levels[drafted], kept.draft_ms)
    if kept.draft_ms(float(np.median(levels[drafted]))) < LITTLE * kept.verify_ms(1):
        draft = verify
    single = verify
    if summary.plain_ms is not None and summary.rounds:
        # Plain decoding as a share of a round, and so as long as it takes when rounds take what is usual.
        kinds, times = np.unique(np.stack([sizes, levels], axis=1), axis=0, return_counts=True)
        usual = [
            draft * kept.draft_ms(depth) + verify * (kept.verify_ms(nodes + 1) + kept.other_ms(nodes))
            for nodes, depth in kinds.tolist()
        ]
        share = summary.plain_ms * summary.rounds / summary.total_ms
        plain = share * float(np.average(usual, weights=times))
        single = max(plain - verify * kept.other_ms(0), 1e-3) / kept.verify_ms(1)
    if max(abs(math.log(each)) for each in (verify, draft, single)) <= math.log(AGREE):
        return Priced(kept, MEASURED)
    rows = float(np.median(sizes[drafted])) + 1

    def of_rows(size: int) -> float:
        part = min(math.log(size) / math.log(rows), 1.0)
        return math.exp((1 - part) * math.log(single) + part * math.log(verify))

    fitted = replace(
        kept,
        verify={size: _scaled(timing, of_rows(size)) for size, timing in kept.verify.items()},
        draft={depth: _scaled(timing, draft) for depth, timing in kept.draft.items()},
        other=_scaled(kept.other, verify),
        other_node=kept.other_node * verify,
    )
    return Priced(fitted, FITTED.format(factor=f"{verify:.2f}"))


def _factor(ms: Floats, sizes: Ints, kept: Callable[[float], float]) -> float:
    """Median of measured times over the kept ones of their sizes; 1 where these are nothing."""
    of_size = {size: kept(size) for size in np.unique(sizes).tolist()}
    factors = [
        took / of_size[size] for took, size in zip(ms.tolist(), sizes.tolist(), strict=True) if of_size[size]
    ]
    middle = float(np.median(factors)) if factors else 0.0
    return middle or 1.0


def _scaled(timing: Timing, factor: float) -> Timing:
    return Timing(timing.median * factor, timing.low * factor, timing.high * factor, timing.count)


def _estimated(summary: SessionSummary, rounds: Rounds) -> Costs:
    """Costs by the rounds of each size, and those of one row by plain decoding."""
    count = len(rounds.prompt)
    if not count or summary.baseline_ms is None:
        raise DecodingError(
            f"session '{summary.name}' says too little about time: it has no rounds, or plain decoding was not "
            "measured; run some prompts first"
        )
    sizes = np.bincount(rounds.nodes.round, minlength=count)
    levels = deepest(rounds.nodes, count)
    other = Timing.of(rounds.other_ms.tolist())
    verify = {
        int(n) + 1: Timing.of(rounds.verify_ms[sizes == n].tolist())
        for n in np.unique(sizes)
        if n and (sizes == n).sum() >= min(5, count)
    }
    one = max(summary.baseline_ms - other.median, 1e-3)
    # A few tokens at the start of a run may be off by any factor; else the interval, of 3.9 standard errors, says it.
    low, high = summary.baseline_low_ms, summary.baseline_high_ms
    off = math.log(high / low) / 3.92 / 1.85 if summary.plain_ms and low and high else 0.5
    verify[1] = Timing(one, one * (1 - off), one * (1 + off), 1)
    drafted = levels > 0
    per_level = (rounds.draft_ms[drafted] / levels[drafted]).tolist() or [0.0]
    machine = Machine(
        summary.target, summary.drafter, summary.device, "", 0, str(summary.versions.get("torch", ""))
    )
    return Costs(machine, dict(sorted(verify.items())), {1: Timing.of(per_level)}, other, 0, "")
