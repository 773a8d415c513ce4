"""A report as plain data for `--json`: the documented keys, null for what cannot be known."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from spectui.store.analysis import published
from spectui.store.analysis.compare import PRIMARY, Comparison, GroupContrast
from spectui.store.analysis.contrast import Contrast
from spectui.store.analysis.correlation import Correlation
from spectui.store.analysis.effects import Difference
from spectui.store.analysis.figures import Clustering, Estimate, GroupFigures, Step
from spectui.store.analysis.populations import AT_RISK
from spectui.store.analysis.predictors import Predictor
from spectui.store.analysis.report import DevicePart, Report
from spectui.store.analysis.spending import device_word, spending_json, watts_of
from spectui.store.analysis.verdict import EFFECT, Verdict
from spectui.store.counts.intervals import Pair
from spectui.store.rows import SessionSummary


def report_json(report: Report) -> dict[str, Any]:
    """The object that `spectui report --json` prints."""
    verdict = report.task_minus_depth
    overall = report.overall
    return {
        **_session(report.session),
        "tasks": {name: _group(group) for name, group in report.tasks.items()},
        "overall": None if overall is None else _group(overall),
        "predictors": {
            name: None if each is None else _predictor(each) for name, each in report.predictors.items()
        },
        "task_minus_depth": _verdict(verdict, report.verdict),
        "task_contrasts": {
            name: [
                {
                    "tasks": [each.second, each.first],
                    "difference": each.difference,
                    "ci": pair(each.ci),
                    "p": each.p,
                    "p_holm": each.holm,
                }
                for each in contrasts.pairs
            ]
            for name, contrasts in report.contrasts.items()
        },
        **_clustering(None if overall is None else overall.clustering),
        "published": published.as_json(),
        "tokens_per_second": report.session.tokens_per_second,
        "speedup": report.session.speedup,
        "speedup_range": report.session.speedup_range,
        "baseline_count": report.session.baseline_count,
        "per_million_tokens": {
            "device": device_word(report.session),
            "mean_watts": watts_of(report.session),
            "tasks": spending_json(report.spending),
        },
        **({} if report.replicas is None else {"replicas": asdict(report.replicas)}),
        **({"devices": [_device(part) for part in report.devices]} if report.devices else {}),
        "notes": report.notes,
    }


def _device(part: DevicePart) -> dict[str, Any]:
    """The figures of one of several classes of devices; times are here alone."""
    each = part.figures
    return {
        "device": each.device,
        **asdict(each.machine),
        "hosts": list(each.hosts),
        "prompts": each.prompts,
        "rounds": each.rounds,
        "tokens": each.tokens,
        "tokens_per_second": each.tokens_per_second,
        "speedup": each.speedup,
        "speedup_range": each.speedup_range,
        "baseline_count": each.baseline_count,
        "mean_watts": watts_of(each),
        "per_million_tokens": spending_json(part.spending),
    }


def _verdict(verdict: Verdict | None, text: str) -> dict[str, Any]:
    """The verdict as JSON: its first figures are those of the nodes at risk, which it is judged on."""
    at_risk = None if verdict is None else verdict.by_nodes.get(AT_RISK)
    needed = None if verdict is None else verdict.needed
    return {
        "mcfadden_r2_difference": None if at_risk is None else at_risk.raw,
        "corrected": None if at_risk is None else at_risk.corrected,
        "ci": None if at_risk is None else pair(at_risk.ci),
        "verdict": None if verdict is None else verdict.verdict,
        "prompts": None if verdict is None else verdict.prompts,
        "nodes": {}
        if verdict is None
        else {name: _difference(each) for name, each in verdict.by_nodes.items()},
        "stated_effect": EFFECT,
        "prompts_needed": None if needed is None else needed[0],
        "prompts_needed_95": None if needed is None else list(needed[1:]),
        "sentence": text,
    }


def _difference(value: Difference) -> dict[str, Any]:
    return {
        "nodes": value.nodes,
        "task_r2": value.task,
        "depth_r2": value.depth,
        "mcfadden_r2_difference": value.raw,
        "corrected": value.corrected,
        "ci": pair(value.ci),
        "task_p": value.task_p,
        "depth_p": value.depth_p,
    }


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The object that `spectui compare --json` prints."""
    return {
        "a": _session(comparison.a),
        "b": _session(comparison.b),
        "tasks": {name: _group_contrast(group) for name, group in comparison.tasks.items()},
        "overall": None if comparison.overall is None else _group_contrast(comparison.overall),
        "predictors": {name: _contrast(each) for name, each in comparison.predictors.items()},
        "primary": PRIMARY,
        "intervals": comparison.intervals,
        "expected_by_chance": comparison.intervals / 20,
        "notes": comparison.notes,
    }


def pair(ci: Pair | None) -> list[float] | None:
    """An interval as `[low, high]`."""
    return None if ci is None else list(ci)


def estimate(value: Estimate) -> dict[str, Any]:
    """A figure, its interval and the token-weighted one."""
    return {"mean": value.mean, "ci": pair(value.ci), "token_weighted": value.token_weighted}


def _group(group: GroupFigures) -> dict[str, Any]:
    formula = group.expected_length["overlap"]
    return {
        "prompts": group.prompts,
        "rounds": group.rounds,
        "nodes": group.nodes,
        "alpha": {name: estimate(value) for name, value in group.alpha.items()},
        "expected_length_formula": formula.mean,
        "expected_length_formula_ci": pair(formula.ci),
        "expected_length_by_definition": {
            name: estimate(value) for name, value in group.expected_length.items()
        },
        "accepted_length": {
            **estimate(group.accepted_length),
            "per_prompt": group.accepted_length.per_prompt,
        },
        "tokens_per_round": group.tokens_per_round.mean,
        "tokens_per_round_ci": pair(group.tokens_per_round.ci),
        "tokens_per_round_per_prompt": group.tokens_per_round.per_prompt,
        **_steps(group.on_path, ""),
        **_steps(group.off_path, "_off_path"),
        "survival_length": group.survival_length,
        "match_by_depth": [row.match for row in group.depths],
        "overlap_by_depth": [row.overlap for row in group.depths],
        "draft_entropy": group.draft_entropy.mean,
        "draft_entropy_ci": pair(group.draft_entropy.ci),
        "target_entropy": group.target_entropy.mean,
        "target_entropy_ci": pair(group.target_entropy.ci),
        "rho": {name: _rho(value) for name, value in group.rho.items()},
        "rho_target_entropy": {name: _rho(value) for name, value in group.rho_target.items()},
        **_clustering(group.clustering),
        "acceptance_chance": None
        if group.acceptance_chance is None
        else dict(zip(("least", "most"), map(estimate, group.acceptance_chance), strict=True)),
    }


def _clustering(value: Clustering | None) -> dict[str, Any]:
    return {
        "icc": None if value is None else value.icc,
        "icc_ci": None if value is None else pair(value.icc_ci),
        "design_effect": None if value is None else value.design_effect,
        "design_effect_ci": None if value is None else pair(value.design_effect_ci),
    }


def _steps(steps: list[Step], suffix: str) -> dict[str, Any]:
    return {
        f"hazard{suffix}": [step.hazard for step in steps],
        f"hazard{suffix}_ci": [pair(step.ci) for step in steps],
        f"survival{suffix}": [step.survival for step in steps],
        f"survival{suffix}_ci": [pair(step.survival_ci) for step in steps],
    }


def _rho(value: Correlation) -> dict[str, Any]:
    return {"per_prompt": value.per_prompt, "ci": pair(value.ci), "pooled": value.pooled}


def _predictor(value: Predictor) -> dict[str, Any]:
    return {
        "mutual_information_bits": value.mutual_information_bits,
        "mutual_information_plug_in": value.mutual_information_plug_in,
        "mutual_information_miller_madow": value.mutual_information_miller_madow,
        "mcfadden_r2": value.mcfadden_r2,
        "mcfadden_r2_corrected": value.mcfadden_r2_corrected,
        "mcfadden_r2_per_df": value.r2_per_df,
        "df": value.df,
        "ci": pair(value.ci),
        "null_p": value.null_p,
        "null_r2": value.null_r2,
        "null_r2_95": value.null_high,
        "nodes": value.nodes,
    }


def _session(summary: SessionSummary) -> dict[str, Any]:
    return {
        "session": summary.id,
        "name": summary.name,
        "status": summary.status,
        "prompts_failed": summary.prompts_failed,
        "target": summary.target,
        "drafter": summary.drafter,
        "tree": summary.tree,
        "study": summary.study,
    }


def _group_contrast(group: GroupContrast) -> dict[str, Any]:
    return {
        "paired": group.paired,
        "prompts": list(group.prompts),
        "figures": {name: _contrast(each) for name, each in group.figures.items()},
    }


def _contrast(value: Contrast) -> dict[str, Any]:
    return {
        "a": {"mean": value.a, "ci": pair(value.ci_a)},
        "b": {"mean": value.b, "ci": pair(value.ci_b)},
        "difference": {"mean": value.difference, "ci": pair(value.ci)},
        "comparable": value.comparable,
    }
