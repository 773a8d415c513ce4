"""Plan files: a tree for each task, with the pair of models and the machine that the trees were chosen for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from spectui.decoding.errors import UsageError
from spectui.decoding.trees.costs import Machine
from spectui.decoding.trees.spec import parse_tree
from spectui.store.files import new_file

FORMAT = "spectui tree plan"
OLDER_FORMAT = "spectui tree budgets"
VERSION = 1


@dataclass(frozen=True)
class Identity:
    """The models and the machine that a plan is for. Empty where it was not known when the file was written."""

    target: str
    drafter: str
    device: str
    dtype: str = ""
    threads: int = 0

    @classmethod
    def of(cls, machine: Machine, beside: str) -> Identity:
        """The identity of a run on `machine`; `beside` stands behind the drafter's name: "+lookup" or ""."""
        return cls(machine.target, machine.drafter + beside, machine.device, machine.dtype, machine.threads)


@dataclass(frozen=True)
class TreePlan:
    """Trees by task, and one for tasks that the file does not name."""

    identity: Identity
    trees: Mapping[str, str]
    other: str
    session: str = ""
    """The session that it was advised for."""
    gains: Mapping[str, float] = field(default_factory=dict)
    """Predicted speed-up over decoding one token at a time, by task."""

    def tree_of(self, task: str) -> str:
        """The tree of a task."""
        return self.trees.get(task, self.other)

    @property
    def distinct_trees(self) -> tuple[str, ...]:
        """Every tree of the plan once."""
        return tuple(dict.fromkeys((*self.trees.values(), self.other)))


def save_plan(plan: TreePlan, path: Path, *, force: bool | None = False) -> None:
    """Write a plan file as `store.files.new_file` does, whose `StoreError` it raises."""
    data = {"format": FORMAT, "version": VERSION, **asdict(plan)}
    with new_file(path, force=force) as draft:
        draft.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_plan(path: Path) -> TreePlan:
    """Read a plan file. Raises `UsageError`, in one line, when it is none or has been changed to something else."""
    try:
        data: Any = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"plan file {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"plan file {path} is not JSON: {str(error) or 'it is empty'}") from error
    if not isinstance(data, dict) or data.get("format") not in (FORMAT, OLDER_FORMAT):
        raise UsageError(f"{path} is no plan file; spectui advise SESSION --save FILE writes one")
    if data.get("version") != VERSION:
        raise UsageError(
            f"plan file {path} was written by another version; write it again with spectui advise"
        )
    try:
        return _plan(data)
    except UsageError as error:
        raise UsageError(f"plan file {path}: {error}") from error


def _plan(data: dict[str, Any]) -> TreePlan:
    """The plan that `data` holds; other keys are left alone. Raises `UsageError` with what is wrong."""
    identity = _mapping(data, "identity")
    words = {
        name: _text(identity, f"identity.{name}", name) for name in ("target", "drafter", "device", "dtype")
    }
    for name in ("target", "drafter"):
        if not words[name]:
            raise UsageError(f"identity.{name} is missing; it says which models the trees are for")
    threads = identity.get("threads", 0)
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 0:
        raise UsageError(f"identity.threads is {threads!r}; it must be a whole number")
    trees = {task: _tree(tree, f"the tree of {task}") for task, tree in _mapping(data, "trees").items()}
    gains = _mapping(data, "gains") if "gains" in data else {}
    return TreePlan(
        Identity(**words, threads=threads),
        trees,
        _tree(data.get("other"), "the tree of other tasks ('other')"),
        _text(data, "session", "session"),
        {task: float(gain) for task, gain in gains.items() if isinstance(gain, int | float)},
    )


def _mapping(data: dict[str, Any], name: str) -> dict[str, Any]:
    value = data.get(name)
    if not isinstance(value, dict):
        raise UsageError(f"'{name}' is {_kind(value)}; it must be an object, as spectui advise writes it")
    return value


def _text(data: dict[str, Any], what: str, name: str) -> str:
    text = data.get(name, "")
    if not isinstance(text, str):
        raise UsageError(f"{what} is {_kind(text)}; it must be text")
    return text


def _tree(spec: object, what: str) -> str:
    if not isinstance(spec, str) or not spec:
        raise UsageError(f"{what} is {_kind(spec)}; it must be a name such as dynamic:3x2 or chain:5")
    try:
        parse_tree(spec)
    except UsageError as error:
        raise UsageError(f"{what}: {error}") from error
    return spec


def _kind(value: object) -> str:
    """The kind of a value, or the value itself, in a word or two."""
    if value is None or value == "":
        return "missing"
    return (
        "a list" if isinstance(value, list) else "an object" if isinstance(value, dict) else repr(value)[:40]
    )


def differences(plan: Identity, run: Identity) -> list[str]:
    """Ways in which a run is not what a plan is for, a phrase each. What either does not know is not compared."""
    phrases = []
    for name, words in (
        ("target", "the target"),
        ("drafter", "the drafter"),
        ("device", "the machine"),
        ("dtype", "the number type"),
        ("threads", "the number of threads"),
    ):
        then, now = getattr(plan, name), getattr(run, name)
        if then and now and not _same(str(then), str(now)):
            phrases.append(f"{words} was {then} and is {now}")
    return phrases


def _same(a: str, b: str) -> bool:
    """Equal, or a bare name beside the same name with the digest of its architecture."""
    return a == b or a.startswith(f"{b} ") or b.startswith(f"{a} ")
