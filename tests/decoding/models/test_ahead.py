"""Weights packed while Python imports: the model that is loaded meets them, or does without, and computes the same."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from spectui.decoding.models import ahead
from spectui.decoding.models.loading import load_model
from spectui.decoding.models.placement import Placement
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.packed import pack_linears
from tests.models import tiny_llama

LAYERS = 3
MATRICES = 4 * LAYERS + 1
IDS = torch.tensor([[5, 9, 200, 31, 7]])


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    yield
    ahead.forget()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A Llama of halves."""
    tiny_llama(layers=LAYERS).half().save_pretrained(tmp_path)
    return tmp_path


def _tuned(model: Any) -> torch.Tensor:
    """What the model says once it is tuned."""
    use_grouped_attention(model)
    assert use_lean_layers(model) == LAYERS
    pack_linears(model)
    with torch.inference_mode():
        logits: torch.Tensor = model(IDS).logits
    return logits


def _load(folder: Path) -> Any:
    return load_model(folder, Placement(torch.device("cpu")), "float32", "", lambda *_: None)


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Of every layer that was packed, whether it was found ready."""
    found: list[bool] = []
    take = ahead.take

    def noting(weight: torch.Tensor) -> Any:
        ready = take(weight)
        found.append(ready is not None)
        return ready

    monkeypatch.setattr(ahead, "take", noting)
    return found


def _finish() -> None:
    for job in ahead._jobs.values():
        job.packed.result()


def test_every_layer_is_found_ready_and_computes_what_it_would(folder: Path, taken: list[bool]) -> None:
    expected = _tuned(_load(folder))
    taken.clear()
    assert ahead.pack_ahead(folder) == MATRICES
    _finish()
    assert torch.equal(_tuned(_load(folder)), expected)
    assert taken == [True] * MATRICES


@pytest.mark.parametrize("tied", [True, False])
def test_the_output_layer_is_ready_whether_or_not_it_is_the_embedding(
    tmp_path: Path, tied: bool, taken: list[bool]
) -> None:
    model = tiny_llama(layers=LAYERS)
    model.config.tie_word_embeddings = tied
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    model.half().save_pretrained(tmp_path)
    assert ahead.pack_ahead(tmp_path) == MATRICES
    _finish()
    _tuned(_load(tmp_path))
    assert taken == [True] * MATRICES


def test_weights_that_are_not_those_that_were_loaded_are_not_used(folder: Path, taken: list[bool]) -> None:
    """One number of each matrix differs, far from the row it is found by."""
    with torch.no_grad():
        changed = _load(folder)
        for name, parameter in changed.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter[-1, -1] = 0.375
    expected = _tuned(changed)
    again = _load(folder)
    with torch.no_grad():
        for name, parameter in again.named_parameters():
            if parameter.dim() == 2 and "embed" not in name:
                parameter[-1, -1] = 0.375
    taken.clear()
    ahead.pack_ahead(folder)
    _finish()
    assert torch.equal(_tuned(again), expected)
    assert taken == [False] * MATRICES


def test_what_was_not_begun_yet_is_packed_by_whoever_wants_it(
    folder: Path, taken: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread hangs in its first matrix, which nobody asks for until it may go on."""
    expected = _tuned(_load(folder))
    taken.clear()
    begun, go_on = threading.Event(), threading.Event()
    pack = ahead._pack

    def slow(parts: list[torch.Tensor]) -> Any:
        begun.set()
        assert go_on.wait(30.0)
        return pack(parts)

    monkeypatch.setattr(ahead, "_pack", slow)
    ahead.pack_ahead(folder)
    assert begun.wait(30.0)
    model = _load(folder)
    use_grouped_attention(model)
    use_lean_layers(model)
    go_on.set()
    pack_linears(model)
    with torch.inference_mode():
        assert torch.equal(model(IDS).logits, expected)
    assert taken == [False] * (MATRICES - 1) + [True]


def test_models_it_is_not_meant_for_are_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = folder / ahead.WEIGHTS
    with monkeypatch.context() as patch:
        patch.setattr(ahead, "MOST_BYTES", weights.stat().st_size - 1)
        assert ahead.pack_ahead(folder) == 0
    whole = weights.read_bytes()
    for rubbish in (b"", whole[:100], b"{" * 100):
        weights.write_bytes(rubbish)
        assert ahead.pack_ahead(folder) == 0
    weights.unlink()
    assert ahead.pack_ahead(folder) == 0
    tiny_llama(layers=LAYERS).float().save_pretrained(folder)
    assert ahead.pack_ahead(folder) == 0, "float32 weights are no halves"


def test_what_nobody_takes_is_given_back(folder: Path) -> None:
    assert ahead.pack_ahead(folder) == MATRICES
    ahead.forget()
    assert not ahead._jobs
