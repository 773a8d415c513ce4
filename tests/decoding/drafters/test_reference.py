"""Drafters of other projects draft here what they draft there: see `reference/README.md`."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from spectui.decoding.drafters.kind import DrafterKind, imported
from tests.decoding.drafters.reference_cases import (
    TOLERANCE,
    DraftedSequence,
    expected,
    expected_logits,
    load,
)

EAGLE3 = ["eagle3-plain", "eagle3-fcnorm-2layers", "eagle3-1feature-nohead"]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(params=["growing", "tuned", "fixed"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Buffers that grow, the same with weights packed for a CPU, and buffers of fixed size."""
    monkeypatch.setenv("SPECTUI_STATIC", "1" if request.param == "fixed" else "0")
    return str(request.param)


def begin(name: str, way: str, tree: str = "chain:3") -> tuple[DrafterKind, DraftedSequence]:
    kind, weights = load(name)
    assert kind.weights is not None
    if way == "tuned" and kind.weights.tune:
        imported(kind.weights.tune)(weights)
    return kind, DraftedSequence(name, kind, weights, tree, fixed=way == "fixed")


def close(ours: torch.Tensor, key: str, name: str, tolerance: float = TOLERANCE) -> None:
    reference = expected_logits(name)[key]
    assert ours.shape == reference.shape
    assert float((ours - reference).abs().max()) < tolerance, key


@pytest.mark.parametrize("name", EAGLE3)
def test_eagle3(name: str, way: str) -> None:
    """Two paths below a root, as nodes of one tree have them, and a round after two accepted tokens."""
    _, sequence = begin(name, way)
    for context, case in expected(name)["contexts"].items():
        sequence.begin(case["committed"], case["root"])
        # A proposal feeds the pairs committed before it once: both paths are nodes of one tree.
        for which, path in case["paths"].items():
            sequence.begin(case["committed"], case["root"])
            close(sequence.logits_along(path["path"]), f"{context}.{which}.logits", name)
        sequence.begin(case["committed"], case["root"])
        drafted = sequence.tree("chain:3").token.tolist()
        assert drafted == case["paths"]["greedy"]["argmax"][:3] == case["paths"]["greedy"]["path"]
        later = case["round1"]
        sequence.accept(drafted[:2], later["root"])
        assert sequence.committed == later["committed"]
        close(sequence.logits_along([]), f"{context}.round1.logits", name)
