"""Buffers of fixed size: layers of a kind share one, and accepted slots move in all of them at once."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from spectui.decoding.device.cache import FIRST_CAPACITY, BufferedCache, kinds_of
from spectui.decoding.device.model import BufferedModel
from tests.bench.operations import Operations
from tests.models import tiny_llama

NUMBERS = itertools.count(1)


def states(heads: int = 2, width: int = 4, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Keys or values of three tokens, which no others equal."""
    first = 100 * next(NUMBERS)
    return torch.arange(first, first + heads * 3 * width).view(1, heads, 3, width).to(dtype)


def filled(kinds: tuple[str, ...], sizes: list[dict[str, Any]]) -> tuple[BufferedCache, list[torch.Tensor]]:
    """A cache with three tokens in each layer, and what was put in."""
    cache, put = BufferedCache(kinds), []
    for index, size in enumerate(sizes):
        put += [states(**size), states(**size)]
        cache.update(put[-2], put[-1], index)
    return cache, put


def kept(cache: BufferedCache) -> list[torch.Tensor]:
    return [part[:, :, :3].clone() for layer in cache.layers for part in (layer.keys, layer.values)]


MIXED = [{}, {"heads": 3}, {}, {"dtype": torch.float64}, {"width": 8}]


@pytest.mark.parametrize(
    ("kinds", "sizes", "buffers"),
    [
        (("full",) * 3, [{}] * 3, 1),
        (("full", "sliding") * 2, [{}, {"heads": 1}] * 2, 2),
        (("full",) * 5, MIXED, 1),
        ((), [{}] * 3, 0),
        (("full",) * 2, [{}] * 3, 1),
    ],
)
def test_slots_move_in_every_layer(kinds: tuple[str, ...], sizes: list[dict[str, Any]], buffers: int) -> None:
    """Also where layers of one kind turn out to differ, and after the buffers have grown."""
    cache, put = filled(kinds, sizes)
    assert len(cache.joint) == buffers
    for before, now in zip(put, kept(cache), strict=True):
        assert torch.equal(before, now)
    assert cache.grow_to(FIRST_CAPACITY + 1)
    assert {layer.keys.shape[-2] for layer in cache.layers} == {FIRST_CAPACITY * 3 // 2}
    cache.gather(torch.tensor([1, 2, 2]), torch.tensor([0, 1, 2]))
    for before, now in zip(put, kept(cache), strict=True):
        assert torch.equal(before[:, :, [1, 2, 2]], now)


def test_moving_takes_two_operations() -> None:
    """Of a target or a draft, whatever its number of layers; four where some have a window."""
    sliding = Gemma3TextConfig(
        vocab_size=60, hidden_size=32, intermediate_size=64, num_hidden_layers=4, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=8, layer_types=["sliding_attention", "full_attention"] * 2,
    )  # fmt: skip
    for model, operations in (
        (tiny_llama(layers=5), 2),
        (AutoModelForCausalLM.from_config(sliding, attn_implementation="sdpa").eval(), 4),
    ):
        buffered = BufferedModel(model)
        buffered.prefill([1, 2, 3, 4])
        with Operations() as seen:
            buffered.keep([1, 2])
        assert seen.names.total() == operations


def test_layers_that_share_keys_and_values_have_none() -> None:
    config = tiny_llama(layers=3).config
    config.num_kv_shared_layers = 1
    assert kinds_of(config) == ("full_attention",) * 2
