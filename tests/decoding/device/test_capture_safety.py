"""Protects what nothing else shows on a machine without a GPU: rounds can be captured, and replay what they should do.

Every kind of drafter runs on `tests.fake_gpu`, captured and replayed operation by operation, and has to give the rounds
that it gives on the CPU.
"""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import pytest
import torch

from spectui.decoding.config import WITH_LOOKUP, RunConfig
from spectui.decoding.device import judgement
from spectui.decoding.device.graphs import Graphs
from spectui.decoding.device.rounds import DeviceRounds
from spectui.decoding.device.tree import DeviceTree
from spectui.decoding.drafters.kind import DrafterKind
from spectui.decoding.drafters.lookup import LookupDrafter
from spectui.decoding.drafters.registry import DRAFT_MODEL, RECYCLING
from spectui.decoding.engine import SpeculativeDecoder
from spectui.decoding.models.load import LoadedModels
from spectui.decoding.rounds import Round
from spectui.decoding.target.attention import use_grouped_attention
from spectui.decoding.target.lean import use_lean_layers
from spectui.decoding.target.parts import MergedParts
from spectui.decoding.target.rope import PerRowRotary
from spectui.decoding.tokens.vocabulary import Vocabulary
from spectui.decoding.trees.shape import TokenTree
from spectui.decoding.trees.spec import chain_shape
from tests.decoding.drafters.kinds import EVERY, name_of, trees_of, weights_for
from tests.decoding.drafters.toy_entry import TOY
from tests.fake_gpu import PAGEABLE, PINNED, WAIT, FakeGpu
from tests.models import tiny_llama, tiny_tokenizer
from tests.tiny_families import tiny_config, tiny_model

CONTEXT = 1000
SHORT = [17, 42, 99, 17, 42]
SAMPLINGS: list[dict[str, Any]] = [{}, {"temperature": 0.8}, {"temperature": 1.0, "top_p": 0.7}]
ROPES: dict[str, dict[str, Any]] = {
    "dynamic": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 1e4},
    "longrope": {
        "rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [4.0, 3.0, 2.0, 6.0], "rope_theta": 1e4,
        "original_max_position_embeddings": 32, "factor": 4.0,
    },
}  # fmt: skip
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
        assert bool(kind.device_build) == (decoder.rounds._grower is not None)
        rounds = rounds_of(decoder, prompts)
        assert [graphs.reason for graphs in decoder.rounds.graphs] == [None] * len(decoder.rounds.graphs)
    assert figures(rounds) == figures(expected)
    assert not gpu.problems
    assert not [seen for seen in gpu.seen if seen.captured]
    assert gpu.captures >= 3
    assert gpu.modes == {"thread_local"}
    assert gpu.workspaces == 2  # of the current stream and of the one for captures
    assert gpu.replays > 2 * len(rounds)
    return gpu


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["greedy", "sampled", "nucleus"])
@pytest.mark.parametrize(("kind", "tree"), CASES, ids=name_of)
def test_rounds_replay_as_they_were_captured(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, tree: str, sampling: dict[str, Any]
) -> None:
    config = RunConfig(draft=kind.name, tree=tree, max_new_tokens=8, **sampling)
    both(pair, monkeypatch, kind, config, [SHORT, SHORT * 3])


@pytest.mark.parametrize(("kind", "tree"), CASES, ids=name_of)
def test_half_precision_replays_as_it_was_captured(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, tree: str
) -> None:
    config = RunConfig(draft=kind.name, tree=tree, max_new_tokens=12)
    both(pair, monkeypatch, kind, config, [SHORT], torch.float16)


@pytest.mark.parametrize(
    ("kind", "tree"), {kind.name: (kind, tree) for kind, tree in CASES}.values(), ids=name_of
)
def test_buffers_move_between_prompts_alone_and_nothing_forgotten_is_in_the_way(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kind: DrafterKind, tree: str
) -> None:
    """A second prompt that the first buffers are too small for, to the end of the context."""
    moved, inside = list[bool](), list[bool]()
    forget, step = Graphs.forget, DeviceRounds.step

    def watched_forget(graphs: Graphs) -> None:
        moved.append(bool(inside))
        forget(graphs)

    def watched_step(self: DeviceRounds, *rest: Any) -> Round:
        inside.append(True)
        try:
            return step(self, *rest)
        finally:
            inside.clear()

    monkeypatch.setattr(Graphs, "forget", watched_forget)
    monkeypatch.setattr(DeviceRounds, "step", watched_step)
    config = RunConfig(draft=kind.name, tree=tree, max_new_tokens=30)
    both(
        pair, monkeypatch, kind, config, [[3 + i % 300 for i in range(count)] for count in (4, CONTEXT - 15)]
    )
    assert moved
    assert not any(moved)


@pytest.mark.parametrize(
    ("kind", "tree", "sampling"), [(*case, SAMPLINGS[i % 2]) for i, case in enumerate(CASES)], ids=name_of
)
def test_a_round_waits_once_and_uploads_from_pinned_memory(
    pair: Pair, kind: DrafterKind, tree: str, sampling: dict[str, Any]
) -> None:
    """In half precision, where masks are made in another type than the model's; with lookup that finds nothing."""
    looks_up = kind.lookup_beside
    config = RunConfig(
        draft=kind.name + (WITH_LOOKUP if looks_up else ""), tree=tree + ("+chain:4" if looks_up else ""),
        max_new_tokens=16, **sampling,
    )  # fmt: skip
    with FakeGpu() as gpu, torch.inference_mode():
        decoder = SpeculativeDecoder(config, models=pair.models(kind, torch.float16, gpu))
        rounds = decoder.generate(list(range(5, 12)))
        next(rounds)
        next(rounds)
        gpu.seen.clear()
        more = 0
        for _ in rounds:
            more += 1
            assert len(gpu.events) == 0, "kept from round to round"
    assert more > 3
    assert {seen: times for seen, times in gpu.seen.items() if seen.kind == PAGEABLE} == {}
    assert gpu.count(PINNED) > 0
    waits = {
        seen: times
        for seen, times in gpu.seen.items()
        if seen.kind == WAIT and Graphs.__module__ not in seen.place
    }
    assert sum(waits.values()) == more, waits


@pytest.mark.parametrize(("kept", "sampling"), [(judgement.KEPT, SAMPLINGS[0]), (2, SAMPLINGS[1])])
def test_trees_of_all_sizes_are_judged_in_a_few(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, kept: int, sampling: dict[str, Any]
) -> None:
    """Drawn ones beside chains that were looked up, some with nodes of no probability; also where few are kept."""
    monkeypatch.setattr(judgement, "KEPT", kept)
    # Not by `id`, which the second decoder may have from the first.
    rounds: WeakKeyDictionary[LookupDrafter, int] = WeakKeyDictionary()
    sizes = (9, 1, 0, 2, 12, 5, 3, 0, 11, 4, 0, 7)
    captured = Counter[Graphs]()
    run = Graphs.run

    def propose(self: LookupDrafter, root: int, max_depth: int) -> TokenTree:
        turn = rounds.get(self, 0)
        size, rounds[self] = sizes[turn % len(sizes)], turn + 1
        chain = TokenTree.from_shape(chain_shape(size), np.full(size, 5)) if size else TokenTree.empty()
        return chain if size <= max_depth else TokenTree.empty()

    def watched(graphs: Graphs, key: Any, function: Any) -> Any:
        captured[graphs] += graphs.reason is None and key not in graphs._kept
        return run(graphs, key, function)

    monkeypatch.setattr(LookupDrafter, "propose", propose)
    monkeypatch.setattr(Graphs, "run", watched)
    config = RunConfig(
        draft=f"{DRAFT_MODEL.name}+lookup", tree="full:3x2+chain:12", max_new_tokens=40, **sampling
    )
    both(pair, monkeypatch, DRAFT_MODEL, config, [SHORT])
    assert kept == 2 or max(captured.values()) < len(set(sizes))


@pytest.mark.parametrize("followed", [True, False])
@pytest.mark.parametrize("rope", ROPES)
def test_rotary_embeddings_that_depend_on_the_length(
    monkeypatch: pytest.MonkeyPatch, rope: str, followed: bool
) -> None:
    """The one that reads the host is not captured, and nothing has to fail for it."""
    if not followed:
        monkeypatch.setattr(PerRowRotary, "is_faithful", lambda self: False)
    model = tiny_model(tiny_config("llama", max_position_embeddings=64, rope_parameters=ROPES[rope]))
    use_grouped_attention(model)
    vocabulary = Vocabulary(tiny_tokenizer(vocab_size=model.config.vocab_size), [])
    config = RunConfig(draft=RECYCLING.name, tree="full:2x2", max_new_tokens=16)
    ids, expected = [5 + i for i in range(24)], list[Round]()
    with monkeypatch.context() as patch:
        patch.setenv("SPECTUI_STATIC", "1")
        models = LoadedModels(copy.deepcopy(model), None, vocabulary)
        expected = rounds_of(SpeculativeDecoder(config, models=models), [ids])
    with FakeGpu() as gpu, torch.inference_mode():
        gpu.move(model)
        decoder = SpeculativeDecoder(config, models=LoadedModels(model, None, vocabulary))
        rounds = rounds_of(decoder, [ids])
        assert isinstance(decoder.rounds, DeviceRounds)
        forwards, *others = [graphs.reason for graphs in decoder.rounds.graphs]
    assert [r.tokens for r in rounds] == [r.tokens for r in expected]
    assert others == [None, None]
    assert forwards == (None if followed else "the model's rotary embedding reads positions on the host")
    assert decoder.rounds.capture_failure() is None


def test_a_run_on_the_second_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is done on the first one, whose graphs and streams the others do not have."""
    tiny_llama(tmp_path / "target", context=64)
    tiny_llama(tmp_path / "draft", context=64, layers=1)
    config = RunConfig(target=str(tmp_path / "target"), draft=str(tmp_path / "draft"), tree="full:2x2", device="cpu",
                       max_new_tokens=12, dtype="float32")  # fmt: skip
    expected = [r.tokens for r in SpeculativeDecoder(config).generate(SHORT)]
    with FakeGpu(gpus=2) as gpu, torch.no_grad():
        decoder = SpeculativeDecoder(config.changed(device="cuda:1"))
        assert torch.cuda.current_device() == 1
        rounds = list(decoder.generate(SHORT))
        assert isinstance(decoder.rounds, DeviceRounds)
        assert {graphs.reason for graphs in decoder.rounds.graphs} == {None}
        assert {stream.device.index for stream in gpu.in_use} == {1}
    assert [r.tokens for r in rounds] == expected
    assert gpu.replays > len(rounds)


def test_rounds_in_which_something_was_captured_say_so(pair: Pair) -> None:
    with FakeGpu() as gpu, torch.inference_mode():
        config = RunConfig(draft=DRAFT_MODEL.name, tree="chain:3", max_new_tokens=16)
        decoder = SpeculativeDecoder(config, models=pair.models(DRAFT_MODEL, torch.float32, gpu))
        before, captured = 0, list[bool]()
        for round_ in decoder.generate(SHORT):
            captured.append(gpu.captures > before)
            assert round_.captured == captured[-1]
            before = gpu.captures
    assert captured[0]
    assert not captured[-1]


def test_a_size_is_kept_once_and_worked_out_once_a_round(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows of logits are the largest of its buffers."""
    made, of = list[judgement.Size](), judgement.Size.of

    def watched(tree: DeviceTree) -> judgement.Size:
        made.append(of(tree))
        return made[-1]

    monkeypatch.setattr(judgement.Size, "of", watched)
    with FakeGpu() as gpu, torch.inference_mode():
        config = RunConfig(draft=DRAFT_MODEL.name, tree="chain:3", max_new_tokens=16, temperature=0.8)
        decoder = SpeculativeDecoder(config, models=pair.models(DRAFT_MODEL, torch.float32, gpu))
        rounds = rounds_of(decoder, [SHORT])
        assert isinstance(decoder.rounds, DeviceRounds)
        buffers = decoder.rounds._judge._buffers
    assert len(made) == len(rounds)
    kept = [name for each in buffers.values() for name in each.tensors.keys() & each.blank.keys()]
    assert {"logits", "rows"} <= {name for each in buffers.values() for name in each.tensors}
    assert not {"logits", "rows"} & {*kept}
