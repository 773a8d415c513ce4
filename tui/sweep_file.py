"""The file of a sweep: drafters, trees, temperatures and tasks to combine, and options of all its runs.

drafters = ["eagle", "recycling"]
trees = ["chain:3", "dynamic:8x4"]

[run]
per-task = 10
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spectui.decoding.config import AUTO, CHAIN_BESIDE, FROM_FILE, OF_A_SERVER, RunConfig
from spectui.decoding.drafters.registry import kind_of, named_kinds
from spectui.decoding.errors import DecodingError, UsageError
from spectui.decoding.options import Option
from spectui.store.errors import StoreError
from spectui.store.labels import check_name
from spectui.store.paths import expanded
from spectui.store.sweeps.cells import Cell
from spectui.tui.run_options import run_options
from spectui.tui.start import anchored
from spectui.tui.terminal.suggest import closest
from spectui.tui.toml_file import SettingsError, TomlReader, read_table, read_text

KEYS = ("name", "drafters", "trees", "temperatures", "tasks", "run")
OWN = {"draft": "drafters", "tree": "trees", "temperature": "temperatures", "tasks": "tasks", "name": "name"}
"""Options that the sweep sets -> its key for them."""
NONE_OF_A_SWEEP = ("study", "server", "shard", *OF_A_SERVER)
"""Options that go not with a sweep."""

Configured = Callable[[dict[str, Any]], RunConfig]
"""Makes the configuration of a run from the options chosen."""


@dataclass(frozen=True)
class SweepPlan:
    """A sweep as its file has it."""

    name: str
    drafters: tuple[str, ...]
    trees: Mapping[str, tuple[str, ...]]
    """By drafter; "" where the run chooses."""
    temperatures: tuple[float, ...]
    tasks: tuple[str, ...] | None
    """None: all that the prompts have."""
    options: Mapping[str, Any]
    """Of every run: field -> value."""
    fault: Callable[[Sequence[str], str], SettingsError]
    """Makes the error about a key of the file, with its line."""

    def chosen(self, draft: str, tree: str, temperature: float) -> dict[str, Any]:
        """The options of one run."""
        return {**self.options, "draft": draft, "tree": tree, "temperature": temperature}

    def cells(self, tasks: Sequence[str], fits: Callable[[str, str], bool]) -> list[Cell]:
        """Every combination with these tasks, those to be compared with each other next to each other."""
        return [
            Cell(draft, tree, temperature, task)
            for task in tasks
            for temperature in self.temperatures
            for draft in self.drafters
            for tree in self.trees[draft]
            if fits(draft, tree)
        ]


def read_sweep(path: Path) -> SweepPlan:
    """The sweep of a file. Raises `SettingsError` with file and line for what it cannot mean."""
    path = expanded(path)
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        raise SettingsError(f"there is no file {path}") from None
    return _Reader(text, path).sweep(read_table(text, path))


class _Reader(TomlReader):
    def sweep(self, table: Mapping[str, Any]) -> SweepPlan:
        self.known(table, KEYS, ())
        name = self.value(table, str, ("name",)) if "name" in table else self.path.stem
        try:
            name = check_name(name)
        except StoreError as error:
            raise self.error(("name",), str(error)) from error
        if "drafters" not in table:
            raise self.error((), 'drafters are missing; write drafters = ["eagle", "recycling"]')
        drafters = self.values(table, str, "drafters")
        options = self.options(table)
        self.checked(
            partial(anchored, RunConfig(target=str(options.get("target", "embedded")))), "run", "target"
        )
        for draft in drafters:
            self.check_drafter(draft, str(options.get("target", "embedded")))
        tasks = self.values(table, str, "tasks") if "tasks" in table else None
        temperatures = self.values(table, float, "temperatures") if "temperatures" in table else (0.0,)
        for value in temperatures:
            self.checked(partial(RunConfig, temperature=value), "temperatures")
        return SweepPlan(
            name, drafters, self.trees(table, drafters), temperatures, tasks, options, self.error
        )

    def values(self, table: Mapping[str, Any], kind: type, *path: str) -> tuple[Any, ...]:
        """A list of values of one kind, each of them once."""
        key, values = path[-1], table[path[-1]]
        if not isinstance(values, list):
            raise self.error(path, f"{'.'.join(path)} is a list; write it in [ ]")
        read = [self.value({key: each}, kind, path) for each in values]
        read = [each.strip() if isinstance(each, str) else each for each in read]
        if not read:
            raise self.error(path, f"{'.'.join(path)} is empty; name at least one")
        if "" in read:
            raise self.error(path, f"{'.'.join(path)} has an empty text; write a name in it, or leave it out")
        if len(set(read)) < len(read):
            twice = next(each for each in read if read.count(each) > 1)
            raise self.error(path, f"{'.'.join(path)} has {twice!r} twice")
        return tuple(read)

    def trees(self, table: Mapping[str, Any], drafters: Sequence[str]) -> dict[str, tuple[str, ...]]:
        """The trees of each drafter: of all alike from a list, or from a table by drafter."""
        if "trees" not in table:
            return dict.fromkeys(drafters, ("",))
        if isinstance(table["trees"], dict):
            self.known(table["trees"], drafters, ("trees",))
            by_drafter = {draft: self.values(table["trees"], str, "trees", draft) for draft in table["trees"]}
        else:
            by_drafter = dict.fromkeys(drafters, self.values(table, str, "trees"))
        for draft, trees in by_drafter.items():
            path = ("trees", draft) if isinstance(table["trees"], dict) else ("trees",)
            for tree in trees:
                self.check_tree(tree, path)
        named = {
            draft: tuple("" if tree == AUTO else tree for tree in trees)
            for draft, trees in by_drafter.items()
        }
        return {draft: named.get(draft, ("",)) for draft in drafters}

    def options(self, table: Mapping[str, Any]) -> dict[str, Any]:
        """The options in ``[run]``, by the names of their fields."""
        entries = self.table(table, ("run",))
        known: dict[str, Option] = {each.flag.lstrip("-").replace("-", "_"): each for each in run_options()}
        for key in entries:
            option = known.get(key.replace("-", "_"))
            if option is not None and option.name in OWN:
                raise self.error(
                    ("run", key),
                    f"'{key}' differs from run to run; set {OWN[option.name]} above [run]",
                )
            if option is not None and option.name in NONE_OF_A_SWEEP:
                raise self.error(("run", key), f"'{key}' does not go with a sweep; use spectui run")
        self.known(entries, [key.replace("_", "-") for key in known], ("run",), flags=True)
        values: dict[str, Any] = {}
        for key in entries:
            option = known[key.replace("-", "_")]
            value = self.value(entries, option.setting_kind, ("run", key))
            values[option.name] = self.checked(partial(option.from_setting, value), "run", key)
            self.checked(partial(option.check, values[option.name]), "run", key)
        return values

    def check_drafter(self, draft: str, target: str) -> None:
        """Refuse what is neither a drafter's name nor like a folder or an id on the hub."""
        config: RunConfig = self.checked(partial(RunConfig, target=target, draft=draft), "drafters")
        self.checked(partial(anchored, config), "drafters")
        base = config.base_draft
        if kind_of(base).named or "/" in base or expanded(base).is_dir():
            return
        names = [kind.name for kind in named_kinds(embedded=target == "embedded")]
        raise self.error(
            ("drafters",),
            f"there is no drafter '{draft}' ({closest(base, names)}), nor such a folder or id (owner/name)",
        )

    def check_tree(self, tree: str, path: tuple[str, ...]) -> None:
        """Refuse what is no tree of any drafter."""
        from spectui.decoding.trees.spec import parse_tree

        if tree not in ("", AUTO) and not tree.startswith(FROM_FILE):
            self.checked(partial(parse_tree, tree.partition(CHAIN_BESIDE)[0]), *path)
        elif tree.startswith(FROM_FILE):
            self.checked(partial(anchored, RunConfig(tree=tree)), *path)

    def checked(self, read: Callable[[], Any], *path: str) -> Any:
        """The return of `read`; a fault of its value is one of that key."""
        try:
            return read()
        except DecodingError as error:
            raise self.error(path, str(error).removeprefix("--")) from error


def unfit(configured: Configured, plan: SweepPlan, draft: str, tree: str) -> str | None:
    """The reason that a drafter cannot draft a tree; None for one that it can."""
    try:
        configured(plan.chosen(draft, tree, plan.temperatures[0]))
    except UsageError as error:
        return str(error)
    return None
