"""A drafter with lookup beside it: the same output, and it never notices the rounds it did not draft."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import UsageError
from spectui.decoding.models.load import LoadedModels, make_drafter
from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import ROOT, TokenTree, ancestor_mask
from spectui.decoding.trees.spec import chain_shape
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer

PROMPTS = [[17, 42, 99] * 4, [5, 6, 7, 8, 9, 10], [200, 201, 202, 203, 204, 200, 201, 202, 203]]
"""Token ids: with or without a match at the first round. Random models loop soon after."""
TOKENS = 60
TREES = {"lm": "full:2x2", "eagle": "dynamic:6x3", "recycling": "recycling:8"}


@pytest.fixture(scope="module")
def target() -> Any:
    return tiny_llama(layers=3)


def _models(target: Any, kind: str) -> LoadedModels:
    drafts = {"lm": tiny_llama(layers=2, seed=7), "eagle": tiny_head(target)}
    return LoadedModels(target, drafts.get(kind), Vocabulary(tiny_tokenizer(), [2]))


def _config(kind: str, *, lookup: bool = True, **changes: Any) -> RunConfig:
    draft = {"lm": "some-draft"}.get(kind, kind)
    fields = {"tree": TREES[kind], "max_new_tokens": TOKENS, **changes}
    return RunConfig(draft=f"{draft}+lookup" if lookup else draft, **fields)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("kind", ["lm", "eagle"])
def test_after_rounds_of_another_it_drafts_as_if_it_had_drafted_nothing(
    target: Any, kind: str, temperature: float
) -> None:
    """Its trees against those of a drafter that is given the whole text anew: caches and features must agree."""
    models = _models(target, kind)
    # What is drawn when sampling is chance: then the distributions they are drawn from are compared.
    spec = TREES[kind] if temperature == 0.0 else "full:1x1"
    config = _config(kind, lookup=False, tree=spec, temperature=temperature)
    drafter = make_drafter(config, models)
    text = LanguageModel(target, drafter.feature_layers)
    rng = np.random.default_rng(0)
    tokens = [int(t) for t in rng.integers(3, 384, 12)]
    drafter.begin(tokens, text.prefill(tokens[:-1]))
    for number in range(12):
        length = int(rng.integers(1, 4))
        tree = TokenTree.from_shape(chain_shape(length), rng.integers(3, 384, length))
        if number % 3 == 2:
            fresh = make_drafter(config, models)
            again = LanguageModel(target, fresh.feature_layers)
            fresh.begin(tokens, again.prefill(tokens[:-1]))
            tree = drafter.propose(tokens[-1], 10)
            _same(tree, fresh.propose(tokens[-1], 10))
        scored = text.append(
            np.concatenate([tokens[-1:], tree.token]),
            np.concatenate([[0], tree.depth]),
            ancestor_mask(tree.parent),
        )
        path = _path(tree, rng)
        bonus = int(rng.integers(3, 384))
        drafter.observe(tokens[-1], tree, scored, path, bonus)
        text.keep([0, *(node + 1 for node in path)])
        tokens += [*tree.token[path].tolist(), bonus]


def _path(tree: TokenTree, rng: np.random.Generator) -> list[int]:
    """The way to a random node, or to none."""
    node = int(rng.integers(ROOT, tree.size))
    path: list[int] = []
    while node != ROOT:
        path.insert(0, node)
        node = int(tree.parent[node])
    return path


def _same(one: TokenTree, other: TokenTree) -> None:
    if one.draft_rows is not None:
        assert other.draft_rows is not None
        assert np.allclose(one.draft_rows[0], other.draft_rows[0], atol=1e-4)
        return
    assert one.token.tolist() == other.token.tolist()
    assert one.parent.tolist() == other.parent.tolist()
    assert one.draft_logprob == pytest.approx(other.draft_logprob, abs=1e-3)


def test_a_draft_that_is_the_target_is_right_after_rounds_it_did_not_draft(target: Any) -> None:
    models = LoadedModels(target, target, Vocabulary(tiny_tokenizer(), [2]))
    decoder = SpeculativeDecoder(_config("lm", tree="full:3x2"), models=models)
    rounds = [r for prompt in PROMPTS for r in decoder.generate(prompt)]
    its_own = [r for r in rounds if not np.isnan(r.tree.draft_logprob).any() and not r.finish]
    assert its_own
    assert len(its_own) < len(rounds)
    assert all(len(r.path) == 3 for r in its_own)


def test_sampling_judges_each_tree_by_its_own_rule(target: Any) -> None:
    decoder = SpeculativeDecoder(_config("lm", temperature=1.0, seed=3), models=_models(target, "lm"))
    draws = set()
    for prompt in PROMPTS:
        for round_ in decoder.generate(prompt):
            known = not np.isnan(round_.tree.draft_logprob).any()
            assert round_.tree.draw == ("without_replacement" if known else "deterministic")
            draws.add(round_.tree.draw)
    assert len(draws) == 2


def test_the_tree_names_both_parts() -> None:
    config = RunConfig(draft="recycling+lookup")
    assert (config.base_draft, config.looks_up) == ("recycling", True)
    assert config.tree_spec == "recycling:8+chain:8"
    assert config.changed(tree="full:2x2").tree_spec == "full:2x2+chain:8"
    longer = config.changed(tree="full:2x2+chain:12")
    assert (longer.shape().name, longer.lookup_shape().name) == ("full:2x2", "chain:12")
    assert RunConfig.from_json(longer.to_json()) == longer


@pytest.mark.parametrize(
    "bad",
    [
        {"draft": "lookup+lookup"}, {"draft": "+lookup"}, {"draft": "lookup", "tree": "full:2x2"},
        {"draft": "recycling", "tree": "recycling:8+chain:8"}, {"draft": "recycling+lookup", "tree": "chain:3+chain:x"},
        {"draft": "recycling+lookup", "tree": "dynamic:8x4"}, {"draft": "lookup", "tree": "dynamic:8x4"},
    ],
)  # fmt: skip
def test_combinations_that_make_no_sense_are_one_line(bad: dict[str, str]) -> None:
    with pytest.raises(UsageError) as caught:
        RunConfig(**bad)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
