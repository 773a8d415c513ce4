"""Families that publish code of their own for what transformers has under another name. That code is never run."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

FAMILIES = {"mimo": "qwen2"}
"""Model types, and those of transformers that compute the same."""


def register_family(described: Mapping[str, Any]) -> None:
    """Let transformers load the model of this ``config.json`` where it is of one of `FAMILIES`."""
    if described.get("model_type") in FAMILIES:
        register_families()


@cache
def register_families() -> None:
    """Let transformers load models of `FAMILIES`; tensors of an MTP module are left to `decoding.mtp`."""
    from transformers import AutoConfig, AutoModelForCausalLM

    for name, like in FAMILIES.items():
        base = AutoConfig.for_model(like)
        config: Any = type(f"{name.title()}Config", (type(base),), {"model_type": name})
        model = AutoModelForCausalLM._model_mapping[type(base)]
        ours: Any = type(f"{name.title()}ForCausalLM", (model,), {"config_class": config})
        ours._keys_to_ignore_on_load_unexpected = [r"model\.mtp_layers\..*"]
        AutoConfig.register(name, config, exist_ok=True)
        AutoModelForCausalLM.register(config, ours, exist_ok=True)
