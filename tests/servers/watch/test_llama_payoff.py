"""Protects the answer on a real llama.cpp server: it is what clients measure with and without speculation.

Within 15 %, for other programs share the machine. The formulas are held to 5 % on simulated servers (`test_payoff`),
and real ones at full length, with 1, 4 and 8 requests at a time, by ``python -m tests.bench.watch_payoff``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from spectui.servers.watch import payoff
from tests.servers.llama_server import PLAIN, SYNTHETIC, LlamaServer
from tests.servers.watch.paired import Side, compare

pytestmark = pytest.mark.model
SLOTS = 2


@pytest.fixture(scope="module")
def sides(gguf: Path) -> Iterator[tuple[Side, Side]]:
    """A server that accepts drafts at known rates, and one that decodes plainly."""
    with (
        LlamaServer(gguf, SYNTHETIC, slots=SLOTS) as speculating,
        LlamaServer(gguf, PLAIN, slots=SLOTS) as plain,
    ):
        yield Side(speculating.address), Side(plain.address)


@pytest.mark.parametrize("concurrency", [1, SLOTS])
def test_the_answer_is_what_clients_measure(
    sides: tuple[Side, Side], concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payoff, "LEAST_ROUNDS", 10)  # a test is shorter than what one should rely on
    speculating, plain = sides
    result = compare(speculating, plain, concurrency=concurrency, turns=3, length=32)
    assert result.said.speedup == pytest.approx(result.truth, rel=0.15)
    # A draft as large as its target cannot pay.
    assert result.said.verdict == "NO"
    assert result.here.load == pytest.approx(concurrency, rel=0.5)
    assert plain.watched.view(0.0).state == "plain"
