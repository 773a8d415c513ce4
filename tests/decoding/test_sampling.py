"""Sampling through the whole engine keeps the target's distribution, for both kinds of tree."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.errors import DecodingError
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.target.distributions import (
    best_tokens,
    distribution,
    entropy,
    largest,
    softmax_sums,
    top_tokens,
)
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer

VOCAB = 6
TRIALS = 1100


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("draft_vocab", [VOCAB - 1, VOCAB + 3])
def test_vocabularies_padded_to_other_sizes_draft_and_sample(draft_vocab: int) -> None:
    """Pairs of one tokenizer often have embeddings padded differently: no crash, no foreign token."""
    target = tiny_llama(vocab_size=VOCAB, layers=1, hidden=16, seed=3)
    draft = tiny_llama(vocab_size=draft_vocab, layers=1, hidden=16, seed=3)
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    models = LoadedModels(target, draft, Vocabulary(tokenizer, []))
    for temperature in (0.0, 1.0):
        config = RunConfig(draft="lm", tree="full:2x2", temperature=temperature, max_new_tokens=12)
        tokens = [t for r in SpeculativeDecoder(config, models=models).generate([1, 4, 2]) for t in r.tokens]
        assert len(tokens) == 12
        assert max(tokens) < VOCAB


@pytest.mark.parametrize("static", ["0", "1"])
@pytest.mark.parametrize("draft", ["lm", "eagle", "recycling"])
def test_a_damaged_prompt_leaves_nothing_behind(
    monkeypatch: pytest.MonkeyPatch, draft: str, static: str
) -> None:
    """Keys and values that are no numbers stayed in the buffers of fixed size, and each prompt after it failed."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    target, other = tiny_llama(layers=2, seed=3), tiny_llama(layers=2, seed=4)
    for model in (target, other):
        model.get_input_embeddings().weight.data[340] = torch.nan
    drafts = {"lm": other, "eagle": tiny_head(target, feature_layers=(0, 0, 1))}
    models = LoadedModels(target, drafts.get(draft), Vocabulary(tiny_tokenizer(), [2]))
    config = RunConfig(draft=draft, tree="full:2x2", max_new_tokens=6)
    decoder, prompt = SpeculativeDecoder(config, models=models), [5, 6, 7]
    before = [t for round_ in decoder.generate(prompt) for t in round_.tokens]
    with pytest.raises(DecodingError, match="not finite"):
        list(decoder.generate([20, 21, 22, 340, 23, 24, 25, 26, 27, 28, 29, 30]))
    assert [t for round_ in decoder.generate(prompt) for t in round_.tokens] == before


def test_a_seed_and_a_position_fix_the_sample() -> None:
    target = tiny_llama(layers=1)
    models = LoadedModels(target, None, Vocabulary(tiny_tokenizer(), [2]))
    config = RunConfig(draft="recycling", temperature=1.0, max_new_tokens=16, seed=1)

    def sample(position: int) -> list[int]:
        decoder = SpeculativeDecoder(config, models=models)
        return [t for r in decoder.generate("Tom is a cat", position=position) for t in r.tokens]

    assert sample(0) == sample(0)
    assert sample(0) != sample(1)


def test_a_temperature_near_zero_is_greedy() -> None:
    target = tiny_llama(layers=1)
    models = LoadedModels(target, target, Vocabulary(tiny_tokenizer(), [2]))

    def output(temperature: float) -> list[int]:
        config = RunConfig(draft="itself", tree="full:2x2", temperature=temperature, max_new_tokens=16)
        decoder = SpeculativeDecoder(config, models=models)
        return [t for r in decoder.generate("Tom is a cat") for t in r.tokens]

    assert output(1e-4) == output(0.0)


def test_top_p_keeps_the_smallest_set_that_reaches_the_mass() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()
    assert torch.allclose(distribution(logits, 1.0, 0.7), torch.tensor([[0.625, 0.375, 0.0, 0.0]]))
    assert torch.allclose(distribution(logits, 1.0, 0.81), torch.tensor([[0.5, 0.3, 0.15, 0.0]]) / 0.95)
    flat = torch.zeros(1, 5000)
    assert int((distribution(flat, 1.0, 0.9) > 0).sum()) in (4500, 4501)


def test_entropy_is_in_nats_and_defined_for_zeros() -> None:
    """Log Z may be taken from any token with probability."""
    torch.manual_seed(0)
    logits = 4 * torch.randn(5, 300)
    for temperature, top_p in ((0.0, 1.0), (0.7, 1.0), (1.3, 0.6)):
        p = distribution(logits, temperature, top_p)
        expected = torch.special.entr(p).sum(-1).tolist()
        for rank in range(3):
            likely = p.topk(3)
            of_token = logits.gather(1, likely.indices)[:, rank].tolist(), likely.values[:, rank].tolist()
            assert entropy(p, logits, temperature, *of_token) == pytest.approx(expected, abs=1e-5)
    masked = torch.tensor([[0.0, 0.0, -torch.inf]])
    assert entropy(masked.softmax(-1), masked, 0.0, [0.0], [0.5]) == pytest.approx([np.log(2)])
    sure = torch.tensor([[200.0, 0.0]])
    assert entropy(sure.softmax(-1), sure, 0.0, [200.0], [1.0]) == [0.0]


@pytest.mark.parametrize("vocab", [10, 128, 300, 5001])
def test_sums_of_a_row_are_those_of_its_softmax(vocab: int) -> None:
    """Also where tokens are masked, where one is sure, and where a row is damaged."""
    torch.manual_seed(0)
    logits = 4 * torch.randn(6, vocab) - 50
    logits[1, ::2] = -torch.inf
    logits[2, 3] = 200.0
    logs, nats = softmax_sums(logits, logits.max(-1).values.tolist())
    assert logs == pytest.approx(logits.double().logsumexp(-1).tolist(), abs=1e-5)
    assert nats == pytest.approx(torch.special.entr(logits.double().softmax(-1)).sum(-1).tolist(), abs=1e-5)
    for damage in (torch.nan, torch.inf):
        logits[0, 5] = damage
        logs, nats = softmax_sums(logits, best_tokens(logits)[1].tolist())
        assert np.isnan(logs).tolist() == np.isnan(nats).tolist() == [True] + [False] * 5


@pytest.mark.parametrize("k", [1, 3, 8, 9])
def test_the_largest_are_those_of_a_full_sort(k: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 300)
    before = logits.clone()
    columns, values = largest(logits, k)
    assert columns == logits.sort(-1, descending=True).indices[:, :k].tolist()
    assert values == logits.sort(-1, descending=True).values[:, :k].tolist()
    assert torch.equal(logits, before)


@pytest.mark.parametrize("vocab", [10, 128, 300, 1280])
def test_the_best_token_is_the_first_of_equals(vocab: int) -> None:
    """generate's argmax takes the first of equal logits; so must we, or outputs part at exact ties."""
    torch.manual_seed(0)
    logits = torch.randint(0, 5, (50, vocab)).float()
    best, top = best_tokens(logits)
    assert best.tolist() == logits.argmax(-1).tolist()
    assert int(best[0]) == logits[0].tolist().index(float(logits[0].max()))
    assert top.tolist() == logits.max(-1).values.tolist()


def test_a_row_with_nan_has_no_best_logit() -> None:
    """An infinity beside it does not hide it."""
    logits = torch.tensor([[1.0, torch.nan, torch.inf], [1.0, 2.0, torch.inf], [0.0, 1.0, 2.0]])
    assert np.isfinite(best_tokens(logits)[1]).tolist() == [False, False, True]


@pytest.mark.parametrize("vocab", [10, 300, 5001])
def test_top_tokens_equal_a_full_sort(vocab: int) -> None:
    torch.manual_seed(0)
    logits = torch.randn(7, vocab)
    assert torch.equal(top_tokens(logits, 8), logits.topk(8, dim=-1).indices)
