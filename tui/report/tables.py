"""The tables of a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from spectui.store.analysis import published
from spectui.store.analysis.counts import ALPHAS
from spectui.store.analysis.figures import Estimate, GroupFigures, Step
from spectui.store.analysis.predictors import TITLES, Predictor
from spectui.store.analysis.report import OVERALL, Report
from spectui.store.analysis.verdict import NODES
from spectui.store.rows import SessionSummary
from spectui.tui.model.speedups import range_words, unknown_words
from spectui.tui.report.grid import Cell, Column, Grid, grid
from spectui.tui.report.replicas import replica_grids
from spectui.tui.report.spending import device_grids, spending_grid

DEFINITIONS = {
    "overlap": "overlap",
    "match": "match",
    "rank1_match": "rank-1 match",
    "at_risk": "at risk",
}
"""Definition of acceptance -> its name in tables."""
_TASK = Column("task", "task", "text")
_MEAN = Column("mean", "mean")
_CI = Column("ci", "95 %", "interval")
_WEIGHTED = Column("token_weighted", "token-weighted")
_PUBLISHED = Column("published", "published", "text")


def tables(report: Report) -> list[Grid]:
    """All tables, in the order in which they are read; none before the first round."""
    groups = report_groups(report)
    if not groups:
        return []
    every = [
        _sizes(groups),
        _alphas(groups),
        _lengths(groups),
        _hazards(
            "hazard_on_path",
            "Acceptance by depth, on the path",
            "rounds",
            [(group.name, group.on_path) for group in groups],
            "Hazard: where the tree goes on below an accepted path, the share that goes on; a tree that is grown where"
            " the draft is sure goes on there alone. Survival: the share of all rounds that reach the depth, but for"
            " those that an end token or a limit cut before.",
        ),
        _hazards(
            "hazard_off_path",
            "Acceptance by depth, off the path",
            "families",
            [(group.name, group.off_path) for group in groups],
            "Below a rejected node: how often one of its children is what the target would have said there."
            " Another population than on the path. Survival: if every step below the first were like that.",
        ),
        _depths(groups),
        _entropies(groups),
        _rhos(groups),
        _contrasts(report),
        *_verdict(report),
        _predictors(report),
        _clusters(groups),
        *([spending_grid(report.session, report.spending)] if report.spending else []),
        *device_grids(report),
        *replica_grids(report),
    ]
    return [table for table in every if table.rows]


def report_groups(report: Report) -> list[GroupFigures]:
    """The tasks, then all of them together where there are several."""
    groups = list(report.tasks.values())
    return groups if report.overall is None or len(groups) < 2 else [*groups, report.overall]


def subject(report: Report) -> str:
    """The session that was measured, in a line."""
    return f"session {models(report.session)}"


def models(session: SessionSummary) -> str:
    """A session's name, models, tree and, for a study, its set-up, in a line."""
    words = f"{session.id} '{session.name}': {session.target} <- {session.drafter}, tree {session.tree}"
    words = f"{words}, study set-up" if session.study else words
    failed = f"{session.prompts_failed} of {session.prompt_count} prompts failed"
    return f"{words}; {failed}" if session.prompts_failed else words


def facts(report: Report) -> list[tuple[str, str]]:
    """Status, device, speed and versions of the session, as names and texts."""
    session = report.session
    known = [
        ("status", session.status),
        ("started", session.started_at or ""),
        ("device", session.device),
        ("speed", _speed(session)),
        ("versions", ", ".join(f"{name} {version}" for name, version in session.versions.items())),
        ("tags", ", ".join(session.tags)),
        ("notes", session.notes),
    ]
    return [(name, value) for name, value in known if value]


def _speed(session: SessionSummary) -> str:
    if session.tokens_per_second is None:
        return ""
    words = f"{session.tokens_per_second:,.1f} tok/s"
    if session.speedup is not None:
        words += f", {session.speedup:.2f} times plain decoding, {range_words(session)}"
    unknown = unknown_words(session)
    return words if unknown is None else f"{words}; {unknown}"


def notes(report: Report) -> list[str]:
    """Warnings about figures that could not be computed or need care, a line each."""
    return [f"{what}: {why}" for what, why in report.notes.items()]


def _estimate(value: Estimate) -> tuple[Cell, Cell, Cell]:
    return value.mean, value.ci, value.token_weighted


def _sizes(groups: Sequence[GroupFigures]) -> Grid:
    counted = [Column(name, name, "count") for name in ("prompts", "rounds", "nodes")]
    rows = [(g.name, g.prompts, g.rounds, g.nodes, _published_size(g)) for g in groups]
    return grid("sizes", "Sizes", (_TASK, *counted, _PUBLISHED), rows)


def _published_size(group: GroupFigures) -> str | None:
    if group.name != OVERALL:
        return None
    return f"{published.PROMPTS:,} prompts, {published.NODES:,} nodes"


def _alphas(groups: Sequence[GroupFigures]) -> Grid:
    rows = [
        (
            group.name,
            DEFINITIONS[key],
            *_estimate(group.alpha[key]),
            _number(published.ALPHA.get(group.name)) if key == published.DEFINITION else None,
        )
        for key in ALPHAS
        for group in groups
    ]
    bounds = [(g.name, g.acceptance_chance) for g in groups if g.acceptance_chance is not None]
    rows += [
        (name, f"Σ min(p, q), {what}", *_estimate(bound[place]), None)
        for place, what in enumerate(("at least", "at most"))
        for name, bound in bounds
        if bound[place].mean is not None
    ]
    return grid(
        "alpha",
        "Acceptance α under each definition",
        (_TASK, Column("definition", "definition", "text"), _MEAN, _CI, _WEIGHTED, _PUBLISHED),
        rows,
        "Means over prompts, which weigh equally; 95 % intervals from how far prompts of a task are apart."
        " Overlap, min(1, p/q), is how likely speculative sampling accepts that node as a parent's one, drawn child;"
        " Σ min(p, q) over a parent's children is how likely it accepts any drawn one, but for tokens not drafted."
        f" Published: {published.SOURCE}, most plausibly overlap.",
    )


def _lengths(groups: Sequence[GroupFigures]) -> Grid:
    def figures(group: GroupFigures) -> Iterator[tuple[str, Estimate, float | None]]:
        yield "accepted length", group.accepted_length, None
        yield "tokens per round", group.tokens_per_round, None
        chain = group.expected_length[published.DEFINITION]
        if chain.mean is not None:
            yield "E[L] formula, overlap", chain, published.EXPECTED_LENGTH.get(group.name)
        else:
            yield "E[L] formula, rank-1 match", group.expected_length["rank1_match"], None

    rows = [
        (group.name, what, value.mean, value.ci, value.per_prompt, _number(known))
        for group in groups
        for what, value, known in figures(group)
    ]
    return grid(
        "length",
        "Accepted length",
        (
            _TASK,
            Column("figure", "figure", "text"),
            _MEAN,
            _CI,
            Column("per_prompt", "prompts alike"),
            _PUBLISHED,
        ),
        rows,
        "Accepted length and tokens per round are measured: means over rounds, beside them means over prompts. The"
        " formula α + α² + ..., to the depth of each round's own tree, takes the tree for a chain.",
    )


def _hazards(
    key: str, title: str, counted: str, groups: Sequence[tuple[str, Sequence[Step]]], note: str
) -> Grid:
    rows = [
        (name, step.depth, step.at_risk, step.hazard, step.ci, step.survival, step.survival_ci)
        for name, steps in groups
        for step in steps
    ]
    columns = (
        _TASK,
        Column("depth", "depth", "count"),
        Column(counted, counted, "count"),
        Column("hazard", "where the tree goes on" if key == "hazard_on_path" else "hazard"),
        Column("hazard_ci", "95 %", "interval"),
        Column("survival", "survival"),
        Column("survival_ci", "95 %", "interval"),
    )
    return grid(key, title, columns, rows, note)


def _depths(groups: Sequence[GroupFigures]) -> Grid:
    rows = [(g.name, row.depth, row.nodes, row.match, row.overlap) for g in groups for row in g.depths]
    columns = (
        _TASK,
        Column("depth", "depth", "count"),
        Column("nodes", "nodes", "count"),
        Column("match", "match"),
        Column("overlap", "overlap"),
    )
    return grid("depths", "All nodes by depth", columns, rows)


def _entropies(groups: Sequence[GroupFigures]) -> Grid:
    entropies = [(group, "draft", group.draft_entropy) for group in groups]
    entropies += [(group, "target", group.target_entropy) for group in groups]
    rows = [
        (group.name, whose, *_estimate(value)) for group, whose, value in entropies if value.mean is not None
    ]
    return grid(
        "entropy",
        "Entropy, nats",
        (_TASK, Column("whose", "whose", "text"), _MEAN, _CI, _WEIGHTED),
        rows,
        "Of the distribution at the parents of nodes, each counted once.",
    )


def _rhos(groups: Sequence[GroupFigures]) -> Grid:
    low, high = published.RHO
    correlations = [
        (group.name, whose, side, (group.rho if whose == "draft" else group.rho_target)[side])
        for whose in ("draft", "target")
        for side in ("match", "overlap")
        for group in groups
    ]
    rows = [
        (
            name,
            f"{whose} entropy, {side}",
            rho.per_prompt,
            rho.ci,
            rho.pooled,
            f"{low:.2f} to {high:.2f}" if (whose, side) == ("draft", published.DEFINITION) else None,
        )
        for name, whose, side, rho in correlations
        if rho.pooled is not None
    ]
    return grid(
        "correlation",
        "Spearman correlation of entropy with acceptance",
        (
            _TASK,
            Column("of", "of", "text"),
            Column("per_prompt", "per prompt", sign=True),
            Column("ci", "95 %", "interval", sign=True),
            Column("pooled", "pooled", sign=True),
            _PUBLISHED,
        ),
        rows,
        "Within each prompt, then averaged; pooled mixes in how prompts differ, and is what was published.",
    )


def _contrasts(report: Report) -> Grid:
    rows = [
        (
            f"{each.second} less {each.first}",
            DEFINITIONS.get(name) or "accepted length",
            each.difference,
            each.ci,
            each.p,
            each.holm,
        )
        for name, contrasts in report.contrasts.items()
        for each in contrasts.pairs
    ]
    columns = (
        Column("tasks", "tasks", "text"),
        Column("figure", "figure", "text"),
        Column("difference", "difference", sign=True),
        Column("difference_ci", "95 %", "interval", sign=True),
        Column("p", "p", digits=4),
        Column("p_holm", "p of any", digits=4),
    )
    return grid(
        "task_contrasts",
        "Tasks against each other",
        columns,
        rows,
        "That intervals of two tasks overlap does not say that the tasks are alike; these differences do. p of any: by"
        " Holm's correction for as many as there are.",
    )


def _verdict(report: Report) -> list[Grid]:
    verdict = report.task_minus_depth
    if verdict is None or not verdict.by_nodes:
        return []
    columns = (
        Column("counted", "counted", "text"),
        Column("nodes", "nodes", "count"),
        Column("task_r2", "R² task", digits=4, sign=True),
        Column("depth_r2", "R² depth", digits=4, sign=True),
        Column("difference", "difference", digits=4, sign=True),
        Column("difference_ci", "95 %", "interval", digits=4, sign=True),
        Column("task_p", "p task", digits=4),
        Column("depth_p", "p depth", digits=4),
    )
    rows = [
        (NODES[name], each.nodes, each.task, each.depth, each.corrected, each.ci, each.task_p, each.depth_p)
        for name, each in verdict.by_nodes.items()
    ]
    return [
        grid(
            "task_and_depth",
            "Task or depth: which tells more of which nodes match",
            columns,
            rows,
            "R² without the bias of few prompts. The verdict goes by nodes at risk: the parent was accepted, the path"
            " not cut; depths are compared within prompts there. Over all nodes, as the study counts, depth mostly says"
            " that the parent was rejected. p: how often tasks dealt anew to the prompts, and depths that mean nothing,"
            " differ as much.",
        )
    ]


def _predictors(report: Report) -> Grid:
    def row(name: str, value: Predictor) -> tuple[Cell, ...]:
        return (
            TITLES[name],
            value.df,
            value.mutual_information_bits,
            value.mcfadden_r2,
            value.r2_per_df,
            value.mcfadden_r2_corrected,
            value.ci,
            value.null_r2,
            value.null_p,
        )

    known = [(name, value) for name, value in report.predictors.items() if value is not None]
    known.sort(key=lambda item: -item[1].mcfadden_r2_corrected)
    columns = (
        Column("predictor", "predictor", "text"),
        Column("df", "df", "count"),
        Column("mutual_information_bits", "bits", digits=4),
        Column("mcfadden_r2", "R² raw", digits=4),
        Column("mcfadden_r2_per_df", "per df", digits=4),
        Column("mcfadden_r2_corrected", "R²", digits=4),
        Column("ci", "95 %", "interval", digits=4),
        Column("null_r2", "chance", digits=4),
        Column("null_p", "p", digits=4),
    )
    return grid(
        "predictors",
        "What tells which nodes match",
        columns,
        [row(name, value) for name, value in known],
        "Mutual information and McFadden's R², without the bias of few prompts. Chance: the mean R² with tasks dealt"
        " anew to prompts; depths and entropies to the families (children of one parent) of a prompt, on and off the"
        " path apart; ranks within families; draft probabilities within rounds. p: how often that explains as much.",
    )


def _clusters(groups: Sequence[GroupFigures]) -> Grid:
    rows = [
        (g.name, c.icc, c.icc_ci, c.design_effect, c.design_effect_ci)
        for g in groups
        if (c := g.clustering) is not None
    ]
    columns = (
        _TASK,
        Column("icc", "intra-class correlation", digits=4, sign=True),
        Column("icc_ci", "95 %", "interval", digits=4, sign=True),
        Column("design_effect", "design effect", digits=2),
        Column("design_effect_ci", "95 %", "interval", digits=2),
    )
    return grid(
        "clustering",
        "How alike the families of one prompt are",
        columns,
        rows,
        "Of whether a family (the children of one parent) holds the target's argmax. So many times more families are"
        " needed than if they were independent.",
    )


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"
