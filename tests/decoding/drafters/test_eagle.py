"""Drafting round after round with a cache must be what drafting from scratch is, whatever was accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.drafters.base import Setup
from spectui.decoding.drafters.eagle import EagleDrafter
from spectui.decoding.eagle.head import EagleHead
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.target.language_model import PREFILL_CHUNK, Scored
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ROOT, TokenTree
from spectui.decoding.trees.spec import parse_tree
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer

WIDTH = 32
SPECS = ["chain:3", "full:3x2", "dynamic:8x4", "paths:001,1", "recycling:10"]
VARIANTS: list[dict[str, Any]] = [{}, {"norm_before_residual": True, "norm_output": True}]


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


def _scored(rng: np.random.Generator, rows: int) -> Scored:
    return Scored(None, torch.from_numpy(rng.normal(size=(rows, 3 * WIDTH)).astype(np.float32)))


def _same(one: TokenTree, other: TokenTree) -> None:
    for name in ("token", "parent", "depth", "rank"):
        assert getattr(one, name).tolist() == getattr(other, name).tolist(), name
    assert one.draft_logprob == pytest.approx(other.draft_logprob, abs=1e-4)
    assert one.draft_entropy == pytest.approx(other.draft_entropy, abs=1e-4)


def _path(tree: TokenTree, rng: np.random.Generator) -> list[int]:
    """The way to a random node, or to none."""
    node = int(rng.integers(ROOT, tree.size))
    path: list[int] = []
    while node != ROOT:
        path.insert(0, node)
        node = int(tree.parent[node])
    return path


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("spec", SPECS)
def test_drafting_with_the_cache_equals_drafting_from_scratch(
    target: Any, spec: str, changes: dict[str, Any]
) -> None:
    """Random features and random accepted paths: what the head kept may depend on neither's history."""
    head = tiny_head(target, **changes)
    drafter = EagleDrafter(Setup(parse_tree(spec), head.config.vocab_size, "eagle", head))
    rng = np.random.default_rng(0)
    lengths = set()
    for prompt_length in (1, 2, 9):
        tokens = [int(t) for t in rng.integers(0, 384, prompt_length)]
        scored = _scored(rng, prompt_length - 1) if prompt_length > 1 else Scored(None, None)
        features = [] if scored.features is None else [scored.features]
        drafter.begin(tokens, scored)
        for number in range(12):
            most = 0 if number == 5 else 32
            tree = drafter.propose(tokens[-1], most)
            tree.check()
            if features and most:
                scratch = EagleDrafter(Setup(parse_tree(spec), head.config.vocab_size, "eagle", head))
                scratch.begin(tokens, Scored(None, torch.cat(features)))
                _same(tree, scratch.propose(tokens[-1], most))
            else:
                assert tree.size == 0
            path = _path(tree, rng)
            lengths.add(len(path))
            seen = _scored(rng, tree.size + 1)
            bonus = int(rng.integers(0, 384))
            drafter.observe(tokens[-1], tree, seen, path, bonus)
            assert seen.features is not None
            features.append(seen.features[[0, *(node + 1 for node in path)]])
            tokens += [*tree.token[path].tolist(), bonus]
    assert {0, 1, 2} <= lengths


def _recursion(head: EagleHead, tokens: list[int], features: torch.Tensor, path: list[int]) -> torch.Tensor:
    """Logits after `path` under `tokens`, pair by pair from nothing, with no cache to get wrong."""
    g = head.fuse(features)
    pairs = tokens[1:]
    for step in range(len(path) + 1):
        ids = torch.tensor(pairs)
        q, k, v, residual = head.qkv(head.embed(ids)[None], g[None], torch.arange(len(pairs)))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        h = head.finish(attended, residual)[0]
        if step == len(path):
            return head.logits(h[-1])
        pairs = [*pairs, path[step]]
        g = torch.cat([g, head.carry(h[-1:])])
    raise AssertionError


@pytest.mark.parametrize("changes", VARIANTS)
@pytest.mark.parametrize("spec", SPECS)
@torch.inference_mode()
def test_every_node_has_the_probability_that_the_head_gives_it(
    target: Any, spec: str, changes: dict[str, Any]
) -> None:
    """Masks, positions and carried states: each node against a run of its own path alone."""
    head = tiny_head(target, **changes)
    drafter = EagleDrafter(Setup(parse_tree(spec), head.config.vocab_size, "eagle", head))
    rng = np.random.default_rng(1)
    tokens = [int(t) for t in rng.integers(0, 384, 7)]
    scored = _scored(rng, 6)
    assert scored.features is not None
    drafter.begin(tokens, scored)
    tree = drafter.propose(tokens[-1], 32)
    assert tree.size >= 3
    for i in range(tree.size):
        path: list[int] = []
        ancestor = int(tree.parent[i])
        while ancestor != ROOT:
            path.insert(0, int(tree.token[ancestor]))
            ancestor = int(tree.parent[ancestor])
        logits = _recursion(head, tokens, scored.features, path)
        column = head.draft_ids.tolist().index(int(tree.token[i]))
        log_p = logits.log_softmax(-1)
        assert tree.draft_logprob[i] == pytest.approx(float(log_p[column]), abs=1e-4)
        assert tree.draft_entropy[i] == pytest.approx(float(-(log_p.exp() * log_p).sum()), abs=1e-4)
        assert int((log_p > log_p[column]).sum()) == tree.rank[i]


def test_a_long_prompt_is_fed_in_chunks_without_loss(target: Any) -> None:
    head = tiny_head(target)
    rng = np.random.default_rng(2)
    tokens = [int(t) for t in rng.integers(0, 384, PREFILL_CHUNK + 40)]
    scored = _scored(rng, len(tokens) - 1)
    assert scored.features is not None
    drafter = EagleDrafter(Setup(parse_tree("chain:1"), head.config.vocab_size, "eagle", head))
    drafter.begin(tokens, scored)
    tree = drafter.propose(tokens[-1], 1)
    with torch.inference_mode():
        log_p = _recursion(head, tokens, scored.features, []).log_softmax(-1)
    assert tree.token[0] == head.draft_ids[log_p.argmax()]
    assert tree.draft_logprob[0] == pytest.approx(float(log_p.max()), abs=1e-4)


def test_true_features_reach_the_head(target: Any) -> None:
    """In the engine, each round's tree is what the head makes of the target's own hidden states."""
    head = tiny_head(target)
    vocabulary = Vocabulary(tiny_tokenizer(), [])
    config = RunConfig(draft="eagle", tree="chain:1", max_new_tokens=10)
    decoder = SpeculativeDecoder(config, models=LoadedModels(target, head, vocabulary))
    tokens = decoder.encode("9:40 plus 2 hours")
    for round_ in decoder.generate(tokens):
        with torch.inference_mode():
            states = target(torch.tensor([tokens[:-1]]), output_hidden_states=True).hidden_states
            features = torch.cat([states[i][0] for i in head.config.feature_layers], dim=-1)
            log_p = _recursion(head, tokens, features, []).log_softmax(-1)
        assert round_.tree.token[0] == head.draft_ids[log_p.argmax()]
        assert round_.tree.draft_logprob[0] == pytest.approx(float(log_p.max()), abs=1e-3)
        tokens += round_.tokens


def test_the_context_is_filled_to_its_end(target: Any) -> None:
    small = tiny_llama(layers=3, context=40)
    models = LoadedModels(small, tiny_head(small), Vocabulary(tiny_tokenizer(), []))
    config = RunConfig(draft="eagle", tree="dynamic:6x4", max_new_tokens=500)
    decoder = SpeculativeDecoder(config, models=models)
    ids = decoder.encode("Tom is a cat.")
    rounds = list(decoder.generate(ids))
    assert rounds[-1].finish == "context"
    assert len(ids) + sum(len(r.tokens) for r in rounds) == 40
