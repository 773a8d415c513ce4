"""Memory that models will take, computed before anything is loaded, from configurations and file headers.

Torch-free: nothing here needs a device. `decoding.models.placement` compares it with the free memory.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spectui.decoding.checkpoints.weight_files import Tensor
from spectui.decoding.models.quantization import method
from spectui.decoding.target.sizes import Sizes

BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
"""Bytes of a number, by its type's name in safetensors."""
WIDTH = {"float32": 4, "float16": 2, "bfloat16": 2}
"""The same by torch's names, for the values of `--dtype`."""
CASTABLE = ("F64", "F32", "F16", "BF16")
"""Types that become the model's type when it is loaded."""

PROMPT_TOKENS = 1024
"""Room for the prompt in the cache that is counted; longer prompts take more."""
TREE_ROWS = 65
"""Rows of a forward that is counted: a root and 64 nodes."""
PREFILL_ROWS = 512
"""Tokens of a prompt that are fed at once, see `language_model.PREFILL_CHUNK`."""
ROW_COPIES = 6
"""float32 vectors of the vocabulary's size per row of a verification: logits, softmax, the draft's, in between."""
SPARE = 0.05
"""Share of everything counted that allocators and libraries take beside it."""


@dataclass(frozen=True)
class Need:
    """Bytes of one model while it decodes."""

    weights: int
    cache: int
    """Keys and values of `tokens` tokens."""
    working: int
    """Logits, probabilities and activations of the largest forward."""
    tokens: int
    context: int
    """Positions that the model has."""
    dtype: str
    """The type of its computations."""
    quantization: str | None

    @property
    def total(self) -> int:
        """All of it, with `SPARE`."""
        return math.ceil((self.weights + self.cache + self.working) * (1 + SPARE))


def need(
    config: Mapping[str, Any],
    sizes: Sizes,
    tensors: Iterable[Tensor],
    *,
    dtype: str,
    on_cpu: bool,
    max_new_tokens: int,
) -> Need:
    """The need of the model of `config`, stored as `tensors`, under `--dtype` and `--max-new-tokens`."""
    quantized = method(config)
    name = computed_in(config, dtype, on_cpu=on_cpu)
    width = WIDTH.get(name, 2)
    weights = sum(
        tensor.bytes
        if quantized or tensor.dtype not in CASTABLE
        else tensor.bytes // BYTES[tensor.dtype] * width
        for tensor in tensors
    )
    tokens = min(sizes.context, PROMPT_TOKENS + max_new_tokens + TREE_ROWS)
    cache = sizes.cached * width * tokens
    vectors = TREE_ROWS * sizes.vocab * 4 * ROW_COPIES
    activations = PREFILL_ROWS * (2 * sizes.inner + 6 * sizes.hidden + sizes.heads * tokens) * width
    return Need(weights, cache, max(vectors, activations), tokens, sizes.context, name, quantized)


def computed_in(config: Mapping[str, Any], dtype: str, *, on_cpu: bool) -> str:
    """The type that `--dtype` means for this model: ``auto`` is float32 on a CPU, else the checkpoint's."""
    if dtype != "auto":
        return dtype
    text = config.get("text_config") or {}
    stored = config.get("dtype") or config.get("torch_dtype") or text.get("dtype") or text.get("torch_dtype")
    return "float32" if on_cpu else str(stored or "float32").removeprefix("torch.")
