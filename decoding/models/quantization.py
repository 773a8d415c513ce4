"""Checks of quantised checkpoints before transformers loads them. Torch-free.

transformers loads every format by itself; only GPTQ, whose older loader many people have, is checked here: without
gptqmodel it fails with a bare NameError.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from spectui.decoding.errors import DecodingError

GPTQ_BITS = (2, 3, 4, 8)
GPTQ_PACKAGES = ("gptqmodel", "optimum")
INSTALL_GPTQ = "pip install 'spectui[gptq]'"


def quantization(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The model's ``quantization_config``; empty for a model that is not quantised."""
    text = config.get("text_config") or {}
    settings = config.get("quantization_config") or text.get("quantization_config") or {}
    return settings if isinstance(settings, Mapping) else {}


def method(config: Mapping[str, Any]) -> str | None:
    """``gptq``, ``awq``, ``compressed-tensors``, ...; None for a model that is not quantised."""
    settings = quantization(config)
    if not settings:
        return None
    return str(
        settings.get("quant_method") or ("bitsandbytes" if "load_in_4bit" in settings else "quantised")
    )


def check_quantization(name: str, config: Mapping[str, Any], *, installed: bool = True) -> None:
    """Raise `DecodingError` in one line for a GPTQ model that cannot be loaded.

    Missing packages count where they have to be `installed`.
    """
    if method(config) != "gptq":
        return
    bits = quantization(config).get("bits")
    if bits not in GPTQ_BITS:
        problem = (
            "does not say how many bits its weights have" if bits is None else f"has weights of {bits!r} bits"
        )
        raise DecodingError(
            f"the GPTQ model '{name}' {problem}; {', '.join(map(str, GPTQ_BITS[:-1]))} and {GPTQ_BITS[-1]} can be read"
        )
    missing = missing_packages()
    if missing and installed:
        raise DecodingError(
            f"'{name}' is a GPTQ model, and {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not "
            f"installed: {INSTALL_GPTQ}. (auto-gptq is not used: it is discontinued, and transformers 5 no longer "
            "accepts it; the same checkpoints load through gptqmodel.)"
        )


def missing_packages() -> list[str]:
    """Packages that reading a GPTQ checkpoint needs and this environment lacks."""
    return [name for name in GPTQ_PACKAGES if find_spec(name) is None]
