"""The first difference between two greedy outputs of one model, and whether rounding explains it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spectui.decoding.engine import SpeculativeDecoder

NEAR_TIE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Margin of the largest logit below which kernels of different shapes may rank another token first."""


@dataclass(frozen=True)
class Divergence:
    """The first token that differs, and how far the model is from choosing either."""

    position: int
    margin: float
    """Largest logit less that of the less likely of both tokens; infinite where one output ends."""
    dtype: torch.dtype = torch.float32
    """The type that the model computes in."""

    @property
    def near_tie(self) -> bool:
        """True when rounding explains the difference."""
        return self.margin < NEAR_TIE[self.dtype]


def divergence(
    decoder: SpeculativeDecoder, reference: Any, ids: list[int], expected: list[int]
) -> Divergence | None:
    """None where the output equals `expected`, the reference model's own greedy tokens."""
    output = [t for round_ in decoder.generate(ids) for t in round_.tokens]
    return first_difference(reference, ids, output, expected)


def first_difference(
    model: Any, ids: Sequence[int], output: Sequence[int], expected: Sequence[int]
) -> Divergence | None:
    """The first difference of two greedy outputs of `model` after `ids`; None where there is none."""
    shorter = min(len(output), len(expected))
    at = next((i for i in range(shorter) if output[i] != expected[i]), shorter)
    if at == len(output) == len(expected):
        return None
    if at == shorter:
        return Divergence(at, math.inf)
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *expected[:at]]], device=model.device)).logits[0, -1]
    both = logits.float()[[output[at], expected[at]]]
    return Divergence(at, float(logits.float().max() - both.min()), logits.dtype)
