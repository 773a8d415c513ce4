"""Protects what nothing else shows on a machine without a GPU: rounds can be captured, and replay what they should do.

Every kind of drafter runs on `tests.fake_gpu`, captured and replayed operation by operation, and has to give the rounds
that it gives on the CPU.
"""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from spectui.decoding.config import RunConfig
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.parts import MergedParts
from spectui.decoding.tokens.vocabulary import Vocabulary
from tests.decoding.drafters.kinds import EVERY, name_of, trees_of, weights_for
from tests.decoding.drafters.toy_entry import TOY
from tests.fake_gpu import FakeGpu
from tests.models import tiny_llama, tiny_tokenizer

CONTEXT = 2048
SHORT = [17, 42, 99, 17, 42]
SAMPLINGS: list[dict[str, Any]] = [{}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7}]
CASES = [(kind, tree) for kind in EVERY.values() if kind is not TOY for tree in trees_of(kind)]


class Pair:
    """A target and what drafts for it, on the host and, with the same weights, on the device."""

    def __init__(self) -> None:
        self.target = tiny_llama(layers=3, context=CONTEXT)
        use_grouped_attention(self.target)
        use_lean_layers(self.target, MergedParts())
        self.vocabulary = Vocabulary(tiny_tokenizer(), [2])
        self.made: dict[tuple[str, torch.dtype, bool], LoadedModels] = {}

    def models(self, kind: DrafterKind, dtype: torch.dtype, gpu: FakeGpu | None) -> LoadedModels:
        key = kind.name, dtype, gpu is not None
        if key not in self.made:
            self.made[key] = self._make(kind, dtype, gpu)
        return self.made[key]

    def _make(self, kind: DrafterKind, dtype: torch.dtype, gpu: FakeGpu | None) -> LoadedModels:
        target = copy.deepcopy(self.target).to(dtype)
        draft = weights_for(kind, target)
        if draft is not None:
            draft.to(dtype)
        for model in (target, draft):
            if gpu is not None and model is not None:
                gpu.move(model)
        return LoadedModels(target, draft, self.vocabulary, kind)


@pytest.fixture(scope="module")
def pair() -> Pair:
    return Pair()


def rounds_of(decoder: SpeculativeDecoder, prompts: list[list[int]]) -> list[Round]:
    return [r for position, ids in enumerate(prompts) for r in decoder.generate(ids, position=position)]


def figures(rounds: list[Round]) -> list[Any]:
    """Everything of rounds but their times."""
    return [
        (r.tokens, r.path, r.cut, r.finish, *(np.nan_to_num(a, nan=-1.0).tolist() for a in (
            r.tree.token, r.tree.parent, r.tree.rank, r.tree.draft_logprob, r.tree.draft_entropy,
            r.target_p, r.target_entropy, r.match,
        )))
        for r in rounds
    ]  # fmt: skip


def both(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, config: RunConfig, prompts: list[list[int]],
    dtype: torch.dtype = torch.float32,
) -> FakeGpu:  # fmt: skip
    """Asserts that the device's rounds are those of the host, captured, and returns what the device saw."""
    with monkeypatch.context() as patch:
        patch.setenv("SPECTUI_STATIC", "1")
        expected = rounds_of(SpeculativeDecoder(config, models=pair.models(kind, dtype, None)), prompts)
    with FakeGpu() as gpu, torch.inference_mode():
        decoder = SpeculativeDecoder(config, models=pair.models(kind, dtype, gpu))
        assert isinstance(decoder.rounds, DeviceRounds)
        rounds = rounds_of(decoder, prompts)
        assert [graphs.reason for graphs in decoder.rounds.graphs] == [None] * len(decoder.rounds.graphs)
    assert figures(rounds) == figures(expected)
    assert not gpu.problems
    assert not [seen for seen in gpu.seen if seen.captured]
    assert gpu.captures >= 3
    assert gpu.replays > 2 * len(rounds)
    return gpu


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize(("kind", "tree"), CASES, ids=name_of)
def test_rounds_replay_as_they_were_captured(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, tree: str, sampling: dict[str, Any]
) -> None:
    config = RunConfig(draft=kind.name, tree=tree, max_new_tokens=16, **sampling)
    both(pair, monkeypatch, kind, config, [SHORT, SHORT * 3])


@pytest.mark.parametrize(("kind", "tree"), CASES, ids=name_of)
def test_half_precision_replays_as_it_was_captured(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, tree: str
) -> None:
    config = RunConfig(draft=kind.name, tree=tree, max_new_tokens=12)
    both(pair, monkeypatch, kind, config, [SHORT], torch.float16)
