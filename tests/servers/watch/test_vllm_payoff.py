"""Protects the answer on a real vLLM: it is what clients measure with and without speculation. ``make test-vllm``."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from spectui.servers.watch import payoff
from tests.servers.vllm_server import MODEL, PYTHON, VllmServer
from tests.servers.watch.paired import Side, compare

pytestmark = [
    pytest.mark.skipif(not PYTHON, reason="vLLM has an environment of its own: make test-vllm"),
    pytest.mark.timeout(1800),
]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VllmServer]:
    with VllmServer(tmp_path_factory.mktemp("plain") / "vllm.log") as server:
        yield server


@pytest.fixture(scope="module", params=["eagle3", "ngram"])
def drafting(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[VllmServer]:
    with VllmServer(tmp_path_factory.mktemp(request.param) / "vllm.log", request.param) as server:
        yield server


@pytest.mark.parametrize("concurrency", [1, 4, 8])
def test_the_answer_is_what_clients_measure(
    drafting: VllmServer, plain: VllmServer, concurrency: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(payoff, "LEAST_ROUNDS", 100)
    sides = Side(drafting.address, MODEL), Side(plain.address, MODEL)
    result = compare(*sides, concurrency=concurrency, turns=8 // concurrency, length=64)
    print(
        f"{concurrency} at a time: {result.said.speedup}, clients {result.truth:.3f}, load {result.here.load}"
    )
    if result.said.speedup is None:
        assert concurrency == 8  # a single request, and four, are alike on both
        assert "the load differs" in result.said.why
    else:
        assert result.said.speedup == pytest.approx(result.truth, rel=0.05)
