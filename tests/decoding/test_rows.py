"""Figures of rows of logits by numpy are those of the distributions that PyTorch makes of them."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from decoding.distributions import best_tokens, distribution, figures_of_children
from decoding.rows import of_children, softmax
from decoding.tree import TokenTree, full_shape


@pytest.mark.parametrize("temperature", [0.0, 0.7, 1.6])
def test_a_row_tells_probabilities_and_entropy_of_its_softmax(temperature: float) -> None:
    torch.manual_seed(0)
    for logits in 6 * torch.randn(5, 3000):
        law = softmax(logits.numpy(), float(logits.max()), temperature)
        p = distribution(logits[None].double(), temperature, 1.0)[0]
        assert law.entropy == pytest.approx(float(torch.special.entr(p).sum()), abs=1e-5)
        for token in (0, 17, int(logits.argmax())):
            assert np.exp(law.logprob(float(logits[token]))) == pytest.approx(float(p[token]), rel=1e-4)


def test_masked_tokens_have_no_probability_and_no_part_in_the_entropy() -> None:
    law = softmax(np.asarray([0.0, 0.0, -np.inf], dtype=np.float32), 0.0, 0.0)
    assert law.entropy == pytest.approx(np.log(2))
    assert law.logprob(-np.inf) == -np.inf
    sure = softmax(np.asarray([200.0, 0.0], dtype=np.float32), 200.0, 0.0)
    assert sure.entropy == 0.0
    assert sure.logprob(200.0) == 0.0


def test_what_nodes_were_worth_is_the_same_with_and_without_distributions() -> None:
    torch.manual_seed(1)
    shape = full_shape(2, 2)
    logits = 3 * torch.randn(shape.size + 1, 500)
    best, top = best_tokens(logits)
    tree = TokenTree.from_shape(shape, np.asarray([3, int(best[0]), 499, 0, int(best[2]), 7]))
    p = distribution(logits, 0.0, 1.0)
    likely, nats = of_children(logits.numpy(), top, tree.parent, tree.token, 0.0)
    assert likely == pytest.approx([float(p[a + 1, t]) for a, t in zip(tree.parent, tree.token, strict=True)])
    assert nats == pytest.approx([float(torch.special.entr(p[a + 1]).sum()) for a in tree.parent], abs=1e-5)
    of_p = figures_of_children(logits, best, top, tree, 0.0, p)
    for one, other in zip(of_p, (likely, nats), strict=True):
        assert one == pytest.approx(other, abs=1e-5)


def test_no_speculation_has_no_figures() -> None:
    logits = torch.randn(1, 50)
    best, top = best_tokens(logits)
    none = TokenTree.empty()
    p = distribution(logits, 0.0, 1.0)
    for found in (
        of_children(logits.numpy(), top, none.parent, none.token, 0.0),
        figures_of_children(logits, best, top, none, 0.0, p),
    ):
        assert [a.shape for a in found] == [(0,), (0,)]
