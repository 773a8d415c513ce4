"""Protects the report's figures: each is worked out again here, from the rows of the node table and its definition.

Nothing of `store.analysis` is used but the report itself: loops over rows, and scipy's own Spearman.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import spearmanr
from sqlite_utils import Database

from spectui.store.analysis.as_json import report_json
from spectui.store.analysis.report import build_report
from spectui.store.reading.reader import Reader
from spectui.store.writing.writer import SessionWriter
from tests.store.samples import make_round, make_session, random_rounds

PROMPTS = ("code", "math", "code", "math", "math", "code", "chat")
ROUNDS = (7, 12, 3, 9, 20, 5, 4)
UNEVEN = (None, None, 0, 0, 0, 2)
"""A tree in which some nodes are leaves early."""
SHALLOW = (None, None, 0)


@dataclass
class Node:
    idx: int
    parent: int | None
    depth: int
    rank: int
    draft_p: float
    target_p: float
    draft_entropy: float
    target_entropy: float
    match: int
    accepted: int

    @property
    def overlap(self) -> float:
        return min(1.0, self.target_p / self.draft_p)


@dataclass
class Round:
    accepted_length: int
    bonus: bool
    cut: bool
    nodes: list[Node] = field(default_factory=list)

    def accepted_parent(self, node: Node) -> bool:
        return node.parent is None or bool(self.nodes[node.parent].accepted)

    def at_risk(self, node: Node) -> bool:
        return self.accepted_parent(node) and not (self.cut and node.depth > self.accepted_length)


@dataclass
class Prompt:
    task: str
    rounds: list[Round]

    @property
    def nodes(self) -> list[Node]:
        return [node for each in self.rounds for node in each.nodes]


@pytest.fixture
def prompts(db: Database, path: Path) -> list[Prompt]:
    """A session with trees of three shapes, prompts of many lengths and a path that an end token cut."""
    session_id = make_session(db, PROMPTS)
    writer = SessionWriter(db, session_id)
    writer.claim()
    for generation, count in zip(writer.pending_generations(), ROUNDS, strict=True):
        writer.start_generation(generation.id, 10)
        parents = SHALLOW if generation.id == 4 else UNEVEN if generation.id % 2 else None
        rounds = random_rounds(count, generation.id, *([parents] if parents else []))
        for each in rounds:
            writer.record_round(generation.id, each)
        last = make_round(
            count + 1,
            path=(0, 2),
            prefix_length=(rounds[-1].prefix_length or 0) + rounds[-1].accepted_length + 1,
            seed=generation.id,
        )
        writer.record_round(generation.id, replace(last, cut="eos", bonus_token_id=None))
        writer.finish_generation(generation.id, "finished", output="done", finish_reason="eos")
    writer.set_status("finished")
    return rows_of(path)


@pytest.fixture
def report(prompts: list[Prompt], path: Path) -> dict[str, Any]:
    with Reader(path) as reader:
        return report_json(build_report(reader, "last"))


def rows_of(path: Path) -> list[Prompt]:
    """The session as it lies in the file."""
    connection = sqlite3.connect(path)
    prompts = []
    for generation, task in connection.execute(
        "SELECT id, task FROM generation ORDER BY position"
    ).fetchall():
        rounds = []
        for round_id, length, bonus, cut in connection.execute(
            "SELECT id, accepted_length, bonus_token_id, cut FROM round WHERE generation_id = ? ORDER BY number",
            (generation,),
        ).fetchall():
            nodes = connection.execute(
                "SELECT idx, parent, depth, rank, draft_p, target_p, draft_entropy, target_entropy,"
                ' "match", accepted FROM node WHERE round_id = ? ORDER BY idx',
                (round_id,),
            ).fetchall()
            rounds.append(Round(length, bonus is not None, cut is not None, [Node(*row) for row in nodes]))
        prompts.append(Prompt(task, rounds))
    connection.close()
    return prompts


def groups(prompts: list[Prompt]) -> dict[str, list[Prompt]]:
    by_task = {task: [p for p in prompts if p.task == task] for task in dict.fromkeys(PROMPTS)}
    return by_task | {"overall": prompts}


def of(report: dict[str, Any], name: str) -> dict[str, Any]:
    group: dict[str, Any] = report["overall"] if name == "overall" else report["tasks"][name]
    return group


Sums = Callable[[Prompt], tuple[float, float]]


def check_estimate(estimate: dict[str, Any], prompts: list[Prompt], sums: Sums) -> None:
    """Means over prompts, and the ratio of sums, of (top, bottom) of each prompt."""
    pairs = [sums(prompt) for prompt in prompts]
    assert estimate["mean"] == pytest.approx(np.mean([top / bottom for top, bottom in pairs if bottom]))
    assert estimate["token_weighted"] == pytest.approx(sum(t for t, _ in pairs) / sum(b for _, b in pairs))
    if estimate["ci"] is not None:
        assert estimate["ci"][0] <= estimate["mean"] <= estimate["ci"][1]


def over_nodes(value: Callable[[Node], float], some: Callable[[Node], bool] = lambda _: True) -> Sums:
    def sums(prompt: Prompt) -> tuple[float, float]:
        nodes = [node for node in prompt.nodes if some(node)]
        return sum(value(node) for node in nodes), len(nodes)

    return sums


def at_risk_sums(prompt: Prompt) -> tuple[float, float]:
    pairs = [node.accepted for each in prompt.rounds for node in each.nodes if each.at_risk(node)]
    return sum(pairs), len(pairs)


@pytest.mark.parametrize("name", ["code", "math", "chat", "overall"])
def test_acceptance_lengths_and_entropies(report: dict[str, Any], prompts: list[Prompt], name: str) -> None:
    """Counts, alpha under every definition, E[L], accepted length, tokens per round, both entropies."""
    group, members = of(report, name), groups(prompts)[name]
    assert group["prompts"] == len(members)
    assert group["rounds"] == sum(len(p.rounds) for p in members)
    assert group["nodes"] == sum(len(p.nodes) for p in members)
    alpha = group["alpha"]
    check_estimate(alpha["match"], members, over_nodes(lambda n: n.match))
    check_estimate(alpha["overlap"], members, over_nodes(lambda n: n.overlap))
    check_estimate(alpha["rank1_match"], members, over_nodes(lambda n: n.match, lambda n: n.rank == 0))
    check_estimate(alpha["at_risk"], members, at_risk_sums)
    a = alpha["overlap"]["mean"]
    rounds = [each for p in members for each in p.rounds]
    chains = [sum(a**d for d in range(1, max(n.depth for n in each.nodes) + 1)) for each in rounds]
    assert group["expected_length_formula"] == pytest.approx(np.mean(chains))
    length = [np.mean([r.accepted_length for r in p.rounds]) for p in members]
    assert group["accepted_length"]["mean"] == pytest.approx(np.mean([r.accepted_length for r in rounds]))
    assert group["accepted_length"]["per_prompt"] == pytest.approx(np.mean(length))
    per_round = [np.mean([r.accepted_length + r.bonus for r in p.rounds]) for p in members]
    assert group["tokens_per_round"] == pytest.approx(np.mean([r.accepted_length + r.bonus for r in rounds]))
    assert group["tokens_per_round_per_prompt"] == pytest.approx(np.mean(per_round))
    for key in ("draft_entropy", "target_entropy"):
        # Of each parent, once: that of its first child.
        means = [np.mean([getattr(n, key) for n in p.nodes if n.rank == 0]) for p in members]
        assert group[key] == pytest.approx(np.mean(means))


@pytest.mark.parametrize("name", ["code", "math", "chat", "overall"])
def test_hazard_and_survival_on_and_off_the_path(
    report: dict[str, Any], prompts: list[Prompt], name: str
) -> None:
    """Rounds at risk and reached by depth; families of rejected parents by depth; products of both."""
    group = of(report, name)
    rounds = [each for prompt in groups(prompts)[name] for each in prompt.rounds]
    at_risk: Counter[int] = Counter()
    reached: Counter[int] = Counter()
    families: Counter[int] = Counter()
    answered: Counter[int] = Counter()
    for each in rounds:
        at_risk.update({node.depth for node in each.nodes if each.at_risk(node)})
        reached.update(range(1, each.accepted_length + 1))
        children: dict[int, list[Node]] = defaultdict(list)
        for node in each.nodes:
            if not each.accepted_parent(node):
                assert node.parent is not None
                children[node.parent].append(node)
        for family in children.values():
            families[family[0].depth] += 1
            answered[family[0].depth] += any(node.match for node in family)
    depths = sorted(at_risk)
    hazards = [reached[d] / at_risk[d] for d in depths]
    assert group["hazard"] == pytest.approx(hazards)
    uncut = {d: sum(not each.cut or each.accepted_length >= d for each in rounds) for d in depths}
    assert group["survival"] == pytest.approx([reached[d] / uncut[d] for d in depths])
    off = [answered[d] / families[d] for d in depths[1:]]
    assert group["hazard_off_path"] == pytest.approx(off)
    assert group["survival_off_path"] == pytest.approx((hazards[0] * np.cumprod(off)).tolist())


@pytest.mark.parametrize("name", ["code", "math", "chat", "overall"])
def test_correlations(report: dict[str, Any], prompts: list[Prompt], name: str) -> None:
    """Spearman's rho by scipy: the mean over prompts, and over all nodes at once."""
    group, members = of(report, name), groups(prompts)[name]
    for rho, key in (("rho", "draft_entropy"), ("rho_target_entropy", "target_entropy")):
        for side in ("match", "overlap"):
            each = [rho_of(prompt.nodes, key, side) for prompt in members]
            assert group[rho][side]["per_prompt"] == pytest.approx(np.nanmean(each))
            every = [node for prompt in members for node in prompt.nodes]
            assert group[rho][side]["pooled"] == pytest.approx(rho_of(every, key, side))


def rho_of(nodes: list[Node], key: str, side: str) -> float:
    return float(spearmanr([getattr(n, key) for n in nodes], [getattr(n, side) for n in nodes]).statistic)


LABELS: dict[str, Callable[[Prompt, Node], Any]] = {
    "task": lambda prompt, node: prompt.task,
    "depth": lambda prompt, node: node.depth,
    "rank": lambda prompt, node: node.rank,
}


def tenths(prompts: list[Prompt], key: str) -> Callable[[Prompt, Node], Any]:
    edges = np.quantile([getattr(n, key) for p in prompts for n in p.nodes], np.arange(0.1, 0.95, 0.1))
    return lambda prompt, node: sum(getattr(node, key) >= edge for edge in edges)


def likelihoods(prompts: Iterable[Prompt], label: Callable[[Prompt, Node], Any]) -> tuple[float, float]:
    """Log likelihood of the matches by the label's shares, and by one share; prompts weigh equally."""
    ones: dict[Any, float] = defaultdict(float)
    sizes: dict[Any, float] = defaultdict(float)
    for prompt in prompts:
        for node in prompt.nodes:
            ones[label(prompt, node)] += node.match / len(prompt.nodes)
            sizes[label(prompt, node)] += 1 / len(prompt.nodes)

    def log_likelihood(one: float, size: float) -> float:
        return sum(k * math.log(k / size) for k in (one, size - one) if k > 1e-12)

    fitted = sum(log_likelihood(ones[each], sizes[each]) for each in sizes)
    return fitted, log_likelihood(sum(ones.values()), sum(sizes.values()))


@pytest.mark.parametrize("name", ["task", "depth", "rank", "draft_entropy", "draft_p"])
def test_predictors(report: dict[str, Any], prompts: list[Prompt], name: str) -> None:
    """McFadden's R2 from log likelihoods, information in bits, and both without the jackknife's bias."""
    predictor = report["predictors"][name]
    label = LABELS.get(name) or tenths(prompts, name)

    def figures(some: list[Prompt]) -> tuple[float, float]:
        fitted, null = likelihoods(some, label)
        return 1 - fitted / null, (fitted - null) / len(some) / math.log(2)

    r2, bits = figures(prompts)
    assert predictor["mcfadden_r2"] == pytest.approx(r2)
    assert predictor["mutual_information_plug_in"] == pytest.approx(bits)
    labels = {label(prompt, node) for prompt in prompts for node in prompt.nodes}
    assert predictor["df"] == len(labels) - 1
    assert predictor["mcfadden_r2_per_df"] == pytest.approx(r2 / (len(labels) - 1))
    nodes = sum(len(p.nodes) for p in prompts)
    assert predictor["mutual_information_miller_madow"] == pytest.approx(
        bits - (len(labels) - 1) / (2 * nodes * math.log(2))
    )
    bias = np.zeros(2)
    for task in dict.fromkeys(PROMPTS):
        without_one = [
            figures([p for p in prompts if p is not out])
            for out in prompts
            if out.task == task and len(groups(prompts)[task]) > 1
        ]
        if without_one:
            bias += (len(without_one) - 1) * (np.mean(without_one, axis=0) - np.array([r2, bits]))
    assert predictor["mcfadden_r2_corrected"] == pytest.approx(r2 - bias[0])
    assert predictor["mutual_information_bits"] == pytest.approx(bits - bias[1])


def test_trees_of_two_shapes_have_no_verdict(report: dict[str, Any]) -> None:
    """Prompts had one tree or the other, and so had tasks."""
    assert report["task_minus_depth"]["verdict"] is None
    assert report["task_minus_depth"]["nodes"] == {}
    assert "was not the same in all rounds" in report["task_minus_depth"]["sentence"]


def test_likeness_is_of_nothing_below_five_prompts_a_task(report: dict[str, Any]) -> None:
    assert report["icc"] is report["design_effect"] is None
    assert "it takes 5 prompts of each task" in report["notes"]["how alike the families of one prompt are"]


@pytest.mark.parametrize("name", ["code", "math", "overall"])
def test_chance_of_a_drawn_child(report: dict[str, Any], prompts: list[Prompt], name: str) -> None:
    """The sum of min(p, q) over the children of a parent, and what tokens that were not drafted may add."""
    group, members = of(report, name), groups(prompts)[name]
    bounds: dict[str, list[list[float]]] = {"least": [], "most": []}
    for prompt in members:
        sums: dict[str, list[float]] = {"least": [], "most": []}
        for each in prompt.rounds:
            children: dict[int | None, list[Node]] = defaultdict(list)
            for node in each.nodes:
                children[node.parent].append(node)
            for family in children.values():
                least = min(sum(min(n.target_p, n.draft_p) for n in family), 1.0)
                rest = min(1 - sum(n.target_p for n in family), 1 - sum(n.draft_p for n in family))
                sums["least"].append(least)
                sums["most"].append(least + max(rest, 0.0))
        for key, values in sums.items():
            bounds[key].append(values)
    for key, each_prompt in bounds.items():
        means = [np.mean(values) for values in each_prompt]
        assert group["acceptance_chance"][key]["mean"] == pytest.approx(np.mean(means))
