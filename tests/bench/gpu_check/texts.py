"""Texts of decoders: how they are made, and when two of them count as equal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Decoders that are made inside obey these variables."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def decode(decoder: SpeculativeDecoder, ids: Sequence[int], position: int = 0) -> list[int]:
    """The output."""
    return [t for round_ in decoder.generate(ids, position=position) for t in round_.tokens]


def same(model: Any, ids: Sequence[int], one: list[int], other: list[int], tie: float | None) -> bool:
    """True where two outputs are equal, or first differ where the likeliest tokens are closer than `tie`."""
    if one == other:
        return True
    at = next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), None)
    if tie is None or at is None:
        return False
    with torch.inference_mode():
        logits = model(torch.tensor([[*ids, *one[:at]]], device=model.device)).logits[0, -1].float()
    top = float(logits.max())
    return all(top - float(logits[each[at]]) < tie for each in (one, other))


def sampling_name(config: RunConfig) -> str:
    """Greedy, or its temperature and nucleus."""
    nucleus = f" p {config.top_p}" if config.top_p < 1.0 else ""
    return "greedy" if config.greedy else f"T {config.temperature}{nucleus}"
