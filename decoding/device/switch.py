"""Which of the two paths a model's forwards take."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectui.decoding.target.language_model import LanguageModel

SWITCH = "SPECTUI_STATIC"
"""``1`` and ``0`` choose; else fixed sizes are for GPUs, where they can be captured, and cost a CPU padding."""


def uses_fixed_sizes(device_type: str) -> bool:
    """Whether forwards have fixed sizes on such a device."""
    chosen = os.environ.get(SWITCH)
    return chosen == "1" if chosen in ("0", "1") else device_type == "cuda"


def language_model(model: Any, feature_layers: Sequence[int] = ()) -> LanguageModel:
    """`model` on the path that suits its device."""
    # Not above: they bring in transformers' layers, which nobody needs to know which path would be taken.
    from spectui.decoding.device.model import BufferedModel
    from spectui.decoding.target.language_model import LanguageModel

    kind = BufferedModel if uses_fixed_sizes(model.device.type) else LanguageModel
    return kind(model, feature_layers)
