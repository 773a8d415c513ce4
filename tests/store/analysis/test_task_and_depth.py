"""Protects the figures behind the verdict: computed again from rows, as docs/explanation/statistics.md defines them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlite_utils import Database

from spectui.store.analysis.as_json import report_json
from spectui.store.analysis.report import build_report
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from tests.store.analysis.test_numbers import Node, Prompt, Round, rows_of
from tests.store.samples import make_round, make_session, random_rounds

TASKS = ("code", "math", "chat") * 5
Table = dict[Any, list[float]]
"""Label -> how much its nodes count, and how much those of them that match."""


@pytest.fixture
def prompts(db: Database, path: Path) -> list[Prompt]:
    """Full trees, prompts of many lengths, each ended by a path that was cut."""
    writer = SessionWriter(db, make_session(db, TASKS))
    writer.claim()
    for number, generation in enumerate(writer.pending_generations()):
        writer.start_generation(generation.id, 10)
        rounds = random_rounds(4 + 3 * (number % 5), generation.id)
        last = rounds[-1]
        cut = make_round(
            len(rounds) + 1,
            path=(0, 2),
            prefix_length=(last.prefix_length or 0) + last.accepted_length + 1,
            seed=number,
        )
        for each in (*rounds, replace(cut, cut="length", bonus_token_id=None)):
            writer.record_round(generation.id, each)
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="length")
    writer.set_status("finished")
    return rows_of(path)


@pytest.fixture
def verdict(prompts: list[Prompt], path: Path) -> dict[str, Any]:
    with Reader(path) as reader:
        verdict: dict[str, Any] = report_json(build_report(reader, "last"))["task_minus_depth"]
    return verdict


def test_likeness_of_families(prompts: list[Prompt], path: Path) -> None:
    """The analysis-of-variance estimator by sums of squares over families, and Kish's design effect."""
    with Reader(path) as reader:
        report = report_json(build_report(reader, "last"))
    by_task: dict[str, list[list[int]]] = defaultdict(list)
    for prompt in prompts:
        families: dict[tuple[int, int | None], int] = defaultdict(int)
        for number, each in enumerate(prompt.rounds):
            for node in each.nodes:
                families[number, node.parent] += node.match
        by_task[prompt.task].append(list(families.values()))
    within = between = n0 = 0.0
    for lists in by_task.values():
        grand = float(np.mean([m for each in lists for m in each]))
        for each_list in lists:
            mean = float(np.mean(each_list))
            within += sum((m - mean) ** 2 for m in each_list)
            between += len(each_list) * (mean - grand) ** 2
        total = sum(map(len, lists))
        n0 += total - sum(len(each) ** 2 for each in lists) / total
    sizes = [len(each) for lists in by_task.values() for each in lists]
    free = len(sizes) - len(by_task)
    msb, msw = between / free, within / (sum(sizes) - len(sizes))
    icc = (msb - msw) / (msb + (n0 / free - 1) * msw)
    assert report["icc"] == pytest.approx(icc)
    effect = 1 + (sum(s * s for s in sizes) / sum(sizes) - 1) * icc
    assert report["design_effect"] == pytest.approx(max(effect, 0))
    assert report["design_effect_ci"][0] < max(effect, 1e-9)


def r2(table: Table) -> float:
    """McFadden's, of shares with one parameter a label."""
    total = sum(weight for weight, _ in table.values())
    mean = sum(match for _, match in table.values()) / total
    nats = {key: match / weight for key, (weight, match) in table.items()}

    def entropy(p: float) -> float:
        return -sum(q * math.log(q) for q in (p, 1 - p) if q > 1e-12)

    unexplained = sum(weight / total * entropy(nats[key]) for key, (weight, _) in table.items())
    return 1 - unexplained / entropy(mean)


def over_nodes(some: Callable[[Round, Node], bool]) -> Callable[[list[Prompt]], tuple[float, float]]:
    """Nodes of a prompt together weigh 1."""

    def both(prompts: list[Prompt]) -> tuple[float, float]:
        by_task: Table = defaultdict(lambda: [0.0, 0.0])
        by_depth: Table = defaultdict(lambda: [0.0, 0.0])
        for prompt in prompts:
            nodes = [node for each in prompt.rounds for node in each.nodes if some(each, node)]
            for node in nodes:
                for cell in (by_task[prompt.task], by_depth[node.depth]):
                    cell[0] += 1 / len(nodes)
                    cell[1] += node.match / len(nodes)
        return r2(by_task), r2(by_depth)

    return both


def at_risk(prompts: list[Prompt]) -> tuple[float, float]:
    """A round of a prompt weighs 1 / rounds; depths against the first depth of the prompt's other rounds."""
    by_task: Table = defaultdict(lambda: [0.0, 0.0])
    beyond: Table = defaultdict(lambda: [0.0, 0.0])
    for prompt in prompts:
        count = len(prompt.rounds)
        firsts = [any(n.match for n in each.nodes if n.depth == 1) for each in prompt.rounds]
        for each, first in zip(prompt.rounds, firsts, strict=True):
            nodes = [node for node in each.nodes if each.at_risk(node)]
            by_task[prompt.task][0] += len(nodes) / count
            by_task[prompt.task][1] += sum(node.match for node in nodes) / count
            for depth in {node.depth for node in nodes}:
                at_depth = [node for node in nodes if node.depth == depth]
                beyond[depth][0] += len(at_depth) / count
                if depth > 1:
                    expected = (sum(firsts) - first) / (count - 1)
                    beyond[depth][1] += (any(node.match for node in at_depth) - expected) / count
    total = sum(weight for weight, _ in beyond.values())
    mean = sum(match for _, match in by_task.values()) / sum(weight for weight, _ in by_task.values())
    more = {depth: match / weight for depth, (weight, match) in beyond.items()}
    middle = sum(beyond[depth][0] * more[depth] for depth in more) / total
    by_depth = {depth: [w, w * (mean + more[depth] - middle)] for depth, (w, _) in beyond.items()}
    return r2(by_task), r2(by_depth)


POPULATIONS: dict[str, Callable[[list[Prompt]], tuple[float, float]]] = {
    "at_risk": at_risk,
    "all": over_nodes(lambda each, node: True),
    "off_path": over_nodes(lambda each, node: not each.accepted_parent(node)),
}


@pytest.mark.parametrize("name", POPULATIONS)
def test_r2_of_task_and_depth_and_their_jackknife(
    verdict: dict[str, Any], prompts: list[Prompt], name: str
) -> None:
    both = POPULATIONS[name]
    whole = np.array(both(prompts))
    bias = np.zeros(2)
    for task in dict.fromkeys(TASKS):
        without_one = [both([p for p in prompts if p is not out]) for out in prompts if out.task == task]
        bias += (len(without_one) - 1) * (np.mean(without_one, axis=0) - whole)
    figures = verdict["nodes"][name]
    assert figures["mcfadden_r2_difference"] == pytest.approx(whole[0] - whole[1], abs=1e-9)
    assert (figures["task_r2"], figures["depth_r2"]) == pytest.approx(tuple(whole - bias), abs=1e-9)
    assert figures["corrected"] == pytest.approx(figures["task_r2"] - figures["depth_r2"], abs=1e-12)
    assert figures["ci"][0] < figures["corrected"] < figures["ci"][1]


def test_the_nodes_counted(verdict: dict[str, Any], prompts: list[Prompt]) -> None:
    """All of them, those below a rejected one, and those at risk; the verdict's own figures are the last."""
    pairs = [(each, node) for prompt in prompts for each in prompt.rounds for node in each.nodes]
    nodes = {name: figures["nodes"] for name, figures in verdict["nodes"].items()}
    assert nodes == {
        "at_risk": sum(each.at_risk(node) for each, node in pairs),
        "all": len(pairs),
        "off_path": sum(not each.accepted_parent(node) for each, node in pairs),
    }
    assert {key: verdict[key] for key in ("corrected", "ci")} == {
        key: verdict["nodes"]["at_risk"][key] for key in ("corrected", "ci")
    }
