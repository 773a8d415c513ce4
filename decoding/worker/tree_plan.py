"""The trees of a run with ``--tree auto:FILE``: each task's own, from a plan file."""

from __future__ import annotations

from pathlib import Path

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.trees.plan_file import Identity, TreePlan, differences, read_plan
from spectui.decoding.trees.spec import parse_tree
from spectui.decoding.worker.measure_costs import machine
from spectui.decoding.worker.run_writer import RunWriter


class PlanFollower:
    """Gives the decoder the tree of each prompt's task, and records it."""

    def __init__(self, writer: RunWriter, plan: TreePlan, source: str) -> None:
        self._writer = writer
        self._plan = plan
        self._source = source
        # Parsed once: buffers of a device are kept by the shape they are for.
        self._shapes = {tree: parse_tree(tree) for tree in plan.distinct_trees}
        self._choices: dict[str, int] = {}

    def set_tree(self, decoder: SpeculativeDecoder, task: str) -> int:
        """Set the tree of the next rounds; returns the id of the choice."""
        tree = self._plan.tree_of(task)
        decoder.drafter.use(self._shapes[tree])
        if task not in self._choices:
            unnamed = "" if task in self._plan.trees else ", which does not name the task"
            reason = f"the plan file {self._source}{unnamed}"
            self._choices[task] = self._writer.add_choice(task, tree, "file", reason)
        return self._choices[task]


def plan_of_run(config: RunConfig, models: LoadedModels, writer: RunWriter) -> PlanFollower | None:
    """The plan of a run with ``--tree auto:FILE``; None where it has one tree. Raises `DecodingError` for a plan file
    of other models or another machine, unless the run is forced, and `UsageError` for one that cannot be read."""
    if not config.plan_file or not config.speculate:
        return None
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
    return PlanFollower(writer, plan, path.name)
