"""Which folders hold an EAGLE-3 head, known without loading torch."""

from __future__ import annotations

import json
from pathlib import Path

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
"""Files that a head's tensors may be in, the preferred one first."""


def is_eagle_head(folder: Path) -> bool:
    """Whether the configuration in `folder` is that of an EAGLE-3 head rather than of a model."""
    try:
        data = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    if not isinstance(data, dict):
        return False
    if (kind := data.get("speculators_model_type")) is not None:
        return bool(kind == "eagle3")
    named = "eagle3" in str(data.get("architectures")).lower()
    return named or "draft_vocab_size" in data
