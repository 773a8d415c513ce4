"""Attention with a tree mask that does not copy the cache for grouped-query models.

transformers repeats keys and values per query head as soon as a mask is given, which copies the whole
cache in every layer of every verification. The query heads that share a key/value head can instead be
laid out as further rows of one head: the same products, no copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import causal_mask_function, sdpa_mask

GROUPED = "spectui_grouped_sdpa"
"""Name under which transformers' models find `grouped_sdpa`."""

_FLASH = (torch.float16, torch.bfloat16)
"""Types that flash attention computes in."""


def grouped_sdpa(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """``query [1, H, n, d]``, ``key`` and ``value [1, K, m, d]`` with K dividing H, to ``[1, n, H, d]``.

    The mask is ``[1, 1, n, m]``, or folded already. Without a mask, with one for each head, or without groups, it is
    transformers' own sdpa; without a mask the rows are the last of a text, see `causal_mask`.
    """
    batch, heads, rows, width = query.shape
    groups = heads // key.shape[1]
    if attention_mask is None and 1 < rows < key.shape[2]:
        behind: Any = causal_lower_right(rows, key.shape[2])
        named: dict[str, Any] = {"attn_mask": behind, "scale": scaling, "enable_gqa": groups > 1}
        return scaled_dot_product_attention(query, key, value, **named).transpose(1, 2).contiguous(), None
    if attention_mask is None or groups == 1 or attention_mask.shape[1] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)  # type: ignore[no-any-return]
    folded = query.reshape(batch, key.shape[1], groups * rows, width)
    if attention_mask.shape[-2] == rows:
        attention_mask = fold(attention_mask, groups)
    out = scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(batch, heads, rows, width).transpose(1, 2).contiguous(), None


def causal_mask(**named: Any) -> torch.Tensor | None:
    """transformers' `sdpa_mask`; None for the later parts of a prompt, too, where a GPU has a kernel for them.

    Flash attention takes no mask, but knows rows that are the last of a text. It has no float32. A cache that returns
    more than was written gets a mask: `grouped_sdpa` would take its rows for the last.
    """
    offset, rows = named.get("q_offset"), named.get("q_length", 0)
    if not isinstance(offset, int) or named.get("kv_length") != offset + rows:
        return sdpa_mask(**named | {"allow_is_causal_skip": False})  # type: ignore[no-any-return]
    plain = named.get("mask_function") is causal_mask_function and named.get("attention_mask") is None
    on_gpu = torch.device(named.get("device", "cpu")).type == "cuda"
    if plain and on_gpu and named.get("allow_is_causal_skip") and named.get("dtype") in _FLASH:
        return None
    return sdpa_mask(**named)  # type: ignore[no-any-return]


def fold(mask: torch.Tensor, groups: int) -> torch.Tensor:
    """``[1, 1, n, m] -> [1, 1, groups n, m]``: the mask of the rows that `grouped_sdpa` makes of query heads.

    All layers of a forward take the same mask, so that it is folded once, where it is made.
    """
    return mask.repeat(1, 1, groups, 1)


def use_grouped_attention(model: Any) -> None:
    """Switch a model that runs on sdpa to `grouped_sdpa`; others are left as they are."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        AttentionInterface.register(GROUPED, grouped_sdpa)
        AttentionMaskInterface.register(GROUPED, causal_mask)
        model.set_attn_implementation(GROUPED)
