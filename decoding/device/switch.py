"""Choice between growing buffers (CPU) and buffers of fixed size (GPU)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectui.decoding.target.language_model import LanguageModel

SWITCH = "SPECTUI_STATIC"
"""``1`` chooses fixed sizes and ``0`` growing buffers. By default a GPU, which can capture them, has fixed sizes; a CPU
would pay for padding."""


def uses_fixed_sizes(device_type: str) -> bool:
    """True when forwards have fixed sizes on a device of this type."""
    chosen = os.environ.get(SWITCH)
    return chosen == "1" if chosen in ("0", "1") else device_type == "cuda"


def language_model(model: Any, feature_layers: Sequence[int] = ()) -> LanguageModel:
    """`model` with the buffers that suit its device."""
    # Imported late: they bring in transformers' layers, which `uses_fixed_sizes` does not need.
    from spectui.decoding.device.model import BufferedModel
    from spectui.decoding.target.language_model import LanguageModel

    kind = BufferedModel if uses_fixed_sizes(model.device.type) else LanguageModel
    return kind(model, feature_layers)
