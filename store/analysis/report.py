"""`spectui report`: everything about one session, as data that text, HTML, CSV and JSON are made from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from spectui.store.analysis import clusters, correlation, figures, published
from spectui.store.analysis.columns import Measured, read_session
from spectui.store.analysis.contrast import (
    Prompts,
    ReplicaFactor,
    TaskContrasts,
    replica_factor,
    task_contrasts,
)
from spectui.store.analysis.counts import Counts
from spectui.store.analysis.figures import GroupFigures
from spectui.store.analysis.predictors import TITLES, Labels, Predictor, label, predictor
from spectui.store.analysis.resampling import POSITIVE, SHARE, Draws, draw
from spectui.store.analysis.spending import Spending, device_spending, spending
from spectui.store.analysis.verdict import CLAIM, Verdict, judge, sentence
from spectui.store.counts import metrics
from spectui.store.counts.intervals import Figure, mean_of
from spectui.store.explained import explained_words
from spectui.store.reading.columns import Bools, Floats, Progress, silent
from spectui.store.reading.devices import DeviceFigures, device_figures
from spectui.store.reading.reader import Reader
from spectui.store.reading.replicas import replicas
from spectui.store.rows import SessionSummary
from spectui.store.sources import lacking

OVERALL = "all"
FEWEST_ALIKE = 5
"""Prompts of a task from which on it is said how alike their nodes are."""


@dataclass(frozen=True)
class Report:
    """A session's figures. What cannot be computed is None or missing, and `notes` says why."""

    session: SessionSummary
    tasks: dict[str, GroupFigures]
    """In the order in which the tasks first appear."""
    overall: GroupFigures | None
    """All prompts; None before the first round."""
    predictors: dict[str, Predictor | None]
    """By name, see `predictors.TITLES`."""
    task_minus_depth: Verdict | None
    verdict: str
    """One sentence about the published claim."""
    notes: dict[str, str]
    """Missing figures and cautions -> the reason."""
    contrasts: dict[str, TaskContrasts] = field(default_factory=dict)
    """Each task less each other: accepted length, and acceptance by the published definition."""
    spending: tuple[Spending, ...] = ()
    """Costs of a million tokens by task; empty before the first round and on several classes of devices."""
    devices: tuple[DevicePart, ...] = ()
    """The classes of devices where there are several."""
    replicas: ReplicaFactor | None = None
    """The replica as a factor, where several decoded the session."""


@dataclass(frozen=True)
class DevicePart:
    """The part of a session that one of several classes of devices decoded."""

    figures: DeviceFigures
    spending: tuple[Spending, ...]


class Analysis:
    """A session's counts with one set of draws; `compare` works on two of them."""

    def __init__(self, data: Measured) -> None:
        self.data = data
        self.counts = Counts(data)
        self.draws = draw(self.counts.task)
        self._ends = np.searchsorted(data.node_prompt, np.arange(self.counts.prompts + 1))
        match = np.where(data.judged, data.match.astype(np.float64), np.nan)
        self._sides = {"match": match, "overlap": data.overlap}
        self._entropies = {"draft": data.draft_entropy, "target": data.target_entropy}
        self.rhos: dict[tuple[str, str], Floats] = {
            (entropy, side): correlation.by_prompt(x, y, self._ends)
            for entropy, x in self._entropies.items()
            for side, y in self._sides.items()
        }
        """(entropy, outcome) -> [prompts], rho within each prompt."""

    def group(self, name: str, task: int | None) -> GroupFigures:
        """The figures of one task by its index, or of all prompts together for None."""
        counts = self.counts
        chosen = np.ones(counts.prompts, np.bool_) if task is None else counts.task == task
        draws = self.draws if task is None else self.draws.of_task(task)
        of = counts.task[chosen]
        alpha = {key: figures.estimate(r.select(chosen), of, SHARE) for key, r in counts.alphas.items()}
        lengths = {
            key: figures.estimate_over_rounds(r.select(chosen), of, self.length_range(key))
            for key, r in counts.lengths.items()
        }
        entropies = {
            key: figures.estimate(r.select(chosen), of, POSITIVE) for key, r in counts.entropies.items()
        }
        on_path = [ratio.select(chosen) for ratio in counts.on_path]
        off_path = [ratio.select(chosen) for ratio in counts.off_path] if self.data.judged.any() else []
        alike = self._clustering(chosen, draws)
        return GroupFigures(
            name=name,
            prompts=int(chosen.sum()),
            rounds=int(counts.rounds[chosen].sum()),
            nodes=int(counts.nodes[chosen].sum()),
            alpha=alpha,
            expected_length={
                k: figures.chain_formula(a, counts.depth_shares(chosen)) for k, a in alpha.items()
            },
            accepted_length=lengths["accepted_length"],
            tokens_per_round=lengths["tokens_per_round"],
            on_path=figures.steps_on_path(on_path, [ratio.select(chosen) for ratio in counts.reached], of),
            off_path=figures.steps_off_path(on_path[0], off_path[1:], of) if off_path else [],
            depths=figures.depth_rows(
                counts.nodes_by_depth[:, chosen],
                [ratio.select(chosen) for ratio in counts.match_by_depth],
                [ratio.select(chosen) for ratio in counts.overlap_by_depth],
            ),
            draft_entropy=entropies["draft_entropy"],
            target_entropy=entropies["target_entropy"],
            rho=self._rho("draft", chosen),
            rho_target=self._rho("target", chosen),
            clustering=alike,
            acceptance_chance=(
                None
                if self.data.target_p is None
                else tuple(
                    figures.estimate(each.select(chosen), of, SHARE) for each in counts.acceptance_chance
                )
            ),
        )

    def length_range(self, name: str) -> tuple[float, float]:
        """The possible values of an accepted length or tokens per round, with trees as deep as here."""
        metric = "mean_accepted_length" if name == "accepted_length" else name
        return metrics.ratio_range(metric, self.data.max_depth)

    def contrasts(self) -> dict[str, TaskContrasts]:
        """Each task less each other; nothing with one task."""
        counts = self.counts
        if len(counts.tasks) < 2:
            return {}
        alpha = published.DEFINITION if np.isfinite(self.data.overlap).any() else "rank1_match"
        if not self.data.judged.any():
            alpha = "at_risk"
        contrasts = {}
        for name in ("accepted_length", alpha):
            by_task: dict[str, tuple[Figure, Prompts]] = {}
            for index, task in enumerate(counts.tasks):
                chosen = counts.task == index
                prompts = Prompts(counts.task[chosen], np.ones(int(chosen.sum())))
                ratio = (counts.alphas | counts.lengths)[name].select(chosen)
                figure = ratio.figure() if name in counts.lengths else mean_of(ratio.per_prompt)
                by_task[task] = (figure, prompts)
            contrasts[name] = task_contrasts(name, by_task)
        return contrasts

    def labels(self) -> tuple[dict[str, Labels], dict[str, str]]:
        """The labels of each predictor counted, and the reasons that some are missing."""
        counted_labels: dict[str, Labels] = {}
        missing: dict[str, str] = {}
        for name in TITLES:
            counted = label(self.counts, name)
            if isinstance(counted, str):
                missing[name] = counted
            else:
                counted_labels[name] = counted
        return counted_labels, missing

    def _rho(self, entropy: str, chosen: Bools) -> dict[str, correlation.Correlation]:
        nodes = chosen[self.data.node_prompt]
        return {
            side: correlation.correlation(
                self.rhos[entropy, side][chosen],
                self._entropies[entropy][nodes],
                y[nodes],
                self.counts.task[chosen],
            )
            for side, y in self._sides.items()
        }

    def _clustering(self, chosen: Bools, draws: Draws) -> figures.Clustering | None:
        """None with a task of fewer than `FEWEST_ALIKE` prompts, whose likeness is noise."""
        families, task = self.counts.families.select(chosen), self.counts.task[chosen]
        known = families.bottom > 0
        if not known.any() or np.unique(task[known], return_counts=True)[1].min() < FEWEST_ALIKE:
            return None
        (value,) = clusters.icc(families, task, np.ones((1, int(chosen.sum()))))
        if not np.isfinite(value):
            return None
        drawn = clusters.icc(families, task, draws.weights)
        size = float(families.bottom[known].mean())
        ci = clusters.icc_interval(float(value), drawn, size, int(known.sum()), draws.strata)
        effects = [clusters.design_effect(each, families.bottom) for each in (float(value), *(ci or ()))]
        return figures.Clustering(float(value), ci, effects[0], (effects[1], effects[2]) if ci else None)


def build_report(
    reader: Reader, ref: int | str, progress: Progress = silent, *, price: float | None = None
) -> Report:
    """The report of a session, given by id, name or "last". Raises `StoreError` when there is none.

    `price` is for an hour of the device (None: the run's own). 1,000,000 nodes take some seconds: call it
    from a thread that may wait.
    """
    data = read_session(reader, ref, progress)
    report = report_of(data, progress)
    if not report.session.tokens:
        return report
    # Shards are no replicas: what they are merged into has the report of a run in one go.
    if rows := [each for each in replicas(reader, report.session.id) if each.engine]:
        report = replace(report, replicas=replica_factor(Counts(data), rows))
    if report.session.devices > 1:
        parts = [
            DevicePart(each, tuple(device_spending(report.session, each, price)))
            for each in device_figures(reader, report.session.id)
        ]
        return replace(report, devices=tuple(parts))
    spent = spending(report.session, reader.figures(report.session.id), price)
    return replace(report, spending=tuple(spent))


def report_of(data: Measured, progress: Progress = silent) -> Report:
    """The report of a session that has been read."""
    notes = _circumstances(data)
    if not data.prompts:
        notes["everything"] = (
            "the nodes of every prompt were given up; what was counted: spectui sessions show"
            if data.summary.pruned
            else "no round has been recorded yet"
        )
        return Report(
            data.summary, {}, None, dict.fromkeys(TITLES), None, "There is nothing to judge yet.", notes
        )
    analysis = Analysis(data)
    counts = analysis.counts
    labels, missing = analysis.labels()
    steps = len(labels) + len(counts.tasks) + 1
    known_predictors = {}
    for done, (name, each) in enumerate(labels.items()):
        progress("working out", done, steps)
        known_predictors[name] = predictor(each, analysis.draws, counts.task)
    unknown = lacking(data.summary.source) if set(missing) == set(TITLES) else ""
    if unknown:
        notes["match, overlap, entropies, predictors, acceptance off the path"] = unknown
    else:
        notes |= {f"predictor {TITLES[name]}": why for name, why in missing.items()}
    verdict = None
    if "task" in labels and "depth" in labels:
        verdict = judge(counts)
        text = sentence(verdict)
    else:
        unnamed = "task" if "task" in missing else "depth"
        text = f"{CLAIM} cannot be judged: {missing[unnamed]}."
    tasks = {}
    for index, name in enumerate(counts.tasks):
        progress("working out", len(labels) + index, steps)
        tasks[name] = analysis.group(name, index)
    progress("working out", steps - 1, steps)
    overall = analysis.group(OVERALL, None)
    notes |= _gaps(tasks, overall, known=not unknown)
    predictors: dict[str, Predictor | None] = {name: known_predictors.get(name) for name in TITLES}
    return Report(data.summary, tasks, overall, predictors, verdict, text, notes, analysis.contrasts())


def _circumstances(data: Measured) -> dict[str, str]:
    summary = data.summary
    notes = {}
    if summary.server is not None:
        notes["rounds"] = f"of {summary.server.name}, from {summary.rounds_from.words}"
    if words := explained_words(summary):
        notes["argmax"] = words
    if summary.live:
        notes["session"] = f"it is {summary.status}: these are the figures so far"
    elif summary.prompts_done < summary.prompt_count:
        notes["session"] = (
            f"it is {summary.status} with {summary.prompts_done} of {summary.prompt_count} prompts done"
        )
    if data.left_out:
        what = ", ".join(f"{count} {status}" for status, count in data.left_out.items())
        notes["prompts left out"] = (
            f"{what}: means weigh each prompt alike, and these have but a part of their rounds"
        )
    elif any(prompt.status != "finished" for prompt in data.prompts):
        notes["prompts"] = "none has finished: these are the figures of what there is of them"
    if summary.shard is not None and summary.prompt_count != summary.shard.get("prompts"):
        notes["shard"] = (
            f"it is shard {summary.shard.get('number')}/{summary.shard.get('of')} of a run of "
            f"{summary.shard.get('prompts')} prompts: spectui sessions merge makes one session of all shards"
        )
    if summary.devices > 1:
        notes["speed"] = (
            f"{summary.devices} classes of devices decoded it, whose times are not added up: each has a line of its own"
        )
    if summary.pruned:
        notes["pruned"] = f"{summary.pruned} prompts are left out: their nodes were given up (--keep-nodes)"
    return notes


def _gaps(tasks: dict[str, GroupFigures], overall: GroupFigures, *, known: bool) -> dict[str, str]:
    """The reasons of figures that are missing; `known` is False where the source tells nothing of nodes."""
    notes = {}
    if not overall.nodes:
        notes["acceptance"] = "the drafter proposed no node"
    elif known and overall.alpha["overlap"].mean is None:
        notes["overlap, draft entropy"] = "the drafter has no probabilities"
    if known and overall.nodes and overall.clustering is None:
        notes["how alike the families of one prompt are"] = (
            f"it takes {FEWEST_ALIKE} prompts of each task, and some nodes that match"
        )
    agree = [
        name
        for name, group in tasks.items()
        if group.prompts > 1 and group.accepted_length.ci is None and group.nodes
    ]
    if agree:
        notes["intervals of accepted length"] = (
            f"the prompts of {', '.join(agree)} agree, which says nothing about other prompts"
        )
    single = [name for name, group in tasks.items() if group.prompts < 2]
    if single:
        notes["intervals"] = f"it takes two prompts; there is one of {', '.join(single)}"
    return notes
