"""Attention with a tree mask that does not copy the cache for grouped-query models.

transformers repeats keys and values per query head as soon as a mask is given, which copies the whole
cache in every layer of every verification. The query heads that share a key/value head can instead be
laid out as further rows of one head: the same products, no copy.
"""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

GROUPED = "spectui_grouped_sdpa"
"""Name under which transformers' models find `grouped_sdpa`."""


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
    transformers' own sdpa.
    """
    batch, heads, rows, width = query.shape
    groups = heads // key.shape[1]
    if attention_mask is None or groups == 1 or attention_mask.shape[1] > 1:
        return sdpa_attention_forward(module, query, key, value, attention_mask, scaling=scaling, **rest)  # type: ignore[no-any-return]
    folded = query.reshape(batch, key.shape[1], groups * rows, width)
    if attention_mask.shape[-2] == rows:
        attention_mask = fold(attention_mask, groups)
    out = scaled_dot_product_attention(folded, key, value, attn_mask=attention_mask, scale=scaling)
    return out.reshape(batch, heads, rows, width).transpose(1, 2).contiguous(), None


def fold(mask: torch.Tensor, groups: int) -> torch.Tensor:
    """``[1, 1, n, m] -> [1, 1, groups n, m]``: the mask of the rows that `grouped_sdpa` makes of query heads.

    All layers of a forward take the same mask, so that it is folded once, where it is made.
    """
    return mask.repeat(1, 1, groups, 1)


def use_grouped_attention(model: Any) -> None:
    """Switch a model that runs on sdpa to `grouped_sdpa`; others are left as they are."""
    if model.config.get_text_config()._attn_implementation == "sdpa":
        AttentionInterface.register(GROUPED, grouped_sdpa)
        AttentionMaskInterface.register(GROUPED, sdpa_mask)
        model.set_attn_implementation(GROUPED)
