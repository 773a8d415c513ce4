"""Protects the equality of both implementations of `Rounds`: the device's, here on a CPU, gives the host's rounds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, Gemma3TextConfig, MistralConfig

from spectui.decoding.config import RunConfig
from spectui.decoding.device import eagle as device_eagle
from spectui.decoding.device.cache import FIRST_CAPACITY, STEP, capacity_for, room_for
from spectui.decoding.device.eagle import DeviceEagleDrafter
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.model import ROWS, BufferedModel, padded_rows
from spectui.decoding.drafters import eagle, lm
from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import chain_shape
from tests.equality import divergence
from tests.heads import tiny_head
from tests.models import greedy_reference, tiny_llama, tiny_tokenizer

PROMPT = "Tom is a cat and a cat is an animal"
TREES = [
    "full:3x2", "full:1x4", "full:2x3", "chain:1", "chain:5", "paths:000,01,10,2", "recycling:8", "recycling:16",
    "dynamic:8x4",
]  # fmt: skip


@pytest.fixture(scope="module")
def pair() -> LoadedModels:
    """A target and a draft that agrees with it now and then."""
    target = tiny_llama(layers=2, context=4096)
    draft = tiny_llama(layers=2, context=4096)
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in draft.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return LoadedModels(target, draft, Vocabulary(tiny_tokenizer(), [2]))


@contextmanager
def switched(monkeypatch: pytest.MonkeyPatch, value: str) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("SPECTUI_STATIC", value)
        yield


def both(
    monkeypatch: pytest.MonkeyPatch, config: RunConfig, models: LoadedModels, prompt: str | list[int] = PROMPT
) -> tuple[list[Round], list[Round], SpeculativeDecoder]:
    """Rounds on the host and on the device, and the decoder of the latter."""
    rounds = []
    for value in ("0", "1"):
        with switched(monkeypatch, value):
            decoder = SpeculativeDecoder(config, models=models)
        assert isinstance(decoder.target, BufferedModel) == (value == "1")
        rounds.append([r for position in range(2) for r in decoder.generate(prompt, position=position)])
    return rounds[0], rounds[1], decoder


def assert_same(on_host: list[Round], on_device: list[Round]) -> None:
    assert len(on_host) == len(on_device)
    for a, b in zip(on_host, on_device, strict=True):
        assert (a.tokens, a.path, a.bonus, a.cut, a.finish) == (b.tokens, b.path, b.bonus, b.cut, b.finish)
        for name in ("token", "parent", "depth", "rank"):
            np.testing.assert_array_equal(getattr(a.tree, name), getattr(b.tree, name))
        np.testing.assert_array_equal(a.match, b.match)
        for name in ("target_p", "target_entropy"):
            np.testing.assert_allclose(getattr(a, name), getattr(b, name), atol=1e-4)
        np.testing.assert_allclose(a.tree.draft_logprob, b.tree.draft_logprob, atol=1e-4)
        np.testing.assert_allclose(a.tree.draft_entropy, b.tree.draft_entropy, atol=1e-4)


@pytest.mark.parametrize("sampling", [{}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7}])
@pytest.mark.parametrize("tree", TREES)
def test_both_paths_give_the_same_rounds(
    pair: LoadedModels, monkeypatch: pytest.MonkeyPatch, tree: str, sampling: dict[str, Any]
) -> None:
    drafts = ["embedded", "recycling"] if not tree.startswith("dynamic") else ["embedded"]
    for draft in drafts:
        config = RunConfig(draft=draft, tree=tree, max_new_tokens=12, **sampling)
        models = pair if draft == "embedded" else LoadedModels(pair.target, None, pair.tokenizer)
        on_host, on_device, decoder = both(monkeypatch, config, models)
        assert_same(on_host, on_device)
        if config.greedy:
            ids = decoder.encode(PROMPT)
            output = [t for r in decoder.generate(ids) for t in r.tokens]
            assert output == greedy_reference(pair.target, ids, 12)


@pytest.mark.parametrize("tree", ["full:3x3", "paths:000,01,10,2"])
def test_nuclei_of_fewer_tokens_than_siblings(
    pair: LoadedModels, monkeypatch: pytest.MonkeyPatch, tree: str
) -> None:
    """Nodes without a token, and all below them, take none of the numbers that later ones are drawn by."""
    config = RunConfig(draft="embedded", tree=tree, max_new_tokens=40, temperature=0.5, top_p=0.4)
    on_host, on_device, _ = both(monkeypatch, config, pair)
    assert_same(on_host, on_device)
    sizes = [r.tree.size for r in on_host]
    assert len(set(sizes)) > 2, sizes


@settings(max_examples=15, deadline=None)
@given(parents=st.lists(st.integers(-1, 20), min_size=1, max_size=24), hot=st.booleans())
def test_any_tree(parents: list[int], hot: bool) -> None:
    shape_parents = [min(p, i - 1) for i, p in enumerate(parents)]
    paths: list[list[int]] = []
    children: dict[int, int] = {}
    for p in shape_parents:
        rank = children.get(p, 0)
        children[p] = rank + 1
        paths.append([*(paths[p] if p >= 0 else []), rank])
    spec = "paths:" + ",".join("".join("0123456789abcdefghijklmnopqrstuv"[r] for r in path) for path in paths)
    models = _models()
    config = RunConfig(draft="embedded", tree=spec, max_new_tokens=8, temperature=0.9 if hot else 0.0)
    with pytest.MonkeyPatch.context() as patch:
        on_host, on_device, _ = both(patch, config, models)
    assert_same(on_host, on_device)


def _models(kept: list[LoadedModels] = []) -> LoadedModels:  # noqa: B006 - made once
    if not kept:
        target, draft = tiny_llama(), tiny_llama()
        with torch.no_grad():
            draft.lm_head.weight.add_(0.05 * torch.randn_like(draft.lm_head.weight))
        kept.append(LoadedModels(target, draft, Vocabulary(tiny_tokenizer(), [2])))
    return kept[0]


DYNAMIC = [
    "dynamic:8x4", "dynamic:1x1", "dynamic:3x2", "dynamic:12x4", "dynamic:6x6", "dynamic:40x3",
    "dynamic:3-12x4@0.02/0.03", "dynamic:2-8x4@0.2/0.4", "dynamic:3x5", "dynamic:10x17", "dynamic:10x20",
]  # fmt: skip
"""The last is too deep for the device, and grown by the host."""


@pytest.fixture(scope="module")
def headed() -> LoadedModels:
    """A target and a head for it that predicts half of its tokens."""
    target = tiny_llama(layers=3, context=4096)
    return LoadedModels(target, tiny_head(target), Vocabulary(tiny_tokenizer(), [2]))


@pytest.mark.parametrize(
    ("tree", "sampling"),
    [
        (tree, sampling)
        for tree in ("chain:3", "full:3x2", "full:1x4", "paths:000,01,10,2", *DYNAMIC)
        for sampling in ({}, {"temperature": 0.9}, {"temperature": 1.0, "top_p": 0.7})
        # Nodes without probability are drawn from on a device, so that further ones are drawn otherwise.
        if not sampling
        or (tree in DYNAMIC[:4] if "top_p" in sampling else tree in ("full:3x2", "dynamic:8x4"))
    ],
)
def test_a_heads_trees(
    headed: LoadedModels, monkeypatch: pytest.MonkeyPatch, tree: str, sampling: dict[str, Any]
) -> None:
    config = RunConfig(draft="eagle", tree=tree, max_new_tokens=12, **sampling)
    on_host, on_device, decoder = both(monkeypatch, config, headed)
    assert isinstance(decoder.drafter, DeviceEagleDrafter)
    assert_same(on_host, on_device)


@pytest.mark.parametrize("tree", DYNAMIC)
def test_dynamic_trees_of_a_draft_model(
    pair: LoadedModels, monkeypatch: pytest.MonkeyPatch, tree: str
) -> None:
    on_host, on_device, _ = both(monkeypatch, RunConfig(draft="embedded", tree=tree, max_new_tokens=12), pair)
    assert_same(on_host, on_device)


def guess_now_and_then(monkeypatch: pytest.MonkeyPatch, size: int, when: Callable[[int], bool]) -> None:
    """Lookup finds a chain of `size` in the rounds of a decoder for which `when` holds, and nothing in the others."""
    asked: WeakKeyDictionary[LookupDrafter, int] = WeakKeyDictionary()
    guess = TokenTree.from_shape(chain_shape(size), np.full(size, 5))

    def propose(self: LookupDrafter, root: int, max_depth: int) -> TokenTree:
        asked[self] = asked.get(self, 0) + 1
        return guess if when(asked[self]) and size <= max_depth else TokenTree.empty()

    monkeypatch.setattr(LookupDrafter, "propose", propose)


@pytest.mark.parametrize("temperature", [0.0, 0.9])
@pytest.mark.parametrize("tree", ["chain:3+chain:3", "dynamic:8x4+chain:4", "full:2x2+chain:4"])
@pytest.mark.parametrize("draft", ["embedded+lookup", "eagle+lookup"])
def test_lookup_beside_a_draft(
    pair: LoadedModels, headed: LoadedModels, monkeypatch: pytest.MonkeyPatch, draft: str, tree: str,
    temperature: float,
) -> None:  # fmt: skip
    """Chains that were looked up and trees of the same size that were drawn, in one text."""
    models = headed if draft.startswith("eagle") else pair
    config = RunConfig(draft=draft, tree=tree, max_new_tokens=20, temperature=temperature)
    guess_now_and_then(monkeypatch, int(tree[-1]), lambda round_: round_ % 2 == 0)
    on_host, on_device, _ = both(monkeypatch, config, models)
    assert_same(on_host, on_device)
    assert {bool(np.isnan(r.tree.draft_logprob).all()) for r in on_device if r.tree.size} == {False, True}


@pytest.mark.parametrize("draft", ["embedded+lookup", "eagle+lookup"])
def test_a_draft_that_had_no_turn_for_long(
    pair: LoadedModels, headed: LoadedModels, monkeypatch: pytest.MonkeyPatch, draft: str
) -> None:
    """The tokens that were committed meanwhile are fed in pieces."""
    models = headed if draft.startswith("eagle") else pair
    config = RunConfig(draft=draft, tree="full:2x2+chain:1", max_new_tokens=40)
    for module in (lm, eagle, device_eagle):
        monkeypatch.setattr(module, "PREFILL_CHUNK", 8)
    guess_now_and_then(monkeypatch, 1, lambda round_: round_ <= 30)
    on_host, on_device, _ = both(monkeypatch, config, models)
    assert_same(on_host, on_device)
    assert any(r.tree.size == 6 for r in on_device)


@pytest.mark.parametrize("kinds", [None, ["sliding_attention", "full_attention"] * 2])
def test_dynamic_trees_where_layers_look_at_a_window(
    monkeypatch: pytest.MonkeyPatch, kinds: list[str] | None
) -> None:
    """Of a target and its head, and of a draft model; the output is longer than the window."""
    sizes: dict[str, Any] = {
        "vocab_size": 384, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
        "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8, "max_position_embeddings": 256,
        "initializer_range": 0.25,
    }  # fmt: skip
    config = Gemma3TextConfig(**sizes, layer_types=kinds) if kinds else MistralConfig(**sizes)
    torch.manual_seed(0)
    target = AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()
    vocabulary = Vocabulary(tiny_tokenizer(), [2])
    for models, draft in (
        (LoadedModels(target, tiny_head(target), vocabulary), "eagle"),
        (LoadedModels(target, target, vocabulary), "embedded"),
    ):
        run = RunConfig(draft=draft, tree="dynamic:8x4", max_new_tokens=12)
        on_host, on_device, _ = both(monkeypatch, run, models)
        assert_same(on_host, on_device)


def test_a_head_whose_tokens_are_the_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """And whose states are normed before they are handed on; with a prompt that outgrows the first buffers."""
    target = tiny_llama(layers=3, context=4096)
    head = tiny_head(target, draft_vocab_size=target.config.vocab_size, norm_output=True)
    models = LoadedModels(target, head, Vocabulary(tiny_tokenizer(), [2]))
    ids = [3 + i % 300 for i in range(FIRST_CAPACITY - 10)]
    for tree in ("dynamic:8x4", "full:2x2"):
        config = RunConfig(draft="eagle", tree=tree, max_new_tokens=20)
        on_host, on_device, _ = both(monkeypatch, config, models, ids)
        assert_same(on_host, on_device)


def test_a_sequence_that_outgrows_the_first_buffers(
    pair: LoadedModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = [3 + i % 300 for i in range(FIRST_CAPACITY - 40)]
    config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=60)
    on_host, on_device, decoder = both(monkeypatch, config, pair, ids)
    assert_same(on_host, on_device)
    assert decoder.target._cache.capacity == room_for(len(ids) + 60 + ROWS[-1])


@pytest.mark.parametrize("length", [FIRST_CAPACITY + 2, FIRST_CAPACITY + 500])
def test_a_first_prompt_that_is_longer_than_the_first_buffers(
    pair: LoadedModels, headed: LoadedModels, monkeypatch: pytest.MonkeyPatch, length: int
) -> None:
    ids = [3 + i % 300 for i in range(length)]
    for models, draft in ((pair, "embedded"), (headed, "eagle")):
        config = RunConfig(draft=draft, tree="full:2x2", max_new_tokens=4)
        on_host, on_device, _ = both(monkeypatch, config, models, ids)
        assert_same(on_host, on_device)


def test_to_the_end_of_the_context(monkeypatch: pytest.MonkeyPatch) -> None:
    small, tiny = tiny_llama(context=64), tiny_llama(context=48)
    models = LoadedModels(small, tiny, Vocabulary(tiny_tokenizer(), []))
    config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=200)
    on_host, on_device, _ = both(monkeypatch, config, models, list(range(5, 25)))
    assert_same(on_host, on_device)
    assert on_device[-1].finish == "context"


def test_room_for_a_sequence() -> None:
    """No more than the context takes, with the largest tree behind it; never less than is needed."""
    assert [room_for(n) for n in (1, 256, 257, 1024, 1025, 1537)] == [256, 256, 512, 1024, 1536, 2304]
    for context in (64, 2048, 4096):
        for sequence in range(1, context + 300, 61):
            capacity = capacity_for(sequence, ROWS[-1], context)
            assert min(sequence, context) + ROWS[-1] <= capacity < context + ROWS[-1] + STEP


def test_sizes_and_why_nothing_is_captured_here() -> None:
    assert [padded_rows(n) for n in (1, 3, 7, 15, 33, 513)] == [1, 4, 8, 16, 48, 520]
    with pytest.raises(ValueError, match="more than"):
        padded_rows(ROWS[-1] + 1)
    graphs = Graphs(torch.device("cpu"))
    assert graphs.reason == "CUDA graphs need a GPU; this runs on the cpu"
    assert graphs.run("anything", lambda: 7) == 7


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_differs_from_generate_at_near_ties_alone(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype
) -> None:
    """Ties are common there, and one row is multiplied otherwise than sixteen."""
    target = tiny_llama(layers=2).to(dtype)
    models = LoadedModels(target, target, Vocabulary(tiny_tokenizer(), [2]))
    config = RunConfig(draft="embedded", tree="full:3x2", max_new_tokens=24)
    with switched(monkeypatch, "1"):
        decoder = SpeculativeDecoder(config, models=models)
    differences = [
        divergence(decoder, target, ids, greedy_reference(target, ids, 24))
        for ids in ([start, 7, 9] for start in range(5, 15))
    ]
    assert None in differences
    assert all(difference.near_tie for difference in differences if difference is not None)
