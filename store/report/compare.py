"""`spectui compare`: the figures of two sessions side by side, with the interval of their difference.

Where both ran the same prompts, the difference is taken prompt by prompt over those: what makes a prompt hard
is in both and cancels. Otherwise each session's prompts are resampled apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from store import metrics
from store.intervals import SEED
from store.reader import Reader
from store.report import published
from store.report.counts import ALPHAS, Ratio
from store.report.predictors import TITLES, Labels, jackknife_bias, r2, weighted, without_one
from store.report.read import Floats, Ints, Measured, read_session
from store.report.report import OVERALL, Analysis
from store.report.resampling import POSITIVE, RHO, SHARE, Draws, Pair, draw, interval, means, ratios
from store.rows import SessionSummary


@dataclass(frozen=True)
class Contrast:
    """A figure in two sessions. Intervals are 95 %; None is what cannot be known."""

    a: float | None
    ci_a: Pair | None
    b: float | None
    ci_b: Pair | None
    difference: float | None
    """b - a."""
    ci: Pair | None
    """Of the difference."""


@dataclass(frozen=True)
class GroupContrast:
    """One task, or all prompts."""

    name: str
    paired: bool
    """Whether the prompts are the same and differences are taken prompt by prompt."""
    prompts: tuple[int, int]
    """Compared of each session; equal when paired."""
    figures: dict[str, Contrast]
    """Acceptance by definition, expected_length_formula, accepted_length, tokens_per_round, draft_entropy,
    target_entropy, rho_match, rho_overlap, and hazard_1, survival_1, hazard_2, ... by depth."""


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
    """What was left out or wants care -> why."""


@dataclass(frozen=True)
class _Side:
    """Some prompts of one session, and how they were drawn."""

    analysis: Analysis
    chosen: Ints
    """Indices of prompts, in the order of the draws."""
    draws: Draws

    def ratio(self, name: str) -> Ratio:
        counts = self.analysis.counts
        found: Ratio = (counts.alphas | counts.lengths | counts.entropies)[name]
        return found.of(self.chosen)


_Drawn = tuple[float | None, Floats]
"""A figure and what it is in every resample."""


def compare_sessions(reader: Reader, a: int | str, b: int | str) -> Comparison:
    """Compare two sessions, each given by id, name or "last". Raises `StoreError` when there is none."""
    return comparison_of(read_session(reader, a), read_session(reader, b))


def comparison_of(a: Measured, b: Measured) -> Comparison:
    """Compare what was read of two sessions."""
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
    pairs = _pairs(a, b)
    tasks = {
        name: _group(name, *_sides(first, second, pairs, name))
        for name in first.counts.tasks
        if name in second.counts.tasks
    }
    for one, other in ((first, second), (second, first)):
        alone = [name for name in one.counts.tasks if name not in other.counts.tasks]
        if alone:
            notes[f"task {', '.join(alone)}"] = f"only in '{one.data.summary.name}'"
    left, right = _sides(first, second, pairs, None)
    overall = _group(OVERALL, left, right)
    if overall.paired:
        for side in (left, right):
            out = side.analysis.counts.prompts - len(side.chosen)
            if out:
                name = side.analysis.data.summary.name
                notes[f"{out} prompts of '{name}'"] = "left out, as the other session has no rounds of them"
    else:
        notes["pairs"] = "the sessions share fewer than two prompts, so each was resampled by itself"
    return Comparison(a.summary, b.summary, tasks, overall, _predictors(left, right), notes)


def _circumstances(a: Measured, b: Measured) -> dict[str, str]:
    notes = {}
    for each in (a, b):
        if each.summary.live:
            notes[f"session '{each.summary.name}'"] = (
                f"it is {each.summary.status}: these are the figures so far"
            )
        if each.summary.pruned:
            notes[f"pruned prompts of '{each.summary.name}'"] = (
                f"{each.summary.pruned} are left out: their nodes were given up (--keep-nodes)"
            )
    if a.summary.id == b.summary.id:
        notes["sessions"] = "both are the same"
    if a.summary.study != b.summary.study:
        one = next(each.summary.name for each in (a, b) if each.summary.study)
        notes["set-up"] = f"only '{one}' is set up as the study"
    if a.summary.tree != b.summary.tree:
        notes["trees"] = f"{a.summary.tree} and {b.summary.tree}: means over nodes are of different nodes"
    return notes


def _pairs(a: Measured, b: Measured) -> list[tuple[int, int]]:
    """Indices of the same prompt in both: same task and text, the n-th of one with the n-th of the other."""

    def keyed(data: Measured) -> dict[tuple[str, str, int], int]:
        seen: dict[tuple[str, str], int] = {}
        found = {}
        for index, prompt in enumerate(data.prompts):
            key = (prompt.task, prompt.prompt_text)
            seen[key] = seen.get(key, 0) + 1
            found[*key, seen[key]] = index
        return found

    others = keyed(b)
    return [(index, others[key]) for key, index in keyed(a).items() if key in others]


def _sides(
    first: Analysis, second: Analysis, pairs: Sequence[tuple[int, int]], task: str | None
) -> tuple[_Side, _Side]:
    """The prompts of a task, or all for None, that are compared; sides share their draws when paired."""
    chosen = [p for p in pairs if task is None or first.data.prompts[p[0]].task == task]
    if len(chosen) >= 2:
        left, right = (np.array(side, dtype=np.int64) for side in zip(*chosen, strict=True))
        draws = draw(first.counts.task[left])
        return _Side(first, left, draws), _Side(second, right, draws)
    return _alone(first, task, SEED), _alone(second, task, SEED + 1)


def _alone(analysis: Analysis, task: str | None, seed: int) -> _Side:
    counts = analysis.counts
    chosen = np.array(
        [i for i, p in enumerate(analysis.data.prompts) if task is None or p.task == task], dtype=np.int64
    )
    return _Side(analysis, chosen, draw(counts.task[chosen], seed=seed))


def _group(name: str, a: _Side, b: _Side) -> GroupContrast:
    paired = a.draws is b.draws
    figures: dict[str, Contrast] = {}
    for key in (*ALPHAS, "accepted_length", "tokens_per_round", "draft_entropy", "target_entropy"):
        within = SHARE if key in ALPHAS else POSITIVE
        figures[key] = _of_means(a, b, a.ratio(key).per_prompt, b.ratio(key).per_prompt, within)
        if key == ALPHAS[-1]:
            figures["expected_length_formula"] = _of_chains(a, b)
    for side in ("match", "overlap"):
        left, right = (each.analysis.rhos["draft", side][each.chosen] for each in (a, b))
        figures[f"rho_{side}"] = _of_means(a, b, left, right, RHO)
    figures |= _of_hazards(a, b)
    return GroupContrast(name, paired, (len(a.chosen), len(b.chosen)), figures)


def _of_means(a: _Side, b: _Side, left: Floats, right: Floats, within: Pair) -> Contrast:
    """Of means over prompts; `left` and `right` are the values of the sides' prompts."""
    left, right = _both(a, b, left, right)
    return _contrast(a, b, _mean(a, left), _mean(b, right), _known(left, right), within)


def _of_chains(a: _Side, b: _Side) -> Contrast:
    """Of the chain formula of the published definition, each to the depth of its own session."""
    left, right = _both(
        a, b, a.ratio(published.DEFINITION).per_prompt, b.ratio(published.DEFINITION).per_prompt
    )

    def chain(side: _Side, values: Floats) -> _Drawn:
        depth = side.analysis.data.max_depth
        mean, drawn = _mean(side, values)
        lengths: Floats = np.sum([drawn**d for d in range(1, depth + 1)], axis=0) + np.zeros_like(drawn)
        return None if mean is None else metrics.chain_expected_length(mean, depth), lengths

    return _contrast(a, b, chain(a, left), chain(b, right), _known(left, right), POSITIVE)


def _of_hazards(a: _Side, b: _Side) -> dict[str, Contrast]:
    """Hazard and survival by depth on the path, of all rounds together."""
    found: dict[str, Contrast] = {}
    survivals: list[_Drawn] = [(1.0, np.ones(len(side.draws.weights))) for side in (a, b)]
    of_a, of_b = (_on_path(side) for side in (a, b))
    for depth, (left, right) in enumerate(zip(of_a, of_b, strict=False), 1):
        hazards = [
            (
                metrics.hazard(int(ratio.top.sum()), int(ratio.bottom.sum())),
                ratios(side.draws.weights @ ratio.top, side.draws.weights @ ratio.bottom),
            )
            for side, ratio in ((a, left), (b, right))
        ]
        survivals = [
            (None if value is None or before[0] is None else value * before[0], drawn * before[1])
            for (value, drawn), before in zip(hazards, survivals, strict=True)
        ]
        known = (int(np.count_nonzero(left.bottom)), int(np.count_nonzero(right.bottom)))
        found[f"hazard_{depth}"] = _contrast(a, b, hazards[0], hazards[1], known, SHARE)
        found[f"survival_{depth}"] = _contrast(a, b, survivals[0], survivals[1], known, SHARE)
    return found


def _on_path(side: _Side) -> list[Ratio]:
    return [ratio.of(side.chosen) for ratio in side.analysis.counts.on_path]


def _both(a: _Side, b: _Side, left: Floats, right: Floats) -> tuple[Floats, Floats]:
    """Values of pairs of which both are known; of unpaired sides, all."""
    if a.draws is not b.draws:
        return left, right
    known = np.isfinite(left) & np.isfinite(right)
    # A side that knows nothing at all, such as a drafter without probabilities, says nothing about the other.
    if not known.any():
        return left, right
    return np.where(known, left, np.nan), np.where(known, right, np.nan)


def _mean(side: _Side, values: Floats) -> _Drawn:
    known = values[np.isfinite(values)]
    return (float(known.mean()) if len(known) else None), means(side.draws, values)


def _known(left: Floats, right: Floats) -> tuple[int, int]:
    return int(np.isfinite(left).sum()), int(np.isfinite(right).sum())


def _contrast(
    a: _Side, b: _Side, left: _Drawn, right: _Drawn, known: tuple[int, int], within: Pair
) -> Contrast:
    """`known` is how many prompts of each side have the figure."""
    (of_a, drawn_a), (of_b, drawn_b) = left, right
    difference, ci = None, None
    if of_a is not None and of_b is not None:
        difference = of_b - of_a
        paired = a.draws is b.draws
        prompts = min(known) if paired else sum(known)
        strata = a.draws.strata if paired else a.draws.strata + b.draws.strata
        ci = interval(drawn_b - drawn_a, prompts, strata)
    return Contrast(
        of_a,
        None if of_a is None else interval(drawn_a, known[0], a.draws.strata, within=within),
        of_b,
        None if of_b is None else interval(drawn_b, known[1], b.draws.strata, within=within),
        difference,
        ci,
    )


def _predictors(a: _Side, b: _Side) -> dict[str, Contrast]:
    """R2 of every predictor that both sessions have, corrected as in a report."""
    of_a, of_b = (side.analysis.labels()[0] for side in (a, b))
    return {name: _of_r2(a, b, of_a[name], of_b[name]) for name in TITLES if name in of_a and name in of_b}


def _of_r2(a: _Side, b: _Side, left: Labels, right: Labels) -> Contrast:
    (corrected_a, drawn_a), (corrected_b, drawn_b) = (
        _r2(side, each) for side, each in ((a, left), (b, right))
    )
    sizes = [int((each.sizes[side.chosen] > 0).sum()) for side, each in ((a, left), (b, right))]
    return _contrast(a, b, (corrected_a, drawn_a), (corrected_b, drawn_b), (sizes[0], sizes[1]), SHARE)


def _r2(side: _Side, labels: Labels) -> _Drawn:
    """R2 less its bias, and resamples moved by twice that of theirs; see `predictors.predictor`."""
    some = labels.of(side.chosen)
    (raw,) = r2(some.table.sum(axis=0)[None])
    if not np.isfinite(raw):
        return None, np.full(len(side.draws.weights), np.nan)
    used = some.sizes > 0
    bias = jackknife_bias(r2(np.maximum(without_one(some), 0.0))[used], float(raw), side.draws.task[used])
    drawn = r2(weighted(some, side.draws.weights))
    return float(raw - bias if np.isfinite(bias) else raw), drawn - 2 * (np.nanmean(drawn) - raw)
