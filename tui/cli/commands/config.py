"""`spectui config`."""

from __future__ import annotations

import textwrap
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import click

from spectui.tui.cli.options import State, json_option, shared_options
from spectui.tui.cli.output import json_line, line

if TYPE_CHECKING:
    from spectui.tui.settings import Settings

EXAMPLES = {str: '"..."', int: "64", float: "0.7", bool: "true"}
"""Type of a setting -> a value of it, as the file has it."""


@click.group(invoke_without_command=True)
@shared_options
@click.pass_context
def config(context: click.Context) -> None:
    """Settings: theme, keys, defaults of runs (without a command: show)."""
    if context.invoked_subcommand is None:
        context.invoke(show, as_json=False)


@config.command("path")
@shared_options
def path() -> None:
    """Print the path of the settings file."""
    from spectui.tui.settings import settings_path

    line(str(settings_path()))


@config.command()
@json_option
@shared_options
@click.pass_obj
def show(state: State, as_json: bool) -> None:
    """Show the settings in force. Those that are not in the file have their defaults."""
    from spectui.tui.settings import settings_path

    settings = state.settings
    values: dict[str, Any] = plain_values(settings) | {"database": str(state.database)}
    if as_json:
        json_line(values)
        return
    exists = settings_path().exists()
    line(f"# {settings_path()}{'' if exists else ' (not there yet: spectui config init)'}")
    for name in ("theme", "database", "ascii", "fps", "mouse"):
        value = values[name]
        line(f"{name} = {_toml(value)}" if value is not None else f"# {name}: automatic")
    for table, content in (("run", values["run"]), *((f"keys.{a}", k) for a, k in values["keys"].items())):
        if content:
            line("")
            line(f"[{table}]")
            for name, value in content.items():
                line(f"{name.replace('_', '-') if table == 'run' else name} = {_toml(value)}")


@config.command()
@shared_options
def init() -> None:
    """Write a settings file to start from. Every setting and key is in it, explained and commented out."""
    from spectui.store.files import new_file
    from spectui.tui.settings import settings_path

    place = settings_path()
    if place.exists():
        raise click.UsageError(f"there is a file already: {place}; edit that one, or move it away")
    with new_file(place, force=None) as draft:
        draft.write_text(template(), encoding="utf-8")
    line(f"wrote {place}")


def template() -> str:
    """The file that `init` writes: all of it comments, so that it changes nothing."""
    from spectui.tui.navigation import areas
    from spectui.tui.navigation.keymap import actions
    from spectui.tui.settings import run_settings
    from spectui.tui.terminal.theme import THEME_NAMES

    out = [
        "# Settings of spectui. Remove the # in front of a line to change its setting.",
        "# `spectui config show` shows the settings in force.",
        "",
        f'# theme = "{THEME_NAMES[0]}"          # {", ".join(THEME_NAMES)}; without it: the one chosen last (t)',
        '# database = "~/spectui.db"  # without it: in the user\'s data directory; --db and $SPECTUI_DB go first',
        "# ascii = true              # draw with ASCII alone; without it: where the terminal needs it",
        "# fps = 10                  # most pictures a second, 1 to 60: fewer bytes on a slow line",
        "# mouse = false             # leave the mouse to the terminal",
        "",
        "# [run]                     # defaults of `spectui run` and of the form for a new run",
    ]
    for key, each in run_settings().items():
        out += ["", *textwrap.wrap(each.described(), 100, initial_indent="#   ", subsequent_indent="#   ")]
        out.append(f"# {key.replace('_', '-')} = {each.example or EXAMPLES[each.setting_kind]}")
    out += [
        "",
        "# Keys. A value is a character, a name such as space, left, f5 or ctrl+o, or several parted by commas.",
    ]
    for area in sorted(areas()):
        out += ["", f"# [keys.{area}]"]
        for name, bindings in actions(area).items():
            keys = ",".join(_written(binding.key) for binding in bindings)
            words = bindings[0].description
            out.append(f"# {_toml_key(name)} = {_toml(keys)}" + (f"  # {words}" if words else ""))
    return "\n".join(out) + "\n"


def _written(key: str) -> str:
    from spectui.tui.navigation.keymap import display

    plain = display(key)
    return plain if plain.isascii() and len(plain) == 1 and plain != "," else key


def plain_values(settings: Settings) -> dict[str, Any]:
    """The settings as what JSON knows."""
    return {
        field.name: getattr(settings, field.name)
        for field in fields(settings)
        if field.name not in ("database", "run", "keys")
    } | {"run": dict(settings.run), "keys": {area: dict(keys) for area, keys in settings.keys.items()}}


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_toml_key(name)} = {_toml(each)}" for name, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)


def _toml_key(name: str) -> str:
    return name if name.replace("_", "").replace("-", "").isalnum() else _toml(name)
