"""Rotary embeddings that change with the length of a sequence, on both sides of the boundary."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from spectui.decoding.target.language_model import LanguageModel
from spectui.decoding.target.sizes import context_of
from tests.architectures import decoded, save
from tests.tiny_families import tiny_config, tiny_model

BEFORE = 32
"""Positions before scaling."""
_LONG = {
    "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 6.0], "rope_theta": 1e4,
    "original_max_position_embeddings": BEFORE, "factor": 4.0,
}  # fmt: skip

SCALED: dict[str, tuple[str, dict[str, Any]]] = {
    "phi3": ("phi3", {"original_max_position_embeddings": BEFORE, "max_position_embeddings": 128}),
    "phimoe": ("phimoe", {"original_max_position_embeddings": BEFORE, "max_position_embeddings": 128}),
    "longrope": ("llama", {"max_position_embeddings": 128}),
    "dynamic": ("llama", {"max_position_embeddings": BEFORE}),
    "interleaved": ("cohere", {"max_position_embeddings": BEFORE}),
    "linear": ("llama", {"max_position_embeddings": BEFORE}),
    "yarn": ("qwen2", {"max_position_embeddings": BEFORE}),
    "llama3": ("llama", {"max_position_embeddings": 128}),
    "proportional": ("gemma4_text", {"max_position_embeddings": 128}),
}
ROPES: dict[str, dict[str, Any]] = {
    "phi3": _LONG, "longrope": _LONG,
    "phimoe": {**_LONG, "short_mscale": 1.1, "long_mscale": 1.4},
    "interleaved": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    "linear": {"rope_type": "linear", "factor": 4.0, "rope_theta": 1e4},
    "yarn": {
        "rope_type": "yarn", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": BEFORE,
    },
    "llama3": {
        "rope_type": "llama3", "factor": 4.0, "rope_theta": 1e4, "original_max_position_embeddings": BEFORE,
        "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    },
}  # fmt: skip


def _model(kind: str) -> Any:
    family, changes = SCALED[kind]
    rope = {"rope_parameters": ROPES[kind]} if kind in ROPES else {}
    return tiny_model(tiny_config(family, **changes, **rope))


@pytest.mark.parametrize("static", ["0", "1"])
@pytest.mark.parametrize("kind", SCALED)
def test_tokens_are_those_of_generate_across_the_boundary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, static: str
) -> None:
    """Prompts that end before it, at it and behind it, fed in chunks that do not."""
    monkeypatch.setenv("SPECTUI_STATIC", static)
    monkeypatch.setattr("spectui.decoding.target.language_model.PREFILL_CHUNK", 13)
    save(_model(kind), tmp_path)
    for prompt in (BEFORE - 12, BEFORE, BEFORE + 17):
        # A fresh one each time: dynamic frequencies of transformers stay as long as the longest sequence so far.
        case = decoded(tmp_path, _model(kind), prompt=prompt, tokens=20)
        assert case.verdict == "equal", (prompt, case)


@pytest.mark.parametrize(
    ("kind", "context"), [("yarn", 128), ("dynamic", 128), ("linear", 128), ("llama3", 128), ("phi3", 128)]
)
def test_the_context_is_as_wide_as_its_scaling_makes_it(kind: str, context: int) -> None:
    model = _model(kind)
    assert context_of(model.config) == context
    assert LanguageModel(model).context == context


def test_a_rotary_embedding_that_cannot_be_followed_ends_the_context_where_it_changes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("spectui.decoding.target.rope.PerRowRotary.is_faithful", lambda _: False)
    assert LanguageModel(_model("dynamic")).context == BEFORE


def test_a_paced_model_generates_as_before() -> None:
    """Others use the same model: nothing is assumed outside of a `LanguageModel`'s own forwards."""
    from tests.architectures import reference

    ids = list(range(5, 40))
    lm = LanguageModel(model := _model("dynamic"))
    lm.prefill(ids)
    assert reference(model, ids, 12) == reference(_model("dynamic"), ids, 12)


def test_what_cannot_be_followed_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from spectui.decoding.config import RunConfig
    from spectui.decoding.models.load import load_models

    save(_model("dynamic"), tmp_path / "target")
    save(_model("dynamic"), tmp_path / "draft")
    monkeypatch.setattr("spectui.decoding.target.rope.PerRowRotary.is_faithful", lambda _: False)
    notes = load_models(RunConfig(target=str(tmp_path / "target"), draft=str(tmp_path / "draft"))).notes
    assert any("not followed beyond token 32" in note for note in notes)
