"""Limits on the operations that a GPU captures, so that they cannot creep back."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.operations import FAMILIES, JUDGEMENTS, drafts, forward_of, round_of

A_LAYER = 18
A_JUDGEMENT = 120
WAITS = {"item", "_local_scalar_dense", "nonzero"}


@pytest.fixture(scope="module")
def models() -> dict[str, Any]:
    return drafts()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_layer_of_a_llama_like_model(family: str) -> None:
    forward = forward_of(FAMILIES[family])
    assert {"linear": 2, "addmm": 2, "scaled_dot_product_attention": 1}.items() <= forward.layer.items()
    assert forward.layer.total() <= A_LAYER
    assert not WAITS & {*forward.layer, *forward.rest}


@pytest.mark.parametrize("name", JUDGEMENTS)
def test_a_judgement(models: dict[str, Any], name: str) -> None:
    of_round = round_of(JUDGEMENTS[name], models)
    assert 30 < of_round.judgement <= A_JUDGEMENT
    assert of_round.moves == 2
