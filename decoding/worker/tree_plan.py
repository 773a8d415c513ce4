"""The trees of a run with ``--tree auto``: from a plan file, or learnt on the way; chosen before every round."""

from __future__ import annotations

from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.trees.advise.prices import MEASURED, Priced
from spectui.decoding.trees.costs import Costs
from spectui.decoding.trees.learn.learner import Chosen, Learner
from spectui.decoding.trees.learn.prior import candidates_of
from spectui.decoding.trees.plan_file import Identity, differences, read_plan
from spectui.decoding.trees.shape import Shape
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.choose_tree import profile_of
from spectui.decoding.worker.measure_costs import machine
from spectui.store.writing.writer import SessionWriter


class TreePlan:
    """Gives the decoder the tree of each round, and keeps what it was chosen by."""

    def __init__(
        self, writer: SessionWriter, *, trees: dict[str, str] | None = None, other: str = "", source: str = "",
        learner: Learner | None = None,
    ) -> None:  # fmt: skip
        self._writer = writer
        self._learner = learner
        self._trees = {task: parse_tree(tree) for task, tree in (trees or {}).items()}
        self._other = parse_tree(other) if other else None
        self._source = source
        self._ids: dict[tuple[str, str, str], int] = {}
        self._now: dict[str, tuple[str, str]] = {}
        self._shape: Shape | None = None

    def prepare(self, decoder: SpeculativeDecoder, task: str) -> int:
        """Set the tree of the next round; returns the id of the choice."""
        chosen = self._choose(task)
        if chosen.shape is not self._shape:
            decoder.drafter.use(chosen.shape)
        self._shape = chosen.shape
        key = (task, chosen.kind, chosen.shape.name)
        known = chosen.kind == "explore" or self._now.get(task) == key[1:]
        if key not in self._ids or not known:
            self._ids[key] = self._writer.add_choice(task, chosen.shape.name, chosen.kind, chosen.reason)
        if chosen.kind != "explore":
            self._now[task] = (chosen.kind, chosen.shape.name)
        return self._ids[key]

    def learn(self, task: str, round_: Round) -> None:
        """Take a round into account."""
        if self._learner is not None and self._shape is not None:
            cut = round_.cut is not None
            took = (round_.draft_ms, round_.verify_ms, round_.other_ms)
            self._learner.observe(task, round_.tree, round_.path, self._shape, cut=cut, took=took)

    def forget_decoder(self) -> None:
        """The decoder is another one: it has no tree from here yet."""
        self._shape = None

    def _choose(self, task: str) -> Chosen:
        if self._learner is not None:
            return self._learner.next(task)
        shape = self._trees.get(task, self._other)
        assert shape is not None
        named = "" if task in self._trees else ", which does not name the task"
        return Chosen(shape, "file", f"the plan file {self._source}{named}")


def plan_of_run(
    config: RunConfig, models: LoadedModels, writer: SessionWriter, costs: Costs | None
) -> TreePlan | None:
    """The trees of a run with ``--tree auto``; None where it has one tree. Raises `DecodingError` for a plan file
    of other models or another machine, unless the run is forced, and `UsageError` for one that cannot be read."""
    if not config.auto or not config.speculate or costs is None:
        return None
    if not config.plan_file:
        priced = Priced(costs, MEASURED)
        profile = profile_of(config, models)
        return TreePlan(writer, learner=Learner(candidates_of(config.base_draft, profile, priced), priced))
    path = Path(config.plan_file)
    plan = read_plan(path)
    differing = differences(plan.identity, Identity.of(machine(config, models), config.lookup_suffix))
    if differing and not config.force_budget:
        raise DecodingError(
            f"plan file {path} is of another run: {'; '.join(differing)} (--force uses it all the same)"
        )
    for tree in plan.distinct_trees:
        config.changed(tree=tree)  # raises for one that the drafter cannot draft
    if differing:
        writer.add_event("forced", f"plan file used although {'; '.join(differing)}")
    return TreePlan(writer, trees=dict(plan.trees), other=plan.other, source=path.name)
