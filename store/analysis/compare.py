"""`spectui compare`: the figures of two sessions side by side, with the interval of their difference.

Where both ran the same prompts, the difference is taken prompt by prompt over those: what makes a prompt hard
is in both and cancels. Otherwise the sessions are taken apart, each task weighing as much in one as in the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from spectui.store.analysis import published
from spectui.store.analysis.columns import Measured, read_session
from spectui.store.analysis.contrast import Contrast, Prompts, contrast, scaled
from spectui.store.analysis.counts import ALPHAS, Ratio
from spectui.store.analysis.predictors import TITLES, Labels, jackknife_bias, r2, weighted, without_one
from spectui.store.analysis.report import OVERALL, Analysis
from spectui.store.analysis.resampling import POSITIVE, RHO, SEED, SHARE, Draws, draw, interval
from spectui.store.analysis.settings import differing_settings, same_sampling, same_trees
from spectui.store.counts import metrics
from spectui.store.counts.intervals import Figure, Pair, mean_of
from spectui.store.reading.columns import Floats, Ints
from spectui.store.reading.reader import Reader
from spectui.store.reading.steps import rounds_alike
from spectui.store.rows import SessionSummary

PRIMARY = "tokens_per_round"
"""The one figure that a comparison is about; all others describe."""
FEWEST_PAIRS = 2
"""The same prompts in both from which on they are compared with themselves alone, in every task that has one."""
COMPARABLE = (PRIMARY, "accepted_length", "survival")
"""Figures that mean the same whatever the trees are."""


@dataclass(frozen=True)
class GroupContrast:
    """One task, or all prompts."""

    name: str
    paired: bool
    """True when the prompts are the same and differences are taken prompt by prompt."""
    prompts: tuple[int, int]
    """Compared of each session; equal when paired."""
    figures: dict[str, Contrast]
    """tokens_per_round, accepted_length, acceptance by definition, expected_length_formula, draft_entropy,
    target_entropy, rho_match, rho_overlap, and survival_1, hazard_1, survival_2, ... by depth."""


@dataclass(frozen=True)
class Comparison:
    """Two sessions, a and b."""

    a: SessionSummary
    b: SessionSummary
    tasks: dict[str, GroupContrast]
    """Those that both have."""
    overall: GroupContrast | None
    """None when one of them has no round yet."""
    predictors: dict[str, Contrast]
    """McFadden's R2 without the bias of few prompts, of all compared prompts together."""
    notes: dict[str, str]
    """Omissions and cautions -> the reason."""

    @property
    def intervals(self) -> int:
        """Intervals of differences; one in twenty leaves out 0 by chance alone."""
        groups = [*self.tasks.values(), *([self.overall] if self.overall else [])]
        figures = [each for group in groups for each in group.figures.values()]
        return sum(each.ci is not None for each in (*figures, *self.predictors.values()))


@dataclass(frozen=True)
class _Side:
    """Some prompts of one session."""

    analysis: Analysis
    chosen: Ints
    """Indices of prompts; the n-th of both sides are the same where they are paired."""
    prompts: Prompts

    def ratio(self, name: str) -> Ratio:
        counts = self.analysis.counts
        ratio: Ratio = (counts.alphas | counts.lengths | counts.entropies)[name]
        return ratio.select(self.chosen)


@dataclass(frozen=True)
class _Sides:
    a: _Side
    b: _Side
    paired: bool
    comparable: bool
    """True when nodes are of the same trees, and sampled the same way."""

    def contrast(
        self, key: str, a: Figure, b: Figure, within: Pair, within_b: Pair | None = None
    ) -> Contrast:
        """The figure of both sides; `within_b` is the range of b where it is another than that of a."""
        return contrast(
            a,
            b,
            self.a.prompts,
            self.b.prompts,
            (within, within_b or within),
            paired=self.paired,
            comparable=self.comparable or key.startswith(COMPARABLE),
        )


def compare_sessions(reader: Reader, a: int | str, b: int | str) -> Comparison:
    """Compare two sessions, each given by id, name or "last". Raises `StoreError` when there is none."""
    comparison = comparison_of(read_session(reader, a), read_session(reader, b))
    if comparison.a.server is not None or comparison.b.server is not None:
        comparison.notes.update(_rounds_alike(reader, comparison))
    return comparison


def _rounds_alike(reader: Reader, comparison: Comparison) -> dict[str, str]:
    """A note on rounds one by one, for engines that count the ends of outputs in ways of their own."""
    with reader.snapshot():
        alike = rounds_alike(reader, comparison.a.id, comparison.b.id)
    if not alike.rounds:
        return {}
    rest = alike.rounds - alike.same
    words = f"{alike.rounds:,}, of which {alike.same:,} accept as many tokens"
    if rest:
        words += f"; of the other {rest:,}, {alike.last:,} end their output, where engines count in ways of their own"
    return {"rounds at the same place of the same output": words}


def comparison_of(a: Measured, b: Measured) -> Comparison:
    """Compare two sessions that have been read."""
    notes = _circumstances(a, b)
    if not (a.prompts and b.prompts):
        empty = " and ".join(f"'{each.summary.name}'" for each in (a, b) if not each.prompts)
        return Comparison(
            a.summary,
            b.summary,
            {},
            None,
            {},
            notes | {"everything": f"no round, or none with its nodes, in {empty}"},
        )
    first, second = Analysis(a), Analysis(b)
    comparable = same_trees(a, b) and same_sampling(a, b)
    pairs = _pairs(a, b)
    pairs = pairs if len(pairs) >= FEWEST_PAIRS else []
    common = [name for name in first.counts.tasks if name in second.counts.tasks]
    tasks = {name: _group(name, _sides(first, second, pairs, [name], comparable)) for name in common}
    for one, other in ((first, second), (second, first)):
        alone = [name for name in one.counts.tasks if name not in other.counts.tasks]
        if alone:
            notes[f"task {', '.join(alone)}"] = f"only in '{one.data.summary.name}'"
    sides = _sides(first, second, pairs, common, comparable)
    overall = _group(OVERALL, sides)
    if overall.paired:
        for side in (sides.a, sides.b):
            out = side.analysis.counts.prompts - len(side.chosen)
            if out:
                name = side.analysis.data.summary.name
                prompts = f"{out} prompt{'s' * (out != 1)} of '{name}'"
                notes[prompts] = "left out of the pairs, as the other session has no rounds of them"
    else:
        notes["pairs"] = "the sessions share fewer than two prompts, so each is taken by itself"
        if not common:
            notes["tasks"] = "none is in both, so that all prompts differ by their tasks, too"
        elif len(common) > 1 and _mix(sides.a) != _mix(sides.b):
            notes["all prompts"] = (
                "each task counts on both sides as often as it has prompts in both together"
            )
    predictors = (
        _predictors(sides) if comparable and (overall.paired or _mix(sides.a) == _mix(sides.b)) else {}
    )
    comparison = Comparison(a.summary, b.summary, tasks, overall, predictors, notes)
    if comparison.intervals >= 10:
        notes["chance"] = (
            f"of {comparison.intervals} intervals of differences about {round(comparison.intervals / 20)} leave out 0"
            " by chance alone; what is compared first is tokens per round, all prompts"
        )
    return comparison


def _circumstances(a: Measured, b: Measured) -> dict[str, str]:
    notes = {}
    for each in (a, b):
        if each.summary.live:
            notes[f"session '{each.summary.name}'"] = (
                f"it is {each.summary.status}: these are the figures so far"
            )
        if each.left_out:
            what = ", ".join(f"{count} {status}" for status, count in each.left_out.items())
            notes[f"prompts of '{each.summary.name}' that did not finish"] = f"{what}, left out"
        if each.summary.pruned:
            notes[f"pruned prompts of '{each.summary.name}'"] = (
                f"{each.summary.pruned} are left out: their nodes were given up (--keep-nodes)"
            )
    if a.summary.id == b.summary.id:
        notes["sessions"] = "both are the same"
    if a.summary.study != b.summary.study:
        one = next(each.summary.name for each in (a, b) if each.summary.study)
        notes["set-up"] = f"only '{one}' is set up as the study"
    differing = differing_settings(a.summary, b.summary)
    if differing:
        notes["settings that differ"] = ", ".join(differing)
    if not (same_trees(a, b) and same_sampling(a, b)):
        what = "trees" if same_sampling(a, b) else "sampling"
        notes[what] = (
            "they differ, so that acceptance, entropies, hazards and correlations are of other nodes: they are shown "
            "and not compared; tokens per round, accepted length and survival are"
        )
    return notes


def _pairs(a: Measured, b: Measured) -> list[tuple[int, int]]:
    """Indices of the same prompt in both: same task and text, the n-th of one with the n-th of the other."""

    def keyed(data: Measured) -> dict[tuple[str, str, int], int]:
        seen: dict[tuple[str, str], int] = {}
        places = {}
        for index, prompt in enumerate(data.prompts):
            key = (prompt.task, prompt.prompt_text)
            seen[key] = seen.get(key, 0) + 1
            places[*key, seen[key]] = index
        return places

    others = keyed(b)
    return [(index, others[key]) for key, index in keyed(a).items() if key in others]


def _sides(
    first: Analysis,
    second: Analysis,
    pairs: Sequence[tuple[int, int]],
    tasks: Sequence[str],
    comparable: bool,
) -> _Sides:
    """The prompts of these tasks that are compared; of all where there are none."""
    chosen = [p for p in pairs if first.data.prompts[p[0]].task in tasks]
    if chosen:
        first_indices, second_indices = (np.array(side, dtype=np.int64) for side in zip(*chosen, strict=True))
        task = first.counts.task[first_indices]
        a, b = (
            _Side(each, indices, Prompts(task, np.ones(len(indices))))
            for each, indices in ((first, first_indices), (second, second_indices))
        )
        return _Sides(a, b, paired=True, comparable=comparable)
    of_a, of_b = (
        np.array([i for i, p in enumerate(each.data.prompts) if not tasks or p.task in tasks], dtype=np.int64)
        for each in (first, second)
    )
    names = [
        [each.data.prompts[i].task for i in indices] for each, indices in ((first, of_a), (second, of_b))
    ]
    both = [*names[0], *names[1]]

    def side(each: Analysis, indices: Ints, its_tasks: list[str]) -> _Side:
        # As often as both have a task together, over as often as this one has it.
        weight = (
            [both.count(t) / len(both) / (its_tasks.count(t) / len(its_tasks)) for t in its_tasks]
            if tasks
            else [1.0] * len(its_tasks)
        )
        return _Side(each, indices, Prompts(each.counts.task[indices], np.array(weight)))

    return _Sides(
        side(first, of_a, names[0]), side(second, of_b, names[1]), paired=False, comparable=comparable
    )


def _mix(side: _Side) -> dict[str, float]:
    """The share of the prompts that each task has."""
    names = [side.analysis.data.prompts[i].task for i in side.chosen]
    return {name: round(names.count(name) / len(names), 9) for name in set(names)}


def _group(name: str, sides: _Sides) -> GroupContrast:
    a, b = sides.a, sides.b
    figures: dict[str, Contrast] = {}
    for key in (PRIMARY, "accepted_length"):
        of_a, of_b = (side.ratio(key).figure(side.prompts.weight) for side in (a, b))
        ranges = (side.analysis.length_range(key) for side in (a, b))
        figures[key] = sides.contrast(key, of_a, of_b, *ranges)
    for key in (*ALPHAS, "draft_entropy", "target_entropy"):
        within = SHARE if key in ALPHAS else POSITIVE
        figures[key] = _of_means(sides, key, a.ratio(key).per_prompt, b.ratio(key).per_prompt, within)
        if key == ALPHAS[-1]:
            figures["expected_length_formula"] = _of_chains(sides)
    for outcome in ("match", "overlap"):
        a_values, b_values = (each.analysis.rhos["draft", outcome][each.chosen] for each in (a, b))
        figures[f"rho_{outcome}"] = _of_means(sides, f"rho_{outcome}", a_values, b_values, RHO)
    for key in ("survival", "hazard"):
        for depth, (left_ratio, right_ratio) in enumerate(
            zip(_by_depth(a, key), _by_depth(b, key), strict=False), 1
        ):
            of_a, of_b = left_ratio.figure(a.prompts.weight), right_ratio.figure(b.prompts.weight)
            figures[f"{key}_{depth}"] = sides.contrast(f"{key}_{depth}", of_a, of_b, SHARE)
    return GroupContrast(name, sides.paired, (len(a.chosen), len(b.chosen)), figures)


def _by_depth(side: _Side, key: str) -> list[Ratio]:
    counts = side.analysis.counts
    return [ratio.select(side.chosen) for ratio in (counts.reached if key == "survival" else counts.on_path)]


def _of_means(sides: _Sides, key: str, a_values: Floats, b_values: Floats, within: Pair) -> Contrast:
    """The contrast of means over prompts; `a_values` and `b_values` are those of the sides' prompts."""
    a_values, b_values = _both(sides, a_values, b_values)
    of_a, of_b = mean_of(a_values, sides.a.prompts.weight), mean_of(b_values, sides.b.prompts.weight)
    return sides.contrast(key, of_a, of_b, within)


def _of_chains(sides: _Sides) -> Contrast:
    """The contrast of the chain formula of the published definition, each to the depths of its own trees."""
    a_values, b_values = (side.ratio(published.DEFINITION).per_prompt for side in (sides.a, sides.b))
    a_values, b_values = _both(sides, a_values, b_values)

    def depth_shares(side: _Side) -> list[float]:
        return side.analysis.counts.depth_shares(side.chosen)

    def chain(side: _Side, values: Floats) -> Figure:
        mean, shares = mean_of(values, side.prompts.weight), depth_shares(side)
        if mean.value is None:
            return mean
        slope = sum(share * d * mean.value ** (d - 1) for d, share in enumerate(shares, start=1))
        return scaled(mean, metrics.chain_expected_length(mean.value, shares), slope)

    formula = sides.contrast(
        "expected_length_formula", chain(sides.a, a_values), chain(sides.b, b_values), POSITIVE
    )
    alphas = _of_means(sides, published.DEFINITION, a_values, b_values, SHARE)

    def through(ci: Pair | None, side: _Side) -> Pair | None:
        """An interval taken through the formula, which grows with alpha, as in a report."""
        shares = depth_shares(side)
        low, high = (metrics.chain_expected_length(end, shares) for end in ci or (0.0, 0.0))
        return None if ci is None else (low, high)

    return replace(formula, ci_a=through(alphas.ci_a, sides.a), ci_b=through(alphas.ci_b, sides.b))


def _both(sides: _Sides, a_values: Floats, b_values: Floats) -> tuple[Floats, Floats]:
    """Values of pairs of which both are known; of unpaired sides, all."""
    if not sides.paired:
        return a_values, b_values
    known = np.isfinite(a_values) & np.isfinite(b_values)
    # A side that knows nothing at all, such as a drafter without probabilities, says nothing about the other.
    if not known.any():
        return a_values, b_values
    return np.where(known, a_values, np.nan), np.where(known, b_values, np.nan)


def _predictors(sides: _Sides) -> dict[str, Contrast]:
    """R2 of every predictor that both sessions have, corrected as in a report."""
    draws = draw(sides.a.prompts.task)
    drawn = (draws, draws if sides.paired else draw(sides.b.prompts.task, seed=SEED + 1))
    of_a, of_b = (side.analysis.labels()[0] for side in (sides.a, sides.b))
    return {
        name: _of_r2(sides, (of_a[name], of_b[name]), drawn)
        for name in TITLES
        if name in of_a and name in of_b
    }


def _of_r2(sides: _Sides, labels: tuple[Labels, Labels], draws: tuple[Draws, Draws]) -> Contrast:
    (a, drawn_a, size_a), (b, drawn_b, size_b) = (
        _r2(side, each, its_draws)
        for side, each, its_draws in zip((sides.a, sides.b), labels, draws, strict=True)
    )
    difference = None if a is None or b is None else b - a
    prompts = min(size_a, size_b) if sides.paired else size_a + size_b
    strata = draws[0].strata if sides.paired else draws[0].strata + draws[1].strata
    return Contrast(
        a,
        None if a is None else interval(drawn_a, size_a, draws[0].strata, within=SHARE),
        b,
        None if b is None else interval(drawn_b, size_b, draws[1].strata, within=SHARE),
        difference,
        None if difference is None else interval(drawn_b - drawn_a, prompts, strata),
    )


def _r2(side: _Side, labels: Labels, draws: Draws) -> tuple[float | None, Floats, int]:
    """R2 less its bias, resamples moved by twice that of theirs (see `predictors.predictor`), prompts."""
    some = labels.select(side.chosen)
    (raw,) = r2(some.table.sum(axis=0)[None])
    used = some.sizes > 0
    if not np.isfinite(raw):
        return None, np.full(len(draws.weights), np.nan), 0
    bias = jackknife_bias(r2(np.maximum(without_one(some), 0.0))[used], float(raw), draws.task[used])
    drawn = r2(weighted(some, draws.weights))
    value = float(raw - bias if np.isfinite(bias) else raw)
    return value, drawn - 2 * (np.nanmean(drawn) - raw), int(used.sum())
