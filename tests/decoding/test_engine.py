"""Speculation may never change what is generated, and every figure of a round must be what it says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ROOT
from tests.models import cut_down, greedy_reference, tiny_llama, tiny_tokenizer

PROMPTS = ["Write a function.", "Tom is a cat. Is he an animal?", "日本語 naïve", "9:40 plus 2 hours"]
SHAPES = ["full:3x2", "full:1x4", "chain:5", "recycling:12", "full:2x3"]
TOKENS = 24


@pytest.fixture(params=["host", "device"])
def implementation(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The implementation of `Rounds` that decoders made in the test use."""
    monkeypatch.setenv("SPECTUI_STATIC", {"host": "0", "device": "1"}[request.param])
    return str(request.param)


BOTH = pytest.mark.usefixtures("implementation")


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


@pytest.fixture(scope="module")
def half_draft(target: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("draft")
    cut_down(target, folder, 2, tiny_tokenizer())
    return AutoModelForCausalLM.from_pretrained(folder).eval()


def _decoder(target: Any, draft: Any | None, **config: Any) -> SpeculativeDecoder:
    vocabulary = Vocabulary(tiny_tokenizer(), [2])
    config = {"max_new_tokens": TOKENS, **config}
    run = RunConfig(draft="recycling" if draft is None else "some-draft", **config)
    return SpeculativeDecoder(run, models=LoadedModels(target, draft, vocabulary))


def _output(rounds: list[Round]) -> list[int]:
    return [t for r in rounds for t in r.tokens]


@pytest.mark.parametrize("tree", SHAPES)
@pytest.mark.parametrize("drafter", ["recycling", "itself", "cut-down"])
def test_greedy_output_is_that_of_generate(target: Any, half_draft: Any, drafter: str, tree: str) -> None:
    draft = {"recycling": None, "itself": target, "cut-down": half_draft}[drafter]
    decoder = _decoder(target, draft, tree=tree)
    accepted = 0
    for prompt in PROMPTS:
        ids = decoder.encode(prompt)
        rounds = list(decoder.generate(ids))
        assert _output(rounds) == greedy_reference(target, ids, TOKENS)
        accepted += sum(len(r.path) for r in rounds)
    # A draft that is the target itself is always right: anything less is a broken draft cache.
    if drafter == "itself":
        ends = [r for r in rounds if not r.finish]
        assert all(len(r.path) == r.tree.depth.max() for r in ends)
    else:
        assert accepted > 0


@pytest.mark.parametrize("tree", ["dynamic:8x4", "dynamic:3x6"])
def test_a_draft_models_dynamic_trees_change_nothing_either(target: Any, half_draft: Any, tree: str) -> None:
    """Nodes the model was fed may have been left out of the tree: its cache must keep the right ones."""
    decoder, itself = _decoder(target, half_draft, tree=tree), _decoder(target, target, tree=tree)
    accepted = 0
    for prompt in PROMPTS:
        ids = decoder.encode(prompt)
        for drafted in (decoder, itself):
            rounds = list(drafted.generate(ids))
            assert _output(rounds) == greedy_reference(target, ids, TOKENS)
        accepted += sum(len(r.path) for r in rounds)
        # Its own probabilities: the root's best child is the target's choice whenever the cache is right.
        assert all(r.path or r.cut for r in rounds[:-1])
    assert accepted > 2 * len(PROMPTS)


@BOTH
def test_every_figure_of_a_node_is_what_its_definition_says(target: Any, half_draft: Any) -> None:
    """p, q and both entropies recomputed by plain forwards of each node's own prefix."""
    decoder = _decoder(target, half_draft, tree="full:2x2")
    ids = decoder.encode(PROMPTS[0])
    prefix = list(ids)
    for round_ in list(decoder.generate(ids))[:4]:
        assert round_.prefix_length == len(prefix)
        tree = round_.tree
        for i in range(tree.size):
            path: list[int] = []
            at = int(tree.parent[i])
            while at != ROOT:
                path.insert(0, int(tree.token[at]))
                at = int(tree.parent[at])
            with torch.inference_mode():
                p = target(torch.tensor([prefix + path])).logits[0, -1].double().softmax(-1)
                q = half_draft(torch.tensor([prefix + path])).logits[0, -1].double().softmax(-1)
            token = int(tree.token[i])
            assert round_.target_p[i] == pytest.approx(float(p[token]), abs=1e-5)
            assert np.exp(tree.draft_logprob[i]) == pytest.approx(float(q[token]), abs=1e-5)
            assert round_.target_entropy[i] == pytest.approx(float(-(p * p.log()).sum()), abs=1e-4)
            assert tree.draft_entropy[i] == pytest.approx(float(-(q * q.log()).sum()), abs=1e-4)
            assert bool(round_.match[i]) == (token == int(p.argmax()))
            assert int(q.argsort(descending=True)[tree.rank[i]]) == token
        prefix += round_.tokens


@BOTH
def test_the_tree_has_the_asked_size_every_round_from_the_first_on(target: Any, half_draft: Any) -> None:
    for draft in (None, half_draft):
        decoder = _decoder(target, draft, tree="full:3x2")
        for round_ in decoder.generate(PROMPTS[1]):
            assert round_.tree.size == 14
            round_.tree.check()


@BOTH
def test_a_drafter_without_probabilities_invents_none(target: Any) -> None:
    for round_ in _decoder(target, None).generate(PROMPTS[0]):
        assert np.isnan(round_.tree.draft_logprob).all()
        assert np.isnan(round_.tree.draft_entropy).all()


@BOTH
def test_recycling_learns_from_what_the_target_rejected(target: Any) -> None:
    """The same prompt again must be drafted better: rows of the first pass are still there."""
    decoder = _decoder(target, None, tree="recycling:16")
    first, second = (sum(len(r.path) for r in decoder.generate(PROMPTS[2])) for _ in range(2))
    assert second > first


@BOTH
def test_an_accepted_end_token_ends_the_output_there(target: Any) -> None:
    """The output stops at any token that is declared the end, as generate's does, and records how."""
    ids = _decoder(target, target).encode(PROMPTS[0])
    reference = greedy_reference(target, ids, TOKENS)
    seen_cut = False
    for at in range(4, 12):
        end = reference[at]
        vocabulary = Vocabulary(tiny_tokenizer(), [end])
        models = LoadedModels(target, target, vocabulary)
        config = RunConfig(draft="itself", tree="chain:4", max_new_tokens=TOKENS)
        rounds = list(SpeculativeDecoder(config, models=models).generate(ids))
        assert _output(rounds) == reference[: reference.index(end) + 1]
        last = rounds[-1]
        assert last.finish == "eos"
        assert (last.cut == "eos") == (last.bonus is None)
        seen_cut |= last.cut == "eos"
    assert seen_cut


@BOTH
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
def test_never_more_than_the_tokens_asked_for(target: Any, limit: int) -> None:
    decoder = _decoder(target, target, tree="full:3x2", max_new_tokens=limit)
    rounds = list(decoder.generate(PROMPTS[0]))
    assert len(_output(rounds)) == limit
    assert rounds[-1].finish == "length"
    assert all(r.finish is None for r in rounds[:-1])


@BOTH
def test_the_context_is_filled_to_its_last_position_and_not_beyond(tmp_path: Path) -> None:
    target = tiny_llama(layers=2, context=40)
    decoder = _decoder(target, target, tree="chain:5", max_new_tokens=500)
    ids = decoder.encode(PROMPTS[0])
    assert len(ids) < 40
    rounds = list(decoder.generate(ids))
    if rounds[-1].finish != "eos":
        assert rounds[-1].finish == "context"
        assert len(ids) + len(_output(rounds)) == 40
    with pytest.raises(DecodingError, match="context holds 40"):
        list(decoder.generate([5] * 40))


@BOTH
def test_a_draft_with_a_shorter_context_falls_silent_and_the_output_stays_right(target: Any) -> None:
    draft = tiny_llama(layers=2, context=48)
    decoder = _decoder(target, draft, tree="chain:3")
    ids = decoder.encode(PROMPTS[0])
    assert len(ids) < 48 < len(ids) + TOKENS
    rounds = list(decoder.generate(ids))
    assert _output(rounds) == greedy_reference(target, ids, TOKENS)
    sizes = [r.tree.size for r in rounds if not r.finish]
    assert sizes[0] == 3
    assert sizes[-1] == 0


def test_no_tokens_no_run(target: Any) -> None:
    with pytest.raises(DecodingError, match="no tokens"):
        list(_decoder(target, None).generate([]))


@BOTH
def test_durations_are_there_and_models_take_most_of_them(target: Any, half_draft: Any) -> None:
    decoder = _decoder(target, half_draft)
    for round_ in decoder.generate(PROMPTS[0]):
        assert min(round_.draft_ms, round_.verify_ms, round_.other_ms) > 0
    assert decoder.target.forward_seconds > 0
    assert decoder.drafter.seconds_in_models() > 0
