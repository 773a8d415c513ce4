"""Context length of a model with a rotary scaling. Torch-free."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WIDENING = frozenset({"linear", "dynamic", "yarn"})
"""Scalings whose factor servers multiply the context by. The others' configurations name the widened context."""


def widened(context: int, rope: Any) -> int:
    """The positions of a model with `context` of them in its configuration and the parameters `rope`.

    The factor is that of the positions before scaling, which are `context` itself unless they are named.
    """
    if not isinstance(rope, Mapping):
        return context
    kind = rope.get("rope_type") or rope.get("type")
    factor = rope.get("factor")
    if kind not in WIDENING or not isinstance(factor, int | float) or factor <= 1:
        return context
    before = rope.get("original_max_position_embeddings") or context
    return max(context, int(before * factor)) if isinstance(before, int) else context
