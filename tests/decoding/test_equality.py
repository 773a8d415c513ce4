"""Protects the measure of a difference between outputs: a near tie excuses the tokens of the tie alone."""

from __future__ import annotations

import math

import torch

from tests.bench.gpu_check.texts import same
from tests.equality import first_difference
from tests.models import tiny_llama

IDS = [17, 42, 99]


@torch.inference_mode()
def test_a_near_tie_excuses_neither_a_third_token_nor_an_early_end() -> None:
    model = tiny_llama(layers=1)
    order = model(torch.tensor([IDS])).logits[0, -1].argsort(descending=True)
    first, second, last = order[0], order[1], order[-1]
    rows = model.get_output_embeddings().weight
    rows[second] = rows[first] * (1 - 1e-6)  # both are as likely
    best, near, far = int(first), int(second), int(last)
    assert first_difference(model, IDS, [best, 5], [best, 5]) is None
    tie = first_difference(model, IDS, [near, 5], [best, 5])
    assert tie is not None
    assert (tie.position, tie.near_tie) == (0, True)
    for wrong in ([far, 5], [best]):
        for outputs in ((wrong, [best, 5]), ([best, 5], wrong)):
            difference = first_difference(model, IDS, *outputs)
            assert difference is not None
            assert not difference.near_tie
            assert not same(model, IDS, *outputs, near_ties=True)
    assert first_difference(model, IDS, [best], [best, 5]) is not None
    assert same(model, IDS, [near], [best], near_ties=True)
    assert not same(model, IDS, [near], [best], near_ties=False)
    ended = first_difference(model, IDS, [best], [best, 5])
    assert ended is not None
    assert (ended.position, ended.margin) == (1, math.inf)
