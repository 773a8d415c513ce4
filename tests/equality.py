"""The first difference between speculative greedy output and that of transformers' `generate`, and its margin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from spectui.decoding.engine import SpeculativeDecoder

NEAR_TIE = {torch.float32: 1e-3, torch.float16: 0.05, torch.bfloat16: 0.25}
"""Margin of the two largest logits below which kernels of different shapes may rank either token first."""


@dataclass(frozen=True)
class Divergence:
    """The first token that differs, and how sure the reference was of its own."""

    position: int
    margin: float
    dtype: torch.dtype = torch.float32
    """The type that the reference computes in."""

    @property
    def near_tie(self) -> bool:
        """True when rounding explains the difference."""
        return self.margin < NEAR_TIE[self.dtype]


def divergence(
    decoder: SpeculativeDecoder, reference: Any, ids: list[int], expected: list[int]
) -> Divergence | None:
    """None where the output equals `expected`, the reference model's own greedy tokens."""
    output = [t for round_ in decoder.generate(ids) for t in round_.tokens]
    if output == expected:
        return None
    pairs = enumerate(zip(output, expected, strict=False))
    at = next((i for i, (a, b) in pairs if a != b), min(len(output), len(expected)))
    with torch.inference_mode():
        logits = reference(torch.tensor([[*ids, *expected[:at]]])).logits[0, -1]
    first, second = logits.float().topk(2).values.tolist()
    return Divergence(at, first - second, logits.dtype)
