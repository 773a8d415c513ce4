"""Opens the dashboard from a command, where there is a terminal for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

import click

from spectui.tui.cli.options import State

if TYPE_CHECKING:
    from spectui.tui.watching.recorder import Watching

Function = TypeVar("Function", bound=Callable[..., Any])


def display_options(function: Function) -> Function:
    """Add ``--ascii``, ``--fps`` and ``--no-mouse``; their values go to `State`, not to the function."""

    def keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value is not None:
            name = "mouse" if parameter.name == "no_mouse" else str(parameter.name)
            context.ensure_object(State).display[name] = value

    for option in (
        click.option(
            "--no-mouse",
            flag_value=False,
            default=None,
            callback=keep,
            expose_value=False,
            help="Leave the mouse to the terminal, to select text with.",
        ),
        click.option(
            "--fps",
            type=click.IntRange(1, 60),
            callback=keep,
            expose_value=False,
            metavar="N",
            help="Draw at most N times a second, which helps on a slow line.",
        ),
        click.option(
            "--ascii/--no-ascii",
            "ascii",
            default=None,
            callback=keep,
            expose_value=False,
            help="Draw with ASCII characters only, or never (default: where the terminal needs it).",
        ),
    ):
        function = option(function)
    return function


def has_terminal() -> bool:
    """True when all three ends are a terminal that can move its cursor, so that a dashboard can be opened.

    It is drawn on standard error: with that in a file the terminal would stay empty, and wait.
    """
    if os.environ.get("TERM", "") in ("dumb", "unknown", ""):
        return False
    try:
        return sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()
    except (AttributeError, ValueError):  # None or closed
        return False


def open_dashboard(state: State, session: int | None = None, watching: Watching | None = None) -> int:
    """Run the dashboard until it is left; returns the exit code."""
    settings = replace(state.settings, **state.display)
    if settings.fps is not None:
        os.environ["TEXTUAL_FPS"] = str(settings.fps)  # read when Textual is first imported
    from spectui.tui.app import run_dashboard
    from spectui.tui.memory import Memory, memory_path

    return run_dashboard(
        state.database, session, settings=settings, memory=Memory(memory_path()), watching=watching
    )
