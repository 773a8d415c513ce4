"""The embedded model: greedy output equals transformers' `generate` on bundled prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from spectui import prompts
from spectui.decoding.config import RunConfig
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels, load_models
from spectui.decoding.target.packed import pack_linears
from tests.equality import divergence
from tests.models import cut_down, greedy_reference

pytestmark = [pytest.mark.model, pytest.mark.timeout(600)]

PER_TASK = 1
TOKENS = 10
"""Per prompt here; `tests/bench/equality.py` does the same at any length."""

SHAPES = {
    "eagle": ["dynamic:8x4", "chain:3", "full:2x2"],
    "recycling": ["recycling:8", "chain:4", "full:2x3"],
    "cut-down": ["full:3x2", "chain:3"],
    "itself": ["full:3x2"],
}


@pytest.fixture(scope="module")
def reference(embedded_folder: Path) -> Any:
    """The target as transformers runs it, its weights unpacked."""
    return AutoModelForCausalLM.from_pretrained(embedded_folder, dtype=torch.float32).eval()


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    return load_models(RunConfig())


@pytest.fixture(scope="module")
def expected(reference: Any, models: LoadedModels) -> dict[str, tuple[list[int], list[int]]]:
    """Prompt id to prompt tokens and the reference's greedy continuation."""
    encoded = {p.id: models.tokenizer.encode_prompt(p.text) for p in prompts.bundled(per_task=PER_TASK)}
    return {name: (ids, greedy_reference(reference, ids, TOKENS)) for name, ids in encoded.items()}


@pytest.fixture(scope="module")
def half_draft(reference: Any, models: LoadedModels, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The target's first six layers: an untrained draft that is mostly, but not always, wrong."""
    folder = tmp_path_factory.mktemp("draft")
    cut_down(reference, folder, 6, models.tokenizer.tokenizer)
    draft = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    pack_linears(draft)
    return draft


def test_greedy_output_is_that_of_generate_on_the_bundled_prompts(
    reference: Any,
    models: LoadedModels,
    half_draft: Any,
    expected: dict[str, tuple[list[int], list[int]]],
) -> None:
    """Each prompt with one of each draft's shapes in turn; the slow draft, the target itself, on every third prompt.

    One test: what `generate` writes, which takes most of the time, is computed once and not in each process.
    """
    far = {}
    for drafter, trees in SHAPES.items():
        draft = {"cut-down": half_draft, "itself": models.target, "eagle": models.draft}.get(drafter)
        pair = LoadedModels(models.target, draft, models.tokenizer)
        decoders = [
            SpeculativeDecoder(RunConfig(draft=drafter, tree=tree, max_new_tokens=TOKENS), models=pair)
            for tree in trees
        ]
        step = 3 if drafter == "itself" else 1
        for i, (name, (ids, tokens)) in enumerate(expected.items()):
            if i % step == 0 and (
                difference := divergence(decoders[i % len(decoders)], reference, ids, tokens)
            ):
                print(
                    f"{drafter}, {name}: differs at token {difference.position}, margin {difference.margin:.1e}"
                )
                if not difference.near_tie:
                    far[drafter, name] = difference
    assert not far


def test_a_round_records_true_probabilities(reference: Any, models: LoadedModels) -> None:
    """Packed weights and tree masks together still give the target's softmax on each node's prefix."""
    decoder = SpeculativeDecoder(RunConfig(max_new_tokens=6), models=models)
    ids = decoder.encode("Write a haiku about rain.")
    prefix = list(ids)
    for round_ in decoder.generate(ids):
        with torch.inference_mode():
            p = reference(torch.tensor([prefix])).logits[0, -1].double().softmax(-1)
        for i in range(round_.tree.size):
            if round_.tree.depth[i] == 1:
                assert round_.target_p[i] == pytest.approx(float(p[round_.tree.token[i]]), abs=1e-4)
        prefix += round_.tokens
