"""Options that every command takes, and where their values are kept."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

if TYPE_CHECKING:
    from spectui.tui.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class State:
    """What `--db`, `--debug` and the options of the dashboard said, wherever on the line they stood."""

    chosen: Path | None = None
    debug: bool = False
    display: dict[str, Any] = field(default_factory=dict)
    """Fields of `Settings` that an option overrides."""

    @cached_property
    def settings(self) -> Settings:
        """The user's settings. Raises `SettingsError` with file and line."""
        from spectui.tui.settings import load

        return load()

    @property
    def database(self) -> Path:
        """The database asked for, here, in the environment or in the settings; else the default one."""
        if self.chosen is not None:
            return self.chosen
        if not os.environ.get("SPECTUI_DB") and self.settings.database is not None:
            return self.settings.database
        from spectui.store.paths import default_database

        return default_database()


def shared_options(function: Function) -> Function:
    """Add `--db` and `--debug` to a command; their values go to `State`, not to the function."""

    def keep_database(context: click.Context, _: click.Parameter, value: Path | None) -> None:
        if value is not None:
            context.ensure_object(State).chosen = value

    def keep_debug(context: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            context.ensure_object(State).debug = True

    for option in (
        click.option(
            "--debug", is_flag=True, callback=keep_debug, expose_value=False, help="Show tracebacks."
        ),
        click.option(
            "--db",
            type=click.Path(path_type=Path, dir_okay=False),
            callback=keep_database,
            expose_value=False,
            metavar="FILE",
            help="Database (default: $SPECTUI_DB, or spectui.db in the user's data directory).",
        ),
    ):
        function = option(function)
    return function


def read_duration(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """Seconds of a time written as 90, 90s, 45m or 12h; a callback for options."""
    if value is None:
        return None
    text = value.strip().lower()
    scale = {"s": 1, "m": 60, "h": 3600}.get(text[-1:])
    try:
        seconds = float(text[:-1]) * scale if scale else float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise click.BadParameter(f"'{value}' is no time; write it as 90, 90s, 45m or 12h")
    return seconds


def read_template_args(_: click.Context, __: click.Parameter, values: Sequence[str]) -> dict[str, Any] | None:
    """Variables of a chat template by name, None without any; a callback for options that may be repeated."""
    if not values:
        return None
    from spectui.decoding.tokens.template_args import read_switches

    return read_switches(values)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""`--json`, as `as_json`, for commands that read."""

price_option = click.option(
    "--price",
    type=click.FloatRange(min=0.0),
    metavar="P",
    help="What an hour of the device costs, in any currency (default: what the run was told).",
)
"""For commands that say what tokens cost."""
