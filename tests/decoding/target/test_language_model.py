"""One tree forward against feeding every root path on its own: masks, positions and the cache must agree."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, Gemma3TextConfig, GPT2Config, MambaConfig, MistralConfig

from spectui.decoding.errors import DecodingError
from spectui.decoding.target.attention import GROUPED, use_grouped_attention
from spectui.decoding.target.language_model import PREFILL_CHUNK, LanguageModel
from spectui.decoding.target.norms import fuse_norms
from spectui.decoding.target.packed import pack_linears
from spectui.decoding.trees.shape import ROOT, ancestor_mask
from spectui.decoding.trees.spec import parse_shape
from tests.models import tiny_llama

VOCAB = 64


def _mistral(attention: str) -> Any:
    config = MistralConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, sliding_window=6, max_position_embeddings=128, initializer_range=0.25,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def _gemma(attention: str) -> Any:
    config = Gemma3TextConfig(
        vocab_size=VOCAB, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, sliding_window=6, max_position_embeddings=128, initializer_range=0.25,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


def _grouped(attention: str) -> Any:
    """A Llama as it is tuned for verification."""
    model = tiny_llama(vocab_size=VOCAB, attention=attention)
    use_grouped_attention(model)
    assert (attention == "sdpa") == (model.config._attn_implementation == GROUPED)
    return model


def _llama(attention: str) -> Any:
    return tiny_llama(vocab_size=VOCAB, attention=attention)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("make", [_llama, _mistral, _gemma, _grouped])
@pytest.mark.parametrize("spec", ["full:3x2", "chain:4", "recycling:11"])
def test_tree_rows_equal_feeding_each_path_alone(make: Any, attention: str, spec: str) -> None:
    torch.manual_seed(1)
    model = make(attention)
    prefix, root = [5, 9, 3, 17, 22, 8, 1, 30, 12, 4], 7
    shape = parse_shape(spec)
    token = np.arange(20, 20 + shape.size)
    lm = LanguageModel(model)
    lm.prefill(prefix)
    logits = lm.append(
        np.concatenate([[root], token]), np.concatenate([[0], shape.depth]), ancestor_mask(shape.parent)
    ).logits
    assert logits is not None
    for node in range(ROOT, shape.size):
        path: list[int] = []
        at = node
        while at != ROOT:
            path.insert(0, int(token[at]))
            at = int(shape.parent[at])
        with torch.inference_mode():
            alone = model(torch.tensor([[*prefix, root, *path]])).logits[0, -1]
        assert torch.allclose(logits[node + 1], alone, atol=2e-5), f"node {node}"


@pytest.mark.parametrize("make", [_llama, _mistral, _gemma, _grouped])
def test_keeping_a_path_leaves_the_cache_of_that_path(make: Any) -> None:
    torch.manual_seed(1)
    model = make("sdpa")
    lm = LanguageModel(model)
    prefix, root = [5, 9, 3, 17], 7
    lm.prefill(prefix)
    shape = parse_shape("full:3x2")
    token = np.arange(20, 20 + shape.size)
    lm.append(
        np.concatenate([[root], token]), np.concatenate([[0], shape.depth]), ancestor_mask(shape.parent)
    )
    second = int(np.flatnonzero(shape.parent == 1)[1])
    lm.keep([0, 2, second + 1])
    after = lm.append(np.asarray([40]), np.zeros(1, dtype=np.int64), np.ones((1, 1), dtype=np.bool_)).logits
    assert after is not None
    with torch.inference_mode():
        expected = model(torch.tensor([[*prefix, root, 21, int(token[second]), 40]])).logits[0, -1]
    assert lm.length == len(prefix) + 3
    assert torch.allclose(after[0], expected, atol=2e-5)


def test_paths_are_kept_while_buffers_grow_and_sequences_change() -> None:
    """Slots of all layers are moved at once in a buffer that has to be made anew as the cache grows."""
    torch.manual_seed(2)
    model = _llama("sdpa")
    lm = LanguageModel(model)
    shape = parse_shape("full:2x2")
    depth, mask = np.concatenate([[0], shape.depth]), ancestor_mask(shape.parent)
    rng = np.random.default_rng(0)
    for prompt, rounds in ((3, 100), (300, 3), (5, 2)):
        lm.reset()
        committed = [int(t) for t in rng.integers(1, VOCAB, prompt)]
        lm.prefill(committed)
        for _ in range(rounds):
            ids = rng.integers(1, VOCAB, shape.size + 1)
            lm.append(ids, depth, mask)
            kept = [0, 2, 6]  # the second child and its second child: both have to move
            lm.keep(kept)
            committed += ids[kept].tolist()
        after = lm.append(
            np.asarray([7]), np.zeros(1, dtype=np.int64), np.ones((1, 1), dtype=np.bool_)
        ).logits
        assert after is not None
        with torch.inference_mode():
            expected = model(torch.tensor([[*committed, 7]])).logits[0, -1]
        assert torch.allclose(after[0], expected, atol=5e-5)


def test_a_long_prompt_in_chunks_equals_one_forward() -> None:
    model = tiny_llama(vocab_size=VOCAB, context=2048)
    use_grouped_attention(model)
    prompt = [int(t) for t in np.random.default_rng(0).integers(0, VOCAB, PREFILL_CHUNK + 100)]
    lm = LanguageModel(model)
    rows = lm.prefill(prompt, all_logits=True).logits
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits[0]
    assert rows is not None
    assert torch.allclose(rows, expected, atol=5e-5)


def test_packed_weights_compute_the_same_product() -> None:
    plain, packed = _llama("sdpa"), _llama("sdpa")
    assert pack_linears(packed) == 2 * 7 + 1
    ids = torch.arange(2, 22)[None]
    with torch.inference_mode():
        assert torch.allclose(plain(ids).logits, packed(ids).logits, atol=2e-5)


def test_fused_norms_compute_the_same_and_others_are_left_alone() -> None:
    torch.manual_seed(0)
    plain, fused = _llama("sdpa"), _llama("sdpa")
    for one, other in zip(plain.modules(), fused.modules(), strict=True):
        if type(one).__name__ == "LlamaRMSNorm":
            one.weight.data.uniform_(0.5, 2.0)
            other.weight.data.copy_(one.weight)
    assert fuse_norms(fused) == 2 * 2 + 1
    ids = torch.arange(2, 22)[None]
    with torch.inference_mode():
        assert torch.allclose(plain(ids).logits, fused(ids).logits, atol=1e-5)
    assert fuse_norms(_gemma("sdpa")) == 0
    assert fuse_norms(_llama("sdpa").to(torch.bfloat16)) == 0


def test_positions_that_are_learned_work_too() -> None:
    """GPT-2 has no rotary embedding and no grouped heads: nothing here may assume a Llama."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64, initializer_range=0.3
    )
    model = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    lm = LanguageModel(model)
    lm.prefill([3, 4])
    scored = lm.append(np.asarray([5, 6, 7]), np.asarray([0, 1, 1]), ancestor_mask(np.asarray([-1, -1])))
    with torch.inference_mode():
        expected = model(torch.tensor([[3, 4, 5, 7]])).logits[0, -1]
    assert scored.logits is not None
    assert torch.allclose(scored.logits[2], expected, atol=2e-5)


@pytest.mark.parametrize("make", [_llama, _gemma, _grouped])
def test_features_are_the_inputs_of_the_layers_asked_for(make: Any) -> None:
    """Of a prompt and of a tree, in the order asked for, as transformers' hidden states have them."""
    model = make("sdpa")
    order = (1, 0, 1)
    lm = LanguageModel(model, order)
    prompt = [int(t) for t in np.random.default_rng(0).integers(0, VOCAB, 30)]
    rows = [lm.prefill(prompt).features]
    rows.append(
        lm.append(np.asarray([7, 8, 9]), np.asarray([0, 1, 1]), ancestor_mask(np.asarray([-1, -1]))).features
    )
    for drop, tail in ((2, [7, 8]), (1, [7, 9])):
        with torch.inference_mode():
            states = model(torch.tensor([[*prompt, *tail]]), output_hidden_states=True).hidden_states
        expected = torch.cat([states[i][0] for i in order], dim=-1)
        fed = torch.cat([r for r in rows if r is not None])
        features = torch.cat([fed[:-2], fed[-drop:][:1]])
        assert torch.allclose(features, expected, atol=2e-5)


def test_features_of_a_long_prompt_are_those_of_every_chunk() -> None:
    model = tiny_llama(vocab_size=VOCAB, context=2048)
    prompt = [int(t) for t in np.random.default_rng(0).integers(0, VOCAB, PREFILL_CHUNK + 5)]
    features = LanguageModel(model, (1,)).prefill(prompt).features
    with torch.inference_mode():
        expected = model(torch.tensor([prompt]), output_hidden_states=True).hidden_states[1][0]
    assert features is not None
    assert torch.allclose(features, expected, atol=5e-5)


def test_who_asks_for_no_features_gets_none_and_leaves_no_hook() -> None:
    model = _llama("sdpa")
    asking, other = LanguageModel(model, (0, 1)), LanguageModel(model)
    one = np.asarray([3]), np.asarray([0]), np.ones((1, 1), dtype=np.bool_)
    assert asking.append(*one).features is not None
    assert other.append(*one).features is None
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert asking.prefill([]).features is None


def test_layers_that_are_not_there_are_refused() -> None:
    with pytest.raises(DecodingError, match=r"has 2 layers.*layers 2, 15, 27"):
        LanguageModel(_llama("sdpa"), (2, 15, 27))
    config = GPT2Config(vocab_size=VOCAB, n_embd=32, n_layer=2, n_head=4, n_positions=64)
    features = LanguageModel(AutoModelForCausalLM.from_config(config), (1,)).prefill([1, 2]).features
    assert features is not None
    assert features.shape == (2, 32)


def test_models_whose_state_cannot_be_rolled_back_are_refused() -> None:
    config = MambaConfig(vocab_size=VOCAB, hidden_size=16, num_hidden_layers=1, state_size=4)
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(DecodingError, match="attention"):
        LanguageModel(model)


def test_keep_refuses_slots_that_do_not_ascend() -> None:
    lm = LanguageModel(_llama("sdpa"))
    lm.prefill([1, 2])
    lm.append(np.asarray([3, 4]), np.asarray([0, 1]), np.tri(2, dtype=np.bool_))
    with pytest.raises(ValueError, match="ascend"):
        lm.keep([1, 0])
    with pytest.raises(ValueError, match="ascend"):
        lm.keep([2])
