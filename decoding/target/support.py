"""Architectures that can decode speculative trees, and the reason for refusing others.

A tree needs keys and values that can be dropped again, positions that are passed as numbers, and layers that obey a
mask. `check_family` refuses by ``config.json`` and the model's class; `decoding.models.probe` tries one small tree on
the loaded model.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectui.decoding.errors import DecodingError
from spectui.decoding.target.sizes import PROVEN, text_config

KNOWN_LAYERS = frozenset({"full_attention", "sliding_attention"})
"""Kinds of layers whose state is keys and values, which can be dropped again."""

ANOTHER = "choose another model"


def layers_refused(config: Any) -> str | None:
    """The reason for refusing layers whose state cannot be rolled back; None for full and sliding-window attention."""
    unknown = sorted(set(getattr(config, "layer_types", None) or ()) - KNOWN_LAYERS)
    if not unknown:
        return None
    words = "speculative decoding needs plain attention layers"
    return f"has {unknown[0]} layers, whose state cannot be rolled back; {words}"


def check_family(name: str, folder: Path, described: Mapping[str, Any]) -> None:
    """Raise `DecodingError` in one line where the ``config.json`` in `folder` is of a model that cannot decode trees.

    Nothing is loaded. `name` is what the user called the model. Configurations that transformers cannot read pass:
    loading says more about them.
    """
    kinds = described.get("layer_types") or []
    if (
        described.get("model_type") in PROVEN
        and isinstance(kinds, list)
        and KNOWN_LAYERS.issuperset(map(str, kinds))
    ):
        return
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    except Exception:  # transformers and its checks of fields meet whatever the file holds
        return
    if (reason := family_refused(config)) is not None:
        raise DecodingError(f"model '{name}' (type '{config.model_type}') {reason}")


def family_refused(config: Any) -> str | None:
    """The reason for refusing models of transformers' `config`; None when nothing speaks against them."""
    from transformers import (
        MODEL_FOR_CAUSAL_LM_MAPPING,
        MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING,
        MODEL_FOR_MASKED_LM_MAPPING,
    )

    if getattr(config, "is_encoder_decoder", False):
        return f"is an encoder-decoder, and spectui decodes with causal decoders alone; {ANOTHER}"
    try:
        kind = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    except KeyError:
        if type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING:
            return f"reads images beside text, and is no causal language model by itself; {ANOTHER}"
        if type(config) in MODEL_FOR_MASKED_LM_MAPPING:
            return f"is an encoder, whose tokens see those behind them; {ANOTHER}"
        return f"is no causal language model: it does not go on with a text; {ANOTHER}"
    text = text_config(config)
    if getattr(text, "is_decoder", None) is False and hasattr(text, "add_cross_attention"):
        unset = "is_decoder is not set in its config.json"
        return f"is an encoder, whose tokens see those behind them ({unset}); {ANOTHER}"
    if getattr(kind, "_is_stateful", False):
        return f"keeps a recurrent state, which cannot be rolled back; {ANOTHER}"
    if reason := layers_refused(text):
        return reason
    parameters = inspect.signature(kind.forward).parameters
    if "past_key_values" not in parameters:
        return f"keeps no keys and values of its prefix, so a tree would be worth nothing; {ANOTHER}"
    if _uses_alibi(text):
        return (
            "weighs distances by slots (ALiBi), and a tree's siblings share a distance without sharing a slot; "
            f"{ANOTHER}"
        )
    if "local" in (getattr(text, "attention_layers", None) or ()):
        return f"has local layers, whose window counts slots rather than positions; {ANOTHER}"
    return None


def _uses_alibi(text: Any) -> bool:
    inner = getattr(text, "attn_config", None)
    flags = (getattr(text, "alibi", False), getattr(inner, "alibi", False))
    return any(flags) or text.model_type == "bloom"
