"""Protects what a comparison concludes, and what it leaves unsaid, on sessions whose truth was planted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from spectui.store.analysis.columns import Measured
from spectui.store.analysis.compare import PRIMARY, comparison_of
from spectui.store.analysis.contrast import holm
from spectui.store.analysis.report import Analysis, report_of
from tests.store.analysis.planted_trees import CHAIN, FULL, Truth, alike, planted_trees


def named(data: Measured, name: str, **session: Any) -> Measured:
    """The session by another name and number, and what else of it; its prompts are others."""
    prompts = tuple(replace(p, prompt_text=f"{name} {p.prompt_text}") for p in data.prompts)
    number = sum(map(ord, name))
    return replace(data, summary=replace(data.summary, id=number, name=name, **session), prompts=prompts)


def test_another_mix_of_tasks_is_no_difference() -> None:
    """18 prompts of an easy task and 4 of a hard one against 4 and 18: only the mix differs."""
    easy, hard = (0.8, 0.8, 0.8), (0.4, 0.4, 0.4)

    def session(name: str, of_easy: int, of_hard: int, seed: int) -> Measured:
        tasks = {"code": Truth(easy, prompts=of_easy), "math": Truth(hard, prompts=of_hard)}
        return named(planted_trees(tasks, icc=0.02, seed=seed), name)

    missed = 0
    for seed in range(10):
        comparison = comparison_of(session("a", 18, 4, seed), session("b", 4, 18, 100 + seed))
        assert comparison.overall is not None
        assert not comparison.overall.paired
        for key in ("match", "accepted_length", PRIMARY, "survival_1"):
            each = comparison.overall.figures[key]
            assert each.ci is not None
            missed += not each.ci[0] <= 0 <= each.ci[1]
        assert "as often as it has prompts in both" in comparison.notes["all prompts"]
        assert comparison.predictors == {}
    assert missed <= 5


@pytest.mark.parametrize(
    ("session", "note"),
    [
        ({"config": {"temperature": 0.7}}, "temperature 0.0 and 0.7"),
        ({"tree": "dynamic:8x4"}, "tree full:3x2 and dynamic:8x4"),
        ({"config": {"temperature": 0.0, "top_p": 0.9}}, "top-p 1.0 and 0.9"),
    ],
)
def test_figures_of_other_nodes_are_shown_and_not_compared(session: dict[str, Any], note: str) -> None:
    usual = {"temperature": 0.0, "top_p": 1.0}
    tasks = alike(Truth((0.6, 0.6, 0.6), tree=FULL, prompts=3), ("code", "math"))
    whole: dict[str, Any] = {"tree": "full:3x2", "config": usual, **session}
    whole["config"] = usual | whole["config"]
    comparison = comparison_of(
        named(planted_trees(tasks), "a", tree="full:3x2", config=usual),
        named(planted_trees(tasks, seed=1), "b", **whole),
    )
    assert note in comparison.notes["settings that differ"]
    assert comparison.overall is not None
    compared = {key for key, each in comparison.overall.figures.items() if each.difference is not None}
    assert compared == {PRIMARY, "accepted_length", "survival_1", "survival_2", "survival_3"}
    assert all(each.a is not None for each in comparison.overall.figures.values())
    assert not comparison.predictors


def test_sessions_of_budgets_are_of_one_tree_only_where_their_rounds_are() -> None:
    """Both are called auto."""

    def session(name: str, tree: Any) -> Measured:
        tasks = alike(Truth((0.6, 0.6, 0.6), tree=tree, prompts=3), ("code", "math"))
        return named(planted_trees(tasks), name, tree="auto")

    same = comparison_of(session("a", FULL), session("b", FULL))
    other = comparison_of(session("a", FULL), session("c", CHAIN))
    assert "trees" not in same.notes
    assert "they differ" in other.notes["trees"]


def test_two_equal_sessions_are_said_to_differ_by_chance_and_not_in_what_comes_first() -> None:
    tasks = alike(Truth((0.6, 0.6, 0.6), prompts=8))
    first = 0
    for seed in range(10):
        a, b = (planted_trees(tasks, icc=0.05, seed=2 * seed + of_b) for of_b in (0, 1))
        comparison = comparison_of(a, named(b, "b"))
        out = sum(
            each.ci is not None and not each.ci[0] <= 0 <= each.ci[1]
            for group in (*comparison.tasks.values(), comparison.overall)
            if group is not None
            for each in group.figures.values()
        )
        assert out <= 25
        assert (
            f"about {round(comparison.intervals / 20)} leave out 0 by chance alone"
            in comparison.notes["chance"]
        )
        assert comparison.overall is not None
        assert next(iter(comparison.overall.figures)) == PRIMARY
        primary = comparison.overall.figures[PRIMARY]
        assert primary.ci is not None
        first += not primary.ci[0] <= 0 <= primary.ci[1]
    assert first <= 2


def test_an_interval_is_that_of_the_report_however_deep_the_trees_of_the_other_session() -> None:
    """Beside deeper trees, an accepted length of at most 1 had an interval that went up to theirs."""
    short = planted_trees(alike(Truth((0.6,), tree=(None,), prompts=4), ("code", "math")), icc=0.1)
    deep = planted_trees(alike(Truth((0.6,) * 3, prompts=4), ("code", "math")), icc=0.1, seed=1)
    alone = report_of(short)
    comparison = comparison_of(short, deep)
    for task, group in comparison.tasks.items():
        for key in ("accepted_length", PRIMARY):
            told = getattr(alone.tasks[task], key).ci
            assert told is not None
            assert group.figures[key].ci_a == pytest.approx(told)


def test_tokens_per_round_are_one_more_than_the_accepted_length_with_their_intervals() -> None:
    """Few prompts gave rounds an interval that began below the one token that each of them brings."""
    tasks = alike(Truth((0.5, 0.4, 0.4), prompts=2), ("code", "math"))
    report = report_of(planted_trees(tasks, icc=0.2, seed=4))
    for figures in (*report.tasks.values(), report.overall):
        assert figures is not None
        assert figures.tokens_per_round.ci is not None
        assert figures.accepted_length.ci is not None
        assert figures.tokens_per_round.ci == pytest.approx([end + 1 for end in figures.accepted_length.ci])


def test_a_task_is_compared_on_its_pairs_alone_however_few() -> None:
    """Two prompts a task in one session, the first of each in the other: what is left out is in no figure."""
    both = planted_trees(alike(Truth((0.6,) * 3, prompts=2), ("code", "math")), icc=0.05)
    one = planted_trees(alike(Truth((0.6,) * 3, prompts=1), ("code", "math")), icc=0.05, seed=1)
    texts = {prompt.task: prompt.prompt_text for prompt in reversed(both.prompts)}
    less = replace(one, prompts=tuple(replace(p, prompt_text=texts[p.task]) for p in one.prompts))
    comparison = comparison_of(both, less)
    assert comparison.overall is not None
    assert comparison.overall.prompts == (2, 2)
    for group in comparison.tasks.values():
        assert (group.paired, group.prompts) == (True, (1, 1))
        assert group.figures[PRIMARY].difference is not None
        assert group.figures[PRIMARY].ci is None
    first = Analysis(both).counts.lengths[PRIMARY].per_prompt[0]
    assert comparison.tasks["code"].figures[PRIMARY].a == pytest.approx(first)
    assert [note for note in comparison.notes if note.startswith("2 prompts of 'planted'")]


def test_each_task_is_set_against_each_other_with_holms_correction() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [
        pytest.approx(0.03),
        None,
        pytest.approx(0.06),
        pytest.approx(0.06),
    ]
    tasks = {**alike(Truth((0.6,) * 3), ("code", "math", "chat")), "rag": Truth((0.85,) * 3)}
    report = report_of(planted_trees(tasks, icc=0.02, seed=3))
    significant = {
        (each.first, each.second)
        for each in report.contrasts["accepted_length"].pairs
        if each.holm is not None and each.holm < 0.05
    }
    assert significant == {("code", "rag"), ("math", "rag"), ("chat", "rag")}
    assert len(report.contrasts["accepted_length"].pairs) == 6
    false = 0
    for seed in range(20):
        flat = Analysis(planted_trees(alike(Truth((0.6,) * 3, prompts=6)), icc=0.05, seed=seed)).contrasts()
        false += any(each.holm is not None and each.holm < 0.05 for each in flat["accepted_length"].pairs)
    assert false <= 3


def test_a_tree_that_ends_where_it_expects_rejection_does_not_make_rounds_get_further() -> None:
    """Rounds whose tree has no second level did not reach it, whatever would have become of one."""
    data = planted_trees({"code": Truth((0.5, 0.9), tree=(None, 0), prompts=4, rounds=50)}, seed=2)
    odd = np.arange(len(data.round_prompt)) % 2 == 1
    kept = ~(odd[data.node_round] & (data.depth == 2))
    length = np.where(odd, np.minimum(data.accepted_length, 1), data.accepted_length)
    columns = {
        name: getattr(data, name)[kept]
        for name in (
            "node_round", "family", "depth", "rank", "draft_p", "overlap", "draft_entropy", "target_entropy", "match",
            "accepted", "on_path", "at_risk",
        )
    }  # fmt: skip
    report = report_of(replace(data, accepted_length=length, tokens=length + 1, **columns))
    steps = report.tasks["code"].on_path
    assert steps[1].survival == pytest.approx(np.mean(length >= 2))
    assert steps[1].hazard is not None
    assert steps[0].survival is not None
    assert steps[1].survival is not None
    assert steps[0].survival * steps[1].hazard > 1.5 * steps[1].survival
    assert report.tasks["code"].survival_length == pytest.approx(np.mean(length))
    assert report.tasks["code"].accepted_length.mean == pytest.approx(np.mean(length))
