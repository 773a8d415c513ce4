"""Prompts for the models: the bundled ones, those of users' files, and the order they are run in."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectui.prompts.errors import PromptError as PromptError
    from spectui.prompts.lines import Message as Message
    from spectui.prompts.lines import Prompt as Prompt
    from spectui.prompts.loader import BUNDLED_TASKS as BUNDLED_TASKS
    from spectui.prompts.loader import bundled as bundled
    from spectui.prompts.loader import interleave as interleave
    from spectui.prompts.loader import load as load
    from spectui.prompts.loader import problems as problems
    from spectui.prompts.loader import select as select

_HOMES = {
    "BUNDLED_TASKS": "loader",
    "Message": "lines",
    "Prompt": "lines",
    "PromptError": "errors",
    "bundled": "loader",
    "interleave": "loader",
    "load": "loader",
    "problems": "loader",
    "select": "loader",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """A public name, imported from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
