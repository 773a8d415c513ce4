"""The shapes of published models, as their configurations give them, and how many parameters they are known to have."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_LLAMA: dict[str, Any] = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "hidden_act": "silu",
                          "num_attention_heads": 32, "tie_word_embeddings": False}  # fmt: skip
_QWEN: dict[str, Any] = {"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"], "hidden_act": "silu",
                         "num_key_value_heads": 8, "head_dim": 128, "vocab_size": 151936,
                         "max_position_embeddings": 40960, "torch_dtype": "bfloat16"}  # fmt: skip
LLAMA_2_7B = _LLAMA | {"hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
                       "num_key_value_heads": 32, "vocab_size": 32000, "max_position_embeddings": 4096,
                       "torch_dtype": "float16"}  # fmt: skip
LLAMA_2_7B_GPTQ = LLAMA_2_7B | {"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 128}}
TINY_LLAMA = _LLAMA | {"hidden_size": 2048, "intermediate_size": 5632, "num_hidden_layers": 22,
                       "num_key_value_heads": 4, "vocab_size": 32000, "max_position_embeddings": 2048,
                       "torch_dtype": "bfloat16"}  # fmt: skip
LLAMA_31_8B = _LLAMA | {"hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32,
                        "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
                        "torch_dtype": "bfloat16"}  # fmt: skip
EAGLE_31_8B = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", "hidden_size": 4096,
               "intermediate_size": 14336, "num_hidden_layers": 1, "num_attention_heads": 32, "num_key_value_heads": 8,
               "vocab_size": 128256, "draft_vocab_size": 32000, "max_position_embeddings": 2048,
               "torch_dtype": "float16"}  # fmt: skip
QWEN3_8B = _QWEN | {"hidden_size": 4096, "intermediate_size": 12288, "num_hidden_layers": 36,
                    "num_attention_heads": 32, "tie_word_embeddings": False}  # fmt: skip
QWEN3_06B = _QWEN | {"hidden_size": 1024, "intermediate_size": 3072, "num_hidden_layers": 28,
                     "num_attention_heads": 16, "tie_word_embeddings": True}  # fmt: skip

PARAMETERS = {
    "LLAMA_2_7B": 6_738_415_616,
    "TINY_LLAMA": 1_100_048_384,
    "LLAMA_31_8B": 8_030_261_248,
    "QWEN3_8B": 8_190_735_360,
    "QWEN3_06B": 596_049_920,
}
"""As their pages on the hub say."""


def described(folder: Path, config: dict[str, Any]) -> Path:
    """`folder` with that configuration and nothing else."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return folder
