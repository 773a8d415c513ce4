"""The study's claim, judged on a session: the task predicts acceptance better than the depth in the tree."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from spectui.store.analysis import populations
from spectui.store.analysis.counts import Counts
from spectui.store.analysis.effects import Difference, difference, prompts_needed
from spectui.store.analysis.populations import ALL, AT_RISK, OFF_PATH

Answer = Literal["supported", "not supported", "reversed"]
CHANCE: Final = 0.05
EFFECT: Final = 0.001
"""R2 of the task for which prompts are counted: about what the published acceptance of four tasks makes."""
CLAIM: Final = "The published claim that the task predicts acceptance better than tree depth"
NODES: Final = {AT_RISK: "nodes at risk", ALL: "all nodes", OFF_PATH: "nodes below a rejected one"}


@dataclass(frozen=True)
class Verdict:
    """R2 of the task less R2 of the depth on three kinds of nodes, and the answer to the claim."""

    verdict: Answer | None
    """None where it cannot be judged; `why` says why."""
    prompts: int
    why: str = ""
    by_nodes: Mapping[str, Difference] = field(default_factory=dict)
    """By `NODES`; what has no R2 of both is missing. Empty where tasks had different trees."""
    needed: tuple[int, int, int] | None = None
    """Prompts that tell an R2 of the task of `EFFECT` from none four times in five, and a 95 % range of that."""


def judge(counts: Counts) -> Verdict:
    """The verdict on nodes at risk, of rounds with the tree that all tasks had.

    Supported: the interval lies above 0, and tasks dealt anew to the prompts seldom differ as much. Reversed: it lies
    below 0. Neither where all nodes, or those below a rejected one, say the contrary.
    """
    rounds = populations.common_tree(counts.data, counts.task, counts.tasks)
    if isinstance(rounds, str):
        return Verdict(None, counts.prompts, rounds)
    nodes = rounds[counts.data.node_round]
    at_risk = populations.at_risk(counts, rounds)
    differences = {
        AT_RISK: difference(at_risk, counts.task),
        ALL: difference(populations.plain(counts, nodes), counts.task),
        OFF_PATH: difference(populations.plain(counts, nodes & ~counts.data.on_path), counts.task),
    }
    by_nodes = {name: each for name, each in differences.items() if each is not None}
    first = differences[AT_RISK]
    if first is None:
        return Verdict(
            None, counts.prompts, "the nodes at risk have one depth alone, or one outcome", by_nodes
        )
    if first.ci is None:
        return Verdict(None, counts.prompts, "it takes two prompts of each task", by_nodes)
    side = _side(first)
    if side > 0 and (first.task_p is None or first.task_p >= CHANCE):
        side = 0
    others = [_side(each) for name, each in by_nodes.items() if name != AT_RISK]
    answer: Answer = "supported" if side > 0 else "reversed" if side < 0 else "not supported"
    if side and -side in others:
        answer = "not supported"
    return Verdict(answer, counts.prompts, "", by_nodes, prompts_needed(at_risk, counts.task, EFFECT))


def sentence(verdict: Verdict) -> str:
    """The verdict in words."""
    prompts = f"{verdict.prompts} prompt{'' if verdict.prompts == 1 else 's'}"
    first = verdict.by_nodes.get(AT_RISK)
    if verdict.verdict is None or first is None:
        return f"{CLAIM} cannot be judged with {prompts}: {verdict.why}."
    figures = ", ".join(f"{_figure(each)} of {NODES[name]}" for name, each in verdict.by_nodes.items())
    return (
        f"{CLAIM} is {verdict.verdict} in this session, told from {prompts}: {_reason(verdict)} (R² of task less R² of "
        f"depth, 95 % interval: {figures}).{_needed(verdict)}"
    )


def _side(difference: Difference) -> int:
    """1 where the interval lies above 0, -1 below, else 0."""
    if difference.ci is None:
        return 0
    return 1 if difference.ci[0] > 0 else -1 if difference.ci[1] < 0 else 0


def _figure(difference: Difference) -> str:
    low, high = difference.ci or (None, None)
    interval = "" if low is None else f" [{low:+.4f}, {high:+.4f}]"
    return f"{difference.corrected:+.4f}{interval}"


def _reason(verdict: Verdict) -> str:
    sides = {name: _side(each) for name, each in verdict.by_nodes.items()}
    if verdict.verdict == "supported":
        return "of nodes that could be accepted, the task tells more than the depth"
    if verdict.verdict == "reversed":
        return "of nodes that could be accepted, the depth tells more than the task"
    if sides[AT_RISK] and -sides[AT_RISK] in sides.values():
        return "which nodes are counted decides"
    if sides[AT_RISK] > 0:
        return "prompts dealt to tasks at random often differ as much"
    if sides.get(ALL, 0) < 0:
        return (
            "of nodes that could be accepted, neither tells more; over all nodes the depth does, as it says there "
            "whether the parent was rejected"
        )
    return "neither can be seen to tell more than the other"


def _needed(verdict: Verdict) -> str:
    if verdict.needed is None:
        return ""
    about, low, high = verdict.needed
    return (
        f" A task whose R² is {EFFECT:g}, about the published size, is told from none four times in five with "
        f"{about:,} prompts like these ({low:,} to {high:,})."
    )
