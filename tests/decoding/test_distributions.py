"""Distributions and figures at the ends of what they are given: no rows, temperatures and nuclei of every size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from decoding.distributions import (
    best_tokens,
    distribution,
    entropy,
    largest,
    pick,
    softmax_sums,
    top_tokens,
)  # fmt: skip
from decoding.static import figures

VOCABULARIES = (1, 5, 127, 128, 300, 5001)
"""Around the parts that sums and searches are cut into."""

OF_ROWS: dict[str, Callable[[torch.Tensor], Any]] = {
    "plain law": lambda rows: distribution(rows, 0.0, 1.0),
    "sampled law": lambda rows: distribution(rows, 0.7, 1.0),
    "nucleus": lambda rows: distribution(rows, 0.7, 0.5),
    "nucleus of fixed size": lambda rows: figures.distribution(rows, temperature=0.7, top_p=0.5),
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
