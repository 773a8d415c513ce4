"""Texts of decoders: how they are made, and when two of them count as equal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from tests.equality import first_difference


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


def same(model: Any, ids: Sequence[int], one: list[int], other: list[int], *, near_ties: bool) -> bool:
    """True where two outputs are equal, or first differ at a near tie where `near_ties` are no fault."""
    if one == other or not near_ties:
        return one == other
    difference = first_difference(model, ids, one, other)
    return difference is None or difference.near_tie


def sampling_name(config: RunConfig) -> str:
    """Greedy, or its temperature and nucleus."""
    nucleus = f" p {config.top_p}" if config.top_p < 1.0 else ""
    return "greedy" if config.greedy else f"T {config.temperature}{nucleus}"
