"""Information about `match` in each predictor: task, depth, rank, draft entropy and draft probability.

Every predictor is a set of labels on nodes (numbers in tenths). Then a logistic model with one parameter per
label fits the shares themselves, so McFadden's R2 = 1 - D / D0 is the mutual information over the entropy
of the outcome, and both follow from one table per prompt: how many nodes of each label match. Prompts weigh
equally: each prompt's table is divided by its nodes.

Plug-in information is biased upwards, with clustered nodes far more than Miller and Madow's count of cells
over nodes says (Miller 1955): prompts that differ by chance make tasks that differ. So the bias is taken from
leaving out one prompt at a time (the jackknife, stratified by task); Miller-Madow's figure stands beside it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from spectui.store.analysis.columns import Measured
from spectui.store.analysis.counts import Counts
from spectui.store.analysis.nulls import Units, permuted_labels, permuted_tasks, tasks_p
from spectui.store.analysis.resampling import RESAMPLES, SEED, SHARE, Draws, interval
from spectui.store.counts.intervals import Pair
from spectui.store.counts.median import LEVEL
from spectui.store.reading.columns import Bools, Floats, Ints
from spectui.store.sources import lacking

BINS = 10
TITLES = {
    "task": "task",
    "depth": "depth",
    "rank": "rank",
    "draft_entropy": "draft entropy",
    "draft_p": "draft probability",
}
"""The predictors -> what they are called."""
WHOLE = ("depth", "draft_entropy")
"""Predictors that the children of one parent share."""


@dataclass(frozen=True)
class Predictor:
    """The information of one predictor about which nodes match. Intervals are 95 %, from resampling prompts."""

    name: str
    mutual_information_bits: float
    """Corrected by the jackknife over prompts; around 0, and as often below, where there is nothing to find."""
    mutual_information_plug_in: float
    mutual_information_miller_madow: float
    mcfadden_r2: float
    """Raw."""
    mcfadden_r2_corrected: float
    """As the information is."""
    r2_per_df: float
    df: int
    """Labels less one."""
    ci: Pair | None
    """The interval of the corrected McFadden R2, not below 0."""
    null_p: float | None
    """Share of permutations that explain as much, of tasks by Welch's statistic; see `_units` for other labels."""
    null_r2: float | None
    """Mean R2 of these permutations."""
    null_high: float | None
    """Their 95 % quantile: what chance alone seldom exceeds."""
    nodes: int


@dataclass(frozen=True)
class Labels:
    """A predictor's labels counted: per prompt, and in the groups that permutations shuffle."""

    name: str
    table: Floats
    """[prompts, labels, 2]: nodes that do not match, and that do; each prompt's sum to 1, or to 0 without nodes."""
    sizes: Floats
    """[prompts]: nodes with a label."""
    units: Units
    """The units that are shuffled to see what chance explains."""

    @property
    def df(self) -> int:
        """Labels less one."""
        return int(self.table.shape[1]) - 1

    def select(self, chosen: Ints) -> Labels:
        """The labels of some of the prompts, by index; the groups of all stay."""
        return replace(self, table=self.table[chosen], sizes=self.sizes[chosen])


def label(counts: Counts, name: str) -> Labels | str:
    """The labels of one predictor counted, or the reason that there is nothing to count."""
    data = counts.data
    known = data.judged
    if len(known) and not known.any():
        return lacking(data.summary.source) or "it is not known which nodes match"
    if name == "task":
        values = counts.task[data.node_prompt]
    elif name in ("depth", "rank"):
        values = data.depth if name == "depth" else data.rank
    else:
        numbers = data.draft_p if name == "draft_p" else data.draft_entropy
        known = known & np.isfinite(numbers)
        if not known.any():
            return "the drafter has no probabilities"
        edges = np.unique(np.quantile(numbers[known], np.arange(1, BINS) / BINS))
        values = np.searchsorted(edges, numbers, side="right")
    if not known.any():
        return "there are no nodes"
    names, codes = np.unique(values[known], return_inverse=True)
    if len(names) < 2:
        return f"all nodes have the same {TITLES[name]}"
    return _counted(counts, name, codes.astype(np.int64), len(names), known)


def _counted(counts: Counts, name: str, codes: Ints, labels: int, known: Bools) -> Labels | str:
    data = counts.data
    matched = data.match[known].astype(np.int64)
    if matched.all() or not matched.any():
        return "every node matches" if matched.any() else "no node matches"
    owner = data.node_prompt[known]
    cells = np.bincount((owner * labels + codes) * 2 + matched, minlength=counts.prompts * labels * 2)
    table = cells.reshape(counts.prompts, labels, 2).astype(np.float64)
    sizes = table.sum(axis=(1, 2))
    units = _units(data, name, codes, labels, known)
    return Labels(name, table / np.maximum(sizes, 1)[:, None, None], sizes, units)


def _units(data: Measured, name: str, codes: Ints, labels: int, known: Bools) -> Units:
    """The units that are shuffled whole: families (whose depth and entropy are one) within a prompt, on
    and off the path apart; ranks within a family; draft probabilities within a round."""
    owner, matched = data.node_prompt[known], data.match[known]
    if name not in WHOLE:
        group = (data.family if name == "rank" else data.node_round)[known]
        _, first, place = np.unique(group, return_index=True, return_inverse=True)
        prompt, width = owner[first], np.ones(len(first))
    else:
        _, first, members, sizes = np.unique(
            data.family[known], return_index=True, return_inverse=True, return_counts=True
        )
        codes, matched = codes[first], np.bincount(members, matched, len(first)) > 0
        on = data.on_path[known][first]
        key = (owner[first] * 2 + on) * (int(sizes.max(initial=0)) + 1) + sizes
        _, chosen, place = np.unique(key, return_index=True, return_inverse=True)
        prompt, width = owner[first][chosen], sizes[chosen].astype(np.float64)
    groups = len(prompt)
    counted = np.bincount(place * labels + codes, minlength=groups * labels).reshape(groups, labels)
    return Units(
        counted.astype(np.float64), np.bincount(place, matched, groups).astype(np.float64), width, prompt
    )


def information(tables: Floats) -> tuple[Floats, Floats]:
    """Mutual information of label and outcome, and the outcome's entropy, both nats, each [rows].

    `tables` [rows, labels, 2] are joint weights of any sum; NaN where a row has none.
    """
    from scipy.special import xlogy

    total = tables.sum(axis=(1, 2))
    with np.errstate(divide="ignore", invalid="ignore"):
        joint = tables / total[:, None, None]
    labels, outcomes = joint.sum(axis=2), joint.sum(axis=1)
    outcome_entropy = -xlogy(outcomes, outcomes).sum(axis=1)
    label_entropy = -xlogy(labels, labels).sum(axis=1)
    joint_entropy = -xlogy(joint, joint).sum(axis=(1, 2))
    return np.maximum(label_entropy + outcome_entropy - joint_entropy, 0.0), outcome_entropy


def r2(tables: Floats) -> Floats:
    """McFadden's R2 of each table, [rows]; NaN where the outcome is constant."""
    nats, entropy = information(tables)
    with np.errstate(divide="ignore", invalid="ignore"):
        share: Floats = np.where(entropy > 1e-12, nats / entropy, np.nan)
    return share


def weighted(labels: Labels, weights: Floats) -> Floats:
    """[rows, labels, 2]: the tables of prompts drawn with `weights` [rows, prompts]."""
    prompts = len(labels.table)
    tables: Floats = (weights @ labels.table.reshape(prompts, -1)).reshape(
        len(weights), *labels.table.shape[1:]
    )
    return tables


def jackknife_bias(values: Floats, whole: float, stratum: Ints) -> float:
    """Bias of a figure from its `values` [prompts] with one prompt left out each; `whole` is it with all.

    Summed over strata: (n_h - 1) (mean of the stratum's values - whole). A prompt alone in its stratum
    cannot be left out, and adds nothing. NaN when a value is.
    """
    bias = 0.0
    for each in np.unique(stratum):
        inside = values[stratum == each]
        bias += (len(inside) - 1) * (float(inside.mean()) - whole)
    return bias


def resampled_r2(labels: Labels, draws: Draws) -> Floats:
    """[resamples]: R2 of the prompts drawn."""
    return r2(weighted(labels, draws.weights))


def without_one(labels: Labels) -> Floats:
    """[prompts, labels, 2]: the table without each prompt in turn."""
    tables: Floats = labels.table.sum(axis=0)[None] - labels.table
    return tables


def predictor(labels: Labels, draws: Draws, task: Ints) -> Predictor:
    """Everything about one predictor; `task` [prompts]."""
    whole = labels.table.sum(axis=0)[None]
    (nats,), (entropy,) = information(whole)
    raw = float(nats / entropy)
    without = np.maximum(without_one(labels), 0.0)
    used = labels.sizes > 0
    nats_left, r2_left = information(without)[0][used], r2(without)[used]
    bits_bias = jackknife_bias(nats_left, float(nats), task[used]) / np.log(2)
    r2_bias = jackknife_bias(r2_left, raw, task[used])
    bits = float(nats / np.log(2))
    cells = labels.df / (2 * labels.sizes.sum() * np.log(2))  # two outcomes less one
    drawn = resampled_r2(labels, draws)
    null = _null(labels, task)
    # A resample is biased once more than the figure itself is, so both biases are taken off.
    shift = 2 * (float(np.nanmean(drawn)) - raw)
    ci = interval(drawn, int(used.sum()), draws.strata, shift=shift, within=SHARE)
    return Predictor(
        name=labels.name,
        mutual_information_bits=bits - bits_bias if np.isfinite(bits_bias) else bits - cells,
        mutual_information_plug_in=bits,
        mutual_information_miller_madow=bits - float(cells),
        mcfadden_r2=raw,
        mcfadden_r2_corrected=raw - r2_bias if np.isfinite(r2_bias) else raw,
        r2_per_df=raw / labels.df,
        df=labels.df,
        ci=ci,
        null_p=_null_p(labels, task, null, raw),
        null_r2=None if null is None else float(null.mean()),
        null_high=None if null is None else float(np.quantile(null, LEVEL)),
        nodes=int(labels.sizes.sum()),
    )


def _null_p(labels: Labels, task: Ints, null: Floats | None, raw: float) -> float | None:
    if labels.name == "task":
        shares = np.where(labels.sizes > 0, labels.table.sum(axis=1)[:, 1], np.nan)
        share = float(labels.table.sum(axis=(0, 1))[1] / labels.table.sum())
        chance = share * (1 - share) / np.maximum(labels.sizes, 1.0)
        return tasks_p(shares, chance, task, RESAMPLES, np.random.default_rng(SEED + 1))
    return None if null is None else float((1 + np.sum(null >= raw * (1 - 1e-9))) / (1 + len(null)))


def _null(labels: Labels, task: Ints) -> Floats | None:
    rng = np.random.default_rng(SEED + 1)
    used = labels.sizes > 0
    if labels.name == "task":
        if used.sum() < 3:
            return None
        shares = labels.table[used].sum(axis=1)[:, 1]
        return r2(permuted_tasks(shares, task[used], RESAMPLES, rng))
    weight = np.divide(1.0, labels.sizes, out=np.zeros_like(labels.sizes), where=used)
    tables = permuted_labels(labels.units, weight[labels.units.prompt], RESAMPLES, rng)
    return None if tables is None else r2(tables)
