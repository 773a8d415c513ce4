"""Small EAGLE-3 heads with random weights for the models of `tests.models`."""

from __future__ import annotations

from typing import Any

import torch

from spectui.decoding.eagle.head import EagleHead, HeadConfig, set_draft_vocabulary


def head_config(target: Any, **changes: Any) -> HeadConfig:
    """A head's sizes for `target`: it predicts half of the target's tokens."""
    model = target.config
    sizes: dict[str, Any] = {
        "hidden_size": model.hidden_size,
        "intermediate_size": 2 * model.hidden_size,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": model.hidden_size // 4,
        "vocab_size": model.vocab_size,
        "draft_vocab_size": model.vocab_size // 2,
        "target_hidden_size": model.hidden_size,
        "feature_layers": (0, 1, model.num_hidden_layers - 1),
    }
    return HeadConfig(**sizes | changes)


def tiny_head(target: Any, *, seed: int = 0, tokens: list[int] | None = None, **changes: Any) -> EagleHead:
    """A head for `target` that predicts `tokens` (default: every other one).

    The weights are wide enough for its trees to wander, and it is sure enough of itself for deep ones.
    """
    config = head_config(target, **changes)
    torch.manual_seed(seed)
    head = EagleHead(config, target.get_input_embeddings()).eval()
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.25)
            else:
                parameter.uniform_(0.5, 1.5)
        head.lm_head.weight.mul_(4.0)
    if config.draft_vocab_size < config.vocab_size:
        chosen = range(0, 2 * config.draft_vocab_size, 2) if tokens is None else tokens
        set_draft_vocabulary(head, list(chosen))
    return head
