"""Budget files: a tree for each task, and the pair of models and the machine that they were found on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.config import RunConfig
from spectui.decoding.errors import UsageError
from spectui.decoding.trees.advise.advice import Advice
from spectui.decoding.trees.costs import Machine
from spectui.decoding.trees.spec import parse_tree
from spectui.store.files import new_file

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


def save_budget(budget: Budget, path: Path, *, force: bool | None = False) -> None:
    """Write a budget file as `store.files.new_file` does, whose `StoreError` it raises."""
    data = {"format": FORMAT, "version": VERSION, **asdict(budget)}
    with new_file(path, force=force) as draft:
        draft.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_budget(path: Path) -> Budget:
    """Read a budget file. Raises `UsageError` in one line when it is none, or was changed to what none can be."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"budget file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"budget file {path} is not JSON: {str(error) or 'it is empty'}") from error
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise UsageError(f"{path} is no budget file; spectui advise SESSION --save FILE writes one")
    if data.get("version") != VERSION:
        raise UsageError(
            f"budget file {path} was written by another version; write it again with spectui advise"
        )
    try:
        return _budget(data)
    except UsageError as error:
        raise UsageError(f"budget file {path}: {error}") from error


def _budget(data: dict[str, Any]) -> Budget:
    """Raises `UsageError` with what is wrong. Keys that are not known are left alone, as notes may be."""
    held = _mapping(data, "identity")
    words = {name: _text(held, f"identity.{name}", name) for name in ("target", "drafter", "device", "dtype")}
    for name in ("target", "drafter"):
        if not words[name]:
            raise UsageError(f"identity.{name} is missing; it says which models the trees are for")
    threads = held.get("threads", 0)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise UsageError(f"identity.threads is {threads!r}; it must be a whole number")
    trees = {task: _tree(tree, f"the tree of {task}") for task, tree in _mapping(data, "trees").items()}
    gains = _mapping(data, "gains") if "gains" in data else {}
    return Budget(
        Identity(**words, threads=threads),
        trees,
        _tree(data.get("other"), "the tree of other tasks ('other')"),
        _text(data, "session", "session"),
        {task: float(gain) for task, gain in gains.items() if isinstance(gain, int | float)},
    )


def _mapping(data: dict[str, Any], name: str) -> dict[str, Any]:
    found = data.get(name)
    if not isinstance(found, dict):
        raise UsageError(f"'{name}' is {_kind(found)}; it must be an object, as spectui advise writes it")
    return found


def _text(data: dict[str, Any], what: str, name: str) -> str:
    found = data.get(name, "")
    if not isinstance(found, str):
        raise UsageError(f"{what} is {_kind(found)}; it must be text")
    return found


def _tree(spec: object, what: str) -> str:
    if not isinstance(spec, str) or not spec:
        raise UsageError(f"{what} is {_kind(spec)}; it must be a name such as dynamic:3x2 or chain:5")
    try:
        parse_tree(spec)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    return spec


def _kind(value: object) -> str:
    """What stands there, in a word or two."""
    if value is None or value == "":
        return "missing"
    return (
        "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else repr(value)[:40]
    )


def check_fits(budget: Budget, config: RunConfig) -> None:
    """Raises `UsageError` for a tree that the run's drafter cannot draft."""
    for tree in dict.fromkeys((*budget.trees.values(), budget.other)):
        config.changed(tree=tree)


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
