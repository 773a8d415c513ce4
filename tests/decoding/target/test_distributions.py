"""Protects distributions and figures at the extremes: no rows, temperatures and nuclei of every size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.target.distributions import (  # fmt: skip
    best_tokens,
    distribution,
    entropy,
    largest,
    pick,
    softmax_sums,
    top_tokens,
)
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.worker.recorder import to_record
from spectui.store.counts.tally import tally
from tests.heads import tiny_head
from tests.models import tiny_llama, tiny_tokenizer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Models this small only lose time to a second thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


VOCABULARIES = (1, 5, 127, 128, 300, 5001)
"""Around the parts that sums and searches are cut into."""

OF_ROWS: dict[str, Callable[[torch.Tensor], Any]] = {
    "plain law": lambda rows: distribution(rows, 0.0, 1.0),
    "sampled law": lambda rows: distribution(rows, 0.7, 1.0),
    "nucleus": lambda rows: distribution(rows, 0.7, 0.5),
    "nucleus without a wait": lambda rows: distribution(rows, 0.7, 0.5, wait=False),
    "best tokens": lambda rows: np.stack(best_tokens(rows)),
    "sums": lambda rows: np.asarray(softmax_sums(rows, best_tokens(rows)[1].tolist())),
    "entropy": lambda rows: np.asarray(
        entropy(rows.softmax(-1), rows, 0.0, [r.max() for r in rows], [r.softmax(-1).max() for r in rows])
    ),
    "largest": lambda rows: np.asarray(largest(rows, 1)),
    "largest by topk": lambda rows: np.asarray(largest(rows, min(9, rows.shape[1]))),
    "picked": lambda rows: np.asarray(pick(rows, range(len(rows)), [0] * len(rows))),
    "top tokens": lambda rows: top_tokens(rows, 1),
}


@pytest.mark.parametrize("vocab", VOCABULARIES)
@pytest.mark.parametrize("name", OF_ROWS)
def test_no_rows_have_no_figures(name: str, vocab: int) -> None:
    """The round without a tree, which all of plain decoding consists of, has no row that leads to a node."""
    function = OF_ROWS[name]
    one, none = function(torch.randn(1, vocab)), function(torch.empty(0, vocab))
    assert np.asarray(one).size >= 1
    assert np.asarray(none).size == 0


TEMPERATURES = (5e-324, 1e-45, 1e-40, 1e-7, 1e-3, 0.7, 10.0)
"""Temperatures from the least double and the least float above 0 to the highest that `RunConfig` takes."""
NUCLEI = (5e-324, 1e-50, 1e-45, 1e-30, 0.3, 1.0 - 1e-12, 1.0)


@pytest.mark.parametrize("law", [distribution, lambda x, t, p: distribution(x, t, p, wait=False)])
@pytest.mark.parametrize("magnitude", [1e-30, 1.0, 3e38])
@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_any_temperature_and_nucleus_give_a_law(
    law: Callable[..., torch.Tensor], temperature: float, magnitude: float
) -> None:
    """The same law as in double precision, where that has one."""
    torch.manual_seed(0)
    logits = magnitude * torch.randn(3, 300).clamp(-1.0, 1.0)
    logits[1, 7] = -torch.inf  # a masked token
    logits[2] = magnitude  # all of them tied
    below = logits.double() - logits.double().amax(-1, keepdim=True)
    exact = (below / max(temperature, 2e-38)).softmax(-1)
    for top_p in NUCLEI:
        p = law(logits, temperature, top_p)
        assert p.sum(-1).tolist() == pytest.approx([1.0] * 3)
        assert float(p.min()) >= 0.0
        if top_p == 1.0:
            assert torch.allclose(p.double(), exact, atol=1e-5)
        top = p.argmax(-1)
        if magnitude >= 1.0:  # else the likeliest differ by less than a probability can
            assert torch.equal(logits.gather(1, top[:, None])[:, 0], logits.amax(-1))
        if top_p < 1e-10:
            assert p.amax(-1).tolist() == [1.0] * 3
        likely = p.gather(1, top[:, None])[:, 0].tolist()
        nats = entropy(p, logits, temperature, logits.gather(1, top[:, None])[:, 0].tolist(), likely)
        assert nats == pytest.approx(torch.special.entr(p.double()).sum(-1).tolist(), abs=2e-4)


COLD = [(1e-40, 1.0), (5e-324, 0.7), (1.0, 1e-50)]
"""Temperatures and nuclei that leave one token."""


@pytest.mark.parametrize("static", ["0", "1"])
@pytest.mark.parametrize(
    ("draft", "tree"),
    [
        ("lm", "dynamic:6x3"), ("eagle", "full:2x2"),
        ("recycling", "recycling:6"), ("lm+lookup", "full:2x2"),
    ],
)  # fmt: skip
def test_what_leaves_one_token_is_greedy(
    monkeypatch: pytest.MonkeyPatch, draft: str, tree: str, static: str
) -> None:
    """The same tokens, and figures that the store takes, of drafts that draw at such temperatures too."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    target, other = tiny_llama(layers=1, seed=3), tiny_llama(layers=1, seed=4)
    for model in (target, other):
        model.lm_head.weight.data *= 1e3
    drafts = {"lm": other, "eagle": tiny_head(target, feature_layers=(0, 0, 0))}
    weights = drafts.get(draft.removesuffix("+lookup"))
    models = LoadedModels(target, weights, Vocabulary(tiny_tokenizer(), [2]))

    def rounds(temperature: float, top_p: float) -> list[Round]:
        config = RunConfig(draft=draft, tree=tree, temperature=temperature, top_p=top_p, max_new_tokens=6)
        return list(SpeculativeDecoder(config, models=models).generate("Tom is a cat and Tom is a cat"))

    greedy = [t for round_ in rounds(0.0, 1.0) for t in round_.tokens]
    for temperature, top_p in COLD:
        cold = rounds(temperature, top_p)
        assert [t for round_ in cold for t in round_.tokens] == greedy
        for round_ in cold:
            tally(to_record(round_))
            assert set(round_.target_p.tolist()) <= {0.0, 1.0}
            assert np.allclose(round_.target_entropy, 0.0)
            drawn = np.exp(round_.tree.draft_logprob)
            assert np.isnan(drawn).all() or set(drawn.tolist()) <= {0.0, 1.0}
