"""The attention kernel is the fastest that was timed, and prompts on a GPU need no mask."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend
from torch.nn.attention.bias import causal_lower_right
from torch.nn.functional import scaled_dot_product_attention
from torch.utils._python_dispatch import _disable_current_modes
from transformers import MistralConfig, MistralForCausalLM
from transformers.masking_utils import causal_mask_function

from spectui.decoding.device import attention as device_attention
from spectui.decoding.device.attention import AttentionShape, fastest_kernel, preferring
from spectui.decoding.device.model import BufferedModel
from spectui.decoding.target import attention, language_model
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.parts import MergedParts
from tests.fake_gpu import FakeGpu
from tests.models import tiny_llama

CPU = torch.device("cpu")
KERNELS = (SDPBackend.MATH, SDPBackend.FLASH_ATTENTION)
"""Those that a CPU has."""


def flash_sdp_enabled() -> bool:
    return bool(torch.backends.cuda.flash_sdp_enabled())  # type: ignore[no-untyped-call]


def test_the_fastest_of_those_that_run_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """cuDNN cannot run on a CPU. The other two are really timed, and then made to take turns."""
    shape = AttentionShape(2, 8, 256, 16, torch.float32, CPU)
    assert fastest_kernel(shape, (SDPBackend.CUDNN_ATTENTION, SDPBackend.EFFICIENT_ATTENTION)) is None
    assert fastest_kernel(shape, (SDPBackend.CUDNN_ATTENTION, *KERNELS)) in KERNELS
    real = device_attention._milliseconds
    for slow in KERNELS:
        fastest_kernel.cache_clear()
        monkeypatch.setattr(
            device_attention, "_milliseconds", lambda s, k, slow=slow: 100.0 if k is slow else real(s, k)
        )
        assert fastest_kernel(shape, KERNELS) is next(k for k in KERNELS if k is not slow)
    fastest_kernel.cache_clear()


def test_a_forward_runs_on_the_kernel_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each size with its own; what torch is set to outside stays."""
    model = tiny_llama(layers=2)
    use_grouped_attention(model)
    target = BufferedModel(model)
    target.attention_kernels = KERNELS
    wanted = {(2, 2): SDPBackend.MATH, (2, 8): SDPBackend.FLASH_ATTENTION}
    monkeypatch.setattr(
        "spectui.decoding.device.model.fastest_kernel", lambda shape, kernels: wanted[shape.heads, shape.rows]
    )
    flash: list[bool] = []

    def seen(*arguments: Any, **named: Any) -> Any:
        flash.append(flash_sdp_enabled())
        return scaled_dot_product_attention(*arguments, **named)

    target.prefill([1, 2, 3])
    monkeypatch.setattr(attention, "scaled_dot_product_attention", seen)
    for rows in (1, 4):
        target.append(np.zeros(rows, dtype=np.int64), np.arange(rows), np.tri(rows, dtype=np.bool_))
        target.keep([])
    assert flash == [False, False, True, True]
    with preferring(SDPBackend.MATH):
        assert not flash_sdp_enabled()
    assert flash_sdp_enabled()


@pytest.mark.parametrize("window", [None, 6])
@pytest.mark.parametrize("lean", [False, True])
def test_later_parts_of_a_prompt_need_no_mask_on_a_gpu(
    monkeypatch: pytest.MonkeyPatch, window: int | None, lean: bool
) -> None:
    """In half precision and without a window; the outputs are those of the CPU, which has masks."""
    model: Any = tiny_llama(layers=2)
    if window:
        config = {
            k: v for k, v in model.config.to_dict().items() if k not in ("model_type", "rope_parameters")
        }
        model = MistralForCausalLM(MistralConfig(**config | {"sliding_window": window})).eval()
    model.half()
    use_grouped_attention(model)
    if lean:
        use_lean_layers(model, MergedParts())
    monkeypatch.setattr(language_model, "PREFILL_CHUNK", 8)
    behind: list[tuple[int, int]] = []

    def counted(rows: int, slots: int) -> Any:
        behind.append((rows, slots))
        with _disable_current_modes():  # the fake GPU takes its empty tensor for one to be put on the device
            return causal_lower_right(rows, slots)

    monkeypatch.setattr(attention, "causal_lower_right", counted)
    prompt = [(7 * i) % 300 for i in range(20)]
    expected = LanguageModel(copy.deepcopy(model)).prefill(prompt, all_logits=True).logits
    assert not behind
    with FakeGpu() as gpu, torch.inference_mode():
        gpu.move(model)
        logits = BufferedModel(model).prefill(prompt, all_logits=True).logits
        assert logits is not None
        ours = logits.cpu()
    assert expected is not None
    torch.testing.assert_close(ours, expected, rtol=0.02, atol=0.02)
    assert behind == ([] if window else [(8, 16)] * 2 + [(4, 20)] * 2)


def test_a_cache_that_returns_more_than_was_written_gets_a_mask() -> None:
    """transformers' static caches: the rows of a prompt are not the last of their slots."""
    named: dict[str, Any] = {
        "batch_size": 1, "q_length": 3, "mask_function": causal_mask_function, "attention_mask": None,
        "allow_is_causal_skip": True, "dtype": torch.float16,
    }  # fmt: skip
    mask = attention.causal_mask(kv_length=6, q_offset=0, **named)
    assert mask is not None
    assert mask[0, 0].sum(-1).tolist() == [1, 2, 3]
    assert attention.causal_mask(kv_length=3, q_offset=0, **named) is None
