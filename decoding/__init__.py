"""Speculative decoding: models in, rounds out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from spectui.decoding.config import RunConfig as RunConfig
    from spectui.decoding.drafters.base import Drafter as Drafter
    from spectui.decoding.engine import SpeculativeDecoder as SpeculativeDecoder
    from spectui.decoding.errors import DecodingError as DecodingError
    from spectui.decoding.errors import UsageError as UsageError
    from spectui.decoding.models.load import load_models as load_models
    from spectui.decoding.rounds import Round as Round
    from spectui.decoding.trees.shape import TokenTree as TokenTree
    from spectui.decoding.trees.spec import parse_tree as parse_tree

_HOMES = {
    "DecodingError": "errors",
    "Drafter": "drafters.base",
    "Round": "rounds",
    "RunConfig": "config",
    "SpeculativeDecoder": "engine",
    "TokenTree": "trees.shape",
    "UsageError": "errors",
    "load_models": "models.load",
    "parse_tree": "trees.spec",
}
__all__ = list(_HOMES)


def __getattr__(name: str) -> object:
    """A public name, imported from its module on first use."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
