"""Small draft heads with random weights for the models of `tests.models`."""

from __future__ import annotations

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaRMSNorm, LlamaRotaryEmbedding

from spectui.decoding.block.head import BlockConfig, BlockHead, Sight
from spectui.decoding.eagle.first import FirstEagleHead, FirstHeadConfig
from spectui.decoding.eagle.head import EagleHead, HeadConfig, set_draft_vocabulary
from spectui.decoding.heads.files import stored_name
from spectui.decoding.mtp.head import MtpConfig, MtpHead


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
    _randomise(head)
    if config.draft_vocab_size < config.vocab_size:
        chosen = range(0, 2 * config.draft_vocab_size, 2) if tokens is None else tokens
        set_draft_vocabulary(head, list(chosen))
    return head


def tiny_first_head(target: Any, *, seed: int = 1, **changes: Any) -> FirstEagleHead:
    """An EAGLE-1 head for `target`, whose embedding and LM head it reads."""
    model = target.config
    sizes: dict[str, Any] = {
        "hidden_size": model.hidden_size,
        "intermediate_size": 2 * model.hidden_size,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": model.hidden_size // 4,
        "vocab_size": model.vocab_size,
        "feature_layers": (model.num_hidden_layers,),
        "fc_bias": True,
    }
    config = FirstHeadConfig(**sizes | changes)
    torch.manual_seed(seed)
    head = FirstEagleHead(config, target.get_input_embeddings, target.get_output_embeddings, target.dtype)
    _randomise(head)
    return head.to(target.dtype).eval()


def tiny_block_head(
    target: Any, *, seed: int = 0, tokens: list[int] | None = None, **changes: Any
) -> BlockHead:
    """A DFlash head for `target` that predicts `tokens` (default: all of them, through the target's LM head)."""
    model = target.config
    layers = range(model.num_hidden_layers)
    sizes: dict[str, Any] = {
        "hidden_size": model.hidden_size,
        "intermediate_size": 2 * model.hidden_size,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": model.hidden_size // 4,
        "num_hidden_layers": 2,
        "qk_norm": True,
        "vocab_size": model.vocab_size,
        "draft_vocab_size": model.vocab_size if tokens is None else len(tokens),
        "feature_layers": (layers[0] + 1, layers[-1]),
        "block_size": 5,
        "mask_token": model.vocab_size - 1,
        "sights": (Sight(), Sight(causal=True, window=3)),
    }
    torch.manual_seed(seed)
    output = target.get_output_embeddings if tokens is None else None
    head = BlockHead(BlockConfig(**sizes | changes), target.get_input_embeddings(), output).eval()
    _randomise(head)
    if tokens is not None:
        head.draft_ids.copy_(torch.tensor(tokens))
    return head


def save_block_head(head: BlockHead, folder: Path, **changes: Any) -> None:
    """Write a DFlash head in its authors' layout; its layers see everything, or slide causally."""
    config = head.config
    tensors = {stored_name(name): tensor for name, tensor in head.state_dict().items() if name != "draft_ids"}
    if config.draft_vocab_size < config.vocab_size:
        tensors["d2t"] = head.draft_ids - torch.arange(len(head.draft_ids))
    folder.mkdir(exist_ok=True)
    save_file(
        {name: tensor.detach().clone() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
    sizes = {
        key: getattr(config, key)
        for key in (
            "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim",
            "num_hidden_layers", "rms_norm_eps", "rope_theta", "vocab_size", "draft_vocab_size", "block_size",
        )
    }  # fmt: skip
    if config.markov is not None:
        changes = {"enable_confidence_head": config.confident, **changes}
        changes = {"confidence_head_with_markov": config.confidence_reads_token, **changes}
        changes = {"architectures": ["DSparkDraftModel"], "markov_head_type": config.markov, **changes}
        changes |= {"markov_rank": config.markov_rank, "sample_from_anchor": config.anchored}
    windows = [sight.window for sight in config.sights]
    sizes |= {
        "architectures": ["DFlashDraftModel"],
        "model_type": "qwen3",
        "layer_types": ["sliding_attention" if window else "full_attention" for window in windows],
        "use_sliding_window": any(windows),
        "sliding_window": next(filter(None, windows), None),
        "dflash_config": {
            "mask_token_id": config.mask_token,
            "target_layer_ids": [layer - 1 for layer in config.feature_layers],
        },
    }
    (folder / "config.json").write_text(json.dumps(sizes | changes))


def tiny_module(target: Any, *, seed: int = 2, hidden_first: bool = False) -> MtpHead:
    """An MTP module for a Llama."""
    config = copy.deepcopy(target.config)
    config._attn_implementation = "sdpa"
    torch.manual_seed(seed)
    layer = LlamaDecoderLayer(config, 0)
    described = MtpConfig(
        hidden_size=config.hidden_size,
        vocab_size=config.vocab_size,
        feature_layers=(config.num_hidden_layers,),
        hidden_first=hidden_first,
        carries_normed=True,
        blank_first=hidden_first,
    )
    norm = partial(LlamaRMSNorm, config.hidden_size, eps=config.rms_norm_eps)
    head = MtpHead(
        described,
        layer,
        LlamaRotaryEmbedding(config),
        norm,
        target.get_input_embeddings,
        target.get_output_embeddings,
    )
    _randomise(head)
    next(head.norm.parameters()).data *= 0.4  # less sure of itself: nuclei have room for siblings
    return head.to(target.dtype).eval()


def module_tensors(head: MtpHead) -> dict[str, torch.Tensor]:
    """The tensors of a module under Qwen3-Next's names."""
    names = {
        "embed_norm": "pre_fc_norm_embedding",
        "hidden_norm": "pre_fc_norm_hidden",
        "proj": "fc",
        "norm": "norm",
    }
    out = {f"mtp.{name}.weight": getattr(head, part).weight for part, name in names.items()}
    out |= {f"mtp.layers.0.{name}": tensor for name, tensor in head.layer.state_dict().items()}
    return {name: tensor.detach().clone() for name, tensor in out.items()}


def _randomise(head: Any) -> None:
    with torch.no_grad():
        for parameter in head.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0.0, 0.25)
            else:
                parameter.uniform_(0.5, 1.5)
        if head.lm_head is not None:
            head.lm_head.weight.mul_(4.0)
