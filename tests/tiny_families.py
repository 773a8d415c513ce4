"""A tiny model of every causal family that the installed transformers has: its own configuration, made small."""

from __future__ import annotations

import copy
import re
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

_DERIVED = ("layer_types", "mlp_layer_types", "attention_layers", "per_layer_config", "num_layers_per_stack")
"""Keys that a configuration works out from its others."""
VOCAB = 384
LAYERS = 4
WINDOW = 8
HIDDEN = 32

_SIZES: tuple[tuple[str, int], ...] = (
    (r"(.*_)?vocab_size(_per_layer_input)?", VOCAB),
    (r"(original_)?max_position_embeddings|n_positions|n_ctx|max_seq_len|model_max_length|(max_)?sequence_length", 256),
    (r"(.*_)?sliding_window(_size)?|attention_window_size|window_size|local_attention", WINDOW),
    (r"(.*_)?num_hidden_layers|n_layers?|num_layers|(de|en)coder_layers|num_(de|en)coder_layers", 4),
    (r"(.*_)?num_(attention_)?heads|n_heads?|(de|en)coder_attention_heads|num_(de|en)coder_attention_heads", 4),
    (r"(.*_)?num_key_value_heads|num_kv_heads|kv_n_heads|num_query_groups", 2),
    (r"hidden_size|d_model|n_embd|dim|embed_dim|embedding_size|word_embed_proj_dim", HIDDEN),
    (r".*intermediate_size|(de|en)coder_ffn_dim|ffn_dim|dff|d_ff|n_inner|ffn_hidden_size|d_inner", 64),
    (r"(.*_)?head_dim|attention_head_size|head_size|dim_head", 8),
    (r"rotary_dim", 4),
    (r"q_lora_rank|kv_lora_rank|o_lora_rank|.*_rank", 16),
    (r"num_(local_|routed_)?experts|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok(en)?|top_k_experts|moe_top_k|moe_k|experts_per_token|num_selected_experts", 2),
    (r"num_shared_experts|n_shared_experts|moe_num_shared_experts", 1),
    (r"n_group|topk_group|num_expert_groups?", 1),
    (r"first_k_dense_replace", 1),
    (r"hidden_size_per_layer_input", 8),
    (r"num_kv_shared_layers|num_nextn_predict_layers|mtp_num_hidden_layers", 0),
    (r"(pad|bos|image|video|audio)_token_(id|index)|mask_token_id", 0),
    (r"eos_token_id", 2),
)  # fmt: skip
"""A configuration's keys, and what they become."""

_OF_FAMILY: dict[str, dict[str, Any]] = {
    "bamba": {"mamba_n_heads": 4, "mamba_d_head": 16, "attn_layer_indices": [1, 3]},
    "granitemoehybrid": {
        "mamba_n_heads": 4, "mamba_d_head": 16, "layer_types": ["mamba", "attention", "mamba", "attention"]
    },
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "bailing_hybrid": {"layer_types": ["linear_attention", "full_attention"] * 2},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0}},
    "dots1": {"n_shared_experts": 1, "n_routed_experts": 4, "num_experts_per_tok": 2},
    "deepseek_v2": {"num_experts_per_tok": 2, "topk_method": "greedy"},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]], "attention_layers": ["global", "local"] * 2},
    "hunyuan_v1_dense": {"head_dim": 8},
    "hunyuan_v1_moe": {"head_dim": 8},
    "ministral": {"head_dim": 8},
    "nemotron": {"head_dim": 8, "num_key_value_heads": 2},
    "gemma4_text": {"global_head_dim": 16, "layer_types": ["sliding_attention", "full_attention"] * 2},
    "cohere_compass_text": {"rope_parameters": {"full_attention": {"rope_type": "default", "rope_theta": 1e4}}},
    "qwen4_exp_text": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 8},
    "zamba": {"layers_block_type": ["mamba", "hybrid"] * 2},
    "zamba2": {"layers_block_type": ["mamba", "hybrid"] * 2},
    "laguna": {"num_attention_heads_per_layer": [4, 8, 4, 8]},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "longcat_flash": {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "head_dim": 8, "v_head_dim": 8, "num_layers": 2},
    "mamba2": {"num_heads": 8, "head_dim": 8},
    "nemotron_h": {"mamba_num_heads": 8, "mamba_head_dim": 8, "layers_block_type": ["mamba", "attention"] * 2},
    "reformer": {"is_decoder": True},
    "rwkv": {"attention_hidden_size": HIDDEN},
    "xlnet": {"d_head": 8},
    "xmod": {"default_language": "en_XX"},
    "xlm": {"n_words": VOCAB, "emb_dim": HIDDEN},
    "zaya": {"num_experts_per_tok": 1},
    "gemma4_assistant": {"hidden_size_per_layer_input": 0},
}  # fmt: skip
"""Changes to configurations that the general rules do not know."""

_SPREAD = r"initializer_range|init_std|initializer_factor"
"""Made wide, so that greedy outputs wander instead of repeating one token."""


def families() -> list[str]:
    """Every model type that `AutoModelForCausalLM` knows."""
    return sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)


def shrunk(described: dict[str, Any]) -> dict[str, Any]:
    """A configuration as a dictionary with its sizes made small; what is derived from them is left to the class."""
    out: dict[str, Any] = {}
    for key, value in described.items():
        if key in _DERIVED:
            continue
        if isinstance(value, dict) and key not in ("rope_parameters", "rope_scaling", "id2label", "label2id"):
            out[key] = shrunk(value)
        elif re.fullmatch(_SPREAD, key):
            out[key] = 0.25
        elif isinstance(value, list) and len(value) > LAYERS and not isinstance(value[0], str | list | dict):
            out[key] = [64] * LAYERS if key == "intermediate_size" else value[:LAYERS]
        elif isinstance(value, bool) or (value is not None and not isinstance(value, int | list)):
            out[key] = value
        else:
            small = next((size for pattern, size in _SIZES if re.fullmatch(pattern, key)), None)
            if value is not None and isinstance(value, int) and small is not None:
                out[key] = min(value, small) if key.endswith("token_id") else small
            else:
                out[key] = value
    if out.get("kv_lora_rank") and "num_key_value_heads" in out:
        out["num_key_value_heads"] = out["num_attention_heads"]  # latent keys are expanded to every head
    return out


def tiny_config(family: str, **changes: Any) -> PreTrainedConfig:
    """The family's configuration with a few layers of 32 numbers."""
    small = shrunk(AutoConfig.for_model(family).to_dict())
    small.pop("model_type", None)
    return AutoConfig.for_model(family, **small | copy.deepcopy(_OF_FAMILY.get(family, {}) | changes))


def tiny_model(config: PreTrainedConfig, seed: int = 0) -> Any:
    """A random model of it."""
    torch.manual_seed(seed)
    try:
        return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    except (ValueError, ImportError):
        return AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
