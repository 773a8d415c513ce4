"""A checkpoint in the GPTQ *format*, int4 in groups, as AutoGPTQ wrote them and TheBloke published them.

Weights are rounded to the nearest step, which is not the GPTQ algorithm; the layout is what counts here.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM

from tests.models import tiny_llama, tiny_tokenizer

BITS, GROUP = 4, 32
PER_WORD = 32 // BITS
PARTS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def quantized(weight: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The tensors of one linear layer ``[out, in]`` in the layout's version 1, and the weight they stand for.

    ``qweight`` int32 ``[in / 8, out]``, lowest bits first; ``qzeros`` int32 ``[groups, out / 8]``, stored as
    zero - 1; ``scales`` fp16 ``[groups, out]``; ``g_idx`` int32 ``[in]``. W = (q - 8) * scale.
    """
    outputs, inputs = weight.shape
    grouped = weight.t().reshape(inputs // GROUP, GROUP, outputs)
    scales = (grouped.abs().amax(1) / 7).clamp(min=1e-8).half()
    q = (grouped / scales.float()[:, None]).round().clamp(-8, 7) + 8
    flat = q.reshape(inputs, outputs).to(torch.int64)
    words = torch.zeros(inputs // PER_WORD, outputs, dtype=torch.int64)
    for place in range(PER_WORD):
        words |= flat[place::PER_WORD] << (BITS * place)
    zero = int("7" * PER_WORD, 16)
    tensors = {
        "qweight": torch.where(words >= 2**31, words - 2**32, words).to(torch.int32),
        "qzeros": torch.full((inputs // GROUP, outputs // PER_WORD), zero, dtype=torch.int32),
        "scales": scales,
        "g_idx": (torch.arange(inputs) // GROUP).to(torch.int32),
    }
    back = ((q - 8) * scales.float()[:, None]).reshape(inputs, outputs).t()
    return tensors, back.contiguous()


def gptq_llama(
    folder: Path, *, hidden: int = 64, layers: int = 2, bits: object = BITS, seed: int = 0
) -> LlamaForCausalLM:
    """Write a tiny quantised Llama to `folder`; returns the same model with its weights in float32."""
    model = tiny_llama(hidden=hidden, layers=layers, seed=seed)
    state: dict[str, torch.Tensor] = {}
    for name, tensor in model.state_dict().items():
        module = name.removesuffix(".weight")
        if module.rpartition(".")[2] in PARTS:
            packed, back = quantized(tensor)
            state |= {f"{module}.{part}": value for part, value in packed.items()}
            tensor.copy_(back)
        else:
            state[name] = tensor.half().contiguous()
            tensor.copy_(state[name].float())
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    config = model.config.to_dict() | {
        "torch_dtype": "float16",
        "quantization_config": {
            "bits": bits, "group_size": GROUP, "damp_percent": 0.1, "desc_act": False, "sym": True,
            "true_sequential": True, "model_name_or_path": None, "model_file_base_name": "model",
            "quant_method": "gptq",
        },
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    model.generation_config.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return model


def random_gptq_llama(folder: Path, sizes: dict[str, int], *, group: int = 128, seed: int = 0) -> None:
    """Write a quantised Llama of any size with random weights, wide enough for outputs to wander, to `folder`.

    Packed words are drawn as they are, so that no layer is ever there in floating point.
    """
    generator = torch.Generator().manual_seed(seed)
    config = LlamaConfig(**sizes, tie_word_embeddings=False, dtype=torch.float16)
    with torch.device("meta"):
        model = LlamaForCausalLM(config)
    state: dict[str, torch.Tensor] = {}
    for name, parameter in model.named_parameters():
        module = name.removesuffix(".weight")
        if parameter.dim() == 1:
            state[name] = torch.ones(parameter.shape, dtype=torch.float16)
            continue
        outputs, inputs = parameter.shape
        if module.rpartition(".")[2] not in PARTS:
            wide = 1.0 if "embed" in name else 2.0 / inputs**0.5
            state[name] = (torch.randn(parameter.shape, generator=generator) * wide).half()
            continue
        groups = inputs // group
        words = torch.randint(-(2**31), 2**31, (inputs // PER_WORD, outputs), generator=generator)
        state |= {
            f"{module}.qweight": words.to(torch.int32),
            f"{module}.qzeros": torch.full(
                (groups, outputs // PER_WORD), int("7" * PER_WORD, 16), dtype=torch.int32
            ),
            # Steps of -8 to 7 spread by 4.6.
            f"{module}.scales": torch.full((groups, outputs), 2.0 / (4.6 * inputs**0.5), dtype=torch.float16),
            f"{module}.g_idx": (torch.arange(inputs) // group).to(torch.int32),
        }
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    described = config.to_dict() | {
        "architectures": ["LlamaForCausalLM"], "torch_dtype": "float16",
        "quantization_config": {"bits": BITS, "group_size": group, "desc_act": False, "sym": True,
                                "quant_method": "gptq"},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(described, default=str), encoding="utf-8")
    tiny_tokenizer().save_pretrained(folder)
