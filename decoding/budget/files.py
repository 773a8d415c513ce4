"""Budget files: a tree for each task, and the pair of models and the machine that they were found on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from decoding.budget.advice import Advice
from decoding.config import RunConfig
from decoding.costs import Machine
from decoding.errors import UsageError
from decoding.tree import parse_tree

FORMAT = "spectui tree budgets"
VERSION = 1


@dataclass(frozen=True)
class Identity:
    """What a budget holds for. Empty where it was not known when the file was written."""

    target: str
    drafter: str
    device: str
    dtype: str = ""
    threads: int = 0


@dataclass(frozen=True)
class Budget:
    """Trees by task, and one for tasks that the file does not name."""

    identity: Identity
    trees: Mapping[str, str]
    other: str
    session: str = ""
    """The session that it was found on."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """Predicted speed-up over decoding one token at a time, by task."""

    def tree_of(self, task: str) -> str:
        """The tree of a task."""
        return self.trees.get(task, self.other)


def identity_of(machine: Machine, config: RunConfig) -> Identity:
    """Of a run; a lookup beside the drafter belongs to it."""
    drafter = machine.drafter + config.draft_name.removeprefix(config.base_draft)
    return Identity(machine.target, drafter, machine.device, machine.dtype, machine.threads)


def budget_of(found: Advice) -> Budget:
    """What was advised, as a budget."""
    config = RunConfig.from_dict(found.summary.config)
    machine = found.priced.costs.machine
    if found.summary.costs is None:  # then the names are all that is known of the models
        machine = Machine(Path(config.target).name, Path(config.base_draft).name, "", "", 0, "")
    return Budget(
        identity_of(machine, config),
        {task.task: task.best.tree for task in found.tasks},
        found.single.tree,
        found.summary.name,
        {task.task: round(task.best.speedup.value, 4) for task in found.tasks},
    )


def save_budget(budget: Budget, path: Path) -> None:
    """Write a budget file. Raises `UsageError` where that cannot be."""
    data = {"format": FORMAT, "version": VERSION, **asdict(budget)}
    try:
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--save {path}: {error.strerror}") from error


def read_budget(path: Path) -> Budget:
    """Read a budget file. Raises `UsageError` in one line when it is none."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"budget file {path}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"budget file {path} is not JSON: {error}") from error
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise UsageError(f"{path} is no budget file; spectui advise SESSION --save FILE writes one")
    if data.pop("version", None) != VERSION:
        raise UsageError(
            f"budget file {path} was written by another version; write it again with spectui advise"
        )
    try:
        budget = Budget(**{**data, "identity": Identity(**data["identity"])})
        for tree in (*budget.trees.values(), budget.other):
            parse_tree(tree)
        return budget
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UsageError(f"budget file {path} is incomplete: {error}") from error


def differences(budget: Identity, run: Identity) -> list[str]:
    """What a budget was made for and a run is not, a phrase each. What either does not know is not compared."""
    found = []
    for name, words in (
        ("target", "the target"),
        ("drafter", "the drafter"),
        ("device", "the machine"),
        ("dtype", "the number type"),
        ("threads", "the number of threads"),
    ):
        then, now = getattr(budget, name), getattr(run, name)
        if then and now and not _same(str(then), str(now)):
            found.append(f"{words} was {then} and is {now}")
    return found


def _same(a: str, b: str) -> bool:
    """Equal, or a bare name beside the same name with the digest of its architecture."""
    return a == b or a.startswith(f"{b} ") or b.startswith(f"{a} ")
