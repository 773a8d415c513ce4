"""McFadden's R2 of task and of depth for nodes that match, and an interval for the difference.

Both are McFadden's R2 of a table of labels and outcomes, summed over prompts. A squared distance of shares that are
off by chance is too large on average and skewed where there is little to find, and resampling prompts doubles that. So
the interval inverts a test: a difference is inside unless shares drawn around effects of that difference, as far off
as prompts are from each other, seldom come out as far apart as the observed ones. Everything here is linear in
prompts but R2 itself, so that no prompt is resampled.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spectui.store.analysis.nulls import tasks_p
from spectui.store.analysis.predictors import jackknife_bias, r2
from spectui.store.analysis.resampling import RESAMPLES, SEED
from spectui.store.counts.intervals import Pair
from spectui.store.counts.median import LEVEL
from spectui.store.reading.columns import Floats, Ints

DRAWS = 2 * RESAMPLES
_TAIL = (1 - LEVEL) / 2


@dataclass(frozen=True)
class Sums:
    """Sums per prompt and label of one predictor."""

    weight: Floats
    """[prompts, labels]: nodes, as far as each counts."""
    match: Floats
    """[prompts, labels]: those that match; `beyond`, how many more than the prompt's first label would have it."""
    beyond: bool = False
    """True when labels are compared within prompts alone."""

    def without(self, prompts: Ints) -> tuple[Floats, Floats]:
        """[rows, labels] sums without each of `prompts` in turn."""
        return self.weight.sum(axis=0) - self.weight[prompts], self.match.sum(axis=0) - self.match[prompts]


@dataclass(frozen=True)
class Population:
    """Some nodes of a session, counted by task and by depth."""

    nodes: int
    task: Sums
    depth: Sums
    residual: Floats
    """[prompts]: matches beyond what the share of all prompts leads to expect; NaN where a prompt says nothing."""
    error: Floats
    """[prompts]: variance of `residual` by the chance of the prompt's own rounds."""


@dataclass(frozen=True)
class Difference:
    """R2 of the task less R2 of the depth on some nodes."""

    nodes: int
    task: float
    """Corrected for the bias that prompts differing by chance give it, as is what follows."""
    depth: float
    raw: float
    """Without that correction."""
    corrected: float
    ci: Pair | None
    """95 %, of the corrected difference; None with a task of fewer than two prompts."""
    task_p: float | None
    """Share of ways to deal the tasks anew to the prompts in which they differ as much, see `nulls.tasks_p`."""
    depth_p: float | None
    """Chance that depths which mean nothing differ as much."""


def difference(population: Population, stratum: Ints) -> Difference | None:
    """The difference of a population; `stratum` [prompts] is each prompt's task. None where no R2 is defined."""
    used = population.task.weight.sum(axis=1) > 0
    if not used.any():
        return None
    task, depth = _labelled(population.task), _labelled(population.depth)
    share = float(task.match.sum() / task.weight.sum())
    if not 0.0 < share < 1.0 or task.weight.shape[1] < 2 or depth.weight.shape[1] < 2:
        return None
    prompts = np.flatnonzero(used)
    of_task, of_depth = _of_all(task, share), _of_all(depth, share)
    total = task.weight.sum() - task.weight[prompts].sum(axis=1)
    matched = task.match.sum() - task.match[prompts].sum(axis=1)
    shares = np.divide(matched, total, out=np.full(len(prompts), share), where=total > 0)
    task_bias, depth_bias = (
        jackknife_bias(_r2_of(*each.without(prompts), shares, each.beyond), whole, stratum[prompts])
        for each, whole in ((task, of_task), (depth, of_depth))
    )
    sizes = np.unique(stratum[used], return_counts=True)[1]
    enough = len(sizes) > 1 and int(sizes.min()) >= 2
    noise = _Noise(task, depth, share, stratum, used) if enough else None
    raw, corrected = of_task - of_depth, (of_task - task_bias) - (of_depth - depth_bias)
    return Difference(
        population.nodes,
        of_task - task_bias,
        of_depth - depth_bias,
        raw,
        corrected,
        None
        if noise is None
        else noise.interval(raw, max(of_task - task_bias, 0.0), max(of_depth - depth_bias, 0.0)),
        tasks_p(population.residual, population.error, stratum, RESAMPLES, np.random.default_rng(SEED + 1)),
        None if noise is None else noise.depth_p(of_depth),
    )


def prompts_needed(population: Population, stratum: Ints, effect: float) -> tuple[int, int, int] | None:
    """Prompts like these that tell an R2 of the task of `effect` from none four times in five, and a 95 % range.

    The range is that of how far prompts are apart, which these tell no better than that. None where `difference` gives
    no interval.
    """
    task, depth = _labelled(population.task), _labelled(population.depth)
    used = population.task.weight.sum(axis=1) > 0
    sizes = np.unique(stratum[used], return_counts=True)[1]
    if len(sizes) < 2 or sizes.min() < 2 or task.weight.shape[1] < 2 or depth.weight.shape[1] < 2:
        return None
    share = float(task.match.sum() / task.weight.sum())
    if not 0.0 < share < 1.0:
        return None
    noise = _Noise(task, depth, share, stratum, used)
    needed = noise.prompts_needed(effect)
    if needed is None:
        return None
    from scipy.special import stdtrit

    each = noise.contributions
    spread = float(each.std(ddof=1) * np.sqrt(len(each)) / each.sum()) if each.sum() > 0 else 0.0
    out = float(np.exp(-stdtrit(len(each) - len(sizes), _TAIL) * spread))
    return tuple(max(round(n), 2 * len(sizes)) for n in (needed, needed / out, needed * out))  # type: ignore[return-value]


def _labelled(sums: Sums) -> Sums:
    """`sums` without labels that no node has."""
    kept = sums.weight.sum(axis=0) > 0
    return Sums(sums.weight[:, kept], sums.match[:, kept], sums.beyond)


def _shares(weight: Floats, match: Floats, share: Floats, beyond: bool) -> tuple[Floats, Floats]:
    """[rows, labels]: the weight of each label, and its share of matches; `share` [rows] is that of all nodes."""
    with np.errstate(divide="ignore", invalid="ignore"):
        part = weight / weight.sum(axis=1, keepdims=True)
        each = np.where(weight > 0, match / weight, 0.0 if beyond else share[:, None])
    if beyond:
        each = share[:, None] + each - (part * each).sum(axis=1, keepdims=True)
    return part, each


def _r2_of(weight: Floats, match: Floats, share: Floats, beyond: bool) -> Floats:
    return _r2(*_shares(np.maximum(weight, 0.0), match, share, beyond))


def _r2(part: Floats, share: Floats) -> Floats:
    """[rows] of shares [rows, labels] of labels that count `part`."""
    share = np.clip(share, 0.0, 1.0)
    return np.nan_to_num(r2(np.stack([part * (1 - share), part * share], axis=2)))


def _of_all(sums: Sums, share: float) -> float:
    return float(
        _r2_of(sums.weight.sum(axis=0)[None], sums.match.sum(axis=0)[None], np.array([share]), sums.beyond)[0]
    )


class _Spread:
    """R2 of shares that are off by chance.

    To the second order, R2 is the labels' squared distance from their mean by a factor, which is taken from the
    shares as they were found: so R2 drawn many times at many sizes of the effect costs no logarithm.
    """

    def __init__(self, part: Floats, share: Floats, off: Floats) -> None:
        apart = share - part @ share
        off = off - (off @ part)[:, None]
        middle = float(part @ share)
        entropy = -(middle * np.log(middle) + (1 - middle) * np.log(1 - middle))
        whole = float(part @ apart**2)
        (as_it_is,) = _r2(part[None], share[None])
        self._factor = as_it_is / whole if whole > 1e-12 else 1 / (2 * middle * (1 - middle) * entropy)
        self._whole = whole
        self._both, self._chance = off @ (part * apart), off**2 @ part

    def draws(self, size: float, by: float) -> Floats:
        """[draws], around an effect whose true R2 is `size`; chance is `by` times as large."""
        scale = np.sqrt(size / (self._factor * self._whole)) if self._whole > 1e-12 else 0.0
        return np.asarray(
            self._factor * (scale**2 * self._whole + 2 * scale * by * self._both + by**2 * self._chance)
        )


class _Noise:
    """Draws of the chance errors of shares by task and by depth, and of the R2 that these make."""

    def __init__(
        self, task: Sums, depth: Sums, share: float, stratum: Ints, used: np.typing.NDArray[np.bool_]
    ) -> None:
        self._prompts = int(used.sum())
        rng = np.random.default_rng(SEED + 2)
        (task_part,), (task_share,) = _shares(
            task.weight.sum(axis=0)[None], task.match.sum(axis=0)[None], np.array([share]), False
        )
        (depth_part,), (depth_share,) = _shares(
            depth.weight.sum(axis=0)[None], depth.match.sum(axis=0)[None], np.array([share]), depth.beyond
        )
        # What each prompt moves each share by.
        off = (task.match - task_share * task.weight) / task.weight.sum(axis=0)
        stratum_of_used = stratum[used]
        labels = off.shape[1]
        variances, freedoms, self.contributions = np.zeros(labels), np.ones(labels), np.zeros(self._prompts)
        for label in range(labels):
            members = np.flatnonzero(task.weight[used][:, label] > 0)
            size = len(members)
            each = off[used][members, label] ** 2 * size / max(size - 1, 1)
            variances[label], freedoms[label] = each.sum(), max(size - 1, 1)
            self.contributions[members] += task_part[label] * each
        drawn = np.sqrt(variances) * rng.standard_normal((DRAWS, labels)) * _heavier(rng, freedoms)
        self._tasks = _Spread(task_part, task_share, drawn)
        deltas = depth.match.sum(axis=0) / depth.weight.sum(axis=0)
        moved = ((depth.match - deltas * depth.weight) / depth.weight.sum(axis=0))[used]
        covariance = np.zeros((moved.shape[1], moved.shape[1]))
        for each_stratum in np.unique(stratum_of_used):
            part = moved[stratum_of_used == each_stratum]
            part = part - part.mean(axis=0)
            covariance += part.T @ part * len(part) / max(len(part) - 1, 1)
        values, vectors = np.linalg.eigh(covariance)
        drawn = rng.standard_normal((DRAWS, len(values))) * np.sqrt(np.maximum(values, 0.0)) @ vectors.T
        freedom = max(self._prompts - len(np.unique(stratum_of_used)), 1)
        drawn *= _heavier(rng, np.array([freedom]))
        self._depths = _Spread(depth_part, depth_share, drawn)

    def tasks(self, size: float, by: float = 1.0) -> Floats:
        """[draws]: R2 of tasks whose effect has a true R2 of `size`, chance being `by` times as large."""
        return self._tasks.draws(size, by)

    def depths(self, size: float, by: float = 1.0) -> Floats:
        """The same of depths."""
        return self._depths.draws(size, by)

    def depth_p(self, seen: float) -> float:
        """See `Difference.depth_p`."""
        null = self.depths(0.0)
        return float((1 + np.sum(null >= seen)) / (1 + len(null)))

    def interval(self, raw: float, task: float, depth: float) -> Pair:
        """Differences that would not seldom come out as far off as `raw`; `task` and `depth` as they seem to be."""
        spread_task, spread_depth = float(self.tasks(task).var()), float(self.depths(depth).var())
        toward = spread_task / max(spread_task + spread_depth, 1e-300)

        def differences(value: float) -> Floats:
            # The two effects that differ by `value` and are the nearest to what they seem to be.
            of_task = task - (task - depth - value) * toward
            of_task = max(of_task, 0.0, value)
            return self.tasks(of_task) - self.depths(of_task - value)

        reach = 8 * float(np.sqrt(spread_task + spread_depth)) + 1e-9
        low = _solve(
            lambda value: float(np.mean(differences(value) >= raw)) - _TAIL,
            task - depth - reach,
            task - depth + reach,
        )
        high = _solve(
            lambda value: _TAIL - float(np.mean(differences(value) <= raw)),
            task - depth - reach,
            task - depth + reach,
        )
        return low, high

    def prompts_needed(self, effect: float) -> float | None:
        """See `prompts_needed`."""

        def power(log_factor: float) -> float:
            by = float(np.exp(-log_factor / 2))
            none = self.tasks(0.0, by) - self.depths(0.0, by)
            some = self.tasks(effect, by) - self.depths(0.0, by)
            return float(np.mean(some > np.quantile(none, 1 - _TAIL))) - 0.8

        low, high = -12.0, 12.0
        if power(low) > 0 or power(high) < 0:
            return None
        return self._prompts * float(np.exp(_solve(power, low, high)))


def _heavier(rng: np.random.Generator, freedom: Floats) -> Floats:
    """[draws, columns]: factors that make normal draws those of Student's t."""
    return np.sqrt(freedom / rng.chisquare(freedom, (DRAWS, len(freedom))))


def _solve(rising: Callable[[float], float], low: float, high: float) -> float:
    """The place where a rising function passes 0, by halving 40 times; an end where it does not."""
    for _ in range(40):
        middle = (low + high) / 2
        if rising(middle) > 0:
            high = middle
        else:
            low = middle
    return (low + high) / 2
