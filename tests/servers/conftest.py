"""Real llama.cpp servers, one of each kind for all tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers.llama_server import NGRAM, SELF, SYNTHETIC, LlamaServer


@pytest.fixture(scope="session")
def gguf() -> Path:
    """The embedded model for llama.cpp, fetched on first use and kept in the user's cache."""
    from spectui.decoding.checkpoints import embedded

    return embedded.ensure_gguf()


@pytest.fixture(scope="session")
def self_drafting(gguf: Path) -> Iterator[LlamaServer]:
    """A server whose draft is its target."""
    with LlamaServer(gguf, SELF, slots=2) as server:
        yield server


@pytest.fixture(scope="session")
def looking_up(gguf: Path) -> Iterator[LlamaServer]:
    """A server that drafts what followed the same words before."""
    with LlamaServer(gguf, NGRAM) as server:
        yield server


@pytest.fixture(scope="session")
def of_known_rates(gguf: Path) -> Iterator[LlamaServer]:
    """A server that accepts as many as it is told to."""
    with LlamaServer(gguf, SYNTHETIC) as server:
        yield server
