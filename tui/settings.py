"""The user's settings: a TOML file in the user's configuration directory.

Read without Textual, for the command line reads it too. Mistakes are named with file and line; an unknown key is
refused with the closest one that there is.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from spectui.store.errors import StoreError
from spectui.store.paths import expanded, user_folder
from spectui.tui.toml_file import SettingsError as SettingsError
from spectui.tui.toml_file import TomlReader, read_table, read_text

if TYPE_CHECKING:
    from spectui.decoding.options import Option

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True)
class Settings:
    """The file's content, checked."""

    theme: str | None = None
    """A theme to start in; None: the one chosen last."""
    database: Path | None = None
    ascii: bool | None = None
    """True draws with ASCII alone; None: where the terminal needs it."""
    fps: int | None = None
    """Most pictures a second; None: as many as the dashboard draws by itself."""
    mouse: bool = True
    run: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    """Defaults of `spectui run`: key, with underscores -> value."""
    keys: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: NOTHING)
    """Screen -> action -> key, as in `tui.navigation.keymap`."""


FPS = range(1, 61)


def run_settings() -> dict[str, Option]:
    """The options that ``[run]`` may set, by their keys."""
    from spectui.tui.run_options import run_options

    return {each.setting: each for each in run_options() if each.setting}


def settings_path() -> Path:
    """``SPECTUI_CONFIG`` when set, else ``config.toml`` in the user's configuration directory.

    Raises `StoreError` where there is none.
    """
    override = os.environ.get("SPECTUI_CONFIG")
    if override:
        return expanded(override)
    return user_folder("config", "SPECTUI_CONFIG") / "config.toml"


def load(path: Path | None = None) -> Settings:
    """The settings of that file, the user's own without one; defaults when it does not exist.

    Raises `SettingsError` with file and line.
    """
    if path is None:
        try:
            path = settings_path()
        except StoreError:  # no home, no settings
            return Settings()
    try:
        text = read_text(path)
    except (FileNotFoundError, NotADirectoryError):
        return Settings()
    return parse(text, path)


def parse(text: str, path: Path) -> Settings:
    """The settings that a text means. Raises `SettingsError` naming `path` and the line."""
    return _Reader(text, path).settings(read_table(text, path))


class _Reader(TomlReader):
    def settings(self, table: Mapping[str, Any]) -> Settings:
        self.known(table, ("theme", "database", "ascii", "fps", "mouse", "run", "keys"), ())
        values: dict[str, Any] = {}
        for name, kind in (("theme", str), ("ascii", bool), ("fps", int), ("mouse", bool)):
            if name in table:
                values[name] = self.value(table, kind, (name,))
        self.check_theme(values.get("theme"))
        if values.get("fps", FPS.start) not in FPS:
            raise self.error(
                ("fps",), f"fps is {values['fps']}; it must be from {FPS.start} to {FPS.stop - 1}"
            )
        if "database" in table:
            values["database"] = self.database(self.value(table, str, ("database",)))
        return Settings(**values, run=self.run(table), keys=self.keys(table))

    def database(self, value: str) -> Path:
        if not value or "\0" in value:
            raise self.error(("database",), "database is no path; write where the file lies, in quotes")
        try:
            return Path(value).expanduser()
        except RuntimeError as error:  # nobody of that name has a home
            raise self.error(("database",), f"database is no path ({error})") from error

    def check_theme(self, theme: str | None) -> None:
        if theme is None:
            return
        from spectui.tui.terminal.theme import THEME_NAMES

        if theme not in THEME_NAMES:
            raise self.error(("theme",), f"there is no theme '{theme}'; use {_either(THEME_NAMES)}")

    def run(self, table: Mapping[str, Any]) -> Mapping[str, Any]:
        entries = self.table(table, ("run",))
        if not entries:
            return NOTHING
        options = run_settings()
        self.known(entries, [key.replace("_", "-") for key in options], ("run",), flags=True)
        values: dict[str, Any] = {}
        for name in entries:
            each = options[name.replace("-", "_")]
            values[each.setting] = self.value(entries, each.setting_kind, ("run", name))
            self.check_run(each, values[each.setting], ("run", name))
        return MappingProxyType(values)

    def check_run(self, option: Option, value: Any, path: tuple[str, ...]) -> None:
        """Refuse a value that no run could have, by the configuration of a run itself."""
        from spectui.decoding.config import RunConfig
        from spectui.decoding.errors import UsageError
        from spectui.decoding.options import options_of

        if option.name not in options_of(RunConfig) or option.name == "tree":
            return  # a tree depends on the drafter named later
        try:
            RunConfig(**{option.name: option.from_setting(value)})
        except UsageError as error:
            raise self.error(path, str(error).removeprefix("--")) from error

    def keys(self, table: Mapping[str, Any]) -> Mapping[str, Mapping[str, str]]:
        areas = self.table(table, ("keys",))
        if not areas:
            return NOTHING
        from spectui.tui.navigation.keymap import KeymapError, check  # imports Textual

        changes: dict[str, dict[str, str]] = {}
        for area in areas:
            actions = self.table(areas, ("keys", area))
            changes[area] = {name: self.value(actions, str, ("keys", area, name)) for name in actions}
        try:
            check(changes)
        except KeymapError as problem:
            raise self.error(("keys", *problem.path), str(problem)) from problem
        return MappingProxyType(changes)


CHOSEN_FOR = {
    "target": ("draft", "tree"),
    "draft": ("tree",),
    "prompts": ("tasks", "per_task"),
    "depth": ("tree",),
    "branching": ("tree",),
}
"""Option -> defaults that were chosen for the default of that option, and do not hold beside another."""


def defaults_beside(run: Mapping[str, Any], chosen: Collection[str]) -> dict[str, Any]:
    """The defaults of ``[run]`` that hold beside the options `chosen` on the command line."""
    replaced = {*chosen, *(name for option in chosen for name in CHOSEN_FOR.get(option, ()))}
    return {name: value for name, value in run.items() if name not in replaced}


def _either(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} or {names[-1]}"
