"""Options that several commands take, and the state that holds their values."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spectui.decoding.config import RunConfig
from spectui.decoding.options import Option, options_of
from spectui.decoding.tokens.template_args import read_switches

if TYPE_CHECKING:
    from spectui.store.reading.reader import Reader
    from spectui.tui.settings import Settings

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass
class State:
    """Values of `--db`, `--debug` and the options of the dashboard, wherever on the line they stood."""

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

    def reader(self) -> Reader:
        """A reader of the database, which a `with` closes."""
        from spectui.store.reading.reader import Reader

        return Reader(self.database)


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


class Finite(click.FloatRange):
    """A number within bounds; neither "nan", which no bound holds, nor "inf"."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The number. Fails as click's own range does."""
        number = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"'{value}' is no number", param, ctx)
        return number


def not_empty(_: click.Context, __: click.Parameter, text: str | None) -> str | None:
    """A callback: refuses "", which is what a variable of the shell that is not set becomes."""
    if text is not None and not text.strip():
        raise click.BadParameter("it is empty; leave it out, or set the variable that it comes from")
    return text


def run_option(declared: Option, **changes: Any) -> Callable[[Function], Function]:
    """The click option of an option of a run; its parameter has the name of the field, and is None if not given."""

    settings: dict[str, Any] = {"help": declared.described(), "metavar": declared.metavar}
    if declared.kind is bool:
        settings |= {"is_flag": True, "default": None}
    elif declared.kind is dict:
        settings |= {
            "multiple": True,
            "callback": lambda _, __, texts: read_switches(texts) if texts else None,
        }
    elif declared.kind is Path:
        settings["type"] = click.Path(path_type=Path)
    elif declared.read is not None:
        settings["callback"] = lambda context, parameter, text: (
            None if not_empty(context, parameter, text) is None else declared.parse(text)
        )
    else:
        settings["type"] = declared.kind
        if declared.kind is str and not declared.default:
            settings["callback"] = not_empty
    return click.option(declared.flag, declared.name, **settings | changes)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
"""`--json`, as `as_json`, for commands that read."""

price_option = run_option(
    options_of(RunConfig)["price"],
    type=Finite(min=0.0),
    help="Price of an hour of the device, in any currency (default: the run's own).",
)
"""For commands that say what tokens cost."""
